//! `Canceller`: gives up calls that wait, from another thread.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::budget::{Ledger, Wait};
use crate::pool::Pool;
use crate::shared::Shared;

/// Names a [`Canceller`] in a [`Wait`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CancelId(u64);

/// Gives up calls of one pool that wait: those that were given a [`Wait`] of this canceller.
///
/// A call that is given up answers [`Error::Cancelled`](crate::Error::Cancelled) at once and leaves no trace: a set gives its value
/// back, and who waits behind it for room moves up. It is the waiting that is cancelled, for pins, for room, or for another thread
/// that reads the same value; what a thread does itself, such as writing a victim to a slow disk, it does to the end.
///
/// ```
/// use mempool_core::{Blob, Error, PoolOptions, SetOptions};
///
/// let pool = PoolOptions::new().memory_limit(1000).open(Blob);
/// let first = pool.set(vec![1; 800])?;
/// let pinned = pool.get(&first)?; // no room for a second one
/// let canceller = pool.canceller();
/// let wait = canceller.wait();
/// std::thread::scope(|scope| {
///     let set = scope.spawn(|| pool.set_with(vec![2; 800], SetOptions::new().wait(wait)));
///     canceller.cancel();
///     let rejected = set.join().unwrap().unwrap_err();
///     assert!(matches!(rejected.error, Error::Cancelled));
///     assert_eq!(rejected.value, vec![2; 800]);
/// });
/// # drop(pinned);
/// # Ok::<(), mempool_core::Error>(())
/// ```
pub struct Canceller {
    id: CancelId,
    ledger: Arc<Ledger>,
    shared: Weak<Shared>,
}

impl Canceller {
    /// To wait until this canceller says otherwise.
    #[must_use]
    pub fn wait(&self) -> Wait {
        Wait::Cancellable { id: self.id, until: None }
    }

    /// The same, and no longer than `timeout` from now.
    #[must_use]
    pub fn wait_at_most(&self, timeout: Duration) -> Wait {
        // A time beyond the clock's range never comes.
        Wait::Cancellable { id: self.id, until: Instant::now().checked_add(timeout) }
    }

    /// Gives up the calls that wait by this canceller, and all that will.
    pub fn cancel(&self) {
        if !self.ledger.is_ours() {
            return;
        }
        self.ledger.cancel(self.id);
        if let Some(shared) = self.shared.upgrade() {
            shared.parking.wake_all();
        }
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.ledger.is_ours() && self.ledger.is_cancelled(self.wait())
    }
}

impl Drop for Canceller {
    fn drop(&mut self) {
        if self.ledger.is_ours() {
            self.ledger.forget_cancelled(self.id);
        }
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<C: Send + Sync + 'static> Pool<C> {
    /// Something that gives up calls of this pool which wait. For one call or for many; dropped without having been
    /// cancelled, it lets them wait.
    #[must_use]
    pub fn canceller(&self) -> Canceller {
        // Not one that a model checker sees: a number carries no other data with it.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = CancelId(NEXT.fetch_add(1, Ordering::Relaxed));
        let shared = self.shared();
        Canceller { id, ledger: Arc::clone(&shared.ledger), shared: Arc::downgrade(shared) }
    }
}
