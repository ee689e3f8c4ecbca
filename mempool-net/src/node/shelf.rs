//! The frames of this node's values, for whoever asks over HTTP, and new frames that others put. The pool, seen from the wire.

use std::sync::{Arc, Weak};

use http::Extensions;
use mempool_core::{Error, Place, Untyped};

use crate::bytes::{ExportFrame, FrameSource, NewFrame, Refusal, RefusalKind, ServedFrame};
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

/// A value that is no larger is looked at by the task that answers: that is done before another thread would have begun.
const AT_ONCE_BYTES: u64 = 64 << 10;

impl FrameSource for Shelf {
    fn find_now(
        &self,
        id: GlobalId,
        asker: &Extensions,
    ) -> Option<Result<Arc<dyn ServedFrame>, Refusal>> {
        let inner = match self.inner(asker, Operation::Get) {
            Ok(inner) => inner,
            Err(refusal) => return Some(Err(refusal)),
        };
        let value = inner.value(id)?;
        let info = inner.pool.info(&value.erased()).ok()?;
        // One with a frame on disk is read there.
        let small = info.resident_bytes <= AT_ONCE_BYTES && info.frame_bytes.is_none();
        let at_once = small && info.place == Place::Resident;
        at_once.then(|| inner.served(&value).map_err(|error| Refusal::from(&error)))
    }

    fn find(&self, id: GlobalId, asker: &Extensions) -> Result<Arc<dyn ServedFrame>, Refusal> {
        let inner = self.inner(asker, Operation::Get)?;
        let value = inner.value(id);
        let value = value.ok_or_else(|| {
            Refusal::new(RefusalKind::NotFound, format!("{id} is not a value of this node's"))
        })?;
        inner.served(&value).map_err(|error| Refusal::from(&error))
    }

    fn receive(&self, bytes: u64, asker: &Extensions) -> Result<Box<dyn NewFrame>, Refusal> {
        let inner = self.inner(asker, Operation::Set)?;
        Ok(Box::new(inner.receive(bytes).map_err(|error| Refusal::from(&error))?))
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
        Ok(Arc::new(ExportFrame::new(export, !resident)?))
    }
}
