//! `ResidentBytes`: how many heap bytes a value owns, exactly.

use mempool_core::DRef;

/// The heap bytes that a value owns: the sum of `Layout::size` of its allocations, itself not included.
///
/// Implemented for the types of std whose allocations are known to the byte. Maps and sets are not among them:
/// std does not say what they allocate. For a type of your own, add up its fields.
///
/// The pool takes the figure once and pays the same one back, so it must not change while the value is in the pool.
pub trait ResidentBytes {
    /// Whether dropping a value runs no code but std's own; then the last reference frees it at once.
    const PLAIN_DROP: bool = false;

    /// The heap bytes that it owns.
    fn resident_bytes(&self) -> u64;
}

macro_rules! owns_nothing {
    ($($type:ty),*) => {$(
        impl ResidentBytes for $type {
            const PLAIN_DROP: bool = true;

            fn resident_bytes(&self) -> u64 {
                0
            }
        }
    )*};
}

owns_nothing!(
    (),
    bool,
    char,
    u8,
    u16,
    u32,
    u64,
    u128,
    usize,
    i8,
    i16,
    i32,
    i64,
    i128,
    isize,
    f32,
    f64
);

/// A reference owns nothing of what it refers to; that is counted where it lies. Its drop may end the other value.
impl<T> ResidentBytes for DRef<T> {
    const PLAIN_DROP: bool = false;

    fn resident_bytes(&self) -> u64 {
        0
    }
}

impl ResidentBytes for String {
    const PLAIN_DROP: bool = true;

    fn resident_bytes(&self) -> u64 {
        self.capacity() as u64
    }
}

impl<T: ResidentBytes> ResidentBytes for Vec<T> {
    const PLAIN_DROP: bool = T::PLAIN_DROP;

    fn resident_bytes(&self) -> u64 {
        let own = (self.capacity() as u64).saturating_mul(size_of::<T>() as u64);
        sum(self).saturating_add(own)
    }
}

impl<T: ResidentBytes> ResidentBytes for Box<T> {
    const PLAIN_DROP: bool = T::PLAIN_DROP;

    fn resident_bytes(&self) -> u64 {
        (**self).resident_bytes().saturating_add(size_of::<T>() as u64)
    }
}

impl<T: ResidentBytes> ResidentBytes for Option<T> {
    const PLAIN_DROP: bool = T::PLAIN_DROP;

    fn resident_bytes(&self) -> u64 {
        self.as_ref().map_or(0, T::resident_bytes)
    }
}

impl<T: ResidentBytes, const N: usize> ResidentBytes for [T; N] {
    const PLAIN_DROP: bool = T::PLAIN_DROP;

    fn resident_bytes(&self) -> u64 {
        sum(self)
    }
}

fn sum<T: ResidentBytes>(items: &[T]) -> u64 {
    items.iter().fold(0, |sum, item| sum.saturating_add(item.resident_bytes()))
}

macro_rules! tuples {
    ($($($name:ident $index:tt),+;)+) => {$(
        impl<$($name: ResidentBytes),+> ResidentBytes for ($($name,)+) {
            const PLAIN_DROP: bool = $($name::PLAIN_DROP)&&+;

            fn resident_bytes(&self) -> u64 {
                [$(self.$index.resident_bytes()),+].iter().fold(0, |sum, item| sum.saturating_add(*item))
            }
        }
    )+};
}

tuples! {
    A 0;
    A 0, B 1;
    A 0, B 1, C 2;
    A 0, B 1, C 2, D 3;
    A 0, B 1, C 2, D 3, E 4;
    A 0, B 1, C 2, D 3, E 4, F 5;
}
