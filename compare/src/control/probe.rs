//! What a sync costs right now.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{BLOCK, CommitFile, MIB};
use crate::{Error, Result, stats};

const PROBE: &str = "probe";

/// The median time of a write of 4 KiB and its sync, over about `length`.
pub(crate) fn probe(dir: &Path, length: Duration) -> Result<Duration> {
    let failed = |error| Error::io("probe the disk", error);
    let path = dir.join(PROBE);
    let mut file = CommitFile::create_written(&path, MIB).map_err(failed)?;
    let (began, mut samples) = (Instant::now(), Vec::new());
    while began.elapsed() < length || samples.len() < 9 {
        let at = Instant::now();
        file.write(&BLOCK).and_then(|()| file.sync()).map_err(failed)?;
        samples.push(at.elapsed().as_secs_f64());
    }
    drop(file);
    std::fs::remove_file(&path).map_err(failed)?;
    Ok(Duration::from_secs_f64(stats::median(&samples)))
}
