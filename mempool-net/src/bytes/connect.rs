//! How a connection to a peer is made: TCP and Unix sockets here; whoever has TLS brings a connector of his own.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// A stream of bytes both ways: a socket, or TLS over one.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for S {}

/// A connection that is being made.
pub type Connecting<'a> =
    Pin<Box<dyn Future<Output = io::Result<Box<dyn ByteStream>>> + Send + 'a>>;

/// Makes connections to one peer, as often as it is asked. It sets no deadline: who asks does.
///
/// Displayed, it is how messages call the peer.
pub trait Connector: fmt::Display + Send + Sync + 'static {
    /// A new connection that is ready to carry HTTP/1.1.
    fn connect(&self) -> Connecting<'_>;

    /// What the header `Host` says.
    fn host(&self) -> String {
        "localhost".to_owned()
    }
}

/// Connects over plain TCP: for loopback, and below TLS.
#[derive(Clone, Copy, Debug)]
pub struct Tcp(pub SocketAddr);

impl Connector for Tcp {
    fn connect(&self) -> Connecting<'_> {
        Box::pin(async {
            let stream = TcpStream::connect(self.0).await?;
            // A request is written whole; waiting for more to send with it would cost a round trip.
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn ByteStream>)
        })
    }

    fn host(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Connects over a Unix socket.
#[derive(Clone, Debug)]
pub struct Unix(pub PathBuf);

impl Connector for Unix {
    fn connect(&self) -> Connecting<'_> {
        Box::pin(async {
            let stream = UnixStream::connect(&self.0).await?;
            Ok(Box::new(stream) as Box<dyn ByteStream>)
        })
    }
}

impl fmt::Display for Unix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}
