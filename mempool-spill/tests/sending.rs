//! Frames between pools with disks: exported from wherever a value is, received in memory or on disk, and read there.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt as _;

use mempool_codec::{Bincode, Encoded, Rkyv};
use mempool_core::{
    Blob, Codec, Error, ErrorKind, Export, Place, Pool, PoolOptions, SetOptions, Untyped, Wait,
};
use mempool_spill::{Lz4, SpillOptions};

#[allow(clippy::duplicate_mod, reason = "each test is a crate")]
mod workloads;
use workloads::{Random, Scratch, bytes, options};

const MIB: u64 = 1 << 20;

fn open<C: Send + Sync + 'static>(options: SpillOptions, limit: u64, codec: C) -> Pool<C> {
    PoolOptions::new().memory_limit(limit).store(options.open().unwrap()).open(codec)
}

fn whole(export: &Export) -> Vec<u8> {
    let mut all = Vec::new();
    let flow = export.stream(0..u64::MAX, &mut |piece| {
        all.extend_from_slice(&piece);
        ControlFlow::Continue(())
    });
    assert!(flow.unwrap().is_continue());
    assert_eq!(all.len() as u64, export.frame_bytes());
    all
}

/// Sends a value from pool to pool in pieces of all sizes, as a wire would.
fn send<C, D>(from: &Pool<C>, value: &Untyped, to: &Pool<D>, options: SetOptions) -> Untyped
where
    C: Send + Sync + 'static,
    D: Send + Sync + 'static,
{
    let export = from.export(value).unwrap();
    let mut receiving = to.receive_within(export.frame_bytes(), Wait::No).unwrap();
    let mut random = Random::new(export.frame_bytes());
    let flow = export.stream(0..u64::MAX, &mut |piece| {
        let mut rest = &piece[..];
        while !rest.is_empty() {
            let len = 1 + random.below(100_000) as usize;
            let (now, later) = rest.split_at(len.min(rest.len()));
            receiving.write(now).unwrap();
            rest = later;
        }
        ControlFlow::Continue(())
    });
    assert!(flow.unwrap().is_continue());
    let references = Vec::new();
    receiving.finish(export.type_name(), references, options).unwrap()
}

fn assert_empty<C: Send + Sync + 'static>(pool: &Pool<C>) {
    pool.quiesce();
    let stats = pool.stats();
    assert_eq!((stats.values, stats.used_bytes, stats.live_disk_bytes), (0, 0, 0));
    assert_eq!(stats.store.live_bytes, 0);
}

/// Sends `value` from memory and from disk, to a pool that has room for it and to one that has not, and has it `read` there.
fn goes_everywhere<C, T>(
    name: &str,
    codec: impl Fn() -> C,
    make: impl Fn() -> T,
    read: impl Fn(&C::View),
) where
    C: Codec<T>,
    T: Send + Sync + 'static,
{
    let here = Scratch::new(&format!("sending-from-{name}"));
    let from = open(options(&here.0), 64 * MIB, codec());
    for limit in [64 * MIB, 1000] {
        let there = Scratch::new(&format!("sending-to-{name}"));
        let to = open(options(&there.0), limit, codec());
        let value = from.set(make()).unwrap_or_else(|rejected| panic!("{}", rejected.error));
        let sent = send(&from, &value.untyped(), &to, SetOptions::new());
        from.move_to_disk(&value).unwrap();
        let used = from.stats().used_bytes;
        let again = send(&from, &value.untyped(), &to, SetOptions::new());
        assert_eq!(from.stats().used_bytes, used, "it leaves its owner without becoming resident");
        assert_eq!(from.info(&value).unwrap().place, Place::Spilled);
        let first = to.export(&sent).unwrap();
        assert_eq!(whole(&first)[128..], whole(&to.export(&again).unwrap())[128..]);
        drop(first);
        for sent in [&sent, &again] {
            let typed = to.typed::<T>(sent).unwrap();
            match to.get(&typed) {
                Ok(view) => read(&view),
                // What must be decoded needs room.
                Err(error) => assert!(limit == 1000 && matches!(error, Error::TooLarge { .. })),
            }
            to.move_to_disk(&typed).unwrap();
            if let Ok(view) = to.get(&typed) {
                read(&view);
            }
        }
        drop((sent, again, value));
        assert_empty(&to);
    }
    assert_empty(&from);
}

