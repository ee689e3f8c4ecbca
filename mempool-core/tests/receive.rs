//! Frames that come from elsewhere: reserved before they come, checked before they are values, and gone when they fail.
#![cfg(all(feature = "testing", not(any(loom, shuttle))))]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

mod remotes;

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mempool_core::testing::{Call, FaultyStore, Switch};
use mempool_core::{
    ALIGNMENT, Blob, Buffer, Codec, CodecError, DRef, Error, ErrorKind, Format, FrameDamage,
    Header, MemoryStore, Place, Pool, PoolOptions, Receiving, Rejected, Resolve, Result, Room,
    Section, SetOptions, Sink, Source, StoreErrorKind, Trust, Untyped, Wait,
};
use remotes::{checksum, frame_of};

const LIMIT: u64 = 10_000;
const TYPE: &str = "alloc::vec::Vec<u8>";

fn options() -> PoolOptions {
    PoolOptions::new().memory_limit(LIMIT).room_timeout(Duration::ZERO)
}

fn pool() -> Pool<Blob> {
    options().open(Blob)
}

fn charge(frame: &[u8]) -> u64 {
    Buffer::allocation_bytes(frame.len(), ALIGNMENT).unwrap()
}

/// Writes all of `frame`, in pieces that are not the same.
fn write(receiving: &mut Receiving, frame: &[u8]) -> Result<()> {
    let (mut rest, mut len) = (frame, 1);
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(len.min(rest.len()));
        receiving.write(piece)?;
        (rest, len) = (later, len * 3 % 701 + 1);
    }
    Ok(())
}

fn take_in<C: Send + Sync + 'static>(
    pool: &Pool<C>,
    frame: &[u8],
    references: Vec<Untyped>,
) -> Result<Untyped> {
    let mut receiving = pool.receive(frame.len() as u64)?;
    write(&mut receiving, frame)?;
    receiving.finish(TYPE, references, SetOptions::new())
}

/// As [`take_in`], as bytes.
fn take_in_typed<C>(pool: &Pool<C>, frame: &[u8]) -> DRef<Vec<u8>>
where
    C: Codec<Vec<u8>>,
{
    pool.typed(&take_in(pool, frame, Vec::new()).unwrap()).unwrap()
}

/// The frame that a value is exported as.
fn sent<C: Send + Sync + 'static>(pool: &Pool<C>, value: &Untyped) -> Vec<u8> {
    let export = pool.export(value).unwrap();
    let mut all = Vec::new();
    let flow = export.stream(0..u64::MAX, &mut |piece| {
        all.extend_from_slice(&piece);
        ControlFlow::Continue(())
    });
    assert!(flow.unwrap().is_continue());
    assert_eq!(Header::check_whole(&all, checksum).unwrap(), *export.header());
    all
}

/// All bytes behind the header.
fn content(frame: &[u8]) -> &[u8] {
    let header = Header::decode(frame, checksum).unwrap();
    &frame[header.header_bytes() as usize..]
}

fn assert_empty<C: Send + Sync + 'static>(pool: &Pool<C>) {
    pool.quiesce();
    let stats = pool.stats();
    assert_eq!((stats.used_bytes, stats.values, stats.live_disk_bytes), (0, 0, 0));
    assert_eq!(stats.store.live_bytes, 0);
}

/// As [`assert_empty`], of what a thread behind a frame that was given up has yet to give back.
fn until_empty(pool: &Pool<Blob>) {
    while pool.stats().store.live_bytes > 0 {
        std::thread::yield_now();
    }
    assert_empty(pool);
}

