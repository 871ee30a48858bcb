//! What is drawn at one point.

use std::collections::BTreeSet;

use kvlogdb_conformance::Random;

use super::Choice;
use crate::disk::{Disk, Part, Pending, Selection};

/// Up to so many pending calls, every set of them is drawn.
const EXHAUSTIVE_CALLS: usize = 6;
/// Of each of these, some are drawn by chance.
const GRAINS_BYTES: [u32; 2] = [512, 4096];
const PERCENTS: [u8; 3] = [10, 50, 90];
/// How often each of them is drawn by chance.
const ROUNDS: usize = 4;

/// What is there by a choice; `None` where it names nothing.
pub(super) fn selection(disk: &Disk, choice: Choice) -> Option<Selection> {
    let count = disk.pending().len();
    // How many names and lengths the journal has of the first calls.
    let journal = |calls: usize| {
        let first = disk.pending().iter().take(calls);
        first.filter(|pending| disk.is_journaled(pending)).count()
    };
    let parts = |part: &dyn Fn(usize) -> Part| (0..count).map(part).collect();
    let whole_if = |whole: bool| if whole { Part::Whole } else { Part::Nothing };
    let exists = |call: usize| (call < count).then_some(call);
    let (parts, journal) = match choice {
        Choice::DropAll => (parts(&|_| Part::Nothing), 0),
        Choice::KeepAll => (parts(&|_| Part::Whole), journal(count)),
        Choice::Prefix { calls, sectors } => {
            let torn = if sectors == 0 { Part::Nothing } else { Part::Head(sectors) };
            let part = |at| if at == calls { torn } else { whole_if(at < calls) };
            (parts(&part), journal(calls))
        }
        Choice::AllBut(call) => {
            let call = exists(call)?;
            (parts(&|at| whole_if(at != call)), journal(count))
        }
        Choice::Cut(call) => (parts(&|_| Part::Whole), journal(exists(call)?)),
        Choice::Only(call) => {
            let call = exists(call)?;
            (parts(&|at| whole_if(at == call)), journal(call + 1))
        }
        Choice::Subset { calls, journal } => {
            let has = |at| u32::try_from(at).ok().and_then(|at| calls.checked_shr(at));
            (parts(&|at| whole_if(has(at).is_some_and(|bits| bits & 1 == 1))), journal)
        }
        Choice::Random { seed, grain_bytes, percent } => {
            let mut random = Random::new(seed);
            let journal = random.below(journal(count) as u64 + 1);
            let seeds: Vec<u64> = (0..count).map(|_| random.next()).collect();
            let sieve = |seed| Part::Sieve { seed, grain_bytes, percent };
            let parts = seeds.into_iter().map(sieve).collect();
            (parts, usize::try_from(journal).ok()?)
        }
    };
    Some(Selection { parts, journal })
}

/// What to draw from a disk; the last is to be drawn first.
pub(super) fn choices(disk: &Disk, random: &mut Random) -> Vec<Choice> {
    let pending = disk.pending();
    if pending.is_empty() {
        return vec![Choice::DropAll];
    }
    let few = pending.len() <= EXHAUSTIVE_CALLS;
    let mut choices = if few { subsets(disk) } else { around_each(disk) };
    choices.extend(torn(pending, random));
    let has_blocks = pending.iter().any(|pending| sectors(pending) > 1);
    if has_blocks || !few {
        for (grain_bytes, percent) in by_chance() {
            let seed = random.next();
            choices.push(Choice::Random { seed, grain_bytes, percent });
        }
    }
    shuffle(&mut choices, random);
    choices.extend([Choice::KeepAll, Choice::DropAll]);
    choices
}

fn by_chance() -> impl Iterator<Item = (u32, u8)> {
    (0..ROUNDS).flat_map(|_| {
        GRAINS_BYTES.into_iter().flat_map(|grain| PERCENTS.map(|percent| (grain, percent)))
    })
}

/// Every set of calls, with every state of the journal.
fn subsets(disk: &Disk) -> Vec<Choice> {
    let pending = disk.pending();
    let journal = pending.iter().filter(|pending| disk.is_journaled(pending)).count();
    // What is nothing but a name or a length is there by the journal's word.
    let mut journal_only = 0_u64;
    for (at, pending) in pending.iter().enumerate() {
        let no_bytes = !matches!(pending, Pending::Write(_));
        journal_only |= u64::from(no_bytes && disk.is_journaled(pending)) << at;
    }
    let sets = (0..1_u64 << pending.len()).filter(|calls| calls & journal_only == 0);
    let with_journal = |calls| (0..=journal).map(move |journal| Choice::Subset { calls, journal });
    sets.flat_map(with_journal).collect()
}

/// The first ones, all but one, one only.
fn around_each(disk: &Disk) -> Vec<Choice> {
    let mut choices = Vec::new();
    for (at, pending) in disk.pending().iter().enumerate() {
        choices.push(Choice::Prefix { calls: at, sectors: 0 });
        choices.push(Choice::AllBut(at));
        choices.push(Choice::Only(at));
        if disk.is_journaled(pending) {
            choices.push(Choice::Cut(at));
        }
    }
    choices
}

/// The first ones, and a part of the next.
fn torn(pending: &[Pending], random: &mut Random) -> Vec<Choice> {
    let mut choices = Vec::new();
    for (calls, pending) in pending.iter().enumerate() {
        let count = sectors(pending);
        if count > 1 {
            let by_chance = 1 + random.below(count as u64 - 1);
            let at = BTreeSet::from([1, usize::try_from(by_chance).unwrap_or(1), count - 1]);
            choices.extend(at.into_iter().map(|sectors| Choice::Prefix { calls, sectors }));
        }
    }
    choices
}

fn sectors(pending: &Pending) -> usize {
    match pending {
        Pending::Write(write) => write.sectors().1,
        _ => 0,
    }
}

fn shuffle(choices: &mut [Choice], random: &mut Random) {
    for last in (1..choices.len()).rev() {
        let other = random.below(last as u64 + 1);
        choices.swap(last, usize::try_from(other).unwrap_or(last));
    }
}
