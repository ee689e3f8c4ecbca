//! Several directories: where values go, what happens when one is full, fails or hangs, and that nothing is left in any.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs::{self, File};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use memmap2::Mmap;
use mempool_core::testing::{room, with_frame};
use mempool_core::{
    Blob, DRef, Error, ErrorKind, Handle, Id, Ledger, PoolOptions, SpillStore, StoreError,
    StoreErrorKind,
};
use mempool_spill::{
    Directories, Directory, DirectoryState, Disk, DiskCall, DiskFault, FaultyDisk, Placement,
    RealDisk, SpillError, SpillOptions, SpillStorage, Warning,
};

mod workloads;
use workloads::{Book, SEGMENT, Scratch, Workload, bytes, names, open_below};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

/// Three directories in one of the test's own.
struct Three {
    scratch: Scratch,
    paths: [PathBuf; 3],
    disks: [FaultyDisk; 3],
}

impl Three {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(&format!("directories-{name}"));
        let paths = ["a", "b", "c"].map(|one| scratch.0.join(one));
        paths.iter().for_each(|path| fs::create_dir(path).unwrap());
        Self { scratch, paths, disks: std::array::from_fn(|_| FaultyDisk::new()) }
    }

    fn directory(&self, at: usize) -> Directory {
        Directory::new(&self.paths[at]).disk(self.disks[at].clone())
    }

    fn options(&self) -> SpillOptions {
        let options = SpillOptions::new(self.directory(0)).segment_bytes(SEGMENT);
        options.directory(self.directory(1)).directory(self.directory(2))
    }

    fn assert_nothing_is_left(&self) {
        for path in &self.paths {
            assert_eq!(names(path), Vec::<String>::new(), "a clean close leaves nothing");
        }
        assert_eq!(open_below(&self.scratch.0), Vec::<String>::new());
    }
}

/// Writes a frame of so many bytes: a quarter of a segment or more has a file of its own.
fn write(store: &SpillStorage, len: usize) -> Result<Handle, StoreError> {
    let content = bytes(7, len);
    with_frame(Id { slot: 1, generation: 1 }, &[(64, &content)], |frame| store.write(frame))
        .unwrap()
}

/// Reads what [`write`] wrote.
fn read(store: &SpillStorage, handle: &Handle, len: usize) {
    let frame = store.open(handle, &mut room(&Ledger::new(1 << 20, Duration::ZERO))).unwrap();
    let content = &frame[frame.len() - len..];
    assert_eq!(content, bytes(7, len));
}

fn live(directories: &Directories) -> Vec<u64> {
    directories.usage().iter().map(|one| one.usage.live_bytes).collect()
}

fn cause(error: StoreError) -> (StoreErrorKind, SpillError) {
    let StoreError { kind, source } = error;
    (kind, *source.downcast().unwrap())
}

