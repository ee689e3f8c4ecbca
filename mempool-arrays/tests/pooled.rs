//! Dictionaries: built in one pass, as narrow as they can be, merged and re-coded.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::hash::{DefaultHasher, Hasher};

use mempool_arrays::{
    ArrayError, Binary, Builder, Codes, Column, Layout, List, Meter, Nullable, Pooled,
    PooledBuilder, Rearrange, Strings, Unmetered, Value, Values,
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

/// What is held now, and the most that was.
#[derive(Default)]
struct Held {
    bytes: u64,
    most: u64,
}

impl Meter for Held {
    fn take(&mut self, bytes: u64) -> mempool_core::Result<()> {
        self.bytes += bytes;
        self.most = self.most.max(self.bytes);
        Ok(())
    }

    fn give_back(&mut self, bytes: u64) {
        self.bytes -= bytes;
    }
}

/// The dictionaries end to end, and the tables that say which value has which code, are there for a while only.
#[test]
fn what_merging_takes_is_reported_and_given_back() {
    let parts = [0..1000, 500..1500].map(|range: std::ops::Range<u32>| {
        let texts: Vec<String> = range.map(|n| format!("value {n:07}")).collect();
        texts.iter().map(String::as_str).collect::<Pooled<Strings>>()
    });
    let mut held = Held::default();
    let merged = Pooled::concat(&[&parts[0], &parts[1]], &mut held).unwrap();
    assert_eq!((merged.len(), merged.dictionary().len()), (2000, 1500));
    let (mut least, mut most) = (0, 0);
    merged.visit(&mut |buffer| {
        least += buffer.len() as u64;
        most += buffer.heap_bytes().unwrap();
    });
    assert!((least..=most).contains(&held.bytes), "{} of {least} to {most}", held.bytes);
    let tables = 2000 * size_of::<Option<usize>>() + 1500 * size_of::<(u64, usize, usize)>();
    let dictionaries = 2000 * ("value 0000000".len() + size_of::<i64>());
    assert!(held.most >= held.bytes + (tables + dictionaries) as u64, "{}", held.most);
    // Whoever refuses it has all back.
    struct Few(Held);
    impl Meter for Few {
        fn take(&mut self, bytes: u64) -> mempool_core::Result<()> {
            match self.0.bytes + bytes {
                ..60_000 => self.0.take(bytes),
                _ => Err(mempool_core::Error::Allocation { bytes }),
            }
        }

        fn give_back(&mut self, bytes: u64) {
            self.0.give_back(bytes);
        }
    }
    let mut few = Few(Held::default());
    assert!(Pooled::concat(&[&parts[0], &parts[1]], &mut few).is_err());
    assert!(few.0.most > 40_000, "it got as far as the tables: {}", few.0.most);
    assert_eq!(few.0.bytes, 0);
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
