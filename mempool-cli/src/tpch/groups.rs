//! Sums by key: an open-addressing hash table inside the memory limit, which reserves its slots in the pool before it allocates them.

use mempool_core::{Reservation, Result};

/// Slots of a table that has something in it.
const SLOTS_MIN: usize = 256;

/// The key of an empty slot; the benchmark's keys start at 1.
const NO_KEY: i64 = i64::MIN;

/// Bytes of one slot.
pub(crate) const SLOT_BYTES: usize = size_of::<Slot>();

/// The sum for each key that was added.
pub(crate) struct Groups {
    // Before `room`: memory is freed before its reservation is paid back.
    slots: Vec<Slot>,
    room: Reservation,
    used: usize,
}

#[derive(Clone, Copy)]
struct Slot {
    key: i64,
    sum: i64,
}

const EMPTY: Slot = Slot { key: NO_KEY, sum: 0 };

impl Groups {
    /// No sums yet; `room` is an empty reservation of the pool's.
    pub(crate) fn new(room: Reservation) -> Self {
        Self { slots: Vec::new(), room, used: 0 }
    }

    /// Adds `amount` to the sum of `key`.
    ///
    /// # Errors
    /// The pool has no room for more groups; the sums are then as they were.
    pub(crate) fn add(&mut self, key: i64, amount: i64) -> Result<()> {
        debug_assert_ne!(key, NO_KEY);
        // At most half of the slots are taken, so that a search is short.
        if 2 * (self.used + 1) > self.slots.len() {
            self.grow()?;
        }
        let slot = find(&mut self.slots, key);
        self.used += usize::from(slot.key == NO_KEY);
        slot.key = key;
        slot.sum += amount;
        Ok(())
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// All keys with their sums, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, i64)> {
        let taken = self.slots.iter().filter(|slot| slot.key != NO_KEY);
        taken.map(|slot| (slot.key, slot.sum))
    }

    fn grow(&mut self) -> Result<()> {
        let len = (2 * self.slots.len()).max(SLOTS_MIN);
        self.room.grow((len * SLOT_BYTES) as u64)?;
        let mut slots = vec![EMPTY; len];
        for slot in self.slots.iter().filter(|slot| slot.key != NO_KEY) {
            *find(&mut slots, slot.key) = *slot;
        }
        let old_bytes = (self.slots.len() * SLOT_BYTES) as u64;
        self.slots = slots;
        self.room.shrink(old_bytes);
        Ok(())
    }
}

/// The slot of `key`, or the empty one that it would take. There is one, as half of the slots are empty, and their number is a power of two.
fn find(slots: &mut [Slot], key: i64) -> &mut Slot {
    let mask = slots.len() - 1;
    let mut index = low_bits(hash(key)) & mask;
    while slots[index].key != key && slots[index].key != NO_KEY {
        index = (index + 1) & mask;
    }
    &mut slots[index]
}

#[expect(clippy::cast_possible_truncation, reason = "a slot is chosen by the low bits alone")]
fn low_bits(hash: u64) -> usize {
    hash as usize
}

/// Spreads a key over 64 bits (splitmix64's last steps). Partitions go by its high bits, slots by its low ones.
#[inline]
pub(crate) fn hash(key: i64) -> u64 {
    let mut bits = key.cast_unsigned();
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use mempool_core::{Blob, PoolOptions};

    use super::*;

    #[test]
    fn sums_are_those_of_a_map() {
        let pool = PoolOptions::new().memory_limit(1 << 20).open(Blob);
        let mut groups = Groups::new(pool.reserve(0).unwrap());
        let mut expected = BTreeMap::new();
        for number in 0..10_000_i64 {
            let (key, amount) = (number * 7919 % 3001, number % 50);
            groups.add(key, amount).unwrap();
            *expected.entry(key).or_insert(0) += amount;
        }
        assert_eq!(groups.len(), expected.len());
        assert_eq!(groups.iter().collect::<BTreeMap<_, _>>(), expected);
        assert_eq!(pool.stats().used_bytes, (groups.slots.len() * SLOT_BYTES) as u64);
        drop(groups);
        assert_eq!(pool.stats().used_bytes, 0);
    }

    #[test]
    fn a_table_does_not_grow_beyond_the_limit() {
        let pool = PoolOptions::new().memory_limit(20_000).room_timeout(Duration::ZERO).open(Blob);
        let mut groups = Groups::new(pool.reserve(0).unwrap());
        let failed = (1..).find(|key| groups.add(*key, 1).is_err()).unwrap();
        // 256 and 512 slots of 16 bytes fit beside each other; 512 and 1024 do not.
        assert_eq!(failed, 257);
        assert_eq!(groups.iter().map(|(_, sum)| sum).sum::<i64>(), 256);
        assert!(pool.stats().peak_bytes <= 20_000);
    }
}