#[test]
fn a_frame_is_reserved_before_it_comes_and_read_without_a_copy() {
    let pool = pool();
    let frame = frame_of(&[5; 3000], 0);
    let mut receiving = pool.receive(frame.len() as u64).unwrap();
    assert_eq!(pool.stats().used_bytes, charge(&frame));
    assert!(!receiving.goes_to_store());
    write(&mut receiving, &frame).unwrap();
    assert_eq!(receiving.received_bytes(), receiving.frame_bytes());
    let untyped = receiving.finish(TYPE, Vec::new(), SetOptions::new()).unwrap();
    let info = untyped.info();
    assert_eq!((info.value_type.as_str(), info.format), (TYPE, remotes::format()));
    let value = info.value.unwrap();
    assert_eq!((value.place, value.resident_bytes), (Place::Resident, charge(&frame)));
    assert!(matches!(untyped.typed::<Vec<u8>>(), Err(Error::NotRegistered { .. })));

    // It is given on as this pool's, and its content is what came.
    let given = sent(&pool, &untyped);
    let header = Header::decode(&given, checksum).unwrap();
    assert_eq!((header.id, header.resident_bytes), (untyped.id(), 3000));
    assert_eq!(content(&given), content(&frame));

    let value = pool.typed::<Vec<u8>>(&untyped).unwrap();
    let held = pool.get(&value).unwrap();
    assert_eq!(held[..], [5; 3000]);
    assert_eq!(pool.stats().used_bytes, charge(&frame), "the view shares the bytes that came");
    assert_eq!((pool.stats().loads, pool.stats().sets), (0, 1));
    drop(held);
    assert_eq!(sent(&pool, &untyped), given);
    drop((value, untyped));
    assert_empty(&pool);
}

#[test]
fn a_value_of_a_type_that_nobody_knows_is_evicted_and_given_on() {
    let pool = pool();
    let frames: Vec<_> = (0..12).map(|n| frame_of(&vec![n; 1000 + usize::from(n)], 0)).collect();
    let values: Vec<_> =
        frames.iter().map(|frame| take_in(&pool, frame, Vec::new()).unwrap()).collect();
    let stats = pool.stats();
    assert!(stats.peak_bytes <= LIMIT && stats.spills >= 3, "{stats:?}");
    assert_eq!(values[0].info().value.unwrap().place, Place::Spilled);
    for (value, frame) in values.iter().zip(&frames) {
        assert_eq!(content(&sent(&pool, value)), content(frame));
    }
    assert_eq!(pool.stats().loads, 0);
    let typed: Vec<_> = values.iter().map(|value| pool.typed::<Vec<u8>>(value).unwrap()).collect();
    for (n, value) in (0..).zip(&typed) {
        assert_eq!(pool.get(value).unwrap()[..], vec![n; 1000 + usize::from(n)]);
    }
    for (value, frame) in values.iter().zip(&frames) {
        assert_eq!(content(&sent(&pool, value)), content(frame), "and after they were read");
    }
    drop((values, typed));
    assert_empty(&pool);
}

#[test]
fn what_has_no_room_in_memory_goes_to_the_store() {
    let pool = pool();
    let large = frame_of(&[5; 20_000], 0);
    let mut receiving = pool.receive(large.len() as u64).unwrap();
    assert!(receiving.goes_to_store());
    assert_eq!(pool.stats().used_bytes, 0);
    write(&mut receiving, &large).unwrap();
    let value = receiving.finish(TYPE, Vec::new(), SetOptions::new()).unwrap();
    assert_eq!(value.info().value.unwrap().place, Place::Spilled);
    assert_eq!(content(&sent(&pool, &value)), content(&large));
    let typed = pool.typed::<Vec<u8>>(&value).unwrap();
    assert_eq!(pool.get(&typed).unwrap()[..], [5; 20_000]);
    assert_eq!((pool.stats().straight_to_disk, pool.stats().sets), (1, 1));

    // Pins that fill the limit for the whole time are no reason to refuse what comes.
    let pinned = pool.set(vec![1; 9000]).unwrap();
    let held = pool.get(&pinned).unwrap();
    let small = take_in_typed(&pool, &frame_of(&[6; 3000], 0));
    assert_eq!(pool.info(&small).unwrap().place, Place::Spilled);
    drop(held);
    assert_eq!(pool.get(&small).unwrap()[..], [6; 3000]);
    assert!(pool.stats().peak_bytes <= LIMIT);
    drop((value, typed, pinned, small));
    assert_empty(&pool);
}

#[test]
fn damage_is_found_before_there_is_a_value_and_everything_is_given_back() {
    for limit in [LIMIT, 500] {
        let pool = options().memory_limit(limit).open(Blob);
        let good = frame_of(&[5; 1000], 0);
        for at in (0..good.len()).step_by(5).chain([11, 63, 143, 144, 191, good.len() - 1]) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            let error = take_in(&pool, &bad, Vec::new()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damage, "byte {at}: {error}");
            assert!(matches!(error, Error::Frame { .. }), "byte {at}: {error}");
        }
        until_empty(&pool);
        assert_eq!(pool.stats().sets, 0);
        take_in(&pool, &good, Vec::new()).unwrap();
        assert_eq!(pool.stats().sets, 1);
    }
}

