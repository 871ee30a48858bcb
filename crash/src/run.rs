//! Records a life of a store, cuts it everywhere, and has every state checked.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use kvlogdb::TornTail;
use tempfile::TempDir;

use crate::check::{Checker, Depth, Job, said};
use crate::failure::{Checked, Context};
use crate::history::Story;
use crate::ledger::{Bounds, Ledger, Mark, Word};
#[cfg(target_os = "linux")]
use crate::record::block::{BlockDisk, Mounted};
#[cfg(target_os = "linux")]
use crate::record::fuse::{CONTROL, Exit, FuseDisk};
use crate::record::memory::MemoryDisk;
use crate::record::{DEVICE, FREE};
use crate::report::{Origin, Tally, of_state};
use crate::scribe::{Ending, Life, OnFailure, Voice};
use crate::spec::{Asks, Spec};
use crate::subject::Place;
use crate::verdict::{Finding, Verdict};
use crate::worker::{PATIENCE, Worker, looked, looker, writer};
use crate::{CrashState, FaultPlan, Image, Model, Op, Plan, Recorded, Trace, states};

/// A life that takes longer hangs.
const LIFETIME: Duration = Duration::from_secs(120);
/// After so many failures a run has shown enough.
pub(crate) const ENOUGH: usize = 8;
/// Where checks write, if it is there: a disk in memory.
const SHARED_MEMORY: &str = "/dev/shm";

/// What a run is recorded on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Medium {
    /// A disk of one file in memory, for redb, without a process of its own.
    Memory,
    /// A file system of this process, for any engine in a process of its own.
    Fuse,
    /// A real file system on a disk of this process, for any engine in a process of its own.
    Block,
}

impl fmt::Display for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Fuse => "fuse",
            Self::Block => "block",
        })
    }
}

/// How one life is recorded.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) medium: Medium,
    pub(crate) story: Story,
    pub(crate) commands: u64,
    pub(crate) ending: Ending,
    pub(crate) on_failure: OnFailure,
    pub(crate) torn: TornTail,
}

impl Setup {
    /// The first life of a store, which is closed at its end.
    pub(crate) fn new(medium: Medium, spec: &Spec) -> Self {
        Self {
            medium,
            story: Story::new(*spec),
            commands: spec.commands,
            ending: Ending::Close,
            on_failure: OnFailure::Stop,
            torn: TornTail::Refuse,
        }
    }

    fn life(&self, place: Place) -> Life {
        Life {
            story: self.story.clone(),
            place,
            commands: self.commands,
            ending: self.ending,
            on_failure: self.on_failure,
            torn: self.torn,
        }
    }
}

/// How a life went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lived {
    /// To its end.
    Through,
    /// Its store failed, with these words, or its process was killed.
    Failed(String),
    /// It ended in a way in which nothing may end.
    Wrong(Finding, String),
}

impl Lived {
    /// Why it did not get to its end.
    pub(crate) fn failure(&self) -> Option<&str> {
        match self {
            Self::Through => None,
            Self::Failed(text) | Self::Wrong(_, text) => Some(text),
        }
    }

    /// What is wrong with how it ended.
    pub(crate) fn finding(&self) -> Option<Finding> {
        match self {
            Self::Wrong(finding, _) => Some(*finding),
            _ => None,
        }
    }
}

/// A disk that is being recorded.
#[derive(Debug)]
pub(crate) enum Disk {
    Memory(MemoryDisk),
    #[cfg(target_os = "linux")]
    Fuse(FuseDisk),
    #[cfg(target_os = "linux")]
    Block(BlockDisk),
}

impl Disk {
    pub(crate) fn record(medium: Medium, image: &Image, faults: FaultPlan) -> Checked<Self> {
        match medium {
            Medium::Memory => Ok(Self::Memory(MemoryDisk::record(image, faults))),
            #[cfg(target_os = "linux")]
            Medium::Fuse => Ok(Self::Fuse(FuseDisk::record(image, faults).during("mounting")?)),
            #[cfg(target_os = "linux")]
            Medium::Block => Ok(Self::Block(BlockDisk::record(image, faults).during("mounting")?)),
            #[cfg(not(target_os = "linux"))]
            Medium::Fuse | Medium::Block => Err("FUSE: only on Linux".into()),
        }
    }

