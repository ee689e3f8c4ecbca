//! `Strings` and `Binary`: runs of bytes behind offsets.
//!
//! ```text
//! slots         0      1      2
//!          ┌──────┬──────┬──────┬──────┐
//! offsets  │  0   │  3   │  3   │  8   │         one more than slots; 4 or 8 bytes each
//!          └──────┴──────┴──────┴──────┘
//!          ┌───────────────────────────────┐
//! bytes    │ c  a  t   H  e  l  l  o       │     end to end, without terminators
//!          └───────────────────────────────┘
//! ```
//!
//! Slot 1 is the empty string. A missing slot is another thing: see [`Nullable`](crate::Nullable).

#![expect(
    unsafe_code,
    reason = "offsets and text that were checked once, or that we wrote, are not checked each time they are read"
)]

use std::cmp::Ordering;
use std::fmt;
use std::hash::Hasher;
use std::ops::Range;

use mempool_core::{Buffer, Result};

use crate::description::{Kind, Node};
use crate::error::ArrayError;
use crate::layout::{
    Buildable, Builder, Growing, Layout, Meter, Rearrange, Replacing, debug, tag_over,
};
use crate::offsets::{Offset, Offsets, OffsetsBuilder};
use crate::part::{Assembly, Parts};
use crate::values::adopt;

/// Byte strings of any length.
///
/// *Shape*: two buffers, offsets and bytes. `O` is the width of an offset: `i64` counts any number of bytes, `i32` less than
/// 2 GiB in all, at half the cost a slot.
///
/// ```
/// use mempool_arrays::{Binary, Layout};
///
/// let binary: Binary = [b"\x00\xff".as_slice(), b""].into_iter().collect();
/// assert_eq!(binary.get(0), Some(b"\x00\xff".as_slice()));
/// assert_eq!(binary.get(1), Some(b"".as_slice()));
/// ```
#[derive(Clone)]
pub struct Binary<O: Offset = i64> {
    /// In order, and the last within `bytes`: every constructor sees to that.
    offsets: Offsets<O>,
    bytes: Buffer,
}

/// Strings of any length: UTF-8.
///
/// *Shape*, *width*: as [`Binary`]. *View*: `&str`, in the buffer, neither copied nor checked when it is read: strings of
/// others were checked when they came.
///
/// ```
/// use mempool_arrays::{Layout, Strings};
///
/// let strings: Strings = ["Reykjavík", "", "東京"].into_iter().collect();
/// assert_eq!(strings.get(2), Some("東京"));
/// assert_eq!(strings.iter().map(str::len).sum::<usize>(), 16);
/// ```
#[derive(Clone)]
pub struct Strings<O: Offset = i64> {
    /// Every slot is UTF-8: every constructor sees to that.
    binary: Binary<O>,
}

impl<O: Offset> Binary<O> {
    /// Byte strings in buffers that somebody else has made.
    ///
    /// # Errors
    /// [`ArrayError::Length`], [`ArrayError::Misaligned`] or [`ArrayError::Offset`] for offsets that do not divide `bytes`.
    pub fn from_buffers(offsets: Buffer, bytes: Buffer) -> Result<Self, ArrayError> {
        let offsets = crate::values::Values::from_buffer(offsets)?;
        let offsets = Offsets::from_values(offsets, bytes.len())?;
        Ok(Self { offsets, bytes })
    }

    /// The buffers that they lie in: offsets and bytes. The first offset need not be zero.
    #[must_use]
    pub fn buffers(&self) -> (&Buffer, &Buffer) {
        (self.offsets.values().buffer(), &self.bytes)
    }

    /// How long each slot is, in bytes. It looks at offsets alone.
    pub fn lengths(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.offsets.pairs().map(|(start, end)| end.less(start).index())
    }

    /// Bytes of all slots together.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        self.offsets.run().len()
    }

    /// All slots in order, at the cost of two offsets each: nothing is compared, and who asks for lengths alone reads no bytes.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + DoubleEndedIterator {
        let bytes: &[u8] = &self.bytes;
        self.offsets.pairs().map(move |(start, end)| {
            // SAFETY: offsets never fall, none is negative, and the last lies within the bytes: `from_buffers` and, of frames of
            // others, `assemble_as` check it; builders write them so, and our own frames hold what one of these was; a slice has
            // some of those that its whole has; and the bytes of a buffer do not change.
            unsafe { bytes.get_unchecked(start.index()..end.index()) }
        })
    }

    /// The bytes of all slots, end to end.
    pub(crate) fn run(&self) -> &[u8] {
        &self.bytes[self.offsets.run()]
    }

    fn take_apart_as(&self, kind: Kind, parts: &mut Parts<'_>) {
        parts.node(Node::new(kind, self.offsets.slots()));
        self.offsets.add_section(parts);
        parts.section(self.bytes.slice(self.offsets.run()));
    }

    fn assemble_as(kind: Kind, from: &mut Assembly<'_, '_>) -> Result<Self, ArrayError> {
        let (_, slots) = from.expect(kind, 0)?;
        let (offsets, bytes) = (from.section()?, from.section()?);
        let offsets = Offsets::from_section(offsets, slots, bytes.len(), from.is_checked())?;
        Ok(Self { offsets, bytes })
    }

    /// The bytes from one offset to the next.
    fn bytes_between(&self, start: O, end: O) -> &[u8] {
        &self.bytes[start.index()..end.index()]
    }
}

