//! A codec of your own, for a type with one raw part and one that is left to serde.
//!
//! A [`Recording`] has samples, which are plain numbers and many, and [`Notes`], which are small and of any shape. The
//! samples are written as they lie in memory and read back as a view of the map: no copy, no decoding, no memory. The
//! notes go through [`Bincode`] on the same sink.
//!
//! The six things that a codec says:
//!
//! 1. `format`: its name and the type's, so that a file is never read as something else;
//! 2. `size_hint`: what `admit` will charge, exactly here;
//! 3. `admit`: the value becomes its resident form, each allocation reserved before it is made;
//! 4. `mmwrite`, `mmwrite_value`: the resident, or the value itself, as aligned sections;
//! 5. `mmread`: the sections become a resident again, checked as far as they must be;
//! 6. `view`: what `get` hands out.
//!
//! `tests/laws.rs` holds it to the laws that every codec must keep. Start there.

use mempool_codec::{Bincode, ResidentBytes};
use mempool_core::{
    ALIGNMENT, Buffer, BufferMut, Codec, CodecError, CodecName, Format, Rejected, Result, Room,
    Sink, Source, type_tag,
};
use serde::{Deserialize, Serialize};

/// What was recorded: the value that a program puts into the pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// Many plain numbers.
    pub samples: Vec<f32>,
    /// A few words about them.
    pub notes: Notes,
}

/// The part that is left to serde.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Notes {
    /// Where it was recorded.
    pub place: String,
    /// What it is about.
    pub tags: Vec<String>,
}

impl ResidentBytes for Notes {
    const PLAIN_DROP: bool = true;

    fn resident_bytes(&self) -> u64 {
        self.place.resident_bytes().saturating_add(self.tags.resident_bytes())
    }
}

/// A recording as it lives in the pool, and as `get` shows it.
#[derive(Debug)]
pub struct Resident {
    samples: Buffer,
    notes: Notes,
}

impl Resident {
    /// The samples, read from where they lie.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = f32> + '_ {
        self.samples.chunks_exact(4).map(|bytes| {
            let mut sample = [0; 4];
            sample.copy_from_slice(bytes);
            f32::from_le_bytes(sample)
        })
    }

    /// The notes.
    pub fn notes(&self) -> &Notes {
        &self.notes
    }
}

/// Keeps [`Recording`]s.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordingCodec;

const NAME: &str = "recording";

impl RecordingCodec {
    fn buffer_bytes(value: &Recording) -> Result<u64> {
        Buffer::allocation_bytes(value.samples.len() * 4, ALIGNMENT)
    }

    fn build(value: &Recording, room: &mut Room) -> Result<Buffer> {
        let reservation = room.take(Self::buffer_bytes(value)?)?;
        let mut buffer = BufferMut::with_capacity(value.samples.len() * 4, ALIGNMENT, reservation)?;
        for sample in &value.samples {
            buffer.extend_from_slice(&sample.to_le_bytes());
        }
        Ok(buffer.freeze())
    }
}

impl Codec<Recording> for RecordingCodec {
    type Resident = Resident;
    type View = Resident;

    fn format(&self) -> Format {
        // A name of our own choice instead of a path of Rust's: files stay readable when the type moves.
        Format {
            codec: CodecName::new(NAME),
            type_tag: type_tag("recording, version 1"),
            pointer_width: 0,
        }
    }

    fn size_hint(&self, value: &Recording) -> Result<u64> {
        Ok(Self::buffer_bytes(value)?.saturating_add(value.notes.resident_bytes()))
    }

    fn admit(&self, value: Recording, room: &mut Room) -> Result<Resident, Rejected<Recording>> {
        let samples = match Self::build(&value, room) {
            Ok(samples) => samples,
            Err(error) => return Err(Rejected::new(value, error)),
        };
        // What is left in the room stays charged for what the resident owns beside its buffer: the notes.
        let notes = value.notes.resident_bytes();
        if let Err(error) = room.grow(notes.saturating_sub(room.reserved_bytes())) {
            return Err(Rejected::new(value, error));
        }
        room.release_unused(notes);
        Ok(Resident { samples, notes: value.notes })
    }

    fn view<'a>(&self, resident: &'a Resident) -> &'a Resident {
        resident
    }

    fn mmwrite(&self, resident: &Resident, sink: &mut Sink<'_>) -> Result<()> {
        sink.section(ALIGNMENT)?;
        sink.write(&resident.samples)?;
        Bincode.mmwrite(&resident.notes, sink)
    }

    fn mmwrite_value(&self, value: &Recording, sink: &mut Sink<'_>) -> Result<()> {
        sink.section(ALIGNMENT)?;
        for sample in &value.samples {
            sink.write(&sample.to_le_bytes())?;
        }
        Bincode.mmwrite_value(&value.notes, sink)
    }

    fn mmread(&self, source: &mut Source<'_>, room: &mut Room) -> Result<Resident> {
        let samples = source.section()?;
        if !samples.len().is_multiple_of(4) {
            let said = format!("{} bytes of samples, no multiple of 4", samples.len());
            return Err(CodecError::damage::<Recording>(NAME, said).into());
        }
        let notes = Bincode.mmread(source, room)?;
        Ok(Resident { samples, notes })
    }

    fn drops_user_code(&self) -> bool {
        false
    }
}
