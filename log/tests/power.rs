//! Power that goes under concurrent writers: all that was acknowledged as synced is there, and
//! what is there is a prefix of what was accepted.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod common;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::{R, Random, Rig, entry, immediate, unhurried};
use kvlogdb_log::{Durability, LogBatch, LogStore, ReplicaId, WhenFull};

const WRITERS: u64 = 4;

/// Which writer's batch has which place; the batch at place `n` is the one with entry `n + 1` of
/// the log [`R`], which all batches share.
type Order = Mutex<Vec<u64>>;

/// Writes until the power goes; answers the highest entry of the shared log that was acknowledged.
fn write(store: &LogStore, writer: u64, order: &Order, acknowledged: &AtomicU64) {
    let mut random = Random(writer);
    let mut own = 0;
    loop {
        let synced = random.below(3) > 0;
        let mut batch = LogBatch::new();
        let place = {
            let mut order = order.lock().unwrap();
            let place = order.len() as u64 + 1;
            own += 1;
            batch.append(R, vec![entry(1, place)]);
            batch.append(ReplicaId::from(100 + writer), vec![entry(1, own)]);
            let accepted = if synced {
                store.submit(&batch, WhenFull::Wait).map(Some)
            } else {
                store.write(&batch, Durability::Buffered).map(|()| None)
            };
            let Ok(accepted) = accepted else { return };
            order.push(writer);
            drop(order);
            match accepted.map(kvlogdb_log::Accepted::wait) {
                Some(Ok(_)) => place,
                Some(Err(_)) => return,
                None => 0,
            }
        };
        acknowledged.fetch_max(place, Ordering::SeqCst);
    }
}

fn cut_under_load(rig: &mut Rig, after: Duration) -> u64 {
    let (order, acknowledged) = (Order::default(), AtomicU64::new(0));
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (store, order, acknowledged) = (rig.store(), &order, &acknowledged);
            scope.spawn(move || write(store, writer, order, acknowledged));
        }
        thread::sleep(after);
        rig.end_engine();
    });
    rig.store().reopen().unwrap();
    let kept = rig.log().last_index().unwrap().unwrap_or(0);
    let acknowledged = acknowledged.into_inner();
    assert!(kept >= acknowledged, "{kept} of {acknowledged} that were acknowledged");
    let order = order.into_inner().unwrap();
    let kept = usize::try_from(kept).unwrap();
    assert!(kept <= order.len());
    for writer in 0..WRITERS {
        let log = rig.store().log(ReplicaId::from(100 + writer));
        let expected = order[..kept].iter().filter(|&&one| one == writer).count();
        assert_eq!(common::ids(&log).len(), expected, "writer {writer}");
    }
    assert_eq!(common::ids(&rig.log()).len(), kept);
    common::assert_clean(rig.store());
    acknowledged
}

#[test]
fn a_power_cut_under_load_leaves_a_prefix_with_all_that_was_acknowledged() {
    let mut acknowledged = 0;
    for round in 0..30u64 {
        let options = if round % 2 == 0 { immediate() } else { unhurried() };
        let mut rig = Rig::with(options);
        acknowledged += cut_under_load(&mut rig, Duration::from_micros(700 * round));
        rig.settle();
    }
    assert!(acknowledged > 100, "{acknowledged}");
}
