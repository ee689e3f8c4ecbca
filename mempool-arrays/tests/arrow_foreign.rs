//! Arrays that come over the C Data Interface, and arrays of Arrow's that nobody checked when they were built.
#![allow(unsafe_code, clippy::unwrap_used, reason = "a test of what needs no promise kept")]

use std::sync::Arc;

use mempool_arrays::arrow::arrow_array::{Array, ffi};
use mempool_arrays::arrow::arrow_buffer::{BooleanBuffer, Buffer, NullBuffer};
use mempool_arrays::arrow::arrow_data::ArrayData;
use mempool_arrays::arrow::arrow_schema::{DataType, Field};
use mempool_arrays::arrow::{Arrow, Memory};
use mempool_arrays::{
    ArrayError, Binary, Bits, Column, Layout, List, Nullable, Pooled, Raw, Strings, Struct, Values,
};
use mempool_core::PoolOptions;

#[test]
fn what_the_c_data_interface_takes_is_paid_back_when_it_is_released() {
    let pool = PoolOptions::new().memory_limit(1 << 20).open(Raw);
    let text = (0..1000).map(|n| (n % 3 > 0).then_some("Ushuaia"));
    let reference = pool.set(text.clone().collect::<Nullable<Strings>>()).unwrap();
    let data = pool.get(&reference).unwrap().slice(5..905).to_arrow().to_data();
    let (array, schema) = ffi::to_ffi(&data).unwrap();
    drop((data, reference));
    pool.quiesce();
    let used = pool.stats().used_bytes;
    assert!(used > 666 * "Ushuaia".len() as u64 + 1001 * 8, "the C struct holds it");
    // SAFETY: both came from `to_ffi`.
    let imported = unsafe { ffi::from_ffi(array, &schema) }.unwrap();
    let ours = Nullable::<Strings>::from_arrow_data(&imported, Memory::Elsewhere).unwrap();
    drop(imported);
    assert!(ours.iter().eq(text.skip(5).take(900)));
    assert_eq!(pool.stats().used_bytes, used, "what was imported holds it");
    drop(ours);
    assert_eq!(pool.stats().used_bytes, 0, "released");
}

#[test]
fn what_comes_back_over_the_c_data_interface_is_what_went_out() {
    let pool = PoolOptions::new().memory_limit(1 << 20).open(Raw);
    let reference = pool.set((0..1000).collect::<Values<u64>>()).unwrap();
    let data = pool.get(&reference).unwrap().slice(3..900).to_arrow().to_data();
    let (array, schema) = ffi::to_ffi(&data).unwrap();
    // SAFETY: both came from `to_ffi`.
    let imported = unsafe { ffi::from_ffi(array, &schema) }.unwrap();
    let back = Values::<u64>::from_arrow_data(&imported.slice(7, 20), Memory::Heap).unwrap();
    drop((imported, data));
    assert!(back.buffer().shares_allocation(pool.get(&reference).unwrap().buffer()));
    assert_eq!(back[..], (10..30).collect::<Vec<u64>>());
}

#[test]
fn an_array_that_nobody_imports_is_released_with_its_struct() {
    let pool = PoolOptions::new().memory_limit(1 << 20).open(Raw);
    let reference = pool.set((0..100).collect::<Values<u32>>()).unwrap();
    let (array, schema) = ffi::to_ffi(&pool.get(&reference).unwrap().to_arrow().to_data()).unwrap();
    drop(reference);
    pool.quiesce();
    assert!(pool.stats().used_bytes > 0);
    drop((array, schema));
    assert_eq!(pool.stats().used_bytes, 0);
}

/// An array of so many slots over buffers that are whatever they are.
fn unchecked(data_type: DataType, slots: usize, offset: usize, buffers: Vec<Buffer>) -> ArrayData {
    let builder = ArrayData::builder(data_type).len(slots).offset(offset).buffers(buffers);
    // SAFETY: none. It is what a program that broke its promise would hand us; nothing of Arrow's reads it.
    unsafe { builder.build_unchecked() }
}

