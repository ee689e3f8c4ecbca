//! Filters: what goes out comes back, in every order of filters; what is written is what the filters made; and each
//! refusal has its type.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use mempool_core::testing::{room, with_frame};
use mempool_core::{
    Blob, Error, ErrorKind, Header, Id, Ledger, Pool, PoolOptions, SetOptions, SpillStore,
    StoreErrorKind,
};
use mempool_spill::{
    Block, Container, Encrypt, Filter, FilterError, FilterName, Lz4, SpillError, SpillOptions,
    Verify, Zstd, check_blocks, check_filter, read_retained,
};
use proptest::prelude::*;

mod filtered;
use filtered::{CHAINS, KEY, Scratch, files_below, mixed, noise, with_chain};

const BLOCK: usize = 256 << 10;

fn open(options: SpillOptions, limit: u64) -> Pool<Blob> {
    let store = options.open().unwrap();
    let options = PoolOptions::new().memory_limit(limit).room_timeout(Duration::ZERO);
    options.store(store).open(Blob)
}

/// What the disk side said.
fn cause(error: &Error) -> &SpillError {
    let Error::Store(store) = error else { panic!("{error:?}") };
    store.source.downcast_ref().unwrap()
}

/// The container that a file is.
fn container(path: &Path) -> Container {
    Container::decode(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn every_chain_gives_back_every_size() {
    // Header and padding of the frame take 192 bytes, so a block is full on both sides of these.
    let around = |size: usize| size - 194..=size - 190;
    let mut sizes = vec![0, 1, 2, 100, 4096, BLOCK - 1, BLOCK, BLOCK + 1, 1_100_000];
    sizes.extend(around(BLOCK).chain(around(2 * BLOCK)));
    for chain in CHAINS {
        let scratch = Scratch::new("sizes");
        let verify = if chain.len() == 1 { Verify::Header } else { Verify::Always };
        let pool = open(with_chain(scratch.options().verify(verify), chain), 30 << 20);
        let many_mb = (!chain.contains('e')).then_some(9 << 20);
        for (n, &size) in (0..).zip(sizes.iter().chain(&many_mb)) {
            let plain = mixed(n, size);
            let one = pool.set(plain.clone()).unwrap();
            drop(pool.move_to_disk(&one).unwrap());
            assert!(!pool.is_in_memory(&one));
            let view = pool.get(&one).unwrap();
            assert!(view[..] == plain[..], "{chain}: {size}");
            assert_eq!(pool.stats().store.mapped_bytes, 0, "{chain}: nothing is mapped");
        }
        pool.quiesce();
        let stats = pool.stats();
        assert_eq!((stats.live_disk_bytes, stats.store.live_bytes), (0, 0));
        pool.close().unwrap();
        assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 0);
    }
}

#[test]
fn filters_are_applied_in_order_and_undone_in_reverse() {
    /// Puts a letter in front; undoing takes exactly that letter away.
    struct Letter(u8, &'static str);
    impl Filter for Letter {
        fn name(&self) -> FilterName {
            FilterName::new(self.1)
        }
        fn encoded_bytes_max(&self, bytes: usize) -> usize {
            bytes + 1
        }
        fn encode(
            &self,
            _: &Block<'_>,
            bytes: &[u8],
            out: &mut Vec<u8>,
        ) -> Result<(), FilterError> {
            out.push(self.0);
            out.extend_from_slice(bytes);
            Ok(())
        }
        fn decode(
            &self,
            _: &Block<'_>,
            bytes: &[u8],
            decoded_bytes_max: usize,
            out: &mut Vec<u8>,
        ) -> Result<(), FilterError> {
            match bytes.split_first() {
                Some((&first, rest)) if first == self.0 && rest.len() <= decoded_bytes_max => {
                    out.extend_from_slice(rest);
                    Ok(())
                }
                _ => Err(FilterError::Undecodable { what: format!("no {}", self.1) }),
            }
        }
    }
    let scratch = Scratch::new("order");
    let options = scratch.options().filter(Letter(b'1', "first")).filter(Letter(b'2', "second"));
    let pool = open(options, 1 << 20);
    let one = pool.set(b"value".to_vec()).unwrap();
    let path = scratch.0.join("saved");
    pool.save_to_disk(&one, &path).unwrap();
    let bytes = fs::read(&path).unwrap();
    // Header of 64 and two filters of 64, then the head of the only block; the content of the frame starts it.
    assert_eq!(bytes[192 + 16..][..2], *b"21", "the second was applied last");
    assert_eq!(container(&path).chain(), "first, second");
    assert_eq!(pool.get_file(&pool.file::<Vec<u8>>(&path)).unwrap()[..], *b"value");
    drop(pool.move_to_disk(&one).unwrap());
    assert_eq!(pool.get(&one).unwrap()[..], *b"value");
    check_filter(&Letter(b'3', "third"));
}

#[test]
fn each_filter_keeps_the_laws() {
    check_filter(&Lz4);
    for level in [-5, 1, 3, 19, 99] {
        check_filter(&Zstd::level(level));
    }
    check_filter(&Encrypt::with_key(KEY));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 20 } else { 500 }))]

    #[test]
    fn any_chain_gives_back_any_values(
        chain in "[lze]{1,8}",
        values in prop::collection::vec((any::<u64>(), 0_usize..400_000, any::<bool>()), 1..8),
        segment in 16_u64..23,
    ) {
        let scratch = Scratch::new("any");
        let options = with_chain(scratch.options().segment_bytes(1 << segment), &chain);
        let pool = open(options, 1 << 20);
        let values: Vec<_> = values
            .into_iter()
            .map(|(seed, len, random)| if random { noise(seed, len) } else { mixed(seed, len) })
            .collect();
        let all: Vec<_> = values.iter().map(|value| pool.set(value.clone()).unwrap()).collect();
        let saved = scratch.0.join("saved");
        pool.save_to_disk(&all[0], &saved).unwrap();
        for (value, one) in values.iter().zip(&all) {
            drop(pool.move_to_disk(one).unwrap());
            prop_assert!(pool.get(one).unwrap()[..] == value[..]);
            prop_assert!(pool.stats().used_bytes <= 1 << 20);
        }
        let saved = pool.get_file(&pool.file::<Vec<u8>>(&saved)).unwrap();
        prop_assert!(saved[..] == values[0][..]);
    }
}

