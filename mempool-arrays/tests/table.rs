//! Tables beside a sorted map of plain rows: look-ups, ranges, groups, selections, merges.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::collections::BTreeMap;
use std::ops::Bound;

use mempool_arrays::{
    ArrayError, Column, Element, ElementType, Layout, Nullable, Pooled, Raw, Rearrange, Strings,
    Struct, Table, Unmetered, Value, Values,
};
use mempool_core::{Error, MemoryStore, PoolOptions};
use proptest::prelude::*;

/// What the index of a row is, and how many rows before it have the same.
type Key = (Option<i64>, String);

/// Rows of a small world, so that many are equal.
fn rows() -> impl Strategy<Value = Vec<(Key, i32)>> {
    let day = proptest::option::of(prop_oneof![-3_i64..4, Just(i64::MIN), Just(i64::MAX)]);
    let text = prop_oneof![
        Just(""),
        Just("a"),
        Just("ab"),
        Just("東"),
        Just("abcdefgh"),
        Just("abcdefghi")
    ];
    proptest::collection::vec(((day, text.prop_map(str::to_owned)), any::<i32>()), 0..60)
}

fn table(rows: &[(Key, i32)]) -> Table {
    let days: Nullable<Values<i64>> = rows.iter().map(|((day, _), _)| *day).collect();
    let texts: Pooled<Strings> = rows.iter().map(|((_, text), _)| text.as_str()).collect();
    let numbers: Values<i32> = rows.iter().map(|(_, number)| *number).collect();
    let columns = [
        ("number", Column::of(&numbers)),
        ("text", Column::of(&texts)),
        ("day", Column::of(&days)),
    ];
    Table::new(columns).unwrap().sort_by(&["day", "text"]).unwrap()
}

/// The model: rows in the order of their index, equal ones as they came.
fn sorted(rows: &[(Key, i32)]) -> Vec<(Key, i32)> {
    let mut by_key: BTreeMap<Key, Vec<i32>> = BTreeMap::new();
    rows.iter().for_each(|(key, number)| by_key.entry(key.clone()).or_default().push(*number));
    by_key
        .into_iter()
        .flat_map(|(key, numbers)| numbers.into_iter().map(move |number| (key.clone(), number)))
        .collect()
}

fn shown(table: &Table) -> Vec<(Key, i32)> {
    let days: Nullable<Values<i64>> = table.typed("day").unwrap();
    let texts: Pooled<Strings> = table.typed("text").unwrap();
    let numbers: Values<i32> = table.typed("number").unwrap();
    let keys = days.iter().zip(texts.iter().map(str::to_owned));
    keys.zip(numbers.iter().copied()).collect()
}

fn value(day: Option<i64>) -> Value<'static> {
    day.into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_table_is_sorted_by_its_index(rows in rows()) {
        prop_assert_eq!(shown(&table(&rows)), sorted(&rows));
    }

    #[test]
    fn look_ups_give_what_a_sorted_map_gives(rows in rows(), day: Option<i8>, text in "[ab]{0,2}") {
        let (table, model) = (table(&rows), sorted(&rows));
        let day = day.map(|day| i64::from(day % 4));
        let of_day = table.find(&[value(day)]);
        let expected = model.iter().filter(|((there, _), _)| *there == day).cloned();
        prop_assert_eq!(shown(&table.slice(of_day)), expected.collect::<Vec<_>>());
        let of_both = table.find(&[value(day), Value::from(text.as_str())]);
        let key = (day, text.clone());
        let expected = model.iter().filter(|(there, _)| *there == key).cloned();
        prop_assert_eq!(shown(&table.slice(of_both)), expected.collect::<Vec<_>>());
        let from = [value(day), Value::from(text.as_str())];
        let behind = table.range((Bound::Excluded(&from[..]), Bound::Unbounded));
        let expected = model.iter().filter(|(there, _)| *there > key).cloned();
        prop_assert_eq!(shown(&table.slice(behind)), expected.collect::<Vec<_>>());
        let before = table.range((Bound::Unbounded, Bound::Excluded(&from[..1])));
        let expected = model.iter().filter(|((there, _), _)| *there < day).cloned();
        prop_assert_eq!(shown(&table.slice(before)), expected.collect::<Vec<_>>());
    }

    #[test]
    fn groups_are_the_runs_of_equal_index(rows in rows()) {
        let (table, model) = (table(&rows), sorted(&rows));
        for columns in 0..3 {
            let mut row = 0;
            for group in table.groups(columns) {
                prop_assert_eq!(group.start, row);
                let front = |at: usize| {
                    let (day, text) = &model[at].0;
                    (day.filter(|_| columns > 0), columns > 0 && day.is_some(), (columns > 1).then_some(text))
                };
                prop_assert!(group.clone().all(|at| front(at) == front(group.start)));
                prop_assert!(group.end == model.len() || front(group.end) != front(group.start));
                row = group.end;
            }
            prop_assert_eq!(row, model.len());
        }
    }

    #[test]
    fn merged_tables_are_one_sorted_table(first in rows(), second in rows(), third in rows()) {
        let tables = [table(&first), table(&second), table(&third)];
        let merged = Table::merge(&[&tables[0], &tables[1], &tables[2]]).unwrap();
        let model = sorted(&[sorted(&first), sorted(&second), sorted(&third)].concat());
        prop_assert_eq!(shown(&merged), model);
        prop_assert_eq!(merged.index().len(), 2);
    }

    #[test]
    fn all_of_it_holds_on_mapped_data(rows in rows(), day in -3_i64..4) {
        let pool = PoolOptions::new().memory_limit(1 << 20).store(MemoryStore::new()).open(Raw);
        let reference = pool.set(table(&rows)).map_err(|rejected| rejected.error).unwrap();
        pool.move_to_disk(&reference).unwrap();
        let view = pool.get(&reference).unwrap();
        let model = sorted(&rows);
        let expected = model.iter().filter(|((there, _), _)| *there == Some(day)).cloned();
        let found = view.slice(view.find(&[Value::from(day)]));
        prop_assert_eq!(shown(&found), expected.collect::<Vec<_>>());
    }
}

