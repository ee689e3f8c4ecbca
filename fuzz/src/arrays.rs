//! Arrays of each layout: good ones as seeds, and how what comes of bent ones is looked at.
//!
//! ```text
//! an input   ┌──────┬───────┬─────────────┬───────────────────────┬────────────────────────┐
//!            │ type │ shift │ sections, n │ lengths of n - 1, u16 │ sections, end to end   │
//!            └──────┴───────┴─────────────┴───────────────────────┴────────────────────────┘
//! ```
//!
//! The first section is the description, whose every field a byte of the input thus is; the others are the buffers. The frame around
//! them starts `shift` bytes behind a multiple of 64 when that is less than 64.

// What the array crate's own tests make and look at.
#[path = "../../mempool-arrays/tests/counting/mod.rs"]
mod counting;
#[path = "../../mempool-arrays/tests/frames/mod.rs"]
mod frames;
#[path = "../../mempool-arrays/tests/shapes/mod.rs"]
#[allow(unused_macros, unused_imports, reason = "each user of it uses a part")]
mod shapes;

use std::time::Duration;

use mempool_arrays::{ArrayError, Column, Layout, Raw, Rearrange, Unmetered};
use mempool_core::testing::{decode, encode, room};
use mempool_core::{Buffer, Codec, Error, ErrorKind, Ledger, Trust};

pub(crate) use self::counting::peak_of;
pub(crate) use self::shapes::Random;
pub(crate) use self::shapes::tables::{column, columns, table, walk_column, walk_table};
use self::shapes::tables::{few, nd, walk_nd, walk_rows};
use self::shapes::{
    Bool, Bytes, Color, Few, Maybe, Nothing, Plain, Runs, Shape, Text, Trade, Wide, walk,
};

/// What may be taken beside the bytes.
const SLACK_BYTES: i64 = 64 << 10;
/// What may be taken for a node of a description, of 48 bytes: a column is a few words.
const NODE_COLUMN_BYTES: i64 = 512;
/// Slots of what is put into another order: more would be copied than was read.
const REARRANGED_MAX: usize = 1 << 10;
/// How many sections an input may have.
const SECTIONS_MAX: usize = 16;

/// One type of a layout.
pub struct Subject {
    /// Reads a frame of it and looks at all that it shows.
    look: fn(&Buffer),
    /// The sections of a good one, of random items.
    good: fn(&mut Random) -> Vec<Vec<u8>>,
}

/// A type of which the tests have a [`Shape`].
const fn shape<S: Shape>() -> Subject {
    Subject {
        look: |frame| {
            look(frame, |array: &S::Array| {
                rearrange(array);
                walk::<S>(array)
            });
        },
        good: |random| good(random, few::<S>),
    }
}

/// The layouts by name, each with the types whose arrays are read.
pub const LAYOUTS: [(&str, &[Subject]); 13] = [
    (
        "values",
        &[
            shape::<Plain<u8>>(),
            shape::<Plain<i64>>(),
            shape::<Plain<u128>>(),
            shape::<Plain<f32>>(),
            shape::<Plain<half::f16>>(),
            shape::<Plain<num_complex::Complex<f64>>>(),
        ],
    ),
    (
        "records",
        &[
            shape::<Plain<Trade>>(),
            shape::<Plain<Color>>(),
            shape::<Plain<Wide>>(),
            shape::<Plain<[u16; 3]>>(),
            shape::<Plain<[Trade; 2]>>(),
        ],
    ),
    ("bits", &[shape::<Bool>()]),
    ("units", &[shape::<Nothing>()]),
    ("strings", &[shape::<Text<i32>>(), shape::<Text<i64>>()]),
    ("binary", &[shape::<Bytes<i32>>(), shape::<Bytes<i64>>()]),
    (
        "nullable",
        &[
            shape::<Maybe<Plain<u16>>>(),
            shape::<Maybe<Text>>(),
            shape::<Maybe<Bool>>(),
            shape::<Maybe<Nothing>>(),
            shape::<Maybe<Runs<Maybe<Few<Text>>, i32>>>(),
        ],
    ),
    (
        "pooled",
        &[
            shape::<Few<Plain<u64>>>(),
            shape::<Few<Text<i32>>>(),
            shape::<Few<Maybe<Bytes>>>(),
            shape::<Maybe<Few<Runs<Plain<u8>>>>>(),
        ],
    ),
    (
        "list",
        &[
            shape::<Runs<Plain<u8>, i32>>(),
            shape::<Runs<Text>>(),
            shape::<Runs<Maybe<Bool>>>(),
            shape::<Runs<Nothing>>(),
            shape::<Runs<Runs<Text<i32>, i32>>>(),
        ],
    ),
    (
        "structs",
        &[Subject { look: |frame| look(frame, walk_rows), good: |random| good(random, columns) }],
    ),
    (
        "column",
        &[Subject {
            look: |frame| {
                look(frame, |column: &Column| {
                    rearrange(column);
                    std::hint::black_box(column.type_text());
                    walk_column(column)
                });
            },
            good: |random| good(random, column),
        }],
    ),
    (
        "table",
        &[Subject { look: |frame| look(frame, walk_table), good: |random| good(random, table) }],
    ),
    (
        "nd_array",
        &[Subject { look: |frame| look(frame, walk_nd), good: |random| good(random, nd) }],
    ),
];

