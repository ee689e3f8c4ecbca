//! A forked child: every call says so, no drop takes a lock or runs a destructor, and the parent goes on unharmed.
#![cfg(all(feature = "testing", not(any(loom, shuttle))))]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::os::unix::process::CommandExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mempool_core::fork::Maker;
use mempool_core::testing::{ChildEnd, in_child, room};
use mempool_core::{
    Blob, Buffer, Codec, CodecName, Error, Format, Ledger, Pool, PoolOptions, Rejected, Result,
    Room, SetOptions, Sink, Source, Wait,
};

const LIMIT: u64 = 100_000;

fn pool() -> Pool<Blob> {
    PoolOptions::new().memory_limit(LIMIT).room_timeout(Duration::from_secs(60)).open(Blob)
}

/// How often values and callbacks of the user's ended in this process.
static ENDS: AtomicU64 = AtomicU64::new(0);

/// A value whose drop is code of the user's.
struct Noisy;

impl Drop for Noisy {
    fn drop(&mut self) {
        ENDS.fetch_add(1, Ordering::SeqCst);
    }
}

struct Noise;

impl Codec<Noisy> for Noise {
    type Resident = Noisy;
    type View = Noisy;

    fn format(&self) -> Format {
        Format { codec: CodecName::new("noise"), type_tag: 1, pointer_width: 0 }
    }

    fn size_hint(&self, _value: &Noisy) -> Result<u64> {
        Ok(100)
    }

    fn admit(&self, value: Noisy, room: &mut Room) -> Result<Noisy, Rejected<Noisy>> {
        match room.grow(100_u64.saturating_sub(room.reserved_bytes())) {
            Ok(()) => Ok(value),
            Err(error) => Err(Rejected::new(value, error)),
        }
    }

    fn view<'a>(&self, resident: &'a Noisy) -> &'a Noisy {
        resident
    }

    fn mmwrite(&self, _resident: &Noisy, _sink: &mut Sink<'_>) -> Result<()> {
        Ok(())
    }

    fn mmwrite_value(&self, _value: &Noisy, _sink: &mut Sink<'_>) -> Result<()> {
        Ok(())
    }

    fn mmread(&self, _source: &mut Source<'_>, _room: &mut Room) -> Result<Noisy> {
        Ok(Noisy)
    }
}

/// The place of the first check that does not hold, counted from 1; 0 when all do.
fn first_wrong(checks: &[bool]) -> i32 {
    checks.iter().position(|&holds| !holds).map_or(0, |at| at as i32 + 1)
}

fn forked<T>(answer: Result<T>) -> bool {
    matches!(answer, Err(Error::Forked))
}

const PASSED: ChildEnd = ChildEnd::Exited(0);