#[test]
fn a_full_directory_is_passed_over_for_the_next() {
    let three = Three::new("in-order");
    let limits = [200_000, 300_000];
    let store = SpillOptions::new(three.directory(0).disk_limit(limits[0]));
    let store = store.directory(three.directory(1).disk_limit(limits[1])).segment_bytes(SEGMENT);
    let store = store.open().unwrap();
    let directories = store.directories();
    let pool = workloads::pool(store);
    let mut kept: Vec<(u64, DRef<Vec<u8>>)> = Vec::new();
    let error = loop {
        let seed = kept.len() as u64;
        match pool.set(bytes(seed, 20_000)) {
            Ok(one) => kept.push((seed, one)),
            Err(rejected) => break rejected.error,
        }
        let [first, second] = &live(&directories)[..] else { panic!("two directories") };
        assert!(*second == 0 || *first > 100_000, "the first is filled first: {first}, {second}");
        assert!(kept.len() < 100, "the disks are never full");
    };
    // The second is full, and so is the first: each says so, by its name.
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    let said = std::error::Error::source(&error).unwrap().to_string();
    for path in &three.paths[..2] {
        assert!(said.contains(&format!("the disk limit of {}", path.display())), "{said}");
    }
    for (usage, limit) in directories.usage().iter().zip(limits) {
        assert!(usage.usage.live_bytes > 100_000 && usage.usage.peak_disk_bytes <= limit);
        assert_eq!(usage.usage.limit_bytes, Some(limit));
    }
    assert_eq!(pool.stats().store.limit_bytes, Some(500_000));
    for (seed, one) in &kept {
        assert_eq!(pool.get(one).unwrap()[..], bytes(*seed, 20_000)[..], "value {seed}");
    }
    // Room in the first is used as soon as it is there.
    let before = live(&directories)[0];
    kept.drain(..5);
    pool.quiesce();
    assert!(live(&directories)[0] < before);
    kept.extend((100..105).map(|seed| (seed, pool.set(bytes(seed, 20_000)).unwrap())));
    assert_eq!(live(&directories)[0], before, "{:?}", directories.usage());
    for (seed, one) in &kept {
        assert_eq!(pool.get(one).unwrap()[..], bytes(*seed, 20_000)[..], "value {seed}");
    }
    drop(kept);
    pool.close().unwrap();
    drop(pool);
    assert_eq!(directories.usage().len(), 0, "the store is gone");
    three.assert_nothing_is_left();
}

#[test]
fn what_every_directory_refuses_names_each_with_its_reason() {
    let three = Three::new("refused");
    three.disks[2].pretend_capacity(Some(1000));
    let store = SpillOptions::new(three.directory(0)).segment_bytes(SEGMENT);
    let store = store.directory(three.directory(1).disk_limit(10_000));
    let store = store.directory(three.directory(2).free_space_reserve(500)).open().unwrap();
    for (errno, expected) in [(EIO, StoreErrorKind::Full), (ENOSPC, StoreErrorKind::Full)] {
        three.disks[0].fail(DiskCall::Write, 0, 1, DiskFault::Errno(errno));
        let (kind, error) = cause(write(&store, 60_000).unwrap_err());
        assert_eq!(kind, expected);
        let SpillError::NoDirectory { first, others } = &error else { panic!("{error}") };
        let all: Vec<_> = std::iter::once(&**first).chain(others).collect();
        let of = |path: &Path| {
            let said = all.iter().map(ToString::to_string);
            let mut said = said.filter(|text| text.contains(&path.display().to_string()));
            said.next().unwrap_or_else(|| panic!("{} is not named: {error}", path.display()))
        };
        assert!(of(&three.paths[0]).contains("cannot write"), "{error}");
        assert!(of(&three.paths[1]).contains("the disk limit"), "{error}");
        assert!(of(&three.paths[2]).contains("the reserve of 500 bytes"), "{error}");
        all.iter().for_each(|one| assert!(error.to_string().contains(&one.to_string())));
    }
    let usage = store.usage();
    assert_eq!((usage.live_bytes, usage.disk_bytes, usage.limit_bytes), (0, 0, None));
    let handle = write(&store, 60_000).unwrap();
    read(&store, &handle, 60_000);
    let sick = |disk: &FaultyDisk| {
        disk.pretend_capacity(None);
        disk.fail(DiskCall::Create, 0, u64::MAX, DiskFault::Errno(EROFS));
    };
    three.disks.iter().for_each(sick);
    // Room helps where one is merely full; here it is the second, by its limit.
    assert_eq!(cause(write(&store, 60_000).unwrap_err()).0, StoreErrorKind::Full);
    assert_eq!(cause(write(&store, 5000).unwrap_err()).0, StoreErrorKind::Full);
}

