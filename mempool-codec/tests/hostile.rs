//! Bytes that nobody wrote, for types of many shapes: an error or a value that can be walked whole, no panic, no dead
//! process, and no more memory than the bytes, 64 KiB and what the ledger granted.
//!
//! `HOSTILE_CASES` says how many; a failure prints the number of its case, and the seed for `SEED`. `CASE` runs one alone.
#![cfg(all(feature = "testing", feature = "rkyv", feature = "bincode"))]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]
#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mempool_codec::{Bincode, Encoded, Encoding, Reference, ResidentBytes, Rkyv};
use mempool_core::testing::{decode, encode, frame_of, room};
use mempool_core::{
    Buffer, Codec, CodecName, DRef, Error, ErrorKind, Format, Header, Id, Ledger, MemoryStore,
    Rejected, Result, Room, Sink, Source, SpillStore, Trust,
};
use rkyv::Archived;

/// What may be taken beside the bytes and the ledger's grant.
const SLACK_BYTES: i64 = 64 << 10;
const LIMIT_BYTES: u64 = 16 << 20;

struct Counting;

thread_local! {
    static LIVE: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

fn add(bytes: i64) {
    // A thread that ends allocates after its locals are gone.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

fn size(layout: Layout) -> i64 {
    i64::try_from(layout.size()).unwrap_or(i64::MAX)
}

// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(size(layout));
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        add(-size(layout));
        // SAFETY: the caller's promise is handed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Splitmix64 (Steele, Lea, Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn text(&mut self) -> String {
        ["", "a", "é", "more than eight bytes", "ßßßß"][self.below(5)].repeat(self.below(4))
    }

    fn list<T>(&mut self, max: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(max)).map(|_| make(self)).collect()
    }
}

// The types.

#[derive(Clone, rkyv::Archive, rkyv::Serialize, serde::Serialize, serde::Deserialize)]
struct Record {
    key: u64,
    wide: i128,
    name: String,
    tags: Vec<Option<String>>,
    shapes: Vec<Shape>,
    flag: bool,
    letter: char,
}

#[derive(Clone, rkyv::Archive, rkyv::Serialize, serde::Serialize, serde::Deserialize)]
enum Shape {
    Point,
    Circle(f64),
    Named { label: String, inner: Option<Box<u32>> },
}

impl ResidentBytes for Shape {
    fn resident_bytes(&self) -> u64 {
        match self {
            Self::Named { label, inner } => label.resident_bytes() + inner.resident_bytes(),
            _ => 0,
        }
    }
}

impl ResidentBytes for Record {
    fn resident_bytes(&self) -> u64 {
        self.name.resident_bytes() + self.tags.resident_bytes() + self.shapes.resident_bytes()
    }
}

fn shape(random: &mut Random) -> Shape {
    match random.below(3) {
        0 => Shape::Point,
        1 => Shape::Circle(1.5),
        _ => {
            let inner = (random.below(2) == 0).then(|| Box::new(7));
            Shape::Named { label: random.text(), inner }
        }
    }
}

fn record(random: &mut Random) -> Record {
    Record {
        key: random.next(),
        wide: i128::from(random.next()) << random.below(60),
        name: random.text(),
        tags: random.list(9, |random| (random.below(3) > 0).then(|| random.text())),
        shapes: random.list(9, shape),
        flag: random.below(2) == 0,
        letter: ['a', 'ß', '€', '😀'][random.below(4)],
    }
}

#[derive(rkyv::Archive, rkyv::Serialize, serde::Serialize, serde::Deserialize)]
#[rkyv(serialize_bounds(
    __S: rkyv::ser::Writer,
    <__S as rkyv::rancor::Fallible>::Error: rkyv::rancor::Source
))]
#[rkyv(bytecheck(bounds(
    __C: rkyv::validation::ArchiveContext,
    <__C as rkyv::rancor::Fallible>::Error: rkyv::rancor::Source
)))]
struct Nested {
    #[rkyv(omit_bounds)]
    inner: Option<Box<Nested>>,
}

impl ResidentBytes for Nested {
    fn resident_bytes(&self) -> u64 {
        let (mut at, mut bytes) = (self, 0);
        while let Some(inner) = &at.inner {
            bytes += size_of::<Self>() as u64;
            at = inner;
        }
        bytes
    }
}

