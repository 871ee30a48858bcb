//! The libraries by themselves, as their documentation shows them: what the engine crates add is
//! missing here, and the net must notice.

use std::path::Path;

use bytes::Bytes;

use crate::failure::{Checked, Failure};
use crate::ledger::{Bounds, Mark, Word};
use crate::scribe::Voice;
use crate::spec::{Engine, Spec};
use crate::subject::Place;
use crate::verdict::{Finding, Verdict};
use crate::workload;

const TABLE: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("log");

/// A map of numbers to bytes, in which every put is synced as well as the library does it.
trait Bare {
    fn put(&self, number: u64, value: &[u8]) -> Checked;
    fn all(&self) -> Checked<Vec<(u64, Bytes)>>;
}

fn told(error: impl std::fmt::Display) -> Failure {
    error.to_string().into()
}

fn open(engine: Engine, dir: &Path) -> Checked<Box<dyn Bare>> {
    std::fs::create_dir_all(dir)?;
    Ok(match engine {
        Engine::BareRedb => {
            let path = dir.join("store");
            Box::new(redb::Database::create(path).map_err(told)?)
        }
        Engine::BareFjall => {
            let database = fjall::Database::builder(dir.join("store")).open().map_err(told)?;
            let options = fjall::KeyspaceCreateOptions::default;
            let keyspace = database.keyspace("log", options).map_err(told)?;
            Box::new(Fjall { database, keyspace })
        }
        Engine::BareSled => {
            let path = dir.join("store");
            Box::new(sled::Config::new().path(path).flush_every_ms(None).open().map_err(told)?)
        }
        other => return Err(format!("{other} is not a bare library").into()),
    })
}

impl Bare for redb::Database {
    fn put(&self, number: u64, value: &[u8]) -> Checked {
        let write = self.begin_write().map_err(told)?;
        write.open_table(TABLE).map_err(told)?.insert(number, value).map_err(told)?;
        write.commit().map_err(told)
    }

    fn all(&self) -> Checked<Vec<(u64, Bytes)>> {
        use redb::{ReadableDatabase, ReadableTable};
        let read = self.begin_read().map_err(told)?;
        let table = match read.open_table(TABLE) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            other => other.map_err(told)?,
        };
        let mut all = Vec::new();
        for item in table.iter().map_err(told)? {
            let (key, value) = item.map_err(told)?;
            all.push((key.value(), Bytes::copy_from_slice(value.value())));
        }
        Ok(all)
    }
}

struct Fjall {
    database: fjall::Database,
    keyspace: fjall::Keyspace,
}

impl Bare for Fjall {
    fn put(&self, number: u64, value: &[u8]) -> Checked {
        self.keyspace.insert(number.to_be_bytes(), value).map_err(told)?;
        self.database.persist(fjall::PersistMode::SyncAll).map_err(told)
    }

    fn all(&self) -> Checked<Vec<(u64, Bytes)>> {
        let mut all = Vec::new();
        for item in self.keyspace.iter() {
            let (key, value) = item.into_inner().map_err(told)?;
            all.push((key_of(&key)?, Bytes::copy_from_slice(&value)));
        }
        Ok(all)
    }
}

impl Bare for sled::Db {
    fn put(&self, number: u64, value: &[u8]) -> Checked {
        self.insert(number.to_be_bytes(), value).map_err(told)?;
        self.flush().map_err(told)?;
        Ok(())
    }

    fn all(&self) -> Checked<Vec<(u64, Bytes)>> {
        let mut all = Vec::new();
        for item in self.iter() {
            let (key, value) = item.map_err(told)?;
            all.push((key_of(&key)?, Bytes::copy_from_slice(&value)));
        }
        Ok(all)
    }
}

fn key_of(key: &[u8]) -> Checked<u64> {
    let key = key.try_into().map_err(|_| Failure::from("a key that nobody wrote"))?;
    Ok(u64::from_be_bytes(key))
}

/// The value that belongs to a number.
pub(crate) fn value(spec: &Spec, number: u64) -> Vec<u8> {
    let seed = spec.seed.rotate_left(32) ^ number;
    let len = 40 + usize::try_from(seed % 160).unwrap_or_default();
    workload::bytes(seed, len)
}

/// Writes numbers, one synced put each.
pub(crate) fn write(spec: &Spec, dir: &Path, voice: &Voice) -> Checked {
    let bare = open(spec.engine, dir)?;
    let at = bare.all()?.len() as u64;
    voice.say(Mark::new(Word::Opened, 0, at));
    for number in at + 1..=at + spec.commands {
        voice.say(Mark::new(Word::Issued, 0, number));
        bare.put(number, &value(spec, number))?;
        voice.say(Mark::new(Word::Acked, 0, number));
    }
    // Gone without a close.
    std::process::exit(0);
}

/// Holds what a library shows against what was acknowledged.
pub(crate) fn check(spec: &Spec, place: &Place, bounds: &Bounds) -> Verdict {
    let Place::Dir(dir) = place else {
        return Verdict::failed(Finding::NotChecked, "a bare library needs a directory");
    };
    let opened = open(spec.engine, dir).and_then(|bare| bare.all());
    match opened {
        Ok(all) => judge(spec, &all, bounds),
        Err(error) => Verdict::failed(Finding::NotOpened, error),
    }
}

/// As [`check`], over what was read already.
pub(crate) fn judge(spec: &Spec, all: &[(u64, Bytes)], bounds: &Bounds) -> Verdict {
    let first = |all: &[u64]| all.first().copied().unwrap_or_default();
    let (acked, issued) = (first(&bounds.acked), first(&bounds.issued));
    for ((number, held), wanted) in all.iter().zip(1..) {
        if *number != wanted {
            return Verdict::failed(Finding::Hole, format!("{number} in place of {wanted}"));
        }
        if *held != value(spec, wanted) {
            return Verdict::failed(Finding::Invented, format!("the value of {wanted}"));
        }
    }
    let last = all.len() as u64;
    if last < acked {
        let text = format!("{last} is the last, and {acked} was acknowledged");
        return Verdict::failed(Finding::LostAcknowledged, text);
    }
    if last > issued {
        let text = format!("{last} is the last, and {issued} was issued");
        return Verdict::failed(Finding::Invented, text);
    }
    Verdict::Sound(vec![last])
}
