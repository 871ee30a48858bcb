//! Writes a story, and says in order with its writes what it does and what was promised to it.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use bytes::Bytes;
use kvlogdb::{EngineError, TornTail};
use kvlogdb_conformance::reference::log_batch;
use kvlogdb_log::{Durability, Error, LogStore, WhenFull};

use crate::check::positions;
use crate::failure::{Checked, Context, Failure, chain};
use crate::history::{History, Step, Story};
use crate::ledger::{Mark, Word};
use crate::record::memory::MemoryDisk;
use crate::record::{ARM, FREE};
use crate::spec::Asks;
use crate::subject::{self, Place};

/// How many commands a writer that uses callbacks has on their way before it waits.
const ON_THE_WAY: u64 = 6;
/// How often a store that failed is opened again before it is given up.
const REOPENINGS: u64 = 6;

/// Where what is said is heard.
#[derive(Debug)]
pub(crate) enum Voice {
    /// The control file of a recording, or any other file.
    File(Mutex<File>),
    /// A disk in memory.
    Memory(MemoryDisk),
}

impl Voice {
    pub(crate) fn file(path: &Path) -> Checked<Self> {
        let file = File::options().append(true).create(true).open(path);
        Ok(Self::File(Mutex::new(file.during("opening the control file")?)))
    }

    /// What says this can be gone: then nobody hears it.
    pub(crate) fn say(&self, mark: Mark) {
        let number = mark.to_number();
        let promise = !matches!(mark.word, Word::Issued | Word::Failed);
        match self {
            Self::File(file) => {
                let word = if promise { "did" } else { "will" };
                self::write(file, format!("{word} {number}\n").as_bytes());
            }
            Self::Memory(disk) => {
                let text = Bytes::from(number.to_string());
                let mark = if promise { crate::Mark::Did(text) } else { crate::Mark::Will(text) };
                disk.mark(mark);
            }
        }
    }

    /// Tells the disk that what it counts begins now, or that it has room again.
    fn control(&self, command: &[u8]) {
        match self {
            Self::File(file) => self::write(file, command),
            Self::Memory(disk) => disk.control(command),
        }
    }
}

/// In one call: a mark is heard as a whole.
fn write(file: &Mutex<File>, text: &[u8]) {
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = file.write_all(text);
}

/// How a life ends that nothing else ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The store is closed.
    Close,
    /// The process is gone from one moment to the next.
    Kill,
}

/// What is done about a write that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnFailure {
    /// It is the end.
    Stop,
    /// The store is opened again through its own handle, and the story goes on.
    Reopen,
}

/// A life of a store: from its opening to its end.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub(crate) story: Story,
    pub(crate) place: Place,
    /// How many commands every writer writes.
    pub(crate) commands: u64,
    pub(crate) ending: Ending,
    pub(crate) on_failure: OnFailure,
    /// What to do about a torn last batch at the start.
    pub(crate) torn: TornTail,
}

/// How a life went.
#[derive(Debug)]
pub(crate) struct Lived {
    /// The open store, where it was not to be closed.
    pub(crate) store: Option<LogStore>,
    /// The first failure, where there was one.
    pub(crate) failure: Option<String>,
}

/// Why the writers stopped before their end.
type Stopped = Option<Error>;

impl Life {
    /// Lives it. An error is one of the store before it was open, or of the story's own making.
    pub(crate) fn live(&self, voice: &Arc<Voice>) -> Checked<Lived> {
        let store =
            subject::open(&self.story.spec, &self.place, self.torn).during("opening the store")?;
        voice.control(ARM);
        let mut told = self.story.clone();
        let mut failure = None;
        let mut until: Option<Vec<u64>> = None;
        for _ in 0..=REOPENINGS {
            let at = positions(&store, told.spec.writers)?;
            let ends: Vec<u64> = at.iter().map(|at| at + self.commands).collect();
            let ends = until.get_or_insert(ends).clone();
            told.lives.push(at.clone());
            for (writer, &at) in (0..).zip(&at) {
                voice.say(Mark::new(Word::Opened, writer, at));
            }
            let stopped = write_all(&store, &told, voice, &ends)?;
            let Some(error) = stopped.or_else(|| self.end(&store, voice).err()) else {
                let store = (self.ending == Ending::Kill).then_some(store);
                return Ok(Lived { store, failure });
            };
            failure.get_or_insert_with(|| chain(&error));
            voice.say(Mark::new(Word::Failed, 0, 0));
            if self.on_failure == OnFailure::Stop || !reopen(&store, voice)? {
                return Ok(Lived { store: Some(store), failure });
            }
        }
        Err("the store fails however often it is opened again".into())
    }

