//! What a real node wrote, by index and size.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Bench, Driven, Ends, GROUP, begin, end, main_phase};
use crate::measured::Tally;
use crate::payload::Payloads;
use crate::store::Store;
use crate::{Error, Result};

/// One commit of a trace: entries that replace what the log has from the first of them on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The first index.
    pub first: u64,
    /// The size of each payload.
    pub sizes: Vec<usize>,
}

/// Writes the steps of a trace to the file that a [`Work::Trace`](crate::Work::Trace) names.
///
/// # Errors
///
/// [`Error::BadInput`] for steps that no log can take: without entries, or with a hole.
pub fn write_steps(path: &Path, steps: &[Step]) -> Result<()> {
    let mut end = steps.first().map_or(1, |step| step.first);
    for step in steps {
        if step.sizes.is_empty() || step.first > end {
            let what = format!("the trace has a hole before index {}", step.first);
            return Err(Error::BadInput(what));
        }
        end = step.first.saturating_add(step.sizes.len() as u64);
    }
    let json = serde_json::to_vec(steps).map_err(|error| Error::BadInput(error.to_string()))?;
    fs::write(path, json).map_err(|error| Error::io("keep the trace", error))
}

/// Applies the steps, one durable commit each; a counting run takes the first of them.
pub(super) fn replay(bench: &Bench<'_>, steps: &Path) -> Result<Driven> {
    let bytes = fs::read(steps).map_err(|error| Error::io("read the trace", error))?;
    let mut steps: Vec<Step> =
        serde_json::from_slice(&bytes).map_err(|error| Error::BadInput(error.to_string()))?;
    let count = bench.scaled(steps.len() as u64);
    steps.truncate(usize::try_from(count).unwrap_or(usize::MAX));
    let longest = steps.iter().flat_map(|step| &step.sizes).copied().max().unwrap_or(0);
    // Every payload is the start of the longest that its index could have.
    let payloads = Payloads::new(bench.spec.seed, longest);
    let store = bench.open()?;
    let before = begin();
    let (began, mut tally, mut sizes, mut bytes) =
        (Instant::now(), Tally::new(), BTreeMap::new(), 0);
    let mut next = None;
    for step in &steps {
        let made: Vec<_> = (step.first..)
            .zip(&step.sizes)
            .map(|(index, &size)| payloads.make(GROUP, index).slice(..size))
            .collect();
        let at = Instant::now();
        if next.is_none_or(|next| next == step.first) {
            store.append(GROUP, step.first, &made, kvlogdb::Durability::Synced)?;
        } else {
            store.replace(GROUP, step.first, &made)?;
        }
        tally.note(made.len() as u64, at.elapsed(), began.elapsed());
        sizes.split_off(&step.first);
        sizes.extend((step.first..).zip(step.sizes.iter().copied()));
        bytes += step.sizes.iter().map(|&size| size as u64).sum::<u64>();
        next = Some(step.first + made.len() as u64);
    }
    let elapsed = began.elapsed();
    let written = end(before);
    check(&*store, &payloads, &sizes)?;
    Ok(Driven {
        phases: main_phase(tally.into_phase(elapsed)),
        written,
        payload_bytes: bytes,
        checked: sizes.len() as u64,
        left: Some((store, Ends::new())),
        ..Driven::default()
    })
}

/// Compares every entry that the trace left.
fn check(store: &dyn Store, payloads: &Payloads, sizes: &BTreeMap<u64, usize>) -> Result<()> {
    for (&index, &size) in sizes {
        let mut same = false;
        let expected = payloads.make(GROUP, index).slice(..size);
        store.get(GROUP, index, &mut |_, payload| same = payload == expected)?;
        if !same {
            return Err(Error::Wrong {
                group: GROUP,
                index,
                what: "it is not what the trace wrote",
            });
        }
    }
    let last = sizes.last_key_value().map_or(0, |(&index, _)| index);
    if store.last(GROUP)? != last {
        return Err(Error::Wrong { group: GROUP, index: last, what: "the log does not end here" });
    }
    Ok(())
}
