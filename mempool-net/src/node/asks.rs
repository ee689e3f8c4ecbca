//! What this node asks of others, one function a call. The verbs of [`Node`](crate::Node) are these with two faces.

use std::sync::Arc;
use std::time::Duration;

use mempool_core::{Export, Untyped};

use crate::bytes::ServedFrame;
use crate::error::{NetError, Result};
use crate::identity::{GlobalId, NodeName};
use crate::node::describe::{Closure, cut};
use crate::node::figures::{NamedAt, NodeStats, ValueAt};
use crate::node::inner::Inner;
use crate::node::peers::Peer;
use crate::node::sharing::SetOn;
use crate::node::ticket::Ticket;
use crate::node::values::MESSAGE_BYTES_MAX;
use crate::proto;
use crate::proto::node_client::NodeClient;
use crate::proto::values_client::ValuesClient;
use crate::protocol::{self, Outcome, Uses};

/// Asks a peer; `$call` names a method of the generated client.
macro_rules! ask {
    ($inner:expr, $peer:expr, $client:ident, $call:ident, $message:expr) => {
        $peer
            .call(
                stringify!($call),
                $inner.settings.call_timeout,
                $message,
                |channel, request| async move {
                    let client = $client::new(channel);
                    client.max_decoding_message_size(MESSAGE_BYTES_MAX).$call(request).await
                },
            )
            .await
    };
}

impl Inner {
    pub(crate) fn peer(&self, name: &NodeName) -> Result<Arc<Peer>> {
        self.check_here()?;
        self.peers.get(name)
    }

    pub(crate) async fn stats_of(self: Arc<Self>, node: NodeName) -> Result<NodeStats> {
        let peer = self.peer(&node)?;
        let stats = ask!(self, peer, NodeClient, stats, proto::StatsRequest {})?;
        Ok(NodeStats::from(stats))
    }

    pub(crate) async fn list_of(self: Arc<Self>, node: NodeName) -> Result<Vec<ValueAt>> {
        let peer = self.peer(&node)?;
        let mut parts = ask!(self, peer, ValuesClient, list, proto::ListRequest {})?;
        let mut values = Vec::new();
        loop {
            // Each part has a deadline of its own: how many there are is not known.
            let within = self.settings.call_timeout;
            let part = tokio::time::timeout(within, parts.message()).await;
            let part = part.map_err(|_| NetError::Deadline {
                node: node.to_string(),
                call: "list",
                after: within,
            })?;
            let Some(part) = part.map_err(|status| peer.failed("list", status))? else {
                return Ok(values);
            };
            for value in part.values {
                values.push(peer.understood("list", ValueAt::try_from(value))?);
            }
        }
    }

    pub(crate) async fn names_of(self: Arc<Self>, node: NodeName) -> Result<Vec<NamedAt>> {
        let peer = self.peer(&node)?;
        let names = ask!(self, peer, ValuesClient, names, proto::NamesRequest {})?.names;
        let names =
            names.into_iter().map(|named| peer.understood("names", NamedAt::try_from(named)));
        names.collect()
    }

    pub(crate) async fn unname_at(self: Arc<Self>, node: NodeName, name: String) -> Result<()> {
        let peer = self.peer(&node)?;
        ask!(self, peer, ValuesClient, unname, proto::UnnameRequest { name })?;
        Ok(())
    }

    pub(crate) async fn set_name_at(
        self: Arc<Self>,
        value: GlobalId,
        name: String,
    ) -> Result<bool> {
        let peer = self.owner_of(value).await?;
        let message = proto::SetNameRequest { value: Some(value.into()), name };
        Ok(ask!(self, peer, ValuesClient, set_name, message)?.replaced)
    }

    pub(crate) async fn stat_at(self: Arc<Self>, value: GlobalId) -> Result<ValueAt> {
        let peer = self.owner_of(value).await?;
        let message = proto::StatRequest { value: Some(value.into()) };
        let answer = ask!(self, peer, ValuesClient, stat, message)?;
        let value = answer.value.ok_or_else(|| "no value".to_owned());
        peer.understood("stat", value.and_then(ValueAt::try_from))
    }

    pub(crate) async fn delete_at(self: Arc<Self>, value: GlobalId) -> Result<()> {
        let peer = self.owner_of(value).await?;
        let message = proto::DeleteRequest { value: Some(value.into()) };
        ask!(self, peer, ValuesClient, delete, message)?;
        Ok(())
    }

    pub(crate) async fn move_at(self: Arc<Self>, value: GlobalId) -> Result<()> {
        let peer = self.owner_of(value).await?;
        let message = proto::MoveToDiskRequest { value: Some(value.into()) };
        ask!(self, peer, ValuesClient, move_to_disk, message)?;
        Ok(())
    }

