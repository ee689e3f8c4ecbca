//! `Nullable<A>`: an array whose slots may be missing.
//!
//! ```text
//! slots      0        1        2        3
//!          ┌─────────────────────────────────┐
//! validity │ 1        0        1        1    │   one bit a slot; no bytes at all when no slot is missing
//!          └─────────────────────────────────┘
//!          ┌────────┬────────┬────────┬──────┐
//! values   │ 7      │ hidden │ 9      │ 0    │   any layout; what is below a zero bit nobody sees
//!          └────────┴────────┴────────┴──────┘
//! ```

use std::cmp::Ordering;
use std::fmt;
use std::hash::Hasher;
use std::ops::Range;

use mempool_core::{Buffer, Result};

use crate::bits::{Bits, BitsBuilder};
use crate::description::{Kind, Node};
use crate::element::Element;
use crate::error::ArrayError;
use crate::layout::{Buildable, Builder, Layout, Meter, Rearrange, Replacing, debug, tag_over};
use crate::part::{Assembly, Parts};
use crate::values::Values;

/// An array whose slots may be missing: `Option<T>` goes in and comes out.
///
/// *Shape*: a validity bitmap beside the values, one bit a slot, set where there is a value; none when no slot is missing.
/// A missing slot, an empty string and a zero are three things.
///
/// ```
/// use mempool_arrays::{Layout, Nullable, Strings};
///
/// let names: Nullable<Strings> = [Some("Ada"), None, Some("")].into_iter().collect();
/// assert_eq!(names.get(0), Some(Some("Ada")));
/// assert_eq!(names.get(1), Some(None));
/// assert_eq!(names.get(2), Some(Some("")));
/// assert_eq!(names.nulls(), 1);
/// ```
#[derive(Clone)]
pub struct Nullable<A> {
    /// As many as there are values; `None` when all are set.
    validity: Option<Bits>,
    /// The zeros in it.
    nulls: usize,
    values: A,
}

impl<A: Layout> Nullable<A> {
    /// Values, those of which a bit is zero missing.
    ///
    /// # Errors
    /// [`ArrayError::Slots`] when there are not as many bits as values.
    pub fn new(values: A, validity: Option<Bits>) -> Result<Self, ArrayError> {
        let nulls = validity.as_ref().map_or(0, |bits| bits.len() - bits.count_ones());
        Self::with_nulls(values, validity, nulls)
    }

    fn with_nulls(values: A, validity: Option<Bits>, nulls: usize) -> Result<Self, ArrayError> {
        if let Some(bits) = &validity
            && bits.len() != values.len()
        {
            let (expected, found) = (values.len() as u64, bits.len() as u64);
            return Err(ArrayError::Slots { part: "validity".to_owned(), expected, found });
        }
        Ok(Self { validity: validity.filter(|_| nulls > 0), nulls, values })
    }

    /// How many slots are missing.
    #[must_use]
    pub fn nulls(&self) -> usize {
        self.nulls
    }

    /// A bit a slot, set where there is a value; `None` when no slot is missing.
    #[must_use]
    pub fn validity(&self) -> Option<&Bits> {
        self.validity.as_ref()
    }

    /// The values; below a missing slot is something, of which nothing is promised.
    #[must_use]
    pub fn values(&self) -> &A {
        &self.values
    }

    /// Whether slot `index` has a value.
    ///
    /// # Panics
    /// Behind the last.
    #[must_use]
    pub fn is_valid(&self, index: usize) -> bool {
        assert!(index < self.values.len(), "slot {index} of {}", self.values.len());
        self.validity.as_ref().is_none_or(|bits| bits.is_set(index))
    }

