//! redb 4.1.0, by itself: writes in one process and reads in another, for the crash tests to cut.
//!
//! ```text
//! kvlogdb-known-bad write DIR CONTROL COUNT    puts 1..=COUNT, one synced commit each
//! kvlogdb-known-bad read                       for each DIR on a line of standard input, says
//!                                              what the store in it holds
//! ```
//!
//! The control file hears `will N` before and `did N` behind each commit. An answer is `holds N`,
//! with 1 to N and nothing else in the store, `wrong TEXT`, or `unopenable TEXT`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");

type Checked<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["write", dir, control, count] => write(Path::new(dir), Path::new(control), count),
        ["read"] => read_all(),
        _ => Err("write DIR CONTROL COUNT, or read".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// Grows with the number, so that the file grows, too.
fn value(number: u64) -> Vec<u8> {
    let len = 100 + usize::try_from(number * 397 % 60_000).unwrap_or_default();
    let mut state = number | 1;
    let mut next = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

fn write(dir: &Path, control: &Path, count: &str) -> Checked<()> {
    let database = Database::create(dir.join("store"))?;
    File::open(dir)?.sync_all()?; // what a name needs is not what this is about
    let mut control = OpenOptions::new().append(true).open(control)?;
    for number in 1..=count.parse::<u64>()? {
        control.write_all(format!("will {number}").as_bytes())?;
        let write = database.begin_write()?;
        write.open_table(TABLE)?.insert(number, value(number).as_slice())?;
        write.commit()?;
        control.write_all(format!("did {number}").as_bytes())?;
    }
    std::process::exit(0); // without a close
}

fn read_all() -> Checked<()> {
    std::panic::set_hook(Box::new(|_| {}));
    for dir in io::stdin().lines() {
        let dir = dir?;
        let read = catch_unwind(AssertUnwindSafe(|| read(Path::new(&dir))));
        let answer = match read {
            Ok(Ok(Ok(last))) => format!("holds {last}"),
            Ok(Ok(Err(wrong))) => format!("wrong {wrong}"),
            Ok(Err(error)) => format!("unopenable {error}"),
            Err(_) => "unopenable: a panic".to_owned(),
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{}", answer.replace('\n', " "))?;
        out.flush()?;
    }
    Ok(())
}

/// The last number of a store that holds all before it, or what it holds wrongly.
fn read(dir: &Path) -> Checked<Result<u64, String>> {
    let database = Database::create(dir.join("store"))?;
    let view = database.begin_read()?;
    let table = match view.open_table(TABLE) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Ok(0)),
        other => other?,
    };
    let mut last = 0;
    for item in table.iter()? {
        let (key, held) = item?;
        last += 1;
        if key.value() != last || held.value() != value(last) {
            return Ok(Err(format!("{} in place of {last}", key.value())));
        }
    }
    Ok(Ok(last))
}
