//! How long it takes from a column on disk to its first string, whatever the size.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use mempool_arrays::Layout;
use mempool_spill::Verify;

use crate::data::Data;
use crate::measure::{Lap, Side, in_turn, shown};
use crate::{Outcome, pool};

/// Each size, as it is printed; text and offsets together.
const SIZES: [(&str, usize); 3] = [("1 MiB", 1 << 20), ("64 MiB", 64 << 20), ("1 GiB", 1 << 30)];
const BAR_MICROS: f64 = 50.0;

pub(crate) fn measure(data: &Data, directory: &Path) -> Outcome<()> {
    println!("\nFrom a spilled column of comments to its first string (bar {BAR_MICROS} us)");
    let (pool, _) = pool(directory, Verify::Header)?;
    let mut columns = Vec::new();
    for (_, bytes) in SIZES {
        let column = pool.set(data.comments_of(bytes))?;
        pool.move_to_disk(&column)?;
        columns.push(column);
    }
    let side = |at: usize| {
        let (pool, column) = (&pool, &columns[at]);
        Side::new(SIZES[at].0, move || {
            let start = Instant::now();
            let view = pool.get(column)?;
            let first = black_box(view.get(0)).map_or(0, str::len);
            let spent = start.elapsed();
            drop(view);
            // Out of the page tables again.
            pool.move_to_disk(column)?;
            Ok(Lap { spent, answer: first as f64 })
        })
    };
    let medians = in_turn((0..SIZES.len()).map(side).collect())?;
    for (at, (name, _)) in SIZES.iter().enumerate() {
        println!("{name:<42} {:>9}", shown(medians.seconds(at)));
    }
    drop(columns);
    pool.close()?;
    Ok(())
}
