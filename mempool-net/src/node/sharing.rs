//! The verbs of a node that make and give away references. Each has a blocking and an async face over one function of
//! `asks.rs`.

use std::sync::Arc;
use std::time::Duration;

use mempool_core::{Codec, DRef, PinnedOwned, Rejected, Untyped};

use crate::error::{NetError, Result};
use crate::identity::{GlobalId, NodeName};
use crate::node::figures::ValueAt;
use crate::node::inbox::Letter;
use crate::node::ticket::Ticket;
use crate::node::{Inner, Node};
use crate::protocol::Uses;

/// How a value is set on another node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct SetOn {
    pub(crate) discardable: bool,
    pub(crate) name: Option<String>,
    pub(crate) wait: Option<Duration>,
}

impl SetOn {
    /// An ordinary value: spilled there when room is needed, waited for as the options of the pool there say.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value is dropped there instead of spilled, as [`SetOptions::discardable`](mempool_core::SetOptions::discardable).
    pub fn discardable(mut self) -> Self {
        self.discardable = true;
        self
    }

    /// Names the value there, when it is set.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How long the set waits there for room.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    pub(crate) fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// A value that was not set on another node, with the reason.
pub enum NotSet<T> {
    /// The pool of this node did not take it; it comes back as it was handed in.
    Rejected(Rejected<T>),
    /// The other node did not take it; it is in the pool of this node.
    Kept {
        /// A reference to it here.
        reference: DRef<T>,
        /// Why.
        error: NetError,
    },
}

impl<T> From<NotSet<T>> for NetError {
    fn from(not_set: NotSet<T>) -> Self {
        match not_set {
            NotSet::Rejected(rejected) => Self::Pool(rejected.error),
            NotSet::Kept { error, .. } => error,
        }
    }
}

impl<T> std::fmt::Debug for NotSet<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rejected(rejected) => f.debug_tuple("Rejected").field(&rejected.error).finish(),
            Self::Kept { reference, error } => f
                .debug_struct("Kept")
                .field("reference", &reference.id())
                .field("error", error)
                .finish(),
        }
    }
}

impl<T> std::fmt::Display for NotSet<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rejected(rejected) => rejected.error.fmt(f),
            Self::Kept { error, .. } => error.fmt(f),
        }
    }
}

impl<T> std::error::Error for NotSet<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Rejected(rejected) => rejected.error.source(),
            Self::Kept { error, .. } => error.source(),
        }
    }
}

/// A reference that another node has sent.
#[derive(Debug)]
#[non_exhaustive]
pub struct Received<T> {
    /// Who sent it.
    pub from: NodeName,
    /// The reference.
    pub reference: DRef<T>,
}

