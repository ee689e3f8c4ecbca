//! `NdArray<T>`: elements in several dimensions.
//!
//! ```text
//! shape [2, 3]     (0,0)  (0,1)  (0,2)  (1,0)  (1,1)  (1,2)
//! strides [3, 1]  ┌──────┬──────┬──────┬──────┬──────┬──────┐
//!          values │ a    │ b    │ c    │ d    │ e    │ f    │
//! shape [3, 2]    └──────┴──────┴──────┴──────┴──────┴──────┘
//! strides [1, 3]   (0,0)  (1,0)  (2,0)  (0,1)  (1,1)  (2,1)     the transpose: the same values
//!
//! at rest         ┌───────────┬───────────┐   ┌──────────────────────────┐
//!        sections │ 2    3    │ 3    1    │   │ a    b    c    d    e  f │
//!                 └───────────┴───────────┘   └──────────────────────────┘
//!                   extents     strides         the child, `Values<T>`
//!                   u64 each    i64 each
//! ```
//!
//! The element at index (i, j, …) is `i · strides[0] + j · strides[1] + …` elements behind the first. No two indexes lead to
//! one element. At rest there are the elements of the array and no others, in the order in which they lie in memory, and no
//! stride is negative; along an axis of one index or none, and in an array without elements, it is 0.

use std::cmp::Ordering;
use std::fmt;
use std::hash::Hasher;
use std::ops::Range;

use bytemuck::cast_slice;
use mempool_core::{Buffer, Result};

use crate::description::{Kind, Node};
use crate::element::Element;
use crate::error::ArrayError;
use crate::layout::{Growing, Layout, Meter, Rearrange, Replacing, tag_over};
use crate::part::{Assembly, Parts, check_length, write_items};
use crate::values::{Values, adopt};
use crate::walk::{Elements, Runs};

/// The most dimensions that an [`NdArray`] has.
pub const DIMENSIONS_MAX: usize = 32;

/// Elements in several dimensions, from none to [`DIMENSIONS_MAX`].
///
/// *Shape*: one buffer of elements, and for each axis an extent and a stride, counted in elements. Row-major, unless it was
/// made otherwise. Clones, slices, transposes and single rows are views: they share the buffer and copy nothing.
/// *As a [`Layout`]*: a slot is an index of the first axis, and shows a view of one dimension less, as
/// [`index_axis`](Self::index_axis) does; an array of no dimensions is one slot, which shows itself. *At rest*: what the view
/// shows and no more.
///
/// ```
/// use mempool_arrays::NdArray;
///
/// let matrix = NdArray::new(vec![1, 2, 3, 4, 5, 6], &[2, 3])?;
/// assert_eq!(matrix.get(&[1, 0]), Some(&4));
/// let columns = matrix.transposed();
/// assert_eq!(columns.shape(), [3, 2]);
/// assert!(columns.iter().eq(&[1, 4, 2, 5, 3, 6]));
/// assert!(matrix.slice_axis(1, 1..3).iter().eq(&[2, 3, 5, 6]));
/// # Ok::<(), mempool_arrays::ArrayError>(())
/// ```
#[derive(Clone)]
pub struct NdArray<T> {
    /// From the lowest to the highest element that an index leads to: every constructor sees to that.
    values: Values<T>,
    /// Where the element is all of whose indexes are 0.
    first: usize,
    shape: Box<[usize]>,
    strides: Box<[isize]>,
}

/// How many elements a shape has, which lies over `found`.
fn elements_of(shape: &[usize], found: usize) -> Result<usize, ArrayError> {
    if shape.len() > DIMENSIONS_MAX {
        let (found, most) = (shape.len() as u64, DIMENSIONS_MAX as u64);
        return Err(ArrayError::Dimensions { found, most });
    }
    // A zero among extents does not excuse the others: a slice of the array has their product.
    let mut extents = shape.iter().filter(|&&extent| extent > 0);
    let product = extents.try_fold(1_usize, |product, &extent| product.checked_mul(extent));
    match product.filter(|&product| isize::try_from(product).is_ok()) {
        Some(_) if shape.contains(&0) => Ok(0),
        Some(product) => Ok(product),
        None => Err(ArrayError::Shape { elements: u64::MAX, found: found as u64 }),
    }
}

