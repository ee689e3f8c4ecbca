//! Files of the user's: written beside their place under a temporary name, whole, then renamed.
//!
//! ```text
//! <directory of the user's choice>/
//! ├─ .mempool-save-<pid>-<n>   0600, flock'ed by its writer until it is renamed
//! └─ <name>                    what it is renamed to, over what was there
//! ```
//!
//! A process that is killed leaves its temporary file behind. What can be locked has no writer any more: such files are
//! removed from the directory of a store when it is opened, and from any other when a store first saves there.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use mempool_core::{Fingerprint, Frame, StoreError};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::chain::Chain;
use crate::disk::Disk;
use crate::error::SpillError;
use crate::session::{leads_to, names};
use crate::writer::{Target, write_through};

/// What the name of each temporary file starts with.
const PREFIX: &str = ".mempool-save-";
/// A sweeper may take a file in the moment before its writer locks it; then the writer makes another.
const ATTEMPTS: u32 = 100;

/// Writes `frame` to a new file in `dir`, makes it durable, then puts it in the place of what `path` names there.
///
/// When that fails what was there is as it was, but for one case: the new file stands in its place, whole, and the
/// directory could not be made durable.
pub(crate) fn save(
    disk: &dyn Disk,
    dir: &File,
    path: &Path,
    name: &Path,
    frame: &Frame<'_>,
    chain: &Chain,
) -> Result<Fingerprint, StoreError> {
    let directory = path.parent().unwrap_or(path);
    let (temporary, file) = create(disk, dir.as_fd(), directory)?;
    let rename = || {
        let renamed = disk.rename(dir.as_fd(), &temporary, name);
        renamed.map_err(|e| SpillError::io("rename", path, e))
    };
    let write = || {
        let target = Target { disk, file: &file, path, offset: 0, piece: Target::WHOLE };
        let (_, header) = write_through(chain, &target, frame)?;
        // A sync that failed is never tried again: the kernel may have forgotten what was lost. The file goes.
        disk.sync(&file).map_err(|e| SpillError::io("sync", path, e))?;
        Ok(header)
    };
    let saved = if mutant!("renamed_before_written") {
        rename().map_err(StoreError::from).and_then(|()| write())
    } else {
        write().and_then(|header| Ok(rename().map(|()| header)?))
    };
    let header = saved.inspect_err(|_| {
        if !mutant!("file_kept_after_failure") {
            let _ = disk.unlink(dir.as_fd(), &temporary);
        }
    })?;
    disk.sync(dir).map_err(|e| SpillError::io("sync", directory, e))?;
    Ok(Fingerprint { bytes: frame.frame_bytes(), ..Fingerprint::of(&header) })
}

/// A new file that is locked: no sweeper removes it while this process lives.
fn create(
    disk: &dyn Disk,
    dir: BorrowedFd<'_>,
    directory: &Path,
) -> Result<(String, File), SpillError> {
    for _ in 0..ATTEMPTS {
        let pid = std::process::id();
        // Random, for two stores of one process may save to one directory.
        let name = format!("{PREFIX}{pid}-{:016x}", RandomState::new().hash_one(pid));
        let file = disk.create(dir, &name);
        let file = file.map_err(|e| SpillError::io("create", &directory.join(&name), e))?;
        let locked = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
        if locked == Err(Errno::WOULDBLOCK) {
            continue;
        }
        // Where files cannot be locked at all a sweeper cannot lock them either, and leaves them alone.
        if leads_to(dir, &name, file.as_fd()) {
            return Ok((name, file));
        }
    }
    Err(SpillError::io("create a file in", directory, Errno::AGAIN))
}

/// Removes the temporary files whose writers are dead; how many there were.
pub(crate) fn sweep(dir: BorrowedFd<'_>) -> u64 {
    let ours = |name: &&String| name.starts_with(PREFIX);
    names(dir).iter().filter(ours).filter(|name| sweep_one(dir, name)).count() as u64
}

fn sweep_one(dir: BorrowedFd<'_>, name: &str) -> bool {
    // For writing, which a lock asks for on network file systems; a FIFO that stands there does not make us wait.
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let Ok(file) = rustix::fs::openat(dir, name, flags | OFlags::NOCTTY, Mode::empty()) else {
        return false;
    };
    let regular = |stat: rustix::fs::Stat| {
        rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file()
            && stat.st_uid == rustix::process::geteuid().as_raw()
    };
    rustix::fs::fstat(&file).is_ok_and(regular)
        && (mutant!("sweep_without_lock")
            || rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok())
        && leads_to(dir, name, file.as_fd())
        && rustix::fs::unlinkat(dir, name, AtFlags::empty()).is_ok()
}
