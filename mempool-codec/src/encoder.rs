//! Values to bincode's standard format: measured, into a buffer, or streamed into a sink.

use bincode::config::standard;
use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use mempool_core::{BufferMut, CodecError, Error, ErrorKind, ReferenceList, Result, Sink};
use serde::Serialize;

use crate::reference::{Way, within};

/// Small writes to a sink are gathered up to this size: encoders write a few bytes at a time.
const PENDING_BYTES: usize = 64 << 10;

/// Where the bytes go.
enum To<'a, 'b> {
    Nowhere,
    Buffer(&'a mut BufferMut),
    Sink { sink: &'a mut Sink<'b>, pending: Vec<u8> },
}

/// bincode's writer. The error of a sink waits here, for bincode would make text of it.
struct Feed<'a, 'b> {
    to: To<'a, 'b>,
    bytes: usize,
    failed: Option<Error>,
}

impl<'a, 'b> Feed<'a, 'b> {
    fn new(to: To<'a, 'b>) -> Self {
        Self { to, bytes: 0, failed: None }
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes.len());
        match &mut self.to {
            To::Nowhere => Ok(()),
            To::Buffer(buffer) => {
                buffer.extend_from_slice(bytes);
                Ok(())
            }
            To::Sink { sink, pending } => {
                if bytes.len() > pending.capacity().saturating_sub(pending.len()) {
                    return Self::put_full(sink, pending, bytes);
                }
                pending.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Writes when what is pending has no room for `bytes`.
    #[cold]
    fn put_full(sink: &mut Sink<'_>, pending: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
        sink.write(pending)?;
        pending.clear();
        if bytes.len() > pending.capacity() {
            return sink.write(bytes);
        }
        pending.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        match &mut self.to {
            To::Sink { sink, pending } => sink.write(pending),
            _ => Ok(()),
        }
    }
}

impl Writer for Feed<'_, '_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        if let To::Buffer(buffer) = &self.to
            && buffer.capacity().saturating_sub(buffer.len()) < bytes.len()
        {
            return Err(EncodeError::Other("the value takes more bytes than when it was measured"));
        }
        self.put(bytes).map_err(|error| {
            self.failed = Some(error);
            EncodeError::Other("the sink failed")
        })
    }
}

/// Encodes `value`; answers how many bytes it took, and what became of the scope.
fn encode<T: Serialize>(
    codec: &'static str,
    value: &T,
    to: To<'_, '_>,
    way: Way,
) -> (Result<usize>, Way) {
    let mut feed = Feed::new(to);
    let (written, way, refused) =
        within(way, || bincode::serde::encode_into_writer(value, &mut feed, standard()));
    let failed = feed.failed.take().or(refused);
    let outcome = match (written, failed) {
        (Ok(()), _) => feed.flush().map(|()| feed.bytes),
        (Err(_), Some(error)) => Err(error),
        (Err(error), None) => Err(CodecError::new::<T>(ErrorKind::Misuse, codec, error).into()),
    };
    (outcome, way)
}

/// How many bytes `value` takes when `references` indices were given before.
pub(crate) fn measure<T: Serialize>(
    codec: &'static str,
    value: &T,
    references: usize,
) -> Result<usize> {
    let next = u32::try_from(references).unwrap_or(u32::MAX);
    encode(codec, value, To::Nowhere, Way::Count(next)).0
}

/// Encodes `value` into `buffer`, which must have room for what [`measure`] has answered. References go to the list.
pub(crate) fn fill<T: Serialize>(
    codec: &'static str,
    value: &T,
    buffer: &mut BufferMut,
    references: ReferenceList,
) -> (Result<usize>, ReferenceList) {
    let (written, way) = encode(codec, value, To::Buffer(buffer), Way::Encode(references));
    (written, list_of(way))
}

/// Encodes `value` as the sink's next bytes; its references are handed over.
pub(crate) fn stream<T: Serialize>(
    codec: &'static str,
    value: &T,
    sink: &mut Sink<'_>,
) -> Result<()> {
    let references = sink.take_references();
    let to = To::Sink { sink: &mut *sink, pending: Vec::with_capacity(PENDING_BYTES) };
    let (written, way) = encode(codec, value, to, Way::Encode(references));
    sink.put_references(list_of(way));
    written.map(|_| ())
}

fn list_of(way: Way) -> ReferenceList {
    match way {
        Way::Encode(list) | Way::Decode(list) => list,
        Way::Count(_) => unreachable!("a list went in"),
    }
}
