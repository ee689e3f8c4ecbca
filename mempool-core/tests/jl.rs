//! What MemPool.jl's own tests show of one process, shown here where no other test does. `docs/mempool-jl.md` is the map.
#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use mempool_core::testing::{Call, FaultyStore, Switch};
use mempool_core::{
    Blob, Buffer, Codec, CodecName, DRef, Error, Format, MemoryStore, Place, Policy, Pool,
    PoolOptions, Rejected, Result, Room, SetOptions, Sink, Source, StoreErrorKind,
};

/// What a value of one unit takes, to the byte.
const UNIT: u64 = 1000;

/// Values by name.
type Values = HashMap<usize, DRef<Vec<u8>>>;

/// Keeps bytes, and takes memory for them when they come back, as a codec that decodes does.
struct Decoded;

impl Codec<Vec<u8>> for Decoded {
    type Resident = Buffer;
    type View = Buffer;

    fn format(&self) -> Format {
        Format { codec: CodecName::new("decoded"), type_tag: 1, pointer_width: 0 }
    }

    fn size_hint(&self, value: &Vec<u8>) -> Result<u64> {
        Blob.size_hint(value)
    }

    fn admit(&self, value: Vec<u8>, room: &mut Room) -> Result<Buffer, Rejected<Vec<u8>>> {
        Blob.admit(value, room)
    }

    fn view<'a>(&self, resident: &'a Buffer) -> &'a Buffer {
        resident
    }

    fn mmwrite(&self, resident: &Buffer, sink: &mut Sink<'_>) -> Result<()> {
        Blob.mmwrite(resident, sink)
    }

    fn mmwrite_value(&self, value: &Vec<u8>, sink: &mut Sink<'_>) -> Result<()> {
        Blob.mmwrite_value(value, sink)
    }

    fn mmread(&self, source: &mut Source<'_>, room: &mut Room) -> Result<Buffer> {
        Codec::<Vec<u8>>::mmread(&Blob, source, room)
    }

    fn drops_user_code(&self) -> bool {
        false
    }
}

fn options(units: u64) -> PoolOptions {
    PoolOptions::new().memory_limit(units * UNIT).room_timeout(Duration::ZERO)
}

/// Bytes that take so many units when they are pooled.
fn value(byte: u8, units: u64) -> Vec<u8> {
    let bytes = units * UNIT - Buffer::adoption_bytes::<Vec<u8>>();
    vec![byte; usize::try_from(bytes).unwrap()]
}

fn in_memory(pool: &Pool<Decoded>, all: &[DRef<Vec<u8>>]) -> Vec<usize> {
    (1..).zip(all).filter(|(_, one)| pool.is_in_memory(one)).map(|(name, _)| name).collect()
}

#[test]
fn a_request_takes_the_oldest_until_its_bytes_fit_and_no_more() {
    // Values of ten units in a limit of twenty; how many there are, whether the first is read, what is asked for; who goes.
    let ten = 10 * UNIT;
    let cases: &[(u8, bool, u64, &[usize])] = &[
        (0, false, 2 * ten, &[]),
        (1, false, ten, &[]),
        (1, false, ten + 1, &[1]),
        (2, false, 0, &[]),
        (2, false, 1, &[1]),
        (2, false, ten, &[1]),
        (2, false, ten + 1, &[1, 2]),
        (2, true, 1, &[2]),
        (2, true, ten, &[2]),
        (2, true, ten + 1, &[1, 2]),
    ];
    for &(count, read, asked, gone) in cases {
        let pool = options(20).open(Decoded);
        let all: Vec<_> = (0..count).map(|n| pool.set(value(n, 10)).unwrap()).collect();
        if read {
            drop(pool.get(&all[0]).unwrap());
        }
        let room = pool.try_reserve(asked).unwrap();
        let here = in_memory(&pool, &all);
        let left: Vec<_> = (1..=all.len()).filter(|name| !here.contains(name)).collect();
        assert_eq!(left, gone, "{count} values, {asked} bytes");
        assert_eq!(pool.stats().used_bytes, asked + here.len() as u64 * ten);
        drop(room);
    }
}

