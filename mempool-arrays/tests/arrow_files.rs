//! Tables as Arrow IPC files: whole or not at all, read into memory that a pool pays for, and nothing of them believed.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

mod samples;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use mempool_arrays::arrow::arrow_array::builder::StringViewBuilder;
use mempool_arrays::arrow::arrow_array::types::Int32Type;
use mempool_arrays::arrow::arrow_array::{
    ArrayRef, DictionaryArray, NullArray, RecordBatch, StringViewArray,
};
use mempool_arrays::arrow::arrow_ipc::reader::FileReader;
use mempool_arrays::arrow::arrow_ipc::writer::{DictionaryHandling, FileWriter, IpcWriteOptions};
use mempool_arrays::arrow::{ArrowFile, ArrowFileWriter};
use mempool_arrays::{
    ArrayError, Column, Layout, Nullable, Pooled, Raw, Strings, Table, Units, Value, Values,
};
use mempool_core::{Error, ErrorKind, MemoryStore, Pool, PoolOptions};
use samples::{array_error, columns};

/// A directory of the test's own, gone when the test is.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let name = format!("mempool-arrow-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn pool(limit_bytes: u64) -> Pool<Raw> {
    PoolOptions::new().memory_limit(limit_bytes).store(MemoryStore::new()).open(Raw)
}

fn table() -> Table {
    Table::new(columns()).unwrap()
}

#[test]
fn a_table_comes_back_from_its_file() {
    let (directory, pool) = (Directory::new("back"), pool(1 << 20));
    let path = directory.path("table.arrow");
    table().save_arrow(&path).unwrap();
    assert_eq!(directory.names(), ["table.arrow"]);
    let file = ArrowFile::open(&path, &pool).unwrap();
    assert_eq!(file.batches(), 1);
    let back = file.read(0, &pool).unwrap();
    assert_eq!(back, table());
    let kinds = |table: &Table| table.columns().iter().map(Column::kind).collect::<Vec<_>>();
    assert_eq!(kinds(&back), kinds(&table()));
    let empty = file.empty().unwrap();
    assert_eq!((empty.rows(), empty.fields()), (0, back.fields()));
    assert_eq!(kinds(&empty), kinds(&back));
    // Arrow's own reader finds the same.
    let mut theirs = FileReader::try_new(fs::File::open(&path).unwrap(), None).unwrap();
    let batch: RecordBatch = theirs.next().unwrap().unwrap();
    assert_eq!(batch, table().to_record_batch());
    // A file that is removed is read no more, and what was read stays.
    drop(file);
    fs::remove_file(&path).unwrap();
    assert_eq!(back, table());
}

#[test]
fn a_slice_is_saved_as_what_it_shows() {
    let (directory, pool) = (Directory::new("slice"), pool(1 << 20));
    let path = directory.path("slice.arrow");
    for range in [1..3, 0..0, 3..4] {
        let part = table().slice(range);
        part.save_arrow(&path).unwrap();
        let file = ArrowFile::open(&path, &pool).unwrap();
        assert_eq!(file.read(0, &pool).unwrap(), part);
    }
}

fn numbers(batch: i64) -> Table {
    let numbers: Values<i64> = (0..1000).map(|n| n * batch).collect();
    let words: Strings = (0..1000).map(|n| format!("word {}", n + batch)).collect();
    Table::new([("number", Column::of(&numbers)), ("word", Column::of(&words))]).unwrap()
}

#[test]
fn a_batch_is_paid_for_once_and_its_columns_are_not_copied() {
    let (directory, pool) = (Directory::new("paid"), pool(1 << 20));
    let path = directory.path("numbers.arrow");
    numbers(7).save_arrow(&path).unwrap();
    let used = || pool.stats().used_bytes;
    let file = ArrowFile::open(&path, &pool).unwrap();
    assert_eq!(used(), 0, "there are no dictionaries");
    let batch = file.read(0, &pool).unwrap();
    let read = used();
    assert!(read >= 8000 + 8008 && read <= fs::metadata(&path).unwrap().len() + 256, "{read}");
    let batch = pool.set(batch).unwrap();
    assert!(used() - read < 512, "set again: {} after {read}", used());
    pool.move_to_disk(&batch).unwrap();
    assert!(used() < 512, "{}", used());
    assert_eq!(*pool.get(&batch).unwrap(), numbers(7));
}