#[test]
fn the_limit_of_all_directories_is_kept() {
    let three = Three::new("total");
    let store = three.options().disk_limit(200_000).open().unwrap();
    let one = write(&store, 60_000).unwrap();
    three.disks[0].fail(DiskCall::Create, 0, u64::MAX, DiskFault::Errno(EIO));
    let two = write(&store, 60_000).unwrap();
    let directories = store.directories();
    assert!(live(&directories)[..2].iter().all(|bytes| *bytes > 60_000), "{directories:?}");
    three.disks[0].heal();
    let (kind, error) = cause(write(&store, 100_000).unwrap_err());
    assert_eq!(kind, StoreErrorKind::Full);
    let SpillError::TotalLimit { asked_bytes, used_bytes, limit_bytes } = error else {
        panic!("{error}")
    };
    assert!(asked_bytes > 100_000 && used_bytes > 120_000 && limit_bytes == 200_000);
    let usage = store.usage();
    assert_eq!((usage.disk_bytes, usage.limit_bytes), (used_bytes, Some(200_000)));
    store.free(&one);
    // Kept for later, and given up for this.
    let three_handle = write(&store, 100_000).unwrap();
    read(&store, &three_handle, 100_000);
    read(&store, &two, 60_000);
    let usage = store.usage();
    assert!(usage.peak_disk_bytes <= 200_000 && usage.disk_bytes <= 200_000, "{usage:?}");
}

#[test]
fn what_one_directory_keeps_for_later_gives_way_to_another() {
    let three = Three::new("gives-way");
    let store = three.options().disk_limit(130_000).open().unwrap();
    store.free(&write(&store, 60_000).unwrap());
    assert!(store.usage().disk_bytes >= 60_000, "its file is kept");
    three.disks[0].fail(DiskCall::Create, 0, u64::MAX, DiskFault::Errno(EIO));
    let handle = write(&store, 100_000).unwrap();
    read(&store, &handle, 100_000);
    let usage = store.usage();
    assert!(usage.disk_bytes < 130_000 && usage.peak_disk_bytes <= 130_000, "{usage:?}");
}

#[test]
fn directories_are_spread_over_by_their_room() {
    let three = Three::new("spread");
    let limited = |at: usize, limit| three.directory(at).disk_limit(limit);
    let store = SpillOptions::new(limited(0, 1 << 20)).directory(limited(1, 3 << 20));
    let store = store.placement(Placement::Spread).segment_bytes(SEGMENT).open().unwrap();
    let handles: Vec<_> = (0..40).map(|_| write(&store, 20_000).unwrap()).collect();
    let live = live(&store.directories());
    // A quarter and three quarters, but for the last one.
    assert!(live[0].abs_diff(10 * 20_128) <= 30_000 && live[1] > 2 * live[0], "{live:?}");
    handles.iter().for_each(|handle| read(&store, handle, 20_000));
    handles.iter().for_each(|handle| store.free(handle));
    assert_eq!(store.usage().live_bytes, 0);
    store.close().unwrap();
    drop(store);
    three.assert_nothing_is_left();
}

#[test]
fn a_disk_that_fails_is_asked_ever_more_rarely_and_still_read() {
    let three = Three::new("failing");
    let store = three.options().open().unwrap();
    let before: Vec<_> = (0..5).map(|_| write(&store, 20_000).unwrap()).collect();
    three.disks[0].fail(DiskCall::Create, 0, u64::MAX, DiskFault::Errno(EIO));
    let after: Vec<_> = (0..1000).map(|_| write(&store, 20_000).unwrap()).collect();
    // After the 1st, 2nd, 4th, ... 512th write.
    let asked = three.disks[0].failed();
    assert!((5..=11).contains(&asked), "{asked}");
    let [first, second, third] = &store.directories().usage()[..] else { panic!("three") };
    assert_eq!((first.state, first.refusals), (DirectoryState::PassedOver, asked));
    assert_eq!((second.state, second.refusals), (DirectoryState::Ready, 0));
    assert_eq!(third.usage.live_bytes, 0);
    before.iter().chain(&after).for_each(|handle| read(&store, handle, 20_000));
    // It is asked again in the end, and works.
    three.disks[0].heal();
    let live_before = first.usage.live_bytes;
    let more: Vec<_> = (0..1100).map(|_| write(&store, 5000).unwrap()).collect();
    let [first, ..] = &store.directories().usage()[..] else { panic!("three") };
    assert_eq!(first.state, DirectoryState::Ready);
    assert!(first.usage.live_bytes > live_before);
    for handle in before.iter().chain(&after).chain(&more) {
        store.free(handle);
    }
    assert_eq!(store.usage().live_bytes, 0);
}