/// The strides of elements that lie end to end. The axes come in the order in which they lie in memory: the index of the
/// last one changes from each element to the next.
fn dense(shape: &[usize], axes: impl DoubleEndedIterator<Item = usize>) -> Vec<isize> {
    let mut strides = vec![0; shape.len()];
    if shape.contains(&0) {
        return strides;
    }
    let mut step = 1;
    for axis in axes.rev().filter(|&axis| shape[axis] > 1) {
        strides[axis] = step;
        step *= shape[axis].cast_signed();
    }
    strides
}

/// The strides, with 0 for those along which nobody can go.
fn settled(shape: &[usize], mut strides: Vec<isize>) -> Vec<isize> {
    let is_empty = shape.contains(&0);
    let steps = strides.iter_mut().zip(shape);
    steps.filter(|&(_, &extent)| is_empty || extent == 1).for_each(|(stride, _)| *stride = 0);
    strides
}

/// The axes along which one can go, the one with the longest steps first: the order of the elements in memory.
fn by_memory(shape: &[usize], strides: &[isize]) -> Vec<usize> {
    let mut axes: Vec<usize> = (0..shape.len()).filter(|&axis| shape[axis] > 1).collect();
    axes.sort_by_key(|&axis| std::cmp::Reverse(strides[axis].unsigned_abs()));
    axes
}

/// Checks that strides lead to `len` values at most, and no two indexes to one of them. The shape has no more elements.
fn check_strides(shape: &[usize], strides: &[isize], len: usize) -> Result<(), ArrayError> {
    if shape.contains(&0) {
        return Ok(());
    }
    // The last value that the axes with shorter steps lead to.
    let mut last = 0;
    for axis in by_memory(shape, strides).into_iter().rev() {
        let (steps, stride) = (shape[axis] - 1, strides[axis]);
        let (least, most) = (last + 1, (len - 1 - last) / steps);
        if !(least..=most).contains(&stride.unsigned_abs()) {
            let [axis, least, most] = [axis, least, most].map(|number| number as u64);
            return Err(ArrayError::Stride { axis, stride: stride as i64, least, most });
        }
        last += stride.unsigned_abs() * steps;
    }
    Ok(())
}

impl<T: Element> NdArray<T> {
    /// An array of that shape, row by row: the last index changes from each element to the next.
    ///
    /// # Errors
    /// [`ArrayError::Shape`] when there are more or fewer values than the shape has elements, [`ArrayError::Dimensions`]
    /// when it has more than [`DIMENSIONS_MAX`].
    pub fn new(values: impl Into<Values<T>>, shape: &[usize]) -> Result<Self, ArrayError> {
        Self::dense(values.into(), shape, 0..shape.len())
    }

