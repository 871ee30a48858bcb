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

fn engine_cases() -> impl Iterator<Item = &'static Case> {
    cases().iter().filter(|case| case.name().starts_with("engine::"))
}

/// The meant cases that pass on the liar.
fn passed(subject: &Subject, meant: &[&str]) -> Vec<String> {
    let mut passed = Vec::new();
    for claim in meant {
        let name = format!("engine::{claim}");
        let case = engine_cases().find(|case| case.name() == name).expect(&name);
        if case.run(subject).is_ok() {
            passed.push(name);
        }
    }
    passed
}

#[test]
fn every_lie_is_caught_by_every_case_meant_for_it() {
    for (lie, meant) in LIES {
        let passed = passed(&memory::subject(*lie), meant);
        assert!(passed.is_empty(), "{lie:?} passed {passed:?}");
    }
}

#[test]
fn every_lie_over_files_is_caught_by_every_case_meant_for_it() {
    for (lie, meant) in FILE_LIES {
        let passed = passed(&files::subject(*lie), meant);
        assert!(passed.is_empty(), "{lie:?} passed {passed:?}");
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
fn failed(subject: &Subject) -> Vec<String> {
    let runnable = engine_cases().filter(|case| case.obstacle(subject).is_none());
    let failed = runnable.filter_map(|case| {
        let failure = case.run(subject).err()?;
        Some(format!("{}: {failure}", case.name()))
    });
    failed.collect()
}

#[test]
fn the_engines_under_the_liars_pass_when_they_do_not_lie() {
    assert_eq!(failed(&memory::subject(Lie::None)), Vec::<String>::new());
    let with_files = files::subject(FileLie::None);
    assert!(engine_cases().all(|case| case.obstacle(&with_files).is_none()));
    assert_eq!(failed(&with_files), Vec::<String>::new());
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