fn nested(random: &mut Random) -> Nested {
    let depth = random.below(60);
    (0..depth).fold(Nested { inner: None }, |inner, _| Nested { inner: Some(Box::new(inner)) })
}

#[derive(rkyv::Archive, rkyv::Serialize)]
struct Linked {
    #[rkyv(with = rkyv::with::Map<Reference>)]
    links: Vec<DRef<u64>>,
    text: String,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct SerdeLinked {
    #[serde(with = "mempool_codec::reference")]
    links: Vec<DRef<u64>>,
    text: String,
}

/// What an archive of a [`Linked`] looks like: a reference is its index, and no pool is needed to write one.
#[derive(rkyv::Archive, rkyv::Serialize)]
struct Indices {
    links: Vec<u32>,
    text: String,
}

fn indices() -> Vec<(Vec<u8>, u64)> {
    let mut random = Random(1);
    let make = |random: &mut Random| Indices {
        links: random.list(20, |random| random.next() as u32),
        text: random.text(),
    };
    (0..40).map(|_| content(&Rkyv::new(), make(&mut random))).collect()
}

// Walks: every part of a value is looked at, and nothing is allocated for it.

fn walk_shape(shape: &Archived<Shape>) -> u64 {
    match shape {
        ArchivedShape::Point => 1,
        ArchivedShape::Circle(radius) => radius.to_native().to_bits(),
        ArchivedShape::Named { label, inner } => {
            walk_text(label) + inner.as_ref().map_or(0, |inner| u64::from(inner.to_native()))
        }
    }
}

fn walk_text(text: &str) -> u64 {
    text.chars().fold(0, |sum, letter| sum + u64::from(u32::from(letter)))
}

fn walk_record(record: &Archived<Record>) -> u64 {
    let tags =
        record.tags.iter().fold(0, |sum, tag| sum ^ tag.as_ref().map_or(0, |t| walk_text(t)));
    let shapes = record.shapes.iter().fold(0, |sum, shape| sum ^ walk_shape(shape));
    let plain = record.key.to_native() ^ record.wide.to_native() as u64 ^ u64::from(record.flag);
    plain
        ^ tags
        ^ shapes
        ^ walk_text(&record.name)
        ^ u64::from(u32::from(record.letter.to_native()))
}

fn walk_nested(mut nested: &Archived<Nested>) -> u64 {
    let mut depth = 0;
    while let Some(inner) = nested.inner.as_ref() {
        nested = inner;
        depth += 1;
    }
    depth
}

fn walk_own(record: &Record) -> u64 {
    let tags = record.tags.iter().flatten().fold(0, |sum, tag| sum ^ walk_text(tag));
    tags ^ walk_text(&record.name) ^ record.key
}

/// One type by one codec.
struct Subject {
    name: &'static str,
    /// Contents of frames that were written, each with what its value was charged.
    good: Vec<(Vec<u8>, u64)>,
    /// A content nested so deep, if the type can be.
    deep: Option<fn(usize) -> Vec<u8>>,
    /// Reads a frame and walks its value.
    look: Box<Look>,
}

type Look = dyn Fn(&Buffer, &Arc<Ledger>) -> Result<u64>;

fn subject<T, C>(
    name: &'static str,
    codec: C,
    make: impl Fn(&mut Random) -> T,
    walk: impl Fn(&C::View) -> Result<u64> + 'static,
) -> Subject
where
    C: Codec<T>,
    T: Send + Sync + 'static,
{
    let mut random = Random(name.len() as u64);
    let good = (0..40).map(|_| content(&codec, make(&mut random))).collect();
    let look = move |frame: &Buffer, ledger: &Arc<Ledger>| {
        let mut room = room(ledger);
        let resident = decode(&codec, frame, Trust::Foreign, &mut room)?;
        walk(codec.view(&resident))
    };
    Subject { name, good, deep: None, look: Box::new(look) }
}

fn content<T, C>(codec: &C, value: T) -> (Vec<u8>, u64)
where
    C: Codec<T>,
    T: Send + Sync + 'static,
{
    let ledger = Ledger::new(LIMIT_BYTES, Duration::ZERO);
    let charged = codec.size_hint(&value).unwrap();
    let mut room = room(&ledger);
    let Ok(resident) = codec.admit(value, &mut room) else { panic!("it is admitted") };
    let frame = encode(codec, &resident, charged).unwrap();
    let store = MemoryStore::new();
    let header = Header::decode(&frame, |bytes| store.checksum(bytes)).unwrap();
    let start = usize::try_from(header.content_offset).unwrap();
    (frame[start..].to_vec(), charged)
}

/// Boxes in boxes, as rkyv lays them out: a tag, padding, and the way from the pointer back to the box before.
fn deep_archive(depth: usize) -> Vec<u8> {
    let mut bytes = vec![0; 8];
    for _ in 0..depth {
        bytes.extend_from_slice(&[1, 0, 0, 0]);
        bytes.extend_from_slice(&(-12_i32).to_le_bytes());
    }
    bytes
}

/// The same for bincode: so many marks of `Some`, and one of `None`.
fn deep_marks(depth: usize) -> Vec<u8> {
    let mut bytes = vec![1; depth];
    bytes.push(0);
    bytes
}

fn subjects() -> Vec<Subject> {
    vec![
        subject(
            "rkyv records",
            Rkyv::new(),
            |random| random.list(12, record),
            |view: &Archived<Vec<Record>>| {
                Ok(view.iter().fold(0, |sum, record| sum ^ walk_record(record)))
            },
        ),
        subject(
            "rkyv vectors",
            Rkyv::new(),
            |random| random.list(9, |random| random.list(30, |random| random.next() as u16)),
            |view: &Archived<Vec<Vec<u16>>>| {
                let each = view.iter().flat_map(|inner| inner.iter());
                Ok(each.fold(0, |sum, number| sum ^ u64::from(number.to_native())))
            },
        ),
        subject(
            "rkyv hash map",
            Rkyv::new(),
            |random| {
                let pairs = random.list(30, |random| (random.text(), random.next() as u32));
                pairs.into_iter().collect::<HashMap<_, _>>()
            },
            |view: &Archived<HashMap<String, u32>>| {
                let sum = |sum, (key, value): (&Archived<String>, &Archived<u32>)| {
                    sum ^ walk_text(key) ^ u64::from(value.to_native())
                };
                Ok(view.iter().fold(u64::from(view.get("a").is_some()), sum))
            },
        ),
        subject(
            "rkyv B-tree",
            Rkyv::new(),
            |random| {
                let pairs = random.list(60, |random| (random.next(), random.text()));
                pairs.into_iter().collect::<BTreeMap<_, _>>()
            },
            |view: &Archived<BTreeMap<u64, String>>| {
                let sum = |sum, (key, value): (&Archived<u64>, &Archived<String>)| {
                    sum ^ key.to_native() ^ walk_text(value)
                };
                Ok(view.iter().fold(0, sum))
            },
        ),
        Subject {
            deep: Some(deep_archive),
            ..subject("rkyv nested", Rkyv::new(), nested, |view| Ok(walk_nested(view)))
        },
        Subject {
            good: indices(),
            ..subject(
                "rkyv references",
                Rkyv::new(),
                |random| Linked { links: Vec::new(), text: random.text() },
                |view: &Archived<Linked>| {
                    let links = view.links.iter().fold(0, |sum, it| sum ^ u64::from(it.index()));
                    Ok(links ^ walk_text(&view.text))
                },
            )
        },
        subject(
            "bincode records",
            Bincode,
            |random| random.list(12, record),
            |view: &Vec<Record>| Ok(view.iter().fold(0, |sum, record| sum ^ walk_own(record))),
        ),
        subject(
            "bincode vectors",
            Bincode,
            |random| random.list(9, |random| random.list(9, |random| random.list(9, Random::next))),
            |view: &Vec<Vec<Vec<u64>>>| Ok(view.iter().flatten().flatten().fold(0, |a, b| a ^ b)),
        ),
        Subject {
            deep: Some(deep_marks),
            ..subject("bincode nested", Bincode, nested, |view: &Nested| Ok(view.resident_bytes()))
        },
        subject(
            "encoded map",
            Encoded::new().working_bytes_per_byte(0),
            |random| {
                let pairs = random.list(30, |random| (random.text(), random.list(5, shape)));
                pairs.into_iter().collect::<BTreeMap<_, _>>()
            },
            |view: &Encoding<BTreeMap<String, Vec<Shape>>>| {
                let decoded = view.decode()?;
                Ok(decoded.keys().fold(0, |sum, key| sum ^ walk_text(key)))
            },
        ),
        subject(
            "encoded hash map",
            Encoded::new().working_bytes_per_byte(0),
            |random| {
                let pairs = random.list(30, |random| (random.next(), random.text()));
                pairs.into_iter().collect::<HashMap<_, _>>()
            },
            |view: &Encoding<HashMap<u64, String>>| {
                let decoded = view.decode()?;
                Ok(decoded.iter().fold(0, |sum, (key, text)| sum ^ key ^ walk_text(text)))
            },
        ),
        subject(
            "encoded references",
            Encoded::new(),
            |random| SerdeLinked { links: Vec::new(), text: random.text() },
            |view: &Encoding<SerdeLinked>| {
                let decoded = view.decode()?;
                Ok(decoded.links.len() as u64 ^ walk_text(&decoded.text))
            },
        ),
    ]
}

/// What is done to good bytes.
const KINDS: [&str; 10] = [
    "bits",
    "bytes",
    "lengths",
    "pointers",
    "text",
    "cut",
    "splice",
    "other type",
    "depth",
    "noise",
];

/// The content of one case, and what its header claims that it is charged.
fn hostile(kind: usize, subject: &Subject, all: &[Subject], random: &mut Random) -> (Vec<u8>, u64) {
    let (good, charged) = &subject.good[random.below(subject.good.len())];
    let mut bytes = good.clone();
    let claimed = [*charged, 0, *charged + 1, 1 << 12][random.below(4)];
    let times = 1 + random.below(4);
    match KINDS[kind] {
        "bits" => (0..times).for_each(|_| {
            let at = random.below(bytes.len());
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }),
        "bytes" => (0..times).for_each(|_| {
            let at = random.below(bytes.len());
            if let Some(byte) = bytes.get_mut(at) {
                *byte = [0, 1, 127, 128, 250, 251, 252, 253, 254, 255][random.below(10)];
            }
        }),
        "lengths" => (0..times).for_each(|_| bomb(&mut bytes, random)),
        "pointers" => (0..times).for_each(|_| {
            let by = [-4_i32, 4, -1, 1, i32::MIN, 12345, 0, -64][random.below(8)];
            let at = random.below(bytes.len()) & !3;
            if let Some(word) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<4>()) {
                *word = i32::from_le_bytes(*word).wrapping_add(by).to_le_bytes();
            }
        }),
        "text" => (0..times).for_each(|_| {
            let bad = [&[0xff][..], &[0xc0, 0x80], &[0xed, 0xa0, 0x80], &[0xf4, 0x90, 0x80, 0x80]];
            let bad = bad[random.below(4)];
            let at = random.below(bytes.len());
            if let Some(place) = bytes.get_mut(at..at + bad.len()) {
                place.copy_from_slice(bad);
            }
        }),
        "cut" => {
            bytes.truncate(random.below(bytes.len() + 1));
            if random.below(3) == 0 {
                bytes.extend((0..random.below(80)).map(|_| random.next() as u8));
            }
        }
        "splice" => {
            let (other, _) = &subject.good[random.below(subject.good.len())];
            bytes.truncate(random.below(bytes.len() + 1));
            bytes.extend_from_slice(&other[random.below(other.len())..]);
        }
        "other type" => {
            let other = &all[random.below(all.len())];
            bytes.clone_from(&other.good[random.below(other.good.len())].0);
        }
        "depth" => {
            let depth = 10_usize.pow(2 + random.below(4) as u32) - random.below(90);
            bytes = subject.deep.map_or_else(|| deep_marks(depth), |deep| deep(depth));
        }
        _ => bytes = (0..random.below(600)).map(|_| random.next() as u8).collect(),
    }
    (bytes, claimed)
}

