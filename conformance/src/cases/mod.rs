//! All cases, each listed once.

mod count;
mod engine;
mod fault;
mod full;
mod kill;
mod log;
#[cfg(test)]
mod traps;

use crate::Case;
use crate::case::Body;
use crate::child::Part;

/// Lists cases: `layer::module as kind { claim [traps], ... }`.
macro_rules! list {
    ($($layer:ident::$module:ident as $kind:ident {
        $($claim:ident [$($trap:literal)*],)*
    })*) => {
        const LIST: &[Case] = &[$($(
            Case::new(
                concat!(stringify!($layer), "::", stringify!($claim)),
                concat!(stringify!($layer), "::", stringify!($module)),
                &[$($trap),*],
                Body::$kind($layer::$module::$claim),
            ),
        )*)*];
    };
}

list! {
    engine::reads as Store {
        entries_come_back_in_index_order [],
        bounds_of_a_scan_are_inclusive [25],
        an_empty_range_visits_nothing [],
        a_scan_ends_behind_the_entry_that_reaches_its_budget [34],
        an_entry_larger_than_the_budget_comes_alone [34],
        a_visitor_ends_its_scan [],
        a_scan_over_every_index_finds_the_few_there_are [33],
        what_was_never_written_is_absent [],
        an_empty_value_is_not_a_missing_one [38],
        index_zero_is_an_entry_like_any_other [27],
    }
    engine::writes as Store {
        a_put_replaces_the_value_in_place [],
        holes_are_legal [],
        a_removal_covers_what_its_batch_put_before [],
        a_put_after_a_removal_in_its_batch_stays [],
        the_last_write_to_a_key_wins [],
        batches_of_one_write_apply_in_order [],
        a_replaced_tail_stays_gone [1],
        removing_what_is_absent_changes_nothing [18],
        a_removal_may_reach_far_beyond_the_entries [33],
        a_removal_that_ends_before_it_starts_removes_nothing [18],
        one_write_covers_many_replicas_and_metadata [11],
        a_write_of_nothing_is_fine [],
    }
    engine::edges as Store {
        every_edge_of_every_key_field_holds_an_entry [25],
        removing_one_entry_leaves_its_neighbours [25 26],
        removing_half_a_log_leaves_its_neighbours [25 26],
        removing_a_log_leaves_its_neighbours [25 26],
        putting_an_entry_leaves_its_neighbours [25 26],
    }
    engine::metadata as Store {
        metadata_comes_in_key_order_with_the_store_first [],
        metadata_is_put_replaced_and_removed [],
        metadata_is_never_in_a_log_nor_entries_in_metadata [27],
        one_slot_of_many_scopes_is_many_values [26],
        removing_metadata_leaves_its_neighbours [26],
        removing_a_log_leaves_its_metadata [26],
    }
    engine::sizes as Store {
        entries_of_every_size_come_back [39],
        metadata_of_every_size_comes_back [39],
        lengths_around_powers_of_two_come_back [39],
        a_large_value_shrinks_and_grows_in_place [39],
        removing_around_large_values_is_exact [26 39],
        large_values_leave_small_neighbours_alone [26 39],
        a_value_over_the_limit_is_refused_and_the_store_goes_on [39],
        a_batch_at_the_limit_is_written_whole [39],
    }
    engine::logs as Store {
        logs_with_entries_are_listed_and_no_others [],
        removing_a_log_ends_one_life_of_it_and_no_other [28],
        a_log_made_again_shows_nothing_of_its_past [28],
        three_hundred_replicas_share_a_store [30],
    }
    engine::lifecycle as Store {
        buffered_writes_are_visible_at_once [37],
        synced_writes_survive_a_drop [],
        buffered_writes_survive_a_sync_and_a_drop [],
        buffered_writes_survive_a_close [],
        twenty_reopens_change_nothing [],
        upkeep_changes_nothing_visible [],
    }
    engine::opening as Dir {
        a_new_store_is_empty [],
        an_engine_says_what_it_is_at_any_time [],
        a_closed_engine_answers_closed [],
        closing_twice_is_fine [],
        a_second_handle_is_refused_while_the_first_lives [32],
        a_closed_handle_that_is_still_held_holds_no_store [32],
        another_thread_can_open_the_store [],
    }
    engine::files as Files {
        an_empty_directory_becomes_a_store [],
        missing_parents_of_a_store_are_made [],
        a_foreign_directory_is_refused_untouched [31],
        a_file_in_the_way_is_refused_untouched [31],
        a_store_of_another_engine_is_refused_untouched [31],
        a_store_of_a_newer_layout_is_refused_untouched [31],
        a_damaged_manifest_is_refused_untouched [31 43],
        a_store_names_its_engine [31],
        a_store_locked_from_outside_is_refused [32],
        what_a_cut_creation_left_is_cleaned_up [12],
        a_store_without_its_engine_files_is_not_taken_for_a_new_one [17],
        a_store_of_garbage_is_not_taken_for_an_empty_one [17 43],
        disk_bytes_follow_the_files [],
    }
    engine::copies as Files {
        a_synced_write_is_in_the_files_when_it_returns [7 8],
        a_sync_brings_buffered_writes_into_the_files [7 8],
        a_synced_write_of_nothing_brings_buffered_writes_into_the_files [8 10],
        buffered_writes_in_the_files_are_a_prefix [14],
    }
    engine::concurrency as Store {
        readers_see_every_write_whole [36],
        readers_under_removal_see_no_hole [36],
        upkeep_runs_beside_reads_and_writes [36],
    }
    engine::concurrency_on_dir as Dir {
        concurrent_writes_all_land_whole [],
        closing_under_load_loses_no_answered_write [],
    }
    engine::volume as Store {
        pages_of_a_long_log_make_the_whole [34],
        thousands_of_buffered_writes_need_no_sync [],
        a_long_log_goes_in_slices [24],
        fill_and_remove_cycles_leave_what_was_kept [24],
    }
    engine::differential as Store {
        random_operations_match_the_model [],
    }
    log::appending as Log {
        a_log_begins_at_any_index [27],
        the_entry_at_index_zero_is_like_any_other [27],
        an_append_is_read_back_at_once [37],
        the_last_index_is_counted_once [6],
        a_gap_is_refused_and_changes_nothing [40],
        a_term_that_goes_back_is_refused [41],
        a_log_at_the_largest_index_is_full [25 40],
        entries_keep_their_kind [],
        an_empty_entry_is_not_a_missing_one [38],
        payloads_of_every_size_come_back [38 39],
        what_is_too_large_is_refused_and_the_log_goes_on [39],
    }
    log::truncation as Log {
        a_truncated_tail_stays_gone [1],
        cutting_thousands_of_entries_leaves_no_hole [2],
        replacing_a_tail_is_one_write_that_keeps_the_prefix [3],
        cutting_behind_the_end_changes_nothing [18],
        a_log_can_be_cut_down_to_nothing [1 6],
        committed_and_purged_entries_are_not_cut_off [23],
        leaders_come_back_with_their_terms [],
    }
    log::purging as Log {
        an_emptied_log_is_not_a_new_one [17],
        a_purge_is_defined_at_every_position [18],
        the_term_before_the_first_entry_stays_known [19],
        a_purged_index_is_named_as_purged [36],
        appends_go_on_behind_purges [],
        many_small_purges_leave_the_rest [24],
        purged_entries_leave_the_engine [48],
        a_guarded_purge_stops_at_the_snapshot [22],
    }
    log::installing as Log {
        a_snapshot_goes_into_a_log_of_any_length [20],
        an_old_snapshot_keeps_the_newer_entries [21],
        an_install_raises_the_commit_index [11],
        an_install_is_one_step_with_what_describes_it [],
        what_an_install_dropped_stays_gone [1 20],
        a_reset_empties_the_log_and_keeps_the_promises [50],
        many_resets_show_the_last_life_only [28 50],
    }
    log::lives as Log {
        a_removed_replica_shows_nothing [26 28],
        a_replica_made_again_shows_nothing_of_its_past [28],
        a_replica_is_removed_and_made_again_in_one_batch [28],
        a_long_past_does_not_show_behind_a_short_present [28],
    }
    log::edges as Log {
        the_largest_index_is_read_like_any_other [25],
        purging_at_the_edges_leaves_the_neighbours [25 26],
        purging_the_largest_index_leaves_the_neighbours [17 25 26],
        truncating_at_the_edges_leaves_the_neighbours [25 26],
        replacing_at_the_edges_leaves_the_neighbours [25 26],
        installing_at_the_edges_leaves_the_neighbours [20 25 26],
        resetting_at_the_edges_leaves_the_neighbours [25 26 50],
        removing_at_the_edges_leaves_the_neighbours [25 26],
    }
    log::batches as Log {
        one_batch_covers_entries_and_metadata_of_many_replicas [11],
        a_batch_with_one_refused_part_does_nothing [11 40],
        changes_of_a_batch_apply_in_order [],
        an_empty_batch_changes_nothing [],
        the_commit_index_never_passes_the_end [11],
    }
    log::metadata as Log {
        the_hard_state_comes_back [9],
        a_promise_is_not_taken_back [23 41],
        a_vote_is_synced_whatever_was_asked [8 9 10],
        durability_reaches_the_engine_as_it_was_asked [],
        snapshot_membership_and_applied_come_back [],
        slots_of_the_caller_come_back [],
        metadata_never_shows_in_a_log [27],
    }
    log::reads as Log {
        ranges_of_every_kind_are_read [],
        a_read_over_every_index_finds_the_few [33],
        a_byte_limit_is_kept_and_one_entry_always_comes [34],
        a_long_log_is_read_by_pages [34],
        conflict_and_agreement_are_found [19],
        a_log_that_was_never_written_is_empty [],
    }
    log::opening as Log {
        reopening_says_what_became_of_each_log [],
        twenty_reopens_of_the_logs_change_nothing [],
        reclaiming_changes_no_log [],
    }
    log::opening as Dir {
        a_closed_store_of_logs_answers_closed [],
        a_second_store_of_logs_is_refused [32],
    }
    log::threads as Log {
        eight_threads_keep_eight_logs [],
        readers_under_purge_get_the_entry_or_are_told [36],
        readers_under_replacement_see_one_tail [36],
    }
    log::volume as Log {
        a_thousand_replicas_are_made_by_one_batch [30],
        a_log_of_thousands_of_terms_keeps_them [],
    }
    log::differential as Log {
        random_batches_come_to_the_same_as_on_the_reference [],
    }
    log::commits as Log {
        what_is_accepted_is_read_and_not_called_durable [7 37],
        a_late_end_does_not_vouch_for_what_was_replaced [4],
        batches_end_once_and_in_order [5 15],
        a_commit_that_fails_ends_everything_until_a_reopening [13 14 15 16],
        a_read_that_fails_is_an_error_and_not_an_end [16],
    }
    log::limits as Log {
        queue_and_memory_limits_hold_on_a_slow_disk [],
        a_large_purge_is_deleted_in_slices_among_appends [24 47],
    }
    log::copies as Files {
        synced_changes_of_a_log_are_in_the_files [2 3 7],
        a_vote_takes_earlier_writes_into_the_files [8 9 10],
        a_copy_of_a_closed_store_is_a_store [],
    }
    log::damage as Dir {
        a_hole_is_an_error_and_not_the_end [35 45],
        flipped_bits_are_reported_where_they_are [43 44],
        records_under_another_key_are_reported [44],
        an_intact_record_of_another_term_is_reported [41 44],
        records_of_another_length_are_reported [38 43],
        a_damaged_last_entry_refuses_its_replica [42 43],
        a_log_that_lost_its_entries_is_refused [17 35],
        a_log_that_lost_its_last_term_is_refused [35 45],
        a_log_that_lost_its_marked_end_is_refused [17 45],
        a_commit_index_ahead_of_the_log_refuses_its_replica [11],
        damaged_metadata_refuses_its_replica [9 43],
        entries_without_their_state_refuse_their_replica [11 17],
        a_replica_that_is_gone_refuses_the_store [17],
        entries_that_belong_to_nothing_are_named [28 45],
    }
    log::lost as Dir {
        an_emptied_engine_is_not_taken_for_a_new_one [17],
        a_vote_moves_the_sidecar_on [9 10],
        the_walk_names_an_engine_behind_its_sidecar [7],
        a_missing_or_damaged_sidecar_is_refused [31],
    }
    log::lost as Files {
        an_engine_put_back_to_an_older_copy_is_refused [7 8],
    }
    log::model as Dir {
        random_histories_are_those_of_the_reference [1 6 17 18 28 40 41 50],
    }
    kill::engine as Process {
        synced_writes_survive_a_kill_and_others_are_a_prefix [7 14 42],
        a_synced_write_survives_an_abort_right_behind_it [7],
        a_synced_write_survives_an_exit_without_close [7],
    }
    kill::log as Process {
        an_append_is_whole_or_absent_after_a_kill [7],
        a_replaced_tail_is_the_old_or_the_new_after_a_kill [1 2 3],
        a_purge_and_its_boundary_are_one_after_a_kill [17 19],
        a_vote_is_the_old_pair_or_the_new_after_a_kill [8 9 10],
        a_removed_replica_is_there_or_gone_after_a_kill [28 29],
        a_reset_log_is_the_old_or_empty_after_a_kill [50],
        an_install_is_done_or_not_after_a_kill [20],
        thousands_of_entries_go_at_once_or_stay_after_a_kill [2 29],
        any_batch_is_whole_or_absent_after_a_kill [7 11 14],
        a_synced_batch_survives_an_abort_right_behind_it [7],
        a_synced_batch_survives_an_exit_without_close [7],
    }
    kill::creation as Process {
        a_creation_cut_by_a_kill_is_made_good [12],
    }
    count::syncs as Trace {
        every_synced_write_makes_a_sync_call [7 8],
        every_sync_of_something_makes_a_sync_call [8 10],
        buffered_writes_make_no_sync_call_each [],
        every_synced_append_makes_a_sync_call [7 8],
        every_vote_makes_a_sync_call [8 9],
    }
    count::replicas as Process {
        ten_thousand_replicas_cost_bytes_and_nothing_else [30],
    }
    full::disk as SmallDisk {
        a_full_disk_ends_the_writes_and_loses_none [46],
        a_log_on_a_full_disk_loses_no_batch [22 46],
    }
    full::disk as FileLimit {
        a_file_that_may_not_grow_ends_the_writes_and_loses_none [46],
    }
    fault::hooked as Faults {
        a_failure_closes_the_store_to_writes [13 14],
        a_failed_batch_is_whole_or_absent [11 14],
        a_failed_sync_is_not_made_good_by_the_next [13],
        a_log_answers_nothing_behind_a_failure_until_reopened [13 16],
    }
    fault::syncs as Trace {
        a_failed_sync_call_closes_the_store_to_writes [13 14],
    }
}

