//! What elements can be: numbers, half floats and complex numbers behind their features, fixed-size arrays, and records of
//! the program's own.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a test"
)]

use std::time::Duration;

use bytemuck::{Pod, Zeroable};
use mempool_arrays::{ArrayError, Element, ElementType, NdArray, Nullable, Pooled, Raw, Values};
use mempool_codec::codec_laws;
use mempool_core::testing::{decode, encode_value, room};
use mempool_core::{Error, Ledger, MemoryStore, PoolOptions, Trust};
use mempool_spill::SpillOptions;

/// A record as a program has it: no padding, fields of several sizes, a string of fixed length.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Trade {
    price: f64,
    quantity: u32,
    venue: [u8; 4],
}

impl Element for Trade {
    const TYPE: ElementType = ElementType::record::<Self>("trade");
}

/// Another of the same size and alignment, in an order of its own.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Quote {
    bid: f64,
    ask: f64,
}

impl Element for Quote {
    const TYPE: ElementType = ElementType::record::<Self>("quote");

    fn order(&self, other: &Self) -> std::cmp::Ordering {
        self.bid.total_cmp(&other.bid).then(self.ask.total_cmp(&other.ask))
    }
}

/// The widest alignment that an element may have.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line {
    words: [u64; 8],
}

impl Element for Line {
    const TYPE: ElementType = ElementType::record::<Self>("line");
}

fn trade(n: u64) -> Trade {
    Trade { price: n as f64 / 8.0, quantity: n as u32, venue: *b"XNAS" }
}

fn quote(n: u64) -> Quote {
    Quote { bid: -(n as f64), ask: n as f64 * 1.5 }
}

/// A string of fixed length, padded with zeros.
fn code(n: u64) -> [u8; 12] {
    let mut code = [0; 12];
    let text = format!("N{n}");
    code[..text.len()].copy_from_slice(text.as_bytes());
    code
}

fn position(n: u64) -> [f64; 3] {
    [n as f64, -0.0, 1.0 / (n as f64 + 1.0)]
}

/// Tests of one element: the laws of the codec, alone and within other layouts.
macro_rules! element_laws {
    ($name:ident, $element:ty, $make:expr) => {
        mod $name {
            use super::*;

            fn elements(n: u64) -> Vec<$element> {
                let make: fn(u64) -> $element = $make;
                (0..n).map(make).collect()
            }

            codec_laws!(vector, Raw, elements, |view: &[$element], value: &Vec<$element>| view
                == value.as_slice());
            codec_laws!(
                missing_and_pooled,
                Raw,
                |n: u64| (elements(n).into_iter().chain(elements(n / 2)).enumerate())
                    .map(|(at, element)| (at % 3 != 1).then_some(element))
                    .collect::<Nullable<Pooled<Values<$element>>>>(),
                |view: &Nullable<Pooled<Values<$element>>>,
                 value: &Nullable<Pooled<Values<$element>>>| view == value
            );

            #[test]
            fn figures() {
                assert_eq!(<$element>::TYPE.bytes(), size_of::<$element>());
                ordered(&elements(9));
            }
        }
    };
}

/// That elements have a total order, and that those of other bits have other places in it.
fn ordered<T: Element>(elements: &[T]) {
    for a in elements {
        for b in elements {
            let same = bytemuck::bytes_of(a) == bytemuck::bytes_of(b);
            assert_eq!(a.order(b).is_eq(), same, "{a:?} {b:?}");
            assert_eq!(a.order(b), b.order(a).reverse());
        }
    }
}

element_laws!(records, Trade, trade);
element_laws!(records_with_an_order, Quote, quote);
element_laws!(records_of_a_cache_line, Line, |n| Line { words: [n; 8] });
element_laws!(fixed_strings, [u8; 12], code);
element_laws!(static_vectors, [f64; 3], position);
element_laws!(static_matrices, [[f32; 2]; 2], |n| [[n as f32, 1.0], [-0.0, 0.5]]);
element_laws!(arrays_of_records, [Trade; 2], |n| [trade(n), trade(n + 1)]);

#[cfg(feature = "half")]
element_laws!(halves, half::f16, |n| match n {
    0 => half::f16::NEG_ZERO,
    1 => half::f16::NEG_INFINITY,
    2 => half::f16::MIN_POSITIVE_SUBNORMAL,
    _ => half::f16::from_f32(n as f32 / 3.0),
});

#[cfg(feature = "complex")]
element_laws!(complex_of_two_f32, num_complex::Complex<f32>, |n| num_complex::Complex::new(
    n as f32 / 3.0,
    -(n as f32)
));
#[cfg(feature = "complex")]
element_laws!(complex_of_two_f64, num_complex::Complex<f64>, |n| num_complex::Complex::new(
    -0.0,
    n as f64 / 3.0
));

