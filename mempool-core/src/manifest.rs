//! `Manifest`: what a pool says of the values that outlive it: names, formats, frames and who refers to whom.
//!
//! ```text
//! offset  bytes
//!      0      8  magic "MEMNAMES"
//!      8      4  manifest version, 1
//!     12      4  number of formats
//!     16      4  number of values
//!     20      4  number of names
//!     24      8  bytes in all
//!     32     24  zero
//!     56      8  checksum of all, computed with this field zero
//!     64         formats, then values, then names
//!
//! a format: 28 + n                       a value: 64 + 4·r                     a name: 8 + n
//!      0     16  codec                        0      4  its format                  0      4  its value
//!     16      8  type tag                     4      4  1: it is gone, else 0       4      4  n, at most 4096
//!     24      1  pointer width                8      4  slot                        8      n  the name, UTF-8
//!     25      1  zero                        12      4  generation
//!     26      2  n, at most 1024             16      8  pool
//!     28      n  the type's name, UTF-8      24      8  charged bytes
//!                                            32      8  segment
//!                                            40      8  offset in it
//!                                            48      8  frame bytes
//!                                            56      4  r, number of references
//!                                            60      4  zero
//!                                            64    4·r  values that stand before it
//! ```
//!
//! Integers are little-endian. A value refers to values that stand before it, so there is no cycle in any manifest that
//! is read. Names stand in ascending order. Slot, generation and pool are those of the frame: they name one value for
//! ever, and the frame's header has a checksum that covers its content's. Which files the segments are is the store's
//! to say.

use crate::codec::{CodecName, Format};
use crate::error::FrameDamage;
use crate::id::Id;
use crate::store::Handle;

/// The first eight bytes of a manifest.
const MAGIC: [u8; 8] = *b"MEMNAMES";
const VERSION: u32 = 1;
const HEADER: usize = 64;
const SUM: std::ops::Range<usize> = 56..64;
const FORMAT: usize = 28;
const VALUE: usize = 64;
const NAME: usize = 8;
const TYPE_NAME_MAX: usize = 1024;

/// The names of a pool and all that is needed to find their values again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The formats of the values.
    pub formats: Vec<KeptFormat>,
    /// The values that are named, and all that they refer to.
    pub values: Vec<KeptValue>,
    /// The names in ascending order, each with the index of its value.
    pub names: Vec<(String, u32)>,
}

/// The format of some values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptFormat {
    /// What their frames say.
    pub format: Format,
    /// Their Rust type, for people; nothing is compared with it.
    pub type_name: String,
}

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptValue {
    /// The index of its format.
    pub format: u32,
    /// Its frame; `None` for a value that was deleted or discarded while others still referred to it.
    pub frame: Option<Handle>,
    /// Who it is, as its frame says.
    pub id: Id,
    /// The pool that wrote the frame.
    pub pool: u64,
    /// What it is charged when it is decoded.
    pub charged_bytes: u64,
    /// The values that it refers to, each of a smaller index than its own.
    pub references: Vec<u32>,
}

impl Manifest {
    /// The longest name.
    pub const NAME_BYTES_MAX: usize = 4096;

