//! Which trials there are: those of every change, and those that a soak draws.

use std::time::Duration;

use kvlogdb_conformance::Random;

use crate::Model;
use crate::failure::Checked;
use crate::faults::{Call, Effect};
use crate::kill::Kills;
use crate::report::Tally;
use crate::run::{Examiner, Medium};
use crate::spec::{Asks, Engine, Marking, Policy, Shape, Spec, Strategy};
use crate::trace::Cache;
use crate::trials::catch::{self, Catch};
use crate::trials::crash::Crash;
use crate::trials::faults::{Strides, Sweep, What};
use crate::trials::rot::Rot;
use crate::trials::served::{SERVED_THEN_CUT, Served};

/// One thing that is tried.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Trial {
    Crash(Crash),
    Served(Served),
    Sweep(Sweep),
    Rot(Rot),
    Kills(Kills),
    Catch(Catch),
}

impl Trial {
    /// Where it is recorded; `None` for what needs no recording.
    pub(crate) fn medium(&self) -> Option<Medium> {
        match self {
            Self::Crash(one) => Some(one.medium),
            Self::Served(one) => Some(one.medium),
            Self::Sweep(one) => Some(one.medium),
            Self::Rot(one) => Some(one.medium),
            Self::Catch(one) => Some(one.medium),
            Self::Kills(_) => None,
        }
    }

    /// Runs it.
    pub(crate) fn run(&self) -> Checked<Tally> {
        let examiner = || Examiner::new(self.medium().unwrap_or(Medium::Memory));
        match self {
            Self::Crash(one) => one.run(&mut examiner()?),
            Self::Served(one) => one.run(&mut examiner()?),
            Self::Sweep(one) => one.run(&mut examiner()?),
            Self::Rot(one) => one.run(&mut examiner()?),
            Self::Catch(one) => one.run(&mut examiner()?),
            Self::Kills(one) => one.run(),
        }
    }
}

/// A trial and its name.
pub(crate) type Named = (String, Trial);

const SEED: u64 = 20_26;
/// The engines that every change is tried on.
const ENGINES: [Engine; 3] = [Engine::Redb, Engine::Fjall, Engine::Sled];
/// What can fail below a file system: a flush, a block, and room on a disk that promised more than
/// it has.
const BLOCK_FAULTS: [What; 3] =
    [What::Call(Call::Sync, Effect::Fail), What::Call(Call::Write, Effect::Fail), What::Room];

/// What an engine gets: sled takes as long for one state as the others for ten.
fn share(engine: Engine, budget: usize) -> usize {
    if engine == Engine::Sled { budget.div_ceil(6) } else { budget }
}

/// The trials of every change.
pub(crate) fn of_every_change() -> Vec<Named> {
    let mut all = in_memory();
    all.extend(ENGINES.into_iter().flat_map(on_files));
    all.extend(writers());
    all.extend(
        catch::all()
            .into_iter()
            .map(|one| (format!("must_catch::{}", one.name), Trial::Catch(one))),
    );
    all
}

fn in_memory() -> Vec<Named> {
    let shapes =
        [Shape::Append, Shape::Conflict, Shape::Many, Shape::Edges, Shape::Large, Shape::Purge];
    let mut all = Vec::new();
    for (engine, model) in [(Engine::Redb, Model::Journal), (Engine::RedbQuick, Model::Strict)] {
        for shape in shapes {
            let spec = Spec::new(engine, shape, SEED, 60);
            let (medium, budget, second) = (Medium::Memory, 4000, 12);
            let crash = Crash { medium, spec, model, budget, second };
            all.push((format!("{engine}::memory::{shape}"), Trial::Crash(crash)));
        }
    }
    let spec = Spec::new(Engine::Redb, Shape::Conflict, SEED, 24);
    let (medium, model) = (Medium::Memory, Model::Journal);
    let strides = Strides { dense: 60, percent: 10, first: 1 };
    let served = Served { medium, spec, model, strides, budget: 20 };
    all.push((format!("redb::memory::{SERVED_THEN_CUT}"), Trial::Served(served)));
    for (name, what) in What::ALL {
        // What makes a sync good that failed and left its pages in the cache is above the disk.
        if what == What::Call(Call::Sync, Effect::FailSync(Cache::Kept)) {
            continue;
        }
        if matches!(what, What::Call(Call::Sync | Call::Write | Call::SetLen | Call::Read, _)) {
            let sweep = Sweep { medium, spec, model, what, strides, budget: 20 };
            all.push((format!("redb::memory::{name}"), Trial::Sweep(sweep)));
        }
    }
    all
}

