//! What is sent and received: frames, seen as bytes with a head, behind traits that know neither pools nor sockets.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use bytes::Bytes;
use http::Extensions;
use mempool_core::{Buffer, BufferMut, Cause, Fingerprint, Format, Header};

use super::refusal::{Refusal, RefusalKind};
use crate::identity::GlobalId;

/// What a receiver knows of a frame before its first byte.
///
/// On the wire it is headers of the answer; from a peer it is a claim like any other, and is checked against the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Its length, and the checksum of its header: the `ETag`.
    pub fingerprint: Fingerprint,
    /// Codec and type.
    pub format: Format,
    /// The name of the type, for people; at most [`TYPE_BYTES_MAX`](Self::TYPE_BYTES_MAX) bytes of it are sent.
    pub type_name: String,
    /// What the decoded value is charged; 0 where reading it needs no memory beside the frame.
    pub resident_bytes: u64,
    /// How many references it holds.
    pub references: u32,
}

impl FrameHead {
    /// The most bytes of a type's name that are sent.
    pub const TYPE_BYTES_MAX: usize = 256;

    /// The head of a whole frame whose header was decoded.
    #[must_use]
    pub fn new(frame: &[u8], header: &Header, type_name: impl Into<String>) -> Self {
        Self {
            fingerprint: Fingerprint::of(frame),
            format: header.format,
            type_name: type_name.into(),
            resident_bytes: header.resident_bytes,
            references: header.references,
        }
    }

    /// How long the frame is.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.fingerprint.bytes
    }
}

/// A frame that is being sent. It is held until its last byte has left, or the asker has gone.
pub trait ServedFrame: Send + Sync + 'static {
    /// What it is.
    fn head(&self) -> &FrameHead;

    /// Bytes from the start of `range` on: at least one, and none from behind its end. `range` lies within the frame and is
    /// not empty.
    ///
    /// # Errors
    /// When they cannot be read. The body ends there, short of its length, and the receiver sees that it was cut.
    fn piece(&self, range: Range<u64>) -> Result<Bytes, Refusal>;

    /// Whether [`piece`](Self::piece) may wait for a disk. A long body is then read on threads that may, a few pieces ahead of
    /// what is sent; and what it returns has to be there: a map's pages are touched, so that no worker of the runtime waits
    /// for them.
    fn may_block(&self) -> bool {
        false
    }

    /// Whether bytes can be had in order alone, because something makes them: [`stream`](Self::stream) is then called instead of
    /// [`piece`](Self::piece), on a thread that may wait, and kept up with what is sent.
    fn streams(&self) -> bool {
        false
    }

    /// Gives the bytes of `range` in order, until all are given or `give` wants no more. `give` waits as long as the socket
    /// does.
    ///
    /// # Errors
    /// As [`piece`](Self::piece).
    fn stream(
        &self,
        range: Range<u64>,
        give: &mut dyn FnMut(Bytes) -> ControlFlow<()>,
    ) -> Result<(), Refusal> {
        let mut left = range;
        while !left.is_empty() {
            let piece = self.piece(left.clone())?;
            left.start = left.start.saturating_add(piece.len() as u64);
            if piece.is_empty() || give(piece).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// Where a server finds frames and puts new ones: a pool, seen from the wire.
///
/// `asker` is what the layers in front know of who asks, as a request's extensions carry it.
pub trait FrameSource: Send + Sync + 'static {
    /// The frame of a value, if that is known without waiting; `None` has [`find`](Self::find) asked on a thread that may
    /// wait.
    fn find_now(
        &self,
        id: GlobalId,
        asker: &Extensions,
    ) -> Option<Result<Arc<dyn ServedFrame>, Refusal>> {
        let _ = (id, asker);
        None
    }

    /// The frame of a value. May wait for a disk or for room.
    ///
    /// # Errors
    /// Why not.
    fn find(&self, id: GlobalId, asker: &Extensions) -> Result<Arc<dyn ServedFrame>, Refusal>;

    /// Room for a new frame of so many bytes. May wait.
    ///
    /// # Errors
    /// Why not.
    fn receive(&self, bytes: u64, asker: &Extensions) -> Result<Box<dyn NewFrame>, Refusal>;
}

/// Where received bytes go, in order.
pub trait FrameSink: Send + 'static {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// When they cannot be kept; the transfer ends.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Cause>;

    /// Whether [`write`](Self::write) may wait for a disk. It is then called on a thread that may.
    fn may_block(&self) -> bool {
        false
    }
}

/// A new value on its way into a pool.
pub trait NewFrame: FrameSink {
    /// All bytes are there: checks them, and makes them a value. May wait.
    ///
    /// # Errors
    /// [`Damaged`](RefusalKind::Damaged) for bytes that are no frame, and what the pool says.
    fn finish(self: Box<Self>) -> Result<GlobalId, Refusal>;
}

impl FrameSink for Box<dyn NewFrame> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Cause> {
        (**self).write(bytes)
    }

    fn may_block(&self) -> bool {
        (**self).may_block()
    }
}

/// The one copy on the receiver's side: out of the connection's read buffer into the memory that was reserved.
impl FrameSink for BufferMut {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Cause> {
        let left = self.capacity().saturating_sub(self.len());
        if bytes.len() > left {
            return Err(format!("{} bytes more into room for {left}", bytes.len()).into());
        }
        self.extend_from_slice(bytes);
        Ok(())
    }
}

/// A frame that lies in one buffer, in memory or in a map; its pieces are parts of that buffer.
#[derive(Clone, Debug)]
pub struct BufferFrame {
    head: FrameHead,
    frame: Buffer,
    mapped: bool,
}

impl BufferFrame {
    /// A frame in memory.
    ///
    /// # Errors
    /// [`Failed`](RefusalKind::Failed) when `head` is not that of a frame of this length.
    pub fn new(head: FrameHead, frame: Buffer) -> Result<Self, Refusal> {
        if head.bytes() != frame.len() as u64 {
            let said = format!("a frame of {} bytes with a head for {}", frame.len(), head.bytes());
            return Err(Refusal::new(RefusalKind::Failed, said));
        }
        Ok(Self { head, frame, mapped: false })
    }

    /// A frame in a map of a file, whose pages may have to be read.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn mapped(head: FrameHead, frame: Buffer) -> Result<Self, Refusal> {
        Ok(Self { mapped: true, ..Self::new(head, frame)? })
    }
}

impl ServedFrame for BufferFrame {
    fn head(&self) -> &FrameHead {
        &self.head
    }

    fn piece(&self, range: Range<u64>) -> Result<Bytes, Refusal> {
        let offset = |offset: u64| usize::try_from(offset).ok();
        let part = offset(range.start).zip(offset(range.end)).map(|(start, end)| start..end);
        let Some(part) = part.filter(|part| self.frame.get(part.clone()).is_some()) else {
            let said = format!("no bytes {range:?} in a frame of {}", self.frame.len());
            return Err(Refusal::new(RefusalKind::Failed, said));
        };
        let piece = self.frame.slice(part);
        if self.mapped {
            touch(&piece);
        }
        Ok(piece.into_bytes())
    }

    fn may_block(&self) -> bool {
        self.mapped
    }
}

/// Reads a byte of each page, so that all of them are in the page tables.
pub(crate) fn touch(bytes: &[u8]) {
    const PAGE_BYTES: usize = 4096;
    let sum = bytes.iter().step_by(PAGE_BYTES).fold(0, |sum, byte| sum ^ byte);
    std::hint::black_box(sum);
}
