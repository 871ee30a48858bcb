//! A node on a file system that is really full.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use libtest_mimic::Trial;

use crate::child::{Child, Part};
use crate::common::Kind;
use crate::{Checked, Version, ensure, trial};

/// A small store of any engine fits, and some dozen commands beside it.
const SMALL_MIB: u32 = 40;
const ROOM_MIB: u32 = 400;
const COMMAND_BYTES: usize = 400_000;
/// Commands that must have fitted, or the test has seen nothing.
const LEAST: u64 = 10;

pub(crate) fn trials(kind: Kind) -> Vec<Trial> {
    let name = "on_a_full_disk_it_stops_and_loses_nothing_and_goes_on_with_room";
    let of = |version| {
        let run = trial(version, kind, name, move || full(version, kind));
        let obstacle = obstacle();
        run.with_ignored_flag(obstacle.is_some()).with_kind(obstacle.unwrap_or_default())
    };
    Version::ALL.into_iter().map(of).collect()
}

/// Why no small file system can be made here.
fn obstacle() -> Option<&'static str> {
    static CAN: OnceLock<bool> = OnceLock::new();
    let can = || tempfile::tempdir().is_ok_and(|dir| SmallDisk::mount(dir.path(), 1).is_ok());
    (!CAN.get_or_init(can)).then_some("it mounts a tmpfs, for which it has to be root on Linux")
}

fn full(version: Version, kind: Kind) -> Checked {
    let dir = tempfile::tempdir()?;
    let disk = SmallDisk::mount(dir.path(), SMALL_MIB)?;
    let place = dir.path().join("store");
    let mut part = Part { version, kind, command_bytes: COMMAND_BYTES, most: 500, dir: place };
    let said = Child::start(&part)?.end()?;
    let count = said.iter().filter(|(word, _)| word == "did").count() as u64;
    ensure!(count >= LEAST, "only {count} commands fitted");
    let stopped = said.iter().find(|(word, _)| word == "stopped");
    let Some((_, why)) = stopped else { return Err(format!("it did not stop: {said:?}").into()) };
    let named = why.contains("cannot") && why.contains("of replica 3/0");
    ensure!(named, "it stopped with: {why}");
    ensure!(said.last().is_some_and(|(word, _)| word == "ended"), "it did not end: {said:?}");
    disk.grow(ROOM_MIB)?;
    part.most = count + 5;
    let said = Child::start(&part)?.end()?;
    let Some((_, found)) = said.first() else { return Err("it says nothing".into()) };
    let found: u64 = found.parse()?;
    let fits = (count..=count + 1).contains(&found);
    ensure!(fits, "{count} acknowledged, {found} found");
    let last = said.iter().rfind(|(word, _)| word == "did").map(|(_, number)| number.clone());
    ensure!(last == Some((count + 4).to_string()), "with room it goes to {last:?}");
    Ok(())
}

/// A file system in memory with little room, until dropped.
struct SmallDisk<'a> {
    root: &'a Path,
}

impl<'a> SmallDisk<'a> {
    fn mount(root: &'a Path, mib: u32) -> Checked<Self> {
        mount(&["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"], root)?;
        Ok(Self { root })
    }

    fn grow(&self, mib: u32) -> Checked {
        mount(&["-o", &format!("remount,size={mib}m")], self.root)
    }
}

fn mount(arguments: &[&str], root: &Path) -> Checked {
    let output = Command::new("mount").args(arguments).arg(root).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "mount {arguments:?}: {said}");
    Ok(())
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // A process that another test is just starting may hold our files for a moment.
        for how in ["--quiet"; 50].into_iter().chain(["--lazy"]) {
            let status = Command::new("umount").arg(how).arg(self.root).status();
            if status.is_ok_and(|status| status.success()) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