    /// An array of that shape, column by column: the first index changes from each element to the next, as in Fortran,
    /// Julia and R.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn column_major(values: impl Into<Values<T>>, shape: &[usize]) -> Result<Self, ArrayError> {
        Self::dense(values.into(), shape, (0..shape.len()).rev())
    }

    fn dense(
        values: Values<T>,
        shape: &[usize],
        axes: impl DoubleEndedIterator<Item = usize>,
    ) -> Result<Self, ArrayError> {
        let elements = elements_of(shape, values.len())?;
        if elements != values.len() {
            let (elements, found) = (elements as u64, values.len() as u64);
            return Err(ArrayError::Shape { elements, found });
        }
        let strides = dense(shape, axes).into();
        Ok(Self { values, first: 0, shape: shape.into(), strides })
    }

    /// An array whose elements lie as far from each other as `strides` say, in elements. The first of `values` is the lowest
    /// that an index leads to: along an axis of negative stride that is the last index. Values behind the highest are left
    /// out. The stride of an axis that has one index or none does not matter.
    ///
    /// # Errors
    /// [`ArrayError::Stride`] for a stride that leads out of the values, or two indexes to one of them; otherwise as
    /// [`new`](Self::new), for a shape of more elements than there are values.
    pub fn strided(
        values: impl Into<Values<T>>,
        shape: &[usize],
        strides: &[isize],
    ) -> Result<Self, ArrayError> {
        let values = values.into();
        let (elements, found) = (elements_of(shape, values.len())?, values.len());
        if strides.len() != shape.len() {
            let (expected, found) = (shape.len() as u64, strides.len() as u64);
            return Err(ArrayError::Slots { part: "strides".to_owned(), expected, found });
        }
        if elements > found {
            return Err(ArrayError::Shape { elements: elements as u64, found: found as u64 });
        }
        check_strides(shape, strides, found)?;
        let strides = settled(shape, strides.to_vec());
        Ok(Self::cut(&values, backward(shape, &strides), shape.to_vec(), strides))
    }

    /// The array whose first element is at `first` of `values`. All of its elements lie within them.
    pub(crate) fn cut(
        values: &Values<T>,
        first: usize,
        shape: Vec<usize>,
        strides: Vec<isize>,
    ) -> Self {
        let strides = settled(&shape, strides);
        let back = backward(&shape, &strides);
        let values = match shape.contains(&0) {
            true => values.slice(0..0),
            false => values.slice(first - back..first + forward(&shape, &strides) + 1),
        };
        Self { values, first: back, shape: shape.into(), strides: strides.into() }
    }

    /// How many dimensions it has.
    #[must_use]
    pub fn ndim(&self) -> usize {
        self.shape.len()
    }

    /// How many indexes each axis has.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How many elements behind an element the one is whose index along the axis is one more; 0 where there is none.
    #[must_use]
    pub fn strides(&self) -> &[isize] {
        &self.strides
    }

    /// How many elements it has in all.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The element at an index, which has a number for each axis.
    #[must_use]
    pub fn get(&self, index: &[usize]) -> Option<&T> {
        if index.len() != self.ndim() {
            return None;
        }
        let mut at = self.first;
        for ((&index, &extent), &stride) in index.iter().zip(&self.shape).zip(&self.strides) {
            if index >= extent {
                return None;
            }
            at = at.wrapping_add_signed(index.cast_signed().wrapping_mul(stride));
        }
        self.values.get(at)
    }

    /// All elements in row-major order: the last index changes from each to the next.
    #[must_use]
    pub fn iter(&self) -> Elements<'_, T> {
        Elements::new(&self.values, self.runs_along(0..self.ndim()))
    }

    fn runs_along(&self, axes: impl Iterator<Item = usize>) -> Runs {
        Runs::new(self.first, axes.map(|axis| (self.shape[axis], self.strides[axis])))
    }

    /// Writes all elements, a bounded piece or a run at a time. `axes` are those along which one can go.
    fn write_along(
        &self,
        axes: &[usize],
        write: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        /// Shorter runs are brought together before they are written.
        const RUN_BYTES_MIN: usize = 1024;
        let mut runs = self.runs_along(axes.iter().copied());
        if runs.len * size_of::<T>() < RUN_BYTES_MIN || runs.stride != 1 {
            let elements = Elements::new(&self.values, runs);
            return write_items(elements.copied(), write);
        }
        while let Some(start) = runs.next() {
            write(cast_slice(runs.slice(&self.values, start).unwrap_or_default()))?;
        }
        Ok(())
    }

    /// The elements in row-major order, when they lie end to end.
    #[must_use]
    pub fn as_slice(&self) -> Option<&[T]> {
        (*self.strides == dense(&self.shape, 0..self.ndim())).then(|| self.values.as_slice())
    }

    /// The values from the lowest to the highest element, as they lie in memory.
    #[must_use]
    pub fn values(&self) -> &Values<T> {
        &self.values
    }

    /// Whether the values are all elements and no others, and no axis runs backwards.
    fn is_dense(&self) -> bool {
        self.values.len() == self.elements() && self.strides.iter().all(|&stride| stride >= 0)
    }

    /// The part of it whose index along `axis` is `index`, of one dimension less; `None` where there is none.
    #[must_use]
    pub fn index_axis(&self, axis: usize, index: usize) -> Option<Self> {
        if index >= *self.shape.get(axis)? {
            return None;
        }
        let (mut shape, mut strides) = (self.shape.to_vec(), self.strides.to_vec());
        shape.remove(axis);
        let stride = strides.remove(axis);
        Some(Self::cut(&self.values, self.behind(index, stride), shape, strides))
    }

    /// The part of it whose indexes along `axis` are in `range`.
    ///
    /// # Panics
    /// When there is no such axis, or the range does not lie within it.
    #[must_use]
    pub fn slice_axis(&self, axis: usize, range: Range<usize>) -> Self {
        let extent = self.shape[axis];
        assert!(range.start <= range.end && range.end <= extent, "{range:?} of {extent}");
        let mut shape = self.shape.to_vec();
        shape[axis] = range.len();
        let first = self.behind(range.start, self.strides[axis]);
        Self::cut(&self.values, first, shape, self.strides.to_vec())
    }

    /// The element so many steps behind the first one.
    fn behind(&self, steps: usize, stride: isize) -> usize {
        self.first.wrapping_add_signed(steps.cast_signed().wrapping_mul(stride))
    }

    /// The same elements with the axes in the order of `axes`.
    ///
    /// # Panics
    /// When `axes` does not name each axis once.
    #[must_use]
    pub fn permuted(&self, axes: &[usize]) -> Self {
        let mut sorted = axes.to_vec();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..self.ndim()), "{axes:?} of {} axes", self.ndim());
        Self {
            values: self.values.clone(),
            first: self.first,
            shape: axes.iter().map(|&axis| self.shape[axis]).collect(),
            strides: axes.iter().map(|&axis| self.strides[axis]).collect(),
        }
    }

    /// The same elements with the axes in reverse order.
    #[must_use]
    pub fn transposed(&self) -> Self {
        self.permuted(&(0..self.ndim()).rev().collect::<Vec<_>>())
    }

    /// The same elements, those along `axis` in reverse order.
    ///
    /// # Panics
    /// When there is no such axis.
    #[must_use]
    pub fn reversed(&self, axis: usize) -> Self {
        let first = self.behind(self.shape[axis].saturating_sub(1), self.strides[axis]);
        let mut strides = self.strides.clone();
        strides[axis] = -strides[axis];
        Self { values: self.values.clone(), first, shape: self.shape.clone(), strides }
    }

    /// The same elements end to end in row-major order: itself if they lie so, a copy otherwise.
    #[must_use]
    pub fn to_row_major(&self) -> Self {
        if self.as_slice().is_some() {
            return self.clone();
        }
        let strides = dense(&self.shape, 0..self.ndim()).into();
        Self { values: self.iter().copied().collect(), first: 0, strides, ..self.clone() }
    }

    /// The same elements, in row-major order, in another shape. It copies when they do not lie end to end.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn reshaped(&self, shape: &[usize]) -> Result<Self, ArrayError> {
        Self::new(self.to_row_major().values, shape)
    }
}

