//! All cases, each listed once.

mod engine;

use crate::Case;
use crate::case::Body;

/// Lists cases: `layer::module as kind { claim [traps], ... }`.
macro_rules! list {
    ($($layer:ident::$module:ident as $kind:ident {
        $($claim:ident [$($trap:literal)*],)*
    })*) => {
        const LIST: &[Case] = &[$($(
            Case::new(
                concat!(stringify!($layer), "::", stringify!($claim)),
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

    #[test]
    fn the_readme_lists_every_case_with_its_traps() {
        let mut table = String::from("| Case | Traps |\n|---|---|\n");
        for case in cases() {
            let traps: Vec<_> = case.traps().iter().map(ToString::to_string).collect();
            writeln!(table, "| `{}` | {} |", case.name(), traps.join(", ")).unwrap();
        }
        let readme = include_str!("../../README.md");
        assert!(readme.contains(&table), "the README's list should be:\n{table}");
    }

    #[test]
    fn the_readme_explains_every_trap_that_a_case_names() {
        let readme = include_str!("../../README.md");
        for trap in cases().iter().flat_map(Case::traps) {
            assert!(readme.contains(&format!("\n| {trap} | ")), "trap {trap}");
        }
    }
}
