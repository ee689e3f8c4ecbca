//! Who made something, and whether a fork has come since; answered without a system call.
//!
//! A forked child has a copy of its parent's memory and one thread. The locks that other threads of the parent held at
//! the fork stay locked in it for ever, and its directories, files and locks on them are the parent's. So a pool belongs
//! to the process that opened it, and each of its calls and drops asks here first: one relaxed load and a comparison.
//!
//! ```text
//!  parent   ──BEGUN+1──┬──────────────ENDED+1──▶     a fork may have seen whatever there was from a moment on
//!                    fork                            when more forks have begun by now than had ended then
//!  child               └──GENERATION+1──▶            what a lower generation made is not ours
//! ```
//!
//! The C library calls the three steps: they are handlers of `pthread_atfork`. So a child of `fork` and of all that is
//! built on it is known. A child of a raw `clone(2)`, or of `_Fork`, which call no handlers, is not, and must not
//! touch a pool; neither is one of `vfork` or `posix_spawn`, which may do nothing but exec.

#![expect(unsafe_code, reason = "the C library is told whom to call at a fork")]

use std::ffi::c_int;
// Not from `sync.rs`: a model checker's atomics cannot be statics, and there is no fork in a model.
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How many forks lie between the first process and this one.
static GENERATION: AtomicU64 = AtomicU64::new(0);
/// Forks of this process that have begun.
static BEGUN: AtomicU64 = AtomicU64::new(0);
/// Forks of this process that have ended, in the parent.
static ENDED: AtomicU64 = AtomicU64::new(0);
/// Whether the C library was told.
static REGISTERED: AtomicBool = AtomicBool::new(false);

/// The process that made something, and when in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maker {
    generation: u64,
    ended: u64,
}

impl Maker {
    /// This process, now.
    ///
    /// # Panics
    /// When the C library has no memory for three handlers.
    #[must_use]
    pub fn here() -> Self {
        // Two threads may both get here: handlers that are called twice count twice on both sides.
        if !REGISTERED.load(Ordering::Acquire) {
            register();
            REGISTERED.store(true, Ordering::Release);
        }
        Self { generation: GENERATION.load(Ordering::Relaxed), ended: ENDED.load(Ordering::SeqCst) }
    }

    /// Whether this process is the maker, and no forked child of it.
    #[must_use]
    #[inline]
    pub fn is_here(&self) -> bool {
        // Relaxed: it changes in a child before its one thread returns from the fork, and never again.
        GENERATION.load(Ordering::Relaxed) == self.generation || mutant!("fork_unnoticed")
    }

    /// How many forks of the maker may have seen what it made: each that has begun by now and had not ended then.
    /// Asked in the maker; 0 says that no child has a view of it.
    ///
    /// Asked after the last view is gone, the answer covers every fork that found a view: a fork is counted before it
    /// copies anything.
    #[must_use]
    pub fn forks_since(&self) -> u64 {
        // SeqCst pairs with the handlers: what this thread has seen end is not counted, what began before is.
        BEGUN.load(Ordering::SeqCst).saturating_sub(self.ended)
    }
}

// SAFETY: the signature is that of POSIX; it may be called at any time with handlers that are safe to call.
unsafe extern "C" {
    /// POSIX.1-2001; in the C library that std links. Answers 0, or the number of an error.
    safe fn pthread_atfork(
        prepare: Option<unsafe extern "C" fn()>,
        parent: Option<unsafe extern "C" fn()>,
        child: Option<unsafe extern "C" fn()>,
    ) -> c_int;
}

#[cold]
fn register() {
    let refused = pthread_atfork(Some(before), Some(after_in_parent), Some(after_in_child));
    assert_eq!(refused, 0, "the C library has room for three handlers");
}

// The handlers do nothing but atomic steps, which are safe in a signal handler and in a child of many threads.

extern "C" fn before() {
    BEGUN.fetch_add(1, Ordering::SeqCst);
}

extern "C" fn after_in_parent() {
    ENDED.fetch_add(1, Ordering::SeqCst);
}

extern "C" fn after_in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    // Forks that other threads of the parent had under way do not go on here.
    ENDED.store(BEGUN.load(Ordering::Relaxed), Ordering::SeqCst);
}