    fn end(&self, store: &LogStore, voice: &Voice) -> kvlogdb_log::Result<()> {
        match self.ending {
            Ending::Kill => store.sync()?,
            Ending::Close => store.close()?,
        }
        voice.say(Mark::new(Word::Settled, 0, 0));
        Ok(())
    }
}

/// Opens a store that has failed; `false` where that takes another process.
fn reopen(store: &LogStore, voice: &Voice) -> Checked<bool> {
    voice.control(FREE);
    let mut last = None;
    for _ in 0..REOPENINGS {
        match store.reopen() {
            Ok(_) => return Ok(true),
            Err(Error::Engine(EngineError::RestartNeeded { .. })) => return Ok(false),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(Failure::from(format!("reopening: {}", chain(&error)))),
        None => Ok(true),
    }
}

/// Lets every writer write up to its end; gives the first failure.
fn write_all(store: &LogStore, told: &Story, voice: &Arc<Voice>, ends: &[u64]) -> Checked<Stopped> {
    let stop = AtomicBool::new(false);
    let turn = Mutex::new(());
    let mut writers = Vec::new();
    for (history, &end) in told.histories().into_iter().zip(ends) {
        let asks = told.spec.asks;
        writers.push(Writer { store, asks, voice, history, end, stop: &stop, turn: &turn });
    }
    if writers.len() == 1 {
        return writers.remove(0).write();
    }
    let ended: Vec<Checked<Stopped>> = thread::scope(|scope| {
        let started: Vec<_> =
            writers.into_iter().map(|mut writer| scope.spawn(move || writer.write())).collect();
        let join = |one: thread::ScopedJoinHandle<'_, Checked<Stopped>>| {
            one.join().unwrap_or_else(|panic| Err(crate::check::said(&*panic).into()))
        };
        started.into_iter().map(join).collect()
    });
    let mut first = None;
    for one in ended {
        first = first.or(one?);
    }
    Ok(first)
}

/// One writer at work.
struct Writer<'a> {
    store: &'a LogStore,
    asks: Asks,
    voice: &'a Arc<Voice>,
    history: History,
    end: u64,
    stop: &'a AtomicBool,
    /// Held from the moment a command is announced until it is accepted, where that order counts.
    turn: &'a Mutex<()>,
}

impl Writer<'_> {
    fn write(&mut self) -> Checked<Stopped> {
        while self.history.last() < self.end && !self.stop.load(Ordering::Relaxed) {
            let number = self.history.last() + 1;
            self.history.draw_to(number);
            let step = self.history.step(number).cloned().ok_or("a command is not drawn")?;
            if let Err(error) = self.write_one(&step) {
                self.stop.store(true, Ordering::Relaxed);
                return Ok(Some(error));
            }
            self.vouch(&step)?;
        }
        Ok(None)
    }

    fn write_one(&self, step: &Step) -> kvlogdb_log::Result<()> {
        let batch = log_batch(&step.changes)?;
        let (writer, number) = (self.history.writer(), step.position.number);
        let issued = Mark::new(Word::Issued, writer, number);
        let acked = Mark::new(Word::Acked, writer, number);
        if self.asks == Asks::Callback {
            let voice = Arc::clone(self.voice);
            let callback = move |ended: kvlogdb_log::Result<&[_]>| {
                if ended.is_ok() {
                    voice.say(acked);
                }
            };
            {
                let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
                self.voice.say(issued);
                self.store.submit_with(&batch, WhenFull::Wait, callback)?;
            }
            if number.is_multiple_of(ON_THE_WAY) || number == self.end {
                self.store.sync()?;
            }
            return Ok(());
        }
        self.voice.say(issued);
        self.store.write(&batch, step.asked)?;
        if step.owed == Durability::Synced {
            self.voice.say(acked);
        }
        Ok(())
    }

    /// Says what the logs of a command hold as durable, where that is less than all.
    fn vouch(&self, step: &Step) -> Checked {
        if self.asks == Asks::Synced {
            return Ok(());
        }
        for (replica, _) in step.changes.iter() {
            let Ok(Some(durable)) = self.store.log(*replica).durable() else { continue };
            let holds = |step: &&Step| {
                let held = step.state.of(*replica).id(durable.id.index);
                held.as_ref() == Some(&durable)
            };
            let since = self.history.steps().rev().take_while(holds).last();
            let Some(since) = since else {
                let text = format!("durable of {replica} is {}, which it has not", durable.id);
                return Err(text.into());
            };
            let number = since.position.number;
            self.voice.say(Mark::new(Word::Durable, self.history.writer(), number));
        }
        Ok(())
    }
}
