//! Arrays of several dimensions, beside a plain vector with index arithmetic; their bytes; and bytes that lie.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::hash::{DefaultHasher, Hasher};
use std::ops::Range;
use std::time::Duration;

use mempool_arrays::{ArrayError, DIMENSIONS_MAX, Layout, NdArray, Raw, Rearrange, Unmetered};
use mempool_core::testing::{decode, encode_value, room};
use mempool_core::{
    Buffer, Codec, Error, Header, Ledger, MemoryStore, Pool, PoolOptions, SpillStore, Trust,
};
use mempool_spill::SpillOptions;
use proptest::prelude::*;

/// What an array should be: its elements in row-major order.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    shape: Vec<usize>,
    elements: Vec<i32>,
}

/// All indexes of a shape in row-major order.
fn indexes(shape: &[usize]) -> Vec<Vec<usize>> {
    let wider = |all: Vec<Vec<usize>>, &extent: &usize| {
        all.iter()
            .flat_map(|index| (0..extent).map(|last| [&index[..], &[last]].concat()))
            .collect()
    };
    shape.iter().fold(vec![Vec::new()], wider)
}

impl Model {
    fn new(shape: &[usize]) -> Self {
        let count: usize = shape.iter().product();
        Self { shape: shape.to_vec(), elements: (0..count as i32).map(|n| n * 7 - 3).collect() }
    }

    fn get(&self, index: &[usize]) -> i32 {
        let at = index.iter().zip(&self.shape).fold(0, |at, (index, extent)| at * extent + index);
        self.elements[at]
    }

    /// The model of that shape, whose element at an index is this one's at `from(index)`.
    fn gather(&self, shape: Vec<usize>, from: impl Fn(&[usize]) -> Vec<usize>) -> Self {
        let elements = indexes(&shape).iter().map(|index| self.get(&from(index))).collect();
        Self { shape, elements }
    }

    fn slice(&self, axis: usize, range: Range<usize>) -> Self {
        let mut shape = self.shape.clone();
        shape[axis] = range.len();
        self.gather(shape, |index| {
            let mut index = index.to_vec();
            index[axis] += range.start;
            index
        })
    }

    fn index(&self, axis: usize, at: usize) -> Self {
        let mut shape = self.shape.clone();
        shape.remove(axis);
        self.gather(shape, |index| [&index[..axis], &[at], &index[axis..]].concat())
    }

    fn permuted(&self, axes: &[usize]) -> Self {
        let shape = axes.iter().map(|&axis| self.shape[axis]).collect();
        self.gather(shape, |index| {
            let mut from = vec![0; index.len()];
            axes.iter().zip(index).for_each(|(&axis, &at)| from[axis] = at);
            from
        })
    }

    fn reversed(&self, axis: usize) -> Self {
        self.gather(self.shape.clone(), |index| {
            let mut index = index.to_vec();
            index[axis] = self.shape[axis] - 1 - index[axis];
            index
        })
    }
}

/// A step from one view to the next: what, and two numbers that say where.
type Step = (u8, usize, usize);

fn step(array: &NdArray<i32>, model: &Model, (what, a, b): Step) -> (NdArray<i32>, Model) {
    let ndim = model.shape.len();
    if ndim == 0 {
        assert_eq!(*array, Layout::get(array, 0).unwrap());
        return (array.slice(0..1), model.clone());
    }
    let axis = a % ndim;
    let extent = model.shape[axis];
    match what {
        0 => {
            let start = b % (extent + 1);
            let end = start + (a + b) % (extent + 1 - start);
            (array.slice_axis(axis, start..end), model.slice(axis, start..end))
        }
        1 if extent > 0 => {
            let at = b % extent;
            (array.index_axis(axis, at).unwrap(), model.index(axis, at))
        }
        2 => (array.transposed(), model.permuted(&(0..ndim).rev().collect::<Vec<_>>())),
        3 => {
            let axes: Vec<usize> = (0..ndim).map(|axis| (axis + b) % ndim).collect();
            (array.permuted(&axes), model.permuted(&axes))
        }
        _ => (array.reversed(axis), model.reversed(axis)),
    }
}

