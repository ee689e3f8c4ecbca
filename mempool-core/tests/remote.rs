//! Values of other pools: fetched when they are got, checked, evicted for nothing, and let go of once.
#![cfg(all(feature = "testing", not(any(loom, shuttle))))]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

mod remotes;

use std::sync::Arc;
use std::time::Duration;

use mempool_core::{
    ALIGNMENT, Blob, Buffer, Codec, CodecName, DRef, Error, ErrorKind, Format, FrameDamage, Place,
    Pool, PoolOptions, Rejected, Resolve, Result, Room, Sink, Source, StoreErrorKind, Trust,
};
use remotes::{Owner, deleted_there, frame_of, unreachable_owner};

const LIMIT: u64 = 10_000;

fn pool() -> Pool<Blob> {
    PoolOptions::new().memory_limit(LIMIT).room_timeout(Duration::ZERO).open(Blob)
}

fn adopt(pool: &Pool<Blob>, owner: &Arc<Owner>) -> DRef<Vec<u8>> {
    pool.typed(&pool.adopt_remote(owner.value(Vec::new())).unwrap()).unwrap()
}

fn frame_charge(frame: &[u8]) -> u64 {
    Buffer::allocation_bytes(frame.len(), ALIGNMENT).unwrap()
}

fn assert_empty(pool: &Pool<Blob>) {
    pool.quiesce();
    let stats = pool.stats();
    assert_eq!((stats.used_bytes, stats.values, stats.live_disk_bytes), (0, 0, 0));
}

#[test]
fn a_remote_value_is_fetched_when_it_is_got_and_evicted_for_nothing() {
    let pool = pool();
    let frame = frame_of(&[5; 1000], 0);
    let owner = Owner::new(frame.clone());
    let value = adopt(&pool, &owner);
    let info = pool.info(&value).unwrap();
    assert_eq!((info.place, info.resident_bytes, info.frame_bytes), (Place::Remote, 0, None));
    assert!(!pool.is_in_memory(&value) && pool.is_on_disk(&value));
    assert_eq!((owner.opens(), pool.stats().used_bytes), (0, 0), "nothing is fetched before");

    for round in 1..4 {
        assert_eq!(pool.get(&value).unwrap()[..], [5; 1000]);
        assert_eq!(pool.get(&value).unwrap().len(), 1000, "and once more from memory");
        let (info, stats) = (pool.info(&value).unwrap(), pool.stats());
        assert_eq!((info.place, info.resident_bytes), (Place::Resident, frame_charge(&frame)));
        assert_eq!((owner.opens(), stats.used_bytes), (round, frame_charge(&frame)));
        let fetched = (stats.loads, stats.remote_loads, stats.remote_bytes);
        let round = round as u64;
        assert_eq!(fetched, (round, round, round * frame.len() as u64));

        let other = pool.set(vec![1; 9500]).unwrap();
        assert_eq!(pool.info(&value).unwrap().place, Place::Remote, "it made room");
        let stats = pool.stats();
        assert_eq!((stats.clean_evictions, stats.spills, stats.written_bytes), (round, 0, 0));
        drop(other);
    }
    drop(value);
    assert_empty(&pool);
    assert_eq!(owner.releases(), 1);
}

#[test]
fn a_mapped_frame_takes_no_memory_and_is_believed_where_it_says_so() {
    let pool = pool();
    let mut frame = frame_of(&[5; 20_000], 0);
    // Nobody looks at the content of what the same trust domain has written.
    *frame.last_mut().unwrap() = 6;
    let owner = Owner::mapped(frame);
    let value = adopt(&pool, &owner);
    let held = pool.get(&value).unwrap();
    assert_eq!((held.len(), held[0], held[19_999]), (20_000, 5, 6));
    assert_eq!((pool.info(&value).unwrap().place, pool.stats().used_bytes), (Place::Mapped, 0));
    drop(held);
    let moved = pool.move_to_disk(&value).unwrap();
    assert_eq!(pool.info(&value).unwrap().place, Place::Remote);
    assert_eq!(pool.get_file(&moved).unwrap().len(), 20_000);
    assert_eq!(owner.opens(), 2);
    // The header is looked at in any case.
    owner.frame.lock().unwrap()[60] ^= 1;
    assert!(matches!(pool.get(&value), Err(Error::Remote { .. })));
    drop((value, moved));
    assert_empty(&pool);
    assert_eq!(owner.releases(), 1);
}