/// Reads what was written of one element as another.
fn read_as<A: Element, B: Element>(elements: Vec<A>) -> Result<Vec<B>, ArrayError> {
    let frame = encode_value(&Raw, &elements, 0).unwrap();
    let ledger = Ledger::new(1 << 20, Duration::ZERO);
    match decode::<Vec<B>, _>(&Raw, &frame, Trust::Foreign, &mut room(&ledger)) {
        Ok(held) => Ok(mempool_core::Codec::<Vec<B>>::view(&Raw, &held).to_vec()),
        Err(Error::Codec(error)) => Err(error.source.downcast_ref::<ArrayError>().unwrap().clone()),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn elements_of_one_size_are_told_apart() {
    fn apart<A: Element, B: Element>() {
        let refused = read_as::<A, B>(vec![A::zeroed(); 3]).unwrap_err();
        assert!(matches!(refused, ArrayError::Kind { .. }), "{refused}");
        assert!(read_as::<A, A>(vec![A::zeroed(); 3]).is_ok());
    }
    apart::<Trade, Quote>();
    apart::<Quote, [f64; 2]>();
    apart::<[f64; 2], [u64; 2]>();
    apart::<[u8; 4], u32>();
    apart::<[u8; 12], [u32; 3]>();
    apart::<[[i32; 2]; 2], [[u32; 2]; 2]>();
    apart::<[[u8; 4]; 3], [[u8; 3]; 4]>();
    apart::<[Trade; 2], [Quote; 2]>();
}

#[test]
fn a_pool_tells_records_apart_and_keeps_their_bytes() {
    let pool = PoolOptions::new().memory_limit(1 << 20).store(MemoryStore::new()).open(Raw);
    let trades: Vec<Trade> = (0..1000).map(trade).collect();
    let reference = pool.set(trades.clone()).unwrap();
    pool.move_to_disk(&reference).unwrap();
    let back = pool.get(&reference).unwrap();
    assert_eq!(back[..], trades);
    assert_eq!(back[7].venue, *b"XNAS");
}

/// What is set, moved to disk and got again from a file has the same bits.
fn spilled<T: Element>(name: &str, elements: Vec<T>) {
    let name = format!("mempool-arrays-{name}-{}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&directory).unwrap();
    let store = SpillOptions::new(&directory).open().unwrap();
    let pool = PoolOptions::new().memory_limit(1 << 20).store(store).open(Raw);
    let reference = pool.set(elements.clone()).unwrap();
    pool.move_to_disk(&reference).unwrap();
    assert_eq!(pool.stats().used_bytes, 0);
    let view = pool.get(&reference).unwrap();
    assert_eq!(bytemuck::cast_slice::<T, u8>(&view), bytemuck::cast_slice::<T, u8>(&elements));
    assert_eq!(pool.stats().used_bytes, 0, "a view has no memory of its own");
    drop(view);
    let turned = pool.set(NdArray::from(elements.clone()).reversed(0)).unwrap();
    pool.move_to_disk(&turned).unwrap();
    let view = pool.get(&turned).unwrap();
    let bits = |element: &T| bytemuck::bytes_of(element).to_vec();
    assert!(view.iter().map(bits).eq(elements.iter().rev().map(bits)));
    drop(view);
    drop((turned, reference));
    pool.close().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn elements_come_back_from_a_file_with_the_same_bits() {
    spilled("trades", (0..500).map(trade).collect());
    spilled("lines", vec![Line { words: [7; 8] }; 100]);
    spilled("codes", (0..500).map(code).collect());
    spilled("positions", (0..500).map(position).collect());
    spilled("nans", [0, 1, 2].map(|payload| f64::from_bits(f64::NAN.to_bits() | payload)).into());
}

#[cfg(feature = "half")]
#[test]
fn every_half_comes_back_from_a_file_with_the_same_bits() {
    let all: Vec<half::f16> = (0..=u16::MAX).map(half::f16::from_bits).collect();
    assert_eq!(half::f16::TYPE, ElementType::Primitive(mempool_arrays::Primitive::F16));
    ordered(&all.iter().copied().step_by(251).collect::<Vec<_>>());
    let mut sorted = all.clone();
    sorted.sort_unstable_by(Element::order);
    let numbers = sorted.iter().filter(|half| !half.is_nan()).map(|half| half.to_f32());
    assert!(numbers.is_sorted_by(|a, b| a.total_cmp(b).is_le()));
    assert!(sorted[0].is_nan() && sorted[65_535].is_nan());
    spilled("halves", all);
}

#[cfg(feature = "complex")]
#[test]
fn complex_numbers_come_back_from_a_file_with_the_same_bits() {
    use num_complex::Complex;
    let parts = [0.0, -0.0, 1.5, f64::NEG_INFINITY, f64::NAN, f64::MIN_POSITIVE / 2.0];
    let wide: Vec<_> = parts.iter().flat_map(|&re| parts.map(|im| Complex::new(re, im))).collect();
    let narrow: Vec<_> = wide.iter().map(|c| Complex::new(c.re as f32, c.im as f32)).collect();
    assert_eq!(Complex::<f32>::TYPE, ElementType::Primitive(mempool_arrays::Primitive::Complex32));
    assert_eq!(Complex::<f64>::TYPE, ElementType::Primitive(mempool_arrays::Primitive::Complex64));
    ordered(&wide);
    // The real part decides first.
    let (less, more) = (Complex::new(1.0, 9.0), Complex::new(2.0, -9.0));
    assert!(less.order(&more).is_lt() && less.order(&Complex::new(1.0, 8.0)).is_gt());
    spilled("complex64", wide);
    spilled("complex32", narrow);
}
