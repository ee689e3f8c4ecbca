//! A layout of the program's own: a group of ours, kept like them.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::cmp::Ordering;
use std::hash::Hasher;
use std::ops::Range;

use mempool_arrays::{
    ArrayError, Assembly, Binary, Column, Layout, Nullable, Parts, Raw, Replacing, Strings, Values,
    pack,
};
use mempool_core::{Buffer, Error, MemoryStore, Pool, PoolOptions, Result, type_tag};

/// Two arrays as one: a slot is a pair.
#[derive(Clone, Debug, PartialEq)]
struct Places {
    names: Strings,
    heights: Nullable<Values<i32>>,
}

impl Layout for Places {
    type Item<'a> = (&'a str, Option<i32>);

    const TAG: u64 = type_tag("places");

    fn len(&self) -> usize {
        self.names.len()
    }

    fn get(&self, index: usize) -> Option<(&str, Option<i32>)> {
        self.names.get(index).zip(self.heights.get(index))
    }

    fn slice(&self, range: Range<usize>) -> Self {
        Self { names: self.names.slice(range.clone()), heights: self.heights.slice(range) }
    }

    fn order(a: &(&str, Option<i32>), b: &(&str, Option<i32>)) -> Ordering {
        a.cmp(b)
    }

    fn hash_item(item: &(&str, Option<i32>), state: &mut impl Hasher) {
        Strings::<i64>::hash_item(&item.0, state);
        Nullable::<Values<i32>>::hash_item(&item.1, state);
    }

    fn take_apart(&self, parts: &mut Parts<'_>) {
        parts.group(self.len(), 2);
        parts.name_next("name", 0);
        self.names.take_apart(parts);
        parts.name_next("height", 0);
        self.heights.take_apart(parts);
    }

    fn assemble(from: &mut Assembly<'_, '_>) -> Result<Self, ArrayError> {
        let slots = from.group(2)?;
        let places = Self {
            names: from.child(Strings::assemble)?,
            heights: from.child(Nullable::assemble)?,
        };
        match [places.names.len(), places.heights.len()] == [slots; 2] {
            true => Ok(places),
            false => {
                let found = places.heights.len() as u64;
                Err(ArrayError::Slots { part: "heights".into(), expected: slots as u64, found })
            }
        }
    }

    fn visit(&self, visit: &mut dyn FnMut(&Buffer)) {
        self.names.visit(visit);
        self.heights.visit(visit);
    }

    fn replace(&mut self, replace: &mut Replacing<'_>) -> Result<()> {
        self.names.replace(replace)?;
        self.heights.replace(replace)
    }
}

fn places() -> Places {
    let heights = [Some(6961), None, Some(8849)].into_iter().collect();
    Places { names: ["Aconcagua", "Atlantis", "Sagarmatha"].into_iter().collect(), heights }
}

fn pool() -> Pool<Raw> {
    PoolOptions::new().memory_limit(1 << 20).store(MemoryStore::new()).open(Raw)
}

fn what_comes_back<A: Layout>(array: A) -> Result<A> {
    let pool = pool();
    let reference = pool.set(array)?;
    drop(pool.move_to_disk(&reference)?);
    pool.get(&reference).map(|view| view.clone())
}

#[test]
fn a_layout_of_ones_own_is_kept() {
    assert_eq!(what_comes_back(places()).unwrap(), places());
    assert_eq!(what_comes_back(places().slice(1..3)).unwrap(), places().slice(1..3));
    let nullable =
        Nullable::new(places(), Some([true, false, true].into_iter().collect())).unwrap();
    let back = what_comes_back(nullable).unwrap();
    assert_eq!((back.get(0), back.get(1)), (Some(Some(("Aconcagua", Some(6961)))), Some(None)));
}

#[test]
fn a_group_is_a_struct_of_its_children() {
    let column = Column::of(&places());
    assert_eq!(column.as_struct().unwrap().columns()[0].to::<Strings>().unwrap(), places().names);
    assert_eq!(column.to::<Places>().unwrap(), places());
    assert!(matches!(Column::of(&places().names).to::<Places>(), Err(ArrayError::Kind { .. })));
}

/// As deep as a description may be: what is deeper is refused before it is written, for it could not be read.
#[test]
fn what_could_not_be_read_is_not_written() {
    let mut deep = Column::of(&Values::from(vec![7_u8]));
    for _ in 0..64 {
        deep = Column::of(&mempool_arrays::Struct::new([("inner".into(), deep)]).unwrap());
    }
    let back = what_comes_back(deep.clone()).unwrap();
    assert_eq!(back, deep);
    let pool = pool();
    let deeper = mempool_arrays::Struct::new([("inner".into(), deep)]).unwrap();
    assert!(matches!(Column::try_of(&deeper), Err(ArrayError::Depth { most: 64 })));
    let reference = pool.set(deeper).unwrap();
    let Err(Error::Codec(error)) = pool.move_to_disk(&reference) else { panic!("it is refused") };
    let error = error.source.downcast_ref::<ArrayError>();
    assert!(matches!(error, Some(ArrayError::Depth { most: 64 })), "{error:?}");
    assert_eq!(pool.get(&reference).unwrap().len(), 1, "and it is still there");
}

