//! Columns, structs, tables and arrays of several dimensions: of random items, and how all that they show is looked at.

use mempool_arrays::{Column, Field, Layout, Logical, NdArray, Struct, Table};

use super::{
    Bool, Bytes, Color, Few, Maybe, Nothing, Plain, Random, Runs, Shape, Text, build, walk_slots,
    walk_value,
};

/// An array of few slots.
pub(crate) fn few<S: Shape>(random: &mut Random) -> S::Array {
    let items: Vec<S::Item> = (0..random.below(40)).map(|_| S::item(random)).collect();
    build::<S>(&items)
}

/// A column of one of many types.
pub(crate) fn column(random: &mut Random) -> Column {
    match random.below(10) {
        0 => Column::of(&few::<Plain<u128>>(random)),
        1 => Column::of(&few::<Plain<f32>>(random)),
        2 => Column::of(&few::<Plain<Color>>(random)),
        3 => Column::of(&few::<Maybe<Text>>(random)),
        4 => Column::of(&few::<Few<Maybe<Text<i32>>>>(random)),
        5 => Column::of(&few::<Runs<Maybe<Bool>, i32>>(random)),
        6 => Column::of(&few::<Maybe<Runs<Bytes>>>(random)),
        7 => Column::of(&few::<Maybe<Nothing>>(random)),
        8 => Column::of(&few::<Runs<Nothing>>(random)),
        _ => Column::of(&columns(random)),
    }
}

const NAMES: [&str; 4] = ["first", "", "zweite", "東"];

/// Columns of one length.
pub(crate) fn columns(random: &mut Random) -> Struct {
    let mut columns: Vec<Column> = (0..random.below(5)).map(|_| column(random)).collect();
    let len = columns.iter().map(Column::len).min().unwrap_or_default();
    columns.iter_mut().for_each(|column| *column = column.slice(0..len));
    let logical = [Logical::None, Logical::Date, Logical::Decimal { precision: 15, scale: 2 }];
    let fields = NAMES.map(|name| Field::new(name).with_logical(random.pick(&logical)));
    Struct::new(fields.into_iter().zip(columns)).unwrap()
}

/// A table, with an index if it has columns.
pub(crate) fn table(random: &mut Random) -> Table {
    let table = Table::from_struct(columns(random));
    let names: Vec<&str> = table.fields().iter().map(Field::name).collect();
    let index = random.below(names.len() + 1);
    table.sort_by(&names[..index]).unwrap()
}

pub(crate) fn walk_column(column: &Column) -> u64 {
    walk_slots(column, |slot| walk_value(&slot))
}

pub(crate) fn walk_rows(rows: &Struct) -> u64 {
    rows.columns().iter().fold(rows.len() as u64, |sum, column| sum ^ walk_column(column))
}

/// Every column, and what its index answers.
pub(crate) fn walk_table(table: &Table) -> u64 {
    if let Some(first) = table.columns().first().filter(|_| !table.index().is_empty()) {
        let row = table.rows() / 2;
        if let Some(key) = first.get(row) {
            assert!(table.find(&[key]).contains(&row), "a row is found by its own key");
        }
        assert!(table.groups(1).take(100).all(|rows| !rows.is_empty()));
    }
    walk_rows(table.as_struct()) ^ table.index().len() as u64
}

pub(crate) fn nd(random: &mut Random) -> NdArray<i32> {
    let shape: Vec<usize> = (0..random.below(4)).map(|_| random.pick(&[0, 1, 2, 3, 5])).collect();
    let elements = shape.iter().product();
    let values = (0..elements).map(|_| random.next() as i32).collect::<Vec<_>>();
    NdArray::new(values, &shape).unwrap()
}

pub(crate) fn walk_nd(array: &NdArray<i32>) -> u64 {
    let shape =
        array.shape().iter().fold(0, |sum: u64, &extent| sum.rotate_left(9) ^ extent as u64);
    let elements = NdArray::iter(array).take(1 << 16);
    elements.fold(shape, |sum, &element| sum.rotate_left(3) ^ element as u64)
}