/// The first `steps` steps of one story, and the values that are left of it, by name.
fn story(policy: Policy, steps: usize) -> (Pool<Decoded>, Values) {
    let pool = options(10).policy(policy).open(Decoded);
    let set = |units| pool.set(value(u8::try_from(units).unwrap(), units)).unwrap();
    let mut all = HashMap::from([(1, set(2)), (2, set(3)), (3, set(5))]);
    // The one that is on disk after the fourth value came, and the one that goes when it comes back.
    let (away, next) = if policy == Policy::Lru { (1, 3) } else { (3, 2) };
    let more: [&dyn Fn(&mut Values); 5] = [
        &|all| drop(all.insert(4, set(2))),
        &|all| assert_eq!(pool.get(&all[&2]).unwrap()[0], 3),
        &|all| assert_eq!(u64::from(pool.get(&all[&away]).unwrap()[0]), [2, 3, 5][away - 1]),
        &|all| pool.delete(&all.remove(&away).unwrap()).unwrap(),
        &|all| pool.delete(&all.remove(&next).unwrap()).unwrap(),
    ];
    more.iter().take(steps).for_each(|step| step(&mut all));
    (pool, all)
}

/// In which order values leave memory when the limit sinks to nothing.
fn leave(pool: &Pool<Decoded>, all: &Values) -> Vec<usize> {
    let mut here: HashSet<usize> =
        all.iter().filter(|(_, one)| pool.is_in_memory(one)).map(|(&name, _)| name).collect();
    let mut order = Vec::new();
    while let Some(limit) = pool.stats().used_bytes.checked_sub(1) {
        pool.set_memory_limit(limit).unwrap();
        let gone: Vec<_> =
            here.iter().copied().filter(|name| !pool.is_in_memory(&all[name])).collect();
        assert_eq!(gone.len(), 1, "a byte less is one value less");
        here.remove(&gone[0]);
        order.extend(gone);
    }
    order
}

