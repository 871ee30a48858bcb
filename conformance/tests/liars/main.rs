//! The suite is worth what it catches: engines that lie in one point each, and the cases that must
//! notice.

#![expect(clippy::unwrap_used, reason = "the liars are parts of a test; a panic fails it")]

mod files;
mod memory;
mod twist;

use std::collections::BTreeSet;

use files::FileLie;
use kvlogdb_conformance::{Case, Subject, cases};
use memory::Lie;

/// Each lie with the cases meant for it.
const LIES: &[(Lie, &[&str])] = &[
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
];

/// Each lie of an engine with files with the cases meant for it.
const FILE_LIES: &[(FileLie, &[&str])] = &[
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
];

/// Lies that no case over the engine sees, because only the log brings enough to tell them over.
const FOR_THE_LOG: [Lie; 3] = [
    Lie::ForgetsMetadataAfterAThousand,
    Lie::TakesFourThousandOperations,
    Lie::RemovesFifteenThousandEntries,
];

/// Lies with the cases over the log that notice them too.
const LOG_LIES: &[(Lie, &[&str])] = &[
    (
        Lie::ForgetsMetadataAfterAThousand,
        &["a_thousand_replicas_are_made_by_one_batch", "replicas_cost_no_file_and_no_thread"],
    ),
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
    (Lie::HoldsBufferedBack, &["an_append_is_read_back_at_once"]),
    (Lie::LosesAnEntryPerReopen, &["twenty_reopens_of_the_logs_change_nothing"]),
    (Lie::LosesOneWriteInFifty, &["an_append_is_read_back_at_once"]),
    (Lie::CutsAtSixteenMebibytes, &["payloads_of_every_size_come_back"]),
    (Lie::IgnoresBreak, &["a_byte_limit_is_kept_and_one_entry_always_comes"]),
    (Lie::ScansAMillionIndexes, &["a_read_over_every_index_finds_the_few"]),
    (Lie::NothingIsAnError, &["an_empty_batch_changes_nothing"]),
    (
        Lie::MetadataStays,
        &["slots_of_the_caller_come_back", "removing_at_the_edges_leaves_the_neighbours"],
    ),
    (Lie::AllReplicasShareMetadata, &["the_hard_state_comes_back"]),
    (Lie::RemovingALogTakesMetadata, &["a_snapshot_goes_into_a_log_of_any_length"]),
    (Lie::ReclaimRemoves, &["reclaiming_changes_no_log"]),
    (Lie::TwoHandles, &["a_second_store_of_logs_is_refused"]),
    (Lie::OldTailsShow, &["records_of_another_length_are_reported"]),
];

/// Lies of an engine with files with the cases over the log that notice them too.
const LOG_FILE_LIES: &[(FileLie, &[&str])] = &[
    (
        FileLie::SyncedStaysInMemory,
        &["synced_changes_of_a_log_are_in_the_files", "a_vote_takes_earlier_writes_into_the_files"],
    ),
    (FileLie::SyncedNothingIsSkipped, &["synced_changes_of_a_log_are_in_the_files"]),
];

fn engine_cases() -> impl Iterator<Item = &'static Case> {
    cases().iter().filter(|case| case.name().starts_with("engine::"))
}

/// The meant cases that pass on the liar.
fn passed(subject: &Subject, layer: &str, meant: &[&str]) -> Vec<String> {
    let mut passed = Vec::new();
    for claim in meant {
        let name = format!("{layer}::{claim}");
        let case = cases().iter().find(|case| case.name() == name).expect(&name);
        if case.run(subject).is_ok() {
            passed.push(name);
        }
    }
    passed
}

#[test]
fn every_lie_is_caught_by_every_case_meant_for_it() {
    for (layer, lies) in [("engine", LIES), ("log", LOG_LIES)] {
        for (lie, meant) in lies {
            let passed = passed(&memory::subject(*lie), layer, meant);
            assert!(passed.is_empty(), "{lie:?} passed {passed:?}");
        }
    }
}

#[test]
fn every_lie_over_files_is_caught_by_every_case_meant_for_it() {
    for (layer, lies) in [("engine", FILE_LIES), ("log", LOG_FILE_LIES)] {
        for (lie, meant) in lies {
            let passed = passed(&files::subject(*lie), layer, meant);
            assert!(passed.is_empty(), "{lie:?} passed {passed:?}");
        }
    }
}

#[test]
fn some_lies_pass_every_case_over_the_engine_and_are_caught_by_the_log() {
    for lie in FOR_THE_LOG {
        assert_eq!(failed("engine::", &memory::subject(lie)), Vec::<String>::new(), "{lie:?}");
        assert!(LOG_LIES.iter().any(|(caught, meant)| *caught == lie && !meant.is_empty()));
    }
}

#[test]
fn every_engine_case_is_meant_for_a_lie() {
    let of_memory = LIES.iter().flat_map(|(_, meant)| *meant);
    let meant: BTreeSet<_> = of_memory.chain(FILE_LIES.iter().flat_map(|(_, m)| *m)).collect();
    let meant: BTreeSet<_> = meant.iter().map(|claim| format!("engine::{claim}")).collect();
    let cases: BTreeSet<_> = engine_cases().map(|case| case.name().to_owned()).collect();
    let differ: Vec<_> = cases.symmetric_difference(&meant).collect();
    assert!(differ.is_empty(), "no lie is meant for {differ:?}");
}

/// What fails on an engine that does not lie; cases that cannot be run are named too.
fn failed(layer: &str, subject: &Subject) -> Vec<String> {
    let of_layer = cases().iter().filter(|case| case.name().starts_with(layer));
    let runnable = of_layer.filter(|case| case.obstacle(subject).is_none());
    let failed = runnable.filter_map(|case| {
        let failure = case.run(subject).err()?;
        Some(format!("{}: {failure}", case.name()))
    });
    failed.collect()
}

#[test]
fn the_engines_under_the_liars_pass_when_they_do_not_lie() {
    let with_files = files::subject(FileLie::None);
    assert!(cases().iter().all(|case| case.obstacle(&with_files).is_none()));
    for layer in ["engine::", "log::"] {
        assert_eq!(failed(layer, &memory::subject(Lie::None)), Vec::<String>::new());
        assert_eq!(failed(layer, &with_files), Vec::<String>::new());
    }
}

#[test]
fn a_case_that_cannot_be_run_never_passes() {
    let subject = memory::subject(Lie::None);
    let unrunnable = engine_cases().filter(|case| case.obstacle(&subject).is_some());
    let unrunnable: Vec<_> = unrunnable.collect();
    assert!(unrunnable.len() > 10);
    assert!(unrunnable.iter().all(|case| case.run(&subject).is_err()));
}

#[test]
fn a_panic_is_a_failure_that_says_what_the_panic_said() {
    let name = "engine::what_was_never_written_is_absent";
    let case = engine_cases().find(|case| case.name() == name).unwrap();
    let failure = case.run(&memory::subject(Lie::Panics)).unwrap_err();
    assert!(failure.contains("a liar panicked"), "{failure}");
}
