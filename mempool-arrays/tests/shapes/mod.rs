//! Shapes: a layout, and the plain vector that says what it must show. Both are made of the same random items.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::fmt::Debug;
use std::marker::PhantomData;
use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use mempool_arrays::{
    Binary, Bits, Buildable, Builder, Element, ElementType, Layout, List, Nullable, Offset, Pooled,
    Rearrange, Strings, Units, Value, Values,
};

pub(crate) mod tables;

/// Splitmix64 (Steele, Lea, Flood, 2014), and what the items of one case have in common.
pub(crate) struct Random {
    state: u64,
    /// How many of a hundred slots are missing.
    nulls: usize,
    /// How many different values there are where there are few.
    values: u64,
    /// Of which texts are made.
    letters: &'static [char],
}

/// Around each length at which UTF-8 changes.
const LETTERS: [char; 12] = [
    '\0',
    'a',
    '\u{7f}',
    '\u{80}',
    'é',
    '\u{7ff}',
    '\u{800}',
    '東',
    '\u{ffff}',
    '\u{10000}',
    '🦀',
    '\u{10ffff}',
];

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Self { state: seed, nulls: 0, values: 1, letters: &LETTERS };
        random.nulls = [0, 100, 1, 30, 99][random.below(5)];
        random.values = random.pick(&[1, 2, 7, 300]);
        random.letters = [&LETTERS[..], &LETTERS[..3], &LETTERS[3..]][random.below(3)];
        random
    }

    /// The case of that number.
    pub(crate) fn of_case(seed: u64, number: u64) -> Self {
        Self::new(seed ^ number.wrapping_mul(0xd134_2543_de82_ef95))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// How many slots: mostly few, often around a byte or a word of bits, now and then a thousand.
    pub(crate) fn len(&mut self) -> usize {
        match self.below(32) {
            0 => self.pick(&[1023, 1024, 1025]),
            1..6 => self.pick(&[63, 64, 65, 127, 128, 129]),
            6..14 => self.pick(&[0, 1, 7, 8, 9, 15, 16, 17]),
            _ => self.below(24),
        }
    }

    /// A part of so many slots; now and then all, none, or what starts at a byte of bits.
    pub(crate) fn range(&mut self, len: usize) -> Range<usize> {
        let start = match self.below(4) {
            0 => 0,
            1 => self.below(len + 1) & !7,
            _ => self.below(len + 1),
        };
        let most = len - start;
        start..start + if self.below(3) == 0 { most } else { self.below(most + 1) }
    }

    /// Bytes of which zero, all ones, and those that begin infinities and NaN come often.
    fn edgy(&mut self, bytes: &mut [u8]) {
        let all = self.pick(&[None, None, Some(0), Some(0xff), Some(0x7f)]);
        for byte in bytes {
            let odd = [0, 1, 0x7f, 0x80, 0xf0, 0xf8, 0xff, self.next() as u8];
            *byte = all.unwrap_or_else(|| self.pick(&odd));
        }
    }

    fn text(&mut self) -> String {
        let len = match self.below(64) {
            0 => 300,
            1..20 => 0,
            _ => self.below(12),
        };
        (0..len).map(|_| self.pick(self.letters)).collect()
    }
}

/// A number in the environment.
pub(crate) fn environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The seed to replay, or a new one.
pub(crate) fn seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    environment("SEED").unwrap_or(now.as_nanos() as u64)
}

/// A layout, and the plain items that it stands for.
pub(crate) trait Shape: 'static {
    type Array: Buildable + Rearrange;
    type Item: Clone + Debug + 'static;

    /// Whether the same items are the same bytes at rest, however the array was made.
    const CANONICAL: bool = true;

    fn item(random: &mut Random) -> Self::Item;

    /// The item as the array shows it.
    fn show(item: &Self::Item) -> <Self::Array as Layout>::Item<'_>;

    fn same(shown: <Self::Array as Layout>::Item<'_>, item: &Self::Item) -> bool;

    /// Looks at every byte of a slot, and allocates nothing.
    fn walk(shown: <Self::Array as Layout>::Item<'_>) -> u64;
}

/// The array of these items, slot by slot.
pub(crate) fn build<S: Shape>(items: &[S::Item]) -> S::Array {
    let mut builder = <S::Array as Buildable>::Builder::default();
    items.iter().for_each(|item| builder.push(S::show(item)).unwrap());
    assert_eq!(builder.len(), items.len());
    builder.finish()
}

/// Whether an array shows these items, by index and in order, and nothing behind them.
pub(crate) fn shows<S: Shape>(array: &S::Array, items: &[S::Item]) -> bool {
    array.len() == items.len()
        && array.is_empty() == items.is_empty()
        && array.iter().len() == items.len()
        && array.iter().zip(items).all(|(shown, item)| S::same(shown, item))
        && items.iter().enumerate().all(|(at, item)| S::same(array.get(at).unwrap(), item))
        && array.get(items.len()).is_none()
        && array.get(usize::MAX).is_none()
}

/// Looks at every slot of an array.
pub(crate) fn walk<S: Shape>(array: &S::Array) -> u64 {
    walk_slots(array, S::walk)
}

/// Looks at every slot; of more than anybody could look at, at those at both ends.
pub(crate) fn walk_slots<'a, A: Layout>(array: &'a A, walk: impl Fn(A::Item<'a>) -> u64) -> u64 {
    const MOST: usize = 1 << 12;
    let slot = |at| walk(array.get(at).unwrap());
    let (len, sum) = (array.len(), |sum: u64, slot| sum.rotate_left(7) ^ slot);
    assert!(array.get(len).is_none());
    match len {
        0..=MOST => array.iter().map(&walk).fold(0, sum),
        _ => (0..8).chain(len - 8..len).map(slot).fold(0, sum),
    }
}

fn walk_bytes(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum: u64, &byte| sum.rotate_left(5) ^ u64::from(byte))
}

