//! Writing to make room: by how many threads at once, and what waits for it.
#![cfg(all(feature = "testing", not(any(loom, shuttle))))]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::yield_now;
use std::time::Duration;

use mempool_core::testing::{Call, ChildEnd, FaultyStore, Switch, in_child};
use mempool_core::{
    Blob, Buffer, Codec, CodecName, DRef, Error, Fingerprint, Format, Frame, Handle, MemoryStore,
    Pool, PoolOptions, Rejected, Result, Room, SetOptions, Sink, Source, SpillStore, StoreError,
    StoreErrorKind, Wait, WriteAhead,
};

const LEN: usize = 1000;

/// How many threads write, and whether they are held.
#[derive(Default)]
struct Gate {
    state: Mutex<Writes>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default)]
struct Writes {
    held: bool,
    now: usize,
    most: usize,
    ever: usize,
}

impl Gate {
    fn hold(&self, held: bool) {
        self.state.lock().unwrap().held = held;
        self.changed.notify_all();
    }

    fn look(&self) -> Writes {
        *self.state.lock().unwrap()
    }

    fn until_writing(&self, count: usize) {
        while self.look().now != count {
            yield_now();
        }
    }
}

/// A store in memory whose writes wait while they are held.
struct Gated(MemoryStore, Arc<Gate>);

impl SpillStore for Gated {
    fn write(&self, frame: &Frame<'_>) -> Result<Handle, StoreError> {
        let mut state = self.1.state.lock().unwrap();
        state.now += 1;
        state.ever += 1;
        state.most = state.most.max(state.now);
        while state.held {
            state = self.1.changed.wait(state).unwrap();
        }
        drop(state);
        // Others get the chance to write beside it.
        (0..20).for_each(|_| yield_now());
        let written = self.0.write(frame);
        self.1.state.lock().unwrap().now -= 1;
        written
    }

    fn open(&self, handle: &Handle, room: &mut Room) -> Result<Buffer, StoreError> {
        self.0.open(handle, room)
    }

    fn free(&self, handle: &Handle) {
        self.0.free(handle);
    }

    fn save(&self, frame: &Frame<'_>, path: &Path) -> Result<Fingerprint, StoreError> {
        self.0.save(frame, path)
    }

    fn load(&self, path: &Path, room: &mut Room) -> Result<Buffer, StoreError> {
        self.0.load(path, room)
    }
}

fn charge() -> u64 {
    LEN as u64 + Buffer::adoption_bytes::<Vec<u8>>()
}

fn value(byte: u8) -> Vec<u8> {
    vec![byte; LEN]
}

/// Room for `values` values.
fn options(values: u64, gate: &Arc<Gate>) -> PoolOptions {
    let store = Gated(MemoryStore::new(), Arc::clone(gate));
    PoolOptions::new().memory_limit(values * charge()).store(store)
}

fn fill(pool: &Pool<Blob>, count: u8) -> Vec<DRef<Vec<u8>>> {
    (0..count).map(|byte| pool.set(value(byte)).unwrap()).collect()
}

fn assert_all(pool: &Pool<Blob>, references: &[DRef<Vec<u8>>], from: u8) {
    for (byte, reference) in (from..).zip(references) {
        assert_eq!(pool.get(reference).unwrap()[..], value(byte)[..]);
    }
}

