//! Strings and binary, to and from Arrow.

use arrow_array::types::{ByteArrayType, GenericBinaryType, GenericStringType};
use arrow_array::{ArrayRef, OffsetSizeTrait};
use arrow_schema::DataType;
use mempool_core::Buffer;

use crate::arrow::{Arrow, Incoming, Outgoing, outgoing};
use crate::description::Kind;
use crate::error::ArrayError;
use crate::offsets::Offset;
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
    let views = from.elements("views", 0, VIEW_BYTES, 0)?;
    let slots = || viewed(&views, from.buffers_behind_first());
    let total = total_bytes(slots())?;
    let too_many = || {
        let layout = "these offsets, or memory,";
        ArrayError::TooMany { layout, asked: total as u64, most: O::MOST }
    };
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(total).map_err(|_| too_many())?;
    let mut ends = Vec::with_capacity(from.len() + 1);
    ends.push(O::zeroed());
    for slot in slots() {
        bytes.extend_from_slice(slot?);
        ends.push(O::of_index(bytes.len()).ok_or_else(too_many)?);
    }
    Binary::from_buffers(Values::from(ends).buffer().clone(), adopt(bytes))
}

/// Bytes of a view.
pub(super) const VIEW_BYTES: usize = 16;
/// Bytes that a view holds itself; of more, it says where they lie.
const INLINE_BYTES: usize = 12;

/// What the views show, one after the other.
///
/// ```text
/// ┌────────┬────────────────────────────┐   ┌────────┬────────┬────────┬────────┐
/// │ length │ bytes, up to 12            │   │ length │ prefix │ buffer │ offset │
/// └────────┴────────────────────────────┘   └────────┴────────┴────────┴────────┘
/// ```
pub(super) fn viewed<'a>(
    views: &'a [u8],
    runs: &'a [Buffer],
) -> impl Iterator<Item = Result<&'a [u8], ArrayError>> {
    let (views, _) = views.as_chunks::<VIEW_BYTES>();
    views.iter().enumerate().map(|(index, view)| {
        let wrong = || ArrayError::description(format!("view {index} leads nowhere"));
        shown(view, runs).ok_or_else(wrong)
    })
}

/// What a view shows; `None` when it leads nowhere, or to bytes that begin otherwise than it says.
fn shown<'a>(view: &'a [u8; VIEW_BYTES], runs: &'a [Buffer]) -> Option<&'a [u8]> {
    let word = |at: usize| {
        let word = [view[at], view[at + 1], view[at + 2], view[at + 3]];
        usize::try_from(u32::from_le_bytes(word)).ok()
    };
    let bytes = word(0)?;
    if bytes <= INLINE_BYTES {
        return view.get(4..4 + bytes);
    }
    let start = word(12)?;
    let shown = runs.get(word(8)?)?.get(start..start.checked_add(bytes)?)?;
    shown.starts_with(&view[4..8]).then_some(shown)
}

/// Bytes of all of them together.
pub(super) fn total_bytes<'a>(
    mut slots: impl Iterator<Item = Result<&'a [u8], ArrayError>>,
) -> Result<usize, ArrayError> {
    slots.try_fold(0_usize, |total, slot| Ok(total.saturating_add(slot?.len())))
}
