//! `RuntimeDir`: where the sockets of a user's nodes are. A peer is found by its incarnation; it never says a path.
//!
//! ```text
//! $XDG_RUNTIME_DIR/mempool/   or /tmp/mempool-<uid>/      mode 0700, owned by the user
//! ├─ 17c0…e1.sock             mode 0600: the node with that incarnation
//! └─ 17c0…f4.new              a node that does not listen yet
//! ```
//!
//! The directory is opened once and checked; sockets are reached through its descriptor, so nobody can put another directory
//! in its place, and its path may be as long as it likes.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::error::HostError;
use crate::identity::Incarnation;

/// The directory of the sockets of one user's nodes.
#[derive(Debug)]
pub struct RuntimeDir {
    path: PathBuf,
    dir: OwnedFd,
}

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 64;

/// A socket that was not published after so long belongs to nobody.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(60);

const LISTENING: &str = "sock";
const NEW: &str = "new";

impl RuntimeDir {
    /// The user's: `mempool` in `$XDG_RUNTIME_DIR`, or `/tmp/mempool-<uid>` where that is not set. Made when it is not there.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn of_user() -> Result<Self, HostError> {
        let given = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        match given.filter(|path| path.is_absolute()) {
            Some(runtime) => Self::open(runtime.join("mempool")),
            None => Self::open(format!("/tmp/mempool-{}", own_uid())),
        }
    }

    /// A directory of the user's choice, the same for all nodes that are to find each other; made when it is not there.
    ///
    /// # Errors
    /// [`HostError::Directory`] when it belongs to another user or others may look into it; [`HostError::Io`] when it cannot
    /// be made or opened, or is no directory.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, HostError> {
        let path = path.into();
        match rustix::fs::mkdir(&path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(HostError::io("make", &path, error)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&path, flags, Mode::empty());
        let dir = opened.map_err(|error| HostError::io("open", &path, error))?;
        let found = rustix::fs::fstat(&dir).map_err(|error| HostError::io("stat", &path, error))?;
        let (uid, found_uid, found_mode) = (own_uid(), found.st_uid, found.st_mode & 0o7777);
        if found_uid != uid || found_mode & 0o077 != 0 {
            return Err(HostError::Directory { path, uid, found_uid, found_mode });
        }
        Ok(Self { path, dir })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the socket of a node is.
    #[must_use]
    pub fn socket_path(&self, node: Incarnation) -> PathBuf {
        self.path.join(name(node, LISTENING))
    }

    /// A socket that listens in the place of `node`. What nodes left that have died is removed.
    pub(super) fn listen(&self, node: Incarnation) -> Result<OwnedFd, HostError> {
        self.sweep();
        let path = self.socket_path(node);
        let error = |call| move |error: Errno| HostError::io(call, &self.socket_path(node), error);
        let socket = socket().map_err(error("make a socket for"))?;
        // Under another name until it listens, so that no sweep takes it for one of the dead.
        let new = name(node, NEW);
        let address = self.address(&new).map_err(error("name"))?;
        rustix::net::bind(&socket, &address).map_err(error("bind"))?;
        let published = self.publish(&socket, &new, node);
        if let Err(errno) = published {
            let _ = rustix::fs::unlinkat(&self.dir, &new, AtFlags::empty());
            return Err(HostError::io("listen at", &path, errno));
        }
        Ok(socket)
    }

    fn publish(&self, socket: &OwnedFd, new: &str, node: Incarnation) -> Result<(), Errno> {
        rustix::fs::chmodat(&self.dir, new, Mode::RUSR | Mode::WUSR, AtFlags::empty())?;
        rustix::net::listen(socket, BACKLOG)?;
        rustix::fs::renameat(&self.dir, new, &self.dir, name(node, LISTENING))
    }

    /// A connection to `node`.
    pub(super) fn connect(&self, node: Incarnation) -> Result<OwnedFd, HostError> {
        let path = self.socket_path(node);
        let socket = socket().map_err(|errno| HostError::io("make a socket for", &path, errno))?;
        let address = self.address(&name(node, LISTENING));
        let address = address.map_err(|errno| HostError::io("name", &path, errno))?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => Ok(socket),
            Err(errno) => Err(HostError::NotListening { peer: node, path, source: errno.into() }),
        }
    }

    /// Removes the socket of a node that ends.
    pub(super) fn remove(&self, node: Incarnation) {
        // One that is gone already need not be removed.
        let _ = rustix::fs::unlinkat(&self.dir, name(node, LISTENING), AtFlags::empty());
    }

    /// Removes sockets at which nobody listens any more.
    fn sweep(&self) {
        let Ok(entries) = std::fs::read_dir(&self.path) else { return };
        for entry in entries.flatten() {
            let file = entry.path();
            let extension = file.extension().and_then(|extension| extension.to_str());
            let old = || age(&entry).is_some_and(|age| age > PUBLISHED_WITHIN);
            let ours = extension == Some(LISTENING) || extension == Some(NEW) && old();
            let name = entry.file_name();
            if let Some(name) = name.to_str().filter(|_| ours)
                && self.is_dead(name)
            {
                let _ = rustix::fs::unlinkat(&self.dir, name, AtFlags::empty());
            }
        }
    }

    fn is_dead(&self, name: &str) -> bool {
        let connected =
            self.address(name).and_then(|address| rustix::net::connect(socket()?, &address));
        connected == Err(Errno::CONNREFUSED)
    }

    fn address(&self, name: &str) -> Result<SocketAddrUnix, Errno> {
        let dir = self.dir.as_fd().as_raw_fd();
        SocketAddrUnix::new(format!("/proc/self/fd/{dir}/{name}"))
    }
}

