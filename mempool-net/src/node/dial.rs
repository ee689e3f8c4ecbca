//! From the address of a node to a stream to it, for both protocols: with credentials to the node that was meant alone.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use tonic::codegen::Service;
use tonic::transport::{Channel, Endpoint};

use crate::bytes::{ByteStream, Connecting, Connector as BytesConnector};
use crate::identity::NodeName;
use crate::security::{Connector, Protocol, SecurityError, Stream};

/// The way to one node.
#[derive(Clone, Debug)]
pub(crate) struct Dial {
    connector: Connector,
    /// `HOST:PORT`, resolved anew with each connection.
    address: String,
    name: NodeName,
}

impl Dial {
    pub(crate) fn new(connector: Connector, address: String, name: NodeName) -> Self {
        Self { connector, address, name }
    }

    async fn connect(&self, protocol: Protocol) -> io::Result<Stream> {
        let connect = |address| self.connector.connect_tcp(address, &self.name, protocol);
        first_of(&self.address, connect).await
    }

    /// A channel for calls, which connects with the first of them.
    pub(crate) fn channel(self, endpoint: Endpoint) -> Channel {
        endpoint.connect_with_connector_lazy(self)
    }
}

/// Where a node is, as people write it: `HOST:PORT`, or `NAME@HOST:PORT` where no other node will do.
pub(crate) fn named_address(text: &str) -> (Option<NodeName>, &str) {
    match text.split_once('@') {
        Some((name, address)) => match NodeName::new(name) {
            Ok(name) => (Some(name), address),
            // No host has such a name, and so it says.
            Err(_) => (None, text),
        },
        None => (None, text),
    }
}

/// Connects to whichever node is at an address, or to that node alone.
pub(crate) async fn seed(
    connector: &Connector,
    address: &str,
    name: Option<&NodeName>,
) -> io::Result<Stream> {
    match name {
        Some(name) => {
            let connect = |address| connector.connect_tcp(address, name, Protocol::Http2);
            first_of(address, connect).await
        }
        None => first_of(address, |address| connector.connect_seed(address, Protocol::Http2)).await,
    }
}

/// The first of the addresses behind a name that lets itself be connected to.
async fn first_of<F>(text: &str, connect: impl Fn(SocketAddr) -> F) -> io::Result<Stream>
where
    F: Future<Output = Result<Stream, SecurityError>>,
{
    let mut failed = io::Error::new(io::ErrorKind::NotFound, format!("{text} has no address"));
    for address in tokio::net::lookup_host(text).await? {
        match connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = io::Error::other(error),
        }
    }
    Err(failed)
}

impl Service<Uri> for Dial {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let dial = self.clone();
        Box::pin(async move { dial.connect(Protocol::Http2).await.map(TokioIo::new) })
    }
}

impl BytesConnector for Dial {
    fn connect(&self) -> Connecting<'_> {
        Box::pin(async {
            let stream = Self::connect(self, Protocol::Http1).await?;
            Ok(Box::new(stream) as Box<dyn ByteStream>)
        })
    }

    fn host(&self) -> String {
        self.address.clone()
    }
}

impl std::fmt::Display for Dial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.name)
    }
}

/// A stream that is connected already, as a connector of one connection.
#[derive(Debug)]
pub(crate) struct Connected(pub(crate) Option<Stream>);

impl Service<Uri> for Connected {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<TokioIo<Stream>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let taken = self.0.take().map(TokioIo::new);
        std::future::ready(taken.ok_or_else(|| io::ErrorKind::NotConnected.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_stand_before_an_address() {
        let name = NodeName::new("a").expect("a label");
        assert_eq!(named_address("a@h:1"), (Some(name), "h:1"));
        assert_eq!(named_address("h:1"), (None, "h:1"));
        assert_eq!(named_address("-@h:1"), (None, "-@h:1"));
    }
}