    /// Lives a life on it.
    pub(crate) fn live(&self, setup: &Setup) -> Checked<Lived> {
        match self {
            Self::Memory(disk) => {
                disk.revive();
                let voice = Arc::new(Voice::Memory(disk.clone()));
                let life = setup.life(Place::Memory(disk.clone()));
                // Its store is dropped, and may sync once more: nothing is promised by then.
                let lived = catch_unwind(AssertUnwindSafe(|| life.live(&voice)));
                Ok(match lived {
                    Ok(Ok(lived)) => lived.failure.map_or(Lived::Through, Lived::Failed),
                    Ok(Err(failure)) => Lived::Failed(failure.to_string()),
                    Err(panic) => Lived::Wrong(Finding::Panicked, said(&*panic)),
                })
            }
            #[cfg(target_os = "linux")]
            Self::Fuse(disk) => live_below(disk.path(), disk, setup),
            #[cfg(target_os = "linux")]
            Self::Block(disk) => live_below(disk.path(), disk.below(), setup),
        }
    }

    /// Gives a full disk room again, lets nothing more fail, and has a file system that has stopped
    /// over a failure go on.
    pub(crate) fn mend(&self) -> Checked {
        match self {
            Self::Memory(disk) => disk.control(FREE),
            #[cfg(target_os = "linux")]
            Self::Fuse(disk) => disk.control(FREE),
            #[cfg(target_os = "linux")]
            Self::Block(disk) => {
                disk.below().control(FREE);
                disk.remount().during("mounting again")?;
            }
        }
        Ok(())
    }

    /// Has the store on it checked through it.
    #[cfg(target_os = "linux")]
    pub(crate) fn look(&self, story: &Story, bounds: &Bounds, depth: Depth) -> Checked<Verdict> {
        let Self::Fuse(disk) = self else { return Err("only FUSE can be looked through".into()) };
        let dir = disk.path().join(STORE_DIR);
        let mut command = looker(story, &dir, bounds, depth)?;
        let exit = disk.run(&mut command, PATIENCE).during("running a checker")?;
        if exit.timed_out {
            return Ok(Verdict::failed(Finding::Hung, "a check took too long"));
        }
        Ok(looked(&exit.stdout))
    }

    pub(crate) fn recorded(&self) -> Recorded {
        match self {
            Self::Memory(disk) => disk.recorded(),
            #[cfg(target_os = "linux")]
            Self::Fuse(disk) => disk.recorded(),
            #[cfg(target_os = "linux")]
            Self::Block(disk) => disk.recorded(),
        }
    }
}

/// Lives a life in another process, with the store in a directory that lies on the disk.
#[cfg(target_os = "linux")]
fn live_below(dir: &Path, disk: &FuseDisk, setup: &Setup) -> Checked<Lived> {
    let dir = dir.join(STORE_DIR);
    let life = setup.life(Place::Dir(dir.clone()));
    let mut command = writer(&life, &dir, &disk.path().join(CONTROL))?;
    let exit = disk.run(&mut command, LIFETIME).during("running a writer")?;
    Ok(how(&exit))
}

/// The exit code of a process whose `main` panics.
#[cfg(target_os = "linux")]
const PANICKED: i32 = 101;

#[cfg(target_os = "linux")]
fn how(exit: &Exit) -> Lived {
    let said = exit.stderr.trim().replace('\n', " / ");
    let text = format!("{}: {said}", exit.status);
    if exit.timed_out {
        return Lived::Wrong(Finding::Hung, format!("more than {} s", LIFETIME.as_secs()));
    }
    match exit.status.code() {
        Some(0) => Lived::Through,
        Some(PANICKED) => Lived::Wrong(Finding::Panicked, text),
        _ => Lived::Failed(text),
    }
}

/// The directory of the store on a recorded disk.
pub(crate) const STORE_DIR: &str = "store";

/// Records one life from its beginning to its end.
pub(crate) fn record(setup: &Setup, base: &Image, faults: FaultPlan) -> Checked<Recording> {
    let disk = Disk::record(setup.medium, base, faults)?;
    let lived = disk.live(setup)?;
    let failure = lived.failure().map(ToOwned::to_owned);
    Ok(Recording { recorded: disk.recorded(), failure })
}

