//! Scans of mapped columns beside the same loops over plain buffers, and Arrow over the same bytes.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arrow_array::types::{Float64Type, UInt8Type};
use arrow_array::{DictionaryArray, Float64Array, LargeStringArray, StringArray, UInt8Array};
use arrow_buffer::{BooleanBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use mempool_arrays::{Codes, Layout, Nullable, Pooled, Raw, Stored, Strings, Values};
use mempool_core::{Buffer, DRef, Pool};
use mempool_spill::Verify;

use crate::data::Data;
use crate::measure::{Lap, Side, in_turn};
use crate::{Outcome, plain, pool};

const BAR: f64 = 0.9;

/// One scan: how long, and what came out.
fn lap(scan: impl FnOnce() -> f64) -> Outcome<Lap> {
    let start = Instant::now();
    let answer = black_box(scan());
    Ok(Lap { spent: start.elapsed(), answer })
}

/// A pool, and where its files are.
#[derive(Clone, Copy)]
struct Place<'a> {
    pool: &'a Pool<Raw>,
    session: &'a Path,
}

/// A column on disk in a file of its own.
struct Column<T> {
    reference: DRef<T>,
    path: PathBuf,
}

impl<T: Stored> Column<T> {
    fn spill(Place { pool, session }: Place<'_>, value: T) -> Outcome<Self> {
        let known = plain::files(session)?;
        let reference = pool.set(value).map_err(|rejected| rejected.error)?;
        pool.move_to_disk(&reference)?;
        Ok(Self { reference, path: plain::new_file(session, &known, 1 << 20)? })
    }

    /// A scan of a map that nobody has read yet, with the get.
    fn first(&self, pool: &Pool<Raw>, scan: impl FnOnce(&T::View) -> f64) -> Outcome<Lap> {
        pool.move_to_disk(&self.reference)?;
        let start = Instant::now();
        let view = pool.get(&self.reference)?;
        let answer = black_box(scan(&view));
        Ok(Lap { spent: start.elapsed(), answer })
    }

    /// A scan of a fresh plain map of the same file, with the call that maps it.
    fn plain(&self, scan: impl FnOnce(&[&[u8]]) -> f64) -> Outcome<Lap> {
        let start = Instant::now();
        let map = plain::map(&self.path)?;
        let sections = plain::sections(&map)?;
        let answer = black_box(scan(&sections));
        Ok(Lap { spent: start.elapsed(), answer })
    }
}

/// Bytes of ours as Arrow's, shared.
fn arrow(buffer: &Buffer) -> arrow_buffer::Buffer {
    bytes::Bytes::from_owner(buffer.clone()).into()
}

pub(crate) fn measure(data: &Data, directory: &Path) -> Outcome<()> {
    let (pool, session) = pool(directory, Verify::Header)?;
    let place = Place { pool: &pool, session: &session };
    println!(
        "\nThe second scan of a mapped column; beside it the same loop over vectors, and arrow-rs over the same bytes"
    );
    println!(
        "(first: the get and the first scan; beside it the same loop over a fresh plain map of the same file)"
    );
    comments(data, place)?;
    codes(data, place)?;
    savings(data, place)?;
    pool.close()?;
    Ok(())
}

fn comments(data: &Data, place: Place<'_>) -> Outcome<()> {
    let column = Column::spill(place, data.comments())?;
    let lengths = |view: &Strings| view.lengths().sum::<usize>() as f64;
    let is_letter = |text: &&str| text.as_bytes().last().is_some_and(u8::is_ascii_lowercase);
    let ends = |view: &Strings| view.iter().filter(is_letter).count() as f64;
    {
        let view = place.pool.get(&column.reference)?;
        let (offsets, text) = view.as_binary().buffers();
        let offsets = OffsetBuffer::new(ScalarBuffer::from(arrow(offsets)));
        let arrow = LargeStringArray::new(offsets, arrow(text), None);
        in_turn(vec![
            Side::new("ours", || lap(|| lengths(&view))),
            Side::new("vectors", || lap(|| plain::lengths(&data.offsets) as f64)),
            Side::new("arrow", || lap(|| arrow.offsets().lengths().sum::<usize>() as f64)),
        ])?
        .print("lengths of all comments, second scan", Some(BAR));
        in_turn(vec![
            Side::new("ours", || lap(|| view.iter().map(str::len).sum::<usize>() as f64)),
            Side::new("vectors", || lap(|| plain::lengths(&data.offsets) as f64)),
            Side::new("arrow", || {
                lap(|| arrow.iter().flatten().map(str::len).sum::<usize>() as f64)
            }),
        ])?
        .print("the same through `iter`, as &str", Some(BAR));
        in_turn(vec![
            Side::new("ours", || lap(|| ends(&view))),
            Side::new("vectors", || lap(|| plain::ends(&data.offsets, &data.text) as f64)),
            Side::new("arrow", || lap(|| arrow.iter().flatten().filter(is_letter).count() as f64)),
        ])?
        .print("comments that end with a letter, second", Some(BAR));
    }
    in_turn(vec![
        Side::new("ours", || column.first(place.pool, lengths)),
        Side::new("map", || column.plain(|parts| plain::lengths(plain::numbers(parts[1])) as f64)),
    ])?
    .print("lengths of all comments, first scan", Some(BAR));
    in_turn(vec![
        Side::new("ours", || column.first(place.pool, ends)),
        Side::new("map", || {
            column.plain(|parts| plain::ends(plain::numbers(parts[1]), parts[2]) as f64)
        }),
    ])?
    .print("comments that end with a letter, first", Some(BAR));
    Ok(())
}

