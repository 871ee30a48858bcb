//! Random histories of a store of logs beside the reference, and how a failing one is made short.

use std::fmt::Write;
use std::time::{Duration, Instant};

use kvlogdb_log::{Durability, Error, Log, LogId, LogOptions, LogStore, PurgeGuard, ReplicaId};

use crate::draw;
use crate::env::Env;
use crate::failure::{Checked, Context, Failure, ensure, expect_eq};
use crate::random::Random;
use crate::reference::{Change, Reference, References, Refusal, log_batch};
use crate::view::{same_views, views, views_of};

const REPLICAS: [ReplicaId; 3] = [
    ReplicaId { group: 1, node: 0 },
    ReplicaId { group: 1, node: u64::MAX },
    ReplicaId { group: u64::MAX, node: 0 },
];
/// After so many runs, or so long, a failing history is as short as it gets.
const SHRINKING_RUNS: usize = 300;
const SHRINKING_TIME: Duration = Duration::from_secs(40);
/// How many steps of a history a failure prints.
const SHOWN_STEPS: usize = 40;

/// One step of a history.
#[derive(Debug, Clone)]
enum Step {
    Write(Vec<(ReplicaId, Change)>, Durability),
    Sync,
    /// Closes the store and opens another on the same files.
    CloseAndOpen,
    /// Lets the store open its engine again.
    Reopen,
    Reclaim,
    /// Walks through the store for damage.
    Check,
}

/// A step, and the seed of the questions that are asked behind it.
#[derive(Debug, Clone)]
struct Move {
    step: Step,
    questions: u64,
}

/// How often each answer came.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub(crate) taken: u64,
    pub(crate) refused: u64,
}

/// Runs a random history. A failing one is made as short as it gets before it is reported.
pub(crate) fn run(env: &Env, seed: u64, steps: u64) -> Checked<Answers> {
    let mut random = Random::new(seed);
    let mut guard = PurgeGuard::None;
    if random.below(4) == 0 {
        guard = PurgeGuard::Snapshot;
    }
    let mut run = Run::new(env.elsewhere("history")?, guard)?;
    let mut moves = Vec::new();
    for number in 1..=steps {
        let step = draw_step(&mut random, &run.state, guard);
        moves.push(Move { step, questions: random.next() });
        let Some(next) = moves.last() else { continue };
        if let Err(failure) = run.make(next).during(format_args!("step {number}")) {
            drop(run);
            return Err(Shrinker::new(env, guard).report(moves, &failure));
        }
    }
    let answers = std::mem::take(&mut run.answers);
    run.store.close().during("closing the logs")?;
    Ok(answers)
}

fn draw_step(random: &mut Random, state: &References, guard: PurgeGuard) -> Step {
    match random.below(120) {
        0 => Step::CloseAndOpen,
        1 => Step::Reopen,
        2 | 3 => Step::Sync,
        4 => Step::Reclaim,
        5 => Step::Check,
        _ => {
            let synced = random.below(25) == 0;
            let durability = if synced { Durability::Synced } else { Durability::Buffered };
            Step::Write(draw::batch(random, &REPLICAS, state, guard), durability)
        }
    }
}

/// A history under way.
struct Run {
    env: Env,
    options: LogOptions,
    store: LogStore,
    state: References,
    answers: Answers,
}

impl Run {
    fn new(env: Env, guard: PurgeGuard) -> Checked<Self> {
        let mut options = env.subject().mode().options();
        options.sidecar = Some(env.beside("SEQ"));
        options.purge_guard = guard;
        if guard == PurgeGuard::Snapshot {
            options.cache_bytes = 16 << 20; // with the other, the engine is asked
        }
        let store = open(&env, &options)?;
        let (state, answers) = (References::default(), Answers::default());
        Ok(Self { env, options, store, state, answers })
    }

