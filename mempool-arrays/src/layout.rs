//! `Layout`: what all arrays have in common, and `Builder`: how they grow.

use std::cmp::Ordering;
use std::fmt;
use std::hash::Hasher;
use std::ops::Range;

use mempool_core::{Buffer, Result};

use crate::error::ArrayError;
use crate::part::{Assembly, Parts};

/// An array: so many slots, in buffers that never change.
///
/// *Ownership*: clone and slice share the buffers and copy nothing. *Cost*: an array is a few words beside its buffers,
/// and reading one back from disk makes those words alone.
///
/// A layout of your own is a [group](Parts::group) of layouts that there are: it hands each call on to its children. It writes no
/// bytes by itself, so that what comes back from a pool's own frames need not be looked at again.
pub trait Layout: Clone + fmt::Debug + Send + Sync + Sized + 'static {
    /// What a slot shows.
    type Item<'a>: fmt::Debug;
    /// A tag of the type, the same in every build: it is what the frame of a value says that it holds. A layout with
    /// children [combines](tag_over) its own with theirs.
    const TAG: u64;

    /// How many slots it has.
    fn len(&self) -> usize;

    /// Whether it has no slots.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What slot `index` shows; `None` behind the last.
    fn get(&self, index: usize) -> Option<Self::Item<'_>>;

    /// The slots in `range`, sharing the buffers.
    ///
    /// # Panics
    /// When the range does not lie within the array, as slicing does.
    #[must_use]
    fn slice(&self, range: Range<usize>) -> Self;

    /// All slots in order.
    fn iter(&self) -> impl ExactSizeIterator<Item = Self::Item<'_>> {
        (0..self.len()).map(|index| self.get(index).expect("an index below the length"))
    }

    /// Which of two slots comes first. A total order: slots of which neither does are the same, as far as dictionaries and
    /// indexes know.
    fn order(a: &Self::Item<'_>, b: &Self::Item<'_>) -> Ordering;

    /// Feeds a slot to a hash. Slots that are [the same](Self::order) have the same hash.
    fn hash_item(item: &Self::Item<'_>, state: &mut impl Hasher);

    /// Takes the array apart: its node, its sections, and then its children.
    fn take_apart(&self, parts: &mut Parts<'_>);

    /// Puts an array together. Of bytes that are to be checked, everything is, before any view of them exists; of our
    /// own, lengths alone.
    ///
    /// # Errors
    /// What is wrong with the bytes. Never a panic, and no more memory than the bytes themselves have.
    fn assemble(from: &mut Assembly<'_, '_>) -> Result<Self, ArrayError>;

    /// Shows each buffer to `visit`.
    fn visit(&self, visit: &mut dyn FnMut(&Buffer));

    /// Has `replace` put another buffer of the same bytes in the place of each.
    ///
    /// # Errors
    /// What `replace` says.
    fn replace(&mut self, replace: &mut Replacing<'_>) -> Result<()>;
}

/// What puts other buffers of the same bytes in the place of an array's own. Only a pool makes one: an array believes what is in
/// its buffers, so nobody else may put something there.
pub struct Replacing<'a>(pub(crate) &'a mut dyn FnMut(&mut Buffer) -> Result<()>);

impl Replacing<'_> {
    /// Replaces one buffer.
    ///
    /// # Errors
    /// When there is no room for the other one.
    pub fn buffer(&mut self, buffer: &mut Buffer) -> Result<()> {
        (self.0)(buffer)
    }
}

impl fmt::Debug for Replacing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Replacing")
    }
}

/// A layout that grows slot by slot.
pub trait Buildable: Layout {
    /// What makes such arrays.
    type Builder: Builder<Array = Self>;
}

/// A layout whose slots can be put into another order.
pub trait Rearrange: Layout {
    /// The slots of these numbers, in that order, each as often as it is named; what is allocated is reported to `meter`.
    ///
    /// # Errors
    /// What the meter says, or [`ArrayError::TooMany`] when offsets cannot count it.
    ///
    /// # Panics
    /// When there is no such slot.
    fn take(&self, slots: &[usize], meter: &mut dyn Meter) -> Result<Self>;

    /// Arrays end to end.
    ///
    /// # Errors
    /// What the meter says, or [`ArrayError::TooMany`] when offsets cannot count it.
    fn concat(arrays: &[&Self], meter: &mut dyn Meter) -> Result<Self>;
}

/// The tag of a layout of that name over a child.
#[must_use]
pub const fn tag_over(name: &str, child: u64) -> u64 {
    // FNV's own step, with a whole word at once.
    (mempool_core::type_tag(name) ^ child.rotate_left(29)).wrapping_mul(0x0000_0100_0000_01b3)
}

/// Whether an array has no bytes at all. Then all its slots are the same, however many it says that it has: nobody may look
/// at them one by one.
pub(crate) fn has_no_bytes(array: &impl Layout) -> bool {
    let mut empty = true;
    array.visit(&mut |buffer| empty &= buffer.is_empty());
    empty
}

