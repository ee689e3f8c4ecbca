//! Looking at all slots in order shows what looking at each does, in slices that start within a byte, too.
#![allow(clippy::unwrap_used, reason = "a test")]

use mempool_arrays::{Binary, Bits, Layout, Nullable, Strings, Values};

const SLOTS: usize = 200;

/// Slices whose starts and ends are all of those within a word, and some beyond.
fn slices() -> impl Iterator<Item = std::ops::Range<usize>> {
    let starts = (0..20).chain([63, 64, 65, 127, SLOTS]);
    starts.flat_map(|start| {
        let lengths = [0, 1, 7, 8, 63, 64, 65, SLOTS - start];
        lengths.map(|length| start..(start + length).min(SLOTS))
    })
}

/// Every slot of every slice, by both ways.
fn same<A: Layout>(array: &A)
where
    for<'a> A::Item<'a>: PartialEq,
{
    for range in slices() {
        let slice = array.slice(range.clone());
        assert_eq!(slice.iter().len(), range.len());
        assert!(slice.iter().eq((0..range.len()).map(|slot| slice.get(slot).unwrap())));
        assert!(slice.iter().eq(range.map(|slot| array.get(slot).unwrap())));
        // By folding, from the start and from the middle of a word.
        for skipped in [0, 3, 70] {
            let (mut slots, mut next) = (slice.iter(), skipped.min(slice.len()));
            (0..skipped).for_each(|_| drop(slots.next()));
            slots.for_each(|slot| {
                assert!(Some(slot) == slice.get(next));
                next += 1;
            });
            assert_eq!(next, slice.len());
        }
    }
}

fn numbers() -> Nullable<Values<f64>> {
    (0..SLOTS).map(|n| (n % 3 > 0 && n % 7 > 0).then_some(n as f64)).collect()
}

#[test]
fn all_slots_in_order_are_the_slots() {
    same(&(0..SLOTS).map(|n| n % 3 == 0 || n % 5 == 0).collect::<Bits>());
    same(&(0..SLOTS).map(|n| "é東".repeat(n % 4)).collect::<Strings>());
    same(&(0..SLOTS).map(|n| vec![0xff; n % 5]).collect::<Binary>());
    same(&numbers());
    same(&Nullable::from((0..SLOTS).map(|n| n as u64).collect::<Values<u64>>()));
    let texts = (0..SLOTS).map(|n| (n % 6 > 0).then_some("text"));
    same(&texts.collect::<Nullable<Strings>>());
}

#[test]
fn words_of_bits_are_the_bits() {
    let bits: Bits = (0..SLOTS).map(|n| n % 3 == 0 || n % 5 == 0).collect();
    for range in slices() {
        let slice = bits.slice(range.clone());
        let words: Vec<u64> = slice.words().collect();
        assert_eq!(words.len(), range.len().div_ceil(64));
        for slot in 0..words.len() * 64 {
            let expected = slice.get(slot).unwrap_or(false);
            assert_eq!(words[slot / 64] >> (slot % 64) & 1 == 1, expected, "{slot} of {range:?}");
        }
    }
}

#[test]
fn values_with_their_words_are_the_slots() {
    let complete = Nullable::from((0..SLOTS).map(|n| n as f64).collect::<Values<f64>>());
    for array in [numbers(), complete] {
        for range in slices() {
            let slice = array.slice(range);
            let slots = slice.words().flat_map(|(valid, values)| {
                assert!(values.len() == 64 || valid >> values.len() == 0);
                let slot = move |(at, &value)| (valid >> at & 1 == 1).then_some(value);
                values.iter().enumerate().map(slot)
            });
            assert!(slots.eq(slice.iter()));
            assert!(slice.iter_valid().eq(slice.iter().flatten()));
        }
    }
}

#[test]
fn strings_are_taken_from_both_ends() {
    let strings: Strings = ["a", "", "東", "bc"].into_iter().collect();
    let mut slots = strings.iter();
    assert_eq!((slots.next(), slots.next_back(), slots.len()), (Some("a"), Some("bc"), 2));
    assert_eq!(slots.rev().collect::<Vec<_>>(), ["東", ""]);
    let strings: Strings = (0..SLOTS).map(|n| "é東".repeat(n % 4)).collect();
    for range in slices() {
        let slice = strings.slice(range);
        let backwards = || (0..slice.len()).rev();
        assert!(slice.iter().rev().eq(backwards().map(|slot| slice.get(slot).unwrap())));
        let bytes = slice.as_binary();
        assert!(bytes.iter().rev().eq(backwards().map(|slot| bytes.get(slot).unwrap())));
    }
}