#[test]
fn a_directory_given_twice_is_refused() {
    let three = Three::new("twice");
    let other_name = three.scratch.0.join("link");
    symlink(&three.paths[1], &other_name).unwrap();
    let error = three.options().directory(&other_name).open().unwrap_err();
    let SpillError::SameDirectory { path, first } = &error else { panic!("{error}") };
    assert_eq!((path, first), (&other_name, &three.paths[1]));
    three.assert_nothing_is_left();
}

#[test]
fn one_directory_that_cannot_be_opened_fails_the_opening() {
    let three = Three::new("absent");
    let file = three.scratch.0.join("file");
    fs::write(&file, "").unwrap();
    for path in [three.scratch.0.join("nothing"), file] {
        let error = three.options().directory(&path).open().unwrap_err();
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        three.assert_nothing_is_left();
    }
    // A disk that cannot say what it has free cannot be filled by its share.
    three.disks[1].fail(DiskCall::Free, 0, 1, DiskFault::Errno(EIO));
    let error = three.options().placement(Placement::Spread).open().unwrap_err();
    assert!(error.to_string().contains("free space in"), "{error}");
    three.assert_nothing_is_left();
}

#[test]
fn saved_files_stand_in_no_session_and_are_brought_into_one_that_takes_them() {
    let three = Three::new("saved");
    let store = three.options().open().unwrap();
    let save = |path: &Path| {
        let id = Id { slot: 1, generation: 1 };
        with_frame(id, &[(64, &bytes(7, 5000))], |frame| store.save(frame, path)).unwrap()
    };
    let load = |path: &Path| store.load(path, &mut room(&Ledger::new(1 << 20, Duration::ZERO)));
    for usage in store.directories().usage() {
        let (_, error) = cause(save(&usage.path.join("mine")).unwrap_err());
        assert!(matches!(error, SpillError::InsideSession { .. }), "{error}");
    }
    let path = three.scratch.0.join("saved");
    save(&path).unwrap();
    three.disks[0].fail(DiskCall::Create, 0, u64::MAX, DiskFault::Errno(EIO));
    assert!(load(&path).unwrap().ends_with(&bytes(7, 5000)));
    // What is wrong with the file is wrong wherever it is brought.
    let (kind, error) = cause(load(&three.scratch.0.join("nothing")).unwrap_err());
    assert_eq!(kind, StoreErrorKind::Missing);
    assert!(matches!(error, SpillError::Io { call: "open", .. }), "{error}");
    assert_eq!(three.disks[0].failed(), 1, "and no other directory is asked");
}

