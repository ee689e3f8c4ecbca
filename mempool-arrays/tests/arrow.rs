//! Arrays to and from Arrow: the same slots, the same bytes at the same addresses.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::ops::Range;
use std::sync::Arc;

use mempool_arrays::arrow::arrow_array::{
    Array, ArrayRef, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array,
    FixedSizeBinaryArray, Float16Array, Float64Array, GenericBinaryArray, GenericStringArray,
    Int32Array, Int64Array, NullArray, OffsetSizeTrait, PrimitiveArray, StringViewArray,
    TimestampMicrosecondArray, types,
};
use mempool_arrays::arrow::arrow_buffer::{Buffer, i256};
use mempool_arrays::arrow::arrow_data::ArrayData;
use mempool_arrays::arrow::arrow_schema::DataType;
use mempool_arrays::arrow::{Arrow, Memory};
use mempool_arrays::{
    ArrayError, Binary, Bits, Element, Layout, Nullable, Offset, Raw, Strings, Units, Values,
};
use mempool_core::PoolOptions;
use mempool_spill::SpillOptions;
use proptest::prelude::*;

/// Ranges of an array of `len` slots that start and end within bytes of a bitmap, and not.
fn ranges(len: usize) -> Vec<Range<usize>> {
    [(0, len), (0, len / 2), (3, len), (8, len), (13, 21), (len, len), (5, 5)]
        .into_iter()
        .map(|(start, end)| start.min(len)..end.max(start).min(len))
        .collect()
}

/// Where the buffers of an array of Arrow's start, but those that are empty.
fn addresses(array: &dyn Array) -> Vec<usize> {
    let data = array.to_data();
    let buffers = data.buffers().iter().chain(data.nulls().map(|nulls| nulls.buffer()));
    buffers.filter(|buffer| !buffer.is_empty()).map(|buffer| buffer.as_ptr().addr()).collect()
}

/// Where an array of ours has its buffers; `None` for one of another type's.
fn holds_all<A: Layout>(array: &A, addresses: &[usize]) -> bool {
    let mut ours = Vec::new();
    array.visit(&mut |buffer| ours.push(buffer.as_ptr_range()));
    let held = |address: &usize| {
        ours.iter().any(|range| (range.start.addr()..=range.end.addr()).contains(address))
    };
    addresses.iter().all(held)
}

/// Adopts `theirs`, whole and in slices, and hands it out again: every slot is as `slots` says, no byte has moved.
fn adopt<A: Arrow>(theirs: &ArrayRef, slots: &[String]) {
    for range in ranges(theirs.len()) {
        let part = theirs.slice(range.start, range.len());
        let ours = A::from_arrow(&part).unwrap();
        let found: Vec<String> = ours.iter().map(|slot| format!("{slot:?}")).collect();
        assert_eq!(found, slots[range.clone()], "{} in {range:?}", part.data_type());
        // Bits begin at a byte of their own: whole bytes in front of the first are left out.
        if !matches!(part.data_type(), DataType::Boolean) && part.nulls().is_none() {
            assert!(holds_all(&ours, &addresses(&part)), "{} was copied", part.data_type());
        }
        assert_eq!(ours.to_arrow().len(), range.len());
        for inner in ranges(range.len()) {
            let expected = part.slice(inner.start, inner.len());
            let back = ours.slice(inner.clone()).to_arrow();
            if back.data_type() == expected.data_type() {
                assert_eq!(&back, &expected, "{range:?}, {inner:?}");
            }
            assert!(holds_all(&ours, &addresses(&back)), "{} was copied", back.data_type());
        }
    }
}

fn shown<T: std::fmt::Debug>(slots: &[T]) -> Vec<String> {
    slots.iter().map(|slot| format!("{slot:?}")).collect()
}

const LEN: i64 = 77;

