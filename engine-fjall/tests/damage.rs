//! What a store makes of files that are torn, damaged, missing or not its own.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper that fails is a test that fails"
)]

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use kvlogdb_engine_api::{
    Durability, Error, KvLogDb, LogName, Order, Result, StoreDir, StoreOptions, WriteBatch,
};
use kvlogdb_engine_fjall::{FjallEngine, FjallOptions, TornTail};

const LOG: LogName =
    LogName { replica: kvlogdb_engine_api::ReplicaId { group: 1, node: 2 }, incarnation: 0 };
const PAGE: usize = 4096;
const SECTOR: usize = 512;

fn repairing() -> FjallOptions {
    let mut options = FjallOptions::default();
    options.torn_tail = TornTail::Repair;
    options
}

fn open(dir: &Path) -> Result<FjallEngine> {
    FjallEngine::open(dir, &FjallOptions::default())
}

/// Bytes without a zero, so that a zeroed part of a file is a change.
fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3] | 1
    };
    (0..len).map(|_| next()).collect()
}

fn put(engine: &FjallEngine, index: u64, value: &[u8], durability: Durability) {
    let mut batch = WriteBatch::new();
    batch.put_entry(LOG.at(index), &[value]).unwrap();
    engine.write(&[&batch], durability).unwrap();
}

fn entries(engine: &FjallEngine) -> Result<Vec<(u64, Vec<u8>)>> {
    let mut found = Vec::new();
    let mut visitor = |index, value: Cow<'_, [u8]>| {
        found.push((index, value.into_owned()));
        ControlFlow::Continue(())
    };
    engine.scan(LOG, 0..=u64::MAX, Order::Ascending, usize::MAX, &mut visitor)?;
    Ok(found)
}

fn expected(lens: &[usize]) -> Vec<(u64, Vec<u8>)> {
    (0..).zip(lens).map(|(index, &len)| (index, bytes(index, len))).collect()
}

/// A store with one batch an entry, copied while it was open: what a kill leaves.
fn killed(lens: &[usize]) -> tempfile::TempDir {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let engine = open(dir.path()).unwrap();
    for (index, &len) in (0..).zip(lens) {
        put(&engine, index, &bytes(index, len), Durability::Buffered);
    }
    copy_tree(dir.path(), copy.path());
    copy
}

fn copy_tree(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() {
            fs::create_dir(&to).unwrap();
            copy_tree(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

fn journal(dir: &Path) -> PathBuf {
    dir.join("engine/0.jnl")
}

fn overwrite(path: &Path, at: usize, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at as u64)).unwrap();
    file.write_all(bytes).unwrap();
}

/// Where in the journal the value of entry `index` begins, and where all that was written ends.
fn value_at(dir: &Path, index: u64) -> (usize, usize) {
    let journal = fs::read(journal(dir)).unwrap();
    let end = journal.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    let value = bytes(index, 64);
    let at = journal[..end].windows(64).position(|window| window == value);
    (at.unwrap(), end)
}

fn copies(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("engine")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.to_string_lossy().contains("torn")).collect()
}

#[test]
fn buffered_writes_survive_the_process() {
    let lens = [10, 5000, 0, 100_000];
    let dir = killed(&lens);
    assert!(entries(&open(dir.path()).unwrap()).unwrap() == expected(&lens));
}

#[test]
fn a_page_that_never_reached_the_disk_takes_its_batch_and_no_other() {
    let lens = [100, 9000, 200_000];
    let dir = killed(&lens);
    let whole = fs::read(journal(dir.path())).unwrap();
    let (at, end) = value_at(dir.path(), 2);
    for page in at.div_ceil(PAGE)..end / PAGE {
        fs::write(journal(dir.path()), &whole[..end]).unwrap();
        overwrite(&journal(dir.path()), page * PAGE, &[0; PAGE]);
        let engine = open(dir.path()).unwrap();
        assert!(entries(&engine).unwrap() == expected(&lens[..2]), "page {page}");
    }
}

#[test]
fn a_last_batch_cut_anywhere_is_gone_and_the_others_stay() {
    let lens = [100, 5000, 9000];
    let dir = killed(&lens);
    let whole = fs::read(journal(dir.path())).unwrap();
    let (at, end) = value_at(dir.path(), 2);
    for cut in (at - 40..end).step_by(97).chain([end - 1]) {
        fs::write(journal(dir.path()), &whole[..cut]).unwrap();
        let engine = open(dir.path()).unwrap();
        assert!(entries(&engine).unwrap() == expected(&lens[..2]), "cut at {cut}");
    }
}

