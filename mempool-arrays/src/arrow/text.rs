//! Strings and binary, to and from Arrow.

use arrow_array::types::{ByteArrayType, GenericBinaryType, GenericStringType};
use arrow_array::{Array, ArrayRef, BinaryViewArray, OffsetSizeTrait};
use arrow_buffer::ScalarBuffer;
use arrow_schema::DataType;

use crate::arrow::handed::share;
use crate::arrow::{Arrow, Incoming, Outgoing, outgoing};
use crate::description::Kind;
use crate::error::ArrayError;
use crate::offsets::Offset;
use crate::part::check_alignment;
use crate::string::{Binary, Strings};
use crate::values::{Values, adopt};

impl<O: Offset + OffsetSizeTrait> Arrow for Binary<O> {
    fn export(&self, around: Outgoing) -> ArrayRef {
        outgoing::binary(self, around)
    }

    fn import(from: Incoming<'_>) -> Result<Self, ArrayError> {
        let kind = Kind::Binary(O::WIDTH);
        import(&from, kind, &GenericBinaryType::<O>::DATA_TYPE, &DataType::BinaryView)
    }
}

impl<O: Offset + OffsetSizeTrait> Arrow for Strings<O> {
    fn export(&self, around: Outgoing) -> ArrayRef {
        outgoing::strings(self, around)
    }

    fn import(from: Incoming<'_>) -> Result<Self, ArrayError> {
        let kind = Kind::Strings(O::WIDTH);
        let binary = import(&from, kind, &GenericStringType::<O>::DATA_TYPE, &DataType::Utf8View)?;
        Self::from_binary(binary)
    }
}

fn import<O: Offset>(
    from: &Incoming<'_>,
    kind: Kind,
    runs: &DataType,
    views: &DataType,
) -> Result<Binary<O>, ArrayError> {
    let found = from.data_type();
    if found != runs && found != views {
        return Err(from.is_not(kind));
    }
    from.all_there(kind)?;
    match found == views {
        true => gather(from),
        false => Binary::from_buffers(from.offsets::<O>()?.buffer().clone(), from.buffer(1)?),
    }
}

/// The slots of views, copied end to end.
fn gather<O: Offset>(from: &Incoming<'_>) -> Result<Binary<O>, ArrayError> {
    let views = from.elements("views", 0, size_of::<u128>(), 0)?;
    check_alignment::<u128>("views", &views)?;
    let views = ScalarBuffer::new(share(&views), 0, from.len());
    let runs: Vec<_> = from.buffers_behind_first().iter().map(share).collect();
    let views = BinaryViewArray::try_new(views, runs, None)
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
    for view in 0..views.len() {
        bytes.extend_from_slice(views.value(view));
        ends.push(O::of_index(bytes.len()).ok_or_else(too_many)?);
    }
    Binary::from_buffers(Values::from(ends).buffer().clone(), adopt(bytes))
}