fn bytes_of<T: bytemuck::Pod>(items: &[T]) -> Buffer {
    Buffer::from_vec(bytemuck::cast_slice::<T, u64>(items).to_vec())
}

fn strings(offsets: &[i64], text: &[u8]) -> Result<Strings, ArrayError> {
    let slots = offsets.len().saturating_sub(1);
    let buffers = vec![bytes_of(offsets), Buffer::from(text)];
    let data = unchecked(DataType::LargeUtf8, slots, 0, buffers);
    Strings::from_arrow_data(&data, Memory::Heap)
}

#[test]
fn strings_that_nobody_checked_are_refused() {
    assert_eq!(strings(&[0, 2, 3], b"abc").unwrap().get(1), Some("c"));
    assert!(matches!(strings(&[0, 2, 1], b"abc"), Err(ArrayError::Offset { index: 2, .. })));
    assert!(matches!(strings(&[0, 2, 4], b"abc"), Err(ArrayError::Offset { index: 2, .. })));
    assert!(matches!(strings(&[-1, 2, 3], b"abc"), Err(ArrayError::Offset { index: 0, .. })));
    assert!(matches!(strings(&[0, 9, 3], b"abc"), Err(ArrayError::Offset { .. })));
    assert!(matches!(strings(&[0, i64::MAX, i64::MIN], b"abc"), Err(ArrayError::Offset { .. })));
    assert!(matches!(strings(&[0, 1, 3], b"a\xff\xfe"), Err(ArrayError::Utf8 { index: 1 })));
    assert!(matches!(strings(&[0, 1, 2], "é".as_bytes()), Err(ArrayError::Utf8 { .. })));
    let data =
        unchecked(DataType::LargeBinary, 1, 0, vec![bytes_of(&[0_i64, 4]), Buffer::from(b"abc")]);
    let refused = Binary::<i64>::from_arrow_data(&data, Memory::Heap);
    assert!(matches!(refused, Err(ArrayError::Offset { .. })));
}

#[test]
fn lengths_that_wrap_are_refused() {
    let one = || vec![bytes_of(&[7_u64])];
    for (slots, offset) in [(2, 0), (1, 1), (usize::MAX, 1), (1, usize::MAX), (1 << 61, 1 << 61)] {
        let numbers = unchecked(DataType::UInt64, slots, offset, one());
        let refused = Values::<u64>::from_arrow_data(&numbers, Memory::Heap).unwrap_err();
        assert!(matches!(refused, ArrayError::Length { part: "values", .. }), "{refused}");
        let text = unchecked(DataType::LargeUtf8, slots, offset, [one(), one()].concat());
        assert!(Strings::<i64>::from_arrow_data(&text, Memory::Heap).is_err());
        let views = unchecked(DataType::Utf8View, slots, offset, one());
        assert!(Strings::<i64>::from_arrow_data(&views, Memory::Heap).is_err());
    }
    for (slots, offset) in [(65, 0), (1, 64), (usize::MAX, 1), (1, usize::MAX)] {
        let bits = unchecked(DataType::Boolean, slots, offset, one());
        let refused = Bits::from_arrow_data(&bits, Memory::Heap).unwrap_err();
        assert!(matches!(refused, ArrayError::Length { part: "bits", .. }), "{refused}");
    }
}

#[test]
fn buffers_that_are_missing_or_misplaced_are_refused() {
    let none = unchecked(DataType::UInt64, 0, 0, Vec::new());
    let refused = Values::<u64>::from_arrow_data(&none, Memory::Heap).unwrap_err();
    assert!(matches!(refused, ArrayError::Description { .. }), "{refused}");
    let text = unchecked(DataType::LargeUtf8, 0, 0, Vec::new());
    assert!(Strings::<i64>::from_arrow_data(&text, Memory::Heap).is_err());
    let odd = vec![bytes_of(&[0_u64; 3]).slice_with_length(1, 16)];
    let numbers = unchecked(DataType::UInt64, 2, 0, odd.clone());
    let refused = Values::<u64>::from_arrow_data(&numbers, Memory::Heap).unwrap_err();
    assert!(matches!(refused, ArrayError::Misaligned { .. }), "{refused}");
    // Views may lie anywhere: they are copied.
    let views = unchecked(DataType::Utf8View, 1, 0, odd);
    assert_eq!(Strings::<i64>::from_arrow_data(&views, Memory::Heap).unwrap().get(0), Some(""));
}

