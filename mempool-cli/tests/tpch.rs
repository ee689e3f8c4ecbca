//! The program as a user runs it: its output, its exit codes, and what it leaves behind.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{self, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

/// A new directory, removed at the end.
struct Directory(PathBuf);

impl Directory {
    /// On the disk that the tests are built on: the system's temporary directory may be memory.
    fn new() -> Self {
        Self::under(Path::new(env!("CARGO_TARGET_TMPDIR")))
    }

    fn under(parent: &Path) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("mempool-tpch-{}-{number}", process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn entries(&self) -> Vec<PathBuf> {
        fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What stays behind harms no other test.
        let _ = fs::set_permissions(&self.0, fs::Permissions::from_mode(0o700));
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn mempool(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mempool")).args(arguments).output().unwrap()
}

/// The job at scale 0.01, some 8 MiB.
fn tpch(directory: &Path, more: &[&str]) -> Output {
    let disk = directory.to_str().unwrap();
    mempool(&[&["tpch", "--scale", "0.01", "--disk", disk], more].concat())
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_table_larger_than_the_limit_is_proved_in_text() {
    let directory = Directory::new();
    let output = tpch(&directory.0, &["--memory-limit", "4MiB", "--threads", "2"]);
    let text = stdout(&output);
    assert!(output.status.success(), "{text}{}", stderr(&output));
    assert!(text.ends_with("PASSED\n"), "{text}");
    for part in [
        "data derived from TPC-H",
        "scale 0.01, as columns",
        "ok      query 1   4 rows equal",
        "ok      query 3   10 rows of ",
        "ok      query 13  32 rows of 1,500 groups",
        "of 15,000 groups",
        "60,175 came back, each column as it was set",
        "none is left behind",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(stderr(&output).contains("generate: 60,175 rows"), "{}", stderr(&output));
    assert_eq!(directory.entries(), Vec::<PathBuf>::new());
}

#[test]
fn the_card_as_json_has_the_figures() {
    let directory = Directory::new();
    let output = tpch(
        &directory.0,
        &["--query", "1,6", "--memory-limit", "4MiB", "--threads", "3", "--json"],
    );
    let card: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{card:#}");
    assert_eq!(card["passed"], true);
    assert_eq!(card["rows"], 60_175);
    assert_eq!(card["threads"], 3);
    assert_eq!(card["values_changed"], 0);
    assert_eq!(card["memory"]["limit_bytes"], 4 << 20);
    let number = |part: &str, name: &str| card[part][name].as_u64().unwrap();
    assert!(number("memory", "peak_resident_bytes") <= 4 << 20);
    assert!(number("memory", "peak_resident_bytes") > 2 << 20, "the limit was not reached");
    assert!(number("spill", "spills") > 0 && number("spill", "reloads") > 0);
    // Three scans get each value once.
    assert_eq!(number("spill", "gets"), 3 * card["values"].as_u64().unwrap());
    let names = ["generate", "query 1", "query 6", "read back", "direct"];
    let phases: Vec<_> =
        card["phases"].as_array().unwrap().iter().map(|phase| phase["name"].clone()).collect();
    assert_eq!(phases, names);
}

#[test]
fn only_the_queries_that_are_asked_for_run() {
    let directory = Directory::new();
    let output = tpch(&directory.0, &["--query", "18", "--memory-limit", "4MiB", "--json"]);
    let card: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{card:#}");
    let queries = card["answers"]["queries"].as_array().unwrap();
    assert_eq!(queries.len(), 1);
    assert_eq!((&queries[0]["query"], &queries[0]["groups"]), (&18.into(), &15_000.into()));
    // So few orders are large that none may be; the answers are then equal for nothing.
    assert!(queries[0]["rows"].as_u64().unwrap() > 0, "{card:#}");
    let refused = mempool(&["tpch", "--query", "1,7"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        stderr(&refused).contains("the queries are 1, 3, 6, 13 and 18"),
        "{}",
        stderr(&refused)
    );
}

#[test]
fn both_layouts_give_the_same_card() {
    let directory = Directory::new();
    let cards = ["columns", "rows"].map(|layout| {
        let line = ["--layout", layout, "--query", "1,6,18", "--sort", "--memory-limit", "5MiB"];
        let output = tpch(&directory.0, &[&line[..], &["--threads", "2", "--json"]].concat());
        let card: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(output.status.success(), "{card:#}");
        assert_eq!(card["layout"], layout);
        // Most of the table has no room.
        assert!(card["spill"]["spilled_bytes"].as_u64().unwrap() > 5 << 20, "{card:#}");
        card
    });
    let [columns, rows] = &cards;
    let keys =
        |card: &serde_json::Value| card.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(columns), keys(rows));
    assert_eq!(columns["answers"], rows["answers"]);
    assert_eq!(columns["sort"]["checksum"], rows["sort"]["checksum"]);
    assert_eq!(columns["rows"], rows["rows"]);
    let names = |card: &serde_json::Value| {
        let phases = card["phases"].as_array().unwrap().iter();
        phases.map(|phase| phase["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(columns), names(rows));
    assert!(columns["set_bytes"].as_u64() < rows["set_bytes"].as_u64(), "{columns:#}");
}

#[test]
fn rows_leave_out_what_goes_over_columns_alone() {
    let directory = Directory::new();
    let output = tpch(&directory.0, &["--layout", "rows", "--memory-limit", "4MiB", "--json"]);
    let card: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{card:#}");
    let queries = card["answers"]["queries"].as_array().unwrap().iter();
    assert_eq!(queries.map(|query| &query["query"]).collect::<Vec<_>>(), [1, 6, 18]);
    for number in [3, 13] {
        let note = format!("note: query {number} goes over columns alone, and is left out");
        assert_eq!(stderr(&output).matches(&note).count(), 1, "{}", stderr(&output));
    }
    let refused = tpch(&directory.0, &["--layout", "rows", "--query", "3,13"]);
    assert_eq!(refused.status.code(), Some(2));
    let hint = "give --query 1,6,18 or --layout columns";
    assert!(stderr(&refused).contains(hint), "{}", stderr(&refused));
}

#[test]
fn joins_spill_to_several_directories_through_filters() {
    let (one, two) = (Directory::new(), Directory::new());
    let line = ["--query", "3,13", "--memory-limit", "4MiB", "--threads", "2", "--filter", "lz4"];
    let more = ["--disk", two.0.to_str().unwrap(), "--placement", "spread", "--json"];
    let output = tpch(&one.0, &[&line[..], &more].concat());
    let card: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{card:#}");
    let queries = card["answers"]["queries"].as_array().unwrap().iter();
    assert_eq!(queries.map(|query| &query["query"]).collect::<Vec<_>>(), [3, 13]);
    assert!(card["memory"]["peak_resident_bytes"].as_u64().unwrap() <= 4 << 20);
    assert!(card["spill"]["reloads"].as_u64().unwrap() > 0, "{card:#}");
    for directory in [&one, &two] {
        assert_eq!(directory.entries(), Vec::<PathBuf>::new());
    }
}

#[test]
fn the_table_is_sorted_out_of_core() {
    let directory = Directory::new();
    let output =
        tpch(&directory.0, &["--query", "6", "--sort", "--memory-limit", "5MiB", "--json"]);
    let card: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{card:#}");
    let sort = &card["sort"];
    assert_eq!((&sort["rows"], &sort["out_of_order"]), (&60_175.into(), &0.into()));
    assert_eq!(sort["checksum"], sort["checksum_expected"]);
    assert!(sort["runs"].as_u64().unwrap() > 3, "{card:#}");
    let refused = mempool(&["tpch", "--query", "1", "--sort", "--memory-limit", "4MiB"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("too small for --sort"), "{}", stderr(&refused));
}

#[test]
fn a_share_of_the_machine_is_a_limit() {
    let directory = Directory::new();
    let output = tpch(&directory.0, &["--memory-limit", "auto", "--json", "--threads", "1"]);
    let card: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{card:#}");
    assert!(card["memory"]["limit_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn bad_flags_are_refused_with_a_way_out() {
    for (arguments, hint) in [
        (&["--memory-limit", "512m"][..], "did you mean 512MiB?"),
        (&["--memory-limit", "0MiB"], "such as 256MiB"),
        (&["--scale", "zero"], "a number such as 0.1"),
        (&["--scale", "-1"], "the scale goes from 0.001"),
        (&["--threads", "0"], "threads go from 1 to 1024"),
        (&["--threads", "-2"], "threads go from 1 to 1024"),
        (&["--memory-limit", "1MiB", "--threads", "2"], "give at least --memory-limit 1537KiB"),
        (&["--memory", "1MiB"], "--memory-limit"),
    ] {
        let output = mempool(&[&["tpch"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(hint), "{arguments:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{arguments:?}");
    }
}

#[test]
fn a_place_that_cannot_be_used_is_named() {
    let directory = Directory::new();
    let missing = directory.0.join("missing");
    let file = directory.0.join("file");
    fs::write(&file, "").unwrap();
    for place in [&missing, &file] {
        let output = tpch(place, &["--memory-limit", "4MiB"]);
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        let message = format!("error: cannot spill to {}; give a directory", place.display());
        assert!(stderr(&output).contains(&message), "{}", stderr(&output));
        assert_eq!(stdout(&output), "");
    }
    fs::remove_file(&file).unwrap();
    assert_eq!(directory.entries(), Vec::<PathBuf>::new());
}

#[test]
fn a_directory_without_write_permission_is_an_error() {
    let directory = Directory::new();
    fs::set_permissions(&directory.0, fs::Permissions::from_mode(0o500)).unwrap();
    // Root may write anywhere; /proc refuses root as well.
    let is_refused = fs::create_dir(directory.0.join("probe")).is_err();
    let place = if is_refused { directory.0.as_path() } else { Path::new("/proc") };
    let output = tpch(place, &["--memory-limit", "4MiB"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("cannot spill to"), "{}", stderr(&output));
}

#[test]
fn a_place_in_memory_is_warned_of() {
    let directory = Directory::under(Path::new("/dev/shm"));
    let output = tpch(&directory.0, &["--memory-limit", "4MiB"]);
    let message = format!("warning: {} is on tmpfs", directory.0.display());
    assert!(stderr(&output).contains(&message), "{}", stderr(&output));
    assert!(output.status.success(), "{}", stdout(&output));
}

#[test]
fn several_directories_are_filled_by_their_limits() {
    let (one, two) = (Directory::new(), Directory::new());
    let limited = format!("{}:70MiB", one.0.display());
    let output = tpch(&two.0, &["--memory-limit", "4MiB", "--disk", &limited, "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    for directory in [&one, &two] {
        let place = format!("\"path\": \"{}\"", directory.0.display());
        assert!(stdout(&output).contains(&place), "{}", stdout(&output));
        assert_eq!(directory.entries(), Vec::<PathBuf>::new());
    }
    let both = format!("{limited},{}", two.0.display());
    let explained = mempool(&["config", "--explain", "--disk", &both, "--placement", "spread"]);
    let text = stdout(&explained);
    assert!(text.contains("), at most 70.0 MiB; "), "{text}");
    let twice = mempool(&["tpch", "--disk", &limited, "--disk", one.0.to_str().unwrap()]);
    assert_eq!(twice.status.code(), Some(3));
    assert!(stderr(&twice).contains("is the same directory as"), "{}", stderr(&twice));
}

#[test]
fn a_table_that_the_disk_cannot_hold_is_refused_before_the_work() {
    let directory = Directory::new();
    let disk = directory.0.to_str().unwrap();
    let output = mempool(&["tpch", "--scale", "10000", "--query", "1", "--disk", disk]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("5.8 TiB have to go to"), "{}", stderr(&output));
    assert_eq!(directory.entries(), Vec::<PathBuf>::new());
}

#[test]
fn a_job_that_is_stopped_removes_its_files() {
    let directory = Directory::new();
    let disk = directory.0.to_str().unwrap();
    let mut job = Command::new(env!("CARGO_BIN_EXE_mempool"))
        .args(["tpch", "--query", "1", "--memory-limit", "8MiB", "--disk", disk])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Its session is made after it has begun to listen for signals.
    while directory.entries().is_empty() {
        assert_eq!(job.try_wait().unwrap(), None, "it ended before it began");
        thread::yield_now();
    }
    let killed = Command::new("kill").arg(job.id().to_string()).status().unwrap();
    assert!(killed.success());
    let output = job.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(128 + 15), "{}", stderr(&output));
    assert!(stderr(&output).contains("stopped by SIGTERM"), "{}", stderr(&output));
    assert_eq!(directory.entries(), Vec::<PathBuf>::new());
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let directory = Directory::new();
    let mut job = Command::new(env!("CARGO_BIN_EXE_mempool"))
        .args(["tpch", "--scale", "0.001", "--memory-limit", "4MiB", "--threads", "1", "--disk"])
        .arg(&directory.0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(job.stdout.take());
    let output = job.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!stderr(&output).contains("error"), "{}", stderr(&output));
}

#[test]
fn a_disk_is_measured_beside_plain_calls() {
    let directory = Directory::new();
    let disk = directory.0.to_str().unwrap();
    let line = ["bench", "--size", "4KiB,64KiB", "--memory-limit", "1MiB", "--threads", "2"];
    let output = mempool(&[&line[..], &["--rounds", "2", "--json", "--disk", disk]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["passed"], true);
    assert_eq!(report["sizes"][0]["values"], 1024);
    for phase in report["sizes"][1]["phases"].as_array().unwrap() {
        assert!(phase["seconds"].as_f64().unwrap() > 0.0, "{phase}");
    }
    assert!(report["peak_resident_bytes"].as_u64().unwrap() <= 1 << 20);
    assert_eq!(directory.entries(), Vec::<PathBuf>::new());
    let output = mempool(&["bench", "--size", "1MiB", "--memory-limit", "1MiB", "--disk", disk]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("give sizes from 1.0 KiB to 256.0 KiB"),
        "{}",
        stderr(&output)
    );
    let nowhere = mempool(&["bench", "--disk", "/no/such/place"]);
    assert_eq!(nowhere.status.code(), Some(3));
}

/// The program with one variable set and all others of ours unset.
fn mempool_with(variable: (&str, &str), arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mempool"));
    command.args(arguments).env(variable.0, variable.1).output().unwrap()
}

#[test]
fn a_setting_may_come_from_the_environment() {
    let variable = ("MEMPOOL_MEMORY_LIMIT", "300MiB");
    let explained = stdout(&mempool_with(variable, &["config", "--explain"]));
    let row = explained.lines().find(|line| line.starts_with("--memory-limit")).unwrap();
    assert!(row.contains("300MiB") && row.contains("environment"), "{explained}");
    let output = mempool_with(variable, &["config", "--memory-limit", "2MiB"]);
    assert!(stdout(&output).contains("MEMPOOL_MEMORY_LIMIT=2MiB\n"), "{}", stdout(&output));
    // The job itself reads the same table.
    let output = mempool_with(("MEMPOOL_MEMORY_LIMIT", "1MiB"), &["tpch"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("a memory limit of 1.0 MiB"), "{}", stderr(&output));
    let output = mempool_with(("MEMPOOL_MEMORY_LIMIT", "512m"), &["tpch"]);
    assert_eq!(output.status.code(), Some(2));
    let note = "note: the value comes from the environment: MEMPOOL_MEMORY_LIMIT=512m";
    assert!(stderr(&output).contains(note), "{}", stderr(&output));
    let output = mempool_with(("MEMPOOL_MEMORY_LIMITS", "1MiB"), &["config", "--explain"]);
    assert!(stdout(&output).contains("MEMPOOL_MEMORY_LIMITS is set"), "{}", stdout(&output));
}

#[test]
fn help_teaches_with_examples() {
    let text = stdout(&mempool(&["tpch", "--help"]));
    for part in [
        "mempool tpch --scale 1 --memory-limit 256MiB",
        "Exit codes",
        "derived from TPC-H",
        "[default: 256MiB]",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(mempool(&[]).status.code(), Some(2));
}

#[test]
fn what_is_spilled_may_go_through_filters() {
    let directory = Directory::new();
    let output = tpch(
        &directory.0,
        &[
            "--memory-limit",
            "5MiB",
            "--threads",
            "2",
            "--sort",
            "--filter",
            "lz4,encrypt",
            "--json",
        ],
    );
    let card: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{card:#}");
    assert_eq!((&card["passed"], &card["values_changed"]), (&true.into(), &0.into()));
    assert_eq!(card["spill"]["filters"], serde_json::json!(["lz4", "encrypt"]));
    assert!(card["memory"]["peak_resident_bytes"].as_u64().unwrap() <= 5 << 20);
    assert!(card["spill"]["reloads"].as_u64().unwrap() > 0, "{card:#}");
    assert_eq!(directory.entries(), Vec::<PathBuf>::new());
    let refused = mempool(&["tpch", "--filter", "gzip"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("lz4, zstd, zstd:LEVEL and encrypt"), "{}", stderr(&refused));
}
