//! A store of logs whose process ends without a close.

use kvlogdb_log::{Durability, LogStore};

use super::{End, Story, end_often, kill_often};
use crate::child::{Stage, say};
use crate::env::Env;
use crate::failure::{Checked, Context, expect_eq};
use crate::logs::open_elsewhere;
use crate::reference::log_batch;
use crate::script::{Kind, MARKER, MARKER_SLOT, Script};
use crate::view::{same_views, views, views_of};

const USUAL_KILLS: u64 = 4;
/// The case that mixes everything gets more.
const MIXED_KILLS: u64 = 8;

/// A script for a store of logs.
struct Changes {
    kind: Kind,
    seed: u64,
    script: Script,
}

impl Changes {
    fn new(kind: Kind, seed: u64) -> Self {
        Self { kind, seed, script: Script::new(kind, seed) }
    }
}

fn open(env: &Env) -> Checked<LogStore> {
    let store = open_elsewhere(env, env.dir(), env.beside("SEQ"));
    store.during("opening the logs")
}

impl Story for Changes {
    const PART: &'static str = "changes";
    const OPENING: &'static str = "open logs";
    type Open = LogStore;

    fn numbers(&self) -> [u64; 3] {
        [self.kind.number(), self.seed, self.script.step()]
    }

    fn step(&self) -> u64 {
        self.script.step()
    }

    fn go_on(&mut self) -> Checked<Durability> {
        let before = self.script.state().promises();
        let (_, asked) = self.script.go_on();
        let promised = self.script.state().promises() != before;
        Ok(if promised { Durability::Synced } else { asked })
    }

    fn copy(&self) -> Self {
        Self { script: self.script.clone(), ..*self }
    }

    fn open(env: &Env) -> Checked<LogStore> {
        open(env)
    }

    fn reached(store: &LogStore) -> Checked<u64> {
        let Some(number) = store.log(MARKER).slot(MARKER_SLOT)? else { return Ok(0) };
        let bytes = number.as_ref().try_into().map_err(|_| "a number of another length")?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn check(&self, env: &Env, store: LogStore) -> Checked {
        let check = |store: &LogStore| -> Checked {
            same_views(&views(store)?, &views_of(self.script.state()))?;
            let problems = store.check()?.problems;
            expect_eq("problems", &problems, &Vec::new())
        };
        check(&store)?;
        store.close()?;
        drop(store);
        let store = open(env).during("once more")?;
        check(&store).during("after reopen")?;
        Ok(store.close()?)
    }
}

/// What the child does.
pub(in crate::cases) fn tell_changes(stage: &Stage) -> Checked {
    let mut script = Script::new(Kind::of(stage.number(0)?)?, stage.number(1)?);
    let (from, to) = (stage.number(2)?, stage.number(3)?);
    let end = End::of(stage.number(4)?)?;
    while script.step() < from {
        script.go_on();
    }
    say("opening", 0)?;
    let store = open(stage.env())?;
    while script.step() < to {
        let (changes, mut durability) = script.go_on();
        if script.step() == to {
            durability = Durability::Synced;
        }
        let batch = log_batch(&changes)?;
        say("will", script.step())?;
        store.write(&batch, durability)?;
        say("did", script.step())?;
    }
    end.come()?;
    Ok(store.close()?)
}

fn kill(env: &Env, kind: Kind, usual: u64) -> Checked {
    kill_often(env, |seed| Changes::new(kind, seed), usual)
}

/// A kill leaves every append that was acknowledged as durable, and no part of one. Trap 7.
pub(in crate::cases) fn an_append_is_whole_or_absent_after_a_kill(env: &Env) -> Checked {
    kill(env, Kind::Appends, USUAL_KILLS)
}

/// A kill leaves the old tail or the new one. Traps 1, 2 and 3.
pub(in crate::cases) fn a_replaced_tail_is_the_old_or_the_new_after_a_kill(env: &Env) -> Checked {
    kill(env, Kind::Tails, USUAL_KILLS)
}

/// A kill leaves the log before a purge or behind it, with the boundary that belongs to it. Traps
/// 17 and 19.
pub(in crate::cases) fn a_purge_and_its_boundary_are_one_after_a_kill(env: &Env) -> Checked {
    kill(env, Kind::Purges, USUAL_KILLS)
}

/// A kill leaves the old pair of term and vote or the new one, and never an older pair than the
/// one that was acknowledged, whatever durability was asked for. Traps 8, 9 and 10.
pub(in crate::cases) fn a_vote_is_the_old_pair_or_the_new_after_a_kill(env: &Env) -> Checked {
    kill(env, Kind::Votes, USUAL_KILLS)
}

/// A kill leaves a replica or its absence, and one that is made again shows nothing of its past.
/// Traps 28 and 29.
pub(in crate::cases) fn a_removed_replica_is_there_or_gone_after_a_kill(env: &Env) -> Checked {
    kill(env, Kind::Lives, USUAL_KILLS)
}

/// A kill leaves the log before a reset or none. Trap 50.
pub(in crate::cases) fn a_reset_log_is_the_old_or_empty_after_a_kill(env: &Env) -> Checked {
    kill(env, Kind::Resets, USUAL_KILLS)
}

/// A kill leaves the log before an install or behind it. Trap 20.
pub(in crate::cases) fn an_install_is_done_or_not_after_a_kill(env: &Env) -> Checked {
    kill(env, Kind::Installs, USUAL_KILLS)
}

/// A kill beside a truncation, a purge, a reset or a removal of thousands of entries, and beside
/// the deletion of keys in the background that follows, leaves no hole and no half. Traps 2 and 29.
pub(in crate::cases) fn thousands_of_entries_go_at_once_or_stay_after_a_kill(env: &Env) -> Checked {
    kill(env, Kind::Long, USUAL_KILLS)
}

/// Whatever a log was doing, a kill leaves what was acknowledged as durable, and of what follows a
/// prefix of whole batches. Traps 7, 11 and 14.
pub(in crate::cases) fn any_batch_is_whole_or_absent_after_a_kill(env: &Env) -> Checked {
    kill(env, Kind::Everything, MIXED_KILLS)
}

/// A process that aborts right behind a Synced batch has left all of it. Trap 7.
pub(in crate::cases) fn a_synced_batch_survives_an_abort_right_behind_it(env: &Env) -> Checked {
    end_often(env, Changes::new(Kind::Everything, 13), End::Abort)
}

/// A process that exits right behind a Synced batch, without a close, has left all of it. Trap 7.
pub(in crate::cases) fn a_synced_batch_survives_an_exit_without_close(env: &Env) -> Checked {
    end_often(env, Changes::new(Kind::Everything, 14), End::Exit)
}
