//! Plain data whose type is known at run time: what a column has of numbers and records.

use std::cmp::Ordering;

use bytemuck::{Pod, Zeroable, pod_read_unaligned};
use mempool_core::{Buffer, Result};

use crate::description::{Kind, Node, Primitive};
use crate::element::{Element, ElementType};
use crate::error::ArrayError;
use crate::layout::{Growing, Meter};
use crate::part::{Assembly, Parts, check_length, slots};
use crate::value::Value;
use crate::values::adopt;

/// Elements of one type, end to end.
#[derive(Clone, Debug)]
pub(crate) struct Plain {
    element: ElementType,
    /// A whole number of elements: every constructor sees to that.
    bytes: Buffer,
}

impl Plain {
    pub(crate) fn assemble(from: &mut Assembly<'_, '_>) -> Result<Self, ArrayError> {
        let node = from.peek()?;
        let Kind::Values(element) = node.kind else {
            return Err(ArrayError::Kind {
                expected: Kind::Values(ElementType::Primitive(Primitive::U8)).into(),
                found: node.kind.into(),
            });
        };
        let (node, slots) = (from.expect(node.kind, 0)?.0, slots(&node)?);
        if element.bytes() == 0 {
            return Err(ArrayError::description(format!("{} of no bytes", node.kind)));
        }
        let bytes = from.section()?;
        check_length("values", slots, slots.checked_mul(element.bytes()), &bytes)?;
        Ok(Self { element, bytes })
    }

    /// Elements that somebody else has made.
    #[cfg(feature = "arrow")]
    pub(crate) fn from_buffer(element: ElementType, bytes: Buffer) -> Result<Self, ArrayError> {
        let slots = bytes.len() / element.bytes();
        check_length("values", slots, slots.checked_mul(element.bytes()), &bytes)?;
        Ok(Self { element, bytes })
    }

    #[cfg(feature = "arrow")]
    pub(crate) fn element_type(&self) -> ElementType {
        self.element
    }

    pub(crate) fn kind(&self) -> Kind {
        Kind::Values(self.element)
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() / self.element.bytes()
    }

    pub(crate) fn slice(&self, range: std::ops::Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len(), "{range:?} of an array");
        let size = self.element.bytes();
        Self {
            element: self.element,
            bytes: self.bytes.slice(range.start * size..range.end * size),
        }
    }

    /// The bytes of an element; `None` behind the last.
    fn element(&self, index: usize) -> Option<&[u8]> {
        let size = self.element.bytes();
        let start = index.checked_mul(size)?;
        self.bytes.get(start..start.checked_add(size)?)
    }

    pub(crate) fn get(&self, index: usize) -> Option<Value<'_>> {
        self.element(index).map(|bytes| value_of(self.element, bytes))
    }

    pub(crate) fn take_apart(&self, parts: &mut Parts<'_>) {
        parts.node(Node::new(self.kind(), self.len()));
        parts.section(self.bytes.clone());
    }

    pub(crate) fn buffer(&self) -> &Buffer {
        &self.bytes
    }

    pub(crate) fn buffer_mut(&mut self) -> &mut Buffer {
        &mut self.bytes
    }

    pub(crate) fn take(&self, slots: &[usize], meter: &mut dyn Meter) -> Result<Self> {
        let bytes = match self.element.bytes() {
            1 => self.take_as::<u8>(slots, meter),
            2 => self.take_as::<u16>(slots, meter),
            4 => self.take_as::<u32>(slots, meter),
            8 => self.take_as::<u64>(slots, meter),
            16 => self.take_as::<u128>(slots, meter),
            size => {
                let mut taken = aligned_room(slots.len().saturating_mul(size), meter)?;
                slots.iter().for_each(|&slot| taken.extend(self.at(slot)));
                Ok(taken.into_buffer())
            }
        };
        Ok(Self { element: self.element, bytes: bytes? })
    }

    /// The same for elements as wide as a `T`, in memory that is aligned for one.
    fn take_as<T: Element>(&self, slots: &[usize], meter: &mut dyn Meter) -> Result<Buffer> {
        let mut taken = Growing::default();
        taken.reserve_exact(slots.len(), meter)?;
        taken.0.extend(slots.iter().map(|&slot| pod_read_unaligned::<T>(self.at(slot))));
        Ok(adopt(taken.0))
    }

    fn at(&self, slot: usize) -> &[u8] {
        self.element(slot).unwrap_or_else(|| panic!("slot {slot} of {}", self.len()))
    }

    /// Arrays of one element type end to end.
    pub(crate) fn concat(arrays: &[&Self], meter: &mut dyn Meter) -> Result<Self> {
        let element = arrays.first().map_or(ElementType::Primitive(Primitive::U8), |a| a.element);
        let mut all = aligned_room(arrays.iter().map(|array| array.bytes.len()).sum(), meter)?;
        arrays.iter().for_each(|array| all.extend(&array.bytes));
        Ok(Self { element, bytes: all.into_buffer() })
    }
}

