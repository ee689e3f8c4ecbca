//! From an address and a name to a stream to the node of that name.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{TlsConnector, TlsStream, client};

use crate::NodeName;
use crate::security::accept::{failed, is_of_this_host, unix_peer, within};
use crate::security::bounds::Deadlines;
use crate::security::error::{IdentityFault, Phase, SecurityError};
use crate::security::peer::{Peer, Protocol, Transport};
use crate::security::stream::{Socket, Stream};
use crate::security::subject;
use crate::security::tls::Tls;

/// The client's end: connects to nodes, and with credentials to the node that was meant alone.
#[derive(Clone, Debug)]
pub struct Connector {
    tls: Option<Tls>,
    deadlines: Deadlines,
}

impl Connector {
    /// A connector for a node with these credentials, or with none.
    #[must_use]
    pub fn new(tls: Option<Tls>, deadlines: Deadlines) -> Self {
        Self { tls, deadlines }
    }

    /// Whether one may connect there.
    ///
    /// # Errors
    /// [`SecurityError::PlainText`] without credentials to an address of another host.
    pub fn check_address(&self, address: SocketAddr) -> Result<(), SecurityError> {
        match self.tls.is_some() || is_of_this_host(address) {
            true => Ok(()),
            false => Err(SecurityError::PlainText { address }),
        }
    }

    /// Connects to `node` at `address`. With credentials the other side must prove that it is `node`; without them, on
    /// loopback, nothing is proved, and the stream's peer has no name.
    ///
    /// In TLS 1.3 the server looks at our certificate after we are done, so if it refuses ours the first read says so.
    ///
    /// # Errors
    /// [`SecurityError::Identity`], [`Deadline`](SecurityError::Deadline), [`Connection`](SecurityError::Connection),
    /// [`PlainText`](SecurityError::PlainText).
    pub async fn connect_tcp(
        &self,
        address: SocketAddr,
        node: &NodeName,
        protocol: Protocol,
    ) -> Result<Stream, SecurityError> {
        let socket = self.socket(address, format!("{node} ({address})")).await?;
        self.secure(socket, node, protocol).await
    }

    /// Connects to whichever node is at `address`, as one does with the first of a cluster of which only addresses are known.
    /// With credentials the other side must prove that it is a node of the cluster, and the stream's peer has its name: look at
    /// it before asking for anything.
    ///
    /// # Errors
    /// As [`connect_tcp`](Self::connect_tcp).
    pub async fn connect_seed(
        &self,
        address: SocketAddr,
        protocol: Protocol,
    ) -> Result<Stream, SecurityError> {
        let socket = self.socket(address, address.to_string()).await?;
        self.prove(socket, None, protocol).await
    }

    /// As [`connect_tcp`](Self::connect_tcp), with a socket that is connected already.
    ///
    /// # Errors
    /// As there.
    pub async fn secure(
        &self,
        socket: TcpStream,
        node: &NodeName,
        protocol: Protocol,
    ) -> Result<Stream, SecurityError> {
        self.prove(socket, Some(node), protocol).await
    }

    async fn socket(&self, address: SocketAddr, peer: String) -> Result<TcpStream, SecurityError> {
        self.check_address(address)?;
        let connecting = async {
            let fail = |source| cannot_connect(&peer, source);
            let socket = TcpStream::connect(address).await.map_err(fail)?;
            // A small request must not wait for the acknowledgement of the one before it.
            socket.set_nodelay(true).map_err(fail)?;
            Ok(socket)
        };
        within(self.deadlines.handshake, Phase::Connect, &peer, connecting).await
    }

    async fn prove(
        &self,
        socket: TcpStream,
        node: Option<&NodeName>,
        protocol: Protocol,
    ) -> Result<Stream, SecurityError> {
        let address = socket.peer_addr().map_err(|error| failed("a socket", error))?;
        self.check_address(address)?;
        let Some(tls) = &self.tls else {
            let peer = Peer { name: None, transport: Transport::Loopback, address: Some(address) };
            return Ok(Stream::new(Socket::Tcp(socket), peer, None, &self.deadlines, None));
        };
        let peer = node.map_or_else(|| address.to_string(), |node| format!("{node} ({address})"));
        let fault = |fault| SecurityError::Identity { peer: peer.clone(), fault, source: None };
        // Of a seed the address is asked for, and then it may be any node.
        let expected = match node {
            Some(node) => subject::server_name(node).map_err(fault)?,
            None => ServerName::from(address.ip()),
        };
        let connecting = async {
            let connector = TlsConnector::from(tls.loaded().client(protocol));
            let stream = connector.connect(expected, socket).await;
            stream.map_err(|error| SecurityError::of_handshake(peer.clone(), error))
        };
        let limit = self.deadlines.handshake;
        let stream = within(limit, Phase::Handshake, &peer, connecting).await?;
        let name = proved(&stream, protocol).map_err(fault)?;
        let peer = Peer { name: Some(name), transport: Transport::Tls, address: Some(address) };
        let socket = Socket::Tls(Box::new(TlsStream::Client(stream)));
        Ok(Stream::new(socket, peer, Some(protocol), &self.deadlines, None))
    }

    /// Connects to the Unix socket of a node of this host. The kernel says whose process made that socket.
    ///
    /// # Errors
    /// [`SecurityError::Connection`], [`SecurityError::Deadline`].
    pub async fn connect_unix(&self, path: &Path) -> Result<Stream, SecurityError> {
        let name = path.display().to_string();
        let connecting = async {
            UnixStream::connect(path).await.map_err(|source| cannot_connect(&name, source))
        };
        let limit = self.deadlines.handshake;
        let socket = within(limit, Phase::Connect, &name, connecting).await?;
        let peer = unix_peer(&socket)?;
        Ok(Stream::new(Socket::Unix(socket), peer, None, &self.deadlines, None))
    }
}

/// What a server has proved: which node it is, and that it speaks what was asked for. That it is the node that was meant is
/// part of the handshake.
fn proved(
    stream: &client::TlsStream<TcpStream>,
    protocol: Protocol,
) -> Result<NodeName, IdentityFault> {
    let (_, session) = stream.get_ref();
    let chain = session.peer_certificates().unwrap_or_default();
    let name = subject::node_of(chain.first().ok_or(IdentityFault::Missing)?)?;
    match session.alpn_protocol() == Some(protocol.alpn()) {
        true => Ok(name),
        false => Err(IdentityFault::Protocol),
    }
}

fn cannot_connect(peer: &str, source: io::Error) -> SecurityError {
    SecurityError::Connection { peer: peer.to_owned(), phase: Phase::Connect, source }
}
