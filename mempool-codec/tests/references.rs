//! Values that hold references to others, through each codec: who is alive when, in memory and on disk.
#![cfg(all(feature = "rkyv", feature = "bincode"))]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use mempool_codec::{Bincode, Encoded, Reference, ResidentBytes, Rkyv};
use mempool_core::{
    Codec, CodecName, DRef, Error, Format, Pool, PoolOptions, Rejected, Result, Room, Sink, Source,
};
use rkyv::with::Map;

/// A page with links to others of its kind.
#[derive(rkyv::Archive, rkyv::Serialize, serde::Serialize, serde::Deserialize)]
struct Page {
    text: String,
    #[rkyv(with = Map<Reference>)]
    #[serde(with = "mempool_codec::reference")]
    next: Option<DRef<Page>>,
    #[rkyv(with = Map<Reference>)]
    #[serde(with = "mempool_codec::reference")]
    links: Vec<DRef<Page>>,
    #[rkyv(with = Map<Reference>)]
    #[serde(with = "mempool_codec::reference")]
    numbers: Vec<DRef<u64>>,
}

impl ResidentBytes for Page {
    fn resident_bytes(&self) -> u64 {
        self.text.resident_bytes()
            + self.next.resident_bytes()
            + self.links.resident_bytes()
            + self.numbers.resident_bytes()
    }
}

fn page(text: &str) -> Page {
    Page { text: text.into(), next: None, links: Vec::new(), numbers: Vec::new() }
}

fn chained(text: &str, next: &DRef<Page>) -> Page {
    Page { next: Some(next.clone()), ..page(text) }
}

/// A page as the user sees it.
struct Seen {
    text: String,
    next: Option<DRef<Page>>,
    links: Vec<DRef<Page>>,
    numbers: Vec<DRef<u64>>,
}

/// How a codec shows a page.
trait Shows: Codec<Page> + Codec<u64> + Sized {
    fn see(pool: &Pool<Self>, reference: &DRef<Page>) -> Result<Seen>;
}

fn seen(page: &Page) -> Seen {
    Seen {
        text: page.text.clone(),
        next: page.next.clone(),
        links: page.links.clone(),
        numbers: page.numbers.clone(),
    }
}

impl Shows for Bincode {
    fn see(pool: &Pool<Self>, reference: &DRef<Page>) -> Result<Seen> {
        Ok(seen(&*pool.get(reference)?))
    }
}

impl Shows for Encoded {
    fn see(pool: &Pool<Self>, reference: &DRef<Page>) -> Result<Seen> {
        Ok(seen(&*pool.get(reference)?.decode()?))
    }
}

impl Shows for Rkyv {
    fn see(pool: &Pool<Self>, reference: &DRef<Page>) -> Result<Seen> {
        let view = pool.get_owned(reference)?;
        Ok(Seen {
            text: view.text.to_string(),
            next: view.next.as_ref().map(|next| next.resolve(&view)).transpose()?,
            links: view.links.iter().map(|link| link.resolve(&view)).collect::<Result<_>>()?,
            numbers: view.numbers.iter().map(|n| n.resolve(&view)).collect::<Result<_>>()?,
        })
    }
}

fn is_empty<C>(pool: &Pool<C>) -> bool
where
    C: Send + Sync + 'static,
{
    pool.quiesce();
    let stats = pool.stats();
    (stats.values, stats.used_bytes, stats.live_disk_bytes) == (0, 0, 0)
}

/// The other value lives exactly as long as its holder, whether that is in memory or on disk.
fn lives_with_its_holder<C: Shows>(codec: C, spilled: bool) {
    let pool = PoolOptions::new().memory_limit(1 << 20).open(codec);
    let inner = pool.set(page("inner")).unwrap();
    let holder = pool.set(chained("holder", &inner)).unwrap();
    drop(inner);
    if spilled {
        pool.move_to_disk(&holder).unwrap();
    }
    pool.quiesce();
    assert_eq!(pool.stats().values, 2);
    let seen = C::see(&pool, &holder).unwrap();
    assert_eq!(seen.text, "holder");
    assert_eq!(C::see(&pool, &seen.next.unwrap()).unwrap().text, "inner");
    if spilled {
        pool.move_to_disk(&holder).unwrap();
    }
    drop(holder);
    assert!(is_empty(&pool), "{:?}", pool.stats());
}

