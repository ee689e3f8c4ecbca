//! `Units`: arrays of elements that have no bytes.

use std::cmp::Ordering;
use std::fmt;
use std::hash::Hasher;
use std::ops::Range;

use mempool_core::{Buffer, Result, type_tag};

use crate::description::{Kind, Node};
use crate::error::ArrayError;
use crate::layout::{Buildable, Builder, Layout, Meter, Rearrange, Replacing, debug};
use crate::part::{Assembly, Parts};

/// An array of zero-sized elements: a length.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Units {
    len: usize,
}

impl Units {
    /// So many.
    #[must_use]
    pub const fn new(len: usize) -> Self {
        Self { len }
    }
}

impl fmt::Debug for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(self, f)
    }
}

impl Layout for Units {
    type Item<'a> = ();

    const TAG: u64 = type_tag("units");

    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, index: usize) -> Option<()> {
        (index < self.len).then_some(())
    }

    fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {}", self.len);
        Self { len: range.len() }
    }

    fn order(a: &Self::Item<'_>, b: &Self::Item<'_>) -> Ordering {
        a.cmp(b)
    }

    fn hash_item(item: &Self::Item<'_>, state: &mut impl Hasher) {
        let () = item;
        state.write_u8(0);
    }

    fn take_apart(&self, parts: &mut Parts<'_>) {
        parts.node(Node::new(Kind::Units, self.len));
    }

    fn assemble(from: &mut Assembly<'_, '_>) -> Result<Self, ArrayError> {
        from.expect(Kind::Units, 0).map(|(_, len)| Self { len })
    }

    fn visit(&self, _visit: &mut dyn FnMut(&Buffer)) {}

    fn replace(&mut self, _replace: &mut Replacing<'_>) -> Result<()> {
        Ok(())
    }
}

impl Buildable for Units {
    type Builder = UnitsBuilder;
}

impl Rearrange for Units {
    fn take(&self, slots: &[usize], _meter: &mut dyn Meter) -> Result<Self> {
        let last = slots.iter().max();
        assert!(last.is_none_or(|&last| last < self.len), "{last:?} of {}", self.len);
        Ok(Self { len: slots.len() })
    }

    fn concat(arrays: &[&Self], _meter: &mut dyn Meter) -> Result<Self> {
        Ok(Self { len: arrays.iter().map(|array| array.len).sum() })
    }
}

/// Makes [`Units`].
#[derive(Debug, Default)]
pub struct UnitsBuilder {
    len: usize,
}

impl Builder for UnitsBuilder {
    type Array = Units;

    fn len(&self) -> usize {
        self.len
    }

    fn push_metered(&mut self, (): (), _meter: &mut dyn Meter) -> Result<()> {
        self.len += 1;
        Ok(())
    }

    fn push_hidden(&mut self, meter: &mut dyn Meter) -> Result<()> {
        self.push_metered((), meter)
    }

    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    fn holds(&self, index: usize, (): &()) -> bool {
        assert!(index < self.len, "slot {index} of {}", self.len);
        true
    }

    fn finish(self) -> Units {
        Units { len: self.len }
    }
}
