//! The client's side: gets frames, or parts of them, and puts new ones.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{io, pin};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::ext::on_informational;
use mempool_core::Cause;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::body::ValueBody;
use super::error::BytesError;
use super::frame::{FrameHead, FrameSink, ServedFrame};
use super::headers;
use super::path::{VALUES, path_of, value};
use super::peer::{Lease, LeaseError, Peer, Unsent};
use super::progress::Progress;
use super::range::{ByteRange, content_range};
use super::refusal::{Refusal, RefusalKind};
use super::transfer::{next_piece, write_piece};
use crate::identity::GlobalId;

impl Peer {
    /// Asks for a frame, or a part of it. The answer's head is here when this returns, its bytes are not: the receiver can
    /// reserve what they need.
    ///
    /// # Errors
    /// [`BytesError`]; a connection that cannot be made or breaks is tried anew before.
    pub async fn get(&self, id: GlobalId, range: ByteRange) -> Result<Answer, BytesError> {
        if range.is_empty() {
            let (peer, path) = (self.name(), path_of(id));
            let message = format!("{range:?} has no bytes");
            return Err(BytesError::Refused { peer, path, kind: RefusalKind::Range, message });
        }
        let mut attempts = Attempts::new(self);
        loop {
            match self.ask(id, range, None).await {
                Ok(opened) => {
                    let left = opened.part.clone();
                    return Ok(Answer { peer: self.clone(), id, opened, left, attempts });
                }
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Again(trouble)) => attempts.next(trouble, 0, 0).await?,
            }
        }
    }

    /// Gets a frame, or a part of it, into a sink that `begin` makes when the head of the answer is known: so it can reserve
    /// memory before the first byte. `begin` must not wait, for it is called on the runtime's worker: who may have to wait for room
    /// calls [`get`](Self::get) and [`read_into`](Answer::read_into), and waits between them where that does no harm.
    ///
    /// # Errors
    /// As [`get`](Self::get), and [`BytesError::Sink`] with what `begin` or the sink says.
    pub async fn fetch<S: FrameSink>(
        &self,
        id: GlobalId,
        range: ByteRange,
        begin: impl FnOnce(&FrameHead, Range<u64>) -> Result<S, Cause>,
    ) -> Result<(FrameHead, S), BytesError> {
        let answer = self.get(id, range).await?;
        let head = answer.head().clone();
        let sink = begin(&head, answer.range())
            .map_err(|source| BytesError::Sink { peer: self.name(), source })?;
        Ok((head, answer.read_into(sink).await?))
    }

    /// Puts a frame as a new value of the peer's, and answers its name there.
    ///
    /// It is not tried again once a byte of it has left: it might then be there twice.
    ///
    /// # Errors
    /// [`BytesError`].
    pub async fn put(&self, frame: Arc<dyn ServedFrame>) -> Result<GlobalId, BytesError> {
        let taken = Arc::new(AtomicU64::new(0));
        let whole = 0..frame.head().bytes();
        let (gate, asked) = match whole.end > ASK_FIRST_BYTES {
            true => Some(oneshot::channel()).unzip(),
            false => (None, None),
        };
        let body = ValueBody::frame(frame, whole).watched(&taken, asked);
        let mut request = self.request(Method::PUT, VALUES, body);
        if let Some(gate) = gate {
            ask_first(&mut request, gate);
        }
        loop {
            let (mut lease, used) = self.lease().await.map_err(|error| self.no_lease(error, 1))?;
            match self.send_counted(&mut lease, request, &taken).await? {
                Ok(response) => return self.put_answer(lease, response).await,
                Err(Unsent { request: Some(again), .. }) if used => request = again,
                Err(Unsent { source, .. }) => {
                    return Err(BytesError::Broken {
                        peer: self.name(),
                        received: 0,
                        bytes: 0,
                        attempts: 1,
                        source,
                    });
                }
            }
        }
    }

    /// Sends a request whose body is taken piece by piece, each of which restarts the deadline.
    async fn send_counted(
        &self,
        lease: &mut Lease,
        request: Request<ValueBody>,
        taken: &AtomicU64,
    ) -> Result<Result<Response<Incoming>, Unsent>, BytesError> {
        let limit = self.limits().answer_timeout;
        let mut sent = pin::pin!(lease.link.send(request));
        // Relaxed: whether it moves on is all that is asked.
        let mut before = taken.load(Ordering::Relaxed);
        loop {
            if let Ok(answer) = timeout(limit, sent.as_mut()).await {
                return Ok(answer);
            }
            let now = taken.load(Ordering::Relaxed);
            if now == before {
                return Err(BytesError::Timeout { peer: self.name(), what: "a new value", limit });
            }
            before = now;
        }
    }

    async fn put_answer(
        &self,
        lease: Lease,
        response: Response<Incoming>,
    ) -> Result<GlobalId, BytesError> {
        if response.status() != StatusCode::CREATED {
            return Err(self.refusal(lease, response, VALUES).await);
        }
        let name = headers::text(response.headers(), &headers::VALUE);
        let id = name.and_then(value).ok_or_else(|| {
            self.bent(VALUES, "the new value's name", format!("{name:?} in {}", headers::VALUE))
        })?;
        self.drain(lease, response).await;
        Ok(id)
    }

    fn request(&self, method: Method, path: &str, body: ValueBody) -> Request<ValueBody> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().expect("a path of digits");
        request.headers_mut().insert(header::HOST, self.host());
        request
    }

    /// Asks once for a part of a frame; with `tag`, for that of this frame alone.
    async fn ask(
        &self,
        id: GlobalId,
        range: ByteRange,
        tag: Option<&str>,
    ) -> Result<Opened, Failure> {
        let path = path_of(id);
        let limit = self.limits().answer_timeout;
        loop {
            let (mut lease, used) = match self.lease().await {
                Ok(lease) => lease,
                Err(LeaseError::Connect(error)) => {
                    return Err(Failure::Again(Trouble::Connect(error)));
                }
                Err(busy) => return Err(Failure::Final(self.no_lease(busy, 1))),
            };
            let mut request = self.request(Method::GET, &path, ValueBody::nothing());
            if let Some(range) = range.header() {
                headers::insert(request.headers_mut(), header::RANGE, range);
            }
            if let Some(tag) = tag.and_then(|tag| HeaderValue::try_from(tag).ok()) {
                request.headers_mut().insert(header::IF_RANGE, tag);
            }
            match timeout(limit, lease.link.send(request)).await {
                Ok(Ok(response)) => return self.opened(lease, response, &path, range, tag).await,
                // The peer had closed it meanwhile: that says nothing of a new one.
                Ok(Err(_)) if used => {}
                Ok(Err(Unsent { source, .. })) => {
                    return Err(Failure::Again(Trouble::Broken(source)));
                }
                Err(_) => {
                    let what = "the answer";
                    let error = BytesError::Timeout { peer: self.name(), what, limit };
                    return Err(Failure::Final(error));
                }
            }
        }
    }

    /// Looks at an answer: it is what was asked for, or a reason.
    async fn opened(
        &self,
        lease: Lease,
        response: Response<Incoming>,
        path: &str,
        range: ByteRange,
        tag: Option<&str>,
    ) -> Result<Opened, Failure> {
        let (status, asked) = (response.status(), response.headers());
        if status != StatusCode::OK && status != StatusCode::PARTIAL_CONTENT {
            return Err(Failure::Final(self.refusal(lease, response, path).await));
        }
        let bent = |expected: &str, found: String| Failure::Final(self.bent(path, expected, found));
        let head = headers::read_head(asked)
            .map_err(|name| bent("headers of a frame", format!("{name} missing or bent")))?;
        let found = headers::etag(head.fingerprint);
        if let Some(expected) = tag.filter(|tag| *tag != found) {
            return Err(Failure::Final(BytesError::Changed {
                peer: self.name(),
                path: path.to_owned(),
                expected: expected.to_owned(),
                found,
            }));
        }
        let whole = head.bytes();
        let part = match (status, headers::text(asked, &header::CONTENT_RANGE)) {
            (StatusCode::OK, _) => 0..whole,
            (_, range) => match range.and_then(content_range) {
                Some((part, bytes)) if bytes == whole => part,
                _ => return Err(bent("a range of the frame", format!("{range:?}"))),
            },
        };
        let expected = range.from..range.to.map_or(whole, |to| to.min(whole));
        if part != expected {
            return Err(bent(&format!("bytes {expected:?}"), format!("bytes {part:?}")));
        }
        let length = headers::number(asked, &header::CONTENT_LENGTH);
        let bytes = part.end.saturating_sub(part.start);
        if length != Some(bytes) {
            return Err(bent(&format!("{bytes} bytes"), format!("Content-Length {length:?}")));
        }
        Ok(Opened { lease, body: response.into_body(), head, part })
    }

    /// What a refusal says; its body is read as far as it is short and comes in time.
    async fn refusal(&self, lease: Lease, response: Response<Incoming>, path: &str) -> BytesError {
        let name = headers::text(response.headers(), &headers::ERROR);
        let kind = RefusalKind::of(name, response.status());
        let status = response.status();
        let body = self.drain(lease, response).await;
        let message = match Refusal::message_of(&body) {
            empty if empty.is_empty() => status.to_string(),
            message => message,
        };
        BytesError::Refused { peer: self.name(), path: path.to_owned(), kind, message }
    }

    /// Reads a short body, and keeps the connection if that was all of it.
    async fn drain(&self, mut lease: Lease, response: Response<Incoming>) -> Vec<u8> {
        const BYTES_MAX: usize = 16 << 10;
        let mut body = response.into_body();
        let mut read = Vec::new();
        let ended = timeout(self.limits().pace.within, async {
            while let Ok(piece) = lease.link.drive(next_piece(&mut body)).await {
                let Some(piece) = piece else { return true };
                let left = BYTES_MAX.saturating_sub(read.len());
                read.extend(piece.iter().take(left));
                if left == 0 {
                    break;
                }
            }
            false
        });
        if ended.await.unwrap_or(false) {
            drop(body);
            lease.end();
        }
        read
    }

    fn bent(&self, path: &str, expected: &str, found: String) -> BytesError {
        let (peer, path, expected) = (self.name(), path.to_owned(), expected.to_owned());
        BytesError::Protocol { peer, path, expected, found }
    }

    fn no_lease(&self, error: LeaseError, attempts: u32) -> BytesError {
        let (peer, limit) = (self.name(), self.limits().connect_timeout);
        match error {
            LeaseError::AllBusy => BytesError::Timeout { peer, what: "a free connection", limit },
            LeaseError::Connect(source) => BytesError::Connect { peer, attempts, source },
        }
    }
}

