//! Where a case runs: a directory of its own, and a store in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kvlogdb_engine_api::{Durability, KvLogDb, Result, WriteBatch};
use tempfile::TempDir;

use crate::Subject;
use crate::failure::{Checked, Context};
use crate::model::Model;

/// Opens one store, as often as it is called.
pub(crate) type Opener = Arc<dyn Fn() -> Result<Arc<dyn KvLogDb>> + Send + Sync>;

/// A directory of its own for one case, and the way to open a store there.
#[derive(Debug)]
pub(crate) struct Env {
    subject: Subject,
    dir: PathBuf,
    /// The directory of the case, in which the store's is.
    place: PathBuf,
    /// Removes the directory with everything in it when the case is over; a child leaves that to
    /// its parent.
    _remover: Option<TempDir>,
}

impl Env {
    pub(crate) fn new(subject: Subject) -> Checked<Self> {
        let remover = tempfile::tempdir().during("making a directory for the case")?;
        let place = remover.path().to_owned();
        Ok(Self { _remover: Some(remover), ..Self::at(subject, place) })
    }

    /// In a directory that somebody else has made, and removes.
    pub(crate) fn at(subject: Subject, place: PathBuf) -> Self {
        Self { subject, dir: place.join("store"), place, _remover: None }
    }

    pub(crate) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The directory of the case.
    pub(crate) fn place(&self) -> &Path {
        &self.place
    }

    /// The same case on another store, in a directory of the case.
    pub(crate) fn elsewhere(&self, name: &str) -> Checked<Self> {
        let place = self.place.join(name);
        std::fs::create_dir(&place).during("making another directory for the case")?;
        Ok(Self::at(self.subject.clone(), place))
    }

    /// The store's directory, which does not exist before the first open.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Another path for this case's use, on which nothing is yet.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.place.join(name)
    }

    /// What opens the store, for those who do so on their own.
    pub(crate) fn opener(&self) -> Opener {
        self.opener_in(&self.dir)
    }

    /// What opens the store that is in another directory.
    pub(crate) fn opener_in(&self, dir: &Path) -> Opener {
        let (subject, dir) = (self.subject.clone(), dir.to_owned());
        Arc::new(move || subject.open(&dir))
    }

    /// Opens the store; the engine's own answer.
    pub(crate) fn try_open(&self) -> Result<Arc<dyn KvLogDb>> {
        self.subject.open(&self.dir)
    }

    pub(crate) fn open(&self) -> Checked<Arc<dyn KvLogDb>> {
        self.try_open().during("opening the store")
    }

    /// Opens the store that is in another directory.
    pub(crate) fn open_in(&self, dir: &Path) -> Checked<Arc<dyn KvLogDb>> {
        self.subject.open(dir).during("opening another store")
    }

    /// Closes the engine, lets go of it and opens the store again.
    pub(crate) fn reopen(&self, engine: Arc<dyn KvLogDb>) -> Checked<Arc<dyn KvLogDb>> {
        engine.close().during("closing the store")?;
        drop(engine);
        self.open().during("after a close")
    }
}

/// An open store with a model beside it: what is written goes to both.
#[derive(Debug)]
pub(crate) struct Store<'a> {
    env: &'a Env,
    engine: Arc<dyn KvLogDb>,
    model: Model,
}

impl<'a> Store<'a> {
    /// Opens the case's store, which the case has not written to yet.
    pub(crate) fn open(env: &'a Env) -> Checked<Self> {
        Ok(Self { env, engine: env.open()?, model: Model::default() })
    }

    pub(crate) fn engine(&self) -> &dyn KvLogDb {
        &*self.engine
    }

    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    /// Writes the batches in one call.
    pub(crate) fn write(&mut self, batches: &[&WriteBatch], durability: Durability) -> Checked {
        self.engine.write(batches, durability).during("writing")?;
        for batch in batches {
            self.model.apply(batch);
        }
        Ok(())
    }

    /// Builds one batch and writes it Buffered.
    pub(crate) fn buffered(
        &mut self,
        build: impl FnOnce(&mut WriteBatch) -> Result<()>,
    ) -> Checked {
        self.write(&[&batch(build)?], Durability::Buffered)
    }

    /// Builds one batch and writes it Synced.
    pub(crate) fn synced(&mut self, build: impl FnOnce(&mut WriteBatch) -> Result<()>) -> Checked {
        self.write(&[&batch(build)?], Durability::Synced)
    }

    /// Tells the model what the case has already written to the engine by other ways.
    pub(crate) fn has_written(&mut self, batch: &WriteBatch) {
        self.model.apply(batch);
    }

    /// Compares everything that the engine answers with the model.
    pub(crate) fn check(&self) -> Checked {
        self.model.check(self.engine())
    }

    /// Checks, closes, opens, and checks again.
    pub(crate) fn twice(&mut self, check: impl Fn(&dyn KvLogDb) -> Checked) -> Checked {
        check(self.engine())?;
        self.reopen()?;
        check(self.engine()).during("after reopen")
    }

    pub(crate) fn reopen(&mut self) -> Checked {
        self.engine.close().during("closing the store")?;
        self.open_again().during("after a close")
    }

    /// Lets go of the engine without closing it, and opens the store again.
    pub(crate) fn drop_and_open(&mut self) -> Checked {
        self.open_again().during("after a drop")
    }

    fn open_again(&mut self) -> Checked {
        // The old handle must be gone first: a store has one handle at a time.
        self.engine = Arc::new(kvlogdb_engine_api::MemoryEngine::new());
        self.engine = self.env.open()?;
        Ok(())
    }

    pub(crate) fn close(self) -> Checked {
        self.engine.close().during("closing the store")
    }
}

/// A batch with the operations that `build` adds.
pub(crate) fn batch(build: impl FnOnce(&mut WriteBatch) -> Result<()>) -> Checked<WriteBatch> {
    let mut batch = WriteBatch::new();
    build(&mut batch).during("building a batch")?;
    Ok(batch)
}
