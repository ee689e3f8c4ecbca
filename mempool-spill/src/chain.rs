//! `Chain`: the filters of a store, in order; frames go out through all of them, block by block.
//!
//! ```text
//! frame ──▶ 256 KiB of it ──▶ first filter ──▶ ... ──▶ last filter ──▶ block of the container
//! ```
//!
//! A writer keeps one block as it was and two as filters leave it: less than a megabyte, however large the value is.

use std::path::Path;
use std::sync::Arc;

use mempool_core::{Content, Frame, StoreError};

use crate::checksum::{Running, xxh3_64};
use crate::container::{Applied, BLOCK_BYTES, BLOCK_HEAD, Container, FILTERS_MAX, FIXED, Seed};
use crate::error::SpillError;
use crate::filter::{Block, Filter, FilterError, FilterName};

/// The filters of a store.
#[derive(Clone, Default)]
pub(crate) struct Chain {
    /// What is applied to what is written, in order.
    filters: Vec<Arc<dyn Filter>>,
    /// What can be undone as well.
    others: Vec<Arc<dyn Filter>>,
}

/// Where a container goes.
pub(crate) trait Output {
    /// Takes the next bytes; the header's place is left free before the first ones.
    fn put(&mut self, bytes: &[u8]) -> Result<(), SpillError>;
}

/// A container that was written, but for its header.
pub(crate) struct Written {
    /// The container's header, which goes to its beginning.
    pub(crate) header: Vec<u8>,
    pub(crate) container_bytes: u64,
    /// The frame's own header.
    pub(crate) frame_header: Vec<u8>,
}

impl Chain {
    pub(crate) fn push(&mut self, filter: Arc<dyn Filter>) {
        assert!(self.filters.len() < FILTERS_MAX, "a chain has at most {FILTERS_MAX} filters");
        self.filters.push(filter);
    }

    pub(crate) fn push_other(&mut self, filter: Arc<dyn Filter>) {
        self.others.push(filter);
    }

    /// Whether frames are written as they are.
    pub(crate) fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Whether frames may be read that went through filters.
    pub(crate) fn decodes(&self) -> bool {
        !self.filters.is_empty() || !self.others.is_empty()
    }

    /// The names of the filters, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = FilterName> {
        self.filters.iter().map(|filter| filter.name())
    }

    /// Where the first block of a container starts.
    pub(crate) fn header_bytes(&self) -> u64 {
        (FIXED + 64 * self.filters.len()) as u64
    }

    /// The most that a frame of so many bytes takes: as it is, if there is no filter.
    pub(crate) fn bytes_max(&self, frame_bytes: u64) -> u64 {
        if self.is_empty() {
            return frame_bytes;
        }
        let block = u64::from(BLOCK_BYTES);
        let (whole, rest) = (frame_bytes / block, frame_bytes % block);
        let max = |plain: u64| {
            let plain = usize::try_from(plain).unwrap_or(usize::MAX);
            let encoded = self.filters.iter().fold(plain, |len, f| f.encoded_bytes_max(len));
            (encoded as u64).saturating_add(BLOCK_HEAD as u64)
        };
        let last = if rest == 0 { 0 } else { max(rest) };
        let blocks = whole.saturating_mul(max(block)).saturating_add(last);
        self.header_bytes().saturating_add(blocks)
    }

    /// The filter that undoes `applied`: one of the chain, or one that is there for reading.
    pub(crate) fn find(&self, applied: &Applied) -> Option<Result<&dyn Filter, FilterError>> {
        let mut refused = None;
        for filter in self.filters.iter().chain(&self.others) {
            if filter.name() != applied.name {
                continue;
            }
            match filter.accepts(&applied.parameters) {
                Ok(()) => return Some(Ok(&**filter)),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        refused.map(Err)
    }

    /// Writes `frame` through all filters to `out`. Errors of filters name `path`.
    pub(crate) fn write(
        &self,
        frame: &Frame<'_>,
        path: &Path,
        out: &mut dyn Output,
    ) -> Result<Written, StoreError> {
        let header = frame.header();
        let begin = |filter: &Arc<dyn Filter>| {
            let parameters = filter.begin();
            let parameters =
                parameters.map_err(|e| SpillError::filter(path, 0, &**filter, 0, e))?;
            Ok(Applied { name: filter.name(), parameters })
        };
        let container = Container {
            container_bytes: 0,
            frame_bytes: header.frame_bytes,
            frame_header_bytes: u32::try_from(header.header_bytes()).unwrap_or(u32::MAX),
            block_bytes: BLOCK_BYTES,
            id: header.id,
            pool: header.pool,
            filters: self.filters.iter().map(begin).collect::<Result<_, SpillError>>()?,
        };
        let context = container.context();
        let encoder =
            Encoder { chain: self, seed: Seed::of(&context), container, context, path, out };
        let put = 0;
        let mut blocks = Blocks { encoder, index: 0, put, encoded: Vec::new(), spare: Vec::new() };
        let mut content = Cut { blocks: &mut blocks, hash: Running::new(), gathered: Vec::new() };
        frame.write_content(&mut content)?;
        let Cut { hash, gathered, .. } = content;
        let mut frame_header = Vec::new();
        header.seal_into(hash.finish(), xxh3_64, &mut frame_header);
        blocks.end(gathered, &frame_header)?;
        let mut container = blocks.encoder.container;
        container.container_bytes = self.header_bytes().saturating_add(blocks.put);
        let (header, container_bytes) = (container.encode(), container.container_bytes);
        Ok(Written { header, container_bytes, frame_header })
    }
}

/// Puts blocks through the filters.
struct Encoder<'a> {
    chain: &'a Chain,
    container: Container,
    context: Vec<u8>,
    seed: Seed,
    path: &'a Path,
    out: &'a mut dyn Output,
}

