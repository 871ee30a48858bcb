//! The official suites of openraft, each case a test of its own: on every engine, with both
//! strategies, and once more with the store closed and opened again before every single call.

#[path = "../common/mod.rs"]
mod common;
mod place;
mod v010;
mod v09;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use common::Kind;

fn main() -> ExitCode {
    let mut trials: Vec<Trial> = Kind::all()
        .flat_map(|kind| v09::trials(kind).into_iter().chain(v010::trials(kind)))
        .collect();
    // The suites' own lists, in case one has a case that the lists here do not have.
    trials.extend([v09::whole(), v010::whole()]);
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