#[test]
fn a_torn_last_batch_is_refused_untouched_and_repaired_when_asked() {
    let lens = [100, 9000, 3000];
    let dir = killed(&lens);
    let (at, _) = value_at(dir.path(), 2);
    overwrite(&journal(dir.path()), at.next_multiple_of(SECTOR), &[0; SECTOR]);
    let torn = fs::read(journal(dir.path())).unwrap();

    for _ in 0..2 {
        let refused = open(dir.path());
        assert!(matches!(refused, Err(Error::TornTail { .. })), "{refused:?}");
        assert!(fs::read(journal(dir.path())).unwrap() == torn);
    }
    let engine = FjallEngine::open(dir.path(), &repairing()).unwrap();
    assert!(entries(&engine).unwrap() == expected(&lens[..2]));
    let [copy] = &copies(dir.path())[..] else {
        panic!("one copy is kept");
    };
    let copy = fs::read(copy).unwrap();
    assert!(torn.starts_with(&copy) && torn[copy.len()..].iter().all(|&byte| byte == 0));

    put(&engine, 2, &bytes(2, 3000), Durability::Synced);
    engine.close().unwrap();
    let engine = open(dir.path()).unwrap();
    assert!(entries(&engine).unwrap() == expected(&lens));
    engine.verify().unwrap();
}

/// What a power cut leaves of several batches that were not synced.
#[test]
fn a_torn_batch_before_the_last_goes_with_those_behind_it_and_no_other() {
    let lens = [100, 3000, 9000, 3000, 20, 700];
    for first_torn in [1, 2, 3] {
        let dir = killed(&lens);
        for torn in [first_torn, 5] {
            let (at, _) = value_at(dir.path(), torn);
            overwrite(&journal(dir.path()), at + 300, &[0]);
        }
        let torn = fs::read(journal(dir.path())).unwrap();
        assert!(matches!(open(dir.path()), Err(Error::TornTail { .. })));
        assert!(fs::read(journal(dir.path())).unwrap() == torn);
        let engine = FjallEngine::open(dir.path(), &repairing()).unwrap();
        let kept = usize::try_from(first_torn).unwrap();
        assert!(entries(&engine).unwrap() == expected(&lens[..kept]), "{first_torn}");
        assert_eq!(copies(dir.path()).len(), 1);
        put(&engine, first_torn, &bytes(first_torn, lens[kept]), Durability::Synced);
        engine.close().unwrap();
        assert!(entries(&open(dir.path()).unwrap()).unwrap() == expected(&lens[..=kept]));
    }
}

/// A flipped bit in a batch's marks ends the journal there, without a word from fjall: the log
/// above keeps a mark of its own against that. What this engine owes is never a wrong entry.
#[test]
fn a_flipped_bit_in_the_journal_is_refused_or_shortens_the_log_by_whole_batches() {
    let lens = [100, 3000, 9000, 300, 10];
    let dir = killed(&lens);
    let (_, end) = value_at(dir.path(), 0);
    let whole = fs::read(journal(dir.path())).unwrap()[..end].to_vec();
    let (mut refused, mut opened) = (0, 0);
    for at in (0..end).step_by(61) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(journal(dir.path()), &damaged).unwrap();
        match open(dir.path()) {
            Err(Error::TornTail { .. } | Error::Corrupt { .. }) => refused += 1,
            Err(other) => panic!("byte {at}: {other:?}"),
            Ok(engine) => {
                opened += 1;
                let found = entries(&engine).unwrap();
                assert!(expected(&lens).starts_with(&found), "byte {at}");
            }
        }
    }
    assert!(refused > opened, "{refused} refused, {opened} opened");
}

#[test]
fn a_flipped_bit_in_a_table_is_never_served() {
    let lens = [100, 3000, 9000, 300, 10];
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    for (index, &len) in (0..).zip(&lens) {
        put(&engine, index, &bytes(index, len), Durability::Synced);
    }
    engine.reclaim().unwrap();
    engine.close().unwrap();
    let tables = dir.path().join("engine/keyspaces/1/tables");
    let table = fs::read_dir(tables).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&table).unwrap();
    let (mut refused, mut unharmed) = (0, 0);
    for at in (0..whole.len()).step_by(61) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&table, &damaged).unwrap();
        let found = open(dir.path()).and_then(|engine| {
            engine.verify()?;
            entries(&engine)
        });
        match found {
            Err(Error::Corrupt { .. } | Error::Format { .. }) => refused += 1,
            Err(other) => panic!("byte {at}: {other:?}"),
            Ok(found) => {
                unharmed += 1;
                assert!(found == expected(&lens), "byte {at}");
            }
        }
    }
    assert!(refused > unharmed, "{refused} refused, {unharmed} unharmed");
}

