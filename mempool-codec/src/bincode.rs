//! `Bincode`: any serde type that knows its size, kept as it is and decoded when it comes back.

use std::any::type_name;

use mempool_core::{
    Codec, CodecName, Format, Rejected, Result, Room, Sink, Source, Trust, type_tag,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::decoder::{self, Memory};
use crate::encoder;
use crate::resident::ResidentBytes;

const NAME: &str = "bincode";

/// Keeps values as they are, and writes them with bincode 2.0.1.
///
/// *In memory*: the value, charged [`ResidentBytes::resident_bytes`]. *View*: `T`. *On disk*: bincode's standard
/// configuration, one section. A value that comes back is decoded, which takes its bytes from the budget again.
///
/// A value may hold references to others, in fields that are written [`with`](crate::reference) indices.
///
/// Bytes that are not this process's own are read by bounds: nested at most 256 deep, at most 65,536 elements that take
/// no bytes, and while they are decoded the budget is asked for up to four times what a vector takes, because a vector
/// that is not told its length doubles.
///
/// bincode is no longer maintained; 2.0.1 is its last working release. It is one codec among several: where the
/// bytes must outlive this decade, write a codec with another format.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bincode;

impl<T> Codec<T> for Bincode
where
    T: Serialize + DeserializeOwned + ResidentBytes + Send + Sync + 'static,
{
    type Resident = T;
    type View = T;

    fn format(&self) -> Format {
        Format {
            codec: CodecName::new(NAME),
            type_tag: type_tag(type_name::<T>()),
            pointer_width: 0,
        }
    }

    fn size_hint(&self, value: &T) -> Result<u64> {
        Ok(value.resident_bytes())
    }

    fn admit(&self, value: T, room: &mut Room) -> Result<T, Rejected<T>> {
        match settle(value.resident_bytes(), room) {
            Ok(()) => Ok(value),
            Err(error) => Err(Rejected::new(value, error)),
        }
    }

    fn view<'a>(&self, resident: &'a T) -> &'a T {
        resident
    }

    fn mmwrite(&self, resident: &T, sink: &mut Sink<'_>) -> Result<()> {
        sink.section(8)?;
        encoder::stream(NAME, resident, sink)
    }

    fn mmwrite_value(&self, value: &T, sink: &mut Sink<'_>) -> Result<()> {
        self.mmwrite(value, sink)
    }

    fn mmread(&self, source: &mut Source<'_>, room: &mut Room) -> Result<T> {
        let bytes = source.section()?;
        let granted = room.reserved_bytes();
        let mut grow = |bytes| room.grow(bytes);
        let memory = match source.trust() {
            Trust::Own => Memory::Trusted,
            _ => Memory::Metered { granted, grow: &mut grow },
        };
        let value: T = decoder::decode(NAME, &bytes, source.references(), memory)?;
        settle(value.resident_bytes(), room)?;
        Ok(value)
    }

    fn drops_user_code(&self) -> bool {
        !T::PLAIN_DROP
    }
}

/// Leaves exactly `bytes` reserved in `room`.
fn settle(bytes: u64, room: &mut Room) -> Result<()> {
    room.grow(bytes.saturating_sub(room.reserved_bytes()))?;
    room.release_unused(bytes);
    Ok(())
}