/// `Values<T>`; compared by its bits, for NaN is not NaN.
pub(crate) struct Plain<T>(PhantomData<T>);

impl<T: Element> Shape for Plain<T> {
    type Array = Values<T>;
    type Item = T;

    fn item(random: &mut Random) -> T {
        let mut item = T::zeroed();
        random.edgy(bytemuck::bytes_of_mut(&mut item));
        item
    }

    fn show(item: &T) -> T {
        *item
    }

    fn same(shown: T, item: &T) -> bool {
        bytemuck::bytes_of(&shown) == bytemuck::bytes_of(item)
    }

    fn walk(shown: T) -> u64 {
        walk_bytes(bytemuck::bytes_of(&shown))
    }
}

/// `Bits`.
pub(crate) struct Bool;

impl Shape for Bool {
    type Array = Bits;
    type Item = bool;

    fn item(random: &mut Random) -> bool {
        random.below(100) < random.nulls
    }

    fn show(item: &bool) -> bool {
        *item
    }

    fn same(shown: bool, item: &bool) -> bool {
        shown == *item
    }

    fn walk(shown: bool) -> u64 {
        u64::from(shown)
    }
}

/// `Units`.
pub(crate) struct Nothing;

impl Shape for Nothing {
    type Array = Units;
    type Item = ();

    fn item(_: &mut Random) {}

    fn show((): &()) {}

    fn same((): (), (): &()) -> bool {
        true
    }

    fn walk((): ()) -> u64 {
        1
    }
}

/// `Strings`.
pub(crate) struct Text<O = i64>(PhantomData<O>);

impl<O: Offset> Shape for Text<O> {
    type Array = Strings<O>;
    type Item = String;

    fn item(random: &mut Random) -> String {
        random.text()
    }

    fn show(item: &String) -> &str {
        item
    }

    fn same(shown: &str, item: &String) -> bool {
        shown == item
    }

    fn walk(shown: &str) -> u64 {
        // A `str` that is none would be undefined behaviour, and nobody would notice.
        assert!(std::str::from_utf8(shown.as_bytes()).is_ok(), "text that is not UTF-8");
        walk_bytes(shown.as_bytes())
    }
}

/// `Binary`.
pub(crate) struct Bytes<O = i64>(PhantomData<O>);

impl<O: Offset> Shape for Bytes<O> {
    type Array = Binary<O>;
    type Item = Vec<u8>;

    fn item(random: &mut Random) -> Vec<u8> {
        let mut bytes = vec![0; random.text().len()];
        random.edgy(&mut bytes);
        bytes
    }

    fn show(item: &Vec<u8>) -> &[u8] {
        item
    }

    fn same(shown: &[u8], item: &Vec<u8>) -> bool {
        shown == item
    }

    fn walk(shown: &[u8]) -> u64 {
        walk_bytes(shown)
    }
}

/// `Nullable`.
pub(crate) struct Maybe<S>(PhantomData<S>);

impl<S: Shape> Shape for Maybe<S> {
    type Array = Nullable<S::Array>;
    type Item = Option<S::Item>;

    const CANONICAL: bool = S::CANONICAL;

    fn item(random: &mut Random) -> Option<S::Item> {
        (random.below(100) >= random.nulls).then(|| S::item(random))
    }

    fn show(item: &Option<S::Item>) -> Option<<S::Array as Layout>::Item<'_>> {
        item.as_ref().map(S::show)
    }

    fn same(shown: Option<<S::Array as Layout>::Item<'_>>, item: &Option<S::Item>) -> bool {
        match (shown, item) {
            (Some(shown), Some(item)) => S::same(shown, item),
            (shown, item) => shown.is_none() && item.is_none(),
        }
    }

    fn walk(shown: Option<<S::Array as Layout>::Item<'_>>) -> u64 {
        shown.map_or(u64::MAX, S::walk)
    }
}

/// `Pooled`: few values, each of them often.
pub(crate) struct Few<S>(PhantomData<S>);

impl<S: Shape> Shape for Few<S> {
    type Array = Pooled<S::Array>;
    type Item = S::Item;

    /// A part has the whole dictionary.
    const CANONICAL: bool = false;

