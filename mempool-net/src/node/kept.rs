//! The values of this node that others hold references to, each kept alive by one counted reference. Which of them are
//! still held is said by the claims; this is the table that follows.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mempool_core::Untyped;

use crate::identity::GlobalId;

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Kept(Mutex<HashMap<GlobalId, Untyped>>);

impl Kept {
    fn lock(&self) -> MutexGuard<'_, HashMap<GlobalId, Untyped>> {
        // Nothing panics with the lock held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, id: GlobalId) -> Option<Untyped> {
        self.lock().get(&id).cloned()
    }

    /// Keeps a value from now on. What was kept under its name before comes back, to be dropped under no lock.
    pub(crate) fn insert(&self, id: GlobalId, value: Untyped) -> Option<Untyped> {
        self.lock().insert(id, value)
    }

    /// Keeps a value no more. It may end when what comes back is dropped.
    pub(crate) fn remove(&self, id: GlobalId) -> Option<Untyped> {
        self.lock().remove(&id)
    }

    /// Keeps nothing more; what was kept is to be dropped under no lock.
    pub(crate) fn take_all(&self) -> Vec<Untyped> {
        std::mem::take(&mut *self.lock()).into_values().collect()
    }

    /// What is kept.
    pub(crate) fn ids(&self) -> Vec<GlobalId> {
        self.lock().keys().copied().collect()
    }
}