/// Writes a length somewhere, as a word or as a marked number.
fn bomb(bytes: &mut [u8], random: &mut Random) {
    let len = bytes.len() as u64;
    let claims =
        [0, 1, len, len + 1, len - len.min(1), 1 << 16, 1 << 20, 1 << 31, 1 << 40, u64::MAX];
    let claim = claims[random.below(claims.len())];
    let at = random.below(bytes.len());
    let (at, word) = match random.below(4) {
        0 => (at & !3, (claim as u32).to_le_bytes().to_vec()),
        1 => (at & !7, claim.to_le_bytes().to_vec()),
        2 => (at, [&[252][..], &(claim as u32).to_le_bytes()].concat()),
        _ => (at, [&[253][..], &claim.to_le_bytes()].concat()),
    };
    if let Some(place) = bytes.get_mut(at..at + word.len()) {
        place.copy_from_slice(&word);
    }
}

/// A frame of that content, at an address that is `shift` behind a multiple of 64.
fn framed(content: &[u8], charged: u64, shift: usize) -> Buffer {
    let plain = frame_of(Id { slot: 0, generation: 1 }, &[(64, content)]).unwrap();
    let store = MemoryStore::new();
    let header = Header::decode(&plain, |bytes| store.checksum(bytes)).unwrap();
    let sealed = Header { resident_bytes: charged, ..header }.encode(|bytes| store.checksum(bytes));
    let mut bytes = vec![0; plain.len() + 128];
    let start = bytes.as_ptr().addr().next_multiple_of(64) + shift - bytes.as_ptr().addr();
    bytes[start..start + plain.len()].copy_from_slice(&plain);
    bytes[start..start + sealed.len()].copy_from_slice(&sealed);
    Buffer::adopt(bytes, None).slice(start..start + plain.len())
}

