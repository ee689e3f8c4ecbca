//! The values of other nodes that this pool refers to: which entry stands for which, and the way to each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use mempool_core::{Error, Fetched, Id, RemoteFrame, Room, StoreError, StoreErrorKind, Trust};

use crate::error::{NetError, Reason, Result};
use crate::identity::GlobalId;
use crate::node::describe::Description;
use crate::node::inner::Inner;
use crate::node::runtime::block;
use crate::protocol::Hold;

/// The entries of this pool that stand for values of others.
#[derive(Debug, Default)]
pub(crate) struct Remotes(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    by_value: HashMap<GlobalId, Id>,
    by_entry: HashMap<Id, Arc<Description>>,
}

impl Remotes {
    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing panics with the lock held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value that an entry stands for.
    pub(crate) fn of(&self, entry: Id) -> Option<GlobalId> {
        self.lock().by_entry.get(&entry).map(|described| described.value)
    }

    /// What is known of the value that an entry stands for.
    pub(crate) fn description(&self, entry: Id) -> Option<Arc<Description>> {
        self.lock().by_entry.get(&entry).map(Arc::clone)
    }

    /// The entry that stands for a value.
    pub(crate) fn entry(&self, value: GlobalId) -> Option<Id> {
        self.lock().by_value.get(&value).copied()
    }

    /// Notes that an entry stands for a value; of several, the last one is found.
    fn note(&self, entry: Id, described: Arc<Description>) {
        let mut table = self.lock();
        table.by_value.insert(described.value, entry);
        table.by_entry.insert(entry, described);
    }

    fn forget(&self, entry: Id) {
        let mut table = self.lock();
        let Some(described) = table.by_entry.remove(&entry) else { return };
        if table.by_value.get(&described.value) == Some(&entry) {
            table.by_value.remove(&described.value);
        }
    }
}

/// The way to a value of another node's, for as long as this pool refers to it: one use of this node's claim.
pub(crate) struct Remote {
    inner: Weak<Inner>,
    described: Arc<Description>,
    hold: Hold,
    /// The entry that stands for it, once there is one.
    entry: OnceLock<Id>,
}

impl Remote {
    pub(crate) fn new(inner: &Arc<Inner>, described: Arc<Description>, hold: Hold) -> Arc<Self> {
        Arc::new(Self { inner: Arc::downgrade(inner), described, hold, entry: OnceLock::new() })
    }

    /// Says which entry stands for it.
    pub(crate) fn stands_as(&self, entry: Id) {
        if let Some(inner) = self.inner.upgrade()
            && self.entry.set(entry).is_ok()
        {
            inner.remotes.note(entry, Arc::clone(&self.described));
        }
    }

    fn inner(&self) -> Result<Arc<Inner>> {
        let inner = self.inner.upgrade().ok_or(NetError::Left)?;
        inner.check_here()?;
        Ok(inner)
    }

    /// Has the owner do something, while this thread waits.
    fn at_owner<F>(&self, ask: impl FnOnce(Arc<Inner>, GlobalId) -> F) -> mempool_core::Result<()>
    where
        F: Future<Output = Result<()>> + Send,
    {
        let done = self.inner().and_then(|inner| {
            let handle = inner.handle.clone();
            block(&handle, ask(inner, self.described.value))
        });
        done.map_err(|error| core_error(error, self.described.value))
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // A node that is gone has told everybody.
        let Some(inner) = self.inner.upgrade() else { return };
        if let Some(entry) = self.entry.get() {
            inner.remotes.forget(*entry);
        }
        inner.drop_hold(self.hold);
    }
}

impl RemoteFrame for Remote {
    fn open(&self, room: &mut Room) -> Result<Fetched, StoreError> {
        let opened = self.inner().and_then(|inner| {
            let (handle, value) = (inner.handle.clone(), self.described.value);
            let peer = block(&handle, inner.owner_near(value))?;
            match inner.map_from(&peer, &self.described) {
                // Of the same user on the same kernel, and nobody can change its bytes: both were checked.
                Some(frame) => Ok(Fetched::new(frame).trust(Trust::Own)),
                None => block(&handle, inner.fetch(&peer, value, room)),
            }
        });
        opened.map_err(|error| store_error(core_error(error, self.described.value)))
    }

    fn delete(&self) -> mempool_core::Result<()> {
        self.at_owner(|inner, value| inner.delete_at(value))
    }

    fn move_to_disk(&self) -> mempool_core::Result<()> {
        self.at_owner(|inner, value| inner.move_at(value))
    }

    fn copy_to_disk(&self) -> mempool_core::Result<()> {
        self.at_owner(|inner, value| inner.copy_at(value))
    }

    fn describe(&self) -> String {
        format!("value {} of node {}", self.described.value, self.described.owner.name)
    }
}

/// The pool hands on an error of its own that a store gives it, see `From<StoreError>`.
fn store_error(error: Error) -> StoreError {
    StoreError::new(StoreErrorKind::Io, error)
}

/// An error of the way to a value, as the pool has it. What the program is to find of it is the source.
pub(crate) fn core_error(error: NetError, value: GlobalId) -> Error {
    let id = value.id;
    let kind = match error {
        NetError::Pool(error) => return error,
        NetError::Remote { reason: Reason::Deleted, .. } => return Error::Deleted { id },
        NetError::Remote { reason: Reason::Discarded, .. } => return Error::Discarded { id },
        NetError::Remote { reason: Reason::NoValue, .. } => StoreErrorKind::Missing,
        NetError::Left => StoreErrorKind::Closed,
        ref other => match other.kind() {
            mempool_core::ErrorKind::Damage => StoreErrorKind::Damaged,
            mempool_core::ErrorKind::Misuse => StoreErrorKind::Unsupported,
            _ => StoreErrorKind::Io,
        },
    };
    Error::Store(StoreError::new(kind, error))
}