#[test]
fn a_frame_of_another_length_than_was_announced_is_refused_early() {
    for limit in [LIMIT, 500] {
        let pool = options().memory_limit(limit).open(Blob);
        let frame = frame_of(&[5; 1000], 0);
        let len = frame.len() as u64;
        let length = |error: Error, wanted, had| {
            let wanted = FrameDamage::Length { expected: wanted, found: had };
            assert!(matches!(&error, Error::Frame { damage, .. } if *damage == wanted), "{error}");
        };
        length(pool.receive(127).unwrap_err(), 128, 127);
        // The header says another length: nobody waits for the rest.
        for announced in [len - 1, len + 1] {
            let mut receiving = pool.receive(announced).unwrap();
            length(receiving.write(&frame[..200]).unwrap_err(), announced, len);
            let error = receiving.write(&frame[200..]).unwrap_err();
            assert!(matches!(error, Error::Store(error) if error.kind == StoreErrorKind::Closed));
        }
        let mut receiving = pool.receive(len).unwrap();
        receiving.write(&frame[..500]).unwrap();
        let error = receiving.finish(TYPE, Vec::new(), SetOptions::new()).unwrap_err();
        length(error, len, 500);
        let mut receiving = pool.receive(len).unwrap();
        receiving.write(&frame).unwrap();
        length(receiving.write(&[0]).unwrap_err(), len, len + 1);
        assert!(receiving.finish(TYPE, Vec::new(), SetOptions::new()).is_err());
        until_empty(&pool);
    }
}

#[test]
fn a_frame_that_is_given_up_leaves_nothing() {
    for limit in [LIMIT, 500] {
        let pool = options().memory_limit(limit).open(Blob);
        let frame = frame_of(&vec![5; 2000], 0);
        for len in [0, 1, 127, 128, 144, 1000, frame.len()] {
            let mut receiving = pool.receive(frame.len() as u64).unwrap();
            receiving.write(&frame[..len]).unwrap();
            drop(receiving);
            until_empty(&pool);
        }
        // The slot is free again: a pool does not grow by what was never a value.
        let value = pool.set(vec![1]).unwrap();
        assert!(value.id().slot < 2);
    }
}

/// A frame of these sections, laid out as the caller says, with checksums that fit.
fn laid_out(align: u32, content_offset: u64, sections: &[(u64, u64)], frame_bytes: u64) -> Vec<u8> {
    let sections: Vec<_> =
        sections.iter().map(|&(offset, bytes)| Section { offset, bytes }).collect();
    let header_bytes = 128 + 16 * sections.len();
    let content = vec![0; frame_bytes as usize - header_bytes];
    let header = Header {
        align,
        frame_bytes,
        content_offset,
        content_checksum: checksum(&content),
        sections,
        ..Header::decode(&frame_of(&[1], 0), checksum).unwrap()
    };
    let mut frame = header.encode(checksum);
    frame.extend_from_slice(&content);
    frame
}

#[test]
fn a_layout_that_no_writer_makes_is_refused() {
    for limit in [LIMIT, 100] {
        let pool = options().memory_limit(limit).open(Blob);
        let good = laid_out(64, 192, &[(192, 100), (320, 8)], 328);
        let value = take_in(&pool, &good, Vec::new()).unwrap();
        assert_eq!(content(&sent(&pool, &value)), content(&good));
        drop(value);
        let bad = [
            ("content offset", laid_out(64, 256, &[(256, 100), (384, 8)], 392)),
            ("section offset", laid_out(64, 192, &[(200, 100)], 300)),
            ("section offset", laid_out(64, 192, &[(192, 100), (384, 8)], 392)),
            ("alignment", laid_out(4, 144, &[(144, 10)], 154)),
            ("alignment", laid_out(64, 128, &[], 128)),
        ];
        for (n, (expected, frame)) in bad.into_iter().enumerate() {
            let error = take_in(&pool, &frame, Vec::new()).unwrap_err();
            let Error::Frame { damage: FrameDamage::Field { field, .. }, .. } = error else {
                panic!("{n}: {error}")
            };
            assert_eq!(field, expected, "{n}");
        }
        let mut padded = laid_out(64, 192, &[(192, 100), (320, 8)], 328);
        let mut header = Header::decode(&padded, checksum).unwrap();
        padded[300] = 1;
        header.content_checksum = checksum(&padded[160..]);
        padded.splice(..160, header.encode(checksum));
        let error = take_in(&pool, &padded, Vec::new()).unwrap_err();
        let padding = FrameDamage::Field { field: "padding", found: 1 };
        assert!(matches!(error, Error::Frame { damage, .. } if damage == padding));
        until_empty(&pool);
    }
}

