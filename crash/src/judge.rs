//! Holds what a store shows against its history, and names what departs from it.

use std::collections::BTreeMap;

use kvlogdb_log::ReplicaId;

use crate::history::{History, MARKER_SLOT, Position, Step, marker};
use crate::ledger::Bounds;
use crate::seen::{Seen, SeenEntry, Shown, differences};
use crate::verdict::Finding;
use crate::workload::SLOTS;

/// What is wrong, and the words for it.
pub(crate) type Wrong = (Finding, String);

/// Where every writer is, if the store shows exactly what it may.
pub(crate) fn judge(
    histories: &[History],
    bounds: &Bounds,
    shown: &Shown,
) -> Result<Vec<u64>, Wrong> {
    let mut positions = Vec::new();
    let mut wanted = BTreeMap::new();
    for (at, history) in histories.iter().enumerate() {
        let number = |all: &[u64]| all.get(at).copied().unwrap_or_default();
        let range = Range {
            acked: number(&bounds.acked),
            issued: number(&bounds.issued),
            vouched: number(&bounds.vouched),
        };
        let step = find_step(history, shown, range)?;
        positions.push(step.position.number);
        for (replica, reference) in step.state.existing() {
            wanted.insert(replica, (Seen::from(reference), history, range, step));
        }
    }
    for (replica, (wanted, history, range, step)) in &wanted {
        let found = seen(shown, *replica)?;
        if found != Some(wanted) {
            return Err(wrong(history, *range, step, *replica, found, Some(wanted)));
        }
    }
    for &replica in shown.keys().filter(|replica| !wanted.contains_key(replica)) {
        let Some(found) = seen(shown, replica)? else { continue };
        return Err(uninvited(histories, &positions, replica, found));
    }
    in_order(bounds, &positions)?;
    Ok(positions)
}

/// What one writer has promised and may have done.
#[derive(Debug, Clone, Copy)]
struct Range {
    acked: u64,
    issued: u64,
    vouched: u64,
}

fn seen(shown: &Shown, replica: ReplicaId) -> Result<Option<&Seen>, Wrong> {
    match shown.get(&replica) {
        None => Ok(None),
        Some(Ok(seen)) => Ok(Some(seen)),
        Some(Err(text)) => Err((Finding::Damaged, format!("replica {replica}: {text}"))),
    }
}

/// The command that a writer's marker names, which must be one that may be the last.
fn find_step<'a>(history: &'a History, shown: &Shown, range: Range) -> Result<&'a Step, Wrong> {
    let writer = history.writer();
    let slot = SLOTS.into_iter().position(|slot| slot == MARKER_SLOT).unwrap_or_default();
    let value = seen(shown, marker(writer))?.and_then(|seen| seen.slots.get(slot)?.clone());
    let position = match &value {
        None => Position::default(),
        Some(bytes) => Position::from_bytes(bytes).ok_or_else(|| {
            (Finding::Invented, format!("the marker of writer {writer} is no position"))
        })?,
    };
    let number = position.number;
    let says = format!("writer {writer} is at {position}");
    let Some(step) = history.find(position) else {
        let old = history.step(number).is_none_or(|step| step.position.life > position.life);
        let finding = if old { Finding::Resurrected } else { Finding::Invented };
        return Err((finding, format!("{says}, which this history does not have")));
    };
    if number < range.acked {
        let text = format!("{says}, and {} was acknowledged", range.acked);
        return Err((Finding::LostAcknowledged, text));
    }
    if number < range.vouched {
        let text = format!("{says}, and durable had vouched for {}", range.vouched);
        return Err((Finding::WrongDurable, text));
    }
    if number > range.issued {
        return Err((Finding::Invented, format!("{says}, and {} was issued", range.issued)));
    }
    Ok(step)
}

fn wrong(
    history: &History,
    range: Range,
    step: &Step,
    replica: ReplicaId,
    found: Option<&Seen>,
    wanted: Option<&Seen>,
) -> Wrong {
    let at = step.position.number;
    let nothing = Seen::default();
    let list = differences(found.unwrap_or(&nothing), wanted.unwrap_or(&nothing)).join("; ");
    let finding = name(history, range, at, replica, found, wanted);
    let what = match (found, wanted) {
        (None, _) => "it is not there".to_owned(),
        (_, None) => format!("it is there: {list}"),
        _ => list,
    };
    let Range { acked, issued, .. } = range;
    (finding, format!("replica {replica} at command {at} ({acked}..={issued}): {what}"))
}