/// Each reference comes back in its place and of its type, also by way of a file of the pool's.
fn all_places<C: Shows>(codec: C) {
    let pool = PoolOptions::new().memory_limit(1 << 20).open(codec);
    let numbers: Vec<DRef<u64>> = (0..300_u64).map(|n| pool.set(n).unwrap()).collect();
    let links: Vec<DRef<Page>> =
        (0..3).map(|n| pool.set(page(&format!("link {n}"))).unwrap()).collect();
    let holder = Page {
        text: "holder".into(),
        next: Some(links[2].clone()),
        links: links.clone(),
        numbers: numbers.clone(),
    };
    let holder = pool.set(holder).unwrap();
    for turn in 0..3 {
        let seen = C::see(&pool, &holder).unwrap();
        assert!(seen.next.as_ref() == Some(&links[2]) && seen.links == links, "turn {turn}");
        assert!(seen.numbers == numbers, "turn {turn}");
        drop(seen);
        // What was handed over was handed over once.
        let path = std::env::temp_dir().join("mempool-references-are-never-saved");
        match pool.save_to_disk(&holder, &path) {
            Err(Error::HoldsReferences { references, .. }) => assert_eq!(references, 304),
            other => panic!("{other:?}"),
        }
        pool.move_to_disk(&holder).unwrap();
    }
    let file = pool.copy_to_disk(&holder).unwrap();
    drop((holder, links, numbers));
    pool.quiesce();
    assert_eq!(pool.stats().values, 303, "the file keeps what its value holds");
    drop(file);
    assert!(is_empty(&pool), "{:?}", pool.stats());
}

/// A long chain, most of it on disk: it is walked, and ends without recursion when its head is dropped.
fn long_chain<C: Shows>(codec: C, limit: u64) {
    const LEN: usize = 100_000;
    let pool = PoolOptions::new().memory_limit(limit).open(codec);
    let mut head = pool.set(page("0")).unwrap();
    for n in 1..LEN {
        head = pool.set(chained(&n.to_string(), &head)).unwrap();
    }
    assert_eq!(pool.stats().values, LEN as u64);
    let mut at = head.clone();
    let mut walked = 1;
    while let Some(next) = C::see(&pool, &at).unwrap().next {
        at = next;
        walked += 1;
    }
    assert_eq!(walked, LEN);
    assert_eq!(C::see(&pool, &at).unwrap().text, "0");
    drop(at);
    drop(head);
    assert!(is_empty(&pool), "{:?}", pool.stats());
}

/// The same for a value that goes straight to disk because it is larger than the limit.
fn larger_than_the_limit<C: Shows>(codec: C) {
    let pool = PoolOptions::new().memory_limit(4096).open(codec);
    let inner = pool.set(page("inner")).unwrap();
    let mut holder = chained(&"x".repeat(100_000), &inner);
    holder.links = vec![inner.clone(); 3];
    let holder = pool.set(holder).unwrap();
    drop(inner);
    pool.quiesce();
    assert_eq!((pool.stats().values, pool.stats().straight_to_disk), (2, 1));
    match pool.save_to_disk(&holder, "never") {
        Err(Error::HoldsReferences { references, .. }) => assert_eq!(references, 4),
        other => panic!("{other:?}"),
    }
    assert!(pool.stats().used_bytes <= 4096);
    drop(holder);
    assert!(is_empty(&pool), "{:?}", pool.stats());
}

fn of_another_pool<C: Shows>(codec: C, other: C) {
    let pool = PoolOptions::new().memory_limit(1 << 20).open(codec);
    let elsewhere = PoolOptions::new().memory_limit(1 << 20).open(other);
    let foreign = elsewhere.set(page("foreign")).unwrap();
    let set = pool.set(chained("holder", &foreign));
    match set {
        // Kept as it is, a value is looked at when it is written.
        Ok(holder) => {
            assert!(matches!(pool.move_to_disk(&holder), Err(Error::WrongPool { .. })));
            assert_eq!(C::see(&pool, &holder).unwrap().text, "holder");
        }
        Err(rejected) => {
            assert_eq!(rejected.value.text, "holder");
            assert!(matches!(rejected.error, Error::WrongPool { .. }));
        }
    }
    assert!(is_empty(&pool), "{:?}", pool.stats());
}

fn deleted<C: Shows>(codec: C) {
    let pool = PoolOptions::new().memory_limit(1 << 20).open(codec);
    let inner = pool.set(page("inner")).unwrap();
    let holder = pool.set(chained("holder", &inner)).unwrap();
    pool.delete(&inner).unwrap();
    let next = C::see(&pool, &holder).unwrap().next.unwrap();
    assert!(matches!(C::see(&pool, &next), Err(Error::Deleted { .. })));
    let other = pool.set(page("other")).unwrap();
    let second = pool.set(chained("second", &other)).unwrap();
    drop(other);
    pool.delete(&second).unwrap();
    drop((next, inner));
    // `second` is still held, and what it held is gone with its value.
    pool.quiesce();
    assert_eq!(pool.stats().values, 1);
    drop((holder, second));
    assert!(is_empty(&pool), "{:?}", pool.stats());
}

