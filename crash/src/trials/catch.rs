//! What the net must catch: engines that lie, libraries without what the engine crates add to
//! them, and versions with known bugs. A net that was never seen to catch anything shows nothing.

use std::collections::BTreeSet;

use crate::failure::Checked;
use crate::faults::{Call, Effect};
use crate::ledger::Word;
use crate::report::Tally;
use crate::run::{Cut, Examiner, Medium, Setup, first, record};
use crate::spec::{Asks, Engine, Lie, Marking, Shape, Spec};
use crate::trace::{Cache, Ino, Kind};
use crate::trials::crash::Crash;
use crate::trials::faults::{Strides, Sweep, What};
use crate::trials::{blank, nobody};
use crate::verdict::Finding;
use crate::{FaultPlan, Image, Model, Op, Plan, Points, Trace};

/// One thing that must be caught.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Catch {
    pub(crate) name: &'static str,
    pub(crate) medium: Medium,
    spec: Spec,
    by: By,
    /// What it may be called; anything else does not count as caught.
    names: &'static [Finding],
}

/// How it is caught.
#[derive(Debug, Clone, Copy)]
enum By {
    /// By crash states of a life.
    Crash(Model),
    /// By crash states of a life in which syncs of directories do nothing.
    WithoutDirectorySyncs,
    /// By crash states of the making of a store, without what makes it whole or not at all.
    Creation,
    /// By crash states behind the first acknowledgement, the making of the store passed over.
    BehindFirst(Model),
    /// By syncs that fail.
    FailedSyncs,
}

/// How many states it may take.
const BUDGET: usize = 1500;
/// How many different histories it may take.
const SEEDS: u64 = 3;

impl Catch {
    /// Runs until it is caught or the budget is used up; an error where it was not caught.
    pub(crate) fn run(&self, examiner: &mut Examiner) -> Checked<Tally> {
        let mut found = Tally::default();
        for seed in 1..=SEEDS {
            let mut spec = self.spec;
            spec.seed = seed;
            let mut tally = self.look(spec, examiner)?;
            let caught = tally.failures.iter().any(|failed| self.names.contains(&failed.finding));
            let failures = std::mem::take(&mut tally.failures);
            found.absorb(tally);
            if caught {
                return Ok(found);
            }
            found.failures = failures;
        }
        let seen: Vec<_> = found.failures.iter().map(ToString::to_string).collect();
        Err(format!("not caught in {found}: {}", seen.join("\n")).into())
    }

    fn look(&self, spec: Spec, examiner: &mut Examiner) -> Checked<Tally> {
        let (medium, budget) = (self.medium, BUDGET);
        match self.by {
            By::Crash(model) => Crash { medium, spec, model, budget, second: 0 }.run(examiner),
            By::FailedSyncs => {
                let what = What::Call(Call::Sync, Effect::FailSync(Cache::Kept));
                let (model, strides) = (Model::Journal, Strides::ALL);
                Sweep { medium, spec, model, what, strides, budget: 20 }.run(examiner)
            }
            By::Creation => {
                let all = |trace: &Trace, _: &Image| trace.clone();
                self.look_from_nothing(spec, Model::Journal, all, |_| 0, examiner)
            }
            By::BehindFirst(model) => {
                let all = |trace: &Trace, _: &Image| trace.clone();
                self.look_from_nothing(spec, model, all, first_ack, examiner)
            }
            By::WithoutDirectorySyncs => {
                let change = without_directory_syncs;
                self.look_from_nothing(spec, Model::Strict, change, |_| 0, examiner)
            }
        }
    }

    /// Cuts a life of which a layer below has made something else.
    fn look_from_nothing(
        &self,
        spec: Spec,
        model: Model,
        change: impl Fn(&Trace, &Image) -> Trace,
        from: impl Fn(&Trace) -> usize,
        examiner: &mut Examiner,
    ) -> Checked<Tally> {
        let mut tally = Tally::default();
        let setup = Setup::new(self.medium, &spec);
        let mut recorded = record(&setup, &blank(self.medium)?, FaultPlan::default())?.recorded;
        recorded.trace = change(&recorded.trace, &recorded.base);
        let positions = nobody(&spec);
        let points = Points::From(from(&recorded.trace));
        let plan = Plan { seed: spec.seed, budget: BUDGET, points };
        let story = &setup.story;
        let cut = Cut { recorded: &recorded, story, positions: &positions, model, plan };
        cut.run(examiner, &mut tally, drop)?;
        Ok(tally)
    }
}

fn first_ack(trace: &Trace) -> usize {
    first(trace, Word::Acked).unwrap_or_default()
}

