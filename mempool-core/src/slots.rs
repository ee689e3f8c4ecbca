//! `Slots`: a table that grows by pieces. Growing copies nothing but the first of them, and takes no more than one ahead of need,
//! where a vector of ten million slots would be copied as a whole under the index's lock, and stand half empty then.

use std::ops::{Index, IndexMut, Range};

/// So many slots are one piece.
const PIECE: usize = 1024;

/// Slots by number.
pub(crate) struct Slots<S> {
    /// All but the last are full.
    pieces: Vec<Vec<S>>,
}

impl<S> Slots<S> {
    pub(crate) fn new() -> Self {
        Self { pieces: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.pieces.last().map_or(0, |last| (self.pieces.len() - 1) * PIECE + last.len())
    }

    /// Adds a slot behind the last.
    pub(crate) fn push(&mut self, slot: S) {
        match self.pieces.last_mut() {
            Some(last) if last.len() < PIECE => last.push(slot),
            // A small pool has a small table.
            None => self.pieces.push(vec![slot]),
            Some(_) => {
                let mut piece = Vec::with_capacity(PIECE);
                piece.push(slot);
                self.pieces.push(piece);
            }
        }
    }

    #[inline]
    pub(crate) fn get(&self, slot: usize) -> Option<&S> {
        self.pieces.get(slot / PIECE)?.get(slot % PIECE)
    }

    /// All of them, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &S> {
        self.pieces.iter().flatten()
    }

    /// Those whose numbers are in `range` and have been given.
    pub(crate) fn range(&self, range: Range<usize>) -> impl Iterator<Item = &S> {
        range.map_while(|slot| self.get(slot))
    }
}

impl<S> Index<u32> for Slots<S> {
    type Output = S;

    #[inline]
    fn index(&self, slot: u32) -> &S {
        &self.pieces[slot as usize / PIECE][slot as usize % PIECE]
    }
}

impl<S> IndexMut<u32> for Slots<S> {
    #[inline]
    fn index_mut(&mut self, slot: u32) -> &mut S {
        &mut self.pieces[slot as usize / PIECE][slot as usize % PIECE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_as_a_vector_and_is_no_more_than_a_piece_ahead() {
        let mut slots = Slots::new();
        let mut all: Vec<u32> = Vec::new();
        for n in 0..5_000_u32 {
            slots.push(n);
            all.push(n);
            slots[n] += 7;
            all[n as usize] += 7;
            assert_eq!(slots.len(), all.len());
            assert_eq!((slots.get(all.len()), slots[n]), (None, n + 7));
            let capacity: usize = slots.pieces.iter().map(Vec::capacity).sum();
            assert!(
                capacity <= (2 * all.len()).max(4).min(all.len() + PIECE),
                "{capacity} for {n}"
            );
        }
        assert!(slots.iter().eq(&all));
        for range in [0..0, 0..1, 1_000..1_050, 1_023..2_049, 4_990..6_000, 6_000..7_000] {
            let there = range.start.min(all.len())..range.end.min(all.len());
            assert!(slots.range(range).eq(&all[there]));
        }
    }
}