#[test]
fn a_file_may_be_larger_than_the_memory_limit() {
    let (directory, pool) = (Directory::new("large"), pool(100_000));
    let path = directory.path("numbers.arrow");
    let mut file = ArrowFileWriter::create(&path, &numbers(0)).unwrap();
    for batch in 0..20 {
        file.write(&numbers(batch)).unwrap();
    }
    file.finish().unwrap();
    assert!(fs::metadata(&path).unwrap().len() > 400_000);
    let file = ArrowFile::open(&path, &pool).unwrap();
    let batches: Vec<_> =
        (0..20).map(|batch| pool.set(file.read(batch, &pool).unwrap()).unwrap()).collect();
    for (reference, batch) in batches.iter().zip(0..) {
        assert_eq!(*pool.get(reference).unwrap(), numbers(batch));
    }
    assert!(pool.stats().used_bytes <= 100_000);
    let refused = ArrowFile::open(&path, &pool).unwrap().read(0, &self::pool(10_000)).unwrap_err();
    assert!(matches!(refused, Error::TooLarge { .. }), "{refused}");
}

#[test]
fn batches_share_a_dictionary() {
    let (directory, pool) = (Directory::new("dictionary"), pool(1 << 20));
    let path = directory.path("modes.arrow");
    let modes: Pooled<Strings> = (0..100).map(|n| ["AIR", "RAIL", "SHIP"][n % 3]).collect();
    let part = |range| Table::new([("mode", Column::of(&modes.slice(range)))]).unwrap();
    let mut file = ArrowFileWriter::create(&path, &part(0..0)).unwrap();
    file.write(&part(0..50)).unwrap();
    file.write(&part(50..100)).unwrap();
    let other: Pooled<Strings> = ["TRUCK"].into_iter().collect();
    let other = Table::new([("mode", Column::of(&other))]).unwrap();
    let refused = file.write(&other).unwrap_err();
    assert!(matches!(array_error(&refused), Some(ArrayError::Arrow { .. })), "{refused}");
    file.finish().unwrap();
    let file = ArrowFile::open(&path, &pool).unwrap();
    assert!(pool.stats().used_bytes > 0, "the dictionary is in memory");
    assert_eq!(file.batches(), 2);
    for (batch, range) in [(0, 0..50), (1, 50..100)] {
        let read = file.read(batch, &pool).unwrap();
        assert_eq!(read, part(range));
        let mode = read.typed::<Pooled<Strings>>("mode").unwrap();
        assert_eq!(mode.dictionary().len(), 3);
    }
    drop(file);
    assert_eq!(pool.stats().used_bytes, 0);
}

#[test]
fn dictionaries_that_grow_and_views_are_read() {
    let (directory, pool) = (Directory::new("theirs"), pool(1 << 20));
    let path = directory.path("theirs.arrow");
    let batch = |words: &[&str]| {
        let long: Vec<String> = words.iter().map(|word| word.repeat(5)).collect();
        let coded: ArrayRef =
            Arc::new(words.iter().copied().collect::<DictionaryArray<Int32Type>>());
        let views: ArrayRef = Arc::new(StringViewArray::from_iter_values(&long));
        RecordBatch::try_from_iter([("coded", coded), ("views", views)]).unwrap()
    };
    let (first, second) = (batch(&["a", "bcd", "a"]), batch(&["a", "bcd", "e"]));
    let options = IpcWriteOptions::default().with_dictionary_handling(DictionaryHandling::Delta);
    let file = fs::File::create(&path).unwrap();
    let mut file = FileWriter::try_new_with_options(file, &first.schema(), options).unwrap();
    file.write(&first).unwrap();
    file.write(&second).unwrap();
    file.finish().unwrap();
    let file = ArrowFile::open(&path, &pool).unwrap();
    let second = file.read(1, &pool).unwrap();
    let coded = second.typed::<Pooled<Strings<i32>>>("coded").unwrap();
    assert!(coded.iter().eq(["a", "bcd", "e"]));
    let views = second.typed::<Strings>("views").unwrap();
    assert!(views.iter().eq(["aaaaa", "bcdbcdbcdbcdbcd", "eeeee"]));
}

