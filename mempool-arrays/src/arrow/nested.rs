//! Pooled arrays, lists and structs, to and from Arrow.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, GenericListArray, OffsetSizeTrait, StructArray, new_null_array,
};
use arrow_schema::{DataType, Field as ArrowField};

use crate::arrow::incoming::Part;
use crate::arrow::{Arrow, Incoming, Memory, Outgoing, logical, outgoing};
use crate::description::Kind;
use crate::element::Element;
use crate::error::ArrayError;
use crate::field::Field;
use crate::layout::Layout;
use crate::list::List;
use crate::offsets::Offset;
use crate::pooled::{Codes, Pooled};
use crate::structs::Struct;
use crate::values::Values;

impl<A: Arrow> Arrow for Pooled<A> {
    fn export(&self, around: Outgoing) -> ArrayRef {
        outgoing::pooled(self, around)
    }

    fn import(from: Incoming<'_>) -> Result<Self, ArrayError> {
        let DataType::Dictionary(key, values) = from.data_type() else {
            return Err(from.is_not(Kind::Pooled(1)));
        };
        from.all_there(Kind::Pooled(1))?;
        let mut dictionary: A = from.child(0, false)?;
        let all_hidden = from.len() > 0 && (0..from.len()).all(|slot| from.is_hidden(slot));
        if dictionary.is_empty() && all_hidden {
            // What is missing has a code, too, and the code a value that nobody looks at.
            dictionary =
                Part::of(&new_null_array(values, 1).to_data(), Memory::Heap)?.import_hidden()?;
        }
        let len = dictionary.len();
        // A signed key counts half as far; a negative one would be far above that.
        let codes = match **key {
            DataType::UInt8 => Codes::U8(codes(&from, len)?),
            DataType::UInt16 => Codes::U16(codes(&from, len)?),
            DataType::UInt32 => Codes::U32(codes(&from, len)?),
            DataType::UInt64 => Codes::U64(codes(&from, len)?),
            DataType::Int8 => Codes::U8(codes(&from, len.min(1 << 7))?),
            DataType::Int16 => Codes::U16(codes(&from, len.min(1 << 15))?),
            DataType::Int32 => Codes::U32(codes(&from, len.min(1 << 31))?),
            DataType::Int64 => Codes::U64(codes(&from, len)?),
            _ => return Err(from.is_not(Kind::Pooled(1))),
        };
        Self::new(codes, dictionary)
    }

    fn is_nullable(&self) -> bool {
        self.dictionary().is_nullable()
    }
}

/// Codes below `most`. One below a missing slot may be anything at Arrow's; if it is too large, all are copied.
fn codes<T>(from: &Incoming<'_>, most: usize) -> Result<Values<T>, ArrayError>
where
    T: Element + Into<u64>,
{
    let codes = Values::<T>::from_buffer(from.elements("codes", 0, size_of::<T>(), 0)?)?;
    let is_wrong = |code: T| code.into() >= most as u64;
    let wrong: Vec<usize> = codes
        .iter()
        .enumerate()
        .filter(|&(_, &code)| is_wrong(code))
        .map(|(slot, _)| slot)
        .collect();
    if let Some(&slot) = wrong.iter().find(|&&slot| !from.is_hidden(slot)) {
        let (index, code) = (slot as u64, codes[slot].into());
        return Err(ArrayError::Code { index, code, dictionary: most as u64 });
    }
    if wrong.is_empty() {
        return Ok(codes);
    }
    let mut mended = codes.to_vec();
    wrong.into_iter().for_each(|slot| mended[slot] = T::zeroed());
    Ok(mended.into())
}

impl<A: Arrow, O: Offset + OffsetSizeTrait> Arrow for List<A, O> {
    fn export(&self, around: Outgoing) -> ArrayRef {
        let inner = Outgoing { logical: around.logical, ..Outgoing::default() };
        let child = self.child().export(inner);
        let field = field("item", &child, self.child().is_nullable());
        let offsets = outgoing::list_offsets(self);
        Arc::new(GenericListArray::<O>::new(Arc::new(field), offsets, child, around.nulls))
    }

    fn import(from: Incoming<'_>) -> Result<Self, ArrayError> {
        let kind = Kind::List(O::WIDTH);
        let field = match from.data_type() {
            DataType::List(field) | DataType::Map(field, _) if !O::IS_LARGE => field,
            DataType::LargeList(field) if O::IS_LARGE => field,
            _ => return Err(from.is_not(kind)),
        };
        from.all_there(kind)?;
        Self::new(from.offsets()?, from.child(0, field.is_nullable())?)
    }
}

impl Arrow for Struct {
    fn export(&self, around: Outgoing) -> ArrayRef {
        Arc::new(struct_array(self, around))
    }

    fn import(from: Incoming<'_>) -> Result<Self, ArrayError> {
        let DataType::Struct(fields) = from.data_type() else {
            return Err(from.is_not(Kind::Struct));
        };
        from.all_there(Kind::Struct)?;
        let columns = fields.iter().enumerate().map(|(at, field)| {
            let logical = logical::logical(field.data_type());
            let column = from.child_slots(at, field.is_nullable())?;
            Ok((Field::new(field.name()).with_logical(logical), column))
        });
        Self::new(columns.collect::<Result<Vec<_>, ArrayError>>()?)
    }
}

/// The columns as Arrow's.
pub(super) fn struct_array(columns: &Struct, around: Outgoing) -> StructArray {
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    for (of, column) in columns.fields().iter().zip(columns.columns()) {
        let array = column.export(Outgoing { logical: of.logical(), ..Outgoing::default() });
        fields.push(field(of.name(), &array, column.is_nullable()));
        arrays.push(array);
    }
    let made = StructArray::try_new_with_length(fields.into(), arrays, around.nulls, columns.len());
    made.expect("columns of one length, each as its field says")
}

/// A field of Arrow's for `array`.
fn field(name: &str, array: &ArrayRef, nullable: bool) -> ArrowField {
    let data_type = array.data_type().clone();
    let nullable = nullable || is_null(&data_type);
    ArrowField::new(name, data_type, nullable)
}

/// Whether Arrow takes all slots for missing.
fn is_null(data_type: &DataType) -> bool {
    match data_type {
        DataType::Null => true,
        DataType::Dictionary(_, values) => is_null(values),
        _ => false,
    }
}
