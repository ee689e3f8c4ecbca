//! Shuttle: random schedules of the whole pool. `SHUTTLE_ITERS` says how many of each scenario; a failure prints the
//! schedule, which `shuttle::replay` takes.
#![cfg(shuttle)]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

mod remotes;

use std::time::Duration;

use mempool_core::testing::{FaultyStore, Switch};
use mempool_core::{
    Blob, Buffer, DRef, Error, MemoryStore, Pool, PoolOptions, SetOptions, StoreErrorKind, Wait,
    WriteAhead,
};
use shuttle::thread;

const VALUE: usize = 64;

fn charge() -> u64 {
    VALUE as u64 + Buffer::adoption_bytes::<Vec<u8>>()
}

/// Room for two values.
fn pool() -> Pool<Blob> {
    PoolOptions::new().memory_limit(2 * charge()).room_timeout(Duration::ZERO).open(Blob)
}

fn value(byte: u8) -> Vec<u8> {
    vec![byte; VALUE]
}

fn check(scenario: impl Fn() + Send + Sync + 'static) {
    let count = std::env::var("SHUTTLE_ITERS").ok().and_then(|n| n.parse().ok()).unwrap_or(1000);
    shuttle::check_pct(scenario, count, 3);
}

/// Sets without waiting until it is let in: pins of other threads come and go.
fn set(pool: &Pool<Blob>, byte: u8) -> DRef<Vec<u8>> {
    loop {
        match pool.set_with(value(byte), SetOptions::new().wait(Wait::No)) {
            Ok(reference) => return reference,
            Err(rejected) => {
                assert!(matches!(rejected.error, Error::NoRoom(_)), "{}", rejected.error);
                thread::yield_now();
            }
        }
    }
}

fn is(pool: &Pool<Blob>, reference: &DRef<Vec<u8>>, byte: u8) {
    let view = pool.get(reference).expect("a value that is referenced is readable");
    assert_eq!(view[..], value(byte)[..]);
    let usage = pool.stats();
    assert!(usage.used_bytes <= usage.limit_bytes);
}

fn assert_empty(pool: &Pool<Blob>) {
    pool.quiesce();
    let stats = pool.stats();
    assert_eq!((stats.values, stats.used_bytes), (0, 0));
    assert_eq!((stats.live_disk_bytes, stats.store.live_bytes), (0, 0));
}

