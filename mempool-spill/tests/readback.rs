//! Where maps run out: frames are read into memory that the ledger counts, and that can be evicted like any other.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use mempool_core::{
    Blob, Codec, CodecError, CodecName, DRef, Error, Format, Pool, PoolOptions, Rejected, Result,
    Room, Sink, Source,
};
use mempool_spill::{DiskCall, DiskFault, FaultyDisk, ReadMode, SpillOptions, Verify};

const ENOMEM: i32 = 12;
const LIMIT: u64 = 400_000;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mempool-read-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// A pool whose store can map nothing, and its disk.
    fn pool(&self, verify: Verify) -> (Pool<Blob>, FaultyDisk) {
        let disk = FaultyDisk::new();
        disk.fail(DiskCall::Map, 0, u64::MAX, DiskFault::Errno(ENOMEM));
        let store = SpillOptions::new(&self.0).segment_bytes(256 << 10).verify(verify);
        let store = store.disk(disk.clone()).open().unwrap();
        let options = PoolOptions::new().memory_limit(LIMIT).room_timeout(Duration::ZERO);
        (options.store(store).open(Blob), disk)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn value(n: u64) -> Vec<u8> {
    let len = [0, 1, 16, 100, 4000, 4096, 60_000, 70_000, 300_000][n as usize % 9];
    (0..len).map(|at: u64| (at.wrapping_mul(31) ^ n) as u8).collect()
}

fn assert_empty(pool: &Pool<Blob>) {
    pool.quiesce();
    let stats = pool.stats();
    assert_eq!((stats.values, stats.used_bytes), (0, 0));
    assert_eq!((stats.live_disk_bytes, stats.store.live_bytes), (0, 0));
}

#[test]
fn values_of_all_sizes_are_read_back_within_the_limit() {
    for verify in [Verify::Header, Verify::Always] {
        let scratch = Scratch::new("sizes");
        let (pool, disk) = scratch.pool(verify);
        let all: Vec<_> = (0..90).map(|n| pool.set(value(n)).unwrap()).collect();
        for round in 0..2 {
            for (n, one) in (0..).zip(&all) {
                assert_eq!(pool.get(one).unwrap()[..], value(n)[..], "{n} in round {round}");
                assert!(pool.stats().used_bytes <= LIMIT);
            }
        }
        let stats = pool.stats();
        assert!(disk.failed() > 90, "every map was refused");
        assert!(stats.loads > 90 && stats.peak_bytes <= LIMIT, "{stats:?}");
        assert!(stats.clean_evictions > 0, "what was read back was evicted without a write");
        drop(all);
        assert_empty(&pool);
        pool.close().unwrap();
        assert!(fs::read_dir(&scratch.0).unwrap().next().is_none(), "a clean close leaves nothing");
    }
}

#[test]
fn a_copy_is_counted_and_makes_room_for_others() {
    let scratch = Scratch::new("counted");
    let (pool, disk) = scratch.pool(Verify::Header);
    let all: Vec<_> = (0..3).map(|n| pool.set(vec![n; 150_000]).unwrap()).collect();
    all.iter().for_each(|one| drop(pool.move_to_disk(one).unwrap()));
    assert_eq!(pool.stats().used_bytes, 0);
    drop(pool.get(&all[0]).unwrap());
    let charged = pool.stats().used_bytes;
    assert!((150_000..151_000).contains(&charged), "the frame and its allocation: {charged}");
    drop(pool.get(&all[1]).unwrap());
    let written = pool.stats().written_bytes;
    // The third does not fit beside the first two, which nobody holds.
    assert_eq!(pool.get(&all[2]).unwrap()[7], 2);
    assert!(!pool.is_in_memory(&all[0]), "the least recently used went");
    assert!(pool.is_in_memory(&all[1]) && pool.is_in_memory(&all[2]));
    assert_eq!(pool.stats().written_bytes, written, "and nothing was written for it");
    let working = pool.reserve(LIMIT).unwrap();
    assert!(all.iter().all(|one| !pool.is_in_memory(one)), "a reservation drives all of them out");
    drop(working);
    disk.heal();
    drop(pool.get(&all[0]).unwrap());
    assert_eq!(pool.stats().used_bytes, 0, "with maps again, a view takes nothing");
}

#[test]
fn pins_that_leave_no_room_for_a_copy_are_named() {
    let scratch = Scratch::new("pins");
    let (pool, _disk) = scratch.pool(Verify::Header);
    let away: DRef<Vec<u8>> = pool.set(vec![1; 150_000]).unwrap();
    let held = pool.set(vec![2; 150_000]).unwrap();
    let file = pool.move_to_disk(&away).unwrap();
    pool.move_to_disk(&held).unwrap();
    let pin = pool.get(&held).unwrap();
    let working = pool.reserve(150_000).unwrap();
    let Err(Error::NoRoom(report)) = pool.get(&away).map(drop) else { panic!("there is no room") };
    assert!(report.asked_bytes > 150_000 && report.limit_bytes == LIMIT);
    assert_eq!(report.largest.len(), 1);
    assert_eq!((report.largest[0].id, report.largest[0].pins), (held.id(), 1));
    let charged = pool.stats().used_bytes - 150_000;
    assert_eq!(report.largest[0].bytes, charged, "what the copy takes, not what the value took");
    assert!(matches!(pool.get_file(&file).map(drop), Err(Error::NoRoom(_))));
    assert_eq!(pin[9], 2);
    drop(pin);
    assert_eq!(pool.get(&away).unwrap()[9], 1, "the value is whole");
    drop((away, held, file, working));
    assert_empty(&pool);
}

#[test]
fn a_value_larger_than_the_limit_says_so() {
    let scratch = Scratch::new("large");
    let (pool, disk) = scratch.pool(Verify::Header);
    let huge = pool.set(vec![1; 500_000]).unwrap();
    let small = pool.set(vec![2; 1000]).unwrap();
    let refused = pool.get(&huge).map(drop);
    assert!(matches!(refused, Err(Error::TooLarge { limit_bytes: LIMIT, .. })), "{refused:?}");
    assert!(pool.is_in_memory(&small), "nothing is evicted for what can never fit");
    disk.heal();
    assert_eq!(pool.get(&huge).unwrap()[499_999], 1);
}

#[test]
fn a_file_is_read_into_counted_memory() {
    let scratch = Scratch::new("file");
    let (pool, _disk) = scratch.pool(Verify::Header);
    let path = scratch.0.join("saved");
    let one = pool.set(value(8)).unwrap();
    let in_memory = scratch.0.join("from-memory");
    pool.save_to_disk(&one, &in_memory).unwrap();
    pool.move_to_disk(&one).unwrap();
    pool.save_to_disk(&one, &path).unwrap();
    assert_eq!(pool.stats().used_bytes, 0, "what a save reads is paid back");
    drop(pool.get(&one).unwrap());
    let read_back = scratch.0.join("from-a-copy");
    pool.save_to_disk(&one, &read_back).unwrap();
    let bytes = fs::read(&path).unwrap();
    assert!(bytes == fs::read(&in_memory).unwrap() && bytes == fs::read(&read_back).unwrap());
    drop(one);
    let loaded = pool.get_file(&pool.file::<Vec<u8>>(&path)).unwrap();
    assert_eq!(loaded[..], value(8)[..]);
    assert!(pool.stats().used_bytes > 300_000);
    let rest = pool.try_reserve(LIMIT - pool.stats().used_bytes).unwrap();
    assert!(matches!(pool.try_reserve(1), Err(Error::NoRoom(_))), "the guard holds the bytes");
    drop((loaded, rest));
    assert_empty(&pool);
}

#[test]
fn with_copies_nothing_is_ever_mapped() {
    for verify in [Verify::Header, Verify::Always] {
        let scratch = Scratch::new("copies");
        let disk = FaultyDisk::new();
        let store = SpillOptions::new(&scratch.0).segment_bytes(256 << 10).verify(verify);
        let store = store.read_mode(ReadMode::Copy).disk(disk.clone()).open().unwrap();
        let options = PoolOptions::new().memory_limit(LIMIT).room_timeout(Duration::ZERO);
        let pool = options.store(store).open(Blob);
        let all: Vec<_> = (0..90).map(|n| pool.set(value(n)).unwrap()).collect();
        for (n, one) in (0..).zip(&all) {
            assert_eq!(pool.get(one).unwrap()[..], value(n)[..], "{n}");
            assert!(pool.stats().used_bytes <= LIMIT);
        }
        let path = scratch.0.join("saved");
        pool.save_to_disk(&all[8], &path).unwrap();
        let before = pool.stats().store.disk_bytes;
        let loaded = pool.get_file(&pool.file::<Vec<u8>>(&path)).unwrap();
        assert!(pool.stats().store.disk_bytes <= before, "no copy on disk is needed");
        assert!(pool.stats().used_bytes > 300_000, "the copy in memory is counted");
        fs::write(&path, "other bytes").unwrap();
        assert_eq!(loaded[..], value(8)[..], "what was read does not change");
        assert_eq!(disk.calls(DiskCall::Map), 0);
        assert_eq!(pool.stats().store.mapped_bytes, 0);
        drop((loaded, all));
        assert_empty(&pool);
        pool.close().unwrap();
    }
}

#[test]
fn a_device_that_fails_is_an_error_of_the_read() {
    let scratch = Scratch::new("eio");
    let disk = FaultyDisk::new();
    let store = SpillOptions::new(&scratch.0).read_mode(ReadMode::Copy).disk(disk.clone());
    let store = store.open().unwrap();
    let session = store.session_path().to_path_buf();
    let pool = PoolOptions::new().memory_limit(LIMIT).store(store).open(Blob);
    let one = pool.set(vec![7; 100_000]).unwrap();
    drop(pool.move_to_disk(&one).unwrap());
    disk.fail(DiskCall::Read, 0, 1, DiskFault::Errno(5));
    assert!(matches!(pool.get(&one).map(drop), Err(Error::Store { .. })));
    assert_eq!(pool.get(&one).unwrap()[9], 7, "and no more than that");
    drop(pool.move_to_disk(&one).unwrap());
    let file = fs::read_dir(&session).unwrap().next().unwrap().unwrap().path();
    fs::OpenOptions::new().write(true).open(file).unwrap().set_len(1000).unwrap();
    let error = pool.get(&one).map(drop).unwrap_err();
    let said = std::error::Error::source(&error).map(ToString::to_string);
    assert!(said.is_some_and(|said| said.contains("somebody has truncated it")), "{error:?}");
}

/// Keeps bytes and decodes them into a vector of its own when they come back, as `Bincode` does.
struct Decoding;

impl Codec<Vec<u8>> for Decoding {
    type Resident = Vec<u8>;
    type View = [u8];

    fn format(&self) -> Format {
        Format { codec: CodecName::new("decoding"), type_tag: 1, pointer_width: 0 }
    }

    fn size_hint(&self, value: &Vec<u8>) -> Result<u64> {
        Ok(value.capacity() as u64)
    }

    fn admit(&self, value: Vec<u8>, room: &mut Room) -> Result<Vec<u8>, Rejected<Vec<u8>>> {
        assert_eq!(room.reserved_bytes(), value.capacity() as u64);
        Ok(value)
    }

    fn view<'a>(&self, resident: &'a Vec<u8>) -> &'a [u8] {
        resident
    }

    fn mmwrite(&self, resident: &Vec<u8>, sink: &mut Sink<'_>) -> Result<()> {
        sink.section(1)?;
        sink.write(resident)
    }

    fn mmwrite_value(&self, value: &Vec<u8>, sink: &mut Sink<'_>) -> Result<()> {
        self.mmwrite(value, sink)
    }

    fn mmread(&self, source: &mut Source<'_>, room: &mut Room) -> Result<Vec<u8>> {
        let bytes = source.section()?.to_vec();
        // As the trait promises: what `admit` left is reserved before this is called.
        if room.reserved_bytes() != bytes.capacity() as u64 {
            let said = format!("{} reserved for {}", room.reserved_bytes(), bytes.capacity());
            return Err(CodecError::damage::<Vec<u8>>("decoding", said).into());
        }
        Ok(bytes)
    }
}

