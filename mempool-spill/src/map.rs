//! A file that nobody writes any more, lent as bytes: one of ours, or one that the caller vouches for.

#![expect(unsafe_code, reason = "the one call that maps a file, and who promises what for it")]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use memmap2::{Mmap, MmapOptions, UncheckedAdvice};
use mempool_core::Buffer;

use crate::error::SpillError;
use crate::saved::open_user_frame;

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

/// Maps a saved file of the user's where it is, without a copy, for `Pool::read_frame`, which checks every byte once.
///
/// `Pool::get_file` needs no such promise: it brings the file into the session first. The map is counted by no pool.
///
/// # Errors
/// When the file is not there, is no regular file, or cannot be mapped; [`SpillError::FilterMissing`] for a frame that went
/// through filters, which no map undoes.
///
/// # Safety
/// Until the last buffer of the map is dropped, nobody, in this process or another, writes to the file or makes it
/// shorter, and its file system goes on answering reads with the same bytes. Replacing it by a rename is fine.
pub unsafe fn map_file(path: impl AsRef<Path>) -> Result<Buffer, SpillError> {
    let path = path.as_ref();
    let (file, bytes) = open_user_frame(path)?;
    // The caller's promise takes the place of the session's.
    let map = map(&file, bytes).map_err(|e| SpillError::io("map", path, e))?;
    crate::container::refuse(&map, path, 0)?;
    Ok(Buffer::adopt(map, None))
}

/// Has the processor bring the start of these bytes into its cache, without waiting. Bytes that are in no page table stay where they are.
pub(crate) fn prefetch(bytes: &[u8]) {
    /// The rest of a longer run follows by itself: the processor sees where its reader goes.
    const LINES_MAX: usize = 6;
    const LINE: usize = 64;
    #[cfg(target_arch = "x86_64")]
    for line in bytes.chunks(LINE).take(LINES_MAX) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint that reads nothing and faults on no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (bytes, LINES_MAX, LINE);
}

/// Takes a part of a map out of the page tables; who reads it next gets the same bytes from the page cache or the file.
pub(crate) fn release_pages(map: &Mmap, part: Range<u64>) {
    let end = usize::try_from(part.end).map_or(map.len(), |end| end.min(map.len()));
    let Ok(start) = usize::try_from(part.start) else { return };
    let Some(len) = end.checked_sub(start) else { return };
    // SAFETY: the map is of a file, shared and read-only: dropped pages are read again with the same content, so what
    // anybody reads through it does not change.
    let advised = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, len) };
    // A kernel that does not follow the advice keeps the pages, and no more.
    drop(advised);
}