    /// The values that are there, in order. It goes from set bit to set bit, and is faster than looking at all slots.
    ///
    /// ```
    /// use mempool_arrays::{Nullable, Values};
    ///
    /// let numbers: Nullable<Values<f64>> = [Some(1.5), None, Some(2.5)].into_iter().collect();
    /// assert_eq!(numbers.iter_valid().sum::<f64>(), 4.0);
    /// ```
    pub fn iter_valid(&self) -> impl Iterator<Item = A::Item<'_>> {
        let set = |(word, bits)| SetBits(bits).map(move |bit| word * 64 + bit);
        let slots = self.validity_words().enumerate().flat_map(set);
        slots.filter_map(|slot| self.values.get(slot))
    }

    /// The validity in words, as of [`Bits::words`].
    fn validity_words(&self) -> impl Iterator<Item = u64> {
        let mut words = self.validity.as_ref().map(Bits::words);
        let len = self.values.len();
        (0..len.div_ceil(64)).map(move |word| match &mut words {
            Some(words) => words.next().unwrap_or_default(),
            None => u64::MAX >> (64 - (len - word * 64).min(64)),
        })
    }
}

/// The places of the bits that are set, the least significant first.
struct SetBits(u64);

impl Iterator for SetBits {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let bit = self.0.trailing_zeros();
        self.0 &= self.0.checked_sub(1)?;
        Some(bit as usize)
    }
}

/// Slots in order: the values, and a word of bits for 64 of them at a time.
struct Slots<V, W> {
    values: V,
    words: W,
    word: u64,
    /// How many bits of the word are still to come.
    ahead: u32,
}

impl<V: ExactSizeIterator, W: Iterator<Item = u64>> Iterator for Slots<V, W> {
    type Item = Option<V::Item>;

    fn next(&mut self) -> Option<Self::Item> {
        let value = self.values.next()?;
        if self.ahead == 0 {
            self.word = self.words.next()?;
            self.ahead = u64::BITS;
        }
        let is_valid = self.word & 1 == 1;
        self.word >>= 1;
        self.ahead -= 1;
        Some(is_valid.then_some(value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.values.size_hint()
    }

    /// Word by word, which the compiler makes more of than of one slot after the other.
    fn fold<B, F: FnMut(B, Self::Item) -> B>(mut self, start: B, mut step: F) -> B {
        let mut folded = start;
        while self.ahead > 0 {
            let Some(slot) = self.next() else { return folded };
            folded = step(folded, slot);
        }
        for word in self.words {
            for at in 0..u64::BITS {
                let Some(value) = self.values.next() else { return folded };
                folded = step(folded, (word >> at & 1 == 1).then_some(value));
            }
        }
        folded
    }
}

impl<V: ExactSizeIterator, W: Iterator<Item = u64>> ExactSizeIterator for Slots<V, W> {}

impl<T: Element> Nullable<Values<T>> {
    /// The values, 64 at a time and the rest at the end, each run with a word of which bit `i` is set where value `i` is
    /// there: for loops over millions of numbers that are to run with vectors.
    ///
    /// ```
    /// use mempool_arrays::{Nullable, Values};
    ///
    /// let numbers: Nullable<Values<f64>> = [Some(1.5), None, Some(2.5)].into_iter().collect();
    /// let mut sum = 0.0;
    /// for (valid, values) in numbers.words() {
    ///     for (at, value) in values.iter().enumerate() {
    ///         sum += if valid >> at & 1 == 1 { *value } else { 0.0 };
    ///     }
    /// }
    /// assert_eq!(sum, 4.0);
    /// ```
    pub fn words(&self) -> impl Iterator<Item = (u64, &[T])> {
        self.validity_words().zip(self.values.chunks(64))
    }
}

impl<A: Layout> From<A> for Nullable<A> {
    /// All of whose slots have values.
    fn from(values: A) -> Self {
        Self { validity: None, nulls: 0, values }
    }
}

impl<A: Layout> Layout for Nullable<A> {
    type Item<'a> = Option<A::Item<'a>>;

    const TAG: u64 = tag_over("nullable", A::TAG);

    fn len(&self) -> usize {
        self.values.len()
    }

    fn get(&self, index: usize) -> Option<Option<A::Item<'_>>> {
        let value = self.values.get(index)?;
        Some(self.is_valid(index).then_some(value))
    }

    fn iter(&self) -> impl ExactSizeIterator<Item = Self::Item<'_>> {
        Slots { values: self.values.iter(), words: self.validity_words(), word: 0, ahead: 0 }
    }