#[test]
fn every_call_of_a_child_answers_forked() {
    let pool = pool();
    let other = pool.with_codec(Noise);
    let here = pool.set(vec![1; 1000]).unwrap();
    let away = pool.set(vec![2; 1000]).unwrap();
    pool.set_name("here", &here).unwrap();
    let file = pool.move_to_disk(&away).unwrap();
    let saved = pool.save_to_disk(&here, "saved").unwrap();
    let mut reservation = pool.reserve(10).unwrap();
    let mut builder = pool.builder::<Vec<u8>>().unwrap();
    builder.push(&[7; 100]).unwrap();
    let unfinished = pool.builder::<Vec<u8>>().unwrap();
    let pinned = pool.get_owned(&here).unwrap();
    let loaded = pool.get_file(&file).unwrap();
    let ledger = Ledger::new(100, Duration::ZERO);
    let mut small_room = room(&ledger);
    let end = in_child(|| {
        let before = ENDS.load(Ordering::SeqCst);
        first_wrong(&[
            forked(pool.get(&here).map(drop)),
            forked(pool.get_owned(&here).map(drop)),
            forked(pool.get_many([&here, &away]).map(drop)),
            forked(pool.prefetch([&here, &away]).map(drop)),
            forked(pool.get(&away).map(drop)),
            forked(pool.set(vec![3]).map(drop).map_err(Error::from)),
            forked(pool.try_set(vec![3]).map(drop).map_err(Error::from)),
            forked(pool.set(vec![3; 200_000]).map(drop).map_err(Error::from)),
            forked(other.set(Noisy).map(drop).map_err(|rejected| {
                std::mem::forget(rejected.value);
                rejected.error
            })),
            forked(pool.builder::<Vec<u8>>().map(drop)),
            forked(builder.push(&[1; 10])),
            forked(unfinished.finish().map(drop)),
            forked(pool.delete(&here)),
            forked(pool.move_to_disk(&here).map(drop)),
            forked(pool.copy_to_disk(&here).map(drop)),
            forked(pool.save_to_disk(&here, "other").map(drop)),
            forked(pool.get_file(&file).map(drop)),
            forked(pool.get_file(&saved).map(drop)),
            forked(pool.set_memory_limit(LIMIT * 2)),
            forked(pool.info(&here).map(drop)),
            pool.values().count() == 0,
            forked(pool.set_name("other", &here).map(drop)),
            forked(pool.named::<Vec<u8>>("here").map(drop)),
            forked(pool.unname("here").map(drop)),
            pool.names().is_empty(),
            forked(pool.retain()),
            forked(pool.close_retaining()),
            forked(pool.forget_retained()),
            forked(pool.reserve(1).map(drop)),
            forked(pool.try_reserve(0).map(drop)),
            forked(reservation.grow(1)),
            forked(reservation.try_grow(0)),
            forked(pinned.reference::<Vec<u8>>(0).map(drop)),
            forked(loaded.reference::<Vec<u8>>(0).map(drop)),
            forked(pool.close()),
            forked(ledger.reserve(1, Wait::No).map(drop)),
            forked(ledger.set_limit(1, Wait::No)),
            forked(small_room.grow(1)),
            pool.stats() == mempool_core::Stats::default(),
            ledger.usage().used_bytes == 0,
            !pool.is_in_memory(&here) && !pool.is_on_disk(&away),
            format!("{pool:?} {here:?} {file:?} {reservation:?}").contains("DRef"),
            pinned[0] == 1 && loaded[0] == 2,
            ENDS.load(Ordering::SeqCst) == before,
        ])
    });
    assert_eq!(end.unwrap(), PASSED);
    assert_eq!(pool.get(&here).unwrap()[0], 1);
    assert_eq!(pool.get(&away).unwrap()[0], 2);
    assert_eq!(pool.unname("here").unwrap().id(), here.id());
    drop((here, away, file, loaded, pinned, reservation, builder));
    pool.quiesce();
    assert_eq!((pool.stats().used_bytes, pool.stats().values), (0, 0));
}

#[test]
fn drops_of_a_child_run_no_destructor() {
    let pool = pool();
    let noisy = pool.with_codec(Noise);
    let calls = SetOptions::new().destructor(|| {
        ENDS.fetch_add(1, Ordering::SeqCst);
    });
    let called = noisy.set_with(Noisy, calls).unwrap();
    let kept = noisy.set(Noisy).unwrap();
    let guard = noisy.get_owned(&kept).unwrap();
    let deleted = noisy.set(Noisy).unwrap();
    let deleted_guard = noisy.get_owned(&deleted).unwrap();
    noisy.delete(&deleted).unwrap();
    let loaded = noisy.get_file(&noisy.copy_to_disk(&kept).unwrap()).unwrap();
    let before = ENDS.load(Ordering::SeqCst);
    // The child owns all there is, the last front and the last references among it.
    let end = in_child(move || {
        drop((called, kept, guard, deleted, deleted_guard, loaded));
        drop((pool, noisy));
        i32::from(ENDS.load(Ordering::SeqCst) != before)
    });
    assert_eq!(end.unwrap(), PASSED);
    // The parent never called the closure; what it held ended with it.
    assert_eq!(ENDS.load(Ordering::SeqCst) - before, 4 + 1, "4 values and a callback");
}

/// All that a user can hold, each the last of its kind.
fn holdings(pool: &Pool<Blob>) -> impl Sized + use<> {
    let one = pool.set(vec![1; 500]).unwrap();
    let two = pool.set(vec![2; 500]).unwrap();
    let file = pool.copy_to_disk(&two).unwrap();
    let orphan = pool.copy_to_disk(&pool.set(vec![3; 500]).unwrap()).unwrap();
    let outside = pool.get(&one).unwrap().clone();
    let bytes = pool.get(&two).unwrap().slice(3..9).into_bytes();
    let guard = pool.get_owned(&one).unwrap();
    let loaded = pool.get_file(&file).unwrap();
    let mut builder = pool.builder::<Vec<u8>>().unwrap();
    builder.push(&[9; 50]).unwrap();
    (one, two, (file, orphan), outside, bytes, guard, loaded, builder, pool.reserve(7).unwrap())
}