#[test]
fn no_more_threads_write_at_once_than_may() {
    for most in [1, 2, 3] {
        let gate = Arc::new(Gate::default());
        let pool = options(20, &gate).parallel_writers(most).open(Blob);
        let before = fill(&pool, 20);
        let set = std::thread::scope(|scope| {
            let set = |n: u8| {
                let pool = &pool;
                scope
                    .spawn(move || (0..10).map(|_| pool.set(value(n)).unwrap()).collect::<Vec<_>>())
            };
            let threads: Vec<_> = (100..116).map(set).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(gate.look().most <= most, "{} wrote at once", gate.look().most);
        assert_all(&pool, &before, 0);
        for (n, references) in (100..).zip(&set) {
            references.iter().for_each(|one| assert_eq!(pool.get(one).unwrap()[0], n));
        }
        drop((before, set));
        pool.quiesce();
        assert_eq!((pool.stats().used_bytes, pool.stats().live_disk_bytes), (0, 0));
    }
}

#[test]
fn a_write_that_hangs_stops_those_alone_who_need_room() {
    let gate = Arc::new(Gate::default());
    let pool =
        options(4, &gate).parallel_writers(1).room_timeout(Duration::from_millis(10)).open(Blob);
    let mut references = fill(&pool, 4);
    gate.hold(true);
    let hung = std::thread::scope(|scope| {
        let hung = scope.spawn(|| pool.set(value(4)).unwrap());
        gate.until_writing(1);
        // One that needs a write of its own answers when its time is over, and has begun none.
        let rejected = pool.set(value(9)).unwrap_err();
        assert!(matches!(rejected.error, Error::NoRoom(_)), "{}", rejected.error);
        assert_eq!(rejected.value, value(9));
        assert!(matches!(pool.try_set(value(9)).unwrap_err().error, Error::NoRoom(_)));
        assert_eq!(gate.look().ever, 1);
        // What is in memory is read, the value that is being written, too; values end, and figures are told.
        assert_all(&pool, &references, 0);
        let deleted = references.pop().unwrap();
        pool.delete(&deleted).unwrap();
        assert_eq!(pool.stats().values, 3);
        gate.hold(false);
        hung.join().unwrap()
    });
    assert_all(&pool, &references, 0);
    assert_all(&pool, &[hung], 4);
    // Nothing is left of those that gave up.
    assert_eq!(pool.reserve(0).unwrap().ledger().usage().waiting, 0);
    references.extend((3..20).map(|byte| pool.set(value(byte)).unwrap()));
    assert_all(&pool, &references, 0);
}

#[test]
fn room_that_needs_no_write_waits_for_no_turn() {
    let gate = Arc::new(Gate::default());
    let pool = options(4, &gate).parallel_writers(1).open(Blob);
    let references = fill(&pool, 4);
    pool.copy_to_disk(&references[1]).unwrap();
    gate.hold(true);
    std::thread::scope(|scope| {
        // The coldest has to be written, and hangs.
        let hung = scope.spawn(|| pool.reserve(charge()).unwrap());
        gate.until_writing(1);
        // The next one is clean: it goes, though nobody else may write. Who came first gets the room.
        let next = scope.spawn(|| pool.reserve(charge()).unwrap());
        while pool.is_in_memory(&references[1]) {
            yield_now();
        }
        assert_eq!(gate.look().now, 1);
        gate.hold(false);
        drop((hung.join().unwrap(), next.join().unwrap()));
    });
    assert_all(&pool, &references, 0);
}

/// A value of 100 bytes, which some codecs cannot write.
struct Brittle(u8);

struct Panicky;

impl Codec<Brittle> for Panicky {
    type Resident = Brittle;
    type View = Brittle;

    fn format(&self) -> Format {
        Format { codec: CodecName::new("panicky"), type_tag: 1, pointer_width: 0 }
    }

    fn size_hint(&self, _value: &Brittle) -> Result<u64> {
        Ok(100)
    }

    fn admit(&self, value: Brittle, room: &mut Room) -> Result<Brittle, Rejected<Brittle>> {
        match room.grow(100_u64.saturating_sub(room.reserved_bytes())) {
            Ok(()) => Ok(value),
            Err(error) => Err(Rejected::new(value, error)),
        }
    }

    fn view<'a>(&self, resident: &'a Brittle) -> &'a Brittle {
        resident
    }

    fn mmwrite(&self, resident: &Brittle, sink: &mut Sink<'_>) -> Result<()> {
        assert!(resident.0 != 0, "this one cannot be written");
        sink.section(1)?;
        sink.write(&[resident.0])
    }

    fn mmwrite_value(&self, value: &Brittle, sink: &mut Sink<'_>) -> Result<()> {
        self.mmwrite(value, sink)
    }

    fn mmread(&self, source: &mut Source<'_>, _room: &mut Room) -> Result<Brittle> {
        Ok(Brittle(source.section()?[0]))
    }
}

/// All of the limit is to be clean, whatever is used.
fn eager(threads: usize) -> WriteAhead {
    WriteAhead::threads(threads).above(0).clean(100)
}

