//! Every fault, seen by the process that calls.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use kvlogdb_crash::faults::{Call, Effect, Fault, Start};
use kvlogdb_crash::record::fuse::{CONTROL, FuseDisk};
use kvlogdb_crash::trace::Cache;
use kvlogdb_crash::{FaultPlan, Image, Op};
use libtest_mimic::Trial;

use super::{Checked, run, trial};

const EIO: i32 = 5;
const SIGKILL: i32 = 9;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("the_nth_call_of_each_kind_fails_once", the_nth_call_fails),
        trial("a_failed_sync_keeps_or_reverts_the_cache", a_failed_sync),
        trial("a_full_disk_takes_what_fits_until_it_is_freed", a_full_disk),
        trial("a_short_write_and_a_short_read_say_so", short_calls),
        trial("a_bit_is_flipped_in_one_read_only", a_flipped_bit),
        trial("a_kill_at_a_sync_leaves_it_undone", a_kill_at_a_sync),
    ]
}

fn failing(call: Call, nth: u64, effect: Effect) -> FaultPlan {
    FaultPlan { fault: Some(Fault { call, nth, effect }), ..FaultPlan::default() }
}

fn record(faults: FaultPlan) -> Checked<FuseDisk> {
    Ok(FuseDisk::record(&Image::default(), faults)?)
}

fn control(disk: &FuseDisk, text: &[u8]) -> io::Result<()> {
    File::options().write(true).open(disk.path().join(CONTROL))?.write_all(text)
}

/// One call of each kind on the file or directory of a number.
fn calls(dir: &Path, number: u32) -> Vec<(Call, io::Result<()>)> {
    let path = dir.join(format!("file{number}"));
    let (moved, made) = (dir.join(format!("moved{number}")), dir.join(format!("dir{number}")));
    let opened = File::create_new(&path).map(drop);
    if opened.is_err() {
        fs::write(&path, b"").unwrap();
    }
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let mut answers = vec![
        (Call::Open, opened),
        (Call::Write, file.write_all_at(b"text", 0)),
        (Call::SetLen, file.set_len(100)),
        (Call::Sync, file.sync_data()),
        (Call::Read, file.read_at(&mut [0; 4], 0).map(|_| ())),
        (Call::Rename, fs::rename(&path, &moved)),
        (Call::MakeDir, fs::create_dir(&made)),
    ];
    let removed = if moved.exists() { fs::remove_file(&moved) } else { fs::remove_file(&path) };
    answers.push((Call::Remove, removed));
    answers
}

fn the_nth_call_fails() -> Checked {
    for call in [
        Call::Sync,
        Call::Write,
        Call::SetLen,
        Call::Rename,
        Call::MakeDir,
        Call::Remove,
        Call::Read,
    ] {
        for nth in 1..=3 {
            let disk = record(failing(call, u64::from(nth), Effect::Fail))?;
            for round in 1..=4 {
                for (made, answer) in calls(disk.path(), round) {
                    let error = answer.err().and_then(|error| error.raw_os_error());
                    let expected = (made == call && round == nth).then_some(EIO);
                    assert_eq!(error, expected, "{call:?} {nth}: {made:?} of round {round}");
                }
            }
            assert_eq!(disk.end()?.struck, 1);
        }
    }
    let disk = record(failing(Call::Open, 2, Effect::Fail))?;
    let opens = ["a", "a", "b", "a"].map(|name| File::create(disk.path().join(name)).is_ok());
    assert_eq!(opens, [true, false, true, true]);
    assert_eq!(disk.end()?.struck, 1);
    let never = record(failing(Call::Rename, 1, Effect::Fail))?;
    assert_eq!(never.end()?.struck, 0);
    Ok(())
}

fn a_failed_sync() -> Checked {
    for (cache, seen) in [(Cache::Kept, "new"), (Cache::Reverted, "old")] {
        let disk = record(failing(Call::Sync, 2, Effect::FailSync(cache)))?;
        let path = disk.path().join("file");
        let file = File::create(&path)?;
        file.write_all_at(b"old", 0)?;
        file.sync_all()?;
        file.write_all_at(b"new", 0)?;
        assert_eq!(file.sync_all().unwrap_err().raw_os_error(), Some(EIO));
        assert_eq!(fs::read_to_string(&path)?, seen);
        file.sync_all()?;
        assert_eq!(fs::read_to_string(&path)?, seen);
        drop(file);
        let recorded = disk.end()?;
        let failed =
            |op: &&Op| matches!(op, Op::SyncFailed { cache: found, .. } if *found == cache);
        assert_eq!(recorded.trace.ops().iter().filter(failed).count(), 1);
    }
    Ok(())
}

