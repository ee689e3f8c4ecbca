//! Who waits for room: in turn, no longer than he said, and not for a pool that is closed.
#![cfg(all(feature = "testing", not(any(loom, shuttle))))]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::yield_now;
use std::time::{Duration, Instant};

use mempool_core::{
    Blob, Buffer, Codec, CodecName, Error, Format, Ledger, Pool, PoolOptions, Rejected,
    Reservation, Result, Room, SetOptions, Sink, Source, Wait,
};

const LONG: Duration = Duration::from_secs(3600);
/// More than any of these calls may take on a machine that has other work, and far less than `LONG`.
const SOON: Duration = Duration::from_secs(20);

fn long() -> Wait {
    Wait::for_at_most(LONG)
}

fn until_waiting(ledger: &Ledger, count: usize) {
    while ledger.usage().waiting != count {
        yield_now();
    }
}

fn no_room<T>(answer: Result<T>) -> bool {
    matches!(answer, Err(Error::NoRoom(_)))
}

#[test]
fn requests_are_served_in_the_order_in_which_they_came() {
    for _ in 0..50 {
        let ledger = Ledger::new(10, LONG);
        let full = ledger.reserve(10, Wait::No).unwrap();
        let served = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for number in 0..6_u64 {
                let (ledger, served) = (&ledger, &served);
                scope.spawn(move || {
                    // Small and large ones in turn: a small one that would fit does not overtake.
                    let taken = ledger.reserve(1 + 9 * (number % 2), long()).unwrap();
                    served.lock().unwrap().push(number);
                    drop(taken);
                });
                until_waiting(ledger, number as usize + 1);
            }
            drop(full);
        });
        let served = served.into_inner().unwrap();
        assert_eq!(served, [0, 1, 2, 3, 4, 5]);
        assert_eq!(ledger.usage().used_bytes, 0);
    }
}

#[test]
fn a_large_request_is_not_starved_by_a_stream_of_small_ones() {
    let ledger = Ledger::new(100, LONG);
    let mut held: Vec<Reservation> =
        (0..10).map(|_| ledger.reserve(10, Wait::No).unwrap()).collect();
    let small = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let large = scope.spawn(|| {
            let taken = ledger.reserve(100, long()).unwrap();
            let before = small.load(Ordering::SeqCst);
            done.store(true, Ordering::SeqCst);
            drop(taken);
            before
        });
        until_waiting(&ledger, 1);
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let taken = ledger.reserve(1, long()).unwrap();
                    small.fetch_add(1, Ordering::SeqCst);
                    drop(taken);
                }
            });
        }
        until_waiting(&ledger, 4);
        // Each of these is room for a small one, which stands behind the large one.
        while let Some(one) = held.pop() {
            assert!(no_room(ledger.reserve(1, Wait::No)));
            drop(one);
        }
        assert_eq!(large.join().unwrap(), 0, "none was let in before it");
    });
    assert_eq!(ledger.usage().used_bytes, 0);
}

#[test]
fn a_request_that_gives_up_leaves_the_queue_to_the_next() {
    let ledger = Ledger::new(10, LONG);
    let half = ledger.reserve(5, Wait::No).unwrap();
    std::thread::scope(|scope| {
        let first =
            scope.spawn(|| ledger.reserve(10, Wait::for_at_most(Duration::from_millis(50))));
        until_waiting(&ledger, 1);
        // It fits, but it is not its turn until the first one gives up.
        let second = scope.spawn(|| ledger.reserve(5, long()));
        assert!(no_room(first.join().unwrap()));
        assert_eq!(second.join().unwrap().unwrap().bytes(), 5);
    });
    drop(half);
    assert_eq!((ledger.usage().used_bytes, ledger.usage().waiting), (0, 0));
}

/// Room for one value.
fn pool() -> Pool<Blob> {
    let charge = 1000 + Buffer::adoption_bytes::<Vec<u8>>();
    PoolOptions::new().memory_limit(charge).room_timeout(LONG).open(Blob)
}

#[test]
fn a_busy_pool_does_not_keep_a_request_beyond_its_time() {
    let pool = pool();
    let one = pool.set(vec![1; 1000]).unwrap();
    let keep = pool.get(&one).unwrap();
    let done = AtomicBool::new(false);
    let short = || SetOptions::new().wait(Wait::for_at_most(Duration::from_millis(50)));
    std::thread::scope(|scope| {
        // All of these make those who wait look again, and none makes room for them.
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert!(no_room(pool.try_reserve(10)));
                    drop(pool.get(&one).unwrap());
                    assert!(no_room(pool.try_set(vec![1; 10]).map_err(Error::from)));
                }
            });
        }
        let start = Instant::now();
        for _ in 0..5 {
            let waited = Instant::now();
            assert!(no_room(pool.set_with(vec![2; 1000], short()).map_err(Error::from)));
            assert!(waited.elapsed() >= Duration::from_millis(50), "nor shorter");
        }
        let took = start.elapsed();
        done.store(true, Ordering::Relaxed);
        assert!(took < SOON, "{took:?}");
    });
    drop(keep);
    pool.set(vec![2; 1000]).unwrap();
}

