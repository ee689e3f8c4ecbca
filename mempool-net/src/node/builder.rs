//! `NodeBuilder`: how a node is started.

use std::sync::Arc;
use std::time::Duration;

use mempool_core::Pool;
use tokio::sync::mpsc;

use crate::error::{NetError, Result};
use crate::host::RuntimeDir;
use crate::identity::{Incarnation, NodeName};
use crate::membership;
use crate::node::inner::{Inner, Parts};
use crate::node::neighbour::Neighbourhood;
use crate::node::peers::Peers;
use crate::node::runtime::{Runtime, block};
use crate::node::settings::Settings;
use crate::node::wire::PeerId;
use crate::node::{Node, PROBE, Presence, claims, join, server};
use crate::protocol::Lease;
use crate::security::{Acceptor, Connector, Exports, Guard, Listener, Policy, SecurityError, Tls};

/// The settings of a node; see [`Node::builder`].
#[derive(Debug)]
#[must_use = "a node is started by `start`"]
pub struct NodeBuilder<C> {
    pool: Pool<C>,
    name: Option<NodeName>,
    listen: String,
    advertise: Option<String>,
    runtime: Option<tokio::runtime::Handle>,
    tls: Option<Tls>,
    policy: Policy,
    same_host: SameHost,
    settings: Settings,
}

/// Where processes of the same host are met.
#[derive(Debug)]
enum SameHost {
    /// In the user's own directory, if there is one.
    Usual,
    At(Arc<RuntimeDir>),
    Off,
}

