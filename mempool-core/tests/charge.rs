//! Bytes that were made outside of a pool are paid for once, by the first ledger that asks.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::time::Duration;

use mempool_core::testing::room;
use mempool_core::{Buffer, Ledger};

fn ledger(limit_bytes: u64) -> Arc<Ledger> {
    Ledger::new(limit_bytes, Duration::ZERO)
}

fn used(ledger: &Ledger) -> u64 {
    ledger.usage().used_bytes
}

#[test]
fn a_vector_is_charged_once_whoever_holds_it() {
    let ledger = ledger(1 << 20);
    let vector = Vec::with_capacity(300);
    let buffer = Buffer::adopt_heap(vector, 300);
    let expected = 300 + Buffer::heap_adoption_bytes::<Vec<u8>>();
    assert_eq!(buffer.heap_bytes(), Some(expected));
    assert_eq!(buffer.reserved_bytes(), 0);

    let (mut first, mut second) = (room(&ledger), room(&ledger));
    assert_eq!(buffer.missing_charge(&first), Some(expected));
    assert!(buffer.charge(&mut first).unwrap());
    assert!(buffer.slice(..0).charge(&mut second).unwrap(), "a slice is of the same allocation");
    assert_eq!(buffer.missing_charge(&second), Some(0));
    assert_eq!((used(&ledger), buffer.reserved_bytes()), (expected, expected));

    let slice = buffer.slice(..0);
    drop((buffer, first, second));
    assert_eq!(used(&ledger), expected, "the slice holds the whole allocation");
    drop(slice);
    assert_eq!(used(&ledger), 0);
}

#[test]
fn a_buffer_that_another_ledger_counts_is_not_charged() {
    let (ours, other) = (ledger(1 << 20), ledger(1 << 20));
    let buffer = Buffer::adopt_heap(vec![1_u8; 64], 64);
    assert!(buffer.charge(&mut room(&other)).unwrap());
    let mut room = room(&ours);
    assert_eq!(buffer.missing_charge(&room), None);
    assert!(!buffer.charge(&mut room).unwrap());
    assert!(buffer.is_paid_by(&other) && !buffer.is_paid_by(&ours));
    drop(room);
    assert_eq!(used(&ours), 0);
}

#[test]
fn bytes_that_lie_elsewhere_have_no_charge() {
    let ledger = ledger(1 << 20);
    let lent = Buffer::adopt(b"of a map".as_slice(), None);
    assert_eq!((lent.heap_bytes(), lent.missing_charge(&room(&ledger))), (None, None));
    assert!(!lent.charge(&mut room(&ledger)).unwrap());
}

#[test]
fn a_buffer_that_no_ledger_counts_can_be_charged() {
    let ledger = ledger(1 << 20);
    let buffer = Buffer::uncounted(&[7; 100]).unwrap();
    let expected = Buffer::allocation_bytes(100, 64).unwrap();
    assert!(buffer.charge(&mut room(&ledger)).unwrap());
    assert_eq!(used(&ledger), expected);
    drop(buffer);
    assert_eq!(used(&ledger), 0);
}

#[test]
fn a_charge_that_does_not_fit_leaves_the_buffer_as_it_was() {
    let ledger = ledger(32);
    let buffer = Buffer::adopt_heap(vec![1_u8; 64], 64);
    assert!(buffer.charge(&mut room(&ledger)).is_err());
    assert_eq!((buffer.reserved_bytes(), used(&ledger)), (0, 0));
    assert_eq!(buffer[..], [1; 64]);
}

#[test]
fn marked_handles_are_no_outside_holders() {
    let ledger = ledger(1 << 20);
    let buffer = Buffer::adopt_heap(vec![1_u8; 64], 64);
    assert!(buffer.charge(&mut room(&ledger)).unwrap());
    let in_two_values = [buffer.clone(), buffer.clone()];
    in_two_values.iter().for_each(Buffer::mark_pooled);
    assert!(in_two_values[0].watch_shared(), "this test holds it, too");
    drop(buffer);
    assert!(!in_two_values[0].watch_shared(), "values of the pool alone hold it");
    in_two_values[1].unmark_pooled();
    assert!(in_two_values[0].watch_shared(), "the second handle has left the pool");
    let [first, second] = in_two_values;
    drop(second);
    assert!(!first.watch_shared() && !first.is_shared());
    first.unmark_pooled();
    drop(first);
    assert_eq!(used(&ledger), 0);
}

#[test]
#[should_panic(expected = "a mark that was set before")]
fn a_mark_is_not_taken_back_twice() {
    // What is wrong stays wrong: the count is not to be believed any more, so the buffer is not freed either.
    std::mem::ManuallyDrop::new(Buffer::adopt_heap(vec![1_u8; 64], 64)).unmark_pooled();
}
