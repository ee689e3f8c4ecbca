//! The manifest of a retained session: which files outlive it, and what the pool says of the frames in them.
//!
//! ```text
//! offset  bytes
//!      0      8  magic "MEMKEPT\0"
//!      8      4  version, 1
//!     12      4  l, bytes of the label, at most 255
//!     16      4  s, number of segments
//!     20      4  zero
//!     24      8  p, bytes of the pool's manifest
//!     32     24  zero
//!     56      8  checksum of header, label and segments, computed with this field zero
//!     64      l  the label, UTF-8
//!          32·s  segments
//!             p  the pool's manifest, which has a checksum of its own (mempool-core, manifest.rs)
//!
//! a segment: 32
//!      0      8  the number by which frames name it
//!      8      8  the number of its file, `seg-<number>`
//!     16      8  how much of the file may be used
//!     24      4  1: many frames share it, 0: it is one frame
//!     28      4  zero
//! ```
//!
//! It is written under another name, made durable and renamed, so that a session has the one before or this one. A session
//! that has one is not swept, whatever stands in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use mempool_core::{FrameDamage, Handle, Header, Id, KeptValue, Manifest};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::checksum::xxh3_64;
use crate::container;
use crate::error::SpillError;
use crate::session::DIRECTORY;

/// The manifest's name in its session.
pub(crate) const MANIFEST: &str = "manifest";
/// Its name while it is written.
pub(crate) const MANIFEST_NEW: &str = "manifest-new";
/// The longest label.
pub(crate) const LABEL_BYTES_MAX: usize = 255;

/// No segment that frames share is larger: a bound on what its places may take in memory, whatever a manifest says.
pub(crate) const SHARED_BYTES_MAX: u64 = 64 << 30;
/// Numbers and sizes are smaller, so that those which come next, and sums of them, are numbers still.
const NUMBER_MAX: u64 = 1 << 48;
/// All segments together.
const BYTES_MAX: u64 = 1 << 60;

const MAGIC: [u8; 8] = *b"MEMKEPT\0";
const VERSION: u32 = 1;
const HEADER: usize = 64;
const SEGMENT: usize = 32;
const SUM: std::ops::Range<usize> = 56..64;

/// What a store says of the files that it keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) label: String,
    pub(crate) segments: Vec<RetainedSegment>,
}

/// One file of a retained session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetainedSegment {
    /// The number by which frames name it.
    pub segment: u64,
    /// The number of its file.
    pub file: u64,
    /// How much of the file may be used.
    pub bytes: u64,
    /// Whether many frames share it.
    pub shared: bool,
}

impl RetainedSegment {
    /// The name of its file in the session.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("seg-{}", self.file)
    }
}

