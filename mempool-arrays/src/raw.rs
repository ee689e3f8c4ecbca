//! `Raw`: the codec that keeps arrays as they lie in memory.

use std::fmt;

use mempool_core::{
    ALIGNMENT, Buffer, BufferMut, Codec, CodecName, Format, Rejected, Reservation, Result, Room,
    Sink, Source, copy_into,
};

use crate::error::{ArrayError, NAME};
use crate::layout::{Layout, Meter, Replacing};
use crate::part::{Assembly, Parts};
use crate::stored::Stored;

/// Keeps arrays as they are: in memory the array itself, on disk its buffers behind a description of 64 bytes or so,
/// read back as views of the map, whatever their size.
///
/// It takes every [`Layout`], and vectors of what arrays hold ([`Stored`] lists them).
///
/// *View*: the array; of a `Vec<T>` of plain data, `[T]`. A clone or slice of a view shares its buffers: what is held of it
/// outside the pool stays counted, and counts as a pin. *Charge*: the allocations of the buffers, each once, however many
/// values share them; buffers that another pool counts, or that are views of a map, are copied. An array owns a few words
/// beside them, which nobody counts.
///
/// ```
/// use mempool_arrays::{Nullable, Raw, Strings};
/// use mempool_core::PoolOptions;
///
/// let pool = PoolOptions::new().memory_limit(1 << 20).open(Raw);
/// let names: Nullable<Strings> = [Some("Ada"), None].into_iter().collect();
/// let names = pool.set(names)?;
/// assert_eq!(pool.get(&names)?.nulls(), 1);
///
/// let numbers = pool.set(vec![1_u32, 2, 3])?;
/// assert_eq!(pool.get(&numbers)?.iter().sum::<u32>(), 6);
/// # Ok::<(), mempool_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

/// An array that a pool holds. Its handles of buffers are marked as the pool's.
pub struct Held<A: Layout> {
    array: A,
}

impl<A: Layout> Held<A> {
    pub(crate) fn new(array: A) -> Self {
        array.visit(&mut |buffer| buffer.mark_pooled());
        Self { array }
    }
}

impl<A: Layout> Drop for Held<A> {
    fn drop(&mut self) {
        self.array.visit(&mut |buffer| buffer.unmark_pooled());
    }
}

impl<A: Layout> fmt::Debug for Held<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.array, f)
    }
}

/// A room, as a builder reports to it.
pub(crate) struct Metered<'a>(pub(crate) &'a mut Room);

impl Meter for Metered<'_> {
    fn take(&mut self, bytes: u64) -> Result<()> {
        self.0.grow(bytes)
    }

    fn give_back(&mut self, bytes: u64) {
        self.0.release_unused(self.0.reserved_bytes().saturating_sub(bytes));
    }
}

/// The same array in one allocation, as large as its buffers and paid from what `reserve` gives for it.
///
/// What an array grew in is larger than it is, up to twice; and where many small arrays come and go, their many small blocks stay with
/// the allocator. It copies every byte once.
///
/// # Errors
/// What `reserve` says; [`Allocation`](mempool_core::Error::Allocation).
pub fn pack<A: Layout>(
    mut array: A,
    reserve: impl FnOnce(u64) -> Result<Reservation>,
) -> Result<A> {
    let (mut bytes, mut buffers) = (0_usize, Vec::new());
    array.visit(&mut |buffer| {
        bytes = bytes.next_multiple_of(ALIGNMENT) + buffer.len();
        buffers.push(buffer.clone());
    });
    let reservation = reserve(Buffer::allocation_bytes(bytes, ALIGNMENT)?)?;
    let mut all = BufferMut::with_capacity(bytes, ALIGNMENT, reservation)?;
    for buffer in &buffers {
        all.zero_to(all.len().next_multiple_of(ALIGNMENT));
        all.extend_from_slice(buffer);
    }
    let all = all.freeze();
    let (mut end, mut copied) = (0_usize, buffers.iter());
    array.replace(&mut Replacing(&mut |buffer| {
        let Some(original) = copied.next() else { return Ok(()) };
        let start = end.next_multiple_of(ALIGNMENT);
        end = start + original.len();
        // A layout of somebody's own may name them in another order. Text is believed, so it never gets the bytes of others.
        if std::ptr::eq::<[u8]>(&**buffer, &**original) {
            *buffer = all.slice(start..end);
        }
        Ok(())
    }))?;
    Ok(array)
}

