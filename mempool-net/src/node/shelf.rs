//! The frames of this node's values, for whoever asks over HTTP, and new frames that others put. The pool, seen from the wire.

use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use http::Extensions;
use mempool_core::{
    ALIGNMENT, Buffer, BufferMut, Error, Export, Fingerprint, Place, Untyped, Wait,
};

use crate::bytes::{
    BufferFrame, FrameHead, FrameSource, NewFrame, Refusal, RefusalKind, ServedFrame,
};
use crate::identity::GlobalId;
use crate::node::inner::Inner;
use crate::security::{Operation, Peer};

/// A node's frames.
pub(crate) struct Shelf(Weak<Inner>);

impl Shelf {
    pub(crate) fn new(inner: &Arc<Inner>) -> Self {
        Self(Arc::downgrade(inner))
    }

    /// The node, if it is there and the asker may do that.
    fn inner(&self, asker: &Extensions, operation: Operation) -> Result<Arc<Inner>, Refusal> {
        let inner = self.0.upgrade().filter(|inner| inner.check_here().is_ok());
        let leaving = || Refusal::new(RefusalKind::Unavailable, "this node is leaving");
        let inner = inner.ok_or_else(leaving)?;
        let forbidden = |said: String| Refusal::new(RefusalKind::Forbidden, said);
        let peer = asker.get::<Peer>().ok_or_else(|| forbidden("nobody asks".to_owned()))?;
        let may = inner.guard.authorize(peer, operation);
        may.map_err(|denied| forbidden(denied.to_string()))?;
        Ok(inner)
    }
}

impl FrameSource for Shelf {
    fn find(&self, id: GlobalId, asker: &Extensions) -> Result<Arc<dyn ServedFrame>, Refusal> {
        let inner = self.inner(asker, Operation::Get)?;
        let value = inner.value(id);
        let value = value.ok_or_else(|| {
            Refusal::new(RefusalKind::NotFound, format!("{id} is not a value of this node's"))
        })?;
        inner.served(&value).map_err(|error| refusal(&error))
    }

    fn receive(&self, bytes: u64, asker: &Extensions) -> Result<Box<dyn NewFrame>, Refusal> {
        let inner = self.inner(asker, Operation::Set)?;
        Ok(Box::new(inner.receive(bytes).map_err(|error| refusal(&error))?))
    }
}

impl Inner {
    /// A value that others may ask for: of this node's own, or of others' as far as it is here.
    pub(crate) fn value(&self, id: GlobalId) -> Option<Untyped> {
        self.kept.get(id).or_else(|| self.own_value(id)).or_else(|| {
            let entry = self.remotes.entry(id)?;
            self.pool.find(entry)
        })
    }

    /// The frame of a value, to be sent.
    pub(crate) fn served(&self, value: &Untyped) -> Result<Arc<dyn ServedFrame>, Error> {
        let mut export = self.pool.export(value)?;
        let lent = |export: &Export| export.slices(0..1).map(|slices| slices.is_some());
        if !lent(&export)? {
            // A codec that makes its bytes makes them once for a stream, and not once for each piece of it.
            if let Some(made) = self.made(&export)? {
                return Ok(Arc::new(made));
            }
            // No room: they go to disk, from where they are lent.
            drop(export);
            self.pool.copy_to_disk(&value.erased())?;
            self.pool.move_to_disk(&value.erased())?;
            export = self.pool.export(value)?;
        }
        let resident = self.pool.info(&value.erased())?.place == Place::Resident;
        Ok(Arc::new(Lent { head: head_of(&export)?, export, may_block: !resident }))
    }

    /// The frame in memory of its own, if there is room for it now.
    fn made(&self, export: &Export) -> Result<Option<BufferFrame>, Error> {
        let bytes = export.frame_bytes();
        let len = usize::try_from(bytes).map_err(|_| Error::Allocation { bytes })?;
        let room = self.pool.reserve_within(Buffer::allocation_bytes(len, ALIGNMENT)?, Wait::No);
        let Ok(room) = room else { return Ok(None) };
        let mut frame = BufferMut::with_capacity(len, ALIGNMENT, room)?;
        let _ = export.stream(0..bytes, &mut |piece| {
            frame.extend_from_slice(&piece);
            ControlFlow::Continue(())
        })?;
        Ok(BufferFrame::new(head_of(export)?, frame.freeze()).ok())
    }
}

/// What a receiver is told of a frame.
pub(crate) fn head_of(export: &Export) -> Result<FrameHead, Error> {
    let header = export.header();
    let mut start = [0; 512];
    let read = export.read_at(0, &mut start)?;
    let sum = Fingerprint::of(start.get(..read).unwrap_or_default());
    Ok(FrameHead {
        fingerprint: Fingerprint { bytes: export.frame_bytes(), ..sum },
        format: header.format,
        type_name: export.type_name().to_owned(),
        resident_bytes: header.resident_bytes,
        references: header.references,
    })
}

/// A frame that is lent as it lies.
struct Lent {
    head: FrameHead,
    export: Export,
    may_block: bool,
}

impl ServedFrame for Lent {
    fn head(&self) -> &FrameHead {
        &self.head
    }

    fn piece(&self, range: Range<u64>) -> Result<Bytes, Refusal> {
        let lent = self.export.slices(range.clone()).map_err(|error| refusal(&error))?;
        let piece = lent.into_iter().flatten().find(|piece| !piece.is_empty());
        let piece = piece.ok_or_else(|| {
            Refusal::new(RefusalKind::Failed, format!("no bytes {range:?} in a frame that is lent"))
        })?;
        if self.may_block {
            touch(&piece);
        }
        Ok(piece)
    }

    fn may_block(&self) -> bool {
        self.may_block
    }
}

/// Reads a byte of each page, so that all of them are in memory.
fn touch(bytes: &[u8]) {
    const PAGE_BYTES: usize = 4096;
    let sum = bytes.iter().step_by(PAGE_BYTES).fold(0, |sum, byte| sum ^ byte);
    std::hint::black_box(sum);
}

/// An error of the pool as those who ask for bytes are told of it.
pub(crate) fn refusal(error: &Error) -> Refusal {
    let kind = match error {
        Error::Deleted { .. } | Error::Discarded { .. } => RefusalKind::Gone,
        Error::NoRoom(_) | Error::Spill { .. } => RefusalKind::NoRoom,
        Error::TooLarge { .. } => RefusalKind::TooLarge,
        Error::Closed => RefusalKind::Unavailable,
        Error::Frame { .. } => RefusalKind::Damaged,
        error if error.kind() == mempool_core::ErrorKind::Limit => RefusalKind::NoRoom,
        _ => RefusalKind::Failed,
    };
    Refusal::new(kind, error.to_string())
}
