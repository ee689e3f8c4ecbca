//! Arrow files beside pyarrow and polars: they read what we write, and we read what they write.
//!
//! Which Python to ask says `MEMPOOL_PYTHON`; `cargo xtask test pyarrow` makes one that has both. Without it nothing is asked.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a test")]

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use mempool_arrays::arrow::{ArrowFile, ArrowFileWriter};
use mempool_arrays::{
    Binary, Bits, Builder, Column, Field, Layout, List, ListBuilder, Logical, Nullable, Pooled,
    Raw, Strings, Struct, Table, TimeUnit, Value, Values,
};
use mempool_core::PoolOptions;

const ROWS: i64 = 1000;
const MODES: [&str; 3] = ["AIR", "RAIL", "SHIP"];

/// The Python to ask; why there is none.
fn python() -> Result<PathBuf, &'static str> {
    let python = std::env::var_os("MEMPOOL_PYTHON").map(PathBuf::from);
    python.ok_or("MEMPOOL_PYTHON names no Python; `cargo xtask test pyarrow` makes one")
}

fn ask(python: &Path, command: &str, path: &Path) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/arrow_python.py");
    let output = Command::new(python).arg(script).arg(command).arg(path).output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command}:\n{}", said(&output.stderr));
    println!("{command}: {}", said(&output.stdout).trim());
}

fn name(n: i64) -> Option<String> {
    (n % 3 != 1).then(|| format!("row {n} é"))
}

fn flag(n: i64) -> Option<bool> {
    (n % 5 != 0).then_some(n % 2 == 0)
}

fn at(n: i64) -> usize {
    usize::try_from(n).unwrap()
}

fn blob(n: i64) -> Vec<u8> {
    vec![n.to_le_bytes()[0]; at(n % 3)]
}

/// Rows as the script computes them.
fn ours(rows: Range<i64>) -> Table {
    let int = |n: i64| i32::try_from(n).unwrap();
    let names: Nullable<Strings> =
        rows.clone().map(name).collect::<Vec<_>>().iter().map(Option::as_deref).collect();
    let modes: Pooled<Strings> = (0..ROWS).map(|n| MODES[at(n % 3)]).collect();
    let mut lists = ListBuilder::<Values<i32>, i64>::default();
    for n in rows.clone() {
        lists.push(vec![int(n); at(n % 4)].into()).unwrap();
    }
    let lists: List<Values<i32>> = lists.finish();
    let halves: Values<f64> = rows.clone().map(|n| n as f64 / 2.0).collect();
    let negative: Values<i64> = rows.clone().map(|n| -n).collect();
    let point = Struct::new([
        (Field::new("x"), Column::of(&halves)),
        (Field::new("y"), Column::of(&negative)),
    ]);
    let with = |name, logical| Field::new(name).with_logical(logical);
    let utc = Logical::Timestamp { unit: TimeUnit::Microsecond, utc: true };
    let plain = Field::new;
    Table::new([
        (plain("id"), Column::of(&rows.clone().map(|n| n * n - 7).collect::<Values<i64>>())),
        (plain("name"), Column::of(&names)),
        (plain("mode"), Column::of(&modes.slice(at(rows.start)..at(rows.end)))),
        (plain("flag"), Column::of(&rows.clone().map(flag).collect::<Nullable<Bits>>())),
        (with("day", Logical::Date), Column::of(&rows.clone().map(int).collect::<Values<i32>>())),
        (
            with("price", Logical::Decimal { precision: 15, scale: 2 }),
            Column::of(&rows.clone().map(|n| i128::from(n * 25)).collect::<Values<i128>>()),
        ),
        (
            with("at", utc),
            Column::of(&rows.clone().map(|n| n * 1_000_003).collect::<Values<i64>>()),
        ),
        (plain("list"), Column::of(&lists)),
        (
            plain("quarter"),
            Column::of(&rows.clone().map(|n| n as f32 / 4.0).collect::<Values<f32>>()),
        ),
        (plain("blob"), Column::of(&rows.clone().map(blob).collect::<Binary>())),
        (plain("point"), Column::of(&point.unwrap())),
        (
            plain("large"),
            Column::of(&rows.map(|n| u64::MAX - n.cast_unsigned()).collect::<Values<u64>>()),
        ),
    ])
    .unwrap()
}

/// All of a file.
fn read(path: &Path) -> Table {
    let pool = PoolOptions::new().memory_limit(16 << 20).open(Raw);
    let file = ArrowFile::open(path, &pool).unwrap();
    let tables: Vec<Table> =
        (0..file.batches()).map(|batch| file.read(batch, &pool).unwrap()).collect();
    let tables: Vec<&Table> = tables.iter().collect();
    mempool_arrays::Rearrange::concat(&tables, &mut mempool_arrays::Unmetered).unwrap()
}

