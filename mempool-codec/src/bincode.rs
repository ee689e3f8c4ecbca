//! `Bincode`: any serde type that knows its size, kept as it is and decoded when it comes back.

use std::any::type_name;
use std::io::Write;

use bincode::config::standard;
use bincode::error::DecodeError;
use mempool_core::{
    Codec, CodecError, CodecName, ErrorKind, Format, Rejected, Result, Room, Sink, Source, Trust,
    type_tag,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::resident::ResidentBytes;

const NAME: &str = "bincode";

/// Keeps values as they are, and writes them with bincode 2.0.1.
///
/// *In memory*: the value, charged [`ResidentBytes::resident_bytes`]. *View*: `T`. *On disk*: bincode's standard
/// configuration, one section. A value that comes back is decoded, which takes its bytes from the budget again.
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
        // Encoders write a few bytes at a time.
        let mut buffered = std::io::BufWriter::with_capacity(64 << 10, sink);
        let written = bincode::serde::encode_into_std_write(resident, &mut buffered, standard());
        let failed = |error| CodecError::new::<T>(ErrorKind::Misuse, NAME, error);
        written.map_err(failed)?;
        buffered.flush().map_err(|e| CodecError::new::<T>(ErrorKind::Environment, NAME, e))?;
        Ok(())
    }

    fn mmwrite_value(&self, value: &T, sink: &mut Sink<'_>) -> Result<()> {
        self.mmwrite(value, sink)
    }

    fn mmread(&self, source: &mut Source<'_>, room: &mut Room) -> Result<T> {
        let bytes = source.section()?;
        let decoded = match source.trust() {
            Trust::Own => bincode::serde::decode_from_slice(&bytes, standard()),
            _ => decode_limited(&bytes),
        };
        let (value, read): (T, usize) = decoded.map_err(|e| CodecError::damage::<T>(NAME, e))?;
        if read != bytes.len() {
            let said = format!("{} bytes follow the value", bytes.len().saturating_sub(read));
            return Err(CodecError::damage::<T>(NAME, said).into());
        }
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

/// Decodes bytes that may claim any length: what they claim is bounded by what they are.
///
/// bincode's limit is a constant of the configuration, so the bytes choose the next larger of a few. No value takes
/// more than 16 bytes of memory for a byte of its encoding, but for lengths that lie.
fn decode_limited<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), DecodeError> {
    const K64: usize = 1 << 16;
    const M1: usize = 1 << 20;
    const M16: usize = 1 << 24;
    const M256: usize = 1 << 28;
    const G4: usize = 1 << 32;
    const G64: usize = 1 << 36;
    let claim_max = bytes.len().saturating_mul(16);
    macro_rules! limited {
        ($($limit:ident)*) => {
            $(if claim_max <= $limit {
                return bincode::serde::decode_from_slice(bytes, standard().with_limit::<$limit>());
            })*
        };
    }
    limited!(K64 M1 M16 M256 G4 G64);
    Err(DecodeError::LimitExceeded)
}