#[test]
fn many_threads_that_get_one_remote_value_fetch_it_once() {
    let pool = pool();
    let owner = Owner::new(frame_of(&[5; 1000], 0));
    let value = adopt(&pool, &owner);
    owner.hang(true);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| assert_eq!(pool.get(&value).unwrap()[999], 5));
        }
        owner.until_hanging();
        owner.hang(false);
    });
    assert_eq!((owner.opens(), pool.stats().remote_loads), (1, 1));
}

#[test]
fn who_waits_for_a_fetch_that_hangs_can_give_up() {
    let pool = pool();
    let owner = Owner::new(frame_of(&[5; 1000], 0));
    let value = adopt(&pool, &owner);
    owner.hang(true);
    let canceller = pool.canceller();
    std::thread::scope(|scope| {
        let fetches = scope.spawn(|| pool.get(&value).unwrap().len());
        owner.until_hanging();
        let waits = scope.spawn(|| {
            let wait = canceller.wait();
            pool.get_within(&value, wait).map(|held| held.len())
        });
        canceller.cancel();
        assert!(matches!(waits.join().unwrap(), Err(Error::Cancelled)));
        // A value that is on its way is no obstacle to others, nor to the end of the pool's own.
        let other = pool.set(vec![1; 100]).unwrap();
        assert_eq!(pool.get(&other).unwrap().len(), 100);
        owner.hang(false);
        assert_eq!(fetches.join().unwrap(), 1000);
    });
    assert_eq!(owner.opens(), 1);
}

#[test]
fn an_owner_that_fails_is_an_error_that_names_it_and_a_later_get_succeeds() {
    let pool = pool();
    let owner = Owner::new(frame_of(&[5; 1000], 0));
    let value = adopt(&pool, &owner);
    let id = value.id();
    owner.fail(unreachable_owner);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let error = pool.get(&value).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Environment);
                let Error::Remote { id: named, at, source } = error else { panic!("{error}") };
                assert_eq!((named, at.as_str()), (id, "node b, value 7.3"));
                assert_eq!(source.to_string(), "connection refused");
            });
        }
    });
    assert_eq!((pool.stats().used_bytes, pool.stats().remote_loads), (0, 0));
    owner.fail(deleted_there);
    assert!(matches!(pool.get(&value), Err(Error::Deleted { id: named }) if named == id));
    owner.heal();
    owner.panic();
    let error = pool.get(&value).unwrap_err();
    assert!(matches!(&error, Error::Remote { source, .. } if matches!(&**source, Error::Store(_))));
    owner.heal();
    assert_eq!(pool.get(&value).unwrap()[..], [5; 1000]);
}

#[test]
fn damage_on_the_way_is_found_and_gives_back_what_was_reserved() {
    let pool = pool();
    let good = frame_of(&[5; 1000], 0);
    let owner = Owner::new(good.clone());
    let value = adopt(&pool, &owner);
    for at in (0..good.len()).step_by(7).chain([0, 63, 143, 144, 191, good.len() - 1]) {
        owner.frame.lock().unwrap()[at] ^= 0x10;
        let error = pool.get(&value).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damage, "byte {at}: {error}");
        let Error::Remote { source, .. } = error else { panic!("byte {at}: {error}") };
        assert!(matches!(*source, Error::Frame { .. }), "byte {at}: {source}");
        *owner.frame.lock().unwrap() = good.clone();
    }
    for len in [0, 1, 127, 128, 143, 144, good.len() - 1] {
        owner.frame.lock().unwrap().truncate(len);
        assert_eq!(pool.get(&value).unwrap_err().kind(), ErrorKind::Damage, "{len} bytes");
        *owner.frame.lock().unwrap() = good.clone();
    }
    owner.frame.lock().unwrap().push(0);
    assert_eq!(pool.get(&value).unwrap_err().kind(), ErrorKind::Damage);
    assert_eq!(pool.stats().used_bytes, 0);
    // A whole frame with another count of references than the value was taken in with.
    *owner.frame.lock().unwrap() = frame_of(&[5; 1000], 1);
    let Err(Error::Remote { source, .. }) = pool.get(&value) else { panic!("it was believed") };
    let field = FrameDamage::Field { field: "references", found: 1 };
    assert!(matches!(*source, Error::Frame { damage, .. } if damage == field));
    *owner.frame.lock().unwrap() = good;
    assert_eq!(pool.get(&value).unwrap()[..], [5; 1000]);
}

