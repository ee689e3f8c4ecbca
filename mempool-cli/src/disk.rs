//! The place that spilled data go to: what file system it is on, and what is left there at the end. Makes and removes nothing itself: the spill tier does.

use std::{
    collections::BTreeMap,
    error::Error,
    fmt, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use mempool_spill::{Directory, Placement, SpillOptions, SpillStorage};
use rustix::fs::{statfs, statvfs};
use serde::Serialize;

use crate::{
    error::CliError,
    progress::line,
    size::{Bytes, Size},
};

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
    "some {} have to go to {places}, with {} free; give another --disk DIR, a lower --scale or a higher --memory-limit",
    Bytes(*.needed_bytes), Bytes(*.free_bytes)
)]
pub(crate) struct DiskTooSmall {
    places: String,
    needed_bytes: u64,
    free_bytes: u64,
}

/// A directory as `--disk` gives it: `DIR` or `DIR:LIMIT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SpillDirectory {
    pub(crate) path: PathBuf,
    /// The most bytes that files there may take.
    pub(crate) limit_bytes: Option<u64>,
}

impl From<PathBuf> for SpillDirectory {
    /// What stands behind the last colon is a limit if it reads as so many bytes; else it is a part of the name.
    fn from(path: PathBuf) -> Self {
        let split = path.to_str().and_then(|text| text.rsplit_once(':'));
        let limited = split.and_then(|(place, limit)| match limit.parse() {
            Ok(Size::Bytes(bytes)) if !place.is_empty() => Some((PathBuf::from(place), bytes)),
            _ => None,
        });
        match limited {
            Some((path, bytes)) => Self { path, limit_bytes: Some(bytes) },
            None => Self { path, limit_bytes: None },
        }
    }
}

impl SpillDirectory {
    fn open_options(&self) -> Directory {
        let directory = Directory::new(&self.path);
        match self.limit_bytes {
            Some(bytes) => directory.disk_limit(bytes),
            None => directory,
        }
    }
}

/// The way in which several directories are filled, as `--placement` gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PlacementArg {
    /// The first that takes it: the fastest disk first
    InOrder,
    /// The one that is least busy, then the one with most room: disks that are equally fast
    Spread,
}

impl From<PlacementArg> for Placement {
    fn from(arg: PlacementArg) -> Self {
        match arg {
            PlacementArg::InOrder => Self::InOrder,
            PlacementArg::Spread => Self::Spread,
        }
    }
}

/// A directory, and what it is on.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    pub(crate) file_system: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.path.display(), self.file_system)
    }
}

/// The directories given by `--disk`, and the sessions in them.
pub(crate) struct SpillPlace {
    pub(crate) places: Vec<Place>,
    /// The sessions' own directories, which go with the pool.
    sessions: Vec<PathBuf>,
}

/// The options of a store in these directories.
pub(crate) fn options(directories: &[SpillDirectory], placement: Placement) -> SpillOptions {
    let mut all = directories.iter().map(SpillDirectory::open_options);
    let first = all.next().unwrap_or_else(|| Directory::new("."));
    all.fold(SpillOptions::new(first), SpillOptions::directory).placement(placement)
}

impl SpillPlace {
    /// Makes a session in each directory, and warns if what is spilled there stays in memory.
    ///
    /// # Errors
    /// [`CliError::Disk`] if a directory does not exist or cannot be written, [`CliError::DiskTooSmall`] if `needed_bytes` have no room in all of them.
    pub(crate) fn open(
        directories: &[SpillDirectory],
        placement: Placement,
        needed_bytes: u64,
    ) -> Result<(Self, SpillStorage), CliError> {
        Self::open_with(directories, options(directories, placement), needed_bytes)
    }