/// Reads a frame; answers whether it gave a value.
///
/// # Panics
/// When reading panics, or takes more memory than it may.
fn check(subject: &Subject, frame: &Buffer) -> bool {
    let ledger = Ledger::new(LIMIT_BYTES, Duration::ZERO);
    let before = LIVE.get();
    PEAK.set(before);
    let looked = catch_unwind(AssertUnwindSafe(|| (subject.look)(frame, &ledger)));
    let took = PEAK.get() - before;
    let looked = looked.unwrap_or_else(|_| panic!("{}: it panicked", subject.name));
    let granted = i64::try_from(ledger.usage().peak_bytes).unwrap();
    let allowed = i64::try_from(frame.len()).unwrap() + SLACK_BYTES + granted;
    assert!(took <= allowed, "{}: {took} bytes of memory, {allowed} allowed", subject.name);
    assert_eq!(ledger.usage().used_bytes, 0, "{}: all is paid back", subject.name);
    if let Err(error) = &looked {
        // An index that no reference has is said in the same words as when a user asks for one.
        let known = matches!(error, Error::NoReference { .. })
            || matches!(error.kind(), ErrorKind::Damage | ErrorKind::Limit);
        assert!(known, "{}: {error:?}", subject.name);
    }
    looked.is_ok()
}