#[test]
fn what_was_written_ahead_goes_for_free_in_its_turn() {
    let gate = Arc::new(Gate::default());
    let pool = options(10, &gate).write_ahead(eager(2)).open(Blob);
    let mut references = fill(&pool, 10);
    pool.quiesce();
    let written = pool.stats().background_writes;
    assert!(written >= 5, "{written} of 10 are clean");
    assert_eq!(pool.stats().background_bytes, written * charge());
    assert_eq!(pool.stats().spills, 0, "none was written for room");
    assert!(references.iter().all(|one| pool.is_in_memory(one)), "all are in memory");
    // The coldest one was written first, and goes without a write.
    references.push(pool.set(value(10)).unwrap());
    assert!(!pool.is_in_memory(&references[0]) && pool.is_in_memory(&references[1]));
    assert_eq!((pool.stats().clean_evictions, pool.stats().spills), (1, 0));
    references.extend((11..60).map(|byte| pool.set(value(byte)).unwrap()));
    pool.quiesce();
    assert_all(&pool, &references, 0);
    // Each frame was written once, by whomever.
    let stats = pool.stats();
    assert_eq!(gate.look().ever as u64, stats.background_writes + stats.spills);
    assert!(gate.look().ever <= 60);
    drop(references);
    pool.quiesce();
    assert_eq!((pool.stats().used_bytes, pool.stats().live_disk_bytes), (0, 0));
}

#[test]
fn without_threads_and_below_the_mark_nothing_is_written_ahead() {
    for ahead in [WriteAhead::threads(0).above(0).clean(100), WriteAhead::threads(1).above(80)] {
        let gate = Arc::new(Gate::default());
        let pool = options(10, &gate).write_ahead(ahead).open(Blob);
        let _references = fill(&pool, 8);
        pool.quiesce();
        assert_eq!((gate.look().ever, pool.stats().background_writes), (0, 0));
    }
}

#[test]
fn a_value_that_is_being_written_ahead_is_waited_for_and_not_passed_over() {
    let gate = Arc::new(Gate::default());
    let pool =
        options(4, &gate).write_ahead(eager(1)).room_timeout(Duration::from_millis(10)).open(Blob);
    gate.hold(true);
    let references = fill(&pool, 4);
    gate.until_writing(1);
    // No other value goes in its place, though the wait ends without room.
    let no_room = |error| matches!(error, Error::NoRoom(_));
    let refused = std::thread::scope(|scope| {
        let sets = scope.spawn(|| {
            let waits = pool.set(value(9)).is_err_and(|rejected| no_room(rejected.error));
            waits && pool.try_set(value(9)).is_err_and(|rejected| no_room(rejected.error))
        });
        while !sets.is_finished() {
            if gate.look().now > 1 {
                gate.hold(false);
            }
            yield_now();
        }
        sets.join().unwrap()
    });
    assert!(refused && gate.look().ever == 1, "another value went in its place");
    assert!(references.iter().all(|one| pool.is_in_memory(one)));
    // It is read as ever, and so is all else.
    assert_all(&pool, &references, 0);
    // Who waits longer is told of the end of the write.
    let next = std::thread::scope(|scope| {
        let wait = SetOptions::new().wait(Wait::for_at_most(Duration::from_secs(20)));
        let next = scope.spawn(|| pool.set_with(value(4), wait).unwrap());
        while pool.reserve(0).unwrap().ledger().usage().waiting == 0 {
            yield_now();
        }
        gate.hold(false);
        next.join().unwrap()
    });
    assert_eq!(pool.stats().clean_evictions + pool.stats().spills, 1);
    assert_all(&pool, &references, 0);
    assert_all(&pool, &[next], 4);
}

#[test]
fn the_room_of_a_value_that_ended_while_it_was_written_is_waited_for() {
    let gate = Arc::new(Gate::default());
    let pool = options(4, &gate).write_ahead(eager(1)).open(Blob);
    gate.hold(true);
    let mut references = fill(&pool, 4);
    gate.until_writing(1);
    // The coldest is being written, and ends: its room is enough for another value.
    drop(references.remove(0));
    std::thread::scope(|scope| {
        let next = scope.spawn(|| pool.set(value(9)).unwrap());
        while pool.reserve(0).unwrap().ledger().usage().waiting == 0 {
            yield_now();
        }
        gate.hold(false);
        assert_eq!(pool.get(&next.join().unwrap()).unwrap()[0], 9);
    });
    assert!(references.iter().all(|one| pool.is_in_memory(one)), "none had to go for it");
}

