//! Served, then cut: a process is killed just before a sync, the next one finds what the cache
//! still holds and shows it to others, and then the power goes.

use crate::failure::Checked;
use crate::faults::{Call, Effect, Fault};
use crate::report::{Tally, of_run};
use crate::run::{Cut, Disk, ENOUGH, Examiner, Medium, Reader, last_opening};
use crate::spec::Spec;
use crate::trials::again::Again;
use crate::trials::faults::Strides;
use crate::trials::{begin, nobody};
use crate::verdict::Finding;
use crate::{FaultPlan, Model, Plan, Points};

/// The name of such a trial.
pub(crate) const SERVED_THEN_CUT: &str = "served_then_cut";

/// At which syncs a process is killed, and how much of what follows is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) medium: Medium,
    pub(crate) spec: Spec,
    pub(crate) model: Model,
    pub(crate) strides: Strides,
    /// How many states are checked for each sync.
    pub(crate) budget: usize,
}

impl Served {
    /// Runs it.
    pub(crate) fn run(&self, examiner: &mut Examiner) -> Checked<Tally> {
        let mut tally = Tally::default();
        for nth in self.strides.numbers() {
            if !self.kill_at(nth, examiner, &mut tally)? || tally.failures.len() >= ENOUGH {
                break;
            }
        }
        Ok(tally)
    }

    /// What is needed to try one of its kills again.
    pub(crate) fn again(&self, nth: u64) -> Again {
        let Self { medium, spec, model, budget, .. } = *self;
        Again { fault: SERVED_THEN_CUT.to_owned(), nth, medium, spec, model, budget }
    }

    /// `false` where there are fewer syncs.
    pub(crate) fn kill_at(
        &self,
        nth: u64,
        examiner: &mut Examiner,
        tally: &mut Tally,
    ) -> Checked<bool> {
        let (mut setup, base) = begin(self.medium, &self.spec)?;
        let fault = Some(Fault { call: Call::Sync, nth, effect: Effect::Kill });
        let disk = Disk::record(self.medium, &base, FaultPlan { fault, ..FaultPlan::default() })?;
        disk.live(&setup)?;
        let recorded = disk.recorded();
        if recorded.struck == 0 {
            return Ok(false);
        }
        tally.kills += 1;
        let first = setup.story.clone();
        let positions = nobody(&self.spec);
        let mut reader = Reader::new(&recorded.trace, &first, &positions);
        reader.read_to(recorded.trace.len());
        setup.story = reader.ledger.story().clone();
        setup.commands = nth % 3;
        if let Some(failure) = disk.live(&setup)?.failure() {
            tally.failures.push(of_run(self.again(nth), Finding::NotOpened, failure));
            return Ok(true);
        }
        let recorded = disk.recorded();
        let from = last_opening(&recorded.trace).unwrap_or_default();
        let plan = Plan { seed: nth, budget: self.budget, points: Points::From(from) };
        let (story, model) = (&first, self.model);
        let cut = Cut { recorded: &recorded, story, positions: &positions, model, plan };
        let mut served = Tally::default();
        cut.run(examiner, &mut served, drop)?;
        served.served = served.states;
        tally.absorb(served);
        Ok(true)
    }
}