fn name(node: Incarnation, extension: &str) -> String {
    format!("{node}.{extension}")
}

fn age(entry: &std::fs::DirEntry) -> Option<Duration> {
    let modified = entry.metadata().and_then(|found| found.modified()).ok()?;
    SystemTime::now().duration_since(modified).ok()
}

/// A socket that keeps messages apart, each with the descriptors that came with it.
fn socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

/// The user that this process runs as.
pub(super) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let name = format!("mempool-place-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_directory_that_others_may_look_into_is_refused() {
        let scratch = Scratch::new("mode");
        let path = scratch.0.join("run");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        RuntimeDir::open(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        for bad in [0o701, 0o710, 0o750, 0o777] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(bad)).unwrap();
            let error = RuntimeDir::open(&path).unwrap_err();
            let HostError::Directory { found_mode, .. } = error else { panic!("{error}") };
            assert_eq!(found_mode, bad);
        }
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
        symlink(&path, scratch.0.join("link")).unwrap();
        let error = RuntimeDir::open(scratch.0.join("link")).unwrap_err();
        assert!(matches!(error, HostError::Io { call: "open", .. }), "{error}");
    }

    #[test]
    fn sockets_of_the_dead_are_swept_and_those_of_the_living_are_not() {
        let scratch = Scratch::new("sweep");
        let dir = RuntimeDir::open(scratch.0.join("x".repeat(150))).unwrap();
        let names = || {
            let entries = std::fs::read_dir(dir.path()).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let (dead, living) = (Incarnation(1), Incarnation(2));
        drop(dir.listen(dead).unwrap());
        let _living = dir.listen(living).unwrap();
        assert_eq!(names(), [name(living, LISTENING).as_str()]);
        assert!(matches!(dir.connect(dead), Err(HostError::NotListening { .. })));
        let mode = std::fs::metadata(dir.socket_path(living)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        dir.connect(living).unwrap();
        std::fs::write(dir.path().join("of-others"), b"").unwrap();
        let _third = dir.listen(Incarnation(3)).unwrap();
        assert_eq!(names().len(), 3, "what is no socket of ours stays");
        dir.remove(living);
        assert!(matches!(dir.connect(living), Err(HostError::NotListening { .. })));
    }
}
