//! The store under a pool: values of all sizes, the disk limit, damage, faults, and nothing left behind.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mempool_core::{Blob, DRef, Error, ErrorKind, Pool, PoolOptions};
use mempool_spill::{DiskCall, DiskFault, FaultyDisk, SpillOptions, Verify};

/// A directory of its own for one test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("mempool-spill-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn is_empty(&self) -> bool {
        fs::read_dir(&self.0).unwrap().next().is_none()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn options(limit: u64) -> PoolOptions {
    PoolOptions::new().memory_limit(limit).room_timeout(Duration::ZERO)
}

fn spill(directory: &Path) -> SpillOptions {
    SpillOptions::new(directory).segment_bytes(256 << 10)
}

/// Bytes that differ from place to place and from value to value.
fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

fn sizes(n: u64) -> usize {
    [0, 1, 16, 100, 4000, 4096, 60_000, 70_000, 300_000][n as usize % 9]
}

#[test]
fn values_of_all_sizes_come_back_as_they_were() {
    for verify in [Verify::Header, Verify::Always] {
        let scratch = Scratch::new("sizes");
        let store = spill(&scratch.0).verify(verify).open().unwrap();
        let pool = options(400_000).store(store).open(Blob);
        let all: Vec<_> = (0..200).map(|n| pool.set(bytes(n, sizes(n))).unwrap()).collect();
        for round in 0..2 {
            for (n, one) in (0..).zip(&all) {
                assert_eq!(
                    pool.get(one).unwrap()[..],
                    bytes(n, sizes(n))[..],
                    "{n} in round {round}"
                );
            }
        }
        assert!(pool.stats().spills > 150);
        let written = pool.stats().written_bytes;
        all.iter().for_each(|one| drop(pool.move_to_disk(one).unwrap()));
        let again = pool.stats().written_bytes - written;
        assert!(again <= 400_000, "only what had never been spilled is written: {again}");
        drop(all);
        pool.quiesce();
        let usage = pool.stats().store;
        assert_eq!(usage.live_bytes, 0);
        assert!(usage.descriptors <= 1, "{usage:?}");
        assert!(usage.disk_bytes <= 256 << 10, "at most the segment that is being filled");
        pool.close().unwrap();
        assert!(scratch.is_empty(), "a clean close leaves nothing");
    }
}

#[test]
fn a_place_is_given_back_once() {
    let scratch = Scratch::new("places");
    let pool = options(100_000).store(spill(&scratch.0).open().unwrap()).open(Blob);
    let all: Vec<_> = (0..20).map(|n| pool.set(bytes(n, 5000)).unwrap()).collect();
    let files: Vec<_> = all.iter().map(|one| pool.copy_to_disk(one).unwrap()).collect();
    let live = pool.stats().live_disk_bytes;
    assert_eq!(pool.stats().store.live_bytes, live);
    drop(files);
    for (gone, one) in (1..).zip(all) {
        drop(one);
        pool.quiesce();
        assert_eq!(pool.stats().store.live_bytes, live / 20 * (20 - gone), "{gone} are gone");
        assert_eq!(pool.stats().live_disk_bytes, live / 20 * (20 - gone));
    }
}

#[test]
fn a_view_outlives_its_value_and_its_pool() {
    let scratch = Scratch::new("view");
    let pool = options(100_000).store(spill(&scratch.0).open().unwrap()).open(Blob);
    let small = pool.set(bytes(1, 1000)).unwrap();
    let large = pool.set(bytes(2, 90_000)).unwrap();
    pool.move_to_disk(&small).unwrap();
    pool.move_to_disk(&large).unwrap();
    let views = (pool.get(&small).unwrap().clone(), pool.get(&large).unwrap().clone());
    drop((small, large));
    pool.close().unwrap();
    drop(pool);
    assert!(scratch.is_empty());
    assert_eq!(views.0[..], bytes(1, 1000)[..]);
    assert_eq!(views.1[..], bytes(2, 90_000)[..]);
}

#[test]
fn directories_are_0700_and_files_0600() {
    let scratch = Scratch::new("modes");
    let store = spill(&scratch.0).open().unwrap();
    let session = store.session_path().to_path_buf();
    let pool = options(100_000).store(store).open(Blob);
    let all: Vec<_> = (0..5).map(|n| pool.set(bytes(n, 30_000 * n as usize)).unwrap()).collect();
    all.iter().for_each(|one| drop(pool.move_to_disk(one).unwrap()));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&session), 0o700);
    assert_eq!(mode(session.parent().unwrap()), 0o700);
    let files: Vec<_> = fs::read_dir(&session).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(!files.is_empty());
    assert!(files.iter().all(|file| mode(file) == 0o600));
}