/// The parts that a process can be started for.
const PARTS: &[(&str, Part)] = &[
    ("operations", kill::engine::tell_operations),
    ("changes", kill::log::tell_changes),
    ("open", kill::engine::open),
    ("open logs", kill::creation::open_logs),
    ("write synced", count::syncs::write_synced),
    ("write and sync", count::syncs::write_and_sync),
    ("write buffered", count::syncs::write_buffered),
    ("append synced", count::syncs::append_synced),
    ("vote", count::syncs::vote),
    ("replicas", count::replicas::keep_replicas),
    ("fill", full::disk::fill_engine),
    ("fill log", full::disk::fill_log),
    ("look", full::disk::look_at_full),
    ("write until refused", fault::syncs::write_until_refused),
];

/// What a process does that was started for this part.
pub(crate) fn part(name: &str) -> Option<Part> {
    PARTS.iter().find(|(part, _)| *part == name).map(|(_, part)| *part)
}

/// All cases of the suite, in the order in which they are listed in the README.
pub fn cases() -> &'static [Case] {
    LIST
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write;

    use super::*;

    #[test]
    fn no_claim_is_made_twice() {
        let names: BTreeSet<_> = cases().iter().map(Case::name).collect();
        assert_eq!(names.len(), cases().len());
    }

    const README: &str = include_str!("../../README.md");

    #[test]
    fn the_readme_lists_every_case_with_its_traps() {
        let mut table = String::from("| Case | Traps |\n|---|---|\n");
        for case in cases() {
            let traps: Vec<_> = case.traps().iter().map(ToString::to_string).collect();
            writeln!(table, "| `{}` | {} |", case.name(), traps.join(", ")).unwrap();
        }
        assert!(README.contains(&table), "the README's list of cases should be:\n{table}");
    }

    /// How many cases of a layer guard against a trap.
    fn guards(layer: &str, trap: u8) -> usize {
        let of_layer = cases().iter().filter(|case| case.name().starts_with(layer));
        of_layer.filter(|case| case.traps().contains(&trap)).count()
    }

    #[test]
    fn the_readme_lists_every_trap_with_the_number_of_its_cases() {
        const LAYERS: [&str; 6] = ["engine", "log", "kill", "count", "full", "fault"];
        let names = LAYERS.map(|layer| format!("`{layer}`")).join(" | ");
        let mut table = format!("| No. | What went wrong | {names} |\n|---|---|");
        writeln!(table, "{}", "---|".repeat(LAYERS.len())).unwrap();
        for &(trap, what) in traps::TRAPS {
            let counts = LAYERS.map(|layer| guards(&format!("{layer}::"), trap).to_string());
            writeln!(table, "| {trap} | {what} | {} |", counts.join(" | ")).unwrap();
        }
        assert!(README.contains(&table), "the README's list of traps should be:\n{table}");
    }

    #[test]
    fn the_readme_shows_the_example_that_is_compiled() {
        assert!(README.contains(include_str!("../../examples/join.rs")));
    }

    #[test]
    fn every_trap_that_is_named_is_explained_and_no_other() {
        let named: BTreeSet<_> = cases().iter().flat_map(Case::traps).copied().collect();
        let explained: Vec<_> = traps::TRAPS.iter().map(|trap| trap.0).collect();
        assert_eq!(Vec::from_iter(named), explained);
    }
}