/// How far below the first element the lowest is.
fn backward(shape: &[usize], strides: &[isize]) -> usize {
    let backwards = |(&extent, &stride): (&usize, &isize)| match stride < 0 {
        true => extent.saturating_sub(1) * stride.unsigned_abs(),
        false => 0,
    };
    shape.iter().zip(strides).map(backwards).sum()
}

/// How far above the first element the highest is.
fn forward(shape: &[usize], strides: &[isize]) -> usize {
    let forwards = |(&extent, &stride): (&usize, &isize)| match stride > 0 {
        true => extent.saturating_sub(1) * stride.unsigned_abs(),
        false => 0,
    };
    shape.iter().zip(strides).map(forwards).sum()
}

impl<T: Element> From<Values<T>> for NdArray<T> {
    /// Of one dimension.
    fn from(values: Values<T>) -> Self {
        let strides = dense(&[values.len()], 0..1).into();
        Self { first: 0, shape: [values.len()].into(), strides, values }
    }
}

impl<T: Element> From<Vec<T>> for NdArray<T> {
    /// Of one dimension. Takes the vector over.
    fn from(vector: Vec<T>) -> Self {
        Values::from(vector).into()
    }
}

impl<'a, T: Element> IntoIterator for &'a NdArray<T> {
    type Item = &'a T;
    type IntoIter = Elements<'a, T>;