/// Takes the numbers for what they are not, and goes on when that is refused: the text then gets sections that are none of its own.
#[derive(Clone, Debug)]
struct Shifted {
    numbers: Values<u64>,
    text: Strings,
}

impl Layout for Shifted {
    type Item<'a> = &'a str;

    const TAG: u64 = type_tag("shifted");

    fn len(&self) -> usize {
        self.text.len()
    }

    fn get(&self, index: usize) -> Option<&str> {
        self.text.get(index)
    }

    fn slice(&self, range: Range<usize>) -> Self {
        Self { numbers: self.numbers.clone(), text: self.text.slice(range) }
    }

    fn order(a: &&str, b: &&str) -> Ordering {
        a.cmp(b)
    }

    fn hash_item(item: &&str, state: &mut impl Hasher) {
        Strings::<i64>::hash_item(item, state);
    }

    fn take_apart(&self, parts: &mut Parts<'_>) {
        parts.group(self.len(), 2);
        self.numbers.take_apart(parts);
        self.text.take_apart(parts);
    }

    fn assemble(from: &mut Assembly<'_, '_>) -> Result<Self, ArrayError> {
        from.group(2)?;
        assert!(from.child(Values::<u32>::assemble).is_err(), "they are not of 32 bits");
        Ok(Self { numbers: Values::default(), text: from.child(Strings::assemble)? })
    }

    fn visit(&self, visit: &mut dyn FnMut(&Buffer)) {
        self.text.visit(visit);
    }

    fn replace(&mut self, replace: &mut Replacing<'_>) -> Result<()> {
        self.text.replace(replace)
    }
}

/// A `str` that is none is undefined behaviour, and this is safe code: after a refusal the rest is believed no more.
#[test]
fn what_follows_a_refusal_is_checked() {
    let text: Strings = ["x".repeat(255)].iter().collect();
    let shifted = Shifted { numbers: vec![0, 16].into(), text };
    let pool = PoolOptions::new().memory_limit(1 << 20).store(MemoryStore::new()).open(Raw);
    let reference = pool.set(shifted).unwrap();
    drop(pool.move_to_disk(&reference).unwrap());
    let Err(Error::Codec(error)) = pool.get(&reference).map(drop) else { panic!("text it is not") };
    let error = error.source.downcast_ref::<ArrayError>();
    assert!(matches!(error, Some(ArrayError::Utf8 { index: 0 })), "{error:?}");
}

/// Names its buffers in one order and has them replaced in another.
#[derive(Clone, Debug)]
struct Crossed {
    text: Strings,
    bytes: Binary,
}

impl Layout for Crossed {
    type Item<'a> = &'a str;

    const TAG: u64 = type_tag("crossed");

    fn len(&self) -> usize {
        self.text.len()
    }

    fn get(&self, index: usize) -> Option<&str> {
        self.text.get(index)
    }

    fn slice(&self, range: Range<usize>) -> Self {
        Self { text: self.text.slice(range.clone()), bytes: self.bytes.slice(range) }
    }

    fn order(a: &&str, b: &&str) -> Ordering {
        a.cmp(b)
    }

    fn hash_item(item: &&str, state: &mut impl Hasher) {
        Strings::<i64>::hash_item(item, state);
    }

    fn take_apart(&self, parts: &mut Parts<'_>) {
        parts.group(self.len(), 2);
        self.text.take_apart(parts);
        self.bytes.take_apart(parts);
    }

    fn assemble(from: &mut Assembly<'_, '_>) -> Result<Self, ArrayError> {
        from.group(2)?;
        Ok(Self { text: from.child(Strings::assemble)?, bytes: from.child(Binary::assemble)? })
    }

    fn visit(&self, visit: &mut dyn FnMut(&Buffer)) {
        self.text.visit(visit);
        self.bytes.visit(visit);
    }

    fn replace(&mut self, replace: &mut Replacing<'_>) -> Result<()> {
        self.bytes.replace(replace)?;
        self.text.replace(replace)
    }
}

/// Text gets no other bytes than its own, nor offsets of other bytes, whatever safe code says.
#[test]
fn what_is_packed_keeps_its_own_bytes() {
    let text: Strings = ["ab", "cd"].into_iter().collect();
    let bytes: Binary = [[0xff; 1].as_slice(), &[0xff; 3]].into_iter().collect();
    let crossed = Crossed { text: text.clone(), bytes: bytes.clone() };
    let pool = pool();
    let packed = pack(crossed, |all| pool.reserve(all)).unwrap();
    assert_eq!((packed.text, packed.bytes), (text, bytes));
}

#[test]
fn what_is_packed_lies_in_one_allocation() {
    let pool = pool();
    let packed = pack(places(), |all| pool.reserve(all)).unwrap();
    assert_eq!(packed, places());
    let mut buffers = Vec::new();
    packed.visit(&mut |buffer| buffers.push(buffer.clone()));
    assert!(buffers.iter().all(|buffer| buffer.shares_allocation(&buffers[0])));
    assert_eq!(buffers.len(), 4);
}
