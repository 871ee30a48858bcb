//! One measurement: one workload on one store, in a directory of its own.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::store::Settings;
use crate::workload::Workload;

/// What a measuring process is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellSpec {
    /// The store's name.
    pub subject: String,
    /// What to do with it.
    pub workload: Workload,
    /// Where: an empty directory.
    pub dir: PathBuf,
    /// What payloads and choices follow from.
    pub seed: u64,
    /// What the store is opened with.
    pub settings: Settings,
    /// What the run is for.
    pub mode: Mode,
}

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Time.
    Measure,
    /// Sync calls, which somebody counts from outside: short, and its times are not used.
    Count,
    /// What has to be there before: ends by a kill.
    Prepare,
}
