//! Columns, structs and tables that nobody wrote: the bytes say of which types they are.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mempool_arrays::{Column, Layout, Struct, Table};
use mempool_fuzz::{choice, look_at_array};

fn column(column: &Column) {
    for slot in column.iter().take(1000) {
        std::hint::black_box(format!("{slot:?}"));
    }
    std::hint::black_box(column.type_text());
}

fn table(table: &Table) {
    table.columns().iter().for_each(column);
    if let Some(first) = table.columns().first().filter(|_| !table.index().is_empty()) {
        let row = table.rows() / 2;
        let found = first.get(row).map(|key| table.find(&[key]));
        assert!(found.is_none_or(|rows| rows.contains(&row)), "a row is found by its own key");
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = choice(data) else { return };
    match first % 3 {
        0 => look_at_array::<Column>(rest, column),
        1 => look_at_array::<Struct>(rest, |rows| rows.columns().iter().for_each(column)),
        _ => look_at_array::<Table>(rest, table),
    }
});
