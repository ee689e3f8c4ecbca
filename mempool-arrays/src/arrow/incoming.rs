//! `Incoming`: an array of Arrow's on its way in, and the allocations that its buffers lie in.

#![expect(unsafe_code, reason = "an allocation is adopted whole, whichever part of it Arrow shows")]

use std::collections::HashMap;
use std::ptr::NonNull;
use std::slice;

use arrow_buffer::Buffer as ArrowBuffer;
use arrow_data::ArrayData;
use arrow_schema::DataType;
use mempool_core::Buffer;

use crate::arrow::Arrow;
use crate::bits::Bits;
use crate::description::{DEPTH_MAX, Kind};
use crate::error::{ArrayError, Shown};
use crate::offsets::Offset;
use crate::values::Values;

/// Where the bytes of an array of Arrow's are. Arrow itself does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// On the heap, as builders, readers and kernels of Arrow's make arrays. The first pool that they enter pays for
    /// them, by the capacity of their allocations. Said of bytes that are elsewhere, it has the pool count more than it
    /// holds, never less.
    Heap,
    /// Elsewhere, or nobody knows: over a map, or in another program's care. A pool copies what enters it.
    Elsewhere,
}

/// An array of Arrow's on its way in.
#[derive(Debug)]
pub struct Incoming<'a> {
    data: &'a ArrayData,
    allocations: &'a Allocations,
    /// Whether who asks for this has taken the missing slots.
    nulls_taken: bool,
    /// Whether what is around it says that slots may be missing.
    nullable: bool,
}

pub(super) fn import<A: Arrow>(data: &ArrayData, memory: Memory) -> Result<A, ArrayError> {
    import_as(data, memory, false)
}

/// The same of slots that all are below missing ones.
pub(super) fn hidden<A: Arrow>(data: &ArrayData) -> Result<A, ArrayError> {
    import_as(data, Memory::Heap, true)
}

fn import_as<A: Arrow>(
    data: &ArrayData,
    memory: Memory,
    nulls_taken: bool,
) -> Result<A, ArrayError> {
    let mut last = HashMap::new();
    collect(data, 0, &mut last)?;
    let adopted = last.into_iter().map(|(start, buffer)| (start, adopt(buffer, memory)));
    let allocations = Allocations(adopted.collect());
    let allocations = &allocations;
    A::import(Incoming { data, allocations, nulls_taken, nullable: false })
}

impl<'a> Incoming<'a> {
    /// How many slots it has.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "nobody asks for that")]
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Its type.
    #[must_use]
    pub fn data_type(&self) -> &'a DataType {
        self.data.data_type()
    }

    /// It has another type than `expected`.
    pub(super) fn is_not(&self, expected: Kind) -> ArrayError {
        let found = Shown(self.data_type().to_string());
        ArrayError::Kind { expected: expected.into(), found }
    }

    /// Checks that no slot is missing, unless somebody has taken those that are.
    pub(super) fn all_there(&self, layout: Kind) -> Result<(), ArrayError> {
        match self.data.nulls().map_or(0, |nulls| nulls.null_count()) {
            nulls if nulls > 0 && !self.nulls_taken => {
                Err(ArrayError::Missing { layout: layout.into(), nulls: nulls as u64 })
            }
            _ => Ok(()),
        }
    }

    /// Which slots are there, and the rest of the array; `None` when all are.
    pub(super) fn take_nulls(self) -> Result<(Option<Bits>, Self), ArrayError> {
        let rest = Self { nulls_taken: true, ..self };
        if self.nulls_taken {
            return Ok((None, rest));
        }
        let validity = match (self.data.nulls(), self.data_type()) {
            (_, DataType::Null) => Some(Bits::repeated(false, self.len())),
            (None, _) => None,
            (Some(nulls), _) => {
                let bytes = self.allocations.find(nulls.buffer());
                Some(Bits::from_buffer(bytes, nulls.offset(), nulls.len())?)
            }
        };
        Ok((validity, rest))
    }

    /// Whether slots may be missing that nobody has taken yet.
    pub(super) fn may_miss(&self) -> bool {
        let some = || self.data.nulls().is_some_and(|nulls| nulls.null_count() > 0);
        !self.nulls_taken && (self.nullable || *self.data_type() == DataType::Null || some())
    }

    /// Whether a slot is missing that somebody has taken.
    pub(super) fn is_hidden(&self, slot: usize) -> bool {
        self.nulls_taken && self.data.nulls().is_some_and(|nulls| nulls.is_null(slot))
    }

    /// Reads child `index`, all of it.
    pub(super) fn child<A: Arrow>(&self, index: usize, nullable: bool) -> Result<A, ArrayError> {
        let data = self.child_data(index)?;
        A::import(Incoming { data, nulls_taken: false, nullable, ..*self })
    }

    /// Reads the slots of child `index` that are this one's: a struct's slots are those of its children.
    pub(super) fn child_slots<A: Arrow>(
        &self,
        index: usize,
        nullable: bool,
    ) -> Result<A, ArrayError> {
        let child = self.child_data(index)?;
        if self.first() == 0 && child.len() == self.len() {
            return self.child(index, nullable);
        }
        let data = &child.slice(self.first(), self.len());
        A::import(Incoming { data, nulls_taken: false, nullable, ..*self })
    }

    fn child_data(&self, index: usize) -> Result<&'a ArrayData, ArrayError> {
        self.data.child_data().get(index).ok_or_else(|| {
            let data_type = self.data_type();
            ArrayError::description(format!("an Arrow array of {data_type} without child {index}"))
        })
    }

    /// The offsets of all slots, in buffer 0.
    pub(super) fn offsets<O: Offset>(&self) -> Result<Values<O>, ArrayError> {
        // An array without slots may come without any offset.
        if self.len() == 0 && self.buffer(0)?.is_empty() {
            return Ok(Values::from(vec![O::zeroed()]));
        }
        Values::from_buffer(self.elements("offsets", 0, size_of::<O>(), 1)?)
    }

    /// Buffer `index`, whole.
    pub(super) fn buffer(&self, index: usize) -> Result<Buffer, ArrayError> {
        Ok(self.allocations.find(self.arrow_buffer(index)?))
    }

    /// As Arrow has it.
    pub(super) fn arrow_buffer(&self, index: usize) -> Result<&'a ArrowBuffer, ArrayError> {
        self.data.buffers().get(index).ok_or_else(|| {
            let data_type = self.data_type();
            ArrayError::description(format!("an Arrow array of {data_type} without buffer {index}"))
        })
    }

    /// All buffers but the first, as Arrow has them.
    pub(super) fn arrow_buffers_behind_first(&self) -> &'a [ArrowBuffer] {
        self.data.buffers().get(1..).unwrap_or_default()
    }

    /// The first slot in its buffers.
    pub(super) fn first(&self) -> usize {
        self.data.offset()
    }

    /// The part of buffer `index` where the slots are, and `more` behind them, each of so many bytes.
    pub(super) fn elements(
        &self,
        part: &'static str,
        index: usize,
        bytes_each: usize,
        more: usize,
    ) -> Result<Buffer, ArrayError> {
        let buffer = self.buffer(index)?;
        let start = self.first().checked_mul(bytes_each);
        let end = self.first().checked_add(self.len()).and_then(|slots| slots.checked_add(more));
        let end = end.and_then(|slots| slots.checked_mul(bytes_each));
        match start.zip(end) {
            Some((start, end)) if end <= buffer.len() => Ok(buffer.slice(start..end)),
            _ => {
                let expected = end.map_or(u64::MAX, |bytes| bytes as u64);
                let (slots, found) = (self.len() as u64, buffer.len() as u64);
                Err(ArrayError::Length { part, slots, expected, found })
            }
        }
    }
}