#[test]
fn a_selection_shares_its_columns_and_keeps_the_index_that_comes_first() {
    let rows: Vec<(Key, i32)> = (0..9).map(|n| ((Some(n), String::new()), n as i32)).collect();
    let table = table(&rows);
    let index = |names: &[&str]| table.select(names).unwrap().index().len();
    assert_eq!(index(&["day", "text", "number"]), 2);
    assert_eq!(index(&["day", "number"]), 1);
    assert_eq!(index(&["number", "day"]), 0);
    let numbers: Values<i32> = table.select(&["number"]).unwrap().typed("number").unwrap();
    let whole: Values<i32> = table.typed("number").unwrap();
    assert_eq!(numbers.as_ptr(), whole.as_ptr());
    let error = table.select(&["nothing"]).unwrap_err().to_string();
    assert!(
        error.contains("there is no column \"nothing\"; the table has day, text, number"),
        "{error}"
    );
}

#[test]
fn rows_that_are_taken_come_in_the_order_asked_for() {
    let rows: Vec<(Key, i32)> = (0..5).map(|n| ((Some(n), format!("{n}")), n as i32)).collect();
    let taken = table(&rows).take(&[4, 0, 4], &mut Unmetered).unwrap();
    assert_eq!(taken.index().len(), 0);
    let numbers: Values<i32> = taken.typed("number").unwrap();
    assert_eq!(numbers[..], [4, 0, 4]);
}

#[test]
fn tables_that_do_not_fit_together_are_refused() {
    let numbers = Column::of(&Values::from(vec![1_u8, 2]));
    let texts = Column::of(&["x"].into_iter().collect::<Strings>());
    let error = Table::new([("a", numbers.clone()), ("b", texts.clone())]).unwrap_err().to_string();
    assert!(error.contains("b has 1 slots where 2 are needed"), "{error}");
    let error =
        Table::new([("a", numbers.clone()), ("a", numbers.clone())]).unwrap_err().to_string();
    assert!(error.contains("two columns are called \"a\""), "{error}");
    let first = Table::new([("a", numbers.clone())]).unwrap();
    let other = Table::new([("a", texts)]).unwrap();
    let error = Table::merge(&[&first, &other]).unwrap_err().to_string();
    assert!(error.contains("an array of strings with 64-bit offsets, asked for as u8"), "{error}");
    let sorted = first.sort_by(&["a"]).unwrap();
    let error = Table::merge(&[&sorted, &first]).unwrap_err().to_string();
    assert!(error.contains("an index of 0 columns where 1 are expected"), "{error}");
    let wide = Table::new([("a", numbers.clone()), ("b", numbers)]).unwrap();
    let error = Table::merge(&[&first, &wide]).unwrap_err().to_string();
    assert!(error.contains("columns has 2 slots where 1 are needed"), "{error}");
}

#[test]
fn structs_of_other_columns_are_not_joined() {
    let of = |name: &str| {
        let numbers = Column::of(&Values::from(vec![1_u8, 2]));
        Struct::new([(name.into(), numbers)]).unwrap()
    };
    let error = Struct::concat(&[&of("a"), &of("b")], &mut Unmetered).unwrap_err();
    let Error::Codec(error) = error else { panic!("{error}") };
    let error = error.source.downcast_ref::<ArrayError>();
    assert!(matches!(error, Some(ArrayError::Fields { .. })), "{error:?}");
    assert_eq!(Struct::concat(&[&of("a"), &of("a")], &mut Unmetered).unwrap().len(), 4);
}

/// A record that asks for the most alignment that one may ask for.
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Wide([u64; 8]);

impl Element for Wide {
    const TYPE: ElementType = ElementType::record::<Self>("wide");
}

#[test]
fn records_are_as_aligned_when_they_are_taken_and_joined() {
    let records: Values<Wide> = (0..3).map(|n| Wide([n; 8])).collect();
    let column = Column::of(&records);
    let taken = column.take(&[2, 0], &mut Unmetered).unwrap();
    assert_eq!(taken.to::<Values<Wide>>().unwrap()[..], [Wide([2; 8]), Wide([0; 8])]);
    let joined = Column::concat(&[&taken, &column], &mut Unmetered).unwrap();
    assert_eq!(joined.to::<Values<Wide>>().unwrap()[4], Wide([2; 8]));
}
