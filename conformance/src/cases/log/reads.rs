//! Reading entries, in bounds and beyond them.

use std::ops::Bound;

use kvlogdb_log::{Entry, Error, LogId};

use crate::failure::{Checked, ensure, expect_eq, expect_refused};
use crate::logs::{Logs, N, R, expect_runs, id, run};

const NO_LIMIT: u64 = u64::MAX;

/// Bounds of every kind, inside the log and reaching beyond its end.
pub(in crate::cases) fn ranges_of_every_kind_are_read(logs: &mut Logs) -> Checked {
    logs.fill(R, 1, 5..=14)?;
    logs.settle()?;
    let log = logs.log(R);
    let excluded = (Bound::Excluded(7), Bound::Excluded(9));
    for (what, found, wanted) in [
        ("..", log.entries(.., NO_LIMIT)?, 5..=14),
        ("..=7", log.entries(..=7, NO_LIMIT)?, 5..=7),
        ("..7", log.entries(..7, NO_LIMIT)?, 5..=6),
        ("13..", log.entries(13.., NO_LIMIT)?, 13..=14),
        ("8..=8", log.entries(8..=8, NO_LIMIT)?, 8..=8),
        ("8..8", log.entries(8..8, NO_LIMIT)?, RANGE_OF_NONE),
        ("without bounds", log.entries(excluded, NO_LIMIT)?, 8..=8),
        ("beyond the end", log.entries(12..=1000, NO_LIMIT)?, 12..=14),
        ("behind the end", log.entries(15..=1000, NO_LIMIT)?, RANGE_OF_NONE),
    ] {
        expect_eq(what, &found, &run(R, 1, wanted))?;
    }
    expect_refused!("before", log.entries(4..9, NO_LIMIT), Error::Unavailable { index: 4, .. });
    expect_refused!("behind", log.entry(15), Error::Unavailable { index: 15, .. });
    expect_refused!("a term behind", log.term(15), Error::Unavailable { .. });
    Ok(())
}

#[expect(clippy::reversed_empty_ranges, reason = "a range without an index")]
const RANGE_OF_NONE: std::ops::RangeInclusive<u64> = 1..=0;

/// A read over every index there can be costs what the few entries cost. Trap 33.
pub(in crate::cases) fn a_read_over_every_index_finds_the_few(logs: &mut Logs) -> Checked {
    let first = u64::MAX / 2;
    logs.fill(R, 1, first..=first + 9)?;
    logs.fill(N, 1, 0..=9)?;
    logs.settle()?;
    let found = logs.log(R).entries(first..=u64::MAX, NO_LIMIT)?;
    expect_eq("up to the largest", &found, &run(R, 1, first..=first + 9))?;
    let found = logs.log(N).entries(0..=u64::MAX, NO_LIMIT)?;
    expect_eq("all", &found, &run(N, 1, 0..=9))?;
    expect_eq("a scan", &logs.log(N).scan(0..=u64::MAX).count(), &10)?;
    let answer = logs.log(R).entries(0..=u64::MAX, NO_LIMIT);
    expect_refused!("from before the first", answer, Error::Unavailable { index: 0, .. });
    Ok(())
}

/// A byte limit is kept, entries without bytes cost none of it, and the first entry always comes.
/// Trap 34.
pub(in crate::cases) fn a_byte_limit_is_kept_and_one_entry_always_comes(
    logs: &mut Logs,
) -> Checked {
    let lens = [100, 0, 50, 50, 0, 70_000, 1];
    let sized = |(index, len)| Entry::new(1, index, vec![3; len]);
    let all: Vec<_> = (1..).zip(lens).map(sized).collect();
    logs.write(|batch| batch.append(R, all.clone()))?;
    logs.settle()?;
    let rows = [
        (1, 0, 2),
        (1, 99, 2),
        (1, 100, 2),
        (1, 149, 2),
        (1, 150, 3),
        (1, 200, 5),
        (1, 70_199, 5),
        (1, 70_200, 6),
        (1, 70_201, 7),
        (2, 0, 1),
        (3, 10, 1),
        (6, 1, 1),
        (6, 70_001, 2),
        (7, 0, 1),
    ];
    for (first, limit_bytes, count) in rows {
        let found = logs.log(R).entries(first.., limit_bytes)?;
        let wanted: Vec<_> =
            all.iter().filter(|entry| entry.id.index >= first).take(count).cloned().collect();
        expect_eq(format_args!("{limit_bytes} B from {first}"), &found, &wanted)?;
    }
    Ok(())
}

