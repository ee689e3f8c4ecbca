//! The server's side: answers requests for values, over any connection that hyper drives.

use std::convert::Infallible;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header, request};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use mempool_core::{Cause, HEADER_BYTES};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::spawn_blocking;

use super::body::ValueBody;
use super::frame::{FrameSource, NewFrame, ServedFrame};
use super::headers;
use super::path::{Place, path_of};
use super::progress::{Pace, Progress};
use super::range::Selection;
use super::refusal::{Refusal, RefusalKind};
use super::stall::WriteDeadline;
use super::transfer::{next_piece, write_piece};
use crate::identity::GlobalId;

/// What a server allows its askers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServeLimits {
    /// The longest new value.
    pub put_bytes: u64,
    /// How slow the sender of a new value may be.
    pub put_pace: Pace,
    /// The longest head of a request.
    pub head_bytes: usize,
    /// How many headers a request may have.
    pub headers: usize,
    /// How long a connection may take for the head of a request, idle time before it included.
    pub head_timeout: Duration,
    /// The largest buffer that a connection reads into: the size of the pieces in which a new value comes.
    pub read_buffer_bytes: usize,
    /// How long a connection may take no byte of an answer.
    pub write_timeout: Duration,
}

impl Default for ServeLimits {
    /// 1 TiB a value, at 64 KiB in 30 s; 16 KiB and 64 headers a request, in 60 s; 256 KiB to read into; and an answer that goes on
    /// within 30 s.
    fn default() -> Self {
        Self {
            put_bytes: 1 << 40,
            put_pace: Pace { bytes: 64 << 10, within: Duration::from_secs(30) },
            head_bytes: 16 << 10,
            headers: 64,
            head_timeout: Duration::from_secs(60),
            read_buffer_bytes: 256 << 10,
            write_timeout: Duration::from_secs(30),
        }
    }
}

impl ServeLimits {
    /// A server of HTTP/1.1 that keeps to these limits.
    #[must_use]
    pub fn http1(&self) -> http1::Builder {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.head_timeout)
            .max_headers(self.headers)
            .max_header_size(self.head_bytes)
            .max_buf_size(self.read_buffer_bytes.max(8 << 10));
        builder
    }
}

/// Answers requests for values: `GET` and `HEAD` of one, `PUT` of a new one.
///
/// It is a service of hyper's and can stand beside others on one port: [`serves`](Self::serves) says which paths are its own.
/// What the layers in front know of the asker they put into the request's extensions, which the [`FrameSource`] is given.
#[derive(Clone)]
pub struct ValueService {
    source: Arc<dyn FrameSource>,
    limits: ServeLimits,
}

type Answer = Result<Response<ValueBody>, Refusal>;

impl ValueService {
    /// A service of the frames of `source`.
    #[must_use]
    pub fn new(source: Arc<dyn FrameSource>, limits: ServeLimits) -> Self {
        Self { source, limits }
    }

    /// Whether a path is one of this service's.
    #[must_use]
    pub fn serves(uri: &Uri) -> bool {
        uri.path()
            .strip_prefix(super::path::VALUES)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Answers one request. It always does: what cannot be done is an answer that says why.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<ValueBody>
    where
        B: Body<Data = Bytes> + Send + Unpin,
        B::Error: Into<Cause>,
    {
        let (parts, body) = request.into_parts();
        let answer = match (Place::of(parts.uri.path()), &parts.method) {
            (Some(Place::Value(id)), &Method::GET | &Method::HEAD) => self.give(id, parts).await,
            (Some(Place::Values), &Method::PUT) => self.take(parts, body).await,
            (Some(place), _) => Ok(wrong_method(place)),
            (None, _) => {
                let said = format!("no value stands at {:.200}", parts.uri.path());
                Err(Refusal::new(RefusalKind::NotFound, said))
            }
        };
        answer.unwrap_or_else(|refusal| refused(&refusal))
    }

    async fn give(&self, id: GlobalId, parts: request::Parts) -> Answer {
        let request::Parts { method, headers, extensions, .. } = parts;
        let frame = match self.source.find_now(id, &extensions) {
            Some(found) => found?,
            None => {
                let source = Arc::clone(&self.source);
                waiting(move || source.find(id, &extensions)).await?
            }
        };
        let whole = 0..frame.head().bytes();
        let (status, range) = match selection(&headers, frame.as_ref())? {
            None => (StatusCode::OK, whole),
            Some(part) => (StatusCode::PARTIAL_CONTENT, part),
        };
        Ok(given(status, frame, range, method == Method::HEAD))
    }

    async fn take<B>(&self, parts: request::Parts, body: B) -> Answer
    where
        B: Body<Data = Bytes> + Send + Unpin,
        B::Error: Into<Cause>,
    {
        let bytes = self.length(&parts.headers)?;
        let source = Arc::clone(&self.source);
        let sink = waiting(move || source.receive(bytes, &parts.extensions)).await?;
        let sink = self.receive(bytes, body, sink).await?;
        let id = waiting(move || sink.finish()).await?;
        let mut response = Response::new(ValueBody::text(format!("{{\"value\":\"{id}\"}}\n")));
        *response.status_mut() = StatusCode::CREATED;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers::insert(headers, header::LOCATION, path_of(id));
        headers::insert(headers, headers::VALUE, id.to_string());
        Ok(response)
    }

    /// How long the new frame will be.
    fn length(&self, headers: &HeaderMap) -> Result<u64, Refusal> {
        if !headers.contains_key(header::CONTENT_LENGTH) {
            let said = "a new value says how long it is, by Content-Length";
            return Err(Refusal::new(RefusalKind::LengthRequired, said));
        }
        let Some(bytes) = headers::number(headers, &header::CONTENT_LENGTH) else {
            return Err(Refusal::new(RefusalKind::BadRequest, "Content-Length is no number"));
        };
        if bytes > self.limits.put_bytes {
            let said = format!("{bytes} bytes, and {} are the most", self.limits.put_bytes);
            return Err(Refusal::new(RefusalKind::TooLarge, said));
        }
        if bytes < HEADER_BYTES {
            let said = format!("{bytes} bytes are no frame, which has {HEADER_BYTES} at least");
            return Err(Refusal::new(RefusalKind::Damaged, said));
        }
        Ok(bytes)
    }

    /// Moves the body into `sink`, which has room for `bytes`.
    async fn receive<B>(
        &self,
        bytes: u64,
        mut body: B,
        mut sink: Box<dyn NewFrame>,
    ) -> Result<Box<dyn NewFrame>, Refusal>
    where
        B: Body<Data = Bytes> + Send + Unpin,
        B::Error: Into<Cause>,
    {
        let bent = |said: String| Refusal::new(RefusalKind::BadRequest, said);
        let mut progress = Progress::new(self.limits.put_pace);
        let mut left = bytes;
        loop {
            let piece = progress.wait(next_piece(&mut body)).await.map_err(|_| {
                let Pace { bytes, within } = self.limits.put_pace;
                let said = format!("fewer than {bytes} bytes in {within:?}, {left} still missing");
                Refusal::new(RefusalKind::TooSlow, said)
            })?;
            let Some(piece) =
                piece.map_err(|error| bent(format!("the body broke off: {error}")))?
            else {
                break;
            };
            let piece_bytes = piece.len();
            left = left
                .checked_sub(piece_bytes as u64)
                .ok_or_else(|| bent(format!("more than the {bytes} bytes of Content-Length")))?;
            let slow = sink.may_block();
            let kept = write_piece(sink, piece).await;
            sink = kept.map_err(|error| Refusal::new(RefusalKind::NoRoom, error.to_string()))?;
            progress.note(piece_bytes);
            if slow {
                // The time that our own disk took is not the sender's.
                progress.restart();
            }
        }
        match left {
            0 => Ok(sink),
            left => Err(bent(format!("{left} of {bytes} bytes are missing"))),
        }
    }

    /// Serves one connection that speaks HTTP/1.1 and asks for values alone, until it ends.
    ///
    /// # Errors
    /// What ended the connection before its time.
    pub async fn serve_connection<S>(&self, stream: S) -> Result<(), Cause>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = WriteDeadline::new(stream, self.limits.write_timeout);
        let connection = self.limits.http1().serve_connection(TokioIo::new(stream), self.clone());
        connection.await.map_err(Into::into)
    }
}

