//! The service `Node`: who this node is, whom it knows, what it holds as a whole.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::node::inner::{Inner, malformed};
use crate::proto;
use crate::proto::node_server::Node;
use crate::security::Operation;

/// What answers.
pub(crate) struct Calls(Arc<Inner>);

impl Calls {
    pub(crate) fn new(inner: &Arc<Inner>) -> Self {
        Self(Arc::clone(inner))
    }
}

#[tonic::async_trait]
impl Node for Calls {
    async fn hello(
        &self,
        request: Request<proto::HelloRequest>,
    ) -> Result<Response<proto::HelloResponse>, Status> {
        let proto::HelloRequest { version, checksum } = *request.get_ref();
        if version != crate::node::VERSION {
            let ours = crate::node::VERSION;
            return Err(malformed(format!("version {version}, and {ours} is spoken here")));
        }
        let ours = self.0.pool.checksum(crate::node::PROBE);
        // The caller compares as well, and says so by an error of its own; nodes that cannot read each other are no peers.
        let caller = match checksum.is_none_or(|theirs| theirs == ours) {
            true => self.0.greeted(&request)?,
            false => None,
        };
        let node = Some(proto::Peer::from(&self.0.me));
        let here = self.0.neighbourhood.get().zip(caller);
        let hello = here.and_then(|(here, caller)| here.hello(caller.incarnation));
        let same_host = hello.map(|hello| hello.to_bytes().to_vec().into()).unwrap_or_default();
        Ok(Response::new(proto::HelloResponse { version, node, same_host, checksum: ours }))
    }

    async fn peers(
        &self,
        request: Request<proto::PeersRequest>,
    ) -> Result<Response<proto::PeersResponse>, Status> {
        self.0.caller(&request, Operation::Stat)?;
        let others = self.0.peers.list();
        let others = others.iter().filter(|peer| peer.check_alive().is_ok());
        let others = others.map(|peer| proto::Peer::from(&peer.id));
        let peers = std::iter::once(proto::Peer::from(&self.0.me)).chain(others).collect();
        Ok(Response::new(proto::PeersResponse { peers }))
    }

    async fn stats(
        &self,
        request: Request<proto::StatsRequest>,
    ) -> Result<Response<proto::StatsResponse>, Status> {
        self.0.caller(&request, Operation::Stat)?;
        Ok(Response::new(self.0.stats().into()))
    }

    async fn leave(
        &self,
        request: Request<proto::LeaveRequest>,
    ) -> Result<Response<proto::LeaveResponse>, Status> {
        let caller = self.0.greeted(&request)?;
        let caller = caller.ok_or_else(|| malformed("only a node can leave"))?;
        self.0.peers.note_end(&caller.name, caller.incarnation);
        Ok(Response::new(proto::LeaveResponse {}))
    }
}
