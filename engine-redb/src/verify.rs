//! Checking a store without changing it.
//!
//! redb's own check repairs what it finds, in the file; so it runs on a copy of the file that keeps
//! every write in memory. When the newest commit is damaged, redb goes back to the one before as
//! it does after a crash, and says nothing; so the copy is compared with what the engine serves.

use std::borrow::Cow;
use std::ops::{Bound, ControlFlow};
use std::path::Path;

use kvlogdb_engine_api::{Error, LogName, Order, Result};
use redb::{Builder, Database, ReadTransaction, ReadableDatabase, TableHandle};

use crate::error::failed;
use crate::overlay::Overlay;
use crate::{read, staging};

const OPERATION: &str = "check its file";

/// Checks what `live` serves, which nobody may write to meanwhile and which must be durable, and
/// the file that it is kept in, where there is one.
///
/// # Errors
///
/// [`Error::Corrupt`] with what was found; failures to read.
pub(crate) fn check(live: &Database, file: Option<&Path>, cache_bytes: usize) -> Result<()> {
    let live = view(live)?;
    let Some(file) = file else {
        return walk(&live);
    };
    let overlay = Overlay::open(file).map_err(|error| Error::io(OPERATION, error))?;
    let mut builder = Builder::new();
    builder.set_cache_size(cache_bytes);
    let copy = builder.create_with_backend(overlay);
    let mut copy = copy.map_err(|error| failed(OPERATION, error))?;
    let sound = copy.check_integrity();
    if !sound.map_err(|error| failed(OPERATION, error))? {
        return Err(Error::corrupt("redb's own check found what it would repair"));
    }
    let copy = view(&copy)?;
    same_contents(&live, &copy)?;
    walk(&copy)
}

fn view(database: &Database) -> Result<ReadTransaction> {
    database.begin_read().map_err(|error| failed(OPERATION, error))
}

/// Reads every key and every value, which shows keys of no layout of ours and missing pieces.
fn walk(view: &ReadTransaction) -> Result<()> {
    let mut logs = Vec::new();
    staging::load(view)?;
    read::all_meta(view, Vec::new(), &mut |_, _| ControlFlow::Continue(()))?;
    read::logs(view, &mut |log| {
        logs.push(log);
        ControlFlow::Continue(())
    })?;
    logs.into_iter().try_for_each(|log| walk_log(view, log))
}

fn walk_log(view: &ReadTransaction, log: LogName) -> Result<()> {
    let mut pass = |_, _: Cow<'_, [u8]>| ControlFlow::Continue(());
    read::entries(view, Vec::new(), log, &(0..=u64::MAX), Order::Ascending, &mut pass)
}

fn same_contents(live: &ReadTransaction, copy: &ReadTransaction) -> Result<()> {
    let names = table_names(live)?;
    if names != table_names(copy)? {
        return Err(went_back());
    }
    names.iter().try_for_each(|name| same_table(live, copy, name))
}

fn same_table(live: &ReadTransaction, copy: &ReadTransaction, name: &str) -> Result<()> {
    let (Some(live), Some(copy)) = (read::table(live, name)?, read::table(copy, name)?) else {
        return Err(went_back());
    };
    let everything = (Bound::Unbounded, Bound::Unbounded);
    let (mut live, mut copy) = (read::pairs(&live, everything)?, read::pairs(&copy, everything)?);
    loop {
        let pair = read::next(&mut live, Order::Ascending)?;
        match (pair, read::next(&mut copy, Order::Ascending)?) {
            (None, None) => return Ok(()),
            (Some((key, value)), Some((its_key, its_value)))
                if key.value() == its_key.value() && value.value() == its_value.value() => {}
            _ => return Err(went_back()),
        }
    }
}

fn table_names(view: &ReadTransaction) -> Result<Vec<String>> {
    let tables = view.list_tables().map_err(|error| failed(OPERATION, error))?;
    Ok(tables.map(|table| table.name().to_owned()).collect())
}

fn went_back() -> Error {
    Error::corrupt("redb's file does not hold what the engine serves: its newest commit is damaged")
}
