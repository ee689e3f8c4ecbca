//! The commands that look at files: `inspect`, `verify` and `gc`, as a user runs them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{self, Command, Output},
};

use mempool_core::{Blob, PoolOptions, SetOptions};
use mempool_spill::{SpillOptions, read_retained};

/// A frame that version 1 of the format wrote, kept for ever.
const GOLDEN: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../mempool-spill/tests/golden/version-1.frame");

fn mempool(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mempool")).args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A new directory; each test has its own name.
fn directory(name: &str) -> PathBuf {
    let path =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("mempool-{name}-{}", process::id()));
    fs::create_dir(&path).unwrap();
    path
}

#[test]
fn a_golden_file_is_inspected_and_verified() {
    let output = mempool(&["inspect", GOLDEN]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("format version 1"), "{}", stdout(&output));
    let json = mempool(&["inspect", GOLDEN, "--json"]);
    let header: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(header["frame_bytes"], fs::metadata(GOLDEN).unwrap().len());
    let output = mempool(&["verify", GOLDEN]);
    assert!(output.status.success(), "{}", stdout(&output));
    assert!(stdout(&output).ends_with("1 whole, 0 not\n"), "{}", stdout(&output));
}

#[test]
fn damage_is_found_where_it_is() {
    let directory = directory("damage");
    let path = directory.join("damaged.frame");
    let name = path.to_str().unwrap();
    let mut bytes = fs::read(GOLDEN).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, &bytes).unwrap();
    // The header is whole; the content is not.
    assert!(mempool(&["inspect", name]).status.success());
    let output = mempool(&["verify", GOLDEN, name]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains(&format!("FAILED  {name} at offset")), "{}", stdout(&output));
    bytes[20] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let output = mempool(&["inspect", name]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("at offset 120: header checksum"), "{}", stderr(&output));
    assert_eq!(mempool(&["verify", "/no/such/file", GOLDEN]).status.code(), Some(3));
    assert_eq!(mempool(&["inspect", "/"]).status.code(), Some(3));
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn dead_sessions_are_shown_and_then_removed() {
    let directory = directory("gc");
    let dead = directory.join(".mempool/s-4000000000-ab");
    fs::create_dir_all(&dead).unwrap();
    fs::write(dead.join("seg-1"), vec![1; 100_000]).unwrap();
    let name = directory.to_str().unwrap();
    let output = mempool(&["gc", "--dry-run", name]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("would go: nobody holds its lock"), "{}", stdout(&output));
    assert!(dead.is_dir());
    let output = mempool(&["gc", "--json", name]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["sessions"][0]["gone"], output.status.code()), (&true.into(), Some(0)));
    assert!(!directory.join(".mempool").exists());
    assert!(stdout(&mempool(&["gc", name])).ends_with("no sessions\n"));
    let output = mempool(&["gc", "/no/such/directory"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        stderr(&output).contains("give the directory that `.mempool` is in"),
        "{}",
        stderr(&output)
    );
    fs::remove_dir_all(directory).unwrap();
}

/// A session with three names, retained under the label `etl`.
fn retained(directory: &Path) -> PathBuf {
    let store = SpillOptions::new(directory).label("etl").segment_bytes(64 << 10).open().unwrap();
    let session = store.session_path().to_path_buf();
    let pool = PoolOptions::new().memory_limit(1 << 20).store(store).open(Blob);
    for (name, len) in [("orders/2024", 40_000), ("a \"quoted\" one", 300), ("öä", 5000)] {
        drop(pool.set_with(vec![7; len], SetOptions::new().name(name)).unwrap());
    }
    pool.close_retaining().unwrap();
    session
}

