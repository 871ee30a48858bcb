//! What may be appended, and that it comes back as it was.

use kvlogdb_engine_api::MAX_PAYLOAD_BYTES;
use kvlogdb_log::{Durability, Entry, EntryKind, Error, LogBatch};

use crate::failure::{Checked, Context, expect_eq, expect_refused};
use crate::logs::{Logs, N, R, entry, expect_bounds, expect_runs, id, run};
use crate::random::value;

/// The first entry of a log may have any index, 0 and the largest among them. Trap 27.
pub(in crate::cases) fn a_log_begins_at_any_index(logs: &mut Logs) -> Checked {
    for (group, first) in (10..).zip([0, 1, 5, 1 << 40, u64::MAX - 3]) {
        let log = logs.log(group.into());
        logs.fill(log.replica(), 3, first..=first + 3)?;
        expect_runs(&log, &[(3, first..=first + 3)])?;
        expect_bounds(&log, Some(first), Some(first + 3), None)?;
        expect_refused!("below", log.entry(first.wrapping_sub(1)), Error::Unavailable { .. });
    }
    Ok(())
}

/// The entry at index 0 is read, truncated and purged like any other. Trap 27.
pub(in crate::cases) fn the_entry_at_index_zero_is_like_any_other(logs: &mut Logs) -> Checked {
    let log = logs.log(R);
    logs.fill(R, 1, 0..=0)?;
    expect_eq("the entry", &log.entry(0)?, &entry(R, 1, 0))?;
    expect_bounds(&log, Some(0), Some(0), None)?;
    logs.reopen()?;
    let log = logs.log(R);
    log.truncate_from(0, Durability::Buffered)?;
    expect_bounds(&log, None, None, None).during("truncated")?;
    logs.fill(R, 2, 0..=2)?;
    logs.reopen()?;
    let log = logs.log(R);
    expect_runs(&log, &[(2, 0..=2)])?;
    log.purge_through(id(2, 0), Durability::Buffered)?;
    expect_bounds(&log, Some(1), Some(2), Some(id(2, 0)))?;
    expect_refused!("entry 0", log.entry(0), Error::Purged { index: 0, .. });
    expect_eq("the term of the boundary", &log.term(0)?, &2)
}

/// An append can be read when it has returned, durable or not. Trap 37.
pub(in crate::cases) fn an_append_is_read_back_at_once(logs: &mut Logs) -> Checked {
    let log = logs.log(R);
    for index in 1..=50 {
        let durability = if index % 25 == 0 { Durability::Synced } else { Durability::Buffered };
        log.append(vec![entry(R, 1, index)], durability)?;
        expect_eq("the entry", &log.entry(index)?, &entry(R, 1, index))?;
        expect_eq("the last index", &log.last_index()?, &Some(index))?;
    }
    expect_runs(&log, &[(1, 1..=50)])
}

/// A change to a log.
type Step = fn(&mut LogBatch) -> &mut LogBatch;

/// Last index, length and the entries themselves agree after every change, and from the disk as
/// from memory. Trap 6.
pub(in crate::cases) fn the_last_index_is_counted_once(logs: &mut Logs) -> Checked {
    let steps: [(Step, u64); 6] = [
        (|batch| batch.append(R, run(R, 1, 1..=10)), 10),
        (|batch| batch.truncate_from(R, 8), 7),
        (|batch| batch.append(R, run(R, 2, 8..=8)), 8),
        (|batch| batch.replace_from(R, run(R, 3, 5..=6)), 6),
        (|batch| batch.purge_through(R, id(1, 3)), 6),
        (|batch| batch.append(R, run(R, 3, 7..=9)).truncate_from(R, 9), 8),
    ];
    for (step, last) in steps {
        logs.write(step)?;
        expect_eq("the last index", &logs.log(R).last_index()?, &Some(last))?;
        logs.settle().during(format_args!("with its end at {last}"))?;
    }
    expect_runs(&logs.log(R), &[(1, 4..=4), (3, 5..=8)])
}

/// An entry that does not follow the last one is refused, also inside one append, and nothing of
/// it is there. Trap 40.
pub(in crate::cases) fn a_gap_is_refused_and_changes_nothing(logs: &mut Logs) -> Checked {
    logs.fill(R, 1, 1..=3)?;
    for found in [5, 3, 1, 0, u64::MAX] {
        let answer = logs.unchanged(|batch| batch.append(R, run(R, 1, found..=found)))?;
        expect_refused!(found, answer, Error::Gap { expected: 4, .. });
    }
    let holed = [run(R, 1, 4..=5), run(R, 1, 7..=8)].concat();
    let answer = logs.unchanged(|batch| batch.append(R, holed))?;
    expect_refused!("a hole inside", answer, Error::Gap { expected: 6, found: 7, .. });
    let answer = logs.unchanged(|batch| batch.replace_from(R, run(R, 1, 5..=6)))?;
    expect_refused!("a replacement", answer, Error::Gap { expected: 4, found: 5, .. });
    logs.fill(R, 1, 4..=4)?;
    expect_runs(&logs.log(R), &[(1, 1..=4)])
}

