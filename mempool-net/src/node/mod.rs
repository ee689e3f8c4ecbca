//! Nodes: a pool that others can reach, and what it does with the values of others.

mod adopt;
mod asks;
mod builder;
mod calls;
mod claims;
mod deliveries;
mod describe;
mod dial;
mod fetch;
mod figures;
mod inbox;
mod inner;
mod join;
mod kept;
mod letters;
mod neighbour;
mod offers;
mod peers;
mod receive;
mod references;
mod remotes;
mod runtime;
mod save;
mod server;
mod settings;
mod sharing;
mod shelf;
mod ticket;
mod untyped;
mod values;
mod verbs;
mod wire;

use std::fmt;
use std::sync::Arc;

use mempool_core::Pool;

use crate::error::Result;
use crate::identity::{Incarnation, NodeName};
use runtime::Runtime;

pub(crate) use inner::Inner;

pub use builder::NodeBuilder;
pub use figures::{NamedAt, NodeStats, ValueAt};
pub use sharing::{NotSet, Received, SetOn};
pub use ticket::{Ticket, TicketError};

/// The version of the calls between nodes.
pub(crate) const VERSION: u32 = 1;

/// What nodes that meet compare the checksums of their stores by.
pub(crate) const PROBE: &[u8] = b"mempool";

/// A pool that other nodes can reach, and that reaches them.
///
/// *Clone*: the same node; the last clone that is dropped leaves the cluster, as [`leave`](Self::leave) does. *Identity*: a
/// name that stays, and an incarnation that each start has anew.
///
/// # Blocking and async
/// Every verb that waits for another node has two faces, `verb` and `verb_async`, over one implementation. The blocking ones
/// are for ordinary threads: called within a task of an async runtime they keep one of its worker threads waiting.
pub struct Node<C> {
    pool: Pool<C>,
    presence: Arc<Presence>,
}

/// A node that is there; it leaves when the last of its fronts is dropped.
struct Presence {
    inner: Arc<Inner>,
    runtime: Runtime,
}

impl<C: Send + Sync + 'static> Node<C> {
    /// A node of `pool`, to be configured and started.
    pub fn builder(pool: Pool<C>) -> NodeBuilder<C> {
        NodeBuilder::new(pool)
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &NodeName {
        &self.inner().me.name
    }

    /// Which start of it this is.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.inner().me.incarnation
    }

    /// Where others reach it, as `HOST:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.inner().me.address
    }

    /// The pool beside it.
    #[must_use]
    pub fn pool(&self) -> &Pool<C> {
        &self.pool
    }

    fn inner(&self) -> &Arc<Inner> {
        &self.presence.inner
    }

    /// Leaves the cluster: tells the others, who then release what this node claimed of them and know that what it owned has
    /// ended; answers the calls that are under way, and takes no more. The pool stays open, with what its program refers to. A
    /// second call does nothing. Who cannot be told notices by himself.
    ///
    /// # Errors
    /// [`Left`](crate::NetError::Left) where the runtime that it ran on has ended.
    pub fn leave(&self) -> Result<()> {
        let inner = Arc::clone(self.inner());
        self.presence.runtime.wait(async move { inner.leave().await })
    }

    /// As [`leave`](Self::leave).
    ///
    /// # Errors
    /// As [`leave`](Self::leave).
    pub async fn leave_async(&self) -> Result<()> {
        Arc::clone(self.inner()).leave().await;
        Ok(())
    }
}

impl<C> Clone for Node<C> {
    fn clone(&self) -> Self {
        Self { pool: self.pool.clone(), presence: Arc::clone(&self.presence) }
    }
}

impl<C> fmt::Debug for Node<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("me", &self.presence.inner.me).finish_non_exhaustive()
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let inner = Arc::clone(&self.inner);
        // Who wants to know calls `leave` himself.
        self.runtime.wait_for(async move { inner.leave().await }, Inner::LEAVE_WITHIN * 3);
    }
}