/// Numbers of Arrow's type `P` that are ours of type `T`, missing ones and none.
fn numbers<P, T>(number: impl Fn(i64) -> T)
where
    P: types::ArrowPrimitiveType<Native = T>,
    T: Element,
{
    let all: Vec<T> = (0..LEN).map(&number).collect();
    let theirs: ArrayRef = Arc::new(PrimitiveArray::<P>::from_iter_values(all.iter().copied()));
    adopt::<Values<T>>(&theirs, &shown(&all));
    let options: Vec<Option<T>> = all.iter().copied().map(Some).collect();
    adopt::<Nullable<Values<T>>>(&theirs, &shown(&options));
    let some: Vec<Option<T>> = (0..LEN).map(|n| (n % 3 != 1).then(|| number(n))).collect();
    let theirs: ArrayRef = Arc::new(some.iter().copied().collect::<PrimitiveArray<P>>());
    adopt::<Nullable<Values<T>>>(&theirs, &shown(&some));
    let ours: Nullable<Values<T>> = some.iter().copied().collect();
    if ours.to_arrow().data_type() == theirs.data_type() {
        assert_eq!(&ours.to_arrow(), &theirs);
    }
    let none: ArrayRef = Arc::new(PrimitiveArray::<P>::from_iter_values([]));
    adopt::<Values<T>>(&none, &[]);
}

#[test]
fn all_numbers_that_arrow_has() {
    numbers::<types::Int8Type, i8>(|n| n as i8 - 40);
    numbers::<types::Int16Type, i16>(|n| -400 * n as i16);
    numbers::<types::Int32Type, i32>(|n| -(n as i32) << 20);
    numbers::<types::Int64Type, i64>(|n| -n << 40);
    numbers::<types::Decimal128Type, i128>(|n| i128::from(-n) << 100);
    numbers::<types::UInt8Type, u8>(|n| n as u8 * 3);
    numbers::<types::UInt16Type, u16>(|n| n as u16 * 800);
    numbers::<types::UInt32Type, u32>(|n| u32::MAX - n as u32);
    numbers::<types::UInt64Type, u64>(|n| u64::MAX - n as u64);
    numbers::<types::Float32Type, f32>(|n| n as f32 / -7.0);
    numbers::<types::Float64Type, f64>(|n| n as f64 / 7.0);
}

#[test]
fn what_arrow_stores_as_numbers() {
    numbers::<types::Date32Type, i32>(|n| n as i32);
    numbers::<types::Date64Type, i64>(|n| n);
    numbers::<types::Time32SecondType, i32>(|n| n as i32);
    numbers::<types::Time64NanosecondType, i64>(|n| n);
    numbers::<types::TimestampMicrosecondType, i64>(|n| n << 30);
    numbers::<types::DurationMillisecondType, i64>(|n| -n);
    numbers::<types::IntervalYearMonthType, i32>(|n| n as i32);
    numbers::<types::Decimal32Type, i32>(|n| n as i32);
    numbers::<types::Decimal64Type, i64>(|n| n);
    let wide: ArrayRef = Arc::new(Decimal256Array::from_iter_values([i256::from(-1), i256::ONE]));
    let ours = Values::<[u8; 32]>::from_arrow(&wide).unwrap();
    assert_eq!(ours[0], [u8::MAX; 32]);
}

#[cfg(feature = "half")]
#[test]
fn half_floats() {
    numbers::<types::Float16Type, half::f16>(|n| half::f16::from_f64(n as f64));
}

#[test]
fn i128_goes_out_as_a_decimal_without_a_scale() {
    let ours: Values<i128> = [1, -1, i128::MAX].into_iter().collect();
    let theirs = ours.to_arrow();
    assert_eq!(theirs.data_type(), &DataType::Decimal128(38, 0));
    let theirs = theirs.as_any().downcast_ref::<Decimal128Array>().unwrap();
    assert_eq!(theirs.values().to_vec(), [1, -1, i128::MAX]);
}

