//! The service `Claims`: messages of the claims protocol come in here.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::node::inner::{Inner, malformed};
use crate::node::letters::DELIVERY_MAX;
use crate::proto;
use crate::proto::claims_server::Claims;
use crate::protocol::Message;
use crate::security::Operation;

/// What takes them.
pub(crate) struct Deliveries(Arc<Inner>);

impl Deliveries {
    pub(crate) fn new(inner: &Arc<Inner>) -> Self {
        Self(Arc::clone(inner))
    }
}

#[tonic::async_trait]
impl Claims for Deliveries {
    async fn deliver(
        &self,
        request: Request<proto::DeliverRequest>,
    ) -> Result<Response<proto::DeliverResponse>, Status> {
        let from = self.0.caller(&request, Operation::Claim)?;
        let from = from.ok_or_else(|| malformed("only a node has claims"))?.incarnation;
        let messages = request.into_inner().messages;
        if messages.len() > DELIVERY_MAX {
            return Err(malformed(format!("{} messages at once", messages.len())));
        }
        let messages = messages.into_iter().map(Message::try_from).collect::<Result<Vec<_>, _>>();
        for message in messages.map_err(malformed)? {
            self.0.hear(from, message);
        }
        Ok(Response::new(proto::DeliverResponse {}))
    }
}
