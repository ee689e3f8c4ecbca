//! From a socket that was taken to a stream whose other end is known.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::net::RecvFlags;
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{TlsAcceptor, TlsStream, server};

use crate::NodeName;
use crate::security::bounds::Guard;
use crate::security::error::{IdentityFault, Phase, SecurityError};
use crate::security::peer::{Peer, Protocol, Transport};
use crate::security::stream::{Socket, Stream};
use crate::security::subject;
use crate::security::tls::Tls;

/// Whether `address` can be reached from this host alone.
pub(crate) fn is_of_this_host(address: SocketAddr) -> bool {
    // ::ffff:127.0.0.1 is loopback, too.
    address.ip().to_canonical().is_loopback()
}

/// The server's end: takes sockets, and makes streams of those that prove who they are.
///
/// With credentials each TCP socket speaks TLS, on loopback, too; without them only loopback is spoken with. A Unix socket
/// needs none: the kernel says who is at the other end.
#[derive(Clone, Debug)]
pub struct Acceptor {
    tls: Option<Tls>,
    guard: Guard,
}

impl Acceptor {
    /// An acceptor for a node with these credentials, or with none.
    #[must_use]
    pub fn new(tls: Option<Tls>, guard: Guard) -> Self {
        Self { tls, guard }
    }

    /// The policy and the ledger that it goes by.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Whether one may listen there.
    ///
    /// # Errors
    /// [`SecurityError::PlainText`] without credentials on an address that others can reach.
    pub fn check_address(&self, address: SocketAddr) -> Result<(), SecurityError> {
        match self.tls.is_some() || is_of_this_host(address) || mutant!("plain_text_anywhere") {
            true => Ok(()),
            false => Err(SecurityError::PlainText { address }),
        }
    }

    /// Makes a stream of a TCP socket that was taken, within the deadline for handshakes. A socket that stays silent is
    /// closed then, with TLS or without.
    ///
    /// # Errors
    /// [`SecurityError::Identity`], [`Deadline`](SecurityError::Deadline), [`Connection`](SecurityError::Connection),
    /// [`Bound`](SecurityError::Bound), [`PlainText`](SecurityError::PlainText).
    pub async fn accept_tcp(&self, socket: TcpStream) -> Result<Stream, SecurityError> {
        let address = socket.peer_addr().map_err(|error| failed("a socket", error))?;
        let peer = address.to_string();
        // A small answer must not wait for the acknowledgement of the one before it.
        socket.set_nodelay(true).map_err(|error| failed(&peer, error))?;
        let accepting = async {
            match &self.tls {
                Some(tls) => self.accept_tls(tls, socket, address).await,
                None => self.accept_plain(socket, address).await,
            }
        };
        within(self.guard.policy().deadlines.handshake, Phase::Handshake, &peer, accepting).await
    }

    /// Makes a stream of a Unix socket that was taken.
    ///
    /// # Errors
    /// As [`accept_tcp`](Self::accept_tcp).
    pub async fn accept_unix(&self, socket: UnixStream) -> Result<Stream, SecurityError> {
        let peer = unix_peer(&socket)?;
        let name = peer.to_string();
        let accepting = async {
            let peek = || Ok(rustix::net::recv(&socket, &mut [0; 1], RecvFlags::PEEK)?.0);
            let read = socket.async_io(Interest::READABLE, peek).await;
            spoke(read, &name)?;
            self.admit(Socket::Unix(socket), peer, None)
        };
        within(self.guard.policy().deadlines.handshake, Phase::Handshake, &name, accepting).await
    }

    async fn accept_plain(
        &self,
        socket: TcpStream,
        address: SocketAddr,
    ) -> Result<Stream, SecurityError> {
        self.check_address(address)?;
        let peer = address.to_string();
        spoke(socket.peek(&mut [0]).await, &peer)?;
        let peer = Peer { name: None, transport: Transport::Loopback, address: Some(address) };
        self.admit(Socket::Tcp(socket), peer, None)
    }

    async fn accept_tls(
        &self,
        tls: &Tls,
        socket: TcpStream,
        address: SocketAddr,
    ) -> Result<Stream, SecurityError> {
        let peer = address.to_string();
        let acceptor = TlsAcceptor::from(tls.loaded().server.clone());
        let stream = acceptor.accept(socket).await;
        let stream = stream.map_err(|error| SecurityError::of_handshake(peer.clone(), error))?;
        let (name, protocol) = proved(&stream).map_err(|fault| SecurityError::Identity {
            peer,
            fault,
            source: None,
        })?;
        let peer = Peer { name: Some(name), transport: Transport::Tls, address: Some(address) };
        let stream = Box::new(TlsStream::Server(stream));
        self.admit(Socket::Tls(stream), peer, Some(protocol))
    }

    fn admit(
        &self,
        socket: Socket,
        peer: Peer,
        protocol: Option<Protocol>,
    ) -> Result<Stream, SecurityError> {
        let permit = self.guard.connection(&peer)?;
        let deadlines = &self.guard.policy().deadlines;
        Ok(Stream::new(socket, peer, protocol, deadlines, Some(permit)))
    }
}

/// Who speaks HTTP speaks first; one who closes without a word is no peer.
fn spoke(peeked: io::Result<usize>, peer: &str) -> Result<(), SecurityError> {
    match peeked {
        Ok(1..) => Ok(()),
        Ok(0) => Err(failed(peer, io::ErrorKind::UnexpectedEof.into())),
        Err(error) => Err(failed(peer, error)),
    }
}

/// What a client has proved: whose certificate he has, and what he speaks.
fn proved(stream: &server::TlsStream<TcpStream>) -> Result<(NodeName, Protocol), IdentityFault> {
    let (_, session) = stream.get_ref();
    let chain = session.peer_certificates().unwrap_or_default();
    let name = subject::node_of(chain.first().ok_or(IdentityFault::Missing)?)?;
    let protocol = session.alpn_protocol().and_then(Protocol::of_alpn);
    Ok((name, protocol.ok_or(IdentityFault::Protocol)?))
}

pub(crate) fn unix_peer(socket: &UnixStream) -> Result<Peer, SecurityError> {
    let credentials = socket.peer_cred().map_err(|error| failed("a Unix socket", error))?;
    let transport = Transport::Unix { uid: credentials.uid(), pid: credentials.pid() };
    Ok(Peer { name: None, transport, address: None })
}

pub(crate) fn failed(peer: &str, source: io::Error) -> SecurityError {
    SecurityError::Connection { peer: peer.to_owned(), phase: Phase::Handshake, source }
}

/// Does that within `limit`.
pub(crate) async fn within<T>(
    limit: Duration,
    phase: Phase,
    peer: &str,
    work: impl Future<Output = Result<T, SecurityError>>,
) -> Result<T, SecurityError> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => Err(SecurityError::Deadline { peer: peer.to_owned(), phase, limit }),
    }
}
