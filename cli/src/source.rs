//! A store that is looked into: nothing is made, and nothing is written but by the engine itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kvlogdb::{
    CheckReport, Creation, EngineError, EngineKind, KvLogDb, Manifest, Opening, Options,
};

use crate::exit::Failure;

/// How many problems a refusal names.
const NAMED_PROBLEMS: usize = 3;

pub(crate) struct Source {
    pub(crate) dir: PathBuf,
    pub(crate) manifest: Manifest,
    pub(crate) engine: Arc<dyn KvLogDb>,
}

impl Source {
    /// Opens the engine of an existing store.
    pub(crate) fn open(dir: &Path) -> Result<Self, Failure> {
        Self::try_open(dir, Options::new()).map_err(|error| not_opened(dir, error))
    }

    pub(crate) fn try_open(dir: &Path, options: Options) -> Result<Self, EngineError> {
        let source = Self::open_with(dir, options)?;
        if let Ok(kind) = source.manifest.engine.parse() {
            say_what_opening_did(kind);
        }
        Ok(source)
    }

    /// Opens a store of the command's own, whose files nobody else cares for.
    pub(crate) fn open_quietly(dir: &Path) -> Result<Self, Failure> {
        Self::open_with(dir, Options::new()).map_err(|error| not_opened(dir, error))
    }

    fn open_with(dir: &Path, options: Options) -> Result<Self, EngineError> {
        let engine = options.creation(Creation::Never).open_engine(dir)?;
        let manifest = Manifest::read(dir)?.ok_or_else(|| EngineError::Corrupt {
            what: "the store's MANIFEST is gone".to_owned(),
            source: None,
        })?;
        Ok(Self { dir: dir.to_owned(), manifest, engine })
    }

    pub(crate) fn sidecar(&self) -> PathBuf {
        kvlogdb::sidecar_path(&self.dir)
    }

    /// How the store is named in messages.
    pub(crate) fn name(&self) -> String {
        self.dir.display().to_string()
    }

    pub(crate) fn check(&self) -> Result<CheckReport, Failure> {
        kvlogdb::check(&*self.engine, Some(&self.sidecar()))
            .map_err(|error| Failure::store(&self.name(), &error))
    }

    /// Checks every record, and refuses a store with any damage by naming it.
    pub(crate) fn sound(&self) -> Result<CheckReport, Failure> {
        let report = self.check()?;
        if report.is_clean() { Ok(report) } else { Err(damaged(&self.name(), &report)) }
    }

    pub(crate) fn close(self) -> Result<(), Failure> {
        self.engine.close().map_err(|error| Failure::engine(&self.name(), error))
    }
}

pub(crate) fn not_opened(dir: &Path, error: EngineError) -> Failure {
    Failure::engine(&format!("cannot open {}", dir.display()), error)
}

/// The refusal of a store with the problems in `report`.
pub(crate) fn damaged(name: &str, report: &CheckReport) -> Failure {
    let named = report.problems.iter().take(NAMED_PROBLEMS).map(ToString::to_string);
    let mut what: Vec<_> = named.collect();
    let more = report.problems.len().saturating_sub(NAMED_PROBLEMS) as u64 + report.more_problems;
    if more > 0 {
        what.push(format!("and {more} more"));
    }
    Failure::damage(format!("{name} is damaged: {}", what.join("; ")))
}

fn say_what_opening_did(engine: EngineKind) {
    match engine.opening() {
        Opening::Writes => {
            eprintln!("kvlogdb: {engine} writes to its files whenever it is opened and closed");
        }
        _ => eprintln!(
            "kvlogdb: {engine} finishes what its last handle left to do when it is opened, and \
             may write for that"
        ),
    }
}
