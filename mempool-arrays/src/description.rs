//! The description in front of an array at rest: which layouts it is made of, and how many slots each has.
//!
//! It is section 0 of a frame; the buffers of the layouts follow it as sections of their own, in the same order.
//!
//! ```text
//! offset  bytes
//!      0      2  version, 1
//!      2      2  zero
//!      4      4  n, the number of nodes
//!      8      8  bytes of names
//!     16   48·n  nodes, each before its children:
//!                   0   1  kind
//!                   1   1  width: bytes of an offset or a code; which number it is, for values
//!                   2   2  zero
//!                   4   4  number of children
//!                   8   8  slots
//!                  16   8  figure: nulls, dimensions, index columns; bytes and alignment of a record, 32 bits each
//!                  24   8  tag of a record
//!                  32   8  logical type of a column; 0 where there is none
//!                  40   4  bytes of the name that its parent gives it; 0 for a node without one
//!                  44   4  zero
//!   16+48·n      …  names, UTF-8, end to end, in the order of the nodes
//! ```
//!
//! All integers are little-endian. The same array is described by the same bytes.

use std::fmt;

use mempool_core::Buffer;

use crate::element::ElementType;
use crate::error::ArrayError;

/// The version of the description.
const VERSION: u16 = 1;
/// Bytes in front of the nodes.
const HEAD_BYTES: usize = 16;
/// Bytes of one node.
const NODE_BYTES: usize = 48;
/// How deeply layouts may be nested in what is read.
pub(crate) const DEPTH_MAX: u32 = 64;

/// A number that other languages know, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(
    missing_docs,
    reason = "each is named as Rust names it; F16 is a half, ComplexN a pair of fN"
)]
pub enum Primitive {
    I8 = 1,
    I16 = 2,
    I32 = 3,
    I64 = 4,
    I128 = 5,
    U8 = 6,
    U16 = 7,
    U32 = 8,
    U64 = 9,
    U128 = 10,
    F16 = 11,
    F32 = 12,
    F64 = 13,
    Complex32 = 14,
    Complex64 = 15,
}

impl Primitive {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::I8,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::I128,
        Self::U8,
        Self::U16,
        Self::U32,
        Self::U64,
        Self::U128,
        Self::F16,
        Self::F32,
        Self::F64,
        Self::Complex32,
        Self::Complex64,
    ];

    /// Bytes of one element.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 | Self::F16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 | Self::Complex32 => 8,
            Self::I128 | Self::U128 | Self::Complex64 => 16,
        }
    }

    /// Its name, as Rust spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::I128 => "i128",
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::U128 => "u128",
            Self::F16 => "f16",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Complex32 => "complex32",
            Self::Complex64 => "complex64",
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|&primitive| primitive as u8 == code)
    }
}

impl fmt::Display for Primitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How wide offsets or codes are, in bytes.
pub type Width = u8;

/// One layout, without its slots and children.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Numbers or records, end to end. *Sections*: elements.
    Values(ElementType),
    /// Booleans, one bit each, least significant bit first. *Sections*: bits.
    Bits,
    /// Elements of no bytes. *Sections*: none.
    Units,
    /// UTF-8. *Sections*: offsets of that width, one more than slots; bytes.
    Strings(Width),
    /// Bytes. *Sections*: as for strings.
    Binary(Width),
    /// A child whose slots may be missing. *Sections*: validity, a bit a slot, or nothing when no slot is missing.
    Nullable,
    /// Codes into a child, the dictionary. *Sections*: codes of that width.
    Pooled(Width),
    /// Runs of a child. *Sections*: offsets of that width, one more than slots.
    List(Width),
    /// Named children of as many slots. *Sections*: none.
    Struct,
    /// Named columns of as many rows, of which the first are the index. *Sections*: none.
    Table,
    /// A child in several dimensions. *Sections*: extents and strides, in elements.
    NdArray,
}