fn a_full_disk() -> Checked {
    let room_bytes = Some(4 * 4096);
    let disk = record(FaultPlan { room_bytes, start: Start::Armed, ..FaultPlan::default() })?;
    let path = disk.path().join("file");
    let mut file = File::create(&path)?;
    file.write_all(&[1; 4096])?;
    control(&disk, b"arm")?;
    assert_eq!(file.write(&[2; 10_000])?, 10_000);
    assert_eq!(file.write(&[3; 10_000])?, 4 * 4096 - 14_096);
    assert_eq!(file.write(&[3]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    // What is allocated already can be written.
    file.write_all_at(&[4; 4096], 0)?;
    assert_eq!(fs::metadata(&path)?.len(), 4 * 4096);
    let other = disk.path().join("other");
    assert_eq!(fs::write(&other, b"x").unwrap_err().kind(), io::ErrorKind::StorageFull);
    fs::remove_file(&path)?;
    fs::write(&other, b"x")?;
    control(&disk, b"free")?;
    fs::write(&path, vec![5; 1 << 20])?;
    drop(file);
    assert!(disk.end()?.struck > 0);
    Ok(())
}

fn short_calls() -> Checked {
    let disk = record(failing(Call::Write, 2, Effect::Short))?;
    let mut file = File::create(disk.path().join("file"))?;
    assert_eq!([10, 10, 10].map(|len| file.write(&vec![1; len]).unwrap()), [10, 5, 10]);
    drop(file);
    disk.end()?;
    let disk = record(failing(Call::Read, 2, Effect::Short))?;
    fs::write(disk.path().join("file"), [1; 10])?;
    let file = File::open(disk.path().join("file"))?;
    assert_eq!([0, 0, 0].map(|at| file.read_at(&mut [0; 10], at).unwrap()), [10, 5, 10]);
    drop(file);
    disk.end()?;
    Ok(())
}

fn a_flipped_bit() -> Checked {
    let disk = record(failing(Call::Read, 2, Effect::FlipBit(8 * 3 + 5)))?;
    fs::write(disk.path().join("file"), [1; 10])?;
    let file = File::open(disk.path().join("file"))?;
    let reads = [0; 3].map(|at| {
        let mut out = [0; 10];
        assert_eq!(file.read_at(&mut out, at).unwrap(), 10);
        out
    });
    let mut flipped = [1; 10];
    flipped[3] ^= 1 << 5;
    assert_eq!(reads, [[1; 10], flipped, [1; 10]]);
    drop(file);
    disk.end()?;
    Ok(())
}

/// The child's part: writes and syncs until it is killed.
pub(crate) fn write_and_sync(dir: &Path) -> Checked {
    let file = File::create(dir.join("file"))?;
    for at in 0..10 {
        file.write_all_at(b"text", at * 4)?;
        file.sync_data()?;
    }
    Ok(())
}

/// The part of the child after it: finds what was written before the kill.
pub(crate) fn read(dir: &Path) -> Checked {
    match fs::read(dir.join("file"))?.len() {
        12 => Ok(()),
        other => Err(format!("{other} bytes").into()),
    }
}

fn a_kill_at_a_sync() -> Checked {
    let disk = record(failing(Call::Sync, 3, Effect::Kill))?;
    let exit = run(&disk, "write")?;
    assert_eq!(exit.status.signal(), Some(SIGKILL));
    let recorded = disk.recorded();
    let syncs = recorded.trace.ops().iter().filter(|op| matches!(op, Op::Sync { .. })).count();
    assert_eq!((syncs, recorded.struck), (2, 1));
    assert!(matches!(recorded.trace.ops().last(), Some(Op::Write { offset: 8, .. })));
    assert!(fs::read(disk.path().join("file")).is_err(), "nobody is heard until the next run");
    assert!(run(&disk, "read")?.status.success(), "what was written is still in the cache");
    disk.end()?;
    Ok(())
}
