//! A disk that is really full: a small tmpfs in a mount namespace of the test's own, and a limit on the size of files.
//!
//! The set that fails answers in bounded time and names file and cause, what was set before is all there, and the pool
//! goes on when there is room again.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use mempool_core::{Blob, DRef, Error, ErrorKind, Pool};

mod workloads;
use workloads::{Scratch, bytes, close_empty, names, options};

const EFBIG: i32 = 27;
const ENOSPC: i32 = 28;
/// A set that fails tells so at once; what it took on a slow machine is no hang.
const BOUND: Duration = Duration::from_secs(5);

/// The children of the tests below.
#[test]
fn child_on_a_full_disk() {
    let Some(job) = std::env::var_os("MEMPOOL_FULL_CHILD") else { return };
    let directory = PathBuf::from(std::env::var_os("MEMPOOL_FULL_DIRECTORY").unwrap());
    match job.to_str().unwrap() {
        "tmpfs" => small_tmpfs(&directory),
        "file-size" => small_files(&directory),
        other => panic!("no job {other}"),
    }
    println!("the child is done");
}

type Kept = Vec<(u64, usize, DRef<Vec<u8>>)>;

/// Sets values until one fails; answers why.
fn fill(pool: &Pool<Blob>, kept: &mut Kept, len: impl Fn(u64) -> usize) -> Error {
    for seed in kept.last().map_or(0, |(seed, ..)| seed + 1).. {
        let (len, start) = (len(seed), Instant::now());
        match pool.set(bytes(seed, len)) {
            Ok(one) => kept.push((seed, len, one)),
            Err(rejected) => {
                assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
                assert!(rejected.value == bytes(seed, len), "the value is given back");
                return rejected.error;
            }
        }
        assert!(seed < 100_000, "the disk is never full");
    }
    unreachable!()
}

/// The error names a file of the session and the system's cause; `Limit` says that room helps.
fn check_error(error: &Error, errno: i32) {
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(error);
    let mut found = None;
    while let Some(error) = cause {
        said.push_str(&format!(": {error}"));
        found = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error).or(found);
        cause = error.source();
    }
    assert_eq!(found, Some(errno), "{said}");
    assert!(said.contains(".mempool/s-"), "the file is named: {said}");
}

fn check_all(pool: &Pool<Blob>, kept: &Kept) {
    for (seed, len, one) in kept {
        assert_eq!(pool.get(one).unwrap()[..], bytes(*seed, *len)[..], "value {seed}");
    }
}

fn small_tmpfs(directory: &Path) {
    let ballast = directory.join("ballast");
    fs::write(&ballast, vec![0; 2 << 20]).unwrap();
    for sizes in [[500, 700, 900], [500, 6000, 40_000], [200_000, 300_000, 50_000]] {
        let len = |seed: u64| sizes[usize::try_from(seed % 3).unwrap()];
        let pool = workloads::pool(options(directory).open().unwrap());
        let mut kept = Kept::new();
        check_error(&fill(&pool, &mut kept, len), ENOSPC);
        check_all(&pool, &kept);
        // Nothing is there for a file of the user's either; it is whole or absent.
        let path = directory.join("saved");
        let (_, _, last) = kept.last().unwrap();
        if pool.save_to_disk(last, &path).is_err() {
            assert!(!path.exists());
        } else {
            fs::remove_file(&path).unwrap();
        }
        assert_eq!(names(directory), [".mempool", "ballast"], "no part of a file is left");
        // Somebody else frees space.
        fs::remove_file(&ballast).unwrap();
        let before = kept.len();
        check_error(&fill(&pool, &mut kept, len), ENOSPC);
        assert!(kept.len() > before + 2, "the pool goes on: {before} and {} values", kept.len());
        check_all(&pool, &kept);
        // So do we.
        kept.drain(..kept.len() / 2);
        pool.quiesce();
        let half = kept.len();
        check_error(&fill(&pool, &mut kept, len), ENOSPC);
        assert!(kept.len() > half, "the pool goes on: {half} values");
        check_all(&pool, &kept);
        drop(kept);
        close_empty(pool, directory);
        fs::write(&ballast, vec![0; 2 << 20]).unwrap();
    }
}

fn small_files(directory: &Path) {
    // The limit lies between the size of a shared segment and that of a large value.
    let pool = workloads::pool(options(directory).open().unwrap());
    let mut kept = Kept::new();
    for seed in 0..200 {
        let len = 500 + 200 * usize::try_from(seed % 60).unwrap();
        kept.push((seed, len, pool.set(bytes(seed, len)).unwrap()));
    }
    for len in [500_000, 2_000_000] {
        let start = Instant::now();
        let rejected = pool.set(bytes(1000, len)).unwrap_err();
        assert!(start.elapsed() < BOUND && rejected.value == bytes(1000, len));
        check_error(&rejected.error, EFBIG);
    }
    check_all(&pool, &kept);
    kept.push((2000, 90_000, pool.set(bytes(2000, 90_000)).unwrap()));
    check_all(&pool, &kept);
    drop(kept);
    close_empty(pool, directory);
}

fn child(job: &str, directory: &Path, script: &str, before: &[&str]) -> Option<Output> {
    let mut words = before.iter().copied().chain(["sh", "-c", script]);
    let output = Command::new(words.next()?)
        .args(words)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child_on_a_full_disk", "--nocapture"])
        .env("MEMPOOL_FULL_CHILD", job)
        .env("MEMPOOL_FULL_DIRECTORY", directory)
        .output();
    output.ok()
}

fn assert_done(output: &Output) {
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{said}\n{complained}", output.status);
    assert!(said.contains("the child is done"), "{said}");
}

#[test]
fn a_full_file_system_is_an_error_and_the_pool_goes_on() {
    const NO_MOUNT: i32 = 77;
    let scratch = Scratch::new("full");
    let mount = scratch.0.join("small");
    fs::create_dir(&mount).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=8m,mode=700 mempool-test '{}' || exit {NO_MOUNT}; exec \"$0\" \"$@\"",
        mount.display()
    );
    // As root, or as the root of a user namespace where the system lets anybody have one.
    for before in [&["unshare", "--mount"][..], &["unshare", "--mount", "--map-root-user"][..]] {
        let Some(output) = child("tmpfs", &mount, &script, before) else { continue };
        let said = String::from_utf8_lossy(&output.stdout);
        if output.status.code() != Some(NO_MOUNT) && said.contains("running 1 test") {
            return assert_done(&output);
        }
    }
    println!("skipped: no mount namespace may be made here, so no small file system can be filled");
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_and_no_signal() {
    let scratch = Scratch::new("file-size");
    // An ignored signal stays ignored over exec. Blocks of 512 bytes: 200 KiB. POSIX has sh count in those; a shell that
    // counts in KiB gives twice as much, which lies between the sizes above as well.
    let script = "trap '' XFSZ; ulimit -f 400 || exit 1; exec \"$0\" \"$@\"";
    assert_done(&child("file-size", &scratch.0, script, &[]).unwrap());
}
