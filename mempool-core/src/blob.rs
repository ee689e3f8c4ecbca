//! `Blob`: bytes as they are. The smallest codec there is, and a whole one.

use crate::buffer::{ALIGNMENT, Buffer, BufferMut};
use crate::codec::{Build, Codec, CodecName, Format, Room, type_tag};
use crate::error::{Rejected, Result};
use crate::sink::{Sink, Source};

/// Keeps byte vectors as they are: adopted without a copy, spilled as one section, read back as a view of the map.
///
/// *View*: a [`Buffer`], which dereferences to `[u8]` and may be cloned and sliced; what is held of it outside the
/// pool stays counted, and counts as a pin. *Charge*: the vector's capacity, and the small box that adopts it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Blob;

fn charge(value: &Vec<u8>) -> u64 {
    value.capacity() as u64 + Buffer::adoption_bytes::<Vec<u8>>()
}

impl Codec<Vec<u8>> for Blob {
    type Resident = Buffer;
    type View = Buffer;

    fn format(&self) -> Format {
        Format { codec: CodecName::new("blob"), type_tag: type_tag("bytes"), pointer_width: 0 }
    }

    fn size_hint(&self, value: &Vec<u8>) -> Result<u64> {
        Ok(charge(value))
    }

    fn admit(&self, value: Vec<u8>, room: &mut Room) -> Result<Buffer, Rejected<Vec<u8>>> {
        match room.take(charge(&value)) {
            Ok(reservation) => Ok(Buffer::adopt(value, Some(reservation))),
            Err(error) => Err(Rejected::new(value, error)),
        }
    }

    fn view<'a>(&self, resident: &'a Buffer) -> &'a Buffer {
        resident
    }

    fn mmwrite(&self, resident: &Buffer, sink: &mut Sink<'_>) -> Result<()> {
        sink.section(ALIGNMENT)?;
        sink.write_buffer(resident)
    }

    fn mmwrite_value(&self, value: &Vec<u8>, sink: &mut Sink<'_>) -> Result<()> {
        sink.section(ALIGNMENT)?;
        sink.write(value)
    }

    fn mmread(&self, source: &mut Source<'_>, _room: &mut Room) -> Result<Buffer> {
        source.section()
    }

    fn maps(&self) -> bool {
        true
    }

    fn held_outside(&self, resident: &Buffer) -> bool {
        resident.watch_shared()
    }

    fn drops_user_code(&self) -> bool {
        false
    }
}

impl Build<Vec<u8>> for Blob {
    type Piece = [u8];
    type Partial = Option<BufferMut>;

    fn start(&self) -> Self::Partial {
        None
    }

    fn push(&self, partial: &mut Self::Partial, piece: &[u8], room: &mut Room) -> Result<()> {
        let len = partial.as_ref().map_or(0, |buffer| buffer.len());
        let capacity = partial.as_ref().map_or(0, BufferMut::capacity);
        let needed = len.saturating_add(piece.len());
        if needed > capacity || partial.is_none() {
            // Twice as much each time, so that a value of n bytes is copied at most twice over.
            let mut larger = new_buffer(needed.max(capacity.saturating_mul(2)), room)?;
            larger.extend_from_slice(partial.as_deref().unwrap_or_default());
            let smaller = partial.replace(larger);
            let freed = smaller.as_ref().map_or(0, BufferMut::reserved_bytes);
            drop(smaller);
            room.note_returned(freed);
        }
        if let Some(buffer) = partial {
            buffer.extend_from_slice(piece);
        }
        Ok(())
    }

    fn finish(&self, partial: Self::Partial, room: &mut Room) -> Result<Buffer> {
        match partial {
            Some(buffer) => Ok(buffer.freeze()),
            None => Ok(new_buffer(0, room)?.freeze()),
        }
    }
}

fn new_buffer(capacity: usize, room: &mut Room) -> Result<BufferMut> {
    let reservation = room.take(Buffer::allocation_bytes(capacity, ALIGNMENT)?)?;
    BufferMut::with_capacity(capacity, ALIGNMENT, reservation)
}
