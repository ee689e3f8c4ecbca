//! `Bits`: booleans, one bit each.
//!
//! ```text
//! byte   0                        1
//!      ┌─────────────────────────┬─────────────────────────┐
//! slot │ 7  6  5  4  3  2  1  0  │ 15 14 13 12 11 10 9  8  │   least significant bit first, as in Arrow
//!      └─────────────────────────┴─────────────────────────┘
//! ```
//!
//! At rest slot 0 is bit 0, and the bits behind the last slot are zero.

use std::cmp::Ordering;
use std::fmt;
use std::hash::Hasher;
use std::ops::Range;

use mempool_core::{Buffer, Result, type_tag};

use crate::description::{Kind, Node};
use crate::error::ArrayError;
use crate::layout::{Buildable, Builder, Growing, Layout, Meter, Rearrange, Replacing, debug};
use crate::part::{Assembly, Parts, check_length};
use crate::values::adopt;

/// Booleans, eight in a byte.
///
/// *Shape*: one buffer of `len / 8` bytes, rounded up, least significant bit first. A slice may start within a byte.
///
/// ```
/// use mempool_arrays::{Bits, Layout};
///
/// let bits: Bits = [true, false, true].into_iter().collect();
/// assert_eq!(bits.get(2), Some(true));
/// assert_eq!(bits.count_ones(), 2);
/// ```
#[derive(Clone)]
pub struct Bits {
    bytes: Buffer,
    /// The bit of the first byte at which slot 0 is.
    first: usize,
    len: usize,
}

impl Bits {
    /// The bits of `bytes`, `len` of them, starting at bit `first`.
    ///
    /// # Errors
    /// [`ArrayError::Length`] when there are fewer.
    pub fn from_buffer(bytes: Buffer, first: usize, len: usize) -> Result<Self, ArrayError> {
        let bytes = match first / 8 {
            0 => bytes,
            skipped if skipped <= bytes.len() => bytes.slice(skipped..),
            _ => bytes.slice(bytes.len()..),
        };
        let first = first % 8;
        let needed = len.checked_add(first).map(|bits| bits.div_ceil(8));
        if needed.is_none_or(|needed| needed > bytes.len()) {
            check_length("bits", len, needed, &bytes)?;
        }
        let bytes = bytes.slice(..needed.unwrap_or_default());
        Ok(Self { bytes, first, len })
    }

    /// So many bits of one value.
    #[must_use]
    pub fn repeated(bit: bool, len: usize) -> Self {
        let bytes = vec![if bit { u8::MAX } else { 0 }; len.div_ceil(8)];
        Self { bytes: adopt(bytes), first: 0, len }
    }

    /// How many are set.
    #[must_use]
    pub fn count_ones(&self) -> usize {
        let Some((&last, whole)) = self.bytes.split_last() else { return 0 };
        let (first, end) = (self.first, (self.first + self.len) % 8);
        let last = if end == 0 { last } else { last & !(u8::MAX << end) };
        let Some((&start, middle)) = whole.split_first() else {
            return (last >> first).count_ones() as usize;
        };
        let (words, rest) = middle.as_chunks::<8>();
        let words = words.iter().map(|&word| u64::from_ne_bytes(word).count_ones() as usize);
        let rest = rest.iter().map(|byte| byte.count_ones() as usize);
        let edges = (start >> first).count_ones() + last.count_ones();
        words.sum::<usize>() + rest.sum::<usize>() + edges as usize
    }

    /// Whether bit `index` is set.
    ///
    /// # Panics
    /// Behind the last.
    #[must_use]
    pub fn is_set(&self, index: usize) -> bool {
        assert!(index < self.len, "bit {index} of {}", self.len);
        let at = index + self.first;
        self.bytes[at / 8] >> (at % 8) & 1 == 1
    }

    /// The buffer that they lie in, and the bit of its first byte at which slot 0 is.
    #[must_use]
    pub fn buffer(&self) -> (&Buffer, usize) {
        (&self.bytes, self.first)
    }

