//! Arrays that nobody wrote, in many layouts: a typed error, or an array all of whose slots can be read; no panic, and no more
//! memory than the bytes, 64 KiB, and 512 bytes for each node of a description that is there: a column takes a few words.
//!
//! `HOSTILE_CASES` says how many; a failure prints the number of its case, and the seed for `SEED`. `CASE` runs one alone.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use mempool_arrays::{ArrayError, Layout, Raw};
use mempool_core::testing::{decode, encode, room};
use mempool_core::{Buffer, Codec, Error, ErrorKind, Ledger, Result, Trust};

mod counting;
mod frames;
mod shapes;
use counting::peak_of;
use frames::{Node, describe, framed, header, sections};
use shapes::tables::{
    column, columns, few, nd, table, walk_column, walk_nd, walk_rows, walk_table,
};
use shapes::{
    Bool, Bytes, Color, Few, Maybe, Nothing, Plain, Random, Runs, Shape, Text, Trade, Wide,
    elements, environment, seed, walk,
};

/// What may be taken beside the bytes.
const SLACK_BYTES: i64 = 64 << 10;
/// What may be taken for a node, once it is there, of 48 bytes.
const NODE_COLUMN_BYTES: i64 = 512;
const LIMIT_BYTES: u64 = 16 << 20;

/// The sections of a frame, the description first.
type Sections = Vec<Vec<u8>>;

/// One type of array.
struct Subject {
    name: &'static str,
    /// The sections of arrays that were written.
    good: Vec<Sections>,
    /// Reads a frame and walks its array.
    look: Box<Look>,
    /// Reads it, writes what was read, and walks that.
    again: Box<Look>,
}

type Look = dyn Fn(&Buffer, Trust) -> Result<u64>;

fn read<A: Layout, R>(
    frame: &Buffer,
    trust: Trust,
    look: impl FnOnce(&<Raw as Codec<A>>::Resident) -> Result<R>,
) -> Result<R> {
    let ledger = Ledger::new(LIMIT_BYTES, Duration::ZERO);
    let looked = look(&decode::<A, Raw>(&Raw, frame, trust, &mut room(&ledger))?);
    assert_eq!(ledger.usage().peak_bytes, 0, "a view of the frame takes nothing");
    looked
}

/// Walks an array whole and in parts.
fn visit<A: Layout>(array: &A, walk: impl Fn(&A) -> u64) -> u64 {
    let len = array.len();
    let part = array.slice(len / 3..len - len / 4);
    let sum = walk(array);
    black_box(walk(&part));
    black_box(walk(&part.slice(part.len()..part.len())));
    sum
}

fn subject_of<A: Layout>(
    name: &'static str,
    make: impl Fn(&mut Random) -> A,
    walk: impl Fn(&A) -> u64 + Copy + 'static,
) -> Subject {
    let view = <Raw as Codec<A>>::view;
    let good = (0..40).map(|number| {
        let mut random = Random::of_case(name.len() as u64, number);
        let array = make(&mut random);
        let part = random.range(array.len());
        sections(&array.slice(part))
    });
    Subject {
        name,
        good: good.collect(),
        look: Box::new(move |frame, trust| {
            read::<A, _>(frame, trust, |array| Ok(visit(view(&Raw, array), walk)))
        }),
        again: Box::new(move |frame, trust| {
            let again = read::<A, _>(frame, trust, |array| encode::<A, Raw>(&Raw, array, 0))?;
            read::<A, _>(&again, Trust::Foreign, |array| Ok(visit(view(&Raw, array), walk)))
        }),
    }
}

fn subject<S: Shape>(name: &'static str) -> Subject {
    subject_of(name, few::<S>, walk::<S>)
}