impl Kind {
    /// Code, width, figure and tag of a node without its counts.
    fn encode(self) -> (u8, u8, u64, u64) {
        match self {
            Self::Values(ElementType::Primitive(primitive)) => (1, primitive as u8, 0, 0),
            Self::Values(ElementType::Record { bytes, align, tag }) => {
                (2, 0, u64::from(bytes) | u64::from(align) << 32, tag)
            }
            Self::Bits => (3, 0, 0, 0),
            Self::Units => (4, 0, 0, 0),
            Self::Strings(width) => (5, width, 0, 0),
            Self::Binary(width) => (6, width, 0, 0),
            Self::Nullable => (7, 0, 0, 0),
            Self::Pooled(width) => (8, width, 0, 0),
            Self::List(width) => (9, width, 0, 0),
            Self::Struct => (10, 0, 0, 0),
            Self::Table => (11, 0, 0, 0),
            Self::NdArray => (12, 0, 0, 0),
        }
    }

    fn decode(code: u8, width: u8, a: u64, b: u64) -> Option<Self> {
        let offsets = matches!(width, 4 | 8);
        let codes = matches!(width, 1 | 2 | 4 | 8);
        let none = width == 0;
        Some(match code {
            1 => Self::Values(ElementType::Primitive(Primitive::from_code(width)?)),
            2 if none => {
                let bytes = u32::try_from(a & u64::from(u32::MAX)).ok()?;
                let align = u32::try_from(a >> 32).ok()?;
                Self::Values(ElementType::Record { bytes, align, tag: b })
            }
            3 if none => Self::Bits,
            4 if none => Self::Units,
            5 if offsets => Self::Strings(width),
            6 if offsets => Self::Binary(width),
            7 if none => Self::Nullable,
            8 if codes => Self::Pooled(width),
            9 if offsets => Self::List(width),
            10 if none => Self::Struct,
            11 if none => Self::Table,
            12 if none => Self::NdArray,
            _ => return None,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = |width: &u8| u16::from(*width) * 8;
        match self {
            Self::Values(element) => write!(f, "{element}"),
            Self::Bits => f.write_str("bits"),
            Self::Units => f.write_str("units"),
            Self::Strings(width) => write!(f, "strings with {}-bit offsets", bits(width)),
            Self::Binary(width) => write!(f, "binary with {}-bit offsets", bits(width)),
            Self::Nullable => f.write_str("nullable slots"),
            Self::Pooled(width) => write!(f, "{}-bit codes with a dictionary", bits(width)),
            Self::List(width) => write!(f, "lists with {}-bit offsets", bits(width)),
            Self::Struct => f.write_str("structs"),
            Self::Table => f.write_str("tables"),
            Self::NdArray => f.write_str("an array of several dimensions"),
        }
    }
}

/// One layout of an array, as the description has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Which layout.
    pub kind: Kind,
    /// How many children follow.
    pub children: u32,
    /// How many slots it has.
    pub slots: u64,
    /// Nulls, dimensions or index columns; 0 for layouts that have no such figure.
    pub figure: u64,
    /// The logical type of a column, as its parent says; 0 where there is none.
    pub logical: u64,
    /// The name that its parent gives it; empty where parents give none.
    pub name: String,
}

impl Node {
    /// A node without children, name or figures.
    #[must_use]
    pub fn new(kind: Kind, slots: usize) -> Self {
        Self { kind, children: 0, slots: slots as u64, figure: 0, logical: 0, name: String::new() }
    }
}

/// The description's bytes for `nodes`.
pub(crate) fn encode(nodes: &[Node]) -> Vec<u8> {
    let names: usize = nodes.iter().map(|node| node.name.len()).sum();
    let mut out = Vec::with_capacity(HEAD_BYTES + NODE_BYTES * nodes.len() + names);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    let count = u32::try_from(nodes.len()).expect("fewer nodes than sections");
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&(names as u64).to_le_bytes());
    for node in nodes {
        let (code, width, figure, tag) = node.kind.encode();
        out.extend_from_slice(&[code, width, 0, 0]);
        out.extend_from_slice(&node.children.to_le_bytes());
        for number in [node.slots, figure | node.figure, tag, node.logical] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let name_bytes = u32::try_from(node.name.len()).expect("a name below 4 GiB");
        out.extend_from_slice(&name_bytes.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
    }
    nodes.iter().for_each(|node| out.extend_from_slice(node.name.as_bytes()));
    out
}

/// The nodes of a description, one at a time, whatever the bytes are. It allocates for names alone.
#[derive(Debug)]
pub(crate) struct Nodes {
    bytes: Buffer,
    count: usize,
    next: usize,
    /// Where the next name starts, within the names.
    name: usize,
}

impl Nodes {
    pub(crate) fn decode(bytes: Buffer) -> Result<Self, ArrayError> {
        let head = bytes.get(..HEAD_BYTES).ok_or_else(|| {
            ArrayError::description(format!("{} bytes, shorter than its head", bytes.len()))
        })?;
        let version = u16::from_le_bytes([head[0], head[1]]);
        if version != VERSION || head[2..4] != [0; 2] {
            return Err(ArrayError::description(format!("version {version}, known is {VERSION}")));
        }
        let count = u64::from(u32::from_le_bytes([head[4], head[5], head[6], head[7]]));
        let names = figure(head, 8);
        let expected = count
            .checked_mul(NODE_BYTES as u64)
            .and_then(|nodes| nodes.checked_add(HEAD_BYTES as u64))
            .and_then(|nodes| nodes.checked_add(names));
        if expected != Some(bytes.len() as u64) {
            let found = bytes.len();
            let what =
                format!("{count} nodes and {names} bytes of names do not fill {found} bytes");
            return Err(ArrayError::description(what));
        }
        let count = usize::try_from(count).map_err(|_| ArrayError::description("too long"))?;
        Ok(Self { bytes, count, next: 0, name: 0 })
    }

