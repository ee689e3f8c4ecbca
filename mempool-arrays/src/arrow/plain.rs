//! Values, bits, units and missing slots, to and from Arrow.

use std::sync::Arc;

use arrow_array::types as t;
use arrow_array::types::ArrowPrimitiveType;
use arrow_array::{
    ArrayRef, BooleanArray, FixedSizeBinaryArray, NullArray, PrimitiveArray, StructArray,
};
use arrow_buffer::{NullBuffer, ScalarBuffer};
use arrow_schema::{DataType, IntervalUnit, TimeUnit};
use mempool_core::{Buffer, type_tag};

use crate::arrow::handed::share;
use crate::arrow::outgoing::{self, booleans};
use crate::arrow::{Arrow, Incoming, Outgoing, logical};
use crate::bits::Bits;
use crate::description::{Kind, Primitive};
use crate::element::{Element, ElementType};
use crate::error::ArrayError;
use crate::layout::{Layout, tag_over};
use crate::nullable::Nullable;
use crate::plain::Plain;
use crate::units::Units;
use crate::values::Values;

/// What Arrow's elements of a type are, as they lie in memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Storage {
    Number(Primitive),
    /// So many bytes that are no number of ours.
    Bytes(usize),
}

impl Storage {
    /// How Arrow stores our elements.
    fn of_element(element: ElementType) -> Self {
        use Primitive::{Complex32, Complex64, U128};
        match element {
            ElementType::Primitive(U128 | Complex32 | Complex64) | ElementType::Record { .. } => {
                Self::Bytes(element.bytes())
            }
            ElementType::Primitive(primitive) => Self::Number(primitive),
        }
    }

    /// How Arrow stores elements of that type; `None` when they are not of a fixed number of bytes.
    pub(super) fn of_type(data_type: &DataType) -> Option<Self> {
        use DataType as D;
        Some(match data_type {
            D::Int8 => Self::Number(Primitive::I8),
            D::Int16 => Self::Number(Primitive::I16),
            D::Int32
            | D::Date32
            | D::Time32(_)
            | D::Interval(IntervalUnit::YearMonth)
            | D::Decimal32(..) => Self::Number(Primitive::I32),
            D::Int64
            | D::Date64
            | D::Time64(_)
            | D::Timestamp(..)
            | D::Duration(_)
            | D::Decimal64(..) => Self::Number(Primitive::I64),
            D::Decimal128(..) => Self::Number(Primitive::I128),
            D::UInt8 => Self::Number(Primitive::U8),
            D::UInt16 => Self::Number(Primitive::U16),
            D::UInt32 => Self::Number(Primitive::U32),
            D::UInt64 => Self::Number(Primitive::U64),
            D::Float16 => Self::Number(Primitive::F16),
            D::Float32 => Self::Number(Primitive::F32),
            D::Float64 => Self::Number(Primitive::F64),
            D::FixedSizeBinary(bytes) => Self::Bytes(usize::try_from(*bytes).ok()?),
            D::Interval(_) | D::Decimal256(..) => Self::Bytes(data_type.primitive_width()?),
            _ => return None,
        })
    }
}

impl<T: Element> Arrow for Values<T> {
    fn export(&self, around: Outgoing) -> ArrayRef {
        export(T::TYPE, self.buffer(), around)
    }

    fn import(from: Incoming<'_>) -> Result<Self, ArrayError> {
        let kind = Kind::Values(T::TYPE);
        if Storage::of_type(from.data_type()) != Some(Storage::of_element(T::TYPE)) {
            return Err(from.is_not(kind));
        }
        from.all_there(kind)?;
        Self::from_buffer(from.elements("values", 0, size_of::<T>(), 0)?)
    }
}

impl Plain {
    pub(super) fn export(&self, around: Outgoing) -> ArrayRef {
        export(self.element_type(), self.buffer(), around)
    }