#[test]
fn the_frame_of_another_value_is_refused_unless_it_is_said_to_be_this_ones() {
    let pool = pool();
    let owner = Owner::new(frame_of(&[5; 1000], 0));
    for (id, at_pool) in
        [(remotes::ID, 1), (mempool_core::Id { slot: 7, generation: 4 }, remotes::POOL)]
    {
        let mut told = owner.value(Vec::new());
        (told.id, told.pool) = (id, at_pool);
        let value = pool.adopt_remote(told).unwrap();
        let value = pool.typed::<Vec<u8>>(&value).unwrap();
        let error = pool.get(&value).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damage, "{error}");
    }
    /// A value that has another owner than it was taken in with.
    struct Moved(Arc<dyn mempool_core::RemoteFrame>);
    impl mempool_core::RemoteFrame for Moved {
        fn open(&self, room: &mut Room) -> Result<mempool_core::Fetched, mempool_core::StoreError> {
            Ok(self.0.open(room)?.written_as(remotes::ID, remotes::POOL).trust(Trust::Foreign))
        }
        fn delete(&self) -> Result<()> {
            self.0.delete()
        }
        fn move_to_disk(&self) -> Result<()> {
            self.0.move_to_disk()
        }
        fn copy_to_disk(&self) -> Result<()> {
            self.0.copy_to_disk()
        }
        fn describe(&self) -> String {
            self.0.describe()
        }
    }
    let mut told = owner.value(Vec::new());
    (told.pool, told.frame) = (1, Arc::new(Moved(owner.remote())));
    let value = pool.typed::<Vec<u8>>(&pool.adopt_remote(told).unwrap()).unwrap();
    assert_eq!(pool.get(&value).unwrap().len(), 1000);
}

#[test]
fn the_last_drop_lets_go_of_the_frame_once_and_on_the_reclaimer() {
    let pool = pool();
    let owner = Owner::new(frame_of(&[5; 1000], 0));
    let value = adopt(&pool, &owner);
    let (other, file) = (value.clone(), pool.copy_to_disk(&value).unwrap());
    assert_eq!(pool.get(&value).unwrap().len(), 1000);
    drop((value, other));
    pool.quiesce();
    assert_eq!((pool.stats().values, owner.releases()), (0, 0), "a file refers to the frame");
    assert_eq!(pool.get_file(&file).unwrap()[..], [5; 1000]);
    drop(file);
    assert_empty(&pool);
    assert_eq!(owner.releases(), 1);

    // With the pool go those that are left.
    let left = Owner::new(frame_of(&[5; 1000], 0));
    let value = adopt(&pool, &left);
    pool.close().unwrap();
    assert_eq!(left.releases(), 1);
    assert!(matches!(pool.get(&value), Err(Error::Closed)));
    let late = Owner::new(frame_of(&[5; 1000], 0));
    assert!(matches!(pool.adopt_remote(late.value(Vec::new())), Err(Error::Closed)));
    assert_eq!(late.releases(), 1);
}

#[test]
fn a_drop_runs_nothing_of_the_owners_on_its_own_thread() {
    let pool = pool();
    let owner = Owner::new(frame_of(&[5; 1000], 0));
    let value = adopt(&pool, &owner);
    drop(value);
    while owner.releases() == 0 {
        std::thread::yield_now();
    }
    assert_eq!(owner.released_by.lock().unwrap().as_slice(), ["mempool-reclaim"]);
}