/// What [`charge`] takes from `room`, if nobody is faster. A buffer that comes twice counts twice: a bound.
fn missing<A: Layout>(array: &A, room: &Room) -> Result<u64> {
    let (mut bytes, mut failed) = (0_u64, None);
    array.visit(&mut |buffer| {
        let missing = match buffer.missing_charge(room) {
            Some(missing) => Ok(missing),
            None => Buffer::allocation_bytes(buffer.len(), ALIGNMENT),
        };
        match missing {
            Ok(missing) => bytes = bytes.saturating_add(missing),
            Err(error) => failed = Some(error),
        }
    });
    failed.map_or(Ok(bytes), Err)
}

/// Has `room` pay for all buffers of `array`; those that it cannot pay for are copied.
pub(crate) fn charge<A: Layout>(mut array: A, room: &mut Room) -> Result<A, Rejected<A>> {
    // All at once, so that a value that does not fit comes back as it was.
    let grown = missing(&array, room)
        .and_then(|bytes| room.grow(bytes.saturating_sub(room.reserved_bytes())));
    if let Err(error) = grown {
        return Err(Rejected::new(array, error));
    }
    let charged = array.replace(&mut Replacing(&mut |buffer| {
        if !buffer.charge(room)? {
            *buffer = copy_into(room, buffer, ALIGNMENT)?;
        }
        Ok(())
    }));
    room.release_unused(0);
    match charged {
        Ok(()) => Ok(array),
        Err(error) => Err(Rejected::new(array, error)),
    }
}

impl<T: Stored> Codec<T> for Raw {
    type Resident = Held<T::Array>;
    type View = T::View;

    fn format(&self) -> Format {
        let type_tag = <T::Array as Layout>::TAG;
        Format { codec: CodecName::new(NAME), type_tag, pointer_width: 0 }
    }

    fn size_hint(&self, value: &T) -> Result<u64> {
        Ok(value.size_hint())
    }

    fn admit(&self, value: T, room: &mut Room) -> Result<Self::Resident, Rejected<T>> {
        value.admit(room).map(Held::new)
    }

    fn view<'a>(&self, resident: &'a Self::Resident) -> &'a T::View {
        T::view(&resident.array)
    }

    fn mmwrite(&self, resident: &Self::Resident, sink: &mut Sink<'_>) -> Result<()> {
        let mut parts = Parts::default();
        Layout::take_apart(&resident.array, &mut parts);
        parts.write(sink)
    }

    fn mmwrite_value(&self, value: &T, sink: &mut Sink<'_>) -> Result<()> {
        let mut parts = Parts::default();
        value.take_apart(&mut parts)?;
        parts.write(sink)
    }

    fn mmread(&self, source: &mut Source<'_>, _room: &mut Room) -> Result<Self::Resident> {
        let mut from = Assembly::start(source)?;
        let array = T::Array::assemble(&mut from);
        let array = array.and_then(|array| from.finish().map(|()| array));
        Ok(Held::new(array.map_err(ArrayError::of::<T>)?))
    }

    fn maps(&self) -> bool {
        true
    }

    fn held_outside(&self, resident: &Self::Resident) -> bool {
        let mut held = false;
        // All of them are watched, for any may be the last to be let go of.
        resident.array.visit(&mut |buffer| held |= buffer.watch_shared());
        held
    }

    fn drops_user_code(&self) -> bool {
        false
    }
}
