//! Checks a frame while it comes in: each piece is hashed when it is still in the processor's cache.

use mempool_core::{Buffer, BufferMut, Cause, FrameDamage, Header};
use std::hash::Hasher;
use twox_hash::XxHash3_64;

use super::frame::FrameSink;

/// A sink that hashes the content of a whole frame on its way into another.
///
/// The hash is XXH3-64, that of frames in files. *Use*: for a frame that comes from its first byte on.
pub struct Checked<S> {
    sink: S,
    sum: ContentSum,
}

impl<S: FrameSink> Checked<S> {
    /// Hashes what goes into `sink`.
    #[must_use]
    pub fn new(sink: S) -> Self {
        Self { sink, sum: ContentSum::default() }
    }

    /// The sink, and the checksum of all bytes behind the header.
    #[must_use]
    pub fn into_parts(self) -> (S, u64) {
        (self.sink, self.sum.hasher.finish())
    }
}

impl Checked<BufferMut> {
    /// The frame with its header, when its length and both checksums are right.
    ///
    /// # Errors
    /// [`FrameDamage`] says what is wrong.
    pub fn finish(self) -> Result<(Header, Buffer), FrameDamage> {
        let (frame, found) = self.into_parts();
        let header = Header::decode(&frame, XxHash3_64::oneshot)?;
        if header.frame_bytes != frame.len() as u64 {
            let (expected, found) = (header.frame_bytes, frame.len() as u64);
            return Err(FrameDamage::Length { expected, found });
        }
        if header.content_checksum != found && !mutant!("frame_sum_ignored") {
            let expected = header.content_checksum;
            return Err(FrameDamage::Checksum { part: "content", expected, found });
        }
        Ok((header, frame.freeze()))
    }
}

impl<S: FrameSink> FrameSink for Checked<S> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Cause> {
        self.sum.update(bytes);
        self.sink.write(bytes)
    }

    fn may_block(&self) -> bool {
        self.sink.may_block()
    }
}

impl<S: std::fmt::Debug> std::fmt::Debug for Checked<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checked").field("sink", &self.sink).finish_non_exhaustive()
    }
}

/// The hash of what follows the header, whose length stands in the header's first 16 bytes.
struct ContentSum {
    start: [u8; 16],
    /// How many bytes came.
    seen: u64,
    hasher: XxHash3_64,
}

impl Default for ContentSum {
    fn default() -> Self {
        Self { start: [0; 16], seen: 0, hasher: XxHash3_64::new() }
    }
}

impl ContentSum {
    fn update(&mut self, bytes: &[u8]) {
        let offset = usize::try_from(self.seen).unwrap_or(usize::MAX);
        for (to, from) in self.start.iter_mut().skip(offset).zip(bytes) {
            *to = *from;
        }
        let before = self.seen;
        self.seen = self.seen.saturating_add(bytes.len() as u64);
        // Of a header that is not known yet there is no content in these bytes: a header is longer than what says how long.
        if self.seen < self.start.len() as u64 {
            return;
        }
        let [.., a, b, c, d] = self.start;
        let header = u64::from(u32::from_le_bytes([a, b, c, d])).max(self.start.len() as u64);
        let skipped = usize::try_from(header.saturating_sub(before)).unwrap_or(usize::MAX);
        self.hasher.write(bytes.get(skipped..).unwrap_or_default());
    }
}