#[test]
fn records_and_what_arrow_has_no_number_for_are_bytes() {
    let records: Vec<[u16; 3]> = (0..LEN as u16).map(|n| [n, n + 1, n + 2]).collect();
    let ours: Values<[u16; 3]> = records.iter().copied().collect();
    let theirs = ours.to_arrow();
    assert_eq!(theirs.data_type(), &DataType::FixedSizeBinary(6));
    adopt::<Values<[u16; 3]>>(&theirs, &shown(&records));
    let values = theirs.as_any().downcast_ref::<FixedSizeBinaryArray>().unwrap();
    assert_eq!(values.value(1), [1, 0, 2, 0, 3, 0]);
    let wide: Vec<Option<u128>> =
        (0..LEN as u128).map(|n| (n % 5 > 0).then_some(n << 90)).collect();
    let ours: Nullable<Values<u128>> = wide.iter().copied().collect();
    assert_eq!(ours.to_arrow().data_type(), &DataType::FixedSizeBinary(16));
    adopt::<Nullable<Values<u128>>>(&ours.to_arrow(), &shown(&wide));
}

#[cfg(feature = "complex")]
#[test]
fn complex_numbers_are_bytes() {
    use num_complex::Complex;
    let numbers: Vec<Complex<f64>> = (0..LEN).map(|n| Complex::new(n as f64, -1.0)).collect();
    let ours: Values<Complex<f64>> = numbers.iter().copied().collect();
    adopt::<Values<Complex<f64>>>(&ours.to_arrow(), &shown(&numbers));
}

#[test]
fn booleans_of_any_offset() {
    let all: Vec<bool> = (0..LEN).map(|n| n % 3 == 1 || n % 7 == 2).collect();
    let theirs: ArrayRef = Arc::new(BooleanArray::from(all.clone()));
    adopt::<Bits>(&theirs, &shown(&all));
    let some: Vec<Option<bool>> = (0..LEN).map(|n| (n % 4 > 0).then_some(n % 3 == 0)).collect();
    let theirs: ArrayRef = Arc::new(BooleanArray::from(some.clone()));
    adopt::<Nullable<Bits>>(&theirs, &shown(&some));
    let ours: Nullable<Bits> = some.into_iter().collect();
    assert_eq!(&ours.to_arrow(), &theirs);
}

#[test]
fn units_are_null_or_structs_without_fields() {
    let theirs: ArrayRef = Arc::new(NullArray::new(5));
    adopt::<Units>(&theirs, &shown(&[(); 5]));
    assert_eq!(&Units::new(5).to_arrow(), &theirs);
    assert_eq!(Nullable::<Units>::from_arrow(&theirs).unwrap().nulls(), 5);
    let slots = [Some(()), None, Some(())];
    let ours: Nullable<Units> = slots.into_iter().collect();
    adopt::<Nullable<Units>>(&ours.to_arrow(), &shown(&slots));
    let none_missing = Nullable::from(Units::new(2)).to_arrow();
    assert_eq!(none_missing.data_type(), ours.to_arrow().data_type(), "whatever is missing");
    assert_eq!(Nullable::<Units>::from_arrow(&none_missing).unwrap().nulls(), 0);
}

fn text(n: i64) -> String {
    "aé東🦀".chars().cycle().take(n as usize % 11).collect()
}

fn texts<O: Offset + OffsetSizeTrait>() {
    let all: Vec<String> = (0..LEN).map(text).collect();
    let theirs: ArrayRef = Arc::new(GenericStringArray::<O>::from_iter_values(&all));
    adopt::<Strings<O>>(&theirs, &shown(&all));
    let some: Vec<Option<String>> = (0..LEN).map(|n| (n % 3 > 0).then(|| text(n))).collect();
    let theirs: ArrayRef = Arc::new(some.iter().collect::<GenericStringArray<O>>());
    adopt::<Nullable<Strings<O>>>(&theirs, &shown(&some));
    let ours: Nullable<Strings<O>> = some.iter().map(Option::as_deref).collect();
    assert_eq!(&ours.to_arrow(), &theirs);
    let all: Vec<Vec<u8>> = (0..LEN as u8).map(|n| vec![n + 150; usize::from(n % 5)]).collect();
    let theirs: ArrayRef = Arc::new(GenericBinaryArray::<O>::from_iter_values(&all));
    adopt::<Binary<O>>(&theirs, &shown(&all));
    let some: Vec<Option<&[u8]>> =
        all.iter().map(|bytes| (bytes.len() != 2).then_some(&bytes[..])).collect();
    let theirs: ArrayRef = Arc::new(some.iter().copied().collect::<GenericBinaryArray<O>>());
    adopt::<Nullable<Binary<O>>>(&theirs, &shown(&some));
    let none: ArrayRef = Arc::new(GenericStringArray::<O>::from_iter_values([""; 0]));
    adopt::<Strings<O>>(&none, &[]);
}