#[test]
fn the_disk_ledger_counts_what_filters_made() {
    let scratch = Scratch::new("ledger");
    let pool = open(with_chain(scratch.options(), "z"), 64 << 20);
    let one = pool.set(vec![7; 32 << 20]).unwrap();
    drop(pool.move_to_disk(&one).unwrap());
    let usage = pool.stats().store;
    assert!(usage.live_bytes < 1 << 20, "it compresses well: {usage:?}");
    assert!(usage.disk_bytes <= usage.live_bytes + 4096, "the tail was given back: {usage:?}");
    assert!(usage.peak_disk_bytes >= 32 << 20, "and had been reserved: {usage:?}");
    let noise = pool.set(noise(1, 8 << 20)).unwrap();
    drop(pool.move_to_disk(&noise).unwrap());
    let frames = pool.stats().store.live_bytes - usage.live_bytes;
    // The frame, a header of 128, and for each of 33 blocks 16 and one byte more.
    let bound = (8 << 20) + 192 + 128 + 33 * 17;
    assert!((8 << 20..=bound).contains(&frames), "noise is stored as it is: {frames}");
    drop((one, noise));
    pool.quiesce();
    assert_eq!(pool.stats().store.live_bytes, 0);
}

#[test]
fn a_full_disk_is_an_error_and_loses_nothing() {
    for chain in ["l", "ze"] {
        let scratch = Scratch::new("full");
        let options = with_chain(scratch.options().segment_bytes(1 << 20), chain);
        let pool = open(options.disk_limit(3 << 20), 16 << 20);
        let small = pool.set(noise(1, 1000)).unwrap();
        drop(pool.move_to_disk(&small).unwrap());
        let large = pool.set(noise(2, 5 << 20)).unwrap();
        let refused = pool.move_to_disk(&large).map(drop).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Limit, "{refused}");
        assert!(matches!(cause(&refused), SpillError::Limit { .. }));
        assert!(pool.get(&large).unwrap()[..] == noise(2, 5 << 20)[..]);
        assert!(pool.get(&small).unwrap()[..] == noise(1, 1000)[..]);
        let fits = pool.set(noise(3, 1 << 19)).unwrap();
        drop(pool.move_to_disk(&fits).unwrap());
        assert!(pool.get(&fits).unwrap()[..] == noise(3, 1 << 19)[..]);
    }
}