    fn slice(&self, range: Range<usize>) -> Self {
        let values = self.values.slice(range.clone());
        let validity = self.validity.as_ref().map(|bits| bits.slice(range));
        let counted = || validity.as_ref().map_or(0, |bits| bits.len() - bits.count_ones());
        let nulls = if mutant!("nulls_of_the_whole") { self.nulls } else { counted() };
        Self { validity: validity.filter(|_| nulls > 0), nulls, values }
    }

    fn order(a: &Self::Item<'_>, b: &Self::Item<'_>) -> Ordering {
        match (a, b) {
            (Some(a), Some(b)) => A::order(a, b),
            // A missing slot comes first.
            _ => a.is_some().cmp(&b.is_some()),
        }
    }

    fn hash_item(item: &Self::Item<'_>, state: &mut impl Hasher) {
        state.write_u8(item.is_some().into());
        if let Some(item) = item {
            A::hash_item(item, state);
        }
    }

    fn take_apart(&self, parts: &mut Parts<'_>) {
        let node = Node::new(Kind::Nullable, self.values.len());
        parts.node(Node { children: 1, figure: self.nulls as u64, ..node });
        match &self.validity {
            Some(bits) => bits.add_section(parts),
            None => parts.bytes(&[]),
        }
        self.values.take_apart(parts);
    }

    fn assemble(from: &mut Assembly<'_, '_>) -> Result<Self, ArrayError> {
        let (node, slots) = from.expect(Kind::Nullable, 1)?;
        let bytes = from.section()?;
        let validity = match node.figure {
            0 => crate::part::check_length("validity", 0, Some(0), &bytes).map(|()| None)?,
            _ => Some(Bits::from_section("validity", bytes, slots, from.is_checked())?),
        };
        let values = from.child(A::assemble)?;
        let claimed = usize::try_from(node.figure).unwrap_or(usize::MAX);
        let counted = || validity.as_ref().map_or(0, |bits| bits.len() - bits.count_ones());
        let found = if from.is_checked() { counted() } else { claimed.min(slots) };
        if found != claimed {
            return Err(ArrayError::Nulls { claimed: node.figure, counted: found as u64 });
        }
        if slots != values.len() {
            let (expected, found) = (node.slots, values.len() as u64);
            return Err(ArrayError::Slots { part: "values".to_owned(), expected, found });
        }
        Self::with_nulls(values, validity, claimed)
    }

    fn visit(&self, visit: &mut dyn FnMut(&Buffer)) {
        self.validity.iter().for_each(|bits| bits.visit(visit));
        self.values.visit(visit);
    }

    fn replace(&mut self, replace: &mut Replacing<'_>) -> Result<()> {
        if let Some(bits) = &mut self.validity {
            bits.replace(replace)?;
        }
        self.values.replace(replace)
    }
}

impl<A> PartialEq for Nullable<A>
where
    A: Layout,
    for<'a> A::Item<'a>: PartialEq,
{
    /// What is below a missing slot does not count.
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<A: Layout> fmt::Debug for Nullable<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(self, f)
    }
}

impl<'a, A: Buildable> FromIterator<Option<A::Item<'a>>> for Nullable<A> {
    /// # Panics
    /// When offsets or codes of 32 bits cannot count the values.
    fn from_iter<I: IntoIterator<Item = Option<A::Item<'a>>>>(items: I) -> Self {
        let mut builder = NullableBuilder::default();
        for item in items {
            builder.push(item).expect("its offsets can count it");
        }
        builder.finish()
    }
}

impl<A: Buildable> Buildable for Nullable<A> {
    type Builder = NullableBuilder<A>;
}

