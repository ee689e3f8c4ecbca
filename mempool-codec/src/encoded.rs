//! `Encoded`: any serde type at all, kept as its bytes and decoded for each use.

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use mempool_core::{
    ALIGNMENT, Buffer, BufferMut, Codec, CodecName, Format, Ledger, ReferenceList, Rejected,
    Reservation, Result, Room, Sink, Source, Trust, Wait, type_tag,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::decoder::{self, Memory};
use crate::encoder;

const NAME: &str = "encoded";

/// Keeps values as their bincode bytes, for types that cannot say what they own: maps, sets, types of others.
///
/// *In memory*: one buffer of exactly the encoded bytes and a header, 64-byte aligned. *View*: [`Encoding`], which
/// [`decode`](Encoding::decode)s. *On disk*: the bytes as they are, one section, as [`Bincode`](crate::Bincode) writes
/// them; they come back as a view of the map.
///
/// # What is exact and what is not
/// The pooled bytes are counted to the byte. What a decoded value takes cannot be known; it is the caller's working
/// memory, and `decode` reserves an *estimate* of it from the same budget: the size of the type, and
/// [`working_bytes_per_byte`](Self::working_bytes_per_byte) for each encoded byte. A value that takes more is over the
/// limit by the difference while it lives, one that takes less leaves memory unused.
///
/// Measured (`tests/exact.rs`), bytes taken for an encoded one: 0.9 for a vector of large `u64`, 1.5 for a hash map of
/// them, 1.2 for texts of 100 bytes, 4.8 for texts of 5, 8 for a vector of small `u64`, 11.5 for a B-tree of short texts
/// to small `u64`. The default, 8, is above most; set it to what your values take.
///
/// A value may hold references to others, in fields that are written [`with`](crate::reference) indices.
///
/// ```
/// use std::collections::HashMap;
///
/// use mempool_codec::Encoded;
/// use mempool_core::PoolOptions;
///
/// let pool = PoolOptions::new().memory_limit(1 << 20).open(Encoded::new());
/// let ages = pool.set(HashMap::from([("Ada".to_owned(), 36), ("Alan".to_owned(), 41)]))?;
/// let decoded = pool.get(&ages)?.decode()?; // the guard of `get` may go, the decoded value is its own
/// assert_eq!(decoded["Ada"], 36);
/// # Ok::<(), mempool_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Encoded {
    working_bytes_per_byte: u32,
}

impl Encoded {
    /// What is reserved for an encoded byte unless another figure is set.
    pub const WORKING_BYTES_PER_BYTE: u32 = 8;

    /// A codec with the default estimate.
    #[must_use]
    pub const fn new() -> Self {
        Self { working_bytes_per_byte: Self::WORKING_BYTES_PER_BYTE }
    }

    /// How many bytes of working memory are reserved for each encoded byte while a decoded value lives.
    #[must_use]
    pub const fn working_bytes_per_byte(mut self, bytes: u32) -> Self {
        self.working_bytes_per_byte = bytes;
        self
    }
}

impl Default for Encoded {
    fn default() -> Self {
        Self::new()
    }
}

/// The bytes of a `T`, to be decoded when it is needed.
pub struct Encoding<T> {
    bytes: Buffer,
    /// What the entry owns, counted once more, so that a decoded value finds it.
    references: Option<Box<ReferenceList>>,
    ledger: Arc<Ledger>,
    working_bytes_per_byte: u32,
    trusted: bool,
    value: PhantomData<fn() -> T>,
}

impl<T> Encoding<T> {
    /// The encoded bytes: bincode 2, standard configuration.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What [`decode`](Self::decode) reserves: an estimate of what the decoded value takes.
    #[must_use]
    pub fn working_bytes(&self) -> u64 {
        let estimate = (self.bytes.len() as u64).saturating_mul(self.working_bytes_per_byte.into());
        estimate.saturating_add(size_of::<T>() as u64)
    }
}