/// The pool of workloads over three directories, one of which fails by `call`: all that is not held there goes on.
fn run(workload: Workload, placement: Placement, at: usize, call: DiskCall, times: u64) -> u64 {
    let three = Three::new("model");
    let options = three.options().placement(placement).free_space_reserve(1);
    let pool = workloads::pool(options.open().unwrap());
    let fault = if call == DiskCall::Allocate { ENOSPC } else { EIO };
    three.disks[at].fail(call, 3, times, DiskFault::Errno(fault));
    let explain = |error: &Error| {
        // A frame in the directory that fails cannot be read there; where nothing can be mapped it needs memory. What
        // is to be written goes elsewhere.
        let crowded = workload == Workload::Threads;
        match error {
            Error::NoRoom(_) | Error::Pinned { .. } if crowded => {}
            Error::NoRoom(_) | Error::TooLarge { .. } if call == DiskCall::Map => {}
            _ if matches!(call, DiskCall::Len | DiskCall::Read) => {
                assert_eq!(error.kind(), ErrorKind::Environment, "{error}");
            }
            _ => panic!("{workload:?} {placement:?} {at} {call:?}: {error}"),
        }
    };
    let mut book = Book::new(&pool, &three.scratch.0, &explain);
    workload.run(&mut book, 1);
    book.read_all();
    let failed = three.disks[at].failed();
    three.disks[at].heal();
    book.explain = &|error| panic!("the disk works again, and yet: {error}");
    book.read_all();
    (0..5).for_each(|_| book.set(30_000));
    (0..30).for_each(|_| book.set(700));
    book.read_all();
    drop(book);
    pool.quiesce();
    let stats = pool.stats();
    assert_eq!((stats.values, stats.used_bytes, stats.store.live_bytes), (0, 0, 0));
    assert!(stats.store.disk_bytes <= 3 * 2 * SEGMENT, "places were lost: {:?}", stats.store);
    pool.close().unwrap();
    assert_eq!(pool.stats().store.disk_bytes, 0, "the ledgers end at zero");
    drop(pool);
    three.assert_nothing_is_left();
    failed
}

#[test]
fn a_disk_that_fails_costs_nothing_while_others_work() {
    let mut failed = 0;
    for (workload, placement) in Workload::ALL
        .into_iter()
        .flat_map(|workload| [Placement::InOrder, Placement::Spread].map(|p| (workload, p)))
    {
        for call in DiskCall::ALL {
            // A file of the user's is saved by the first directory's disk, and by no other in its place.
            let at = usize::from(workload == Workload::Files);
            failed += run(workload, placement, at, call, 2);
            failed += run(workload, placement, at, call, u64::MAX);
        }
    }
    assert!(failed > 200, "most runs meet their fault: {failed}");
}

/// A disk that hangs where it would be asked for something, until it is let go.
#[derive(Clone, Default)]
struct HangingDisk(Arc<(Mutex<Hanging>, Condvar)>);

#[derive(Default)]
struct Hanging {
    hangs: bool,
    waiting: usize,
}

impl HangingDisk {
    fn hang(&self, hangs: bool) {
        self.0.0.lock().unwrap().hangs = hangs;
        self.0.1.notify_all();
    }

    fn waiting(&self) -> usize {
        self.0.0.lock().unwrap().waiting
    }

    fn disk(&self) -> RealDisk {
        let mut state = self.0.0.lock().unwrap();
        state.waiting += 1;
        state = self.0.1.wait_while(state, |state| state.hangs).unwrap();
        state.waiting -= 1;
        RealDisk
    }
}

impl Disk for HangingDisk {
    fn create(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<File> {
        self.disk().create(dir, name)
    }

    fn allocate(&self, file: &File, offset: u64, bytes: u64) -> io::Result<()> {
        self.disk().allocate(file, offset, bytes)
    }

    fn punch(&self, file: &File, offset: u64, bytes: u64) -> io::Result<()> {
        self.disk().punch(file, offset, bytes)
    }

    fn free_bytes(&self, dir: BorrowedFd<'_>) -> io::Result<u64> {
        self.disk().free_bytes(dir)
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.disk().write_at(file, bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.disk().sync(file)
    }

    fn rename(&self, dir: BorrowedFd<'_>, from: &str, to: &Path) -> io::Result<()> {
        self.disk().rename(dir, from, to)
    }

    fn unlink(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        self.disk().unlink(dir, name)
    }

    fn len(&self, file: &File) -> io::Result<u64> {
        self.disk().len(file)
    }

    fn map(&self, file: &File, bytes: u64) -> io::Result<Mmap> {
        self.disk().map(file, bytes)
    }

    fn read_exact_at(&self, file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk().read_exact_at(file, bytes, offset)
    }
}

/// What takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until it is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        thread::yield_now();
    }
}

