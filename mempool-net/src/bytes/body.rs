//! What an answer, or a request that puts a value, carries: nothing, a line of text, or a frame piece by piece.

use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};

use super::frame::ServedFrame;
use super::refusal::{Refusal, RefusalKind};

/// The most bytes of one piece. Large enough that a system call is not felt, small enough that a piece which was read ahead is
/// still in the processor's cache and that a worker is not held for long.
pub(crate) const PIECE_BYTES: u64 = 1 << 20;

/// The body of an answer, and of a request that puts a value. A frame's pieces are parts of where it lies: nothing is copied
/// before the socket.
#[derive(Debug, Default)]
pub struct ValueBody(Content);

#[derive(Debug, Default)]
enum Content {
    #[default]
    Nothing,
    Text(Bytes),
    Frame(Sending),
}

/// A part of a frame, as far as it has not left.
struct Sending {
    frame: Arc<dyn ServedFrame>,
    left: Range<u64>,
    /// Holds the first piece back until it is asked for.
    gate: Option<oneshot::Receiver<()>>,
    /// Counts the bytes that were taken, for whoever watches.
    taken: Arc<AtomicU64>,
    ahead: Ahead,
}

/// What other threads are reading.
#[derive(Default)]
enum Ahead {
    #[default]
    Nothing,
    /// The next pieces in order, each with how long it is to be.
    Pieces(VecDeque<(u64, JoinHandle<Result<Bytes, Refusal>>)>),
    /// All that is left, a few pieces at a time.
    Stream(mpsc::Receiver<Result<Bytes, Refusal>>),
}

/// How many pieces of a stream wait for the socket.
const STREAMED_MAX: usize = 2;

/// How many pieces that may wait for a disk are read at a time. With one alone, the socket would wait for each change of
/// threads, and the disk for each piece to leave.
const AHEAD_MAX: usize = 4;

/// What is no longer is read where it is sent: one page fault, which reads that much at once.
const INLINE_BYTES: u64 = 64 << 10;

impl ValueBody {
    /// No bytes.
    pub(crate) fn nothing() -> Self {
        Self::default()
    }

    pub(crate) fn text(text: String) -> Self {
        Self(Content::Text(text.into()))
    }

    /// The bytes `range` of `frame`, which lies within it.
    pub(crate) fn frame(frame: Arc<dyn ServedFrame>, range: Range<u64>) -> Self {
        Self(Content::Frame(Sending {
            frame,
            left: range,
            gate: None,
            taken: Arc::default(),
            ahead: Ahead::Nothing,
        }))
    }

    /// Has `taken` count what has been taken of a frame, and the first piece wait for `gate`.
    pub(crate) fn watched(
        mut self,
        taken: &Arc<AtomicU64>,
        gate: Option<oneshot::Receiver<()>>,
    ) -> Self {
        if let Content::Frame(sending) = &mut self.0 {
            sending.taken = Arc::clone(taken);
            sending.gate = gate;
        }
        self
    }
}

impl Sending {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Refusal>>> {
        if let Some(gate) = &mut self.gate {
            let opened = ready!(Pin::new(gate).poll(cx));
            self.gate = None;
            if opened.is_err() {
                let said = "nobody asks for the body any more";
                return Poll::Ready(Some(Err(Refusal::new(RefusalKind::Unavailable, said))));
            }
        }
        let read = match &mut self.ahead {
            Ahead::Pieces(pieces) => {
                let Some((asked, piece)) = pieces.front_mut() else { return Poll::Ready(None) };
                let read = ready!(Pin::new(piece).poll(cx));
                let read = read.unwrap_or_else(|_| Err(failed("reading panicked")));
                if read.as_ref().is_ok_and(|piece| piece.len() as u64 == *asked) {
                    pieces.pop_front();
                } else {
                    // Those behind it begin where it was to end.
                    pieces.clear();
                }
                read
            }
            Ahead::Stream(pieces) => match ready!(pieces.poll_recv(cx)) {
                Some(piece) => piece,
                None if self.left.is_empty() => return Poll::Ready(None),
                None => Err(failed("the frame ended early")),
            },
            Ahead::Nothing => match self.piece_at(self.left.start) {
                None => return Poll::Ready(None),
                Some(_) if self.frame.streams() => {
                    self.stream();
                    return self.poll_piece(cx);
                }
                Some(range) if self.frame.may_block() && length(&range) > INLINE_BYTES => {
                    self.ahead = Ahead::Pieces(VecDeque::new());
                    self.read_ahead();
                    return self.poll_piece(cx);
                }
                Some(range) => self.frame.piece(range),
            },
        };
        Poll::Ready(Some(read.and_then(|piece| self.take(piece))))
    }

