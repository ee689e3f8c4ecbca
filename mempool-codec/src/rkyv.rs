//! `Rkyv`: values live as archives, are spilled as they are, and come back as views.

#![expect(
    unsafe_code,
    reason = "an archive that was checked, or that we wrote, is read without checking it again"
)]

use std::any::type_name;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroUsize;

use mempool_core::{
    ALIGNMENT, Buffer, BufferMut, Build, Codec, CodecError, CodecName, DRef, Error, ErrorKind,
    Format, Rejected, Result, Room, Sink, Source, Trust, type_tag,
};
use rkyv::api::high::{HighSerializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::primitive::ArchivedUsize;
use rkyv::rancor::{BoxedError, Source as _};
use rkyv::ser::allocator::ArenaHandle;
use rkyv::ser::{Positional, Writer};
use rkyv::traits::NoUndef;
use rkyv::validation::Validator;
use rkyv::validation::archive::ArchiveValidator;
use rkyv::validation::shared::SharedValidator;

use crate::archived::ArchivedReference;

const NAME: &str = "rkyv";

/// The largest archive: offsets are 32-bit and signed, and rkyv panics beyond.
const ARCHIVE_BYTES_MAX: usize = i32::MAX as usize;

/// Keeps values as rkyv archives.
///
/// *In memory*: one buffer of exactly the archive's size and a header, 64-byte aligned. *View*: `rkyv::Archived<T>`.
/// *On disk*: the archive as it is, one section; it comes back as a view of the map. *Limit*: 2 GiB an archive,
/// because offsets are 32-bit; a larger value is refused with a typed error before rkyv is called to panic.
///
/// Serializing a value runs it twice: once to learn the size, once into the buffer that was reserved for it. rkyv's
/// scratch space, an arena of the thread, is not counted; it grows with the depth of a value and not with its size.
///
/// A value may hold references to others, in fields that are archived [`Reference`](crate::Reference).
///
/// Bytes that are not this process's own are validated whole, to a limited depth: a valid archive of 100,000 nested
/// boxes would otherwise overflow the stack.
#[derive(Clone, Copy, Debug)]
pub struct Rkyv {
    depth_max: NonZeroUsize,
}

impl Rkyv {
    /// The depth to which foreign archives are validated unless another is set.
    pub const DEPTH_MAX: NonZeroUsize = NonZeroUsize::new(128).expect("not zero");

    /// A codec with the default depth.
    #[must_use]
    pub const fn new() -> Self {
        Self { depth_max: Self::DEPTH_MAX }
    }

    /// How deeply a foreign archive may be nested before it is refused.
    #[must_use]
    pub const fn depth_max(mut self, depth: NonZeroUsize) -> Self {
        self.depth_max = depth;
        self
    }
}

impl Default for Rkyv {
    fn default() -> Self {
        Self::new()
    }
}

/// An archive of a `T`: bytes whose end is the root, checked or written by ourselves.
pub struct Archive<T> {
    bytes: Buffer,
    value: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for Archive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Archive<{}>({} bytes)", type_name::<T>(), self.bytes.len())
    }
}

/// Where an archive is written: rkyv's writer over a counter, a buffer or a sink.
pub struct Out<'a> {
    to: To<'a>,
    pos: usize,
    /// A failed serialization keeps the writer, so the error itself waits in a place of its own.
    failed: &'a Cell<Option<Error>>,
}

enum To<'a> {
    Count { references: u32 },
    Buffer(&'a mut BufferMut, &'a mut Room),
    Sink { sink: &'a mut dyn Target, pending: Vec<u8> },
}

/// A sink, whatever it borrows.
trait Target {
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
    fn reference(&mut self, reference: &dyn HandOver) -> Result<u32>;
}

impl Target for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        Sink::write(self, bytes)
    }

    fn reference(&mut self, reference: &dyn HandOver) -> Result<u32> {
        reference.to_sink(self)
    }
}

/// A reference to a value of any type.
pub(crate) trait HandOver {
    fn to_room(&self, room: &mut Room) -> Result<u32>;
    fn to_sink(&self, sink: &mut Sink<'_>) -> Result<u32>;
}

impl<U> HandOver for DRef<U> {
    fn to_room(&self, room: &mut Room) -> Result<u32> {
        room.reference(self)
    }

