//! Arrays that nobody wrote, in each layout whose type is known when it is compiled.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mempool_arrays::{
    Binary, Bits, Layout, List, NdArray, Nullable, Pooled, Strings, Units, Values,
};
use mempool_fuzz::{choice, look_at_array};

/// Looks at the first slots, and at parts; text must be text.
fn walk<A: Layout>(array: &A) {
    let len = array.len();
    let part = array.slice(len / 3..len);
    for slot in array.iter().take(1000).chain(part.iter().take(1000)) {
        std::hint::black_box(format!("{slot:?}"));
    }
    assert!(array.get(len).is_none());
}

fn letters(strings: &Strings<i32>) {
    assert!(strings.iter().all(|text| std::str::from_utf8(text.as_bytes()).is_ok()));
    walk(strings);
}

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = choice(data) else { return };
    match first % 11 {
        0 => look_at_array::<Values<u64>>(rest, walk),
        1 => look_at_array::<Values<[u8; 3]>>(rest, walk),
        2 => look_at_array::<Bits>(rest, walk),
        3 => look_at_array::<Units>(rest, walk),
        4 => look_at_array::<Strings<i32>>(rest, letters),
        5 => look_at_array::<Binary>(rest, walk),
        6 => look_at_array::<Nullable<Strings>>(rest, walk),
        7 => look_at_array::<Pooled<Strings>>(rest, walk),
        8 => look_at_array::<List<Nullable<Strings>, i32>>(rest, walk),
        9 => look_at_array::<NdArray<f32>>(rest, walk),
        _ => look_at_array::<Nullable<List<Pooled<Values<u16>>>>>(rest, walk),
    }
});