/// A new value that is longer is sent when the peer has said that it has room: sent at once, it would be in the way of the
/// answer that there is none.
const ASK_FIRST_BYTES: u64 = 4096;

/// Opens `gate` when the peer wants the body.
fn ask_first(request: &mut Request<ValueBody>, gate: oneshot::Sender<()>) {
    let go_on = HeaderValue::from_static("100-continue");
    request.headers_mut().insert(header::EXPECT, go_on);
    let gate = Mutex::new(Some(gate));
    on_informational(request, move |answer| {
        if answer.status() == StatusCode::CONTINUE {
            let gate = gate.lock().unwrap_or_else(PoisonError::into_inner).take();
            // Nobody waits for it when the request was given up meanwhile.
            let _ = gate.map(|gate| gate.send(()));
        }
    });
}

/// An answer whose head has come, and whose bytes are to be read.
///
/// Dropped, it closes its connection: the peer stops sending.
pub struct Answer {
    peer: Peer,
    id: GlobalId,
    opened: Opened,
    /// What has not come yet.
    left: Range<u64>,
    attempts: Attempts,
}

impl Answer {
    /// What the peer says of the frame. Nothing of it is checked.
    #[must_use]
    pub fn head(&self) -> &FrameHead {
        &self.opened.head
    }

    /// Which bytes of the frame will come: all that were asked for and that it has.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.opened.part.clone()
    }

    /// Reads the bytes into `sink`, all of them, each once. A connection that breaks or stalls is made anew, and the rest is
    /// asked for.
    ///
    /// # Errors
    /// [`BytesError`]; the sink is then gone.
    pub async fn read_into<S: FrameSink>(mut self, mut sink: S) -> Result<S, BytesError> {
        loop {
            let trouble;
            (sink, trouble) = self.read_some(sink).await?;
            match trouble {
                Some(trouble) => self = self.resume(trouble).await?,
                None => {
                    self.opened.lease.end();
                    return Ok(sink);
                }
            }
        }
    }

    /// Reads until all is there, or something is in the way that another attempt may help against.
    async fn read_some<S: FrameSink>(
        &mut self,
        mut sink: S,
    ) -> Result<(S, Option<Trouble>), BytesError> {
        let pace = self.peer.limits().pace;
        let mut progress = Progress::new(pace);
        loop {
            let Opened { lease, body, .. } = &mut self.opened;
            let piece = match progress.wait(lease.link.drive(next_piece(body))).await {
                Ok(Ok(Some(piece))) => piece,
                Ok(Ok(None)) if self.left.is_empty() => return Ok((sink, None)),
                Ok(Ok(None)) => return Ok((sink, Some(Trouble::Broken("it ended early".into())))),
                Ok(Err(source)) => return Ok((sink, Some(Trouble::Broken(source)))),
                Err(_) => return Ok((sink, Some(Trouble::Stalled(pace.within)))),
            };
            let bytes = piece.len();
            let start = self.left.start.saturating_add(bytes as u64);
            if start > self.left.end {
                let expected = format!("{:?} and no more", self.opened.part);
                return Err(self.peer.bent(&path_of(self.id), &expected, format!("byte {start}")));
            }
            let slow = sink.may_block();
            sink = write_piece(sink, piece)
                .await
                .map_err(|source| BytesError::Sink { peer: self.peer.name(), source })?;
            self.left.start = start;
            progress.note(bytes);
            if slow {
                progress.restart();
            }
        }
    }

    /// Asks for the rest of the same frame over another connection.
    async fn resume(self, mut trouble: Trouble) -> Result<Self, BytesError> {
        let Self { peer, id, opened, left, mut attempts } = self;
        let Opened { lease, body, head, part } = opened;
        // The peer stops sending into a connection that is closed.
        drop((body, lease));
        let tag = headers::etag(head.fingerprint);
        let received = left.start.saturating_sub(part.start);
        let bytes = part.end.saturating_sub(part.start);
        loop {
            attempts.next(trouble, received, bytes).await?;
            let start = if mutant!("resumed_elsewhere") { part.start } else { left.start };
            match peer.ask(id, (start..left.end).into(), Some(&tag)).await {
                Ok(opened) => {
                    // What the caller saw first stays what it sees.
                    let opened = Opened { head, part, ..opened };
                    return Ok(Self { peer, id, opened, left, attempts });
                }
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Again(again)) => trouble = again,
            }
        }
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("id", &self.id)
            .field("head", self.head())
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