    fn to_sink(&self, sink: &mut Sink<'_>) -> Result<u32> {
        sink.reference(self)
    }
}

/// Small writes to a sink are gathered up to this size.
const PENDING_BYTES_MAX: usize = 64 << 10;

impl Out<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.to {
            To::Count { .. } => Ok(()),
            To::Buffer(buffer, _) => {
                buffer.extend_from_slice(bytes);
                Ok(())
            }
            To::Sink { sink, pending } => {
                if pending.len().saturating_add(bytes.len()) > PENDING_BYTES_MAX {
                    sink.write(pending)?;
                    pending.clear();
                }
                if bytes.len() > PENDING_BYTES_MAX {
                    return sink.write(bytes);
                }
                pending.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    fn flush(&mut self) -> Result<()> {
        match &mut self.to {
            To::Sink { sink, pending } => sink.write(pending),
            _ => Ok(()),
        }
    }

    /// Hands a reference over to whatever is written; answers its index. A count gives indices of its own.
    pub(crate) fn reference(&mut self, reference: &dyn HandOver) -> Result<u32, BoxedError> {
        let index = match &mut self.to {
            To::Count { references } => {
                let index = *references;
                *references = index.wrapping_add(1);
                Ok(index)
            }
            To::Buffer(_, room) => reference.to_room(room),
            To::Sink { sink, .. } => sink.reference(reference),
        };
        index.map_err(|error| self.keep(error))
    }

    fn keep(&mut self, error: Error) -> BoxedError {
        self.failed.set(Some(error));
        BoxedError::new(RkyvError::Sink)
    }
}

impl Positional for Out<'_> {
    fn pos(&self) -> usize {
        self.pos
    }
}

#[derive(Debug, thiserror::Error)]
enum RkyvError {
    #[error("an archive of more than {ARCHIVE_BYTES_MAX} bytes: its offsets are 32-bit")]
    TooLarge,
    #[error("the sink failed")]
    Sink,
    #[error("{found} bytes cannot hold an archive whose root takes {root}")]
    Short { found: usize, root: usize },
    #[error("the archive starts at an address that is no multiple of {align}")]
    Misaligned { align: usize },
    #[error("the type is aligned to {align} bytes, and sections to {ALIGNMENT}")]
    Alignment { align: usize },
}

impl Writer<BoxedError> for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), BoxedError> {
        let end = self.pos.checked_add(bytes.len()).filter(|&end| end <= ARCHIVE_BYTES_MAX);
        let Some(end) = end else { return Err(BoxedError::new(RkyvError::TooLarge)) };
        self.put(bytes).map_err(|error| self.keep(error))?;
        self.pos = end;
        Ok(())
    }
}

/// Serializes `value`; answers the archive's length. `failed` is empty, and lives as long as what is written to.
fn serialize<'o, T>(value: &T, to: To<'o>, failed: &'o Cell<Option<Error>>) -> Result<usize>
where
    T: for<'a, 'w> rkyv::Serialize<HighSerializer<Out<'w>, ArenaHandle<'a>, BoxedError>>,
{
    let out = Out { to, pos: 0, failed };
    let written = rkyv::api::high::to_bytes_in::<_, BoxedError>(value, out).map(|mut out| {
        let flushed = out.flush();
        flushed.map(|()| out.pos)
    });
    match (written, failed.take()) {
        (Ok(written), _) => written,
        (Err(_), Some(error)) => Err(error),
        (Err(error), None) => Err(CodecError::new::<T>(ErrorKind::Limit, NAME, error).into()),
    }
}

fn measure<T>(value: &T) -> Result<usize>
where
    T: rkyv::Archive
        + for<'a, 'w> rkyv::Serialize<HighSerializer<Out<'w>, ArenaHandle<'a>, BoxedError>>,
{
    let align = align_of::<T::Archived>();
    if align > ALIGNMENT {
        let error = RkyvError::Alignment { align };
        return Err(CodecError::new::<T>(ErrorKind::Misuse, NAME, error).into());
    }
    serialize(value, To::Count { references: 0 }, &Cell::new(None))
}

/// Serializes `value` into a buffer that `room` pays for.
fn archive<T>(value: &T, room: &mut Room) -> Result<Archive<T>>
where
    T: rkyv::Archive
        + for<'a, 'w> rkyv::Serialize<HighSerializer<Out<'w>, ArenaHandle<'a>, BoxedError>>,
{
    let len = measure(value)?;
    let reservation = room.take(Buffer::allocation_bytes(len, ALIGNMENT)?)?;
    let mut buffer = BufferMut::with_capacity(len, ALIGNMENT, reservation)?;
    serialize(value, To::Buffer(&mut buffer, room), &Cell::new(None))?;
    Ok(Archive { bytes: buffer.freeze(), value: PhantomData })
}

impl<T> Archive<T>
where
    T: rkyv::Archive,
{
    /// Checks that a root fits and lies where its type may lie.
    fn check_shape(bytes: &[u8]) -> Result<(), RkyvError> {
        let (found, root) = (bytes.len(), size_of::<T::Archived>());
        if found < root {
            return Err(RkyvError::Short { found, root });
        }
        let align = ALIGNMENT;
        match bytes.as_ptr().addr().is_multiple_of(align) {
            true => Ok(()),
            false => Err(RkyvError::Misaligned { align }),
        }
    }

    fn root(&self) -> &T::Archived {
        // SAFETY: the bytes are an archive of a `T` with its root at the end: written by `archive` or `mmwrite_value`
        // of this codec in this process, or validated by `mmread`; both made sure of length and alignment, and the
        // bytes of a buffer do not change.
        unsafe { rkyv::access_unchecked::<T::Archived>(&self.bytes) }
    }
}