#[test]
fn views_that_nobody_checked_are_refused() {
    let view = |length: u32, buffer: u32, at: u32, prefix: &[u8; 4]| {
        let prefix = u32::from_le_bytes(*prefix);
        u128::from(length)
            | u128::from(prefix) << 32
            | u128::from(buffer) << 64
            | u128::from(at) << 96
    };
    let read = |view: u128| {
        let text = Buffer::from(b"thirteen bytes and more");
        let data = unchecked(DataType::Utf8View, 1, 0, vec![bytes_of(&[view]), text]);
        Strings::<i64>::from_arrow_data(&data, Memory::Heap)
    };
    assert_eq!(read(view(13, 0, 0, b"thir")).unwrap().get(0), Some("thirteen byte"));
    for wrong in [
        view(13, 1, 0, b"thir"),
        view(13, 0, 20, b"thir"),
        view(u32::MAX, 0, 0, b"thir"),
        view(13, 0, u32::MAX, b"thir"),
        view(13, 0, 0, b"them"),
    ] {
        assert!(matches!(read(wrong), Err(ArrayError::Description { .. })));
    }
    assert!(matches!(read(view(2, 0, 0, b"\xff\xff\0\0")), Err(ArrayError::Utf8 { .. })));
}

#[test]
fn a_null_count_that_is_a_lie_is_counted_again() {
    let bits = BooleanBuffer::from(vec![true, false, true, false]);
    // SAFETY: none, as above: there are two.
    let nulls = unsafe { NullBuffer::new_unchecked(bits, 1) };
    let builder = ArrayData::builder(DataType::UInt64)
        .len(4)
        .nulls(Some(nulls))
        .buffers(vec![bytes_of(&[1_u64, 2, 3, 4])]);
    // SAFETY: as above.
    let data = unsafe { builder.build_unchecked() };
    let ours = Nullable::<Values<u64>>::from_arrow_data(&data, Memory::Heap).unwrap();
    assert_eq!(ours.nulls(), 2);
    assert!(ours.iter().eq([Some(1), None, Some(3), None]));
    let builder = ArrayData::builder(DataType::UInt64)
        .len(4)
        .nulls(Some(NullBuffer::from(vec![false; 3])))
        .buffers(vec![bytes_of(&[1_u64, 2, 3, 4])]);
    // SAFETY: as above.
    let data = unsafe { builder.build_unchecked() };
    let refused = Nullable::<Values<u64>>::from_arrow_data(&data, Memory::Heap).unwrap_err();
    assert!(matches!(refused, ArrayError::Slots { .. }), "{refused}");
}

