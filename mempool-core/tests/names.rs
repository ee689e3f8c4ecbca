//! Names: each keeps its value alive, finds it again, and goes with the pool.
#![cfg(all(feature = "testing", not(any(loom, shuttle))))]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mempool_core::testing::{Call, FaultyStore, Switch};
use mempool_core::{
    Blob, Codec, CodecName, DRef, Error, ErrorKind, Format, Manifest, MemoryStore, Place, Pool,
    PoolOptions, Rejected, Result, Room, SetOptions, Sink, Source, StoreErrorKind,
};

const LIMIT: u64 = 10_000;

fn pool() -> Pool<Blob> {
    PoolOptions::new().memory_limit(LIMIT).room_timeout(Duration::ZERO).open(Blob)
}

fn find(pool: &Pool<Blob>, name: &str) -> Result<DRef<Vec<u8>>> {
    pool.named::<Vec<u8>>(name)
}

/// Numbers, in eight bytes.
struct Number;

impl Codec<u64> for Number {
    type Resident = u64;
    type View = u64;

    fn format(&self) -> Format {
        Format { codec: CodecName::new("number"), type_tag: 1, pointer_width: 0 }
    }

    fn size_hint(&self, _value: &u64) -> Result<u64> {
        Ok(0)
    }

    fn admit(&self, value: u64, _room: &mut Room) -> Result<u64, Rejected<u64>> {
        Ok(value)
    }

    fn view<'a>(&self, resident: &'a u64) -> &'a u64 {
        resident
    }

    fn mmwrite(&self, resident: &u64, sink: &mut Sink<'_>) -> Result<()> {
        sink.section(8)?;
        sink.write(&resident.to_le_bytes())
    }

    fn mmwrite_value(&self, value: &u64, sink: &mut Sink<'_>) -> Result<()> {
        self.mmwrite(value, sink)
    }

    fn mmread(&self, source: &mut Source<'_>, _room: &mut Room) -> Result<u64> {
        Ok(u64::from_le_bytes(source.section()?[..8].try_into().unwrap()))
    }
}

#[test]
fn a_name_keeps_its_value_alive_and_finds_it() {
    let pool = pool();
    let one = pool.set(vec![1; 100]).unwrap();
    let id = one.id();
    assert!(pool.set_name("a", &one).unwrap().is_none());
    assert!(pool.set_name("b", &one).unwrap().is_none());
    drop(one);
    assert_eq!(pool.get(&find(&pool, "a").unwrap()).unwrap()[..], [1; 100]);
    let again = find(&pool, "b").unwrap();
    assert_eq!((again.id(), pool.info(&again).unwrap().references), (id, 3));
    drop(again);
    assert_eq!(pool.unname("a").unwrap().id(), id);
    assert_eq!(pool.stats().values, 1, "another name is left");
    let last = pool.unname("b").unwrap();
    assert_eq!(pool.get(&last.typed().unwrap()).unwrap()[..], [1; 100]);
    assert!(matches!(last.typed::<String>(), Err(Error::NoReference { .. })));
    drop(last);
    let stats = pool.stats();
    assert_eq!((stats.values, stats.used_bytes), (0, 0));
    for error in [pool.unname("b").map(drop), find(&pool, "b").map(drop)] {
        let error = error.unwrap_err();
        assert!(matches!(&error, Error::NoName { name } if name == "b"), "{error}");
        assert_eq!(error.kind(), ErrorKind::Misuse);
    }
}

#[test]
fn a_name_that_is_given_again_gives_the_old_value_back() {
    let pool = pool();
    let numbers = pool.with_codec(Number);
    let ended = Arc::new(AtomicU64::new(0));
    let on_end = || {
        let ended = Arc::clone(&ended);
        SetOptions::new().destructor(move || {
            ended.fetch_add(1, Ordering::SeqCst);
        })
    };
    drop(pool.set_with(vec![1], on_end().name("x")).unwrap());
    let seven = numbers.set_with(7_u64, on_end()).unwrap();
    let before = numbers.set_name("x", &seven).unwrap().unwrap();
    pool.quiesce();
    assert_eq!(ended.load(Ordering::SeqCst), 0, "it lives as long as it is held");
    assert_eq!(pool.get(&before.typed().unwrap()).unwrap()[..], [1]);
    drop(before);
    pool.quiesce();
    assert_eq!(ended.load(Ordering::SeqCst), 1);
    let error = find(&pool, "x").unwrap_err();
    let Error::WrongCodec { stored, asked } = &error else { panic!("{error}") };
    assert!(stored.contains("u64 by names::Number"), "{stored}");
    assert!(asked.contains("Vec<u8>") && asked.contains("blob"), "{asked}");
    assert_eq!(*numbers.get(&numbers.named::<u64>("x").unwrap()).unwrap(), 7);
    // The same name and value once more: nothing comes of it.
    assert_eq!(numbers.set_name("x", &seven).unwrap().unwrap().id(), seven.id());
    assert_eq!(numbers.info(&seven).unwrap().references, 2);
}