/// Compares a column slot by slot.
fn compare<'a, V: Into<Value<'a>>>(table: &Table, column: &str, value: impl Fn(i64) -> Option<V>) {
    assert_eq!(i64::try_from(table.rows()), Ok(ROWS));
    for (n, found) in (0..).zip(table.column(column).unwrap().iter()) {
        let expected = value(n).map_or(Value::Null, Into::into);
        assert!(found == expected, "{column} {n}: {found:?} and not {expected:?}");
    }
}

/// What both have written.
fn compare_common(table: &Table) {
    let names: Vec<Option<String>> = (0..ROWS).map(name).collect();
    let blobs: Vec<Vec<u8>> = (0..ROWS).map(blob).collect();
    let words: Vec<String> = (0..7).map(|n| format!("w{n}")).collect();
    compare(table, "id", |n| Some(n * n - 7));
    compare(table, "name", |n| names[at(n)].as_deref());
    compare(table, "flag", flag);
    compare(table, "day", Some);
    compare(table, "quarter", |n| Some(n as f64 / 4.0));
    compare(table, "blob", |n| Some(&blobs[at(n)][..]));
    compare(table, "word", |n| (n % 4 != 0).then(|| &*words[at(n % 7)]));
    let lists = table.column("list").unwrap();
    for (n, list) in (0..).zip(lists.iter()) {
        let Value::List(list) = list else { panic!("list {n}: {list:?}") };
        assert_eq!(list.len(), at(n % 4));
        assert!(list.iter().all(|item| item == Value::from(n)), "list {n}: {list:?}");
    }
    for (n, point) in (0..).zip(table.column("point").unwrap().iter()) {
        let Value::Row(point) = point else { panic!("point {n}: {point:?}") };
        assert_eq!(point.get("x").unwrap(), Value::from(n as f64 / 2.0));
        assert_eq!(point.get("y").unwrap(), Value::from(-n));
    }
}

fn logical(table: &Table, column: &str) -> Logical {
    table.fields().iter().find(|field| field.name() == column).unwrap().logical()
}

#[test]
fn pyarrow_and_polars_read_what_we_write_and_we_what_they_write() {
    let python = match python() {
        Ok(python) => python,
        Err(why) => return println!("skipped: {why}"),
    };
    let directory = std::env::temp_dir().join(format!("mempool-python-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("ours.arrow");
    let mut file = ArrowFileWriter::create(&path, &ours(0..0)).unwrap();
    file.write(&ours(0..333)).unwrap();
    file.write(&ours(333..ROWS)).unwrap();
    file.finish().unwrap();
    ask(&python, "check", &path);
    ask(&python, "write", &directory);

    let theirs = read(&directory.join("pyarrow.arrow"));
    compare_common(&theirs);
    compare(&theirs, "long", |n| name(n).map(|name| Value::Text(name.leak())));
    compare(&theirs, "view", |n| name(n).map(|name| Value::Text(name.leak())));
    compare(&theirs, "price", |n| Some(n * 25));
    compare(&theirs, "at", |n| Some(n * 1_000_003_000));
    compare(&theirs, "nothing", |_| None::<i64>);
    let fixed = theirs.typed::<Nullable<Values<[u8; 3]>>>("fixed").unwrap();
    assert!(fixed.iter().zip(0_i64..).all(|(bytes, n)| bytes == Some([n.to_le_bytes()[0]; 3])));
    for (n, entries) in (0..).zip(theirs.column("map").unwrap().iter()) {
        let Value::List(entries) = entries else { panic!("map {n}: {entries:?}") };
        assert_eq!(entries.len(), at(n % 3));
        assert!(entries.iter().all(|entry| match entry {
            Value::Row(entry) => entry.get("value").unwrap() == Value::from(n),
            _ => false,
        }));
    }
    assert_eq!(logical(&theirs, "day"), Logical::Date);
    assert_eq!(logical(&theirs, "price"), Logical::Decimal { precision: 15, scale: 2 });
    let nanos = Logical::Timestamp { unit: TimeUnit::Nanosecond, utc: true };
    assert_eq!(logical(&theirs, "at"), nanos);

    let theirs = read(&directory.join("polars.arrow"));
    compare_common(&theirs);
    compare(&theirs, "at", |n| Some(n * 1_000_003));
    compare(&theirs, "large", |n| Some(u64::MAX - n.cast_unsigned()));
    std::fs::remove_dir_all(&directory).unwrap();
}