#[test]
fn strings_and_binary_of_both_widths() {
    texts::<i32>();
    texts::<i64>();
}

#[test]
fn views_are_copied() {
    let some: Vec<Option<String>> = (0..LEN).map(|n| (n % 3 > 0).then(|| text(n * 7))).collect();
    let theirs: StringViewArray = some.iter().collect();
    for range in ranges(theirs.len()) {
        let part = theirs.slice(range.start, range.len());
        let ours = Nullable::<Strings<i32>>::from_arrow(&part).unwrap();
        assert!(ours.iter().eq(some[range.clone()].iter().map(Option::as_deref)));
        let ours = Nullable::<Strings>::from_arrow(&part).unwrap();
        assert!(ours.iter().eq(some[range].iter().map(Option::as_deref)));
    }
    let theirs =
        BinaryViewArray::from_iter_values([&b"short"[..], b"\xff longer than twelve bytes"]);
    let ours = Binary::<i64>::from_arrow(&theirs).unwrap();
    assert!(ours.iter().eq(theirs.iter().flatten()));
}

#[test]
fn another_type_is_refused_by_name() {
    let refused = Values::<i64>::from_arrow(&Int32Array::from(vec![1])).unwrap_err();
    assert_eq!(refused.to_string(), "an array of Int32, asked for as i64");
    let dates: ArrayRef = Arc::new(Date32Array::from(vec![1]));
    assert!(matches!(Values::<f32>::from_arrow(&dates), Err(ArrayError::Kind { .. })));
    assert!(matches!(Strings::<i64>::from_arrow(&dates), Err(ArrayError::Kind { .. })));
    assert!(matches!(Binary::<i32>::from_arrow(&dates), Err(ArrayError::Kind { .. })));
    assert!(matches!(Bits::from_arrow(&dates), Err(ArrayError::Kind { .. })));
    assert!(matches!(Units::from_arrow(&dates), Err(ArrayError::Kind { .. })));
    let narrow: ArrayRef = Arc::new(GenericStringArray::<i32>::from_iter_values(["a"]));
    assert!(matches!(Strings::<i64>::from_arrow(&narrow), Err(ArrayError::Kind { .. })));
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1]));
    assert!(matches!(Values::<u64>::from_arrow(&times), Err(ArrayError::Kind { .. })));
    let bytes: ArrayRef = Arc::new(Float16Array::new_null(0));
    assert!(matches!(Values::<[u8; 2]>::from_arrow(&bytes), Err(ArrayError::Kind { .. })));
}

#[test]
fn a_missing_slot_is_refused_where_the_layout_has_none() {
    let theirs = Int64Array::from(vec![Some(1), None, None]);
    let refused = Values::<i64>::from_arrow(&theirs).unwrap_err();
    assert_eq!(refused.to_string(), "2 slots are missing, and i64 have a value in each");
    let missing = |error| matches!(error, ArrayError::Missing { nulls: 1, .. });
    let text: StringViewArray = [Some("a"), None].into_iter().collect();
    assert!(missing(Strings::<i64>::from_arrow(&text).unwrap_err()));
    assert!(missing(Bits::from_arrow(&BooleanArray::from(vec![None, Some(true)])).unwrap_err()));
    let unit = Nullable::<Units>::from_iter([None]).to_arrow();
    assert!(missing(Units::from_arrow(&unit).unwrap_err()));
    // A slice without them is another thing.
    assert_eq!(Values::<i64>::from_arrow(&theirs.slice(0, 1)).unwrap()[..], [1]);
}

