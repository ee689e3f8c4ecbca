//! The connections to one peer: a bounded number, kept and used again.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::HeaderValue;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use mempool_core::Cause;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::body::ValueBody;
use super::connect::{ByteStream, Connector};
use super::progress::Pace;

/// What a client allows a peer, and itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerLimits {
    /// How many connections there are at a time, idle ones included. Who finds all of them busy waits.
    pub connections: usize,
    /// How long an idle connection is kept for use. Less than the server's patience.
    pub idle_for: Duration,
    /// How long a connection may take to be made, or to be free.
    pub connect_timeout: Duration,
    /// How long the head of an answer may take; and, of a value that is put, each piece of it to be taken.
    pub answer_timeout: Duration,
    /// How slow the sender of a body may be, before the connection counts as broken.
    pub pace: Pace,
    /// How often one transfer is tried before it fails.
    pub attempts: u32,
    /// How long to wait before the second attempt; twice as long before each further one, up to 16 times as long.
    pub backoff: Duration,
    /// The largest buffer that a connection reads into. Each connection has one, beside the memory of any pool.
    pub read_buffer_bytes: usize,
    /// The longest head of an answer.
    pub head_bytes: usize,
}

impl Default for PeerLimits {
    /// 16 connections, kept for 30 s; 5 s to connect, 30 s for an answer, 64 KiB each 10 s; 4 attempts, the second after
    /// 50 ms; 512 KiB to read into; 16 KiB of headers.
    fn default() -> Self {
        Self {
            connections: 16,
            idle_for: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(30),
            pace: Pace { bytes: 64 << 10, within: Duration::from_secs(10) },
            attempts: 4,
            backoff: Duration::from_millis(50),
            read_buffer_bytes: 512 << 10,
            head_bytes: 16 << 10,
        }
    }
}

/// Another node, as somebody to get bytes from and to put bytes to.
///
/// Clones share the connections. Dropping the future of a transfer closes its connection, which tells the peer to stop.
#[derive(Clone)]
pub struct Peer(Arc<Inner>);

struct Inner {
    connector: Box<dyn Connector>,
    host: HeaderValue,
    limits: PeerLimits,
    /// Connections that nobody uses; the last one was used last. A new one is made only when there is none, so that those in
    /// use and these together are at most as many as there are permits.
    idle: Mutex<Vec<Link>>,
    permits: Arc<Semaphore>,
}

impl Peer {
    /// The peer that `connector` leads to. Nothing is connected yet.
    #[must_use]
    pub fn new(connector: impl Connector, limits: PeerLimits) -> Self {
        let host = HeaderValue::try_from(connector.host());
        Self(Arc::new(Inner {
            host: host.unwrap_or(HeaderValue::from_static("localhost")),
            connector: Box::new(connector),
            idle: Mutex::new(Vec::new()),
            permits: Arc::new(Semaphore::new(limits.connections.clamp(1, Semaphore::MAX_PERMITS))),
            limits,
        }))
    }

    /// How messages call it.
    #[must_use]
    pub fn name(&self) -> String {
        self.0.connector.to_string()
    }

    /// How many connections are open and idle.
    #[must_use]
    pub fn idle_connections(&self) -> usize {
        self.idle().len()
    }

    /// Closes the connections that nobody uses.
    pub fn close_idle(&self) {
        let idle = std::mem::take(&mut *self.idle());
        drop(idle);
    }

    pub(crate) fn limits(&self) -> &PeerLimits {
        &self.0.limits
    }

    pub(crate) fn host(&self) -> HeaderValue {
        self.0.host.clone()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Link>> {
        // What a panic left is a list of whole connections.
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection of the caller's own, and whether it was used before.
    pub(crate) async fn lease(&self) -> Result<(Lease, bool), LeaseError> {
        let limit = self.0.limits.connect_timeout;
        let permit = timeout(limit, Arc::clone(&self.0.permits).acquire_owned());
        let permit = permit.await.map_err(|_| LeaseError::AllBusy)?.expect("it is never closed");
        let lease = |link| Lease { link, peer: self.clone(), permit };
        if let Some(link) = self.idle_link() {
            return Ok((lease(link), true));
        }
        let made = timeout(limit, self.connect()).await;
        let link =
            made.unwrap_or_else(|elapsed| Err(elapsed.into())).map_err(LeaseError::Connect)?;
        Ok((lease(link), false))
    }

    /// The connection that was used last and is still good.
    fn idle_link(&self) -> Option<Link> {
        loop {
            let mut link = self.idle().pop()?;
            if link.idle_since.elapsed() < self.0.limits.idle_for && link.is_open() {
                return Some(link);
            }
        }
    }

    async fn connect(&self) -> io::Result<Link> {
        let stream = self.0.connector.connect().await?;
        let made = http1::Builder::new()
            .max_buf_size(self.0.limits.read_buffer_bytes.max(8 << 10))
            .max_header_size(self.0.limits.head_bytes)
            .handshake(TokioIo::new(stream))
            .await;
        let (send, connection) = made.map_err(io::Error::other)?;
        Ok(Link { send, connection: Some(connection), idle_since: Instant::now() })
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// Why there is no connection.
pub(crate) enum LeaseError {
    /// All that there may be were busy for too long.
    AllBusy,
    /// It could not be made.
    Connect(io::Error),
}

/// A connection in use. Dropped, it is closed; [`end`](Self::end) keeps it.
pub(crate) struct Lease {
    pub(crate) link: Link,
    peer: Peer,
    permit: OwnedSemaphorePermit,
}

impl Lease {
    /// Gives the connection back; it is closed if the last answer was not read to its end.
    pub(crate) fn end(self) {
        let Self { mut link, peer, permit } = self;
        if link.is_open() {
            link.idle_since = Instant::now();
            peer.idle().push(link);
        }
        // Now another may look for an idle connection, and finds this one.
        drop(permit);
    }
}

/// One connection. No task of its own drives it: whoever uses it does, so that a transfer costs no change of threads, and
/// its end is seen where it matters.
pub(crate) struct Link {
    send: SendRequest<ValueBody>,
    /// `None` once it has ended.
    connection: Option<Connection<TokioIo<Box<dyn ByteStream>>, ValueBody>>,
    idle_since: Instant,
}

impl Link {
    /// Sends a request, and waits for the head of its answer.
    pub(crate) fn send(
        &mut self,
        request: http::Request<ValueBody>,
    ) -> impl Future<Output = Result<http::Response<hyper::body::Incoming>, Unsent>> {
        let sent = self.send.try_send_request(request);
        self.drive(async move {
            sent.await.map_err(|mut failed| Unsent {
                request: failed.take_message(),
                source: failed.into_error().into(),
            })
        })
    }

    /// Drives the connection as long as `future` waits for it.
    pub(crate) async fn drive<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(output);
            }
            // What the connection brought, or its end, the future sees at once.
            self.poll_connection(cx);
            future.as_mut().poll(cx)
        })
        .await
    }

    fn poll_connection(&mut self, cx: &mut Context<'_>) {
        let Some(connection) = &mut self.connection else { return };
        if Pin::new(connection).poll(cx).is_ready() {
            self.connection = None;
        }
    }

    /// Whether it can take another request, as far as can be known without asking.
    fn is_open(&mut self) -> bool {
        self.poll_connection(&mut Context::from_waker(Waker::noop()));
        self.connection.is_some() && self.send.is_ready()
    }
}

/// A request that got no answer.
pub(crate) struct Unsent {
    /// The request, when no byte of it has left.
    pub(crate) request: Option<http::Request<ValueBody>>,
    /// Why.
    pub(crate) source: Cause,
}