/// Bytes in memory that is aligned for every number and every record.
struct AlignedRoom {
    lines: Vec<Line>,
    len: usize,
}

/// As many bytes as the most aligned record may ask to be aligned to.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

impl Element for Line {
    const TYPE: ElementType = ElementType::record::<Self>("line");
}

fn aligned_room(bytes: usize, meter: &mut dyn Meter) -> Result<AlignedRoom> {
    let mut lines = Growing::default();
    lines.reserve_exact(bytes.div_ceil(size_of::<Line>()), meter)?;
    lines.0.resize(bytes.div_ceil(size_of::<Line>()), Line::zeroed());
    Ok(AlignedRoom { lines: lines.0, len: 0 })
}

impl AlignedRoom {
    fn extend(&mut self, bytes: &[u8]) {
        let all: &mut [u8] = bytemuck::cast_slice_mut(&mut self.lines);
        all[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn into_buffer(self) -> Buffer {
        adopt(self.lines).slice(..self.len)
    }
}

/// What the bytes of one element show.
fn value_of(element: ElementType, bytes: &[u8]) -> Value<'_> {
    fn read<T: Pod>(bytes: &[u8]) -> T {
        pod_read_unaligned(bytes)
    }
    let ElementType::Primitive(primitive) = element else { return Value::Record(bytes) };
    match primitive {
        Primitive::I8 => Value::Int(read::<i8>(bytes).into()),
        Primitive::I16 => Value::Int(read::<i16>(bytes).into()),
        Primitive::I32 => Value::Int(read::<i32>(bytes).into()),
        Primitive::I64 => Value::Int(read::<i64>(bytes).into()),
        Primitive::I128 => Value::Int(read::<i128>(bytes)),
        Primitive::U8 => Value::Int(read::<u8>(bytes).into()),
        Primitive::U16 => Value::Int(read::<u16>(bytes).into()),
        Primitive::U32 => Value::Int(read::<u32>(bytes).into()),
        Primitive::U64 => Value::Int(read::<u64>(bytes).into()),
        Primitive::U128 => match i128::try_from(read::<u128>(bytes)) {
            Ok(small) => Value::Int(small),
            Err(_) => Value::Large(read(bytes)),
        },
        Primitive::F16 => Value::Float(half_to_f64(read(bytes))),
        Primitive::F32 => Value::Float(read::<f32>(bytes).into()),
        Primitive::F64 => Value::Float(read(bytes)),
        Primitive::Complex32 => {
            let [re, im] = read::<[f32; 2]>(bytes);
            Value::Complex([re.into(), im.into()])
        }
        Primitive::Complex64 => Value::Complex(read(bytes)),
    }
}

/// A half-precision float (IEEE 754 binary16), widened without loss.
fn half_to_f64(bits: u16) -> f64 {
    let (sign, exponent, fraction) = (bits >> 15, bits >> 10 & 0x1f, bits & 0x3ff);
    let magnitude = match exponent {
        0 => f64::from(fraction) * 2_f64.powi(-24),
        0x1f if fraction == 0 => f64::INFINITY,
        // The payload moves to the top of the wider fraction.
        0x1f => f64::from_bits(0x7ff << 52 | u64::from(fraction) << 42),
        _ => (1.0 + f64::from(fraction) / 1024.0) * 2_f64.powi(i32::from(exponent) - 15),
    };
    if sign == 1 { -magnitude } else { magnitude }
}

/// Which of two complex numbers comes first: by the real part, then by the imaginary one.
pub(crate) fn order_complex(a: [f64; 2], b: [f64; 2]) -> Ordering {
    a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1]))
}

#[cfg(test)]
mod tests {
    use super::half_to_f64;

    #[test]
    fn halves_are_widened_exactly() {
        let cases = [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 2_f64.powi(-24)),
        ];
        for (bits, value) in cases {
            assert_eq!(half_to_f64(bits), value);
        }
        assert_eq!(half_to_f64(0xfc00), f64::NEG_INFINITY);
        assert!(half_to_f64(0x7e01).is_nan() && half_to_f64(0x8000).is_sign_negative());
    }
}