    fn item(random: &mut Random) -> S::Item {
        let (state, chosen) = (random.next(), random.next() % random.values);
        random.state = chosen;
        let item = S::item(random);
        random.state = state;
        item
    }

    fn show(item: &S::Item) -> <S::Array as Layout>::Item<'_> {
        S::show(item)
    }

    fn same(shown: <S::Array as Layout>::Item<'_>, item: &S::Item) -> bool {
        S::same(shown, item)
    }

    fn walk(shown: <S::Array as Layout>::Item<'_>) -> u64 {
        S::walk(shown)
    }
}

/// `List`.
pub(crate) struct Runs<S, O = i64>(PhantomData<(S, O)>);

impl<S: Shape, O: Offset> Shape for Runs<S, O> {
    type Array = List<S::Array, O>;
    type Item = Vec<S::Item>;

    const CANONICAL: bool = S::CANONICAL;

    fn item(random: &mut Random) -> Vec<S::Item> {
        let len = random.pick(&[0, 0, 1, 2, 3, 9]);
        (0..len).map(|_| S::item(random)).collect()
    }

    fn show(item: &Vec<S::Item>) -> S::Array {
        build::<S>(item)
    }

    fn same(shown: S::Array, item: &Vec<S::Item>) -> bool {
        shows::<S>(&shown, item)
    }

    fn walk(shown: S::Array) -> u64 {
        walk::<S>(&shown)
    }
}

/// A record with fields of several widths.
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct Trade {
    pub(crate) price: f64,
    pub(crate) quantity: u32,
    pub(crate) venue: u32,
}

impl Element for Trade {
    const TYPE: ElementType = ElementType::record::<Self>("trade");
}

/// A record of three bytes, which may lie anywhere.
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct Color {
    pub(crate) red: u8,
    pub(crate) green: u8,
    pub(crate) blue: u8,
}

impl Element for Color {
    const TYPE: ElementType = ElementType::record::<Self>("color");
}

/// A record that lies at multiples of 16.
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct Wide {
    pub(crate) key: u128,
    pub(crate) place: [f64; 2],
}

impl Element for Wide {
    const TYPE: ElementType = ElementType::record::<Self>("wide");
}

/// Looks at a value of a column, whatever it is.
pub(crate) fn walk_value(value: &Value<'_>) -> u64 {
    match value {
        Value::Null => u64::MAX,
        Value::Unit => 1,
        Value::Bool(bit) => u64::from(*bit),
        Value::Int(number) => walk_bytes(&number.to_le_bytes()),
        Value::Large(number) => walk_bytes(&number.to_le_bytes()),
        Value::Float(number) => number.to_bits(),
        Value::Complex([re, im]) => re.to_bits() ^ im.to_bits().rotate_left(9),
        Value::Text(text) => Text::<i64>::walk(text),
        Value::Bytes(bytes) | Value::Record(bytes) => walk_bytes(bytes),
        Value::List(list) => walk_slots(list, |slot| walk_value(&slot)),
        Value::Row(row) => row.values().fold(0, |sum, value| sum ^ walk_value(&value)),
        other => panic!("{other:?}, which nobody knows"),
    }
}

/// Hands every element to a macro: its name, and its shape.
macro_rules! elements {
    ($each:ident) => {
        $each!(i8, Plain<i8>);
        $each!(i16, Plain<i16>);
        $each!(i32, Plain<i32>);
        $each!(i64, Plain<i64>);
        $each!(i128, Plain<i128>);
        $each!(u8, Plain<u8>);
        $each!(u16, Plain<u16>);
        $each!(u32, Plain<u32>);
        $each!(u64, Plain<u64>);
        $each!(u128, Plain<u128>);
        $each!(f32, Plain<f32>);
        $each!(f64, Plain<f64>);
        #[cfg(feature = "half")]
        $each!(f16, Plain<half::f16>);
        #[cfg(feature = "complex")]
        $each!(complex32, Plain<num_complex::Complex<f32>>);
        #[cfg(feature = "complex")]
        $each!(complex64, Plain<num_complex::Complex<f64>>);
        $each!(bytes_1, Plain<[u8; 1]>);
        $each!(bytes_3, Plain<[u8; 3]>);
        $each!(bytes_16, Plain<[u8; 16]>);
        $each!(array_of_u16, Plain<[u16; 3]>);
        $each!(array_of_i64, Plain<[i64; 2]>);
        $each!(array_of_f32, Plain<[f32; 4]>);
        $each!(array_of_arrays, Plain<[[u8; 2]; 4]>);
        $each!(record_of_numbers, Plain<Trade>);
        $each!(record_of_3_bytes, Plain<Color>);
        $each!(record_at_16, Plain<Wide>);
        $each!(array_of_records, Plain<[Trade; 2]>);
        $each!(boolean, Bool);
        $each!(unit, Nothing);
        $each!(text_32, Text<i32>);
        $each!(text_64, Text<i64>);
        $each!(bytes_32, Bytes<i32>);
        $each!(bytes_64, Bytes<i64>);
    };
}
pub(crate) use elements;
