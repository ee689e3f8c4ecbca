//! Space on disk: dead bytes come back, files are written anew, and what somebody looks at never changes.
#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mempool_core::testing::with_frame;
use mempool_core::{
    Blob, Buffer, DRef, ErrorKind, Id, Pool, PoolOptions, SpillStore as _, StoreUsage,
};
use mempool_spill::{Directories, DiskCall, DiskFault, FaultyDisk, Placement, SpillOptions};

/// A directory of its own for one test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("mempool-space-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// How large a test is. `SPACE=full` is what a program has: segments of 64 MiB, values of up to 64 MiB.
#[derive(Clone, Copy)]
struct Scale {
    segment: u64,
    /// Sizes go from 16 bytes to two to this power.
    magnitude_max: u64,
    limit: u64,
    rounds: u64,
}

const SMALL: Scale = Scale { segment: 1 << 20, magnitude_max: 21, limit: 4 << 20, rounds: 20 };
const FULL: Scale = Scale { segment: 64 << 20, magnitude_max: 26, limit: 256 << 20, rounds: 100 };

fn open(directory: &Path, disk: &FaultyDisk, scale: Scale) -> (Pool<Blob>, Directories) {
    open_options(SpillOptions::new(directory).disk(disk.clone()), scale)
}

fn open_options(options: SpillOptions, scale: Scale) -> (Pool<Blob>, Directories) {
    let store = options.segment_bytes(scale.segment).open().unwrap();
    let directories = store.directories();
    let options = PoolOptions::new().memory_limit(scale.limit).room_timeout(Duration::ZERO);
    (options.store(store).open(Blob), directories)
}

/// Numbers that differ from seed to seed; xorshift (Marsaglia, 2003).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// Sizes of all magnitudes: as many from 16 to 32 as from 1 MiB to 2 MiB.
    fn size(&mut self, magnitude_max: u64) -> usize {
        let magnitude = 4 + self.below(magnitude_max - 4);
        ((1 << magnitude) + self.below(1 << magnitude)) as usize
    }
}

fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&numbers.below(u64::MAX).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// What the files of a session take on the device, and how many there are.
fn on_device(session: &Path) -> (u64, u64) {
    let files = fs::read_dir(session).unwrap().map(|file| file.unwrap().metadata().unwrap());
    let blocks: Vec<u64> = files.map(|metadata| metadata.blocks() * 512).collect();
    (blocks.iter().sum(), blocks.len() as u64)
}

/// Descriptors and maps of spill files that this process has.
fn held_by_process(directory: &Path) -> (usize, usize) {
    let directory = directory.display().to_string();
    let ours = |path: &str| path.contains(&directory) && path.contains("/seg-");
    let descriptors = fs::read_dir("/proc/self/fd").unwrap();
    let links = descriptors.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    (
        links.filter(|link| ours(&link.display().to_string())).count(),
        maps.lines().filter(|line| ours(line)).count(),
    )
}

struct Kept {
    seed: u64,
    len: usize,
    reference: DRef<Vec<u8>>,
}

#[test]
fn disk_use_follows_what_lives() {
    let scratch = Scratch::new("follows");
    follow(&scratch.0, SpillOptions::new(&scratch.0));
    assert!(fs::read_dir(&scratch.0).unwrap().next().is_none());
}

#[test]
fn disk_use_of_several_directories_follows_what_lives_in_each() {
    let scratch = Scratch::new("several");
    let directories = ["a", "b"].map(|name| scratch.0.join(name));
    directories.iter().for_each(|directory| fs::create_dir(directory).unwrap());
    let options = SpillOptions::new(&directories[0]).directory(&directories[1]);
    follow(&scratch.0, options.placement(Placement::Spread));
    for directory in directories {
        assert!(fs::read_dir(directory).unwrap().next().is_none());
    }
}

