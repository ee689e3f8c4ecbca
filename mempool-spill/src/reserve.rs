//! The free-space reserve: what the file system must have free when a file of ours has grown.

use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::disk::Disk;
use crate::error::SpillError;
use crate::session::Session;

/// What is left to others.
#[derive(Debug)]
pub(crate) struct Reserve {
    bytes: u64,
    /// Held from the look at the disk until what was looked for is taken, or two threads might count on the same bytes.
    turn: Mutex<()>,
}

impl Reserve {
    pub(crate) fn new(bytes: u64) -> Self {
        Self { bytes, turn: Mutex::new(()) }
    }

    /// Whether `asked_bytes` may be taken. Nobody else of this store takes any while the guard lives.
    pub(crate) fn check(
        &self,
        disk: &dyn Disk,
        session: &Session,
        asked_bytes: u64,
    ) -> Result<Option<MutexGuard<'_, ()>>, SpillError> {
        if self.bytes == 0 || asked_bytes == 0 {
            return Ok(None);
        }
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let path = session.path();
        let free_bytes = disk.free_bytes(session.dir().as_fd());
        let free_bytes =
            free_bytes.map_err(|e| SpillError::io("ask for free space in", path, e))?;
        if free_bytes < asked_bytes.saturating_add(self.bytes) && !mutant!("reserve_ignored") {
            let (path, reserve_bytes) = (path.to_path_buf(), self.bytes);
            return Err(SpillError::Reserve { path, asked_bytes, free_bytes, reserve_bytes });
        }
        Ok(Some(turn))
    }
}