    /// The bits in words of 64, slot 0 in the least significant bit of the first; those behind the last slot are zero.
    pub fn words(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        let (bytes, first, len) = (&*self.bytes, self.first, self.len);
        (0..len.div_ceil(64)).map(move |word| {
            let low = word_at(bytes, word * 8) >> first;
            let bits = match bytes.get(word * 8 + 8) {
                Some(&high) if first > 0 => low | u64::from(high) << (64 - first),
                _ => low,
            };
            match len - word * 64 {
                left if left < 64 => bits & !(u64::MAX << left),
                _ => bits,
            }
        })
    }

    /// Whether the bytes are those that are written at rest.
    fn is_plain(&self) -> bool {
        let end = self.len % 8;
        self.first == 0
            && (end == 0 || self.bytes.last().is_none_or(|&last| last & (u8::MAX << end) == 0))
    }

    /// Adds the section that holds the bits at rest.
    pub(crate) fn add_section(&self, parts: &mut Parts<'_>) {
        if self.is_plain() {
            return parts.section(self.bytes.clone());
        }
        let bits = self.clone();
        parts.made(move |write| {
            let mut left = bits.len.div_ceil(8);
            let mut words = bits.words().peekable();
            let mut piece = Vec::with_capacity(8 << 10);
            while words.peek().is_some() {
                piece.clear();
                words.by_ref().take(1 << 10).for_each(|word| piece.extend(word.to_le_bytes()));
                piece.truncate(left);
                left -= piece.len();
                write(&piece)?;
            }
            Ok(())
        });
    }

    /// The bits of a section, `len` of them.
    pub(crate) fn from_section(
        part: &'static str,
        bytes: Buffer,
        len: usize,
        checked: bool,
    ) -> Result<Self, ArrayError> {
        check_length(part, len, Some(len.div_ceil(8)), &bytes)?;
        let bits = Self { bytes, first: 0, len };
        if checked && !bits.is_plain() {
            return Err(ArrayError::description(format!("{part} goes on behind its last slot")));
        }
        Ok(bits)
    }
}

/// The eight bytes at `at`, or as many as there are and zeros.
fn word_at(bytes: &[u8], at: usize) -> u64 {
    let there = bytes.get(at..).unwrap_or_default();
    if let Some(word) = there.first_chunk() {
        return u64::from_le_bytes(*word);
    }
    let mut word = [0; 8];
    word[..there.len()].copy_from_slice(there);
    u64::from_le_bytes(word)
}

/// Bits one by one, taken from a word at a time.
pub(crate) struct Slots<W> {
    words: W,
    word: u64,
    /// How many bits of the word are still to come.
    ahead: u32,
    left: usize,
}

impl<W: Iterator<Item = u64>> Iterator for Slots<W> {
    type Item = bool;

    fn next(&mut self) -> Option<bool> {
        self.left = self.left.checked_sub(1)?;
        if self.ahead == 0 {
            self.word = self.words.next()?;
            self.ahead = u64::BITS;
        }
        let bit = self.word & 1 == 1;
        self.word >>= 1;
        self.ahead -= 1;
        Some(bit)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<W: Iterator<Item = u64>> ExactSizeIterator for Slots<W> {}

impl FromIterator<bool> for Bits {
    fn from_iter<I: IntoIterator<Item = bool>>(bits: I) -> Self {
        let mut builder = BitsBuilder::default();
        for bit in bits {
            builder.push_bit(bit);
        }
        builder.finish()
    }
}

impl From<&[bool]> for Bits {
    fn from(bits: &[bool]) -> Self {
        bits.iter().copied().collect()
    }
}

impl PartialEq for Bits {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.words().eq(other.words())
    }
}

impl fmt::Debug for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(self, f)
    }
}

impl Layout for Bits {
    type Item<'a> = bool;