/// A term never goes back inside a log, boundary included. Trap 41.
pub(in crate::cases) fn a_term_that_goes_back_is_refused(logs: &mut Logs) -> Checked {
    logs.fill(R, 5, 1..=3)?;
    let answer = logs.unchanged(|batch| batch.append(R, run(R, 4, 4..=4)))?;
    expect_refused!("an append", answer, Error::TermWentBack { .. });
    let mixed = [run(R, 7, 4..=4), run(R, 6, 5..=5)].concat();
    let answer = logs.unchanged(|batch| batch.append(R, mixed))?;
    expect_refused!("inside an append", answer, Error::TermWentBack { .. });
    logs.log(R).purge_through(id(5, 3), Durability::Buffered)?;
    logs.settle()?;
    let answer = logs.unchanged(|batch| batch.append(R, run(R, 4, 4..=4)))?;
    expect_refused!("behind the boundary", answer, Error::TermWentBack { .. });
    logs.fill(R, 5, 4..=4)?;
    expect_runs(&logs.log(R), &[(5, 4..=4)])
}

/// Behind the largest index there is none: the log is full, and says so. Traps 25 and 40.
pub(in crate::cases) fn a_log_at_the_largest_index_is_full(logs: &mut Logs) -> Checked {
    logs.fill(R, 1, u64::MAX - 1..=u64::MAX)?;
    let answer = logs.unchanged(|batch| batch.append(R, run(R, 1, 0..=0)))?;
    expect_refused!("an append", answer, Error::Full { .. });
    expect_bounds(&logs.log(R), Some(u64::MAX - 1), Some(u64::MAX), None)
}

/// The kind of an entry, whatever its number, comes back with it.
pub(in crate::cases) fn entries_keep_their_kind(logs: &mut Logs) -> Checked {
    let kinds = || (0..=u8::MAX).map(EntryKind);
    let of = |(kind, index)| Entry { kind, ..entry(R, 1, index) };
    let all: Vec<_> = kinds().zip(1..).map(of).collect();
    logs.write(|batch| batch.append(R, all.clone()))?;
    logs.settle()?;
    let found = logs.log(R).entries(.., u64::MAX)?;
    expect_eq("kinds", &found, &all)?;
    expect_eq("the kind of members", &logs.log(R).entry(2)?.kind, &EntryKind::CONFIG)
}

/// An entry without a byte is an entry: it is read, counted and followed. Trap 38.
pub(in crate::cases) fn an_empty_entry_is_not_a_missing_one(logs: &mut Logs) -> Checked {
    let empty = |index| Entry::new(1, index, "");
    let all: Vec<_> = (1..=20).map(empty).collect();
    logs.write(|batch| batch.append(R, all.clone()))?;
    logs.settle()?;
    let log = logs.log(R);
    expect_eq("entries", &log.entries(.., 0)?, &all)?;
    expect_eq("the last", &log.entry(20)?, &empty(20))?;
    expect_eq("how many there are", &log.len()?, &20)
}

/// Entries of every size up to the limit come back, and small neighbours with them. Traps 38 and
/// 39.
pub(in crate::cases) fn payloads_of_every_size_come_back(logs: &mut Logs) -> Checked {
    let lens = [0, 1, 64 << 10, MAX_PAYLOAD_BYTES - 1, MAX_PAYLOAD_BYTES, 0, 1];
    let sized = |(index, len)| Entry::new(1, index, value(index, len));
    let all: Vec<_> = (1..).zip(lens).map(sized).collect();
    for entry in &all {
        logs.write(|batch| batch.append(R, vec![entry.clone()]))?;
    }
    logs.fill(N, 1, 1..=3)?;
    logs.settle()?;
    for wanted in &all {
        let found = logs.log(R).entry(wanted.id.index)?;
        expect_eq("the length", &found.payload.len(), &wanted.payload.len())?;
        expect_eq("its bytes", &(found == *wanted), &true)?;
    }
    Ok(())
}

/// One byte over the limit, in an entry, a slot or a batch as a whole, is refused by its size, and
/// the store goes on. Trap 39.
pub(in crate::cases) fn what_is_too_large_is_refused_and_the_log_goes_on(
    logs: &mut Logs,
) -> Checked {
    const OVER: usize = MAX_PAYLOAD_BYTES + 1;
    logs.fill(R, 1, 1..=2)?;
    let large = |index, len| Entry::new(1, index, vec![7; len]);
    let answer =
        logs.unchanged(|batch| batch.append(R, run(R, 1, 3..=3)).append(R, vec![large(4, OVER)]))?;
    expect_refused!("an entry", answer, Error::TooLarge { len_bytes: OVER, .. });
    let answer = logs.unchanged(|batch| batch.set_membership(R, vec![7; OVER]))?;
    expect_refused!("a membership", answer, Error::TooLarge { len_bytes: OVER, .. });
    let many: Vec<_> = (3..=6).map(|index| large(index, MAX_PAYLOAD_BYTES)).collect();
    let answer = logs.unchanged(|batch| batch.append(R, many))?;
    expect_refused!("a batch", answer, Error::TooLarge { what: "a batch", .. });
    logs.fill(R, 1, 3..=3)?;
    expect_runs(&logs.log(R), &[(1, 1..=3)])
}
