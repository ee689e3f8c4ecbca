//! Who holds what: the call sites of living pins, with `track_pins` and without.
#![cfg(not(any(loom, shuttle)))]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::sync::mpsc;
use std::time::Duration;

use mempool_core::{
    Blob, Buffer, DRef, Error, NoRoom, PinnedOwned, PinnedValue, Pool, PoolOptions,
};

const VALUE: usize = 1000;

/// Room for two values, and for nothing beside them.
fn pool(track: bool) -> Pool<Blob> {
    let charge = VALUE as u64 + Buffer::adoption_bytes::<Vec<u8>>();
    PoolOptions::new()
        .memory_limit(2 * charge)
        .room_timeout(Duration::ZERO)
        .track_pins(track)
        .open(Blob)
}

/// What stands in the way of one more byte.
fn report(pool: &Pool<Blob>) -> NoRoom {
    let Err(Error::NoRoom(report)) = pool.try_reserve(1) else { panic!("there is room") };
    *report
}

fn report_of(pool: &Pool<Blob>, reference: &DRef<Vec<u8>>) -> PinnedValue {
    report(pool).largest.into_iter().find(|value| value.id == reference.id()).unwrap()
}

/// The sites as line and number of pins, by line.
fn lines(value: &PinnedValue) -> Vec<(u32, u32)> {
    let mut lines: Vec<_> = value.sites.iter().map(|at| (at.site.line(), at.pins)).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn without_tracking_the_latest_site_alone_is_kept() {
    let pool = pool(false);
    let all = [pool.set(vec![1; VALUE]).unwrap(), pool.set(vec![2; VALUE]).unwrap()];
    let _first = pool.get(&all[0]).unwrap();
    let _second = pool.get(&all[0]).unwrap();
    let line = line!() - 1;
    let _other = pool.get(&all[1]).unwrap();
    let value = report_of(&pool, &all[0]);
    assert_eq!((value.pins, value.site.unwrap().line()), (2, line));
    assert_eq!(value.sites, []);
    assert!(value.to_string().ends_with(&format!("pins.rs:{line}:24")), "{value}");
}

#[test]
fn with_tracking_every_living_site_is_named_with_its_pins() {
    let pool = pool(true);
    let all = [pool.set(vec![1; VALUE]).unwrap(), pool.set(vec![2; VALUE]).unwrap()];
    let _other = pool.get(&all[1]).unwrap();
    let first = line!() + 1;
    let guards: Vec<_> = (0..3).map(|_| pool.get(&all[0]).unwrap()).collect();
    let second = line!() + 1;
    let owned = pool.get_owned(&all[0]).unwrap();
    let value = report_of(&pool, &all[0]);
    assert_eq!(lines(&value), [(first, 3), (second, 1)]);
    assert_eq!(value.sites[0].pins, 3, "the most frequent stands first");
    let said = report(&pool).to_string();
    assert!(said.contains(&format!("3 from mempool-core/tests/pins.rs:{first}:")), "{said}");
    assert!(said.contains(&format!("1 from mempool-core/tests/pins.rs:{second}:")), "{said}");
    drop(guards);
    assert_eq!(lines(&report_of(&pool, &all[0])), [(second, 1)], "what is dropped is not named");
    drop(owned);
    drop(pool.try_reserve(1).unwrap());
}

#[test]
fn a_value_that_was_brought_back_and_a_save_are_tracked_too() {
    let pool = pool(true);
    let one = pool.set(vec![1; VALUE]).unwrap();
    pool.save_to_disk(&one, "saved").unwrap();
    pool.move_to_disk(&one).unwrap();
    drop(pool.get(&one).unwrap());
    pool.save_to_disk(&one, "saved").unwrap();
    pool.move_to_disk(&one).unwrap();
    let all_of_it = pool.stats().limit_bytes - Buffer::adoption_bytes::<Vec<u8>>();
    let filler = pool.set(vec![1; all_of_it as usize]).unwrap();
    let _hold = pool.get(&filler).unwrap();
    let value = report_of(&pool, &filler);
    assert_eq!(value.sites.len(), 1);
    // A pin of a map takes nothing from the limit, so it is never in the way.
    let _mapped = pool.get(&one).unwrap();
    assert!(report(&pool).largest.iter().all(|value| value.id == filler.id()));
}

#[test]
fn guards_that_move_between_threads_are_taken_off_where_they_are_dropped() {
    let pool = pool(true);
    let all = [pool.set(vec![1; VALUE]).unwrap(), pool.set(vec![2; VALUE]).unwrap()];
    let _other = pool.get(&all[1]).unwrap();
    let _kept = pool.get(&all[0]).unwrap();
    let kept = line!() - 1;
    let (send, receive) = mpsc::channel::<PinnedOwned<Blob, Vec<u8>>>();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (pool, one, send) = (&pool, &all[0], send.clone());
            scope.spawn(move || {
                for n in 0..500 {
                    let here = pool.get(one).unwrap();
                    let there = pool.get_owned(one).unwrap();
                    if n % 2 == 0 {
                        send.send(there).unwrap();
                    }
                    assert_eq!(here[0], 1);
                }
            });
        }
        drop(send);
        scope.spawn(|| {
            for guard in receive {
                assert_eq!(guard[0], 1);
                let value = report_of(&pool, &all[0]);
                assert!(value.sites.len() <= 3, "three lines take pins: {value}");
            }
        });
    });
    let value = report_of(&pool, &all[0]);
    assert_eq!((value.pins, lines(&value)), (1, vec![(kept, 1)]));
}