    const TAG: u64 = type_tag("bits");

    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, index: usize) -> Option<bool> {
        (index < self.len).then(|| self.is_set(index))
    }

    fn iter(&self) -> impl ExactSizeIterator<Item = bool> {
        Slots { words: self.words(), word: 0, ahead: 0, left: self.len }
    }

    fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {}", self.len);
        let start = range.start + self.first;
        let end = range.end + self.first;
        let bytes = self.bytes.slice(start / 8..end.div_ceil(8).max(start / 8));
        Self { bytes, first: start % 8, len: range.len() }
    }

    fn order(a: &Self::Item<'_>, b: &Self::Item<'_>) -> Ordering {
        a.cmp(b)
    }

    fn hash_item(item: &Self::Item<'_>, state: &mut impl Hasher) {
        state.write_u8((*item).into());
    }

    fn take_apart(&self, parts: &mut Parts<'_>) {
        parts.node(Node::new(Kind::Bits, self.len));
        self.add_section(parts);
    }

    fn assemble(from: &mut Assembly<'_, '_>) -> Result<Self, ArrayError> {
        let (_, slots) = from.expect(Kind::Bits, 0)?;
        Self::from_section("bits", from.section()?, slots, from.is_checked())
    }

    fn visit(&self, visit: &mut dyn FnMut(&Buffer)) {
        visit(&self.bytes);
    }

    fn replace(&mut self, replace: &mut Replacing<'_>) -> Result<()> {
        replace.buffer(&mut self.bytes)
    }
}

impl Buildable for Bits {
    type Builder = BitsBuilder;
}

impl Rearrange for Bits {
    fn take(&self, slots: &[usize], meter: &mut dyn Meter) -> Result<Self> {
        let mut taken = BitsBuilder::default();
        taken.reserve_slots(slots.len(), meter)?;
        slots.iter().for_each(|&slot| taken.push_bit(self.is_set(slot)));
        Ok(taken.finish())
    }

    fn concat(arrays: &[&Self], meter: &mut dyn Meter) -> Result<Self> {
        let mut all = BitsBuilder::default();
        all.reserve_slots(arrays.iter().map(|array| array.len).sum(), meter)?;
        arrays.iter().flat_map(|array| array.iter()).for_each(|bit| all.push_bit(bit));
        Ok(all.finish())
    }
}

/// Makes [`Bits`].
#[derive(Debug, Default)]
pub struct BitsBuilder {
    bytes: Growing<u8>,
    len: usize,
}

impl BitsBuilder {
    fn push_bit(&mut self, bit: bool) {
        let at = self.len % 8;
        if at == 0 {
            self.bytes.0.push(0);
        }
        if let Some(last) = self.bytes.0.last_mut() {
            *last |= u8::from(bit) << at;
        }
        self.len += 1;
    }

    /// Clears what the last byte has behind the last slot.
    fn clear_behind(&mut self) {
        if let Some(last) = self.bytes.0.last_mut()
            && !self.len.is_multiple_of(8)
        {
            *last &= !(u8::MAX << (self.len % 8));
        }
    }

    /// How many are not set.
    pub(crate) fn zeros(&self) -> usize {
        self.len - self.bytes.0.iter().map(|byte| byte.count_ones() as usize).sum::<usize>()
    }

    /// The first `slots`, all set, for which there is room.
    pub(crate) fn push_ones(&mut self, slots: usize) {
        self.bytes.0.clear();
        self.bytes.0.resize(slots.div_ceil(8), u8::MAX);
        self.len = slots;
        self.clear_behind();
    }

    pub(crate) fn reserve_slots(&mut self, slots: usize, meter: &mut dyn Meter) -> Result<()> {
        let needed = self.len.saturating_add(slots).div_ceil(8);
        self.bytes.reserve_exact(needed.saturating_sub(self.bytes.0.len()), meter)
    }
}

impl Builder for BitsBuilder {
    type Array = Bits;

    fn len(&self) -> usize {
        self.len
    }

    fn push_metered(&mut self, bit: bool, meter: &mut dyn Meter) -> Result<()> {
        self.bytes.reserve(usize::from(self.len.is_multiple_of(8)), meter)?;
        self.push_bit(bit);
        Ok(())
    }

    fn push_hidden(&mut self, meter: &mut dyn Meter) -> Result<()> {
        self.push_metered(false, meter)
    }

    fn truncate(&mut self, len: usize) {
        if len < self.len {
            self.bytes.0.truncate(len.div_ceil(8));
            self.len = len;
            self.clear_behind();
        }
    }

    fn holds(&self, index: usize, item: &bool) -> bool {
        assert!(index < self.len, "bit {index} of {}", self.len);
        (self.bytes.0[index / 8] >> (index % 8) & 1 == 1) == *item
    }

    fn finish(self) -> Bits {
        Bits { bytes: adopt(self.bytes.0), first: 0, len: self.len }
    }
}
