//! Nodes of one host: descriptors instead of bytes, and processes whose exit is a proof. All of it is a shorter way alone: what
//! does not work here goes over the network.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use mempool_core::Buffer;

use crate::host::{
    BytesReason, Given, HandOver, HostError, HostHello, HostLink, HostServer, Promotions,
    RuntimeDir, Shelf, Stamp,
};
use crate::identity::{GlobalId, Incarnation};
use crate::node::describe::Description;
use crate::node::inner::Inner;
use crate::node::peers::Peer;
use crate::security::{Operation, Peer as Asker, Transport};

/// How long another process may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// This node as others of its host find it.
#[derive(Debug)]
pub(crate) struct Neighbourhood {
    dir: Arc<RuntimeDir>,
    /// `None` once the node has left.
    server: Mutex<Option<HostServer>>,
}

impl Neighbourhood {
    /// Listens in the place of a node. Does I/O.
    pub(crate) fn start(
        dir: Arc<RuntimeDir>,
        own: Incarnation,
        inner: &Weak<Inner>,
    ) -> Result<Self, HostError> {
        let shelf = Frames { inner: Weak::clone(inner), promotions: Promotions::default() };
        let server = HostServer::start(&dir, own, Arc::new(shelf))?;
        Ok(Self { dir, server: Mutex::new(Some(server)) })
    }

    fn with_server<R>(&self, show: impl FnOnce(&HostServer) -> R) -> Option<R> {
        // Nothing panics with the lock held.
        self.server.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(show)
    }

    /// What a peer is to be told.
    pub(crate) fn hello(&self, peer: Incarnation) -> Option<HostHello> {
        self.with_server(|server| server.hello(peer))
    }

    /// A peer has ended.
    pub(crate) fn forget(&self, peer: Incarnation) {
        let _ = self.with_server(|server| server.forget(peer));
    }

    /// Hands over nothing more. Waits for the threads that do.
    pub(crate) fn stop(&self) {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(server);
    }
}

/// The way to a peer on the same host, once it was looked for: `None` where there is none.
pub(crate) type Neighbour = OnceLock<Option<HostLink>>;

impl Inner {
    /// Looks for the way to a peer on this host, once. Blocks.
    pub(crate) fn look_for(&self, peer: &Peer, hello: &HostHello) {
        let Some(here) = self.neighbourhood.get() else { return };
        peer.neighbour.get_or_init(|| {
            let meant = hello.incarnation == peer.id.incarnation;
            let link =
                meant.then(|| HostLink::connect(&here.dir, self.me.incarnation, *hello, PATIENCE));
            link.and_then(Result::ok)
        });
    }

    /// The frame of a value that an owner on this host hands over, mapped. Blocks.
    pub(crate) fn map_from(&self, peer: &Peer, described: &Description) -> Option<Buffer> {
        let link = peer.neighbour.get()?.as_ref()?;
        let (id, pool) = described.written;
        let stamp = Stamp { pool, id };
        match link.fetch(described.value, Some(stamp), &self.pool.foreign_maps()) {
            Ok(Given::Mapped { frame, .. }) => Some(frame),
            Ok(Given::UseBytes(_)) | Err(_) => None,
        }
    }
}

impl Peer {
    /// Whether the kernel has reported that its process has exited.
    pub(crate) fn has_exited(&self) -> bool {
        let link = self.neighbour.get().and_then(Option::as_ref);
        link.is_some_and(|link| link.process().has_exited())
    }
}

/// The frames of a node, for other processes of its user.
struct Frames {
    inner: Weak<Inner>,
    promotions: Promotions,
}

impl Shelf for Frames {
    fn hand_over(&self, holder: Incarnation, value: GlobalId) -> HandOver {
        let Some(inner) = self.inner.upgrade() else { return HandOver::NoValue };
        // The kernel has said that he is of our user; his name is that of the node that was introduced.
        let name = inner.peers.of_incarnation(holder).map(|peer| peer.id.name.clone());
        let uid = rustix::process::geteuid().as_raw();
        let asker = Asker { name, transport: Transport::Unix { uid, pid: None }, address: None };
        if inner.guard.authorize(&asker, Operation::Get).is_err() {
            return HandOver::NoValue;
        }
        match inner.value(value) {
            // He believes what he maps of ours as we do. What came to us as bytes, no codec may have looked at, so it is given
            // as a small one is.
            Some(found) if !found.was_set_here() => HandOver::Bytes(BytesReason::Small),
            // Whatever is wrong with it, he is told over the network.
            Some(found) => {
                self.promotions.hand_over(&inner.pool, &found).unwrap_or(HandOver::NoValue)
            }
            None => HandOver::NoValue,
        }
    }

    fn exited(&self, holder: Incarnation) {
        let peer = self.inner.upgrade().and_then(|inner| inner.peers.of_incarnation(holder));
        if let Some(peer) = peer {
            peer.end(None);
        }
    }
}
