//! `PeerProcess`: who is at the other end of a Unix socket, as the kernel says it.

#![expect(
    unsafe_code,
    reason = "two options of sockets that rustix has not, or not for every answer"
)]

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags};

/// A process at the other end of a socket: the one that called `connect`, or `listen`.
#[derive(Debug)]
pub struct PeerProcess {
    pid: u32,
    uid: u32,
    pidfd: OwnedFd,
}

/// As `libc::SO_PEERPIDFD`, which the C library's headers do not have everywhere. *Source*: Linux 6.5,
/// `include/uapi/asm-generic/socket.h`.
const SO_PEERPIDFD: c_int = 77;

impl PeerProcess {
    /// Who is at the other end of `socket`.
    pub(super) fn of(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let credentials = credentials(socket)?;
        let pid = u32::try_from(credentials.pid).unwrap_or_default();
        Ok(Self { pid, uid: credentials.uid, pidfd: pidfd(socket, credentials.pid)? })
    }

    /// Its number; 0 when it cannot be seen from this process's namespace. Numbers are given anew: for people alone.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The user that it ran as when it connected, or listened.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Whether it has exited: what proves that all it held is gone.
    #[must_use]
    pub fn has_exited(&self) -> bool {
        let mut polled = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let ready = rustix::event::poll(&mut polled, Some(&now));
        ready.is_ok_and(|ready| ready > 0)
    }

    /// A descriptor that becomes readable when it exits, to wait for that.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

fn credentials(socket: BorrowedFd<'_>) -> io::Result<libc::ucred> {
    let mut found = libc::ucred { pid: 0, uid: 0, gid: 0 };
    // SAFETY: a `ucred` is three integers, for which every pattern of bits is a value.
    unsafe { option(socket, libc::SO_PEERCRED, &mut found) }?;
    Ok(found)
}

/// The kernel keeps which process it was: no other can come in between, though its number may be given anew.
fn pidfd(socket: BorrowedFd<'_>, pid: c_int) -> io::Result<OwnedFd> {
    let mut fd: c_int = -1;
    // SAFETY: an integer, for which every pattern of bits is a value.
    let found = unsafe { option(socket, SO_PEERPIDFD, &mut fd) };
    match found {
        Ok(()) => {
            // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
            Ok(unsafe { OwnedFd::from_raw_fd(fd) })
        }
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => by_number(socket, pid),
        Err(error) => Err(error),
    }
}

/// On a kernel before 6.5. Its number may have been given anew, but not while its end is open: so it is looked at after the
/// descriptor was made.
fn by_number(socket: BorrowedFd<'_>, pid: c_int) -> io::Result<OwnedFd> {
    let gone = || io::Error::from(io::ErrorKind::NotConnected);
    let pid = Pid::from_raw(pid).filter(|pid| pid.as_raw_nonzero().get() > 0).ok_or_else(gone)?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let mut polled = [PollFd::from_borrowed_fd(socket, PollFlags::empty())];
    rustix::event::poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    match polled[0].revents().contains(PollFlags::HUP) {
        false => Ok(pidfd),
        true => Err(gone()),
    }
}

/// Reads an option of a socket.
///
/// # Safety
/// Every pattern of bits is a value of `T`.
unsafe fn option<T>(socket: BorrowedFd<'_>, name: c_int, value: &mut T) -> io::Result<()> {
    let mut len = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    let to = std::ptr::from_mut(value).cast();
    // SAFETY: `to` is a place for `len` bytes, which the kernel writes at most; the caller vouches for what they make.
    let refused =
        unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, name, to, &raw mut len) };
    if refused == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_kernel_says_who_it_is() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let peer = PeerProcess::of(ours.as_fd()).unwrap();
        assert_eq!(peer.pid(), std::process::id());
        assert_eq!(peer.uid(), rustix::process::geteuid().as_raw());
        assert!(!peer.has_exited());
        let pid = c_int::try_from(peer.pid()).unwrap();
        let by_number = by_number(ours.as_fd(), pid).unwrap();
        assert!(!PeerProcess { pidfd: by_number, ..peer }.has_exited());
        drop(theirs);
        assert!(super::by_number(ours.as_fd(), pid).is_err(), "its end is closed");
    }

    #[test]
    fn what_is_no_socket_has_no_peer() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(PeerProcess::of(file.as_fd()).is_err());
    }
}
