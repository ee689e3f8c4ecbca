//! Exports: the same bytes wherever a value is, lent where they lie, and nothing becomes resident for them.
#![cfg(all(feature = "testing", not(any(loom, shuttle))))]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

mod remotes;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mempool_core::testing::{Call, FaultyStore, Switch};
use mempool_core::{
    Blob, Buffer, Codec, CodecError, CodecName, DRef, Error, ErrorKind, Export, Fingerprint,
    Format, Frame, Handle, Header, Id, MemoryStore, Place, Pool, PoolOptions, Rejected, Result,
    Room, Sink, Source, SpillStore, StoreError, StoreErrorKind, Summing, type_tag,
};
use remotes::{Owner, checksum, frame_of};

const LIMIT: u64 = 10_000;

fn pool() -> Pool<Blob> {
    PoolOptions::new().memory_limit(LIMIT).room_timeout(Duration::ZERO).open(Blob)
}

/// All bytes of the frame, checked.
fn whole(export: &Export) -> Vec<u8> {
    let mut all = Vec::new();
    let flow = export.stream(0..u64::MAX, &mut |piece| {
        all.extend_from_slice(&piece);
        ControlFlow::Continue(())
    });
    assert!(flow.unwrap().is_continue());
    assert_eq!(all.len() as u64, export.frame_bytes());
    assert_eq!(Header::check_whole(&all, checksum).unwrap(), *export.header());
    all
}

#[test]
fn a_frame_is_the_same_wherever_its_value_is() {
    let pool = pool();
    let value = pool.set((0..3000).map(|n| n as u8).collect::<Vec<u8>>()).unwrap();
    let export = || pool.export(&value.untyped()).unwrap();
    let dirty = whole(&export());
    let header = export().header().clone();
    assert_eq!((header.id, header.resident_bytes), (value.id(), pool.stats().used_bytes));

    pool.copy_to_disk(&value).unwrap();
    assert_eq!(whole(&export()), dirty, "clean");
    pool.move_to_disk(&value).unwrap();
    let before = pool.stats();
    let spilled = export();
    assert_eq!(whole(&spilled), dirty, "spilled");
    assert_eq!(pool.info(&value).unwrap().place, Place::Spilled, "it is not brought back");
    assert_eq!((pool.stats().used_bytes, pool.stats().loads), (0, before.loads));
    drop(spilled);
    let held = pool.get(&value).unwrap();
    assert_eq!(pool.info(&value).unwrap().place, Place::Mapped);
    assert_eq!(whole(&export()), dirty, "mapped");
    drop(held);

    // It is what a file of the value has, and what any pool reads.
    let other = PoolOptions::new().open(Blob);
    let read = other.read_frame::<Vec<u8>>(&Buffer::uncounted(&dirty).unwrap()).unwrap();
    assert_eq!(read[..], pool.get(&value).unwrap()[..]);
}

#[test]
fn what_lies_in_memory_is_lent_and_stays_counted() {
    let pool = PoolOptions::new().memory_limit(100_000).open(Blob);
    let content = vec![9; 50_000];
    let at = content.as_ptr();
    let value = pool.set(content).unwrap();
    let charged = pool.stats().used_bytes;
    let export = pool.export(&value.untyped()).unwrap();
    let parts = export.slices(0..u64::MAX).unwrap().unwrap();
    let last = parts.last().unwrap().clone();
    assert_eq!((last.as_ptr(), last.len()), (at, 50_000));
    drop(parts);
    let id = value.id();
    drop(value);
    let found = pool.find(id).expect("an export refers to its value");
    assert_eq!(found.info().value.unwrap().pins, 1);
    drop((found, export));
    assert!(pool.find(id).is_none());
    assert_eq!((pool.stats().used_bytes, last[49_999]), (charged, 9), "what was lent does not end");
    drop(last);
    assert_eq!(pool.stats().used_bytes, 0);
}

#[test]
fn a_value_that_is_sent_from_memory_is_not_evicted_meanwhile() {
    let pool = pool();
    let value = pool.set(vec![1; 6000]).unwrap();
    let export = pool.export(&value.untyped()).unwrap();
    assert!(matches!(pool.set(vec![2; 6000]).unwrap_err().error, Error::NoRoom(_)));
    let bytes = whole(&export);
    drop(export);
    let second = pool.set(vec![2; 6000]).unwrap();
    assert_eq!(pool.info(&value).unwrap().place, Place::Spilled);
    assert_eq!(whole(&pool.export(&value.untyped()).unwrap()), bytes);
    drop(second);
}

