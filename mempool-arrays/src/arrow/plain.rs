//! Values, bits, units and missing slots, to and from Arrow.

use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, Decimal128Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    ArrayRef, BooleanArray, FixedSizeBinaryArray, NullArray, PrimitiveArray, StructArray,
};
use arrow_buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use arrow_schema::{DataType, IntervalUnit};

use crate::arrow::{Arrow, Incoming, Outgoing, share};
use crate::bits::Bits;
use crate::description::{Kind, Primitive};
use crate::element::{Element, ElementType};
use crate::error::ArrayError;
use crate::layout::Layout;
use crate::nullable::Nullable;
use crate::units::Units;
use crate::values::Values;

/// What Arrow's elements of a type are, as they lie in memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Storage {
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
    fn of_type(data_type: &DataType) -> Option<Self> {
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
        let nulls = around.nulls;
        let number = match Storage::of_element(T::TYPE) {
            Storage::Bytes(bytes) => {
                let bytes = i32::try_from(bytes).expect("a record of at most 1 MiB");
                let values = share(self.buffer());
                return Arc::new(FixedSizeBinaryArray::new(bytes, values, nulls));
            }
            Storage::Number(number) => number,
        };
        match number {
            Primitive::I8 => numbers::<Int8Type, T>(self, nulls),
            Primitive::I16 => numbers::<Int16Type, T>(self, nulls),
            Primitive::I32 => numbers::<Int32Type, T>(self, nulls),
            Primitive::I64 => numbers::<Int64Type, T>(self, nulls),
            Primitive::I128 => {
                let decimals = PrimitiveArray::<Decimal128Type>::new(scalars(self), nulls);
                let integers = decimals.with_data_type(DataType::Decimal128(38, 0));
                Arc::new(integers)
            }
            Primitive::U8 => numbers::<UInt8Type, T>(self, nulls),
            Primitive::U16 => numbers::<UInt16Type, T>(self, nulls),
            Primitive::U32 => numbers::<UInt32Type, T>(self, nulls),
            Primitive::U64 => numbers::<UInt64Type, T>(self, nulls),
            Primitive::F16 => numbers::<Float16Type, T>(self, nulls),
            Primitive::F32 => numbers::<Float32Type, T>(self, nulls),
            Primitive::F64 => numbers::<Float64Type, T>(self, nulls),
            Primitive::U128 | Primitive::Complex32 | Primitive::Complex64 => {
                unreachable!("they are stored as bytes")
            }
        }
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

fn numbers<P: ArrowPrimitiveType, T: Element>(
    values: &Values<T>,
    nulls: Option<NullBuffer>,
) -> ArrayRef {
    Arc::new(PrimitiveArray::<P>::new(scalars(values), nulls))
}

fn scalars<N: arrow_buffer::ArrowNativeType, T: Element>(values: &Values<T>) -> ScalarBuffer<N> {
    ScalarBuffer::new(share(values.buffer()), 0, values.len())
}

/// The bits as Arrow's.
fn booleans(bits: &Bits) -> BooleanBuffer {
    let (bytes, first) = bits.buffer();
    BooleanBuffer::new(share(bytes), first, bits.len())
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
        let nulls = self.validity().map(|bits| NullBuffer::new(booleans(bits)));
        let nulls = match around.nulls {
            None => nulls,
            Some(around) => NullBuffer::union(Some(&around), nulls.as_ref()),
        };
        self.values().export(Outgoing { nullable: true, nulls })
    }

    fn import(from: Incoming<'_>) -> Result<Self, ArrayError> {
        let (validity, values) = from.take_nulls()?;
        Self::new(A::import(values)?, validity)
    }

    fn is_nullable(&self) -> bool {
        true
    }
}
