//! Runs a codec or a store by itself.

use std::sync::Arc;

use crate::budget::{Ledger, Wait};
use crate::buffer::Buffer;
use crate::codec::{Codec, CodecName, Format, Room};
use crate::error::Result;
use crate::frame::{Body, Frame, Header};
use crate::id::Id;
use crate::memory::MemoryStore;
use crate::sink::{Sink, Source, Trust};
use crate::store::SpillStore;

/// An empty room of `ledger`, as a pool gives it to a codec. It does not wait.
#[must_use]
pub fn room(ledger: &Arc<Ledger>) -> Room {
    Room::new(ledger.nothing(), Wait::No, 0)
}

/// The frame of a resident, sealed as [`MemoryStore`] seals it: header and content.
///
/// # Errors
/// What the codec says.
pub fn encode<T, C>(codec: &C, resident: &C::Resident, charged_bytes: u64) -> Result<Buffer>
where
    C: Codec<T>,
    T: Send + Sync + 'static,
{
    frame_bytes(codec.format(), charged_bytes, &|sink| codec.mmwrite(resident, sink))
}

/// As [`encode`], of a value that was never resident.
///
/// # Errors
/// What the codec says.
pub fn encode_value<T, C>(codec: &C, value: &T, charged_bytes: u64) -> Result<Buffer>
where
    C: Codec<T>,
    T: Send + Sync + 'static,
{
    frame_bytes(codec.format(), charged_bytes, &|sink| codec.mmwrite_value(value, sink))
}

fn frame_bytes(format: Format, charged_bytes: u64, body: &Body<'_>) -> Result<Buffer> {
    let header = header(format, Id { slot: 0, generation: 1 }, charged_bytes);
    let measured = Frame::measure(header, body, 0)?;
    Ok(MemoryStore::new().frame_bytes(&measured.frame)?)
}

fn header(format: Format, id: Id, resident_bytes: u64) -> Header {
    Header {
        format,
        align: 8,
        frame_bytes: 0,
        content_offset: 0,
        resident_bytes,
        id,
        pool: 0,
        references: 0,
        content_checksum: 0,
        sections: Vec::new(),
    }
}

/// Reads a resident back from the bytes of a frame, which need not be whole: the header is decoded first, and the
/// content's checksum is *not* checked, so that a codec's own checks can be seen.
///
/// `room` is grown by the header's resident bytes for a codec that decodes, as a pool does.
///
/// # Errors
/// What the header's decoding, the room or the codec say.
pub fn decode<T, C>(codec: &C, frame: &Buffer, trust: Trust, room: &mut Room) -> Result<C::Resident>
where
    C: Codec<T>,
    T: Send + Sync + 'static,
{
    let store = MemoryStore::new();
    let damaged = |damage| crate::Error::Frame { what: "a frame under test".to_owned(), damage };
    let header = Header::decode(frame, |bytes| store.checksum(bytes)).map_err(damaged)?;
    if !codec.maps() {
        room.grow(header.resident_bytes)?;
    }
    codec.mmread(&mut Source::new(frame, &header, &[], trust), room)
}

/// Calls `with` with a frame of value `id` that has these sections, each with its alignment.
///
/// # Errors
/// When the frame cannot be laid out.
pub fn with_frame<R>(
    id: Id,
    sections: &[(usize, &[u8])],
    with: impl FnOnce(&Frame<'_>) -> R,
) -> Result<R> {
    let format = Format { codec: CodecName::new("test"), type_tag: 0, pointer_width: 0 };
    let body = |sink: &mut Sink<'_>| {
        sections.iter().try_for_each(|&(align, bytes)| {
            sink.section(align)?;
            sink.write(bytes)
        })
    };
    let measured = Frame::measure(header(format, id, 0), &body, 0)?;
    Ok(with(&measured.frame))
}

/// The bytes of the frame that [`with_frame`] lays out, sealed as [`MemoryStore`] seals it.
///
/// # Errors
/// When the frame cannot be laid out.
pub fn frame_of(id: Id, sections: &[(usize, &[u8])]) -> Result<Buffer> {
    Ok(with_frame(id, sections, |frame| MemoryStore::new().frame_bytes(frame))??)
}