fn follow(directory: &Path, options: SpillOptions) {
    let full = std::env::var("SPACE").is_ok_and(|scale| scale == "full");
    let scale = if full { FULL } else { SMALL };
    let (pool, directories) = open_options(options, scale);
    let baseline = held_by_process(directory);
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(42);
    println!("SEED={seed}");
    let mut numbers = Numbers(seed);
    let mut kept: Vec<Kept> = Vec::new();
    let mut views: Vec<(u64, usize, Buffer)> = Vec::new();
    for round in 0..scale.rounds {
        // About four times the limit is set, then most of it is dropped.
        let mut set = 0;
        while set < 4 * scale.limit {
            let (seed, len) = (numbers.below(u64::MAX), numbers.size(scale.magnitude_max));
            let reference = pool.set(bytes(seed, len)).unwrap_or_else(|rejected| {
                // What is looked at cannot be evicted.
                views.clear();
                pool.set(rejected.value).unwrap()
            });
            kept.push(Kept { seed, len, reference });
            set += len as u64;
            if numbers.below(50) == 0 {
                let one = &kept[numbers.below(kept.len() as u64) as usize];
                let view = pool.get(&one.reference).unwrap();
                views.push((one.seed, one.len, Buffer::clone(&view)));
            }
        }
        kept.retain(|_| numbers.below(10) < 3);
        views.retain(|_| numbers.below(2) == 0);
        pool.quiesce();
        for (seed, len, view) in &views {
            assert_eq!(view[..], bytes(*seed, *len)[..], "round {round}: what is held has changed");
        }
        let stats = pool.stats();
        // What somebody looks at stays, whether its value lives or not: the blocks of 64 KiB that it lies in.
        let held: u64 = views.iter().map(|(_, len, _)| *len as u64 + (2 << 16)).sum();
        for one in directories.usage() {
            let usage = one.usage;
            let bound = usage.live_bytes * 13 / 10 + 2 * scale.segment + held;
            assert!(usage.disk_bytes <= bound, "round {round}: {usage:?}, bound {bound}");
            let (device, files) = on_device(&one.path);
            // A file with holes has a block of the file system's own to list them.
            assert!(device <= usage.disk_bytes + files * 4096, "{device}: {usage:?}");
        }
        let sum =
            |of: fn(&StoreUsage) -> u64| directories.usage().iter().map(|u| of(&u.usage)).sum();
        let (live, disk): (u64, u64) =
            (sum(|usage| usage.live_bytes), sum(|usage| usage.disk_bytes));
        assert_eq!((stats.store.live_bytes, stats.store.disk_bytes), (live, disk));
        assert!(stats.store.peak_disk_bytes >= disk);
    }
    assert!(directories.usage().iter().all(|one| one.usage.live_bytes > 0));
    for one in &kept {
        assert_eq!(pool.get(&one.reference).unwrap()[..], bytes(one.seed, one.len)[..]);
    }
    drop((kept, views));
    pool.quiesce();
    let stats = pool.stats();
    assert_eq!((stats.used_bytes, stats.store.live_bytes), (0, 0));
    for one in directories.usage() {
        assert!(one.usage.disk_bytes <= 2 * scale.segment + scale.segment / 4, "{one:?}");
    }
    pool.close().unwrap();
    drop(pool);
    assert_eq!(held_by_process(directory), baseline, "descriptors and maps are as before");
}

#[test]
fn files_are_written_anew() {
    let scratch = Scratch::new("anew");
    let disk = FaultyDisk::new();
    let (pool, _) = open(&scratch.0, &disk, Scale { limit: 3 << 20, ..SMALL });
    for round in 0..50 {
        let all: Vec<_> =
            (0..6).map(|n| pool.set(bytes(round * 10 + n, 700_000)).unwrap()).collect();
        for (n, one) in (0..).zip(&all) {
            assert_eq!(pool.get(one).unwrap()[..], bytes(round * 10 + n, 700_000)[..]);
        }
        drop(all);
        pool.quiesce();
    }
    let made = disk.calls(DiskCall::Create);
    assert!(made < 100, "{made} files were made for {} spills", pool.stats().spills);
    pool.close().unwrap();
}