#[test]
fn a_value_that_ends_while_it_is_sent_is_sent_whole() {
    let pool = pool();
    let deleted = pool.set(vec![1; 3000]).unwrap();
    let spilled = pool.set(vec![2; 3000]).unwrap();
    pool.move_to_disk(&spilled).unwrap();
    let exports = [&deleted, &spilled].map(|value| pool.export(&value.untyped()).unwrap());
    pool.delete(&deleted).unwrap();
    pool.delete(&spilled).unwrap();
    for (export, byte) in exports.iter().zip([1, 2]) {
        assert_eq!(whole(export)[3000], byte);
    }
    for value in [&deleted, &spilled] {
        assert!(matches!(pool.export(&value.untyped()), Err(Error::Deleted { .. })));
        assert!(pool.find(value.id()).is_none());
    }
    drop((exports, deleted, spilled));
    pool.quiesce();
    let stats = pool.stats();
    assert_eq!((stats.used_bytes, stats.live_disk_bytes, stats.store.live_bytes), (0, 0, 0));
    pool.close().unwrap();
    let other = PoolOptions::new().open(Blob);
    let foreign = other.set(vec![1]).unwrap();
    assert!(matches!(pool.export(&foreign.untyped()), Err(Error::WrongPool { .. })));
    other.close().unwrap();
    assert!(matches!(other.export(&foreign.untyped()), Err(Error::Closed)));
}

/// A store that counts how often a content is summed up.
#[derive(Default)]
struct Counting {
    inner: MemoryStore,
    sums: Arc<AtomicU64>,
}

impl SpillStore for Counting {
    fn write(&self, frame: &Frame<'_>) -> Result<Handle, StoreError> {
        self.inner.write(frame)
    }

    fn open(&self, handle: &Handle, room: &mut Room) -> Result<Buffer, StoreError> {
        self.inner.open(handle, room)
    }

    fn free(&self, handle: &Handle) {
        self.inner.free(handle);
    }

    fn save(&self, frame: &Frame<'_>, path: &Path) -> Result<Fingerprint, StoreError> {
        self.inner.save(frame, path)
    }

    fn load(&self, path: &Path, room: &mut Room) -> Result<Buffer, StoreError> {
        self.inner.load(path, room)
    }

    fn summing(&self) -> Box<dyn Summing> {
        self.sums.fetch_add(1, Ordering::Relaxed);
        self.inner.summing()
    }
}

/// Bytes that are decoded; the codec counts how often it writes, and hands over the references that they index.
#[derive(Default)]
struct Made {
    written: Arc<AtomicU64>,
    fails: Arc<AtomicU64>,
}

/// Bytes, and references to blobs.
struct Note {
    bytes: Vec<u8>,
    links: Vec<DRef<Vec<u8>>>,
}

impl Codec<Note> for Made {
    type Resident = Note;
    type View = Note;

    fn format(&self) -> Format {
        Format { codec: CodecName::new("made"), type_tag: type_tag("note"), pointer_width: 0 }
    }

    fn size_hint(&self, note: &Note) -> Result<u64> {
        Ok(note.bytes.len() as u64)
    }

    fn admit(&self, note: Note, room: &mut Room) -> Result<Note, Rejected<Note>> {
        room.release_unused(note.bytes.len() as u64);
        Ok(note)
    }

    fn view<'a>(&self, resident: &'a Note) -> &'a Note {
        resident
    }

    fn mmwrite(&self, note: &Note, sink: &mut Sink<'_>) -> Result<()> {
        let calls = self.written.fetch_add(1, Ordering::Relaxed) + 1;
        sink.section(8)?;
        for link in &note.links {
            let index = sink.reference(link)?;
            sink.write(&index.to_le_bytes())?;
        }
        sink.section(16)?;
        for piece in note.bytes.chunks(1000) {
            match self.fails.load(Ordering::Relaxed) {
                0 => sink.write(piece)?,
                from if calls < from => sink.write(piece)?,
                _ => {
                    let kind = ErrorKind::Limit;
                    return Err(CodecError::new::<Note>(kind, "made", "told to fail").into());
                }
            }
        }
        Ok(())
    }

    fn mmwrite_value(&self, note: &Note, sink: &mut Sink<'_>) -> Result<()> {
        self.mmwrite(note, sink)
    }

    fn mmread(&self, source: &mut Source<'_>, room: &mut Room) -> Result<Note> {
        let links = source.section()?;
        let links = links
            .chunks(4)
            .map(|index| source.reference(u32::from_le_bytes(index.try_into().unwrap())));
        let links = links.collect::<Result<_>>()?;
        let bytes = source.section()?.to_vec();
        room.release_unused(bytes.len() as u64);
        Ok(Note { bytes, links })
    }
}