/// What a life has left.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) recorded: Recorded,
    pub(crate) failure: Option<String>,
}

/// Checks images, each in a place of its own.
pub(crate) enum Examiner {
    Memory(Option<Thread>),
    Files(Worker, Scratch),
    Block(Worker, Scratch),
}

/// Where images become directories, one after the other.
pub(crate) struct Scratch {
    dir: TempDir,
    number: u64,
}

impl Scratch {
    fn new() -> Checked<Self> {
        Ok(Self { dir: scratch()?, number: 0 })
    }

    /// What becomes of an image in a directory that is gone afterwards.
    fn with<T>(&mut self, image: &Image, check: impl FnOnce(&Path) -> Checked<T>) -> Checked<T> {
        self.number += 1;
        let dir = self.dir.path().join(self.number.to_string());
        std::fs::create_dir(&dir).during("making a place for a state")?;
        image.write_to(&dir).during("writing a state")?;
        let checked = check(&dir);
        // What a worker that hangs still holds goes with the whole.
        let _ = std::fs::remove_dir_all(&dir);
        checked
    }
}

/// A thread that checks; one that hangs is left behind.
pub(crate) struct Thread {
    asks: Sender<(Story, Job)>,
    answers: Receiver<Verdict>,
}

impl Thread {
    fn start() -> Self {
        let (asks, asked) = mpsc::channel::<(Story, Job)>();
        let (answer, answers) = mpsc::channel();
        thread::spawn(move || {
            let mut checker: Option<Checker> = None;
            for (story, job) in asked {
                let known = checker.take().filter(|checker| *checker.story() == story);
                let checker = checker.insert(known.unwrap_or_else(|| Checker::new(&story)));
                if answer.send(checker.check(&job)).is_err() {
                    return;
                }
            }
        });
        Self { asks, answers }
    }

    fn check(&self, story: &Story, job: Job) -> Verdict {
        let sent = self.asks.send((story.clone(), job));
        let heard = sent.ok().and_then(|()| self.answers.recv_timeout(PATIENCE).ok());
        heard.unwrap_or_else(|| {
            Verdict::failed(Finding::Hung, format!("no answer for {} s", PATIENCE.as_secs()))
        })
    }
}

impl Examiner {
    pub(crate) fn new(medium: Medium) -> Checked<Self> {
        Ok(match medium {
            Medium::Memory => Self::Memory(None),
            Medium::Fuse => Self::Files(Worker::default(), Scratch::new()?),
            Medium::Block => Self::Block(Worker::default(), Scratch::new()?),
        })
    }

    /// Checks one image.
    pub(crate) fn examine(
        &mut self,
        story: &Story,
        image: &Image,
        bounds: &Bounds,
        depth: Depth,
    ) -> Checked<Verdict> {
        match self {
            Self::Memory(thread) => {
                let disk = MemoryDisk::record(image, FaultPlan::default());
                let job = Job { place: Place::Memory(disk), bounds: bounds.clone(), depth };
                let verdict = thread.get_or_insert_with(Thread::start).check(story, job);
                if matches!(verdict, Verdict::Failed(..)) {
                    *thread = None;
                }
                Ok(verdict)
            }
            Self::Files(worker, scratch) => {
                scratch.with(image, |dir| worker.check(story, &dir.join(STORE_DIR), bounds, depth))
            }
            #[cfg(target_os = "linux")]
            Self::Block(worker, scratch) => scratch.with(image, |dir| {
                let mounted = Mounted::mount(&dir.join(DEVICE)).during("mounting a state")?;
                worker.check(story, &mounted.path().join(STORE_DIR), bounds, depth)
            }),
            #[cfg(not(target_os = "linux"))]
            Self::Block(..) => Err("a loop device: only on Linux".into()),
        }
    }
}

/// A directory for checks, in memory where there is one.
pub(crate) fn scratch() -> Checked<TempDir> {
    let named = || {
        let mut builder = tempfile::Builder::new();
        builder.prefix("kvlogdb-crash-");
        builder
    };
    let in_memory = Path::new(SHARED_MEMORY);
    let made = if in_memory.is_dir() { named().tempdir_in(in_memory) } else { named().tempdir() };
    made.during("making a place for states")
}

