//! The repair of a journal whose last batch is torn.
//!
//! fjall drops a last batch that lacks its end, and refuses a database whose last batch has its end
//! and lacks something before it. So taking away the last byte of that end turns what fjall refuses
//! into what it drops. Where several batches had not been synced, an earlier one of them may be
//! torn, too: then the ends before it are tried, one after the other, until fjall opens.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use kvlogdb_engine_api::fs as durable;

const SCAN_BYTES: usize = 64 << 10;
/// What ends a batch, and may by chance be in a value. A cut inside a batch drops that batch and
/// no earlier one, so the first cut with which fjall opens is that of the first torn batch.
const END: &[u8] = b"FJL\x03";

/// A journal that was cut, and the copy of it as it was.
#[derive(Debug)]
pub(crate) struct Cut {
    journal: PathBuf,
    copy: PathBuf,
    len: u64,
    /// Where earlier batches may end, the last one last; `None` until they are looked for.
    ends: Option<Vec<u64>>,
}

impl Cut {
    /// Copies the newest journal in `dir` and takes away its last byte that is not zero, with all
    /// zeros behind it. `None` where no journal holds anything.
    pub(crate) fn newest(dir: &Path) -> io::Result<Option<Self>> {
        let Some(journal) = newest(dir)? else {
            return Ok(None);
        };
        let mut file = OpenOptions::new().read(true).write(true).open(&journal)?;
        let len = file.metadata()?.len();
        let Some(last) = last_nonzero(&mut file, len)? else {
            return Ok(None);
        };
        let copy = copy(&mut file, last + 1, &journal)?;
        durable::sync(dir)?;
        file.set_len(last)?;
        file.sync_all()?;
        Ok(Some(Self { journal, copy, len, ends: None }))
    }

    /// Takes away the last byte of the end of the batch before, and what is behind it. `false`
    /// where there is no batch before.
    pub(crate) fn go_back(&mut self) -> io::Result<bool> {
        if self.ends.is_none() {
            let bytes = fs::read(&self.journal)?;
            let ends = bytes.windows(END.len()).zip(0..).filter(|(window, _)| *window == END);
            self.ends = Some(ends.map(|(_, at)| at + END.len() as u64 - 1).collect());
        }
        let Some(last) = self.ends.as_mut().and_then(Vec::pop) else { return Ok(false) };
        let file = OpenOptions::new().write(true).open(&self.journal)?;
        file.set_len(last)?;
        file.sync_all()?;
        Ok(true)
    }

    /// Puts the journal back as it was.
    pub(crate) fn undo(self) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(&self.copy)?;
        file.set_len(self.len)?;
        file.sync_all()?;
        fs::rename(&self.copy, &self.journal)?;
        durable::sync_parent(&self.journal)
    }
}

/// Whether `dir` has a journal: an open database always does.
pub(crate) fn exists(dir: &Path) -> io::Result<bool> {
    newest(dir).map(|journal| journal.is_some())
}