    fn make(&mut self, one: &Move) -> Checked {
        match &one.step {
            Step::Write(changes, durability) => self.write(changes, *durability)?,
            Step::Sync => self.store.sync()?,
            Step::CloseAndOpen => {
                self.store.close().during("closing the logs")?;
                self.store = open(&self.env, &self.options)?;
            }
            Step::Reopen => self.store.reopen().map(drop).during("reopening")?,
            Step::Reclaim => self.store.reclaim().during("reclaiming")?,
            Step::Check => {
                let problems = self.store.check()?.problems;
                expect_eq("problems", &problems, &Vec::new())?;
            }
        }
        same_views(&views(&self.store)?, &views_of(&self.state))?;
        let mut random = Random::new(one.questions);
        let replica = *random.pick(&REPLICAS);
        ask(&mut random, &self.store.log(replica), &self.state.of(replica))
            .during(format_args!("replica {replica}"))
    }

    fn write(&mut self, changes: &[(ReplicaId, Change)], durability: Durability) -> Checked {
        let wanted = self.state.after(changes, self.options.purge_guard);
        let answer = self.store.write(&log_batch(changes)?, durability);
        let found = answer.as_ref().map_err(Refusal::from).copied();
        let words = answer.as_ref().map_err(ToString::to_string);
        let short = wanted.as_ref().map(|_| ()).map_err(|&refusal| refusal);
        ensure!(found == short, "a batch is answered {words:?}, wanted {short:?}");
        match wanted {
            Ok(next) => {
                self.state = next;
                self.answers.taken += 1;
            }
            Err(_) => self.answers.refused += 1,
        }
        Ok(())
    }
}

fn open(env: &Env, options: &LogOptions) -> Checked<LogStore> {
    let opener = env.opener();
    LogStore::open(move || opener(), options.clone()).during("opening the logs")
}

/// Asks a log for what is derived from its entries.
fn ask(random: &mut Random, log: &Log, state: &Reference) -> Checked {
    let ids = state.ids();
    let index = draw::index(random, state);
    expect_eq(format_args!("the id at {index}"), &log.id(index).ok(), &state.id(index))?;
    let term = random.below(12);
    let of_term = || state.entries().filter(|e| e.id.term == term).map(|e| e.id.index);
    expect_eq("first of a term", &log.first_index_of_term(term)?, &of_term().min())?;
    expect_eq("last of a term", &log.last_index_of_term(term)?, &of_term().max())?;
    let agreed = ids.iter().rfind(|held| held.id.index <= index && held.id.term <= term);
    let agreed = agreed.map(|held| held.id);
    let what = format_args!("agreement at {index} under term {term}");
    expect_eq(what, &log.find_agreement(index, term)?, &agreed)?;
    let asked = [LogId::new(term, index), LogId::new(term + 1, index.saturating_add(1))];
    let purged = state.purged().map(|purged| purged.id.index);
    let differs = |id: &LogId| {
        purged.is_none_or(|purged| id.index >= purged) && ids.iter().all(|held| held.id != *id)
    };
    let conflict = asked.into_iter().find(differs);
    expect_eq(format_args!("conflict of {asked:?}"), &log.find_conflict(&asked)?, &conflict)?;
    ask_entries(log, state, index, random.below(80))
}

/// Reads entries from an index on, up to a limit.
fn ask_entries(log: &Log, state: &Reference, index: u64, limit_bytes: u64) -> Checked {
    let what = format!("reading {index}.. within {limit_bytes} B");
    let purged = state.purged().map(|purged| purged.id.index);
    match log.entries(index.., limit_bytes) {
        Ok(found) => {
            let mut left = limit_bytes;
            let mut wanted = Vec::new();
            for entry in state.entries().filter(|entry| entry.id.index >= index) {
                let len = entry.payload.len() as u64;
                if len > left && !wanted.is_empty() {
                    break;
                }
                left = left.saturating_sub(len);
                wanted.push(entry.clone());
            }
            expect_eq(what, &found, &wanted)
        }
        Err(Error::Purged { .. }) => {
            ensure!(purged.is_some_and(|purged| index <= purged), "{what}: purged");
            Ok(())
        }
        Err(Error::Unavailable { .. }) => {
            let before = state.first_index().is_some_and(|first| index < first);
            ensure!(purged.is_none() && before, "{what}: unavailable");
            Ok(())
        }
        Err(error) => Err(error).during(what),
    }
}

/// Makes a failing history short: what is left of it fails too.
struct Shrinker<'a> {
    env: &'a Env,
    guard: PurgeGuard,
    runs: usize,
    until: Instant,
}

