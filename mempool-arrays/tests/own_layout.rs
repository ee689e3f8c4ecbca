//! A layout of the program's own: it is kept like ours, and what it writes is checked like anybody's.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::cmp::Ordering;
use std::hash::Hasher;
use std::ops::Range;

use mempool_arrays::{
    ArrayError, Assembly, Column, Kind, Layout, Node, Nullable, Parts, Raw, Replacing, Strings,
    Values,
};
use mempool_core::{Buffer, Error, MemoryStore, Pool, PoolOptions, Result, type_tag};

/// Text that calls itself so: on its way out its bytes become others, of which nobody has looked whether they are text.
#[derive(Clone, Debug)]
struct Garbled {
    text: Strings,
    bytes: Vec<u8>,
}

impl Layout for Garbled {
    type Item<'a> = &'a str;

    const TAG: u64 = type_tag("garbled");

    fn len(&self) -> usize {
        self.text.len()
    }

    fn get(&self, index: usize) -> Option<&str> {
        self.text.get(index)
    }

    fn slice(&self, range: Range<usize>) -> Self {
        Self { text: self.text.slice(range), bytes: self.bytes.clone() }
    }

    fn order(a: &&str, b: &&str) -> Ordering {
        a.cmp(b)
    }

    fn hash_item(item: &&str, state: &mut impl Hasher) {
        Strings::<i64>::hash_item(item, state);
    }

    fn take_apart(&self, parts: &mut Parts<'_>) {
        parts.node(Node::new(Kind::Strings(8), self.text.len()));
        parts.section(self.text.as_binary().buffers().0.clone());
        parts.section(Buffer::uncounted(&self.bytes).unwrap());
    }

    fn assemble(from: &mut Assembly<'_, '_>) -> Result<Self, ArrayError> {
        let text = Strings::assemble(from)?;
        let bytes = text.as_binary().iter().flatten().copied().collect();
        Ok(Self { text, bytes })
    }

    fn visit(&self, visit: &mut dyn FnMut(&Buffer)) {
        self.text.visit(visit);
    }

    fn replace(&mut self, replace: &mut Replacing<'_>) -> Result<()> {
        self.text.replace(replace)
    }
}

fn garbled(bytes: &[u8]) -> Garbled {
    Garbled { text: ["a", "bc"].into_iter().collect(), bytes: bytes.to_vec() }
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

fn is_utf8_error(error: &Error) -> bool {
    let Error::Codec(error) = error else { return false };
    matches!(error.source.downcast_ref(), Some(ArrayError::Utf8 { index: 1 }))
}

#[test]
fn a_layout_of_ones_own_is_kept() {
    let back = what_comes_back(garbled(b"xyz")).unwrap();
    assert_eq!(back.iter().collect::<Vec<_>>(), ["x", "yz"]);
    let nullable = Nullable::new(garbled(b"xyz"), None).unwrap();
    let back = what_comes_back(nullable).unwrap();
    assert_eq!(back.iter().collect::<Vec<_>>(), [Some("x"), Some("yz")]);
    let column = Column::of(&garbled(b"xyz"));
    assert_eq!(column.to::<Strings>().unwrap().get(1), Some("yz"));
}

/// A `str` that is none is undefined behaviour, and this is safe code: so not even the pool's own frames are believed.
#[test]
fn what_a_layout_of_ones_own_writes_is_checked() {
    assert!(is_utf8_error(&what_comes_back(garbled(b"x\xff\xff")).unwrap_err()));
    let nullable = Nullable::new(garbled(b"x\xff\xff"), None).unwrap();
    assert!(is_utf8_error(&what_comes_back(nullable).unwrap_err()));
    let error = Column::try_of(&garbled(b"x\xff\xff")).unwrap_err();
    assert!(matches!(error, ArrayError::Utf8 { index: 1 }), "{error:?}");
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
