//! Stores that fail, close, reopen or are dropped while batches are on their way.

use kvlogdb_log::{Durability, LogBatch, LogId, LogStore, ReplicaId, WhenFull};
use shuttle::future::block_on;
use shuttle::thread::{self, JoinHandle};

use crate::engine::{Disk, Fault};
use crate::explore::explore;
use crate::ledger::{Ledger, expect_ended, expect_honest};
use crate::{A, B, C, D, append, draw, entries, ids, open, opener, options};

/// What a writer was told of each of its batches.
type Answers = Vec<(LogId, bool)>;

/// Who writes to one replica.
struct Writer {
    store: LogStore,
    disk: Disk,
    ledger: Ledger,
    end: fn(),
}

/// Writers of four replicas, each in its own way; what they were told is what they answer. They
/// hold no handle when they have ended.
fn writers(store: &LogStore, disk: &Disk, ledger: &Ledger, end: fn()) -> [JoinHandle<Answers>; 4] {
    let each = |write: fn(Writer) -> Answers| {
        let (store, disk, ledger) = (store.clone(), disk.clone(), ledger.clone());
        thread::spawn(move || write(Writer { store, disk, ledger, end }))
    };
    [
        each(|writer| writer.blocked()),
        each(|writer| writer.calling(B)),
        each(|writer| writer.calling(C)),
        each(Writer::awaiting),
    ]
}

impl Writer {
    fn blocked(&self) -> Answers {
        let log = self.store.log(A);
        let mut answers = Vec::new();
        for index in 1..=2 {
            let ok = is_ok(&log.append(entries(1, index..=index), Durability::Synced));
            answers.push((LogId::new(1, index), ok));
            if !ok {
                break; // what follows may be a gap by now
            }
        }
        answers
    }

    fn calling(&self, replica: ReplicaId) -> Answers {
        let (batch, label) = (append(replica, 1, 1..=1), (replica.group, 1));
        is_ok(&self.ledger.submit(&self.store, &self.disk, label, &batch, self.end));
        expect_honest(&self.store, &self.disk, replica);
        Vec::new()
    }

    /// Its batch may have the last handle.
    fn awaiting(self) -> Answers {
        let submitted = self.store.submit(&append(D, 1, 1..=1), WhenFull::Wait);
        drop(self.store);
        let answer = submitted.and_then(|accepted| block_on(accepted).map(|_| ()));
        vec![(LogId::new(1, 1), is_ok(&answer))]
    }
}

fn is_ok(answer: &kvlogdb_log::Result<()>) -> bool {
    if let Err(error) = answer {
        expect_ended(error);
    }
    answer.is_ok()
}

/// What every replica's log ends with, as far as it was vouched for.
fn vouched(answers: [JoinHandle<Answers>; 4], ledger: &Ledger) -> Vec<(ReplicaId, LogId)> {
    let mut vouched = Vec::new();
    for (replica, answers) in [A, B, C, D].into_iter().zip(answers) {
        let answers = answers.join().unwrap();
        vouched.extend(answers.iter().filter(|(_, ok)| *ok).map(|&(id, _)| (replica, id)));
    }
    let told = ledger.await_all();
    let ok = told.iter().filter(|(_, ok)| *ok);
    vouched.extend(ok.map(|&((group, index), _)| (group.into(), LogId::new(1, index))));
    vouched
}

fn expect_kept(store: &LogStore, vouched: &[(ReplicaId, LogId)]) {
    for (replica, id) in vouched {
        assert!(ids(store, *replica).contains(&(id.term, id.index)), "{replica} {id} is gone");
    }
}

fn no_end() {}

fn panicking_end() {
    assert!(draw(&[true, false]), "a panic of the test");
}

#[test]
fn a_write_that_fails_ends_every_batch_once_and_takes_nothing_that_was_vouched_for() {
    explore(|| {
        let (disk, ledger) = (Disk::default(), Ledger::default());
        let store = open(&disk, options());
        disk.fail(draw(&[0, 1, 2]), draw(&[Fault::Lost, Fault::Done, Fault::Panics]));
        let answers = writers(&store, &disk, &ledger, no_end);
        let vouched = vouched(answers, &ledger);
        let told = ledger.told();
        let first_failure = told.iter().position(|(_, ok)| !ok).unwrap_or(told.len());
        assert!(told[first_failure..].iter().all(|(_, ok)| !ok), "what followed failed, too");
        disk.past().fault = None;
        store.reopen().unwrap();
        expect_kept(&store, &vouched);
        let mut batch = LogBatch::new();
        batch.reset(A).append(A, entries(7, 1..=1));
        store.write(&batch, Durability::Synced).unwrap();
        assert!(store.check().unwrap().is_clean());
    });
}

#[test]
fn a_callback_that_panics_takes_nobodys_end_away() {
    explore(|| {
        let (disk, ledger) = (Disk::default(), Ledger::default());
        let store = open(&disk, options());
        let answers = writers(&store, &disk, &ledger, panicking_end);
        let vouched = vouched(answers, &ledger);
        assert_eq!(vouched.len(), 5, "{vouched:?}");
        store.sync().unwrap();
    });
}

#[test]
fn a_close_ends_every_batch_once_and_keeps_what_was_accepted() {
    explore(|| {
        let (disk, ledger) = (Disk::default(), Ledger::default());
        let store = open(&disk, options());
        let answers = writers(&store, &disk, &ledger, no_end);
        let before = ledger.accepted();
        store.close().unwrap();
        let told = ledger.told();
        for label in before {
            assert!(told.contains(&(label, true)), "{label:?} was accepted before: {told:?}");
        }
        let vouched = vouched(answers, &ledger);
        assert!(ledger.told().iter().all(|(_, ok)| *ok), "a close loses nothing");
        store.reopen().unwrap();
        expect_kept(&store, &vouched);
    });
}

#[test]
fn a_reopening_ends_every_batch_once_and_serves_the_others() {
    explore(|| {
        let (disk, ledger) = (Disk::default(), Ledger::default());
        let store = open(&disk, options());
        let answers = writers(&store, &disk, &ledger, no_end);
        store.reopen().unwrap();
        let vouched = vouched(answers, &ledger);
        expect_kept(&store, &vouched);
        assert!(ledger.told().iter().all(|(_, ok)| *ok), "a reopening loses nothing");
        for replica in [A, B, C, D] {
            expect_honest(&store, &disk, replica);
        }
        store.write(&append(B, 9, 2..=2), Durability::Synced).unwrap();
    });
}

#[test]
fn dropping_the_last_handle_ends_every_batch_once() {
    explore(|| {
        let (disk, ledger) = (Disk::default(), Ledger::default());
        let store = open(&disk, options());
        let answers = writers(&store, &disk, &ledger, no_end);
        drop(store);
        let vouched = vouched(answers, &ledger);
        assert_eq!(vouched.len(), 5, "{vouched:?}");
        // The last handle may be that of a writer who has not quite ended.
        let open_again = || LogStore::open(opener(&disk), options());
        let store = loop {
            match open_again() {
                Ok(store) => break store,
                Err(_) => thread::yield_now(),
            }
        };
        expect_kept(&store, &vouched);
    });
}
