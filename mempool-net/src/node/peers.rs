//! The nodes that this one knows, and its connection to each. A peer is one start of a node: one that was started again is
//! another peer, and whoever still holds the old one is told that it has ended.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

use crate::bytes;
use crate::error::{NetError, Result};
use crate::host::HostHello;
use crate::identity::{Incarnation, NodeName};
use crate::membership::{Health, Member, Membership};
use crate::node::dial::{Connected, Dial, named_address, seed};
use crate::node::neighbour::Neighbour;
use crate::node::wire::{self, Malformed, PeerId};
use crate::proto;
use crate::proto::node_client::NodeClient;
use crate::protocol::Message;
use crate::security::Connector;

/// The most nodes that one knows.
const PEERS_MAX: usize = 4096;
/// So often in a row a peer does not answer before it is suspected.
const SUSPECTED_AFTER: u32 = 3;
/// How long a connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// A connection with calls in flight on which nothing comes is asked so often whether it lives.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(2);
/// It is given up when it has not answered for so long.
const KEEP_ALIVE_WITHIN: Duration = Duration::from_secs(3);

/// One start of another node, and the connection to it, which is made with the first call and made anew when it broke.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    /// What calls say about who calls and who is meant.
    from: AsciiMetadataValue,
    to: AsciiMetadataValue,
    channel: Channel,
    /// The connections over which bytes of values come and go.
    pub(crate) bytes: bytes::Peer,
    /// Messages of the claims protocol on their way; made with the first.
    pub(crate) mailbox: OnceLock<mpsc::Sender<Message>>,
    /// The way to it on the same host.
    pub(crate) neighbour: Neighbour,
    /// Set once it is proved that this start has ended: with the start that answers in its place, if there is one.
    ended: watch::Sender<Option<Option<Incarnation>>>,
    /// How often in a row it was asked whether it is there and did not answer.
    unanswered: AtomicU32,
    dead: mpsc::UnboundedSender<Incarnation>,
}

impl Peer {
    fn new(id: PeerId, peers: &Peers) -> Result<Self> {
        let dial = Dial::new(peers.connector.clone(), id.address.clone(), id.name.clone());
        Ok(Self {
            from: peers.from.clone(),
            to: ascii(&id.incarnation.to_string()),
            channel: dial.clone().channel(endpoint(&id.address, id.name.as_str())?),
            bytes: bytes::Peer::new(dial, bytes::PeerLimits::default()),
            mailbox: OnceLock::new(),
            neighbour: Neighbour::new(),
            ended: watch::Sender::new(None),
            unanswered: AtomicU32::new(0),
            dead: peers.dead.clone(),
            id,
        })
    }