impl Kept {
    /// The file's bytes; `manifest` is the pool's.
    pub(crate) fn encode(&self, manifest: &[u8]) -> Vec<u8> {
        let mut out = vec![0; HEADER];
        out.extend_from_slice(self.label.as_bytes());
        for segment in &self.segments {
            for field in [segment.segment, segment.file, segment.bytes, u64::from(segment.shared)] {
                out.extend_from_slice(&field.to_le_bytes());
            }
        }
        let count = |of: usize| u32::try_from(of).unwrap_or(u32::MAX).to_le_bytes();
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&count(self.label.len()));
        out[16..20].copy_from_slice(&count(self.segments.len()));
        out[24..32].copy_from_slice(&(manifest.len() as u64).to_le_bytes());
        let sum = xxh3_64(&out);
        out[SUM].copy_from_slice(&sum.to_le_bytes());
        out.extend_from_slice(manifest);
        out
    }

    /// How long this part is in a file of `file_bytes` that starts with `header`; nothing is believed yet but that.
    fn length(header: &[u8; HEADER], file_bytes: u64) -> Result<usize, FrameDamage> {
        let [magic, _, _, manifest, ..] = words::<8>(header);
        if magic != u64::from_le_bytes(MAGIC) {
            return Err(FrameDamage::Magic { found: magic.to_le_bytes() });
        }
        let version = half(header, 8);
        if version != VERSION {
            return Err(FrameDamage::Version { expected: VERSION, found: version });
        }
        let label = u64::from(half(header, 12));
        if label > LABEL_BYTES_MAX as u64 {
            return Err(FrameDamage::Field { field: "label", found: label });
        }
        let own = HEADER as u64 + label + SEGMENT as u64 * u64::from(half(header, 16));
        match own.checked_add(manifest) {
            Some(all) if all == file_bytes => Ok(usize::try_from(own).unwrap_or(usize::MAX)),
            all => {
                Err(FrameDamage::Length { expected: all.unwrap_or(u64::MAX), found: file_bytes })
            }
        }
    }

    /// Reads this part from its bytes, all of which are there.
    fn decode(own: &[u8]) -> Result<Self, FrameDamage> {
        let short = FrameDamage::Length { expected: HEADER as u64, found: own.len() as u64 };
        let header: &[u8; HEADER] = own.first_chunk().ok_or(short)?;
        let mut zeroed = own.to_vec();
        zeroed[SUM].fill(0);
        let (expected, found) = (words::<8>(header)[7], xxh3_64(&zeroed));
        if expected != found {
            return Err(FrameDamage::Checksum { part: "manifest", expected, found });
        }
        if half(header, 20) != 0 || header[32..56] != [0; 24] {
            return Err(FrameDamage::Field { field: "zero", found: 1 });
        }
        let (label, segments) = own[HEADER..].split_at(half(header, 12) as usize);
        let label = std::str::from_utf8(label).map_err(|error| FrameDamage::Field {
            field: "label",
            found: error.valid_up_to() as u64,
        })?;
        let mut seen = BTreeSet::new();
        let mut sum = 0_u64;
        let segments = segments.chunks_exact(SEGMENT).map(|bytes| {
            let [segment, file, bytes, shared] = words(bytes);
            let bound = if shared == 1 { SHARED_BYTES_MAX } else { NUMBER_MAX };
            let small = segment <= NUMBER_MAX && file <= NUMBER_MAX && bytes <= bound;
            sum = sum.saturating_add(bytes);
            let new = seen.insert((0, segment)) && seen.insert((1, file));
            match shared {
                0 | 1 if small && new && sum <= BYTES_MAX => {
                    Ok(RetainedSegment { segment, file, bytes, shared: shared == 1 })
                }
                _ => Err(FrameDamage::Field { field: "segment", found: segment }),
            }
        });
        Ok(Self { label: label.to_owned(), segments: segments.collect::<Result<_, _>>()? })
    }

    /// Reads the manifest of the session `dir`; `None` where there is none. The file follows, for the pool's part.
    pub(crate) fn read(
        dir: BorrowedFd<'_>,
        session: &Path,
    ) -> Result<Option<(Self, ManifestFile)>, SpillError> {
        let path = session.join(MANIFEST);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match rustix::fs::openat(dir, MANIFEST, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(SpillError::io("open", &path, error)),
        };
        let metadata = file.metadata().map_err(|e| SpillError::io("stat", &path, e))?;
        if !metadata.is_file() {
            return Err(SpillError::NotRegular { path });
        }
        let file = ManifestFile { file, bytes: metadata.len(), own: 0, path };
        let damaged = |damage| SpillError::Damaged { path: file.path.clone(), offset: 0, damage };
        let mut header = [0; HEADER];
        if file.bytes < HEADER as u64 {
            let damage = FrameDamage::Length { expected: HEADER as u64, found: file.bytes };
            return Err(damaged(damage));
        }
        file.read(&mut header, 0)?;
        let own = Self::length(&header, file.bytes).map_err(damaged)?;
        let mut bytes = vec![0; own];
        file.read(&mut bytes, 0)?;
        let kept = Self::decode(&bytes).map_err(damaged)?;
        Ok(Some((kept, ManifestFile { own: own as u64, ..file })))
    }

    /// The names of its files.
    pub(crate) fn file_names(&self) -> BTreeSet<String> {
        self.segments.iter().map(RetainedSegment::file_name).collect()
    }
}

/// The eight-byte words of a part whose length is a multiple of it.
fn words<const N: usize>(bytes: &[u8]) -> [u64; N] {
    let mut words = [0; N];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = chunk.try_into().map_or(0, u64::from_le_bytes);
    }
    words
}

