//! What stands in a directory of sessions, and what a sweep would do with it. Looks, and changes nothing.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode};
use rustix::io::Errno;

use crate::error::SpillError;
use crate::retained::{Retained, is_retained, read_retained};
use crate::session::{DIRECTORY, ROOT, is_file_of_ours, is_session, names};

/// One entry of the directory of sessions.
#[derive(Debug)]
#[non_exhaustive]
pub struct SessionReport {
    /// Where it is.
    pub path: PathBuf,
    /// What a sweep would make of it.
    pub state: SessionState,
    /// The process that made it, as its name says; the number may have been given to another process since.
    pub pid: Option<u32>,
    /// The user that it belongs to.
    pub uid: u32,
    /// Files of ours in it.
    pub files: u64,
    /// What they take on the device.
    pub disk_bytes: u64,
    /// What is retained in it, if anything is, or why that cannot be read.
    pub retained: Option<Result<Retained, SpillError>>,
    /// Files that are not ours; a session with such a file loses ours and stays.
    pub foreign_files: u64,
}

/// What a sweep would make of an entry.
#[derive(Debug)]
#[non_exhaustive]
pub enum SessionState {
    /// Its process holds the lock: left alone.
    Living,
    /// Nobody holds the lock: removed.
    Dead,
    /// Nobody holds the lock, and something is retained in it: left alone, whole or not.
    Retained,
    /// No session by its name: left alone.
    NoSession,
    /// It cannot be opened: left alone.
    Refused(io::Error),
}

/// All that stands in the directory of sessions under `directory`, by name; nothing where there is none.
///
/// # Errors
/// When the directory is not there or cannot be opened.
pub fn survey(directory: &Path) -> Result<Vec<SessionReport>, SpillError> {
    let path = directory.canonicalize().map_err(|e| SpillError::io("open", directory, e))?;
    let path = path.join(ROOT);
    let root = match rustix::fs::open(&path, DIRECTORY, Mode::empty()) {
        Ok(root) => root,
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(error) => return Err(SpillError::io("open", &path, error)),
    };
    let mut names = names(root.as_fd());
    names.sort();
    // What goes while we look is not there any more.
    Ok(names.iter().filter_map(|name| look(&root, &path, name)).collect())
}

fn look(root: impl AsFd, path: &Path, name: &str) -> Option<SessionReport> {
    let uid = rustix::fs::statat(&root, name, AtFlags::SYMLINK_NOFOLLOW).ok()?.st_uid;
    let mut report = SessionReport {
        path: path.join(name),
        state: SessionState::NoSession,
        pid: name.split('-').nth(1).and_then(|pid| pid.parse().ok()),
        uid,
        files: 0,
        disk_bytes: 0,
        retained: None,
        foreign_files: 0,
    };
    if !is_session(name) {
        return Some(report);
    }
    let dir = match rustix::fs::openat(&root, name, DIRECTORY, Mode::empty()) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return None,
        Err(error) => {
            report.state = SessionState::Refused(error.into());
            return Some(report);
        }
    };
    for file in names(dir.as_fd()) {
        let blocks = rustix::fs::statat(&dir, &file, AtFlags::SYMLINK_NOFOLLOW);
        report.disk_bytes +=
            blocks.map_or(0, |stat| u64::try_from(stat.st_blocks).unwrap_or(0) * 512);
        *if is_file_of_ours(&file) { &mut report.files } else { &mut report.foreign_files } += 1;
    }
    if is_retained(dir.as_fd()) {
        report.retained = Some(read_retained(&report.path));
    }
    // A shared lock, so that two who look do not take each other for the owner; it goes with the descriptor.
    report.state = match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockShared) {
        Ok(()) if report.retained.is_some() => SessionState::Retained,
        Ok(()) => SessionState::Dead,
        Err(_) => SessionState::Living,
    };
    Some(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SpillOptions, sweep_directory};

    #[test]
    fn living_and_dead_sessions_are_told_apart() {
        let directory = std::env::temp_dir().join(format!("mempool-survey-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        assert!(survey(&directory).unwrap().is_empty());
        let store = SpillOptions::new(&directory).open().unwrap();
        let dead = directory.join(ROOT).join("s-7-abc");
        std::fs::create_dir(&dead).unwrap();
        std::fs::write(dead.join("seg-1"), vec![1; 5000]).unwrap();
        std::fs::write(directory.join(ROOT).join("notes"), "").unwrap();
        let found = survey(&directory).unwrap();
        let states: Vec<_> = found.iter().map(|report| format!("{:?}", report.state)).collect();
        assert_eq!(states.len(), 3);
        for (report, state) in found.iter().zip(&states) {
            let name = report.path.file_name().unwrap().to_str().unwrap();
            let expected = match name {
                "notes" => "NoSession",
                "s-7-abc" => "Dead",
                _ => "Living",
            };
            assert_eq!(state, expected, "{name}");
        }
        let report = found.iter().find(|report| report.pid == Some(7)).unwrap();
        assert_eq!((report.files, report.foreign_files), (1, 0));
        assert!(report.disk_bytes >= 5000);
        let swept = sweep_directory(&directory).unwrap();
        assert_eq!((swept.sessions, swept.files, swept.living), (1, 1, 1));
        drop(store);
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error_and_one_without_sessions_is_none() {
        let nowhere = Path::new("/no/such/directory");
        assert!(survey(nowhere).is_err() && sweep_directory(nowhere).is_err());
        assert!(survey(Path::new("/proc")).unwrap().is_empty());
    }
}