fn case(seed: u64, number: u64, subjects: &[Subject]) -> (usize, usize, bool) {
    let mut random = Random(seed ^ number.wrapping_mul(0xd134_2543_de82_ef95));
    let (which, kind) = (random.below(subjects.len()), random.below(KINDS.len()));
    let subject = &subjects[which];
    let (content, charged) = hostile(kind, subject, subjects, &mut random);
    let shift = if random.below(8) == 0 { 1 + random.below(63) } else { 0 };
    let frame = framed(&content, charged, shift);
    let checked = catch_unwind(AssertUnwindSafe(|| check(subject, &frame)));
    let accepted = checked.unwrap_or_else(|_| {
        panic!(
            "case {number} of SEED={seed}: {} with {}, {} bytes at {shift}",
            subject.name,
            KINDS[kind],
            content.len()
        )
    });
    (which, kind, accepted)
}

fn environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn bytes_that_nobody_wrote() {
    let cases = environment("HOSTILE_CASES").unwrap_or(5_000);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = environment("SEED").unwrap_or(now.as_nanos() as u64);
    println!("SEED={seed}");
    let subjects = subjects();
    if let Some(number) = environment("CASE") {
        println!("{:?}", case(seed, number, &subjects));
        return;
    }
    let mut accepted = vec![[0_u64; 2]; subjects.len()];
    let mut kinds = [[0_u64; 2]; KINDS.len()];
    for number in 0..cases {
        let (which, kind, ok) = case(seed, number, &subjects);
        accepted[which][usize::from(ok)] += 1;
        kinds[kind][usize::from(ok)] += 1;
    }
    for (subject, [refused, ok]) in subjects.iter().zip(&accepted) {
        println!("{}: {refused} refused, {ok} read", subject.name);
        // Of a hundred cases of each some are refused and some, as a flipped bit of a number, are not.
        assert!(cases < 2_000 || (*refused > 0 && *ok > 0), "{}", subject.name);
    }
    for (kind, [refused, ok]) in KINDS.iter().zip(&kinds) {
        println!("{kind}: {refused} refused, {ok} read");
    }
    println!("proof: cases={cases} seed={seed}");
}