/// A log of twenty thousand entries, read in pages of some bytes, is the same as in one scan. Trap
/// 34.
pub(in crate::cases) fn a_long_log_is_read_by_pages(logs: &mut Logs) -> Checked {
    const LAST: u64 = 20_000;
    for first in (1..=LAST).step_by(2000) {
        logs.fill(R, 1 + first / 5000, first..=first + 1999)?;
    }
    logs.reopen()?;
    let log = logs.log(R);
    let (mut read, mut pages) = (Vec::new(), 0);
    let mut next = 1;
    while next <= LAST {
        let page = log.entries(next.., 10_000)?;
        next = page.last().ok_or("a page is empty")?.id.index + 1;
        read.extend(page);
        pages += 1;
    }
    ensure!(pages > 10, "all of it came in {pages} pages");
    let scanned = log.scan(..).collect::<kvlogdb_log::Result<Vec<_>>>()?;
    expect_eq("pages and a scan", &(read == scanned), &true)?;
    expect_eq("how many there are", &read.len(), &20_000)?;
    expect_runs(
        &log,
        &[(1, 1..=6000), (2, 6001..=10_000), (3, 10_001..=16_000), (4, 16_001..=20_000)],
    )
}

/// Where two logs part, and where they can agree again, is answered after a reopen as before, with
/// the boundary as a part of the log. Trap 19.
pub(in crate::cases) fn conflict_and_agreement_are_found(logs: &mut Logs) -> Checked {
    logs.fill(R, 1, 1..=4)?;
    logs.fill(R, 4, 5..=7)?;
    logs.fill(R, 6, 8..=10)?;
    logs.write(|batch| batch.purge_through(R, id(1, 2)))?;
    logs.settle()?;
    let log = logs.log(R);
    let conflicts: [(&[LogId], Option<LogId>); 6] = [
        (&[], None),
        (&[id(1, 2), id(1, 3), id(4, 5)], None),
        (&[id(1, 4), id(5, 5), id(5, 6)], Some(id(5, 5))),
        (&[id(6, 10), id(6, 11)], Some(id(6, 11))),
        (&[id(9, 1), id(1, 3)], None),
        (&[id(9, 2)], Some(id(9, 2))),
    ];
    for (ids, wanted) in conflicts {
        expect_eq(format_args!("conflict in {ids:?}"), &log.find_conflict(ids)?, &wanted)?;
    }
    for (index, term, wanted) in [
        (10, 6, Some(id(6, 10))),
        (100, 100, Some(id(6, 10))),
        (9, 5, Some(id(4, 7))),
        (9, 4, Some(id(4, 7))),
        (7, 1, Some(id(1, 4))),
        (6, 4, Some(id(4, 6))),
        (9, 3, Some(id(1, 4))),
        (2, 6, Some(id(1, 2))),
        (1, 6, None),
        (9, 0, None),
    ] {
        let what = format_args!("agreement at {index} of term {term}");
        expect_eq(what, &log.find_agreement(index, term)?, &wanted)?;
    }
    let bounds = |term| -> Checked<_> {
        Ok((log.first_index_of_term(term)?, log.last_index_of_term(term)?))
    };
    expect_eq("term 1", &bounds(1)?, &(Some(3), Some(4)))?;
    expect_eq("term 4", &bounds(4)?, &(Some(5), Some(7)))?;
    expect_eq("term 5", &bounds(5)?, &(None, None))?;
    expect_eq("term 6", &bounds(6)?, &(Some(8), Some(10)))
}

/// A log that nobody has written to answers every read with nothing, and is not listed.
pub(in crate::cases) fn a_log_that_was_never_written_is_empty(logs: &mut Logs) -> Checked {
    let log = logs.log(R);
    expect_eq("entries", &log.entries(.., NO_LIMIT)?, &Vec::new())?;
    expect_eq("entries from 9", &log.entries(9.., NO_LIMIT)?, &Vec::new())?;
    expect_eq("a scan", &log.scan(..).count(), &0)?;
    expect_refused!("an entry", log.entry(0), Error::Unavailable { .. });
    expect_refused!("a term", log.term(0), Error::Unavailable { .. });
    expect_eq("bounds", &(log.first_index()?, log.last()?), &(None, None))?;
    expect_eq("how many there are", &(log.len()?, log.is_empty()?), &(0, true))?;
    expect_eq("agreement", &log.find_agreement(u64::MAX, u64::MAX)?, &None)?;
    expect_eq("replicas", &logs.store().replicas()?, &Vec::new())
}