#[test]
fn bytes_of_every_size_go_from_pool_to_pool() {
    for len in [0, 1, 100, 16_000, 17_000, 300_000, 5 << 20] {
        goes_everywhere(
            "blob",
            || Blob,
            || bytes(7, len),
            |view| assert!(view[..] == bytes(7, len)[..]),
        );
    }
}

#[derive(
    Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, serde::Serialize, serde::Deserialize,
)]
struct Row {
    key: u64,
    text: String,
}

fn rows(count: u64) -> Vec<Row> {
    (0..count).map(|key| Row { key, text: format!("row {key}") }).collect()
}

#[test]
fn archives_and_values_that_are_decoded_go_from_pool_to_pool() {
    for count in [0, 3, 20_000] {
        goes_everywhere(
            "rkyv",
            Rkyv::new,
            || rows(count),
            |view| {
                assert_eq!(view.len() as u64, count);
                assert!(view.iter().zip(rows(count)).all(|(row, own)| row.text == own.text));
            },
        );
        let texts = || rows(count).into_iter().map(|row| row.text).collect::<Vec<_>>();
        goes_everywhere("bincode", || Bincode, texts, |view| assert!(*view == texts()));
    }
    // The order of a map is that of one instance.
    let map = || (0..500_u64).map(|n| (n, format!("{n}"))).collect::<HashMap<_, _>>();
    goes_everywhere("encoded", Encoded::new, map, |view| match view.decode() {
        Ok(decoded) => assert!(*decoded == map()),
        Err(error) => assert!(matches!(error, Error::TooLarge { .. }), "{error}"),
    });
}

#[test]
fn an_archive_in_memory_is_lent_as_it_lies() {
    let scratch = Scratch::new("sending-lent");
    let pool = open(options(&scratch.0), 64 * MIB, Rkyv::new());
    let value = pool.set(rows(20_000)).unwrap();
    let export = pool.export(&value.untyped()).unwrap();
    let parts = export.slices(0..u64::MAX).unwrap().unwrap();
    let view = pool.get(&value).unwrap();
    let row = std::ptr::from_ref(&view[100]).addr();
    assert!(parts.iter().any(
        |part| part.as_ptr_range().start.addr() <= row && row < part.as_ptr_range().end.addr()
    ));
    // As received, it is read where it came.
    drop(parts);
    let other = Scratch::new("sending-shared");
    let to = open(options(&other.0), 64 * MIB, Rkyv::new());
    let sent = send(&pool, &value.untyped(), &to, SetOptions::new());
    let used = to.stats().used_bytes;
    let typed = to.typed::<Vec<Row>>(&sent).unwrap();
    assert_eq!(to.get(&typed).unwrap()[100].text, "row 100");
    assert_eq!(to.stats().used_bytes, used);
    assert!(used < export.frame_bytes() + 200, "one buffer holds it");
}

#[test]
fn a_descriptor_shows_the_frame_that_is_exported() {
    let scratch = Scratch::new("sending-share");
    let pool = open(options(&scratch.0), 64 * MIB, Blob);
    let value = pool.set(bytes(3, 5 << 20)).unwrap();
    assert!(pool.export(&value.untyped()).unwrap().share().is_none(), "there is no file yet");
    pool.move_to_disk(&value).unwrap();
    let export = pool.export(&value.untyped()).unwrap();
    let (file, offset, len) = export.share().unwrap();
    assert_eq!(len, export.frame_bytes());
    let mut shown = vec![0; len as usize];
    file.read_exact_at(&mut shown, offset).unwrap();
    assert!(shown == whole(&export));
    drop((value, export));
    pool.quiesce();
    file.read_exact_at(&mut shown, offset).unwrap();
    assert!(shown.ends_with(&bytes(3, 5 << 20)[1000..]), "it stays as long as it is open");
}

