//! Saved files that went through filters: what their headers say in the clear, and whether they are whole.

use std::{
    fmt,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use indicatif::HumanCount;
use mempool_core::{FrameDamage, HEADER_BYTES};
use mempool_spill::{
    Applied, Container, FilterError, KeyId, SpillError, SpillOptions, check_blocks,
};
use rustix::fs::{Mode, OFlags};
use serde::Serialize;

use crate::size::Bytes;

/// The longest header of a container, which is longer than what a frame's starts with.
const HEADER_BYTES_MAX: u64 = 5 * HEADER_BYTES;

/// A container's header with names for all that is in it.
#[derive(Debug, Serialize)]
pub(crate) struct ContainerInspection {
    path: String,
    file_bytes: u64,
    container_bytes: u64,
    frame_bytes: u64,
    /// What the filters made of one byte.
    ratio: f64,
    blocks: u64,
    block_bytes: u32,
    filters: Vec<AppliedFilter>,
    slot: u32,
    generation: u32,
    pool: String,
    /// Why the file is not as long as its header says.
    pub(crate) damage: Option<String>,
}

#[derive(Debug, Serialize)]
struct AppliedFilter {
    name: String,
    /// A level or a key id, as far as it is known what the parameters mean.
    about: Option<String>,
}

impl AppliedFilter {
    fn of(applied: &Applied) -> Self {
        let name = applied.name.to_string();
        let start = |len: usize| applied.parameters.get(..len).unwrap_or_default();
        let about = match &name[..] {
            "zstd" => {
                start(4).try_into().ok().map(|level| format!("level {}", i32::from_le_bytes(level)))
            }
            "xchacha20" => start(16).try_into().ok().map(|id| format!("key {}", KeyId(id))),
            _ => None,
        };
        Self { name, about }
    }
}

impl ContainerInspection {
    /// What the header at the start of a file says; `None` where there is none, or no such file: others say what there is.
    pub(crate) fn of(path: &Path) -> Option<Result<Self, FrameDamage>> {
        // A FIFO does not make it wait.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut file = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
        let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        let mut header = Vec::new();
        Read::by_ref(&mut file).take(HEADER_BYTES_MAX).read_to_end(&mut header).ok()?;
        match Container::decode(&header) {
            // What is too short for a header may be anything.
            Err(FrameDamage::Magic { .. }) => None,
            Err(FrameDamage::Length { .. }) if header.len() < 64 => None,
            Err(damage) => Some(Err(damage)),
            Ok(container) => Some(Ok(Self::new(path, metadata.len(), &container))),
        }
    }

    fn new(path: &Path, file_bytes: u64, container: &Container) -> Self {
        let (expected, found) = (container.container_bytes, file_bytes);
        let damage = FrameDamage::Length { expected, found };
        Self {
            path: path.display().to_string(),
            file_bytes,
            container_bytes: expected,
            frame_bytes: container.frame_bytes,
            ratio: expected as f64 / container.frame_bytes as f64,
            blocks: container.blocks(),
            block_bytes: container.block_bytes,
            filters: container.filters.iter().map(AppliedFilter::of).collect(),
            slot: container.id.slot,
            generation: container.id.generation,
            pool: format!("{:016x}", container.pool),
            damage: (expected != found).then(|| damage.to_string()),
        }
    }
}

impl fmt::Display for ContainerInspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |about: &str, text: String| writeln!(f, "  {about:<10} {text}");
        let filter = |filter: &AppliedFilter| match &filter.about {
            Some(about) => format!("{} ({about})", filter.name),
            None => filter.name.clone(),
        };
        let filters: Vec<_> = self.filters.iter().map(filter).collect();
        let path = &self.path;
        line("", format!("{path}: a frame that went through filters\n"))?;
        line("filters", filters.join(", then "))?;
        line("frame", format!("{} before", Bytes(self.frame_bytes)))?;
        let file = format!("{} ({:.3} of that)", Bytes(self.container_bytes), self.ratio);
        match &self.damage {
            None => line("file", format!("{file}, as its header says"))?,
            Some(damage) => line("file", format!("{file}; DAMAGED: {damage}"))?,
        }
        let (blocks, each) = (HumanCount(self.blocks), Bytes(self.block_bytes.into()));
        line("blocks", format!("{blocks}, of {each} before"))?;
        let Self { slot, generation, pool, .. } = self;
        line("value", format!("slot {slot}, generation {generation}, of pool {pool}"))?;
        write!(
            f,
            "\nThe header is whole; `mempool verify` reads the blocks as well, with --key-file what is in them."
        )
    }
}

