//! The directory of one living pool: its lock, its modes, and the sweep of dead ones.
//!
//! ```text
//! <directory of the user's choice>/
//! └─ .mempool/             0700
//!    ├─ s-<pid>-<n>/       0700, flock'ed by its process as long as that lives
//!    │  ├─ seg-<number>    0600, one segment
//!    │  ├─ manifest        0600, where values are retained (`retained.rs`); `manifest-new` while it is written
//!    │  └─ load-<number>   0600, unlinked as soon as it is made: a file of the user's, brought in
//!    └─ new-<pid>-<n>/     a session that is being made
//! ```
//!
//! A session is made under a temporary name, locked, then renamed. A sweeper locks first and then checks that the name
//! still leads to what it locked; what it cannot lock is alive. It removes files with names of ours alone, and
//! follows no link. The number of a process in a name is for people to read: the lock alone says who lives.
//!
//! A session with a manifest outlives its process: no sweep removes it, but what stands in it and not in the manifest goes.
//! Whoever locks it has it.
//!
//! A `.mempool` that others may enter is closed to them when it is ours, and refused when it is not.

use std::collections::BTreeSet;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use mempool_core::fork::Maker;
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::error::SpillError;
use crate::retained::{Kept, MANIFEST, MANIFEST_NEW, ManifestFile, is_retained};
use crate::save;

/// The name of the directory that holds all sessions.
pub(crate) const ROOT: &str = ".mempool";
pub(crate) const DIRECTORY: OFlags =
    OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);
/// Another opener may sweep or remove what this one is making; so it tries again.
const ATTEMPTS: u32 = 100;

/// A directory of our own, locked.
#[derive(Debug)]
pub(crate) struct Session {
    parent: OwnedFd,
    root: OwnedFd,
    dir: OwnedFd,
    name: String,
    path: PathBuf,
    pid: u32,
    maker: Maker,
    /// Directories of the user's, by device and inode, that this session has looked through for what killed
    /// processes left there.
    swept: Mutex<BTreeSet<(u64, u64)>>,
    /// It was removed, or left to whoever restores it.
    ended: AtomicBool,
}

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Sessions of dead processes that were removed.
    pub sessions: u64,
    /// Files in them.
    pub files: u64,
    /// Sessions that live and were left alone.
    pub living: u64,
    /// Sessions of dead processes that have something retained and were left alone.
    pub retained: u64,
    /// Files beside `.mempool` that dead processes were saving.
    pub saves: u64,
}

impl Session {
    /// Sweeps dead sessions under `directory` and makes a new one.
    pub(crate) fn open(directory: &Path) -> Result<(Self, Swept), SpillError> {
        let (parent, path) = open_parent(directory)?;
        let mut last = Errno::NOENT;
        let mut swept = None;
        for attempt in 0..ATTEMPTS {
            match Self::attempt(&parent, &path, &mut swept) {
                Ok(session) => return Ok((session, swept.unwrap_or_default())),
                Err(Attempt::Failed(error @ (Errno::NOENT | Errno::EXIST | Errno::WOULDBLOCK))) => {
                    last = error;
                }
                Err(Attempt::Failed(error)) => {
                    return Err(SpillError::io("make a session in", &path, error));
                }
                Err(Attempt::Refused(error)) => return Err(error),
            }
            if attempt > 8 {
                std::thread::yield_now();
            }
        }
        Err(SpillError::io("make a session in", &path, last))
    }