#[test]
fn what_is_decoded_keeps_its_own_reservation() {
    let scratch = Scratch::new("decode");
    let (blobs, _disk) = scratch.pool(Verify::Header);
    let pool = blobs.with_codec(Decoding);
    let all: Vec<_> = (0..5).map(|n| pool.set(vec![n; 100_000]).unwrap()).collect();
    for round in 0..2 {
        for (n, one) in (0..).zip(&all) {
            assert_eq!(pool.get(one).unwrap()[..], vec![n; 100_000][..], "{n} in round {round}");
            let here = all.iter().filter(|one| pool.is_in_memory(one)).count() as u64;
            let used = pool.stats().used_bytes;
            assert_eq!(used, here * 100_000, "the frame's copy is paid back, the value is not");
        }
    }
    drop(all);
    assert_empty(&blobs);
}

#[test]
fn what_was_read_a_moment_ago_is_not_read_ahead_again() {
    let scratch = Scratch::new("ahead");
    let disk = FaultyDisk::new();
    let store = SpillOptions::new(&scratch.0).disk(disk.clone()).open().unwrap();
    let pool = PoolOptions::new().memory_limit(1 << 20).store(store).open(Blob);
    let values: Vec<Vec<u8>> = (0..200).map(|n| vec![n; 100]).collect();
    let all: Vec<_> = values.iter().map(|value| pool.set(value.clone()).unwrap()).collect();
    let check = || {
        all.iter().for_each(|one| drop(pool.move_to_disk(one).unwrap()));
        let held = pool.get_many(&all).unwrap();
        assert!(held.iter().zip(&values).all(|(view, value)| view[..] == value[..]));
    };
    check();
    let calls = disk.read_ahead_calls();
    assert!(calls > 0);
    check();
    assert_eq!(disk.read_ahead_calls(), calls);
}