/// The blocks of one container.
struct Blocks<'a> {
    encoder: Encoder<'a>,
    index: u32,
    /// How many bytes have gone out.
    put: u64,
    encoded: Vec<u8>,
    spare: Vec<u8>,
}

impl Blocks<'_> {
    fn put(&mut self, plain: &[u8], last: bool) -> Result<(), SpillError> {
        let Self { encoder, index, put, encoded, spare } = self;
        let Encoder { chain, container, context, seed, path, out } = encoder;
        let mut first = Some(plain);
        for (filter, applied) in chain.filters.iter().zip(&container.filters) {
            let block =
                Block { parameters: &applied.parameters, header: context, index: *index, last };
            let before = || encoded.get(BLOCK_HEAD..).unwrap_or_default();
            let bytes = first.take().unwrap_or_else(before);
            let max = filter.encoded_bytes_max(bytes.len());
            spare.clear();
            // The head's place, so that a block goes out with one call.
            spare.resize(BLOCK_HEAD, 0);
            let failed = |error| SpillError::filter(path, 0, &**filter, *index, error);
            filter.encode(&block, bytes, spare).map_err(failed)?;
            if spare.len().saturating_sub(BLOCK_HEAD) > max {
                return Err(failed(FilterError::TooLong { limit_bytes: max as u64 }));
            }
            std::mem::swap(encoded, spare);
        }
        let (head, bytes) = encoded.split_at_mut(BLOCK_HEAD);
        head.copy_from_slice(&seed.head(*index, last, bytes));
        out.put(encoded)?;
        *put = put.saturating_add(encoded.len() as u64);
        *index = index.checked_add(1).ok_or_else(|| {
            let error = FilterError::TooLong { limit_bytes: u64::from(u32::MAX) };
            SpillError::filter(path, 0, &*chain.filters[0], u32::MAX, error)
        })?;
        Ok(())
    }

    /// Puts out what is left, with the frame's header behind it.
    fn end(&mut self, mut gathered: Vec<u8>, frame_header: &[u8]) -> Result<(), SpillError> {
        gathered.extend_from_slice(frame_header);
        let mut rest = &gathered[..];
        while let Some((block, behind)) =
            rest.split_at_checked(BLOCK).filter(|(_, behind)| !behind.is_empty())
        {
            self.put(block, false)?;
            rest = behind;
        }
        self.put(rest, true)
    }
}

const BLOCK: usize = BLOCK_BYTES as usize;

/// Cuts the content of a frame into blocks.
struct Cut<'a, 'b> {
    blocks: &'a mut Blocks<'b>,
    hash: Running,
    gathered: Vec<u8>,
}

impl Content for Cut<'_, '_> {
    fn write(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            // The frame's header comes behind, so no block of the content is the last one.
            if self.gathered.is_empty()
                && let Some((block, behind)) = bytes.split_at_checked(BLOCK)
            {
                self.hash.update(block);
                self.blocks.put(block, false)?;
                bytes = behind;
                continue;
            }
            let room = BLOCK.saturating_sub(self.gathered.len());
            let (next, behind) = bytes.split_at(room.min(bytes.len()));
            self.hash.update(next);
            self.gathered.extend_from_slice(next);
            if self.gathered.len() >= BLOCK {
                self.blocks.put(&self.gathered, false)?;
                self.gathered.clear();
            }
            bytes = behind;
        }
        Ok(())
    }
}
