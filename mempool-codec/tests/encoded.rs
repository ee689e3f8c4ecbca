//! `Encoded` in a pool: maps of any kind, and the working memory of a decoded value.
#![cfg(all(feature = "testing", feature = "bincode"))]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use mempool_codec::{Encoded, Encoding};
use mempool_core::testing::{decode, frame_of, room};
use mempool_core::{Codec, Error, ErrorKind, Id, Ledger, PoolOptions, Trust};

type Ages = HashMap<String, u64>;

fn ages(n: u64) -> Ages {
    (0..n).map(|i| (format!("person {i} of {n}"), i)).collect()
}

fn sorted(n: u64) -> BTreeMap<u64, Option<Vec<String>>> {
    (0..n).map(|i| (i, (i % 2 == 0).then(|| vec![i.to_string(); 3]))).collect()
}

#[test]
fn maps_come_back_from_the_slower_tier() {
    const LIMIT: u64 = 64 << 10;
    let pool = PoolOptions::new().memory_limit(LIMIT).open(Encoded::new());
    let hashed: Vec<_> = (0..200).map(|n| pool.set(ages(n)).unwrap()).collect();
    let trees: Vec<_> = (0..200).map(|n| pool.set(sorted(n)).unwrap()).collect();
    assert!(pool.stats().spills > 200);
    for (n, (hashed, tree)) in (0..).zip(hashed.iter().zip(&trees)) {
        assert_eq!(*pool.get(hashed).unwrap().decode().unwrap(), ages(n));
        assert_eq!(*pool.get(tree).unwrap().decode().unwrap(), sorted(n));
    }
    assert!(pool.stats().peak_bytes <= LIMIT);
}

#[test]
fn a_decoded_value_has_a_reservation_of_its_own() {
    let pool = PoolOptions::new().memory_limit(1 << 20).open(Encoded::new());
    let reference = pool.set(ages(100)).unwrap();
    let resident = pool.stats().used_bytes;
    let view = pool.get(&reference).unwrap();
    let encoded = view.bytes().len() as u64;
    let decoded = view.decode().unwrap();
    assert_eq!(decoded.reserved_bytes(), encoded * 8 + size_of::<Ages>() as u64);
    assert_eq!(pool.stats().used_bytes, resident + decoded.reserved_bytes());
    drop(view);
    drop(reference);
    // The decoded value is the caller's, whatever became of the pool's.
    assert_eq!(*decoded, ages(100));
    assert_eq!(pool.stats().used_bytes, decoded.reserved_bytes());
    let (value, mut reservation) = decoded.into_parts();
    assert_eq!(value, ages(100));
    reservation.shrink(u64::MAX);
    assert_eq!(pool.stats().used_bytes, 0);
}

#[test]
fn the_estimate_is_a_setting() {
    let pool = PoolOptions::new().memory_limit(1 << 20).open(Encoded::new());
    let other = pool.with_codec(Encoded::new().working_bytes_per_byte(3));
    let reference = other.set(ages(50)).unwrap();
    let encoded = other.get(&reference).unwrap().bytes().len() as u64;
    let own_size = size_of::<Ages>() as u64;
    let reserved = || other.get(&reference).unwrap().decode().unwrap().reserved_bytes();
    assert_eq!(reserved(), encoded * 3 + own_size);
    other.move_to_disk(&reference).unwrap();
    assert_eq!(reserved(), encoded * 3 + own_size, "the codec that it was set with reads it back");
}

#[test]
fn decoding_evicts_others_and_says_when_there_is_no_room() {
    let value = ages(100);
    let pool =
        PoolOptions::new().memory_limit(24_000).room_timeout(Duration::ZERO).open(Encoded::new());
    let all: Vec<_> = (0..20).map(|_| pool.set(value.clone()).unwrap()).collect();
    let before = pool.stats();
    let first = pool.get(&all[0]).unwrap().decode().unwrap();
    assert!(pool.stats().spills > before.spills);
    assert!(pool.stats().used_bytes <= 24_000);
    // The first one takes more than half of the limit, so there is none for a second.
    let refused = pool.get(&all[1]).unwrap().decode();
    assert!(matches!(refused, Err(Error::NoRoom(_))), "{refused:?}");
    drop(first);
    assert_eq!(*pool.get(&all[1]).unwrap().decode().unwrap(), value);
    let large = pool.set(ages(1000)).unwrap();
    let view = pool.get(&large).unwrap();
    assert!(view.working_bytes() > 24_000);
    assert!(matches!(view.decode(), Err(Error::TooLarge { .. })));
}

#[test]
fn a_spilled_value_is_read_with_no_free_memory() {
    let pool =
        PoolOptions::new().memory_limit(24_000).room_timeout(Duration::ZERO).open(Encoded::new());
    let reference = pool.set(ages(100)).unwrap();
    pool.move_to_disk(&reference).unwrap();
    let all = pool.reserve(24_000).unwrap();
    let view = pool.get(&reference).unwrap();
    assert!(!view.bytes().is_empty());
    assert!(matches!(view.decode(), Err(Error::NoRoom(_))));
    drop(all);
    assert_eq!(*view.decode().unwrap(), ages(100));
}

#[test]
fn foreign_bytes_are_checked_when_they_are_decoded() {
    let ledger = Ledger::new(1 << 20, Duration::ZERO);
    let frame = frame_of(Id { slot: 0, generation: 1 }, &[(8, &[2, 200, b'x'])]).unwrap();
    let encoding: Encoding<Vec<String>> =
        decode(&Encoded::new(), &frame, Trust::Foreign, &mut room(&ledger)).unwrap();
    let error = encoding.decode().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damage);
    drop(encoding);
    assert_eq!(ledger.usage().used_bytes, 0);
}

/// A sequence that does not know its length cannot be written in this format.
#[test]
fn a_value_that_cannot_be_encoded_is_given_back() {
    struct Endless;

    impl serde::Serialize for Endless {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serde::ser::SerializeSeq::end(serializer.serialize_seq(None)?)
        }
    }

    impl<'de> serde::Deserialize<'de> for Endless {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Ok(Self)
        }
    }

    let pool = PoolOptions::new().memory_limit(1 << 20).open(Encoded::new());
    let Err(rejected) = pool.set(Endless) else { panic!("it has no length") };
    assert!(matches!(rejected.error, Error::Codec(_)));
    assert_eq!(pool.stats().used_bytes, 0);
}

/// One that is longer each time is an error, and neither a panic nor a wrong value.
#[test]
fn a_value_that_encodes_longer_each_time_is_given_back() {
    struct Growing(std::sync::atomic::AtomicUsize);

    impl serde::Serialize for Growing {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let len = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            serializer.collect_str(&"x".repeat(len))
        }
    }

    impl<'de> serde::Deserialize<'de> for Growing {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Ok(Self(0.into()))
        }
    }

    let ledger = Ledger::new(1 << 20, Duration::ZERO);
    let mut taken = room(&ledger);
    let Err(rejected) = Encoded::new().admit(Growing(0.into()), &mut taken) else {
        panic!("it is not admitted")
    };
    assert!(matches!(rejected.error, Error::Codec(_)));
    drop(taken);
    assert_eq!(ledger.usage().used_bytes, 0);
}
