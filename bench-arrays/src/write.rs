//! Writing a column of strings beside writing its bytes with plain calls, to the same directory.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use mempool_spill::{Disk, RealDisk, Verify};

use crate::data::Data;
use crate::measure::{Lap, Side, in_turn};
use crate::{Outcome, pool};

const BAR: f64 = 0.8;
/// The size of a plain write: with 256 KiB it is fastest here.
const PIECE: usize = 256 << 10;

pub(crate) fn measure(data: &Data, directory: &Path) -> Outcome<()> {
    println!(
        "\nWriting all comments; beside it offsets and text written raw to a new file, reserved first"
    );
    let (pool, _) = pool(directory, Verify::Header)?;
    let comments = data.comments();
    let bytes = (size_of_val(&*data.offsets) + data.text.len()) as f64;
    let ours = || {
        let column = pool.set(comments.clone())?;
        let start = Instant::now();
        let file = pool.copy_to_disk(&column)?;
        let spent = start.elapsed();
        drop((file, column));
        // Until its file is gone.
        pool.quiesce();
        Ok(Lap { spent, answer: bytes })
    };
    let path = directory.join("raw");
    let raw = || {
        let start = Instant::now();
        write_raw(&path, &[bytemuck::cast_slice(&data.offsets), &data.text])?;
        let spent = start.elapsed();
        fs::remove_file(&path)?;
        Ok(Lap { spent, answer: bytes })
    };
    let medians = in_turn(vec![Side::new("copy_to_disk", ours), Side::new("raw", raw)])?;
    medians.print("copy_to_disk", Some(BAR));
    drop(comments);
    pool.close()?;
    Ok(())
}

fn write_raw(path: &Path, parts: &[&[u8]]) -> Outcome<()> {
    let file = File::create_new(path)?;
    RealDisk.allocate(&file, 0, parts.iter().map(|part| part.len() as u64).sum())?;
    let mut at = 0;
    for piece in parts.iter().flat_map(|part| part.chunks(PIECE)) {
        file.write_all_at(piece, at)?;
        at += piece.len() as u64;
    }
    Ok(())
}
