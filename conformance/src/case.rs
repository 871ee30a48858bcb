//! One claim about an engine.

use std::any::Any;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::env::{Env, Store};
use crate::failure::{Checked, Context};
use crate::faults::Faults;
use crate::logs::Logs;
use crate::mode::{MODES, Mode};
use crate::{Subject, child, platform, random};

/// A case that takes longer hangs, and hanging is a failure. The whole suite takes seconds.
const DEADLINE: Duration = Duration::from_secs(120);
/// The same for runs that somebody has asked to be long.
const LONG_DEADLINE: Duration = Duration::from_secs(7 * 24 * 3600);

/// One claim that every engine must keep.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    name: &'static str,
    module: &'static str,
    traps: &'static [u8],
    body: Body,
}

/// How a case is run, and what is checked around it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Body {
    /// On an open store with a model beside it. After the case the two are compared, the store is
    /// closed and opened, and they are compared again.
    Store(fn(&mut Store) -> Checked),
    /// On an open store of logs. After the case the store must have no damage; it is closed and
    /// opened, and must show what it showed before, again without damage.
    Log(fn(&mut Logs) -> Checked),
    /// On a directory: the case opens and closes the store itself.
    Dir(fn(&Env) -> Checked),
    /// As `Dir`, for cases that look at the store's files.
    Files(fn(&Env) -> Checked),
    /// As `Files`, for cases that start processes of their own.
    Process(fn(&Env) -> Checked),
    /// As `Process`, for cases that count or fail the calls of a process.
    Trace(fn(&Env) -> Checked),
    /// As `Process`, for cases on a file system with little room.
    SmallDisk(fn(&Env) -> Checked),
    /// As `Process`, for cases with a limit on the size of files.
    FileLimit(fn(&Env) -> Checked),
    /// As `Dir`, for cases that make the engine fail.
    Faults(fn(&Env, &Faults) -> Checked),
}

impl Case {
    pub(crate) const fn new(
        name: &'static str,
        module: &'static str,
        traps: &'static [u8],
        body: Body,
    ) -> Self {
        Self { name, module, traps, body }
    }

    /// The modes in which the case is run on this engine. Cases without a store of logs know one.
    pub(crate) fn modes(&self, subject: &Subject) -> &'static [Mode] {
        let has_logs = self.module.starts_with("log::")
            || ["kill::log", "full::disk", "fault::hooked"].contains(&self.module);
        let runs = has_logs && self.obstacle(subject).is_none();
        if runs { &MODES } else { &MODES[..1] }
    }

    /// `layer::claim`, the same on every engine.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The numbers of the known ways to lose data that this case guards against, as the README
    /// lists them.
    pub fn traps(&self) -> &'static [u8] {
        self.traps
    }

    /// Why the case cannot be run on this engine, `None` where it can.
    ///
    /// Some reasons lie in the engine, some in the machine: what this user may do there.
    pub fn obstacle(&self, subject: &Subject) -> Option<&'static str> {
        let process = || subject.lacks_files().or_else(child::obstacle);
        match self.body {
            Body::Store(_) | Body::Log(_) | Body::Dir(_) => None,
            Body::Files(_) => subject.lacks_files(),
            Body::Process(_) => process(),
            Body::Trace(_) => process().or_else(platform::trace_obstacle),
            Body::SmallDisk(_) => process().or_else(platform::small_disk_obstacle),
            Body::FileLimit(_) => process().or_else(platform::file_limit_obstacle),
            Body::Faults(_) if subject.faults().is_some() => None,
            Body::Faults(_) => Some("the suite has no way to make this engine fail from inside"),
        }
    }

    /// Runs the case in a fresh directory.
    ///
    /// # Errors
    ///
    /// What differed from the contract; a panic, a hang and a case that cannot be run on this
    /// engine are errors too. A case that hangs keeps its thread and its directory.
    pub fn run(&self, subject: &Subject) -> Result<(), String> {
        let deadline = if random::is_long() { LONG_DEADLINE } else { DEADLINE };
        self.run_within(deadline, subject)
    }

    fn run_within(&self, deadline: Duration, subject: &Subject) -> Result<(), String> {
        if let Some(reason) = self.obstacle(subject) {
            return Err(format!("the case cannot be run: {reason}"));
        }
        let (body, subject) = (self.body, subject.clone());
        let (done, result) = mpsc::channel();
        let worker = thread::Builder::new()
            .name(self.name.to_owned())
            .spawn(move || done.send(body.run(&subject)))
            .map_err(|error| format!("no thread for the case: {error}"))?;
        match result.recv_timeout(deadline) {
            Ok(result) => result.map_err(|failure| failure.to_string()),
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("still running after {} s", deadline.as_secs()))
            }
            Err(RecvTimeoutError::Disconnected) => Err(match worker.join() {
                Err(panic) => format!("panicked: {}", message(&*panic)),
                Ok(_) => "ended without a result".to_owned(),
            }),
        }
    }
}