#[test]
fn the_disk_limit_is_a_typed_error_and_the_pool_goes_on() {
    let scratch = Scratch::new("limit");
    let store = spill(&scratch.0).disk_limit(600_000).open().unwrap();
    let pool = options(200_000).store(store).open(Blob);
    let mut kept: Vec<(u64, DRef<Vec<u8>>)> = Vec::new();
    let error = loop {
        let n = kept.len() as u64;
        match pool.set(bytes(n, 90_000)) {
            Ok(one) => kept.push((n, one)),
            Err(rejected) => break rejected.error,
        }
        assert!(pool.stats().store.disk_bytes <= 600_000);
    };
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(error.to_string().contains("could not be written"), "{error}");
    for (n, one) in &kept {
        assert_eq!(pool.get(one).unwrap()[..], bytes(*n, 90_000)[..]);
    }
    drop(kept.drain(..2));
    pool.quiesce();
    pool.set(bytes(77, 90_000)).unwrap();
}

#[test]
fn a_saved_file_survives_the_pool_and_is_read_by_another() {
    let scratch = Scratch::new("save");
    let path = scratch.0.join("saved.mempool");
    let pool = options(100_000).store(spill(&scratch.0).open().unwrap()).open(Blob);
    let one = pool.set(bytes(1, 50_000)).unwrap();
    pool.save_to_disk(&one, &path).unwrap();
    pool.move_to_disk(&one).unwrap();
    let from_disk = scratch.0.join("from-disk.mempool");
    pool.save_to_disk(&one, &from_disk).unwrap();
    assert_eq!(fs::read(&path).unwrap(), fs::read(&from_disk).unwrap());
    drop(one);
    pool.close().unwrap();
    drop(pool);
    let other = options(100_000).store(spill(&scratch.0).open().unwrap()).open(Blob);
    let file = other.file::<Vec<u8>>(&path);
    let loaded = other.get_file(&file).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(loaded[..], bytes(1, 50_000)[..]);
    assert!(other.stats().store.disk_bytes >= 50_000, "what was brought in counts");
    drop(loaded);
    assert_eq!(other.stats().store.disk_bytes, 0);
    let inside = scratch.0.join(".mempool/x");
    let one = other.set(bytes(1, 5)).unwrap();
    assert!(
        other.save_to_disk(&one, inside).is_err(),
        "the session's directory is removed at close"
    );
}

#[test]
fn a_failed_save_leaves_what_was_there_and_nothing_beside_it() {
    const EIO: i32 = 5;
    for call in [DiskCall::Write, DiskCall::Sync, DiskCall::Rename] {
        let scratch = Scratch::new("failed-save");
        let disk = FaultyDisk::new();
        let store = spill(&scratch.0).disk(disk.clone()).open().unwrap();
        let pool = options(1_000_000).store(store).open(Blob);
        let (old, new) = (pool.set(bytes(1, 70_000)).unwrap(), pool.set(bytes(2, 70_000)).unwrap());
        let path = scratch.0.join("saved");
        pool.save_to_disk(&old, &path).unwrap();
        disk.fail(call, 0, 1, DiskFault::Errno(EIO));
        let error = pool.save_to_disk(&new, &path).unwrap_err();
        assert!(error.to_string().contains("saved"), "{error}");
        let names = fs::read_dir(&scratch.0).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        assert_eq!(names, [".mempool", "saved"], "{call:?}");
        assert_eq!(load(&pool, &path).unwrap(), bytes(1, 70_000), "{call:?}");
    }
}

fn load(pool: &Pool<Blob>, path: &Path) -> Result<Vec<u8>, Error> {
    pool.get_file(&pool.file::<Vec<u8>>(path)).map(|loaded| loaded.to_vec())
}

