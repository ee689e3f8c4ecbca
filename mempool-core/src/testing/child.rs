//! Forked children: what a test does in one, and how it ended.

#![expect(unsafe_code, reason = "fork, and what ends its child, have no safe wrapper")]

use std::ffi::{c_int, c_uint};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

// SAFETY: the signatures are those of POSIX on Linux, where a pid is an `int`.
unsafe extern "C" {
    fn fork() -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    safe fn alarm(seconds: c_uint) -> c_uint;
    safe fn _exit(status: c_int) -> !;
}

/// How long a child may take. It is ended by a signal of its own, so nobody sleeps and looks.
const CHILD_SECONDS: c_uint = 10;
/// The exit code of a child that panicked.
const PANICKED: c_int = 101;

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildEnd {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it; 14 (SIGALRM) says that it hung.
    Killed(i32),
}

/// Forks; the child calls `work` and exits, without a return into the caller's frames, with the code that `work` answers.
///
/// The child has the calling thread alone: `work` may allocate, but must not print or wait for another thread.
///
/// # Errors
/// When the system makes no further process, or does not say how the child ended.
pub fn in_child(work: impl FnOnce() -> i32) -> io::Result<ChildEnd> {
    // SAFETY: the child has a copy of everything, runs one thread and never returns from here; what it must not touch
    // is the caller's contract.
    match unsafe { fork() } {
        0 => {
            alarm(CHILD_SECONDS);
            _exit(catch_unwind(AssertUnwindSafe(work)).unwrap_or(PANICKED))
        }
        pid if pid > 0 => wait_for(pid),
        _ => Err(io::Error::last_os_error()),
    }
}

fn wait_for(pid: c_int) -> io::Result<ChildEnd> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is a place for one integer, which lives until the call returns.
        let ended = unsafe { waitpid(pid, &raw mut status, 0) };
        let error = io::Error::last_os_error();
        match ended {
            ended if ended == pid => break,
            _ if error.kind() == io::ErrorKind::Interrupted => {}
            _ => return Err(error),
        }
    }
    // As <sys/wait.h> has it.
    Ok(match status & 0x7f {
        0 => ChildEnd::Exited(status >> 8 & 0xff),
        signal => ChildEnd::Killed(signal),
    })
}