    /// The manifest as bytes, sealed with `checksum`.
    #[must_use]
    pub fn encode(&self, checksum: impl Fn(&[u8]) -> u64) -> Vec<u8> {
        let mut out = vec![0; HEADER];
        self.formats.iter().for_each(|format| format.encode(&mut out));
        self.values.iter().for_each(|value| value.encode(&mut out));
        for (name, value) in &self.names {
            put32(&mut out, *value);
            put32(&mut out, count(name.len()));
            out.extend_from_slice(name.as_bytes());
        }
        out[..8].copy_from_slice(&MAGIC);
        let fields =
            [VERSION, count(self.formats.len()), count(self.values.len()), count(self.names.len())];
        for (at, field) in fields.into_iter().enumerate() {
            out[8 + 4 * at..12 + 4 * at].copy_from_slice(&field.to_le_bytes());
        }
        let bytes = out.len() as u64;
        out[24..32].copy_from_slice(&bytes.to_le_bytes());
        let sum = checksum(&out);
        out[SUM].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// Reads a manifest whose bytes these are, all of them.
    ///
    /// Looks at the length first, then at the checksum, then at the content; takes memory for what is there, whatever
    /// the counts say.
    ///
    /// # Errors
    /// [`FrameDamage`] says what is wrong.
    pub fn decode(bytes: &[u8], checksum: impl Fn(&[u8]) -> u64) -> Result<Self, FrameDamage> {
        let mut header = Reader { bytes, field: "header" };
        let magic = header.take::<8>()?;
        if magic != MAGIC {
            return Err(FrameDamage::Magic { found: magic });
        }
        let version = header.u32()?;
        if version != VERSION {
            return Err(FrameDamage::Version { expected: VERSION, found: version });
        }
        let (formats, values, names) = (header.u32()?, header.u32()?, header.u32()?);
        let (expected, found) = (header.u64()?, bytes.len() as u64);
        if expected != found {
            return Err(FrameDamage::Length { expected, found });
        }
        header.zero(24)?;
        let expected = header.u64()?;
        let found = sum_of(bytes, checksum);
        if expected != found {
            return Err(FrameDamage::Checksum { part: "manifest", expected, found });
        }
        let mut rest = Reader { bytes: header.bytes, field: "formats" };
        let formats = rest.list(formats, FORMAT, |rest, _| KeptFormat::decode(rest))?;
        rest.field = "values";
        let values = rest.list(values, VALUE, |rest, at| {
            let value = KeptValue::decode(rest)?;
            let known = (value.format as usize) < formats.len();
            let before = value.references.iter().all(|&other| (other as usize) < at);
            if known && before { Ok(value) } else { Err(rest.damage(at)) }
        })?;
        rest.field = "names";
        let mut last: Option<String> = None;
        let names = rest.list(names, NAME, |rest, at| {
            let (value, bytes) = (rest.u32()?, rest.u32()? as usize);
            let name = rest.text(bytes, Self::NAME_BYTES_MAX)?;
            let ascends = last.as_ref().is_none_or(|last| *last < name);
            last = Some(name.clone());
            let there = (value as usize) < values.len();
            if ascends && there { Ok((name, value)) } else { Err(rest.damage(at)) }
        })?;
        match rest.bytes.len() {
            0 => Ok(Self { formats, values, names }),
            behind => {
                Err(FrameDamage::Field { field: "bytes behind the names", found: behind as u64 })
            }
        }
    }

    /// For each value a name by which people know it: its own, or that of a value which refers to it.
    #[must_use]
    pub fn known_as(&self) -> Vec<Option<&str>> {
        let mut known: Vec<Option<&str>> = vec![None; self.values.len()];
        for (name, value) in self.names.iter().rev() {
            known[*value as usize] = Some(name);
        }
        // Who refers to a value stands behind it.
        for (at, value) in self.values.iter().enumerate().rev() {
            for &other in &value.references {
                let name = known[at];
                known[other as usize] = known[other as usize].or(name);
            }
        }
        known
    }
}

impl KeptFormat {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.format.codec.as_bytes());
        put64(out, self.format.type_tag);
        out.push(self.format.pointer_width);
        out.push(0);
        let mut end = self.type_name.len().min(TYPE_NAME_MAX);
        while !self.type_name.is_char_boundary(end) {
            end -= 1;
        }
        let [low, high, ..] = count(end).to_le_bytes();
        out.extend_from_slice(&[low, high]);
        out.extend_from_slice(&self.type_name.as_bytes()[..end]);
    }

    fn decode(rest: &mut Reader<'_>) -> Result<Self, FrameDamage> {
        let format = Format {
            codec: CodecName::from_bytes(rest.take()?),
            type_tag: rest.u64()?,
            pointer_width: rest.take::<1>()?[0],
        };
        rest.zero(1)?;
        let bytes = u16::from_le_bytes(rest.take()?);
        Ok(Self { format, type_name: rest.text(usize::from(bytes), TYPE_NAME_MAX)? })
    }
}