impl<T> Codec<T> for Rkyv
where
    T: rkyv::Archive + Send + Sync + 'static,
    T: for<'a, 'w> rkyv::Serialize<HighSerializer<Out<'w>, ArenaHandle<'a>, BoxedError>>,
    T::Archived: for<'a> CheckBytes<HighValidator<'a, BoxedError>> + Sync + 'static,
{
    type Resident = Archive<T>;
    type View = T::Archived;

    fn format(&self) -> Format {
        let pointer_width = u8::try_from(size_of::<ArchivedUsize>() * 8).unwrap_or(u8::MAX);
        Format { codec: CodecName::new(NAME), type_tag: type_tag(type_name::<T>()), pointer_width }
    }

    fn size_hint(&self, value: &T) -> Result<u64> {
        Buffer::allocation_bytes(measure(value)?, ALIGNMENT)
    }

    fn admit(&self, value: T, room: &mut Room) -> Result<Archive<T>, Rejected<T>> {
        match archive(&value, room) {
            Ok(archive) => Ok(archive),
            Err(error) => Err(Rejected::new(value, error)),
        }
    }

    fn view<'a>(&self, resident: &'a Archive<T>) -> &'a T::Archived {
        resident.root()
    }

    fn mmwrite(&self, resident: &Archive<T>, sink: &mut Sink<'_>) -> Result<()> {
        sink.section(ALIGNMENT)?;
        sink.write_buffer(&resident.bytes)
    }

    fn mmwrite_value(&self, value: &T, sink: &mut Sink<'_>) -> Result<()> {
        sink.section(ALIGNMENT)?;
        serialize(value, To::Sink { sink, pending: Vec::new() }, &Cell::new(None)).map(|_| ())
    }

    fn mmread(&self, source: &mut Source<'_>, _room: &mut Room) -> Result<Archive<T>> {
        let bytes = source.section()?;
        Archive::<T>::check_shape(&bytes).map_err(|e| CodecError::damage::<T>(NAME, e))?;
        if source.trust() != Trust::Own {
            let mut validator = Validator::new(
                ArchiveValidator::with_max_depth(&bytes, Some(self.depth_max)),
                SharedValidator::new(),
            );
            rkyv::api::access_with_context::<T::Archived, _, BoxedError>(&bytes, &mut validator)
                .map_err(|e| CodecError::damage::<T>(NAME, e))?;
        }
        Ok(Archive { bytes, value: PhantomData })
    }

    fn maps(&self) -> bool {
        true
    }

    fn drops_user_code(&self) -> bool {
        false
    }
}

// SAFETY: it is transparent over an integer of four bytes, which has no padding; the marker beside it has no bytes.
unsafe impl<U> NoUndef for ArchivedReference<U> {}

/// Vectors grow element by element: the working vector is counted as it grows, and its own bytes return when the
/// archive is made. What elements own beside the vector itself is not counted before that.
impl<T> Build<Vec<T>> for Rkyv
where
    T: Clone + Send + Sync + 'static,
    Self: Codec<Vec<T>, Resident = Archive<Vec<T>>>,
    Vec<T>: rkyv::Archive
        + for<'a, 'w> rkyv::Serialize<HighSerializer<Out<'w>, ArenaHandle<'a>, BoxedError>>,
{
    type Piece = [T];
    type Partial = Vec<T>;

    fn start(&self) -> Vec<T> {
        Vec::new()
    }

    fn push(&self, partial: &mut Vec<T>, piece: &[T], room: &mut Room) -> Result<()> {
        let needed = partial.len().saturating_add(piece.len());
        if needed > partial.capacity() {
            let capacity = needed.max(partial.capacity().saturating_mul(2));
            let more = capacity.saturating_sub(partial.capacity());
            room.grow((more as u64).saturating_mul(size_of::<T>() as u64))?;
            partial.reserve_exact(capacity.saturating_sub(partial.len()));
        }
        partial.extend_from_slice(piece);
        Ok(())
    }

    fn finish(&self, partial: Vec<T>, room: &mut Room) -> Result<Archive<Vec<T>>> {
        // What the working vector holds is reserved beside the archive until the vector is gone.
        let len = measure(&partial)?;
        let archive_bytes = Buffer::allocation_bytes(len, ALIGNMENT)?;
        room.grow(archive_bytes)?;
        let archive = archive(&partial, room)?;
        drop(partial);
        room.release_unused(0);
        Ok(archive)
    }
}