#[test]
fn a_retained_session_is_inspected_and_verified() {
    let directory = directory("retained");
    let session = retained(&directory);
    let name = session.to_str().unwrap();
    let output = mempool(&["inspect", name]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    for part in ["label \"etl\", 3 names", "blob", "\"orders/2024\", alloc::vec::Vec<u8>", "öä"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let json = mempool(&["inspect", name, "--json"]);
    let found: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(found["names"][0]["name"], "a \"quoted\" one");
    assert!(found["names"][1]["frame_bytes"].as_u64().unwrap() > 40_000);
    let output = mempool(&["verify", name]);
    assert!(output.status.success(), "{}", stdout(&output));
    assert!(stdout(&output).ends_with("3 whole, 0 not\n"), "{}", stdout(&output));
    // A byte of the large one, which has a file of its own.
    let retained = read_retained(&session).unwrap();
    let own = retained.segments.iter().find(|segment| !segment.shared).unwrap().file_name();
    let mut bytes = fs::read(session.join(&own)).unwrap();
    bytes[20_000] ^= 1;
    fs::write(session.join(&own), &bytes).unwrap();
    let output = mempool(&["verify", name]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(text.contains("FAILED  \"orders/2024\": "), "{text}");
    assert!(text.contains(&format!("{own} at offset 0: content checksum")), "{text}");
    assert!(text.ends_with("2 whole, 1 not\n"), "{text}");
    fs::write(session.join("manifest"), "MEMKEPT").unwrap();
    let output = mempool(&["inspect", name]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("manifest at offset 0: 7 bytes"), "{}", stderr(&output));
    assert_eq!(mempool(&["verify", name]).status.code(), Some(1));
    assert_eq!(mempool(&["verify", directory.to_str().unwrap()]).status.code(), Some(3));
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn what_is_retained_goes_only_when_that_is_asked_for() {
    let directory = directory("gc-retained");
    let session = retained(&directory);
    let dead = directory.join(".mempool/s-4000000000-ab");
    fs::create_dir_all(&dead).unwrap();
    let name = directory.to_str().unwrap();
    let output = mempool(&["gc", "--dry-run", name]);
    let text = stdout(&output);
    assert!(text.contains("stays: values are kept in it, label \"etl\", 3 names"), "{text}");
    assert!(text.contains("--retained removes it") && text.contains("1 dead session,"), "{text}");
    let output = mempool(&["gc", name]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!dead.exists() && session.join("manifest").is_file());
    let output = mempool(&["gc", "--dry-run", "--retained", name]);
    assert!(stdout(&output).contains("would go: values are kept in it"), "{}", stdout(&output));
    // Not while a program has it open.
    let store = SpillOptions::new(&directory).label("etl").restore().unwrap();
    let output = mempool(&["gc", "--retained", name]);
    assert!(stdout(&output).contains("stays: a process holds its lock"), "{}", stdout(&output));
    drop(store);
    let output = mempool(&["gc", "--retained", "--json", name]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["sessions"][0]["state"], "retained");
    assert_eq!((&found["sessions"][0]["gone"], output.status.code()), (&true.into(), Some(0)));
    assert!(!directory.join(".mempool").exists());
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_file_that_went_through_filters_is_looked_at_as_far_as_the_key_goes() {
    let golden = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../mempool-spill/tests/golden/containers/le-1.container"
    );
    let output = mempool(&["inspect", golden]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("lz4, then xchacha20 (key "), "{}", stdout(&output));
    let output = mempool(&["verify", golden]);
    assert!(output.status.success(), "{}", stdout(&output));
    assert!(stdout(&output).contains("its content was not looked at"), "{}", stdout(&output));
    let directory = directory("key");
    let key = directory.join("key");
    let with_key = |content: &str, file: &str| {
        fs::write(&key, content).unwrap();
        mempool(&["verify", "--key-file", key.to_str().unwrap(), file])
    };
    let right = "a key of exactly thirty-two byte";
    let output = with_key(right, golden);
    assert!(output.status.success(), "{}", stdout(&output));
    assert!(!stdout(&output).contains("not looked at"), "{}", stdout(&output));
    let output = with_key("another key of thirty-two bytes!", golden);
    assert_eq!(output.status.code(), Some(3), "{}", stdout(&output));
    assert!(stdout(&output).contains("it was encrypted with key "), "{}", stdout(&output));
    let output = with_key("no key", golden);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("64 hexadecimal digits"), "{}", stderr(&output));
    let damaged = directory.join("damaged");
    let mut bytes = fs::read(golden).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&damaged, bytes).unwrap();
    let damaged = damaged.to_str().unwrap();
    assert_eq!(with_key(right, damaged).status.code(), Some(1));
    assert_eq!(mempool(&["verify", damaged]).status.code(), Some(1));
    fs::remove_dir_all(directory).unwrap();
}