#[test]
fn a_set_that_fails_leaves_the_name_where_it_is() {
    let switch = Switch::new();
    let store = FaultyStore::new(MemoryStore::new(), &switch);
    let pool = PoolOptions::new().memory_limit(LIMIT).room_timeout(Duration::ZERO);
    let pool = pool.store(store).open(Blob);
    let first = pool.set_with(vec![1; 6000], SetOptions::new().name("x")).unwrap();
    let held = pool.get(&first).unwrap();
    let rejected = pool.set_with(vec![2; 6000], SetOptions::new().name("x")).unwrap_err();
    assert!(matches!(rejected.error, Error::NoRoom(_)), "{rejected}");
    assert_eq!(find(&pool, "x").unwrap(), first);
    drop(held);
    switch.fail(Call::Write, 0, 1, StoreErrorKind::Full);
    let rejected = pool.set_with(vec![2; 20_000], SetOptions::new().name("x")).unwrap_err();
    assert_eq!(rejected.value.len(), 20_000);
    assert_eq!(find(&pool, "x").unwrap(), first);
    // One that goes straight to disk has its name as well.
    let large = pool.set_with(vec![2; 20_000], SetOptions::new().name("x")).unwrap();
    assert_eq!(find(&pool, "x").unwrap(), large);
    assert_ne!(first, large);
}

#[test]
fn names_are_any_text_up_to_a_bound() {
    let pool = pool();
    let longest = "ä".repeat(Manifest::NAME_BYTES_MAX / 2);
    let strange = ["", " ", "\0", "a\nb", "../../etc/passwd", "🦀", "e\u{301}", "é", &longest];
    let mut model = BTreeMap::new();
    for (seed, name) in (0..).zip(strange) {
        let one = pool.set(vec![seed; 10]).unwrap();
        pool.set_name(name, &one).unwrap();
        model.insert(name.to_owned(), seed);
    }
    for (name, seed) in &model {
        assert_eq!(pool.get(&find(&pool, name).unwrap()).unwrap()[..], [*seed; 10], "{name:?}");
    }
    let listed: Vec<_> = pool.names().into_iter().map(|info| info.name).collect();
    assert!(listed.iter().eq(model.keys()), "in ascending order");
    let too_long = format!("{longest}x");
    let one = pool.set(vec![1]).unwrap();
    let error = pool.set_name(&too_long, &one).unwrap_err();
    assert!(matches!(error, Error::NameTooLong { bytes: 4097, limit: 4096 }), "{error}");
    let rejected = pool.set_with(vec![9; 3], SetOptions::new().name(too_long)).unwrap_err();
    assert!(matches!(rejected.error, Error::NameTooLong { .. }));
    assert_eq!(rejected.value, [9; 3]);
    assert_eq!(pool.names().len(), model.len());
}

#[test]
fn names_are_listed_with_what_is_known() {
    let pool = pool();
    let numbers = pool.with_codec(Number);
    drop(pool.set_with(vec![1; 4000], SetOptions::new().name("bytes")).unwrap());
    drop(numbers.set_with(5_u64, SetOptions::new().name("number")).unwrap());
    pool.move_to_disk(&find(&pool, "bytes").unwrap()).unwrap();
    let [bytes, number] = &pool.names()[..] else { panic!("two names") };
    assert_eq!((&*bytes.name, &*number.name), ("bytes", "number"));
    assert_eq!((&*bytes.value_type, &*number.value_type), ("alloc::vec::Vec<u8>", "u64"));
    assert_eq!(number.format, Number.format());
    let info = bytes.value.unwrap();
    assert_eq!((info.place, info.references, info.id), (Place::Spilled, 1, bytes.id));
    assert!(info.frame_bytes.unwrap() > 4000);
    assert_eq!(number.value.unwrap().place, Place::Resident);
    // Fronts share the names.
    assert_eq!(numbers.names(), pool.names());
}