fn hash(array: &NdArray<i32>) -> u64 {
    let mut state = DefaultHasher::new();
    NdArray::hash_item(array, &mut state);
    state.finish()
}

fn frame<A: Layout>(array: &A) -> Buffer {
    encode_value(&Raw, array, 0).unwrap()
}

fn read<A: Layout>(frame: &Buffer, trust: Trust) -> Result<A, Error> {
    let ledger = Ledger::new(1 << 32, Duration::ZERO);
    let resident = decode::<A, _>(&Raw, frame, trust, &mut room(&ledger))?;
    Ok(Codec::<A>::view(&Raw, &resident).clone())
}

/// The sections of a frame: the description, extents and strides, values.
fn sections(frame: &[u8]) -> Vec<Range<usize>> {
    let header = Header::decode(frame, |bytes| MemoryStore::new().checksum(bytes)).unwrap();
    let range = |offset: u64, bytes: u64| offset as usize..(offset + bytes) as usize;
    header.sections.iter().map(|section| range(section.offset, section.bytes)).collect()
}

/// That an array shows what its model says, wherever one looks, and after it has been at rest.
fn check(array: &NdArray<i32>, model: &Model) {
    assert_eq!(array.shape(), model.shape);
    assert_eq!(array.elements(), model.elements.len());
    assert_eq!(array.iter().len(), model.elements.len());
    assert!(array.iter().eq(&model.elements), "{array:?} {model:?}");
    for taken in [0, 1, model.elements.len() / 2] {
        let mut left = array.iter();
        left.by_ref().take(taken).for_each(drop);
        let rest = model.elements.get(taken..).unwrap_or_default();
        assert_eq!(left.len(), rest.len());
        assert_eq!(left.fold(Vec::new(), |all, &element| [all, vec![element]].concat()), rest);
    }
    for index in indexes(&model.shape) {
        assert_eq!(array.get(&index), Some(&model.get(&index)));
        for axis in 0..index.len() {
            let mut outside = index.clone();
            outside[axis] = model.shape[axis];
            assert_eq!(array.get(&outside), None);
        }
        assert_eq!(array.get(&[&index[..], &[0]].concat()), None);
    }
    let plain = NdArray::new(model.elements.clone(), &model.shape).unwrap();
    assert_eq!(plain.as_slice(), Some(&model.elements[..]));
    assert!(array.as_slice().is_none_or(|slice| slice == model.elements));
    assert_eq!(*array, plain);
    assert!(NdArray::order(array, &plain).is_eq());
    assert_eq!(hash(array), hash(&plain));
    assert_eq!(array.to_row_major().as_slice(), Some(&model.elements[..]));
    if let Some((&first, rest)) = model.shape.split_first() {
        assert_eq!(Layout::len(array), first);
        let rows = (0..first).map(|row| (Layout::get(array, row).unwrap(), model.index(0, row)));
        rows.for_each(|(row, expected)| {
            assert_eq!(row.shape(), rest);
            assert!(row.iter().eq(&expected.elements));
        });
    }
    let written = frame(array);
    assert_eq!(written[..], frame(array)[..], "the same bytes each time");
    let values = sections(&written)[2].len();
    assert_eq!(values, model.elements.len() * 4, "what the view shows, and no more");
    for trust in [Trust::Own, Trust::Foreign] {
        let back: NdArray<i32> = read(&written, trust).unwrap();
        assert_eq!(back, plain);
        assert_eq!(written[..], frame(&back)[..], "what was read is written as it was");
    }
}

