//! Each error of the disk side, provoked. `cargo xtask errcover` fails when a variant has no test that names it.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mempool_core::testing::{room, with_frame};
use mempool_core::{FrameDamage, Handle, Id, Ledger, SpillStore, StoreError, StoreErrorKind};
use mempool_spill::{
    DiskCall, DiskFault, FaultyDisk, SpillError, SpillOptions, SpillStorage, Verify,
};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("mempool-error-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn options(&self) -> SpillOptions {
        SpillOptions::new(&self.0).segment_bytes(64 << 10)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes a frame of so many bytes: a quarter of a segment or more has a file of its own.
fn write(store: &SpillStorage, len: usize) -> Result<Handle, StoreError> {
    let content = vec![7; len];
    with_frame(Id { slot: 1, generation: 1 }, &[(64, &content)], |frame| store.write(frame))
        .unwrap()
}

fn save(store: &SpillStorage, path: &Path) -> Result<(), StoreError> {
    let id = Id { slot: 1, generation: 1 };
    with_frame(id, &[(64, &[7; 100])], |frame| store.save(frame, path).map(drop)).unwrap()
}

fn open(store: &SpillStorage, handle: &Handle) -> Result<(), StoreError> {
    store.open(handle, &mut room(&Ledger::new(1 << 20, Duration::ZERO))).map(drop)
}

fn load(store: &SpillStorage, path: &Path) -> Result<(), StoreError> {
    store.load(path, &mut room(&Ledger::new(1 << 20, Duration::ZERO))).map(drop)
}

/// What the store says, and what stands behind it.
fn parts(answer: Result<(), StoreError>) -> (StoreErrorKind, SpillError) {
    let StoreError { kind, source } = answer.unwrap_err();
    (kind, *source.downcast().unwrap())
}

fn only_file(store: &SpillStorage) -> PathBuf {
    let mut files = fs::read_dir(store.session_path()).unwrap();
    let file = files.next().unwrap().unwrap().path();
    assert!(files.next().is_none());
    file
}

#[test]
fn a_call_that_fails_is_named_with_its_file() {
    let scratch = Scratch::new("io");
    let disk = FaultyDisk::new();
    let store = scratch.options().disk(disk.clone()).open().unwrap();
    disk.fail(DiskCall::Create, 0, 1, DiskFault::Errno(EIO));
    let (kind, error) = parts(write(&store, 100).map(drop));
    assert_eq!(kind, StoreErrorKind::Io);
    let SpillError::Io { call: "create", path, source, .. } = error else { panic!("{error}") };
    assert!(path.starts_with(store.session_path()));
    assert_eq!(source.raw_os_error(), Some(EIO));
    disk.fail(DiskCall::Write, 0, 1, DiskFault::Errno(ENOSPC));
    let (kind, error) = parts(write(&store, 100).map(drop));
    assert_eq!(kind, StoreErrorKind::Full);
    assert!(matches!(error, SpillError::Io { call: "write", offset: Some(_), .. }), "{error}");
    let (kind, error) = parts(load(&store, &scratch.0.join("nothing")));
    assert_eq!(kind, StoreErrorKind::Missing);
    assert!(matches!(error, SpillError::Io { call: "open", .. }), "{error}");
}

#[test]
fn the_disk_limit_says_what_is_in_use() {
    let scratch = Scratch::new("limit");
    let store = scratch.options().disk_limit(100_000).open().unwrap();
    write(&store, 60_000).unwrap();
    let (kind, error) = parts(write(&store, 60_000).map(drop));
    assert_eq!(kind, StoreErrorKind::Full);
    let SpillError::Limit { used_bytes, limit_bytes, .. } = error else { panic!("{error}") };
    assert!(used_bytes >= 60_000 && limit_bytes == 100_000);
}

#[test]
fn the_reserve_says_what_is_free_and_makes_no_file() {
    let scratch = Scratch::new("reserve");
    let disk = FaultyDisk::new();
    disk.pretend_capacity(Some(150_000));
    let store = scratch.options().free_space_reserve(100_000).disk(disk.clone()).open().unwrap();
    for len in [100, 60_000] {
        let (kind, error) = parts(write(&store, len).map(drop));
        assert_eq!(kind, StoreErrorKind::Full);
        let SpillError::Reserve { path, asked_bytes, free_bytes, reserve_bytes } = error else {
            panic!("{error}")
        };
        assert_eq!(path, store.session_path());
        assert!((60_000..70_000).contains(&asked_bytes), "{asked_bytes}");
        assert_eq!((free_bytes, reserve_bytes), (150_000, 100_000));
    }
    assert_eq!(disk.calls(DiskCall::Create), 0, "no file was made");
    assert_eq!(store.usage().disk_bytes, 0, "and nothing is counted");
    disk.pretend_capacity(Some(200_000));
    let handle = write(&store, 60_000).unwrap();
    open(&store, &handle).unwrap();
    // A file of the user's may be read where there is room for a copy of it.
    let path = scratch.0.join("saved");
    save(&store, &path).unwrap();
    disk.pretend_capacity(Some(150_000));
    match store.load(&path, &mut room(&Ledger::new(1 << 20, Duration::ZERO))) {
        // A file system that shares blocks takes none for it.
        Ok(_) => assert_eq!(disk.calls(DiskCall::Allocate), 1),
        Err(error) => assert!(matches!(error.kind, StoreErrorKind::Full), "{error}"),
    }
}

#[test]
fn a_disk_that_does_not_say_what_is_free_is_named() {
    let scratch = Scratch::new("free");
    let disk = FaultyDisk::new();
    let store = scratch.options().free_space_reserve(1).disk(disk.clone()).open().unwrap();
    disk.fail(DiskCall::Free, 0, 1, DiskFault::Errno(EIO));
    let (kind, error) = parts(write(&store, 100).map(drop));
    assert_eq!(kind, StoreErrorKind::Io);
    assert!(error.to_string().contains("free space in"), "{error}");
    write(&store, 100).unwrap();
}

#[test]
fn bytes_that_were_changed_are_found_with_their_place() {
    let scratch = Scratch::new("damage");
    let store = scratch.options().verify(Verify::Always).open().unwrap();
    let handle = write(&store, 60_000).unwrap();
    let file = fs::OpenOptions::new().write(true).open(only_file(&store)).unwrap();
    file.write_at(b"bent", 50_000).unwrap();
    let (kind, error) = parts(open(&store, &handle));
    assert_eq!(kind, StoreErrorKind::Damaged);
    let SpillError::Damaged { offset: 0, damage, .. } = error else { panic!("{error}") };
    assert!(matches!(damage, FrameDamage::Checksum { part: "content", .. }), "{damage}");
    let short = scratch.0.join("short");
    fs::write(&short, "no frame").unwrap();
    let (_, error) = parts(load(&store, &short));
    assert!(matches!(
        error,
        SpillError::Damaged { damage: FrameDamage::Length { found: 8, .. }, .. }
    ));
}

#[test]
fn a_file_that_was_cut_is_not_mapped() {
    let scratch = Scratch::new("cut");
    let store = scratch.options().open().unwrap();
    let handle = write(&store, 60_000).unwrap();
    fs::OpenOptions::new().write(true).open(only_file(&store)).unwrap().set_len(100).unwrap();
    let (kind, error) = parts(open(&store, &handle));
    assert_eq!(kind, StoreErrorKind::Damaged);
    assert!(matches!(error, SpillError::Truncated { found: 100, .. }), "{error}");
}

#[test]
fn paths_that_cannot_be_meant_are_refused() {
    let scratch = Scratch::new("paths");
    let store = scratch.options().open().unwrap();
    let (kind, error) = parts(load(&store, &scratch.0));
    assert_eq!(kind, StoreErrorKind::Io);
    assert!(matches!(error, SpillError::NotRegular { .. }), "{error}");
    let (_, error) = parts(save(&store, Path::new("/")));
    assert!(matches!(error, SpillError::NotRegular { .. }), "{error}");
    let (_, error) = parts(save(&store, &store.session_path().join("mine")));
    assert!(matches!(error, SpillError::InsideSession { .. }), "{error}");
}

#[test]
fn a_handle_of_nothing_and_a_closed_store_say_so() {
    let scratch = Scratch::new("closed");
    let store = scratch.options().open().unwrap();
    let handle = write(&store, 100).unwrap();
    let (kind, error) = parts(open(&store, &Handle { segment: 999, ..handle }));
    assert_eq!(kind, StoreErrorKind::Missing);
    assert!(matches!(error, SpillError::NoSegment { segment: 999, .. }), "{error}");
    store.close().unwrap();
    for len in [100, 60_000] {
        let (kind, error) = parts(write(&store, len).map(drop));
        assert_eq!(kind, StoreErrorKind::Closed);
        assert!(matches!(error, SpillError::Closed { .. }), "{error}");
    }
}

#[test]
fn a_segment_that_others_fill_at_once_is_no_error() {
    let scratch = Scratch::new("contended");
    let store = scratch.options().open().unwrap();
    // Four of these fill a segment, and four threads write them.
    let write_many = || {
        for _ in 0..500 {
            let handle = write(&store, 15_000).unwrap();
            store.free(&handle);
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(write_many)).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert_eq!(store.usage().live_bytes, 0);
}