#[test]
fn codes_that_nobody_checked_are_refused() {
    let read = |key: DataType, codes: &[u64], missing: Option<Vec<bool>>, dictionary: u64| {
        let values: Vec<u64> = (0..dictionary).collect();
        let values = unchecked(DataType::UInt64, values.len(), 0, vec![bytes_of(&values)]);
        let data_type = DataType::Dictionary(Box::new(key), Box::new(DataType::UInt64));
        let builder = ArrayData::builder(data_type)
            .len(codes.len())
            .nulls(missing.map(NullBuffer::from))
            .add_buffer(bytes_of(codes))
            .add_child_data(values);
        // SAFETY: none, as above.
        let data = unsafe { builder.build_unchecked() };
        Nullable::<Pooled<Values<u64>>>::from_arrow_data(&data, Memory::Heap)
    };
    let minus_one = u64::MAX;
    assert_eq!(read(DataType::Int64, &[1, 0], None, 2).unwrap().get(0), Some(Some(1)));
    for key in [DataType::Int64, DataType::UInt64, DataType::Int8, DataType::UInt32] {
        let refused = read(key.clone(), &[2, minus_one], None, 2).unwrap_err();
        assert!(matches!(refused, ArrayError::Code { index: 0, code: 2, dictionary: 2 }));
        assert!(matches!(read(key.clone(), &[0], None, 0), Err(ArrayError::Code { .. })));
        let missing = Some(vec![true, false]);
        assert!(matches!(read(key, &[0, 0], missing, 0), Err(ArrayError::Code { index: 0, .. })));
    }
    let refused = read(DataType::Int8, &[minus_one], None, 256).unwrap_err();
    assert!(matches!(refused, ArrayError::Code { code: 255, .. }), "{refused}");
    let refused = read(DataType::Utf8, &[0], None, 2).unwrap_err();
    assert!(matches!(refused, ArrayError::Kind { .. }), "{refused}");
}

#[test]
fn children_of_other_lengths_are_refused() {
    let child =
        |slots, offset| unchecked(DataType::UInt64, slots, offset, vec![bytes_of(&[1_u64, 2])]);
    let field = |data_type| Arc::new(Field::new("x", data_type, false));
    let read = |slots, offset, children: Vec<ArrayData>| {
        let builder = ArrayData::builder(DataType::Struct(vec![field(DataType::UInt64)].into()))
            .len(slots)
            .offset(offset)
            .child_data(children);
        // SAFETY: none, as above.
        let data = unsafe { builder.build_unchecked() };
        Struct::from_arrow_data(&data, Memory::Heap)
    };
    assert_eq!(read(1, 1, vec![child(2, 0)]).unwrap().len(), 1);
    for (slots, offset, of) in
        [(3, 0, (2, 0)), (2, 1, (2, 0)), (1, usize::MAX, (2, 0)), (1, 1, (2, usize::MAX))]
    {
        let refused = read(slots, offset, vec![child(of.0, of.1)]).unwrap_err();
        assert!(matches!(refused, ArrayError::Slots { .. }), "{refused}");
    }
    assert!(matches!(read(1, 0, vec![child(1, 2)]), Err(ArrayError::Length { .. })));
    assert!(matches!(read(1, 0, Vec::new()), Err(ArrayError::Description { .. })));
    let lists = |offsets: &[i64]| {
        let builder = ArrayData::builder(DataType::LargeList(field(DataType::UInt64)))
            .len(offsets.len() - 1)
            .add_buffer(bytes_of(offsets))
            .add_child_data(child(2, 0));
        // SAFETY: none, as above.
        let data = unsafe { builder.build_unchecked() };
        List::<Values<u64>>::from_arrow_data(&data, Memory::Heap)
    };
    assert_eq!(lists(&[0, 2, 2]).unwrap().get(0).unwrap()[..], [1, 2]);
    assert!(matches!(lists(&[0, 3]), Err(ArrayError::Offset { .. })));
    assert!(matches!(lists(&[2, 1]), Err(ArrayError::Offset { .. })));
}

#[test]
fn arrays_nested_too_deeply_are_refused() {
    let mut data = unchecked(DataType::UInt64, 0, 0, vec![bytes_of(&[0_u64])]);
    for _ in 0..100 {
        let field = Arc::new(Field::new("x", data.data_type().clone(), false));
        let builder = ArrayData::builder(DataType::LargeList(field))
            .len(0)
            .add_buffer(bytes_of(&[0_u64]))
            .add_child_data(data);
        // SAFETY: none, as above.
        data = unsafe { builder.build_unchecked() };
    }
    let refused = Column::from_arrow_data(&data, Memory::Heap).unwrap_err();
    assert!(matches!(refused, ArrayError::Depth { .. }), "{refused}");
}
