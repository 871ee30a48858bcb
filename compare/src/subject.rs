//! The names of what is measured.

use std::path::Path;
use std::sync::Arc;

use kvlogdb::EngineKind;

use crate::control::{Growth, PlainFile};
use crate::kvlog::Kvlog;
use crate::store::{Settings, Store, Stores};
use crate::{Error, Result};

/// The combiner over a pre-written file: what every figure is held against.
pub const CONTROL: &str = "control, pre-written";
/// The combiner over a growing file.
pub const CONTROL_GROWING: &str = "control, growing";
/// A pre-written file without a log.
pub const PLAIN_FILE: &str = "plain file";
/// Before an engine's name: kvlogdb on it.
const LOG_ON: &str = "kvlogdb on ";
/// Before an engine's name: that engine without a log.
const BARE: &str = "bare ";

/// The subject that is kvlogdb on an engine.
pub fn log_on(engine: EngineKind) -> String {
    format!("{LOG_ON}{engine}")
}

/// The subject that is an engine without a log.
pub fn bare(engine: EngineKind) -> String {
    format!("{BARE}{engine}")
}

/// The engine of a subject that has one of these prefixes.
fn engine_behind(prefix: &str, name: &str) -> Option<EngineKind> {
    name.strip_prefix(prefix)?.parse().ok()
}

/// The engine that a subject of kvlogdb runs on.
pub fn log_engine(name: &str) -> Option<EngineKind> {
    engine_behind(LOG_ON, name)
}

/// The engine that a bare subject is.
pub fn bare_engine(name: &str) -> Option<EngineKind> {
    engine_behind(BARE, name)
}

/// Whether a subject is there for the others to be held against. What it wrote ends with it.
pub fn is_control(name: &str) -> bool {
    [CONTROL, CONTROL_GROWING, PLAIN_FILE].contains(&name)
}

/// kvlogdb on every engine that is compiled in, and the controls.
#[derive(Debug, Clone, Copy, Default)]
pub struct OwnStores;

impl Stores for OwnStores {
    fn open(&self, name: &str, dir: &Path, settings: &Settings) -> Result<Arc<dyn Store>> {
        match name {
            CONTROL => Kvlog::control(Growth::Prewritten, dir, settings),
            CONTROL_GROWING => Kvlog::control(Growth::Growing, dir, settings),
            PLAIN_FILE => PlainFile::open(dir),
            _ => match log_engine(name) {
                Some(engine) => Kvlog::open(engine, dir, settings),
                None => Err(Error::BadInput(format!("there is no store {name:?}"))),
            },
        }
    }
}