impl<O: Offset> Strings<O> {
    /// Strings in buffers that somebody else has made.
    ///
    /// # Errors
    /// As [`Binary::from_buffers`], and [`ArrayError::Utf8`].
    pub fn from_buffers(offsets: Buffer, bytes: Buffer) -> Result<Self, ArrayError> {
        Self::from_binary(Binary::from_buffers(offsets, bytes)?)
    }

    /// Strings in bytes that are UTF-8.
    ///
    /// # Errors
    /// [`ArrayError::Utf8`] when one is not.
    pub fn from_binary(binary: Binary<O>) -> Result<Self, ArrayError> {
        check_utf8(&binary)?;
        Ok(Self { binary })
    }

    /// Their bytes.
    #[must_use]
    pub fn as_binary(&self) -> &Binary<O> {
        &self.binary
    }

    /// How long each slot is, in bytes. It looks at offsets alone.
    pub fn lengths(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.binary.lengths()
    }

    /// All slots in order, as of [`Binary::iter`].
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> + DoubleEndedIterator {
        self.binary.iter().map(text)
    }

    /// The text from one offset to the next.
    fn between(&self, start: O, end: O) -> &str {
        text(self.binary.bytes_between(start, end))
    }
}

/// A slot of [`Strings`].
fn text(slot: &[u8]) -> &str {
    // SAFETY: every slot is UTF-8: built of `&str`, or checked by `from_binary` or `assemble`, or written by this
    // process in this session; and the bytes of a buffer do not change. Nobody calls it with anything else.
    unsafe { std::str::from_utf8_unchecked(slot) }
}

/// Checks that all slots together are UTF-8 and that none starts within a character.
///
/// Pieces are checked as a whole, which is much faster than slot by slot, and then where slots meet, while they are in the
/// processor's cache.
fn check_utf8<O: Offset>(binary: &Binary<O>) -> Result<(), ArrayError> {
    const PIECE: usize = 16 << 10;
    // A byte of the form 10xxxxxx goes on with the character before it.
    let goes_on = |byte: &u8| byte >> 6 == 0b10;
    let (run, first) = (binary.run(), binary.offsets.first());
    let mut start = 0;
    while let Some(rest) = run.get(start..).filter(|rest| !rest.is_empty()) {
        let cut = rest.iter().skip(PIECE).position(|byte| !goes_on(byte));
        let piece = &rest[..cut.map_or(rest.len(), |more| PIECE + more)];
        let end = start + piece.len();
        let offsets = binary.offsets.values();
        // The first offset that lies at `at` or behind it.
        let behind = |at: usize| offsets.partition_point(|end| end.less(first).index() < at);
        if let Err(error) = simdutf8::compat::from_utf8(piece) {
            let index = behind(start + error.valid_up_to() + 1).saturating_sub(1);
            return Err(ArrayError::Utf8 { index: index as u64 });
        }
        // Anywhere in ASCII slots may meet.
        if !piece.is_ascii() {
            let (from, to) = (behind(start), behind(end));
            let splits = |end: &O| piece.get(end.less(first).index() - start).is_some_and(goes_on);
            // A loop without an exit is faster, and finds nothing but in damaged bytes.
            if offsets[from..to].iter().fold(false, |any, end| any | splits(end)) {
                let index = from + offsets[from..to].iter().position(splits).unwrap_or_default();
                return Err(ArrayError::Utf8 { index: index as u64 });
            }
        }
        start = end;
    }
    Ok(())
}

impl<O: Offset> Layout for Binary<O> {
    type Item<'a> = &'a [u8];

    const TAG: u64 = tag_over("binary", O::WIDTH as u64);

    fn len(&self) -> usize {
        self.offsets.slots()
    }

    fn get(&self, index: usize) -> Option<&[u8]> {
        self.offsets.get(index).map(|range| &self.bytes[range])
    }

    fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        Self::iter(self)
    }

    fn slice(&self, range: Range<usize>) -> Self {
        Self { offsets: self.offsets.slice(range), bytes: self.bytes.clone() }
    }

    fn order(a: &Self::Item<'_>, b: &Self::Item<'_>) -> Ordering {
        a.cmp(b)
    }

    fn hash_item(item: &Self::Item<'_>, state: &mut impl Hasher) {
        // Its length in front: any byte may stand in it, so none can end it.
        state.write_usize(item.len());
        state.write(item);
    }

    fn take_apart(&self, parts: &mut Parts<'_>) {
        self.take_apart_as(Kind::Binary(O::WIDTH), parts);
    }

    fn assemble(from: &mut Assembly<'_, '_>) -> Result<Self, ArrayError> {
        Self::assemble_as(Kind::Binary(O::WIDTH), from)
    }

    fn visit(&self, visit: &mut dyn FnMut(&Buffer)) {
        self.offsets.visit(visit);
        visit(&self.bytes);
    }

    fn replace(&mut self, replace: &mut Replacing<'_>) -> Result<()> {
        self.offsets.replace(replace)?;
        replace.buffer(&mut self.bytes)
    }
}

impl<O: Offset> Layout for Strings<O> {
    type Item<'a> = &'a str;

    const TAG: u64 = tag_over("strings", O::WIDTH as u64);

    fn len(&self) -> usize {
        self.binary.len()
    }

    fn get(&self, index: usize) -> Option<&str> {
        let offsets = self.binary.offsets.values();
        let end = *offsets.get(index.checked_add(1)?)?;
        Some(self.between(offsets[index], end))
    }

    fn slice(&self, range: Range<usize>) -> Self {
        Self { binary: self.binary.slice(range) }
    }

    fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        Self::iter(self)
    }

    fn order(a: &Self::Item<'_>, b: &Self::Item<'_>) -> Ordering {
        a.cmp(b)
    }

    fn hash_item(item: &Self::Item<'_>, state: &mut impl Hasher) {
        state.write(item.as_bytes());
        state.write_u8(u8::MAX);
    }

    fn take_apart(&self, parts: &mut Parts<'_>) {
        self.binary.take_apart_as(Kind::Strings(O::WIDTH), parts);
    }

    fn assemble(from: &mut Assembly<'_, '_>) -> Result<Self, ArrayError> {
        let binary = Binary::assemble_as(Kind::Strings(O::WIDTH), from)?;
        if from.is_checked() && !mutant!("text_unchecked") {
            check_utf8(&binary)?;
        }
        Ok(Self { binary })
    }

    fn visit(&self, visit: &mut dyn FnMut(&Buffer)) {
        self.binary.visit(visit);
    }

    fn replace(&mut self, replace: &mut Replacing<'_>) -> Result<()> {
        self.binary.replace(replace)
    }
}

impl<O: Offset> Buildable for Binary<O> {
    type Builder = BinaryBuilder<O>;
}

impl<O: Offset> Buildable for Strings<O> {
    type Builder = StringsBuilder<O>;
}

impl<O: Offset> Rearrange for Binary<O> {
    fn take(&self, slots: &[usize], meter: &mut dyn Meter) -> Result<Self> {
        let slot = |&slot: &usize| {
            self.get(slot).unwrap_or_else(|| panic!("slot {slot} of {}", self.len()))
        };
        let mut taken = BinaryBuilder::default();
        taken.reserve_exact(slots.len(), slots.iter().map(|at| slot(at).len()).sum(), meter)?;
        slots.iter().for_each(|at| taken.push_bytes(slot(at)));
        Ok(taken.finish())
    }

    fn concat(arrays: &[&Self], meter: &mut dyn Meter) -> Result<Self> {
        let mut all = BinaryBuilder::default();
        let slots = arrays.iter().map(|array| array.len()).sum();
        let bytes = arrays.iter().map(|array| array.total_bytes()).sum();
        all.reserve_exact(slots, bytes, meter)?;
        for array in arrays {
            let start = all.bytes.0.len();
            let first = array.offsets.first();
            all.bytes.0.extend_from_slice(array.run());
            let ends = array.offsets.pairs().map(|(_, end)| end.less(first).index());
            ends.for_each(|end| all.offsets.push(start + end));
        }
        Ok(all.finish())
    }
}

impl<O: Offset> Rearrange for Strings<O> {
    fn take(&self, slots: &[usize], meter: &mut dyn Meter) -> Result<Self> {
        Ok(Self { binary: self.binary.take(slots, meter)? })
    }

    fn concat(arrays: &[&Self], meter: &mut dyn Meter) -> Result<Self> {
        let binaries: Vec<&Binary<O>> = arrays.iter().map(|array| &array.binary).collect();
        Ok(Self { binary: Binary::concat(&binaries, meter)? })
    }
}

impl<O: Offset> PartialEq for Binary<O> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.run() == other.run() && self.lengths().eq(other.lengths())
    }
}

impl<O: Offset> PartialEq for Strings<O> {
    fn eq(&self, other: &Self) -> bool {
        self.binary == other.binary
    }
}

