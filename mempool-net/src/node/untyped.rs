//! The verbs for values whose types the program does not know: it hands them on, and reads none.

use std::sync::Arc;

use mempool_core::Untyped;

use crate::error::Result;
use crate::identity::NodeName;
use crate::node::Node;
use crate::node::sharing::SetOn;

impl<C: Send + Sync + 'static> Node<C> {
    /// The value of a name at another node, whatever its type; [`named`](Self::named) compares it.
    ///
    /// ```
    /// use mempool_core::{Blob, PoolOptions};
    /// use mempool_net::{Node, SetOn};
    ///
    /// let here = Node::builder(PoolOptions::new().open(Blob)).start()?;
    /// let there = Node::builder(PoolOptions::new().open(Blob)).start()?;
    /// let peer = here.meet(there.address())?;
    ///
    /// let value = here.pool().set(vec![7; 1000])?.untyped();
    /// here.copy_untyped_on(&peer, &value, SetOn::new().name("sevens"))?;
    /// let found = here.named_untyped(&peer, "sevens")?;
    /// here.pool().move_to_disk(&found.erased())?; // there, where it is
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of every call, see [`stats`](Self::stats), with the reason `NoName` where there is none.
    pub fn named_untyped(&self, node: &NodeName, name: &str) -> Result<Untyped> {
        self.wait(Arc::clone(self.inner()).named_at(node.clone(), name.to_owned()))
    }

    /// As [`named_untyped`](Self::named_untyped).
    ///
    /// # Errors
    /// As [`named_untyped`](Self::named_untyped).
    pub async fn named_untyped_async(&self, node: &NodeName, name: &str) -> Result<Untyped> {
        Arc::clone(self.inner()).named_at(node.clone(), name.to_owned()).await
    }

    /// Puts a copy of a value of this node's pool on another node, and refers to the copy there; see
    /// [`copy_on`](Self::copy_on).
    ///
    /// # Errors
    /// As [`copy_on`](Self::copy_on), but for those about its type.
    pub fn copy_untyped_on(
        &self,
        node: &NodeName,
        value: &Untyped,
        options: SetOn,
    ) -> Result<Untyped> {
        self.wait(Arc::clone(self.inner()).put_on(node.clone(), value.clone(), options))
    }

    /// As [`copy_untyped_on`](Self::copy_untyped_on).
    ///
    /// # Errors
    /// As [`copy_untyped_on`](Self::copy_untyped_on).
    pub async fn copy_untyped_on_async(
        &self,
        node: &NodeName,
        value: &Untyped,
        options: SetOn,
    ) -> Result<Untyped> {
        Arc::clone(self.inner()).put_on(node.clone(), value.clone(), options).await
    }
}
