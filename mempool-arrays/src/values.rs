//! `Values<T>`: numbers and records, end to end.
//!
//! ```text
//! slots  0      1      2
//!      ┌──────┬──────┬──────┐
//!      │ T    │ T    │ T    │   aligned to 64 bytes at rest, to T in memory
//!      └──────┴──────┴──────┘
//! ```

use std::cmp::Ordering;
use std::fmt;
use std::hash::Hasher;
use std::marker::PhantomData;
use std::ops::{Deref, Range};

use bytemuck::{bytes_of, cast_slice};
use mempool_core::{Buffer, Result};

use crate::description::{Kind, Node};
use crate::element::Element;
use crate::error::ArrayError;
use crate::layout::{
    Buildable, Builder, Growing, Layout, Meter, Rearrange, Replacing, debug, tag_over,
};
use crate::part::{Assembly, Parts, check_alignment, check_length};

/// Plain data, end to end: an array of numbers or records.
///
/// *Shape*: one buffer of `len · size_of::<T>()` bytes. *View*: `[T]`, by dereference, at no cost. It is made of a vector
/// without a copy.
///
/// ```
/// use mempool_arrays::{Layout, Values};
///
/// let values = Values::from(vec![1.5, 2.5]);
/// assert_eq!(values.iter().sum::<f64>(), 4.0);
/// assert_eq!(values.slice(1..2)[..], [2.5]);
/// ```
#[derive(Clone)]
pub struct Values<T> {
    /// A whole number of elements, the first of which is aligned: every constructor sees to that.
    bytes: Buffer,
    element: PhantomData<T>,
}

/// A vector as bytes.
struct Plain<T>(Vec<T>);

impl<T: Element> AsRef<[u8]> for Plain<T> {
    fn as_ref(&self) -> &[u8] {
        cast_slice(&self.0)
    }
}

/// A buffer that adopts `vector`.
pub(crate) fn adopt<T: Element>(vector: Vec<T>) -> Buffer {
    let owned_bytes = (vector.capacity() as u64).saturating_mul(size_of::<T>() as u64);
    Buffer::adopt_heap(Plain(vector), owned_bytes)
}

/// What adopting a vector allocates, beside the vector.
pub(crate) const fn adoption_bytes<T>() -> u64 {
    Buffer::heap_adoption_bytes::<Plain<T>>()
}

impl<T: Element> Values<T> {
    /// The values in `bytes`.
    ///
    /// # Errors
    /// [`ArrayError::Length`] when that is no whole number of them, [`ArrayError::Misaligned`] when they start where none
    /// may lie.
    pub fn from_buffer(bytes: Buffer) -> Result<Self, ArrayError> {
        let slots = bytes.len() / size_of::<T>();
        Self::checked(bytes, slots)
    }

    fn checked(bytes: Buffer, slots: usize) -> Result<Self, ArrayError> {
        check_length("values", slots, slots.checked_mul(size_of::<T>()), &bytes)?;
        let aligned = check_alignment::<T>("values", &bytes);
        if aligned.is_err() && bytes.is_empty() {
            // Others hand over empty buffers of any address; nothing lies nowhere.
            return Ok(Self::default());
        }
        aligned?;
        Ok(Self { bytes, element: PhantomData })
    }

    /// The values.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        cast_slice(&self.bytes)
    }

    /// How many there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "the slice behind it has that, too")]
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// The value at `index`, as of a slice: the same whether or not [`Layout`] is in scope.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.as_slice().get(index)
    }

    /// All values, as of a slice: the same whether or not [`Layout`] is in scope.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.as_slice().iter()
    }

    /// The buffer that they lie in.
    #[must_use]
    pub fn buffer(&self) -> &Buffer {
        &self.bytes
    }
}

impl<T: Element> Deref for Values<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.as_slice()
    }
}

impl<T: Element> From<Vec<T>> for Values<T> {
    /// Takes the vector over.
    fn from(vector: Vec<T>) -> Self {
        Self { bytes: adopt(vector), element: PhantomData }
    }
}

impl<T: Element> FromIterator<T> for Values<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        items.into_iter().collect::<Vec<T>>().into()
    }
}

impl<'a, T: Element> IntoIterator for &'a Values<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> std::slice::Iter<'a, T> {
        self.iter()
    }
}

