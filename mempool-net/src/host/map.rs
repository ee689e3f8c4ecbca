//! The map of a frame that another process handed over.

#![expect(
    unsafe_code,
    reason = "the one call that maps a file of another process, and who promises what for it"
)]

use std::fs::File;
use std::io;

use memmap2::{Mmap, MmapOptions};

/// Maps `bytes` of `file` from `offset` on, read-only and shared.
///
/// The promise behind it: the file is of a process of the same user on the same kernel, which is one trust domain, and was
/// checked to be ([`frame::check`](super::frame::check)). Memory is sealed, so the kernel itself keeps it as it is. A file
/// is a segment of its owner's session that was marked as exported before its descriptor left: such a segment is only
/// unlinked, never written anew and never made shorter, whatever becomes of the value and of the owner (DESIGN: "Bytes of a
/// published frame never change while any exported descriptor of its segment exists"). A process of the same user that
/// breaks this promise is not defended against, as for the owner's own maps.
pub(super) fn map(file: &File, offset: u64, bytes: u64) -> io::Result<Mmap> {
    let len = usize::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    // SAFETY: the bytes do not change and the file is not made shorter while the map lives: see above for who guarantees it.
    unsafe { MmapOptions::new().offset(offset).len(len).map(file) }
}