#[test]
fn behind_filters_a_value_is_decoded_into_memory_that_is_counted() {
    let (scratch, plain) = (Scratch::new("sending-lz4"), Scratch::new("sending-plain"));
    let pool = open(options(&scratch.0).filter(Lz4), 4 * MIB, Blob);
    let text: Vec<u8> = b"again and again ".repeat(50_000);
    let value = pool.set(text.clone()).unwrap();
    let dirty = whole(&pool.export(&value.untyped()).unwrap());
    pool.move_to_disk(&value).unwrap();
    assert_eq!(pool.stats().used_bytes, 0);
    let export = pool.export(&value.untyped()).unwrap();
    assert!(pool.stats().used_bytes >= export.frame_bytes());
    assert!(export.share().is_none());
    assert!(whole(&export) == dirty);
    drop(export);
    assert_eq!(pool.stats().used_bytes, 0);
    let to = open(options(&plain.0), 4 * MIB, Blob);
    let sent = send(&pool, &value.untyped(), &to, SetOptions::new());
    assert!(to.get(&to.typed::<Vec<u8>>(&sent).unwrap()).unwrap()[..] == text[..]);
}

#[test]
fn exports_keep_the_mapped_limit() {
    let scratch = Scratch::new("sending-mapped");
    let store = options(&scratch.0).open().unwrap();
    let limits = PoolOptions::new().memory_limit(MIB).mapped_limit(4 * MIB);
    let pool = limits.store(store).open(Blob);
    let all: Vec<_> = (0..20).map(|n| pool.set(bytes(n, 900_000)).unwrap()).collect();
    for (n, value) in (0..).zip(&all) {
        pool.move_to_disk(value).unwrap();
        drop(pool.get(value).unwrap());
        assert!(whole(&pool.export(&value.untyped()).unwrap()).ends_with(&bytes(n, 900_000)));
        let mapped = pool.stats().store.mapped_bytes;
        assert!(mapped <= 5 * MIB, "{mapped} mapped");
    }
    assert!(pool.stats().mapped_trims > 0);
}

#[test]
fn what_was_received_is_retained_and_what_was_restored_is_sent() {
    let (here, there) = (Scratch::new("sending-retain"), Scratch::new("sending-restored"));
    let from = open(options(&here.0), 64 * MIB, Rkyv::new());
    let value = from.set(rows(2000)).unwrap();
    for (name, limit) in [("in memory", 64 * MIB), ("straight to disk", 1000)] {
        // The pool in the middle does not know the type.
        let store = options(&there.0).open().unwrap();
        let to = PoolOptions::new().memory_limit(limit).store(store).open(Blob);
        drop(send(&from, &value.untyped(), &to, SetOptions::new().name(name)));
        to.close_retaining().unwrap();

        let store = options(&there.0).restore().unwrap();
        let restored = PoolOptions::new().memory_limit(64 * MIB).store(store).restore(Rkyv::new());
        let restored = restored.unwrap();
        let found = restored.named::<Vec<Row>>(name).unwrap();
        let export = restored.export(&found.untyped()).unwrap();
        assert_eq!((export.id(), export.header().id), (found.id(), found.id()));
        assert!(whole(&export)[256..] == whole(&from.export(&value.untyped()).unwrap())[256..]);
        drop(export);
        let back = send(&restored, &found.untyped(), &from, SetOptions::new());
        let back = from.typed::<Vec<Row>>(&back).unwrap();
        assert_eq!(from.get(&back).unwrap()[1999].text, "row 1999");
        restored.forget_retained().unwrap();
        drop((found, back));
        restored.close().unwrap();
        assert_eq!(there.names(), Vec::<String>::new());
    }
}

#[test]
fn what_is_damaged_on_its_way_to_disk_leaves_no_byte_there() {
    let (here, there) = (Scratch::new("sending-good"), Scratch::new("sending-bad"));
    let from = open(options(&here.0), 64 * MIB, Blob);
    let to = open(options(&there.0), 1000, Blob);
    for len in [2000, 5 << 20] {
        let value = from.set(bytes(1, len)).unwrap();
        let good = whole(&from.export(&value.untyped()).unwrap());
        for at in [200, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let mut receiving = to.receive(bad.len() as u64).unwrap();
            assert!(receiving.goes_to_store());
            bad.chunks(70_000).for_each(|piece| receiving.write(piece).unwrap());
            let error = receiving.finish("bytes", Vec::new(), SetOptions::new()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damage);
            assert!(matches!(error, Error::Frame { .. }), "{error}");
            assert_empty(&to);
        }
    }
    drop(from);
    to.close().unwrap();
    assert_eq!(there.names(), Vec::<String>::new());
}