#[test]
fn a_disk_that_hangs_stops_who_needs_it_and_nobody_else() {
    for placement in [Placement::InOrder, Placement::Spread] {
        let three = Three::new("hanging");
        let slow = HangingDisk::default();
        let options = SpillOptions::new(Directory::new(&three.paths[0]).disk(slow.clone()));
        let options = options.directory(three.directory(1)).segment_bytes(SEGMENT);
        let store = Arc::new(options.placement(placement).open().unwrap());
        let directories = store.directories();
        let early: Vec<_> = (0..4).map(|_| write(&store, 20_000).unwrap()).collect();
        assert!(live(&directories)[0] > 0);
        slow.hang(true);
        // One thread hangs in a write, another one where a frame is opened.
        let (writer, reader) = (Arc::clone(&store), Arc::clone(&store));
        let first = early[0];
        let writes = thread::spawn(move || write(&writer, 30_000).unwrap());
        let reads = thread::spawn(move || read(&reader, &first, 20_000));
        until("both hang", || slow.waiting() == 2);
        until("it is seen to hang", || directories.usage()[0].state == DirectoryState::Stalled);
        let (send, receive) = mpsc::channel();
        let others = Arc::clone(&store);
        let go_on = thread::spawn(move || {
            let directories = others.directories();
            let before = live(&directories);
            let handles: Vec<_> = (0..50)
                .flat_map(|_| [500, 20_000].map(|len| (write(&others, len).unwrap(), len)))
                .collect();
            let after = live(&directories);
            assert!(after[0] == before[0] && after[1] > before[1] + 1_000_000, "{after:?}");
            handles.iter().for_each(|(handle, len)| read(&others, handle, *len));
            handles.iter().for_each(|(handle, _)| others.free(handle));
            // What is to be removed there waits for a later call.
            early[1..].iter().for_each(|handle| others.free(handle));
            others.trim();
            others.reclaim(&mut |_, _, _| true);
            send.send(()).unwrap();
        });
        let gone_on = receive.recv_timeout(PATIENCE);
        slow.hang(false);
        gone_on.expect("the others go on while it hangs");
        go_on.join().unwrap();
        reads.join().unwrap();
        let late = writes.join().unwrap();
        read(&store, &late, 30_000);
        assert_eq!(directories.usage()[0].state, DirectoryState::Ready);
        // It is asked again.
        let before = live(&directories)[0];
        let more: Vec<_> = (0..8).map(|_| write(&store, 20_000).unwrap()).collect();
        assert!(live(&directories)[0] > before, "{:?}", directories.usage());
        more.iter().chain([&late, &first]).for_each(|handle| store.free(handle));
        assert_eq!(store.usage().live_bytes, 0);
        store.close().unwrap();
        drop(store);
        three.assert_nothing_is_left();
    }
}

#[test]
fn a_pool_goes_on_beside_a_read_that_hangs() {
    let three = Three::new("pool-hangs");
    let slow = HangingDisk::default();
    let first = Directory::new(&three.paths[0]).disk(slow.clone()).disk_limit(70_000);
    let store = SpillOptions::new(first).directory(three.directory(1)).segment_bytes(SEGMENT);
    let store = store.open().unwrap();
    let directories = store.directories();
    let pool = workloads::pool(store);
    // The first two go to the first directory, and fill it.
    let all: Vec<_> = (0..10).map(|seed| pool.set(bytes(seed, 30_000)).unwrap()).collect();
    assert!(live(&directories).iter().all(|bytes| *bytes > 60_000), "{:?}", directories.usage());
    slow.hang(true);
    let (front, one) = (pool.clone(), all[0].clone());
    let hung = thread::spawn(move || front.get(&one).unwrap()[..] == bytes(0, 30_000)[..]);
    until("a get hangs", || slow.waiting() == 1);
    let (send, receive) = mpsc::channel();
    let (front, away) = (pool.clone(), all[2..].to_vec());
    let go_on = thread::spawn(move || {
        for round in 0..20 {
            for (seed, one) in (2..).zip(&away) {
                assert_eq!(front.get(one).unwrap()[..], bytes(seed, 30_000)[..]);
            }
            let new = front.set(bytes(100 + round, 20_000)).unwrap();
            front.move_to_disk(&new).unwrap();
            assert_eq!(front.get(&new).unwrap()[..], bytes(100 + round, 20_000)[..]);
        }
        send.send(()).unwrap();
    });
    let gone_on = receive.recv_timeout(PATIENCE);
    slow.hang(false);
    gone_on.expect("other threads go on while it hangs");
    go_on.join().unwrap();
    assert!(hung.join().unwrap(), "and so does the one that hung");
    drop(all);
    pool.close().unwrap();
    drop(pool);
    three.assert_nothing_is_left();
}

