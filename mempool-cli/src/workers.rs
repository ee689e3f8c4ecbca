//! Work shared out among threads: a queue of numbered pieces, and threads that take from it until it is empty or one of them fails.

use std::{
    io, panic,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use crate::stop::Stop;

/// Stack of a worker. Small, because each counts against `ulimit -d` whole; our workers do not recurse.
const STACK_BYTES: usize = 1 << 20;

/// The numbers 0 to `end`, each taken once.
pub(crate) struct Queue {
    next: AtomicUsize,
    end: usize,
    stop: Stop,
}

impl Queue {
    /// A queue of `end` pieces, which ends early when `stop` is asked for.
    pub(crate) fn new(end: usize, stop: &Stop) -> Self {
        Self { next: AtomicUsize::new(0), end, stop: stop.clone() }
    }

    /// The next piece; nothing when all are taken.
    pub(crate) fn take(&self) -> Option<usize> {
        if self.stop.is_asked() {
            return None;
        }
        // Relaxed: a number carries no other data with it; what threads share is published by starting and joining them.
        let next = |next| (next < self.end).then(|| next + 1);
        self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()
    }

    /// Gives no further piece.
    fn close(&self) {
        self.next.store(self.end, Ordering::Relaxed);
    }
}

/// Runs `work` on each of `threads` threads and returns what they made. The first failure closes the queue for the others and is returned.
///
/// # Errors
/// What `work` says, or the system has no thread left.
///
/// # Panics
/// If `work` does.
pub(crate) fn on_threads<T, E>(
    threads: usize,
    queue: &Queue,
    work: impl Fn(&Queue) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E>
where
    T: Send,
    E: Send + From<io::Error>,
{
    let guarded = || work(queue).inspect_err(|_| queue.close());
    thread::scope(|scope| {
        let start = |number| {
            let builder =
                thread::Builder::new().name(format!("mempool-{number}")).stack_size(STACK_BYTES);
            builder.spawn_scoped(scope, guarded)
        };
        let started: Vec<_> = (0..threads).map(start).collect();
        if started.iter().any(Result::is_err) {
            queue.close();
        }
        started
            .into_iter()
            .map(|thread| thread?.join().unwrap_or_else(|cause| panic::resume_unwind(cause)))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_piece_is_taken_once() {
        let queue = Queue::new(1000, &Stop::default());
        let work = |queue: &Queue| {
            Ok::<_, io::Error>(std::iter::from_fn(|| queue.take()).collect::<Vec<_>>())
        };
        let mut all = on_threads(4, &queue, work).unwrap().concat();
        all.sort_unstable();
        assert_eq!(all, (0..1000).collect::<Vec<_>>());
        assert_eq!(queue.take(), None);
    }

    #[test]
    fn a_failure_ends_the_work_of_all() {
        let queue = Queue::new(usize::MAX, &Stop::default());
        let work = |queue: &Queue| loop {
            match queue.take() {
                Some(5) => return Err(io::Error::other("five")),
                Some(_) => {}
                None => return Ok(()),
            }
        };
        assert_eq!(on_threads(3, &queue, work).unwrap_err().to_string(), "five");
    }

    #[test]
    fn a_queue_ends_when_it_is_asked_to() {
        let stop = Stop::default();
        let queue = Queue::new(10, &stop);
        assert_eq!(queue.take(), Some(0));
        stop.ask();
        assert_eq!(queue.take(), None);
    }
}