#[test]
fn a_child_of_a_busy_parent_never_hangs() {
    let forks = std::env::var("FORKS").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    let pool = pool();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Each keeps other locks busy: the ledger's, the table's and the reclaimer's, and all in turn.
        let hammers: [fn(&Pool<Blob>, &mut Vec<_>); 4] = [
            |pool, _| drop(pool.reserve(10).unwrap()),
            |pool, _| drop(pool.set(vec![7; 10]).unwrap()),
            |pool, _| pool.quiesce(),
            |pool, kept| {
                kept.push(pool.set(vec![8; 9000]).unwrap());
                assert_eq!(pool.get(&kept[kept.len() / 2]).unwrap()[0], 8);
                if kept.len() > 8 {
                    drop(pool.copy_to_disk(&kept.swap_remove(0)).unwrap());
                }
            },
        ];
        for hammer in hammers {
            let (pool, done) = (&pool, &done);
            scope.spawn(move || {
                let mut kept = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    hammer(pool, &mut kept);
                }
            });
        }
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for fork in 0..forks {
                let held = holdings(&pool);
                let front = pool.clone();
                let one = pool.set(vec![fork as u8; 100]).unwrap();
                let end = in_child(move || {
                    let refused = forked(front.get(&one).map(drop))
                        && forked(front.set(vec![1]).map(drop).map_err(Error::from))
                        && forked(front.reserve(1).map(drop))
                        && forked(front.close());
                    drop((front.stats(), held, one, front));
                    i32::from(!refused)
                });
                assert_eq!(end.unwrap(), PASSED, "fork {fork}; killed by signal 14: it hung");
            }
        }));
        done.store(true, Ordering::Relaxed);
        ended.unwrap();
    });
    pool.quiesce();
    let stats = pool.stats();
    assert_eq!((stats.values, stats.used_bytes, stats.live_disk_bytes), (0, 0, 0));
}

#[test]
fn a_child_may_open_a_pool_of_its_own_and_a_grandchild_may_not_use_it() {
    let end = in_child(|| {
        let pool = pool();
        let one = pool.set(vec![4; 1000]).unwrap();
        let grandchild = in_child(|| first_wrong(&[forked(pool.get(&one).map(drop))]));
        first_wrong(&[
            grandchild.unwrap() == PASSED,
            pool.get(&one).unwrap()[0] == 4,
            pool.close().is_ok(),
        ])
    });
    assert_eq!(end.unwrap(), PASSED);
}

#[test]
fn a_child_that_exits_or_execs_harms_nobody() {
    let pool = pool();
    let one = pool.set(vec![5; 1000]).unwrap();
    let held = pool.get(&one).unwrap();
    assert_eq!(in_child(|| std::process::exit(7)).unwrap(), ChildEnd::Exited(7));
    let exec = || {
        let failed = std::process::Command::new("/bin/true").exec();
        failed.raw_os_error().unwrap_or(99)
    };
    assert_eq!(in_child(exec).unwrap(), PASSED);
    assert_eq!(held[..], [5; 1000]);
    let charge = 1000 + Buffer::adoption_bytes::<Vec<u8>>();
    assert_eq!(pool.stats().used_bytes, charge);
}

#[test]
fn forks_are_counted_from_the_making() {
    let early = Maker::here();
    let before = early.forks_since();
    assert_eq!(in_child(|| i32::from(early.is_here())).unwrap(), PASSED);
    assert!(early.is_here());
    // Other tests of this process fork at the same time.
    assert!(early.forks_since() > before);
    let alone = in_child(|| {
        let late = Maker::here();
        let unseen = late.forks_since();
        let seen = in_child(|| 0).is_ok();
        first_wrong(&[unseen == 0, seen, late.forks_since() == 1, late.is_here()])
    });
    assert_eq!(alone.unwrap(), PASSED);
}
