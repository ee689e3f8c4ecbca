//! LZ4 blocks. (Yann Collet, <https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md>.)

use super::{Block, Filter, FilterError, FilterName, raw};

/// Compresses quickly: for data that repeats itself, and disks that are slower than memory (feature `lz4`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Lz4;

impl Filter for Lz4 {
    fn name(&self) -> FilterName {
        FilterName::new("lz4")
    }

    fn encoded_bytes_max(&self, bytes: usize) -> usize {
        raw::encoded_bytes_max(bytes)
    }

    fn encode(&self, _: &Block<'_>, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), FilterError> {
        let room = lz4_flex::block::get_maximum_output_size(bytes.len());
        raw::encode(bytes, room, out, |out| lz4_flex::block::compress_into(bytes, out).ok());
        Ok(())
    }

    fn decode(
        &self,
        _: &Block<'_>,
        bytes: &[u8],
        decoded_bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), FilterError> {
        raw::decode(bytes, decoded_bytes_max, out, |bytes, room| {
            lz4_flex::block::decompress_into(bytes, room).map_err(|error| error.to_string())
        })
    }
}
