//! New values that others put: the bytes go straight into the pool, and what was announced of them is looked up when they are
//! all there.

use std::sync::Arc;

use mempool_core::{Cause, Error, Fingerprint, HEADER_BYTES, Receiving, SetOptions, Untyped, Wait};

use crate::bytes::{FrameSink, NewFrame, Refusal, RefusalKind};
use crate::identity::GlobalId;
use crate::node::claims::now;
use crate::node::inner::Inner;

/// What was said of a frame before it came.
#[derive(Debug)]
pub(crate) struct Announced {
    pub(crate) references: Vec<Untyped>,
    pub(crate) type_name: String,
    pub(crate) discardable: bool,
    pub(crate) name: Option<String>,
    pub(crate) wait: Option<Wait>,
}

/// A frame on its way into the pool.
pub(crate) struct Arriving {
    inner: Arc<Inner>,
    receiving: Receiving,
    /// As many of its first bytes as say which frame it is.
    start: Vec<u8>,
}

impl Inner {
    /// Makes room for a new frame.
    pub(crate) fn receive(self: &Arc<Self>, bytes: u64) -> Result<Arriving, Error> {
        // It is not known yet which of those that were announced it is; one of that length is.
        let announced = |kept: &Fingerprint| kept.bytes == bytes;
        let wait = self.announced.look(announced, |announced| announced.wait).flatten();
        let receiving = match wait {
            Some(wait) => self.pool.receive_within(bytes, wait)?,
            None => self.pool.receive(bytes)?,
        };
        Ok(Arriving { inner: Arc::clone(self), receiving, start: Vec::new() })
    }
}

impl FrameSink for Arriving {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Cause> {
        let missing =
            usize::try_from(HEADER_BYTES).unwrap_or_default().saturating_sub(self.start.len());
        self.start.extend(bytes.iter().take(missing));
        Ok(self.receiving.write(bytes)?)
    }

    fn may_block(&self) -> bool {
        self.receiving.goes_to_store()
    }
}

impl NewFrame for Arriving {
    fn finish(self: Box<Self>) -> Result<GlobalId, Refusal> {
        let Self { inner, receiving, start } = *self;
        let bytes = receiving.frame_bytes();
        let announced = inner.announced.take(Fingerprint { bytes, ..Fingerprint::of(&start) });
        let mut options = SetOptions::new();
        let (mut type_name, mut references) = ("not said".to_owned(), Vec::new());
        if let Some(announced) = announced {
            (type_name, references) = (announced.type_name, announced.references);
            if announced.discardable {
                options = options.discardable();
            }
            if let Some(name) = announced.name {
                options = options.name(name);
            }
        }
        let value = receiving.finish(&type_name, references, options);
        let value = value.map_err(|error| Refusal::from(&error))?;
        let id = inner.global(value.id());
        // Kept until whoever put it has claimed it.
        match inner.offers.keep(id, value, now()) {
            Ok(()) => Ok(id),
            Err(_too_many) => {
                let said = "too many new values that nobody has claimed";
                Err(Refusal::new(RefusalKind::Unavailable, said))
            }
        }
    }
}