/// A value that is always held outside; each look at it pays a little back, so that something has changed.
struct Restless(Mutex<Vec<Reservation>>);

impl Codec<()> for Restless {
    type Resident = ();
    type View = ();

    fn format(&self) -> Format {
        Format { codec: CodecName::new("restless"), type_tag: 1, pointer_width: 0 }
    }

    fn size_hint(&self, (): &()) -> Result<u64> {
        Ok(1000)
    }

    fn admit(&self, (): (), _room: &mut Room) -> Result<(), Rejected<()>> {
        Ok(())
    }

    fn view<'a>(&self, resident: &'a ()) -> &'a () {
        resident
    }

    fn mmwrite(&self, (): &(), _sink: &mut Sink<'_>) -> Result<()> {
        Ok(())
    }

    fn mmwrite_value(&self, (): &(), _sink: &mut Sink<'_>) -> Result<()> {
        Ok(())
    }

    fn mmread(&self, _source: &mut Source<'_>, _room: &mut Room) -> Result<()> {
        Ok(())
    }

    fn held_outside(&self, (): &()) -> bool {
        drop(self.0.lock().unwrap().pop());
        true
    }
}

#[test]
fn changes_without_end_do_not_keep_a_request_beyond_its_time() {
    let options = PoolOptions::new().memory_limit(11_000).room_timeout(Duration::ZERO);
    let pool = options.open(Restless(Mutex::new(Vec::new())));
    let _one = pool.set(()).unwrap();
    let crumbs = (0..10_000).map(|_| pool.reserve(1).unwrap()).collect();
    *pool.codec().0.lock().unwrap() = crumbs;
    for answer in [pool.reserve(10_500), pool.try_reserve(10_500)] {
        assert!(no_room(answer));
    }
    let looks = 10_000 - pool.codec().0.lock().unwrap().len();
    assert!((2..100).contains(&looks), "{looks} looks");
}

/// Has `calls` wait together on a full pool and ends it by `end`: each must say that it is closed.
fn assert_ended(
    pool: &Pool<Blob>,
    calls: Vec<Box<dyn FnOnce() -> Error + Send>>,
    end: impl FnOnce(),
) {
    let count = calls.len();
    let threads: Vec<_> = calls.into_iter().map(std::thread::spawn).collect();
    let ledger = ledger_of(pool);
    until_waiting(&ledger, count);
    let start = Instant::now();
    end();
    for (call, thread) in threads.into_iter().enumerate() {
        let error = thread.join().unwrap();
        assert!(matches!(error, Error::Closed), "call {call}: {error}");
    }
    assert!(start.elapsed() < SOON);
    assert_eq!(ledger.usage().waiting, 0);
}

fn ledger_of(pool: &Pool<Blob>) -> Arc<Ledger> {
    Arc::clone(pool.reserve(0).unwrap().ledger())
}

#[test]
fn a_close_ends_who_waits() {
    let pool = pool();
    let one = pool.set(vec![1; 1000]).unwrap();
    let guard = pool.get_owned(&one).unwrap();
    let mut reservation = pool.reserve(0).unwrap();
    let mut builder = pool.builder::<Vec<u8>>().unwrap();
    let (a, b, c) = (pool.clone(), pool.clone(), pool.clone());
    let calls: Vec<Box<dyn FnOnce() -> Error + Send>> = vec![
        Box::new(move || a.set(vec![2; 10]).unwrap_err().error),
        Box::new(move || b.reserve(10).unwrap_err()),
        Box::new(move || c.set_memory_limit(10).unwrap_err()),
        Box::new(move || reservation.grow(10).unwrap_err()),
        Box::new(move || builder.push(&[1; 10]).unwrap_err()),
    ];
    assert_ended(&pool, calls, || pool.close().unwrap());
    assert_eq!(guard[..], [1; 1000], "the guard stays good");
    drop((guard, one));
    assert_eq!(pool.stats().used_bytes, 0);
}

#[test]
fn the_last_front_that_is_dropped_ends_who_waits() {
    let pool = pool();
    let one = pool.set(vec![1; 1000]).unwrap();
    let guard = pool.get_owned(&one).unwrap();
    let mut reservation = pool.reserve(0).unwrap();
    let ledger = ledger_of(&pool);
    let waiting = std::thread::spawn(move || reservation.grow(10).unwrap_err());
    until_waiting(&ledger, 1);
    let start = Instant::now();
    drop(pool);
    assert!(matches!(waiting.join().unwrap(), Error::Closed));
    assert!(start.elapsed() < SOON);
    drop((guard, one));
    assert_eq!(ledger.usage().used_bytes, 0);
    assert!(matches!(ledger.reserve(1, Wait::No), Err(Error::Closed)));
}
