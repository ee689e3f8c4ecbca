//! The place that spilled data go to: what file system it is on, and what is left there at the end. Makes and removes nothing itself: the spill tier does.

use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
};

use mempool_spill::{SpillOptions, SpillStorage};
use rustix::fs::{statfs, statvfs};

use crate::{error::CliError, progress::line, size::Bytes};

/// File systems by the number that `statfs` gives (linux/magic.h).
const KINDS: [(u64, &str); 12] = [
    (0x0102_1994, "tmpfs"),
    (0x8584_58F6, "ramfs"),
    (0xEF53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683E, "btrfs"),
    (0x2FC1_2FC1, "zfs"),
    (0xF2F5_2010, "f2fs"),
    (0xCA45_1A4E, "bcachefs"),
    (0x794C_7630, "overlay"),
    (0x6969, "nfs"),
    (0xFF53_4D42, "cifs"),
    (0x6573_5546, "fuse"),
];

/// What must be spilled has no room where it is to go.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "some {} have to go to {}, which has {} free; give another --disk DIR, a lower --scale or a higher --memory-limit",
    Bytes(*.needed_bytes), path.display(), Bytes(*.free_bytes)
)]
pub(crate) struct DiskTooSmall {
    path: PathBuf,
    needed_bytes: u64,
    free_bytes: u64,
}

/// The directory given by `--disk`, and the session in it.
pub(crate) struct SpillPlace {
    pub(crate) directory: PathBuf,
    pub(crate) file_system: String,
    /// The session's own directory, which goes with the pool.
    session: PathBuf,
}

impl SpillPlace {
    /// Makes a session in `directory`, and warns if what is spilled there stays in memory.
    ///
    /// # Errors
    /// [`CliError::Disk`] if the directory does not exist or cannot be written, [`CliError::DiskTooSmall`] if `needed_bytes` have no room there.
    pub(crate) fn open(
        directory: &Path,
        needed_bytes: u64,
    ) -> Result<(Self, SpillStorage), CliError> {
        let refused = |source: Box<dyn Error + Send + Sync>| CliError::Disk {
            path: directory.into(),
            source,
        };
        let file_system = file_system(directory).map_err(|error| refused(error.into()))?;
        if is_memory(&file_system) {
            let place = directory.display();
            line(&format!(
                "warning: {place} is on {file_system}: what is spilled there stays in memory; give a disk with --disk DIR"
            ));
        }
        let storage = SpillOptions::new(directory).open().map_err(|error| refused(error.into()))?;
        let swept = storage.swept();
        if swept.sessions > 0 {
            line(&format!(
                "note: removed what {} dead sessions had left here: {} files",
                swept.sessions, swept.files
            ));
        }
        // Asked for only now: the files of dead sessions took room as well.
        let free_bytes = free_bytes(directory).map_err(|error| refused(error.into()))?;
        if free_bytes < needed_bytes {
            return Err(DiskTooSmall { path: directory.into(), needed_bytes, free_bytes }.into());
        }
        let session = storage.session_path().to_owned();
        Ok((Self { directory: directory.into(), file_system, session }, storage))
    }

    /// What is left of the session after its end: its files, or its directory if that is empty.
    ///
    /// # Errors
    /// [`CliError::Disk`] if the session's directory is there and cannot be read.
    pub(crate) fn left(&self) -> Result<Vec<PathBuf>, CliError> {
        let refused = |source: io::Error| CliError::Disk {
            path: self.session.clone(),
            source: source.into(),
        };
        let mut left = files_under(&self.session).map_err(refused)?;
        if left.is_empty() && self.session.symlink_metadata().is_ok() {
            left.push(self.session.clone());
        }
        Ok(left)
    }
}

/// The name of the file system that `path` is on; a number where the name is not known.
///
/// # Errors
/// `path` does not exist or may not be looked at.
pub(crate) fn file_system(path: &Path) -> io::Result<String> {
    // The type differs between architectures; the numbers are all 32 bits wide.
    let magic = u64::try_from(statfs(path)?.f_type).unwrap_or(0) & 0xFFFF_FFFF;
    let known = KINDS.iter().find(|(number, _)| *number == magic);
    Ok(known.map_or_else(|| format!("file system {magic:#x}"), |(_, name)| (*name).to_owned()))
}

/// What a user who is not root may still write where `path` is.
fn free_bytes(path: &Path) -> io::Result<u64> {
    let system = statvfs(path)?;
    Ok(system.f_bavail.saturating_mul(system.f_frsize))
}

/// Whether files of this file system live in memory, so that spilling to it wins nothing.
fn is_memory(file_system: &str) -> bool {
    matches!(file_system, "tmpfs" | "ramfs")
}

/// All files (not directories) under `path`, sorted; none if `path` does not exist.
///
/// # Errors
/// A directory cannot be read.
fn files_under(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut open = vec![path.to_owned()];
    while let Some(directory) = open.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_file_system_has_a_name() {
        assert_eq!(file_system(Path::new("/proc")).unwrap(), "file system 0x9fa0");
        assert!(file_system(Path::new("/no/such/place")).is_err());
        assert!(is_memory("tmpfs") && is_memory("ramfs") && !is_memory("ext4"));
    }

    #[test]
    fn files_are_found_at_each_depth() {
        let scratch = Scratch::new();
        assert_eq!(files_under(&scratch.path().join("none")).unwrap(), Vec::<PathBuf>::new());
        scratch.write("b/c/d", "");
        scratch.write("a", "");
        let expected = ["a", "b/c/d"].map(|name| scratch.path().join(name)).to_vec();
        assert_eq!(files_under(scratch.path()).unwrap(), expected);
    }

    #[test]
    fn a_session_that_ended_leaves_nothing() {
        let scratch = Scratch::new();
        let (place, storage) = SpillPlace::open(scratch.path(), 1).unwrap();
        assert_eq!(place.left().unwrap(), std::slice::from_ref(&place.session));
        fs::write(place.session.join("seg-7"), "").unwrap();
        assert_eq!(place.left().unwrap(), [place.session.join("seg-7")]);
        drop(storage);
        assert_eq!(place.left().unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_disk_that_is_too_small_is_refused_before_the_work() {
        let scratch = Scratch::new();
        let Err(error) = SpillPlace::open(scratch.path(), u64::MAX) else { panic!("no such disk") };
        let text = error.to_string();
        assert!(text.contains("a lower --scale"), "{text}");
        assert_eq!(files_under(scratch.path()).unwrap(), Vec::<PathBuf>::new());
    }
}