/// A replica that no writer's state has.
fn uninvited(histories: &[History], positions: &[u64], replica: ReplicaId, found: &Seen) -> Wrong {
    for (history, &at) in histories.iter().zip(positions) {
        let touches = |step: &Step| step.changes.iter().any(|(other, _)| *other == replica);
        if !history.steps().any(touches) {
            continue;
        }
        let range = Range { acked: at, issued: history.last(), vouched: at };
        if let Some(step) = history.step(at) {
            return wrong(history, range, step, replica, Some(found), None);
        }
    }
    (Finding::Invented, format!("replica {replica}, which nobody wrote to"))
}

/// What a replica was like behind a command.
fn then(step: &Step, replica: ReplicaId) -> Option<Seen> {
    let reference = step.state.of(replica);
    reference.exists().then(|| Seen::from(&reference))
}

fn name(
    history: &History,
    range: Range,
    at: u64,
    replica: ReplicaId,
    found: Option<&Seen>,
    wanted: Option<&Seen>,
) -> Finding {
    let in_flight = history.steps().filter(|step| {
        let number = step.position.number;
        number > range.acked && number <= range.issued
    });
    let touched = in_flight.flat_map(|step| step.changes.iter()).any(|(of, _)| *of == replica);
    let same = |step: &&Step| then(step, replica).as_ref() == found;
    if let Some(step) = history.steps().rev().find(same) {
        return match (step.position.number < at, touched) {
            (true, false) if wanted.is_none() => Finding::Resurrected,
            (true, false) => older(found, wanted),
            _ => Finding::HalfBatch,
        };
    }
    let nothing = Seen::default();
    let finding = part(history, at, replica, found.unwrap_or(&nothing), wanted.unwrap_or(&nothing));
    match finding {
        Finding::Invented | Finding::HalfBatch if !touched => Finding::DamagedNeighbour,
        other => other,
    }
}

/// An older state of a replica that nothing in flight touches.
fn older(found: Option<&Seen>, wanted: Option<&Seen>) -> Finding {
    let same_entries = match (found, wanted) {
        (Some(found), Some(wanted)) => found.entries == wanted.entries,
        _ => false,
    };
    let promise = |seen: Option<&Seen>| seen?.hard_state.map(|state| (state.term, state.vote));
    let boundary = |seen: Option<&Seen>| seen?.purged.clone();
    if same_entries && promise(found) != promise(wanted) {
        Finding::RegressedVote
    } else if same_entries && boundary(found) != boundary(wanted) {
        Finding::RegressedBoundary
    } else {
        Finding::LostAcknowledged
    }
}

/// What differs in a replica that is like at no other time.
fn part(history: &History, at: u64, replica: ReplicaId, found: &Seen, wanted: &Seen) -> Finding {
    let index = |entry: &SeenEntry| entry.id.id.index;
    let follows = |(one, other): (u64, u64)| one.checked_add(1) == Some(other);
    let behind = found.entries.iter().skip(1).map(index);
    if !found.entries.iter().map(index).zip(behind).all(follows) {
        return Finding::Hole;
    }
    if let Some(extra) = found.entries.iter().find(|entry| !wanted.entries.contains(entry)) {
        return extra_entry(history, at, replica, extra);
    }
    if found.entries.len() < wanted.entries.len() {
        return Finding::LostAcknowledged;
    }
    let promise = |seen: &Seen| seen.hard_state.map(|state| (state.term, state.vote));
    if promise(found) < promise(wanted) {
        return Finding::RegressedVote;
    }
    if found.purged.as_ref().map(|id| id.id) < wanted.purged.as_ref().map(|id| id.id) {
        return Finding::RegressedBoundary;
    }
    Finding::HalfBatch
}

/// An entry that the replica must not have, by when it had it.
fn extra_entry(history: &History, at: u64, replica: ReplicaId, extra: &SeenEntry) -> Finding {
    let holds = |step: &&Step| then(step, replica).is_some_and(|seen| seen.entries.contains(extra));
    match history.steps().rev().find(holds) {
        Some(step) if step.position.number < at => Finding::Resurrected,
        Some(_) => Finding::HalfBatch,
        None => Finding::Invented,
    }
}

