//! `Incoming`: an array of Arrow's on its way in, whoever has described it; and the allocations its buffers lie in.

#![expect(unsafe_code, reason = "an allocation is adopted whole, whichever part of it Arrow shows")]

use std::collections::HashMap;
use std::ptr::NonNull;
use std::slice;

use arrow_buffer::Buffer as ArrowBuffer;
use arrow_data::ArrayData;
use arrow_schema::DataType;
use mempool_core::Buffer;

use crate::arrow::{Arrow, handed};
use crate::bits::Bits;
use crate::description::{DEPTH_MAX, Kind};
use crate::error::{ArrayError, Shown};
use crate::layout::Layout as _;
use crate::offsets::Offset;
use crate::values::{Values, adopt as adopt_vector};

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

/// An array as Arrow describes it, in buffers of ours. Nothing is checked yet but that validity has a bit a slot.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) data_type: DataType,
    /// The first slot in the buffers.
    pub(super) first: usize,
    pub(super) len: usize,
    /// A bit a slot; `None` when none is missing.
    pub(super) validity: Option<Bits>,
    /// Those behind the validity.
    pub(super) buffers: Vec<Buffer>,
    pub(super) children: Vec<Part>,
}

impl Part {
    /// One without buffers and children.
    pub(super) fn bare(data_type: &DataType, len: usize, validity: Option<Bits>) -> Self {
        let (buffers, children) = (Vec::new(), Vec::new());
        Self { data_type: data_type.clone(), first: 0, len, validity, buffers, children }
    }

    /// What Arrow describes.
    pub(super) fn of(data: &ArrayData, memory: Memory) -> Result<Self, ArrayError> {
        let mut last = HashMap::new();
        collect(data, 0, &mut last)?;
        let adopted = last.into_iter().map(|(start, buffer)| {
            let ours = handed::find(start, end(&buffer));
            (start, ours.unwrap_or_else(|| adopt(buffer, memory)))
        });
        Self::within(data, &Allocations(adopted.collect()))
    }

    fn within(data: &ArrayData, allocations: &Allocations) -> Result<Self, ArrayError> {
        let validity = data.nulls().map(|nulls| {
            let bytes = allocations.find(nulls.buffer());
            Bits::from_buffer(bytes, nulls.offset(), nulls.len())
        });
        let children = data.child_data().iter().map(|child| Self::within(child, allocations));
        Ok(Self {
            data_type: data.data_type().clone(),
            first: data.offset(),
            len: data.len(),
            validity: checked_validity(validity.transpose()?, data.len())?,
            buffers: data.buffers().iter().map(|buffer| allocations.find(buffer)).collect(),
            children: children.collect::<Result<_, _>>()?,
        })
    }

    /// The array.
    pub(super) fn import<A: Arrow>(&self) -> Result<A, ArrayError> {
        A::import(Incoming { part: self, nulls_taken: false, nullable: false })
    }

    /// The array, of which all slots are below missing ones.
    pub(super) fn import_hidden<A: Arrow>(&self) -> Result<A, ArrayError> {
        A::import(Incoming { part: self, nulls_taken: true, nullable: false })
    }
}

/// The validity of a null array, which has a length and no bytes at Arrow's.
fn none_there(slots: usize) -> Result<Bits, ArrayError> {
    let mut zeros = Vec::new();
    zeros.try_reserve_exact(slots.div_ceil(8)).map_err(|_| {
        let (asked, most) = (slots as u64, isize::MAX as u64);
        ArrayError::TooMany { layout: "memory", asked, most }
    })?;
    zeros.resize(slots.div_ceil(8), 0_u8);
    Bits::from_buffer(adopt_vector(zeros), 0, slots)
}

/// Validity that has a bit a slot.
fn checked_validity(bits: Option<Bits>, slots: usize) -> Result<Option<Bits>, ArrayError> {
    match bits.as_ref().map(Bits::len) {
        Some(found) if found != slots => Err(other_slots("validity", slots, found)),
        _ => Ok(bits),
    }
}

fn other_slots(part: &str, expected: usize, found: usize) -> ArrayError {
    let (expected, found) = (expected as u64, found as u64);
    ArrayError::Slots { part: part.to_owned(), expected, found }
}

/// An array of Arrow's on its way in.
#[derive(Debug)]
pub struct Incoming<'a> {
    part: &'a Part,
    /// Whether who asks for this has taken the missing slots.
    nulls_taken: bool,
    /// Whether what is around it says that slots may be missing.
    nullable: bool,
}

impl<'a> Incoming<'a> {
    /// How many slots it has.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "nobody asks for that")]
    pub fn len(&self) -> usize {
        self.part.len
    }