    /// Carries out one call.
    pub(crate) async fn call<M, R, F>(
        &self,
        call: &'static str,
        within: Duration,
        message: M,
        send: impl FnOnce(Channel, Request<M>) -> F,
    ) -> Result<R>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        self.check_alive()?;
        if self.is_suspected() {
            return Err(self.unreachable(call, "it has not answered for a while".into()));
        }
        self.call_suspected(call, within, message, send).await
    }

    /// As [`call`](Self::call), of a peer that may be suspected.
    async fn call_suspected<M, R, F>(
        &self,
        call: &'static str,
        within: Duration,
        message: M,
        send: impl FnOnce(Channel, Request<M>) -> F,
    ) -> Result<R>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let mut request = Request::new(message);
        request.metadata_mut().insert(PeerId::FROM, self.from.clone());
        request.metadata_mut().insert(PeerId::TO, self.to.clone());
        let answer = tokio::time::timeout(within, send(self.channel.clone(), request)).await;
        match answer {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.failed(call, status)),
            Err(_elapsed) => {
                Err(NetError::Deadline { node: self.id.name.to_string(), call, after: within })
            }
        }
    }

    /// Asks whether it is there; a refusal is an answer. It may say how it is found on this host.
    pub(crate) async fn ask_whether_alive(&self, within: Duration) -> Result<Option<HostHello>> {
        let ask = |channel, request| async move { NodeClient::new(channel).hello(request).await };
        let message = proto::HelloRequest { version: crate::node::VERSION, checksum: None };
        match self.call_suspected("hello", within, message, ask).await {
            Err(error @ (NetError::Unreachable { .. } | NetError::Deadline { .. })) => Err(error),
            Err(_refused) => Ok(None),
            Ok(answer) => Ok(HostHello::from_bytes(&answer.same_host)),
        }
    }

    /// Notes whether it answered; says whether it is suspected from now on, or not any more.
    pub(crate) fn note_answer(&self, answered: bool) -> bool {
        // Relaxed: one task asks, and the others may see it a moment later.
        match answered {
            true => self.unanswered.swap(0, Ordering::Relaxed) >= SUSPECTED_AFTER,
            false => {
                let before = self.unanswered.fetch_add(1, Ordering::Relaxed);
                before.saturating_add(1) == SUSPECTED_AFTER
            }
        }
    }

    fn is_suspected(&self) -> bool {
        self.unanswered.load(Ordering::Relaxed) >= SUSPECTED_AFTER
    }

    /// What is known of it.
    fn member(&self) -> Member {
        let health = match (self.check_alive(), self.is_suspected()) {
            (Err(_), _) => Health::Ended,
            (Ok(()), true) => Health::Suspected,
            (Ok(()), false) => Health::Alive,
        };
        let PeerId { name, incarnation, address } = self.id.clone();
        Member { name, incarnation, address, health }
    }

    /// Refuses a peer whose end is proved.
    pub(crate) fn check_alive(&self) -> Result<()> {
        let ended = *self.ended.borrow();
        ended.map_or(Ok(()), |found| Err(self.has_ended(found)))
    }

    /// Returns when the peer's end is proved.
    pub(crate) async fn ended(&self) {
        // The sender is this peer's, which somebody holds.
        let _ = self.ended.subscribe().wait_for(Option::is_some).await;
    }

    fn has_ended(&self, found: Option<Incarnation>) -> NetError {
        let (node, meant) = (self.id.name.clone(), self.id.incarnation);
        NetError::Ended { node, meant, found }
    }

    /// Notes that this start has ended.
    pub(crate) fn end(&self, successor: Option<Incarnation>) {
        let first = self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            // What was proved first stands.
            ended.get_or_insert(successor);
            first
        });
        if first {
            // A node that goes hears of no dead.
            let _ = self.dead.send(self.id.incarnation);
        }
    }

    /// What a failed call means.
    pub(crate) fn failed(&self, call: &'static str, status: Status) -> NetError {
        let fault = wire::fault_of(&status);
        let found =
            fault.as_ref().filter(|fault| fault.reason() == proto::Reason::OtherIncarnation);
        if let Some(found) = found.and_then(|fault| fault.found.clone()) {
            return match PeerId::try_from(found) {
                // Another node at that address says nothing about this one.
                Ok(found) if self.is_followed_by(&found) => {
                    self.end(Some(found.incarnation));
                    self.has_ended(Some(found.incarnation))
                }
                Ok(found) => {
                    self.unreachable(call, format!("{} answers there", found.text()).into())
                }
                Err(what) => NetError::Answer { node: self.id.name.to_string(), call, what },
            };
        }
        error_of(self.id.name.as_str(), call, status, fault)
    }

    /// Whether it is a later start of the same node.
    fn is_followed_by(&self, found: &PeerId) -> bool {
        found.name == self.id.name && found.incarnation > self.id.incarnation
    }

    /// What was understood of an answer, or an error that names who gave it.
    pub(crate) fn understood<R>(
        &self,
        call: &'static str,
        found: Result<R, Malformed>,
    ) -> Result<R> {
        found.map_err(|what| NetError::Answer { node: self.id.name.to_string(), call, what })
    }

    fn unreachable(&self, call: &'static str, source: mempool_core::Cause) -> NetError {
        NetError::Unreachable { node: self.id.name.to_string(), call, source }
    }
}

/// What a status means that says nothing about who answered.
fn error_of(
    node: &str,
    call: &'static str,
    status: Status,
    fault: Option<proto::Fault>,
) -> NetError {
    let node = node.to_owned();
    match fault {
        Some(fault) => NetError::Remote {
            node,
            call,
            kind: wire::kind_of(fault.kind()),
            reason: wire::reason_of(fault.reason()),
            said: fault.said,
        },
        // What the transport made of a refused or broken connection keeps its cause; what came over the wire has none.
        None if std::error::Error::source(&status).is_some() => {
            NetError::Unreachable { node, call, source: status.into() }
        }
        None if status.code() == Code::Unavailable => {
            NetError::Unreachable { node, call, source: status.into() }
        }
        None => NetError::Answer { node, call, what: status.to_string() },
    }
}

/// How connections for calls behave.
fn endpoint(address: &str, node: &str) -> Result<Endpoint> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| {
        NetError::Unreachable { node: node.to_owned(), call: "connect", source: error.into() }
    })?;
    Ok(endpoint
        .connect_timeout(CONNECT_WITHIN)
        .http2_keep_alive_interval(KEEP_ALIVE_EVERY)
        .keep_alive_timeout(KEEP_ALIVE_WITHIN)
        .keep_alive_while_idle(false))
}