macro_rules! each_codec {
    ($($name:ident: $codec:expr, $limit:expr;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn in_memory() {
                lives_with_its_holder($codec, false);
            }

            #[test]
            fn on_disk() {
                lives_with_its_holder($codec, true);
            }

            #[test]
            fn everywhere() {
                all_places($codec);
            }

            #[test]
            fn in_a_chain() {
                long_chain($codec, $limit);
            }

            #[test]
            fn too_large() {
                larger_than_the_limit($codec);
            }

            #[test]
            fn wrong_pool() {
                of_another_pool($codec, $codec);
            }

            #[test]
            fn delete() {
                deleted($codec);
            }
        }
    )*};
}

each_codec! {
    by_rkyv: Rkyv::new(), 64 << 10;
    by_bincode: Bincode, 64;
    by_encoded: Encoded::new(), 64 << 10;
}

#[test]
fn a_reference_of_another_type_is_not_answered() {
    let pool = PoolOptions::new().memory_limit(1 << 20).open(Rkyv::new());
    let inner = pool.set(page("inner")).unwrap();
    let holder = pool.set(chained("holder", &inner)).unwrap();
    let view = pool.get(&holder).unwrap();
    assert!(view.reference::<Page>(0).is_ok());
    assert!(matches!(view.reference::<u64>(0), Err(Error::NoReference { .. })));
    assert!(matches!(view.reference::<Page>(1), Err(Error::NoReference { .. })));
}

/// Whether this thread is outside of every scope: writing and reading a reference are errors that name it.
fn is_outside(pool: &Pool<Bincode>) -> bool {
    let config = bincode::config::standard();
    let inner = pool.set(page("inner")).unwrap();
    let written = bincode::serde::encode_to_vec(chained("holder", &inner), config);
    // A page with an index for `next`.
    let read = bincode::serde::decode_from_slice::<Page, _>(&[0, 1, 0, 0, 0], config);
    let named = |said: String| said.contains("DRef<references::Page>");
    written.is_err_and(|e| named(e.to_string())) && read.is_err_and(|e| named(e.to_string()))
}

#[test]
fn outside_of_a_codec_there_are_no_references() {
    let pool = PoolOptions::new().memory_limit(1 << 20).open(Bincode);
    assert!(is_outside(&pool));
    let inner = pool.set(page("inner")).unwrap();
    let holder = pool.set(chained("holder", &inner)).unwrap();
    pool.move_to_disk(&holder).unwrap();
    drop(pool.get(&holder).unwrap());
    assert!(is_outside(&pool));
}

/// Panics while it is written, behind a reference.
#[derive(serde::Serialize, serde::Deserialize)]
struct Panics {
    #[serde(with = "mempool_codec::reference")]
    inner: DRef<Page>,
    #[serde(serialize_with = "panic")]
    after: u8,
}

fn panic<S: serde::Serializer>(_: &u8, _: S) -> Result<S::Ok, S::Error> {
    panic!("a field that panics")
}

impl ResidentBytes for Panics {
    fn resident_bytes(&self) -> u64 {
        0
    }
}

#[test]
fn a_panic_closes_the_scope() {
    let pool = PoolOptions::new().memory_limit(1 << 20).open(Bincode);
    let inner = pool.set(page("inner")).unwrap();
    let value = || Panics { inner: inner.clone(), after: 0 };
    let holder = pool.set(value()).unwrap();
    assert!(matches!(pool.move_to_disk(&holder), Err(Error::Codec(_))));
    assert!(is_outside(&pool));
    let encoded = pool.with_codec(Encoded::new());
    assert!(catch_unwind(AssertUnwindSafe(|| encoded.set(value()).is_ok())).is_err());
    assert!(is_outside(&pool));
    drop((inner, holder));
    assert!(is_empty(&pool), "{:?}", pool.stats());
}

thread_local! {
    static NESTED: std::cell::RefCell<Option<(Pool<Encoded>, DRef<Page>)>> =
        const { std::cell::RefCell::new(None) };
}