#[test]
fn the_reserve_is_kept_and_the_pool_goes_on_when_there_is_room() {
    const CAPACITY: u64 = 10 << 20;
    const RESERVE: u64 = 4 << 20;
    let scratch = Scratch::new("reserve");
    let disk = FaultyDisk::new();
    disk.pretend_capacity(Some(CAPACITY));
    let store = SpillOptions::new(&scratch.0).segment_bytes(1 << 20).disk(disk.clone());
    let store = store.free_space_reserve(RESERVE).open().unwrap();
    let session = store.session_path().to_path_buf();
    let pool = PoolOptions::new().memory_limit(1 << 20).room_timeout(Duration::ZERO);
    let pool = pool.store(store).open(Blob);
    // Small values, which refill holes; then large ones, which need files that the small ones' files must make room for.
    for (round, len) in [(0, 20_000), (1, 700_000), (2, 20_000), (3, 300_000)] {
        let (mut kept, mut seed) = (Vec::new(), round * 10_000);
        let error = loop {
            seed += 1;
            match pool.set(bytes(seed, len)) {
                Ok(one) => kept.push((seed, one)),
                Err(rejected) => break rejected.error,
            }
            // Some die early, so that there are holes.
            if seed % 7 == 0 && kept.len() > 1 {
                kept.remove(kept.len() / 2);
                pool.quiesce();
            }
            assert!(seed < round * 10_000 + 2000, "the disk is never full");
        };
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        let said = std::error::Error::source(&error).unwrap().to_string();
        assert!(said.contains("reserve of 4194304 bytes"), "{said}");
        let (taken, files) = on_device(&session);
        assert!(taken <= CAPACITY - RESERVE + files * 4096, "round {round}: {taken}");
        assert!(kept.len() * len > 4 << 20, "round {round}: the rest of the disk was used");
        for (seed, one) in &kept {
            assert_eq!(pool.get(one).unwrap()[..], bytes(*seed, len)[..], "value {seed}");
        }
        disk.pretend_capacity(Some(CAPACITY + (3 << 20)));
        let more = pool.set(bytes(7, len)).unwrap();
        assert_eq!(pool.get(&more).unwrap()[..], bytes(7, len)[..], "the pool goes on");
        drop((kept, more));
        disk.pretend_capacity(Some(CAPACITY));
        pool.quiesce();
    }
    pool.close().unwrap();
}

#[test]
fn a_disk_that_cannot_give_space_back_only_takes_longer() {
    let scratch = Scratch::new("no-holes");
    let disk = FaultyDisk::new();
    disk.fail(DiskCall::Punch, 0, u64::MAX, DiskFault::Errno(95));
    let (pool, _) = open(&scratch.0, &disk, Scale { limit: 1 << 20, ..SMALL });
    let all: Vec<_> = (0..600).map(|n| pool.set(bytes(n, 20_000)).unwrap()).collect();
    let kept: Vec<_> = (0..).zip(all).filter(|(n, _)| n % 10 == 0).collect();
    pool.quiesce();
    assert!(disk.calls(DiskCall::Punch) > 0);
    let more: Vec<_> = (1000..1300).map(|n| (n, pool.set(bytes(n, 20_000)).unwrap())).collect();
    for (n, one) in kept.iter().chain(&more) {
        assert_eq!(pool.get(one).unwrap()[..], bytes(*n, 20_000)[..]);
    }
    drop((kept, more));
    pool.close().unwrap();
}

/// Another process may have it mapped.
#[test]
fn a_file_that_was_handed_over_is_never_written_anew() {
    let scratch = Scratch::new("handed-over");
    let store = SpillOptions::new(&scratch.0).segment_bytes(SMALL.segment).open().unwrap();
    let id = Id { slot: 1, generation: 1 };
    let write = |fill: u8| {
        let content = vec![fill; 512 << 10];
        with_frame(id, &[(64, &content)], |frame| store.write(frame)).unwrap().unwrap()
    };
    let handed = write(7);
    let (file, offset, bytes) = store.share(&handed).unwrap();
    assert_eq!((offset, bytes), (0, handed.bytes));
    assert!(file.write_at(b"x", 0).is_err(), "it is open for reading alone");
    let other = write(8);
    store.free(&handed);
    store.free(&other);
    assert_eq!(file.metadata().unwrap().nlink(), 0, "unlinked at once");
    // The other one's file is taken first, if it is kept for later; then this one's would be.
    let again: Vec<_> = (0..4).map(|_| write(9)).collect();
    let mut found = vec![0; usize::try_from(bytes).unwrap()];
    file.read_exact_at(&mut found, 0).unwrap();
    assert!(found.ends_with(&[7; 512 << 10]), "it was written over");
    again.iter().for_each(|handle| store.free(handle));
    assert!(file.metadata().unwrap().len() >= bytes, "and it is not made shorter");
    assert!(store.share(&handed).is_none(), "there is no such frame any more");
}