#[test]
fn delete_move_and_copy_act_at_the_owner() {
    let pool = pool();
    let owner = Owner::new(frame_of(&[5; 1000], 0));
    let value = adopt(&pool, &owner);
    let held = pool.get(&value).unwrap();
    assert!(matches!(pool.move_to_disk(&value), Err(Error::Pinned { pins: 1, .. })));
    assert_eq!(owner.calls(), [""; 0]);
    drop(held);
    let copied = pool.copy_to_disk(&value).unwrap();
    assert!(pool.is_in_memory(&value), "a copy leaves it in memory");
    let moved = pool.move_to_disk(&value).unwrap();
    assert!(!pool.is_in_memory(&value) && pool.stats().used_bytes == 0);
    assert_eq!(owner.calls(), ["copy_to_disk", "move_to_disk"]);
    assert_eq!(format!("{moved:?}"), format!("FileRef(value {}, node b, value 7.3)", value.id()));
    assert_eq!(pool.get_file(&copied).unwrap().len(), 1000);

    owner.fail(unreachable_owner);
    assert!(matches!(pool.delete(&value), Err(Error::Remote { .. })));
    assert!(matches!(pool.copy_to_disk(&value), Err(Error::Remote { .. })));
    assert!(matches!(pool.move_to_disk(&value), Err(Error::Remote { .. })));
    owner.heal();
    assert_eq!(pool.get(&value).unwrap().len(), 1000, "what failed has changed nothing");
    pool.delete(&value).unwrap();
    assert_eq!(owner.calls().last(), Some(&"delete"));
    assert!(matches!(pool.get(&value), Err(Error::Deleted { .. })));
    assert!(matches!(pool.delete(&value), Err(Error::Deleted { .. })));
    assert_eq!(owner.calls().len(), 3);
    drop((copied, moved, value));
    assert_empty(&pool);
    assert_eq!(owner.releases(), 1);
}

#[test]
fn a_remote_value_is_saved_to_a_file_here() {
    let pool = pool();
    let owner = Owner::new(frame_of(&[5; 1000], 0));
    let value = adopt(&pool, &owner);
    let fetched = pool.save_to_disk(&value, "fetched").unwrap();
    assert_eq!((owner.opens(), pool.stats().used_bytes), (1, 0), "it does not stay in memory");
    assert_eq!(pool.get_file(&fetched).unwrap()[..], [5; 1000]);
    let held = pool.get(&value).unwrap();
    let saved = pool.save_to_disk(&value, "from memory").unwrap();
    drop(held);
    assert_eq!(owner.opens(), 2);
    assert_eq!(pool.get_file(&saved).unwrap()[..], [5; 1000]);
    pool.move_to_disk(&value).unwrap();
    owner.frame.lock().unwrap()[500] ^= 1;
    assert_eq!(pool.save_to_disk(&value, "damaged").unwrap_err().kind(), ErrorKind::Damage);
    assert_eq!(
        pool.get_file(&pool.file::<Vec<u8>>("damaged")).unwrap_err().kind(),
        ErrorKind::Environment
    );
}

#[test]
fn a_remote_value_holds_references_and_they_end_with_it() {
    let pool = pool();
    let inner = pool.set(vec![1; 10]).unwrap();
    let owner = Owner::new(frame_of(&[5; 1000], 1));
    let told = owner.value(vec![inner.untyped()]);
    drop(inner);
    let outer = pool.typed::<Vec<u8>>(&pool.adopt_remote(told).unwrap()).unwrap();
    let pinned = pool.get(&outer).unwrap();
    let found: DRef<Vec<u8>> = Resolve::reference(&pinned, 0).unwrap();
    assert_eq!(pool.get(&found).unwrap()[..], [1; 10]);
    drop((pinned, found));
    assert!(matches!(
        pool.save_to_disk(&outer, "no"),
        Err(Error::HoldsReferences { references: 1, .. })
    ));
    drop(outer);
    assert_empty(&pool);

    let other = PoolOptions::new().open(Blob);
    let foreign = other.set(vec![1]).unwrap();
    let refused = pool.adopt_remote(owner.value(vec![foreign.untyped()]));
    assert!(matches!(refused, Err(Error::WrongPool { .. })));
    assert_eq!(owner.releases(), 2);
}

