//! Where threads wait for an entry that another thread is at work on.

use crate::sync::{self, Condvar, Mutex};

const SHARDS: usize = 16;

/// A few locks and condition variables that all entries of a pool share by slot.
pub(crate) struct Parking {
    shards: [Shard; SHARDS],
}

struct Shard {
    waiting: Mutex<usize>,
    changed: Condvar,
}

impl Parking {
    pub(crate) fn new() -> Self {
        let shard = |_| Shard { waiting: Mutex::new(0), changed: Condvar::new() };
        Self { shards: std::array::from_fn(shard) }
    }

    /// Returns when `busy` says no. Each step that ends being busy is followed by a [`wake`](Self::wake).
    pub(crate) fn wait_while(&self, slot: u32, busy: impl Fn() -> bool) {
        let shard = self.shard(slot);
        let mut waiting = sync::lock(&shard.waiting);
        *waiting += 1;
        while busy() {
            waiting = sync::wait(&shard.changed, waiting);
        }
        *waiting -= 1;
    }

    /// Wakes those who wait for the entry in `slot`.
    pub(crate) fn wake(&self, slot: u32) {
        let shard = self.shard(slot);
        // The lock orders this after a waiter's look: it sees the step, or it is counted and woken. Nobody is told
        // when nobody waits: that would cost a system call.
        if *sync::lock(&shard.waiting) > 0 {
            shard.changed.notify_all();
        }
    }

    /// Wakes all who wait, to look again.
    pub(crate) fn wake_all(&self) {
        for shard in &self.shards {
            // The lock as in `wake`.
            drop(sync::lock(&shard.waiting));
            shard.changed.notify_all();
        }
    }

    fn shard(&self, slot: u32) -> &Shard {
        &self.shards[slot as usize % SHARDS]
    }
}