#[test]
fn a_page_of_alignment_is_kept() {
    for limit in [100_000, 1000] {
        let pool = options().memory_limit(limit).open(Blob);
        let mut frame = laid_out(4096, 4096, &[(4096, 5000)], 9096);
        let mut header = Header::decode(&frame, checksum).unwrap();
        frame[4096..].fill(7);
        header.content_checksum = checksum(&frame[144..]);
        frame.splice(..144, header.encode(checksum));
        let value = take_in(&pool, &frame, Vec::new()).unwrap();
        assert_eq!(content(&sent(&pool, &value)), content(&frame));
        let value = pool.typed::<Vec<u8>>(&value).unwrap();
        let held = pool.get(&value).unwrap();
        assert_eq!(held[..], [7; 5000]);
        if limit > 1000 {
            assert!(held.as_ptr().addr().is_multiple_of(4096));
        }
    }
}

#[test]
fn references_are_those_that_the_header_counts() {
    for limit in [LIMIT, 1500] {
        let pool = options().memory_limit(limit).open(Blob);
        let inner = pool.set(vec![1; 10]).unwrap();
        let frame = frame_of(&[5; 3000], 2);
        for count in [0, 1, 3] {
            let error = take_in(&pool, &frame, vec![inner.untyped(); count]).unwrap_err();
            let field = FrameDamage::Field { field: "references", found: 2 };
            assert!(matches!(error, Error::Frame { damage, .. } if damage == field));
        }
        let other = PoolOptions::new().open(Blob);
        let foreign = other.set(vec![1]).unwrap().untyped();
        let refused = take_in(&pool, &frame, vec![inner.untyped(), foreign]);
        assert!(matches!(refused, Err(Error::WrongPool { .. })));

        let untyped = take_in(&pool, &frame, vec![inner.untyped(), inner.untyped()]).unwrap();
        drop(inner);
        let export = pool.export(&untyped).unwrap();
        assert_eq!((export.references().len(), export.header().references), (2, 2));
        drop(export);
        let value = pool.typed::<Vec<u8>>(&untyped).unwrap();
        let held = pool.get(&value).unwrap();
        let found: DRef<Vec<u8>> = Resolve::reference(&held, 1).unwrap();
        assert_eq!(pool.get(&found).unwrap()[..], [1; 10]);
        drop((held, found));
        drop((value, untyped));
        until_empty(&pool);
    }
}

/// Bytes that are decoded and must not begin with 0; says how much it was told to check.
#[derive(Clone, Default)]
struct Decoded {
    trusts: Arc<Mutex<Vec<Trust>>>,
}

impl Codec<Vec<u8>> for Decoded {
    type Resident = Vec<u8>;
    type View = Vec<u8>;

    fn format(&self) -> Format {
        remotes::format()
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
        sink.section(ALIGNMENT)?;
        sink.write(resident)
    }

    fn mmwrite_value(&self, value: &Vec<u8>, sink: &mut Sink<'_>) -> Result<()> {
        self.mmwrite(value, sink)
    }

    fn mmread(&self, source: &mut Source<'_>, room: &mut Room) -> Result<Vec<u8>> {
        self.trusts.lock().unwrap().push(source.trust());
        let bytes = source.section()?.to_vec();
        if bytes.first() == Some(&0) {
            return Err(CodecError::damage::<Vec<u8>>("decoded", "it begins with 0").into());
        }
        room.release_unused(bytes.len() as u64);
        Ok(bytes)
    }
}