fn together(work: Vec<Box<dyn FnOnce() + Send>>) {
    let threads: Vec<_> = work.into_iter().map(thread::spawn).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn get_beside_eviction() {
    check(|| {
        let pool = pool();
        let one = set(&pool, 1);
        let (a, b, c) = (pool.clone(), pool.clone(), one.clone());
        together(vec![
            Box::new(move || is(&a, &c, 1)),
            Box::new(move || {
                let two = set(&b, 2);
                let three = set(&b, 3);
                is(&b, &two, 2);
                is(&b, &three, 3);
            }),
        ]);
        is(&pool, &one, 1);
        drop(one);
        assert_empty(&pool);
    });
}

#[test]
fn delete_beside_get_and_eviction() {
    check(|| {
        let pool = pool();
        let one = set(&pool, 1);
        let (a, b, c) = (pool.clone(), pool.clone(), pool.clone());
        let (x, y) = (one.clone(), one.clone());
        together(vec![
            Box::new(move || match a.get(&x) {
                Ok(view) => assert_eq!(view[..], value(1)[..]),
                Err(error) => assert!(matches!(error, Error::Deleted { .. }), "{error}"),
            }),
            Box::new(move || b.delete(&y).unwrap()),
            Box::new(move || drop((set(&c, 2), set(&c, 3)))),
        ]);
        assert!(matches!(pool.get(&one), Err(Error::Deleted { .. })));
        drop(one);
        assert_empty(&pool);
    });
}

#[test]
fn last_drop_beside_eviction() {
    check(|| {
        let pool = pool();
        let one = set(&pool, 1);
        let two = one.clone();
        let (a, b) = (pool.clone(), pool.clone());
        together(vec![
            Box::new(move || drop(one)),
            Box::new(move || {
                is(&a, &two, 1);
                drop(two);
            }),
            Box::new(move || drop((set(&b, 2), set(&b, 3)))),
        ]);
        assert_empty(&pool);
    });
}

#[test]
fn move_and_copy_beside_get() {
    check(|| {
        let pool = pool();
        let one = set(&pool, 1);
        let (a, b, c) = (pool.clone(), pool.clone(), pool.clone());
        let (x, y, z) = (one.clone(), one.clone(), one.clone());
        together(vec![
            Box::new(move || match a.move_to_disk(&x) {
                Ok(file) => assert_eq!(a.get_file(&file).unwrap()[..], value(1)[..]),
                Err(error) => assert!(matches!(error, Error::Pinned { .. }), "{error}"),
            }),
            Box::new(move || drop(b.copy_to_disk(&y).unwrap())),
            Box::new(move || is(&c, &z, 1)),
        ]);
        assert!(pool.is_on_disk(&one));
        drop(one);
        assert_empty(&pool);
    });
}

/// Values that are written ahead of their turn are read, deleted and dropped while they are written.
#[test]
fn writing_ahead_beside_get_delete_and_drop() {
    check(|| {
        let store = FaultyStore::new(MemoryStore::new(), &Switch::new()).batching(1 << 20);
        let pool = PoolOptions::new()
            .memory_limit(16 * charge())
            .room_timeout(Duration::ZERO)
            .store(store)
            .open(Blob);
        let mut all: Vec<_> = (0..16).map(|byte| set(&pool, byte)).collect();
        let (one, two, three) = (all[1].clone(), all.remove(2), all.remove(2));
        let (a, b, c) = (pool.clone(), pool.clone(), pool.clone());
        together(vec![
            Box::new(move || drop((set(&a, 20), set(&a, 21)))),
            Box::new(move || is(&b, &one, 1)),
            Box::new(move || {
                drop(two);
                c.delete(&three).unwrap();
            }),
        ]);
        is(&pool, &all[1], 1);
        drop(all);
        assert_empty(&pool);
    });
}

#[test]
fn sets_beside_a_change_of_the_limit() {
    check(|| {
        let pool = pool();
        let (a, b) = (pool.clone(), pool.clone());
        together(vec![
            Box::new(move || {
                let one = set(&a, 1);
                is(&a, &one, 1);
            }),
            Box::new(move || {
                // A set that waits in turn may stand before it; then it is refused, and changes nothing.
                let _ = b.set_memory_limit(charge());
                let one = set(&b, 2);
                is(&b, &one, 2);
            }),
        ]);
        assert_empty(&pool);
    });
}

#[test]
fn tracked_pins_beside_a_report_and_an_eviction() {
    check(|| {
        let options = PoolOptions::new().memory_limit(2 * charge()).track_pins(true);
        let pool = options.room_timeout(Duration::ZERO).open(Blob);
        let one = set(&pool, 1);
        let (a, b, c) = (pool.clone(), pool.clone(), pool.clone());
        let (x, y) = (one.clone(), one.clone());
        together(vec![
            Box::new(move || is(&a, &x, 1)),
            Box::new(move || {
                let guard = b.get_owned(&y).unwrap();
                thread::spawn(move || drop(guard)).join().unwrap();
            }),
            Box::new(move || match c.try_reserve(2 * charge()) {
                Ok(all) => drop(all),
                Err(Error::NoRoom(report)) => {
                    let sites = report.largest.iter().flat_map(|value| &value.sites);
                    assert!(sites.map(|site| site.pins).sum::<u32>() <= 2);
                }
                Err(error) => panic!("{error}"),
            }),
        ]);
        is(&pool, &one, 1);
        drop(one);
        assert_empty(&pool);
    });
}

#[test]
fn a_close_beside_a_set_and_a_get() {
    check(|| {
        let pool = pool();
        let one = set(&pool, 1);
        let (a, b, c) = (pool.clone(), pool.clone(), pool.clone());
        let other = one.clone();
        together(vec![
            Box::new(move || a.close().unwrap()),
            Box::new(move || {
                let patient = SetOptions::new().wait(Wait::for_at_most(Duration::from_secs(1)));
                // It fits alone: the value and every guard of it go, so it is let in unless the pool is closed first.
                if let Err(rejected) = b.set_with(vec![2; 2 * VALUE], patient) {
                    assert!(matches!(rejected.error, Error::Closed), "{}", rejected.error);
                }
            }),
            Box::new(move || match c.get(&other) {
                Ok(view) => assert_eq!(view[..], value(1)[..]),
                Err(error) => assert!(matches!(error, Error::Closed), "{error}"),
            }),
        ]);
        drop(one);
        assert_empty(&pool);
    });
}

/// A name is found, given to another value and retained at once; what had it ends with its last reader.
#[test]
fn a_name_beside_its_change_a_retain_and_an_eviction() {
    check(|| {
        let pool = pool();
        pool.set_name("x", &set(&pool, 1)).unwrap();
        let (a, b, c) = (pool.clone(), pool.clone(), pool.clone());
        together(vec![
            Box::new(move || {
                // Writes and claims what is named; this store then keeps nothing.
                let Err(Error::Store(error)) = a.retain() else { panic!("it keeps nothing") };
                assert_eq!(error.kind, StoreErrorKind::Unsupported);
            }),
            Box::new(move || {
                let two = set(&b, 2);
                let before = b.set_name("x", &two).unwrap().unwrap();
                is(&b, &before.typed().unwrap(), 1);
                is(&b, &two, 2);
            }),
            Box::new(move || {
                let found = c.named::<Vec<u8>>("x").unwrap();
                let view = c.get(&found).unwrap();
                assert!(view[..] == value(1)[..] || view[..] == value(2)[..]);
                drop(view);
                drop(set(&c, 3));
            }),
        ]);
        is(&pool, &pool.unname("x").unwrap().typed().unwrap(), 2);
        assert_empty(&pool);
    });
}

#[test]
fn one_writer_at_a_time_serves_all_who_need_room() {
    check(|| {
        let options = PoolOptions::new().memory_limit(2 * charge()).parallel_writers(1);
        let pool = options.room_timeout(Duration::ZERO).open(Blob);
        let before = [set(&pool, 1), set(&pool, 2)];
        let work = (3..6).map(|byte| {
            let pool = pool.clone();
            Box::new(move || {
                let reference = set(&pool, byte);
                is(&pool, &reference, byte);
            }) as Box<dyn FnOnce() + Send>
        });
        together(work.collect());
        is(&pool, &before[0], 1);
        is(&pool, &before[1], 2);
        drop(before);
        assert_empty(&pool);
    });
}

#[test]
fn writing_ahead_beside_sets_gets_and_drops() {
    check(|| {
        let ahead = WriteAhead::threads(2).above(0).clean(100);
        let options = PoolOptions::new().memory_limit(2 * charge()).write_ahead(ahead);
        let pool = options.room_timeout(Duration::ZERO).open(Blob);
        let one = set(&pool, 1);
        let two = set(&pool, 2);
        let (a, b, c) = (pool.clone(), pool.clone(), one.clone());
        together(vec![
            Box::new(move || {
                is(&a, &c, 1);
                drop(two);
            }),
            Box::new(move || {
                let three = set(&b, 3);
                let four = set(&b, 4);
                is(&b, &three, 3);
                is(&b, &four, 4);
            }),
        ]);
        is(&pool, &one, 1);
        drop(one);
        assert_empty(&pool);
    });
}

#[test]
fn close_beside_writing_ahead() {
    check(|| {
        let ahead = WriteAhead::threads(1).above(0).clean(100);
        let options = PoolOptions::new().memory_limit(2 * charge()).write_ahead(ahead);
        let pool = options.open(Blob);
        let other = pool.clone();
        let setting = thread::spawn(move || {
            for byte in 0..3 {
                match other.try_set(value(byte)) {
                    Ok(_) => {}
                    Err(rejected) => {
                        assert!(matches!(rejected.error, Error::Closed | Error::NoRoom(_)))
                    }
                }
            }
        });
        pool.close().unwrap();
        setting.join().unwrap();
        assert_empty(&pool);
    });
}

/// A frame that is as large as [`value`], as a value of this pool.
fn take_in(pool: &Pool<Blob>, byte: u8) -> DRef<Vec<u8>> {
    let frame = remotes::frame_of(&value(byte), 0);
    let mut receiving = pool.receive(frame.len() as u64).unwrap();
    receiving.write(&frame).unwrap();
    let taken = receiving.finish("bytes", Vec::new(), SetOptions::new()).unwrap();
    pool.typed(&taken).unwrap()
}

fn sent(pool: &Pool<Blob>, reference: &DRef<Vec<u8>>) -> Vec<u8> {
    let export = pool.export(&reference.untyped()).unwrap();
    let parts = export.slices(0..u64::MAX).unwrap().unwrap();
    parts.concat()
}

/// Room for one frame and one value that was set.
fn pool_for_frames() -> Pool<Blob> {
    let frame = remotes::frame_of(&value(0), 0);
    let bytes = Buffer::allocation_bytes(frame.len(), 64).unwrap() + charge();
    PoolOptions::new().memory_limit(bytes).room_timeout(Duration::ZERO).open(Blob)
}

#[test]
fn a_received_value_is_asked_for_beside_its_export_and_its_eviction() {
    check(|| {
        let pool = pool_for_frames();
        let one = take_in(&pool, 1);
        let (a, b, c, d) = (pool.clone(), pool.clone(), pool.clone(), pool.clone());
        let (first, second, third) = (one.clone(), one.clone(), one.clone());
        together(vec![
            Box::new(move || is(&a, &first, 1)),
            Box::new(move || is(&b, &second, 1)),
            Box::new(move || assert!(sent(&c, &third).ends_with(&value(1)))),
            Box::new(move || {
                drop(set(&d, 2));
                drop(set(&d, 3));
            }),
        ]);
        is(&pool, &one, 1);
        drop(one);
        assert_empty(&pool);
    });
}

#[test]
fn a_value_is_found_beside_its_last_drop_and_an_eviction() {
    check(|| {
        let pool = pool();
        let one = set(&pool, 1);
        let id = one.id();
        let (a, b) = (pool.clone(), pool.clone());
        together(vec![
            Box::new(move || drop(one)),
            Box::new(move || {
                if let Some(found) = a.find(id) {
                    is(&a, &found.typed().unwrap(), 1);
                }
            }),
            Box::new(move || {
                drop(set(&b, 2));
                drop(set(&b, 3));
            }),
        ]);
        assert!(pool.find(id).is_none());
        assert_empty(&pool);
    });
}

#[test]
fn a_remote_value_is_got_beside_its_eviction_its_delete_and_its_drop() {
    check(|| {
        let pool = pool_for_frames();
        let owner = remotes::Owner::new(remotes::frame_of(&value(1), 0));
        let adopt = || pool.adopt_remote(owner.value(Vec::new())).unwrap().typed().unwrap();
        pool.register::<Vec<u8>>();
        let (one, other): (DRef<Vec<u8>>, DRef<Vec<u8>>) = (adopt(), adopt());
        let (a, b, c, d) = (pool.clone(), pool.clone(), pool.clone(), pool.clone());
        let (first, second) = (one.clone(), other.clone());
        together(vec![
            Box::new(move || match a.get(&first) {
                Ok(view) => assert_eq!(view[..], value(1)[..]),
                // The other one may be pinned by its reader.
                Err(error) => assert!(matches!(error, Error::NoRoom(_)), "{error}"),
            }),
            Box::new(move || match b.get(&second) {
                Ok(view) => assert_eq!(view[..], value(1)[..]),
                Err(Error::Deleted { .. } | Error::NoRoom(_)) => {}
                Err(error) => panic!("{error}"),
            }),
            Box::new(move || c.delete(&other).unwrap()),
            Box::new(move || drop(set(&d, 2))),
        ]);
        is(&pool, &one, 1);
        drop(one);
        assert_empty(&pool);
        assert_eq!(owner.releases(), 2);
    });
}