#[test]
fn a_value_needs_room_to_be_got() {
    let scratch = Scratch::new("room");
    let pool = open(with_chain(scratch.options(), "l"), 400_000);
    let huge = pool.set(vec![1; 500_000]).unwrap();
    assert!(matches!(pool.get(&huge).map(drop), Err(Error::TooLarge { limit_bytes: 400_000, .. })));
    let small = pool.set(vec![2; 100_000]).unwrap();
    drop(pool.move_to_disk(&small).unwrap());
    let held = pool.reserve(350_000).unwrap();
    assert!(matches!(pool.get(&small).map(drop), Err(Error::NoRoom(_))));
    drop(held);
    assert_eq!(pool.get(&small).unwrap()[9], 2);
    assert!(pool.is_in_memory(&small) && pool.stats().used_bytes > 100_000);
    let path = scratch.0.join("huge");
    pool.save_to_disk(&small, &path).unwrap();
    let file = pool.file::<Vec<u8>>(&path);
    let held = pool.reserve(350_000).unwrap();
    assert!(matches!(pool.get_file(&file).map(drop), Err(Error::NoRoom(_))));
    drop(held);
}

#[test]
fn dead_space_of_filtered_frames_is_won_back() {
    for chain in ["z", "e"] {
        let scratch = Scratch::new("reclaim");
        let pool = open(with_chain(scratch.options().segment_bytes(256 << 10), chain), 200_000);
        let mut all: Vec<_> = (0..1000).map(|n| pool.set(noise(n, 3000)).ok()).collect();
        for (n, one) in all.iter_mut().enumerate() {
            if n % 8 != 0 {
                *one = None;
            }
        }
        // What is freed between calls is won back by them.
        for n in 2000..2200 {
            drop(pool.set(noise(n, 3000)).unwrap());
            pool.quiesce();
        }
        let usage = pool.stats().store;
        let bound = usage.live_bytes * 13 / 10 + 2 * (256 << 10);
        assert!(usage.disk_bytes <= bound, "{chain}: {usage:?}");
        for (n, one) in (0..).zip(&all) {
            let Some(one) = one else { continue };
            assert!(pool.get(one).unwrap()[..] == noise(n, 3000)[..], "{chain}: {n} after a move");
        }
    }
}

#[test]
fn saved_files_are_filtered_and_say_what_they_need() {
    let scratch = Scratch::new("saved");
    let pool = open(with_chain(scratch.options(), "ze"), 1 << 20);
    let path = scratch.0.join("filtered");
    let one = pool.set(mixed(1, 100_000)).unwrap();
    let file = pool.save_to_disk(&one, &path).unwrap();
    assert!(pool.get_file(&file).unwrap()[..] == mixed(1, 100_000)[..]);
    assert_eq!(container(&path).chain(), "zstd, xchacha20");
    // A frame that is on disk already is saved in the same way.
    drop(pool.move_to_disk(&one).unwrap());
    let again = scratch.0.join("again");
    pool.save_to_disk(&one, &again).unwrap();
    assert_eq!(container(&again).chain(), "zstd, xchacha20");
    // The filters may be given in any order, and for reading alone.
    let key = || Encrypt::with_key(KEY);
    let other = scratch.options().filter(key()).reads(Zstd::default());
    let other = open(other, 1 << 20);
    assert!(other.get_file(&other.file::<Vec<u8>>(&path)).unwrap()[..] == mixed(1, 100_000)[..]);
    let reading = open(scratch.options().reads(key()).reads(Zstd::default()), 1 << 20);
    assert!(
        reading.get_file(&reading.file::<Vec<u8>>(&path)).unwrap()[..] == mixed(1, 100_000)[..]
    );
    let plain = scratch.0.join("plain");
    let two = reading.set(mixed(2, 1000)).unwrap();
    reading.save_to_disk(&two, &plain).unwrap();
    assert!(Container::decode(&fs::read(&plain).unwrap()).is_err(), "it writes none");
    assert!(pool.get_file(&pool.file::<Vec<u8>>(&plain)).unwrap()[..] == mixed(2, 1000)[..]);
}