#[test]
fn a_value_that_ended_under_its_name_says_how() {
    let pool = pool();
    let one = pool.set_with(vec![1; 100], SetOptions::new().name("deleted")).unwrap();
    pool.delete(&one).unwrap();
    assert!(matches!(pool.set_name("again", &one), Err(Error::Deleted { .. })));
    drop(one);
    drop(pool.set_with(vec![2; 6000], SetOptions::new().discardable().name("gone")).unwrap());
    drop(pool.set(vec![3; 6000]).unwrap());
    let deleted = find(&pool, "deleted").unwrap();
    assert!(matches!(pool.get(&deleted), Err(Error::Deleted { .. })));
    let gone = find(&pool, "gone").unwrap();
    assert!(matches!(pool.get(&gone), Err(Error::Discarded { .. })));
    assert!(pool.names().iter().all(|info| info.value.is_none()));
    assert_eq!(pool.names().len(), 2);
}

#[test]
fn names_end_with_the_pool() {
    let pool = pool();
    let ended = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&ended);
    let options = SetOptions::new().destructor(move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let one = pool.set_with(vec![1; 100], options.name("x")).unwrap();
    let other = self::pool();
    assert!(matches!(other.set_name("x", &one), Err(Error::WrongPool { .. })));
    pool.close().unwrap();
    assert_eq!(ended.load(Ordering::SeqCst), 1);
    assert!(pool.names().is_empty());
    for error in [
        pool.set_name("y", &one).map(drop),
        find(&pool, "x").map(drop),
        pool.unname("x").map(drop),
        pool.retain(),
        pool.forget_retained(),
    ] {
        assert!(matches!(error, Err(Error::Closed)), "{error:?}");
    }
    // Dropped without a close, the names do not keep the pool alive.
    let dropped = self::pool();
    drop(dropped.set_with(vec![1; 100], SetOptions::new().name("x")).unwrap());
    let left = find(&dropped, "x").unwrap();
    drop(dropped);
    assert_eq!(Arc::strong_count(&ended), 1);
    drop(left);
}

#[test]
fn a_store_that_ends_with_its_process_retains_nothing_and_says_so() {
    let pool = pool();
    let one = pool.set_with(vec![1; 100], SetOptions::new().name("x")).unwrap();
    let error = pool.close_retaining().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misuse);
    let Error::Store(error) = error else { panic!("{error}") };
    assert_eq!(error.kind, StoreErrorKind::Unsupported);
    assert_eq!(pool.get(&one).unwrap()[..], [1; 100], "the pool is open and whole");
    pool.forget_retained().unwrap();
    pool.close().unwrap();
    let empty = PoolOptions::new().restore(Blob).unwrap();
    assert!(empty.names().is_empty());
}

#[test]
fn threads_name_and_find_at_once() {
    let pool = pool();
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let pool = &pool;
            scope.spawn(move || {
                for round in 0..500_u32 {
                    let name = format!("{}", round % 7);
                    let value = vec![thread; 200];
                    drop(pool.set_with(value, SetOptions::new().name(name.clone())).unwrap());
                    if let Ok(found) = find(pool, &name) {
                        let view = pool.get(&found).unwrap();
                        assert!(view.len() == 200 && view.iter().all(|&byte| byte == view[0]));
                    }
                    if round % 11 == 0 {
                        drop(pool.unname(&name));
                    }
                }
            });
        }
    });
    for info in pool.names() {
        drop(pool.unname(&info.name).unwrap());
    }
    let stats = pool.stats();
    assert_eq!((stats.values, stats.used_bytes, stats.live_disk_bytes), (0, 0, 0));
}

#[test]
fn a_reference_without_a_type_does_what_needs_none() {
    let pool = PoolOptions::new().open(Blob);
    let value = pool.set(vec![7; 5000]).expect("room").untyped();
    let erased = value.erased();
    assert!(value.was_set_here());
    assert_eq!(pool.info(&erased).expect("it is there").value_type, "alloc::vec::Vec<u8>");
    pool.move_to_disk(&erased).expect("nobody holds it");
    assert!(!pool.is_in_memory(&erased));
    pool.set_name("x", &erased).expect("a name");
    drop((value, erased));
    assert_eq!(pool.get(&pool.named::<Vec<u8>>("x").expect("named")).expect("on disk")[0], 7);
}