#[test]
fn what_comes_in_is_charged_by_its_capacity_when_it_enters_a_pool() {
    let pool = PoolOptions::new().memory_limit(1 << 20).open(Raw);
    let used = || pool.stats().used_bytes;
    let mut vector = Vec::with_capacity(4000);
    vector.extend(0..1000_i64);
    let theirs = Int64Array::from(vector);
    let (whole, part) = (
        Values::<i64>::from_arrow(&theirs).unwrap(),
        Values::<i64>::from_arrow(&theirs.slice(10, 5)).unwrap(),
    );
    assert_eq!(used(), 0);
    let whole = pool.set(whole).unwrap();
    assert!((32_000..33_000).contains(&used()), "{}", used());
    drop(whole);
    pool.quiesce();
    assert_eq!(used(), 0);
    let part = pool.set(part).unwrap();
    assert!((32_000..33_000).contains(&used()), "a slice holds all of it: {}", used());
    drop(part);
    pool.quiesce();
    // Of memory that is not known to be on the heap a pool has a copy.
    let elsewhere = theirs.slice(10, 5).to_data();
    let elsewhere = Values::<i64>::from_arrow_data(&elsewhere, Memory::Elsewhere).unwrap();
    let copied = pool.set(elsewhere).unwrap();
    assert!((40..1000).contains(&used()), "{}", used());
    assert_eq!(pool.get(&copied).unwrap()[..], [10, 11, 12, 13, 14]);
}

#[test]
fn buffers_of_one_allocation_are_charged_once() {
    let pool = PoolOptions::new().memory_limit(1 << 20).open(Raw);
    // Offsets and text lie in one allocation, as a reader of files has them.
    let text: String = (0..1000).map(|n| format!("{n:08}")).collect();
    let offsets = (0..=1000).map(|n| n * 8);
    let words = text.as_bytes().chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
    let both = Buffer::from_vec(offsets.chain(words).collect::<Vec<u64>>());
    let (allocated, text_start) = (both.capacity() as u64, 1001 * 8);
    let data = ArrayData::builder(DataType::LargeUtf8)
        .len(1000)
        .add_buffer(both.slice_with_length(0, text_start))
        .add_buffer(both.slice(text_start))
        .build()
        .unwrap();
    let ours = Strings::<i64>::from_arrow_data(&data, Memory::Heap).unwrap();
    let ours = pool.set(ours).unwrap();
    let used = pool.stats().used_bytes;
    assert!((allocated..allocated + 500).contains(&used), "{used} for {allocated}");
    assert_eq!(pool.get(&ours).unwrap().get(999), Some("00000999"));
}

#[test]
fn an_array_that_was_handed_out_pins_its_value_and_stays_counted() {
    let pool = PoolOptions::new().memory_limit(20_000).open(Raw);
    let reference = pool.set((0..1000).collect::<Values<u64>>()).unwrap();
    let theirs = pool.get(&reference).unwrap().to_arrow();
    assert!(pool.try_set((0..2000).collect::<Vec<u64>>()).is_err(), "Arrow holds what would go");
    drop(reference);
    pool.quiesce();
    assert!(pool.stats().used_bytes >= 8000, "Arrow holds it");
    assert_eq!(theirs.len(), 1000);
    drop(theirs);
    assert_eq!(pool.stats().used_bytes, 0);
}