    pub(crate) async fn copy_at(self: Arc<Self>, value: GlobalId) -> Result<()> {
        let peer = self.owner_of(value).await?;
        let message = proto::CopyToDiskRequest { value: Some(value.into()) };
        ask!(self, peer, ValuesClient, copy_to_disk, message)?;
        Ok(())
    }

    pub(crate) async fn save_at(self: Arc<Self>, value: GlobalId, name: String) -> Result<u64> {
        let peer = self.owner_of(value).await?;
        let message = proto::SaveToDiskRequest { value: Some(value.into()), name };
        Ok(ask!(self, peer, ValuesClient, save_to_disk, message)?.bytes)
    }

    /// A reference to the value of a name at another node.
    pub(crate) async fn named_at(self: Arc<Self>, node: NodeName, name: String) -> Result<Untyped> {
        let peer = self.peer(&node)?;
        let found = ask!(self, peer, ValuesClient, find, proto::FindRequest { name })?;
        self.adopt_one(&peer, "find", found.closure, None).await
    }

    /// A reference to a value by its name in the cluster.
    pub(crate) async fn value_at(
        self: Arc<Self>,
        node: NodeName,
        value: GlobalId,
    ) -> Result<Untyped> {
        let peer = self.peer(&node)?;
        self.describe_at(&peer, value, None).await
    }

    async fn describe_at(
        self: &Arc<Self>,
        peer: &Arc<Peer>,
        value: GlobalId,
        held: Option<protocol::Hold>,
    ) -> Result<Untyped> {
        let message = proto::DescribeRequest { values: vec![value.into()] };
        let described = ask!(self, peer, ValuesClient, describe, message);
        let closure = match described {
            Ok(described) => described.closure,
            Err(error) => {
                held.into_iter().for_each(|hold| self.drop_hold(hold));
                return Err(error);
            }
        };
        self.adopt_one(peer, "describe", closure, held.map(|hold| (value, hold))).await
    }

    async fn adopt_one(
        self: &Arc<Self>,
        peer: &Peer,
        call: &'static str,
        closure: Option<proto::Closure>,
        held: Option<(GlobalId, protocol::Hold)>,
    ) -> Result<Untyped> {
        let closure = closure.ok_or_else(|| "nothing".to_owned()).and_then(Closure::try_from);
        let adopted = match peer.understood(call, closure) {
            Ok(closure) => self.adopt(closure, held).await?,
            Err(error) => {
                held.into_iter().for_each(|(_, hold)| self.drop_hold(hold));
                return Err(error);
            }
        };
        let one = adopted.into_iter().next().ok_or_else(|| "no value".to_owned());
        peer.understood(call, one)
    }

    /// Puts a copy of a value of this pool on another node, and refers to that.
    pub(crate) async fn put_on(
        self: Arc<Self>,
        node: NodeName,
        value: Untyped,
        options: SetOn,
    ) -> Result<Untyped> {
        let peer = self.peer(&node)?;
        let inner = Arc::clone(&self);
        let (frame, announce) = blocking(move || inner.to_be_put(&value, options)).await?;
        if let Some(announce) = announce {
            ask!(self, peer, ValuesClient, announce, announce)?;
        }
        let put = tokio::select! {
            put = peer.bytes.put(frame) => put,
            () = peer.ended() => return peer.check_alive().and(Err(NetError::Left)),
        };
        let put = match put {
            Ok(put) => put,
            Err(error) => return Err(self.bytes_failed(&peer, "put", error).await),
        };
        self.describe_at(&peer, put, None).await
    }

    fn to_be_put(
        &self,
        value: &Untyped,
        options: SetOn,
    ) -> Result<(Arc<dyn ServedFrame>, Option<proto::AnnounceRequest>)> {
        let export: Export = self.pool.export(value)?;
        let references = export.references();
        let frame = self.served(value)?;
        if references.is_empty() && options.is_plain() {
            return Ok((frame, None));
        }
        let fingerprint = frame.head().fingerprint;
        let wait = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let announce = proto::AnnounceRequest {
            frame_bytes: fingerprint.bytes,
            header_checksum: fingerprint.header_checksum,
            references: Some(self.closure(&references)?.into()),
            type_name: cut(export.type_name()),
            discardable: options.discardable,
            name: options.name,
            wait_ms: options.wait.map(wait),
        };
        Ok((frame, Some(announce)))
    }

    /// Sends a reference, and returns when the receiver holds it.
    pub(crate) async fn send_to(
        self: Arc<Self>,
        node: NodeName,
        value: Untyped,
        label: String,
    ) -> Result<()> {
        let peer = self.peer(&node)?;
        let inner = Arc::clone(&self);
        let sent = value.clone();
        let closure = blocking(move || Ok(inner.closure(&[sent])?)).await?;
        let message = proto::SendRequest { value: Some(closure.into()), label };
        ask!(self, peer, ValuesClient, send, message)?;
        // Held by this node until the receiver holds it.
        drop(value);
        Ok(())
    }

