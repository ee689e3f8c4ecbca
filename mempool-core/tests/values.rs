//! What a pool says of its values, beside what is known of them.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::time::Duration;

use mempool_core::{
    Blob, Buffer, CodecName, DRef, Error, Place, Pool, PoolOptions, SetOptions, ValueInfo,
};

const VALUE: usize = 1000;

fn charge() -> u64 {
    VALUE as u64 + Buffer::adoption_bytes::<Vec<u8>>()
}

fn pool() -> Pool<Blob> {
    PoolOptions::new().memory_limit(4 * charge()).room_timeout(Duration::ZERO).open(Blob)
}

fn listed(pool: &Pool<Blob>, reference: &DRef<Vec<u8>>) -> ValueInfo {
    pool.values().find(|value| value.id == reference.id()).unwrap()
}

#[test]
fn a_value_is_told_where_it_is() {
    let pool = pool();
    let one = pool.set(vec![1; VALUE]).unwrap();
    let fresh = pool.info(&one).unwrap();
    assert_eq!(
        (fresh.place, fresh.resident_bytes, fresh.frame_bytes),
        (Place::Resident, charge(), None)
    );
    assert_eq!((fresh.id, fresh.value_type), (one.id(), std::any::type_name::<Vec<u8>>()));
    assert_eq!((fresh.codec, fresh.pins, fresh.references), (CodecName::new("blob"), 0, 1));
    assert!(!fresh.discardable && !fresh.deleted);

    let (again, pin) = (one.clone(), pool.get(&one).unwrap());
    let held = pool.info(&again).unwrap();
    assert_eq!((held.pins, held.references), (1, 2));
    drop((again, pin));

    pool.copy_to_disk(&one).unwrap();
    let copied = pool.info(&one).unwrap();
    assert_eq!((copied.place, copied.resident_bytes), (Place::Resident, charge()));
    assert_eq!(copied.frame_bytes, Some(pool.stats().live_disk_bytes));

    pool.move_to_disk(&one).unwrap();
    let moved = pool.info(&one).unwrap();
    assert_eq!(
        ValueInfo::clone(&moved),
        listed(&pool, &one),
        "one answer, whichever way it is asked"
    );
    assert_eq!((moved.place, moved.resident_bytes), (Place::Spilled, 0));
    assert_eq!(moved.frame_bytes, copied.frame_bytes);

    let view = pool.get(&one).unwrap();
    let mapped = pool.info(&one).unwrap();
    assert_eq!((mapped.place, mapped.resident_bytes, mapped.pins), (Place::Mapped, 0, 1));
    drop(view);
}

#[test]
fn what_is_asked_is_not_used() {
    let pool = pool();
    let all: Vec<_> = (0..4).map(|n| pool.set(vec![n; VALUE]).unwrap()).collect();
    let before = pool.stats();
    pool.info(&all[0]).unwrap();
    assert_eq!(pool.values().count(), 4);
    assert_eq!(pool.stats(), before);
    let _fifth = pool.set(vec![9; VALUE]).unwrap();
    assert!(!pool.is_in_memory(&all[0]), "to be looked at is no use");
}

#[test]
fn what_the_values_take_is_what_is_used() {
    let pool = PoolOptions::new().memory_limit(1 << 20).open(Blob);
    let mut all: Vec<_> =
        (0..3000_u32).map(|n| pool.set(vec![n as u8; n as usize % 900]).unwrap()).collect();
    let mut random = 1_u64;
    all.retain(|_| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        random >> 62 != 0
    });
    all.iter().step_by(3).for_each(|one| drop(pool.get(one).unwrap()));
    let mut ids: Vec<_> = pool.values().map(|value| value.id).collect();
    let mut known: Vec<_> = all.iter().map(DRef::id).collect();
    ids.sort_unstable();
    known.sort_unstable();
    assert_eq!(ids, known, "each once, holes between them passed over");
    let taken: u64 = pool.values().map(|value| value.resident_bytes).sum();
    assert_eq!(taken, pool.stats().used_bytes);
    let frames: u64 = pool.values().filter_map(|value| value.frame_bytes).sum();
    assert_eq!(frames, pool.stats().live_disk_bytes);
    let places = |place| pool.values().filter(|value| value.place == place).count();
    assert!(places(Place::Resident) > 0 && places(Place::Mapped) > 0 && places(Place::Spilled) > 0);
}

#[test]
fn a_value_that_ended_says_how_and_its_readers_keep_it_listed() {
    let pool = pool();
    let one = pool.set(vec![1; VALUE]).unwrap();
    let pin = pool.get(&one).unwrap();
    pool.delete(&one).unwrap();
    assert!(matches!(pool.info(&one), Err(Error::Deleted { .. })));
    let listed = listed(&pool, &one);
    assert!(listed.deleted && listed.pins == 1 && listed.resident_bytes == charge());
    drop(pin);
    assert_eq!(pool.values().count(), 0);

    let discardable = pool.set_with(vec![2; VALUE], SetOptions::new().discardable()).unwrap();
    assert!(pool.info(&discardable).unwrap().discardable);
    let room = pool.reserve(4 * charge()).unwrap();
    assert!(matches!(pool.info(&discardable), Err(Error::Discarded { .. })));
    assert!(matches!(self::pool().info(&one), Err(Error::WrongPool { .. })));
    drop(room);
    let last = pool.set(vec![3; VALUE]).unwrap();
    pool.close().unwrap();
    assert!(matches!(pool.info(&last), Err(Error::Closed)));
    assert_eq!(pool.values().count(), 0);
}

#[test]
fn values_that_come_and_go_are_listed_beside() {
    let pool = PoolOptions::new().memory_limit(64 << 10).open(Blob);
    let kept: Vec<_> = (0..20).map(|n| pool.set(vec![n; 500]).unwrap()).collect();
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| {
            for n in 0..3000_u32 {
                let passing = pool.set(vec![n as u8; 3000]).unwrap();
                drop(pool.get(&kept[n as usize % 20]).unwrap());
                drop(passing);
            }
        });
        while !busy.is_finished() {
            let listed: Vec<_> = pool.values().collect();
            assert!(kept.iter().all(|one| listed.iter().any(|value| value.id == one.id())));
            assert!(listed.len() <= 21 && listed.iter().all(|value| value.resident_bytes < 4000));
        }
        busy.join().unwrap();
    });
}
