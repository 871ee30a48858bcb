//! The trials: each does one thing to a store until its budget is used up, and counts.

pub(crate) mod again;
pub(crate) mod catch;
pub(crate) mod crash;
pub(crate) mod faults;
#[cfg(target_os = "linux")]
pub(crate) mod known_bad;
pub(crate) mod list;
pub(crate) mod rot;
pub(crate) mod served;

use libtest_mimic::{Failed, Trial};

use crate::failure::{Checked, Context};
use crate::needs::{FUSE, block_trial, fuse_trial, is_required};
use crate::run::{Medium, Setup, record};
use crate::spec::Spec;
use crate::{FaultPlan, Image};

/// The first life of a run, and what is on its disk before it.
///
/// In memory there is no directory in which a store could be made whole or not at all, so its
/// making is not a part of what is recorded.
pub(crate) fn begin(medium: Medium, spec: &Spec) -> Checked<(Setup, Image)> {
    let mut setup = Setup::new(medium, spec);
    let blank = blank(medium)?;
    if medium != Medium::Memory {
        return Ok((setup, blank));
    }
    setup.commands = 0;
    let made = record(&setup, &blank, FaultPlan::default())?;
    if let Some(failure) = made.failure {
        return Err(failure.into());
    }
    setup.commands = spec.commands;
    setup.story.lives.push(nobody(spec));
    Ok((setup, made.recorded.end))
}

/// A disk on which nobody has written.
pub(crate) fn blank(medium: Medium) -> Checked<Image> {
    match medium {
        Medium::Memory | Medium::Fuse => Ok(Image::default()),
        #[cfg(target_os = "linux")]
        Medium::Block => crate::record::block::formatted().during("making a file system"),
        #[cfg(not(target_os = "linux"))]
        Medium::Block => Err("a loop device: only on Linux".into()),
    }
}

/// The positions of writers who have written nothing.
pub(crate) fn nobody(spec: &Spec) -> Vec<u64> {
    (0..spec.writers).map(|_| 0).collect()
}

/// Every trial of every change, as tests of the usual kind.
pub fn tests() -> Vec<Trial> {
    let mut tests: Vec<Trial> = list::of_every_change().into_iter().map(as_test).collect();
    tests.extend(known_bad_versions());
    tests
}

fn as_test((name, trial): list::Named) -> Trial {
    let run = move || -> Result<(), Failed> {
        let tally = trial.run().map_err(|failure| Failed::from(failure.to_string()))?;
        if tally.failures.is_empty() {
            return Ok(());
        }
        let failures: Vec<_> = tally.failures.iter().map(ToString::to_string).collect();
        Err(format!("{tally}\n{}", failures.join("\n")).into())
    };
    match trial.medium() {
        Some(Medium::Fuse) => fuse_trial(name, run),
        Some(Medium::Block) => block_trial(name, run),
        Some(Medium::Memory) | None => Trial::test(name, run),
    }
}

/// Only Linux has the disk on which they are recorded.
#[cfg(target_os = "linux")]
fn known_bad_versions() -> Vec<Trial> {
    let run = || -> Result<(), Failed> {
        known_bad::run().map(drop).map_err(|failure| failure.to_string().into())
    };
    let trial = || fuse_trial("must_catch::redb_4_1_0", run);
    vec![match known_bad::obstacle().filter(|_| !is_required(FUSE)) {
        Some(reason) => trial().with_kind(reason).with_ignored_flag(true),
        None => trial(),
    }]
}

#[cfg(not(target_os = "linux"))]
fn known_bad_versions() -> Vec<Trial> {
    Vec::new()
}