/// Counts as one number that all of them change.
fn folded(counts: [usize; 256]) -> f64 {
    counts.iter().zip(1_usize..).map(|(count, weight)| count * weight).sum::<usize>() as f64
}

fn codes(data: &Data, place: Place<'_>) -> Outcome<()> {
    let names: Strings = data.mode_names.iter().collect();
    let modes = Pooled::new(Codes::U8(data.modes.clone().into()), names)?;
    let column = Column::spill(place, modes)?;
    let codes = |view: &Pooled<Strings>| match view.codes() {
        Codes::U8(codes) => folded(plain::counts(codes)),
        _ => f64::NAN,
    };
    let any = |view: &Pooled<Strings>| {
        let mut counts = [0; 256];
        view.codes().for_each(|code| counts[code] += 1);
        folded(counts)
    };
    {
        let view = place.pool.get(&column.reference)?;
        let Codes::U8(ours) = view.codes() else { return Err("seven modes need one byte".into()) };
        let keys = UInt8Array::new(arrow(ours.buffer()).into(), None);
        let names = Arc::new(StringArray::from(data.mode_names.clone()));
        let arrow = DictionaryArray::<UInt8Type>::try_new(keys, names)?;
        in_turn(vec![
            Side::new("ours", || lap(|| codes(&view))),
            Side::new("`for_each`", || lap(|| any(&view))),
            Side::new("vectors", || lap(|| folded(plain::counts(&data.modes)))),
            Side::new("arrow", || lap(|| folded(plain::counts(arrow.keys().values())))),
        ])?
        .print("rows by ship mode, second scan", Some(BAR));
    }
    in_turn(vec![
        Side::new("ours", || column.first(place.pool, codes)),
        Side::new("map", || column.plain(|parts| folded(plain::counts(parts[1])))),
    ])?
    .print("rows by ship mode, first scan", Some(BAR));
    Ok(())
}

fn savings(data: &Data, place: Place<'_>) -> Outcome<()> {
    let column = Column::spill(place, data.nullable_savings())?;
    let sum = |view: &Nullable<Values<f64>>| view.iter_valid().sum::<f64>();
    {
        let view = place.pool.get(&column.reference)?;
        let (bits, first) = view.validity().ok_or("no saving is missing")?.buffer();
        let valid = NullBuffer::new(BooleanBuffer::new(arrow(bits), first, view.len()));
        let values = ScalarBuffer::from(arrow(view.values().buffer()));
        let arrow = Float64Array::new(values, Some(valid));
        in_turn(vec![
            Side::new("ours", || lap(|| sum(&view))),
            Side::new("`iter`", || lap(|| view.iter().flatten().sum::<f64>())),
            Side::new("vectors", || lap(|| plain::sum(&data.savings, &data.has_saving))),
            Side::new("arrow's kernel", || {
                lap(|| arrow_arith::aggregate::sum::<Float64Type>(&arrow).unwrap_or_default())
            }),
            Side::new("arrow's iter", || lap(|| arrow.iter().flatten().sum())),
        ])?
        .print("sum of savings, second scan", Some(BAR));
    }
    in_turn(vec![
        Side::new("ours", || column.first(place.pool, sum)),
        Side::new("map", || column.plain(|parts| plain::sum(plain::numbers(parts[2]), parts[1]))),
    ])?
    .print("sum of savings, first scan", Some(BAR));
    Ok(())
}