#[test]
fn a_saved_file_is_checked_without_a_session() {
    let scratch = Scratch::new("check");
    let pool = open(with_chain(scratch.options(), "le"), 4 << 20);
    let (path, plain) = (scratch.0.join("filtered"), scratch.0.join("plain"));
    let one = pool.set(mixed(1, 700_000)).unwrap();
    pool.save_to_disk(&one, &path).unwrap();
    let keyed = with_chain(SpillOptions::new("/nowhere"), "le");
    let header = keyed.check_file(&path).unwrap();
    assert_eq!(header.frame_bytes, 700_000 + 192);
    assert_eq!(container(&path), check_blocks(&path).unwrap());
    let keyless = SpillOptions::new("/nowhere").reads(Lz4);
    assert!(matches!(keyless.check_file(&path), Err(SpillError::FilterMissing { .. })));
    let whole = fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(997) {
        let mut bent = whole.clone();
        bent[at] ^= 1;
        fs::write(&path, bent).unwrap();
        assert!(keyed.check_file(&path).is_err() && check_blocks(&path).is_err(), "byte {at}");
        fs::write(&path, &whole[..at]).unwrap();
        assert!(keyed.check_file(&path).is_err() && check_blocks(&path).is_err(), "{at} bytes");
    }
    let bare = open(scratch.options(), 4 << 20);
    bare.save_to_disk(&bare.set(mixed(1, 1000)).unwrap(), &plain).unwrap();
    let refused = keyed.check_file(&plain);
    assert!(matches!(refused, Err(SpillError::Damaged { .. })), "it is no container: {refused:?}");
}

#[test]
fn a_filter_that_is_missing_is_named() {
    let scratch = Scratch::new("missing");
    let pool = open(with_chain(scratch.options(), "le"), 1 << 20);
    let path = scratch.0.join("filtered");
    pool.save_to_disk(&pool.set(mixed(1, 1000)).unwrap(), &path).unwrap();
    let check = |options: SpillOptions| {
        let pool = open(options, 1 << 20);
        let error = pool.get_file(&pool.file::<Vec<u8>>(&path)).map(drop).unwrap_err();
        let SpillError::FilterMissing { path: named, filters, offset: 0 } = cause(&error) else {
            panic!("{error:?}")
        };
        assert_eq!((named, &filters[..]), (&path, "lz4, xchacha20"));
        assert_eq!(error.kind(), ErrorKind::Misuse);
    };
    check(scratch.options());
    check(scratch.options().filter(Lz4));
    check(scratch.options().read_mode(mempool_spill::ReadMode::Copy));
}

#[test]
fn another_key_is_told_from_damage() {
    let scratch = Scratch::new("key");
    let pool = open(with_chain(scratch.options(), "e"), 1 << 20);
    let path = scratch.0.join("filtered");
    pool.save_to_disk(&pool.set(mixed(1, 1000)).unwrap(), &path).unwrap();
    let other = || Encrypt::with_key([1; 32]);
    let wrong = open(scratch.options().filter(other()), 1 << 20);
    let error = wrong.get_file(&wrong.file::<Vec<u8>>(&path)).map(drop).unwrap_err();
    let SpillError::Filter { source: FilterError::WrongKey { expected, found }, .. } =
        cause(&error)
    else {
        panic!("{error:?}")
    };
    assert_eq!(*expected, Encrypt::with_key(KEY).key_id());
    assert_eq!(*found, other().key_id());
    // With both keys it is found.
    let both = open(scratch.options().filter(other()).reads(Encrypt::with_key(KEY)), 1 << 20);
    assert!(both.get_file(&both.file::<Vec<u8>>(&path)).is_ok());
    let shown = format!("{:?} {:?}", Encrypt::with_key(KEY), scratch.options().filter(other()));
    let secret = String::from_utf8(KEY.to_vec()).unwrap();
    assert!(!shown.contains(&secret) && !shown.contains("97, 32, 107"), "{shown}");
}

