//! A value of another node of the same host, got through a pool: a view of the owner's file or memory, and nothing copied.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::sync::Arc;

use mempool_core::testing::{ChildEnd, in_child};
use mempool_core::{
    Blob, DRef, Error, Fetched, ForeignMaps, Pool, PoolOptions, RemoteFrame, RemoteValue, Room,
    SetOptions, StoreError, StoreErrorKind, Trust,
};
use mempool_net::GlobalId;
use mempool_net::host::{Given, HandOver, HostError, HostLink, Promotions, Stamp};
use mempool_spill::SpillOptions;

#[path = "../../mempool-arrays/tests/counting/mod.rs"]
mod counting;
mod neighbours;
use neighbours::{ASKER, Owner, Scratch, bytes, link, mapped, wait_until};

/// Large enough for a file to itself.
const LEN: usize = 5 << 20;

/// The way to a value of another node of this host, and no other way.
struct Neighbour {
    link: HostLink,
    value: GlobalId,
    stamp: Stamp,
    maps: ForeignMaps,
}

impl RemoteFrame for Neighbour {
    fn open(&self, _: &mut Room) -> Result<Fetched, StoreError> {
        let failed = |said: String| StoreError::new(StoreErrorKind::Io, said);
        match self.link.fetch(self.value, Some(self.stamp), &self.maps) {
            Ok(Given::Mapped { frame, .. }) => Ok(Fetched::new(frame).trust(Trust::Own)),
            Ok(Given::UseBytes(reason)) => Err(failed(reason.to_string())),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    fn delete(&self) -> Result<(), Error> {
        unreachable!("nobody asks for it")
    }

    fn move_to_disk(&self) -> Result<(), Error> {
        unreachable!("nobody asks for it")
    }

    fn copy_to_disk(&self) -> Result<(), Error> {
        unreachable!("nobody asks for it")
    }

    fn describe(&self) -> String {
        self.value.to_string()
    }
}

/// A reference in `pool` to a value that `owner` has.
fn adopted(
    pool: &Pool<Blob>,
    link: &HostLink,
    owner: &Owner,
    of: &(GlobalId, DRef<Vec<u8>>),
) -> DRef<Vec<u8>> {
    let export = owner.pool.export(&of.1.untyped()).unwrap();
    let header = export.header();
    let stamp = Stamp { pool: header.pool, id: header.id };
    let neighbour = Neighbour { link: link.clone(), value: of.0, stamp, maps: pool.foreign_maps() };
    let value = RemoteValue {
        format: export.format(),
        type_name: export.type_name().to_owned(),
        charged_bytes: export.charged_bytes(),
        references: Vec::new(),
        id: stamp.id,
        pool: stamp.pool,
        frame: Arc::new(neighbour),
    };
    pool.typed(&pool.adopt_remote(value).unwrap()).unwrap()
}

/// A pool with little memory. Its store has the checksum that the owner's has.
fn asker(scratch: &Scratch, mapped_limit: u64) -> Pool<Blob> {
    let store = SpillOptions::new(&scratch.0).open().unwrap();
    let options = PoolOptions::new().memory_limit(1 << 20).mapped_limit(mapped_limit);
    options.store(store).open(Blob)
}

/// The file that is mapped where `bytes` lie, as the kernel says it.
fn file_under(bytes: &[u8]) -> String {
    let at = bytes.as_ptr() as usize;
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let inside = |line: &&str| {
        let (range, _) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let number = |text| usize::from_str_radix(text, 16).unwrap();
        (number(start)..number(end)).contains(&at)
    };
    let line = maps.lines().find(inside).unwrap();
    assert!(line.contains(" r--s "), "read-only and shared: {line}");
    line.to_owned()
}

#[test]
fn a_get_views_the_owners_file_and_copies_nothing() {
    let scratch = Scratch::new("get");
    let owner = Owner::start(&scratch.0);
    let pool = asker(&scratch, u64::MAX);
    let link = link(&scratch.0, owner.server.hello(ASKER)).unwrap();
    let on_disk = owner.put(1, LEN);
    let in_memory = owner.put_resident(2, LEN);
    for (of, seed, place) in [(&on_disk, 1, "/seg-"), (&in_memory, 2, "/memfd:mempool")] {
        let reference = adopted(&pool, &link, &owner, of);
        let (view, peak) = counting::peak_of(|| pool.get(&reference).unwrap());
        assert!(peak < 64 << 10, "{peak} bytes were allocated for a view");
        assert!(file_under(&view).contains(place));
        assert!(file_under(&view[LEN - 1..]).contains(place));
        assert!(view[..] == bytes(seed, LEN)[..], "every byte");
        let stats = pool.stats();
        assert!(stats.used_bytes < 64 << 10, "no resident bytes: {}", stats.used_bytes);
        assert!(stats.foreign_mapped_bytes >= LEN as u64);
        assert_eq!(owner.server.usage().exports, 1);
        drop(view);
        drop(reference);
        pool.quiesce();
        assert_eq!(pool.stats().foreign_mapped_bytes, 0);
        wait_until("the end of the export", || owner.server.usage().exports == 0);
    }
}

/// The header of its file has the name that it had in another pool.
#[test]
fn a_restored_value_goes_as_a_copy_under_the_name_that_it_has_now() {
    let scratch = Scratch::new("restored");
    let options = || SpillOptions::new(&scratch.0).label("kept");
    let pool = PoolOptions::new().store(options().open().unwrap()).open(Blob);
    pool.set_with(bytes(6, LEN), SetOptions::new().name("one")).unwrap();
    pool.close_retaining().unwrap();
    let store = options().restore().unwrap();
    let pool = PoolOptions::new().store(store).restore(Blob).unwrap();
    let value = pool.named::<Vec<u8>>("one").unwrap().untyped();
    assert!(value.share().is_none());
    let promotions = Promotions::default();
    let given = promotions.hand_over(&pool, &value).unwrap();
    let HandOver::Frame(frame) = given else { panic!("{given:?}") };
    let header = pool.export(&value).unwrap().header().clone();
    assert_eq!(frame.stamp(), Stamp { pool: header.pool, id: value.id() });
    assert_eq!(promotions.bytes(), frame.bytes());
    // What is gone is not handed over.
    let other = pool.set(bytes(7, LEN)).unwrap();
    pool.move_to_disk(&other).unwrap();
    let untyped = other.untyped();
    assert!(untyped.share().is_some());
    pool.delete(&other).unwrap();
    assert!(untyped.share().is_none());
}

#[test]
fn the_mapped_limit_lets_go_of_what_lies_with_others() {
    let scratch = Scratch::new("limit");
    let owner = Owner::start(&scratch.0);
    let limit = 3 * LEN as u64;
    let pool = asker(&scratch, limit);
    let link = link(&scratch.0, owner.server.hello(ASKER)).unwrap();
    let values: Vec<_> = (0..6).map(|seed| owner.put(seed, LEN)).collect();
    let all: Vec<_> = values.iter().map(|of| adopted(&pool, &link, &owner, of)).collect();
    for round in 0..3 {
        for (seed, reference) in (0..).zip(&all) {
            let view = pool.get(reference).unwrap();
            assert_eq!(view[..64], bytes(seed, 64), "round {round}");
            assert!(pool.stats().foreign_mapped_bytes <= limit + (1 << 20));
        }
    }
    assert!(pool.stats().mapped_trims > 0);
    wait_until("the owner to be told", || owner.server.usage().bytes <= limit + (1 << 20));
    let held: Vec<_> = all.iter().map(|reference| pool.get(reference).unwrap()).collect();
    assert!(pool.stats().mapped_overruns > 0, "what is held goes through");
    drop(held);
    drop(all);
    pool.quiesce();
    wait_until("the end of the exports", || owner.server.usage().exports == 0);
}

#[test]
fn a_forked_child_ends_nothing_of_its_parents() {
    let scratch = Scratch::new("forked");
    let owner = Owner::start(&scratch.0);
    let (value, _kept) = owner.put(1, LEN);
    let link = link(&scratch.0, owner.server.hello(ASKER)).unwrap();
    let maps = ForeignMaps::default();
    let view = std::sync::Mutex::new(Some(mapped(&link, value, &maps)));
    let ended = in_child(|| {
        let asked = link.fetch(value, None, &maps);
        let refused = matches!(asked, Err(HostError::Closed { .. }));
        let view = view.lock().unwrap().take();
        let whole = view.as_ref().is_some_and(|view| view.len() > LEN);
        drop(view);
        i32::from(!refused || !whole)
    });
    assert_eq!(ended.unwrap(), ChildEnd::Exited(0));
    // A question and its answer behind whatever the child may have said.
    let other = mapped(&link, value, &maps);
    assert_eq!(owner.server.usage().exports, 2, "the child's copy was not counted");
    drop(other);
    let view = view.into_inner().unwrap().unwrap();
    assert!(view[view.len() - LEN..] == bytes(1, LEN)[..]);
    drop(view);
    wait_until("the end of the exports", || owner.server.usage().exports == 0);
}