fn without_directory_syncs(trace: &Trace, base: &Image) -> Trace {
    let is_dir = |op: &Op| match op {
        Op::Make { node, kind: Kind::Dir, .. } => Some(*node),
        _ => None,
    };
    let mut dirs: BTreeSet<Ino> = trace.ops().iter().filter_map(is_dir).collect();
    dirs.insert(Ino::ROOT);
    let kept = trace.ops().iter().filter(|op| match op {
        Op::Sync { node } => !dirs.contains(node) && base.kind(*node) != Some(Kind::Dir),
        _ => true,
    });
    kept.cloned().collect()
}

/// A lie over redb in memory, and what it may be called.
const LIES: [(Lie, &str, &[Finding]); 8] = [
    (Lie::AcksBeforeCommit, "an_ack_before_the_commit", &[Finding::LostAcknowledged]),
    (Lie::SkipsEverySeventhSync, "a_sync_left_out", &[Finding::LostAcknowledged]),
    (
        Lie::TruncatesAndAppendsInTwo,
        "a_tail_replaced_in_two_steps",
        &[Finding::HalfBatch, Finding::NotOpened, Finding::Damaged, Finding::LostAcknowledged],
    ),
    (
        Lie::HardStateByItself,
        "a_hard_state_by_itself",
        &[Finding::HalfBatch, Finding::Damaged, Finding::NotOpened],
    ),
    (
        Lie::BoundaryAfterDeletes,
        "a_boundary_behind_its_deletions",
        &[Finding::Damaged, Finding::HalfBatch, Finding::NotOpened, Finding::RegressedBoundary],
    ),
    (Lie::SwapsValues, "a_value_under_the_wrong_key", &[Finding::Damaged, Finding::Unsound]),
    (
        Lie::SplitsReplicas,
        "a_batch_split_by_replica",
        &[Finding::HalfBatch, Finding::Damaged, Finding::NotOpened],
    ),
    (Lie::DropsTheLastAtClose, "a_close_that_drops_the_last", &[Finding::LostAcknowledged]),
];

/// All that must be caught.
pub(crate) fn all() -> Vec<Catch> {
    let spec = |engine, shape| Spec::new(engine, shape, 1, 40);
    let lies = LIES.into_iter().map(|(lie, name, names)| {
        let mut spec = spec(Engine::Redb, Shape::Conflict);
        spec.lie = lie;
        if lie == Lie::DropsTheLastAtClose {
            spec.asks = Asks::Mixed;
            spec.marking = Marking::Seldom;
        }
        Catch { name, medium: Medium::Memory, spec, by: By::Crash(Model::Journal), names }
    });
    let mut all: Vec<Catch> = lies.collect();
    let mut retries = spec(Engine::Redb, Shape::Conflict);
    retries.lie = Lie::RetriesAfterFailure;
    all.push(Catch {
        name: "a_failed_sync_that_is_retried",
        medium: Medium::Memory,
        spec: retries,
        by: By::FailedSyncs,
        names: &[Finding::LostAcknowledged, Finding::NotOpened],
    });
    all.push(Catch {
        name: "a_creation_cut_short",
        medium: Medium::Memory,
        spec: spec(Engine::Redb, Shape::Append),
        by: By::Creation,
        names: &[Finding::NotOpened],
    });
    for (name, engine) in [
        ("a_directory_sync_forgotten_under_redb", Engine::Redb),
        ("a_directory_sync_forgotten_under_fjall", Engine::Fjall),
    ] {
        all.push(Catch {
            name,
            medium: Medium::Fuse,
            spec: spec(engine, Shape::Append),
            by: By::WithoutDirectorySyncs,
            names: &[Finding::NotOpened, Finding::LostAcknowledged],
        });
    }
    for (name, engine, medium, model) in [
        ("bare_redb_and_its_directory", Engine::BareRedb, Medium::Fuse, Model::Strict),
        ("bare_fjall_and_its_directories", Engine::BareFjall, Medium::Fuse, Model::Strict),
        ("bare_sled_and_its_flush", Engine::BareSled, Medium::Fuse, Model::Journal),
        ("bare_sled_and_its_flush_on_ext4", Engine::BareSled, Medium::Block, Model::Block),
    ] {
        all.push(Catch {
            name,
            medium,
            spec: spec(engine, Shape::Append),
            by: By::BehindFirst(model),
            names: &[Finding::LostAcknowledged],
        });
    }
    for (name, engine) in [
        ("bare_redb_made_in_part", Engine::BareRedb),
        ("bare_fjall_made_in_part", Engine::BareFjall),
        ("bare_sled_made_in_part", Engine::BareSled),
    ] {
        all.push(Catch {
            name,
            medium: Medium::Fuse,
            spec: Spec::new(engine, Shape::Append, 1, 2),
            by: By::Crash(Model::Journal),
            names: &[Finding::NotOpened],
        });
    }
    all
}