#[test]
fn no_plain_byte_reaches_a_file() {
    let plain = noise(5, 700_000);
    // A short one that a shared segment takes, and one that has a segment of its own.
    let runs: HashSet<&[u8]> = plain.chunks_exact(16).collect();
    for chain in ["e", "le", "el"] {
        let scratch = Scratch::new("plain");
        let pool = open(with_chain(scratch.options().segment_bytes(1 << 20), chain), 4 << 20);
        let values = [&plain[..], &plain[..100_000], &plain[..16]];
        let all: Vec<_> = values.iter().map(|value| pool.set(value.to_vec()).unwrap()).collect();
        for (n, one) in all.iter().enumerate() {
            drop(pool.copy_to_disk(one).unwrap());
            pool.save_to_disk(one, scratch.0.join(format!("saved-{n}"))).unwrap();
        }
        let files = files_below(&scratch.0);
        assert!(files.len() >= 5, "{files:?}", files = files.len());
        let found = files.iter().flat_map(|(_, bytes)| bytes.windows(16)).any(|w| runs.contains(w));
        assert!(!found, "{chain}");
        // The search itself: without the filter it finds them.
        let bare = open(scratch.options(), 4 << 20);
        bare.save_to_disk(&bare.set(plain[..100_000].to_vec()).unwrap(), scratch.0.join("bare"))
            .unwrap();
        let bare = fs::read(scratch.0.join("bare")).unwrap();
        assert!(bare.windows(16).any(|window| runs.contains(window)));
    }
}

#[test]
fn filtered_frames_are_not_handed_over() {
    let scratch = Scratch::new("share");
    let id = Id { slot: 1, generation: 1 };
    let write = |options: SpillOptions| {
        let store = options.open().unwrap();
        let write = |len| {
            let bytes = vec![7; len];
            let handle = with_frame(id, &[(64, &bytes)], |frame| store.write(frame)).unwrap();
            store.share(&handle.unwrap()).is_some()
        };
        (write(100), write(4 << 20))
    };
    assert_eq!(write(scratch.options()), (false, true), "one that has a file to itself");
    assert_eq!(write(with_chain(scratch.options(), "l")), (false, false));
}

#[test]
fn a_retained_session_is_restored_with_its_filters() {
    let scratch = Scratch::new("retained");
    let options = || scratch.options().label("kept").segment_bytes(1 << 20);
    let pool = open(with_chain(options(), "le"), 4 << 20);
    for (name, len) in [("small", 1000), ("large", 1_500_000)] {
        pool.set_with(mixed(9, len), SetOptions::new().name(name)).unwrap();
    }
    pool.close_retaining().unwrap();
    let session = fs::read_dir(scratch.0.join(".mempool")).unwrap().next().unwrap().unwrap().path();
    let retained = read_retained(&session).unwrap();
    for value in &retained.manifest.values {
        // The blocks are whole; what is in them is for whoever has the key.
        assert!(matches!(retained.check(value), Err(SpillError::FilterMissing { .. })));
    }
    let get = |store: SpillOptions, name: &str| {
        let store = store.restore().unwrap();
        let pool = PoolOptions::new().memory_limit(4 << 20).store(store).restore(Blob).unwrap();
        let one = pool.named::<Vec<u8>>(name).unwrap();
        pool.get(&one).map(|view| view.to_vec())
    };
    for (name, len) in [("small", 1000), ("large", 1_500_000)] {
        assert!(get(with_chain(options(), "le"), name).unwrap() == mixed(9, len));
        assert!(
            get(with_chain(options(), "z").reads(Lz4).reads(Encrypt::with_key(KEY)), name).unwrap()
                == mixed(9, len)
        );
        let missing = get(options(), name).unwrap_err();
        assert!(
            std::error::Error::source(&missing)
                .is_some_and(|cause| cause.to_string().contains("lz4, xchacha20")),
            "{missing:?}"
        );
    }
}

