//! `cargo xtask mutants`: plants each known bug and sees that the test named for it fails. A test that cannot fail proves
//! nothing, so each is first seen to pass without the bug.

use std::fs::File;
use std::time::Duration;

use crate::Verdict;
use crate::invocation::{Ending, Invocation};
use crate::workspace::Workspace;

/// A test that runs longer hangs: it is killed, and that is not counted as caught.
const LIMIT: Duration = Duration::from_secs(300);

/// A planted bug, and the test that must catch it.
struct Mutant {
    name: &'static str,
    package: &'static str,
    binary: &'static str,
    test: &'static str,
}

const fn mutant(
    name: &'static str,
    package: &'static str,
    binary: &'static str,
    test: &'static str,
) -> Mutant {
    Mutant { name, package, binary, test }
}

const MUTANTS: &[Mutant] = &[
    mutant(
        "turns_without_bound",
        "mempool-core",
        "writing",
        "no_more_threads_write_at_once_than_may",
    ),
    mutant(
        "written_ahead_passed_over",
        "mempool-core",
        "writing",
        "a_value_that_is_being_written_ahead_is_waited_for_and_not_passed_over",
    ),
    mutant(
        "ended_writer_unannounced",
        "mempool-core",
        "writing",
        "a_value_that_is_being_written_ahead_is_waited_for_and_not_passed_over",
    ),
    mutant("pin_ignored", "mempool-core", "verbs", "a_pinned_value_is_not_evicted"),
    mutant("ledger_leak", "mempool-core", "verbs", "a_reservation_evicts_and_pays_back"),
    mutant(
        "ledger_credited_while_view_lives",
        "mempool-core",
        "verbs",
        "a_buffer_that_outlives_its_value_still_counts",
    ),
    mutant("stale_stamp", "mempool-core", "verbs", "the_least_recently_used_goes_first"),
    mutant("checksum_skipped", "mempool-spill", "pool", "damage_of_a_saved_file_is_always_found"),
    mutant(
        "generation_ignored",
        "mempool-core",
        "verbs",
        "a_place_that_was_given_anew_is_an_error_and_never_another_value",
    ),
    mutant("double_free_of_place", "mempool-spill", "pool", "a_place_is_given_back_once"),
    mutant(
        "reference_dropped_too_early",
        "mempool-core",
        "verbs",
        "a_value_keeps_the_references_in_it_alive",
    ),
    mutant(
        "copy_taken_for_a_map",
        "mempool-spill",
        "readback",
        "a_copy_is_counted_and_makes_room_for_others",
    ),
    mutant(
        "renamed_before_written",
        "mempool-spill",
        "crashpoints",
        "a_kill_at_any_call_leaves_nothing",
    ),
    mutant(
        "session_unlocked_early",
        "mempool-spill",
        "crashpoints",
        "a_kill_at_any_moment_leaves_nothing",
    ),
    mutant(
        "sweep_without_lock",
        "mempool-spill",
        "lifecycle",
        "the_lock_and_not_the_number_says_who_lives",
    ),
    mutant(
        "cancelled_untold",
        "mempool-core",
        "slow",
        "who_is_called_off_leaves_no_trace_and_those_behind_move_up",
    ),
    mutant(
        "never_overtaken",
        "mempool-core",
        "slow",
        "beside_a_write_that_hangs_all_goes_on_that_needs_no_write",
    ),
    mutant("one_of_many_left_out", "mempool-core", "many", "many_values_are_held_or_none"),
    mutant(
        "ended_kept_in_queue",
        "mempool-spill",
        "small",
        "a_small_value_takes_little_beside_its_bytes",
    ),
    mutant(
        "views_unbounded",
        "mempool-spill",
        "small",
        "a_small_value_takes_little_beside_its_bytes",
    ),
    mutant(
        "read_again_unseen",
        "mempool-core",
        "views",
        "of_many_views_those_that_are_read_again_stay",
    ),
    mutant(
        "exported_file_recycled",
        "mempool-spill",
        "space",
        "a_file_that_was_handed_over_is_never_written_anew",
    ),
    mutant(
        "unsealed_memory_mapped",
        "mempool-net",
        "host_hostile",
        "a_descriptor_that_is_no_frame_of_an_owner_is_refused_and_closed",
    ),
    mutant(
        "exit_of_a_holder_unseen",
        "mempool-net",
        "host",
        "exports_end_with_the_process_that_holds_them",
    ),
    mutant(
        "export_ended_by_a_fork",
        "mempool-net",
        "host_pool",
        "a_forked_child_ends_nothing_of_its_parents",
    ),
    mutant("stranger_let_in", "mempool-net", "host", "who_was_not_introduced_is_not_let_in"),
    mutant("foreign_root_taken", "mempool-spill", "lifecycle", "another_users_root_is_refused"),
    mutant(
        "reserve_ignored",
        "mempool-spill",
        "errors",
        "the_reserve_says_what_is_free_and_makes_no_file",
    ),
    mutant(
        "short_write_taken_for_whole",
        "mempool-spill",
        "faults",
        "a_short_write_is_not_taken_for_a_whole_one",
    ),
    mutant(
        "place_kept_after_failure",
        "mempool-spill",
        "faults",
        "a_place_whose_write_failed_is_given_back",
    ),
    mutant(
        "file_kept_after_failure",
        "mempool-spill",
        "pool",
        "a_failed_save_leaves_what_was_there_and_nothing_beside_it",
    ),
    mutant(
        "content_unchecked",
        "mempool-spill",
        "damage",
        "a_damaged_frame_is_never_another_value",
    ),
    mutant(
        "restored_unchecked",
        "mempool-spill",
        "retain_faults",
        "damage_of_a_frame_is_named_and_the_others_are_whole",
    ),
    mutant(
        "remote_unchecked",
        "mempool-core",
        "remote",
        "damage_on_the_way_is_found_and_gives_back_what_was_reserved",
    ),
    mutant(
        "received_unchecked",
        "mempool-core",
        "receive",
        "damage_is_found_before_there_is_a_value_and_everything_is_given_back",
    ),
    mutant(
        "received_believed",
        "mempool-core",
        "receive",
        "the_codec_looks_at_foreign_bytes_before_it_believes_them_and_once",
    ),
    mutant(
        "retained_swept",
        "mempool-spill",
        "retain_faults",
        "a_session_that_is_retained_is_told_of_and_not_swept",
    ),
    mutant(
        "retained_written_over",
        "mempool-spill",
        "retain",
        "what_is_retained_is_not_written_over",
    ),
    mutant(
        "volume_lost",
        "mempool-spill",
        "directories",
        "directories_are_spread_over_by_their_room",
    ),
    mutant(
        "refusal_is_final",
        "mempool-spill",
        "directories",
        "a_full_directory_is_passed_over_for_the_next",
    ),
    mutant(
        "total_limit_ignored",
        "mempool-spill",
        "directories",
        "the_limit_of_all_directories_is_kept",
    ),
    mutant("sigbus_unnamed", "mempool-spill", "sigbus", "the_last_message_names_the_file"),
    mutant("fork_unnoticed", "mempool-core", "fork", "every_call_of_a_child_answers_forked"),
    mutant("text_unchecked", "mempool-arrays", "errors", "text_that_is_not_utf8_is_refused"),
    mutant(
        "fallen_offsets_taken",
        "mempool-arrays",
        "errors",
        "offsets_that_do_not_divide_are_refused",
    ),
    mutant(
        "codes_unchecked",
        "mempool-arrays",
        "errors",
        "codes_behind_the_dictionary_are_refused",
    ),
    mutant(
        "nulls_of_the_whole",
        "mempool-arrays",
        "errors",
        "a_part_keeps_the_count_of_its_own_nulls",
    ),
    mutant(
        "part_written_as_the_whole",
        "mempool-arrays",
        "layout",
        "a_part_is_written_from_its_own_start",
    ),
    mutant(
        "client_unverified",
        "mempool-net",
        "identities",
        "no_bad_identity_gets_anything_and_each_is_named",
    ),
    mutant(
        "name_unpinned",
        "mempool-net",
        "identities",
        "a_client_speaks_with_the_node_that_it_meant_alone",
    ),
    mutant("rights_ignored", "mempool-net", "identities", "a_node_that_is_named_does_what_it_may"),
    mutant(
        "key_mode_ignored",
        "mempool-net",
        "credentials",
        "a_private_key_that_others_have_is_refused_by_name",
    ),
    mutant("plain_text_anywhere", "mempool-net", "door", "plain_text_is_for_this_host_alone"),
    mutant(
        "nobody_leaves",
        "mempool-net",
        "door",
        "when_there_is_no_room_the_oldest_of_the_many_go",
    ),
    mutant("permit_kept", "mempool-net", "door", "a_peer_has_as_many_connections_as_it_may"),
    mutant(
        "export_name_raw",
        "mempool-net",
        "exports",
        "evil_names_are_refused_and_nothing_changes",
    ),
    mutant("fork_forgotten", "mempool-spill", "fork", "what_a_child_looks_at_never_changes"),
    mutant(
        "resumed_elsewhere",
        "mempool-net",
        "bytes",
        "transfer::a_transfer_goes_on_where_its_connection_broke",
    ),
    mutant(
        "if_range_ignored",
        "mempool-net",
        "bytes",
        "served::a_range_of_another_frame_is_answered_with_the_whole",
    ),
    mutant(
        "frame_sum_ignored",
        "mempool-net",
        "bytes",
        "transfer::what_was_damaged_on_the_way_is_seen",
    ),
    mutant(
        "never_reader_kept",
        "mempool-net",
        "bytes",
        "transfer::an_asker_who_never_reads_holds_nothing_for_long",
    ),
    mutant(
        "wrong_piece_sent",
        "mempool-net",
        "bytes",
        "served::a_source_that_gives_wrong_pieces_ends_the_body",
    ),
    mutant(
        "holder_never_fenced",
        "mempool-net",
        "claims",
        "seeded_clusters_free_nothing_early_and_leak_nothing",
    ),
    mutant(
        "lease_never_expires",
        "mempool-net",
        "claims",
        "seeded_clusters_free_nothing_early_and_leak_nothing",
    ),
    mutant("late_release_ends_newer", "mempool-net", "claims", "a_late_release_ends_nothing_newer"),
    mutant(
        "counts_for_sets",
        "mempool-net",
        "claims",
        "seeded_clusters_free_nothing_early_and_leak_nothing",
    ),
    mutant(
        "ticket_never_ends",
        "mempool-net",
        "claims",
        "seeded_clusters_free_nothing_early_and_leak_nothing",
    ),
    mutant(
        "late_share_trusted",
        "mempool-net",
        "claims",
        "seeded_clusters_free_nothing_early_and_leak_nothing",
    ),
    mutant("epoch_ignored", "mempool-net", "claims", "an_epoch_is_given_once"),
    mutant("commit_unprepared", "mempool-net", "claims", "a_move_is_cut_at_each_message"),
];

