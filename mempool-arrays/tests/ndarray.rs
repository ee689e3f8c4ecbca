//! The crate ndarray's arrays go into a pool and come back without a copy, however they lie in memory.
#![cfg(feature = "ndarray_0_17")]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use mempool_arrays::{ArrayError, NdArray, Raw};
use mempool_core::{MemoryStore, PoolOptions};
use ndarray::{
    Array, Array1, Array2, Array3, ArrayD, Axis, Ix2, IxDyn, ShapeBuilder, Slice, arr0, s,
};
use proptest::prelude::*;

/// That `array` is taken over where it lies, and shows the same as before, to us and to ndarray.
fn check(array: ArrayD<i32>) {
    let expected = array.clone();
    let first = array.as_ptr();
    let taken = NdArray::try_from(array).unwrap();
    assert_eq!(taken.shape(), expected.shape());
    assert!(taken.iter().eq(expected.iter()), "{taken:?} {expected:?}");
    assert_eq!(taken.view(), expected);
    assert_eq!(taken.view().to_owned(), expected);
    if !expected.is_empty() {
        assert_eq!(taken.view().as_ptr(), first, "nothing is copied");
        let strides = taken.strides().iter().zip(expected.strides()).zip(taken.shape());
        strides.for_each(|((ours, theirs), &extent)| assert!(extent == 1 || ours == theirs));
    }
    assert!(taken.as_slice().is_none_or(|slice| slice == expected.as_slice().unwrap()));
    assert_eq!(taken.as_slice().is_some(), expected.is_standard_layout());
    let turned = taken.transposed();
    assert_eq!(turned.view(), expected.t());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 300 } else { 5000 }))]

    #[test]
    fn any_array_is_taken_over_as_it_lies(
        shape in prop::collection::vec(prop_oneof![4 => 1..6_usize, 1 => 0..2_usize], 0..5),
        fortran: bool,
        steps in prop::collection::vec((0..4_u8, 0..16_usize, 0..16_usize, 1..4_isize), 0..6),
    ) {
        let count = shape.iter().product::<usize>() as i32;
        let shape = IxDyn(&shape).set_f(fortran);
        let mut array = ArrayD::from_shape_vec(shape, (0..count).collect()).unwrap();
        check(array.clone());
        for (what, a, b, by) in steps {
            if array.ndim() == 0 {
                break;
            }
            let axis = Axis(a % array.ndim());
            let extent = array.len_of(axis);
            match what {
                0 => {
                    let start = b % (extent + 1);
                    let end = start + (a + b) % (extent + 1 - start);
                    let by = if a % 2 == 0 { by } else { -by };
                    array.slice_axis_inplace(axis, Slice::new(start as isize, Some(end as isize), by));
                }
                1 if extent > 0 => array = array.index_axis_move(axis, b % extent),
                2 => array.swap_axes(axis.0, b % array.ndim()),
                _ => array.invert_axis(axis),
            }
            // A clone keeps the spare elements of the vector, and so the offset.
            check(array.clone());
        }
    }
}

#[test]
fn arrays_of_each_number_of_dimensions_are_taken_over() {
    assert_eq!(NdArray::from(arr0(7_u8)).get(&[]), Some(&7));
    assert_eq!(NdArray::from(Array1::from_vec(vec![1_u8, 2])).shape(), [2]);
    let cube = NdArray::from(
        Array3::from_shape_fn((2, 3, 4), |(i, j, k)| i * 100 + j * 10 + k).mapv(|n| n as u64),
    );
    assert_eq!(cube.get(&[1, 2, 3]), Some(&123));
    let six = NdArray::from(Array::<f64, _>::zeros((1, 2, 1, 2, 1, 2)));
    assert_eq!((six.ndim(), six.elements()), (6, 8));
    let many = ArrayD::<u8>::zeros(IxDyn(&[1; 33]));
    let refused = NdArray::try_from(many).unwrap_err();
    assert_eq!(refused, ArrayError::Dimensions { found: 33, most: 32 });
}

#[test]
fn an_array_goes_into_a_pool_and_is_looked_at_there() {
    let pool = PoolOptions::new().memory_limit(1 << 20).store(MemoryStore::new()).open(Raw);
    let whole = Array2::from_shape_fn((30, 40), |(row, column)| (row * 100 + column) as f32);
    let mut part = whole.clone();
    part.slice_collapse(s![10..20;-1, 5..]);
    let expected = part.clone();
    let address = part.as_ptr();
    let reference = pool.set(NdArray::from(part)).unwrap();
    assert_eq!(pool.get(&reference).unwrap().view().as_ptr(), address, "the vector itself");
    pool.move_to_disk(&reference).unwrap();
    let back = pool.get(&reference).unwrap();
    assert!(back.values().as_ptr_range().contains(&back.view().as_ptr()), "where the bytes lie");
    let view = back.view().into_dimensionality::<Ix2>().unwrap();
    assert_eq!(view, expected);
    assert_eq!(view.dot(&Array1::ones(35)), expected.dot(&Array1::ones(35)));
}
