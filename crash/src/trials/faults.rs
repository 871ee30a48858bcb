//! Faults: the n-th call fails, for one n after the other until a run is clean; the disk fills up.

use kvlogdb::TornTail;

use crate::failure::Checked;
use crate::faults::{Call, Effect, Fault};
use crate::history::Story;
use crate::report::{Failed, Tally, of_run};
use crate::run::{Cut, Disk, ENOUGH, Examiner, Lived, Medium, Reader, Setup, first_failure};
use crate::scribe::OnFailure;
use crate::spec::{Engine, Spec};
use crate::trials::{begin, nobody};
use crate::verdict::Finding;
use crate::{FaultPlan, Model, Plan, Points, Recorded};

/// Which numbers are tried: all of the first, then with steps that grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Strides {
    /// Up to here none is left out.
    pub(crate) dense: u64,
    /// How many percent a number behind that is above the one before.
    pub(crate) percent: u64,
    /// Where the first one is.
    pub(crate) first: u64,
}

impl Strides {
    /// Every number.
    pub(crate) const ALL: Self = Self { dense: u64::MAX, percent: 0, first: 1 };

    pub(crate) fn numbers(self) -> impl Iterator<Item = u64> {
        std::iter::successors(Some(self.first), move |&before| {
            let step = if before < self.dense { 0 } else { before * self.percent / 100 };
            before.checked_add(1 + step)
        })
    }
}

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// One call.
    Call(Call, Effect),
    /// Room, after a number of pages.
    Room,
}

/// One kind of fault, at every place that the strides name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sweep {
    pub(crate) medium: Medium,
    pub(crate) spec: Spec,
    pub(crate) model: Model,
    pub(crate) what: What,
    pub(crate) strides: Strides,
    /// How many states are checked behind each fault.
    pub(crate) budget: usize,
}

/// How many numbers a sweep of a full disk tries.
const MAX_ROOM_STEPS: usize = 400;
/// How much more room each of them gives.
const ROOM_STEP_BYTES: u64 = 4096;

impl Sweep {
    /// Runs it.
    pub(crate) fn run(&self, examiner: &mut Examiner) -> Checked<Tally> {
        let mut tally = Tally::default();
        for nth in self.strides.numbers().take(MAX_ROOM_STEPS) {
            if !self.strike(nth, examiner, &mut tally)? || tally.failures.len() >= ENOUGH {
                break;
            }
        }
        Ok(tally)
    }

    fn plan(&self, nth: u64) -> FaultPlan {
        match self.what {
            What::Call(call, effect) => {
                FaultPlan { fault: Some(Fault { call, nth, effect }), ..FaultPlan::default() }
            }
            What::Room => {
                FaultPlan { room_bytes: Some(nth * ROOM_STEP_BYTES), ..FaultPlan::default() }
            }
        }
    }

    /// `false` where the fault did not strike: there are no more such calls.
    fn strike(&self, nth: u64, examiner: &mut Examiner, tally: &mut Tally) -> Checked<bool> {
        let (mut setup, base) = begin(self.medium, &self.spec)?;
        setup.on_failure = OnFailure::Reopen;
        let disk = Disk::record(self.medium, &base, self.plan(nth))?;
        let lived = disk.live(&setup)?;
        let struck = disk.recorded().struck > 0;
        if struck {
            tally.faults += 1;
            self.recover(&disk, &setup, &lived, tally)?;
            if self.forgets(&mut tally.failures) {
                tally.refused += 1;
                return Ok(true);
            }
        } else if let Some(failure) = lived.failure() {
            let text = format!("without a fault: {failure}");
            tally.failures.push(of_run(&setup.story, Finding::NotChecked, text));
        }
        self.cut(&disk.recorded(), &setup.story, nth, examiner, tally)?;
        Ok(struck)
    }

    /// sled takes a read that failed for the end of its log and writes from there on. Its crate
    /// refuses what comes of that, by name; nothing brings it back.
    fn forgets(&self, failures: &mut Vec<Failed>) -> bool {
        let expected = self.spec.engine == Engine::Sled
            && matches!(self.what, What::Call(Call::Read, Effect::Fail));
        let refused = |failed: &Failed| {
            failed.finding == Finding::NotOpened && failed.text.contains(SLED_FORGOT)
        };
        let before = failures.len();
        if expected {
            failures.retain(|failed| !refused(failed));
        }
        failures.len() < before
    }

    /// A store that has failed opens again, at the latest in another process.
    fn recover(&self, disk: &Disk, setup: &Setup, lived: &Lived, tally: &mut Tally) -> Checked {
        let name = |finding: Finding, text: &str| {
            let text = format!("{:?}, {}: {text}", self.what, setup.story.spec.engine);
            of_run(&setup.story, finding, text)
        };
        let Some(failure) = lived.failure() else { return Ok(()) };
        if let Some(finding) = lived.finding() {
            tally.failures.push(name(finding, failure));
            return Ok(());
        }
        disk.free();
        let mut again = setup.clone();
        let recorded = disk.recorded();
        let positions = nobody(&self.spec);
        let mut reader = Reader::new(&recorded.trace, &setup.story, &positions);
        reader.read_to(recorded.trace.len());
        again.story = reader.ledger.story().clone();
        again.commands = 2;
        let mut lived = disk.live(&again)?;
        if lived.failure().is_some_and(|failure| failure.contains(TORN)) {
            tally.torn += 1;
            again.torn = TornTail::Repair;
            lived = disk.live(&again)?;
        }
        if let Some(second) = lived.failure() {
            let finding = lived.finding().unwrap_or(Finding::NotOpened);
            let text = format!("{second}, after {failure}");
            tally.failures.push(name(finding, &text));
        }
        Ok(())
    }

    fn cut(
        &self,
        recorded: &Recorded,
        story: &Story,
        nth: u64,
        examiner: &mut Examiner,
        tally: &mut Tally,
    ) -> Checked {
        // What was written before the fault has been cut in other trials.
        let from = first_failure(&recorded.trace).unwrap_or_default().saturating_sub(3);
        let plan = Plan { seed: nth, budget: self.budget, points: Points::From(from) };
        let positions = nobody(&self.spec);
        let cut = Cut { recorded, story, positions: &positions, model: self.model, plan };
        cut.run(examiner, tally, drop)
    }
}

/// What the crate says of a sled that came up empty.
const SLED_FORGOT: &str = "sled came up without what the store was made with";
/// What the one refusal that is allowed says.
const TORN: &str = "ends in a torn batch";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_leave_out_nothing_at_first_and_more_and_more_later() {
        let strides = Strides { dense: 4, percent: 50, first: 1 };
        let numbers: Vec<_> = strides.numbers().take(8).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 7, 11, 17, 26]);
        assert_eq!(Strides::ALL.numbers().take(3).collect::<Vec<_>>(), [1, 2, 3]);
    }
}