/// Plants the bugs whose names contain one of the arguments, or all.
///
/// # Errors
/// Where no bug is called so, or the tests cannot be started.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Verdict {
    if arguments.iter().any(|word| word == "--list") {
        MUTANTS.iter().for_each(|one| println!("{}  {} {}", one.name, one.binary, one.test));
        return Ok(true);
    }
    let wanted = |one: &&Mutant| {
        arguments.is_empty() || arguments.iter().any(|word| one.name.contains(word.as_str()))
    };
    let chosen: Vec<&Mutant> = MUTANTS.iter().filter(wanted).collect();
    if chosen.is_empty() {
        return Err(String::from("no planted bug has such a name; --list shows them"));
    }
    let path = workspace.target.join("mutants.log");
    std::fs::create_dir_all(&workspace.target).map_err(|error| error.to_string())?;
    let mut log = File::create(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut caught = 0;
    for one in &chosen {
        let verdict = try_one(workspace, one, &mut log)?;
        caught += usize::from(verdict == "caught");
        println!("{:<34} {:<28} {}", one.name, verdict, one.test);
    }
    println!("caught {caught}/{}", chosen.len());
    Ok(caught == chosen.len())
}

fn try_one(workspace: &Workspace, one: &Mutant, log: &mut File) -> Result<&'static str, String> {
    if !call(workspace, one).run(log, LIMIT)?.is_success() {
        return Ok("its test fails without it");
    }
    match call(workspace, one).env("MEMPOOL_MUTANT", one.name).run(log, LIMIT)? {
        Ending::Exited(status) if status.success() => Ok("NOT CAUGHT"),
        Ending::Exited(_) => Ok("caught"),
        Ending::Killed => Ok("HUNG"),
    }
}