#[test]
fn the_codec_looks_at_foreign_bytes_before_it_believes_them_and_once() {
    let codec = Decoded::default();
    let trusts = Arc::clone(&codec.trusts);
    let pool = options().open(codec);
    let told = || std::mem::take(&mut *trusts.lock().unwrap());
    let frame = frame_of(&[5; 3000], 0);

    // In memory, then from its own frame, which a codec has seen.
    let value = take_in_typed(&pool, &frame);
    for _ in 0..2 {
        assert_eq!(pool.get(&value).unwrap()[..], [5; 3000]);
    }
    assert_eq!(told(), [Trust::Foreign]);
    let used = pool.stats().used_bytes;
    assert_eq!(used, charge(&frame) + 3000, "what is decoded is taken beside what came");
    assert_eq!(pool.info(&value).unwrap().resident_bytes, used);
    assert_eq!(content(&sent(&pool, &value.untyped())), content(&frame));
    pool.move_to_disk(&value).unwrap();
    assert_eq!(pool.get(&value).unwrap().len(), 3000);
    assert_eq!((told(), pool.stats().used_bytes), (vec![Trust::Own], 3000));

    drop(value);

    // Evicted before anybody has asked for it.
    let value = take_in_typed(&pool, &frame);
    for trust in [Trust::Foreign, Trust::Own] {
        pool.move_to_disk(&value).unwrap();
        assert_eq!(pool.get(&value).unwrap().len(), 3000);
        assert_eq!(told(), [trust]);
    }
    drop(value);

    // Straight to the store.
    let value = take_in_typed(&pool, &frame_of(&[5; 9900], 0));
    for trust in [Trust::Foreign, Trust::Own] {
        pool.move_to_disk(&value).unwrap();
        assert_eq!(pool.get(&value).unwrap().len(), 9900);
        assert_eq!(told(), [trust]);
    }
    drop(value);
    assert_empty(&pool);
}

#[test]
fn bytes_that_a_codec_refuses_stay_what_they_are() {
    let pool = options().open(Decoded::default());
    let frame = frame_of(&[0; 3000], 0);
    let untyped = take_in(&pool, &frame, Vec::new()).unwrap();
    let value = pool.typed::<Vec<u8>>(&untyped).unwrap();
    for _ in 0..2 {
        assert!(
            matches!(pool.get(&value), Err(Error::Codec(error)) if error.kind == ErrorKind::Damage)
        );
        assert_eq!(pool.stats().used_bytes, charge(&frame));
    }
    pool.move_to_disk(&value).unwrap();
    for _ in 0..2 {
        assert!(
            matches!(pool.get(&value), Err(Error::Codec(error)) if error.kind == ErrorKind::Damage)
        );
    }
    assert_eq!(content(&sent(&pool, &untyped)), content(&frame));
    // Another codec than that which has the format first is none of its values'.
    let other = pool.with_codec(Blob);
    assert!(matches!(other.typed::<Vec<u8>>(&untyped), Err(Error::WrongCodec { .. })));
    assert!(matches!(other.get(&value), Err(Error::WrongCodec { .. })));
    let again = take_in_typed(&pool, &frame);
    assert!(matches!(other.get(&again), Err(Error::WrongCodec { .. })));
}

#[test]
fn a_value_that_says_it_takes_more_than_there_is_takes_nothing() {
    let pool = options().open(Decoded::default());
    let mut frame = frame_of(&[5; 1000], 0);
    let mut header = Header::decode(&frame, checksum).unwrap();
    header.resident_bytes = u64::MAX;
    frame.splice(..144, header.encode(checksum));
    let value = take_in_typed(&pool, &frame);
    assert!(matches!(pool.get(&value), Err(Error::TooLarge { .. })));
    pool.move_to_disk(&value).unwrap();
    assert!(matches!(pool.get(&value), Err(Error::TooLarge { .. })));
    drop(value);
    assert_empty(&pool);
}

#[test]
fn a_store_that_is_full_fails_what_comes_and_keeps_nothing() {
    let switch = Switch::new();
    let store = FaultyStore::new(MemoryStore::new(), &switch);
    let pool = options().memory_limit(500).store(store).open(Blob);
    let frame = frame_of(&vec![5; 2 << 20], 0);
    switch.fail(Call::Write, 0, 1, StoreErrorKind::Full);
    let error = take_in(&pool, &frame, Vec::new()).unwrap_err();
    assert!(matches!(error, Error::Store(_)), "{error}");
    until_empty(&pool);
    let frame = frame_of(&vec![5; 2000], 0);
    switch.fail(Call::Write, 0, 1, StoreErrorKind::Full);
    let Err(Error::Store(error)) = take_in(&pool, &frame, Vec::new()) else {
        panic!("it was full")
    };
    assert_eq!(error.kind, StoreErrorKind::Full);
    take_in(&pool, &frame, Vec::new()).unwrap();
}