impl<T: Element> Default for Values<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<T: Element> PartialEq for Values<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Element> fmt::Debug for Values<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(self, f)
    }
}

impl<T: Element> Layout for Values<T> {
    type Item<'a> = T;

    const TAG: u64 = tag_over("values", T::TYPE.tag());

    fn len(&self) -> usize {
        Self::len(self)
    }

    fn get(&self, index: usize) -> Option<T> {
        Self::get(self, index).copied()
    }

    fn iter(&self) -> impl ExactSizeIterator<Item = T> {
        Self::iter(self).copied()
    }

    fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len(), "{range:?} of an array");
        let size = size_of::<T>();
        let bytes = self.bytes.slice(range.start * size..range.end * size);
        Self { bytes, element: PhantomData }
    }

    fn order(a: &Self::Item<'_>, b: &Self::Item<'_>) -> Ordering {
        a.order(b)
    }

    fn hash_item(item: &Self::Item<'_>, state: &mut impl Hasher) {
        state.write(bytes_of(item));
    }

    fn take_apart(&self, parts: &mut Parts<'_>) {
        parts.node(Node::new(Kind::Values(T::TYPE), self.len()));
        parts.section(self.bytes.clone());
    }

    fn assemble(from: &mut Assembly<'_, '_>) -> Result<Self, ArrayError> {
        let (_, slots) = from.expect(Kind::Values(T::TYPE), 0)?;
        Self::checked(from.section()?, slots)
    }

    fn visit(&self, visit: &mut dyn FnMut(&Buffer)) {
        visit(&self.bytes);
    }

    fn replace(&mut self, replace: &mut Replacing<'_>) -> Result<()> {
        replace.buffer(&mut self.bytes)
    }
}

impl<T: Element> Buildable for Values<T> {
    type Builder = ValuesBuilder<T>;
}

impl<T: Element> Rearrange for Values<T> {
    fn take(&self, slots: &[usize], meter: &mut dyn Meter) -> Result<Self> {
        let mut taken = Growing::default();
        taken.reserve_exact(slots.len(), meter)?;
        let values = self.as_slice();
        taken.0.extend(slots.iter().map(|&slot| values[slot]));
        Ok(taken.0.into())
    }

    fn concat(arrays: &[&Self], meter: &mut dyn Meter) -> Result<Self> {
        let mut all = Growing::default();
        all.reserve_exact(arrays.iter().map(|array| array.len()).sum(), meter)?;
        arrays.iter().for_each(|array| all.0.extend_from_slice(array));
        Ok(all.0.into())
    }
}

/// Makes [`Values`].
#[derive(Debug)]
pub struct ValuesBuilder<T> {
    values: Growing<T>,
}

impl<T> Default for ValuesBuilder<T> {
    fn default() -> Self {
        Self { values: Growing::default() }
    }
}

impl<T: Element> ValuesBuilder<T> {
    /// Appends all of `values`.
    ///
    /// # Errors
    /// What the meter says; it is then as it was.
    pub fn extend_metered(&mut self, values: &[T], meter: &mut dyn Meter) -> Result<()> {
        self.values.reserve(values.len(), meter)?;
        self.values.0.extend_from_slice(values);
        Ok(())
    }

    pub(crate) fn reserve_slots(&mut self, slots: usize, meter: &mut dyn Meter) -> Result<()> {
        self.values.reserve_exact(slots, meter)
    }
}

impl<T: Element> Builder for ValuesBuilder<T> {
    type Array = Values<T>;

    fn len(&self) -> usize {
        self.values.0.len()
    }

    fn push_metered(&mut self, item: T, meter: &mut dyn Meter) -> Result<()> {
        self.values.reserve(1, meter)?;
        self.values.0.push(item);
        Ok(())
    }

    fn push_hidden(&mut self, meter: &mut dyn Meter) -> Result<()> {
        self.push_metered(T::zeroed(), meter)
    }

    fn truncate(&mut self, len: usize) {
        self.values.0.truncate(len);
    }

    fn holds(&self, index: usize, item: &T) -> bool {
        self.values.0[index].order(item).is_eq()
    }

    fn finish(self) -> Values<T> {
        self.values.0.into()
    }
}
