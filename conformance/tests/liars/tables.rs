//! Which case is meant for which lie.

use crate::files::FileLie;
use crate::memory::Lie;

/// Each lie with the cases meant for it, which must all notice it.
pub(crate) type Table<L> = &'static [(L, &'static [&'static str])];

/// Each lie with the cases meant for it.
const LIES: Table<Lie> = &[
    (
        Lie::AlwaysAscending,
        &["entries_come_back_in_index_order", "pages_of_a_long_log_make_the_whole"],
    ),
    (Lie::ScanEndIsExclusive, &["bounds_of_a_scan_are_inclusive"]),
    (Lie::MirrorsEmptyScans, &["an_empty_range_visits_nothing"]),
    (Lie::BudgetIsOvershot, &["a_scan_ends_behind_the_entry_that_reaches_its_budget"]),
    (Lie::BudgetIsNeverExceeded, &["an_entry_larger_than_the_budget_comes_alone"]),
    (Lie::IgnoresBreak, &["a_visitor_ends_its_scan"]),
    (Lie::ScansAMillionIndexes, &["a_scan_over_every_index_finds_the_few_there_are"]),
    (Lie::AbsentIsEmpty, &["what_was_never_written_is_absent"]),
    (Lie::EmptyIsAbsent, &["an_empty_value_is_not_a_missing_one"]),
    (Lie::IndexZeroIsAMarker, &["index_zero_is_an_entry_like_any_other"]),
    (Lie::PutKeepsTheFirst, &["a_put_replaces_the_value_in_place", "the_last_write_to_a_key_wins"]),
    (Lie::DropsEntriesBehindAGap, &["holes_are_legal"]),
    (Lie::RemovesBeforeItPuts, &["a_removal_covers_what_its_batch_put_before"]),
    (Lie::PutsBeforeItRemoves, &["a_put_after_a_removal_in_its_batch_stays"]),
    (Lie::ReversesBatches, &["batches_of_one_write_apply_in_order"]),
    (
        Lie::RemovalsComeBack,
        &["a_replaced_tail_stays_gone", "a_log_made_again_shows_nothing_of_its_past"],
    ),
    (Lie::RemovingAbsentFails, &["removing_what_is_absent_changes_nothing"]),
    (
        Lie::RemovesAThousandIndexes,
        &[
            "a_removal_may_reach_far_beyond_the_entries",
            "fill_and_remove_cycles_leave_what_was_kept",
        ],
    ),
    (Lie::MirrorsEmptyRemovals, &["a_removal_that_ends_before_it_starts_removes_nothing"]),
    (
        Lie::DropsTheLastOperation,
        &[
            "one_write_covers_many_replicas_and_metadata",
            "a_value_over_the_limit_is_refused_and_the_store_goes_on",
            "a_batch_at_the_limit_is_written_whole",
        ],
    ),
    (Lie::NothingIsAnError, &["a_write_of_nothing_is_fine"]),
    (Lie::LargestIndexWraps, &["every_edge_of_every_key_field_holds_an_entry"]),
    (
        Lie::RemovalEndIsExclusive,
        &[
            "removing_half_a_log_leaves_its_neighbours",
            "a_long_log_goes_in_slices",
            "random_operations_match_the_model",
        ],
    ),
    (
        Lie::RemovalTouchesTheNextLog,
        &[
            "removing_one_entry_leaves_its_neighbours",
            "removing_half_a_log_leaves_its_neighbours",
            "removing_a_log_leaves_its_neighbours",
            "removing_a_log_ends_one_life_of_it_and_no_other",
        ],
    ),
    (Lie::PutTouchesTheNextLog, &["putting_an_entry_leaves_its_neighbours"]),
    (
        Lie::LosesOneWriteInFifty,
        &[
            "concurrent_writes_all_land_whole",
            "thousands_of_buffered_writes_need_no_sync",
            "readers_under_removal_see_no_hole",
        ],
    ),
    (Lie::WritesInHalves, &["readers_see_every_write_whole", "readers_under_removal_see_no_hole"]),
    (Lie::MetadataComesBackwards, &["metadata_comes_in_key_order_with_the_store_first"]),
    (Lie::MetadataStays, &["metadata_is_put_replaced_and_removed"]),
    (Lie::MetadataIsALog, &["metadata_is_never_in_a_log_nor_entries_in_metadata"]),
    (Lie::AllReplicasShareMetadata, &["one_slot_of_many_scopes_is_many_values"]),
    (Lie::RemovingMetadataTakesTheNext, &["removing_metadata_leaves_its_neighbours"]),
    (Lie::RemovingALogTakesMetadata, &["removing_a_log_leaves_its_metadata"]),
    (
        Lie::CutsAtSixteenMebibytes,
        &["entries_of_every_size_come_back", "metadata_of_every_size_comes_back"],
    ),
    (Lie::LosesTheEndOfFullPages, &["lengths_around_powers_of_two_come_back"]),
    (Lie::OldTailsShow, &["a_large_value_shrinks_and_grows_in_place"]),
    (Lie::RemovalSparesALargeLast, &["removing_around_large_values_is_exact"]),
    (Lie::LargePutTakesTheNext, &["large_values_leave_small_neighbours_alone"]),
    (Lie::ForgetsALog, &["logs_with_entries_are_listed_and_no_others"]),
    (Lie::RemovesEveryLife, &["removing_a_log_ends_one_life_of_it_and_no_other"]),
    (Lie::ListsAHundredLogs, &["three_hundred_replicas_share_a_store"]),
    (Lie::HoldsBufferedBack, &["buffered_writes_are_visible_at_once"]),
    (Lie::SyncedIsBuffered, &["synced_writes_survive_a_drop"]),
    (Lie::SyncDoesNothing, &["buffered_writes_survive_a_sync_and_a_drop"]),
    (
        Lie::CloseDoesNotSync,
        &[
            "buffered_writes_survive_a_close",
            "another_thread_can_open_the_store",
            "closing_under_load_loses_no_answered_write",
        ],
    ),
    (Lie::LosesAnEntryPerReopen, &["twenty_reopens_change_nothing"]),
    (Lie::ReclaimRemoves, &["upkeep_changes_nothing_visible"]),
    (Lie::VerifyFails, &["upkeep_changes_nothing_visible", "upkeep_runs_beside_reads_and_writes"]),
    (Lie::NewStoreHasAnEntry, &["a_new_store_is_empty"]),
    (Lie::InfoChanges, &["an_engine_says_what_it_is_at_any_time"]),
    (Lie::ReadsWhenClosed, &["a_closed_engine_answers_closed"]),
    (Lie::SecondCloseFails, &["closing_twice_is_fine"]),
    (Lie::TwoHandles, &["a_second_handle_is_refused_while_the_first_lives"]),
    (Lie::StoreIsHeldUntilDropped, &["a_closed_handle_that_is_still_held_holds_no_store"]),
    (Lie::Panics, &["what_was_never_written_is_absent"]),
    (Lie::StaleReads, &["a_put_replaces_the_value_in_place"]),
    (Lie::ValuesUnderTheNextKey, &["entries_come_back_in_index_order"]),
    (
        Lie::RemovalTouchesTheNextReplica,
        &[
            "removing_one_entry_leaves_its_neighbours",
            "removing_half_a_log_leaves_its_neighbours",
            "removing_a_log_leaves_its_neighbours",
        ],
    ),
    (Lie::ForgetsOnReopen, &["twenty_reopens_change_nothing", "buffered_writes_survive_a_close"]),
];

/// Lies of engines that were told to fail.
const FAULT_LIES: Table<Lie> = &[
    (Lie::KeepsWritingAfterAFailure, &["a_failure_closes_the_store_to_writes"]),
    (
        Lie::HalfABatchAfterAnError,
        &[
            "a_failed_batch_is_whole_or_absent",
            "a_log_answers_nothing_behind_a_failure_until_reopened",
        ],
    ),
    (Lie::SyncsAgainAfterAFailure, &["a_failed_sync_is_not_made_good_by_the_next"]),
    (
        Lie::FailsAndLosesWhatWasSynced,
        &["a_failed_batch_is_whole_or_absent", "a_failed_sync_is_not_made_good_by_the_next"],
    ),
];

/// Each lie of an engine with files with the cases meant for it.
const FILE_LIES: Table<FileLie> = &[
    (FileLie::SyncedStaysInMemory, &["a_synced_write_is_in_the_files_when_it_returns"]),
    (FileLie::SyncDoesNothing, &["a_sync_brings_buffered_writes_into_the_files"]),
    (
        FileLie::SyncedNothingIsSkipped,
        &["a_synced_write_of_nothing_brings_buffered_writes_into_the_files"],
    ),
    (FileLie::BufferedLosesEarlierWrites, &["buffered_writes_in_the_files_are_a_prefix"]),
    (
        FileLie::MakesMissingFilesAnew,
        &["a_store_without_its_engine_files_is_not_taken_for_a_new_one"],
    ),
    (
        FileLie::HasNoManifest,
        &[
            "a_foreign_directory_is_refused_untouched",
            "a_file_in_the_way_is_refused_untouched",
            "a_store_of_another_engine_is_refused_untouched",
            "a_store_of_a_newer_layout_is_refused_untouched",
            "a_damaged_manifest_is_refused_untouched",
            "a_store_names_its_engine",
        ],
    ),
    (FileLie::HasNoLock, &["a_second_handle_is_refused_while_the_first_lives"]),
    (FileLie::HasNoManifest, &["a_store_locked_from_outside_is_refused"]),
    (FileLie::RefusesExistingDirectories, &["an_empty_directory_becomes_a_store"]),
    (FileLie::RefusesMissingParents, &["missing_parents_of_a_store_are_made"]),
    (FileLie::RefusesLeftovers, &["what_a_cut_creation_left_is_cleaned_up"]),
    (FileLie::TakesNoSpace, &["disk_bytes_follow_the_files"]),
    (FileLie::SyncedLeavesBufferedOut, &["a_synced_write_is_in_the_files_when_it_returns"]),
    (FileLie::DamagedIsEmpty, &["a_store_of_garbage_is_not_taken_for_an_empty_one"]),
];

/// Lies that show when the process ends without a close.
const KILL_LIES: Table<FileLie> = &[
    (
        FileLie::SyncedStaysInMemory,
        &[
            "synced_writes_survive_a_kill_and_others_are_a_prefix",
            "a_synced_write_survives_an_abort_right_behind_it",
            "a_synced_write_survives_an_exit_without_close",
            "an_append_is_whole_or_absent_after_a_kill",
            "thousands_of_entries_go_at_once_or_stay_after_a_kill",
            "a_vote_is_the_old_pair_or_the_new_after_a_kill",
            "a_synced_batch_survives_an_abort_right_behind_it",
            "a_synced_batch_survives_an_exit_without_close",
        ],
    ),
    (
        FileLie::SyncedLeavesBufferedOut,
        &[
            "synced_writes_survive_a_kill_and_others_are_a_prefix",
            "any_batch_is_whole_or_absent_after_a_kill",
        ],
    ),
    (
        FileLie::SavesInTwoSteps,
        &[
            "synced_writes_survive_a_kill_and_others_are_a_prefix",
            "a_replaced_tail_is_the_old_or_the_new_after_a_kill",
            "a_purge_and_its_boundary_are_one_after_a_kill",
            "a_removed_replica_is_there_or_gone_after_a_kill",
            "a_reset_log_is_the_old_or_empty_after_a_kill",
            "an_install_is_done_or_not_after_a_kill",
            "any_batch_is_whole_or_absent_after_a_kill",
        ],
    ),
    (FileLie::CreatesInTwoSteps, &["a_creation_cut_by_a_kill_is_made_good"]),
];

/// Lies that show when calls, files and bytes are counted.
const COUNT_LIES: Table<FileLie> = &[
    (
        FileLie::NeverSyncs,
        &[
            "every_synced_write_makes_a_sync_call",
            "every_sync_of_something_makes_a_sync_call",
            "every_synced_append_makes_a_sync_call",
            "every_vote_makes_a_sync_call",
        ],
    ),
    (FileLie::SyncDoesNothing, &["every_sync_of_something_makes_a_sync_call"]),
    (FileLie::SyncsEveryBuffered, &["buffered_writes_make_no_sync_call_each"]),
    (FileLie::KeepsAFilePerReplica, &["ten_thousand_replicas_cost_bytes_and_nothing_else"]),
];

/// Lies that show when there is no room.
const FULL_LIES: Table<FileLie> = &[
    (
        FileLie::FullDiskIsFine,
        &["a_full_disk_ends_the_writes_and_loses_none", "a_log_on_a_full_disk_loses_no_batch"],
    ),
    (
        FileLie::FullDiskIsDamage,
        &[
            "a_full_disk_ends_the_writes_and_loses_none",
            "a_file_that_may_not_grow_ends_the_writes_and_loses_none",
        ],
    ),
];

/// Lies that show when the kernel refuses a sync.
const SYNC_FAULT_LIES: Table<FileLie> =
    &[(FileLie::KeepsWritingAfterAFailure, &["a_failed_sync_call_closes_the_store_to_writes"])];

/// The layers and the lies over memory meant for them.
pub(crate) const OVER_MEMORY: [(&str, Table<Lie>); 3] =
    [("engine", LIES), ("log", LOG_LIES), ("fault", FAULT_LIES)];

/// The layers and the lies over files meant for them.
pub(crate) const OVER_FILES: [(&str, Table<FileLie>); 6] = [
    ("engine", FILE_LIES),
    ("log", LOG_FILE_LIES),
    ("kill", KILL_LIES),
    ("count", COUNT_LIES),
    ("full", FULL_LIES),
    ("fault", SYNC_FAULT_LIES),
];

/// Lies that no case over the engine sees, because only the log brings enough to tell them over.
pub(crate) const FOR_THE_LOG: [Lie; 3] = [
    Lie::ForgetsMetadataAfterAThousand,
    Lie::TakesFourThousandOperations,
    Lie::RemovesFifteenThousandEntries,
];

/// Lies with the cases over the log that notice them too.
pub(crate) const LOG_LIES: Table<Lie> = &[
    (Lie::ForgetsMetadataAfterAThousand, &["a_thousand_replicas_are_made_by_one_batch"]),
    (Lie::TakesFourThousandOperations, &["a_log_of_thousands_of_terms_keeps_them"]),
    (Lie::RemovesFifteenThousandEntries, &["cutting_thousands_of_entries_leaves_no_hole"]),
    (
        Lie::RemovalsComeBack,
        &[
            "a_truncated_tail_stays_gone",
            "an_emptied_log_is_not_a_new_one",
            "what_an_install_dropped_stays_gone",
            "many_resets_show_the_last_life_only",
            "a_replica_made_again_shows_nothing_of_its_past",
        ],
    ),
    (
        Lie::RemovalEndIsExclusive,
        &[
            "a_log_can_be_cut_down_to_nothing",
            "purged_entries_leave_the_engine",
            "purging_the_largest_index_leaves_the_neighbours",
            "truncating_at_the_edges_leaves_the_neighbours",
            "random_batches_come_to_the_same_as_on_the_reference",
        ],
    ),
    (Lie::RemovalTouchesTheNextLog, &["a_replica_is_removed_and_made_again_in_one_batch"]),
    (
        Lie::LargestIndexWraps,
        &["a_log_at_the_largest_index_is_full", "the_largest_index_is_read_like_any_other"],
    ),
    (Lie::IndexZeroIsAMarker, &["the_entry_at_index_zero_is_like_any_other"]),
    (Lie::PutKeepsTheFirst, &["replacing_a_tail_is_one_write_that_keeps_the_prefix"]),
    (Lie::PutsBeforeItRemoves, &["leaders_come_back_with_their_terms"]),
    (Lie::RemovesBeforeItPuts, &["changes_of_a_batch_apply_in_order"]),
    (Lie::LosesAnEntryPerReopen, &["twenty_reopens_of_the_logs_change_nothing"]),
    (Lie::CutsAtSixteenMebibytes, &["payloads_of_every_size_come_back"]),
    (Lie::ScansAMillionIndexes, &["a_read_over_every_index_finds_the_few"]),
    (Lie::NothingIsAnError, &["an_empty_batch_changes_nothing"]),
    (
        Lie::MetadataStays,
        &["slots_of_the_caller_come_back", "removing_at_the_edges_leaves_the_neighbours"],
    ),
    (Lie::AllReplicasShareMetadata, &["the_hard_state_comes_back"]),
    (Lie::ReclaimRemoves, &["reclaiming_changes_no_log"]),
    (Lie::TwoHandles, &["a_second_store_of_logs_is_refused"]),
    (Lie::OldTailsShow, &["records_of_another_length_are_reported"]),
    (Lie::ValuesUnderTheNextKey, &["an_append_is_read_back_at_once"]),
    (Lie::DropsTheLastOperation, &["random_histories_are_those_of_the_reference"]),
    (Lie::RemovalEndIsExclusive, &["random_histories_are_those_of_the_reference"]),
    (Lie::RemovalTouchesTheNextReplica, &["removing_at_the_edges_leaves_the_neighbours"]),
    (Lie::ForgetsOnReopen, &["random_histories_are_those_of_the_reference"]),
];

/// Lies of an engine with files with the cases over the log that notice them too.
const LOG_FILE_LIES: Table<FileLie> = &[(
    FileLie::SyncedStaysInMemory,
    &["synced_changes_of_a_log_are_in_the_files", "a_vote_takes_earlier_writes_into_the_files"],
)];
