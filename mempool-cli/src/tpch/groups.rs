//! Values by key: an open-addressing hash table inside the memory limit, which reserves its slots in the pool before it allocates them.

use mempool_core::{Reservation, Result};

/// Slots of a table that has something in it.
const SLOTS_MIN: usize = 256;

/// The key of an empty slot; the benchmark's keys start at 1.
const NO_KEY: i64 = i64::MIN;

/// Bytes of one slot for a sum.
pub(crate) const SLOT_BYTES: usize = size_of::<Slot<i64>>();

/// What is known of each key: a sum, if nothing else is said.
pub(crate) struct Groups<V = i64> {
    // Before `room`: memory is freed before its reservation is paid back.
    slots: Vec<Slot<V>>,
    room: Reservation,
    used: usize,
}

#[derive(Clone, Copy)]
struct Slot<V> {
    key: i64,
    value: V,
}

impl<V: Copy + Default> Groups<V> {
    /// No keys yet; `room` is an empty reservation of the pool's.
    pub(crate) fn new(room: Reservation) -> Self {
        Self { slots: Vec::new(), room, used: 0 }
    }

    /// The value of `key`, which is there from now on.
    ///
    /// # Errors
    /// The pool has no room for more groups; the values are then as they were.
    pub(crate) fn entry(&mut self, key: i64) -> Result<&mut V> {
        debug_assert_ne!(key, NO_KEY);
        // At most half of the slots are taken, so that a search is short.
        if 2 * (self.used + 1) > self.slots.len() {
            self.grow()?;
        }
        let slot = find(&mut self.slots, key);
        self.used += usize::from(slot.key == NO_KEY);
        slot.key = key;
        Ok(&mut slot.value)
    }

    /// The value of `key`, if it is there.
    pub(crate) fn get_mut(&mut self, key: i64) -> Option<&mut V> {
        if self.slots.is_empty() {
            return None;
        }
        let slot = find(&mut self.slots, key);
        (slot.key == key).then_some(&mut slot.value)
    }

    /// Forgets all keys, and keeps the room for them.
    pub(crate) fn clear(&mut self) {
        self.slots.fill(Slot { key: NO_KEY, value: V::default() });
        self.used = 0;
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// All keys with their values, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, V)> {
        let taken = self.slots.iter().filter(|slot| slot.key != NO_KEY);
        taken.map(|slot| (slot.key, slot.value))
    }

    fn grow(&mut self) -> Result<()> {
        let len = (2 * self.slots.len()).max(SLOTS_MIN);
        let bytes = |len: usize| (len * size_of::<Slot<V>>()) as u64;
        self.room.grow(bytes(len))?;
        let mut slots = vec![Slot { key: NO_KEY, value: V::default() }; len];
        for slot in self.slots.iter().filter(|slot| slot.key != NO_KEY) {
            *find(&mut slots, slot.key) = *slot;
        }
        let old_bytes = bytes(self.slots.len());
        self.slots = slots;
        self.room.shrink(old_bytes);
        Ok(())
    }
}

impl Groups<i64> {
    /// Adds `amount` to the sum of `key`.
    ///
    /// # Errors
    /// As [`entry`](Self::entry).
    pub(crate) fn add(&mut self, key: i64, amount: i64) -> Result<()> {
        *self.entry(key)? += amount;
        Ok(())
    }
}

/// The slot of `key`, or the empty one that it would take. There is one, as half of the slots are empty, and their number is a power of two.
fn find<V>(slots: &mut [Slot<V>], key: i64) -> &mut Slot<V> {
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
        assert_eq!(groups.get_mut(1).copied(), expected.get(&1).copied());
        assert_eq!(groups.get_mut(9_999), None);
        assert_eq!(groups.len(), expected.len());
        assert_eq!(groups.iter().collect::<BTreeMap<_, _>>(), expected);
        assert_eq!(pool.stats().used_bytes, (groups.slots.len() * SLOT_BYTES) as u64);
        groups.clear();
        assert_eq!((groups.len(), groups.iter().count(), groups.get_mut(1)), (0, 0, None));
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
