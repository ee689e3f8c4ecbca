//! Each error there is, provoked. `cargo xtask errcover` fails when a variant has no test that names it.
#![cfg(all(feature = "testing", not(any(loom, shuttle))))]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::path::Path;
use std::time::Duration;

use mempool_core::testing::{Call, FaultyStore, Switch, frame_of, room};
use mempool_core::{
    Blob, Buffer, Codec, CodecError, CodecName, DRef, Error, ErrorKind, Format, FrameDamage,
    Handle, Header, Id, Ledger, MemoryStore, Pool, PoolOptions, Rejected, Result, Room, SetOptions,
    Sink, Source, SpillStore, StoreError, StoreErrorKind,
};

const LIMIT: u64 = 10_000;

fn options() -> PoolOptions {
    PoolOptions::new().memory_limit(LIMIT).room_timeout(Duration::ZERO)
}

/// What a [`Wrong`] codec does wrong.
#[derive(Clone, Copy)]
enum Fault {
    /// It writes before it starts a section.
    NoSection,
    /// It reads a section more than it wrote.
    OneMore,
    /// Its writing panics.
    Panic,
    /// Its reading says that the bytes are damaged.
    Damage,
}

struct Wrong(Fault);

impl Codec<Vec<u8>> for Wrong {
    type Resident = Vec<u8>;
    type View = [u8];

    fn format(&self) -> Format {
        Format { codec: CodecName::new("wrong"), type_tag: 1, pointer_width: 0 }
    }

    fn size_hint(&self, _value: &Vec<u8>) -> Result<u64> {
        Ok(0)
    }

    fn admit(&self, value: Vec<u8>, _room: &mut Room) -> Result<Vec<u8>, Rejected<Vec<u8>>> {
        Ok(value)
    }

    fn view<'a>(&self, resident: &'a Vec<u8>) -> &'a [u8] {
        resident
    }

    fn mmwrite(&self, resident: &Vec<u8>, sink: &mut Sink<'_>) -> Result<()> {
        match self.0 {
            Fault::NoSection => {}
            Fault::Panic => panic!("on purpose"),
            Fault::OneMore | Fault::Damage => sink.section(1)?,
        }
        sink.write(resident)
    }

    fn mmwrite_value(&self, value: &Vec<u8>, sink: &mut Sink<'_>) -> Result<()> {
        self.mmwrite(value, sink)
    }

    fn mmread(&self, source: &mut Source<'_>, _room: &mut Room) -> Result<Vec<u8>> {
        let bytes = source.section()?;
        match self.0 {
            Fault::OneMore => Ok(source.section()?.to_vec()),
            Fault::Damage => Err(CodecError::damage::<Vec<u8>>("wrong", "on purpose").into()),
            _ => Ok(bytes.to_vec()),
        }
    }
}

fn set_wrong(fault: Fault) -> (Pool<Wrong>, DRef<Vec<u8>>) {
    let pool = options().open(Wrong(fault));
    let one = pool.set(vec![1; 10]).unwrap();
    (pool, one)
}

#[test]
fn a_value_that_ended_says_how() {
    let pool = options().open(Blob);
    let deleted = pool.set(vec![1]).unwrap();
    pool.delete(&deleted).unwrap();
    assert!(matches!(pool.get(&deleted), Err(Error::Deleted { id }) if id == deleted.id()));
    let discarded = pool.set_with(vec![1; 6000], SetOptions::new().discardable()).unwrap();
    let _other = pool.set(vec![1; 6000]).unwrap();
    assert!(matches!(pool.get(&discarded), Err(Error::Discarded { id }) if id == discarded.id()));
    pool.close().unwrap();
    assert!(matches!(pool.copy_to_disk(&deleted), Err(Error::Closed)));
}