/// What a cut is made of.
#[derive(Debug, Clone)]
pub(crate) struct Cut<'a> {
    pub(crate) recorded: &'a Recorded,
    /// What was there before the first call.
    pub(crate) story: &'a Story,
    pub(crate) positions: &'a [u64],
    pub(crate) model: Model,
    pub(crate) plan: Plan,
}

/// A state that was found to be as it must be.
#[derive(Debug, Clone)]
pub(crate) struct Survivor {
    pub(crate) story: Story,
    pub(crate) image: Image,
    pub(crate) positions: Vec<u64>,
    pub(crate) torn: bool,
}

impl Cut<'_> {
    /// Checks every state that the plan draws. `keep` is told each that passed.
    pub(crate) fn run(
        &self,
        examiner: &mut Examiner,
        tally: &mut Tally,
        mut keep: impl FnMut(Survivor),
    ) -> Checked {
        let trace = &self.recorded.trace;
        let mut reader = Reader::new(trace, self.story, self.positions);
        let mut states = states(trace, &self.recorded.base, self.model, &self.plan);
        for state in states.by_ref() {
            reader.read_to(state.point);
            let (story, bounds) = (reader.ledger.story(), reader.ledger.bounds());
            let verdict = examiner.examine(story, &state.image, bounds, depth(&state))?;
            tally.states += 1;
            let origin = Origin { trace, model: self.model, state: &state };
            tally.failures.extend(of_state(origin, story, bounds, &verdict));
            let torn = matches!(verdict, Verdict::Repaired(_));
            tally.torn += u64::from(torn);
            if let Some(positions) = verdict.positions() {
                let (story, positions) = (story.clone(), positions.to_vec());
                keep(Survivor { story, image: state.image, positions, torn });
            }
            if tally.failures.len() >= ENOUGH {
                break;
            }
        }
        tally.drawn += states.drawn() as u64;
        Ok(())
    }
}

/// One state in four is opened twice.
fn depth(state: &CrashState) -> Depth {
    if state.digest.is_multiple_of(4) { Depth::Twice } else { Depth::Once }
}

/// Reads the marks of a trace, point after point.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    trace: &'a Trace,
    read: usize,
    pub(crate) ledger: Ledger,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(trace: &'a Trace, story: &Story, positions: &[u64]) -> Self {
        let ordered = story.spec.writers == 1 || story.spec.asks == Asks::Callback;
        Self { trace, read: 0, ledger: Ledger::new(story, positions, ordered) }
    }

    /// Takes in what was said before a point; points come in order.
    pub(crate) fn read_to(&mut self, point: usize) {
        let said = self.trace.ops().get(self.read..point).unwrap_or_default();
        said.iter().filter_map(heard).for_each(|mark| self.ledger.hear(mark));
        self.read = self.read.max(point);
    }
}

fn heard(op: &Op) -> Option<Mark> {
    let Op::Mark(crate::Mark::Will(text) | crate::Mark::Did(text)) = op else { return None };
    Mark::from_number(std::str::from_utf8(text).ok()?.trim().parse().ok()?)
}

/// The point behind the last opening of a trace.
pub(crate) fn last_opening(trace: &Trace) -> Option<usize> {
    let opened = |op: &Op| heard(op).is_some_and(|mark| mark.word == Word::Opened);
    trace.ops().iter().rposition(opened).map(|at| at + 1)
}

/// The point behind the first mark with this word.
pub(crate) fn first(trace: &Trace, word: Word) -> Option<usize> {
    let says = |op: &Op| heard(op).is_some_and(|mark| mark.word == word);
    trace.ops().iter().position(says).map(|at| at + 1)
}

/// The point at which a writer first heard of a failure.
pub(crate) fn first_failure(trace: &Trace) -> Option<usize> {
    let failed = |op: &Op| {
        matches!(op, Op::SyncFailed { .. })
            || heard(op).is_some_and(|mark| mark.word == Word::Failed)
    };
    trace.ops().iter().position(failed)
}
