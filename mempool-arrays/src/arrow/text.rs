//! Strings and binary, to and from Arrow.

#![expect(unsafe_code, reason = "what our own arrays have checked is not checked again")]

use std::sync::Arc;

use arrow_array::types::{ByteArrayType, GenericBinaryType, GenericStringType};
use arrow_array::{ArrayRef, BinaryViewArray, GenericByteArray, OffsetSizeTrait};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::DataType;

use crate::arrow::{Arrow, Incoming, Outgoing, share};
use crate::description::Kind;
use crate::error::ArrayError;
use crate::layout::Layout;
use crate::offsets::Offset;
use crate::part::check_alignment;
use crate::string::{Binary, Strings};
use crate::values::{Values, adopt};

impl<O: Offset + OffsetSizeTrait> Arrow for Binary<O> {
    fn export(&self, around: Outgoing) -> ArrayRef {
        // SAFETY: of bytes nothing is asked but that the offsets lie within them, which every constructor of `Binary`
        // sees to.
        unsafe { export::<GenericBinaryType<O>>(self, around) }
    }

    fn import(from: Incoming<'_>) -> Result<Self, ArrayError> {
        let kind = Kind::Binary(O::WIDTH);
        import(from, kind, &GenericBinaryType::<O>::DATA_TYPE, &DataType::BinaryView)
    }
}

impl<O: Offset + OffsetSizeTrait> Arrow for Strings<O> {
    fn export(&self, around: Outgoing) -> ArrayRef {
        // SAFETY: as for `Binary`, and each slot is UTF-8, which every constructor of `Strings` sees to.
        unsafe { export::<GenericStringType<O>>(self.as_binary(), around) }
    }

    fn import(from: Incoming<'_>) -> Result<Self, ArrayError> {
        let kind = Kind::Strings(O::WIDTH);
        let binary = import(from, kind, &GenericStringType::<O>::DATA_TYPE, &DataType::Utf8View)?;
        Self::from_binary(binary)
    }
}

/// # Safety
/// `binary` is what Arrow's `T` takes: UTF-8 for strings.
unsafe fn export<T>(binary: &Binary<T::Offset>, around: Outgoing) -> ArrayRef
where
    T: ByteArrayType<Offset: Offset>,
{
    let (offsets, bytes) = binary.buffers();
    let offsets = ScalarBuffer::new(share(offsets), 0, binary.len() + 1);
    // SAFETY: there is at least one, none is negative, and none is less than the one before: `Offsets` has seen to it.
    let offsets = unsafe { OffsetBuffer::new_unchecked(offsets) };
    let nulls = around.nulls;
    assert!(nulls.as_ref().is_none_or(|nulls| nulls.len() == binary.len()), "a bit a slot");
    // SAFETY: the last offset lies within the bytes, as `Binary` has seen to; there is a bit of validity for each slot,
    // as was asserted; the caller promises the rest.
    Arc::new(unsafe { GenericByteArray::<T>::new_unchecked(offsets, share(bytes), nulls) })
}

fn import<O: Offset>(
    from: Incoming<'_>,
    kind: Kind,
    runs: &DataType,
    views: &DataType,
) -> Result<Binary<O>, ArrayError> {
    let found = from.data_type();
    if found != runs && found != views {
        return Err(from.is_not(kind));
    }
    from.all_there(kind)?;
    if found == views {
        return gather(&from);
    }
    // An array without slots may come without any offset.
    if from.len() == 0 && from.buffer(0)?.is_empty() {
        return Ok(Binary::default());
    }
    Binary::from_buffers(from.elements("offsets", 0, size_of::<O>(), 1)?, from.buffer(1)?)
}

/// The slots of views, copied end to end.
fn gather<O: Offset>(from: &Incoming<'_>) -> Result<Binary<O>, ArrayError> {
    let views = from.elements("views", 0, size_of::<u128>(), 0)?;
    check_alignment::<u128>("views", &views)?;
    let views = ScalarBuffer::new(share(&views), 0, from.len());
    let views = BinaryViewArray::try_new(views, from.arrow_buffers_behind_first().to_vec(), None)
        .map_err(|error| ArrayError::description(format!("views: {error}")))?;
    let lengths = || views.lengths().map(|bytes| bytes as usize);
    let total = lengths().fold(0, usize::saturating_add);
    let too_many = || {
        let layout = "these offsets, or memory,";
        ArrayError::TooMany { layout, asked: total as u64, most: O::MOST }
    };
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(total).map_err(|_| too_many())?;
    let mut ends = Vec::with_capacity(from.len() + 1);
    ends.push(O::zeroed());
    for view in 0..from.len() {
        bytes.extend_from_slice(views.value(view));
        ends.push(O::of_index(bytes.len()).ok_or_else(too_many)?);
    }
    Binary::from_buffers(Values::from(ends).buffer().clone(), adopt(bytes))
}