/// The bytes from which the cases are made are good, so that what is refused is refused for what was done to them.
#[test]
fn good_bytes_are_read() {
    for subject in subjects() {
        for (content, charged) in &subject.good {
            assert!(check(&subject, &framed(content, *charged, 0)), "{}", subject.name);
        }
        if let Some(deep) = subject.deep {
            assert!(check(&subject, &framed(&deep(50), 1 << 12, 0)), "{}", subject.name);
            for depth in [1_000, 10_000, 100_000] {
                assert!(!check(&subject, &framed(&deep(depth), 1 << 12, 0)), "{}", subject.name);
            }
        }
    }
}

/// Allocates what its first byte claims, or panics: what the check is there to find.
struct Bad;

impl Codec<u8> for Bad {
    type Resident = Vec<u8>;
    type View = Vec<u8>;

    fn format(&self) -> Format {
        Format { codec: CodecName::new("bad"), type_tag: 0, pointer_width: 0 }
    }

    fn size_hint(&self, _: &u8) -> Result<u64> {
        Ok(0)
    }

    fn admit(&self, value: u8, _: &mut Room) -> Result<Vec<u8>, Rejected<u8>> {
        Ok(vec![value])
    }

    fn view<'a>(&self, resident: &'a Vec<u8>) -> &'a Vec<u8> {
        resident
    }

    fn mmwrite(&self, resident: &Vec<u8>, sink: &mut Sink<'_>) -> Result<()> {
        sink.section(8)?;
        sink.write(resident)
    }

    fn mmwrite_value(&self, value: &u8, sink: &mut Sink<'_>) -> Result<()> {
        self.mmwrite(&vec![*value], sink)
    }

    fn mmread(&self, source: &mut Source<'_>, _: &mut Room) -> Result<Vec<u8>> {
        let bytes = source.section()?;
        Ok(Vec::with_capacity(usize::from(bytes[0]) << 10))
    }
}

fn bad() -> Subject {
    subject("bad", Bad, |_| 1, |view: &Vec<u8>| Ok(view.len() as u64))
}

#[test]
fn little_memory_is_allowed() {
    assert!(check(&bad(), &framed(&[60], 0, 0)));
}

#[test]
#[should_panic(expected = "bytes of memory")]
fn too_much_memory_is_found() {
    check(&bad(), &framed(&[100], 0, 0));
}

/// bincode's own decoder believes a length as far as a megabyte, at each level: why there is another one.
#[test]
#[should_panic(expected = "bytes of memory")]
fn a_claimed_length_that_is_believed_is_found() {
    let look = |frame: &Buffer, _: &Arc<Ledger>| {
        let content = &frame[frame.len() - 18..];
        let config = bincode::config::standard().with_limit::<{ 1 << 16 }>();
        let _ = bincode::serde::decode_from_slice::<Vec<Vec<u64>>, _>(content, config);
        Ok(0)
    };
    let claim = [253, 0, 0, 0, 0, 0, 0, 0, 1];
    check(&Subject { look: Box::new(look), ..bad() }, &framed(&claim.repeat(2), 0, 0));
}

#[test]
#[should_panic(expected = "it panicked")]
fn a_panic_is_found() {
    check(&bad(), &framed(&[], 0, 0));
}
