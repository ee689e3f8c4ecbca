//! Arrow IPC files: good ones as seeds, and how what comes of bent ones is looked at.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use mempool_arrays::arrow::arrow_array::{
    ArrayRef, DictionaryArray, NullArray, RecordBatch, StringViewArray, types::Int32Type,
};
use mempool_arrays::arrow::arrow_ipc::writer::FileWriter;
use mempool_arrays::arrow::{ArrowFile, ArrowFileWriter};
use mempool_arrays::{ArrayError, Layout, Raw, Table};
use mempool_core::{Error, ErrorKind, MemoryStore, Pool, PoolOptions, Result};

use crate::arrays::{Random, column, peak_of, table, walk_table};

const LIMIT_BYTES: u64 = 1 << 20;
/// What a reader may take beside the pool's memory, for each byte of the file: numbers of nodes and buffers, fields with their names.
const BYTES_FOR_EACH: i64 = 64;
const SLACK_BYTES: i64 = 64 << 10;

/// The file that an input is written to.
static PATH: LazyLock<PathBuf> = LazyLock::new(|| {
    std::env::temp_dir().join(format!("mempool-fuzz-{}.arrow", std::process::id()))
});

/// Reads an input as an Arrow file.
///
/// # Panics
/// When reading takes more memory than the pool gives and the bytes account for, or answers an error of another kind.
pub fn look_at(data: &[u8]) {
    fs::write(&*PATH, data).expect("a file can be written");
    let pool = pool();
    let (tables, took) = peak_of(|| read_all(&PATH, &pool));
    let allowed = LIMIT_BYTES as i64 + SLACK_BYTES + BYTES_FOR_EACH * data.len() as i64;
    assert!(took <= allowed, "{took} bytes of memory, {allowed} allowed");
    match tables {
        Ok(tables) => tables.iter().for_each(|table| {
            std::hint::black_box(walk_table(table));
        }),
        Err(Error::Codec(error)) => {
            assert_eq!(error.kind, ErrorKind::Damage);
            assert!(error.source.downcast_ref::<ArrayError>().is_some(), "{error:?}");
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::Limit, "{error:?}"),
    }
    assert_eq!(pool.stats().used_bytes, 0, "what was taken was paid back");
}

fn pool() -> Pool<Raw> {
    PoolOptions::new().memory_limit(LIMIT_BYTES).store(MemoryStore::new()).open(Raw)
}

fn read_all(path: &PathBuf, pool: &Pool<Raw>) -> Result<Vec<Table>> {
    let file = ArrowFile::open(path, pool)?;
    (0..file.batches()).map(|batch| file.read(batch, pool)).collect()
}

/// Good files: of one batch and of several, ours and those of Arrow's own writer.
pub fn seeds() -> impl Iterator<Item = Vec<u8>> {
    let files = [of_tables, of_columns, theirs];
    (0..96).map(move |number| {
        let mut random = Random::of_case(3, number);
        files[number as usize % files.len()](&mut random);
        let bytes = fs::read(&*PATH).expect("it was written");
        fs::remove_file(&*PATH).expect("it is there");
        bytes
    })
}

fn of_tables(random: &mut Random) {
    table(random).save_arrow(&*PATH).expect("it is saved");
}

/// A column in batches, with the dictionary that they share.
fn of_columns(random: &mut Random) {
    let whole = Table::new([("x", column(random))]).expect("one column");
    let mut file = ArrowFileWriter::create(&*PATH, &whole).expect("it is made");
    for _ in 0..3 {
        let part = random.range(whole.rows());
        file.write(&whole.slice(part)).expect("of the same columns");
    }
    file.finish().expect("it is finished");
}

/// Layouts that are read and not written: views, and nothing at all.
fn theirs(random: &mut Random) {
    let rows = random.below(12);
    let words: Vec<String> = (0..rows).map(|_| "word ".repeat(random.below(5))).collect();
    let views = StringViewArray::from_iter_values(&words);
    let coded: DictionaryArray<Int32Type> = words.iter().map(|word| &word[..]).collect();
    let columns: [(&str, ArrayRef); 3] = [
        ("views", Arc::new(views)),
        ("coded", Arc::new(coded)),
        ("nothing", Arc::new(NullArray::new(rows))),
    ];
    let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let file = fs::File::create(&*PATH).expect("it is made");
    let mut file = FileWriter::try_new(file, &batch.schema()).expect("it is begun");
    file.write(&batch).expect("a batch");
    file.write(&batch.slice(rows / 3, rows / 2)).expect("a part of it");
    file.finish().expect("it is finished");
}
