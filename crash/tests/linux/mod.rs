//! What only Linux can do.

mod block;
mod faults;
mod reference;

use std::env;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use kvlogdb_crash::record::fuse::{CONTROL, Exit, FuseDisk, enter_namespace};
use kvlogdb_crash::{FaultPlan, Image, Mark, Op, needs};
use libtest_mimic::{Arguments, Failed, Trial};

/// What a test answers.
pub(crate) type Checked<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Names the part that this program plays when it is started as a child.
const PART: &str = "KVLOGDB_CRASH_PART";
const TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) fn main() -> ExitCode {
    enter_namespace();
    if let Ok(part) = env::var(PART) {
        let dir = env::args().nth(1).unwrap_or_default();
        return play(&part, Path::new(&dir)).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    let trials = vec![
        trial("a_file_lock_holds_and_ends_with_its_process", a_file_lock_holds),
        trial("marks_keep_their_place_among_the_calls", marks_keep_their_place),
        trial("the_control_file_is_not_part_of_the_image", control_file_is_not_in_the_image),
        trial("an_image_comes_back_as_it_was_mounted", an_image_comes_back),
        trial("a_child_that_takes_too_long_is_killed", a_child_that_takes_too_long),
    ];
    let trials = trials.into_iter().chain(reference::trials()).chain(faults::trials());
    let trials = trials.chain(block::trials()).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

pub(crate) fn trial(name: &str, run: fn() -> Checked) -> Trial {
    needs::fuse_trial(name, move || run().map_err(|error| Failed::from(error.to_string())))
}

/// Starts this program as a child that plays a part on the disk.
pub(crate) fn run(disk: &FuseDisk, part: &str) -> Checked<Exit> {
    let mut command = Command::new(env::current_exe()?);
    command.env(PART, part).arg(disk.path());
    Ok(disk.run(&mut command, TIMEOUT)?)
}

fn play(part: &str, dir: &Path) -> Checked {
    match part {
        "lock" => {
            let file = File::create(dir.join("lock"))?;
            file.try_lock()?;
            println!("locked");
            // Ends without unlocking.
            std::process::abort();
        }
        "sleep" => {
            std::thread::sleep(2 * TIMEOUT);
            Ok(())
        }
        "read" => faults::read(dir),
        "write" => faults::write_and_sync(dir),
        other => Err(format!("there is no part {other}").into()),
    }
}

pub(crate) fn healthy() -> Checked<FuseDisk> {
    Ok(FuseDisk::record(&Image::default(), FaultPlan::default())?)
}

fn a_file_lock_holds() -> Checked {
    let disk = healthy()?;
    let path = disk.path().join("lock");
    let first = File::create(&path)?;
    first.try_lock()?;
    let second = File::open(&path)?;
    assert!(matches!(second.try_lock(), Err(TryLockError::WouldBlock)));
    assert!(run(&disk, "lock")?.stdout.is_empty());
    drop(first);
    second.try_lock()?;
    second.unlock()?;
    assert_eq!(run(&disk, "lock")?.stdout, "locked\n");
    second.try_lock()?;
    drop(second);
    disk.end()?;
    Ok(())
}

fn marks_keep_their_place() -> Checked {
    let disk = healthy()?;
    let mut control = File::options().write(true).open(disk.path().join(CONTROL))?;
    let mut file = File::create(disk.path().join("file"))?;
    control.write_all(b"will 1")?;
    file.write_all(b"text")?;
    file.sync_all()?;
    control.write_all(b"did 1\n")?;
    file.set_len(2)?;
    assert!(control.write_all(b"maybe 1").is_err());
    drop((control, file));
    let trace = disk.end()?.trace;
    let kinds: Vec<String> = trace.ops().iter().map(ToString::to_string).collect();
    let expected = [
        "create #1/file as #2",
        "will 1",
        "write #2 at 0, 4 bytes",
        "sync #2",
        "did 1",
        "set length of #2 to 2",
    ];
    assert_eq!(kinds, expected);
    assert!(matches!(trace.ops().get(2), Some(Op::Write { data, .. }) if data == "text"));
    assert_eq!(trace.marks_before(4).count(), 1);
    assert!(matches!(trace.marks_before(5).next_back(), Some(Mark::Did(text)) if text == "1"));
    Ok(())
}

fn control_file_is_not_in_the_image() -> Checked {
    let disk = healthy()?;
    fs::write(disk.path().join("file"), b"text")?;
    let names: Vec<_> =
        fs::read_dir(disk.path())?.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["file"]);
    assert_eq!(disk.end()?.end.files().len(), 1);
    Ok(())
}

fn an_image_comes_back() -> Checked {
    let real = tempfile::tempdir()?;
    fs::create_dir_all(real.path().join("a/b"))?;
    fs::write(real.path().join("a/b/text"), b"text")?;
    let sparse = File::create(real.path().join("sparse"))?;
    sparse.set_len(3 << 20)?;
    let image = Image::read_from(real.path())?;
    let disk = FuseDisk::record(&image, FaultPlan::default())?;
    assert_eq!(fs::read(disk.path().join("a/b/text"))?, b"text");
    assert_eq!(fs::metadata(disk.path().join("sparse"))?.len(), 3 << 20);
    fs::write(disk.path().join("a/b/more"), b"more")?;
    let recorded = disk.end()?;
    assert_eq!(recorded.base.digest(), image.digest());
    fs::write(real.path().join("a/b/more"), b"more")?;
    assert_eq!(recorded.end.digest(), Image::read_from(real.path())?.digest());
    let copy = tempfile::tempdir()?;
    recorded.end.write_to(copy.path())?;
    assert_eq!(Image::read_from(copy.path())?.digest(), recorded.end.digest());
    Ok(())
}

fn a_child_that_takes_too_long() -> Checked {
    let disk = healthy()?;
    let mut command = Command::new(env::current_exe()?);
    command.env(PART, "sleep").arg(disk.path());
    let exit = disk.run(&mut command, Duration::from_millis(100))?;
    assert!(exit.timed_out && !exit.status.success());
    disk.end()?;
    Ok(())
}
