"""The whole fault table of docs/design.md: where each row is tested, and what cannot be."""

import ast
from functools import cache
from pathlib import Path

import pytest
from fault_table import TESTS, fault_rows, rows_tested

# Rows of which other modules do the real thing, or a part that is not done in this folder.
ELSEWHERE = {
    "a file of parts of the user's changes after the plan": (
        "orchestrator/test_own_parts.py::"
        "test_a_worker_refuses_a_file_that_changed_since_the_plan",
        "orchestrator/test_own_parts.py::test_a_changed_file_trains_other_runs",
    ),
    "a part of the user's fails, or returns another shape": (
        "decoder/test_own_parts.py::test_a_module_that_cannot_be_used_is_one_message",
        "decoder/test_own_parts.py::"
        "test_a_function_that_fails_in_a_step_is_named_with_its_line",
    ),
    "logits that a run kept are damaged, or lack their checksum": (
        "orchestrator/tables/test_ensembles.py::"
        "test_an_arm_whose_files_do_not_fit_is_left_out_with_a_remark",
        "decoder/test_logits.py::test_a_file_that_is_damaged_or_incomplete_is_refused",
    ),
    "the driver is killed": (
        "orchestrator/execute/backends/test_ray_tune.py::"
        "test_no_process_of_a_killed_driver_remains",
        "orchestrator/execute/backends/test_guard.py::"
        "test_what_a_driver_and_its_guard_left_when_both_were_killed_goes_at_the_next_start",
        "orchestrator/store/test_tidy.py::test_files_of_dead_processes_go_wherever_they_are",
    ),
    "the record of a look (`looks/`) is damaged": (
        "orchestrator/driver/test_looks.py::"
        "test_a_damaged_look_is_moved_aside_and_taken_again_with_the_same_result",
    ),
    "a worker is killed": (
        "orchestrator/execute/backends/test_backends.py::"
        "test_a_killed_worker_is_replaced_and_the_pack_completes",
        "orchestrator/execute/backends/test_backends.py::"
        "test_a_pack_that_always_kills_its_worker_fails_and_others_continue",
        "orchestrator/cli/test_app.py::test_runs_that_failed_for_good_exit_4",
    ),
    "Ctrl-C, a termination signal, SIGUSR1, or a terminal that closes": (
        "orchestrator/cli/test_app.py::"
        "test_a_run_stopped_by_a_signal_is_finished_by_the_next_call",
        "orchestrator/execute/test_stopping.py::test_a_second_signal_ends_the_process_at_once",
        "orchestrator/execute/test_stopping.py::test_a_hangup_that_is_ignored_stays_ignored",
        "orchestrator/execute/test_stopping.py::"
        "test_a_terminal_that_closes_stops_in_order_and_output_goes_on_to_nowhere",
        "orchestrator/execute/backends/test_ray_watch.py::"
        "test_a_signal_lets_the_packs_save_before_it_takes_effect",
    ),
    "the time of `--hours` is used up": (
        "orchestrator/driver/test_run.py::"
        "test_a_limit_of_time_stops_in_order_and_the_next_call_goes_on",
    ),
    "a SLURM job nears its limit": (
        "orchestrator/execute/test_slurm.py::"
        "test_a_signal_before_the_limit_stops_the_driver_and_queues_the_job_again",
        "orchestrator/execute/test_slurm.py::"
        "test_a_job_is_not_queued_again_more_often_than_asked",
    ),
    "the disk is full": (
        "decoder/data/test_store.py::test_disk_that_fills_up_while_packing_names_path_and_bytes",
        "orchestrator/report/test_faults.py::test_a_full_disk_still_ends_the_report",
        "orchestrator/execute/backends/test_travel.py::"
        "test_a_full_disk_is_told_with_path_and_bytes",
    ),
    "two drivers of one ablation": (
        "orchestrator/store/test_locks.py::test_the_lock_of_a_killed_driver_is_recognised",
    ),
    "a run that another driver is training": (
        "orchestrator/driver/test_sharing.py::"
        "test_two_ablations_at_once_train_what_they_share_once",
        "orchestrator/execute/test_open_packs.py::"
        "test_runs_of_a_dead_driver_go_on_from_its_checkpoint",
    ),
    "a driver is killed while others share its runs": (
        "orchestrator/driver/test_sharing.py::"
        "test_the_runs_of_a_killed_driver_are_taken_over_by_the_one_that_waits",
        "orchestrator/driver/test_sharing.py::"
        "test_processes_share_the_work_of_one_ablation_and_one_of_them_may_be_killed",
        "orchestrator/driver/test_sharing.py::"
        "test_the_runs_of_another_machine_are_taken_over_when_its_heartbeat_is_old",
    ),
    "a reservation that is garbage, a folder, a pipe or a link": (
        "orchestrator/store/test_reservations.py::"
        "test_garbage_holds_a_key_only_while_it_is_young",
        "orchestrator/store/test_reservations.py::"
        "test_what_is_no_file_holds_nothing_and_nothing_hangs",
    ),
    "the decoder's code changed": (
        "orchestrator/store/test_sources.py::"
        "test_a_changed_comment_retrains_nothing_and_a_changed_constant_everything",
        "orchestrator/driver/test_run.py::"
        "test_runs_of_other_source_code_are_trained_again_and_their_records_are_kept",
        "orchestrator/driver/test_run.py::"
        "test_allow_mixed_uses_runs_of_other_source_code_and_the_plan_records_it",
        "orchestrator/driver/test_run.py::test_checkpoints_of_other_source_code_are_not_continued",
    ),
    "the configuration changed": (
        "orchestrator/driver/test_changed_data.py::"
        "test_other_arms_seeds_and_settings_are_not_asked_about",
    ),
    "a hypothesis changed after its runs": (
        "orchestrator/store/test_registration.py::"
        "test_a_change_after_runs_is_noticed_and_stays_noticed",
        "orchestrator/driver/test_run.py::test_the_plan_names_an_altered_hypothesis",
    ),
    "recordings changed since runs were recorded": (
        "orchestrator/driver/test_changed_data.py::"
        "test_a_changed_file_is_named_and_nothing_trains_until_it_is_accepted",
        "orchestrator/cli/test_options.py::"
        "test_changed_recordings_are_accepted_by_the_option_or_by_a_person",
    ),
    "a trainer of the user's fails, hangs, is killed, reports nothing or NaN, or leaves processes "
    "behind": (
        "orchestrator/execute/command/test_train.py::test_each_ending_has_its_rule",
        "orchestrator/execute/command/test_train.py::"
        "test_a_run_over_its_hours_fails_and_its_last_line_counts_for_nothing",
        "orchestrator/execute/command/test_train.py::"
        "test_a_trainer_that_is_always_killed_fails_after_its_retries",
        "orchestrator/execute/command/test_train.py::"
        "test_a_fork_that_outlives_its_trainer_is_ended_and_said",
        "orchestrator/execute/command/test_process.py::test_nothing_that_it_started_outlives_it",
    ),
    "the driver of a trainer of the user's is stopped or killed": (
        "orchestrator/driver/test_command_runs.py::"
        "test_a_killed_and_a_stopped_driver_leave_no_process",
        "orchestrator/driver/test_command_runs.py::"
        "test_the_run_under_way_goes_on_by_the_words_of_resume_and_is_trained_once",
        "orchestrator/execute/command/test_process.py::"
        "test_a_keeper_that_is_killed_too_leaves_what_its_mark_finds",
    ),
    "a run diverges": (
        "decoder/test_train.py::test_a_run_that_diverges_does_not_change_the_others",
        "decoder/data/test_watch.py::"
        "test_every_run_may_diverge_at_the_start_on_sound_recordings",
    ),
    "a pack runs out of memory": (
        "orchestrator/execute/test_out_of_memory.py::"
        "test_a_pack_that_does_not_fit_is_split_until_it_does_and_every_run_is_recorded",
        "orchestrator/execute/backends/test_splitting.py::"
        "test_a_split_that_is_interrupted_anywhere_goes_on_and_loses_no_run",
        "orchestrator/execute/backends/test_backends.py::"
        "test_a_pack_whose_workers_are_always_killed_is_split",
    ),
    "a worker hangs, or its process is stopped": (
        "orchestrator/execute/backends/test_ray_watch.py::"
        "test_a_worker_that_hangs_is_killed_and_its_pack_is_trained_by_another",
        "orchestrator/execute/backends/test_hang.py::"
        "test_a_stopped_process_is_killed_but_not_another_with_its_id",
        "orchestrator/execute/backends/test_hang.py::"
        "test_a_hang_ends_the_process_with_the_code_for_runs_that_lack_a_result",
    ),
    "packed recordings are damaged, or their files changed": (
        "decoder/data/test_checksums.py::test_one_changed_byte_is_found_in_its_block",
        "decoder/data/test_checksums.py::test_a_changed_number_in_the_manifest_is_found",
    ),
    "recordings are damaged while packs train on them": (
        "decoder/data/test_watch.py::"
        "test_features_that_change_while_a_pack_trains_give_no_result",
        "decoder/data/test_watch.py::"
        "test_damage_that_leaves_no_trace_in_the_file_system_is_found_by_its_nan",
    ),
    "generated recordings are not what was generated": (
        "decoder/data/test_generated.py::test_changes_name_altered_missing_and_added_files",
    ),
    "a record or history is altered, cut short, or does not parse": (
        "orchestrator/store/test_record.py::test_every_changed_value_is_found_by_the_checksum",
        "orchestrator/store/test_record.py::test_every_flipped_bit_is_found",
        "orchestrator/store/test_record.py::"
        "test_what_cannot_be_true_is_found_in_records_without_a_checksum",
    ),
    "the index of runs is damaged": (
        "orchestrator/tables/test_index.py::test_a_flipped_bit_of_the_index_is_noticed",
    ),
    "the record of the claims before the first run (`lock.json`) is damaged": (
        "orchestrator/store/test_registration.py::test_a_lock_that_cannot_be_read_is_not_replaced",
    ),
    "a plan is damaged": (
        "orchestrator/store/test_plan_file.py::test_an_altered_plan_is_not_used",
        "orchestrator/store/test_plan_file.py::"
        "test_status_shows_the_other_ablations_beside_a_damaged_plan",
    ),
    "the study of a search is damaged": (
        "orchestrator/search/test_driver.py::"
        "test_a_study_that_cannot_be_opened_is_named_by_its_file",
    ),
    "a folder, a named pipe, a socket or a link stands in the place of a file": (
        "decoder/test_user_files.py::test_what_is_no_file_is_named_and_not_waited_for",
        "orchestrator/store/test_tidy.py::"
        "test_a_driver_sets_aside_what_stands_in_the_place_of_its_files",
    ),
    "the page that shows the progress cannot be made, or the driver is killed while it trains": (
        "orchestrator/driver/test_live_page.py::"
        "test_training_goes_on_where_no_process_can_start",
        "orchestrator/driver/test_live_page.py::"
        "test_a_killed_driver_leaves_a_page_that_says_so_and_no_process",
        "orchestrator/report/test_live.py::"
        "test_a_page_whose_writer_is_dead_says_so_and_stops",
    ),
    "the command of `--notify` fails, hangs, or is not there": (
        "orchestrator/driver/test_notify.py::"
        "test_a_command_that_fails_is_one_line_with_its_last_error",
        "orchestrator/driver/test_notify.py::"
        "test_a_command_that_hangs_is_killed_and_said_and_later_ones_run",
        "orchestrator/driver/test_notify.py::test_a_command_removed_meanwhile_is_one_line",
        "orchestrator/driver/test_notify.py::"
        "test_a_command_that_cannot_be_run_is_refused_before_anything_trains",
    ),
    "a file that `serve` shows is damaged, a pipe, or a link to outside": (
        "orchestrator/serve/test_pages.py::test_a_damaged_file_spoils_nothing_else",
        "orchestrator/serve/test_pages.py::"
        "test_links_to_outside_show_nothing_of_what_they_lead_to",
        "orchestrator/serve/test_inside.py::test_pipes_folders_and_sockets_hang_nothing",
    ),
    "a browser asks `serve` for what it does not show": (
        "orchestrator/serve/test_guard.py::test_all_methods_but_two_are_refused",
        "orchestrator/serve/test_guard.py::test_other_host_names_are_refused",
        "orchestrator/serve/test_guard.py::test_without_the_token_nothing_is_shown",
        "orchestrator/serve/test_inside.py::test_everything_else_is_not_there",
        "orchestrator/serve/test_pages.py::"
        "test_nothing_in_the_folder_changes_even_where_it_may_not_be_written",
    ),
    "a figure or table cannot be made": (
        "orchestrator/report/test_faults.py::"
        "test_a_broken_figure_is_a_line_in_both_pages_and_one_remark",
        "orchestrator/report/test_faults.py::"
        "test_whatever_else_breaks_the_pages_are_there_and_say_so",
    ),
    "an ablation of hundreds of arms": (
        "orchestrator/report/test_many_arms.py::"
        "test_a_hundred_levels_are_drawn_in_parts_that_have_room_for_their_names",
        "orchestrator/report/test_many_arms.py::"
        "test_a_long_table_is_cut_and_links_to_its_file",
    ),
    "a mistake in a YAML file": (
        "orchestrator/cli/test_app.py::"
        "test_mistakes_of_a_file_come_in_lines_within_two_seconds",
        "orchestrator/spec/test_slips.py::"
        "test_a_mistake_is_one_line_with_its_line_number_and_what_to_write",
    ),
    "YAML that asks for too much, or holds what no file of ours holds": (
        "decoder/test_strict_yaml.py::test_what_no_real_file_holds_is_refused_in_one_short_line",
        "orchestrator/spec/test_limits.py::"
        "test_a_file_that_asks_for_too_much_is_refused_at_once_with_the_limit",
        "orchestrator/spec/test_any_file.py::test_a_file_of_anything",
    ),
    "a name that leads outside its folder": (
        "orchestrator/store/test_paths.py::test_a_link_that_leads_outside_is_refused",
        "orchestrator/execute/backends/test_travel.py::"
        "test_a_name_that_is_not_the_packs_own_is_refused",
    ),
    "a target longer than the output": (
        "decoder/data/test_check.py::"
        "test_clipped_empty_and_unalignable_trials_are_counted",
        "decoder/test_ctc.py::test_an_impossible_alignment_is_infinite_or_zero_as_configured",
    ),
    "an empty target": (
        "decoder/test_metrics.py::"
        "test_an_empty_target_is_left_out_of_the_denominator_and_the_edits",
        "decoder/data/test_check.py::"
        "test_clipped_empty_and_unalignable_trials_are_counted",
    ),
    "an HDF5 file is cut short or damaged": (
        "decoder/data/test_hdf5.py::test_random_damage_is_read_or_refused",
        "decoder/data/test_store.py::"
        "test_one_changed_byte_changes_the_fingerprint_even_with_old_times",
    ),
    "an HDF5 file that leads to other files": (
        "decoder/data/test_hdf5.py::"
        "test_features_that_are_not_stored_in_the_file_are_refused",
    ),
    "a pickle in the place of recordings": (
        "decoder/test_plain_pickle.py::test_a_damaged_or_greedy_pickle_is_refused",
    ),
    "impossible numbers in runs trained elsewhere": (
        "orchestrator/history/reading/test_odd_values.py::"
        "test_no_format_takes_an_impossible_number",
        "orchestrator/history/reading/test_odd_values.py::"
        "test_links_pipes_and_files_of_the_system_are_not_read",
    ),
    "hostile text in a name, claim, question or traceback": (
        "orchestrator/report/test_pages.py::test_the_page_loads_nothing_and_runs_nothing",
        "orchestrator/report/test_pages.py::test_markdown_shows_hostile_words_as_text",
        "orchestrator/report/test_in_a_browser.py::"
        "test_hostile_words_run_nothing_even_without_the_policy",
        "orchestrator/report/test_live.py::test_hostile_names_stay_text",
        "orchestrator/serve/test_browser.py::test_nothing_hostile_runs_on_any_page",
    ),
    "a cell that a spreadsheet would run": (
        "orchestrator/tables/test_csv_cells.py::test_every_escape_is_undone",
        "orchestrator/tables/test_csv_cells.py::"
        "test_both_writers_escape_text_and_headers_and_no_number",
    ),
    "a password in the address of a database": (
        "orchestrator/search/test_database_url.py::"
        "test_a_finished_search_leaves_no_password_in_any_file",
        "orchestrator/search/test_database_url.py::"
        "test_a_search_whose_database_cannot_be_opened_shows_no_password",
    ),
    "a node of a cluster is lost": (
        "orchestrator/execute/backends/test_ray_nodes.py::"
        "test_every_run_has_its_result_and_its_weights_although_a_node_was_killed",
        "orchestrator/execute/backends/test_ray_nodes.py::"
        "test_a_pack_of_a_killed_node_goes_on_elsewhere_from_what_came_back",
    ),
    "Ray speaks while `--json` is asked for": (
        "orchestrator/execute/backends/test_ray_nodes.py::"
        "test_standard_output_is_one_document_while_ray_speaks_of_a_lost_node",
    ),
}  # fmt: skip

