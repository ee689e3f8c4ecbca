//! What a program does without us: loops over plain slices, and a plain map of a file.
#![expect(unsafe_code, reason = "a map of a file is a promise about the file")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use bytemuck::cast_slice;
use memmap2::Mmap;
use mempool_core::{Buffer, Header};
use twox_hash::XxHash3_64;

use crate::Outcome;

/// Where each string starts and ends.
fn slots(offsets: &[i64]) -> impl Iterator<Item = (usize, usize)> {
    offsets.iter().zip(&offsets[1..]).map(|(&start, &end)| (start as usize, end as usize))
}

/// The lengths of all strings together, by their offsets.
pub(crate) fn lengths(offsets: &[i64]) -> usize {
    slots(offsets).map(|(start, end)| end.wrapping_sub(start)).sum()
}

/// How many strings end with a letter: one look at each text.
pub(crate) fn ends(offsets: &[i64], text: &[u8]) -> usize {
    let is_letter = |text: &[u8]| text.last().is_some_and(u8::is_ascii_lowercase);
    slots(offsets).filter(|&(start, end)| is_letter(&text[start..end])).count()
}

/// How many rows have each code.
// Not inlined, so that all sides run the same code.
#[inline(never)]
pub(crate) fn counts(codes: &[u8]) -> [usize; 256] {
    let mut counts = [0; 256];
    for &code in codes {
        counts[usize::from(code)] += 1;
    }
    counts
}

/// The sum of the numbers whose bit is set.
pub(crate) fn sum(values: &[f64], valid: &[u8]) -> f64 {
    let mut sum = 0.0;
    for (row, value) in values.iter().enumerate() {
        if valid[row / 8] >> (row % 8) & 1 == 1 {
            sum += value;
        }
    }
    sum
}

/// Maps a file that nobody writes any more.
pub(crate) fn map(path: &Path) -> Outcome<Mmap> {
    let file = File::open(path)?;
    // SAFETY: files here lie in a directory of this process's own, which writes each once before it maps it, and makes
    // none shorter.
    Ok(unsafe { Mmap::map(&file)? })
}

/// A saved file where it is, for `Pool::read_frame`.
pub(crate) fn map_frame(path: &Path) -> Outcome<Buffer> {
    // SAFETY: as for `map`.
    Ok(unsafe { mempool_spill::map_file(path)? })
}

/// Maps a file and computes its checksum, as whoever opens it must at least; the map, so that its end is not timed.
pub(crate) fn checksum(path: &Path) -> Outcome<(u64, Mmap)> {
    let map = map(path)?;
    Ok((XxHash3_64::oneshot(&map), map))
}

/// The sections of a frame that starts at the start of `frame`.
pub(crate) fn sections(frame: &[u8]) -> Outcome<Vec<&[u8]>> {
    let header = Header::decode(frame, XxHash3_64::oneshot)?;
    let part = |at: u64, bytes: u64| {
        let start = usize::try_from(at).ok()?;
        frame.get(start..start.checked_add(usize::try_from(bytes).ok()?)?)
    };
    let sections = header.sections.iter().map(|section| part(section.offset, section.bytes));
    sections.collect::<Option<_>>().ok_or_else(|| "a section outside of the frame".into())
}

/// Numbers in a section of a frame.
pub(crate) fn numbers<T: bytemuck::AnyBitPattern>(section: &[u8]) -> &[T] {
    cast_slice(section)
}

/// The file in the session's directory that is larger than `least` and is not among `known`.
pub(crate) fn new_file(session: &Path, known: &[PathBuf], least: u64) -> Outcome<PathBuf> {
    let mut files = files(session)?;
    files.retain(|path| !known.contains(path));
    files.retain(|path| fs::metadata(path).is_ok_and(|file| file.len() >= least));
    files.pop().ok_or_else(|| "the column has no file of its own".into())
}

/// All files of a session.
pub(crate) fn files(session: &Path) -> Outcome<Vec<PathBuf>> {
    fs::read_dir(session)?.map(|file| Ok(file?.path())).collect()
}