#[test]
fn damage_of_a_saved_file_is_always_found() {
    let scratch = Scratch::new("damage");
    let path = scratch.0.join("saved");
    let bent_path = scratch.0.join("bent");
    let pool = options(100_000).store(spill(&scratch.0).open().unwrap()).open(Blob);
    let one = pool.set(bytes(3, 700)).unwrap();
    pool.save_to_disk(&one, &path).unwrap();
    let good = fs::read(&path).unwrap();
    let bent = |content: &[u8], what: &str| {
        fs::write(&bent_path, content).unwrap();
        let error = load(&pool, &bent_path).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Damage, "{what}: {error}");
        assert!(error.to_string().contains("bent"), "the file is named: {error}");
    };
    for at in 0..good.len() {
        for flip in [1, 0x80, 0xff] {
            let mut content = good.clone();
            content[at] ^= flip;
            bent(&content, &format!("byte {at} changed by {flip:x}"));
        }
        bent(&good[..at], &format!("cut to {at} bytes"));
    }
    let count = std::env::var("DAMAGE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(2000);
    for case in 0..count {
        let mut content = good.clone();
        for change in bytes(case, 9).chunks(3) {
            let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % content.len();
            content[at] = content[at].wrapping_add(change[2] | 1);
        }
        if content != good {
            bent(&content, &format!("random case {case}"));
        }
    }
    let mut longer = good.clone();
    longer.push(0);
    bent(&longer, "one byte more");
    assert_eq!(load(&pool, &path).unwrap(), bytes(3, 700));
}

#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let scratch = Scratch::new("fifo");
    let pool = options(100_000).store(spill(&scratch.0).open().unwrap()).open(Blob);
    assert!(load(&pool, &scratch.0).is_err(), "a directory");
    assert!(load(&pool, Path::new("/dev/null")).is_err(), "a device");
    assert!(load(&pool, &scratch.0.join("nothing")).is_err(), "nothing there");
}

#[test]
fn a_truncated_segment_is_named_and_not_mapped() {
    let scratch = Scratch::new("truncated");
    let store = spill(&scratch.0).open().unwrap();
    let session = store.session_path().to_path_buf();
    let pool = options(100_000).store(store).open(Blob);
    let one = pool.set(bytes(1, 90_000)).unwrap();
    pool.move_to_disk(&one).unwrap();
    let segment = fs::read_dir(&session).unwrap().next().unwrap().unwrap().path();
    fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len(100).unwrap();
    let error = pool.get(&one).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damage);
    assert!(error.to_string().contains("truncated"), "{error}");
}

#[test]
fn content_is_checked_at_each_open_when_that_was_asked_for() {
    let scratch = Scratch::new("always");
    let store = spill(&scratch.0).verify(Verify::Always).open().unwrap();
    let session = store.session_path().to_path_buf();
    let pool = options(100_000).store(store).open(Blob);
    let one = pool.set(bytes(1, 90_000)).unwrap();
    pool.move_to_disk(&one).unwrap();
    let segment = fs::read_dir(&session).unwrap().next().unwrap().unwrap().path();
    let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, b"bent", 50_000).unwrap();
    assert_eq!(pool.get(&one).unwrap_err().kind(), ErrorKind::Damage);
}

#[test]
fn dead_sessions_are_swept_and_links_are_not_followed() {
    let scratch = Scratch::new("sweep");
    let outside = scratch.0.join("outside");
    fs::write(&outside, "mine").unwrap();
    let root = scratch.0.join(".mempool");
    for dead in ["s-1-0000", "new-1-0000"] {
        fs::create_dir_all(root.join(dead)).unwrap();
        fs::write(root.join(dead).join("seg-1"), "left").unwrap();
        symlink(&outside, root.join(dead).join("seg-2")).unwrap();
    }
    symlink(&scratch.0, root.join("s-2-0000")).unwrap();
    let living = spill(&scratch.0).open().unwrap();
    assert_eq!((living.swept().sessions, living.swept().files), (2, 4));
    let other = spill(&scratch.0).open().unwrap();
    assert_eq!((other.swept().sessions, other.swept().living), (0, 1));
    assert!(living.session_path().is_dir());
    assert_eq!(fs::read_to_string(&outside).unwrap(), "mine");
    drop((living, other));
    let left: Vec<_> =
        fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["s-2-0000"], "only what is not ours");
}

#[test]
fn small_values_are_written_many_at_once() {
    let scratch = Scratch::new("batches");
    let disk = FaultyDisk::new();
    let store = SpillOptions::new(&scratch.0).disk(disk.clone()).open().unwrap();
    let pool = options(1 << 20).store(store).open(Blob);
    let all: Vec<_> = (0..4000).map(|n| pool.set(bytes(n, 1000)).unwrap()).collect();
    let written = pool.stats().spills + pool.stats().written_ahead;
    assert!(written > 3000, "{written}");
    let calls = disk.calls(DiskCall::Write);
    assert!(calls * 30 < written, "{calls} calls for {written} values");
    for (n, one) in (0..).zip(&all) {
        assert_eq!(pool.get(one).unwrap()[..], bytes(n, 1000)[..]);
    }
    drop(all);
    pool.close().unwrap();
    assert!(scratch.is_empty());
}