/// What a look at the whole of a container has found.
#[derive(Debug)]
pub(crate) enum Looked {
    /// Every byte of the frame is what was written.
    Decoded { frame_bytes: u64 },
    /// Every block is what was written; what is in it could not be looked at.
    Blocks { frame_bytes: u64, why: String },
}

/// Reads all of a container: decodes it where `readers` can, and else compares each block with its checksum.
///
/// # Errors
/// Why it is not whole, or that the key is another one.
pub(crate) fn check(path: &Path, readers: &SpillOptions) -> Result<Looked, SpillError> {
    match readers.check_file(path) {
        Ok(header) => Ok(Looked::Decoded { frame_bytes: header.frame_bytes }),
        Err(SpillError::FilterMissing { filters, .. }) => {
            let container = check_blocks(path)?;
            let why =
                format!("its content was not looked at, for that takes {filters} and the key");
            Ok(Looked::Blocks { frame_bytes: container.frame_bytes, why })
        }
        Err(error) => Err(error),
    }
}

/// Whether bytes are there and wrong, and not only a key.
pub(crate) fn is_wrong_key(error: &SpillError) -> bool {
    matches!(error, SpillError::Filter { source: FilterError::WrongKey { .. }, .. })
}

/// The error of a header that is not whole.
pub(crate) fn damaged(path: &Path, damage: FrameDamage) -> SpillError {
    SpillError::Damaged { path: PathBuf::from(path), offset: 0, damage }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use mempool_core::{Blob, PoolOptions};
    use mempool_spill::{Encrypt, Lz4};

    use super::*;
    use crate::scratch::Scratch;

    const KEY: [u8; 32] = [9; 32];

    fn saved(scratch: &Scratch) -> PathBuf {
        let store = SpillOptions::new(scratch.path()).filter(Lz4).filter(Encrypt::with_key(KEY));
        let pool = PoolOptions::new().memory_limit(1 << 20).store(store.open().unwrap()).open(Blob);
        let path = scratch.path().join("filtered");
        pool.save_to_disk(&pool.set(vec![7; 300_000]).unwrap(), &path).unwrap();
        path
    }

    #[test]
    fn a_container_is_shown_without_its_key() {
        let scratch = Scratch::new();
        let path = saved(&scratch);
        let inspection = ContainerInspection::of(&path).unwrap().unwrap();
        let text = inspection.to_string();
        let key = format!("lz4, then xchacha20 (key {})", Encrypt::with_key(KEY).key_id());
        assert!(text.contains(&key) && text.contains("as its header says"), "{text}");
        assert!(inspection.ratio < 0.1);
        let json = serde_json::to_value(&inspection).unwrap();
        assert_eq!((&json["blocks"], &json["frame_bytes"]), (&2.into(), &300_192.into()));
        scratch.write(
            "text",
            "no container, and long enough for the header of one, which is 64 bytes.",
        );
        assert!(ContainerInspection::of(&scratch.path().join("text")).is_none());
        let mut bytes = fs::read(&path).unwrap();
        bytes[70] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(matches!(ContainerInspection::of(&path), Some(Err(FrameDamage::Checksum { .. }))));
    }

    #[test]
    fn a_container_is_checked_as_far_as_the_key_goes() {
        let scratch = Scratch::new();
        let path = saved(&scratch);
        let with = |key| SpillOptions::new("").reads(Lz4).reads(Encrypt::with_key(key));
        let without = SpillOptions::new("").reads(Lz4);
        assert!(matches!(check(&path, &with(KEY)), Ok(Looked::Decoded { frame_bytes: 300_192 })));
        assert!(matches!(check(&path, &without), Ok(Looked::Blocks { .. })));
        assert!(check(&path, &with([1; 32])).is_err_and(|error| is_wrong_key(&error)));
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        for readers in [with(KEY), without] {
            let found = check(&path, &readers);
            assert!(found.is_err_and(|error| !is_wrong_key(&error)));
        }
    }
}
