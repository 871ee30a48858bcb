//! A recorded trace as work for stores: indexes and sizes.

use std::path::{Path, PathBuf};

use kvlogdb_compare::{Error, Step, write_steps};

use crate::replay::trace::{Change, Trace};

/// Reads a trace. Its commits without entries are left out: every store under test takes entries.
pub(super) fn read(path: &Path) -> Result<Vec<Step>, Error> {
    let trace = Trace::read(path).map_err(|failure| Error::BadInput(failure.to_string()))?;
    if let Some(defect) = &trace.defect {
        let what = format!("{}: line {} {}", path.display(), defect.line, defect.what);
        return Err(Error::BadInput(what));
    }
    let changes = trace.commits.iter().flat_map(|commit| &commit.changes);
    let steps: Vec<Step> = changes
        .filter_map(|change| match change {
            Change::Entries(entries) => Some(Step {
                first: entries.first()?.id.index,
                sizes: entries.iter().map(|entry| entry.payload.len()).collect(),
            }),
            _ => None,
        })
        .collect();
    if steps.is_empty() {
        return Err(Error::BadInput(format!("{} has no entries", path.display())));
    }
    Ok(steps)
}

pub(super) fn entries(steps: &[Step]) -> u64 {
    steps.iter().map(|step| step.sizes.len() as u64).sum()
}

/// Keeps the steps in a file for the processes that measure.
pub(super) fn keep(place: &Path, steps: &[Step]) -> Result<(PathBuf, u64), Error> {
    let path = place.join("steps");
    write_steps(&path, steps)?;
    // They are opened from elsewhere.
    let path = std::path::absolute(&path).map_err(|error| Error::io("find the trace", error))?;
    Ok((path, entries(steps)))
}