#[test]
fn options_hold_for_what_comes_as_for_what_is_set() {
    let pool = pool();
    let frame = frame_of(&[5; 3000], 0);
    let receive = |options| {
        let mut receiving = pool.receive_within(frame.len() as u64, Wait::No).unwrap();
        receiving.write(&frame).unwrap();
        receiving.finish(TYPE, Vec::new(), options)
    };
    let gone = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&gone);
    let destructor = move || {
        count.fetch_add(1, Ordering::Relaxed);
    };
    drop(receive(SetOptions::new().name("kept").destructor(destructor)).unwrap());
    let named = pool.named::<Vec<u8>>("kept").unwrap();
    assert_eq!(pool.get(&named).unwrap()[..], [5; 3000]);
    drop((pool.unname("kept").unwrap(), named));
    pool.quiesce();
    assert_eq!(gone.load(Ordering::Relaxed), 1);
    let long = receive(SetOptions::new().name("n".repeat(5000)));
    assert!(matches!(long, Err(Error::NameTooLong { .. })));
    assert_empty(&pool);

    let dropped = receive(SetOptions::new().discardable()).unwrap();
    let dropped = pool.typed::<Vec<u8>>(&dropped).unwrap();
    let other = pool.set(vec![1; 9000]).unwrap();
    assert!(matches!(pool.get(&dropped), Err(Error::Discarded { .. })));
    drop((other, dropped));
    assert_empty(&pool);

    let mut late = pool.receive(frame.len() as u64).unwrap();
    late.write(&frame).unwrap();
    pool.close().unwrap();
    let late = late.finish(TYPE, Vec::new(), SetOptions::new());
    assert!(matches!(late, Err(Error::Closed)));
    assert!(matches!(pool.receive(1000), Err(Error::Closed)));
    assert_eq!(pool.stats().used_bytes, 0);
}

#[test]
fn many_threads_that_ask_first_have_it_decoded_once() {
    let codec = Decoded::default();
    let trusts = Arc::clone(&codec.trusts);
    let pool = options().open(codec);
    let value = take_in_typed(&pool, &frame_of(&[5; 1000], 0));
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| assert_eq!(pool.get(&value).unwrap()[999], 5));
        }
    });
    assert_eq!(*trusts.lock().unwrap(), [Trust::Foreign]);
}

#[test]
fn what_comes_what_is_set_and_what_is_read_share_one_limit() {
    let switch = Switch::new();
    let store = FaultyStore::new(MemoryStore::new(), &switch).batching(4000);
    let timeout = Duration::from_secs(60);
    let pool = PoolOptions::new().memory_limit(LIMIT).room_timeout(timeout).store(store);
    let pool = pool.open(Decoded::default());
    let frames: Vec<_> = (1..21).map(|n| frame_of(&vec![n; 700], 0)).collect();
    let values: Vec<_> = frames.iter().map(|frame| take_in_typed(&pool, frame)).collect();
    std::thread::scope(|scope| {
        for thread in 0..4_usize {
            let (pool, values, frames) = (&pool, &values, &frames);
            scope.spawn(move || {
                let mut seed = thread as u64 + 1;
                for _ in 0..300 {
                    // xorshift64 (Marsaglia, 2003)
                    seed ^= seed << 13;
                    seed ^= seed >> 7;
                    seed ^= seed << 17;
                    let at = (seed >> 8) as usize % 20;
                    match seed % 4 {
                        0 => {
                            assert_eq!(pool.get(&values[at]).unwrap()[..], vec![at as u8 + 1; 700])
                        }
                        1 => {
                            let given = sent(pool, &values[at].untyped());
                            assert_eq!(content(&given), content(&frames[at]));
                        }
                        2 => {
                            let new = take_in_typed(pool, &frames[at]);
                            assert_eq!(pool.get(&new).unwrap()[699], at as u8 + 1);
                        }
                        _ => drop(pool.set(vec![7; 500 + at]).unwrap()),
                    }
                    assert!(pool.stats().used_bytes <= LIMIT);
                }
            });
        }
    });
    let stats = pool.stats();
    let resident: u64 = pool.values().map(|value| value.resident_bytes).sum();
    assert!(stats.peak_bytes <= LIMIT && stats.spills > 0, "{stats:?}");
    assert_eq!(stats.used_bytes, resident, "{stats:?}");
    drop(values);
    assert_empty(&pool);
}