impl<'a> Shrinker<'a> {
    fn new(env: &'a Env, guard: PurgeGuard) -> Self {
        Self { env, guard, runs: 0, until: Instant::now() + SHRINKING_TIME }
    }

    fn report(mut self, moves: Vec<Move>, first: &Failure) -> Failure {
        let len = moves.len();
        let short = self.shrink(moves);
        let again = self.failure(&short);
        let mut text = format!("{first}\nof {len} steps these {} are left", short.len());
        let _ = match again {
            Some(failure) => writeln!(text, ", with: {failure}"),
            None => writeln!(text, ", and did not fail again; the history is not repeatable"),
        };
        for one in short.iter().take(SHOWN_STEPS) {
            let _ = writeln!(text, "    {:?}", one.step);
        }
        Failure::from(text)
    }

    /// Leaves out more and more of the steps, then of the changes within them.
    fn shrink(&mut self, mut moves: Vec<Move>) -> Vec<Move> {
        let mut len = moves.len().div_ceil(2);
        while len > 0 {
            let mut at = 0;
            while at < moves.len() {
                let mut fewer = moves.clone();
                fewer.drain(at..moves.len().min(at + len));
                if self.fails(&fewer) {
                    moves = fewer;
                } else {
                    at += len;
                }
            }
            len = if len == 1 { 0 } else { len.div_ceil(2) };
        }
        for at in 0..moves.len() {
            self.shrink_write(&mut moves, at);
        }
        moves
    }

    /// Leaves changes out of one write.
    fn shrink_write(&mut self, moves: &mut Vec<Move>, at: usize) {
        let mut change = 0;
        loop {
            let mut fewer = moves.clone();
            let Some(Move { step: Step::Write(changes, _), .. }) = fewer.get_mut(at) else {
                return;
            };
            if change >= changes.len() {
                return;
            }
            changes.remove(change);
            if self.fails(&fewer) {
                *moves = fewer;
            } else {
                change += 1;
            }
        }
    }

    fn fails(&mut self, moves: &[Move]) -> bool {
        self.runs < SHRINKING_RUNS && Instant::now() < self.until && self.failure(moves).is_some()
    }

    /// How a history fails in a store of its own, from which nothing is left behind.
    fn failure(&mut self, moves: &[Move]) -> Option<Failure> {
        self.runs += 1;
        let env = self.env.elsewhere(&format!("run {}", self.runs)).ok()?;
        let place = env.place().to_owned();
        let answer = Run::new(env, self.guard)
            .and_then(|mut run| moves.iter().try_for_each(|one| run.make(one)));
        let _ = std::fs::remove_dir_all(place);
        answer.err()
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;

    use kvlogdb_engine_api::{KvLogDb, MemoryDisk, MetaKey, WriteBatch};

    use super::*;
    use crate::Subject;

    type Disks = Mutex<std::collections::HashMap<PathBuf, MemoryDisk>>;

    fn subject(forgets: &'static [u16]) -> Subject {
        let disks = Disks::default();
        let open = move |dir: &Path| {
            let engine = disks.lock().unwrap().entry(dir.to_owned()).or_default().open()?;
            let mut batch = WriteBatch::new();
            for &slot in forgets {
                batch.remove_meta(MetaKey::replica(REPLICAS[0], slot));
            }
            engine.write(&[&batch], kvlogdb_engine_api::Durability::Synced)?;
            Ok(engine)
        };
        Subject::new("memory", open)
    }

    #[test]
    fn a_history_on_the_reference_engine_is_that_of_the_reference() {
        let env = Env::new(subject(&[])).unwrap();
        let answers = run(&env, 11, 2000).unwrap();
        assert!(answers.taken > 500 && answers.refused > 100, "{answers:?}");
    }

    #[test]
    fn a_failing_history_is_made_short() {
        let env = Env::new(subject(&[257])).unwrap();
        let failure = run(&env, 11, 3000).unwrap_err().to_string();
        assert!(failure.contains("steps these 2 are left"), "{failure}");
        assert!(failure.contains("Slot(257, Some("), "{failure}");
    }
}
