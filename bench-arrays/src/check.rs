//! Opening a column that is checked whole, beside one pass of the checksum over the same warm file.

use std::path::Path;
use std::time::Instant;

use mempool_arrays::{Layout, Strings};
use mempool_spill::Verify;

use crate::data::Data;
use crate::measure::{Lap, Side, in_turn};
use crate::{Outcome, plain, pool};

const BAR: f64 = 0.8;

pub(crate) fn measure(data: &Data, directory: &Path) -> Outcome<()> {
    println!(
        "\nA verified open of all comments; beside it one XXH3 pass over the warm, mapped file"
    );
    saved(data, directory)?;
    spilled(data, directory)
}

/// One pass over the file. The answer is that of the sides which open it.
fn checksum(path: &Path, rows: usize) -> Outcome<Lap> {
    let start = Instant::now();
    let (sum, map) = std::hint::black_box(plain::checksum(path)?);
    let spent = start.elapsed();
    drop((sum, map));
    Ok(Lap { spent, answer: rows as f64 })
}

/// Saved files: checksum, offsets and UTF-8.
fn saved(data: &Data, directory: &Path) -> Outcome<()> {
    let (pool, _) = pool(directory, Verify::Header)?;
    let path = directory.join("saved");
    let in_place = || {
        let start = Instant::now();
        let frame = plain::map_frame(&path)?;
        let view = pool.read_frame::<Strings>(&frame)?;
        let spent = start.elapsed();
        Ok(Lap { spent, answer: view.len() as f64 })
    };
    let brought_in = || {
        let start = Instant::now();
        let view = pool.get_file(&pool.file::<Strings>(&path))?;
        let spent = start.elapsed();
        Ok(Lap { spent, answer: view.len() as f64 })
    };
    let pass = || checksum(&path, data.rows());
    pool.save_to_disk(&pool.set(data.comments())?, &path)?;
    in_turn(vec![Side::new("read_frame", in_place), Side::new("checksum", pass)])?
        .print("a saved file, mapped in place", Some(BAR));
    in_turn(vec![Side::new("get_file", brought_in), Side::new("checksum", pass)])?
        .print("a saved file, brought into the session", None);
    let accented = (0..data.rows()).map(|row| data.comment(row).replace('e', "é"));
    pool.save_to_disk(&pool.set(accented.collect::<Strings>())?, &path)?;
    in_turn(vec![Side::new("read_frame", in_place), Side::new("checksum", pass)])?
        .print("é for each e in it, mapped in place", None);
    std::fs::remove_file(&path)?;
    pool.close()?;
    Ok(())
}

/// A frame of our own under `Verify::Always`: checksum alone.
fn spilled(data: &Data, directory: &Path) -> Outcome<()> {
    let (pool, session) = pool(directory, Verify::Always)?;
    let known = plain::files(&session)?;
    let column = pool.set(data.comments())?;
    pool.move_to_disk(&column)?;
    let path = plain::new_file(&session, &known, data.text.len() as u64)?;
    let open = || {
        let start = Instant::now();
        let view = pool.get(&column)?;
        let spent = start.elapsed();
        let answer = view.len() as f64;
        drop(view);
        pool.move_to_disk(&column)?;
        Ok(Lap { spent, answer })
    };
    let pass = || checksum(&path, data.rows());
    in_turn(vec![Side::new("get", open), Side::new("checksum", pass)])?
        .print("a spilled frame, verify = always", Some(BAR));
    drop(column);
    pool.close()?;
    Ok(())
}
