//! `kvlogdb export`: a store as one stream.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use kvlogdb::stream::{self, StreamError};
use kvlogdb::transfer::Totals;
use serde_json::json;

use crate::exit::{Exit, Failure, with_causes};
use crate::output::{print, print_json};
use crate::progress;
use crate::source::Source;

/// What `export` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The store's directory.
    dir: PathBuf,
    /// The file to make; `-` for standard output.
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Print what was exported as one JSON document; on standard error where the stream goes to
    /// standard output.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let to_stdout = args.file == Path::new("-");
    if to_stdout && io::stdout().is_terminal() {
        return Err(Failure::bad_input("a terminal cannot show an export: name a file"));
    }
    if !to_stdout && fs::symlink_metadata(&args.file).is_ok() {
        return Err(Failure::bad_input(format!("{} exists", args.file.display())));
    }
    let source = Source::open(&args.dir)?;
    let expected = source.sound()?.entries;
    let totals = if to_stdout {
        write(&source, expected, io::stdout().lock())?
    } else {
        write_file(&source, expected, &args.file)?
    };
    source.close()?;
    let Totals { metadata, entries, record_bytes } = totals;
    let document =
        json!({ "metadata": metadata, "entries": entries, "record_bytes": record_bytes });
    let text = format!("exported {entries} entries and {metadata} metadata records\n");
    match (to_stdout, args.json) {
        (true, true) => eprintln!("{document:#}"),
        (true, false) => eprint!("kvlogdb: {text}"),
        (false, true) => print_json(&document)?,
        (false, false) => print(&text)?,
    }
    Ok(Exit::Fine)
}

fn write(source: &Source, expected: u64, output: impl Write) -> Result<Totals, Failure> {
    let bar = progress::bar("exporting", expected, "entries");
    let output = BufWriter::new(output);
    let totals =
        stream::export(&*source.engine, &source.manifest.identity, output, &mut |totals| {
            bar.set_position(totals.entries);
        });
    bar.finish_and_clear();
    let totals = totals.map_err(|error| failed(source, error))?;
    if totals.entries != expected {
        // Two passes over a locked store: only an engine that loses its mind comes here.
        let what = format!("{} had {expected} entries and then {}", source.name(), totals.entries);
        return Err(Failure::damage(what));
    }
    Ok(totals)
}

fn failed(source: &Source, error: StreamError) -> Failure {
    match error {
        StreamError::Store(error) => Failure::store(&source.name(), &error),
        StreamError::Io { source, .. } => Failure::output(&source),
        other => Failure::damage(with_causes(&other)),
    }
}

/// Writes beside the file, syncs, and renames: the file is complete or absent.
fn write_file(source: &Source, expected: u64, file: &Path) -> Result<Totals, Failure> {
    let mut name = OsString::from(file.as_os_str());
    name.push(".tmp");
    let temporary = Path::new(&name);
    let output = open_temporary(temporary)?;
    let written = write(source, expected, &output).and_then(|totals| {
        output.sync_all().map_err(|error| Failure::io("sync", temporary, &error))?;
        fs::rename(temporary, file).map_err(|error| Failure::io("make", file, &error))?;
        sync_parent(file).map_err(|error| Failure::io("sync the name of", file, &error))?;
        Ok(totals)
    });
    if written.is_err() {
        let _ = fs::remove_file(temporary); // the first failure is the one to tell
    }
    written
}

/// Opens the temporary file, which may be what an export left that was killed.
fn open_temporary(path: &Path) -> Result<File, Failure> {
    let failed = |error: io::Error| Failure::io("make", path, &error);
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
    let mut file = options.open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Failure::in_use(format!("{} is being written", path.display())));
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    let mut start = Vec::new();
    let len = stream::MAGIC.len() as u64;
    Read::by_ref(&mut file).take(len).read_to_end(&mut start).map_err(failed)?;
    if !stream::MAGIC.starts_with(&start) {
        let what = format!("{} exists and is no export", path.display());
        return Err(Failure::bad_input(what));
    }
    file.set_len(0).and_then(|()| io::Seek::rewind(&mut file)).map_err(failed)?;
    Ok(file)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if cfg!(unix) { File::open(parent.unwrap_or(Path::new(".")))?.sync_all() } else { Ok(()) }
}
