//! A vector inside the memory limit: its bytes are reserved in the pool before they are allocated.

use std::ops::Deref;

use mempool_core::{Reservation, Result};

/// Items that the pool's ledger counts.
pub(crate) struct Reserved<T> {
    // Before `room`: memory is freed before its reservation is paid back.
    items: Vec<T>,
    room: Reservation,
}

impl<T> Reserved<T> {
    /// No items yet; `room` is an empty reservation of the pool's.
    pub(crate) fn new(room: Reservation) -> Self {
        Self { items: Vec::new(), room }
    }

    /// Adds an item that owns `heap_bytes` beside its place here.
    ///
    /// # Errors
    /// The pool has no room; the item is then lost.
    pub(crate) fn push(&mut self, item: T, heap_bytes: usize) -> Result<()> {
        if self.items.len() == self.items.capacity() {
            self.grow(self.items.capacity().max(8))?;
        }
        self.room.grow(heap_bytes as u64)?;
        self.items.push(item);
        Ok(())
    }

    /// Makes room for `more` items.
    ///
    /// # Errors
    /// The pool has none.
    pub(crate) fn grow(&mut self, more: usize) -> Result<()> {
        let (old, new) = (self.items.capacity(), self.items.capacity() + more);
        // The old and the new allocation live beside each other while items move.
        let bytes = |capacity: usize| (capacity * size_of::<T>()) as u64;
        self.room.grow(bytes(new))?;
        self.items.reserve_exact(new - self.items.len());
        self.room.shrink(bytes(old));
        Ok(())
    }

    /// Takes over the items of another one, with what they own.
    ///
    /// # Errors
    /// The pool has no room; the items are then lost.
    pub(crate) fn append(&mut self, mut other: Self) -> Result<()> {
        self.grow(other.items.len())?;
        self.items.append(&mut other.items);
        let places_bytes = (other.items.capacity() * size_of::<T>()) as u64;
        let Self { items, mut room } = other;
        drop(items);
        room.shrink(places_bytes);
        self.room.absorb(room);
        Ok(())
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.items
    }
}

impl<T> Deref for Reserved<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mempool_core::{Blob, Pool, PoolOptions};

    use super::*;

    fn pool() -> Pool<Blob> {
        PoolOptions::new().memory_limit(1 << 20).room_timeout(Duration::ZERO).open(Blob)
    }

    #[test]
    fn what_is_held_is_reserved_and_comes_back() {
        let pool = pool();
        let mut all = Reserved::new(pool.reserve(0).unwrap());
        for number in 0..100_u64 {
            all.push(number, 10).unwrap();
        }
        let mut more = Reserved::new(pool.reserve(0).unwrap());
        more.push(100, 10).unwrap();
        all.append(more).unwrap();
        assert_eq!(all.iter().sum::<u64>(), 5050);
        assert_eq!(pool.stats().used_bytes, (all.items.capacity() * 8 + 101 * 10) as u64);
        drop(all);
        assert_eq!(pool.stats().used_bytes, 0);
    }

    #[test]
    fn beyond_the_limit_there_is_an_error() {
        let pool = pool();
        let mut all = Reserved::new(pool.reserve(0).unwrap());
        assert!(all.grow(1 << 20).is_err());
        all.push(1_u64, 0).unwrap();
        assert_eq!(*all, [1]);
    }
}
