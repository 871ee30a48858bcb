//! An engine whose process ends without a close.

use std::sync::Arc;

use kvlogdb_engine_api::{Durability, KvLogDb, MetaKey, WriteBatch};

use super::{End, Story, end_often, kill_often};
use crate::cases::engine::differential::add_operation;
use crate::child::{Stage, say};
use crate::env::Env;
use crate::failure::{Checked, Context};
use crate::model::Model;
use crate::random::Random;

/// Where every step leaves its number.
const NUMBER: MetaKey = MetaKey { scope: kvlogdb_engine_api::Scope::Store, slot: 700 };
const USUAL_KILLS: u64 = 12;

/// Random operations on a store. What a step does depends on its number and the seed alone.
struct Operations {
    seed: u64,
    step: u64,
    model: Model,
}

impl Operations {
    fn new(seed: u64, step: u64) -> Self {
        Self { seed, step, model: Model::default() }
    }

    fn next(&mut self) -> Checked<(Vec<WriteBatch>, Durability)> {
        self.step += 1;
        let mut random = Random::new(self.seed ^ self.step.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let mut batches = Vec::new();
        for _ in 0..=random.below(3) {
            let mut batch = WriteBatch::new();
            for _ in 0..random.below(6) {
                add_operation(&mut batch, &mut random)?;
            }
            batches.push(batch);
        }
        let mut number = WriteBatch::new();
        number.put_meta(NUMBER, &[&self.step.to_be_bytes()])?;
        batches.push(number);
        let synced = random.below(3) == 0;
        Ok((batches, if synced { Durability::Synced } else { Durability::Buffered }))
    }
}

impl Story for Operations {
    const PART: &'static str = "operations";
    const OPENING: &'static str = "open";
    type Open = Arc<dyn KvLogDb>;

    fn numbers(&self) -> [u64; 3] {
        [0, self.seed, self.step]
    }

    fn step(&self) -> u64 {
        self.step
    }

    fn go_on(&mut self) -> Checked<Durability> {
        let (batches, durability) = self.next()?;
        for batch in &batches {
            self.model.apply(batch);
        }
        Ok(durability)
    }

    fn copy(&self) -> Self {
        Self::new(self.seed, self.step)
    }

    fn open(env: &Env) -> Checked<Self::Open> {
        env.open()
    }

    fn reached(store: &Self::Open) -> Checked<u64> {
        let Some(number) = store.meta(NUMBER)? else { return Ok(0) };
        let bytes = number.as_ref().try_into().map_err(|_| "a number of another length")?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn check(&self, env: &Env, store: Self::Open) -> Checked {
        self.model.check(&*store)?;
        store.verify().during("verifying")?;
        let store = env.reopen(store)?;
        self.model.check(&*store).during("after reopen")?;
        Ok(store.close()?)
    }
}

/// What a child does that is killed in its recovery.
pub(in crate::cases) fn open(stage: &Stage) -> Checked {
    Ok(stage.env().open()?.close()?)
}

/// What the child does.
pub(in crate::cases) fn tell_operations(stage: &Stage) -> Checked {
    let mut story = Operations::new(stage.number(1)?, stage.number(2)?);
    let (to, end) = (stage.number(3)?, End::of(stage.number(4)?)?);
    say("opening", 0)?;
    let engine = stage.env().open()?;
    while story.step < to {
        let (batches, mut durability) = story.next()?;
        if story.step == to {
            durability = Durability::Synced;
        }
        say("will", story.step)?;
        engine.write(&batches.iter().collect::<Vec<_>>(), durability)?;
        say("did", story.step)?;
    }
    end.come()?;
    Ok(engine.close()?)
}

/// A kill at any moment leaves what was acknowledged as Synced, and of what follows a prefix of
/// whole writes; the store opens at once, verifies, and goes on. Traps 7, 14 and 42.
pub(in crate::cases) fn synced_writes_survive_a_kill_and_others_are_a_prefix(env: &Env) -> Checked {
    kill_often(env, |seed| Operations::new(seed, 0), USUAL_KILLS)
}

/// A process that aborts right behind a Synced write has left all of it. Trap 7.
pub(in crate::cases) fn a_synced_write_survives_an_abort_right_behind_it(env: &Env) -> Checked {
    end_often(env, Operations::new(11, 0), End::Abort)
}

/// A process that exits right behind a Synced write, without a close, has left all of it. Trap 7.
pub(in crate::cases) fn a_synced_write_survives_an_exit_without_close(env: &Env) -> Checked {
    end_often(env, Operations::new(12, 0), End::Exit)
}
