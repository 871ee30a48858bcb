//! A cluster of one node over a store whose process is killed, whose disk fails and whose disk runs
//! full: the node stops with an error that says what it could not do, nothing acknowledged is lost,
//! and a restart goes on.

mod child;
mod cluster;
#[path = "../common/mod.rs"]
mod common;
mod failing;
mod full;
mod killed;
mod v010;
mod v09;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use common::Kind;

/// What a test answers that did not hold.
type Checked<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Fails a test with a message where something does not hold.
macro_rules! ensure {
    ($holds:expr, $($message:tt)+) => {
        if !$holds {
            return Err(format!($($message)+).into());
        }
    };
}
use ensure;

fn main() -> ExitCode {
    if let Some(code) = child::play() {
        return code;
    }
    let trials: Vec<Trial> = Kind::all()
        .flat_map(|kind| [killed::trials(kind), failing::trials(kind), full::trials(kind)])
        .flatten()
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A test of one kind of store under one version of openraft.
fn trial(
    version: Version,
    kind: Kind,
    name: &str,
    run: impl FnOnce() -> Checked + Send + 'static,
) -> Trial {
    let name = format!("{}::{}::{name}", version.name(), kind.name());
    Trial::test(name, move || run().map_err(|error| error.to_string().into()))
}

/// A version of openraft.
#[derive(Debug, Clone, Copy)]
enum Version {
    V09,
    V010,
}

impl Version {
    const ALL: [Self; 2] = [Self::V09, Self::V010];

    fn name(self) -> &'static str {
        match self {
            Self::V09 => "v09",
            Self::V010 => "v010",
        }
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}
