//! Random calls on the recorded file system and on a real one, which must answer alike.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use kvlogdb_conformance::Random;
use kvlogdb_crash::{Choice, Image, Model, states::state_at};
use libtest_mimic::Trial;

use super::{Checked, healthy, trial};

const SEEDS: u64 = 6;
const CALLS: u64 = 1500;
const NAMES: [&str; 5] = ["a", "b", "c", "d/a", "d/b"];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("random_calls_do_what_they_do_to_a_real_directory", random_calls),
        trial("several_threads_at_once_do_not_disturb_each_other", several_threads),
    ]
}

/// What a call answered: bytes, a number or an error.
type Answer = Result<Vec<u8>, Option<i32>>;

fn random_calls() -> Checked {
    for seed in 0..SEEDS {
        let (disk, real) = (healthy()?, tempfile::tempdir()?);
        let mut random = Random::new(seed);
        for step in 0..CALLS {
            // Both sides draw the same.
            let mut mine = random.clone();
            let found = call(&mut mine, disk.path()).map_err(|error| error.raw_os_error());
            let expected = call(&mut random, real.path()).map_err(|error| error.raw_os_error());
            same(seed, step, &found, &expected)?;
        }
        let recorded = disk.end()?;
        let expected = Image::read_from(real.path())?.digest();
        assert_eq!(recorded.end.digest(), expected, "seed {seed}");
        let (trace, base) = (&recorded.trace, &recorded.base);
        for model in Model::OF_FILES {
            let kept = state_at(trace, base, model, trace.len(), Choice::KeepAll);
            assert_eq!(kept.map(|state| state.digest), Some(expected), "seed {seed}, {model}");
        }
    }
    Ok(())
}

fn same(seed: u64, step: u64, found: &Answer, expected: &Answer) -> Checked {
    if found == expected {
        return Ok(());
    }
    Err(format!("seed {seed}, step {step}: {found:?}, not {expected:?}").into())
}

fn call(random: &mut Random, root: &Path) -> io::Result<Vec<u8>> {
    let path = root.join(random.pick(&NAMES));
    let other = root.join(random.pick(&NAMES));
    let (offset, len) = (random.below(20_000), random.below(9_000));
    let nothing = |()| Vec::new();
    match random.below(26) {
        0 => fs::create_dir(root.join("d")).map(nothing),
        1 => fs::remove_dir(root.join("d")).map(nothing),
        2 => fs::remove_file(path).map(nothing),
        3 => fs::rename(path, other).map(nothing),
        4 => fs::hard_link(path, other).map(nothing),
        5 => File::create_new(path).map(|_| Vec::new()),
        6 => File::create(path).map(|_| Vec::new()),
        7 => listing(&path),
        8 => listing(root),
        9 => fs::rename(root.join("d"), root.join(random.pick(&["e", "d", "a"]))).map(nothing),
        10 => fs::rename(root.join("e"), root.join("d")).map(nothing),
        11 => File::open(root).and_then(|dir| dir.sync_all()).map(nothing),
        12 => Ok(fs::metadata(path)?.len().to_le_bytes().to_vec()),
        13 => fs::read(path),
        14 => append(&path, random.below(500)).map(nothing),
        _ => file_call(random, &path, offset, len),
    }
}

fn file_call(random: &mut Random, path: &Path, offset: u64, len: u64) -> io::Result<Vec<u8>> {
    let create = random.below(3) == 0;
    let file = OpenOptions::new().read(true).write(true).create(create).open(path)?;
    let nothing = |()| Vec::new();
    match random.below(8) {
        0 => file.set_len(offset).map(nothing),
        1 => file.sync_all().map(nothing),
        2 => file.sync_data().map(nothing),
        3 => {
            let mut out = vec![0; usize::try_from(len).unwrap()];
            let count = file.read_at(&mut out, offset)?;
            out.truncate(count);
            Ok(out)
        }
        4 => Ok(rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), offset, len + 1)
            .map(nothing)?),
        _ => {
            let data = bytes(random, len);
            file.write_all_at(&data, offset)?;
            Ok(file.metadata()?.size().to_le_bytes().to_vec())
        }
    }
}

fn append(path: &Path, len: u64) -> io::Result<()> {
    use io::Write;
    let mut file = OpenOptions::new().append(true).open(path)?;
    file.write_all(&vec![7; usize::try_from(len).unwrap()])
}

fn bytes(random: &mut Random, len: u64) -> Vec<u8> {
    // Zeros now and then: pages of them are holes.
    let [byte, ..] = random.next().to_le_bytes();
    vec![if random.below(4) == 0 { 0 } else { byte }; usize::try_from(len).unwrap()]
}

fn listing(dir: &Path) -> io::Result<Vec<u8>> {
    let mut names: Vec<PathBuf> =
        fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().into())).collect::<io::Result<_>>()?;
    names.sort();
    Ok(format!("{names:?}").into_bytes())
}

fn several_threads() -> Checked {
    let disk = healthy()?;
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let path = disk.path().join(thread.to_string());
            scope.spawn(move || {
                let file = File::create(&path).unwrap();
                for at in 0..200 {
                    file.write_all_at(&[thread + 1; 100], at * 100).unwrap();
                    file.sync_data().unwrap();
                }
                assert_eq!(fs::read(&path).unwrap(), vec![thread + 1; 20_000]);
            });
        }
    });
    let recorded = disk.end()?;
    assert_eq!(recorded.trace.len(), 4 * 401);
    Ok(())
}