fn subjects() -> Vec<Subject> {
    let mut all = Vec::new();
    macro_rules! each {
        ($name:ident, $shape:ty) => {
            all.push(subject::<$shape>(stringify!($name)));
            all.push(subject::<Maybe<$shape>>(concat!("nullable ", stringify!($name))));
            all.push(subject::<Few<Maybe<$shape>>>(concat!("pooled ", stringify!($name))));
            all.push(subject::<Runs<$shape>>(concat!("lists of ", stringify!($name))));
        };
    }
    elements!(each);
    all.push(subject::<Maybe<Runs<Maybe<Few<Text>>, i32>>>("nullable lists of nullable pooled"));
    all.push(subject::<Runs<Runs<Text<i32>, i32>>>("lists of lists of texts"));
    // As many of these as of all the others.
    for _ in 0..all.len() / 8 {
        for name in ["columns", "columns of any type"] {
            all.push(subject_of(name, column, walk_column));
        }
        all.push(subject_of("structs", columns, walk_rows));
        for name in ["tables", "a table", "tables with an index"] {
            all.push(subject_of(name, table, walk_table));
        }
        for name in ["several dimensions", "an array of several dimensions"] {
            all.push(subject_of(name, nd, walk_nd));
        }
    }
    all
}

/// What is done to good bytes.
const KINDS: [&str; 15] = [
    "bits",
    "bytes",
    "head",
    "nodes",
    "names",
    "offsets",
    "text",
    "lengths",
    "sections",
    "splice",
    "other type",
    "depth",
    "width",
    "claims",
    "noise",
];

const HEAD_BYTES: usize = 16;
const NODE_BYTES: usize = 48;

/// Overwrites what is at `at`, as far as there is something.
fn put(bytes: &mut [u8], at: usize, with: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + with.len()) {
        place.copy_from_slice(with);
    }
}

/// A number that lies at an edge, of something of that size.
fn edge(random: &mut Random, len: usize) -> u64 {
    let len = len as u64;
    let edges = [
        0,
        1,
        2,
        len,
        len.wrapping_add(1),
        len.wrapping_sub(1),
        len.wrapping_mul(8),
        1 << 16,
        (1 << 31) - 1,
        1 << 31,
        u64::from(u32::MAX),
        1 << 40,
        (1 << 61) + 1,
        i64::MAX as u64,
        1 << 63,
        u64::MAX,
    ];
    random.pick(&edges)
}

/// The sections of one case.
fn hostile(kind: usize, subject: &Subject, all: &[Subject], random: &mut Random) -> Sections {
    let mut sections = subject.good[random.below(subject.good.len())].clone();
    let other = &subject.good[random.below(subject.good.len())];
    let times = 1 + random.below(3);
    let which = random.below(sections.len());
    let bytes = &mut sections[which];
    match KINDS[kind] {
        "bits" => (0..times).for_each(|_| {
            let at = random.below(bytes.len());
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }),
        "bytes" => (0..times).for_each(|_| {
            let at = random.below(bytes.len());
            put(bytes, at, &[random.pick(&[0, 1, 7, 8, 64, 127, 128, 192, 254, 255])]);
        }),
        "head" => bend_head(&mut sections[0], random),
        "nodes" => (0..times).for_each(|_| bend_node(&mut sections[0], random)),
        "names" => add_names(&mut sections[0], random),
        "offsets" => (0..times).for_each(|_| bend_word(bytes, random)),
        "text" => (0..times).for_each(|_| {
            let bad = [&[0xff][..], &[0xc0, 0x80], &[0xed, 0xa0, 0x80], &[0xf4, 0x90, 0x80, 0x80]];
            let bad = random.pick(&[bad[0], bad[1], bad[2], bad[3], &[0x80], &[0xc3]]);
            let at = random.below(bytes.len());
            put(bytes, at, bad);
        }),
        "lengths" => {
            let len = random.below(bytes.len() * 2 + 2);
            bytes.resize(len, random.next() as u8);
        }
        "sections" => {
            let one = bytes.clone();
            match random.below(4) {
                0 => drop(sections.remove(which)),
                1 => sections.insert(random.below(sections.len() + 1), one),
                2 => sections[0] = one,
                _ => sections.reverse(),
            }
        }
        "splice" => sections.iter_mut().zip(other).for_each(|(one, other)| {
            if random.below(2) == 0 {
                one.clone_from(other);
            }
        }),
        "other type" => {
            let other = &all[random.below(all.len())];
            sections.clone_from(&other.good[random.below(other.good.len())]);
        }
        "width" => sections = wide(10_usize.pow(1 + random.below(3) as u32), random),
        "claims" => sections = claims(random),
        "depth" => sections = deep(10_usize.pow(1 + random.below(4) as u32) - random.below(9)),
        _ => {
            *bytes = (0..random.below(200)).map(|_| random.next() as u8).collect();
        }
    }
    sections
}

