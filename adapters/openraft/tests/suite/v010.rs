//! The suite of openraft 0.10.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::ops::RangeBounds;
use std::pin::Pin;
use std::sync::Arc;

use kvlogdb_openraft::v010::LogStorage;
use libtest_mimic::{Failed, Trial};
use openraft_0_10 as openraft;

use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::alias::{EntryOf, LogIdOf, VoteOf};
use openraft::{LogState, OptionalSend, RaftLogReader, StorageError};

use crate::common::machine10::{Config, Machine};
use crate::common::{Kind, Strategy};
use crate::place::{Place, Reopening};

type Storage = LogStorage<Config>;
type Running = Pin<Box<dyn Future<Output = io::Result<()>>>>;
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
    async fn build(&self) -> Result<(Place, Storage, Machine), StorageError<Config>> {
        let place = Place::new(self.0);
        let storage = make(place.log()).expect("a new log");
        Ok((place, storage, Machine::default()))
    }
}

type Guard = Arc<Place>;

impl StoreBuilder<Config, Reopening<Storage>, Machine, Guard> for Reopened {
    async fn build(&self) -> Result<(Guard, Reopening<Storage>, Machine), StorageError<Config>> {
        let place = Arc::new(Place::new(self.0));
        Ok((place.clone(), Reopening::new(place, make), Machine::default()))
    }
}

macro_rules! cases {
    ($($case:ident)*) => {
        vec![$((stringify!($case), |builder: B| -> Running {
            Box::pin(async move {
                let (_guard, store, machine) = builder.build().await.map_err(io::Error::other)?;
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
        get_initial_state_without_init get_initial_state_membership_from_empty_log_and_sm
        get_initial_state_membership_from_sm_inlog_is_smaller
        get_initial_state_membership_from_log_insm_is_smaller get_initial_state_with_state
        get_initial_state_last_log_gt_sm get_initial_state_last_log_lt_sm
        get_initial_state_inverted_log_order get_initial_state_conflict_at_same_index
        get_initial_state_log_ids get_initial_state_re_apply_committed save_vote get_log_entries
        limited_get_log_entries leader_bounded_stream entries_stream try_get_log_entry
        log_reader_reads_new_entries initial_logs get_log_state get_log_id last_id_in_log
        last_applied_state purge_logs_upto_0 purge_logs_upto_5 purge_logs_upto_20
        delete_logs_after_11 delete_logs_after_5 delete_logs_after_0 delete_logs_after_none
        append_to_log snapshot_meta snapshot_meta_optional apply_single apply_multiple
    );
    cases.push(("transfer_snapshot", |builder| {
        Box::pin(
            async move { Suite::<Config, LS, Machine, B, G>::transfer_snapshot(&builder).await },
        )
    }));
    assert_eq!(cases.len(), 45, "the suite of this version has as many");
    cases
}

pub(crate) fn trials(kind: Kind) -> Vec<Trial> {
    let plain = cases().into_iter().map(|(name, case)| {
        Trial::test(format!("v010::{}::{name}", kind.name()), move || run(case(Plain(kind))))
    });
    let reopened = cases().into_iter().map(|(name, case)| {
        let name = format!("v010::{}::reopened::{name}", kind.name());
        Trial::test(name, move || run(case(Reopened(kind))))
    });
    plain.chain(reopened).collect()
}

/// The suite as openraft runs it.
pub(crate) fn whole() -> Trial {
    let kind = Kind { engine: kvlogdb::EngineKind::Redb, strategy: Strategy::DiskFirst };
    Trial::test(format!("v010::{}::test_all", kind.name()), move || {
        run(Box::pin(async move {
            Suite::<Config, Storage, Machine, Plain, Place>::test_all(Plain(kind))
                .await
                .map_err(io::Error::other)
        }))
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
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<EntryOf<Config>>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.anew().try_get_log_entries(range).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<VoteOf<Config>>> {
        self.anew().read_vote().await
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> io::Result<Vec<EntryOf<Config>>> {
        self.anew().limited_get_log_entries(start, end).await
    }
}

impl RaftLogStorage<Config> for Reopening<Storage> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Config>> {
        self.anew().get_log_state().await
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Config>) -> io::Result<()> {
        self.anew().save_vote(vote).await
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<Config>>) -> io::Result<()> {
        self.anew().save_committed(committed).await
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogIdOf<Config>>> {
        self.anew().read_committed().await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Config>) -> io::Result<()>
    where
        I: IntoIterator<Item = EntryOf<Config>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.anew().append(entries, callback).await
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogIdOf<Config>>) -> io::Result<()> {
        self.anew().truncate_after(last_log_id).await
    }

    async fn purge(&mut self, log_id: LogIdOf<Config>) -> io::Result<()> {
        self.anew().purge(log_id).await
    }
}
