//! Dictionaries: built in one pass, as narrow as they can be, merged and re-coded.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::hash::{DefaultHasher, Hasher};

use mempool_arrays::{
    ArrayError, Binary, Builder, Codes, Column, Layout, List, Nullable, Pooled, PooledBuilder,
    Rearrange, Strings, Unmetered, Value, Values,
};

#[test]
fn codes_are_as_narrow_as_the_dictionary_allows() {
    let distinct = |count: u32| {
        let pooled: Pooled<Values<u32>> = (0..count).chain(0..count).collect();
        assert_eq!(pooled.dictionary().len(), count as usize);
        assert!(pooled.iter().eq((0..count).chain(0..count)));
        pooled.codes().width()
    };
    assert_eq!([1, 256, 257, 65_536, 65_537].map(distinct), [1, 1, 2, 2, 4]);
}

#[test]
fn merged_dictionaries_have_each_value_once() {
    let first: Pooled<Strings> = ["a", "b", "a"].into_iter().collect();
    let second: Pooled<Strings> = ["x", "c", "b"].into_iter().collect();
    let merged =
        Pooled::concat(&[&first, &second.slice(1..3), &first.slice(0..0)], &mut Unmetered).unwrap();
    assert!(merged.iter().eq(["a", "b", "a", "c", "b"]));
    assert!(merged.dictionary().iter().eq(["a", "b", "c"]), "what no slot shows is left out");
}

#[test]
fn values_that_differ_in_bits_alone_have_codes_of_their_own() {
    let pooled: Pooled<Values<f64>> = [0.0, -0.0, f64::NAN, f64::NAN].into_iter().collect();
    assert_eq!(pooled.codes().iter().collect::<Vec<_>>(), [0, 1, 2, 2]);
    assert_eq!(pooled.code_of(&f64::NAN), Some(2));
    assert_eq!(pooled.code_of(&1.0), None);
}

#[test]
fn a_code_behind_the_dictionary_is_refused() {
    let dictionary: Strings = ["one"].into_iter().collect();
    let refused = Pooled::new(Codes::U16(vec![0, 1, 0].into()), dictionary).unwrap_err();
    assert_eq!(refused, ArrayError::Code { index: 1, code: 1, dictionary: 1 });
}

#[test]
fn missing_slots_need_no_value() {
    let all_missing: Nullable<Pooled<Strings>> = [None, None].into_iter().collect();
    assert!(all_missing.iter().all(|slot| slot.is_none()));
    let late: Nullable<Pooled<Strings>> = [None, Some("x"), None].into_iter().collect();
    assert!(late.iter().eq([None, Some("x"), None]));
}

#[test]
fn a_builder_takes_back_what_it_was_given() {
    let mut builder = PooledBuilder::<Strings>::default();
    for text in ["a", "b", "c"] {
        builder.push(text).unwrap();
    }
    builder.truncate(1);
    let code = builder.intern("c", &mut Unmetered).unwrap();
    builder.push_code(code, &mut Unmetered).unwrap();
    assert!(builder.holds(1, &"c") && !builder.holds(0, &"c"));
    assert!(builder.finish().iter().eq(["a", "c"]));
}

/// Found by the model (SEED=1795610599328907090): byte strings ended with a byte that they may hold themselves.
#[test]
fn lists_of_bytes_that_are_cut_elsewhere_have_other_hashes() {
    let list = |cuts: [usize; 2]| cuts.map(|len| vec![u8::MAX; len]).iter().collect::<Binary>();
    let hash = |list: &Binary| {
        let mut state = DefaultHasher::new();
        List::<Binary>::hash_item(list, &mut state);
        let mut column = DefaultHasher::new();
        Column::hash_item(&Value::List(Column::of(list)), &mut column);
        (state.finish(), column.finish())
    };
    let (one, other) = (hash(&list([10, 0])), hash(&list([4, 6])));
    assert!(one.0 != other.0 && one.1 != other.1);
    assert_eq!(one, hash(&list([10, 0])));
}