/// Another version, count or length of names.
fn bend_head(description: &mut [u8], random: &mut Random) {
    let claim = edge(random, description.len());
    match random.below(4) {
        0 => put(description, 0, &(claim as u16).to_le_bytes()),
        1 => put(description, 2, &(claim as u16).to_le_bytes()),
        2 => put(description, 4, &(claim as u32).to_le_bytes()),
        _ => put(description, 8, &claim.to_le_bytes()),
    }
}

/// Another field of a node: one, or a kind with its width.
fn bend_node(description: &mut [u8], random: &mut Random) {
    let nodes = description.len().saturating_sub(HEAD_BYTES) / NODE_BYTES;
    let at = HEAD_BYTES + NODE_BYTES * random.below(nodes);
    let slots = description.get(at + 8..).and_then(|rest| rest.first_chunk::<8>());
    let slots = slots.map_or(0, |slots| u64::from_le_bytes(*slots));
    let claim = edge(random, slots as usize);
    let near = slots.wrapping_add(random.pick(&[1, 2, 8, u64::MAX, u64::MAX - 7]));
    match random.below(11) {
        0 => put(description, at, &[random.below(14) as u8]),
        1 => put(description, at + 1, &[random.below(17) as u8]),
        2 => put(description, at, &[random.below(14) as u8, random.pick(&[0, 1, 2, 4, 8])]),
        3 => put(description, at + 2, &[random.next() as u8]),
        4 => put(description, at + 4, &(claim as u32).to_le_bytes()),
        5 => put(description, at + 8, &claim.to_le_bytes()),
        6 => put(description, at + 8, &near.to_le_bytes()),
        7 => put(description, at + 16, &claim.to_le_bytes()),
        8 => put(description, at + 24, &claim.to_le_bytes()),
        9 => put(description, at + 32, &claim.to_le_bytes()),
        _ => put(description, at + 40, &claim.to_le_bytes()),
    }
}

/// Names that are there, are not there, or are no text.
fn add_names(description: &mut Vec<u8>, random: &mut Random) {
    let nodes = description.len().saturating_sub(HEAD_BYTES) / NODE_BYTES;
    let name = random.pick(&[&b"name"[..], b"", b"\xff\xfe", "é".as_bytes(), &[b'x'; 300]]);
    let claimed = (name.len() as u64).wrapping_add(random.pick(&[0, 0, 1, u64::MAX]));
    let at = HEAD_BYTES + NODE_BYTES * random.below(nodes) + 40;
    put(description, at, &(claimed as u32).to_le_bytes());
    put(description, 8, &(name.len() as u64).to_le_bytes());
    description.extend_from_slice(name);
}

/// Another word of 32 or 64 bits: an offset that falls, is negative, or points behind the end.
fn bend_word(bytes: &mut [u8], random: &mut Random) {
    let claim = edge(random, bytes.len());
    let by = random.pick(&[1, 2, u64::MAX, u64::MAX - 1, 8, 1 << 31, 1 << 63]);
    let (wide, at) = (random.below(2) == 0, random.below(bytes.len()));
    let (at, size) = if wide { (at & !7, 8) } else { (at & !3, 4) };
    let Some(word) = bytes.get(at..at + size) else { return };
    let mut there = [0; 8];
    there[..size].copy_from_slice(word);
    let near = u64::from_le_bytes(there).wrapping_add(by);
    let word = if random.below(2) == 0 { claim } else { near };
    put(bytes, at, &word.to_le_bytes()[..size]);
}