#[test]
fn an_array_over_a_map_outlives_its_reference() {
    let name = format!("mempool-arrays-arrow-{}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&directory).unwrap();
    let store = SpillOptions::new(&directory).open().unwrap();
    let pool = PoolOptions::new().memory_limit(1 << 20).store(store).open(Raw);
    let texts = || (0..10_000).map(|n| (n % 7 > 0).then_some("Reykjavík"));
    let reference = pool.set(texts().collect::<Nullable<Strings>>()).unwrap();
    pool.move_to_disk(&reference).unwrap();
    assert_eq!(pool.stats().used_bytes, 0);
    let theirs = pool.get(&reference).unwrap().to_arrow();
    assert_eq!(pool.stats().used_bytes, 0, "it is a view of the map");
    drop(reference);
    pool.quiesce();
    // What takes the place of freed blocks must not show in it.
    let other = pool.set(vec![7_u64; 10_000]).unwrap();
    pool.move_to_disk(&other).unwrap();
    let expected: GenericStringArray<i64> = texts().collect();
    assert_eq!(theirs.as_ref(), &expected as &dyn Array);
    drop((theirs, other));
    pool.close().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn what_comes_back_from_arrow_is_what_went_out() {
    let pool = PoolOptions::new().memory_limit(1 << 20).open(Raw);
    let used = || pool.stats().used_bytes;
    let texts = || (0..1000).map(|n| (n % 3 > 0).then_some("Ushuaia"));
    let first = pool.set(texts().collect::<Nullable<Strings>>()).unwrap();
    let theirs = pool.get(&first).unwrap().slice(100..900).to_arrow();
    // A program of Arrow's hands on a part of it.
    let back = Nullable::<Strings>::from_arrow(&theirs.slice(8, 500)).unwrap();
    drop(theirs);
    let before = used();
    let second = pool.set(back).unwrap();
    assert!(used() - before < 512, "{} and not {before}: it was paid for twice", used());
    // Two values of one pool hold it: both can go.
    pool.move_to_disk(&first).unwrap();
    pool.move_to_disk(&second).unwrap();
    assert!(used() < 1024, "{}", used());
    assert!(pool.get(&second).unwrap().iter().eq(texts().skip(108).take(500)));
}

#[test]
fn a_map_that_comes_back_from_arrow_is_no_heap() {
    let name = format!("mempool-arrays-arrow-back-{}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&directory).unwrap();
    let store = SpillOptions::new(&directory).open().unwrap();
    let pool = PoolOptions::new().memory_limit(1 << 20).store(store).open(Raw);
    let reference = pool.set((0..10_000).collect::<Values<i64>>()).unwrap();
    pool.move_to_disk(&reference).unwrap();
    let theirs = pool.get(&reference).unwrap().to_arrow();
    let back = Values::<i64>::from_arrow(&theirs.slice(10, 5)).unwrap();
    assert_eq!(back.buffer().heap_bytes(), None);
    let before = pool.stats().used_bytes;
    let copied = pool.set(back).unwrap();
    assert!(pool.stats().used_bytes - before < 1024, "five numbers, and not the whole map");
    assert_eq!(pool.get(&copied).unwrap()[..], [10, 11, 12, 13, 14]);
    drop((theirs, reference, copied));
    pool.close().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn floats_keep_their_bits() {
    let odd = [f64::NAN, -0.0, f64::INFINITY, f64::MIN_POSITIVE / 2.0];
    let ours = Values::<f64>::from_arrow(&Float64Array::from(odd.to_vec())).unwrap();
    assert!(ours.iter().map(|float| float.to_bits()).eq(odd.map(f64::to_bits)));
}

proptest! {
    #[test]
    fn any_strings_in_any_slice(
        some in proptest::collection::vec(proptest::option::of(".{0,9}"), 0..60),
        cuts in (0_usize..60, 0_usize..60, 0_usize..60),
    ) {
        let theirs: GenericStringArray<i32> = some.iter().collect();
        let start = cuts.0.min(some.len());
        let end = cuts.1.clamp(start, some.len());
        let ours = Nullable::<Strings<i32>>::from_arrow(&theirs.slice(start, end - start)).unwrap();
        let inner = cuts.2.min(ours.len());
        let back = ours.slice(inner..ours.len()).to_arrow();
        prop_assert_eq!(&back.to_data(), &theirs.slice(start + inner, end - start - inner).to_data());
    }
}
