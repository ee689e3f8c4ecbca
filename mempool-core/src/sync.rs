//! The primitives of concurrency, chosen once: std, or the model checkers' (`--cfg loom`, `--cfg shuttle`).
//!
//! Every other file of the crate takes locks and atomics from here. Locks do not poison: a panic under one of
//! ours is a broken invariant in code that runs no user code, and the next caller must still be able to return bytes.

use std::sync::PoisonError;
use std::time::Instant;

#[cfg(loom)]
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard, atomic};
#[cfg(shuttle)]
pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard, atomic};
#[cfg(not(any(loom, shuttle)))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic};

#[cfg(shuttle)]
pub(crate) use shuttle::thread_local;
#[cfg(not(shuttle))]
pub(crate) use std::thread_local;

/// Whether a model checker schedules the threads: then there is no time, and nothing runs in the background.
pub(crate) const MODELLED: bool = cfg!(any(loom, shuttle));

/// Locks `mutex`, whether or not another thread panicked under it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a thread that nobody joins.
pub(crate) fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    #[cfg(not(any(loom, shuttle)))]
    std::thread::Builder::new().name(name).spawn(run)?;
    #[cfg(loom)]
    let _ = (name, loom::thread::spawn(run));
    #[cfg(shuttle)]
    let _ = (name, shuttle::thread::spawn(run));
    Ok(())
}

/// Waits on `condvar`.
pub(crate) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// Waits on `condvar` until `deadline` at most; the caller looks at its condition and at the clock again.
pub(crate) fn wait_until<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    deadline: Instant,
) -> MutexGuard<'a, T> {
    if MODELLED {
        return wait(condvar, guard);
    }
    let left = deadline.saturating_duration_since(Instant::now());
    match condvar.wait_timeout(guard, left) {
        Ok((guard, _)) => guard,
        Err(poisoned) => poisoned.into_inner().0,
    }
}

/// An unbounded queue that many threads push to and the evicting side empties.
///
/// Lock-free outside the model checkers, which cannot look into a foreign queue.
#[cfg(not(any(loom, shuttle)))]
#[derive(Debug)]
pub(crate) struct Queue<T>(crossbeam::queue::SegQueue<T>);

#[cfg(not(any(loom, shuttle)))]
impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self(crossbeam::queue::SegQueue::new())
    }

    pub(crate) fn push(&self, item: T) {
        self.0.push(item);
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.0.pop()
    }
}

/// The queue under a model checker: a list behind the checker's own lock.
#[cfg(any(loom, shuttle))]
#[derive(Debug)]
pub(crate) struct Queue<T>(Mutex<std::collections::VecDeque<T>>);

#[cfg(any(loom, shuttle))]
impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(std::collections::VecDeque::new()))
    }

    pub(crate) fn push(&self, item: T) {
        lock(&self.0).push_back(item);
    }

    pub(crate) fn pop(&self) -> Option<T> {
        lock(&self.0).pop_front()
    }
}