#[test]
fn an_unfiltered_retained_session_is_restored_by_a_filtered_store() {
    let scratch = Scratch::new("unfiltered");
    let pool = open(scratch.options(), 4 << 20);
    pool.set_with(mixed(9, 1000), SetOptions::new().name("one")).unwrap();
    pool.close_retaining().unwrap();
    let store = with_chain(scratch.options(), "e").restore().unwrap();
    let pool = PoolOptions::new().memory_limit(4 << 20).store(store).restore(Blob).unwrap();
    let one = pool.named::<Vec<u8>>("one").unwrap();
    assert!(pool.get(&one).unwrap()[..] == mixed(9, 1000)[..]);
    let two = pool.set(mixed(8, 1000)).unwrap();
    drop(pool.move_to_disk(&two).unwrap());
    assert!(pool.get(&two).unwrap()[..] == mixed(8, 1000)[..]);
    pool.forget_retained().unwrap();
}

#[test]
fn a_filter_that_fails_fails_the_write_alone() {
    struct Broken;
    impl Filter for Broken {
        fn name(&self) -> FilterName {
            FilterName::new("broken")
        }
        fn encoded_bytes_max(&self, bytes: usize) -> usize {
            bytes
        }
        fn encode(
            &self,
            _: &Block<'_>,
            bytes: &[u8],
            out: &mut Vec<u8>,
        ) -> Result<(), FilterError> {
            match bytes.len() {
                0..10_000 => out.extend_from_slice(&[bytes, b"x"].concat()),
                _ => return Err(FilterError::Failed("out of ink".into())),
            }
            Ok(())
        }
        fn decode(
            &self,
            _: &Block<'_>,
            _: &[u8],
            _: usize,
            _: &mut Vec<u8>,
        ) -> Result<(), FilterError> {
            Ok(())
        }
    }
    let scratch = Scratch::new("broken");
    let pool = open(scratch.options().filter(Broken), 1 << 20);
    for len in [1000, 20_000] {
        let one = pool.set(vec![1; len]).unwrap();
        let error = pool.move_to_disk(&one).map(drop).unwrap_err();
        match cause(&error) {
            SpillError::Filter { source: FilterError::TooLong { .. }, .. } => assert_eq!(len, 1000),
            SpillError::Filter { source: FilterError::Failed(_), filter, .. } => {
                assert_eq!((len, filter.to_string()), (20_000, "broken".into()));
            }
            other => panic!("{other:?}"),
        }
        assert!(pool.get(&one).unwrap()[..] == vec![1; len][..], "it stays in memory");
        let saved = scratch.0.join("saved");
        assert!(pool.save_to_disk(&one, &saved).is_err() && !saved.exists());
    }
    assert_eq!(pool.stats().store.live_bytes, 0);
}

#[test]
fn the_frame_in_a_container_is_the_frame_without_filters() {
    let scratch = Scratch::new("same");
    let sections: [(usize, &[u8]); 3] = [(64, b"one"), (8, b""), (256, &mixed(3, 600_000))];
    let id = Id { slot: 3, generation: 7 };
    let frame = |options: SpillOptions| {
        let store = options.open().unwrap();
        let handle = with_frame(id, &sections, |frame| store.write(frame)).unwrap().unwrap();
        let ledger = Ledger::new(4 << 20, Duration::ZERO);
        let frame = store.open_whole(&handle, &mut room(&ledger)).unwrap();
        assert!(Header::check_whole(&frame, |bytes| store.checksum(bytes)).is_ok());
        frame.to_vec()
    };
    let bare = frame(scratch.options());
    for chain in CHAINS {
        assert!(frame(with_chain(scratch.options(), chain)) == bare, "{chain}");
    }
    let store = scratch.options().open().unwrap();
    let missing = store.load(&scratch.0.join("none"), &mut room(&Ledger::new(1, Duration::ZERO)));
    assert_eq!(missing.map(drop).unwrap_err().kind, StoreErrorKind::Missing);
}
