//! A value of another node's on its way here, and what is asked of its owner.

use std::ops::Range;
use std::sync::Arc;

use mempool_core::{ALIGNMENT, Buffer, BufferMut, Cause, ErrorKind, Fetched, Room};

use crate::bytes::{ByteRange, BytesError, FrameHead, RefusalKind};
use crate::error::{NetError, Reason, Result};
use crate::identity::GlobalId;
use crate::node::claims::now;
use crate::node::inner::Inner;
use crate::node::peers::Peer;
use crate::protocol::{Outcome, Reference, Refusal};

impl Inner {
    /// This node's reference to a value, once it stands.
    pub(crate) async fn stands(&self, value: GlobalId) -> Result<Reference> {
        let standing = || self.claims.look(|machine| machine.standing(now(), value));
        match standing() {
            Ok(reference) => return Ok(reference),
            Err(Refusal::Pending { .. } | Refusal::Fenced { .. }) => {}
            Err(refusal) => return Err(self.explain(value, refusal)),
        }
        let within = self.settings.call_timeout;
        let outcome = self.outcome(|machine, now, keeper| {
            machine.stand(now, value, now.saturating_add(within), keeper)
        });
        match outcome.await {
            Ok(Outcome::Stands(reference)) => Ok(reference),
            // Why it still does not stand says more than that time is over.
            Ok(_) | Err(Refusal::TimedOut) => {
                standing().map_err(|refusal| self.explain(value, refusal))
            }
            Err(refusal) => Err(self.explain(value, refusal)),
        }
    }

    /// What a refusal about a value means to the program.
    pub(crate) fn explain(&self, value: GlobalId, refusal: Refusal) -> NetError {
        let described = self.remotes.entry(value).and_then(|id| self.remotes.description(id));
        match (refusal, described) {
            (Refusal::OwnerDead { owner }, Some(described)) => NetError::Ended {
                node: described.owner.name.clone(),
                meant: owner,
                found: self.peers.successor(&described.owner.name, owner),
            },
            (refusal @ Refusal::Gone { .. }, Some(described)) => NetError::Remote {
                node: described.owner.name.to_string(),
                call: "claim",
                kind: ErrorKind::Misuse,
                reason: Reason::NoValue,
                said: refusal.to_string(),
            },
            (refusal, _) => NetError::Claim(refusal),
        }
    }

    /// The owner of a value that this node's reference to stands.
    pub(crate) async fn owner_of(&self, value: GlobalId) -> Result<Arc<Peer>> {
        let owner = self.stands(value).await?.owner;
        let peer = self.peers.of_incarnation(owner);
        let peer = peer.ok_or_else(|| self.explain(value, Refusal::OwnerDead { owner }))?;
        peer.check_alive()?;
        Ok(peer)
    }

    /// As [`owner_of`](Self::owner_of), and whether it is on this host was looked at.
    pub(crate) async fn owner_near(self: &Arc<Self>, value: GlobalId) -> Result<Arc<Peer>> {
        let peer = self.owner_of(value).await?;
        if self.neighbourhood.get().is_some() && peer.neighbour.get().is_none() {
            let hello = peer.ask_whether_alive(self.settings.probe_timeout).await;
            // Nobody else waits on this thread.
            match hello {
                Ok(Some(hello)) => self.look_for(&peer, &hello),
                Ok(None) => drop(peer.neighbour.set(None)),
                // The bytes will say what is wrong.
                Err(_) => {}
            }
        }
        Ok(peer)
    }

    /// Brings the frame of a value here, into memory that `room` pays for.
    pub(crate) async fn fetch(
        self: &Arc<Self>,
        peer: &Peer,
        value: GlobalId,
        room: &mut Room,
    ) -> Result<Fetched> {
        let begin = |_: &FrameHead, range: Range<u64>| reserve(room, range);
        let fetched = tokio::select! {
            fetched = peer.bytes.fetch(value, ByteRange::WHOLE, begin) => fetched,
            () = peer.ended() => {
                return Err(self.explain(value, Refusal::OwnerDead { owner: peer.id.incarnation }));
            }
        };
        match fetched {
            Ok((_, frame)) => Ok(Fetched::new(frame.freeze())),
            Err(error) => Err(self.bytes_failed(peer, "get", error).await),
        }
    }

    /// What it means that bytes did not come or go.
    pub(crate) async fn bytes_failed(
        &self,
        peer: &Peer,
        call: &'static str,
        error: BytesError,
    ) -> NetError {
        let node = || peer.id.name.to_string();
        let error = match error {
            BytesError::Sink { source, .. } => {
                return match source.downcast::<mempool_core::Error>() {
                    Ok(error) => NetError::Pool(*error),
                    Err(source) => NetError::Unreachable { node: node(), call, source },
                };
            }
            error => error,
        };
        let reason = match &error {
            BytesError::Refused { kind: RefusalKind::Gone, .. } => Some(Reason::Deleted),
            BytesError::Refused { kind: RefusalKind::NotFound, .. } => Some(Reason::NoValue),
            BytesError::Refused { kind: RefusalKind::Forbidden, .. } => Some(Reason::Forbidden),
            BytesError::Refused { kind: RefusalKind::NoRoom, .. } => Some(Reason::NoRoom),
            BytesError::Refused { kind: RefusalKind::TooLarge, .. } => Some(Reason::TooLarge),
            BytesError::Connect { .. } | BytesError::Broken { .. } | BytesError::Timeout { .. } => {
                None
            }
            _ => Some(Reason::Other),
        };
        if peer.has_exited() {
            peer.end(None);
            return peer.check_alive().err().unwrap_or(NetError::Left);
        }
        // A node that does not answer may have been started again, and a value that is not found may have been of another start.
        if matches!(reason, None | Some(Reason::NoValue)) {
            let there = format!("{}@{}", peer.id.name, peer.id.address);
            let asked = self.peers.hello(&there, self.settings.probe_timeout).await;
            if let Ok(found) = asked
                && self.peers.note(&found).is_ok()
                && let Err(ended) = peer.check_alive()
            {
                return ended;
            }
        }
        match reason {
            None => NetError::Unreachable { node: node(), call, source: error.into() },
            Some(reason) => {
                let (kind, said) = (error.kind(), error.to_string());
                NetError::Remote { node: node(), call, kind, reason, said }
            }
        }
    }
}

/// Memory for what is to come.
fn reserve(room: &mut Room, range: Range<u64>) -> Result<BufferMut, Cause> {
    let bytes = range.end.saturating_sub(range.start);
    let len = usize::try_from(bytes).map_err(|_| mempool_core::Error::Allocation { bytes })?;
    let reservation = room.take(Buffer::allocation_bytes(len, ALIGNMENT)?)?;
    Ok(BufferMut::with_capacity(len, ALIGNMENT, reservation)?)
}
