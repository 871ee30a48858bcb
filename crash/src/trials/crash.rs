//! Crash states: a life is recorded and cut everywhere, and what is left is opened.

use kvlogdb_conformance::Random;

use crate::failure::Checked;
use crate::ledger::Bounds;
use crate::report::{Tally, of_image, of_run};
use crate::run::{Cut, ENOUGH, Examiner, Medium, Setup, Survivor, record};
use crate::spec::Spec;
use crate::trials::{begin, nobody};
use crate::verdict::{Finding, Verdict};
use crate::{FaultPlan, Model, Plan, Points};

/// What is cut, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Crash {
    pub(crate) medium: Medium,
    pub(crate) spec: Spec,
    pub(crate) model: Model,
    /// How many states of one recorded life are checked.
    pub(crate) budget: usize,
    /// How many of them go on, and are cut a second time.
    pub(crate) second: usize,
}

/// How many commands a store writes that has come back from a crash.
const SECOND_COMMANDS: u64 = 4;
/// How many states of a second life are checked.
const SECOND_BUDGET: usize = 60;

impl Crash {
    /// Runs it.
    pub(crate) fn run(&self, examiner: &mut Examiner) -> Checked<Tally> {
        let mut tally = Tally::default();
        let (setup, base) = begin(self.medium, &self.spec)?;
        let recording = record(&setup, &base, FaultPlan::default())?;
        if let Some(failure) = recording.failure {
            tally.failures.push(of_run(&setup.story, Finding::NotChecked, failure));
        }
        let positions = nobody(&self.spec);
        let cut = Cut {
            recorded: &recording.recorded,
            story: &setup.story,
            positions: &positions,
            model: self.model,
            plan: Plan { seed: self.spec.seed, budget: self.budget, points: Points::All },
        };
        let mut sample = Sample::new(self.spec.seed, self.second);
        cut.run(examiner, &mut tally, |survivor| sample.offer(survivor))?;
        for survivor in sample.kept {
            if tally.failures.len() >= ENOUGH {
                break;
            }
            self.cut_again(&survivor, examiner, &mut tally)?;
        }
        Ok(tally)
    }

    /// Lets a store that has come back go on, and cuts that, from the first call of its recovery.
    fn cut_again(
        &self,
        survivor: &Survivor,
        examiner: &mut Examiner,
        tally: &mut Tally,
    ) -> Checked {
        let mut setup = Setup::new(self.medium, &self.spec);
        setup.story = survivor.story.clone();
        setup.commands = survivor.positions.iter().sum::<u64>() % (SECOND_COMMANDS + 1);
        if survivor.torn {
            setup.torn = kvlogdb::TornTail::Repair;
        }
        let recording = record(&setup, &survivor.image, FaultPlan::default())?;
        if let Some(failure) = recording.failure {
            let bounds = Bounds::at(&survivor.positions);
            let verdict = Verdict::failed(Finding::NotChecked, failure);
            let failed = of_image(&survivor.image, &setup.story, &bounds, &verdict, "second=1");
            tally.failures.extend(failed);
            return Ok(());
        }
        let cut = Cut {
            recorded: &recording.recorded,
            story: &survivor.story,
            positions: &survivor.positions,
            model: self.model,
            plan: Plan { seed: self.spec.seed, budget: SECOND_BUDGET, points: Points::All },
        };
        let mut second = Tally::default();
        cut.run(examiner, &mut second, drop)?;
        second.double = second.states;
        tally.absorb(second);
        Ok(())
    }
}

/// Some of many, each as likely as any other.
struct Sample {
    random: Random,
    size: usize,
    offered: u64,
    kept: Vec<Survivor>,
}

impl Sample {
    fn new(seed: u64, size: usize) -> Self {
        Self { random: Random::new(seed), size, offered: 0, kept: Vec::new() }
    }

    fn offer(&mut self, survivor: Survivor) {
        self.offered += 1;
        if self.kept.len() < self.size {
            self.kept.push(survivor);
            return;
        }
        let at = usize::try_from(self.random.below(self.offered)).unwrap_or(usize::MAX);
        if let Some(kept) = self.kept.get_mut(at) {
            *kept = survivor;
        }
    }
}