fn on_files(engine: Engine) -> Vec<Named> {
    let mut all = Vec::new();
    let medium = Medium::Fuse;
    for model in Model::OF_FILES {
        for shape in [Shape::Append, Shape::Conflict, Shape::Large, Shape::Many, Shape::Edges] {
            let spec = Spec::new(engine, shape, SEED, 40);
            let (budget, second) = (share(engine, 700), share(engine, 6));
            let crash = Crash { medium, spec, model, budget, second };
            all.push((format!("{engine}::{model}::{shape}"), Trial::Crash(crash)));
        }
        let spec = Spec::new(engine, Shape::Limit, SEED, 4);
        let crash = Crash { medium, spec, model, budget: share(engine, 12), second: 0 };
        all.push((format!("{engine}::{model}::limit"), Trial::Crash(crash)));
    }
    for shape in [Shape::Append, Shape::Conflict] {
        let (medium, model, budget, second) = (Medium::Block, Model::Block, 250, 2);
        let spec = Spec::new(engine, shape, SEED, 40);
        let crash = Crash { medium, spec, model, budget, second };
        all.push((format!("{engine}::ext4::{shape}"), Trial::Crash(crash)));
    }
    for (name, what) in What::ALL.into_iter().filter(|(_, what)| BLOCK_FAULTS.contains(what)) {
        let (medium, model, budget) = (Medium::Block, Model::Block, 12);
        let spec = Spec::new(engine, Shape::Conflict, SEED, 16);
        let strides = Strides { dense: 4, percent: 50, first: 1 };
        let sweep = Sweep { medium, spec, model, what, strides, budget };
        all.push((format!("{engine}::ext4::{name}"), Trial::Sweep(sweep)));
    }
    let model = Model::Journal;
    if engine == Engine::Fjall {
        for shape in [Shape::Purge, Shape::Large] {
            let spec = Spec::new(Engine::FjallSmall, shape, SEED, 60);
            let crash = Crash { medium, spec, model, budget: 700, second: 6 };
            all.push((format!("{}::journal::{shape}", spec.engine), Trial::Crash(crash)));
        }
    }
    let spec = Spec::new(engine, Shape::Conflict, SEED, 16);
    let strides = Strides { dense: 8, percent: 35, first: 1 };
    for model in Model::OF_FILES {
        let served = Served { medium, spec, model, strides, budget: share(engine, 16) };
        all.push((format!("{engine}::{model}::{SERVED_THEN_CUT}"), Trial::Served(served)));
    }
    for (name, what) in What::ALL {
        let sweep = Sweep { medium, spec, model, what, strides, budget: share(engine, 16) };
        all.push((format!("{engine}::{name}"), Trial::Sweep(sweep)));
    }
    let rot = Rot { medium, spec, at_rest: share(engine, 300), reads: Some(strides) };
    all.push((format!("{engine}::rot"), Trial::Rot(rot)));
    for &strategy in Strategy::ALL {
        let mut spec = spec;
        (spec.asks, spec.strategy) = (Asks::Mixed, strategy);
        let kills = Kills { spec, time: Duration::from_secs(4) };
        all.push((format!("{engine}::kill::{strategy}_first"), Trial::Kills(kills)));
    }
    all
}