impl<A: Rearrange> Rearrange for Nullable<A> {
    fn take(&self, slots: &[usize], meter: &mut dyn Meter) -> Result<Self> {
        let values = self.values.take(slots, meter)?;
        let validity = self.validity.as_ref().map(|bits| bits.take(slots, meter)).transpose()?;
        Self::new(values, validity).map_err(ArrayError::of::<Self>)
    }

    fn concat(arrays: &[&Self], meter: &mut dyn Meter) -> Result<Self> {
        let values: Vec<&A> = arrays.iter().map(|array| &array.values).collect();
        let values = A::concat(&values, meter)?;
        if arrays.iter().all(|array| array.nulls == 0) {
            return Ok(values.into());
        }
        let mut validity = BitsBuilder::default();
        validity.reserve_slots(values.len(), meter)?;
        for array in arrays {
            for slot in 0..array.len() {
                validity.push_metered(array.is_valid(slot), meter)?;
            }
        }
        Self::new(values, Some(validity.finish())).map_err(ArrayError::of::<Self>)
    }
}

/// Makes a [`Nullable`].
pub struct NullableBuilder<A: Buildable> {
    /// Empty until the first slot is missing.
    validity: BitsBuilder,
    nulls: usize,
    values: A::Builder,
}

impl<A: Buildable> Default for NullableBuilder<A> {
    fn default() -> Self {
        Self { validity: BitsBuilder::default(), nulls: 0, values: A::Builder::default() }
    }
}

impl<A: Buildable> fmt::Debug for NullableBuilder<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NullableBuilder").field("len", &self.values.len()).finish_non_exhaustive()
    }
}

impl<A: Buildable> NullableBuilder<A> {
    /// The values' own builder, and the bitmap's, to make room in them.
    pub(crate) fn parts(&mut self) -> (&mut BitsBuilder, &mut A::Builder) {
        (&mut self.validity, &mut self.values)
    }
}

impl<A: Buildable> NullableBuilder<A> {
    /// Notes whether slot `len`, the last, has a value.
    fn note(&mut self, is_valid: bool, len: usize, meter: &mut dyn Meter) -> Result<()> {
        if self.nulls == 0 {
            if is_valid {
                return Ok(());
            }
            self.validity.reserve_slots((len + 1).saturating_sub(self.validity.len()), meter)?;
            self.validity.push_ones(len);
        }
        self.validity.push_metered(is_valid, meter)?;
        self.nulls += usize::from(!is_valid);
        Ok(())
    }
}

impl<A: Buildable> Builder for NullableBuilder<A> {
    type Array = Nullable<A>;

    fn len(&self) -> usize {
        self.values.len()
    }

    fn push_metered(&mut self, item: Option<A::Item<'_>>, meter: &mut dyn Meter) -> Result<()> {
        let (len, is_valid) = (self.values.len(), item.is_some());
        match item {
            Some(item) => self.values.push_metered(item, meter)?,
            None => self.values.push_hidden(meter)?,
        }
        let noted = self.note(is_valid, len, meter);
        if noted.is_err() {
            self.values.truncate(len);
        }
        noted
    }

    fn push_hidden(&mut self, meter: &mut dyn Meter) -> Result<()> {
        self.push_metered(None, meter)
    }

    fn truncate(&mut self, len: usize) {
        self.values.truncate(len);
        self.validity.truncate(len);
        self.nulls = self.validity.zeros();
    }

    fn holds(&self, index: usize, item: &Option<A::Item<'_>>) -> bool {
        let is_valid = self.nulls == 0 || self.validity.holds(index, &true);
        match item {
            Some(item) => is_valid && self.values.holds(index, item),
            None => !is_valid,
        }
    }

    fn finish(self) -> Nullable<A> {
        let validity = (self.nulls > 0).then(|| self.validity.finish());
        Nullable { validity, nulls: self.nulls, values: self.values.finish() }
    }
}
