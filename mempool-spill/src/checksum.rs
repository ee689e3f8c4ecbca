//! XXH3-64 with seed 0, the checksum of a frame. (Yann Collet, xxHash; <https://xxhash.com>.)

use std::hash::Hasher;

use mempool_core::Summing;
use twox_hash::XxHash3_64;

/// The checksum of `bytes`.
pub(crate) fn xxh3_64(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot(bytes)
}

/// The same with a seed, for the blocks of a container.
pub(crate) fn xxh3_64_with_seed(seed: u64, bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(seed, bytes)
}

/// A checksum of bytes that come piece by piece.
pub(crate) struct Running(XxHash3_64);

impl Summing for Running {
    fn update(&mut self, bytes: &[u8]) {
        Self::update(self, bytes);
    }

    fn finish(&self) -> u64 {
        Self::finish(self)
    }
}

impl Running {
    pub(crate) fn new() -> Self {
        Self(XxHash3_64::new())
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    pub(crate) fn finish(&self) -> u64 {
        self.0.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From xxHash's own sanity checks: the empty input, and that pieces make no difference.
    #[test]
    fn it_is_xxh3() {
        assert_eq!(xxh3_64(b""), 0x2d06_8005_38d3_94c2);
        let bytes: Vec<u8> = (0..10_000_u32).map(|n| n.to_le_bytes()[0] ^ 0x5a).collect();
        let mut running = Running::new();
        bytes.chunks(777).for_each(|piece| running.update(piece));
        assert_eq!(running.finish(), xxh3_64(&bytes));
    }
}
