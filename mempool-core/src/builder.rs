//! `Builder`: a value that is written piece by piece inside the budget.

use std::fmt;

use crate::codec::{Build, Room};
use crate::dref::DRef;
use crate::error::Result;
use crate::pool::Pool;

/// A value while it is written. Its bytes are in the pool's ledger as they come; dropped unfinished, they return.
pub struct Builder<C: Build<T>, T: Send + Sync + 'static> {
    // Before `room`: memory is freed before its reservation is paid back.
    partial: C::Partial,
    room: Room,
    pool: Pool<C>,
}

impl<C: Build<T>, T: Send + Sync + 'static> Builder<C, T> {
    pub(crate) fn new(pool: Pool<C>, room: Room) -> Self {
        Self { partial: pool.codec().start(), room, pool }
    }

    /// Adds `piece`, evicting other values if it must.
    ///
    /// # Errors
    /// [`NoRoom`](crate::Error::NoRoom), [`TooLarge`](crate::Error::TooLarge) or [`Spill`](crate::Error::Spill); what was
    /// written before is still there.
    pub fn push(&mut self, piece: &C::Piece) -> Result<()> {
        let Self { partial, room, pool } = self;
        pool.codec().push(partial, piece, room)
    }

    /// What it takes from the budget now.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.room.charged_bytes()
    }

    /// Ends the value and puts it into the pool.
    ///
    /// # Errors
    /// As [`push`](Self::push), and the codec's; the value is then lost.
    pub fn finish(self) -> Result<DRef<T>> {
        let Self { partial, mut room, pool } = self;
        let resident = pool.codec().finish(partial, &mut room)?;
        pool.insert_built(resident, room)
    }
}

impl<C: Build<T>, T: Send + Sync + 'static> fmt::Debug for Builder<C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}