/// Fails where a command is there and one that was accepted before it is not.
fn in_order(bounds: &Bounds, positions: &[u64]) -> Result<(), Wrong> {
    let mut left = positions.to_vec();
    // Only the commands of this life are in the order: those before it are there by now.
    for (writer, left) in (0..).zip(&mut left) {
        let here = bounds.order.iter().filter(|of| **of == writer).count() as u64;
        let issued = usize::try_from(writer).ok().and_then(|at| bounds.issued.get(at));
        let base = issued.copied().unwrap_or_default().saturating_sub(here);
        *left = left.saturating_sub(base);
    }
    let mut missing = None;
    for &writer in &bounds.order {
        let Some(left) = usize::try_from(writer).ok().and_then(|at| left.get_mut(at)) else {
            continue;
        };
        if *left == 0 {
            missing = missing.or(Some(writer));
            continue;
        }
        *left -= 1;
        if let Some(missing) = missing {
            let text = format!("a command of writer {writer} without an earlier one of {missing}");
            return Err((Finding::OutOfOrder, text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kvlogdb_conformance::reference::{Change, References};
    use kvlogdb_log::{Entry, HardState, Leader, LogId, PurgeGuard};

    use super::*;
    use crate::history::Story;
    use crate::spec::{Engine, Shape, Spec};

    const AT: u64 = 30;

    fn history() -> History {
        let spec = Spec::new(Engine::Redb, Shape::Conflict, 11, AT + 10);
        let mut story = Story::new(spec);
        story.lives.push(vec![0]);
        let mut history = story.histories().remove(0);
        history.draw_to(AT + 10);
        history
    }

    fn shown(state: &References) -> Shown {
        state.existing().map(|(id, reference)| (id, Ok(Seen::from(reference)))).collect()
    }

    fn bounds(acked: u64, issued: u64) -> Bounds {
        Bounds { issued: vec![issued], ..Bounds::at(&[acked]) }
    }

    fn state(history: &History, at: u64) -> References {
        References::clone(&history.step(at).unwrap().state)
    }

    /// What is found when a store at command `AT` shows something that `edit` has changed.
    fn found(edit: impl Fn(&mut Seen)) -> Vec<Finding> {
        let history = history();
        let replicas = crate::workload::replicas(Shape::Conflict, 0);
        let mut all = Vec::new();
        for replica in replicas {
            let mut shown = shown(&state(&history, AT));
            let Some(Ok(seen)) = shown.get_mut(&replica) else { continue };
            let before = seen.clone();
            edit(seen);
            if *seen != before {
                let judged = judge(std::slice::from_ref(&history), &bounds(AT, AT), &shown);
                all.push(judged.unwrap_err().0);
            }
        }
        assert!(!all.is_empty());
        all
    }

    #[test]
    fn what_may_be_there_passes_and_nothing_else_does() {
        let history = history();
        for (at, acked, issued, wanted) in [
            (AT, AT, AT, None),
            (AT, AT - 1, AT, None),
            (AT - 1, AT - 1, AT, None),
            (AT - 1, AT, AT + 1, Some(Finding::LostAcknowledged)),
            (AT + 1, AT, AT, Some(Finding::Invented)),
        ] {
            let shown = shown(&state(&history, at));
            let judged = judge(std::slice::from_ref(&history), &bounds(acked, issued), &shown);
            assert_eq!(judged.clone().err().map(|wrong| wrong.0), wanted);
            assert!(judged.is_err() || judged == Ok(vec![at]));
        }
    }

    #[test]
    fn every_departure_has_its_name() {
        let entry = |seen: &Seen| seen.entries.last().cloned();
        for name in found(|seen| {
            seen.entries.pop();
            seen.entries.pop();
        }) {
            assert_eq!(name, Finding::LostAcknowledged);
        }
        for name in found(|seen| {
            if let (Some(mut last), true) = (entry(seen), seen.entries.len() > 1) {
                last.payload = "other".into();
                *seen.entries.last_mut().unwrap() = last;
            }
        }) {
            assert_eq!(name, Finding::DamagedNeighbour);
        }
        for name in found(|seen| {
            if seen.entries.len() > 2 {
                seen.entries.remove(1);
            }
        }) {
            assert_eq!(name, Finding::Hole);
        }
        for name in found(|seen| {
            if let Some(state) = &mut seen.hard_state {
                state.term -= 1;
            }
        }) {
            assert_eq!(name, Finding::RegressedVote);
        }
        for name in found(|seen| {
            if let Some(purged) = &mut seen.purged {
                purged.id.index -= 1;
            }
        }) {
            assert_eq!(name, Finding::RegressedBoundary);
        }
    }

    /// A history whose commands are given.
    fn told(commands: &[Change]) -> Vec<References> {
        let replica = ReplicaId::from(1);
        let mut states = vec![References::default()];
        for command in commands {
            let next =
                states.last().unwrap().after(&[(replica, command.clone())], PurgeGuard::None);
            states.push(next.unwrap());
        }
        states
    }

    #[test]
    fn what_was_replaced_and_is_back_is_resurrected() {
        let history = history();
        let replicas = crate::workload::replicas(Shape::Conflict, 0);
        let mut seen = 0;
        for replica in replicas {
            let Some(now) = then(history.step(AT).unwrap(), replica) else { continue };
            for step in history.steps().take(usize::try_from(AT).unwrap()) {
                let Some(old) = then(step, replica) else { continue };
                let gone = old.entries.iter().find(|old| {
                    let index = old.id.id.index;
                    let place = now.entries.iter().position(|new| new.id.id.index == index);
                    place.is_some_and(|place| now.entries[place] != **old)
                });
                let Some(gone) = gone else { continue };
                let mut shown = shown(&state(&history, AT));
                let mut back = now.clone();
                let index = gone.id.id.index;
                let place = back.entries.iter().position(|new| new.id.id.index == index).unwrap();
                back.entries[place] = gone.clone();
                shown.insert(replica, Ok(back));
                let judged = judge(std::slice::from_ref(&history), &bounds(AT, AT), &shown);
                assert_eq!(judged.unwrap_err().0, Finding::Resurrected);
                seen += 1;
            }
        }
        assert!(seen > 0);
    }

    #[test]
    fn a_part_of_a_command_is_half_a_batch() {
        let entries = vec![Entry::new(1, 1, "a")];
        let state = HardState { term: 1, vote: Some(2), commit: None };
        let both = told(&[Change::Append(Leader::default(), entries), Change::HardState(state)]);
        let one = Seen::from(&both[1].of(ReplicaId::from(1)));
        let two = Seen::from(&both[2].of(ReplicaId::from(1)));
        assert_eq!(differences(&one, &two).len(), 1);
        let history = history();
        let half = (1..AT).rev().find_map(|at| {
            let (before, now) = (history.step(at - 1)?, history.step(at)?);
            let (replica, _) = now.changes.first()?;
            let (old, new) = (then(before, *replica), then(now, *replica));
            (old != new).then_some((at, *replica, old))
        });
        let (at, replica, old) = half.unwrap();
        let mut shown = shown(&state_of(&history, at));
        match old {
            Some(old) => drop(shown.insert(replica, Ok(old))),
            None => drop(shown.remove(&replica)),
        }
        let judged = judge(std::slice::from_ref(&history), &bounds(at - 1, at), &shown);
        assert_eq!(judged.unwrap_err().0, Finding::HalfBatch);
    }

    fn state_of(history: &History, at: u64) -> References {
        state(history, at)
    }

    #[test]
    fn a_later_command_without_an_earlier_one_is_out_of_order() {
        let order = vec![0, 1, 0, 1];
        let bounds = Bounds {
            acked: vec![5, 7],
            issued: vec![7, 9],
            vouched: vec![5, 7],
            order: order.clone(),
        };
        for (positions, fine) in
            [([5, 7], true), ([6, 7], true), ([6, 8], true), ([7, 8], true), ([7, 9], true)]
                .into_iter()
                .chain([([5, 8], false), ([7, 7], false), ([6, 9], false)])
        {
            assert_eq!(in_order(&bounds, &positions).is_ok(), fine, "{positions:?}");
        }
    }

    #[test]
    fn a_damaged_replica_and_one_that_nobody_wrote_are_found() {
        let history = history();
        let one = std::slice::from_ref(&history);
        let mut damaged = shown(&state(&history, AT));
        damaged.insert(marker(0), Err("checksum".to_owned()));
        assert_eq!(judge(one, &bounds(AT, AT), &damaged).unwrap_err().0, Finding::Damaged);
        let mut more = shown(&state(&history, AT));
        let last = Some(LogId::new(1, 1).into());
        more.insert(ReplicaId::from(99), Ok(Seen { last, ..Seen::default() }));
        assert_eq!(judge(one, &bounds(AT, AT), &more).unwrap_err().0, Finding::Invented);
    }
}
