//! What was measured, by version.

use kvlogdb::{EngineKind, Options};

use crate::Result;
use crate::run::Workplace;

/// kvlogdb's version and those of the engines under it, as they say themselves.
pub fn versions(place: &Workplace) -> Result<Vec<(String, String)>> {
    let mut versions = vec![("kvlogdb".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
    for engine in EngineKind::available() {
        let store = Options::new().engine(engine).open(place.path().join(engine.name()))?;
        let info = store.info();
        versions.push((info.name.to_owned(), info.version.to_owned()));
        store.close()?;
    }
    Ok(versions)
}