/// The description of these nodes, each of a kind, a width, children, slots and a name.
fn described(nodes: &[(u8, u8, usize, u64, &str)], figure: u64) -> Vec<u8> {
    let node = |&(kind, width, children, slots, name): &(u8, u8, usize, u64, &str)| Node {
        kind,
        width,
        children: children as u32,
        slots,
        name: name.to_owned(),
        ..Node::default()
    };
    let mut nodes: Vec<Node> = nodes.iter().map(node).collect();
    nodes[0].figure = figure;
    describe(&nodes)
}

/// A struct or a table of so many columns that have no bytes, each with a name of its own.
fn wide(columns: usize, random: &mut Random) -> Sections {
    let names: Vec<String> = (0..columns).map(|at| at.to_string()).collect();
    let slots = edge(random, 5);
    let root = (10 + random.below(2) as u8, 0, columns, slots, "");
    let leaves = names.iter().map(|name| (4, 0, 0, slots, &name[..]));
    let nodes: Vec<_> = std::iter::once(root).chain(leaves).collect();
    vec![described(&nodes, random.below(columns) as u64)]
}

/// So many slots without bytes that nobody could look at each: bare, in lists, in structs, and as an index.
fn claims(random: &mut Random) -> Sections {
    let most = i64::MAX as u64;
    let offsets = [0_i64, 1 << 62, i64::MAX];
    let offsets: Vec<u8> = offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect();
    let units = (4, 0, 0, most, "");
    match random.below(6) {
        0 => vec![described(&[(10, 0, 0, most, "")], 0)],
        1 => vec![described(&[(11, 0, 1, most, ""), units], 1)],
        2 => vec![described(&[(11, 0, 1, most, ""), (10, 0, 1, most, ""), units], 1)],
        3 => vec![described(&[(9, 8, 1, 2, ""), units], 0), offsets],
        4 => vec![described(&[(11, 0, 1, 2, ""), (9, 8, 1, 2, ""), units], 1), offsets],
        _ => vec![described(&[(7, 0, 1, most, ""), units], 0), Vec::new()],
    }
}

/// Nullable arrays in each other, so many deep, all of them empty.
fn deep(depth: usize) -> Sections {
    let mut description = Vec::with_capacity(HEAD_BYTES + NODE_BYTES * (depth + 1));
    description.extend_from_slice(&[1, 0, 0, 0]);
    description.extend_from_slice(&(depth as u32 + 1).to_le_bytes());
    description.extend_from_slice(&[0; 8]);
    for level in 0..=depth {
        let mut node = [0; NODE_BYTES];
        // A nullable layout over one child; at the end bits, which have none.
        (node[0], node[4]) = if level < depth { (7, 1) } else { (3, 0) };
        description.extend_from_slice(&node);
    }
    // A frame has a bound of sections, too.
    let validity = depth.min(1 << 10);
    std::iter::once(description).chain(std::iter::repeat_n(Vec::new(), validity + 1)).collect()
}

/// What an error of an array is about; of another, what kind it is of.
fn array_error(error: &Error) -> Option<&ArrayError> {
    match error {
        Error::Codec(error) => error.source.downcast_ref(),
        _ => None,
    }
}