#[test]
fn what_stood_there_stays_until_the_file_is_whole() {
    let directory = Directory::new("whole");
    let path = directory.path("numbers.arrow");
    fs::write(&path, "what stood there").unwrap();
    let mut file = ArrowFileWriter::create(&path, &numbers(1)).unwrap();
    file.write(&numbers(1)).unwrap();
    assert_eq!(directory.names().len(), 2);
    assert_eq!(fs::read(&path).unwrap(), b"what stood there");
    drop(file);
    assert_eq!(directory.names(), ["numbers.arrow"], "an unfinished file is removed");
    assert_eq!(fs::read(&path).unwrap(), b"what stood there");
    numbers(1).save_arrow(&path).unwrap();
    assert_eq!(directory.names(), ["numbers.arrow"]);
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_the_system_refuses_is_named() {
    let (directory, pool) = (Directory::new("refused"), pool(1 << 20));
    let missing = directory.path("missing.arrow");
    let refused = ArrowFile::open(&missing, &pool).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Environment);
    let Some(ArrayError::File { step, path, kind, .. }) = array_error(&refused) else {
        panic!("{refused}")
    };
    assert_eq!((*step, path, *kind), ("open", &missing, io::ErrorKind::NotFound));
    let refused = numbers(1).save_arrow(directory.path("no/such/directory")).unwrap_err();
    assert!(matches!(array_error(&refused), Some(ArrayError::File { step: "create", .. })));
    // A directory stands where the file should.
    let taken = directory.path("taken");
    fs::create_dir_all(taken.join("inside")).unwrap();
    let refused = numbers(1).save_arrow(&taken).unwrap_err();
    assert!(matches!(array_error(&refused), Some(ArrayError::File { step: "rename", .. })));
    assert_eq!(directory.names(), ["taken"]);
    let refused = ArrowFile::open(&taken, &pool).unwrap_err();
    assert!(array_error(&refused).is_some(), "{refused}");
}

#[test]
fn a_table_of_other_columns_is_refused() {
    let directory = Directory::new("other");
    let path = directory.path("numbers.arrow");
    let mut file = ArrowFileWriter::create(&path, &numbers(1)).unwrap();
    let maybe: Nullable<Values<i64>> = [Some(1)].into_iter().collect();
    let words = || Column::of(&Strings::<i64>::from_iter(["a"]));
    let other = Table::new([("number", Column::of(&maybe)), ("word", words())]).unwrap();
    let refused = file.write(&other).unwrap_err();
    let Some(ArrayError::Kind { expected, found }) = array_error(&refused) else {
        panic!("{refused}")
    };
    assert_eq!(expected.to_string(), "number: Int64, word: LargeUtf8");
    assert_eq!(found.to_string(), "number: nullable Int64, word: LargeUtf8");
    file.write(&numbers(1)).unwrap();
    file.finish().unwrap();
    assert_eq!(ArrowFile::open(&path, &pool(1 << 20)).unwrap().batches(), 1);
}

#[test]
fn a_table_without_columns_keeps_its_rows_out_of_a_file() {
    let (directory, pool) = (Directory::new("none"), pool(1 << 20));
    let path = directory.path("none.arrow");
    let none = Table::new::<&str>([]).unwrap();
    none.save_arrow(&path).unwrap();
    assert_eq!(ArrowFile::open(&path, &pool).unwrap().read(0, &pool).unwrap(), none);
    let units = Table::new([("unit", Column::of(&Units::new(3)))]).unwrap();
    units.save_arrow(&path).unwrap();
    let back = ArrowFile::open(&path, &pool).unwrap().read(0, &pool).unwrap();
    assert_eq!(back.rows(), 3);
    // A null array of Arrow's has no values.
    assert_eq!(back.column("unit").unwrap().get(0), Some(Value::Null));
}

#[test]
fn a_compressed_file_is_refused() {
    let pool = pool(1 << 20);
    // 1000 numbers, written by pyarrow 26 with `compression='lz4'`.
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/compressed.arrow");
    let refused = ArrowFile::open(path, &pool).unwrap().read(0, &pool).unwrap_err();
    let Some(ArrayError::Arrow { what }) = array_error(&refused) else { panic!("{refused}") };
    assert_eq!(what, "it is compressed; write it without compression");
}

/// Writes a batch as Arrow does.
fn write_theirs(path: &PathBuf, array: ArrayRef) {
    let batch = RecordBatch::try_from_iter([("x", array)]).unwrap();
    let mut file = FileWriter::try_new(fs::File::create(path).unwrap(), &batch.schema()).unwrap();
    file.write(&batch).unwrap();
    file.finish().unwrap();
}