    /// The piece at `start`, if anything is left there.
    fn piece_at(&self, start: u64) -> Option<Range<u64>> {
        let end = self.left.end.min(start.saturating_add(PIECE_BYTES));
        (start < end).then_some(start..end)
    }

    /// Begins to read the next pieces on threads that may wait.
    fn read_ahead(&mut self) {
        let mut ahead = std::mem::take(&mut self.ahead);
        if let Ahead::Pieces(pieces) = &mut ahead {
            let asked = pieces.iter().fold(0, |sum: u64, (asked, _)| sum.saturating_add(*asked));
            let mut start = self.left.start.saturating_add(asked);
            while let Some(range) = self.piece_at(start).filter(|_| pieces.len() < AHEAD_MAX) {
                start = range.end;
                let (frame, asked) = (Arc::clone(&self.frame), length(&range));
                pieces.push_back((asked, spawn_blocking(move || frame.piece(range))));
            }
        }
        self.ahead = ahead;
    }

    /// Begins to have the rest made on a thread that may wait.
    fn stream(&mut self) {
        let frame = Arc::clone(&self.frame);
        let (give, pieces) = mpsc::channel(STREAMED_MAX);
        self.ahead = Ahead::Stream(pieces);
        let left = self.left.clone();
        spawn_blocking(move || {
            let streamed = frame.stream(left, &mut |piece| {
                // Nobody takes it when the asker is gone.
                match give.blocking_send(Ok(piece)) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            });
            if let Err(refusal) = streamed {
                let _ = give.blocking_send(Err(refusal));
            }
        });
    }

    /// Counts a piece as gone, once it is one: a source that gives no bytes, or too many, would send another frame's.
    fn take(&mut self, piece: Bytes) -> Result<Bytes, Refusal> {
        let bytes = piece.len() as u64;
        match self.left.start.checked_add(bytes) {
            Some(start) if bytes > 0 && start <= self.left.end => self.left.start = start,
            _ if mutant!("wrong_piece_sent") => {}
            _ => {
                return Err(failed(format!("a piece of {bytes} bytes for {:?}", self.left)));
            }
        }
        // Relaxed: a count that is looked at now and then; nothing is read on the strength of it.
        self.taken.fetch_add(bytes, Ordering::Relaxed);
        self.read_ahead();
        Ok(piece)
    }
}

fn length(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}

fn failed(said: impl Into<String>) -> Refusal {
    Refusal::new(RefusalKind::Failed, said)
}

impl std::fmt::Debug for Sending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sending")
            .field("head", self.frame.head())
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl Body for ValueBody {
    type Data = Bytes;
    type Error = Refusal;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Refusal>>> {
        let content = &mut self.get_mut().0;
        let piece = match content {
            Content::Nothing => None,
            Content::Text(text) => Some(Ok(std::mem::take(text))),
            Content::Frame(sending) => ready!(sending.poll_piece(cx)),
        };
        // Text goes at once, and after an error nothing follows.
        if !matches!((&*content, &piece), (Content::Frame(_), Some(Ok(_)))) {
            *content = Content::Nothing;
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Content::Nothing => true,
            Content::Text(_) => false,
            Content::Frame(sending) => sending.left.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.0 {
            Content::Nothing => 0,
            Content::Text(text) => text.len() as u64,
            Content::Frame(sending) => length(&sending.left),
        })
    }
}
