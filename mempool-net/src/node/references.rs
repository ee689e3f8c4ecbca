//! References as they are asked for, announced, sent and given out as tickets: the side that answers.

use std::sync::Arc;
use std::time::Duration;

use mempool_core::{Fingerprint, Untyped, Wait};
use tonic::Status;

use crate::error::{NetError, Reason};
use crate::node::claims::now;
use crate::node::describe::Closure;
use crate::node::inbox::Letter;
use crate::node::inner::{Inner, malformed, refused};
use crate::node::receive::Announced;
use crate::node::values::{blocking, no_value, of_pool};
use crate::node::wire::{self, PeerId};
use crate::proto;
use crate::protocol::{BATCH_MAX, Refusal, Uses};

impl Inner {
    pub(crate) async fn describe_for(
        self: &Arc<Self>,
        request: proto::DescribeRequest,
    ) -> Result<proto::DescribeResponse, Status> {
        if request.values.len() > BATCH_MAX {
            return Err(malformed(format!("{} values at once", request.values.len())));
        }
        let find = |id| {
            let id = wire::value_of(Some(id)).map_err(malformed)?;
            self.value(id).ok_or_else(|| no_value(id))
        };
        let roots = request.values.into_iter().map(find).collect::<Result<Vec<_>, _>>()?;
        self.described(roots).await
    }

    pub(crate) async fn find_for(
        self: &Arc<Self>,
        name: String,
    ) -> Result<proto::DescribeResponse, Status> {
        let found = self.pool.named_untyped(&name).map_err(|error| of_pool(&error))?;
        self.described(vec![found]).await
    }

    async fn described(
        self: &Arc<Self>,
        roots: Vec<Untyped>,
    ) -> Result<proto::DescribeResponse, Status> {
        let inner = Arc::clone(self);
        let closure = blocking(move || inner.closure(&roots)).await?;
        Ok(proto::DescribeResponse { closure: Some(closure.into()) })
    }

    pub(crate) async fn announced_by(
        self: &Arc<Self>,
        request: proto::AnnounceRequest,
    ) -> Result<proto::AnnounceResponse, Status> {
        let proto::AnnounceRequest { frame_bytes, header_checksum, references, .. } = request;
        let references = references.map_or(Ok(Closure::default()), Closure::try_from);
        let references = references.map_err(malformed)?;
        let references = self.adopt(references, None).await.map_err(|error| of_net(&error))?;
        let announced = Announced {
            references,
            type_name: request.type_name,
            discardable: request.discardable,
            name: request.name,
            wait: request.wait_ms.map(|wait| Wait::For(Duration::from_millis(wait))),
        };
        let fingerprint = Fingerprint { bytes: frame_bytes, header_checksum };
        match self.announced.keep(fingerprint, announced, now()) {
            Ok(()) => Ok(proto::AnnounceResponse {}),
            Err(_too_many) => Err(too_many("announced frames")),
        }
    }

    pub(crate) async fn sent_by(
        self: &Arc<Self>,
        from: PeerId,
        request: proto::SendRequest,
    ) -> Result<proto::SendResponse, Status> {
        let closure = request.value.ok_or_else(|| malformed("no value is sent"))?;
        let closure = Closure::try_from(closure).map_err(malformed)?;
        if closure.roots.len() != 1 {
            return Err(malformed("one value is sent at a time"));
        }
        let label = Letter::label(request.label).map_err(malformed)?;
        self.inbox.check_room().map_err(|_| too_many("references that nobody has received"))?;
        let arrived = self.adopt(closure, None).await.map_err(|error| of_net(&error))?;
        let Some(value) = arrived.into_iter().next() else {
            return Err(malformed("no value is sent"));
        };
        match self.inbox.put(Letter { from: from.name, label, value }) {
            Ok(()) => Ok(proto::SendResponse {}),
            Err(_full) => Err(too_many("references that nobody has received")),
        }
    }

    pub(crate) fn issue_for(
        &self,
        request: proto::IssueRequest,
    ) -> Result<proto::IssueResponse, Status> {
        let value = wire::value_of(request.value).map_err(malformed)?;
        let ttl = Duration::from_millis(request.ttl_ms);
        let uses = if request.once { Uses::Once } else { Uses::Many };
        let ticket = self.issue(value, ttl, uses).map_err(|error| of_net(&error))?;
        Ok(proto::IssueResponse { ticket: Some(ticket.into()) })
    }
}

fn too_many(what: &str) -> Status {
    refused(proto::Reason::Unspecified, proto::Kind::Limit, format!("too many {what}"))
}

/// An error of this node as others are told of it.
pub(crate) fn of_net(error: &NetError) -> Status {
    let reason = match error {
        NetError::Pool(error) => return of_pool(error),
        NetError::Remote { reason, .. } => *reason,
        NetError::Claim(Refusal::Gone { .. } | Refusal::NotOwned { .. }) => Reason::NoValue,
        NetError::Claim(Refusal::TicketUnknown { .. } | Refusal::TicketUsed { .. }) => {
            Reason::Ticket
        }
        NetError::Claim(Refusal::Fenced { .. }) => Reason::Fenced,
        NetError::Left => Reason::Leaving,
        _ => Reason::Other,
    };
    refused(wire::reason_message(reason), wire::kind_message(error.kind()), error.to_string())
}