/// The test alone. A name that matches none would pass, and so show as not caught.
fn call(workspace: &Workspace, one: &Mutant) -> Invocation {
    // Arrays and net need no doubles of their own.
    let doubles = !["mempool-arrays", "mempool-net"].contains(&one.package);
    let features = if doubles { "mutants,testing" } else { "mutants" };
    workspace
        .cargo(&["test", "--locked", "--package", one.package, "--features", features])
        .arguments(&["--test", one.binary, "--", "--exact", one.test])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_test_is_there() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for one in MUTANTS {
            let tests = root.join(one.package).join("tests");
            let (path, test) = match one.test.split_once("::") {
                Some((file, test)) => (tests.join(one.binary).join(format!("{file}.rs")), test),
                None => (tests.join(format!("{}.rs", one.binary)), one.test),
            };
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains(&format!("fn {test}()")), "{test} in {path:?}");
        }
    }

    #[test]
    fn each_bug_is_planted() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let planted = |one: &Mutant| {
            let mut open = vec![root.join(one.package).join("src"), root.join("mempool-core/src")];
            while let Some(directory) = open.pop() {
                for file in std::fs::read_dir(directory).unwrap() {
                    let path = file.unwrap().path();
                    let text = std::fs::read_to_string(&path).unwrap_or_default();
                    if text.contains(&format!("mutant!(\"{}\")", one.name)) {
                        return true;
                    }
                    open.extend(path.is_dir().then_some(path));
                }
            }
            false
        };
        for one in MUTANTS {
            assert!(planted(one), "{}", one.name);
        }
    }
}