#[test]
fn a_store_that_refuses_writes_ahead_is_left_alone_and_loses_nothing() {
    let switch = Switch::new();
    let store = FaultyStore::new(MemoryStore::new(), &switch);
    switch.fail(Call::Write, 0, u64::MAX, StoreErrorKind::Full);
    let options = PoolOptions::new().memory_limit(10 * charge()).write_ahead(eager(1));
    let pool = options.store(store).open(Blob);
    let mut references = fill(&pool, 10);
    pool.quiesce();
    let stats = pool.stats();
    assert!(stats.failed_writes > 0 && stats.background_writes == 0);
    assert_all(&pool, &references, 0);
    switch.heal();
    references.extend((10..30).map(|byte| pool.set(value(byte)).unwrap()));
    // The pause is over some time, and then there is something to write.
    for byte in (0..30).cycle() {
        if pool.stats().background_writes > 0 {
            break;
        }
        references[usize::from(byte)] = pool.set(value(byte)).unwrap();
        yield_now();
    }
    pool.quiesce();
    for (byte, reference) in (0..).zip(&references) {
        assert_eq!(pool.get(reference).unwrap()[..], value(byte)[..]);
    }
}

#[test]
fn close_waits_for_what_is_being_written_ahead() {
    let gate = Arc::new(Gate::default());
    let pool = options(4, &gate).write_ahead(eager(2)).open(Blob);
    gate.hold(true);
    let references = fill(&pool, 4);
    gate.until_writing(2);
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| pool.close());
        while pool.set(value(9)).is_ok() {
            yield_now();
        }
        gate.hold(false);
        closing.join().unwrap().unwrap();
    });
    assert_eq!((gate.look().now, gate.look().ever), (0, 2), "nothing was begun after it");
    assert!(matches!(pool.get(&references[0]), Err(Error::Closed)));
    assert_eq!((pool.stats().used_bytes, pool.stats().live_disk_bytes), (0, 0));
}

#[test]
fn threads_that_write_ahead_do_not_keep_the_pool() {
    let gate = Arc::new(Gate::default());
    let pool = options(4, &gate).write_ahead(eager(2)).open(Blob);
    let references = fill(&pool, 4);
    drop(pool);
    assert_eq!(gate.look().now, 0, "the last front closes the pool");
    drop(references);
    assert_eq!(Arc::strong_count(&gate), 1, "the store is gone");
}

#[test]
fn a_fork_beside_threads_that_write_ahead_harms_neither_side() {
    let gate = Arc::new(Gate::default());
    let pool = options(4, &gate).write_ahead(eager(1)).open(Blob);
    gate.hold(true);
    let references = fill(&pool, 4);
    gate.until_writing(1);
    let end = in_child(|| {
        let refused =
            pool.set(value(9)).is_err_and(|rejected| matches!(rejected.error, Error::Forked));
        pool.quiesce();
        i32::from(!(refused && matches!(pool.close(), Err(Error::Forked))))
    });
    assert_eq!(end.unwrap(), ChildEnd::Exited(0));
    gate.hold(false);
    pool.quiesce();
    assert!(pool.stats().background_writes > 0);
    assert_all(&pool, &references, 0);
}

#[test]
fn a_codec_that_panics_while_it_writes_ahead_is_met_by_who_needs_the_room() {
    let pool = PoolOptions::new().memory_limit(1000).write_ahead(eager(1)).open(Panicky);
    let references: Vec<_> = (0..10).map(|n| pool.set(Brittle(n)).unwrap()).collect();
    pool.quiesce();
    let stats = pool.stats();
    assert_eq!(stats.failed_writes, 1, "it is tried once");
    assert!(stats.background_writes >= 4, "the others are written: {stats:?}");
    for (n, reference) in (0..).zip(&references) {
        assert_eq!(pool.get(reference).unwrap().0, n);
    }
    // The first one is the coldest again; the set passes it over and takes the next.
    let next = pool.set(Brittle(10)).unwrap();
    assert!(pool.is_in_memory(&references[0]) && !pool.is_in_memory(&references[1]));
    drop(next);
}
