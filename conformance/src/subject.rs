//! The engine under test.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use kvlogdb_engine_api::{KvLogDb, Result};
use libtest_mimic::{Arguments, Failed, Trial};

use crate::faults::Faults;
use crate::mode::Mode;
use crate::{Case, Fault, cases, play};

type Open = dyn Fn(&Path) -> Result<Arc<dyn KvLogDb>> + Send + Sync;

/// An engine and what the suite has to know of it.
#[derive(Clone)]
pub struct Subject {
    name: String,
    open: Arc<Open>,
    without_files: Option<&'static str>,
    faults: Option<Faults>,
    mode: Mode,
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("name", &self.name)
            .field("without_files", &self.without_files)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

impl Subject {
    /// An engine that keeps its store in files of the directory that `open` is given. The name is
    /// shown beside each case.
    pub fn new<E: KvLogDb + 'static>(
        name: &str,
        open: impl Fn(&Path) -> Result<E> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.to_owned(),
            open: Arc::new(move |dir| Ok(Arc::new(open(dir)?))),
            without_files: None,
            faults: None,
            mode: Mode::default(),
        }
    }

    /// Says why the engine has no files. Cases that look at files are then shown as ignored with
    /// this reason, and never as passed.
    #[must_use]
    pub fn without_files(mut self, reason: &'static str) -> Self {
        self.without_files = Some(reason);
        self
    }

    /// Gives the cases about failures a way to make the engine fail. `arm` is called with the
    /// directory of a store that is open, and with the way in which its next write or sync has to
    /// fail, once. Without it these cases are shown as ignored.
    #[must_use]
    pub fn with_faults(mut self, arm: impl Fn(&Path, Fault) + Send + Sync + 'static) -> Self {
        self.faults = Some(Faults::new(arm));
        self
    }

    /// Runs every case as a test program with the usual arguments, and gives its exit code.
    pub fn run(self) -> ExitCode {
        if let Some(code) = play([&self]) {
            return code;
        }
        let trials = cases().iter().flat_map(|case| {
            let modes = case.modes(&self).iter();
            modes.map(|&mode| self.clone().in_mode(mode).trial(case))
        });
        let trials = trials.collect();
        libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
    }

    fn trial(&self, case: &'static Case) -> Trial {
        let subject = self.clone();
        let ignored = case.obstacle(self);
        let kind = match &ignored {
            Some(reason) => format!("{}: {reason}", self.name),
            None => self.name.clone(),
        };
        let name = match self.mode {
            mode if mode == Mode::default() => case.name().to_owned(),
            mode => format!("{}@{mode}", case.name()),
        };
        Trial::test(name, move || case.run(&subject).map_err(Failed::from))
            .with_kind(kind)
            .with_ignored_flag(ignored.is_some())
    }

    pub(crate) fn open(&self, dir: &Path) -> Result<Arc<dyn KvLogDb>> {
        (self.open)(dir)
    }

    /// The same engine under stores of logs in this mode.
    pub(crate) fn in_mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn faults(&self) -> Option<&Faults> {
        self.faults.as_ref()
    }

    pub(crate) fn lacks_files(&self) -> Option<&'static str> {
        self.without_files
    }
}