/// A body that can be read, over the connection it comes from.
struct Opened {
    lease: Lease,
    body: Incoming,
    head: FrameHead,
    part: Range<u64>,
}

/// Why one attempt failed.
enum Failure {
    /// Another would, too.
    Final(BytesError),
    /// Another may succeed.
    Again(Trouble),
}

/// What another attempt may help against.
enum Trouble {
    Connect(io::Error),
    Broken(Cause),
    Stalled(Duration),
}

/// How often one transfer was tried.
struct Attempts {
    peer: Peer,
    made: u32,
}

impl Attempts {
    fn new(peer: &Peer) -> Self {
        Self { peer: peer.clone(), made: 1 }
    }

    /// Waits before the next attempt; or fails, after the last one, with what was in its way.
    async fn next(
        &mut self,
        trouble: Trouble,
        received: u64,
        bytes: u64,
    ) -> Result<(), BytesError> {
        let limits = self.peer.limits();
        if self.made < limits.attempts {
            let doubled = self.made.saturating_sub(1).min(4);
            sleep(limits.backoff.saturating_mul(1 << doubled)).await;
            self.made = self.made.saturating_add(1);
            return Ok(());
        }
        let (peer, attempts) = (self.peer.name(), self.made);
        Err(match trouble {
            Trouble::Connect(source) => BytesError::Connect { peer, attempts, source },
            Trouble::Broken(source) => {
                BytesError::Broken { peer, received, bytes, attempts, source }
            }
            Trouble::Stalled(limit) => BytesError::Timeout { peer, what: "the body", limit },
        })
    }
}