impl Body {
    fn run(self, subject: &Subject) -> Checked {
        let env = Env::new(subject.clone())?;
        match self {
            Self::Dir(case)
            | Self::Files(case)
            | Self::Process(case)
            | Self::Trace(case)
            | Self::SmallDisk(case)
            | Self::FileLimit(case) => case(&env),
            Self::Faults(case) => {
                let faults = subject.faults().ok_or("the engine has no faults")?;
                case(&env, faults)
            }
            Self::Store(case) => {
                let mut store = Store::open(&env)?;
                case(&mut store)?;
                store.check().during("comparing with the model")?;
                store.reopen()?;
                store.check().during("comparing with the model after reopen")?;
                store.close()
            }
            Self::Log(case) => {
                let mut logs = Logs::open(&env)?;
                case(&mut logs)?;
                logs.settle()?;
                logs.close()
            }
        }
    }
}

/// What a panic said.
pub(crate) fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("something that is not text")
}

#[cfg(test)]
mod tests {
    use kvlogdb_engine_api::{Durability, KvLogDb, MemoryDisk, MemoryEngine, MetaKey, WriteBatch};
    use kvlogdb_log::LogBatch;

    use super::*;
    use crate::logs::R;

    /// Longer than any of these cases takes on a machine that does other things, too.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Runs a case on an engine that forgets everything when it is closed.
    fn run_body(body: Body) -> Result<(), String> {
        let subject = Subject::new("forgetful", |_| Ok(MemoryEngine::new()));
        let case = Case::new("engine::test", "engine::tests", &[], body);
        case.run_within(PATIENCE, &subject)
    }

    fn run(case: fn(&Env) -> Checked) -> Result<(), String> {
        run_body(Body::Dir(case))
    }

    #[test]
    fn what_a_case_wrote_is_compared_after_reopen_without_its_asking() {
        assert_eq!(run_body(Body::Store(|_| Ok(()))), Ok(()));
        let put = |store: &mut Store| {
            let key = MetaKey::store(256);
            store.synced(|batch| batch.put_meta(key, &[b"forgotten"]))
        };
        let failure = run_body(Body::Store(put)).unwrap_err();
        assert!(failure.starts_with("comparing with the model after reopen"), "{failure}");
    }

    /// Runs a case of the log on an engine that forgets one slot of the user when it is opened.
    fn run_log(body: fn(&mut Logs) -> Checked) -> Result<(), String> {
        let disk = MemoryDisk::default();
        let open = move |_: &std::path::Path| {
            let engine = disk.open()?;
            let mut batch = WriteBatch::new();
            batch.remove_meta(MetaKey::replica(R, 256));
            engine.write(&[&batch], Durability::Synced)?;
            Ok(engine)
        };
        let case = Case::new("log::test", "log::tests", &[], Body::Log(body));
        case.run_within(PATIENCE, &Subject::new("forgetful", open))
    }

    #[test]
    fn what_a_case_of_the_log_shows_is_compared_after_reopen_without_its_asking() {
        assert_eq!(run_log(|logs| logs.fill(R, 1, 1..=3)), Ok(()));
        let put = |logs: &mut Logs| {
            let mut batch = LogBatch::new();
            batch.put_slot(R, 256, "forgotten")?.put_slot(R, 257, "kept")?;
            logs.apply(&batch)
        };
        let failure = run_log(put).unwrap_err();
        assert!(failure.starts_with("after reopen: replica 7/0"), "{failure}");
    }

    #[test]
    fn damage_that_a_case_of_the_log_leaves_is_found_without_its_asking() {
        let damage = |logs: &mut Logs| {
            logs.fill(R, 1, 1..=3)?;
            logs.edit(|engine, batch| {
                for log in crate::model::logs(engine)? {
                    batch.remove_entries(log, 2, 2);
                }
                Ok(())
            })
        };
        let failure = run_log(damage).unwrap_err();
        assert!(failure.contains("a walk through the store finds"), "{failure}");
    }

    #[test]
    fn what_a_case_answers_is_its_result() {
        assert_eq!(run(|_| Ok(())), Ok(()));
        assert_eq!(run(|_| Err("differs".into())), Err("differs".to_owned()));
    }

    #[test]
    fn a_case_that_hangs_fails() {
        let hang = |_: &Env| {
            thread::sleep(Duration::from_secs(20));
            Ok(())
        };
        let case = Case::new("engine::test", "engine::tests", &[], Body::Dir(hang));
        let subject = Subject::new("forgetful", |_| Ok(MemoryEngine::new()));
        let answer = case.run_within(Duration::from_secs(1), &subject);
        assert_eq!(answer, Err("still running after 1 s".to_owned()));
    }

    #[test]
    fn a_case_that_panics_fails() {
        assert_eq!(run(|_| panic!("at {}", 1)), Err("panicked: at 1".to_owned()));
        assert_eq!(run(|_| panic!("at once")), Err("panicked: at once".to_owned()));
    }
}