# What no test here can do, or only in part.
NOT_TESTED = {
    "a SLURM job nears its limit": "the tests have a stand-in for SLURM, not the real one",
    "a pack runs out of memory": "the memory of a GPU: the tests limit that of a process",
    "a driver is killed while others share its runs": (
        "another machine, and file systems such as NFS: the tests give another host name"
    ),
    "a node of a cluster is lost": (
        "a network that fails while its nodes live: nodes of the tests are processes"
    ),
    "the machine loses power": "only a machine that is switched off shows what its disk kept",
    "a bit of memory flips": "finite damage in memory leaves nothing that a check could find",
}


@cache
def names_in(path: Path) -> set[str]:
    """The names of the tests of a file, also of those in classes."""
    tree = ast.parse(path.read_text())
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


@pytest.mark.parametrize("name", ELSEWHERE)
def test_the_names_in_other_modules_exist(name: str) -> None:
    for place in ELSEWHERE[name]:
        path, _, test = place.partition("::")
        assert test in names_in(TESTS / path), place


def test_every_row_is_tested_or_named_as_one_that_cannot_be() -> None:
    rows = fault_rows()
    assert len(rows) == len(set(rows)) > 40
    here = rows_tested(Path(__file__).parent)
    untested = [name for name in rows if name not in here | ELSEWHERE.keys() | NOT_TESTED.keys()]
    assert untested == []
    assert (here | ELSEWHERE.keys() | NOT_TESTED.keys()) - set(rows) == set()
