//! Streams a frame into a file: content first, hashed as it goes, header last.

use std::fs::File;
use std::path::Path;

use mempool_core::{Content, Frame, Header, StoreError};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::disk::{Disk, write_all_at};
use crate::error::SpillError;

/// What is written at once: large enough to cost few calls, small enough to be hashed while it is in the cache.
const CHUNK: usize = 256 << 10;

/// Writes `frame` at the start of `file`; answers its header's bytes.
pub(crate) fn write_frame(
    disk: &dyn Disk,
    file: &File,
    path: &Path,
    frame: &Frame<'_>,
) -> Result<Vec<u8>, StoreError> {
    let header = frame.header();
    let mut content = FileContent {
        disk,
        file,
        path,
        at: header.header_bytes(),
        hash: Xxh3::new(),
        buffer: Vec::new(),
    };
    frame.write_content(&mut content)?;
    let content_checksum = content.finish()?;
    let sealed = Header { content_checksum, ..header.clone() }.encode(xxh3_64);
    write_all_at(disk, file, &sealed, 0).map_err(|e| SpillError::io("write", path, e))?;
    Ok(sealed)
}

/// The whole frame as bytes, for one write: what a small value takes.
pub(crate) fn gather_frame(frame: &Frame<'_>) -> Result<Vec<u8>, StoreError> {
    let header = frame.header();
    let capacity = usize::try_from(header.frame_bytes).unwrap_or_default();
    let header_len = usize::try_from(header.header_bytes()).unwrap_or_default();
    let mut bytes = Vec::with_capacity(capacity);
    bytes.resize(header_len, 0);
    let mut gather = Gather(bytes);
    frame.write_content(&mut gather)?;
    let mut bytes = gather.0;
    let (head, content) = bytes.split_at_mut(header_len);
    let sealed = Header { content_checksum: xxh3_64(content), ..header.clone() };
    head.copy_from_slice(&sealed.encode(xxh3_64));
    Ok(bytes)
}

struct Gather(Vec<u8>);

impl Content for Gather {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Buffers what is small; what is large goes to the file from where it lies.
struct FileContent<'a> {
    disk: &'a dyn Disk,
    file: &'a File,
    path: &'a Path,
    at: u64,
    hash: Xxh3,
    buffer: Vec<u8>,
}

impl FileContent<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), SpillError> {
        for chunk in bytes.chunks(CHUNK) {
            self.hash.update(chunk);
            write_all_at(self.disk, self.file, chunk, self.at)
                .map_err(|e| SpillError::io_at("write", self.path, self.at, e))?;
            self.at = self.at.saturating_add(chunk.len() as u64);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SpillError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let put = self.put(&buffer);
        buffer.clear();
        self.buffer = buffer;
        put
    }

    fn finish(mut self) -> Result<u64, SpillError> {
        self.flush()?;
        Ok(self.hash.digest())
    }
}

impl Content for FileContent<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if bytes.len() < CHUNK {
            self.buffer.extend_from_slice(bytes);
            if self.buffer.len() >= CHUNK {
                self.flush()?;
            }
            return Ok(());
        }
        self.flush()?;
        Ok(self.put(bytes)?)
    }
}
