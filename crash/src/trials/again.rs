//! One fault of a row, as the line that has it tried again.

use std::fmt;
use std::str::FromStr;

use crate::Model;
use crate::failure::{Checked, Failure};
use crate::report::{Tally, medium_of};
use crate::run::{Examiner, Medium};
use crate::spec::{Spec, field, number};
use crate::trials::faults::{Strides, Sweep, What};
use crate::trials::served::{SERVED_THEN_CUT, Served};

/// What is needed to try it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Again {
    /// The name of its row.
    pub(crate) fault: String,
    pub(crate) nth: u64,
    pub(crate) medium: Medium,
    pub(crate) spec: Spec,
    pub(crate) model: Model,
    pub(crate) budget: usize,
}

impl Again {
    /// Tries it.
    pub(crate) fn run(&self) -> Checked<Tally> {
        let Self { fault, nth, medium, spec, model, budget } = self.clone();
        let (strides, examiner) = (Strides::ALL, &mut Examiner::new(medium)?);
        let mut tally = Tally::default();
        if fault == SERVED_THEN_CUT {
            let served = Served { medium, spec, model, strides, budget };
            served.kill_at(nth, examiner, &mut tally)?;
        } else {
            let what = What::of(&fault)?;
            let sweep = Sweep { medium, spec, model, what, strides, budget };
            sweep.strike(nth, examiner, &mut tally)?;
        }
        Ok(tally)
    }
}

impl fmt::Display for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fault, nth, medium, spec, model, budget } = self;
        write!(f, "{spec} fault={fault} nth={nth} medium={medium} model={model} budget={budget}")
    }
}

impl FromStr for Again {
    type Err = Failure;

    fn from_str(line: &str) -> Checked<Self> {
        Ok(Self {
            fault: field(line, "fault")?.to_owned(),
            nth: number(line, "nth")?,
            medium: medium_of(line),
            spec: line.parse()?,
            model: field(line, "model")?.parse()?,
            budget: usize::try_from(number(line, "budget")?).unwrap_or(usize::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Engine, Shape};

    #[test]
    fn every_row_can_be_named_on_a_line() {
        let spec = Spec::new(Engine::Sled, Shape::Append, 7, 25);
        let (medium, model, strides) = (Medium::Fuse, Model::Journal, Strides::ALL);
        for (_, what) in What::ALL {
            let again = Sweep { medium, spec, model, what, strides, budget: 30 }.again(17);
            assert_eq!(again.to_string().parse::<Again>().unwrap(), again);
            assert_eq!(What::of(&again.fault).unwrap(), what);
        }
        let again = Served { medium, spec, model, strides, budget: 30 }.again(17);
        assert_eq!(again.to_string().parse::<Again>().unwrap(), again);
    }
}
