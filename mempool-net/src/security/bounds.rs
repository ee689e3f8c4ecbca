//! How much a peer may have at once, all peers together, and how long each step may take. The ledger is exact: what was
//! taken is given back when its permit is dropped, and a peer who has nothing is not in it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::NodeName;
use crate::security::SecurityError;
use crate::security::peer::{Peer, Transport};
use crate::security::rights::{Operation, RightsTable};

/// The most that there may be of each at once.
///
/// *Units*: `_max` are counts, `_bytes_max` bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bounds {
    /// Streams of all peers.
    pub connections_max: u64,
    /// Streams of one peer.
    pub peer_connections_max: u64,
    /// Sockets of all addresses that have not yet proved who they are. When it is full, room is made: of the address with the
    /// most of them the oldest goes, so that silent sockets keep nobody out.
    pub handshakes_max: usize,
    /// Requests of one peer that have no answer yet.
    pub peer_requests_max: u64,
    /// Bytes of messages and bodies of one peer that are on their way.
    pub peer_bytes_max: u64,
    /// The same of all peers.
    pub bytes_max: u64,
    /// One message of a call.
    pub message_bytes_max: usize,
    /// The head of one request.
    pub header_bytes_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            peer_connections_max: 128,
            handshakes_max: 256,
            peer_requests_max: 1024,
            peer_bytes_max: 1 << 30,
            bytes_max: 4 << 30,
            message_bytes_max: 4 << 20,
            header_bytes_max: 16 << 10,
        }
    }
}

/// How long each step may take.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deadlines {
    /// To connect, and to prove who is who; without TLS, to send the first byte.
    pub handshake: Duration,
    /// To send the head of a request. For whoever reads requests; the stream knows no heads.
    pub headers: Duration,
    /// For what was sent to be taken, at least a byte of it.
    pub body_progress: Duration,
    /// With no byte in either direction.
    pub idle: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            headers: Duration::from_secs(10),
            body_progress: Duration::from_secs(30),
            idle: Duration::from_secs(300),
        }
    }
}

/// Rights, bounds and deadlines of a node.
///
/// ```
/// use mempool_net::security::{Guard, Policy};
///
/// let mut policy = Policy::default();
/// policy.bounds.peer_connections_max = 8;
/// let guard = Guard::new(policy);
/// assert_eq!(guard.policy().bounds.peer_connections_max, 8);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// Who may do what.
    pub rights: RightsTable,
    /// How much of it.
    pub bounds: Bounds,
    /// How long it may take.
    pub deadlines: Deadlines,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Bounded {
    /// Streams of one peer.
    PeerConnections,
    /// Streams of all.
    Connections,
    /// Requests of one peer.
    PeerRequests,
    /// Bytes of one peer.
    PeerBytes,
    /// Bytes of all.
    Bytes,
}

impl fmt::Display for Bounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PeerConnections => "the connections of this peer",
            Self::Connections => "the connections of all peers",
            Self::PeerRequests => "the requests in flight of this peer",
            Self::PeerBytes => "the bytes in flight of this peer",
            Self::Bytes => "the bytes in flight of all peers",
        })
    }
}

/// The policy of a node, and what its peers have of what it allows. A clone is the same one.
#[derive(Clone)]
pub struct Guard {
    shared: Arc<Shared>,
}

struct Shared {
    policy: Policy,
    ledger: Mutex<Ledger>,
}

/// Whose account it is: nodes by name, users of the host by their number, and plain text together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Account {
    Node(NodeName),
    User(u32),
    Loopback,
}

impl Account {
    fn of(peer: &Peer) -> Self {
        match (&peer.name, peer.transport) {
            (Some(name), _) => Self::Node(name.clone()),
            (None, Transport::Unix { uid, .. }) => Self::User(uid),
            (None, _) => Self::Loopback,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    connections: u64,
    requests: u64,
    bytes: u64,
}

impl Held {
    fn plus(self, other: Self) -> Option<Self> {
        Some(Self {
            connections: self.connections.checked_add(other.connections)?,
            requests: self.requests.checked_add(other.requests)?,
            bytes: self.bytes.checked_add(other.bytes)?,
        })
    }

    fn minus(self, other: Self) -> Option<Self> {
        Some(Self {
            connections: self.connections.checked_sub(other.connections)?,
            requests: self.requests.checked_sub(other.requests)?,
            bytes: self.bytes.checked_sub(other.bytes)?,
        })
    }
}

#[derive(Default)]
struct Ledger {
    all: Held,
    peers: HashMap<Account, Held>,
}

impl Ledger {
    /// Adds `wanted` to both accounts, or to none and names the bound.
    fn take(&mut self, account: &Account, wanted: Held, bounds: &Bounds) -> Result<(), Refusal> {
        // A sum that its type does not hold is more than any bound allows.
        let beyond = (Bounded::PeerBytes, bounds.peer_bytes_max);
        let peer = self.peers.get(account).copied().unwrap_or_default();
        let peer = peer.plus(wanted).ok_or(beyond)?;
        let all = self.all.plus(wanted).ok_or(beyond)?;
        let over = [
            (
                wanted.connections,
                peer.connections,
                Bounded::PeerConnections,
                bounds.peer_connections_max,
            ),
            (wanted.connections, all.connections, Bounded::Connections, bounds.connections_max),
            (wanted.requests, peer.requests, Bounded::PeerRequests, bounds.peer_requests_max),
            (wanted.bytes, peer.bytes, Bounded::PeerBytes, bounds.peer_bytes_max),
            (wanted.bytes, all.bytes, Bounded::Bytes, bounds.bytes_max),
        ];
        for (asked, sum, bounded, limit) in over {
            if asked > 0 && sum > limit {
                return Err((bounded, limit));
            }
        }
        self.all = all;
        self.peers.insert(account.clone(), peer);
        Ok(())
    }

    fn give_back(&mut self, account: &Account, held: Held) {
        let less = |sum: Held| sum.minus(held).expect("a permit gives back what it took, once");
        self.all = less(self.all);
        let left = less(self.peers.get(account).copied().unwrap_or_default());
        match left == Held::default() {
            true => drop(self.peers.remove(account)),
            false => drop(self.peers.insert(account.clone(), left)),
        }
    }
}

/// The bound that stands in the way, and how much it allows.
type Refusal = (Bounded, u64);

impl Guard {
    /// A node's guard, with nobody in it.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self { shared: Arc::new(Shared { policy, ledger: Mutex::default() }) }
    }

    /// What it goes by.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.shared.policy
    }