/// The child of the test below.
#[test]
fn child_that_is_killed() {
    let Some(paths) = std::env::var_os("MEMPOOL_DIRECTORIES_CHILD") else { return };
    let paths: Vec<PathBuf> = std::env::split_paths(&paths).collect();
    let options = SpillOptions::new(&paths[0]).directory(&paths[1]).segment_bytes(SEGMENT);
    let store = options.placement(Placement::Spread).open().unwrap();
    (0..10).for_each(|_| assert!(write(&store, 30_000).is_ok()));
    assert!(live(&store.directories()).iter().all(|bytes| *bytes > 0));
    std::process::abort();
}

#[test]
fn what_a_killed_process_left_is_swept_in_each_directory() {
    let three = Three::new("swept");
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_is_killed"])
        .env("MEMPOOL_DIRECTORIES_CHILD", std::env::join_paths(&three.paths[..2]).unwrap())
        .output()
        .unwrap()
        .status;
    assert!(!status.success());
    for path in &three.paths[..2] {
        assert_eq!(names(path), [".mempool"], "the child has left something to sweep");
    }
    let store = three.options().open().unwrap();
    let swept = store.swept();
    assert_eq!((swept.sessions, swept.living), (2, 0));
    assert!(swept.files >= 10, "{swept:?}");
    drop(store);
    three.assert_nothing_is_left();
}

#[test]
fn a_directory_in_memory_is_told_and_nothing_is_printed() {
    let memory = Path::new("/dev/shm");
    let kind = rustix::fs::statfs(memory).map_or(0, |stat| stat.f_type);
    if kind != 0x0102_1994 {
        println!("skipped: /dev/shm is no tmpfs here");
        return;
    }
    let three = Three::new("memory");
    assert_eq!(
        three.options().open().unwrap().warnings().len(),
        usize::from(rustix::fs::statfs(&three.scratch.0).unwrap().f_type == 0x0102_1994) * 3
    );
    let in_memory = Scratch::in_memory("directories-warned");
    let store = three.options().directory(&in_memory.0).open().unwrap();
    let expected = Warning::MemoryBacked { path: in_memory.0.clone(), file_system: "tmpfs" };
    assert_eq!(store.warnings().last(), Some(&expected));
    assert!(expected.to_string().contains("stays in memory"), "{expected}");
}

#[test]
fn a_store_of_several_directories_retains_nothing_and_says_so() {
    let three = Three::new("retained");
    let pool = PoolOptions::new().store(three.options().open().unwrap()).open(Blob);
    let value = pool.set(vec![1_u8; 100]).unwrap();
    pool.set_name("kept", &value).unwrap();
    let refused = pool.retain();
    let Err(Error::Store(error)) = refused else { panic!("{refused:?}") };
    assert_eq!(error.kind, StoreErrorKind::Unsupported);
    let source = error.source.downcast_ref::<SpillError>();
    assert!(matches!(source, Some(SpillError::SeveralDirectories)), "{source:?}");
    assert_eq!(pool.get(&value).unwrap()[99], 1, "the pool is as it was");
    pool.close().unwrap();
    drop((value, pool));
    let restored = three.options().restore();
    assert!(matches!(restored, Err(SpillError::SeveralDirectories)));
    three.assert_nothing_is_left();
}
