//! Offsets: where each slot of a run starts and ends in what is behind them.
//!
//! ```text
//! slots      0        1        2
//!      ┌────────┬────────┬────────┬────────┐
//!      │ start  │        │        │ end    │   one more than there are slots; slot i runs from i to i + 1
//!      └────────┴────────┴────────┴────────┘
//! ```

use std::fmt;
use std::ops::{BitOr, Range};

use mempool_core::{Buffer, Result};

use crate::element::Element;
use crate::error::ArrayError;
use crate::layout::{Growing, Layout as _, Meter, Replacing};
use crate::part::{Parts, write_items};
use crate::values::Values;

/// A number that offsets are made of: `i32` counts 2 GiB of bytes, `i64` more than there are.
pub trait Offset:
    Element + Copy + Ord + BitOr<Output = Self> + fmt::Display + private::Sealed
{
    /// Its bytes.
    const WIDTH: u8;
    /// The most that it counts.
    const MOST: u64;

    /// The offset as an index. One that was checked is not negative.
    fn index(self) -> usize;

    /// An index as an offset, if it can be one.
    fn of_index(index: usize) -> Option<Self>;

    /// As the widest offset.
    fn wide(self) -> i64;

    /// This offset less `start`, which is not larger.
    #[must_use]
    fn less(self, start: Self) -> Self;
}

mod private {
    /// Offsets are Arrow's two.
    pub trait Sealed {}
    impl Sealed for i32 {}
    impl Sealed for i64 {}
}

macro_rules! offset {
    ($type:ty) => {
        impl Offset for $type {
            const WIDTH: u8 = <$type>::BITS.to_le_bytes()[0] / 8;
            const MOST: u64 = <$type>::MAX as u64;

            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a checked offset is an index; another is caught where it is used"
            )]
            fn index(self) -> usize {
                self as usize
            }

            fn of_index(index: usize) -> Option<Self> {
                Self::try_from(index).ok()
            }

            fn wide(self) -> i64 {
                self.into()
            }

            fn less(self, start: Self) -> Self {
                self.wrapping_sub(start)
            }
        }
    };
}

offset!(i32);
offset!(i64);

/// One more than the slots they divide something into.
///
/// They never fall, and none is negative: of bytes that are not our own that is checked.
#[derive(Clone, PartialEq)]
pub(crate) struct Offsets<O: Offset>(Values<O>);

impl<O: Offset> Offsets<O> {
    /// The offsets of a section: lengths always, their order when it is to be checked.
    pub(crate) fn from_section(
        bytes: Buffer,
        slots: usize,
        end_max: usize,
        checked: bool,
    ) -> Result<Self, ArrayError> {
        let expected = slots.checked_add(1).and_then(|count| count.checked_mul(size_of::<O>()));
        crate::part::check_length("offsets", slots, expected, &bytes)?;
        let offsets = Self(Values::from_buffer(bytes)?);
        offsets.check(end_max, checked)?;
        Ok(offsets)
    }

    /// Offsets that somebody else has made, of something `end_max` long.
    pub(crate) fn from_values(values: Values<O>, end_max: usize) -> Result<Self, ArrayError> {
        if values.is_empty() {
            let expected = u64::from(O::WIDTH);
            return Err(ArrayError::Length { part: "offsets", slots: 0, expected, found: 0 });
        }
        let offsets = Self(values);
        offsets.check(end_max, true)?;
        Ok(offsets)
    }

    /// Checks the first and the last of them, and when `all`, those between, too.
    fn check(&self, end_max: usize, all: bool) -> Result<(), ArrayError> {
        let most = i64::try_from(end_max).unwrap_or(i64::MAX);
        let [first, .., last] = [self.first(), self.last()].map(Offset::wide);
        let wrong = |index: usize, found: i64, least: i64| {
            Err(ArrayError::Offset { index: index as u64, found, least, most })
        };
        if first < 0 || first > most {
            return wrong(0, first, 0);
        }
        if last < first || last > most {
            return wrong(self.slots(), last, first);
        }
        if !all || self.never_fall() || mutant!("fallen_offsets_taken") {
            return Ok(());
        }
        let fallen = self.pairs().position(|(start, end)| start > end);
        let index = fallen.unwrap_or_default();
        wrong(index + 1, self.0[index + 1].wide(), self.0[index].wide())
    }

    /// Whether each is at least the one before it, the first of which is known not to be negative.
    ///
    /// No step of the loop depends on the one before, so that it runs with vectors: between two that are not negative the
    /// difference cannot overflow, and is negative where they fall.
    fn never_fall(&self) -> bool {
        let signs = |signs: O, (start, end): (O, O)| signs | end | end.less(start);
        self.pairs().fold(O::zeroed(), signs) >= O::zeroed()
    }