/// Shows the first slots.
pub(crate) fn debug<A: Layout>(array: &A, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const SHOWN: usize = 16;
    let mut list = f.debug_list();
    list.entries(array.iter().take(SHOWN));
    match array.len().saturating_sub(SHOWN) {
        0 => list.finish(),
        more => list.entry(&format_args!("{more} more")).finish(),
    }
}

/// Where a builder reports what it allocates, before it does, and what it gave back, after.
pub trait Meter {
    /// So many bytes are about to be allocated.
    ///
    /// # Errors
    /// When there is no room; the builder is then as it was.
    fn take(&mut self, bytes: u64) -> Result<()>;

    /// So many bytes were given back to the allocator.
    fn give_back(&mut self, bytes: u64);
}

/// A meter that refuses nothing: for arrays that are made outside of a pool.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unmetered;

impl Meter for Unmetered {
    fn take(&mut self, _bytes: u64) -> Result<()> {
        Ok(())
    }

    fn give_back(&mut self, _bytes: u64) {}
}

/// An array while it grows, slot by slot.
///
/// ```
/// use mempool_arrays::{Builder, Layout, Strings, StringsBuilder};
///
/// let mut builder = StringsBuilder::<i64>::default();
/// builder.push("Ushuaia")?;
/// builder.push("")?;
/// let strings: Strings = builder.finish();
/// assert_eq!(strings.get(0), Some("Ushuaia"));
/// assert_eq!(strings.get(1), Some(""));
/// assert_eq!(strings.get(2), None);
/// # Ok::<(), mempool_core::Error>(())
/// ```
pub trait Builder: Default + fmt::Debug + Send + 'static {
    /// What it makes.
    type Array: Buildable<Builder = Self>;

    /// How many slots it has so far.
    fn len(&self) -> usize;

    /// Whether it has no slots yet.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends `item`, reporting what is allocated to `meter`.
    ///
    /// # Errors
    /// What the meter says, or [`ArrayError::TooMany`] when offsets or codes cannot count it; it is then as it was.
    fn push_metered(
        &mut self,
        item: <Self::Array as Layout>::Item<'_>,
        meter: &mut dyn Meter,
    ) -> Result<()>;

    /// Appends a slot that nobody looks at: what is below a missing one.
    ///
    /// # Errors
    /// As [`push_metered`](Self::push_metered).
    fn push_hidden(&mut self, meter: &mut dyn Meter) -> Result<()>;

    /// Appends `item`.
    ///
    /// # Errors
    /// [`ArrayError::TooMany`] when offsets or codes cannot count it.
    fn push(&mut self, item: <Self::Array as Layout>::Item<'_>) -> Result<()> {
        self.push_metered(item, &mut Unmetered)
    }

    /// Takes back all slots from `len` on. What was allocated for them stays.
    fn truncate(&mut self, len: usize);

    /// Whether slot `index` is [the same](Layout::order) as `item`.
    ///
    /// # Panics
    /// Behind the last.
    fn holds(&self, index: usize, item: &<Self::Array as Layout>::Item<'_>) -> bool;

    /// The array. What was allocated too much for it stays its own; nothing is copied.
    fn finish(self) -> Self::Array;
}

/// A vector that grows by doubling and reports it.
#[derive(Debug)]
pub(crate) struct Growing<T>(pub(crate) Vec<T>);

impl<T> Default for Growing<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Growing<T> {
    /// Makes room for `more` elements.
    pub(crate) fn reserve(&mut self, more: usize, meter: &mut dyn Meter) -> Result<()> {
        let needed = self.0.len().saturating_add(more);
        if needed <= self.0.capacity() {
            return Ok(());
        }
        self.grow_to(needed.max(self.0.capacity().saturating_mul(2)), meter)
    }

    /// Makes room for `more` elements and not one more.
    pub(crate) fn reserve_exact(&mut self, more: usize, meter: &mut dyn Meter) -> Result<()> {
        match self.0.len().saturating_add(more) {
            needed if needed <= self.0.capacity() => Ok(()),
            needed => self.grow_to(needed, meter),
        }
    }

    /// The new room is paid for before it is taken, and the old one given back when it is gone: for a moment both are there.
    #[cold]
    fn grow_to(&mut self, capacity: usize, meter: &mut dyn Meter) -> Result<()> {
        let bytes = |capacity: usize| (capacity as u64).saturating_mul(size_of::<T>() as u64);
        let before = self.0.capacity();
        meter.take(bytes(capacity))?;
        let more = capacity.saturating_sub(self.0.len());
        if self.0.try_reserve_exact(more).is_err() {
            meter.give_back(bytes(capacity));
            return Err(mempool_core::Error::Allocation { bytes: bytes(capacity) });
        }
        // The allocator may have given more than was asked for.
        let excess = bytes(self.0.capacity()).saturating_sub(bytes(capacity));
        if excess > 0 {
            meter.take(excess)?;
        }
        meter.give_back(bytes(before));
        Ok(())
    }
}