fn half(header: &[u8; HEADER], at: usize) -> u32 {
    header[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// An open manifest whose own part was read.
#[derive(Debug)]
pub(crate) struct ManifestFile {
    file: File,
    path: PathBuf,
    pub(crate) bytes: u64,
    /// Where the pool's part starts.
    own: u64,
}

impl ManifestFile {
    fn read(&self, bytes: &mut [u8], at: u64) -> Result<(), SpillError> {
        let read = self.file.read_exact_at(bytes, at);
        read.map_err(|e| SpillError::io_at("read", &self.path, at, e))
    }

    /// The pool's part.
    pub(crate) fn pool_part(&self) -> Result<Vec<u8>, SpillError> {
        let mut bytes = vec![0; usize::try_from(self.bytes - self.own).unwrap_or(usize::MAX)];
        self.read(&mut bytes, self.own)?;
        Ok(bytes)
    }
}

/// Whether a session has something retained, whole or not.
pub(crate) fn is_retained(dir: BorrowedFd<'_>) -> bool {
    // What cannot be looked at is not taken for absent.
    let found = rustix::fs::statat(dir, MANIFEST, AtFlags::SYMLINK_NOFOLLOW);
    !matches!(found, Err(Errno::NOENT))
}

/// What stands in a retained session; see [`read_retained`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Retained {
    /// The session's directory.
    pub path: PathBuf,
    /// Its label; empty unless one was given.
    pub label: String,
    /// The files that belong to it.
    pub segments: Vec<RetainedSegment>,
    /// Names, formats and frames.
    pub manifest: Manifest,
}

/// Reads what the retained session in the directory `session` says of itself. Looks at no frame, and takes no lock: the
/// files of a manifest do not change, but a program that has the session open may replace it.
///
/// # Errors
/// [`SpillError::NothingRetained`] where there is no manifest, [`SpillError::Damaged`] for one that is not whole.
pub fn read_retained(session: &Path) -> Result<Retained, SpillError> {
    let dir = rustix::fs::open(session, DIRECTORY, Mode::empty());
    let dir = dir.map_err(|e| SpillError::io("open", session, e))?;
    let (kept, file) = Kept::read(dir.as_fd(), session)?.ok_or_else(|| {
        SpillError::NothingRetained { path: session.to_path_buf(), label: String::new() }
    })?;
    let manifest = Manifest::decode(&file.pool_part()?, xxh3_64).map_err(|damage| {
        SpillError::Damaged { path: file.path.clone(), offset: file.own, damage }
    })?;
    let Kept { label, segments } = kept;
    Ok(Retained { path: session.to_path_buf(), label, segments, manifest })
}

impl Retained {
    /// Reads the frame of a value and checks every byte of it, and that it is the one that the manifest means.
    ///
    /// # Errors
    /// [`SpillError::Damaged`] and others, with file and offset; [`SpillError::FilterMissing`] for a frame that went
    /// through filters and whose blocks are whole, each by its checksum. `Ok(None)` for a value that is gone.
    pub fn check(&self, value: &KeptValue) -> Result<Option<Header>, SpillError> {
        let Some(handle) = value.frame else { return Ok(None) };
        let segment = self.segments.iter().find(|segment| segment.segment == handle.segment);
        let Some(segment) = segment else {
            return Err(SpillError::NoSegment { path: self.path.clone(), segment: handle.segment });
        };
        let path = self.path.join(segment.file_name());
        let (file, found) = crate::session::open_user_file(&path)?;
        let expected = handle.offset.saturating_add(handle.bytes);
        if found < expected {
            return Err(SpillError::Truncated { path, expected, found });
        }
        let mut frame = vec![0; usize::try_from(handle.bytes).unwrap_or(usize::MAX)];
        let read = file.read_exact_at(&mut frame, handle.offset);
        read.map_err(|e| SpillError::io_at("read", &path, handle.offset, e))?;
        let damaged =
            |damage| SpillError::Damaged { path: path.clone(), offset: handle.offset, damage };
        if container::begins(&frame) {
            let container = container::check_whole(&frame).map_err(damaged)?;
            check_value(value, container.pool, container.id).map_err(damaged)?;
            let filters = container.chain();
            return Err(SpillError::FilterMissing { path, offset: handle.offset, filters });
        }
        let header = Header::check_whole(&frame, xxh3_64).map_err(damaged)?;
        check_value(value, header.pool, header.id).map_err(damaged)?;
        let format = self.manifest.formats.get(value.format as usize);
        if format.is_none_or(|kept| kept.format != header.format) {
            let expected = format.map_or_else(String::new, |kept| kept.format.to_string());
            return Err(damaged(FrameDamage::Format {
                expected,
                found: header.format.to_string(),
            }));
        }
        Ok(Some(header))
    }
}

fn check_value(value: &KeptValue, pool: u64, id: Id) -> Result<(), FrameDamage> {
    if pool != value.pool {
        return Err(FrameDamage::Field { field: "pool", found: pool });
    }
    if id != value.id {
        return Err(FrameDamage::Id { expected: value.id, found: id });
    }
    Ok(())
}

/// Whether the frames of a manifest can lie where it says: in its files, and no two of them in one place.
pub(crate) fn check_places(kept: &Kept, frames: &[Handle]) -> Result<(), FrameDamage> {
    let segments: BTreeMap<u64, &RetainedSegment> =
        kept.segments.iter().map(|segment| (segment.segment, segment)).collect();
    let mut sorted = frames.to_vec();
    sorted.sort_by_key(|handle| (handle.segment, handle.offset));
    let mut before: Option<&Handle> = None;
    for handle in &sorted {
        let place = FrameDamage::Field { field: "place of a frame", found: handle.offset };
        let segment = segments.get(&handle.segment);
        let end = handle.offset.checked_add(handle.bytes);
        let fits = segment.zip(end).is_some_and(|(segment, end)| {
            let alone = segment.shared || handle.offset == 0;
            let aligned = handle.offset.is_multiple_of(crate::places::PLACE);
            alone && aligned && handle.bytes > 0 && end <= segment.bytes
        });
        let apart = before.is_none_or(|before| {
            before.segment != handle.segment || before.offset + before.bytes <= handle.offset
        });
        if !fits || !apart {
            return Err(place);
        }
        before = Some(handle);
    }
    Ok(())
}