impl hyper::service::Service<Request<Incoming>> for ValueService {
    type Response = Response<ValueBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.answer(request).await) })
    }
}

impl std::fmt::Debug for ValueService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ValueService").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Runs what may wait on a thread that may.
async fn waiting<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, Refusal> + Send + 'static,
) -> Result<R, Refusal> {
    let failed = |_| Refusal::new(RefusalKind::Failed, "the node failed; its log says more");
    spawn_blocking(work).await.unwrap_or_else(|error| Err(failed(error)))
}

/// The part that the headers ask for; `None` for the whole.
fn selection(headers: &HeaderMap, frame: &dyn ServedFrame) -> Result<Option<Range<u64>>, Refusal> {
    let bytes = frame.head().bytes();
    let Some(range) = headers.get(header::RANGE) else { return Ok(None) };
    // With another tag than ours, or with a date, the asker has parts of something else: it gets the whole.
    if let Some(tag) = headers.get(header::IF_RANGE)
        && tag.as_bytes() != headers::etag(frame.head().fingerprint).as_bytes()
        && !mutant!("if_range_ignored")
    {
        return Ok(None);
    }
    match range.to_str().map_or(Selection::Bent, |range| Selection::of(range, bytes)) {
        Selection::Whole => Ok(None),
        Selection::Part(part) => Ok(Some(part)),
        Selection::Outside => {
            let said = format!("the frame has {bytes} bytes, none of them in that range");
            Err(Refusal::new(RefusalKind::Range, said))
        }
        Selection::Bent => {
            Err(Refusal::new(RefusalKind::BadRequest, "the header Range is no range of bytes"))
        }
    }
}

fn given(
    status: StatusCode,
    frame: Arc<dyn ServedFrame>,
    range: Range<u64>,
    head_only: bool,
) -> Response<ValueBody> {
    let mut response = Response::new(ValueBody::nothing());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers::write_head(frame.head(), headers);
    let bytes = range.end.saturating_sub(range.start);
    headers.insert(header::CONTENT_LENGTH, bytes.into());
    if status == StatusCode::PARTIAL_CONTENT {
        let last = range.end.saturating_sub(1);
        let part = format!("bytes {}-{last}/{}", range.start, frame.head().bytes());
        headers::insert(headers, header::CONTENT_RANGE, part);
    }
    if !head_only {
        *response.body_mut() = ValueBody::frame(frame, range);
    }
    response
}

fn wrong_method(place: Place) -> Response<ValueBody> {
    let allowed = match place {
        Place::Values => "PUT",
        Place::Value(_) => "GET, HEAD",
    };
    let mut response =
        refused(&Refusal::new(RefusalKind::Method, format!("this path takes {allowed}")));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

fn refused(refusal: &Refusal) -> Response<ValueBody> {
    let mut response = Response::new(ValueBody::text(refusal.body()));
    *response.status_mut() = refusal.kind.status();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(headers::ERROR, HeaderValue::from_static(refusal.kind.name()));
    response
}