    /// As [`open`](Self::open), with the options that [`options`] gave, and what was added to them.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn open_with(
        directories: &[SpillDirectory],
        options: SpillOptions,
        needed_bytes: u64,
    ) -> Result<(Self, SpillStorage), CliError> {
        let mut places = Vec::with_capacity(directories.len());
        for SpillDirectory { path, .. } in directories {
            let file_system = file_system(path).map_err(|error| refused(path, error))?;
            places.push(Place { path: path.clone(), file_system });
        }
        let named = || {
            let names = directories.iter().map(|directory| directory.path.display().to_string());
            names.collect::<Vec<_>>().join(", ")
        };
        let storage = options.open();
        let storage = storage.map_err(|error| refused(Path::new(&named()), error))?;
        for warning in storage.warnings() {
            line(&format!("warning: {warning}; give a disk with --disk DIR"));
        }
        let swept = storage.swept();
        if swept.sessions > 0 {
            line(&format!(
                "note: removed what {} dead sessions had left here: {} files",
                swept.sessions, swept.files
            ));
        }
        // Asked for only now: the files of dead sessions took room as well.
        let free_bytes = room_bytes(directories)?;
        if free_bytes < needed_bytes {
            return Err(DiskTooSmall { places: named(), needed_bytes, free_bytes }.into());
        }
        let sessions = storage.directories().usage().into_iter().map(|one| one.path).collect();
        Ok((Self { places, sessions }, storage))
    }

    /// What is left of the sessions after their end: their files, or a directory that is empty.
    ///
    /// # Errors
    /// [`CliError::Disk`] if a session's directory is there and cannot be read.
    pub(crate) fn left(&self) -> Result<Vec<PathBuf>, CliError> {
        let mut left = Vec::new();
        for session in &self.sessions {
            let files = files_under(session).map_err(|error| refused(session, error))?;
            if files.is_empty() && session.symlink_metadata().is_ok() {
                left.push(session.clone());
            }
            left.extend(files);
        }
        Ok(left)
    }
}

fn refused(path: &Path, source: impl Into<Box<dyn Error + Send + Sync>>) -> CliError {
    CliError::Disk { path: path.into(), source: source.into() }
}

/// What the directories may take together, by their limits and by what is free; what two of them share is free once.
fn room_bytes(directories: &[SpillDirectory]) -> Result<u64, CliError> {
    let mut devices: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for SpillDirectory { path, limit_bytes } in directories {
        let device = path.metadata().map_err(|error| refused(path, error))?.dev();
        let free_bytes = free_bytes(path).map_err(|error| refused(path, error))?;
        let (free, limits) = devices.entry(device).or_default();
        *free = free_bytes;
        *limits = limits.saturating_add(limit_bytes.unwrap_or(u64::MAX));
    }
    let rooms = devices.into_values().map(|(free, limits)| free.min(limits));
    Ok(rooms.fold(0, u64::saturating_add))
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
pub(crate) fn is_memory(file_system: &str) -> bool {
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

    fn at(path: &Path, limit_bytes: Option<u64>) -> SpillDirectory {
        SpillDirectory { path: path.into(), limit_bytes }
    }

    #[test]
    fn a_limit_stands_behind_the_last_colon() {
        let parse = |text: &str| SpillDirectory::from(PathBuf::from(text));
        assert_eq!(parse("/a"), at(Path::new("/a"), None));
        assert_eq!(parse("/a:10GiB"), at(Path::new("/a"), Some(10 << 30)));
        assert_eq!(parse("/a:b:1.5KiB"), at(Path::new("/a:b"), Some(1536)));
        for name in ["/a:b", "/a:", ":1MiB", "/a:10%", "/a:auto", "/a:1MiB/"] {
            assert_eq!(parse(name), at(Path::new(name), None));
        }
    }

    #[test]
    fn sessions_that_ended_leave_nothing() {
        let (one, two) = (Scratch::new(), Scratch::new());
        let directories = [at(one.path(), None), at(two.path(), Some(1 << 20))];
        let (place, storage) = SpillPlace::open(&directories, Placement::Spread, 1).unwrap();
        assert_eq!(place.left().unwrap(), place.sessions);
        fs::write(place.sessions[1].join("seg-7"), "").unwrap();
        let left = [place.sessions[0].clone(), place.sessions[1].join("seg-7")];
        assert_eq!(place.left().unwrap(), left);
        drop(storage);
        assert_eq!(place.left().unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_disk_that_is_too_small_is_refused_before_the_work() {
        let (one, two) = (Scratch::new(), Scratch::new());
        let refused = |directories: &[SpillDirectory], needed_bytes| match SpillPlace::open(
            directories,
            Placement::InOrder,
            needed_bytes,
        ) {
            Ok(_) => panic!("no such disk"),
            Err(error) => error.to_string(),
        };
        let text = refused(&[at(one.path(), None)], u64::MAX);
        assert!(text.contains("a lower --scale"), "{text}");
        // What two directories on one disk may take by their limits is added up; what is free there is not.
        let limited = [at(one.path(), Some(3 << 10)), at(two.path(), Some(2 << 10))];
        let text = refused(&limited, 6 << 10);
        assert!(text.contains("with 5.0 KiB free"), "{text}");
        let both = [at(one.path(), None), at(two.path(), None)];
        refused(&both, 2 * free_bytes(one.path()).unwrap());
        for scratch in [one, two] {
            assert_eq!(files_under(scratch.path()).unwrap(), Vec::<PathBuf>::new());
        }
    }
}