    /// Elements of the type that Arrow says; bytes that are no number of ours are `[u8; N]`.
    pub(super) fn import(from: &Incoming<'_>, storage: Storage) -> Result<Self, ArrayError> {
        let element = match storage {
            Storage::Number(number) => ElementType::Primitive(number),
            Storage::Bytes(bytes) => {
                // As `[u8; N]` implements `Element`, within the same bounds.
                let bytes = u32::try_from(bytes).ok().filter(|bytes| (1..=1 << 20).contains(bytes));
                let bytes = bytes.ok_or_else(|| {
                    ArrayError::description(format!("elements of {}", from.data_type()))
                })?;
                ElementType::Record { bytes, align: 1, tag: tag_over("array", type_tag("u8")) }
            }
        };
        from.all_there(Kind::Values(element))?;
        let bytes = from.elements("values", 0, element.bytes(), 0)?;
        Self::from_buffer(element, bytes)
    }
}

fn export(element: ElementType, bytes: &Buffer, around: Outgoing) -> ArrayRef {
    let Outgoing { nulls, logical, .. } = around;
    let number = match Storage::of_element(element) {
        Storage::Bytes(each) => {
            let each = i32::try_from(each).expect("a record of at most 1 MiB");
            return Arc::new(FixedSizeBinaryArray::new(each, share(bytes), nulls));
        }
        Storage::Number(number) => number,
    };
    let meaning = logical::data_type(number, logical);
    match number {
        Primitive::I8 => numbers::<t::Int8Type>(bytes, nulls, None),
        Primitive::I16 => numbers::<t::Int16Type>(bytes, nulls, None),
        Primitive::I32 => match meaning {
            Some(DataType::Date32) => numbers::<t::Date32Type>(bytes, nulls, None),
            Some(DataType::Time32(TimeUnit::Second)) => {
                numbers::<t::Time32SecondType>(bytes, nulls, None)
            }
            Some(DataType::Time32(_)) => numbers::<t::Time32MillisecondType>(bytes, nulls, None),
            Some(decimal) => numbers::<t::Decimal32Type>(bytes, nulls, Some(decimal)),
            None => numbers::<t::Int32Type>(bytes, nulls, None),
        },
        Primitive::I64 => match meaning {
            Some(DataType::Date64) => numbers::<t::Date64Type>(bytes, nulls, None),
            Some(DataType::Time64(TimeUnit::Nanosecond)) => {
                numbers::<t::Time64NanosecondType>(bytes, nulls, None)
            }
            Some(DataType::Time64(_)) => numbers::<t::Time64MicrosecondType>(bytes, nulls, None),
            Some(DataType::Timestamp(unit, zone)) => timestamps(unit, zone, bytes, nulls),
            Some(DataType::Duration(unit)) => durations(unit, bytes, nulls),
            Some(decimal) => numbers::<t::Decimal64Type>(bytes, nulls, Some(decimal)),
            None => numbers::<t::Int64Type>(bytes, nulls, None),
        },
        Primitive::I128 => {
            let decimal = meaning.unwrap_or(DataType::Decimal128(38, 0));
            numbers::<t::Decimal128Type>(bytes, nulls, Some(decimal))
        }
        Primitive::U8 => numbers::<t::UInt8Type>(bytes, nulls, None),
        Primitive::U16 => numbers::<t::UInt16Type>(bytes, nulls, None),
        Primitive::U32 => numbers::<t::UInt32Type>(bytes, nulls, None),
        Primitive::U64 => numbers::<t::UInt64Type>(bytes, nulls, None),
        Primitive::F16 => numbers::<t::Float16Type>(bytes, nulls, None),
        Primitive::F32 => numbers::<t::Float32Type>(bytes, nulls, None),
        Primitive::F64 => numbers::<t::Float64Type>(bytes, nulls, None),
        Primitive::U128 | Primitive::Complex32 | Primitive::Complex64 => {
            unreachable!("they are stored as bytes")
        }
    }
}

