//! The verbs of a node, each with a blocking and an async face over one function of `asks.rs`.

use std::future::Future;
use std::sync::Arc;

use crate::error::Result;
use crate::identity::NodeName;
use crate::membership::{Member, Membership as _};
use crate::node::figures::{NamedAt, NodeStats, ValueAt};
use crate::node::{Inner, Node};

impl<C: Send + Sync + 'static> Node<C> {
    /// Runs a verb while this thread waits.
    pub(crate) fn wait<R: Send + 'static>(
        &self,
        verb: impl Future<Output = Result<R>> + Send + 'static,
    ) -> Result<R> {
        self.presence.runtime.wait(verb)?
    }

    /// The other nodes that this one knows, in the order of their names, and whether they answer.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.inner().peers.members()
    }

    /// Comes to know the node at an address, `HOST:PORT` or `NAME@HOST:PORT`, and those that it knows; answers its name.
    ///
    /// # Errors
    /// [`Unreachable`](crate::NetError::Unreachable), [`Deadline`](crate::NetError::Deadline),
    /// [`Answer`](crate::NetError::Answer), [`Left`](crate::NetError::Left).
    pub fn meet(&self, address: &str) -> Result<NodeName> {
        self.wait(meet(Arc::clone(self.inner()), address.to_owned()))
    }

    /// As [`meet`](Self::meet).
    ///
    /// # Errors
    /// As [`meet`](Self::meet).
    pub async fn meet_async(&self, address: &str) -> Result<NodeName> {
        meet(Arc::clone(self.inner()), address.to_owned()).await
    }

    /// The figures of another node.
    ///
    /// # Errors
    /// Those of every call: [`UnknownNode`](crate::NetError::UnknownNode),
    /// [`Unreachable`](crate::NetError::Unreachable), [`Deadline`](crate::NetError::Deadline),
    /// [`Ended`](crate::NetError::Ended), [`Remote`](crate::NetError::Remote), [`Answer`](crate::NetError::Answer),
    /// [`Left`](crate::NetError::Left).
    pub fn stats(&self, node: &NodeName) -> Result<NodeStats> {
        self.wait(Arc::clone(self.inner()).stats_of(node.clone()))
    }

    /// As [`stats`](Self::stats).
    ///
    /// # Errors
    /// As [`stats`](Self::stats).
    pub async fn stats_async(&self, node: &NodeName) -> Result<NodeStats> {
        Arc::clone(self.inner()).stats_of(node.clone()).await
    }

    /// The values of another node, in no order that means anything; those of others that it refers to are among them.
    ///
    /// # Errors
    /// As [`stats`](Self::stats).
    pub fn list(&self, node: &NodeName) -> Result<Vec<ValueAt>> {
        self.wait(Arc::clone(self.inner()).list_of(node.clone()))
    }

    /// As [`list`](Self::list).
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn list_async(&self, node: &NodeName) -> Result<Vec<ValueAt>> {
        Arc::clone(self.inner()).list_of(node.clone()).await
    }

    /// The names at another node, in ascending order.
    ///
    /// # Errors
    /// As [`stats`](Self::stats).
    pub fn names(&self, node: &NodeName) -> Result<Vec<NamedAt>> {
        self.wait(Arc::clone(self.inner()).names_of(node.clone()))
    }

    /// As [`names`](Self::names).
    ///
    /// # Errors
    /// As [`names`](Self::names).
    pub async fn names_async(&self, node: &NodeName) -> Result<Vec<NamedAt>> {
        Arc::clone(self.inner()).names_of(node.clone()).await
    }

    /// Takes a name away at another node.
    ///
    /// # Errors
    /// As [`stats`](Self::stats); the [`Reason`](crate::Reason) is `NoName` where there is none.
    pub fn unname_on(&self, node: &NodeName, name: &str) -> Result<()> {
        self.wait(Arc::clone(self.inner()).unname_at(node.clone(), name.to_owned()))
    }

    /// As [`unname_on`](Self::unname_on).
    ///
    /// # Errors
    /// As [`unname_on`](Self::unname_on).
    pub async fn unname_on_async(&self, node: &NodeName, name: &str) -> Result<()> {
        Arc::clone(self.inner()).unname_at(node.clone(), name.to_owned()).await
    }
}

async fn meet(inner: Arc<Inner>, address: String) -> Result<NodeName> {
    inner.check_here()?;
    crate::node::join::meet(&inner, &address).await.map(|found| found.name)
}