/// Reads an input as an array of the layout.
///
/// # Panics
/// When reading takes more memory than the bytes, gives an array that cannot be written and read again, or an error that is none of
/// an array's.
pub fn look_at(layout: &str, data: &[u8]) {
    let [choice, shift, rest @ ..] = data else { return };
    let Some(sections) = sections_of(rest) else { return };
    let shift = usize::from(*shift);
    let frame = frames::framed(&sections, if shift < 64 { shift } else { 0 });
    let subjects = subjects(layout);
    (subjects[usize::from(*choice) % subjects.len()].look)(&frame);
}

/// Good inputs of the layout.
pub fn seeds(layout: &str) -> impl Iterator<Item = Vec<u8>> {
    const SEEDS: usize = 120;
    let subjects = subjects(layout);
    let of_each_type = (SEEDS / subjects.len()) as u64;
    let inputs = move |(choice, subject): (u8, &'static Subject)| {
        (0..of_each_type).filter_map(move |number| {
            let mut random = Random::of_case(u64::from(choice), number);
            Some([vec![choice, 0], input_of(&(subject.good)(&mut random))?].concat())
        })
    };
    (0..).zip(subjects).flat_map(inputs)
}

fn subjects(layout: &str) -> &'static [Subject] {
    let named = LAYOUTS.iter().find(|(name, _)| *name == layout);
    named.expect("a layout that there is").1
}

/// The sections that an input holds; `None` where it ends before them.
fn sections_of(input: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (&count, mut rest) = input.split_first()?;
    let count = usize::from(count) % SECTIONS_MAX;
    let (lengths, _) = rest.get(..2 * count)?.as_chunks::<2>();
    rest = &rest[2 * count..];
    let mut sections = Vec::with_capacity(count + 1);
    for length in lengths {
        let length = usize::from(u16::from_le_bytes(*length));
        let (section, behind) = rest.split_at(length.min(rest.len()));
        sections.push(section.to_vec());
        rest = behind;
    }
    sections.push(rest.to_vec());
    Some(sections)
}

/// The input that holds these sections; `None` for more, or longer ones, than it can.
fn input_of(sections: &[Vec<u8>]) -> Option<Vec<u8>> {
    let (_, lengths) = sections.split_last()?;
    let mut input = vec![u8::try_from(lengths.len()).ok().filter(|&n| n < SECTIONS_MAX as u8)?];
    for section in lengths {
        input.extend(u16::try_from(section.len()).ok()?.to_le_bytes());
    }
    input.extend(sections.concat());
    Some(input)
}

/// The sections of a part of an array.
fn good<A: Layout>(random: &mut Random, make: impl Fn(&mut Random) -> A) -> Vec<Vec<u8>> {
    let array = make(random);
    let part = random.range(array.len());
    frames::sections(&array.slice(part))
}

fn look<A: Layout>(frame: &Buffer, walk: impl Fn(&A) -> u64) {
    let ledger = Ledger::new(16 << 20, Duration::ZERO);
    let read = |frame| decode::<A, Raw>(&Raw, frame, Trust::Foreign, &mut room(&ledger));
    let view = <Raw as Codec<A>>::view;
    let (held, took) = peak_of(|| read(frame));
    let nodes = frames::header(frame).sections.first().map_or(0, |section| section.bytes / 48);
    let allowed = frame.len() as i64 + SLACK_BYTES + NODE_COLUMN_BYTES * nodes as i64;
    assert!(took <= allowed, "{took} bytes of memory, {allowed} allowed");
    assert_eq!(ledger.usage().peak_bytes, 0, "a view of the frame takes nothing");
    match held {
        Ok(held) => {
            let array = view(&Raw, &held);
            let sum = whole_and_in_part(array, &walk);
            let again = encode::<A, Raw>(&Raw, &held, 0).expect("what was read is written");
            let again = read(&again).expect("and read again");
            assert_eq!(whole_and_in_part(view(&Raw, &again), &walk), sum, "it is the same");
            if let Ok(column) = Column::try_of(array) {
                std::hint::black_box(walk_column(&column));
            }
        }
        Err(Error::Codec(error)) => {
            assert_eq!(error.kind, ErrorKind::Damage);
            assert!(error.source.downcast_ref::<ArrayError>().is_some(), "{error:?}");
        }
        Err(error) => assert!(matches!(error, Error::Frame { .. }), "{error:?}"),
    }
}

fn whole_and_in_part<A: Layout>(array: &A, walk: impl Fn(&A) -> u64) -> u64 {
    let len = array.len();
    let part = array.slice(len / 3..len - len / 4);
    std::hint::black_box(walk(&part) ^ walk(&part.slice(part.len()..part.len())));
    walk(array)
}

/// Puts few slots into other arrays, by their numbers and end to end.
fn rearrange<A: Rearrange>(array: &A) {
    let len = array.len();
    if len > REARRANGED_MAX {
        return;
    }
    let backwards: Vec<usize> = (0..len).rev().collect();
    if let Ok(taken) = array.take(&backwards, &mut Unmetered) {
        assert_eq!(taken.len(), len);
    }
    if let Ok(twice) = A::concat(&[array, array], &mut Unmetered) {
        assert_eq!(twice.len(), 2 * len);
    }
}