    fn attempt(parent: &OwnedFd, path: &Path, swept: &mut Option<Swept>) -> Result<Self, Attempt> {
        make_dir(parent.as_fd(), ROOT)?;
        let root = rustix::fs::openat(parent, ROOT, DIRECTORY, Mode::empty())?;
        make_private(root.as_fd(), &path.join(ROOT))?;
        if swept.is_none() {
            let saves = save::sweep(parent.as_fd());
            *swept = Some(Swept { saves, ..sweep(root.as_fd()) });
        }
        let pid = std::process::id();
        let number = RandomState::new().hash_one(pid);
        let temporary = format!("new-{pid}-{number:016x}");
        let name = format!("s-{pid}-{number:016x}");
        rustix::fs::mkdirat(&root, &temporary, Mode::RWXU)?;
        let dir = rustix::fs::openat(&root, &temporary, DIRECTORY, Mode::empty())?;
        rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive)?;
        if !leads_to(root.as_fd(), &temporary, dir.as_fd()) {
            return Err(Errno::NOENT.into());
        }
        // A umask may have taken what we need ourselves.
        rustix::fs::fchmod(&dir, Mode::RWXU)?;
        rustix::fs::renameat(&root, &temporary, &root, &name)?;
        if mutant!("session_unlocked_early") {
            rustix::fs::flock(&dir, FlockOperation::Unlock)?;
        }
        let parent = parent.try_clone().map_err(|_| Errno::MFILE)?;
        let path = path.join(ROOT).join(&name);
        Ok(Self::new([parent, root, dir], name, path))
    }

    fn new([parent, root, dir]: [OwnedFd; 3], name: String, path: PathBuf) -> Self {
        let (pid, maker, swept) = (std::process::id(), Maker::here(), Mutex::default());
        let ended = AtomicBool::new(false);
        Self { parent, root, dir, name, path, pid, maker, swept, ended }
    }

    /// Takes over the retained session under `directory` that has the label, or the name where one is given; what
    /// stands in it and not in its manifest is removed.
    pub(crate) fn restore(
        directory: &Path,
        label: &str,
        name: Option<&str>,
    ) -> Result<(Self, Swept, Kept, ManifestFile), SpillError> {
        let (parent, path) = open_parent(directory)?;
        let root_path = path.join(ROOT);
        let nothing =
            || SpillError::NothingRetained { path: path.clone(), label: label.to_owned() };
        let root = match rustix::fs::openat(&parent, ROOT, DIRECTORY, Mode::empty()) {
            Ok(root) => root,
            Err(Errno::NOENT) => return Err(nothing()),
            Err(error) => return Err(SpillError::io("open", &root_path, error)),
        };
        match make_private(root.as_fd(), &root_path) {
            Err(Attempt::Refused(error)) => return Err(error),
            Err(Attempt::Failed(error)) => return Err(SpillError::io("open", &root_path, error)),
            Ok(()) => {}
        }
        let saves = save::sweep(parent.as_fd());
        let swept = Swept { saves, ..sweep(root.as_fd()) };
        let name = choose(root.as_fd(), &root_path, label, name)?.ok_or_else(nothing)?;
        let path = root_path.join(&name);
        let dir = rustix::fs::openat(&root, &*name, DIRECTORY, Mode::empty());
        let dir = dir.map_err(|e| SpillError::io("open", &path, e))?;
        lock(dir.as_fd(), &path)?;
        // Whoever had it may have removed it meanwhile, or have given it another label.
        let read = Kept::read(dir.as_fd(), &path)?;
        let (kept, file) = read
            .filter(|(kept, _)| kept.label == label && leads_to(root.as_fd(), &name, dir.as_fd()))
            .ok_or_else(nothing)?;
        remove_others(dir.as_fd(), &kept.file_names());
        Ok((Self::new([parent, root, dir], name, path), swept, kept, file))
    }

    /// Leaves the session to whoever restores it: `files` and the manifest stay, and the lock is free.
    pub(crate) fn keep(&self, files: &BTreeSet<String>) {
        if self.is_to_end() {
            remove_others(self.dir(), files);
            // Held views keep nothing locked, and neither does whoever still has the store.
            let _ = rustix::fs::flock(&self.dir, FlockOperation::Unlock);
        }
    }

    /// The directories whose entries lead to this session's files, the session's own last.
    pub(crate) fn directories(&self) -> io::Result<[File; 3]> {
        let file = |dir: &OwnedFd| dir.try_clone().map(File::from);
        Ok([file(&self.parent)?, file(&self.root)?, file(&self.dir)?])
    }

    /// Whether this process may end the session, and has not done so.
    fn is_to_end(&self) -> bool {
        // The number of the process is asked too, once in a session's life: a raw clone calls no handlers.
        let ours = self.is_ours() && std::process::id() == self.pid;
        ours && !self.ended.swap(true, Ordering::AcqRel)
    }

    /// Looks once through a directory of the user's for what killed processes were saving there.
    pub(crate) fn sweep_saves(&self, dir: &File) {
        let Ok(stat) = rustix::fs::fstat(dir) else { return };
        let new = || {
            let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
            swept.insert((stat.st_dev, stat.st_ino))
        };
        if new() {
            save::sweep(dir.as_fd());
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Whether this process opened it; a forked child has the lock's descriptor but not the session. Closing that
    /// descriptor leaves the lock: it belongs to the open directory, which the parent has open too.
    pub(crate) fn is_ours(&self) -> bool {
        self.maker.is_here()
    }

    /// Whether `path` leads into the sessions' directory.
    pub(crate) fn contains(&self, directory: &Path) -> bool {
        let root = self.path.parent().unwrap_or(&self.path);
        directory.canonicalize().is_ok_and(|directory| directory.starts_with(root))
    }

    /// Removes the directory with all that is ours in it.
    pub(crate) fn remove(&self) -> Result<(), SpillError> {
        if !self.is_to_end() {
            return Ok(());
        }
        remove_files(self.dir());
        match rustix::fs::unlinkat(&self.root, &self.name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(SpillError::io("remove", &self.path, error)),
        }
        // It stays when other sessions are in it.
        let _ = rustix::fs::unlinkat(&self.parent, ROOT, AtFlags::REMOVEDIR);
        Ok(())
    }
}

/// How often a lock is tried: a sweep holds it for a moment.
const LOCK_ATTEMPTS: u32 = 200;

fn open_parent(directory: &Path) -> Result<(OwnedFd, PathBuf), SpillError> {
    let path = directory.canonicalize().map_err(|e| SpillError::io("open", directory, e))?;
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let parent = rustix::fs::open(&path, flags, Mode::empty());
    let parent = parent.map_err(|e| SpillError::io("open", &path, e))?;
    Ok((parent, path))
}

/// The one retained session that is meant; `None` when there is none.
fn choose(
    root: BorrowedFd<'_>,
    root_path: &Path,
    label: &str,
    name: Option<&str>,
) -> Result<Option<String>, SpillError> {
    let mut found = Vec::new();
    let mut unreadable = None;
    let mut all = names(root);
    all.sort();
    for session in all.into_iter().filter(|one| is_session(one)) {
        if name.is_some_and(|name| name != session) {
            continue;
        }
        let path = root_path.join(&session);
        let Ok(dir) = rustix::fs::openat(root, &session, DIRECTORY, Mode::empty()) else {
            continue;
        };
        match Kept::read(dir.as_fd(), &path) {
            Ok(Some((kept, _))) if kept.label == label => found.push(session),
            Ok(_) => {}
            // Its label is not known: it may be the one, when no other is.
            Err(error) => unreadable = Some(error),
        }
    }
    match (found.len(), unreadable) {
        (0, Some(error)) => Err(error),
        (0 | 1, _) => Ok(found.pop()),
        _ => Err(SpillError::Ambiguous {
            label: label.to_owned(),
            sessions: found.iter().map(|name| root_path.join(name)).collect(),
        }),
    }
}

fn lock(dir: BorrowedFd<'_>, path: &Path) -> Result<(), SpillError> {
    for _ in 0..LOCK_ATTEMPTS {
        match rustix::fs::flock(dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) => std::thread::sleep(std::time::Duration::from_millis(1)),
            Err(error) => return Err(SpillError::io("lock", path, error)),
        }
    }
    Err(SpillError::InUse { path: path.to_path_buf() })
}