    /// Whether `peer` may do that; see [`RightsTable::authorize`].
    ///
    /// # Errors
    /// [`SecurityError::Denied`].
    pub fn authorize(&self, peer: &Peer, operation: Operation) -> Result<(), SecurityError> {
        self.policy().rights.authorize(peer, operation)
    }

    /// Counts a request until the permit is dropped.
    ///
    /// # Errors
    /// [`SecurityError::Bound`].
    pub fn request(&self, peer: &Peer) -> Result<Permit, SecurityError> {
        self.take(peer, Held { requests: 1, ..Held::default() })
    }

    /// Counts bytes of a message or a body until the permit is dropped: before they are read, so the length that was
    /// announced.
    ///
    /// # Errors
    /// [`SecurityError::Bound`].
    pub fn bytes(&self, peer: &Peer, bytes: u64) -> Result<Permit, SecurityError> {
        self.take(peer, Held { bytes, ..Held::default() })
    }

    /// How many streams of peers are open.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.ledger().all.connections
    }

    /// How many requests are in flight.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.ledger().all.requests
    }

    /// How many bytes are in flight.
    #[must_use]
    pub fn bytes_in_flight(&self) -> u64 {
        self.ledger().all.bytes
    }

    pub(crate) fn connection(&self, peer: &Peer) -> Result<Permit, SecurityError> {
        self.take(peer, Held { connections: 1, ..Held::default() })
    }

    fn take(&self, peer: &Peer, held: Held) -> Result<Permit, SecurityError> {
        let account = Account::of(peer);
        let taken = self.ledger().take(&account, held, &self.policy().bounds);
        taken.map_err(|(bounded, limit)| SecurityError::Bound {
            peer: peer.to_string(),
            bounded,
            limit,
        })?;
        Ok(Permit { guard: self.clone(), account, held })
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Each change is one assignment after the checks, so a panic elsewhere leaves it whole.
        self.shared.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.ledger().all;
        f.debug_struct("Guard").field("held", &all).finish_non_exhaustive()
    }
}

/// What was taken from a bound; dropping it gives that back.
#[must_use = "it is given back when this is dropped"]
pub struct Permit {
    guard: Guard,
    account: Account,
    held: Held,
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("account", &self.account).field("held", &self.held).finish()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if mutant!("permit_kept") {
            return;
        }
        self.guard.ledger().give_back(&self.account, self.held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str) -> Peer {
        let name = NodeName::new(name).expect("a label");
        Peer { name: Some(name), transport: Transport::Tls, address: None }
    }

    fn guard() -> Guard {
        let bounds = Bounds {
            connections_max: 3,
            peer_connections_max: 2,
            peer_requests_max: 1,
            peer_bytes_max: 100,
            bytes_max: 150,
            ..Bounds::default()
        };
        Guard::new(Policy { bounds, ..Policy::default() })
    }

    fn bound<T: fmt::Debug>(result: Result<T, SecurityError>) -> (Bounded, u64) {
        match result {
            Err(SecurityError::Bound { bounded, limit, .. }) => (bounded, limit),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_bound_holds_and_is_named() {
        let guard = guard();
        let (a, b) = (peer("a"), peer("b"));
        let held = [guard.connection(&a), guard.connection(&a), guard.connection(&b)];
        assert!(held.iter().all(Result::is_ok));
        assert_eq!(bound(guard.connection(&a)), (Bounded::PeerConnections, 2));
        assert_eq!(bound(guard.connection(&b)), (Bounded::Connections, 3));
        let request = guard.request(&a);
        assert_eq!(bound(guard.request(&a)), (Bounded::PeerRequests, 1));
        assert!(guard.request(&b).is_ok(), "one peer's requests are not another's");
        let bytes = guard.bytes(&a, 100);
        assert_eq!(bound(guard.bytes(&a, 1)), (Bounded::PeerBytes, 100));
        assert_eq!(bound(guard.bytes(&b, 51)), (Bounded::Bytes, 150));
        assert!(guard.bytes(&b, 50).is_ok() && guard.bytes(&a, 0).is_ok());
        assert_eq!(bound(guard.bytes(&b, u64::MAX)), (Bounded::PeerBytes, 100));
        assert_eq!(bound(guard.bytes(&a, u64::MAX)), (Bounded::PeerBytes, 100));
        drop((held, request, bytes));
        assert_eq!((guard.connections(), guard.requests(), guard.bytes_in_flight()), (0, 0, 0));
        assert!(guard.ledger().peers.is_empty(), "who has nothing is not in the ledger");
    }
}
