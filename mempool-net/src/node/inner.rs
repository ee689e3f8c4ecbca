//! What the tasks, the services and the verbs of one node share.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mempool_core::{Fingerprint, Id, Pool, Untyped};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tonic::{Extensions, Request, Status};
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use crate::error::{NetError, Result};
use crate::identity::GlobalId;
use crate::node::claims::Claims;
use crate::node::figures::NodeStats;
use crate::node::inbox::Inbox;
use crate::node::kept::Kept;
use crate::node::neighbour::Neighbourhood;
use crate::node::offers::{Moment, Offers};
use crate::node::peers::Peers;
use crate::node::receive::Announced;
use crate::node::remotes::Remotes;
use crate::node::settings::Settings;
use crate::node::wire::{self, PeerId};
use crate::proto;
use crate::security::{Guard, Operation, Peer, SecurityError};

/// A node without the type of its pool's codec.
pub(crate) struct Inner {
    pub(crate) me: PeerId,
    /// A front that reads no value: what is done for others needs no type.
    pub(crate) pool: Pool<()>,
    pub(crate) peers: Peers,
    pub(crate) kept: Kept,
    pub(crate) remotes: Remotes,
    pub(crate) offers: Offers,
    pub(crate) announced: Moment<Fingerprint, Announced>,
    pub(crate) inbox: Inbox,
    /// Where others of this host find it, if they do.
    pub(crate) neighbourhood: OnceLock<Neighbourhood>,
    pub(crate) claims: Arc<Claims>,
    pub(crate) guard: Guard,
    pub(crate) settings: Settings,
    pub(crate) handle: Handle,
    health: HealthReporter,
    leaving: watch::Sender<bool>,
}

/// What a node is made of.
pub(crate) struct Parts {
    pub(crate) me: PeerId,
    pub(crate) pool: Pool<()>,
    pub(crate) peers: Peers,
    pub(crate) guard: Guard,
    pub(crate) settings: Settings,
    pub(crate) handle: Handle,
}