/// Why a session was not made.
enum Attempt {
    /// By this call of the system; another attempt may succeed.
    Failed(Errno),
    /// For good.
    Refused(SpillError),
}

impl From<Errno> for Attempt {
    fn from(error: Errno) -> Self {
        Self::Failed(error)
    }
}

/// Closes our own directory to everybody else; refuses one of another user's, who could change what we read from it.
fn make_private(root: BorrowedFd<'_>, path: &Path) -> Result<(), Attempt> {
    let stat = rustix::fs::fstat(root)?;
    let (owner, us) = (stat.st_uid, rustix::process::geteuid().as_raw());
    if owner != us && !mutant!("foreign_root_taken") {
        let path = path.to_path_buf();
        return Err(Attempt::Refused(SpillError::Foreign { path, owner, us }));
    }
    if Mode::from_raw_mode(stat.st_mode) != Mode::RWXU {
        rustix::fs::fchmod(root, Mode::RWXU)?;
    }
    Ok(())
}

fn make_dir(parent: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
    match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

/// Whether `name` leads, without a link, to what `open` is.
pub(crate) fn leads_to(dir: BorrowedFd<'_>, name: &str, open: BorrowedFd<'_>) -> bool {
    let named = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
    match (named, rustix::fs::fstat(open)) {
        (Ok(named), Ok(open)) => (named.st_dev, named.st_ino) == (open.st_dev, open.st_ino),
        _ => false,
    }
}

/// Removes the sessions of dead processes under `directory`, as opening a store there does, and makes none.
///
/// # Errors
/// When the directory cannot be opened. A directory without sessions is no error.
pub fn sweep_directory(directory: &Path) -> Result<Swept, SpillError> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let parent = rustix::fs::open(directory, flags, Mode::empty());
    let parent = parent.map_err(|e| SpillError::io("open", directory, e))?;
    let saves = save::sweep(parent.as_fd());
    let root = match rustix::fs::openat(&parent, ROOT, DIRECTORY, Mode::empty()) {
        Ok(root) => root,
        Err(Errno::NOENT) => return Ok(Swept { saves, ..Swept::default() }),
        Err(error) => return Err(SpillError::io("open", &directory.join(ROOT), error)),
    };
    let swept = Swept { saves, ..sweep(root.as_fd()) };
    // It stays when something is in it.
    let _ = rustix::fs::unlinkat(&parent, ROOT, AtFlags::REMOVEDIR);
    Ok(swept)
}

