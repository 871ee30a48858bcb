//! Faults: the n-th call fails, for one n after the other until a run is clean; the disk fills up.

use kvlogdb::TornTail;

use crate::failure::Checked;
use crate::faults::{Call, Effect, Fault, Start};
use crate::history::Story;
use crate::report::{Failed, Tally, of_run};
use crate::run::{Cut, Disk, ENOUGH, Examiner, Lived, Medium, Reader, Setup, first_failure};
use crate::scribe::OnFailure;
use crate::spec::{Engine, Spec};
use crate::trace::Cache;
use crate::trials::again::Again;
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

impl What {
    /// All kinds of calls that can fail, and how, and a disk that fills up.
    pub(crate) const ALL: [(&str, Self); 12] = [
        ("sync_fails_for_once", Self::Call(Call::Sync, Effect::Fail)),
        ("sync_fails", Self::Call(Call::Sync, Effect::FailSync(Cache::Kept))),
        ("sync_fails_and_reverts", Self::Call(Call::Sync, Effect::FailSync(Cache::Reverted))),
        ("write_fails", Self::Call(Call::Write, Effect::Fail)),
        ("write_is_short", Self::Call(Call::Write, Effect::Short)),
        ("set_len_fails", Self::Call(Call::SetLen, Effect::Fail)),
        ("open_fails", Self::Call(Call::Open, Effect::Fail)),
        ("rename_fails", Self::Call(Call::Rename, Effect::Fail)),
        ("mkdir_fails", Self::Call(Call::MakeDir, Effect::Fail)),
        ("remove_fails", Self::Call(Call::Remove, Effect::Fail)),
        ("read_fails", Self::Call(Call::Read, Effect::Fail)),
        ("disk_is_full", Self::Room),
    ];

    /// The one with this name.
    pub(crate) fn of(word: &str) -> Checked<Self> {
        let found = Self::ALL.iter().find(|(name, _)| *name == word);
        found.map(|(_, what)| *what).ok_or_else(|| format!("there is no fault {word:?}").into())
    }

    fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, what)| *what == self).map_or("-", |(word, _)| word)
    }
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

    /// What is needed to try one of its faults again.
    pub(crate) fn again(&self, nth: u64) -> Again {
        let Self { medium, spec, model, what, budget, .. } = *self;
        Again { fault: what.word().to_owned(), nth, medium, spec, model, budget }
    }

    fn plan(&self, nth: u64) -> FaultPlan {
        // A real file system that cannot even be mounted tells nothing of a store.
        let start = if self.medium == Medium::Block { Start::Armed } else { Start::AtOnce };
        let (fault, room_bytes) = match self.what {
            What::Call(call, effect) => (Some(Fault { call, nth, effect }), None),
            What::Room => (None, Some(nth * ROOM_STEP_BYTES)),
        };
        FaultPlan { fault, room_bytes, start, ..FaultPlan::default() }
    }

    /// `false` where the fault did not strike: there are no more such calls.
    pub(crate) fn strike(
        &self,
        nth: u64,
        examiner: &mut Examiner,
        tally: &mut Tally,
    ) -> Checked<bool> {
        let (mut setup, base) = begin(self.medium, &self.spec)?;
        setup.on_failure = OnFailure::Reopen;
        let disk = Disk::record(self.medium, &base, self.plan(nth))?;
        let lived = disk.live(&setup)?;
        let struck = disk.recorded().struck > 0;
        if struck {
            tally.faults += 1;
            self.recover(&disk, &setup, &lived, nth, tally)?;
            if self.forgets(&mut tally.failures) {
                tally.refused += 1;
                return Ok(true);
            }
        } else if let Some(failure) = lived.failure() {
            let text = format!("without a fault: {failure}");
            tally.failures.push(of_run(self.again(nth), Finding::NotChecked, text));
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
    fn recover(
        &self,
        disk: &Disk,
        setup: &Setup,
        lived: &Lived,
        nth: u64,
        tally: &mut Tally,
    ) -> Checked {
        let name = |finding: Finding, text: &str| {
            let failed = of_run(self.again(nth), finding, text);
            let trace = disk.recorded().trace;
            failed.after(&trace, trace.len())
        };
        let Some(failure) = lived.failure() else { return Ok(()) };
        if let Some(finding) = lived.finding() {
            tally.failures.push(name(finding, failure));
            return Ok(());
        }
        disk.mend()?;
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