impl Inner {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let Parts { me, pool, peers, guard, settings, handle } = parts;
        Arc::new(Self {
            peers,
            kept: Kept::default(),
            remotes: Remotes::default(),
            offers: Offers::default(),
            announced: Moment::default(),
            inbox: Inbox::default(),
            neighbourhood: OnceLock::new(),
            claims: Arc::new(Claims::new(me.incarnation, settings.protocol.clone())),
            guard,
            me,
            pool,
            settings,
            handle,
            health: HealthReporter::new(),
            leaving: watch::Sender::new(false),
        })
    }

    /// How long a node that goes waits for others to have heard it.
    pub(crate) const LEAVE_WITHIN: Duration = Duration::from_secs(1);

    /// What a value of this pool is called in the cluster: one of its own, or one that another node owns.
    pub(crate) fn global(&self, id: Id) -> GlobalId {
        self.remotes.of(id).unwrap_or(GlobalId { birth: self.me.incarnation, id })
    }

    /// A value that this node owns, by its name in the cluster.
    pub(crate) fn own_value(&self, value: GlobalId) -> Option<Untyped> {
        let own = value.birth == self.me.incarnation && self.remotes.of(value.id).is_none();
        own.then(|| self.pool.find(value.id)).flatten()
    }

    /// The figures of this node.
    pub(crate) fn stats(&self) -> NodeStats {
        let stats = self.pool.stats();
        let (claimed_values, claims, remote_references) = self.claims.look(|machine| {
            let (owner, holder) = (machine.owner(), machine.holder());
            let claims = self.kept.ids().into_iter().map(|id| owner.holders(id).count() as u64);
            (owner.len() as u64, claims.sum(), holder.values() as u64)
        });
        NodeStats {
            limit_bytes: stats.limit_bytes,
            used_bytes: stats.used_bytes,
            peak_bytes: stats.peak_bytes,
            values: stats.values,
            sets: stats.sets,
            gets: stats.gets,
            hits: stats.hits,
            loads: stats.loads,
            spills: stats.spills,
            live_disk_bytes: stats.live_disk_bytes,
            claimed_values,
            claims,
            remote_references,
        }
    }

    /// Says whether the node goes.
    pub(crate) fn leaving(&self) -> watch::Receiver<bool> {
        self.leaving.subscribe()
    }

    /// Has the node go; answers whether this is the first time.
    pub(crate) fn begin_to_leave(&self) -> bool {
        !self.leaving.send_replace(true)
    }

    /// Refuses what a node that goes does no more.
    pub(crate) fn check_here(&self) -> Result<()> {
        if *self.leaving.borrow() { Err(NetError::Left) } else { Ok(()) }
    }

    pub(crate) fn health_service(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService::from_health_reporter(self.health.clone()))
    }

    pub(crate) async fn set_health(&self, serving: bool) {
        let status = match serving {
            true => tonic_health::ServingStatus::Serving,
            false => tonic_health::ServingStatus::NotServing,
        };
        self.health.set_service_status("", status).await;
    }

    /// Who calls, if it is a node, after it was checked that he may, and that this start of the node is meant.
    pub(crate) fn caller<M>(
        &self,
        request: &Request<M>,
        operation: Operation,
    ) -> Result<Option<PeerId>, Status> {
        let peer = peer_of(request.extensions())?;
        self.guard.authorize(peer, operation).map_err(|denied| forbidden(&denied))?;
        self.greeted(request)
    }

    /// The same for a call that everybody may make whose connection was taken.
    pub(crate) fn greeted<M>(&self, request: &Request<M>) -> Result<Option<PeerId>, Status> {
        let peer = peer_of(request.extensions())?;
        let text = |key| match request.metadata().get(key).map(|value| value.to_str()) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text)),
            Some(Err(_)) => Err(malformed(format!("{key} is no text"))),
        };
        if let Some(meant) = text(PeerId::TO)? {
            let meant = wire::incarnation_of_text(meant);
            let meant = meant.ok_or_else(|| malformed(format!("{} is no start", PeerId::TO)))?;
            if meant != self.me.incarnation {
                return Err(self.other_incarnation());
            }
        }
        if *self.leaving.borrow() {
            return Err(refused(proto::Reason::Leaving, proto::Kind::Environment, "it is leaving"));
        }
        let caller = text(PeerId::FROM)?.map(str::parse::<PeerId>);
        let caller = caller.transpose().map_err(malformed)?;
        if let Some(caller) = &caller {
            peer.check_claim(&caller.name).map_err(|denied| forbidden(&denied))?;
            self.peers.note(caller).map_err(|error| malformed(error.to_string()))?;
        }
        Ok(caller)
    }

    fn other_incarnation(&self) -> Status {
        wire::status_of(proto::Fault {
            kind: proto::Kind::Environment.into(),
            reason: proto::Reason::OtherIncarnation.into(),
            said: format!("{} answers here", self.me.text()),
            found: Some(proto::Peer::from(&self.me)),
        })
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("me", &self.me).finish_non_exhaustive()
    }
}

/// Who is at the other end of the connection that a request came over.
pub(crate) fn peer_of(extensions: &Extensions) -> Result<&Peer, Status> {
    extensions.get().ok_or_else(|| Status::internal("a request that came over no connection"))
}

fn forbidden(denied: &SecurityError) -> Status {
    refused(proto::Reason::Forbidden, proto::Kind::Misuse, denied.to_string())
}

/// A refusal.
pub(crate) fn refused(reason: proto::Reason, kind: proto::Kind, said: impl Into<String>) -> Status {
    wire::status_of(proto::Fault {
        kind: kind.into(),
        reason: reason.into(),
        said: said.into(),
        found: None,
    })
}

/// A message that is none of the protocol's.
pub(crate) fn malformed(said: impl Into<String>) -> Status {
    refused(proto::Reason::Malformed, proto::Kind::Misuse, said)
}