    /// Its type.
    #[must_use]
    pub fn data_type(&self) -> &'a DataType {
        &self.part.data_type
    }

    /// It has another type than `expected`.
    pub(super) fn is_not(&self, expected: Kind) -> ArrayError {
        let found = Shown(self.data_type().to_string());
        ArrayError::Kind { expected: expected.into(), found }
    }

    /// How many slots are missing.
    fn nulls(&self) -> usize {
        self.part.validity.as_ref().map_or(0, |bits| bits.len() - bits.count_ones())
    }

    /// Checks that no slot is missing, unless somebody has taken those that are.
    pub(super) fn all_there(&self, layout: Kind) -> Result<(), ArrayError> {
        if self.nulls_taken {
            return Ok(());
        }
        match self.nulls() {
            0 => Ok(()),
            nulls => Err(ArrayError::Missing { layout: layout.into(), nulls: nulls as u64 }),
        }
    }

    /// Which slots are there, and the rest of the array; `None` when all are.
    pub(super) fn take_nulls(self) -> Result<(Option<Bits>, Self), ArrayError> {
        let validity = match (&self.part.validity, self.data_type()) {
            _ if self.nulls_taken => None,
            (None, DataType::Null) => Some(none_there(self.len())?),
            (validity, _) => validity.clone(),
        };
        Ok((validity, Self { nulls_taken: true, ..self }))
    }

    /// Whether slots may be missing that nobody has taken yet.
    pub(super) fn may_miss(&self) -> bool {
        let may = || self.nullable || *self.data_type() == DataType::Null || self.nulls() > 0;
        !self.nulls_taken && may()
    }

    /// Whether a slot is missing that somebody has taken.
    pub(super) fn is_hidden(&self, slot: usize) -> bool {
        self.nulls_taken && self.part.validity.as_ref().is_some_and(|bits| !bits.is_set(slot))
    }

    /// Reads child `index`, all of it.
    pub(super) fn child<A: Arrow>(&self, index: usize, nullable: bool) -> Result<A, ArrayError> {
        A::import(Incoming { part: self.child_part(index)?, nulls_taken: false, nullable })
    }

    /// Reads the slots of child `index` that are this one's: a struct's slots are those of its children.
    pub(super) fn child_slots<A: Arrow>(
        &self,
        index: usize,
        nullable: bool,
    ) -> Result<A, ArrayError> {
        let (child, start) = (self.child_part(index)?, self.part.first);
        if start == 0 && child.len == self.len() {
            return self.child(index, nullable);
        }
        let end = start.checked_add(self.len()).filter(|&end| end <= child.len);
        let first = child.first.checked_add(start);
        let (Some(end), Some(first)) = (end, first) else {
            return Err(other_slots("a column", start.saturating_add(self.len()), child.len));
        };
        let validity = child.validity.as_ref().map(|bits| bits.slice(start..end));
        let part = &Part { first, len: self.len(), validity, ..child.clone() };
        A::import(Incoming { part, nulls_taken: false, nullable })
    }

    fn child_part(&self, index: usize) -> Result<&'a Part, ArrayError> {
        self.part.children.get(index).ok_or_else(|| self.without("child", index))
    }

    fn without(&self, what: &str, index: usize) -> ArrayError {
        let data_type = self.data_type();
        ArrayError::description(format!("an Arrow array of {data_type} without {what} {index}"))
    }

    /// Buffer `index`, whole; the validity does not count.
    pub(super) fn buffer(&self, index: usize) -> Result<Buffer, ArrayError> {
        self.part.buffers.get(index).cloned().ok_or_else(|| self.without("buffer", index))
    }

    /// All buffers but the first.
    pub(super) fn buffers_behind_first(&self) -> &'a [Buffer] {
        self.part.buffers.get(1..).unwrap_or_default()
    }

    /// The first slot in its buffers.
    pub(super) fn first(&self) -> usize {
        self.part.first
    }

    /// The offsets of all slots, in buffer 0.
    pub(super) fn offsets<O: Offset>(&self) -> Result<Values<O>, ArrayError> {
        // An array without slots may come without any offset.
        if self.len() == 0 && self.buffer(0)?.is_empty() {
            return Ok(Values::from(vec![O::zeroed()]));
        }
        Values::from_buffer(self.elements("offsets", 0, size_of::<O>(), 1)?)
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
struct Allocations(HashMap<NonNull<u8>, Buffer>);

impl Allocations {
    /// The same bytes as ours.
    fn find(&self, buffer: &ArrowBuffer) -> Buffer {
        let allocation = self.0.get(&buffer.data_ptr()).expect("it was collected");
        allocation.slice(buffer.ptr_offset()..end(buffer))
    }
}

/// Of all buffers in one allocation, the one that ends last.
fn collect(
    data: &ArrayData,
    depth: u32,
    last: &mut HashMap<NonNull<u8>, ArrowBuffer>,
) -> Result<(), ArrayError> {
    if depth > DEPTH_MAX {
        return Err(ArrayError::Depth { most: DEPTH_MAX });
    }
    for buffer in data.buffers().iter().chain(data.nulls().map(|nulls| nulls.buffer())) {
        let known = last.entry(buffer.data_ptr()).or_insert_with(|| buffer.clone());
        if end(known) < end(buffer) {
            known.clone_from(buffer);
        }
    }
    data.child_data().iter().try_for_each(|child| collect(child, depth + 1, last))
}

/// Where a buffer ends in its allocation.
fn end(buffer: &ArrowBuffer) -> usize {
    buffer.ptr_offset() + buffer.len()
}

/// An allocation of Arrow's from its start to the end of a buffer.
struct Outside(ArrowBuffer);

impl AsRef<[u8]> for Outside {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: a buffer of Arrow's is a part of an allocation that starts at `data_ptr`, of which all bytes up to its
        // end are initialized (`arrow_buffer::Buffer` derefs them) and are not written while a buffer holds it.
        unsafe { slice::from_raw_parts(self.0.data_ptr().as_ptr(), end(&self.0)) }
    }
}

fn adopt(buffer: ArrowBuffer, memory: Memory) -> Buffer {
    let owned_bytes = buffer.capacity() as u64;
    match memory {
        Memory::Heap => Buffer::adopt_heap(Outside(buffer), owned_bytes),
        Memory::Elsewhere => Buffer::adopt(Outside(buffer), None),
    }
}