fn newest(dir: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest = None;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "jnl") {
            continue;
        }
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        if let Some(id) = stem.and_then(|stem| stem.parse::<u64>().ok()) {
            newest = newest.max(Some((id, path)));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

/// Where the last byte stands that is not zero. A journal is made with room of zeros behind it.
fn last_nonzero(file: &mut File, len: u64) -> io::Result<Option<u64>> {
    let mut block = vec![0; SCAN_BYTES];
    let mut end = len;
    while end > 0 {
        let start = end.saturating_sub(SCAN_BYTES as u64);
        let size = usize::try_from(end - start).unwrap_or(SCAN_BYTES);
        let block = block.get_mut(..size).unwrap_or_default();
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(block)?;
        if let Some(at) = block.iter().rposition(|&byte| byte != 0) {
            return Ok(Some(start + at as u64));
        }
        end = start;
    }
    Ok(None)
}

/// Writes the first `len` bytes of the journal to a new file beside it, durably but for its name.
fn copy(journal: &mut File, len: u64, path: &Path) -> io::Result<PathBuf> {
    let (mut file, copy) = create_copy(path)?;
    journal.seek(SeekFrom::Start(0))?;
    io::copy(&mut journal.take(len), &mut file)?;
    file.sync_all()?;
    Ok(copy)
}

fn create_copy(path: &Path) -> io::Result<(File, PathBuf)> {
    let mut number = 1_u32;
    loop {
        // fjall passes over names that do not end in .jnl
        let copy = path.with_extension(format!("jnl.torn{number}"));
        match File::create_new(&copy) {
            Ok(file) => return Ok((file, copy)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(dir: &Path, name: &str, bytes: &[u8], len: u64) -> PathBuf {
        let path = dir.join(name);
        fs::write(&path, bytes).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(len).unwrap();
        path
    }

    #[test]
    fn the_cut_takes_the_last_byte_of_the_newest_journal_and_the_zeros_behind_it() {
        let dir = tempfile::tempdir().unwrap();
        let older = journal(dir.path(), "9.jnl", b"older", 5);
        let newer = journal(dir.path(), "10.jnl", b"new\0er", 300_000);
        let cut = Cut::newest(dir.path()).unwrap().unwrap();
        assert_eq!(fs::read(&newer).unwrap(), b"new\0e");
        assert_eq!(fs::read(&older).unwrap(), b"older");
        let copy = dir.path().join("10.jnl.torn1");
        assert_eq!(fs::read(&copy).unwrap(), b"new\0er");
        cut.undo().unwrap();
        let back = fs::read(&newer).unwrap();
        assert_eq!(back.len(), 300_000);
        assert!(back.starts_with(b"new\0er") && back[6..].iter().all(|&byte| byte == 0));
        assert!(!copy.exists());
    }

    #[test]
    fn the_last_byte_is_found_in_any_block() {
        for at in [0, 1, SCAN_BYTES - 1, SCAN_BYTES, SCAN_BYTES + 1, 3 * SCAN_BYTES] {
            let dir = tempfile::tempdir().unwrap();
            let mut bytes = vec![0; at];
            bytes.push(7);
            let path = journal(dir.path(), "0.jnl", &bytes, 5 * SCAN_BYTES as u64);
            let mut file = File::open(path).unwrap();
            let len = file.metadata().unwrap().len();
            assert_eq!(last_nonzero(&mut file, len).unwrap(), Some(at as u64));
        }
    }

    #[test]
    fn a_cut_goes_back_from_end_to_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = journal(dir.path(), "0.jnl", b"oneFJL\x03two FJL\x03 threeFJL\x03", 4096);
        let mut cut = Cut::newest(dir.path()).unwrap().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"oneFJL\x03two FJL\x03 threeFJL");
        assert!(cut.go_back().unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"oneFJL\x03two FJL");
        assert!(cut.go_back().unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"oneFJL");
        assert!(!cut.go_back().unwrap());
        cut.undo().unwrap();
        assert!(fs::read(&path).unwrap().starts_with(b"oneFJL\x03two FJL\x03 threeFJL\x03\0"));
    }

    #[test]
    fn an_earlier_copy_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        journal(dir.path(), "0.jnl", b"abc", 3);
        Cut::newest(dir.path()).unwrap().unwrap();
        Cut::newest(dir.path()).unwrap().unwrap();
        let read = |name| fs::read(dir.path().join(name)).unwrap();
        assert_eq!(read("0.jnl.torn1"), b"abc");
        assert_eq!(read("0.jnl.torn2"), b"ab");
        assert_eq!(read("0.jnl"), b"a");
    }

    #[test]
    fn there_is_nothing_to_cut_in_an_empty_journal_or_without_one() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Cut::newest(dir.path()).unwrap().is_none());
        assert!(!exists(dir.path()).unwrap());
        journal(dir.path(), "0.jnl", b"", 4096);
        journal(dir.path(), "1.jnl.torn1", b"x", 1);
        assert!(Cut::newest(dir.path()).unwrap().is_none());
        assert!(exists(dir.path()).unwrap());
    }
}
