//! The suite is worth what it catches: engines that lie in one point each, and the cases that must
//! notice.

#![expect(clippy::unwrap_used, reason = "the liars are parts of a test; a panic fails it")]

mod files;
mod memory;
mod tables;
mod twist;

use std::collections::BTreeSet;
use std::process::ExitCode;

use files::FileLie;
use kvlogdb_conformance::{Case, Subject, cases, play};
use libtest_mimic::{Arguments, Trial};
use memory::Lie;
use tables::{FOR_THE_LOG, LOG_LIES, OVER_FILES, OVER_MEMORY};

fn main() -> ExitCode {
    let subjects: Vec<_> = file_lies().into_iter().map(files::subject).collect();
    if let Some(code) = play(&subjects) {
        return code;
    }
    let trials = TESTS.iter().map(|&(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

/// The tests of this program, which plays the parts of liars when it is started for that.
const TESTS: &[(&str, fn())] = &[
    ("every_lie_is_caught_by_every_case_meant_for_it", every_lie_is_caught),
    ("every_lie_over_files_is_caught_by_every_case_meant_for_it", every_lie_over_files_is_caught),
    (
        "some_lies_pass_every_case_over_the_engine_and_are_caught_by_the_log",
        some_lies_are_caught_by_the_log_alone,
    ),
    ("every_case_that_needs_a_lie_has_one", every_case_that_needs_a_lie_has_one),
    ("the_engine_in_memory_passes_when_it_does_not_lie", the_engine_in_memory_passes),
    ("the_engine_with_files_passes_when_it_does_not_lie", the_engine_with_files_passes),
    ("a_case_that_cannot_be_run_never_passes", a_case_that_cannot_be_run_never_passes),
    ("a_panic_is_a_failure_that_says_what_the_panic_said", a_panic_is_a_failure),
];

fn file_lies() -> Vec<FileLie> {
    let lies = OVER_FILES.iter().flat_map(|(_, lies)| lies.iter().map(|(lie, _)| *lie));
    lies.chain([FileLie::None]).collect()
}

/// How often a case may try to catch a liar at the moment of a kill.
const TRIES: usize = 30;

/// The meant cases that pass on the liar. One that cannot be run on this machine shows nothing.
fn passed(subject: &Subject, layer: &str, meant: &[&str]) -> Vec<String> {
    let mut passed = Vec::new();
    for claim in meant {
        let name = format!("{layer}::{claim}");
        let case = cases().iter().find(|case| case.name() == name).expect(&name);
        let tries = if layer == "kill" { TRIES } else { 1 };
        if case.obstacle(subject).is_none() && (0..tries).all(|_| case.run(subject).is_ok()) {
            passed.push(name);
        }
    }
    passed
}

fn every_lie_is_caught() {
    let mut uncaught = Vec::new();
    for (layer, lies) in OVER_MEMORY {
        for (lie, meant) in lies {
            let passed = passed(&memory::subject(*lie), layer, meant);
            uncaught.extend(passed.into_iter().map(|name| format!("{lie:?} by {name}")));
        }
    }
    assert!(uncaught.is_empty(), "not caught: {uncaught:#?}");
}

fn every_lie_over_files_is_caught() {
    let mut uncaught = Vec::new();
    for (layer, lies) in OVER_FILES {
        for (lie, meant) in lies {
            let passed = passed(&files::subject(*lie), layer, meant);
            uncaught.extend(passed.into_iter().map(|name| format!("{lie:?} by {name}")));
        }
    }
    assert!(uncaught.is_empty(), "not caught: {uncaught:#?}");
}

fn some_lies_are_caught_by_the_log_alone() {
    for lie in FOR_THE_LOG {
        assert_eq!(failed("engine::", &memory::subject(lie)), Vec::<String>::new(), "{lie:?}");
        assert!(LOG_LIES.iter().any(|(caught, meant)| *caught == lie && !meant.is_empty()));
    }
}

/// Every case outside the layer `log`, whose lies are told to its records by the cases themselves.
fn every_case_that_needs_a_lie_has_one() {
    let name = |layer: &str, claim: &str| format!("{layer}::{claim}");
    let of_memory = OVER_MEMORY.iter().flat_map(|(layer, lies)| {
        lies.iter().flat_map(move |(_, meant)| meant.iter().map(move |claim| name(layer, claim)))
    });
    let of_files = OVER_FILES.iter().flat_map(|(layer, lies)| {
        lies.iter().flat_map(move |(_, meant)| meant.iter().map(move |claim| name(layer, claim)))
    });
    let of_log = |name: &String| name.starts_with("log::");
    let meant: BTreeSet<_> = of_memory.chain(of_files).filter(|name| !of_log(name)).collect();
    let all = cases().iter().map(|case| case.name().to_owned());
    let all: BTreeSet<_> = all.filter(|name| !of_log(name)).collect();
    let differ: Vec<_> = all.symmetric_difference(&meant).collect();
    assert!(differ.is_empty(), "no lie is meant for {differ:?}");
}

/// What fails on an engine that does not lie.
fn failed(layer: &str, subject: &Subject) -> Vec<String> {
    let of_layer = cases().iter().filter(|case| case.name().starts_with(layer));
    let runnable = of_layer.filter(|case| case.obstacle(subject).is_none());
    let failed = runnable.filter_map(|case| {
        let failure = case.run(subject).err()?;
        Some(format!("{}: {failure}", case.name()))
    });
    failed.collect()
}

const LAYERS: [&str; 6] = ["engine::", "log::", "kill::", "count::", "full::", "fault::"];

fn the_engine_in_memory_passes() {
    for layer in LAYERS {
        assert_eq!(failed(layer, &memory::subject(Lie::None)), Vec::<String>::new());
    }
}

fn the_engine_with_files_passes() {
    let subject = files::subject(FileLie::None);
    let in_files = ["engine::", "log::", "kill::"];
    let of_files = |case: &Case| in_files.iter().any(|layer| case.name().starts_with(layer));
    let mut cases = cases().iter().filter(|case| of_files(case));
    assert!(cases.all(|case| case.obstacle(&subject).is_none()));
    for layer in LAYERS {
        assert_eq!(failed(layer, &subject), Vec::<String>::new());
    }
}

fn a_case_that_cannot_be_run_never_passes() {
    let subject = memory::subject(Lie::None);
    let unrunnable = cases().iter().filter(|case| case.obstacle(&subject).is_some());
    let unrunnable: Vec<_> = unrunnable.collect();
    assert!(unrunnable.len() > 30);
    assert!(unrunnable.iter().all(|case| case.run(&subject).is_err()));
}

fn a_panic_is_a_failure() {
    let name = "engine::what_was_never_written_is_absent";
    let case = cases().iter().find(|case| case.name() == name).unwrap();
    let failure = case.run(&memory::subject(Lie::Panics)).unwrap_err();
    assert!(failure.contains("a liar panicked"), "{failure}");
}