#[test]
fn a_reference_of_another_pool_or_type_is_refused() {
    let pool = options().open(Blob);
    let one = pool.set(vec![1]).unwrap();
    let elsewhere = options().open(Blob);
    let file = pool.copy_to_disk(&one).unwrap();
    assert!(matches!(elsewhere.get(&one), Err(Error::WrongPool { .. })));
    assert!(matches!(elsewhere.get_file(&file), Err(Error::WrongPool { .. })));
    let other = pool.with_codec(Wrong(Fault::Damage));
    let said = |error: Error| match error {
        Error::WrongCodec { stored, asked } => stored.contains("Blob") && asked.contains("Wrong"),
        _ => false,
    };
    assert!(said(other.get(&one).map(drop).unwrap_err()), "resident");
    assert!(said(other.get_file(&file).map(drop).unwrap_err()), "claimed");
    pool.move_to_disk(&one).unwrap();
    assert!(said(other.get(&one).map(drop).unwrap_err()), "spilled");
}

#[test]
fn pins_are_counted_and_bounded() {
    let pool = options().open(Blob);
    let one = pool.set(vec![1]).unwrap();
    let guard = pool.get(&one).unwrap();
    assert!(matches!(pool.move_to_disk(&one), Err(Error::Pinned { pins: 1, .. })));
    // Forgotten guards pin for ever; nothing but their number stands against that.
    let error = loop {
        match pool.get(&one) {
            Ok(guard) => std::mem::forget(guard),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::TooManyPins { pins: 8_388_607, .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Misuse);
    drop(guard);
    drop(pool.get(&one).unwrap());
}

#[test]
fn limits_are_of_the_kind_limit() {
    let pool = options().open(Blob);
    let one = pool.set(vec![1; 6000]).unwrap();
    let _guard = pool.get(&one).unwrap();
    let no_room = pool.set(vec![1; 6000]).unwrap_err().error;
    assert!(matches!(&no_room, Error::NoRoom(report) if report.largest[0].id == one.id()));
    let too_large = pool.reserve(LIMIT + 1).unwrap_err();
    assert!(matches!(too_large, Error::TooLarge { asked_bytes: 10_001, limit_bytes: LIMIT }));
    let discardable = pool.set_with(vec![1; 20_000], SetOptions::new().discardable());
    assert!(matches!(discardable.unwrap_err().error, Error::TooLarge { .. }));
    assert_eq!((no_room.kind(), too_large.kind()), (ErrorKind::Limit, ErrorKind::Limit));
}

#[test]
fn what_no_allocator_has_is_refused() {
    let refused = Buffer::allocation_bytes(usize::MAX, 64).unwrap_err();
    assert!(matches!(refused, Error::Allocation { .. }));
    assert_eq!(refused.kind(), ErrorKind::Environment);
}

#[test]
fn a_store_that_fails_is_named_as_it_failed() {
    let switch = Switch::new();
    let pool = options().store(FaultyStore::new(MemoryStore::new(), &switch)).open(Blob);
    let one = pool.set(vec![1; 6000]).unwrap();
    switch.fail(Call::Write, 0, 1, StoreErrorKind::Full);
    let spill = pool.set(vec![2; 6000]).unwrap_err().error;
    assert!(matches!(&spill, Error::Spill { victim, .. } if *victim == one.id()));
    assert_eq!(spill.kind(), ErrorKind::Limit, "as its cause is");
    switch.fail(Call::Write, 0, 1, StoreErrorKind::Io);
    let io = pool.move_to_disk(&one).map(drop).unwrap_err();
    assert!(matches!(&io, Error::Store(StoreError { kind: StoreErrorKind::Io, .. })), "{io}");
    assert_eq!(io.kind(), ErrorKind::Environment);
    let missing = pool.get_file(&pool.file::<Vec<u8>>("nothing")).map(drop).unwrap_err();
    let Error::Store(StoreError { kind: StoreErrorKind::Missing, .. }) = missing else {
        panic!("{missing}")
    };
}

#[test]
fn a_codec_that_fails_is_named() {
    let (pool, one) = set_wrong(Fault::NoSection);
    let error = pool.move_to_disk(&one).map(drop).unwrap_err();
    assert!(matches!(error, Error::Store(StoreError { kind: StoreErrorKind::Codec, .. })));
    assert_eq!(error.kind(), ErrorKind::Misuse);
    assert_eq!(pool.get(&one).unwrap()[..], [1; 10], "the value is whole");
    let (pool, one) = set_wrong(Fault::Panic);
    let error = pool.copy_to_disk(&one).map(drop).unwrap_err();
    assert!(matches!(error, Error::Codec(_)) && error.to_string().contains("on purpose"));
    assert_eq!(pool.get(&one).unwrap()[..], [1; 10]);
    let (pool, one) = set_wrong(Fault::Damage);
    pool.move_to_disk(&one).unwrap();
    let error = pool.get(&one).map(drop).unwrap_err();
    assert!(matches!(&error, Error::Codec(codec) if codec.codec == "wrong"));
    assert_eq!(error.kind(), ErrorKind::Damage);
}

#[test]
fn a_frame_of_another_value_or_format_is_refused() {
    let switch = Switch::new();
    let pool = options().store(FaultyStore::new(MemoryStore::new(), &switch)).open(Blob);
    let all = [pool.set(vec![1; 10]).unwrap(), pool.set(vec![2; 10]).unwrap()];
    all.iter().for_each(|one| drop(pool.move_to_disk(one).unwrap()));
    switch.answer_with(Handle { segment: 0, offset: 0, bytes: 0 });
    let Err(Error::Frame { damage, .. }) = pool.get(&all[1]).map(drop) else { panic!("accepted") };
    let (expected, found) = (all[1].id(), all[0].id());
    assert!(
        matches!(damage, FrameDamage::Id { expected: e, found: f } if (e, f) == (expected, found))
    );
    switch.heal();
    let saved = pool.save_to_disk(&all[0], "saved").unwrap();
    let error = pool.with_codec(Wrong(Fault::Damage)).get_file(&saved).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damage);
    let Error::Frame { damage: FrameDamage::Format { expected, found }, .. } = error else {
        panic!("{error}")
    };
    assert!(expected.starts_with("wrong") && found.starts_with("blob"), "{expected}, {found}");
}

#[test]
fn a_section_that_is_not_there_is_named() {
    let (pool, one) = set_wrong(Fault::OneMore);
    pool.move_to_disk(&one).unwrap();
    let Err(Error::Frame { damage, .. }) = pool.get(&one).map(drop) else { panic!("accepted") };
    assert_eq!(damage, FrameDamage::Section { index: 1, sections: 1 });
}

#[test]
fn each_part_of_a_header_is_held_to_its_own_check() {
    let store = MemoryStore::new();
    let frame = frame_of(Id { slot: 3, generation: 4 }, &[(64, &[7; 100])]).unwrap();
    let read = |bytes: &[u8]| Header::check_whole(bytes, |bytes| store.checksum(bytes));
    let bent = |at: usize| {
        let mut bytes = frame.to_vec();
        bytes[at] ^= 1;
        read(&bytes).unwrap_err()
    };
    assert!(read(&frame).is_ok());
    assert!(matches!(bent(0), FrameDamage::Magic { .. }));
    assert!(matches!(bent(8), FrameDamage::Version { .. }));
    assert!(matches!(bent(44), FrameDamage::Field { field: "section count", .. }));
    assert!(matches!(bent(33), FrameDamage::Checksum { part: "header", .. }));
    let last = frame.len() - 1;
    assert!(matches!(bent(last), FrameDamage::Checksum { part: "content", .. }));
    let cut = read(&frame[..last]).unwrap_err();
    assert!(matches!(cut, FrameDamage::Length { found, .. } if found == last as u64));
}

#[test]
fn a_store_that_asks_for_room_passes_on_why_there_is_none() {
    let ledger = Ledger::new(100, Duration::ZERO);
    let told = room(&ledger).take(200).unwrap_err();
    let error = Error::from(StoreError::new(StoreErrorKind::Io, told));
    assert!(matches!(error, Error::TooLarge { asked_bytes: 200, limit_bytes: 100 }), "{error}");
    let missing = MemoryStore::new().load(Path::new("x"), &mut room(&ledger)).unwrap_err();
    assert!(matches!(Error::from(missing), Error::Store(_)), "the store's own stay its own");
}