#[test]
fn what_is_remote_is_not_retained_and_nothing_is_written_for_it() {
    let pool = pool();
    let owner = Owner::new(frame_of(&[5; 1000], 0));
    let local = pool.set(vec![1; 10]).unwrap();
    let value = adopt(&pool, &owner);
    pool.set_name("here", &local).unwrap();
    pool.set_name("there", &value).unwrap();
    let Err(Error::Elsewhere { id, at }) = pool.retain() else { panic!("it was retained") };
    assert_eq!((id, at.as_str()), (value.id(), "node b, value 7.3"));
    assert_eq!(pool.stats().written_bytes, 0);

    // One that is referred to is found as well.
    let outer = Owner::new(frame_of(&[6; 10], 1));
    let inner = pool.unname("there").unwrap();
    let outer = pool.adopt_remote(outer.value(vec![inner])).unwrap();
    let outer = pool.typed::<Vec<u8>>(&outer).unwrap();
    pool.set_name("outer", &outer).unwrap();
    let error = pool.retain().unwrap_err();
    assert!(matches!(error, Error::Elsewhere { id, .. } if id == outer.id()));
    assert_eq!(error.kind(), ErrorKind::Misuse);
    pool.unname("outer").unwrap();
    // Without them the store alone has its say.
    let Err(Error::Store(error)) = pool.retain() else { panic!("the store in memory retains") };
    assert_eq!(error.kind, StoreErrorKind::Unsupported);
}

/// Bytes that are decoded when they come back.
struct Decoded;

impl Codec<Vec<u8>> for Decoded {
    type Resident = Vec<u8>;
    type View = Vec<u8>;

    fn format(&self) -> Format {
        Format { codec: CodecName::new("decoded"), ..remotes::format() }
    }

    fn size_hint(&self, value: &Vec<u8>) -> Result<u64> {
        Ok(value.len() as u64)
    }

    fn admit(&self, value: Vec<u8>, room: &mut Room) -> Result<Vec<u8>, Rejected<Vec<u8>>> {
        room.release_unused(value.len() as u64);
        Ok(value)
    }

    fn view<'a>(&self, resident: &'a Vec<u8>) -> &'a Vec<u8> {
        resident
    }

    fn mmwrite(&self, resident: &Vec<u8>, sink: &mut Sink<'_>) -> Result<()> {
        sink.section(8)?;
        sink.write(resident)
    }

    fn mmwrite_value(&self, value: &Vec<u8>, sink: &mut Sink<'_>) -> Result<()> {
        self.mmwrite(value, sink)
    }

    fn mmread(&self, source: &mut Source<'_>, room: &mut Room) -> Result<Vec<u8>> {
        assert_eq!(source.trust(), Trust::Foreign, "it came from another pool");
        let bytes = source.section()?.to_vec();
        room.release_unused(bytes.len() as u64);
        Ok(bytes)
    }
}

/// The frame of a blob under another codec's name.
fn decoded_frame(value: &[u8]) -> Vec<u8> {
    let blob = frame_of(value, 0);
    let mut header = mempool_core::Header::check_whole(&blob, remotes::checksum).unwrap();
    header.format = Codec::<Vec<u8>>::format(&Decoded);
    let mut frame = header.encode(remotes::checksum);
    frame.extend_from_slice(&blob[144..]);
    frame
}

#[test]
fn a_codec_that_decodes_is_charged_for_the_value_alone() {
    let pool = pool();
    let owner = Owner::new(decoded_frame(&[5; 1000]));
    let mut told = owner.value(Vec::new());
    (told.format, told.charged_bytes) = (Codec::<Vec<u8>>::format(&Decoded), 1000);
    let untyped = pool.adopt_remote(told).unwrap();
    let error = pool.typed::<Vec<u8>>(&untyped).unwrap_err();
    assert!(matches!(&error, Error::WrongCodec { stored, .. } if stored.contains("decoded")));
    assert!(matches!(untyped.typed::<Vec<u8>>(), Err(Error::NotRegistered { .. })));
    let decoding = pool.with_codec(Decoded);
    let value = decoding.typed::<Vec<u8>>(&untyped).unwrap();
    assert_eq!(decoding.get(&value).unwrap()[..], [5; 1000]);
    assert_eq!((pool.stats().used_bytes, pool.stats().remote_loads), (1000, 1));
    assert!(matches!(pool.get(&value), Err(Error::WrongCodec { .. })));
    assert_eq!(untyped.typed::<Vec<u8>>().unwrap(), value, "the pool knows the type by now");
    // A value that says it takes more than there is leaves nothing behind.
    let mut told = owner.value(Vec::new());
    (told.format, told.charged_bytes) = (Codec::<Vec<u8>>::format(&Decoded), u64::MAX);
    let huge = decoding.typed::<Vec<u8>>(&pool.adopt_remote(told).unwrap()).unwrap();
    assert!(matches!(decoding.get(&huge), Err(Error::TooLarge { .. })));
    drop((value, untyped, huge));
    assert_empty(&pool);
}

