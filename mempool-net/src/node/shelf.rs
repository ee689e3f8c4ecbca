//! The frames of this node's values, for whoever asks over HTTP, and new frames that others put. The pool, seen from the wire.

use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use http::Extensions;
use mempool_core::{Error, Export, Fingerprint, Place, Untyped};

use crate::bytes::{FrameHead, FrameSource, NewFrame, Refusal, RefusalKind, ServedFrame};
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
        let export = self.pool.export(value)?;
        let resident = self.pool.info(&value.erased())?.place == Place::Resident;
        // What a codec makes is made once for a stream, and not once for each piece of it.
        let streams = export.slices(0..1)?.is_none();
        Ok(Arc::new(Lent { head: head_of(&export)?, export, may_block: !resident, streams }))
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

/// A frame that is lent as it lies, or made by its codec while it is sent.
struct Lent {
    head: FrameHead,
    export: Export,
    may_block: bool,
    streams: bool,
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

    fn streams(&self) -> bool {
        self.streams
    }

    fn stream(
        &self,
        range: Range<u64>,
        give: &mut dyn FnMut(Bytes) -> ControlFlow<()>,
    ) -> Result<(), Refusal> {
        let streamed = self.export.stream(range, give);
        streamed.map(drop).map_err(|error| refusal(&error))
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