fn noted(bytes: usize) -> Note {
    Note { bytes: (0..bytes).map(|n| (n ^ (n >> 8)) as u8).collect(), links: Vec::new() }
}

#[test]
fn the_checksum_is_made_once_and_what_a_codec_makes_is_streamed() {
    let (store, codec) = (Counting::default(), Made::default());
    let (sums, written) = (Arc::clone(&store.sums), Arc::clone(&codec.written));
    let pool = PoolOptions::new().memory_limit(2 << 20).store(store).open(codec);
    let value = pool.set(noted(1_000_000)).unwrap();
    let first = pool.export(&value.untyped()).unwrap();
    assert_eq!(sums.load(Ordering::Relaxed), 1);
    assert!(first.slices(0..10).unwrap().is_none(), "nothing of it lies in memory as it is sent");
    let bytes = whole(&first);
    let again = pool.export(&value.untyped()).unwrap();
    assert_eq!(whole(&again), bytes);
    assert_eq!(sums.load(Ordering::Relaxed), 1, "neither a stream nor an export makes it again");

    // Ranges that begin and end anywhere, and beyond the end.
    let len = bytes.len() as u64;
    let edges = [0, 1, 127, 128, 160, 161, 1000, 262_143, 262_144, 700_001, len - 1, len, len + 9];
    for (n, &start) in edges.iter().enumerate() {
        for &end in &edges[n..] {
            let mut got = Vec::new();
            let before = written.load(Ordering::Relaxed);
            let flow = first.stream(start..end, &mut |piece| {
                assert!(!piece.is_empty() && piece.len() <= 256 << 10);
                got.extend_from_slice(&piece);
                ControlFlow::Continue(())
            });
            assert!(flow.unwrap().is_continue());
            assert_eq!(written.load(Ordering::Relaxed) - before, 1);
            let (start, end) = (start.min(len) as usize, end.min(len) as usize);
            assert_eq!(got, bytes[start..end], "{start}..{end}");
            let mut out = vec![0; 2000];
            let count = first.read_at(start as u64, &mut out).unwrap();
            assert_eq!(out[..count], bytes[start..(start + 2000).min(bytes.len())]);
        }
    }
    // Who has enough is given no more.
    let mut pieces = 0;
    let flow = first.stream(0..len, &mut |_| {
        pieces += 1;
        if pieces == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(flow.unwrap().is_break() && pieces == 3);
    drop((first, again));
    pool.move_to_disk(&value).unwrap();
    let spilled = pool.export(&value.untyped()).unwrap();
    assert_eq!(whole(&spilled), bytes);
    assert_eq!(spilled.slices(0..len).unwrap().unwrap().len(), 2, "header and content");
    assert_eq!(sums.load(Ordering::Relaxed), 1);
}

#[test]
fn references_go_with_an_export_and_are_counted_once() {
    let pool = PoolOptions::new().memory_limit(1 << 20).open(Made::default());
    let blobs = pool.with_codec(Blob);
    let links: Vec<_> = (0..3).map(|n| blobs.set(vec![n; 10]).unwrap()).collect();
    let ids: Vec<Id> = links.iter().map(DRef::id).collect();
    let value = pool.set(Note { links, ..noted(100) }).unwrap();
    let export = || pool.export(&value.untyped()).unwrap();
    let found =
        |export: &Export| export.references().iter().map(|one| one.id()).collect::<Vec<_>>();
    let dirty = export();
    assert_eq!((found(&dirty), dirty.header().references), (ids.clone(), 3));
    let bytes = whole(&dirty);
    assert_eq!(value.untyped().references().len(), 0, "it was not written yet");
    drop(dirty);

    pool.copy_to_disk(&value).unwrap();
    assert_eq!(value.untyped().info().references_held, 3);
    assert_eq!((whole(&export()), found(&export())), (bytes.clone(), ids.clone()), "clean");
    pool.move_to_disk(&value).unwrap();
    assert_eq!((whole(&export()), found(&export())), (bytes.clone(), ids.clone()), "spilled");
    let held = pool.get(&value).unwrap();
    assert_eq!((whole(&export()), found(&export())), (bytes, ids), "decoded");
    drop(held);
    assert_eq!(pool.stats().values, 4);
    let last = export();
    drop(value);
    assert_eq!(last.references().len(), 3);
    drop(last);
    pool.quiesce();
    let stats = pool.stats();
    assert_eq!((stats.values, stats.used_bytes, stats.live_disk_bytes), (0, 0, 0));
}

#[test]
fn a_codec_or_a_store_that_fails_fails_the_export_alone() {
    let (codec, switch) = (Made::default(), Switch::new());
    let fails = Arc::clone(&codec.fails);
    let store = FaultyStore::new(MemoryStore::new(), &switch);
    let pool = PoolOptions::new().memory_limit(1 << 20).store(store).open(codec);
    let value = pool.set(noted(200_000)).unwrap();
    fails.store(1, Ordering::Relaxed);
    assert!(matches!(pool.export(&value.untyped()), Err(Error::Codec(_))));
    assert_eq!(pool.info(&value).unwrap().pins, 0);
    fails.store(0, Ordering::Relaxed);
    let export = pool.export(&value.untyped()).unwrap();
    fails.store(1, Ordering::Relaxed);
    let mut given = 0;
    let streamed = export.stream(0..u64::MAX, &mut |piece| {
        given += piece.len();
        ControlFlow::Continue(())
    });
    assert!(matches!(streamed, Err(Error::Codec(_))));
    assert!(given < 200_000);
    fails.store(0, Ordering::Relaxed);
    whole(&export);
    drop(export);
    pool.move_to_disk(&value).unwrap();
    switch.fail(Call::Open, 0, 1, StoreErrorKind::Io);
    assert!(matches!(pool.export(&value.untyped()), Err(Error::Store(_))));
    whole(&pool.export(&value.untyped()).unwrap());
}

#[test]
fn a_copy_of_a_remote_value_is_given_on_as_its_owner_gives_it() {
    let pool = pool();
    let inner = pool.set(vec![1; 10]).unwrap();
    let frame = frame_of(&[5; 2000], 1);
    let owner = Owner::new(frame.clone());
    let mut told = owner.value(vec![inner.untyped()]);
    told.charged_bytes = 2000;
    let untyped = pool.adopt_remote(told).unwrap();
    let Err(Error::Elsewhere { id, at }) = pool.export(&untyped) else { panic!("it is not here") };
    assert_eq!((id, at.as_str()), (untyped.id(), "node b, value 7.3"));
    let value = pool.typed::<Vec<u8>>(&untyped).unwrap();
    let held = pool.get(&value).unwrap();
    let export = pool.export(&untyped).unwrap();
    assert_eq!(whole(&export), frame);
    assert_eq!(export.references()[0].id(), inner.id());
    assert!(export.share().is_none());
    drop((held, export));
    assert_eq!(owner.opens(), 1);
    pool.move_to_disk(&value).unwrap();
    assert!(matches!(pool.export(&untyped), Err(Error::Elsewhere { .. })));
}

#[test]
fn a_value_is_found_by_its_id_while_somebody_refers_to_it() {
    let pool = pool();
    let value = pool.set(vec![1; 100]).unwrap();
    let id = value.id();
    let found = pool.find(id).unwrap();
    let info = found.info();
    assert_eq!(
        (info.id, info.value_type.as_str(), info.references_held),
        (id, "alloc::vec::Vec<u8>", 0)
    );
    assert_eq!((info.format, info.value.unwrap().references), (remotes::format(), 2));
    drop(value);
    assert_eq!(pool.get(&found.typed().unwrap()).unwrap()[..], [1; 100]);
    assert!(pool.find(Id { slot: id.slot, generation: id.generation + 1 }).is_none());
    assert!(pool.find(Id { slot: 99, generation: 1 }).is_none());
    drop(found);
    assert!(pool.find(id).is_none());
    let again = pool.set(vec![2]).unwrap();
    assert_eq!(again.id().slot, id.slot, "the slot is used again, and the old name is no value");
    assert!(pool.find(id).is_none());
    pool.close().unwrap();
    assert!(pool.find(again.id()).is_none());
}