#[test]
fn what_a_small_file_unpacks_to_is_asked_for_first() {
    let (directory, pool) = (Directory::new("bombs"), pool(1 << 20));
    let path = directory.path("bomb.arrow");
    // A bitmap of 4 TiB.
    write_theirs(&path, Arc::new(NullArray::new(1 << 45)));
    let refused = read_all(&path, &pool).unwrap_err();
    assert!(matches!(refused, Error::TooLarge { .. }), "{refused}");
    // Views of one text, 64 GiB in all.
    let mut views = StringViewBuilder::new();
    let block = views.append_block("x".repeat(1 << 20).into_bytes().into());
    for _ in 0..1 << 16 {
        views.try_append_view(block, 0, 1 << 20).unwrap();
    }
    write_theirs(&path, Arc::new(views.finish()));
    let large = self::pool(8 << 20);
    let refused = read_all(&path, &large).unwrap_err();
    assert!(matches!(refused, Error::TooLarge { .. }), "{refused}");
    assert_eq!((pool.stats().used_bytes, large.stats().used_bytes), (0, 0));
    write_theirs(&path, Arc::new(NullArray::new(3000)));
    assert_eq!(read_all(&path, &pool).unwrap()[0].column("x").unwrap().nulls(), 3000);
}

/// Reads all of a file that may be anything.
fn read_all(path: &PathBuf, pool: &Pool<Raw>) -> Result<Vec<Table>, Error> {
    let file = ArrowFile::open(path, pool)?;
    (0..file.batches()).map(|batch| file.read(batch, pool)).collect()
}

/// Looks at every slot of every column.
fn look_at(table: &Table) -> usize {
    table
        .columns()
        .iter()
        .flat_map(|column| column.iter())
        .map(|value| format!("{value:?}").len())
        .sum()
}

#[test]
fn a_file_that_is_cut_is_refused() {
    let (directory, pool) = (Directory::new("cut"), pool(1 << 20));
    let path = directory.path("table.arrow");
    table().save_arrow(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    for len in (0..whole.len()).step_by(7) {
        fs::write(&path, &whole[..len]).unwrap();
        let refused = read_all(&path, &pool).unwrap_err();
        assert!(matches!(array_error(&refused), Some(ArrayError::Arrow { .. })), "{refused}");
        assert_eq!(refused.kind(), ErrorKind::Damage);
    }
    assert_eq!(pool.stats().used_bytes, 0);
}

/// So many damaged files of each kind, or as `DAMAGED_FILES` says.
fn damaged_files() -> u64 {
    std::env::var("DAMAGED_FILES").map_or(1500, |count| count.parse().unwrap())
}

#[test]
fn a_damaged_file_is_refused_or_another_good_one() {
    let directory = Directory::new("damaged");
    let path = directory.path("table.arrow");
    table().save_arrow(&path).unwrap();
    damage(&path);
}

#[test]
fn a_damaged_file_of_views_nulls_and_shared_dictionaries_is_refused_or_good() {
    let directory = Directory::new("damaged-theirs");
    let path = directory.path("theirs.arrow");
    let views = StringViewArray::from_iter_values((0..9).map(|n| "view ".repeat(n)));
    let words = ["a", "b", "c", "a", "b", "c", "a", "b", "c"];
    let coded: DictionaryArray<Int32Type> = words.into_iter().collect();
    let columns: [(&str, ArrayRef); 3] = [
        ("views", Arc::new(views)),
        ("coded", Arc::new(coded)),
        ("nothing", Arc::new(NullArray::new(9))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut file = FileWriter::try_new(fs::File::create(&path).unwrap(), &batch.schema()).unwrap();
    file.write(&batch).unwrap();
    file.write(&batch.slice(3, 5)).unwrap();
    file.finish().unwrap();
    damage(&path);
}

/// Changes some bytes of a good file, again and again, and reads what comes of it.
fn damage(path: &PathBuf) {
    let (pool, cases) = (pool(1 << 20), damaged_files());
    let seed = std::env::var("SEED").map_or(0x9e37_79b9_7f4a_7c15, |seed| seed.parse().unwrap());
    println!("seed={seed}");
    let whole = fs::read(path).unwrap();
    let mut state: u64 = seed | 1;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let (mut good, mut shown) = (0, 0);
    for case in 0..cases {
        let mut bytes = whole.clone();
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            bytes[at] = match case % 3 {
                0 => bytes[at] ^ 1 << random(8),
                1 => random(256) as u8,
                _ => [0, 0x7f, 0x80, 0xff][random(4)],
            };
        }
        fs::write(path, &bytes).unwrap();
        if let Ok(tables) = read_all(path, &pool) {
            good += 1;
            shown += tables.iter().map(look_at).sum::<usize>();
        }
    }
    assert!(good > 0 && good < cases && shown > 0, "{good} of {cases}");
    println!("proof: cases={cases} seed={seed}");
    assert_eq!(pool.stats().used_bytes, 0);
}