impl KeptValue {
    fn encode(&self, out: &mut Vec<u8>) {
        let frame = self.frame.unwrap_or(NO_FRAME);
        put32(out, self.format);
        put32(out, u32::from(self.frame.is_none()));
        put32(out, self.id.slot);
        put32(out, self.id.generation);
        for field in [self.pool, self.charged_bytes, frame.segment, frame.offset, frame.bytes] {
            put64(out, field);
        }
        put32(out, count(self.references.len()));
        put32(out, 0);
        self.references.iter().for_each(|&other| put32(out, other));
    }

    fn decode(rest: &mut Reader<'_>) -> Result<Self, FrameDamage> {
        let format = rest.u32()?;
        let gone = rest.u32()?;
        let id = Id { slot: rest.u32()?, generation: rest.u32()? };
        let (pool, charged_bytes) = (rest.u64()?, rest.u64()?);
        let frame = Handle { segment: rest.u64()?, offset: rest.u64()?, bytes: rest.u64()? };
        let references = rest.u32()?;
        rest.zero(4)?;
        let references = rest.list(references, 4, |rest, _| rest.u32())?;
        let frame = match gone {
            0 => Some(frame),
            1 if frame == NO_FRAME && references.is_empty() => None,
            found => return Err(rest.damage(found as usize)),
        };
        Ok(Self { format, frame, id, pool, charged_bytes, references })
    }
}

/// What stands where the frame of a value that is gone would.
const NO_FRAME: Handle = Handle { segment: 0, offset: 0, bytes: 0 };

fn put32(out: &mut Vec<u8>, field: u32) {
    out.extend_from_slice(&field.to_le_bytes());
}

fn put64(out: &mut Vec<u8>, field: u64) {
    out.extend_from_slice(&field.to_le_bytes());
}

fn count(of: usize) -> u32 {
    u32::try_from(of).expect("a pool has fewer than 2^32 values, and a name its bound")
}

/// The checksum of a manifest whose field for it is taken for zero.
fn sum_of(bytes: &[u8], checksum: impl Fn(&[u8]) -> u64) -> u64 {
    let mut zeroed = bytes.to_vec();
    if let Some(field) = zeroed.get_mut(SUM) {
        field.fill(0);
    }
    checksum(&zeroed)
}

/// What is left to be read, and what it is called in an error.
struct Reader<'a> {
    bytes: &'a [u8],
    field: &'static str,
}

impl Reader<'_> {
    fn damage(&self, found: usize) -> FrameDamage {
        FrameDamage::Field { field: self.field, found: found as u64 }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], FrameDamage> {
        let found = self.bytes.len() as u64;
        let short = FrameDamage::Length { expected: N as u64, found };
        let (taken, rest) = self.bytes.split_first_chunk().ok_or(short)?;
        self.bytes = rest;
        Ok(*taken)
    }

    fn u32(&mut self) -> Result<u32, FrameDamage> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    fn u64(&mut self) -> Result<u64, FrameDamage> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    fn zero(&mut self, bytes: usize) -> Result<(), FrameDamage> {
        for _ in 0..bytes {
            match self.take::<1>()? {
                [0] => {}
                [other] => return Err(self.damage(usize::from(other))),
            }
        }
        Ok(())
    }

    fn text(&mut self, bytes: usize, most: usize) -> Result<String, FrameDamage> {
        let (text, rest) = match self.bytes.split_at_checked(bytes) {
            Some(parts) if bytes <= most => parts,
            _ => return Err(self.damage(bytes)),
        };
        self.bytes = rest;
        std::str::from_utf8(text)
            .map(str::to_owned)
            .map_err(|error| self.damage(error.valid_up_to()))
    }

    /// `count` items of `least` bytes each at least, so that no count takes memory by itself.
    fn list<T>(
        &mut self,
        count: u32,
        least: usize,
        mut item: impl FnMut(&mut Self, usize) -> Result<T, FrameDamage>,
    ) -> Result<Vec<T>, FrameDamage> {
        let count = count as usize;
        if count > self.bytes.len() / least {
            return Err(self.damage(count));
        }
        (0..count).map(|at| item(self, at)).collect()
    }
}
