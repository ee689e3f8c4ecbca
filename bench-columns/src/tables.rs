//! The tables in memory: batches of arrow-rs arrays, and the threads that go through them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use arrow_array::{
    Array, ArrayRef, Date32Array, DictionaryArray, Int32Array, Int64Array, RecordBatch,
    StringArray, types::UInt8Type,
};
use tpchgen::generators::{CustomerGenerator, LineItemGenerator, OrderGenerator};

/// Rows of a batch: so many has a chunk of the main job at 128 MiB on two threads.
const BATCH_ROWS: usize = 32_768;

/// Parts that are generated independently.
const PARTS: i32 = 16;

/// Letters and words of which there are few.
pub(crate) type Words = DictionaryArray<UInt8Type>;

/// All tables.
pub(crate) struct Tables {
    pub(crate) lines: Vec<RecordBatch>,
    pub(crate) orders: Vec<RecordBatch>,
    pub(crate) customers: Vec<RecordBatch>,
    pub(crate) threads: usize,
}

impl Tables {
    pub(crate) fn generate(scale: f64, threads: usize) -> Self {
        let parts = usize::try_from(PARTS).expect("a small number");
        let made = on_threads(
            threads,
            parts,
            || (Vec::new(), Vec::new(), Vec::new()),
            |made, part| {
                let part = i32::try_from(part + 1).expect("a small number");
                lines(scale, part, &mut made.0);
                orders(scale, part, &mut made.1);
                customers(scale, part, &mut made.2);
            },
        );
        let mut all =
            Self { lines: Vec::new(), orders: Vec::new(), customers: Vec::new(), threads };
        for (lines, orders, customers) in made {
            all.lines.extend(lines);
            all.orders.extend(orders);
            all.customers.extend(customers);
        }
        all
    }
}

/// Runs `work` for each number below `count` on all threads; each begins with `start`.
pub(crate) fn on_threads<A: Send>(
    threads: usize,
    count: usize,
    start: impl Fn() -> A + Sync,
    work: impl Fn(&mut A, usize) + Sync,
) -> Vec<A> {
    let next = AtomicUsize::new(0);
    let work_off = || {
        let mut found = start();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return found;
            }
            work(&mut found, index);
        }
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work_off)).collect();
        running.into_iter().map(|thread| thread.join().expect("a thread that ends")).collect()
    })
}

/// The column of that name as what it is.
pub(crate) fn column<'a, A: Array + 'static>(batch: &'a RecordBatch, name: &str) -> &'a A {
    let column = batch.column_by_name(name).expect("a column of the table");
    column.as_any().downcast_ref().expect("the column's own type")
}

pub(crate) fn longs<'a>(batch: &'a RecordBatch, name: &str) -> &'a [i64] {
    column::<Int64Array>(batch, name).values()
}

pub(crate) fn ints<'a>(batch: &'a RecordBatch, name: &str) -> &'a [i32] {
    column::<Int32Array>(batch, name).values()
}

pub(crate) fn dates<'a>(batch: &'a RecordBatch, name: &str) -> &'a [i32] {
    column::<Date32Array>(batch, name).values()
}

/// The codes of a column of words, and the words.
pub(crate) fn words<'a>(batch: &'a RecordBatch, name: &str) -> (&'a [u8], &'a StringArray) {
    let words = column::<Words>(batch, name);
    let dictionary = words.values().as_any().downcast_ref().expect("words are strings");
    (words.keys().values(), dictionary)
}

/// Shows the rows of `rows` in pieces of a batch's length.
fn in_batches<T>(rows: impl Iterator<Item = T>, mut show: impl FnMut(&[T])) {
    let mut rows = rows.peekable();
    while rows.peek().is_some() {
        let piece: Vec<T> = rows.by_ref().take(BATCH_ROWS).collect();
        show(&piece);
    }
}

fn batch<const N: usize>(columns: [(&str, ArrayRef); N]) -> RecordBatch {
    RecordBatch::try_from_iter(columns).expect("columns of one length")
}

fn of_longs<T>(rows: &[T], value: impl Fn(&T) -> i64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(rows.iter().map(value)))
}

fn of_ints<T>(rows: &[T], value: impl Fn(&T) -> i32) -> ArrayRef {
    Arc::new(Int32Array::from_iter_values(rows.iter().map(value)))
}

fn of_dates<T>(rows: &[T], value: impl Fn(&T) -> i32) -> ArrayRef {
    Arc::new(Date32Array::from_iter_values(rows.iter().map(value)))
}

fn of_words<'a, T>(rows: &'a [T], value: impl Fn(&'a T) -> &'a str) -> ArrayRef {
    Arc::new(rows.iter().map(value).collect::<Words>())
}

fn of_texts<T, S: AsRef<str>>(rows: &[T], value: impl Fn(&T) -> S) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(rows.iter().map(value)))
}

fn lines(scale: f64, part: i32, out: &mut Vec<RecordBatch>) {
    in_batches(LineItemGenerator::new(scale, part, PARTS).iter(), |rows| {
        out.push(batch([
            ("order_key", of_longs(rows, |row| row.l_orderkey)),
            ("part_key", of_longs(rows, |row| row.l_partkey)),
            ("supplier_key", of_longs(rows, |row| row.l_suppkey)),
            ("line_number", of_ints(rows, |row| row.l_linenumber)),
            ("quantity", of_longs(rows, |row| row.l_quantity)),
            ("extended_price", of_longs(rows, |row| row.l_extendedprice.0)),
            ("discount", of_longs(rows, |row| row.l_discount.0)),
            ("tax", of_longs(rows, |row| row.l_tax.0)),
            ("return_flag", of_words(rows, |row| row.l_returnflag)),
            ("line_status", of_words(rows, |row| row.l_linestatus)),
            ("ship_date", of_dates(rows, |row| row.l_shipdate.to_unix_epoch())),
            ("commit_date", of_dates(rows, |row| row.l_commitdate.to_unix_epoch())),
            ("receipt_date", of_dates(rows, |row| row.l_receiptdate.to_unix_epoch())),
            ("ship_instruct", of_words(rows, |row| row.l_shipinstruct)),
            ("ship_mode", of_words(rows, |row| row.l_shipmode)),
            ("comment", of_texts(rows, |row| row.l_comment)),
        ]));
    });
}

fn orders(scale: f64, part: i32, out: &mut Vec<RecordBatch>) {
    in_batches(OrderGenerator::new(scale, part, PARTS).iter(), |rows| {
        out.push(batch([
            ("key", of_longs(rows, |row| row.o_orderkey)),
            ("customer_key", of_longs(rows, |row| row.o_custkey)),
            ("total_price", of_longs(rows, |row| row.o_totalprice.0)),
            ("date", of_dates(rows, |row| row.o_orderdate.to_unix_epoch())),
            ("ship_priority", of_ints(rows, |row| row.o_shippriority)),
            ("comment", of_texts(rows, |row| row.o_comment)),
        ]));
    });
}

fn customers(scale: f64, part: i32, out: &mut Vec<RecordBatch>) {
    in_batches(CustomerGenerator::new(scale, part, PARTS).iter(), |rows| {
        out.push(batch([
            ("key", of_longs(rows, |row| row.c_custkey)),
            ("segment", of_words(rows, |row| row.c_mktsegment)),
            ("name", of_texts(rows, |row| row.c_name.to_string())),
        ]));
    });
}