    fn into_iter(self) -> Elements<'a, T> {
        self.iter()
    }
}

impl<T: Element> PartialEq for NdArray<T> {
    /// Shape and elements count, and not how they lie in memory.
    fn eq(&self, other: &Self) -> bool {
        self.shape == other.shape && self.iter().eq(other.iter())
    }
}

impl<T: Element> fmt::Debug for NdArray<T> {
    /// Its shape and the first elements.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct First<'a, T>(&'a NdArray<T>);
        impl<T: Element> fmt::Debug for First<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                const SHOWN: usize = 16;
                let mut list = f.debug_list();
                list.entries(self.0.iter().take(SHOWN));
                match self.0.elements().saturating_sub(SHOWN) {
                    0 => list.finish(),
                    more => list.entry(&format_args!("{more} more")).finish(),
                }
            }
        }
        f.debug_struct("NdArray")
            .field("shape", &self.shape)
            .field("elements", &First(self))
            .finish()
    }
}

impl<T: Element> Layout for NdArray<T> {
    type Item<'a> = Self;

    const TAG: u64 = tag_over("nd", T::TYPE.tag());

    fn len(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    fn get(&self, index: usize) -> Option<Self> {
        match self.ndim() {
            0 => (index == 0).then(|| self.clone()),
            _ => self.index_axis(0, index),
        }
    }

    /// Of an array of no dimensions, one slot is itself, and no slots are an empty array of one dimension.
    fn slice(&self, range: Range<usize>) -> Self {
        match self.ndim() {
            0 if range == (0..1) => self.clone(),
            0 => Self::cut(&self.values, 0, vec![1], vec![0]).slice_axis(0, range),
            _ => self.slice_axis(0, range),
        }
    }

    /// Element by element in row-major order; of two arrays that begin alike, the one with fewer elements comes first, and
    /// then the one with the lesser shape.
    fn order(a: &Self, b: &Self) -> Ordering {
        let differing = a.iter().zip(b).map(|(a, b)| a.order(b)).find(|order| order.is_ne());
        differing
            .unwrap_or_else(|| a.elements().cmp(&b.elements()))
            .then_with(|| a.shape.cmp(&b.shape))
    }

    fn hash_item(item: &Self, state: &mut impl Hasher) {
        state.write_usize(item.ndim());
        item.shape.iter().for_each(|&extent| state.write_usize(extent));
        item.iter().for_each(|element| Values::hash_item(element, state));
    }

    fn take_apart(&self, parts: &mut Parts<'_>) {
        let node = Node::new(Kind::NdArray, Layout::len(self));
        parts.node(Node { children: 1, figure: self.ndim() as u64, ..node });
        let axes = by_memory(&self.shape, &self.strides);
        let strides = dense(&self.shape, axes.iter().copied());
        let extents = self.shape.iter().map(|&extent| extent as i64);
        parts.section(adopt(extents.chain(strides.iter().map(|&stride| stride as i64)).collect()));
        if self.is_dense() {
            return self.values.take_apart(parts);
        }
        parts.node(Node::new(Kind::Values(T::TYPE), self.elements()));
        let array = self.clone();
        parts.made(move |write| array.write_along(&axes, write));
    }

    fn assemble(from: &mut Assembly<'_, '_>) -> Result<Self, ArrayError> {
        let (node, slots) = from.expect(Kind::NdArray, 1)?;
        let (shape, strides) = axes_of(&node, &from.section()?)?;
        let values = from.child(Values::assemble)?;
        let elements = elements_of(&shape, values.len())?;
        if elements != values.len() {
            let (elements, found) = (elements as u64, values.len() as u64);
            return Err(ArrayError::Shape { elements, found });
        }
        let array = Self::strided(values, &shape, &strides)?;
        if slots != Layout::len(&array) {
            let (expected, found) = (node.slots, Layout::len(&array) as u64);
            return Err(ArrayError::Slots { part: "the first axis".to_owned(), expected, found });
        }
        Ok(array)
    }

    fn visit(&self, visit: &mut dyn FnMut(&Buffer)) {
        self.values.visit(visit);
    }

    fn replace(&mut self, replace: &mut Replacing<'_>) -> Result<()> {
        self.values.replace(replace)
    }
}

impl<T: Element> Rearrange for NdArray<T> {
    /// Slots are indexes of the first axis. Of an array of no dimensions, each is itself.
    fn take(&self, slots: &[usize], meter: &mut dyn Meter) -> Result<Self> {
        let len = Layout::len(self);
        let (rest, stride) = match self.shape.split_first() {
            Some((_, rest)) => (rest, self.strides[0]),
            None => (&[][..], 0),
        };
        let mut taken = Growing::default();
        taken.reserve_exact(slots.len().saturating_mul(rest.iter().product()), meter)?;
        let runs = self.runs_along(self.ndim() - rest.len()..self.ndim());
        for &slot in slots {
            assert!(slot < len, "slot {slot} of {len}");
            let runs = runs.starting_at(self.behind(slot, stride));
            Elements::new(&self.values, runs).for_each(|&element| taken.0.push(element));
        }
        Self::new(taken.0, &[&[slots.len()], rest].concat()).map_err(ArrayError::of::<Self>)
    }