fn ascii(text: &str) -> AsciiMetadataValue {
    // Names, numbers and addresses were checked to be ASCII when they were made.
    AsciiMetadataValue::try_from(text).unwrap_or_else(|_| AsciiMetadataValue::from_static("?"))
}

/// All peers of a node.
#[derive(Debug)]
pub(crate) struct Peers {
    me: PeerId,
    /// What this node's store makes of the probe.
    checksum: u64,
    from: AsciiMetadataValue,
    connector: Connector,
    dead: mpsc::UnboundedSender<Incarnation>,
    known: Mutex<BTreeMap<NodeName, Arc<Peer>>>,
}

impl Peers {
    /// No peers yet. Those whose end is proved are told to `dead`.
    pub(crate) fn new(
        me: PeerId,
        checksum: u64,
        connector: Connector,
        dead: mpsc::UnboundedSender<Incarnation>,
    ) -> Self {
        let from = ascii(&me.text());
        Self { me, checksum, from, connector, dead, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<NodeName, Arc<Peer>>> {
        // Nothing panics with the lock held.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The peer of that name.
    pub(crate) fn get(&self, name: &NodeName) -> Result<Arc<Peer>> {
        let found = self.known().get(name).map(Arc::clone);
        found.ok_or_else(|| NetError::UnknownNode { node: name.clone() })
    }

    /// The peer that runs as that incarnation.
    pub(crate) fn of_incarnation(&self, incarnation: Incarnation) -> Option<Arc<Peer>> {
        let known = self.known();
        known.values().find(|peer| peer.id.incarnation == incarnation).map(Arc::clone)
    }

    /// The later start under a name that is known, if there is one.
    pub(crate) fn successor(&self, name: &NodeName, of: Incarnation) -> Option<Incarnation> {
        let known = self.known().get(name).map(|peer| peer.id.incarnation);
        known.filter(|known| *known > of)
    }

    /// All of them in the order of their names.
    pub(crate) fn list(&self) -> Vec<Arc<Peer>> {
        self.known().values().map(Arc::clone).collect()
    }

    /// Notes a node that somebody has proved to be there: the newest start under a name is the one that is known.
    pub(crate) fn note(&self, id: &PeerId) -> Result<()> {
        if id.name == self.me.name {
            return Ok(());
        }
        let mut known = self.known();
        if let Some(before) = known.get(&id.name) {
            if before.id.incarnation > id.incarnation || before.id == *id {
                return Ok(());
            }
            if before.id.incarnation < id.incarnation {
                before.end(Some(id.incarnation));
            }
        }
        if known.len() >= PEERS_MAX && !known.contains_key(&id.name) {
            known.retain(|_, peer| peer.check_alive().is_ok());
            if known.len() >= PEERS_MAX {
                let (node, what) = (id.name.to_string(), format!("more than {PEERS_MAX} nodes"));
                return Err(NetError::Answer { node, call: "hello", what });
            }
        }
        known.insert(id.name.clone(), Arc::new(Peer::new(id.clone(), self)?));
        Ok(())
    }

    /// Notes that a start of a node has ended.
    pub(crate) fn note_end(&self, name: &NodeName, incarnation: Incarnation) {
        let known = self.known();
        if let Some(peer) = known.get(name).filter(|peer| peer.id.incarnation == incarnation) {
            peer.end(None);
        }
    }

    /// Asks who answers at an address, which may have the name in front of it that is expected there.
    pub(crate) async fn hello(&self, address: &str, within: Duration) -> Result<PeerId> {
        let asked = tokio::time::timeout(within, self.ask_who(address)).await;
        asked.unwrap_or_else(|_elapsed| {
            Err(NetError::Deadline { node: address.to_owned(), call: "hello", after: within })
        })
    }

    async fn ask_who(&self, address: &str) -> Result<PeerId> {
        let call = "hello";
        let (expected, address) = named_address(address);
        let node = || address.to_owned();
        let unreachable = |source| NetError::Unreachable { node: node(), call, source };
        let stream = seed(&self.connector, address, expected.as_ref())
            .await
            .map_err(|error| unreachable(error.into()))?;
        let proved = stream.peer().name.clone();
        let endpoint = endpoint(address, address)?;
        let channel = endpoint.connect_with_connector(Connected(Some(stream))).await;
        let channel = channel.map_err(|error| unreachable(error.into()))?;
        let (version, checksum) = (crate::node::VERSION, Some(self.checksum));
        let mut request = Request::new(proto::HelloRequest { version, checksum });
        request.metadata_mut().insert(PeerId::FROM, self.from.clone());
        let mut client = NodeClient::new(channel);
        let answer = client.hello(request).await.map_err(|status| {
            let fault = wire::fault_of(&status);
            error_of(address, call, status, fault)
        })?;
        let answer = answer.into_inner();
        let damaged = |what| NetError::Answer { node: node(), call, what };
        if answer.version != crate::node::VERSION {
            return Err(damaged(format!("version {}", answer.version)));
        }
        if answer.checksum != self.checksum {
            let (ours, found) = (self.checksum, answer.checksum);
            return Err(NetError::Checksum { node: node(), ours, found });
        }
        let found = answer.node.ok_or_else(|| damaged("no name".to_owned()))?;
        let found = PeerId::try_from(found).map_err(damaged)?;
        match proved.or(expected) {
            Some(meant) if meant != found.name => {
                Err(unreachable(format!("{} answers there, and not {meant}", found.name).into()))
            }
            _ => Ok(found),
        }
    }
}

impl Membership for Peers {
    fn members(&self) -> Vec<Member> {
        self.list().iter().map(|peer| peer.member()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str, start: u128, port: u16) -> PeerId {
        PeerId {
            name: NodeName::new(name).expect("a label"),
            incarnation: Incarnation(start),
            address: format!("127.0.0.1:{port}"),
        }
    }

    fn peers() -> (Peers, mpsc::UnboundedReceiver<Incarnation>) {
        let (sender, dead) = mpsc::unbounded_channel();
        let connector = Connector::new(None, crate::security::Deadlines::default());
        (Peers::new(peer("me", 1, 1), 7, connector, sender), dead)
    }

    #[tokio::test]
    async fn the_newest_start_under_a_name_is_the_one_that_is_known() {
        let (peers, mut dead) = peers();
        let name = NodeName::new("a").expect("a label");
        peers.note(&peer("a", 5, 5)).expect("an address");
        let first = peers.get(&name).expect("noted");
        peers.note(&peer("a", 4, 4)).expect("an address");
        assert_eq!(peers.get(&name).expect("noted").id, first.id);
        first.check_alive().expect("an older start proves nothing");
        peers.note(&peer("a", 6, 6)).expect("an address");
        assert_eq!(peers.get(&name).expect("noted").id, peer("a", 6, 6));
        let ended = first.check_alive().expect_err("a newer start");
        assert!(matches!(ended, NetError::Ended { found: Some(Incarnation(6)), .. }), "{ended}");
        first.ended().await;
        assert_eq!(dead.try_recv(), Ok(Incarnation(5)));
        // The same start at another address is no end.
        peers.note(&peer("a", 6, 7)).expect("an address");
        peers.get(&name).expect("noted").check_alive().expect("it is the same start");
        peers.note_end(&name, Incarnation(5));
        peers.get(&name).expect("noted").check_alive().expect("that was another start");
        peers.note_end(&name, Incarnation(6));
        let ended = peers.get(&name).expect("noted").check_alive().expect_err("it has left");
        assert!(matches!(ended, NetError::Ended { found: None, .. }), "{ended}");
        assert_eq!((dead.try_recv(), dead.try_recv().ok()), (Ok(Incarnation(6)), None));
    }

    #[tokio::test]
    async fn who_does_not_answer_is_suspected_until_he_does() {
        let (peers, _dead) = peers();
        peers.note(&peer("a", 5, 5)).expect("an address");
        let a = peers.list().remove(0);
        let health = || peers.members().remove(0).health;
        assert_eq!((a.note_answer(false), a.note_answer(false)), (false, false));
        assert_eq!(health(), Health::Alive);
        assert_eq!((a.note_answer(false), a.note_answer(false)), (true, false));
        assert_eq!(health(), Health::Suspected);
        let refused = a
            .call("stats", Duration::ZERO, (), |_, _: Request<()>| async { Ok(Response::new(())) });
        let error = refused.await.expect_err("it is suspected");
        assert!(matches!(error, NetError::Unreachable { call: "stats", .. }), "{error}");
        assert_eq!((a.note_answer(true), a.note_answer(true)), (true, false));
        assert_eq!(health(), Health::Alive);
        a.end(None);
        assert_eq!(health(), Health::Ended);
    }

    #[tokio::test]
    async fn a_node_is_no_peer_of_its_own() {
        let (peers, _dead) = peers();
        peers.note(&peer("me", 9, 9)).expect("an address");
        assert!(peers.list().is_empty());
    }
}