fn timestamps(
    unit: TimeUnit,
    zone: Option<Arc<str>>,
    bytes: &Buffer,
    nulls: Option<NullBuffer>,
) -> ArrayRef {
    let data_type = Some(DataType::Timestamp(unit, zone));
    match unit {
        TimeUnit::Second => numbers::<t::TimestampSecondType>(bytes, nulls, data_type),
        TimeUnit::Millisecond => numbers::<t::TimestampMillisecondType>(bytes, nulls, data_type),
        TimeUnit::Microsecond => numbers::<t::TimestampMicrosecondType>(bytes, nulls, data_type),
        TimeUnit::Nanosecond => numbers::<t::TimestampNanosecondType>(bytes, nulls, data_type),
    }
}

fn durations(unit: TimeUnit, bytes: &Buffer, nulls: Option<NullBuffer>) -> ArrayRef {
    match unit {
        TimeUnit::Second => numbers::<t::DurationSecondType>(bytes, nulls, None),
        TimeUnit::Millisecond => numbers::<t::DurationMillisecondType>(bytes, nulls, None),
        TimeUnit::Microsecond => numbers::<t::DurationMicrosecondType>(bytes, nulls, None),
        TimeUnit::Nanosecond => numbers::<t::DurationNanosecondType>(bytes, nulls, None),
    }
}

/// Numbers of Arrow's type `P`, or of a type that differs from it by what it is made with.
fn numbers<P: ArrowPrimitiveType>(
    bytes: &Buffer,
    nulls: Option<NullBuffer>,
    data_type: Option<DataType>,
) -> ArrayRef {
    let slots = bytes.len() / size_of::<P::Native>();
    let aligned = bytes.as_ptr().addr().is_multiple_of(align_of::<P::Native>());
    // A column of a frame that somebody else has aligned may lie anywhere; Arrow does not take that.
    let values = if aligned { share(bytes) } else { arrow_buffer::Buffer::from(&bytes[..]) };
    let array = PrimitiveArray::<P>::new(ScalarBuffer::new(values, 0, slots), nulls);
    match data_type {
        Some(data_type) => Arc::new(array.with_data_type(data_type)),
        None => Arc::new(array),
    }
}

impl Arrow for Bits {
    fn export(&self, around: Outgoing) -> ArrayRef {
        Arc::new(BooleanArray::new(booleans(self), around.nulls))
    }

    fn import(from: Incoming<'_>) -> Result<Self, ArrayError> {
        if *from.data_type() != DataType::Boolean {
            return Err(from.is_not(Kind::Bits));
        }
        from.all_there(Kind::Bits)?;
        Self::from_buffer(from.buffer(0)?, from.first(), from.len())
    }
}

impl Arrow for Units {
    fn export(&self, around: Outgoing) -> ArrayRef {
        // In Arrow a null array has no values at all; a struct without fields has one a slot, which may be missing.
        match around.nullable {
            false => Arc::new(NullArray::new(self.len())),
            true => Arc::new(StructArray::new_empty_fields(self.len(), around.nulls)),
        }
    }

    fn import(from: Incoming<'_>) -> Result<Self, ArrayError> {
        match from.data_type() {
            DataType::Null => {}
            DataType::Struct(fields) if fields.is_empty() => from.all_there(Kind::Units)?,
            _ => return Err(from.is_not(Kind::Units)),
        }
        Ok(Self::new(from.len()))
    }
}

impl<A: Arrow> Arrow for Nullable<A> {
    fn export(&self, around: Outgoing) -> ArrayRef {
        let nulls = outgoing::nulls(self);
        let nulls = match around.nulls {
            None => nulls,
            Some(outer) => NullBuffer::union(Some(&outer), nulls.as_ref()),
        };
        self.values().export(Outgoing { nullable: true, nulls, ..around })
    }

    fn import(from: Incoming<'_>) -> Result<Self, ArrayError> {
        let (validity, values) = from.take_nulls()?;
        Self::new(A::import(values)?, validity)
    }

    fn is_nullable(&self) -> bool {
        true
    }
}