    pub(crate) fn slots(&self) -> usize {
        self.0.len() - 1
    }

    /// Where each slot starts and ends.
    pub(crate) fn pairs(&self) -> Pairs<'_, O> {
        let starts = &self.0[..self.slots()];
        starts.iter().copied().zip(self.0[1..].iter().copied())
    }

    pub(crate) fn first(&self) -> O {
        self.0[0]
    }

    pub(crate) fn last(&self) -> O {
        self.0[self.slots()]
    }

    /// Where the slot starts and ends; `None` behind the last.
    pub(crate) fn get(&self, slot: usize) -> Option<Range<usize>> {
        let end = *self.0.get(slot.checked_add(1)?)?;
        Some(self.0[slot].index()..end.index())
    }

    /// All of them.
    pub(crate) fn values(&self) -> &Values<O> {
        &self.0
    }

    pub(crate) fn slice(&self, slots: Range<usize>) -> Self {
        let within = slots.start <= slots.end && slots.end <= self.slots();
        assert!(within, "{slots:?} of {}", self.slots());
        Self(self.0.slice(slots.start..slots.end + 1))
    }

    /// What they divide, from the first to the last.
    pub(crate) fn run(&self) -> Range<usize> {
        self.first().index()..self.last().index()
    }

    /// Adds the section that holds them at rest, where the first is zero.
    pub(crate) fn add_section(&self, parts: &mut Parts<'_>) {
        let first = self.first();
        if first.wide() == 0 || mutant!("part_written_as_the_whole") {
            return parts.section(self.0.buffer().clone());
        }
        let values = self.0.clone();
        parts.made(move |write| write_items(values.iter().map(|&end| end.less(first)), write));
    }

    pub(crate) fn visit(&self, visit: &mut dyn FnMut(&Buffer)) {
        self.0.visit(visit);
    }

    pub(crate) fn replace(&mut self, replace: &mut Replacing<'_>) -> Result<()> {
        self.0.replace(replace)
    }
}

/// The starts and ends of slots.
pub(crate) type Pairs<'a, O> = std::iter::Zip<
    std::iter::Copied<std::slice::Iter<'a, O>>,
    std::iter::Copied<std::slice::Iter<'a, O>>,
>;

/// Offsets while they grow. The zero in front is there from the first slot on.
#[derive(Debug)]
pub(crate) struct OffsetsBuilder<O>(Growing<O>);

impl<O> Default for OffsetsBuilder<O> {
    fn default() -> Self {
        Self(Growing::default())
    }
}

impl<O: Offset> OffsetsBuilder<O> {
    pub(crate) fn slots(&self) -> usize {
        self.0.0.len().saturating_sub(1)
    }

    /// Makes room for a slot that ends at `end`.
    pub(crate) fn reserve(
        &mut self,
        end: usize,
        layout: &'static str,
        meter: &mut dyn Meter,
    ) -> Result<()> {
        Self::check_end(end, layout)?;
        self.0.reserve(2, meter)
    }

    /// Makes room for so many slots and no more, the last of which ends at `end`.
    pub(crate) fn reserve_slots(
        &mut self,
        slots: usize,
        end: usize,
        layout: &'static str,
        meter: &mut dyn Meter,
    ) -> Result<()> {
        Self::check_end(end, layout)?;
        self.0.reserve_exact(slots.saturating_add(usize::from(self.0.0.is_empty())), meter)
    }

    fn check_end(end: usize, layout: &'static str) -> Result<()> {
        let error = ArrayError::TooMany { layout, asked: end as u64, most: O::MOST };
        O::of_index(end).map(drop).ok_or_else(|| error.of::<Offsets<O>>())
    }

    /// Where the slot starts and ends.
    pub(crate) fn get(&self, slot: usize) -> Range<usize> {
        self.0.0[slot].index()..self.0.0[slot + 1].index()
    }

    /// Takes back all slots from `slots` on.
    pub(crate) fn truncate(&mut self, slots: usize) {
        self.0.0.truncate(slots.saturating_add(1));
    }

    /// Appends a slot that ends at `end`, for which there is room.
    pub(crate) fn push(&mut self, end: usize) {
        if self.0.0.is_empty() {
            self.0.0.push(O::zeroed());
        }
        self.0.0.push(O::of_index(end).expect("it was reserved"));
    }

    pub(crate) fn finish(mut self) -> Offsets<O> {
        if self.0.0.is_empty() {
            self.0.0.push(O::zeroed());
        }
        Offsets(self.0.0.into())
    }
}
