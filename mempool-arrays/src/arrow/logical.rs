//! What numbers mean: logical types to and from the types of Arrow.

use arrow_schema::{DataType, TimeUnit as ArrowUnit};

use crate::arrow::plain::Storage;
use crate::description::Primitive;
use crate::field::{Logical, TimeUnit};

/// Arrow's type of numbers that are stored so and mean that; `None` when Arrow does not store it so.
pub(super) fn data_type(number: Primitive, logical: Logical) -> Option<DataType> {
    use DataType as D;
    let found = match logical {
        Logical::None => return None,
        Logical::Date => D::Date32,
        Logical::DateMillis => D::Date64,
        Logical::Timestamp { unit, utc } => D::Timestamp(to_arrow(unit), utc.then(|| "UTC".into())),
        Logical::Time(unit @ (TimeUnit::Second | TimeUnit::Millisecond)) => {
            D::Time32(to_arrow(unit))
        }
        Logical::Time(unit) => D::Time64(to_arrow(unit)),
        Logical::Duration(unit) => D::Duration(to_arrow(unit)),
        Logical::Decimal { precision, scale } => {
            let (found, most) = match number {
                Primitive::I32 => (D::Decimal32(precision, scale), 9),
                Primitive::I64 => (D::Decimal64(precision, scale), 18),
                _ => (D::Decimal128(precision, scale), 38),
            };
            let sane = (1..=most).contains(&precision)
                && scale.unsigned_abs() <= most
                && i16::from(scale) <= i16::from(precision);
            return (sane && Storage::of_type(&found) == Some(Storage::Number(number)))
                .then_some(found);
        }
    };
    (Storage::of_type(&found) == Some(Storage::Number(number))).then_some(found)
}

/// What the innermost numbers of a type of Arrow's mean. Of a time zone it is kept that there is one: then the numbers are
/// UTC.
pub(super) fn logical(data_type: &DataType) -> Logical {
    use DataType as D;
    match data_type {
        D::Date32 => Logical::Date,
        D::Date64 => Logical::DateMillis,
        D::Timestamp(unit, zone) => {
            Logical::Timestamp { unit: from_arrow(*unit), utc: zone.is_some() }
        }
        D::Time32(unit) | D::Time64(unit) => Logical::Time(from_arrow(*unit)),
        D::Duration(unit) => Logical::Duration(from_arrow(*unit)),
        // As integers of 128 bits go out.
        D::Decimal128(38, 0) => Logical::None,
        D::Decimal32(precision, scale)
        | D::Decimal64(precision, scale)
        | D::Decimal128(precision, scale) => {
            Logical::Decimal { precision: *precision, scale: *scale }
        }
        D::Dictionary(_, values) => logical(values),
        D::List(child) | D::LargeList(child) => logical(child.data_type()),
        _ => Logical::None,
    }
}

fn to_arrow(unit: TimeUnit) -> ArrowUnit {
    match unit {
        TimeUnit::Second => ArrowUnit::Second,
        TimeUnit::Millisecond => ArrowUnit::Millisecond,
        TimeUnit::Microsecond => ArrowUnit::Microsecond,
        TimeUnit::Nanosecond => ArrowUnit::Nanosecond,
    }
}

fn from_arrow(unit: ArrowUnit) -> TimeUnit {
    match unit {
        ArrowUnit::Second => TimeUnit::Second,
        ArrowUnit::Millisecond => TimeUnit::Millisecond,
        ArrowUnit::Microsecond => TimeUnit::Microsecond,
        ArrowUnit::Nanosecond => TimeUnit::Nanosecond,
    }
}
