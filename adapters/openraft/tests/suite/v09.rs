//! The suite of openraft 0.9.

use std::fmt::Debug;
use std::future::Future;
use std::ops::RangeBounds;
use std::pin::Pin;
use std::sync::Arc;

use kvlogdb_openraft::v09::LogStorage;
use libtest_mimic::{Failed, Trial};
use openraft_0_9 as openraft;

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::testing::{StoreBuilder, Suite};
use openraft::{Entry, LogId, LogState, OptionalSend, RaftLogReader, StorageError, Vote};

use crate::common::machine09::{Config, Machine};
use crate::common::{Kind, Strategy};
use crate::place::{Place, Reopening};

type Storage = LogStorage<Config>;
type Answer<T> = Result<T, StorageError<u64>>;
type Running = Pin<Box<dyn Future<Output = Answer<()>>>>;
type Case<B> = (&'static str, fn(B) -> Running);

/// Builds stores of one kind.
#[derive(Debug, Clone, Copy)]
struct Plain(Kind);

/// Builds stores that are opened anew before every call.
#[derive(Debug, Clone, Copy)]
struct Reopened(Kind);

fn make(log: kvlogdb::Log) -> kvlogdb_openraft::Result<Storage> {
    Storage::new(log, &0)
}

impl StoreBuilder<Config, Storage, Machine, Place> for Plain {
    async fn build(&self) -> Answer<(Place, Storage, Machine)> {
        let place = Place::new(self.0);
        let storage = make(place.log()).expect("a new log");
        Ok((place, storage, Machine::default()))
    }
}

type Guard = Arc<Place>;

impl StoreBuilder<Config, Reopening<Storage>, Machine, Guard> for Reopened {
    async fn build(&self) -> Answer<(Guard, Reopening<Storage>, Machine)> {
        let place = Arc::new(Place::new(self.0));
        Ok((place.clone(), Reopening::new(place, make), Machine::default()))
    }
}

macro_rules! cases {
    ($($case:ident)*) => {
        vec![$((stringify!($case), |builder: B| -> Running {
            Box::pin(async move {
                let (_guard, store, machine) = builder.build().await?;
                Suite::<Config, LS, Machine, B, G>::$case(store, machine).await
            })
        })),*]
    };
}

/// Every case of the suite, in its order.
fn cases<LS, B, G>() -> Vec<Case<B>>
where
    LS: RaftLogStorage<Config>,
    B: StoreBuilder<Config, LS, Machine, G> + 'static,
    G: Send + Sync + 'static,
{
    let mut cases: Vec<Case<B>> = cases!(
        last_membership_in_log_initial last_membership_in_log last_membership_in_log_multi_step
        get_membership_initial get_membership_from_log_and_empty_sm
        get_membership_from_empty_log_and_sm get_membership_from_log_le_sm_last_applied
        get_membership_from_log_gt_sm_last_applied_1 get_membership_from_log_gt_sm_last_applied_2
        get_initial_state_without_init get_initial_state_membership_from_log_and_sm
        get_initial_state_with_state get_initial_state_last_log_gt_sm
        get_initial_state_last_log_lt_sm get_initial_state_log_ids
        get_initial_state_re_apply_committed save_vote get_log_entries limited_get_log_entries
        try_get_log_entry initial_logs get_log_state get_log_id last_id_in_log last_applied_state
        purge_logs_upto_0 purge_logs_upto_5 purge_logs_upto_20 delete_logs_since_11
        delete_logs_since_0 append_to_log snapshot_meta apply_single apply_multiple
    );
    cases.push(("transfer_snapshot", |builder| {
        Box::pin(
            async move { Suite::<Config, LS, Machine, B, G>::transfer_snapshot(&builder).await },
        )
    }));
    assert_eq!(cases.len(), 35, "the suite of this version has as many");
    cases
}

pub(crate) fn trials(kind: Kind) -> Vec<Trial> {
    let plain = cases().into_iter().map(|(name, case)| {
        Trial::test(format!("v09::{}::{name}", kind.name()), move || run(case(Plain(kind))))
    });
    let reopened = cases().into_iter().map(|(name, case)| {
        let name = format!("v09::{}::reopened::{name}", kind.name());
        Trial::test(name, move || run(case(Reopened(kind))))
    });
    plain.chain(reopened).collect()
}

/// The suite as openraft runs it.
pub(crate) fn whole() -> Trial {
    let kind = Kind { engine: kvlogdb::EngineKind::Redb, strategy: Strategy::DiskFirst };
    Trial::test(format!("v09::{}::test_all", kind.name()), move || {
        Ok(Suite::<Config, Storage, Machine, Plain, Place>::test_all(Plain(kind))?)
    })
}

/// Runs a case with a clock that goes on as soon as there is nothing else to do: some cases give a
/// lazy purge a second.
fn run(case: Running) -> Result<(), Failed> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    Ok(runtime.block_on(case)?)
}

impl RaftLogReader<Config> for Reopening<Storage> {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Answer<Vec<Entry<Config>>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.anew().try_get_log_entries(range).await
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Answer<Vec<Entry<Config>>> {
        self.anew().limited_get_log_entries(start, end).await
    }
}

impl RaftLogStorage<Config> for Reopening<Storage> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Answer<LogState<Config>> {
        self.anew().get_log_state().await
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> Answer<()> {
        self.anew().save_vote(vote).await
    }

    async fn read_vote(&mut self) -> Answer<Option<Vote<u64>>> {
        self.anew().read_vote().await
    }

    async fn save_committed(&mut self, committed: Option<LogId<u64>>) -> Answer<()> {
        self.anew().save_committed(committed).await
    }

    async fn read_committed(&mut self) -> Answer<Option<LogId<u64>>> {
        self.anew().read_committed().await
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Config>) -> Answer<()>
    where
        I: IntoIterator<Item = Entry<Config>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.anew().append(entries, callback).await
    }

    async fn truncate(&mut self, log_id: LogId<u64>) -> Answer<()> {
        self.anew().truncate(log_id).await
    }

    async fn purge(&mut self, log_id: LogId<u64>) -> Answer<()> {
        self.anew().purge(log_id).await
    }
}
