//! The files in which fjall notes what tables a keyspace has. fjall writes their checksums and does
//! not compare them: a bit that flips there hides a table, or what is in it, without a word.

use std::fs;
use std::io;
use std::path::Path;

use kvlogdb_engine_api::{Error, Result};
use xxhash_rust::xxh3::xxh3_128;

/// Where fjall keeps its keyspaces, each in a directory of its own.
const KEYSPACES: &str = "keyspaces";
/// Which note of a keyspace counts: number, checksum, and the kind of checksum.
const CURRENT: &str = "current";
const CURRENT_BYTES: usize = 8 + 16 + 1;
const XXH3: u8 = 0;

/// Refuses an engine's directory where a keyspace's note is not what fjall has written. What is
/// missing is left to fjall.
pub(crate) fn check(dir: &Path) -> Result<()> {
    match find_damage(&dir.join(KEYSPACES)) {
        Ok(None) => Ok(()),
        Ok(Some(keyspace)) => Err(Error::corrupt(format!(
            "fjall's list of tables of its keyspace {keyspace} does not match its checksum"
        ))),
        Err(error) => Err(Error::io("read the engine's lists of tables", error)),
    }
}

/// The first keyspace whose note is damaged.
fn find_damage(keyspaces: &Path) -> io::Result<Option<String>> {
    for keyspace in fs::read_dir(keyspaces)? {
        let keyspace = keyspace?;
        if keyspace.file_type()?.is_dir() && !is_intact(&keyspace.path())? {
            return Ok(Some(keyspace.file_name().display().to_string()));
        }
    }
    Ok(None)
}

fn is_intact(keyspace: &Path) -> io::Result<bool> {
    let Some(current) = read(&keyspace.join(CURRENT))? else { return Ok(true) };
    let Some(current) = current
        .first_chunk::<CURRENT_BYTES>()
        .filter(|whole| whole.len() == current.len() && whole.ends_with(&[XXH3]))
    else {
        return Ok(false);
    };
    let (number, checksum) = current.split_at(8);
    let number = number.iter().rfold(0, |sum: u64, &byte| sum << 8 | u64::from(byte));
    let Some(list) = read(&keyspace.join(format!("v{number}")))? else { return Ok(true) };
    Ok(checksum.starts_with(&xxh3_128(&list).to_le_bytes()))
}

/// A file's bytes, `None` where there is no such file.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