/// How many write, and in what way.
type Writers = (&'static str, u64, Policy, Asks, Strategy, Marking);

const WRITERS: [Writers; 8] = {
    const DISK: Strategy = Strategy::Disk;
    const MEM: Strategy = Strategy::Mem;
    const SELDOM: Marking = Marking::Seldom;
    const ALWAYS: Marking = Marking::Always;
    [
        ("four_writers", 4, Policy::Adaptive, Asks::Synced, DISK, SELDOM),
        ("four_writers_with_callbacks", 4, Policy::Batch, Asks::Callback, DISK, ALWAYS),
        ("one_writer_with_callbacks", 1, Policy::Immediate, Asks::Callback, DISK, SELDOM),
        ("mostly_buffered", 1, Policy::Batch, Asks::Mixed, DISK, ALWAYS),
        ("mostly_buffered_by_four", 4, Policy::Immediate, Asks::Mixed, DISK, SELDOM),
        ("mem_first", 1, Policy::Adaptive, Asks::Mixed, MEM, ALWAYS),
        ("mem_first_by_four", 4, Policy::Batch, Asks::Mixed, MEM, SELDOM),
        ("mem_first_with_callbacks", 4, Policy::Immediate, Asks::Callback, MEM, ALWAYS),
    ]
};

/// Several writers, other policies, and writes that do not wait.
fn writers() -> Vec<Named> {
    let mut all = Vec::new();
    for (name, writers, policy, asks, strategy, marking) in WRITERS {
        let vary = |engine| {
            let mut spec = Spec::new(engine, Shape::Conflict, SEED, 60 / writers);
            (spec.writers, spec.policy, spec.asks) = (writers, policy, asks);
            (spec.strategy, spec.marking) = (strategy, marking);
            spec
        };
        let model = Model::Journal;
        let (medium, spec) = (Medium::Memory, vary(Engine::Redb));
        let crash = Crash { medium, spec, model, budget: 2000, second: 6 };
        all.push((format!("redb::memory::{name}"), Trial::Crash(crash)));
        for engine in ENGINES {
            let (medium, spec, budget) = (Medium::Fuse, vary(engine), share(engine, 500));
            let crash = Crash { medium, spec, model, budget, second: share(engine, 6) };
            all.push((format!("{engine}::journal::{name}"), Trial::Crash(crash)));
        }
    }
    all
}

/// One more trial of an endless row on real file systems.
pub(crate) fn drawn_on_block(random: &mut Random, engine: Engine) -> Trial {
    let spec = drawn_spec(random, engine);
    let (medium, model) = (Medium::Block, Model::Block);
    if random.below(3) == 0 {
        let what = *random.pick(&BLOCK_FAULTS);
        let strides = Strides { dense: 3, percent: 30, first: 1 + random.below(9) };
        return Trial::Sweep(Sweep { medium, spec, model, what, strides, budget: 20 });
    }
    Trial::Crash(Crash { medium, spec, model, budget: 300, second: 3 })
}

/// One more trial of an endless row.
pub(crate) fn drawn(random: &mut Random, engine: Engine) -> Trial {
    let mut spec = drawn_spec(random, engine);
    let model = *random.pick(&Model::OF_FILES);
    let in_memory = engine == Engine::Redb && random.below(2) == 0;
    let medium = if in_memory { Medium::Memory } else { Medium::Fuse };
    let (call, room) = (random.below(What::ALL.len() as u64 - 1), random.below(8) == 0);
    let strides = Strides { dense: 3, percent: 30, first: 1 + random.below(9) };
    match random.below(16) {
        0 => Trial::Served(Served { medium, spec, model, strides, budget: share(engine, 30) }),
        1..4 => {
            let what = What::ALL.into_iter().zip(0..).find(|(_, at)| *at == call && !room);
            let what = what.map_or(What::Room, |((_, what), _)| what);
            // Files and names are only on a disk of files.
            let medium = Medium::Fuse;
            Trial::Sweep(Sweep { medium, spec, model, what, strides, budget: share(engine, 30) })
        }
        4 => {
            spec.marking = Marking::Always;
            let (medium, at_rest) = (Medium::Fuse, share(engine, 200));
            Trial::Rot(Rot { medium, spec, at_rest, reads: Some(strides) })
        }
        5 => Trial::Kills(Kills { spec, time: Duration::from_secs(5) }),
        _ => {
            let (budget, second) = (share(engine, 1500), share(engine, 12));
            Trial::Crash(Crash { medium, spec, model, budget, second })
        }
    }
}

fn drawn_spec(random: &mut Random, engine: Engine) -> Spec {
    let shapes = [
        Shape::Append,
        Shape::Conflict,
        Shape::Conflict,
        Shape::Many,
        Shape::Edges,
        Shape::Large,
        Shape::Purge,
    ];
    let mut spec = Spec::new(variant(random, engine), *random.pick(&shapes), 0, 0);
    spec.seed = random.next() >> 8;
    spec.writers = *random.pick(&[1, 1, 1, 4]);
    spec.policy = *random.pick(Policy::ALL);
    spec.asks = *random.pick(Asks::ALL);
    spec.strategy = *random.pick(Strategy::ALL);
    spec.marking = *random.pick(Marking::ALL);
    spec.commands = (20 + random.below(80)) / spec.writers;
    spec
}

fn variant(random: &mut Random, engine: Engine) -> Engine {
    match (engine, random.below(3)) {
        (Engine::Redb, 0) => Engine::RedbQuick,
        (Engine::Fjall, 0) => Engine::FjallSmall,
        _ => engine,
    }
}
