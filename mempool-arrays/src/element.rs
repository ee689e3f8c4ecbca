//! What an element of a primitive array can be: numbers, and fixed-size records of plain data.

use std::cmp::Ordering;
use std::fmt;

use bytemuck::{Pod, bytes_of};
use mempool_core::type_tag;

use crate::description::Primitive;
use crate::layout::tag_over;

/// The type of an element as the description of an array names it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum ElementType {
    /// A number that other languages know, too.
    Primitive(Primitive),
    /// A record of the program's own.
    Record {
        /// Bytes of one record.
        bytes: u32,
        /// Where records may start.
        align: u32,
        /// A hash of the record's name, or of what an array repeats: two records of one size are two types.
        tag: u64,
    },
}

impl ElementType {
    /// The type of records `T` of that name.
    ///
    /// # Panics
    /// When a record has no bytes, more than 1 MiB, or an alignment of more than 64; in a `const` that is a compile error.
    #[must_use]
    pub const fn record<T>(name: &str) -> Self {
        Self::tagged::<T>(type_tag(name))
    }

    const fn tagged<T>(tag: u64) -> Self {
        assert!(size_of::<T>() > 0, "arrays of zero-sized elements are `Units`");
        assert!(size_of::<T>() <= 1 << 20 && align_of::<T>() <= 64, "a record of a sane size");
        #[expect(clippy::cast_possible_truncation, reason = "both were just bounded")]
        let (bytes, align) = (size_of::<T>() as u32, align_of::<T>() as u32);
        Self::Record { bytes, align, tag }
    }

    /// A tag of the type, the same in every build.
    pub(crate) const fn tag(self) -> u64 {
        match self {
            Self::Primitive(primitive) => type_tag(primitive.name()),
            Self::Record { bytes, align, tag } => {
                tag_over("record", tag ^ (bytes as u64) << 32 ^ align as u64)
            }
        }
    }

    /// Bytes of one element.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Primitive(primitive) => primitive.bytes(),
            Self::Record { bytes, .. } => bytes as usize,
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Primitive(primitive) => fmt::Display::fmt(primitive, f),
            Self::Record { bytes, tag, .. } => write!(f, "records {tag:016x} of {bytes} bytes"),
        }
    }
}

impl fmt::Debug for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Plain data that an array holds as it lies in memory.
///
/// Numbers and fixed-size byte arrays implement it here; a record of your own derives `bytemuck::Pod`, which is the proof
/// that every bit pattern is a value and no byte is padding, and says its name:
///
/// ```
/// use mempool_arrays::{Element, ElementType, Values};
///
/// #[derive(Clone, Copy, PartialEq, Debug, bytemuck::Pod, bytemuck::Zeroable)]
/// #[repr(C)]
/// struct Trade {
///     price: f64,
///     quantity: u32,
///     venue: u32,
/// }
///
/// impl Element for Trade {
///     const TYPE: ElementType = ElementType::record::<Self>("trade");
/// }
///
/// let trades = Values::from(vec![Trade { price: 9.5, quantity: 100, venue: 3 }]);
/// assert_eq!(trades[0].quantity, 100);
/// ```
pub trait Element: Pod + PartialEq + fmt::Debug + Send + Sync {
    /// What the description of an array calls it. Its size is the element's; a record's name must not change while there
    /// are files that hold it.
    const TYPE: ElementType;

    /// Which of two elements comes first: a total order, in which elements of other bits are never the same. Records are
    /// ordered by their bytes unless they say otherwise.
    fn order(&self, other: &Self) -> Ordering {
        bytes_of(self).cmp(bytes_of(other))
    }
}

macro_rules! elements {
    ($($type:ty => $name:ident by $order:expr),* $(,)?) => {
        $(
            impl Element for $type {
                const TYPE: ElementType = ElementType::Primitive(Primitive::$name);

                fn order(&self, other: &Self) -> Ordering {
                    let order: fn(&$type, &$type) -> Ordering = $order;
                    order(self, other)
                }
            }
        )*
    };
}

elements! {
    i8 => I8 by Ord::cmp, i16 => I16 by Ord::cmp, i32 => I32 by Ord::cmp,
    i64 => I64 by Ord::cmp, i128 => I128 by Ord::cmp,
    u8 => U8 by Ord::cmp, u16 => U16 by Ord::cmp, u32 => U32 by Ord::cmp,
    u64 => U64 by Ord::cmp, u128 => U128 by Ord::cmp,
    f32 => F32 by f32::total_cmp, f64 => F64 by f64::total_cmp,
}

#[cfg(feature = "half")]
elements! { half::f16 => F16 by half::f16::total_cmp }

#[cfg(feature = "complex")]
elements! {
    num_complex::Complex<f32> => Complex32
        by |a, b| a.re.total_cmp(&b.re).then(a.im.total_cmp(&b.im)),
    num_complex::Complex<f64> => Complex64
        by |a, b| a.re.total_cmp(&b.re).then(a.im.total_cmp(&b.im)),
}

/// Fixed-size elements, MemPool.jl's fixed-length strings and static vectors among them.
impl<T: Element, const N: usize> Element for [T; N]
where
    [T; N]: Pod,
{
    const TYPE: ElementType = ElementType::tagged::<Self>(tag_over("array", T::TYPE.tag()));

    /// Element by element.
    fn order(&self, other: &Self) -> Ordering {
        let pairs = self.iter().zip(other);
        pairs.map(|(a, b)| a.order(b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }
}
