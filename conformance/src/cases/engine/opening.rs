//! Handles: opening, closing, and one at a time.

use std::sync::Arc;
use std::thread;

use kvlogdb_engine_api::{Durability, Error, KvLogDb, MetaKey, Order};

use super::{LOG, put_all};
use crate::case::message;
use crate::env::{Env, batch};
use crate::failure::{Checked, Context, ensure, expect_eq, expect_refused};
use crate::model::{Model, indexes, logs, scan_meta};

/// A store that was just made holds nothing, neither then nor when it is opened again.
pub(in crate::cases) fn a_new_store_is_empty(env: &Env) -> Checked {
    let engine = env.open()?;
    Model::default().check(&*engine)?;
    let engine = env.reopen(engine)?;
    Model::default().check(&*engine).during("after reopen")?;
    expect_eq("metadata", &scan_meta(&*engine)?.len(), &0)?;
    expect_eq("logs", &logs(&*engine)?.len(), &0)?;
    Ok(engine.close()?)
}

/// The engine's words about itself do not change, and are there when it is closed. Its name is
/// one word in lower case.
pub(in crate::cases) fn an_engine_says_what_it_is_at_any_time(env: &Env) -> Checked {
    let engine = env.open()?;
    let info = engine.info();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    ensure!(
        !info.name.is_empty() && info.name.chars().all(plain),
        "the name is \"{}\", wanted one word in lower case",
        info.name
    );
    ensure!(!info.version.is_empty(), "the engine names no version");
    engine.close()?;
    expect_eq("when closed", &engine.info(), &info)?;
    drop(engine);
    let engine = env.open()?;
    expect_eq("after reopen", &engine.info(), &info)?;
    Ok(engine.close()?)
}

/// After a close every call but `info` and `close` answers `Closed`.
pub(in crate::cases) fn a_closed_engine_answers_closed(env: &Env) -> Checked {
    let engine = env.open()?;
    let batch = batch(|batch| put_all(batch, LOG, 1..=3))?;
    engine.write(&[&batch], Durability::Synced)?;
    engine.close()?;
    for durability in [Durability::Buffered, Durability::Synced] {
        let name = format!("{durability:?}");
        expect_refused!(name, engine.write(&[&batch], durability), Error::Closed);
        expect_refused!(name, engine.write(&[], durability), Error::Closed);
    }
    expect_refused!("entry", engine.entry(LOG.at(1)), Error::Closed);
    let scan = |order| {
        engine.scan(LOG, 0..=9, order, usize::MAX, &mut |_, _| std::ops::ControlFlow::Continue(()))
    };
    expect_refused!("ascending scan", scan(Order::Ascending), Error::Closed);
    expect_refused!("descending scan", scan(Order::Descending), Error::Closed);
    expect_refused!("meta", engine.meta(MetaKey::store(1)), Error::Closed);
    let metadata = engine.scan_meta(&mut |_, _| std::ops::ControlFlow::Continue(()));
    expect_refused!("scan_meta", metadata, Error::Closed);
    let logs = engine.logs(&mut |_| std::ops::ControlFlow::Continue(()));
    expect_refused!("logs", logs, Error::Closed);
    expect_refused!("sync", engine.sync(), Error::Closed);
    expect_refused!("disk_bytes", engine.disk_bytes(), Error::Closed);
    expect_refused!("reclaim", engine.reclaim(), Error::Closed);
    expect_refused!("verify", engine.verify(), Error::Closed);
    drop(engine);
    let engine = env.open()?;
    expect_eq("indexes", &indexes(&*engine, LOG)?, &vec![1, 2, 3])?;
    Ok(engine.close()?)
}

/// A second close does nothing and is no error.
pub(in crate::cases) fn closing_twice_is_fine(env: &Env) -> Checked {
    let engine = env.open()?;
    engine.close()?;
    engine.close().during("the second close")?;
    let again = env.open()?;
    engine.close().during("a close of the old handle beside the new one")?;
    again.write(&[&batch(|batch| put_all(batch, LOG, [1]))?], Durability::Synced)?;
    Ok(again.close()?)
}

/// One handle at a time: the second is refused, the first goes on, and when it is closed the store
/// can be opened. Trap 32.
pub(in crate::cases) fn a_second_handle_is_refused_while_the_first_lives(env: &Env) -> Checked {
    let first = env.open()?;
    first.write(&[&batch(|batch| put_all(batch, LOG, 1..=2))?], Durability::Buffered)?;
    expect_refused!("a second handle", env.try_open(), Error::AlreadyOpen { .. });
    first.write(&[&batch(|batch| put_all(batch, LOG, [3]))?], Durability::Synced)?;
    expect_eq("the first goes on", &indexes(&*first, LOG)?, &vec![1, 2, 3])?;
    let second = env.reopen(first)?;
    expect_eq("the second has all", &indexes(&*second, LOG)?, &vec![1, 2, 3])?;
    Ok(second.close()?)
}

/// It is the close that lets go of a store, not the end of the last handle. Trap 32.
pub(in crate::cases) fn a_closed_handle_that_is_still_held_holds_no_store(env: &Env) -> Checked {
    let first = env.open()?;
    let kept = Arc::clone(&first);
    first.write(&[&batch(|batch| put_all(batch, LOG, 1..=2))?], Durability::Buffered)?;
    let second = env.reopen(first)?;
    expect_refused!("the old handle", kept.entry(LOG.at(1)), Error::Closed);
    expect_eq("the new handle", &indexes(&*second, LOG)?, &vec![1, 2])?;
    drop(kept);
    expect_refused!("a third handle", env.try_open(), Error::AlreadyOpen { .. });
    Ok(second.close()?)
}

/// A store is not bound to the thread that made it.
pub(in crate::cases) fn another_thread_can_open_the_store(env: &Env) -> Checked {
    let engine = env.open()?;
    engine.write(&[&batch(|batch| put_all(batch, LOG, 1..=2))?], Durability::Buffered)?;
    engine.close()?;
    drop(engine);
    let open = env.opener();
    let elsewhere = thread::spawn(move || {
        let engine: Arc<dyn KvLogDb> = open()?;
        engine.write(&[&batch(|batch| put_all(batch, LOG, [3]))?], Durability::Buffered)?;
        Checked::Ok(engine)
    });
    let engine = match elsewhere.join() {
        Ok(engine) => engine.during("in another thread")?,
        Err(panic) => return Err(message(&*panic).into()),
    };
    expect_eq("back here", &indexes(&*engine, LOG)?, &vec![1, 2, 3])?;
    Ok(engine.close()?)
}