    /// A ticket for a value of this pool, whoever owns it.
    pub(crate) async fn ticket_for(
        self: Arc<Self>,
        value: Untyped,
        ttl: Duration,
        uses: Uses,
    ) -> Result<Ticket> {
        let id = self.global(value.id());
        if self.remotes.of(value.id()).is_none() {
            let ticket = self.issue(id, ttl, uses)?;
            return Ok(Ticket { owner: self.me.clone(), ticket });
        }
        let peer = self.owner_of(id).await?;
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let once = uses == Uses::Once;
        let message = proto::IssueRequest { value: Some(id.into()), ttl_ms, once };
        let issued = ask!(self, peer, ValuesClient, issue, message)?.ticket;
        let ticket = issued.ok_or_else(|| "no ticket".to_owned()).and_then(TryInto::try_into);
        let ticket = peer.understood("issue", ticket)?;
        // Until here the value is held by this node.
        drop(value);
        Ok(Ticket { owner: peer.id.clone(), ticket })
    }

    /// A ticket for a value of this node's own.
    pub(crate) fn issue(
        &self,
        value: GlobalId,
        ttl: Duration,
        uses: Uses,
    ) -> Result<protocol::Ticket> {
        let secret = crate::identity::random().map_err(|source| NetError::Start { source })?;
        let issued = self.at_once(|machine, now, keeper| {
            machine.ticket(now, value, (ttl, uses), secret, keeper)
        });
        Ok(issued?)
    }

    pub(crate) async fn redeem(self: Arc<Self>, ticket: Ticket) -> Result<Untyped> {
        self.check_here()?;
        let Ticket { owner, ticket } = ticket;
        if owner.incarnation != self.me.incarnation {
            self.know(&owner).await?;
        }
        let within = self.settings.call_timeout;
        let found = self.outcome(|machine, now, keeper| {
            machine.redeem(now, ticket, now.saturating_add(within), keeper)
        });
        let found = found.await.map_err(|refusal| match refusal {
            protocol::Refusal::OwnerDead { owner: meant } => {
                NetError::Ended { node: owner.name.clone(), meant, found: None }
            }
            refusal => NetError::Claim(refusal),
        })?;
        let Outcome::Found { reference, hold } = found else { return Err(NetError::Left) };
        if reference.owner == self.me.incarnation {
            self.drop_hold(hold);
            let own = self.own_value(reference.value);
            let gone = protocol::Refusal::Gone { value: reference.value, owner: reference.owner };
            return own.ok_or(NetError::Claim(gone));
        }
        let peer = self.peers.of_incarnation(reference.owner);
        let Some(peer) = peer else {
            self.drop_hold(hold);
            return Err(NetError::Claim(protocol::Refusal::OwnerDead { owner: reference.owner }));
        };
        self.describe_at(&peer, reference.value, Some(hold)).await
    }

    /// Goes, and tells everybody.
    pub(crate) async fn leave(self: Arc<Self>) {
        if !self.begin_to_leave() {
            return;
        }
        self.set_health(false).await;
        let inner = Arc::clone(&self);
        let stopped = tokio::task::spawn_blocking(move || {
            if let Some(here) = inner.neighbourhood.get() {
                here.stop();
            }
        });
        let within = self.settings.call_timeout.min(Self::LEAVE_WITHIN);
        let told = self.peers.list().into_iter().map(|peer| {
            tokio::spawn(async move {
                let tell =
                    |channel, request| async move { NodeClient::new(channel).leave(request).await };
                // Who cannot be told notices by itself.
                let _ = peer.call("leave", within, proto::LeaveRequest {}, tell).await;
            })
        });
        for told in told.collect::<Vec<_>>() {
            let _ = told.await;
        }
        let _ = stopped.await;
        // What others had of this node has ended, and what was sent to it nobody will receive.
        let _ = blocking(move || {
            drop((self.kept.take_all(), self.inbox.take_all()));
            drop((self.offers.over(Duration::MAX), self.announced.over(Duration::MAX)));
            Ok(())
        })
        .await;
    }
}

/// Runs what may wait for the disk where it keeps no other task waiting.
async fn blocking<R: Send + 'static>(
    act: impl FnOnce() -> Result<R> + Send + 'static,
) -> Result<R> {
    // It is not cancelled, so it fails by a panic alone, which was reported where it happened.
    tokio::task::spawn_blocking(act).await.unwrap_or(Err(NetError::Left))
}
