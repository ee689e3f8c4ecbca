//! A file that is made shorter under a live map ends the process, and the last message names it.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};

use mempool_spill::name_files_on_sigbus;

mod workloads;
use workloads::{Scratch, bytes, names, options};

const SIGBUS: i32 = 7;

/// The child of the tests below: cuts the file of a value that it reads.
#[test]
fn child_that_cuts_a_file_under_its_feet() {
    let Some(job) = std::env::var_os("MEMPOOL_SIGBUS_CHILD") else { return };
    let directory = PathBuf::from(std::env::var_os("MEMPOOL_SIGBUS_DIRECTORY").unwrap());
    if job != "unnamed" {
        name_files_on_sigbus().unwrap();
        name_files_on_sigbus().unwrap();
    }
    let store = options(&directory).open().unwrap();
    let session = store.session_path().to_path_buf();
    let pool = workloads::pool(store);
    let len = if job == "small" { 9000 } else { 60_000 };
    let one = pool.set(bytes(1, len)).unwrap();
    pool.move_to_disk(&one).unwrap();
    let view = pool.get(&one).unwrap();
    let [segment] = &names(&session)[..] else { panic!("one segment") };
    let file = fs::OpenOptions::new().write(true).open(session.join(segment)).unwrap();
    file.set_len(4096).unwrap();
    // On another thread than the one that asked for the message.
    std::thread::scope(|scope| {
        scope.spawn(|| assert_ne!(view.iter().map(|&byte| u64::from(byte)).sum::<u64>(), 0));
    });
    unreachable!("the bytes are gone");
}

fn child(directory: &Scratch, job: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_cuts_a_file_under_its_feet", "--nocapture"])
        .env("MEMPOOL_SIGBUS_CHILD", job)
        .env("MEMPOOL_SIGBUS_DIRECTORY", &directory.0)
        .output()
        .unwrap()
}

#[test]
fn the_last_message_names_the_file() {
    let scratch = Scratch::new("sigbus");
    for job in ["small", "large"] {
        let output = child(&scratch, job);
        assert_eq!(output.status.signal(), Some(SIGBUS), "{job}: it ends as it would without us");
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said.lines().find(|line| line.starts_with("mempool: SIGBUS: "));
        let line = line.unwrap_or_else(|| panic!("{job} said: {said}"));
        let segment = format!("{}/.mempool/s-", scratch.0.display());
        assert!(line.contains(&segment) && line.contains("seg-"), "{line}");
        assert!(line.contains(" at offset 4096: somebody has made it shorter"), "{line}");
        assert_eq!(said.matches("SIGBUS").count(), 1, "once: {said}");
        let swept = options(&scratch.0).open().unwrap().swept();
        assert_eq!((swept.sessions, swept.living), (1, 0), "the next open sweeps what it left");
    }
}

#[test]
fn it_says_nothing_unless_it_was_asked_to() {
    let scratch = Scratch::new("sigbus-silent");
    let output = child(&scratch, "unnamed");
    assert_eq!(output.status.signal(), Some(SIGBUS));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("mempool: SIGBUS"));
}