/// Removes the sessions whose processes are dead.
fn sweep(root: BorrowedFd<'_>) -> Swept {
    let mut swept = Swept::default();
    for name in names(root).into_iter().filter(|name| is_session(name)) {
        let Ok(dir) = rustix::fs::openat(root, &name, DIRECTORY, Mode::empty()) else { continue };
        let locked = rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive);
        if locked.is_err() && !mutant!("sweep_without_lock") {
            swept.living += 1;
            continue;
        }
        if !leads_to(root, &name, dir.as_fd()) {
            continue;
        }
        if is_retained(dir.as_fd()) && !mutant!("retained_swept") {
            swept.retained += 1;
            // What a killed process left beside what is retained.
            if let Ok(Some((kept, _))) = Kept::read(dir.as_fd(), Path::new(&name)) {
                swept.files += remove_others(dir.as_fd(), &kept.file_names());
            }
            continue;
        }
        swept.files += remove_files(dir.as_fd());
        let removed = rustix::fs::unlinkat(root, &name, AtFlags::REMOVEDIR).is_ok();
        swept.sessions += u64::from(removed);
    }
    swept
}

/// Whether a directory of that name is a session, or one that is being made.
pub(crate) fn is_session(name: &str) -> bool {
    name.starts_with("s-") || name.starts_with("new-")
}

/// Whether a file of that name in a session is one of ours.
pub(crate) fn is_file_of_ours(name: &str) -> bool {
    name.starts_with("seg-")
        || name.starts_with("load-")
        || [MANIFEST, MANIFEST_NEW].contains(&name)
}

/// Removes the files with names of ours that are neither in `kept` nor the manifest; how many there were.
fn remove_others(dir: BorrowedFd<'_>, kept: &BTreeSet<String>) -> u64 {
    let goes = |name: &&String| is_file_of_ours(name) && *name != MANIFEST && !kept.contains(*name);
    let removed = |name: &&String| rustix::fs::unlinkat(dir, *name, AtFlags::empty()).is_ok();
    names(dir).iter().filter(goes).filter(removed).count() as u64
}

/// Removes the session of that name with what is retained in it, if nobody has it open; whether it did.
///
/// # Errors
/// When the directory cannot be opened. A session that is not there is no error.
pub fn remove_retained(directory: &Path, name: &str) -> Result<bool, SpillError> {
    let (parent, path) = open_parent(directory)?;
    let opened = rustix::fs::openat(&parent, ROOT, DIRECTORY, Mode::empty())
        .and_then(|root| Ok((rustix::fs::openat(&root, name, DIRECTORY, Mode::empty())?, root)));
    let (dir, root) = match opened {
        Ok(opened) if is_session(name) => opened,
        Ok(_) | Err(Errno::NOENT) => return Ok(false),
        Err(error) => return Err(SpillError::io("open", &path.join(ROOT).join(name), error)),
    };
    let locked = rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok();
    if !locked || !leads_to(root.as_fd(), name, dir.as_fd()) {
        return Ok(false);
    }
    remove_files(dir.as_fd());
    let removed = rustix::fs::unlinkat(&root, name, AtFlags::REMOVEDIR).is_ok();
    // It stays when something is in it.
    let _ = rustix::fs::unlinkat(&parent, ROOT, AtFlags::REMOVEDIR);
    Ok(removed)
}

/// Removes the files with names of ours; how many there were.
fn remove_files(dir: BorrowedFd<'_>) -> u64 {
    let removed = |name: &String| rustix::fs::unlinkat(dir, name, AtFlags::empty()).is_ok();
    // First, so that a kill in between leaves a session that is swept.
    let manifest = u64::from(removed(&MANIFEST.to_owned()));
    manifest
        + names(dir).iter().filter(|name| is_file_of_ours(name) && removed(name)).count() as u64
}

pub(crate) fn names(dir: BorrowedFd<'_>) -> Vec<String> {
    let Ok(listing) = Dir::read_from(dir) else { return Vec::new() };
    let name = |entry: Result<rustix::fs::DirEntry, Errno>| {
        entry.ok()?.file_name().to_str().ok().map(str::to_owned)
    };
    listing.filter_map(name).filter(|name| name != "." && name != "..").collect()
}

/// Opens a file of the user's for reading; a FIFO does not make it wait.
pub(crate) fn open_user_file(path: &Path) -> Result<(File, u64), SpillError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty());
    let file = File::from(file.map_err(|e| SpillError::io("open", path, e))?);
    let metadata = file.metadata().map_err(|e: io::Error| SpillError::io("stat", path, e))?;
    match metadata.is_file() {
        true => Ok((file, metadata.len())),
        false => Err(SpillError::NotRegular { path: path.to_path_buf() }),
    }
}