/// Reads a frame; answers what was wrong with it, if anything was.
///
/// # Panics
/// When reading panics, takes more memory than it may, or gives an array that cannot be written and read again.
fn check(subject: &Subject, frame: &Buffer, trust: Trust) -> Option<Error> {
    let look = AssertUnwindSafe(|| (subject.look)(frame, trust));
    let (looked, took) = peak_of(|| catch_unwind(look));
    let looked = looked.unwrap_or_else(|_| panic!("{}: it panicked", subject.name));
    let nodes = header(frame).sections.first().map_or(0, |section| section.bytes / 48);
    let allowed = frame.len() as i64 + SLACK_BYTES + NODE_COLUMN_BYTES * nodes as i64;
    assert!(took <= allowed, "{}: {took} bytes of memory, {allowed} allowed", subject.name);
    match looked {
        Ok(sum) => {
            let again = (subject.again)(frame, trust).unwrap();
            assert_eq!(again, sum, "{}: what was read is written", subject.name);
            None
        }
        Err(error) => {
            let known = error.kind() == ErrorKind::Damage && array_error(&error).is_some();
            let no_section = matches!(error, Error::Frame { .. });
            assert!(known || no_section, "{}: {error:?}", subject.name);
            Some(error)
        }
    }
}

/// What came of a case: of which subject, by what, and which error, if any.
fn case(seed: u64, number: u64, subjects: &[Subject]) -> (usize, usize, Option<String>) {
    let mut random = Random::of_case(seed, number);
    let (which, kind) = (random.below(subjects.len()), random.below(KINDS.len()));
    let subject = &subjects[which];
    let sections = hostile(kind, subject, subjects, &mut random);
    let shift = if random.below(8) == 0 { 1 + random.below(63) } else { 0 };
    let frame = framed(&sections, shift);
    let trust = random.pick(&[Trust::Saved, Trust::Foreign]);
    let checked = catch_unwind(AssertUnwindSafe(|| check(subject, &frame, trust)));
    let refused = checked.unwrap_or_else(|_| {
        panic!(
            "CASE={number} SEED={seed}: {} with {}, {} bytes at {shift}",
            subject.name,
            KINDS[kind],
            frame.len()
        )
    });
    let variant = |error: &Error| {
        let said = array_error(error).map_or_else(|| format!("{error:?}"), |it| format!("{it:?}"));
        said.split(' ').next().unwrap_or_default().to_owned()
    };
    (which, kind, refused.as_ref().map(variant))
}

#[test]
fn arrays_that_nobody_wrote() {
    let (cases, seed) = (environment("HOSTILE_CASES").unwrap_or(5_000), seed());
    println!("SEED={seed}");
    let subjects = subjects();
    if let Some(number) = environment("CASE") {
        println!("{:?}", case(seed, number, &subjects));
        return;
    }
    let mut accepted = vec![[0_u64; 2]; subjects.len()];
    let mut kinds = [[0_u64; 2]; KINDS.len()];
    let mut errors = BTreeMap::new();
    for number in 0..cases {
        let (which, kind, refused) = case(seed, number, &subjects);
        accepted[which][usize::from(refused.is_none())] += 1;
        kinds[kind][usize::from(refused.is_none())] += 1;
        if let Some(error) = refused {
            *errors.entry(error).or_insert(0_u64) += 1;
        }
    }
    for (subject, [refused, ok]) in subjects.iter().zip(&accepted) {
        println!("{}: {refused} refused, {ok} read", subject.name);
        // Of a hundred cases of each some are refused and some, as a flipped bit of a number, are not.
        assert!(cases < 20_000 || (*refused > 0 && *ok > 0), "{}", subject.name);
    }
    for (kind, [refused, ok]) in KINDS.iter().zip(&kinds) {
        println!("{kind}: {refused} refused, {ok} read");
    }
    println!("{errors:?}");
    for error in ["Code", "Depth", "Duplicate", "Index", "Misaligned", "Nulls", "Offset", "Utf8"] {
        assert!(cases < 200_000 || errors.contains_key(error), "{error} was never provoked");
    }
    println!("proof: cases={cases} seed={seed}");
}

/// The bytes from which the cases are made are good, so that what is refused is refused for what was done to them.
#[test]
fn good_arrays_are_read() {
    for subject in subjects() {
        for sections in &subject.good {
            for trust in [Trust::Own, Trust::Saved, Trust::Foreign] {
                let refused = check(&subject, &framed(sections, 0), trust);
                assert!(refused.is_none(), "{}: {refused:?}", subject.name);
            }
        }
    }
}