impl<T: DeserializeOwned> Encoding<T> {
    /// Decodes the value, with a reservation of its own: other values are evicted for it as for a `set`.
    ///
    /// # Errors
    /// [`NoRoom`](mempool_core::Error::NoRoom), [`TooLarge`](mempool_core::Error::TooLarge) or
    /// [`Spill`](mempool_core::Error::Spill) when the working memory is not to be had, and a
    /// [`CodecError`](mempool_core::CodecError) of kind `Damage` for bytes of a file that are no `T`.
    pub fn decode(&self) -> Result<Decoded<T>> {
        let wait = Wait::for_at_most(self.ledger.timeout());
        let mut reservation = self.ledger.reserve(self.working_bytes(), wait)?;
        let granted = reservation.bytes();
        let mut grow = |bytes| reservation.grow_within(bytes, wait);
        let memory = match self.trusted {
            true => Memory::Trusted,
            false => Memory::Metered { granted, grow: &mut grow },
        };
        let references = self.references.as_deref().cloned();
        let value = decoder::decode(NAME, &self.bytes, references.unwrap_or_default(), memory)?;
        Ok(Decoded { value, reservation })
    }
}

impl<T> fmt::Debug for Encoding<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encoding<{}>({} bytes)", type_name::<T>(), self.bytes.len())
    }
}

/// A decoded value of the caller's, and the working memory that is reserved for it as long as it lives.
#[derive(Debug)]
pub struct Decoded<T> {
    // Dropped in this order: the memory is free before it is paid back.
    value: T,
    reservation: Reservation,
}

impl<T> Decoded<T> {
    /// What is reserved for it.
    #[must_use]
    pub fn reserved_bytes(&self) -> u64 {
        self.reservation.bytes()
    }

    /// The value and its reservation, which may be changed to what the value really takes.
    #[must_use]
    pub fn into_parts(self) -> (T, Reservation) {
        (self.value, self.reservation)
    }
}

impl<T> Deref for Decoded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl Encoded {
    fn encoding<T>(
        &self,
        bytes: Buffer,
        references: &ReferenceList,
        ledger: &Arc<Ledger>,
        trusted: bool,
    ) -> Encoding<T> {
        Encoding {
            bytes,
            references: (!references.is_empty()).then(|| Box::new(references.clone())),
            ledger: Arc::clone(ledger),
            working_bytes_per_byte: self.working_bytes_per_byte,
            trusted,
            value: PhantomData,
        }
    }

    /// Encodes `value` into a buffer that `room` pays for.
    fn encode<T: Serialize>(&self, value: &T, room: &mut Room) -> Result<Encoding<T>> {
        let references = room.take_references();
        let len = encoder::measure(NAME, value, references.len());
        room.put_references(references);
        let len = len?;
        let reservation = room.take(Buffer::allocation_bytes(len, ALIGNMENT)?)?;
        let mut buffer = BufferMut::with_capacity(len, ALIGNMENT, reservation)?;
        let (written, references) = encoder::fill(NAME, value, &mut buffer, room.take_references());
        let outcome =
            written.map(|_| self.encoding(buffer.freeze(), &references, room.ledger(), true));
        room.put_references(references);
        outcome
    }
}

impl<T> Codec<T> for Encoded
where
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    type Resident = Encoding<T>;
    type View = Encoding<T>;

    fn format(&self) -> Format {
        Format {
            codec: CodecName::new(NAME),
            type_tag: type_tag(type_name::<T>()),
            pointer_width: 0,
        }
    }

    fn size_hint(&self, value: &T) -> Result<u64> {
        Buffer::allocation_bytes(encoder::measure(NAME, value, 0)?, ALIGNMENT)
    }

    fn admit(&self, value: T, room: &mut Room) -> Result<Encoding<T>, Rejected<T>> {
        match self.encode(&value, room) {
            Ok(encoding) => Ok(encoding),
            Err(error) => Err(Rejected::new(value, error)),
        }
    }

    fn view<'a>(&self, resident: &'a Encoding<T>) -> &'a Encoding<T> {
        resident
    }

    fn mmwrite(&self, resident: &Encoding<T>, sink: &mut Sink<'_>) -> Result<()> {
        sink.section(8)?;
        sink.write_buffer(&resident.bytes)
    }

    fn mmwrite_value(&self, value: &T, sink: &mut Sink<'_>) -> Result<()> {
        sink.section(8)?;
        encoder::stream(NAME, value, sink)
    }

    /// Bytes that are not our own are checked when they are decoded, each time: that is what a decoding is.
    fn mmread(&self, source: &mut Source<'_>, room: &mut Room) -> Result<Encoding<T>> {
        let bytes = source.section()?;
        let trusted = source.trust() == Trust::Own;
        Ok(self.encoding(bytes, &source.references(), room.ledger(), trusted))
    }

    fn maps(&self) -> bool {
        true
    }

    fn drops_user_code(&self) -> bool {
        // The references that it counts are the entry's too, so their drop here ends no other value.
        false
    }
}
