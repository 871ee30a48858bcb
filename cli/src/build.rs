//! Building a new store beside its place.

use std::path::Path;

use kvlogdb::transfer::{Totals, create_sidecar};
use kvlogdb::{Draft, EngineError, EngineKind, KvLogDb, Options, sidecar_path};

use crate::exit::Failure;

/// Begins a draft of the store that shall be in `dir`.
pub(crate) fn begin(dir: &Path) -> Result<Draft, Failure> {
    Draft::begin(dir).map_err(|error| match error {
        EngineError::Invalid { what } => {
            Failure::bad_input(format!("{what}: the new store needs a name that is free"))
        }
        other => Failure::engine(&format!("cannot make {}", dir.display()), other),
    })
}

/// Makes a store of `draft` out of the records that `fill` puts into its engine, and closes it.
pub(crate) fn make(
    engine: EngineKind,
    identity: &[u8],
    draft: &Draft,
    fill: impl FnOnce(&dyn KvLogDb) -> Result<Totals, Failure>,
) -> Result<Totals, Failure> {
    let failed = |error| Failure::store("the new store failed", &error);
    let mut options = Options::new().engine(engine);
    if !identity.is_empty() {
        options = options.identity(identity);
    }
    let target = options.open_engine(draft.dir()).map_err(|error| failed(error.into()))?;
    let totals = fill(&*target)?;
    create_sidecar(&*target, &sidecar_path(draft.dir())).map_err(failed)?;
    target.close().map_err(|error| failed(error.into()))?;
    Ok(totals)
}

/// Gives the store its name.
pub(crate) fn publish(draft: Draft, dir: &Path) -> Result<(), Failure> {
    draft
        .publish()
        .map_err(|error| Failure::engine(&format!("cannot make {}", dir.display()), error))
}