impl<C: Send + Sync + 'static> NodeBuilder<C> {
    /// How many worker threads a runtime of the node's own has.
    pub const WORKERS: usize = 2;

    pub(crate) fn new(pool: Pool<C>) -> Self {
        Self {
            pool,
            name: None,
            listen: "127.0.0.1:0".to_owned(),
            advertise: None,
            runtime: None,
            tls: None,
            policy: Policy::default(),
            same_host: SameHost::Usual,
            settings: Settings::default(),
        }
    }

    /// What the node is called in lists of peers. With TLS it is what its certificate says; without, a name made of random
    /// digits, unless it is set.
    pub fn name(mut self, name: NodeName) -> Self {
        self.name = Some(name);
        self
    }

    /// Where the node listens, as `HOST:PORT`; port 0 has the system choose. `127.0.0.1:0` unless it is set.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// Where others reach the node, if that is not where it listens: behind a translated address, or when it listens on
    /// all addresses of its host.
    pub fn advertise(mut self, address: impl Into<String>) -> Self {
        self.advertise = Some(address.into());
        self
    }

    /// Nodes to join, as `HOST:PORT` or `NAME@HOST:PORT`, in addition to those of earlier calls. They need not be there yet: the
    /// node asks again until each has answered. One is enough, for nodes tell each other of those they know.
    ///
    /// With TLS the certificate of one that is joined by its address alone must be for that address.
    pub fn join<S: Into<String>>(mut self, seeds: impl IntoIterator<Item = S>) -> Self {
        self.settings.seeds.extend(seeds.into_iter().map(Into::into));
        self
    }

    /// The node's credentials: it speaks mutual TLS with everybody, and may listen where others can reach it. Without them it
    /// speaks plain text, and only with its own host, whose processes it trusts.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// What others may do here, how much of it, and how long each step may take. With TLS nobody may do anything who is not
    /// named in it.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// How long a claim stands that is not renewed; all nodes of a cluster must have the same.
    pub fn lease(mut self, lease: Lease) -> Self {
        self.settings.protocol.lease = lease;
        self
    }

    /// How long a call may take that moves no bytes of values; 10 seconds unless another time is set.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.settings.call_timeout = timeout;
        self
    }

    /// Lets others have values saved in this directory, under names that they choose; off unless it is set.
    pub fn exports(mut self, exports: Exports) -> Self {
        self.settings.exports = exports;
        self
    }

    /// Where nodes of the same user on this host meet, which hand each other descriptors instead of bytes; the same for all of
    /// them. Unless it is set they meet where [`RuntimeDir::of_user`] says, if that can be.
    pub fn runtime_dir(mut self, dir: Arc<RuntimeDir>) -> Self {
        self.same_host = SameHost::At(dir);
        self
    }

    /// Has the node get all bytes over the network, and give them so, on its own host, too.
    pub fn without_same_host(mut self) -> Self {
        self.same_host = SameHost::Off;
        self
    }

    /// The runtime on which the node's tasks run; it must have its timers and its I/O enabled, and threads beside the one
    /// that calls the node's blocking verbs. Without this call the node has [`WORKERS`](Self::WORKERS) threads of its own.
    pub fn runtime(mut self, handle: tokio::runtime::Handle) -> Self {
        self.runtime = Some(handle);
        self
    }

    /// Starts the node: when this returns it can be reached. Nodes to join are asked in the background.
    ///
    /// # Errors
    /// [`NetError::Listen`] for an address that is none or that is taken; [`NetError::Security`] for one that others can reach,
    /// without TLS, and for a name that is not the certificate's; [`NetError::Host`] for a runtime directory that was set and does
    /// not do; [`NetError::Start`].
    pub fn start(self) -> Result<Node<C>> {
        let runtime = match self.runtime {
            Some(handle) => Runtime::of(handle),
            None => Runtime::own(Self::WORKERS)?,
        };
        let incarnation = Incarnation::now().map_err(|source| NetError::Start { source })?;
        let name = name_of(self.name, self.tls.as_ref(), incarnation)?;
        let guard = Guard::new(self.policy);
        let connector = Connector::new(self.tls.clone(), guard.policy().deadlines.clone());
        let acceptor = Acceptor::new(self.tls, guard.clone());
        let listener = block(runtime.handle(), listen(self.listen, acceptor))?;
        let bound = listener.local_address().map(|address| address.to_string());
        let address = self.advertise.or(bound).unwrap_or_default();
        let (died, dead) = mpsc::unbounded_channel();
        let me = PeerId { name, incarnation, address };
        let checksum = self.pool.checksum(PROBE);
        let inner = Inner::new(Parts {
            peers: Peers::new(me.clone(), checksum, connector, died),
            me,
            pool: self.pool.with_codec(()),
            guard,
            settings: self.settings,
            handle: runtime.handle().clone(),
        });
        let (dir, wanted) = match self.same_host {
            SameHost::Usual => (RuntimeDir::of_user().ok().map(Arc::new), false),
            SameHost::At(dir) => (Some(dir), true),
            SameHost::Off => (None, false),
        };
        if let Some(dir) = dir {
            match Neighbourhood::start(dir, incarnation, &Arc::downgrade(&inner)) {
                Ok(here) => drop(inner.neighbourhood.set(here)),
                Err(error) if wanted => return Err(error.into()),
                // It is a shorter way, and not the only one.
                Err(_) => {}
            }
        }
        let tasks = runtime.handle();
        tasks.spawn(server::serve(listener, Arc::clone(&inner), inner.leaving()));
        tasks.spawn(claims::keep_time(Arc::downgrade(&inner), dead, inner.leaving()));
        tasks.spawn(membership::keep_asking(Arc::downgrade(&inner), inner.leaving()));
        tasks.spawn(join::keep_joining(Arc::downgrade(&inner), inner.leaving()));
        Ok(Node { pool: self.pool, presence: Arc::new(Presence { inner, runtime }) })
    }
}

/// Listens at the first of the addresses behind a text that is free.
async fn listen(text: String, acceptor: Acceptor) -> Result<Listener> {
    let listen = |source| NetError::Listen { address: text.clone(), source };
    let mut refused = listen(std::io::ErrorKind::NotFound.into());
    for address in tokio::net::lookup_host(&text).await.map_err(listen)? {
        match Listener::bind_tcp(address, acceptor.clone()).await {
            Ok(listener) => return Ok(listener),
            Err(SecurityError::Connection { source, .. }) => refused = listen(source),
            Err(error) => return Err(error.into()),
        }
    }
    Err(refused)
}

/// What the node is called.
fn name_of(
    given: Option<NodeName>,
    tls: Option<&Tls>,
    Incarnation(bits): Incarnation,
) -> Result<NodeName> {
    let random = || {
        let low = bits & u128::from(u64::MAX);
        NodeName::new(&format!("node-{low:016x}"))
            .expect("letters and digits with a hyphen between")
    };
    match (given, tls.map(Tls::node)) {
        (Some(given), Some(proved)) if given != proved => {
            Err(SecurityError::OtherNode { own: given, found: proved }.into())
        }
        (given, proved) => Ok(proved.or(given).unwrap_or_else(random)),
    }
}