/// That slots are taken and joined as the model's are.
fn check_rearranged(array: &NdArray<i32>, model: &Model) {
    let len = Layout::len(array);
    let slots: Vec<usize> = (0..len).rev().chain((0..len).step_by(2)).collect();
    let taken = array.take(&slots, &mut Unmetered).unwrap();
    let model = match model.shape.len() {
        0 => Model { shape: vec![1], elements: model.elements.clone() },
        _ => model.clone(),
    };
    let shape: Vec<usize> = [&[slots.len()], &model.shape[1..]].concat();
    let expected = model.gather(shape, |index| [&[slots[index[0]]], &index[1..]].concat());
    assert_eq!(taken, NdArray::new(expected.elements, &expected.shape).unwrap());
    let joined = NdArray::concat(&[array, &taken, array], &mut Unmetered).unwrap();
    let whole = NdArray::new(model.elements, &model.shape).unwrap();
    let parts = [(&whole, 0), (&taken, len), (&whole, len + slots.len())];
    assert_eq!(Layout::len(&joined), 2 * len + slots.len());
    for (part, start) in parts {
        assert_eq!(joined.slice(start..start + Layout::len(part)), *part);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 200 } else { 5000 }))]

    #[test]
    fn views_show_what_index_arithmetic_says(
        shape in prop::collection::vec(prop_oneof![4 => 1..5_usize, 1 => 0..2_usize], 0..5),
        fortran: bool,
        steps in prop::collection::vec((0..5_u8, 0..64_usize, 0..64_usize), 0..6),
    ) {
        let mut model = Model::new(&shape);
        let mut array = NdArray::new(model.elements.clone(), &shape).unwrap();
        if fortran {
            array = NdArray::column_major(model.elements.clone(), &shape).unwrap();
            let turned: Vec<usize> = shape.iter().rev().copied().collect();
            model = Model::new(&turned).permuted(&(0..shape.len()).rev().collect::<Vec<_>>());
        }
        check(&array, &model);
        for one in steps {
            (array, model) = step(&array, &model, one);
            check(&array, &model);
            check_rearranged(&array, &model);
        }
    }

    #[test]
    fn strides_are_taken_when_no_two_indexes_meet_and_none_leaves(
        axes in prop::collection::vec((0..4_usize, -9..9_isize), 0..4),
        len in 0..40_usize,
    ) {
        let (shape, strides): (Vec<usize>, Vec<isize>) = axes.into_iter().unzip();
        let values: Vec<i32> = (0..len as i32).collect();
        let place = |index: &[usize]| {
            let backwards = |(&stride, &extent): (&isize, &usize)| (stride.min(0) * (extent as isize - 1)).abs();
            let first: isize = strides.iter().zip(&shape).map(backwards).sum();
            first + index.iter().zip(&strides).map(|(&at, stride)| at as isize * stride).sum::<isize>()
        };
        let mut places: Vec<isize> = indexes(&shape).iter().map(|index| place(index)).collect();
        match NdArray::strided(values, &shape, &strides) {
            Ok(array) => {
                prop_assert!(array.iter().map(|&value| value as isize).eq(places.iter().copied()));
                places.sort_unstable();
                prop_assert!(places.windows(2).all(|pair| pair[0] < pair[1]), "an element twice");
            }
            Err(ArrayError::Shape { .. }) => prop_assert!(places.len() > len),
            // Several axes may be refused for interleaving, as those of no slice of an array do.
            Err(ArrayError::Stride { .. }) => {
                let one_way = shape.iter().filter(|&&extent| extent > 1).count() == 1;
                let leaves = places.iter().any(|&place| place >= len as isize);
                prop_assert!(!one_way || leaves || places[0] == places[1]);
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

#[test]
fn the_bytes_are_those_of_the_drawing() {
    let matrix = NdArray::new(vec![1_u16, 2, 3, 4, 5, 6], &[2, 3]).unwrap();
    let words = |frame: &Buffer| -> Vec<i64> {
        let section = frame[sections(frame)[1].clone()].to_vec();
        section.as_chunks::<8>().0.iter().map(|&word| i64::from_le_bytes(word)).collect()
    };
    let values = |frame: &Buffer| frame[sections(frame)[2].clone()].to_vec();
    let written = frame(&matrix);
    assert_eq!(words(&written), [2, 3, 3, 1]);
    assert_eq!(values(&written), [1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0]);
    // A transpose is the same values: nothing is moved to write it.
    let written = frame(&matrix.transposed());
    assert_eq!(words(&written), [3, 2, 1, 3]);
    assert_eq!(values(&written), [1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0]);
    // A part is brought together, in the order in which it lay.
    let written = frame(&matrix.slice_axis(1, 1..3).transposed());
    assert_eq!(words(&written), [2, 2, 1, 2]);
    assert_eq!(values(&written), [2, 0, 3, 0, 5, 0, 6, 0]);
    let written = frame(&matrix.reversed(1));
    assert_eq!(words(&written), [2, 3, 3, 1]);
    assert_eq!(values(&written), [3, 0, 2, 0, 1, 0, 6, 0, 5, 0, 4, 0]);
    let written = frame(&NdArray::new(vec![9_u16], &[]).unwrap());
    assert_eq!(words(&written), [] as [i64; 0]);
    assert_eq!(values(&written), [9, 0]);
    let written = frame(&NdArray::new(Vec::<u16>::new(), &[2, 0, 5]).unwrap());
    assert_eq!(words(&written), [2, 0, 5, 0, 0, 0]);
}

#[test]
fn long_runs_and_scattered_elements_are_written_alike() {
    let elements: Vec<u32> = (0..600 * 700).collect();
    let matrix = NdArray::new(elements, &[600, 700]).unwrap();
    let long = matrix.slice_axis(1, 50..650);
    let scattered = matrix.reshaped(&[600, 350, 2]).unwrap().index_axis(2, 1).unwrap();
    for array in [long.clone(), long.transposed(), long.reversed(0), long.reversed(1), scattered] {
        let back: NdArray<u32> = read(&frame(&array), Trust::Foreign).unwrap();
        assert!(back == array);
        assert_eq!(back.values().len(), array.elements());
    }
}

#[test]
fn views_share_the_values() {
    let matrix = NdArray::new((0..6000).collect::<Vec<u64>>(), &[60, 100]).unwrap();
    let start = matrix.values().as_ptr();
    let column = matrix.transposed().index_axis(0, 7).unwrap();
    assert_eq!(column.values().as_ptr(), start.wrapping_add(7));
    assert_eq!(column.strides(), [100]);
    let rows = matrix.slice(10..20);
    assert_eq!(rows.as_slice().unwrap().as_ptr(), start.wrapping_add(1000));
    assert_eq!(rows.reshaped(&[1000]).unwrap().values().as_ptr(), start.wrapping_add(1000));
    assert!(matrix.slice_axis(1, 0..50).as_slice().is_none());
    assert!(matrix.slice_axis(1, 0..50).reshaped(&[50, 60]).unwrap().as_slice().is_some());
}

#[test]
fn arrays_have_an_order() {
    let array = |values: &[f64], shape: &[usize]| NdArray::new(values.to_vec(), shape).unwrap();
    let sorted = [
        array(&[], &[0, 2]),
        array(&[], &[0, 3]),
        array(&[1.0], &[]),
        array(&[1.0], &[1]),
        array(&[1.0, 2.0], &[1, 2]),
        array(&[1.0, 2.0], &[2]),
        array(&[1.0, f64::NAN], &[2]),
        array(&[3.0], &[1]),
    ];
    for (a, left) in sorted.iter().enumerate() {
        for (b, right) in sorted.iter().enumerate() {
            assert_eq!(NdArray::order(left, right), a.cmp(&b), "{left:?} {right:?}");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let values = || vec![1, 2, 3, 4, 5, 6];
    let refused = NdArray::new(values(), &[2, 4]).unwrap_err();
    assert_eq!(refused, ArrayError::Shape { elements: 8, found: 6 });
    let refused = NdArray::new(values(), &[]).unwrap_err();
    assert_eq!(refused, ArrayError::Shape { elements: 1, found: 6 });
    let refused = NdArray::new(values(), &[usize::MAX, 2, 3]).unwrap_err();
    assert_eq!(refused, ArrayError::Shape { elements: u64::MAX, found: 6 });
    let refused = NdArray::new(Vec::<i32>::new(), &[0, 1 << 32, 1 << 32]).unwrap_err();
    assert_eq!(refused, ArrayError::Shape { elements: u64::MAX, found: 0 });
    let refused = NdArray::new(vec![1], &[1; DIMENSIONS_MAX + 1]).unwrap_err();
    assert_eq!(refused, ArrayError::Dimensions { found: 33, most: 32 });
    assert!(NdArray::new(vec![1], &[1; DIMENSIONS_MAX]).is_ok());
    let refused = NdArray::strided(values(), &[2, 2], &[5, 1]).unwrap_err();
    assert_eq!(refused, ArrayError::Stride { axis: 0, stride: 5, least: 2, most: 4 });
    let refused = NdArray::strided(values(), &[2, 2], &[1, -1]).unwrap_err();
    assert!(matches!(refused, ArrayError::Stride { least: 2, most: 4, .. }), "{refused}");
    let refused = NdArray::strided(values(), &[3], &[0]).unwrap_err();
    assert_eq!(refused, ArrayError::Stride { axis: 0, stride: 0, least: 1, most: 2 });
    let refused = NdArray::strided(values(), &[2, 2], &[1]).unwrap_err();
    let part = "strides".to_owned();
    assert_eq!(refused, ArrayError::Slots { part, expected: 2, found: 1 });
    // Where no index leads, no stride is wrong.
    let empty = NdArray::strided(values(), &[0, 5], &[isize::MIN, isize::MIN]).unwrap();
    assert_eq!((empty.strides(), empty.elements()), (&[0, 0][..], 0));
    let one = NdArray::strided(values(), &[1, 6], &[isize::MAX, -1]).unwrap();
    assert!(one.iter().eq(&[6, 5, 4, 3, 2, 1]));
}

#[test]
fn arrays_of_other_extents_are_not_joined() {
    let array = |shape: &[usize]| NdArray::new(vec![0_u8; shape.iter().product()], shape).unwrap();
    let refused =
        |a: &[usize], b: &[usize]| match NdArray::concat(&[&array(a), &array(b)], &mut Unmetered)
            .unwrap_err()
        {
            Error::Codec(error) => error.source.downcast_ref::<ArrayError>().unwrap().clone(),
            other => panic!("{other}"),
        };
    let slots = |part: &str, expected, found| {
        let part = part.to_owned();
        ArrayError::Slots { part, expected, found }
    };
    assert_eq!(refused(&[1, 2, 3], &[1, 2, 4]), slots("axis 2", 3, 4));
    assert_eq!(refused(&[4, 2], &[4]), slots("the shape", 2, 1));
    let shape = ArrayError::Shape { elements: u64::MAX, found: 0 };
    assert_eq!(refused(&[usize::MAX / 2, 0], &[1, 0]), shape);
    let empty = array(&[usize::MAX / 2, 0]);
    assert!(NdArray::concat(&[&empty; 3], &mut Unmetered).is_err());
    let none = NdArray::<u8>::concat(&[], &mut Unmetered).unwrap();
    assert_eq!(none.shape(), [0]);
}

/// What reading a bent frame says is wrong with the array.
fn cause(frame: &[u8]) -> ArrayError {
    match read::<NdArray<i32>>(&Buffer::uncounted(frame).unwrap(), Trust::Foreign) {
        Err(Error::Codec(error)) => error.source.downcast_ref::<ArrayError>().unwrap().clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn extents_and_strides_that_lie_are_named() {
    let written = frame(&NdArray::new((0..6).collect::<Vec<i32>>(), &[2, 3]).unwrap());
    let [_, axes, _] = &sections(&written)[..] else { panic!("three sections") };
    let bent = |words: [i64; 4]| {
        let mut bent = written.to_vec();
        bent[axes.clone()].copy_from_slice(&words.map(i64::to_le_bytes).concat());
        cause(&bent)
    };
    let shape = |elements| ArrayError::Shape { elements, found: 6 };
    assert_eq!(bent([2, 2, 2, 1]), shape(4));
    assert_eq!(bent([2, i64::MAX, 3, 1]), shape(u64::MAX));
    assert_eq!(bent([-1, 3, 3, 1]), shape(u64::MAX));
    assert_eq!(bent([0, 3, 0, 0]), shape(0));
    let stride = |axis, stride, least, most| ArrayError::Stride { axis, stride, least, most };
    assert_eq!(bent([2, 3, 4, 1]), stride(0, 4, 3, 3));
    assert_eq!(bent([2, 3, 3, 2]), stride(0, 3, 5, 1));
    assert_eq!(bent([2, 3, 3, 0]), stride(1, 0, 1, 2));
    assert_eq!(bent([2, 3, i64::MIN, 1]), stride(0, i64::MIN, 3, 3));
    assert_eq!(bent([2, 3, 1, i64::MAX]), stride(1, i64::MAX, 2, 2));
    let slots =
        |expected, found| ArrayError::Slots { part: "the first axis".into(), expected, found };
    assert_eq!(bent([3, 2, 2, 1]), slots(2, 3));
}

#[test]
fn nodes_that_lie_are_named() {
    let written = frame(&NdArray::new((0..6).collect::<Vec<i32>>(), &[2, 3]).unwrap());
    let description = sections(&written)[0].start;
    let bent = |at: usize, word: &[u8]| {
        let mut bent = written.to_vec();
        bent[description + at..][..word.len()].copy_from_slice(word);
        cause(&bent)
    };
    let (slots, figure) = (16 + 8, 16 + 16);
    let dimensions = |found| ArrayError::Dimensions { found, most: 32 };
    assert_eq!(bent(figure, &33_u64.to_le_bytes()), dimensions(33));
    assert_eq!(bent(figure, &u64::MAX.to_le_bytes()), dimensions(u64::MAX));
    let part = "extents and strides";
    let length = ArrayError::Length { part, slots: 3, expected: 48, found: 32 };
    assert_eq!(bent(figure, &3_u64.to_le_bytes()), length);
    let first = |expected| ArrayError::Slots { part: "the first axis".into(), expected, found: 2 };
    assert_eq!(bent(slots, &6_u64.to_le_bytes()), first(6));
    assert!(matches!(bent(16 + 4, &2_u32.to_le_bytes()), ArrayError::Description { .. }));
    assert!(matches!(bent(16, &[3]), ArrayError::Kind { .. }));
    assert!(matches!(bent(64, &[3, 0]), ArrayError::Kind { .. }));
}

#[test]
fn whatever_stands_in_nodes_and_sections_an_array_is_sound_or_refused() {
    let cube = NdArray::new((0..24).collect::<Vec<i32>>(), &[2, 3, 4]).unwrap();
    let written = frame(&cube.permuted(&[1, 2, 0]));
    let places: Vec<usize> = sections(&written)[..2].iter().cloned().flatten().collect();
    let mut taken = 0;
    let mut look = |bent: &[u8]| {
        let bent = Buffer::uncounted(bent).unwrap();
        for trust in [Trust::Own, Trust::Foreign] {
            let Ok(array) = read::<NdArray<i32>>(&bent, trust) else { continue };
            taken += 1;
            assert!(array.elements() <= 24 && array.iter().count() == array.elements());
            let turned = array.transposed();
            assert!(turned.transposed() == array && format!("{turned:?}").len() < 1000);
            let rows: usize = Layout::iter(&array).map(|row| row.elements()).sum();
            assert_eq!(rows, array.elements());
        }
    };
    let mut bent = written.to_vec();
    for &at in &places {
        for byte in 0..=u8::MAX {
            bent[at] = byte;
            look(&bent);
        }
        bent[at] = written[at];
    }
    let claims = [0, 1, 2, 3, 4, 6, 8, 12, 24, 33, 1 << 31, 1 << 32, 1 << 61, 1 << 63, u64::MAX];
    let words: Vec<usize> = places.iter().copied().filter(|at| at.is_multiple_of(8)).collect();
    for (number, &a) in words.iter().enumerate() {
        for &b in &words[number + 1..] {
            for claim in claims.iter().flat_map(|a| claims.map(|b| [*a, b])) {
                bent[a..a + 8].copy_from_slice(&claim[0].to_le_bytes());
                bent[b..b + 8].copy_from_slice(&claim[1].to_le_bytes());
                look(&bent);
            }
            bent[b..b + 8].copy_from_slice(&written[b..b + 8]);
        }
        bent[a..a + 8].copy_from_slice(&written[a..a + 8]);
    }
    assert!(taken > 0, "some of them are what was written");
}

/// A stack of pictures, one of them, and one colour of them all in which rows are columns.
fn pictures() -> [NdArray<u8>; 3] {
    let bytes: Vec<u8> = (0..20 * 30 * 40 * 3_u32).map(|n| (n % 251) as u8).collect();
    let stack = NdArray::new(bytes, &[20, 30, 40, 3]).unwrap();
    let one = stack.index_axis(0, 7).unwrap();
    let green = stack.index_axis(3, 1).unwrap().permuted(&[0, 2, 1]);
    [stack, one, green]
}

#[test]
fn views_of_one_array_are_charged_once_and_written_each_by_itself() {
    let pool = PoolOptions::new().memory_limit(1 << 20).store(MemoryStore::new()).open(Raw);
    let references = pictures().map(|array| pool.set(array).unwrap());
    let used = pool.stats().used_bytes;
    assert!((72_000..73_000).contains(&used), "{used} bytes for three views of 72,000");
    references.iter().for_each(|one| drop(pool.move_to_disk(one).unwrap()));
    assert_eq!(pool.stats().used_bytes, 0);
    for (reference, expected) in references.iter().zip(pictures()) {
        let back = pool.get(reference).unwrap();
        assert_eq!(*back, expected);
        assert_eq!(back.values().len(), expected.elements(), "what the view shows, and no more");
    }
}

/// Whether the values lie in a map of a file in `directory`.
fn is_mapped(array: &NdArray<u8>, directory: &str) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let values = array.values().as_ptr_range();
    maps.lines().filter(|line| line.contains(directory)).any(|line| {
        let (start, rest) = line.split_once('-').unwrap();
        let (end, _) = rest.split_once(' ').unwrap();
        let [start, end] = [start, end].map(|hex| usize::from_str_radix(hex, 16).unwrap());
        (start..end).contains(&values.start.addr()) && values.end.addr() <= end
    })
}

#[test]
fn a_spilled_array_lies_in_the_map_and_so_do_its_views() {
    let directory = std::env::temp_dir().join(format!("mempool-arrays-nd-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let store = SpillOptions::new(&directory).open().unwrap();
    let pool: Pool<Raw> = PoolOptions::new().memory_limit(1 << 20).store(store).open(Raw);
    for expected in pictures() {
        let reference = pool.set(expected.clone()).unwrap();
        let directory = directory.to_str().unwrap();
        assert!(!is_mapped(&pool.get(&reference).unwrap(), directory));
        pool.move_to_disk(&reference).unwrap();
        let mapped = pool.get(&reference).unwrap();
        assert_eq!(*mapped, expected);
        assert!(is_mapped(&mapped, directory));
        assert!(is_mapped(&mapped.transposed().slice_axis(0, 1..3).reversed(1), directory));
        // What is set again from a map is copied: only what the view reaches.
        let row = pool.set(mapped.index_axis(0, 5).unwrap()).unwrap();
        assert!(!is_mapped(&pool.get(&row).unwrap(), directory));
        assert_eq!(*pool.get(&row).unwrap(), expected.index_axis(0, 5).unwrap());
    }
    pool.close().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
}