#[test]
fn a_missing_file_is_damage_and_never_an_empty_store() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path()).unwrap();
    put(&engine, 1, b"here", Durability::Synced);
    engine.close().unwrap();
    for lost in [
        "version",
        "lock",
        "0.jnl",
        "keyspaces",
        "keyspaces/0",
        "keyspaces/1",
        "keyspaces/2",
        "keyspaces/1/current",
        "keyspaces/0/current",
    ] {
        let copy = tempfile::tempdir().unwrap();
        copy_tree(dir.path(), copy.path());
        let path = copy.path().join("engine").join(lost);
        let away = copy.path().join("away");
        fs::rename(&path, &away).unwrap();
        for _ in 0..2 {
            let refused = open(copy.path());
            assert!(matches!(refused, Err(Error::Corrupt { .. })), "{lost}: {refused:?}");
        }
        let _ = fs::remove_dir_all(&path);
        fs::rename(&away, &path).unwrap();
        let engine = open(copy.path()).unwrap();
        assert_eq!(entries(&engine).unwrap(), [(1, b"here".to_vec())], "{lost}");
    }
}

#[test]
fn a_creation_cut_short_at_any_step_is_started_again() {
    let made = tempfile::tempdir().unwrap();
    open(made.path()).unwrap().close().unwrap();
    let engine = made.path().join("engine");
    let steps: [(&str, &[&str]); 6] = [
        ("engine.tmp", &["0.jnl", "keyspaces", "version", "lock"]),
        ("engine.tmp", &["keyspaces", "version"]),
        ("engine.tmp", &["version"]),
        ("engine.tmp", &["keyspaces/2"]),
        ("engine.tmp", &[]),
        ("engine", &[]),
    ];
    for (name, missing) in steps {
        let dir = tempfile::tempdir().unwrap();
        File::create(dir.path().join("LOCK")).unwrap();
        let leftover = dir.path().join(name);
        fs::create_dir(&leftover).unwrap();
        copy_tree(&engine, &leftover);
        for path in missing.iter().map(|missing| leftover.join(missing)) {
            if path.is_dir() {
                fs::remove_dir_all(path).unwrap();
            } else {
                fs::remove_file(path).unwrap();
            }
        }
        let store = open(dir.path()).unwrap();
        put(&store, 1, b"x", Durability::Synced);
        store.close().unwrap();
        assert_eq!(entries(&open(dir.path()).unwrap()).unwrap().len(), 1);
        assert!(!dir.path().join("engine.tmp").exists());
    }
}

#[test]
fn a_store_can_be_moved() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    let engine = open(&first).unwrap();
    put(&engine, 1, b"x", Durability::Synced);
    engine.reclaim().unwrap();
    put(&engine, 2, b"y", Durability::Synced);
    engine.close().unwrap();
    fs::rename(&first, &second).unwrap();
    assert_eq!(entries(&open(&second).unwrap()).unwrap().len(), 2);
    assert!(!first.exists());
}

#[test]
fn other_stores_and_foreign_directories_are_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let create = |_: &Path| Ok(());
    drop(StoreDir::open(dir.path(), "redb", 1, &StoreOptions::default(), create).unwrap());
    assert!(matches!(open(dir.path()), Err(Error::WrongEngine { .. })));
    assert_eq!(fs::read_dir(dir.path().join("engine")).unwrap().count(), 0);

    let dir = tempfile::tempdir().unwrap();
    drop(StoreDir::open(dir.path(), "fjall", 2, &StoreOptions::default(), create).unwrap());
    assert!(matches!(open(dir.path()), Err(Error::Format { .. })));

    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("0.jnl"), b"someone's").unwrap();
    assert!(matches!(open(dir.path()), Err(Error::NotAStore { .. })));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);

    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).unwrap().close().unwrap();
    fs::write(dir.path().join("engine/version"), b"FJL\x02").unwrap();
    assert!(matches!(open(dir.path()), Err(Error::Format { .. })));
}

#[test]
fn a_bit_flipped_in_a_list_of_tables_is_refused_and_never_hides_entries() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = FjallOptions::default();
    options.log_memtable_bytes = 64 << 10;
    let engine = FjallEngine::open(dir.path(), &options).unwrap();
    let lens = [4000; 64];
    for (index, &len) in (0..).zip(&lens) {
        put(&engine, index, &bytes(index, len), Durability::Synced);
    }
    engine.close().unwrap();
    drop(engine);
    let mut flipped = 0;
    for list in lists(dir.path()) {
        let whole = fs::read(&list).unwrap();
        for at in (0..whole.len()).step_by(7) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(&list, damaged).unwrap();
            let answer = open(dir.path());
            assert!(answer.is_err(), "{} at {at}", list.display());
            flipped += 1;
        }
        fs::write(&list, whole).unwrap();
    }
    assert!(flipped > 100, "{flipped}");
    assert_eq!(entries(&open(dir.path()).unwrap()).unwrap(), expected(&lens));
}

/// The lists of tables that count, and the files that say which do.
fn lists(dir: &Path) -> Vec<PathBuf> {
    let keyspaces = fs::read_dir(dir.join("engine/keyspaces")).unwrap();
    let lists = keyspaces.flat_map(|keyspace| {
        let current = keyspace.unwrap().path().join("current");
        let number = fs::read(&current).unwrap()[0];
        [current.with_file_name(format!("v{number}")), current]
    });
    lists.collect()
}
