//! A file that `save_to_disk` wrote, read without knowing its type: its header, and whether each of its bytes is what was written.

use std::{
    fs::File,
    hash::Hasher,
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
};

use mempool_core::{FrameDamage, HEADER_BYTES, Header, MAGIC, SECTION_BYTES, SECTIONS_MAX};
use rustix::fs::{Mode, OFlags};
use twox_hash::XxHash3_64;

/// The longest header that a frame may have: what a damaged length can make us read.
const HEADER_BYTES_MAX: u64 = HEADER_BYTES + SECTION_BYTES * SECTIONS_MAX as u64;

/// Where in a header its own length stands.
const HEADER_LENGTH_OFFSET: usize = 12;

/// Bytes that are read and summed at a time.
const PIECE_BYTES: usize = 256 << 10;

/// A saved file whose header is whole.
#[derive(Debug)]
pub(crate) struct SavedFile {
    path: PathBuf,
    /// Stands behind the header.
    file: File,
    pub(crate) file_bytes: u64,
    pub(crate) header: Header,
}

/// Why a file is no whole frame.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SavedError {
    /// The system refused.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing that could have been saved.
    #[error("{} is no regular file; give a file that `save_to_disk` wrote", path.display())]
    NotRegular {
        /// The path.
        path: PathBuf,
    },
    /// Its bytes are not those of a frame.
    #[error("{} at offset {offset}: {damage}{}", path.display(), hint(damage))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it: the field, the part that a checksum is of, or the end of a file that is too short or too long.
        offset: u64,
        /// What is wrong.
        damage: FrameDamage,
    },
}

impl SavedFile {
    /// Opens a file and reads its header. A FIFO does not make it wait.
    ///
    /// # Errors
    /// [`SavedError`] says why not; the content is not looked at.
    pub(crate) fn open(path: &Path) -> Result<Self, SavedError> {
        let refused = |source: io::Error| SavedError::Read { path: path.into(), source };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| refused(e.into()))?;
        let mut file = File::from(file);
        let metadata = file.metadata().map_err(refused)?;
        if !metadata.is_file() {
            return Err(SavedError::NotRegular { path: path.into() });
        }
        let bytes = read_header(&mut file).map_err(refused)?;
        let header = decode(&bytes).map_err(|damage| damaged(path, damage, 0))?;
        Ok(Self { path: path.into(), file, file_bytes: metadata.len(), header })
    }

    /// Whether the file is as long as its header says.
    ///
    /// # Errors
    /// [`SavedError::Damaged`] if it is not.
    pub(crate) fn check_length(&self) -> Result<(), SavedError> {
        let (expected, found) = (self.header.frame_bytes, self.file_bytes);
        match expected == found {
            true => Ok(()),
            false => Err(damaged(&self.path, FrameDamage::Length { expected, found }, 0)),
        }
    }

    /// Reads all of it and compares the content with its checksum.
    ///
    /// # Errors
    /// [`SavedError`] says what is wrong, and where.
    pub(crate) fn check_content(mut self) -> Result<Header, SavedError> {
        self.check_length()?;
        let mut sum = XxHash3_64::new();
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match self.file.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => sum.write(piece.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(SavedError::Read { path: self.path, source }),
            }
        }
        let (expected, found) = (self.header.content_checksum, sum.finish());
        if expected != found {
            let damage = FrameDamage::Checksum { part: "content", expected, found };
            return Err(damaged(&self.path, damage, self.header.header_bytes()));
        }
        Ok(self.header)
    }
}

/// The header at the start of `bytes`. A file that never was a frame is said to be none, however short it is.
fn decode(bytes: &[u8]) -> Result<Header, FrameDamage> {
    match bytes.first_chunk() {
        Some(found) if *found != MAGIC => Err(FrameDamage::Magic { found: *found }),
        _ => Header::decode(bytes, XxHash3_64::oneshot),
    }
}

