//! What a pool gives and takes, seen from the wire: exports as frames that are served, and frames that are received.

use std::ops::{ControlFlow, Range};

use bytes::Bytes;
use mempool_core::{Cause, Error, ErrorKind, Export, Fingerprint, Receiving};

use super::frame::{FrameHead, FrameSink, ServedFrame, touch};
use super::refusal::{Refusal, RefusalKind};

/// The frame of a value of a pool's, as it is sent.
///
/// *Ownership*: it holds the export, and with it the value. What lies in memory or in a map is lent as it lies, in as many
/// parts as it has; what a codec makes is made once for each body, on a thread that may wait.
#[derive(Debug)]
pub struct ExportFrame {
    head: FrameHead,
    export: Export,
    /// All of it, each part with where it ends in the frame; `None` where a codec makes it.
    parts: Option<Vec<(u64, Bytes)>>,
    may_block: bool,
}

impl ExportFrame {
    /// An export's frame; `on_disk` where its bytes are a map's, whose pages may have to be read.
    ///
    /// # Errors
    /// What the export says of its first bytes.
    pub fn new(export: Export, on_disk: bool) -> Result<Self, Error> {
        let mut start = [0; 128];
        let read = export.read_at(0, &mut start)?;
        let sum = Fingerprint::of(start.get(..read).unwrap_or_default());
        let header = export.header();
        let head = FrameHead {
            fingerprint: Fingerprint { bytes: header.frame_bytes, ..sum },
            format: header.format,
            type_name: export.type_name().to_owned(),
            resident_bytes: header.resident_bytes,
            references: header.references,
        };
        let parts = export.slices(0..header.frame_bytes)?.map(ending);
        Ok(Self { head, export, parts, may_block: on_disk })
    }

    /// The export.
    #[must_use]
    pub fn export(&self) -> &Export {
        &self.export
    }
}

/// Each part with where it ends.
fn ending(parts: Vec<Bytes>) -> Vec<(u64, Bytes)> {
    let mut end = 0_u64;
    let placed = parts.into_iter().map(|part| {
        end = end.saturating_add(part.len() as u64);
        (end, part)
    });
    placed.collect()
}

impl ServedFrame for ExportFrame {
    fn head(&self) -> &FrameHead {
        &self.head
    }

    fn piece(&self, range: Range<u64>) -> Result<Bytes, Refusal> {
        let parts = self.parts.as_deref().unwrap_or_default();
        let at = parts.partition_point(|(end, _)| *end <= range.start);
        let within = parts.get(at).and_then(|(end, part)| {
            let begin = end.saturating_sub(part.len() as u64);
            let index = |offset: u64| usize::try_from(offset.saturating_sub(begin)).ok();
            Some(part.slice(index(range.start)?..index(range.end)?.min(part.len())))
        });
        let piece = within.filter(|piece| !piece.is_empty()).ok_or_else(|| {
            Refusal::new(RefusalKind::Failed, format!("no bytes {range:?} are lent"))
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
        self.parts.is_none()
    }

    fn stream(
        &self,
        range: Range<u64>,
        give: &mut dyn FnMut(Bytes) -> ControlFlow<()>,
    ) -> Result<(), Refusal> {
        self.export.stream(range, give).map(drop).map_err(|error| Refusal::from(&error))
    }
}

/// What a pool's error means to whoever asked for bytes or brought them.
impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        let kind = match error {
            Error::Deleted { .. } | Error::Discarded { .. } => RefusalKind::Gone,
            Error::TooLarge { .. } => RefusalKind::TooLarge,
            Error::Spill { .. } => RefusalKind::NoRoom,
            Error::Closed => RefusalKind::Unavailable,
            Error::Elsewhere { .. } => RefusalKind::Moved,
            Error::Frame { .. } => RefusalKind::Damaged,
            error if error.kind() == ErrorKind::Limit => RefusalKind::NoRoom,
            _ => RefusalKind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

/// A frame that a pool takes in: copied once, into what was reserved for it, or on to the store.
impl FrameSink for Receiving {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Cause> {
        Ok(Self::write(self, bytes)?)
    }

    fn may_block(&self) -> bool {
        self.goes_to_store()
    }
}