impl<C: Send + Sync + 'static> Node<C> {
    /// Sets a value on another node, and refers to it there: its bytes are with that node, and come here when it is got.
    ///
    /// The value is encoded by this node's codec, within the budget of this node's pool, and need not be known there by its
    /// type. What it refers to travels with it. (MemPool.jl: `poolset(v, pid)`.)
    ///
    /// ```
    /// use mempool_core::{Blob, PoolOptions};
    /// use mempool_net::Node;
    ///
    /// let here = Node::builder(PoolOptions::new().open(Blob)).start()?;
    /// let there = Node::builder(PoolOptions::new().open(Blob)).start()?;
    /// let peer = here.meet(there.address())?;
    ///
    /// let value = here.set_on(&peer, vec![7; 1000])?;
    /// assert_eq!(here.pool().get(&value)?.len(), 1000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Gives the value back, or a reference to it in this node's pool; see [`NotSet`]. Those of every call, see
    /// [`stats`](Self::stats); a [`Reason`](crate::Reason) of `NoRoom`, `TooLarge` or `Full` where it has no room.
    pub fn set_on<T>(&self, node: &NodeName, value: T) -> Result<DRef<T>, NotSet<T>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        self.set_on_with(node, value, SetOn::new())
    }

    /// As [`set_on`](Self::set_on), with options.
    ///
    /// # Errors
    /// As [`set_on`](Self::set_on).
    pub fn set_on_with<T>(
        &self,
        node: &NodeName,
        value: T,
        options: SetOn,
    ) -> Result<DRef<T>, NotSet<T>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        let reference = self.pool().set(value).map_err(NotSet::Rejected)?;
        match self.copy_on(node, &reference, options) {
            Ok(there) => Ok(there),
            Err(error) => Err(NotSet::Kept { reference, error }),
        }
    }

    /// As [`set_on_with`](Self::set_on_with).
    ///
    /// # Errors
    /// As [`set_on`](Self::set_on).
    pub async fn set_on_async<T>(
        &self,
        node: &NodeName,
        value: T,
        options: SetOn,
    ) -> Result<DRef<T>, NotSet<T>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        let pool = self.pool().clone();
        let set = self.where_it_may_wait(move || pool.set(value)).await;
        let reference = set.map_err(NotSet::Rejected)?;
        match self.copy_on_async(node, &reference, options).await {
            Ok(there) => Ok(there),
            Err(error) => Err(NotSet::Kept { reference, error }),
        }
    }

    /// Holds a value readable, wherever it is: as [`Pool::get_owned`](mempool_core::Pool::get_owned), for tasks, which must not wait.
    ///
    /// # Errors
    /// Those of the pool.
    pub async fn get_async<T>(&self, value: &DRef<T>) -> mempool_core::Result<PinnedOwned<C, T>>
    where
        C: Codec<T>,
        C::View: Sync,
        T: Send + Sync + 'static,
    {
        let (pool, value) = (self.pool().clone(), value.clone());
        self.where_it_may_wait(move || pool.get_owned(&value)).await
    }

    /// Runs what waits for disk or peers on a thread that may.
    async fn where_it_may_wait<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> R {
        let done = self.inner().handle.spawn_blocking(work).await;
        // It is not cancelled; what panicked goes on in the caller.
        done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    /// Puts a copy of a value of this node's pool on another node, and refers to the copy there.
    ///
    /// # Errors
    /// As [`set_on`](Self::set_on); the value stays as it was.
    pub fn copy_on<T>(&self, node: &NodeName, value: &DRef<T>, options: SetOn) -> Result<DRef<T>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        let put = Arc::clone(self.inner()).put_on(node.clone(), value.untyped(), options);
        self.typed(self.wait(put))
    }

    /// As [`copy_on`](Self::copy_on).
    ///
    /// # Errors
    /// As [`copy_on`](Self::copy_on).
    pub async fn copy_on_async<T>(
        &self,
        node: &NodeName,
        value: &DRef<T>,
        options: SetOn,
    ) -> Result<DRef<T>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        let put = Arc::clone(self.inner()).put_on(node.clone(), value.untyped(), options);
        self.typed(put.await)
    }

    /// The value of a name at another node.
    ///
    /// # Errors
    /// Those of every call, see [`stats`](Self::stats), with the reason `NoName` where there is none;
    /// [`Pool`](NetError::Pool) with [`WrongCodec`](mempool_core::Error::WrongCodec) for a value of another type.
    pub fn named<T>(&self, node: &NodeName, name: &str) -> Result<DRef<T>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        let found = Arc::clone(self.inner()).named_at(node.clone(), name.to_owned());
        self.typed(self.wait(found))
    }

    /// As [`named`](Self::named).
    ///
    /// # Errors
    /// As [`named`](Self::named).
    pub async fn named_async<T>(&self, node: &NodeName, name: &str) -> Result<DRef<T>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        self.typed(Arc::clone(self.inner()).named_at(node.clone(), name.to_owned()).await)
    }

    /// A value of another node's by its name in the cluster, such as a [`list`](Self::list) has it, while somebody refers to it.
    ///
    /// # Errors
    /// As [`named`](Self::named), with the reason `NoValue` where there is none.
    pub fn find<T>(&self, node: &NodeName, value: GlobalId) -> Result<DRef<T>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        self.typed(self.wait(Arc::clone(self.inner()).value_at(node.clone(), value)))
    }

    /// As [`find`](Self::find).
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub async fn find_async<T>(&self, node: &NodeName, value: GlobalId) -> Result<DRef<T>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        self.typed(Arc::clone(self.inner()).value_at(node.clone(), value).await)
    }

    /// Gives the value a name at the node that owns it; says whether another value had that name before.
    ///
    /// # Errors
    /// Those of every call, see [`stats`](Self::stats); [`Pool`](NetError::Pool) for a value of this node's own.
    pub fn set_name_on<T>(&self, name: &str, value: &DRef<T>) -> Result<bool> {
        match self.remote(value) {
            Some(id) => self.wait(Arc::clone(self.inner()).set_name_at(id, name.to_owned())),
            None => Ok(self.pool().set_name(name, value)?.is_some()),
        }
    }

    /// As [`set_name_on`](Self::set_name_on).
    ///
    /// # Errors
    /// As [`set_name_on`](Self::set_name_on).
    pub async fn set_name_on_async<T>(&self, name: &str, value: &DRef<T>) -> Result<bool> {
        match self.remote(value) {
            Some(id) => Arc::clone(self.inner()).set_name_at(id, name.to_owned()).await,
            None => Ok(self.pool().set_name(name, value)?.is_some()),
        }
    }

    /// What the owner of a value knows of it.
    ///
    /// # Errors
    /// As [`set_name_on`](Self::set_name_on).
    pub fn stat<T>(&self, value: &DRef<T>) -> Result<ValueAt> {
        let here = self.pool().info(value)?;
        match self.remote(value) {
            Some(id) => self.wait(Arc::clone(self.inner()).stat_at(id)),
            None => Ok(ValueAt::of(self.inner().global(value.id()), &here)),
        }
    }

    /// As [`stat`](Self::stat).
    ///
    /// # Errors
    /// As [`stat`](Self::stat).
    pub async fn stat_async<T>(&self, value: &DRef<T>) -> Result<ValueAt> {
        let here = self.pool().info(value)?;
        match self.remote(value) {
            Some(id) => Arc::clone(self.inner()).stat_at(id).await,
            None => Ok(ValueAt::of(self.inner().global(value.id()), &here)),
        }
    }

    /// Has the owner save a value to a file of that name in its directory of exports; answers the length of the file.
    ///
    /// # Errors
    /// Those of every call, see [`stats`](Self::stats), with the reason `Export` where the owner saves nothing, or not under that
    /// name, and `HoldsReferences` for a value that refers to others. [`NoValue`](crate::Reason::NoValue) for a value of this node's own,
    /// which [`Pool::save_to_disk`](mempool_core::Pool::save_to_disk) saves.
    pub fn save_on<T>(&self, value: &DRef<T>, name: &str) -> Result<u64> {
        let id = self.inner().global(value.id());
        self.wait(Arc::clone(self.inner()).save_at(id, name.to_owned()))
    }

    /// As [`save_on`](Self::save_on).
    ///
    /// # Errors
    /// As [`save_on`](Self::save_on).
    pub async fn save_on_async<T>(&self, value: &DRef<T>, name: &str) -> Result<u64> {
        let id = self.inner().global(value.id());
        Arc::clone(self.inner()).save_at(id, name.to_owned()).await
    }

    /// Which node owns a value of this pool's: its name, or `None` for this node itself.
    #[must_use]
    pub fn owner<T>(&self, value: &DRef<T>) -> Option<NodeName> {
        let described = self.inner().remotes.description(value.id())?;
        Some(described.owner.name.clone())
    }

    /// What a value of this pool's is called in the cluster.
    #[must_use]
    pub fn global_id<T>(&self, value: &DRef<T>) -> GlobalId {
        self.inner().global(value.id())
    }

    /// Sends a reference to another node, whose program [`receive`](Self::receive)s it under the same label. When this
    /// returns that node holds it, and this one may let go.
    ///
    /// # Errors
    /// Those of every call, see [`stats`](Self::stats).
    pub fn send<T>(&self, node: &NodeName, value: &DRef<T>, label: &str) -> Result<()> {
        let value = value.untyped();
        self.wait(Arc::clone(self.inner()).send_to(node.clone(), value, label.to_owned()))
    }

    /// As [`send`](Self::send).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_async<T>(&self, node: &NodeName, value: &DRef<T>, label: &str) -> Result<()> {
        let value = value.untyped();
        Arc::clone(self.inner()).send_to(node.clone(), value, label.to_owned()).await
    }

    /// Takes the reference that came first with that label, waiting for one. References keep their order for each sender that
    /// waits for its sends.
    ///
    /// # Errors
    /// [`Deadline`](NetError::Deadline) when none came in time, [`Left`](NetError::Left); [`Pool`](NetError::Pool) with
    /// [`WrongCodec`](mempool_core::Error::WrongCodec) for a value of another type, whose reference is then dropped.
    pub fn receive<T>(&self, label: &str, within: Duration) -> Result<Received<T>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        let letter = self.wait(received(Arc::clone(self.inner()), label.to_owned(), within))?;
        Ok(Received { from: letter.from, reference: self.pool().typed(&letter.value)? })
    }

    /// As [`receive`](Self::receive).
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub async fn receive_async<T>(&self, label: &str, within: Duration) -> Result<Received<T>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        let letter = received(Arc::clone(self.inner()), label.to_owned(), within).await?;
        Ok(Received { from: letter.from, reference: self.pool().typed(&letter.value)? })
    }

    /// A ticket for a value: whoever has its text can redeem it for so long, and the owner keeps the value until then.
    ///
    /// # Errors
    /// Those of every call, see [`stats`](Self::stats); [`Claim`](NetError::Claim) where there are too many.
    pub fn ticket<T>(&self, value: &DRef<T>, ttl: Duration, uses: Uses) -> Result<Ticket> {
        self.wait(Arc::clone(self.inner()).ticket_for(value.untyped(), ttl, uses))
    }

    /// As [`ticket`](Self::ticket).
    ///
    /// # Errors
    /// As [`ticket`](Self::ticket).
    pub async fn ticket_async<T>(
        &self,
        value: &DRef<T>,
        ttl: Duration,
        uses: Uses,
    ) -> Result<Ticket> {
        Arc::clone(self.inner()).ticket_for(value.untyped(), ttl, uses).await
    }

    /// The value that a ticket is for. Its owner need not be known before.
    ///
    /// # Errors
    /// Those of every call, see [`stats`](Self::stats); [`Claim`](NetError::Claim) for a ticket that is used up or over;
    /// [`Pool`](NetError::Pool) with [`WrongCodec`](mempool_core::Error::WrongCodec) for a value of another type.
    pub fn redeem<T>(&self, ticket: &Ticket) -> Result<DRef<T>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        self.typed(self.wait(Arc::clone(self.inner()).redeem(ticket.clone())))
    }

    /// As [`redeem`](Self::redeem).
    ///
    /// # Errors
    /// As [`redeem`](Self::redeem).
    pub async fn redeem_async<T>(&self, ticket: &Ticket) -> Result<DRef<T>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        self.typed(Arc::clone(self.inner()).redeem(ticket.clone()).await)
    }

    /// The name in the cluster of a value that another node owns.
    fn remote<T>(&self, value: &DRef<T>) -> Option<GlobalId> {
        self.inner().remotes.of(value.id())
    }

    fn typed<T>(&self, found: Result<Untyped>) -> Result<DRef<T>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        Ok(self.pool().typed(&found?)?)
    }
}

async fn received(inner: Arc<Inner>, label: String, within: Duration) -> Result<Letter> {
    inner.check_here()?;
    let mut leaving = inner.leaving();
    tokio::select! {
        letter = inner.inbox.wait(&label) => Ok(letter),
        _ = leaving.wait_for(|leaving| *leaving) => Err(NetError::Left),
        () = tokio::time::sleep(within) => Err(NetError::Deadline {
            node: inner.me.name.to_string(),
            call: "receive",
            after: within,
        }),
    }
}
