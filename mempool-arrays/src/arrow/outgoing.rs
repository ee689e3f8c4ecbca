//! `Outgoing`: what an array of ours takes with it to Arrow, and the arrays of Arrow's that are made without a look at
//! the bytes: what our own arrays have checked is not checked again, and what is mapped is not read. An array of a frame
//! that this process has written in this session is believed here as it is when it is read.

#![expect(unsafe_code, reason = "an invariant of ours is the one that Arrow asks for")]

use std::sync::Arc;

use arrow_array::types::{
    ArrowDictionaryKeyType, ByteArrayType, GenericBinaryType, GenericStringType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array as _, ArrayRef, DictionaryArray, GenericByteArray, OffsetSizeTrait, PrimitiveArray,
};
use arrow_buffer::{BooleanBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use mempool_core::Buffer;

use crate::arrow::Arrow;
use crate::arrow::handed::share;
use crate::bits::Bits;
use crate::element::Element;
use crate::field::Logical;
use crate::layout::Layout;
use crate::list::List;
use crate::nullable::Nullable;
use crate::offsets::Offset;
use crate::pooled::{Codes, Pooled};
use crate::string::{Binary, Strings};
use crate::values::Values;

/// What is around an array that goes to Arrow: which of its slots are missing, and what its numbers mean.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    /// Whether slots may be missing.
    pub(super) nullable: bool,
    /// Those that are.
    pub(super) nulls: Option<NullBuffer>,
    /// What the innermost numbers mean.
    pub(super) logical: Logical,
}

/// The bits as Arrow's.
pub(super) fn booleans(bits: &Bits) -> BooleanBuffer {
    let (bytes, first) = bits.buffer();
    BooleanBuffer::new(share(bytes), first, bits.len())
}

/// Which slots are missing; `None` when none is.
pub(super) fn nulls<A: Layout>(array: &Nullable<A>) -> Option<NullBuffer> {
    let bits = booleans(array.validity()?);
    // SAFETY: `Nullable` counts the zeros of its bitmap.
    Some(unsafe { NullBuffer::new_unchecked(bits, array.nulls()) })
}

/// The offsets as Arrow's.
///
/// # Safety
/// `values` are the offsets of a `Binary` or a `List`.
unsafe fn offsets<O: OffsetSizeTrait>(values: &Buffer) -> OffsetBuffer<O> {
    let values = ScalarBuffer::new(share(values), 0, values.len() / size_of::<O>());
    // SAFETY: there is one at least, none is negative, and none is less than the one before: `Offsets` sees to it.
    unsafe { OffsetBuffer::new_unchecked(values) }
}

/// The offsets of lists as Arrow's.
pub(super) fn list_offsets<A: Layout, O>(list: &List<A, O>) -> OffsetBuffer<O>
where
    O: Offset + OffsetSizeTrait,
{
    // SAFETY: they are those of a `List`.
    unsafe { offsets(list.offsets().buffer()) }
}

pub(super) fn binary<O>(binary: &Binary<O>, around: Outgoing) -> ArrayRef
where
    O: Offset + OffsetSizeTrait,
{
    // SAFETY: of bytes nothing is asked but that the offsets lie within them, as those of a `Binary` do.
    unsafe { runs::<GenericBinaryType<O>>(binary, around) }
}

pub(super) fn strings<O>(strings: &Strings<O>, around: Outgoing) -> ArrayRef
where
    O: Offset + OffsetSizeTrait,
{
    // SAFETY: the offsets lie within the bytes, and from one to the next there is UTF-8: `Strings` sees to it.
    unsafe { runs::<GenericStringType<O>>(strings.as_binary(), around) }
}

/// # Safety
/// `binary` is what Arrow's `T` takes: UTF-8 for strings.
unsafe fn runs<T>(binary: &Binary<T::Offset>, around: Outgoing) -> ArrayRef
where
    T: ByteArrayType<Offset: Offset>,
{
    assert_slots(around.nulls.as_ref(), binary.len());
    let (ends, bytes) = binary.buffers();
    // SAFETY: they are those of a `Binary`.
    let ends = unsafe { offsets(ends) };
    // SAFETY: the last offset lies within the bytes, as `Binary` sees to; there is a bit of validity for each slot, as
    // was asserted; the caller promises the rest.
    Arc::new(unsafe { GenericByteArray::<T>::new_unchecked(ends, share(bytes), around.nulls) })
}

pub(super) fn pooled<A: Arrow>(pooled: &Pooled<A>, around: Outgoing) -> ArrayRef {
    let inner = Outgoing { logical: around.logical, ..Outgoing::default() };
    let (values, nulls) = (pooled.dictionary().export(inner), around.nulls);
    assert_eq!(values.len(), pooled.dictionary().len(), "the dictionary, whole");
    match pooled.codes() {
        // SAFETY: all codes are below the length of the dictionary, as `Pooled` sees to, and `values` is that one.
        Codes::U8(codes) => unsafe { dictionary::<UInt8Type>(codes, values, nulls) },
        // SAFETY: as above.
        Codes::U16(codes) => unsafe { dictionary::<UInt16Type>(codes, values, nulls) },
        // SAFETY: as above.
        Codes::U32(codes) => unsafe { dictionary::<UInt32Type>(codes, values, nulls) },
        // SAFETY: as above.
        Codes::U64(codes) => unsafe { dictionary::<UInt64Type>(codes, values, nulls) },
    }
}

/// # Safety
/// All codes are below the length of `values`.
unsafe fn dictionary<K>(
    codes: &Values<K::Native>,
    values: ArrayRef,
    nulls: Option<NullBuffer>,
) -> ArrayRef
where
    K: ArrowDictionaryKeyType<Native: Element>,
{
    let codes = ScalarBuffer::new(share(codes.buffer()), 0, codes.len());
    let codes = PrimitiveArray::<K>::new(codes, nulls);
    // SAFETY: the caller's promise.
    Arc::new(unsafe { DictionaryArray::<K>::new_unchecked(codes, values) })
}

fn assert_slots(nulls: Option<&NullBuffer>, slots: usize) {
    assert!(nulls.is_none_or(|nulls| nulls.len() == slots), "a bit a slot");
}