#[test]
fn a_batch_that_is_larger_than_a_segment_is_cut() {
    let scratch = Scratch::new("cut");
    let store = SpillOptions::new(&scratch.0).segment_bytes(64 << 10).open().unwrap();
    let pool = options(1 << 20).store(store).open(Blob);
    // What the pool puts together by what values are charged is 256 KiB, and more with their headers.
    let all: Vec<_> = (0..3000).map(|n| pool.set(bytes(n, 600)).unwrap()).collect();
    assert!(pool.stats().written_ahead > 1000);
    for (n, one) in (0..).zip(&all) {
        assert_eq!(pool.get(one).unwrap()[..], bytes(n, 600)[..]);
    }
}

#[test]
fn a_batch_that_cannot_be_written_is_tried_value_by_value() {
    const ENOSPC: i32 = 28;
    for (call, times, k) in
        (0..6).flat_map(|k| [(1, k), (2, k), (u64::MAX, k)]).flat_map(|(times, k)| {
            [DiskCall::Write, DiskCall::Create, DiskCall::Allocate].map(|c| (c, times, k))
        })
    {
        let scratch = Scratch::new(&format!("batch-{call:?}"));
        let disk = FaultyDisk::new();
        let store = spill(&scratch.0).disk(disk.clone()).open().unwrap();
        let pool = options(100_000).store(store).open(Blob);
        disk.fail(call, k, times, DiskFault::Errno(ENOSPC));
        let set = |n| pool.set(bytes(n, 1000)).ok().map(|one| (n, one));
        let mut kept: Vec<_> = (0..600).filter_map(set).collect();
        disk.heal();
        kept.extend((600..900).filter_map(set));
        assert!(kept.len() >= 300, "the pool goes on when there is room");
        for (n, one) in &kept {
            assert_eq!(pool.get(one).unwrap()[..], bytes(*n, 1000)[..], "{call:?} {times} {k}");
        }
        drop(kept);
        pool.quiesce();
        let stats = pool.stats();
        assert_eq!((stats.used_bytes, stats.live_disk_bytes, stats.store.live_bytes), (0, 0, 0));
        pool.close().unwrap();
        assert!(scratch.is_empty());
    }
}

/// The child of the next test: spills without end until it is killed.
#[test]
fn child_that_spills_for_ever() {
    let Some(directory) = std::env::var_os("MEMPOOL_SPILL_CHILD") else { return };
    let pool = options(500_000).store(spill(Path::new(&directory)).open().unwrap()).open(Blob);
    println!("ready");
    let mut kept = Vec::new();
    for n in 0.. {
        kept.push(pool.set(bytes(n, sizes(n))).unwrap());
        if kept.len() > 100 {
            kept.remove(0);
        }
    }
}

#[test]
fn a_killed_process_is_swept_and_a_living_one_is_not() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    let scratch = Scratch::new("kill");
    let living = spill(&scratch.0).open().unwrap();
    let session = living.session_path().to_path_buf();
    let pool = options(100_000).store(living).open(Blob);
    let one = pool.set(bytes(9, 70_000)).unwrap();
    pool.move_to_disk(&one).unwrap();
    let kills: u64 = std::env::var("KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(10);
    for kill in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_spills_for_ever", "--nocapture", "--test-threads=1"])
            .env("MEMPOOL_SPILL_CHILD", &scratch.0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.map_while(Result::ok).any(|line| line.contains("ready"));
        assert!(ready, "the child opened its session");
        // From here it is in the middle of spilling; a different number of system calls each time.
        for _ in 0..kill * 50 {
            std::hint::black_box(fs::metadata(&scratch.0).unwrap());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let next = spill(&scratch.0).open().unwrap();
        assert_eq!((next.swept().sessions, next.swept().living), (1, 1), "kill {kill}");
        drop(next);
        assert!(session.is_dir());
    }
    assert_eq!(pool.get(&one).unwrap()[..], bytes(9, 70_000)[..]);
    pool.close().unwrap();
    assert!(scratch.is_empty());
}
