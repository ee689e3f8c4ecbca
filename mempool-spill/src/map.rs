//! A file of ours that nobody writes any more, lent as bytes.

#![expect(unsafe_code, reason = "the one call that maps a file")]

use std::fs::File;
use std::io;

use memmap2::{Mmap, MmapOptions};

/// Maps the first `bytes` of `file`, read-only and shared.
///
/// The promise behind it is made here, once, for the whole crate: `file` lies in the session's directory (mode 0700,
/// locked by this process) or has no name at all; this process writes to a place in it only before the frame there is
/// published and never after; and nobody makes it shorter (DESIGN: "No file that was ever mapped is made shorter").
/// Somebody of the same user who breaks into the directory breaks the promise; that is not defended against.
pub(crate) fn map(file: &File, bytes: u64) -> io::Result<Mmap> {
    let len = usize::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    // SAFETY: the bytes of published frames do not change and the file is not made shorter while the map lives: see
    // above for who guarantees it. Bytes that are not published are not read through the map.
    unsafe { MmapOptions::new().len(len).map(file) }
}