impl<O: Offset> fmt::Debug for Binary<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(self, f)
    }
}

impl<O: Offset> fmt::Debug for Strings<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(self, f)
    }
}

impl<B: AsRef<[u8]>> FromIterator<B> for Binary<i64> {
    fn from_iter<I: IntoIterator<Item = B>>(items: I) -> Self {
        let mut builder = BinaryBuilder::<i64>::default();
        for item in items {
            builder.push_unmetered(item.as_ref());
        }
        builder.finish()
    }
}

impl<S: AsRef<str>> FromIterator<S> for Strings<i64> {
    fn from_iter<I: IntoIterator<Item = S>>(items: I) -> Self {
        let mut builder = StringsBuilder::<i64>::default();
        for item in items {
            builder.binary.push_unmetered(item.as_ref().as_bytes());
        }
        builder.finish()
    }
}

impl<O: Offset> Default for Binary<O> {
    fn default() -> Self {
        BinaryBuilder::default().finish()
    }
}

impl<O: Offset> Default for Strings<O> {
    fn default() -> Self {
        StringsBuilder::default().finish()
    }
}

/// Makes [`Binary`].
#[derive(Debug)]
pub struct BinaryBuilder<O> {
    offsets: OffsetsBuilder<O>,
    bytes: Growing<u8>,
}

impl<O> Default for BinaryBuilder<O> {
    fn default() -> Self {
        Self { offsets: OffsetsBuilder::default(), bytes: Growing::default() }
    }
}

const BINARY: &str = "binary with 32-bit offsets";

impl<O: Offset> BinaryBuilder<O> {
    pub(crate) fn reserve_exact(
        &mut self,
        slots: usize,
        bytes: usize,
        meter: &mut dyn Meter,
    ) -> Result<()> {
        let end = self.bytes.0.len().saturating_add(bytes);
        self.offsets.reserve_slots(slots, end, BINARY, meter)?;
        self.bytes.reserve_exact(bytes, meter)
    }

    fn push_bytes(&mut self, item: &[u8]) {
        self.bytes.0.extend_from_slice(item);
        self.offsets.push(self.bytes.0.len());
    }
}

impl BinaryBuilder<i64> {
    /// Appends without asking anybody: 64-bit offsets count what fits into memory.
    fn push_unmetered(&mut self, item: &[u8]) {
        self.push_bytes(item);
    }
}

impl<O: Offset> Builder for BinaryBuilder<O> {
    type Array = Binary<O>;

    fn len(&self) -> usize {
        self.offsets.slots()
    }

    fn push_metered(&mut self, item: &[u8], meter: &mut dyn Meter) -> Result<()> {
        self.offsets.reserve(self.bytes.0.len().saturating_add(item.len()), BINARY, meter)?;
        self.bytes.reserve(item.len(), meter)?;
        self.push_bytes(item);
        Ok(())
    }

    fn push_hidden(&mut self, meter: &mut dyn Meter) -> Result<()> {
        self.push_metered(&[], meter)
    }

    fn truncate(&mut self, len: usize) {
        if len < self.len() {
            self.bytes.0.truncate(self.offsets.get(len).start);
            self.offsets.truncate(len);
        }
    }

    fn holds(&self, index: usize, item: &&[u8]) -> bool {
        &self.bytes.0[self.offsets.get(index)] == *item
    }

    fn finish(self) -> Binary<O> {
        Binary { offsets: self.offsets.finish(), bytes: adopt(self.bytes.0) }
    }
}

/// Makes [`Strings`].
#[derive(Debug)]
pub struct StringsBuilder<O> {
    binary: BinaryBuilder<O>,
}

impl<O> Default for StringsBuilder<O> {
    fn default() -> Self {
        Self { binary: BinaryBuilder::default() }
    }
}

impl<O: Offset> StringsBuilder<O> {
    pub(crate) fn reserve_exact(
        &mut self,
        slots: usize,
        bytes: usize,
        meter: &mut dyn Meter,
    ) -> Result<()> {
        self.binary.reserve_exact(slots, bytes, meter)
    }
}

impl<O: Offset> Builder for StringsBuilder<O> {
    type Array = Strings<O>;

    fn len(&self) -> usize {
        self.binary.len()
    }

    fn push_metered(&mut self, item: &str, meter: &mut dyn Meter) -> Result<()> {
        self.binary.push_metered(item.as_bytes(), meter)
    }

    fn push_hidden(&mut self, meter: &mut dyn Meter) -> Result<()> {
        self.binary.push_hidden(meter)
    }

    fn truncate(&mut self, len: usize) {
        self.binary.truncate(len);
    }

    fn holds(&self, index: usize, item: &&str) -> bool {
        self.binary.holds(index, &item.as_bytes())
    }

    fn finish(self) -> Strings<O> {
        Strings { binary: self.binary.finish() }
    }
}
