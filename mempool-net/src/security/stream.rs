//! A stream whose other end is known, with the deadlines that hold for each byte of it.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsStream;

use crate::security::bounds::{Deadlines, Permit};
use crate::security::error::{Phase, SecurityError};
use crate::security::peer::{Peer, Protocol};

/// A stream to a [`Peer`] who is known. Reading and writing fail with [`io::ErrorKind::TimedOut`] after their deadlines:
/// writing when the other side takes nothing for `body_progress`, reading when for `idle` no byte went either way. The cause is
/// a [`SecurityError::Deadline`]; of a peer who does not take our certificate the first read fails with a
/// [`SecurityError::Identity`].
pub struct Stream {
    socket: Socket,
    peer: Peer,
    protocol: Option<Protocol>,
    reading: Watch,
    writing: Watch,
    waits_to_write: bool,
    /// Its place among the peer's connections.
    _permit: Option<Permit>,
}

pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(crate) fn new(
        socket: Socket,
        peer: Peer,
        protocol: Option<Protocol>,
        deadlines: &Deadlines,
        permit: Option<Permit>,
    ) -> Self {
        Self {
            socket,
            peer,
            protocol,
            reading: Watch::new(deadlines.idle, Phase::Idle),
            writing: Watch::new(deadlines.body_progress, Phase::Body),
            waits_to_write: false,
            _permit: permit,
        }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// What is to be spoken, where TLS has settled that. Without TLS the first bytes tell.
    #[must_use]
    pub fn protocol(&self) -> Option<Protocol> {
        self.protocol
    }

    /// The Unix socket, for whoever sends descriptors over it; what is done there is past the deadlines.
    #[must_use]
    pub fn as_unix(&self) -> Option<&UnixStream> {
        match &self.socket {
            Socket::Unix(socket) => Some(socket),
            Socket::Tcp(_) | Socket::Tls(_) => None,
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Socket {
    fn read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, buffer),
            Self::Unix(socket) => Pin::new(socket).poll_read(cx, buffer),
            Self::Tls(socket) => Pin::new(socket).poll_read(cx, buffer),
        }
    }

    fn writer(&mut self) -> Pin<&mut (dyn AsyncWrite + Unpin)> {
        Pin::new(match self {
            Self::Tcp(socket) => socket,
            Self::Unix(socket) => socket,
            Self::Tls(socket) => socket,
        })
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match this.socket.read(cx, buffer) {
            Poll::Ready(done) => {
                this.reading.since = Instant::now();
                // That it refuses our certificate the other side says only now.
                Poll::Ready(done.map_err(|error| explained(error, &this.peer)))
            }
            Poll::Pending => Poll::Ready(Err(ready!(this.reading.expired(cx, &this.peer)))),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write_with(cx, |socket, cx| socket.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write_with(cx, |socket, cx| socket.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.socket {
            Socket::Tcp(socket) => socket.is_write_vectored(),
            Socket::Unix(socket) => socket.is_write_vectored(),
            Socket::Tls(socket) => socket.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.socket {
            Socket::Tls(_) => self.write_with(cx, |socket, cx| socket.poll_flush(cx)),
            // Nothing is held back there, so that it is ready says nothing about the other side.
            Socket::Tcp(_) | Socket::Unix(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write_with(cx, |socket, cx| socket.poll_shutdown(cx))
    }
}

impl Stream {
    fn write_with<T>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut (dyn AsyncWrite + Unpin)>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let this = &mut *self;
        match write(this.socket.writer(), cx) {
            Poll::Ready(done) => {
                this.waits_to_write = false;
                this.reading.since = Instant::now();
                Poll::Ready(done)
            }
            Poll::Pending => {
                // The time counts from when the other side stopped taking, not from the last byte before a pause; and what
                // it sends meanwhile is no excuse.
                if !std::mem::replace(&mut this.waits_to_write, true) {
                    this.writing.since = Instant::now();
                }
                Poll::Ready(Err(ready!(this.writing.expired(cx, &this.peer))))
            }
        }
    }
}

/// An error of TLS as a [`SecurityError::Identity`], which says what it means; any other as it is.
fn explained(error: io::Error, peer: &Peer) -> io::Error {
    let kind = error.kind();
    match SecurityError::of_handshake(peer.to_string(), error) {
        SecurityError::Connection { source, .. } => source,
        said => io::Error::new(kind, said),
    }
}

/// How long one direction has stood still. The timer is set when somebody waits, and not moved with each byte.
struct Watch {
    limit: Duration,
    phase: Phase,
    since: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Watch {
    fn new(limit: Duration, phase: Phase) -> Self {
        Self { limit, phase, since: Instant::now(), timer: None }
    }

    /// Ready when nothing has moved for as long as the limit says.
    fn expired(&mut self, cx: &mut Context<'_>, peer: &Peer) -> Poll<io::Error> {
        // A limit beyond what a clock can say is none.
        let Some(end) = self.since.checked_add(self.limit) else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        loop {
            ready!(timer.as_mut().poll(cx));
            if end <= Instant::now() {
                let (phase, limit) = (self.phase, self.limit);
                let cause = SecurityError::Deadline { peer: peer.to_string(), phase, limit };
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, cause));
            }
            timer.as_mut().reset(end);
        }
    }
}