#[test]
fn recency_orders_both_policies_through_reads_loads_and_deletes() {
    let stories: [(Policy, [&[usize]; 6]); 2] = [
        (Policy::Lru, [&[1, 2, 3], &[2, 3, 4], &[3, 4, 2], &[4, 2, 1], &[4, 2], &[4, 2]]),
        (Policy::Mru, [&[3, 2, 1], &[4, 2, 1], &[2, 4, 1], &[3, 4, 1], &[4, 1], &[4, 1]]),
    ];
    for (policy, orders) in stories {
        for (steps, order) in orders.into_iter().enumerate() {
            let (pool, all) = story(policy, steps);
            assert_eq!(leave(&pool, &all), order, "{policy:?} after {steps} steps");
            for (name, one) in &all {
                assert!(
                    pool.info(one).unwrap().place == Place::Spilled && pool.is_on_disk(one),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn a_discardable_value_goes_in_its_turn_and_spares_the_others() {
    let pool = options(10).open(Decoded);
    let set = |byte, units| pool.set(value(byte, units)).unwrap();
    let (one, two) = (set(1, 2), set(2, 3));
    let three = pool.set_with(value(3, 5), SetOptions::new().discardable()).unwrap();
    let four = set(4, 1);
    assert!(!pool.is_in_memory(&one) && pool.is_in_memory(&two) && pool.is_in_memory(&three));
    drop(pool.get(&two).unwrap());
    let five = set(5, 2);
    assert!(matches!(pool.get(&three), Err(Error::Discarded { .. })));
    let six = set(6, 2);
    assert!([&two, &four, &five, &six].into_iter().all(|one| pool.is_in_memory(one)));
    for (byte, one) in [(1, one), (2, two), (4, four), (5, five), (6, six)] {
        assert_eq!(pool.get(&one).unwrap()[0], byte);
    }
    assert_eq!(pool.stats().discards, 1);
}

#[test]
fn references_to_one_value_are_equal_and_one_key() {
    let pool = options(10).open(Blob);
    let (one, other) = (pool.set(value(1, 1)).unwrap(), pool.set(value(1, 1)).unwrap());
    let again = one.clone();
    assert_eq!(one, again);
    assert_ne!(one, other, "equal contents are not one value");
    let names = HashMap::from([(one, "one"), (other, "other")]);
    assert_eq!((names.len(), names[&again]), (2, "one"));
    pool.move_to_disk(&again).unwrap();
    assert_eq!(names[&again], "one", "wherever it is");
}

#[test]
fn a_moved_value_and_a_saved_one_read_as_the_value_does() {
    let pool = options(10).open(Decoded);
    let one = pool.set(value(1, 2)).unwrap();
    let moved = pool.move_to_disk(&one).unwrap();
    assert_eq!((moved.path(), pool.stats().used_bytes), (None, 0));
    assert_eq!(pool.get_file(&moved).unwrap()[..], pool.get(&one).unwrap()[..]);
    let saved = pool.save_to_disk(&one, "a name of one's own").unwrap();
    assert_eq!(saved.path(), Some(Path::new("a name of one's own")));
    pool.delete(&one).unwrap();
    assert_eq!(pool.stats().values, 0);
    assert_eq!(pool.get_file(&moved).unwrap()[..], pool.get_file(&saved).unwrap()[..]);
    drop(moved);
    pool.quiesce();
    assert_eq!(pool.get_file(&saved).unwrap()[..], value(1, 2)[..], "a saved file is its owner's");
    assert_eq!((pool.stats().used_bytes, pool.stats().live_disk_bytes), (0, 0));
}

#[test]
fn what_is_done_twice_is_done_once() {
    let pool = options(10).open(Decoded);
    let one = pool.set(value(1, 2)).unwrap();
    let twice = |call: &dyn Fn()| {
        call();
        let once = pool.stats();
        call();
        let again = pool.stats();
        assert_eq!((once.written_bytes, once.spills), (again.written_bytes, again.spills));
        assert_eq!((once.used_bytes, once.loads), (again.used_bytes, again.loads));
    };
    twice(&|| drop(pool.copy_to_disk(&one).unwrap()));
    twice(&|| drop(pool.move_to_disk(&one).unwrap()));
    twice(&|| drop(pool.copy_to_disk(&one).unwrap()));
    twice(&|| assert_eq!(pool.get(&one).unwrap()[0], 1));
    twice(&|| drop(pool.save_to_disk(&one, "saved").unwrap()));
    twice(&|| pool.set_memory_limit(5 * UNIT).unwrap());
    pool.delete(&one).unwrap();
    assert!(matches!(pool.delete(&one), Err(Error::Deleted { .. })), "but an end is told apart");
}

#[test]
fn a_value_that_could_not_be_written_leaves_no_trace() {
    let switch = Switch::new();
    let pool = options(10).store(FaultyStore::new(MemoryStore::new(), &switch)).open(Decoded);
    let one = pool.set(value(1, 2)).unwrap();
    switch.fail(Call::Write, 0, u64::MAX, StoreErrorKind::Io);
    // Larger than the limit, so it can only go straight to disk.
    let rejected = pool.set(value(2, 11)).unwrap_err();
    assert!(matches!(rejected.error, Error::Store(_)) && rejected.value == value(2, 11));
    assert_eq!((pool.stats().values, pool.values().count()), (1, 1));
    assert!(matches!(pool.move_to_disk(&one), Err(Error::Store(_))));
    let info = pool.info(&one).unwrap();
    assert_eq!((info.place, info.frame_bytes), (Place::Resident, None), "it is as it was");
    assert_eq!(pool.get(&one).unwrap()[..], value(1, 2)[..]);
    assert_eq!((pool.stats().used_bytes, pool.stats().live_disk_bytes), (2 * UNIT, 0));
}

#[test]
fn figures_return_to_zero_when_nobody_refers_to_anything() {
    let pool = options(10).open(Decoded);
    let generated = [pool.set(value(1, 10)).unwrap(), pool.set(value(2, 10)).unwrap()];
    let stats = pool.stats();
    assert!(stats.used_bytes == 10 * UNIT && stats.live_disk_bytes > 10 * UNIT - 100);
    drop(generated);
    let stats = pool.stats();
    assert_eq!((stats.values, stats.used_bytes, stats.live_disk_bytes), (0, 0, 0), "at once");
    pool.quiesce();
    assert_eq!(pool.stats().store.live_bytes, 0);
}

#[test]
fn a_limit_of_nothing_keeps_every_value_on_disk() {
    for policy in [Policy::Lru, Policy::Mru, Policy::Sieve] {
        let pool = options(0).policy(policy).open(Blob);
        let all: Vec<_> = (0..3).map(|n| pool.set(value(n, 1)).unwrap()).collect();
        for (n, one) in (0..).zip(&all) {
            assert_eq!(pool.get(one).unwrap()[..], value(n, 1)[..]);
        }
        assert_eq!((pool.stats().peak_bytes, pool.stats().straight_to_disk), (0, 3));
        assert!(matches!(pool.reserve(1), Err(Error::TooLarge { .. })));
    }
}
