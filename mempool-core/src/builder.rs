//! `Builder`: a value that is written piece by piece inside the budget.

use std::fmt;

use crate::codec::{Build, Room};
use crate::dref::DRef;
use crate::error::Result;
use crate::pool::Pool;

/// A value while it is written. Its bytes are in the pool's ledger as they come; dropped unfinished, they return.
pub struct Builder<C: Build<T>, T: Send + Sync + 'static> {
    /// The partial value stands before its room: memory is freed before its reservation is paid back. `None` only on
    /// the way out.
    parts: Option<(C::Partial, Room)>,
    pool: Pool<C>,
}

impl<C: Build<T>, T: Send + Sync + 'static> Builder<C, T> {
    pub(crate) fn new(pool: Pool<C>, room: Room) -> Self {
        Self { parts: Some((pool.codec().start(), room)), pool }
    }

    /// Adds `piece`, evicting other values if it must.
    ///
    /// # Errors
    /// [`NoRoom`](crate::Error::NoRoom), [`TooLarge`](crate::Error::TooLarge), [`Spill`](crate::Error::Spill) or
    /// [`Forked`](crate::Error::Forked); what was written before is still there.
    pub fn push(&mut self, piece: &C::Piece) -> Result<()> {
        self.pool.check_process()?;
        match &mut self.parts {
            Some((partial, room)) => self.pool.codec().push(partial, piece, room),
            None => Ok(()),
        }
    }

    /// What it takes from the budget now.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.parts.as_ref().map_or(0, |(_, room)| room.charged_bytes())
    }

    /// Ends the value and puts it into the pool.
    ///
    /// # Errors
    /// As [`push`](Self::push), and the codec's; the value is then lost.
    ///
    /// # Panics
    /// Never: a builder that is not finished has its parts.
    pub fn finish(mut self) -> Result<DRef<T>> {
        self.pool.check_process()?;
        let (partial, mut room) = self.parts.take().expect("finished once");
        let resident = self.pool.codec().finish(partial, &mut room)?;
        self.pool.insert_built(resident, room)
    }
}

impl<C: Build<T>, T: Send + Sync + 'static> Drop for Builder<C, T> {
    fn drop(&mut self) {
        // In a forked child the half-made value is the parent's: its drop may run code of the user's.
        if self.pool.check_process().is_err() {
            std::mem::forget(self.parts.take());
        }
    }
}

impl<C: Build<T>, T: Send + Sync + 'static> fmt::Debug for Builder<C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}
