//! `List<A>`: runs of another array.
//!
//! ```text
//! slots         0      1      2
//!          ┌──────┬──────┬──────┬──────┐
//! offsets  │  0   │  2   │  2   │  5   │        one more than slots; 4 or 8 bytes each
//!          └──────┴──────┴──────┴──────┘
//!          ┌──────┬──────┬──────┬──────┬──────┐
//! child    │ a    │ b    │ c    │ d    │ e    │  any layout, end to end
//!          └──────┴──────┴──────┴──────┴──────┘
//! ```

use std::cmp::Ordering;
use std::fmt;
use std::hash::Hasher;
use std::ops::Range;

use mempool_core::{Buffer, Result};

use crate::description::{Kind, Node};
use crate::error::ArrayError;
use crate::layout::{
    Buildable, Builder, Layout, Meter, Rearrange, Replacing, debug, has_no_bytes, tag_over,
};
use crate::offsets::{Offset, Offsets, OffsetsBuilder};
use crate::part::{Assembly, Parts};
use crate::values::Values;

/// Lists of any length, each a run of one child array.
///
/// *Shape*: offsets beside the child. *View*: a slot is a slice of the child, which shares its buffers.
///
/// ```
/// use mempool_arrays::{Builder, Layout, List, ListBuilder, Values};
///
/// let mut builder = ListBuilder::<Values<i32>, i64>::default();
/// builder.push(Values::from(vec![1, 2]))?;
/// builder.push(Values::default())?;
/// let lists: List<Values<i32>> = builder.finish();
/// assert_eq!(lists.get(0).unwrap()[..], [1, 2]);
/// assert_eq!(lists.get(1).unwrap().len(), 0);
/// # Ok::<(), mempool_core::Error>(())
/// ```
#[derive(Clone)]
pub struct List<A, O: Offset = i64> {
    /// In order, and the last within `child`: every constructor sees to that.
    offsets: Offsets<O>,
    child: A,
}

impl<A: Layout, O: Offset> List<A, O> {
    /// Lists that `offsets` cut out of `child`.
    ///
    /// # Errors
    /// [`ArrayError::Length`] or [`ArrayError::Offset`] for offsets that do not divide it.
    pub fn new(offsets: Values<O>, child: A) -> Result<Self, ArrayError> {
        let offsets = Offsets::from_values(offsets, child.len())?;
        Ok(Self { offsets, child })
    }

    /// Where each list starts and ends in the child. The first offset need not be zero.
    #[must_use]
    pub fn offsets(&self) -> &Values<O> {
        self.offsets.values()
    }

    /// The child that the lists are runs of.
    #[must_use]
    pub fn child(&self) -> &A {
        &self.child
    }
}

impl<A: Layout, O: Offset> Layout for List<A, O> {
    type Item<'a> = A;

    const TAG: u64 = tag_over("list", A::TAG ^ O::WIDTH as u64);

    fn len(&self) -> usize {
        self.offsets.slots()
    }

    fn get(&self, index: usize) -> Option<A> {
        self.offsets.get(index).map(|range| self.child.slice(range))
    }

    fn slice(&self, range: Range<usize>) -> Self {
        Self { offsets: self.offsets.slice(range), child: self.child.clone() }
    }

    /// Slot by slot; of two lists that begin alike, the shorter comes first.
    fn order(a: &A, b: &A) -> Ordering {
        if has_no_bytes(a) && has_no_bytes(b) {
            return a.len().cmp(&b.len());
        }
        let pairs = a.iter().zip(b.iter()).map(|(a, b)| A::order(&a, &b));
        let differing = pairs.into_iter().find(|order| order.is_ne());
        differing.unwrap_or_else(|| a.len().cmp(&b.len()))
    }

    fn hash_item(item: &A, state: &mut impl Hasher) {
        state.write_usize(item.len());
        if !has_no_bytes(item) {
            item.iter().for_each(|slot| A::hash_item(&slot, state));
        }
    }

    fn take_apart(&self, parts: &mut Parts<'_>) {
        let node = Node::new(Kind::List(O::WIDTH), self.offsets.slots());
        parts.node(Node { children: 1, ..node });
        self.offsets.add_section(parts);
        self.child.slice(self.offsets.run()).take_apart(parts);
    }

    fn assemble(from: &mut Assembly<'_, '_>) -> Result<Self, ArrayError> {
        let (_, slots) = from.expect(Kind::List(O::WIDTH), 1)?;
        let offsets = from.section()?;
        let child = from.child(A::assemble)?;
        let offsets = Offsets::from_section(offsets, slots, child.len(), from.is_checked())?;
        Ok(Self { offsets, child })
    }

