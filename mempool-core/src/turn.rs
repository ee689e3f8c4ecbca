//! Turns at writing: so many threads at most write to the store at once in order to make room.
//!
//! Who gets no turn has chosen no victim. It waits as one more request in the ledger's queue, so who is served next is the
//! ledger's order and not the order of turns: whatever a write frees goes to the request that came first.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::budget::Ledger;

/// Who waits for the writes of others waits at least so long for one of them to end.
const PATIENCE_MIN: Duration = Duration::from_secs(1);

/// How many turns there are, and what became of them. Changes under the ledger's lock alone.
#[derive(Debug)]
pub(crate) struct Turns {
    most: usize,
    taken: usize,
    /// How many have ended: moves with everything that a request without a turn waits for.
    ended: u64,
}

impl Turns {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, taken: 0, ended: 0 }
    }

    pub(crate) fn set_most(&mut self, most: usize) {
        self.most = most.max(1);
    }

    /// Takes a turn; where there is none, how many have ended by now.
    pub(crate) fn try_take(&mut self) -> Result<(), u64> {
        if self.taken >= self.most && !mutant!("turns_without_bound") {
            return Err(self.ended);
        }
        self.taken += 1;
        Ok(())
    }

    pub(crate) fn end(&mut self) {
        self.taken -= 1;
        self.note_end();
    }

    /// Work ended that has no turn, and is waited for as if it had one.
    pub(crate) fn note_end(&mut self) {
        self.ended = self.ended.wrapping_add(1);
    }

    pub(crate) fn ended(&self) -> u64 {
        self.ended
    }
}

/// A turn that was taken; it ends when it is dropped.
pub(crate) struct Turn(Arc<Ledger>);

impl Turn {
    /// A turn in `ledger`; where there is none, how many have ended by now.
    pub(crate) fn take(ledger: &Arc<Ledger>) -> Result<Self, u64> {
        ledger.take_turn()?;
        Ok(Self(Arc::clone(ledger)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.end_turn();
    }
}

/// How long a request still waits for the writes of others: anew from each one that ends.
#[derive(Default)]
pub(crate) struct Patience(Option<(u64, Instant)>);

impl Patience {
    /// When it ends, if no turn has ended since `ended`.
    pub(crate) fn until(&mut self, ended: u64, timeout: Duration) -> Instant {
        match self.0 {
            Some((before, until)) if before == ended => until,
            _ => {
                let now = Instant::now();
                // A timeout beyond the clock's range is for ever; thirty years are.
                let far = Duration::from_secs(1_000_000_000);
                let until = now.checked_add(timeout.max(PATIENCE_MIN));
                let until = until.or_else(|| now.checked_add(far)).unwrap_or(now);
                self.0 = Some((ended, until));
                until
            }
        }
    }
}