/// Sets another value while it is written, between two references of its own.
#[derive(serde::Serialize, serde::Deserialize)]
struct Nests {
    #[serde(with = "mempool_codec::reference")]
    first: DRef<Page>,
    #[serde(serialize_with = "set_another")]
    between: u8,
    #[serde(with = "mempool_codec::reference")]
    second: DRef<Page>,
}

fn set_another<S: serde::Serializer>(byte: &u8, serializer: S) -> Result<S::Ok, S::Error> {
    NESTED.with_borrow(|nested| {
        if let Some((pool, third)) = nested {
            let other = pool.set(chained("nested", third)).unwrap();
            let seen = Encoded::see(pool, &other).unwrap();
            assert!(seen.next.as_ref() == Some(third));
        }
    });
    serializer.serialize_u8(*byte)
}

#[test]
fn scopes_nest() {
    let pool = PoolOptions::new().memory_limit(1 << 20).open(Encoded::new());
    let pages: Vec<_> = ["a", "b", "c"].map(|text| pool.set(page(text)).unwrap()).into();
    NESTED.set(Some((pool.clone(), pages[2].clone())));
    let value = Nests { first: pages[0].clone(), between: 0, second: pages[1].clone() };
    let holder = pool.set(value).unwrap();
    pool.move_to_disk(&holder).unwrap();
    let decoded = pool.get(&holder).unwrap().decode().unwrap();
    assert!(decoded.first == pages[0] && decoded.second == pages[1]);
    NESTED.set(None);
    drop((decoded, holder, pages));
    assert!(is_empty(&pool), "{:?}", pool.stats());
}

/// A value of two parts: one is archived when it is set, the other is looked at when it is written.
struct Both {
    archived: Page,
    kept: Page,
}

struct BothCodec;

struct BothResident {
    archived: <Rkyv as Codec<Page>>::Resident,
    kept: Page,
}

impl Codec<Both> for BothCodec {
    type Resident = BothResident;
    type View = BothResident;

    fn format(&self) -> Format {
        Format { codec: CodecName::new("both"), type_tag: 0, pointer_width: 32 }
    }

    fn size_hint(&self, value: &Both) -> Result<u64> {
        Rkyv::new().size_hint(&value.archived)
    }

    fn admit(&self, value: Both, room: &mut Room) -> Result<BothResident, Rejected<Both>> {
        let Both { archived, kept } = value;
        match Rkyv::new().admit(archived, room) {
            Ok(archived) => Ok(BothResident { archived, kept }),
            Err(Rejected { value, error }) => {
                Err(Rejected::new(Both { archived: value, kept }, error))
            }
        }
    }

    fn view<'a>(&self, resident: &'a BothResident) -> &'a BothResident {
        resident
    }

    fn mmwrite(&self, resident: &BothResident, sink: &mut Sink<'_>) -> Result<()> {
        Codec::<Page>::mmwrite(&Rkyv::new(), &resident.archived, sink)?;
        Bincode.mmwrite(&resident.kept, sink)
    }

    fn mmwrite_value(&self, value: &Both, sink: &mut Sink<'_>) -> Result<()> {
        Rkyv::new().mmwrite_value(&value.archived, sink)?;
        Bincode.mmwrite_value(&value.kept, sink)
    }

    fn mmread(&self, source: &mut Source<'_>, room: &mut Room) -> Result<BothResident> {
        let archived = Codec::<Page>::mmread(&Rkyv::new(), source, room)?;
        Ok(BothResident { archived, kept: Bincode.mmread(source, room)? })
    }
}

#[test]
fn parts_of_two_codecs_keep_their_indices_apart() {
    let pool = PoolOptions::new().memory_limit(1 << 20).open(BothCodec);
    let pages = pool.with_codec(Bincode);
    let [one, two, three] = ["1", "2", "3"].map(|text| pages.set(page(text)).unwrap());
    let archived = Page { links: vec![one.clone(), two.clone()], ..page("archived") };
    let holder = pool.set(Both { archived, kept: chained("kept", &three) }).unwrap();
    drop((one, two, three));
    for _ in 0..2 {
        pool.move_to_disk(&holder).unwrap();
        let view = pool.get(&holder).unwrap();
        let archived = Codec::<Page>::view(&Rkyv::new(), &view.archived);
        let texts: Vec<String> = archived
            .links
            .iter()
            .map(|link| link.resolve(&view).unwrap())
            .chain(view.kept.next.clone())
            .map(|page| pages.get(&page).unwrap().text.clone())
            .collect();
        assert_eq!(texts, ["1", "2", "3"]);
    }
    drop(holder);
    assert!(is_empty(&pool), "{:?}", pool.stats());
}