    /// The next node; it is not taken.
    pub(crate) fn peek(&self) -> Result<Node, ArrayError> {
        Self { bytes: self.bytes.clone(), ..*self }.next()
    }

    /// The next node.
    pub(crate) fn next(&mut self) -> Result<Node, ArrayError> {
        if self.next >= self.count {
            return Err(ArrayError::description(format!("it ends after {} nodes", self.count)));
        }
        let start = HEAD_BYTES + NODE_BYTES * self.next;
        let mut node = [0; NODE_BYTES];
        node.copy_from_slice(&self.bytes[start..start + NODE_BYTES]);
        let (code, width) = (node[0], node[1]);
        let (number, tag) = (figure(&node, 16), figure(&node, 24));
        let zeros = node[2..4] == [0; 2] && node[44..48] == [0; 4];
        let kind = Kind::decode(code, width, number, tag).filter(|_| zeros);
        let kind = kind.ok_or_else(|| {
            ArrayError::description(format!("node {} is of unknown kind {code}", self.next))
        })?;
        let is_record = matches!(kind, Kind::Values(ElementType::Record { .. }));
        if tag != 0 && !is_record {
            return Err(ArrayError::description(format!("node {} has the tag {tag}", self.next)));
        }
        let name = self.take_name(u32::from_le_bytes([node[40], node[41], node[42], node[43]]))?;
        let children = u32::from_le_bytes([node[4], node[5], node[6], node[7]]);
        self.next += 1;
        Ok(Node {
            kind,
            children,
            slots: figure(&node, 8),
            figure: if is_record { 0 } else { number },
            logical: figure(&node, 32),
            name,
        })
    }

    fn take_name(&mut self, bytes: u32) -> Result<String, ArrayError> {
        let start = HEAD_BYTES + NODE_BYTES * self.count + self.name;
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let name = start.checked_add(bytes).and_then(|end| self.bytes.get(start..end));
        let name = name.and_then(|name| std::str::from_utf8(name).ok());
        let name =
            name.ok_or_else(|| ArrayError::description(format!("the name of node {}", self.next)))?;
        let name = name.to_owned();
        self.name += bytes;
        Ok(name)
    }

    /// Checks that nothing is left.
    pub(crate) fn finish(&self) -> Result<(), ArrayError> {
        let names = self.bytes.len() - (HEAD_BYTES + NODE_BYTES * self.count);
        match self.next == self.count && self.name == names {
            true => Ok(()),
            false => Err(ArrayError::description("more nodes or names than the array has")),
        }
    }
}

/// The number at `at`, which lies within `bytes`.
fn figure(bytes: &[u8], at: usize) -> u64 {
    let mut figure = [0; 8];
    figure.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(figure)
}
