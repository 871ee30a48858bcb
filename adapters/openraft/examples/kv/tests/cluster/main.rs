//! Three nodes of which one after the other is killed and started again while clients work: what
//! was acknowledged is on every node in the end, and every key's history is linearizable.
#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]
#![expect(clippy::print_stdout, reason = "the seed and the counts are shown where a test fails")]

mod client;
mod history;
mod process;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use client::{Client, Outcome};
use history::{Action, Op, find_contradiction};
use process::Cluster;

/// Sets the seed of everything that is random.
const SEED: &str = "KVLOGDB_SEED";
const CLIENTS: u64 = 4;
/// How many operations meet on one key, before they go on to the next.
const OPS_PER_KEY: u64 = 32;
const WORK: Duration = Duration::from_secs(10);
/// How long nodes may take to agree in the end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Less than this, and the test has seen nothing.
const LEAST: usize = 100;

/// One cluster at a time: its processes want the processor for themselves.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn kills_lose_nothing_and_histories_are_linearizable_on_redb() {
    survive("redb");
}

#[test]
fn kills_lose_nothing_and_histories_are_linearizable_on_fjall() {
    survive("fjall");
}

#[test]
fn kills_lose_nothing_and_histories_are_linearizable_on_sled() {
    survive("sled");
}

/// Numbers that a seed repeats.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(0x1405_7B7E_F767_814F);
        (self.0 >> 33) % end
    }
}

/// What the clients share.
struct Work {
    began: Instant,
    over: AtomicBool,
    next: AtomicU64,
    history: Mutex<Vec<Op>>,
    /// Keys that are written once, each with its own name as the value, and acknowledged.
    once: Mutex<Vec<String>>,
}

impl Work {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap()
    }

    fn note(&self, op: Op) {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).push(op);
    }
}

fn survive(engine: &str) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(u64::from(since.subsec_nanos()));
    println!("{SEED}={seed}");
    let mut cluster = Cluster::start(engine, seed);
    let work = Work {
        began: Instant::now(),
        over: AtomicBool::new(false),
        next: AtomicU64::new(0),
        history: Mutex::default(),
        once: Mutex::default(),
    };
    let addresses = cluster.http();
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (work, client) = (&work, Client::new(&addresses));
            scope.spawn(move || race(work, &client, Random(seed ^ (number + 1) << 40)));
        }
        let (work, client) = (&work, Client::new(&addresses));
        scope.spawn(move || write_once(work, &client, Random(seed ^ 99 << 40)));
        kill(&mut cluster, &mut Random(seed));
        work.over.store(true, SeqCst);
    });
    judge(&work, &Client::new(&addresses), &mut cluster);
}

/// Kills one node after the other, sometimes two at a time, and starts them again.
fn kill(cluster: &mut Cluster, random: &mut Random) {
    let end = Instant::now() + WORK;
    while Instant::now() < end {
        thread::sleep(Duration::from_millis(500 + random.below(1500)));
        let first = random.below(3);
        cluster.kill(first);
        let second = (first + 1) % 3;
        let both = random.below(4) == 0;
        if both {
            cluster.kill(second);
        }
        thread::sleep(Duration::from_millis(random.below(900)));
        cluster.start_node(first);
        if both {
            cluster.start_node(second);
        }
    }
}

/// Reads, writes and removes keys that others work on at the same time.
fn race(work: &Work, client: &Client, mut random: Random) {
    while !work.over.load(SeqCst) {
        let number = work.next.fetch_add(1, SeqCst);
        let key = format!("key-{}", number / OPS_PER_KEY);
        let node = random.below(3);
        let start = work.now();
        let (action, outcome) = match random.below(10) {
            0..5 => {
                let outcome = client.get(node, &key);
                let Outcome::Done(value) = outcome else { continue };
                (Action::Read(value), Outcome::Done(None))
            }
            5..9 => {
                let value = format!("value-{number}");
                let outcome = client.put(node, &key, &value);
                (Action::Write(Some(value)), outcome)
            }
            _ => (Action::Write(None), client.delete(node, &key)),
        };
        let end = match outcome {
            Outcome::Done(_) => Some(work.now()),
            Outcome::Unknown => None,
            Outcome::NotDone => continue,
        };
        work.note(Op { key, start, end, action });
        if end.is_none() {
            thread::sleep(Duration::from_millis(50));
        }
    }
}

fn write_once(work: &Work, client: &Client, mut random: Random) {
    for number in 0_u64.. {
        if work.over.load(SeqCst) {
            return;
        }
        let key = format!("once-{number}");
        if let Outcome::Done(_) = client.put(random.below(3), &key, &key) {
            work.once.lock().unwrap_or_else(PoisonError::into_inner).push(key);
        }
    }
}

fn judge(work: &Work, client: &Client, cluster: &mut Cluster) {
    let once = work.once.lock().unwrap_or_else(PoisonError::into_inner);
    let mut history = work.history.lock().unwrap_or_else(PoisonError::into_inner);
    let acknowledged = history.iter().filter(|op| op.end.is_some()).count();
    println!("{} keys written once, {acknowledged} of {} answered", once.len(), history.len());
    assert!(once.len() >= LEAST && acknowledged >= LEAST);

    let locals = agreed(client, cluster);
    for (node, local) in locals.iter().enumerate() {
        let lost = once.iter().find(|key| local.get(*key) != Some(*key));
        assert_eq!(lost, None, "an acknowledged write is not on node {}", node + 1);
    }
    // What every key holds in the end is part of its history.
    let keys: std::collections::BTreeSet<_> = history.iter().map(|op| op.key.clone()).collect();
    for key in keys {
        let start = work.now();
        let Outcome::Done(value) = client.get(0, &key) else { panic!("{key} is not answered") };
        let local = locals.first().and_then(|local| local.get(&key));
        assert_eq!(value.as_ref(), local, "{key}");
        history.push(Op { key, start, end: Some(work.now()), action: Action::Read(value) });
    }
    assert_eq!(find_contradiction(&history), None);
}

/// What every node has applied, once that is the same on all of them.
fn agreed(
    client: &Client,
    cluster: &mut Cluster,
) -> Vec<std::collections::BTreeMap<String, String>> {
    let end = Instant::now() + PATIENCE;
    loop {
        // A read by a quorum brings every group up to where it was.
        let settled = (0..64).all(|number| {
            matches!(client.get(number % 3, &format!("settle-{number}")), Outcome::Done(_))
        });
        let locals: Vec<_> = (0..3).filter_map(|node| client.local(node)).collect();
        let same = locals.windows(2).all(|pair| pair.first() == pair.last());
        if settled && locals.len() == 3 && same {
            return locals;
        }
        (0..3).for_each(|node| cluster.expect_running(node));
        if Instant::now() > end {
            let status = [0, 1, 2].map(|node| client.status(node)).join("\n");
            panic!("the nodes do not agree; settled: {settled}\n{status}");
        }
        thread::sleep(Duration::from_millis(100));
    }
}