/// The allocations in which the buffers of one array lie, by their start, each adopted once.
#[derive(Debug)]
struct Allocations(HashMap<NonNull<u8>, Buffer>);

impl Allocations {
    /// The same bytes as ours.
    fn find(&self, buffer: &ArrowBuffer) -> Buffer {
        let allocation = self.0.get(&buffer.data_ptr()).expect("it was collected");
        allocation.slice(buffer.ptr_offset()..buffer.ptr_offset() + buffer.len())
    }
}

/// Of all buffers in one allocation, the one that ends last. Looks at the lengths by which Arrow itself cuts arrays, too.
fn collect(
    data: &ArrayData,
    depth: u32,
    last: &mut HashMap<NonNull<u8>, ArrowBuffer>,
) -> Result<(), ArrayError> {
    if depth > DEPTH_MAX {
        return Err(ArrayError::Depth { most: DEPTH_MAX });
    }
    if let Some(nulls) = data.nulls() {
        check_slots("validity", data.len(), nulls.len(), nulls.len() == data.len())?;
    }
    let end = |buffer: &ArrowBuffer| buffer.ptr_offset() + buffer.len();
    for buffer in data.buffers().iter().chain(data.nulls().map(|nulls| nulls.buffer())) {
        let known = last.entry(buffer.data_ptr()).or_insert_with(|| buffer.clone());
        if end(known) < end(buffer) {
            known.clone_from(buffer);
        }
    }
    for child in data.child_data() {
        if let DataType::Struct(_) = data.data_type() {
            let slots = data.offset().saturating_add(data.len());
            let counted = child.offset().checked_add(child.len()).is_some();
            check_slots("a column", slots, child.len(), child.len() >= slots && counted)?;
        }
        collect(child, depth + 1, last)?;
    }
    Ok(())
}

fn check_slots(
    part: &str,
    expected: usize,
    found: usize,
    as_expected: bool,
) -> Result<(), ArrayError> {
    let (expected, found) = (expected as u64, found as u64);
    match as_expected {
        true => Ok(()),
        false => Err(ArrayError::Slots { part: part.to_owned(), expected, found }),
    }
}

/// An allocation of Arrow's from its start to the end of a buffer.
struct Outside(ArrowBuffer);

impl AsRef<[u8]> for Outside {
    fn as_ref(&self) -> &[u8] {
        let bytes = self.0.ptr_offset() + self.0.len();
        // SAFETY: a buffer of Arrow's is a part of an allocation that starts at `data_ptr`, of which all bytes up to its
        // end are initialized (`arrow_buffer::Buffer` derefs them) and are not written while a buffer holds it.
        unsafe { slice::from_raw_parts(self.0.data_ptr().as_ptr(), bytes) }
    }
}

fn adopt(buffer: ArrowBuffer, memory: Memory) -> Buffer {
    let owned_bytes = buffer.capacity() as u64;
    match memory {
        Memory::Heap => Buffer::adopt_heap(Outside(buffer), owned_bytes),
        Memory::Elsewhere => Buffer::adopt(Outside(buffer), None),
    }
}