#[test]
fn a_frame_of_another_format_than_was_said_is_refused() {
    let pool = pool();
    let owner = Owner::new(decoded_frame(&[5; 1000]));
    let value = adopt(&pool, &owner);
    let Err(Error::Remote { source, .. }) = pool.get(&value) else { panic!("it was believed") };
    assert!(matches!(*source, Error::Frame { damage: FrameDamage::Format { .. }, .. }));
}

#[test]
fn local_and_remote_values_make_room_for_each_other_and_the_ledger_is_exact() {
    let pool =
        PoolOptions::new().memory_limit(LIMIT).room_timeout(Duration::from_secs(60)).open(Blob);
    // Four times the limit in all, half of it here and half of it there.
    let locals: Vec<_> = (0..20).map(|n| pool.set(vec![n; 1000]).unwrap()).collect();
    let owners: Vec<_> = (0..20).map(|n| Owner::new(frame_of(&[100 + n; 800], 0))).collect();
    let remotes: Vec<_> = owners.iter().map(|owner| adopt(&pool, owner)).collect();
    std::thread::scope(|scope| {
        for thread in 0..4_usize {
            let (pool, locals, remotes) = (&pool, &locals, &remotes);
            scope.spawn(move || {
                let mut seed = thread as u64 + 1;
                for _ in 0..500 {
                    // xorshift64 (Marsaglia, 2003)
                    seed ^= seed << 13;
                    seed ^= seed >> 7;
                    seed ^= seed << 17;
                    let at = (seed >> 8) as usize % 20;
                    match seed % 3 {
                        0 => assert_eq!(pool.get(&locals[at]).unwrap()[..], [at as u8; 1000]),
                        1 => assert_eq!(pool.get(&remotes[at]).unwrap()[..], [100 + at as u8; 800]),
                        _ => drop(pool.set(vec![7; 500 + at]).unwrap()),
                    }
                    assert!(pool.stats().used_bytes <= LIMIT);
                }
            });
        }
    });
    let stats = pool.stats();
    assert!(stats.peak_bytes <= LIMIT && stats.remote_loads > 20, "{stats:?}");
    let opens: usize = owners.iter().map(|owner| owner.opens()).sum();
    assert_eq!(opens as u64, stats.remote_loads);
    let resident: u64 = pool.values().map(|value| value.resident_bytes).sum();
    assert_eq!(stats.used_bytes, resident, "{stats:?}");
    drop((locals, remotes));
    assert_empty(&pool);
    assert!(owners.iter().all(|owner| owner.releases() == 1));
}

#[test]
fn a_prefetch_passes_over_what_another_pool_has() {
    let pool = pool();
    let owner = Owner::new(frame_of(&[5; 1000], 0));
    let value = adopt(&pool, &owner);
    pool.prefetch([&value]).unwrap().wait();
    assert_eq!(pool.get_many([&value, &value]).unwrap().len(), 2);
    assert_eq!(owner.opens(), 1);
}

#[test]
fn values_of_one_format_are_read_as_one_type() {
    let pool = pool();
    let owner = Owner::new(frame_of(&[5; 10], 0));
    let first = pool.adopt_remote(owner.value(Vec::new())).unwrap();
    let second = pool.adopt_remote(owner.value(Vec::new())).unwrap();
    let first = pool.typed::<Vec<u8>>(&first).unwrap();
    let second = second.typed::<Vec<u8>>().unwrap();
    assert_ne!(first, second);
    assert_eq!(pool.get(&first).unwrap()[..], pool.get(&second).unwrap()[..]);
    let other = PoolOptions::new().open(Blob);
    let elsewhere = other.adopt_remote(owner.value(Vec::new())).unwrap();
    assert!(matches!(pool.typed::<Vec<u8>>(&elsewhere), Err(Error::WrongPool { .. })));
}