/// The bytes of the header, or as many of them as the file has.
fn read_header(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(HEADER_BYTES).read_to_end(&mut bytes)?;
    let length = bytes.get(HEADER_LENGTH_OFFSET..).and_then(|rest| rest.first_chunk());
    let length = length.map_or(0, |length| u64::from(u32::from_le_bytes(*length)));
    let more = length.min(HEADER_BYTES_MAX).saturating_sub(HEADER_BYTES);
    file.take(more).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Damage with the place in the file that it is about; a content's starts at `content`.
fn damaged(path: &Path, damage: FrameDamage, content: u64) -> SavedError {
    let offset = match &damage {
        FrameDamage::Version { .. } => 8,
        FrameDamage::Checksum { part: "header", .. } => 120,
        FrameDamage::Checksum { .. } => content,
        FrameDamage::Length { found, .. } => *found,
        _ => 0,
    };
    SavedError::Damaged { path: path.into(), offset, damage }
}

/// What may help.
fn hint(damage: &FrameDamage) -> &'static str {
    match damage {
        FrameDamage::Magic { .. } => "; it is no file that `save_to_disk` wrote",
        FrameDamage::Version { .. } => "; read it with the version of mempool that wrote it",
        _ => "",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use mempool_codec::Rkyv;
    use mempool_core::PoolOptions;
    use mempool_spill::SpillOptions;

    use super::*;
    use crate::scratch::Scratch;

    /// A saved file of some hundred bytes.
    pub(crate) fn saved(scratch: &Scratch) -> PathBuf {
        let storage = SpillOptions::new(scratch.path()).open().unwrap();
        let pool = PoolOptions::new().memory_limit(1 << 20).store(storage).open(Rkyv::new());
        let value: Vec<u32> = (0..50).collect();
        let path = scratch.path().join("value.frame");
        pool.save_to_disk(&pool.set(value).unwrap(), &path).unwrap();
        path
    }

    fn check(path: &Path) -> Result<Header, SavedError> {
        SavedFile::open(path)?.check_content()
    }

    #[test]
    fn a_saved_file_is_whole() {
        let scratch = Scratch::new();
        let path = saved(&scratch);
        let file = SavedFile::open(&path).unwrap();
        assert_eq!(file.header.format.codec.to_string(), "rkyv");
        assert_eq!(file.header.sections.len(), 1);
        assert_eq!(file.file_bytes, file.header.frame_bytes);
        assert_eq!(check(&path).unwrap(), file.header);
    }

    #[test]
    fn each_changed_byte_and_each_truncation_is_found() {
        let scratch = Scratch::new();
        let whole = fs::read(saved(&scratch)).unwrap();
        let path = scratch.path().join("damaged");
        for index in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[index] ^= 0x40;
            fs::write(&path, &bytes).unwrap();
            let error = check(&path).unwrap_err();
            assert!(matches!(error, SavedError::Damaged { .. }), "byte {index}: {error}");
            fs::write(&path, &whole[..index]).unwrap();
            assert!(matches!(check(&path), Err(SavedError::Damaged { .. })), "{index} bytes");
        }
        fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
        let error = check(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("at offset {}", whole.len() + 1)), "{error}");
    }

    #[test]
    fn an_error_names_the_file_the_place_and_the_cause() {
        let scratch = Scratch::new();
        let path = saved(&scratch);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, &bytes).unwrap();
        let error = check(&path).unwrap_err().to_string();
        assert!(error.contains("value.frame at offset 144: "), "{error}");
        assert!(error.contains("content"), "{error}");
        scratch.write("text", "some text that is no frame");
        let error = check(&scratch.path().join("text")).unwrap_err().to_string();
        assert!(error.ends_with("it is no file that `save_to_disk` wrote"), "{error}");
        assert!(matches!(check(scratch.path()), Err(SavedError::NotRegular { .. })));
        assert!(matches!(check(&scratch.path().join("none")), Err(SavedError::Read { .. })));
    }
}