    /// One behind the other along the first axis; the others must have the same extents.
    ///
    /// # Errors
    /// Also [`ArrayError::Slots`] when they do not.
    fn concat(arrays: &[&Self], meter: &mut dyn Meter) -> Result<Self> {
        let Some(first) = arrays.first() else { return Ok(Self::from(Vec::new())) };
        let rest = first.shape.get(1..).unwrap_or_default();
        for array in arrays {
            check_extents(rest, array.shape.get(1..).unwrap_or_default())
                .map_err(ArrayError::of::<Self>)?;
        }
        let sum = |of: fn(&Self) -> usize| {
            let sum = arrays.iter().try_fold(0_usize, |sum, array| sum.checked_add(of(array)));
            sum.unwrap_or(usize::MAX)
        };
        let mut all = Growing::default();
        all.reserve_exact(sum(Self::elements), meter)?;
        arrays.iter().flat_map(|array| array.iter()).for_each(|&element| all.0.push(element));
        Self::new(all.0, &[&[sum(Layout::len)], rest].concat()).map_err(ArrayError::of::<Self>)
    }
}

/// Checks that the axes behind the first have the same extents.
fn check_extents(expected: &[usize], found: &[usize]) -> Result<(), ArrayError> {
    let differing = expected.iter().zip(found).position(|(expected, found)| expected != found);
    let (part, [expected, found]) = match differing {
        Some(axis) => (format!("axis {}", axis + 1), [expected[axis], found[axis]]),
        None if expected.len() == found.len() => return Ok(()),
        None => ("the shape".to_owned(), [expected.len() + 1, found.len() + 1]),
    };
    Err(ArrayError::Slots { part, expected: expected as u64, found: found as u64 })
}

/// Extents and strides of a section.
fn axes_of(node: &Node, section: &[u8]) -> Result<(Vec<usize>, Vec<isize>), ArrayError> {
    let ndim = usize::try_from(node.figure).ok().filter(|&ndim| ndim <= DIMENSIONS_MAX);
    let Some(ndim) = ndim else {
        let most = DIMENSIONS_MAX as u64;
        return Err(ArrayError::Dimensions { found: node.figure, most });
    };
    check_length("extents and strides", ndim, ndim.checked_mul(16), section)?;
    let (words, _) = section.as_chunks::<8>();
    let (extents, strides) = words.split_at(ndim);
    // Where a word is wider than an address, what does not fit is larger than anything in memory.
    let extents = extents.iter().map(|&word| u64::from_le_bytes(word));
    let extents = extents.map(|extent| usize::try_from(extent).unwrap_or(usize::MAX));
    let strides = strides.iter().map(|&word| i64::from_le_bytes(word));
    let strides = strides.map(|stride| isize::try_from(stride).unwrap_or(isize::MAX));
    Ok((extents.collect(), strides.collect()))
}
