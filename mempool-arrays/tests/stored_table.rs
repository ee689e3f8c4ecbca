//! Tables whose columns are values of their own: charged once, spilled once, gone with the last that has them.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use mempool_arrays::{Column, Field, Layout, Logical, Raw, StoredTable, Strings, Table, Values};
use mempool_core::{MemoryStore, Pool, PoolOptions};

fn pool(limit_bytes: u64) -> Pool<Raw> {
    let options = PoolOptions::new().memory_limit(limit_bytes).room_timeout(Duration::ZERO);
    options.store(MemoryStore::new()).open(Raw)
}

fn table() -> Table {
    let days: Values<i32> = (0..1000).rev().collect();
    let names: Strings = (0..1000).map(|n| format!("name {n}")).collect();
    let day = Field::new("day").with_logical(Logical::Date);
    let columns = [(day, Column::of(&days)), ("name".into(), Column::of(&names))];
    Table::new(columns).unwrap().sort_by(&["day"]).unwrap()
}

#[test]
fn a_table_and_a_selection_of_its_columns_are_charged_once() {
    let pool = pool(1 << 20);
    let whole = StoredTable::set(&pool, table()).unwrap();
    let columns = pool.stats().used_bytes;
    let names = whole.select(&["name"]).unwrap();
    assert_eq!((names.rows(), names.index_columns(), whole.index_columns()), (1000, 0, 1));
    let (whole, names) = (pool.set(whole).unwrap(), pool.set(names).unwrap());
    let tables = pool.stats().used_bytes - columns;
    assert!(tables < 300, "two tables of {tables} bytes beside their columns");
    drop(whole);
    pool.quiesce();
    let view = pool.get(&names).unwrap();
    assert_eq!(view.column(&pool, "name").unwrap().get(999).unwrap().to_string(), "name 0");
    assert!(pool.stats().used_bytes < columns, "the column that nobody has any more is gone");
    drop(view);
    drop(names);
    pool.quiesce();
    assert_eq!(pool.stats().used_bytes, 0);
}

#[test]
fn a_table_and_a_selection_of_its_columns_are_spilled_once() {
    let pool = pool(64 << 10);
    let whole = StoredTable::set(&pool, table()).unwrap();
    let names = whole.select(&["name"]).unwrap();
    let (whole, names) = (pool.set(whole).unwrap(), pool.set(names).unwrap());
    let before = pool.stats().spills;
    for _ in 0..2 {
        // What pushes out everything else.
        drop(pool.set(vec![0_u8; (64 << 10) - 100]).unwrap());
    }
    let spilled = pool.stats().spills - before;
    assert_eq!(spilled, 4, "two columns and two tables, once each");
    let whole = pool.get(&whole).unwrap().get(&pool).unwrap();
    assert_eq!(whole, table());
    assert_eq!(whole.fields()[0].logical(), Logical::Date);
    assert_eq!(pool.get(&names).unwrap().get(&pool).unwrap(), table().select(&["name"]).unwrap());
}

#[test]
fn a_stored_table_that_is_on_disk_keeps_its_columns() {
    let pool = pool(1 << 20);
    let stored = StoredTable::set(&pool, table()).unwrap();
    let reference = pool.set(stored).unwrap();
    pool.move_to_disk(&reference).unwrap();
    pool.quiesce();
    assert_eq!(pool.get(&reference).unwrap().get(&pool).unwrap(), table());
    drop(reference);
    pool.quiesce();
    assert_eq!(pool.stats().used_bytes, 0);
}

#[test]
fn a_table_that_does_not_fit_comes_back_whole() {
    let pool = pool(16 << 10);
    let pinned = pool.set(vec![0_u8; 15 << 10]).unwrap();
    let _view = pool.get(&pinned).unwrap();
    // Columns larger than the limit go straight to disk; these are smaller, and find no room.
    let small = table().slice(0..300);
    let days = Column::of(
        &small.typed::<Values<i32>>("day").unwrap().iter().copied().collect::<Values<i32>>(),
    );
    let small = Table::new([("day", days)]).unwrap();
    let used = pool.stats().used_bytes;
    let rejected = StoredTable::set(&pool, small.clone()).unwrap_err();
    assert_eq!(rejected.value, small);
    assert_eq!(pool.stats().used_bytes, used);
    let error = StoredTable::set(&pool, Table::new::<&str>([]).unwrap())
        .unwrap()
        .reference("x")
        .unwrap_err();
    assert!(error.to_string().contains("there is no column \"x\""), "{error}");
}
