//! A real file system on a recorded disk.

use std::fs::{self, File};

use kvlogdb_crash::record::block::{BlockDisk, Mounted, formatted};
use kvlogdb_crash::record::{DEVICE, Recorded};
use kvlogdb_crash::{FaultPlan, Model, Plan, Points, needs, states};
use libtest_mimic::{Failed, Trial};

use super::Checked;

pub(crate) fn trials() -> Vec<Trial> {
    let run = || what_was_synced().map_err(|error| Failed::from(error.to_string()));
    vec![needs::block_trial("what_was_synced_is_on_every_disk_behind_it", run)]
}

const NAME: &str = "file";
const SYNCED: &[u8] = &[7; 10_000];

fn what_was_synced() -> Checked {
    let disk = BlockDisk::record(&formatted()?, FaultPlan::default())?;
    let path = disk.path().join(NAME);
    fs::write(&path, SYNCED)?;
    File::open(&path)?.sync_all()?;
    File::open(disk.path())?.sync_all()?;
    let synced = disk.recorded().trace.len();
    fs::write(&path, [8; 10_000])?;
    File::open(&path)?.sync_all()?;
    let (before, behind) = look(&disk.recorded(), synced)?;
    assert!(before.contains(&None), "the power was never cut early enough");
    assert!(!behind.is_empty());
    // Its length was cut before it was written anew, and neither is undone.
    let whole = |seen: &Option<Vec<u8>>| seen.as_deref() == Some(SYNCED);
    assert!(behind.iter().any(whole));
    assert!(behind.iter().all(Option::is_some));
    Ok(())
}

type Seen = Vec<Option<Vec<u8>>>;

/// What the file holds on the disks that a power cut may leave, before a point and from there on.
fn look(recorded: &Recorded, point: usize) -> Checked<(Seen, Seen)> {
    let plan = Plan { seed: 1, budget: 120, points: Points::All };
    let (mut before, mut behind) = (Vec::new(), Vec::new());
    for state in states(&recorded.trace, &recorded.base, Model::Block, &plan) {
        let dir = tempfile::tempdir()?;
        state.image.write_to(dir.path())?;
        let mounted = Mounted::mount(&dir.path().join(DEVICE))?;
        let seen = fs::read(mounted.path().join(NAME)).ok();
        if state.point < point { before.push(seen) } else { behind.push(seen) }
    }
    Ok((before, behind))
}