    fn visit(&self, visit: &mut dyn FnMut(&Buffer)) {
        self.offsets.visit(visit);
        self.child.visit(visit);
    }

    fn replace(&mut self, replace: &mut Replacing<'_>) -> Result<()> {
        self.offsets.replace(replace)?;
        self.child.replace(replace)
    }
}

impl<A: Layout, O: Offset> PartialEq for List<A, O> {
    fn eq(&self, other: &Self) -> bool {
        let same = |(a, b): (A, A)| Self::order(&a, &b).is_eq();
        self.len() == other.len() && self.iter().zip(other.iter()).all(same)
    }
}

impl<A: Layout, O: Offset> fmt::Debug for List<A, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(self, f)
    }
}

impl<A: Buildable, O: Offset> Buildable for List<A, O> {
    type Builder = ListBuilder<A, O>;
}

impl<A: Rearrange, O: Offset> Rearrange for List<A, O> {
    fn take(&self, slots: &[usize], meter: &mut dyn Meter) -> Result<Self> {
        let runs = slots.iter().map(|&slot| {
            self.offsets.get(slot).unwrap_or_else(|| panic!("slot {slot} of {}", self.len()))
        });
        let mut offsets = OffsetsBuilder::default();
        let total = runs.clone().map(|run| run.len()).sum();
        offsets.reserve_slots(slots.len(), total, LIST, meter)?;
        let mut end = 0;
        for run in runs.clone() {
            end += run.len();
            offsets.push(end);
        }
        let children: Vec<usize> = runs.flatten().collect();
        Ok(Self { offsets: offsets.finish(), child: self.child.take(&children, meter)? })
    }

    fn concat(arrays: &[&Self], meter: &mut dyn Meter) -> Result<Self> {
        let runs: Vec<A> =
            arrays.iter().map(|array| array.child.slice(array.offsets.run())).collect();
        let child = A::concat(&runs.iter().collect::<Vec<_>>(), meter)?;
        let mut offsets = OffsetsBuilder::default();
        let slots = arrays.iter().map(|array| array.len()).sum();
        offsets.reserve_slots(slots, child.len(), LIST, meter)?;
        let mut end = 0;
        for (start, stop) in arrays.iter().flat_map(|array| array.offsets.pairs()) {
            end += stop.less(start).index();
            offsets.push(end);
        }
        Ok(Self { offsets: offsets.finish(), child })
    }
}

/// Makes a [`List`].
pub struct ListBuilder<A: Buildable, O> {
    offsets: OffsetsBuilder<O>,
    child: A::Builder,
}

impl<A: Buildable, O> Default for ListBuilder<A, O> {
    fn default() -> Self {
        Self { offsets: OffsetsBuilder::default(), child: A::Builder::default() }
    }
}

impl<A: Buildable, O: Offset> fmt::Debug for ListBuilder<A, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListBuilder").field("len", &self.len()).finish_non_exhaustive()
    }
}

const LIST: &str = "lists with 32-bit offsets";

impl<A: Buildable, O: Offset> ListBuilder<A, O> {
    /// Appends a list of `items`.
    ///
    /// # Errors
    /// As [`Builder::push_metered`].
    pub fn extend_metered<'i>(
        &mut self,
        items: impl IntoIterator<Item = A::Item<'i>>,
        meter: &mut dyn Meter,
    ) -> Result<()> {
        let before = self.child.len();
        let mut items = items.into_iter();
        let pushed = items.try_for_each(|item| self.child.push_metered(item, meter));
        let end = self.child.len();
        let reserved = pushed.and_then(|()| self.offsets.reserve(end, LIST, meter));
        match reserved {
            Ok(()) => self.offsets.push(end),
            Err(_) => self.child.truncate(before),
        }
        reserved
    }
}

impl<A: Buildable, O: Offset> Builder for ListBuilder<A, O> {
    type Array = List<A, O>;

    fn len(&self) -> usize {
        self.offsets.slots()
    }

    fn push_metered(&mut self, item: A, meter: &mut dyn Meter) -> Result<()> {
        self.extend_metered(item.iter(), meter)
    }

    fn push_hidden(&mut self, meter: &mut dyn Meter) -> Result<()> {
        self.extend_metered(std::iter::empty(), meter)
    }

    fn truncate(&mut self, len: usize) {
        if len < self.len() {
            self.child.truncate(self.offsets.get(len).start);
            self.offsets.truncate(len);
        }
    }

    fn holds(&self, index: usize, item: &A) -> bool {
        let range = self.offsets.get(index);
        range.len() == item.len()
            && range.zip(item.iter()).all(|(index, item)| self.child.holds(index, &item))
    }

    fn finish(self) -> List<A, O> {
        List { offsets: self.offsets.finish(), child: self.child.finish() }
    }
}
