//! What the ledger is charged is what the allocator gave: read around `admit` and around the last drop.
#![cfg(all(feature = "testing", feature = "rkyv", feature = "bincode"))]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]
#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use mempool_codec::{Bincode, Encoded, Rkyv};
use mempool_core::testing::room;
use mempool_core::{Blob, Codec, Ledger};

struct Counting;

thread_local! {
    static LIVE: Cell<i64> = const { Cell::new(0) };
}

fn add(bytes: usize, sign: i64) {
    // A thread that ends allocates after its locals are gone.
    let _ = LIVE.try_with(|live| live.set(live.get() + sign * i64::try_from(bytes).unwrap_or(0)));
}

// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size(), 1);
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        add(layout.size(), -1);
        // SAFETY: the caller's promise is handed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn live() -> i64 {
    LIVE.with(Cell::get)
}

fn exact<T, C>(codec: &C, make: impl Fn() -> T)
where
    C: Codec<T>,
    T: Send + Sync + 'static,
{
    let ledger = Ledger::new(1 << 30, Duration::ZERO);
    // The first call may set up scratch space of the thread, which is not the value's.
    let warm = codec.admit(make(), &mut room(&ledger));
    drop(warm);
    let before = live();
    let mut taken = room(&ledger);
    let Ok(resident) = codec.admit(make(), &mut taken) else { panic!("it is admitted") };
    let used = i64::try_from(ledger.usage().used_bytes).unwrap();
    assert_eq!(live() - before, used, "after admit");
    drop(resident);
    drop(taken);
    assert_eq!(ledger.usage().used_bytes, 0);
    assert_eq!(live(), before, "after the last drop");
}

#[test]
fn archives() {
    for len in [0, 1, 7, 1000, 100_000] {
        exact(&Rkyv::new(), || vec![String::from("a string that is not inline"); len]);
        exact(&Rkyv::new(), || vec![(len as u64, 1.5_f64); len]);
    }
}

#[test]
fn byte_vectors() {
    for len in [0, 1, 63, 64, 1 << 20] {
        exact(&Blob, || vec![7_u8; len]);
        exact(&Rkyv::new(), || vec![7_u8; len]);
        exact(&Bincode, || vec![7_u8; len]);
        exact(&Bincode, || Vec::<u8>::with_capacity(len + 5));
    }
}

#[test]
fn strings_and_plain_numbers() {
    for len in [0, 1, 100, 12_345] {
        exact(&Bincode, || "é".repeat(len));
        exact(&Bincode, || vec![1_u32; len]);
        exact(&Bincode, || vec![Some("text".to_owned()); len]);
        exact(&Bincode, || (Box::new(5_u64), vec![vec![1.0_f64; 3]; len]));
    }
}

#[test]
fn encoded_maps() {
    for len in [0_u64, 1, 100, 12_345] {
        exact(&Encoded::new(), || (0..len).map(|n| (n, n.to_string())).collect::<HashMap<_, _>>());
        exact(&Encoded::new(), || (0..len).map(|n| (n.to_string(), n)).collect::<BTreeMap<_, _>>());
        exact(&Encoded::new(), || vec![7_u8; len as usize]);
    }
}

/// Heap and stack bytes of the decoded value for each encoded byte, in hundredths.
fn working_bytes<T>(value: &T) -> i64
where
    T: serde::Serialize + serde::de::DeserializeOwned + Send + Sync + Clone + 'static,
{
    let ledger = Ledger::new(1 << 30, Duration::ZERO);
    let Ok(encoding) = Encoded::new().admit(value.clone(), &mut room(&ledger)) else {
        panic!("it is admitted")
    };
    let before = live();
    let decoded = encoding.decode().unwrap();
    let size = i64::try_from(size_of::<T>()).unwrap();
    let took = live() - before + size;
    drop(decoded);
    assert_eq!(live(), before);
    took * 100 / i64::try_from(encoding.bytes().len()).unwrap()
}

/// What the documentation of `Encoded` says about its estimate.
#[test]
fn what_decoded_values_take() {
    let large = (0..10_000_u64).map(|n| n << 40);
    let figures = [
        ("vector of large u64", working_bytes(&large.clone().collect::<Vec<_>>())),
        ("vector of small u64", working_bytes(&vec![1_u64; 10_000])),
        ("text of 100 bytes", working_bytes(&vec!["x".repeat(100); 1000])),
        ("text of 5 bytes", working_bytes(&vec!["x".repeat(5); 1000])),
        ("hash map of large u64", working_bytes(&large.map(|n| (n, n)).collect::<HashMap<_, _>>())),
        (
            "B-tree of text to small u64",
            working_bytes(
                &(0..10_000_u64).map(|n| (n.to_string(), n % 9)).collect::<BTreeMap<_, _>>(),
            ),
        ),
    ];
    for (what, hundredths) in figures {
        println!("{what}: {}.{:02} bytes for an encoded one", hundredths / 100, hundredths % 100);
        assert!((85..1150).contains(&hundredths), "{what}");
    }
}
