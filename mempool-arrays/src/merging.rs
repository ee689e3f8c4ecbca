//! Dictionaries that grow and that become one: which value has which code. What that takes beside them is reported, too, and given back.

use std::hash::{BuildHasher, Hasher};

use hashbrown::{DefaultHashBuilder, HashTable};
use mempool_core::{Error, Result};

use crate::layout::{Growing, Layout, Meter};

/// The hash and the code of each value of a dictionary, which itself lies elsewhere.
#[derive(Default)]
pub(crate) struct Known {
    codes: HashTable<(u64, usize)>,
    hashing: DefaultHashBuilder,
}

impl Known {
    pub(crate) fn hash<A: Layout>(&self, item: &A::Item<'_>) -> u64 {
        let mut state = self.hashing.build_hasher();
        A::hash_item(item, &mut state);
        state.finish()
    }

    /// The code of the value with that hash of which `same` is true.
    pub(crate) fn find(&self, hash: u64, same: impl Fn(usize) -> bool) -> Option<usize> {
        let found = self.codes.find(hash, |&(other, code)| other == hash && same(code));
        found.map(|&(_, code)| code)
    }

    /// Room for one more. What it takes is known when the table has grown: its bound is reported before.
    pub(crate) fn reserve(&mut self, meter: &mut dyn Meter) -> Result<()> {
        if self.codes.len() < self.codes.capacity() {
            return Ok(());
        }
        // A table has a power of two of places, an eighth of them free, and one byte a place and 16 behind them.
        let places =
            (self.codes.len() + 1).saturating_mul(8).div_ceil(7).next_power_of_two().max(4);
        let bound = places.saturating_mul(size_of::<(u64, usize)>() + 1).saturating_add(64) as u64;
        let before = self.codes.allocation_size() as u64;
        meter.take(bound)?;
        let grown = self.codes.try_reserve(1, |&(hash, _)| hash);
        if grown.is_err() {
            meter.give_back(bound);
            return Err(Error::Allocation { bytes: bound });
        }
        let after = self.codes.allocation_size() as u64;
        meter.give_back(before.saturating_add(bound.saturating_sub(after)));
        Ok(())
    }

    /// Adds a value for which there is room.
    pub(crate) fn insert(&mut self, hash: u64, code: usize) {
        self.codes.insert_unique(hash, (hash, code), |&(hash, _)| hash);
    }
}

/// Dictionaries, end to end, that become one.
pub(crate) struct Merging<'a, A: Layout> {
    all: &'a A,
    /// The new code of each value, once a slot has shown it.
    codes: Growing<Option<usize>>,
    /// The value behind each new code.
    chosen: Growing<usize>,
    known: Known,
}

impl<'a, A: Layout> Merging<'a, A> {
    pub(crate) fn new(all: &'a A, meter: &mut dyn Meter) -> Result<Self> {
        let mut codes = Growing::default();
        codes.reserve_exact(all.len(), meter)?;
        codes.0.resize(all.len(), None);
        Ok(Self { all, codes, chosen: Growing::default(), known: Known::default() })
    }

    /// The new code of value `index`, which there is.
    pub(crate) fn code(&mut self, index: usize, meter: &mut dyn Meter) -> Result<usize> {
        if let Some(code) = self.codes.0[index] {
            return Ok(code);
        }
        let value = |index: usize| self.all.get(index).expect("it was counted");
        let item = value(index);
        let hash = self.known.hash::<A>(&item);
        let same = |code: usize| A::order(&value(self.chosen.0[code]), &item).is_eq();
        let code = match self.known.find(hash, same) {
            Some(code) => code,
            None => {
                self.known.reserve(meter)?;
                self.chosen.reserve(1, meter)?;
                let code = self.chosen.0.len();
                self.known.insert(hash, code);
                self.chosen.0.push(index);
                code
            }
        };
        self.codes.0[index] = Some(code);
        Ok(code)
    }

    /// The values of the one dictionary, by their places in all of them.
    pub(crate) fn chosen(&self) -> &[usize] {
        &self.chosen.0
    }
}

/// A meter for memory that is gone when the work is done: then it gives all back that it took. It is made before what it counts, and so
/// dropped behind it.
pub(crate) struct Working<'a> {
    meter: &'a mut dyn Meter,
    taken_bytes: u64,
}

impl<'a> Working<'a> {
    pub(crate) fn new(meter: &'a mut dyn Meter) -> Self {
        Self { meter, taken_bytes: 0 }
    }

    /// The meter behind it, for what stays.
    pub(crate) fn outer(&mut self) -> &mut dyn Meter {
        self.meter
    }
}

impl Meter for Working<'_> {
    fn take(&mut self, bytes: u64) -> Result<()> {
        self.meter.take(bytes)?;
        self.taken_bytes += bytes;
        Ok(())
    }

    fn give_back(&mut self, bytes: u64) {
        self.meter.give_back(bytes);
        self.taken_bytes -= bytes;
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.meter.give_back(self.taken_bytes);
    }
}
