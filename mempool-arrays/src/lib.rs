//! Arrays and tables with raw layouts: written to disk as they lie in memory, and read back as views of the map.
//!
//! | layout | a slot shows | sections at rest |
//! | --- | --- | --- |
//! | [`Values<T>`] | `T`: a number, or a record of plain data | elements |
//! | [`Bits`] | `bool` | bits |
//! | [`Units`] | `()` | none |
//! | [`Strings`] | `&str` | offsets, bytes |
//! | [`Binary`] | `&[u8]` | offsets, bytes |
//! | [`Nullable<A>`] | `Option` of what `A` shows | validity bits; those of `A` |
//! | [`Pooled<A>`] | what `A`, the dictionary, shows | codes; those of `A` |
//! | [`List<A>`] | `A`, a slice of the child | offsets; those of `A` |
//! | [`NdArray<T>`] | `NdArray<T>` of one dimension less | extents, strides; elements |
//! | [`Struct`] | [`Row`] | those of its columns |
//! | [`Table`] | [`Row`], sorted by index columns | those of its columns |
//! | [`Column`] | [`Value`]: of a type known at run time | those of what it is |
//!
//! Buffers are bit-compatible with Apache Arrow's. Layouts nest: each has a [`Builder`], checked constructors from buffers
//! that somebody else has made, and slices that copy nothing. In a pool they live with the codec [`Raw`].
//!
//! ```text
//! a value at rest:  ┌────────┬─────────────┬──────────────┬─────────┬───┐
//!                   │ header │ description │ section      │ section │ … │   each section at a multiple of 64 bytes
//!                   └────────┴─────────────┴──────────────┴─────────┴───┘
//! ```
//!
//! ```
//! use mempool_arrays::{Layout, Raw, Strings};
//! use mempool_core::PoolOptions;
//!
//! let pool = PoolOptions::new().memory_limit(1 << 20).open(Raw);
//! let cities: Strings = ["Ushuaia", "Reykjavík"].into_iter().collect();
//! let cities = pool.set(cities)?;
//! let view = pool.get(&cities)?;
//! assert_eq!(view.get(1), Some("Reykjavík"));
//! # Ok::<(), mempool_core::Error>(())
//! ```

#[cfg(target_endian = "big")]
compile_error!("raw layouts are little-endian, as they lie in memory");

macro_rules! mutant {
    ($name:literal) => {{
        #[cfg(feature = "mutants")]
        let on = mempool_core::mutant_is_on($name);
        #[cfg(not(feature = "mutants"))]
        let on = false;
        on
    }};
}

#[cfg(feature = "arrow")]
pub mod arrow;
mod bits;
mod built;
mod column;
mod description;
mod element;
mod error;
mod field;
mod layout;
mod list;
mod merging;
mod nd;
#[cfg(feature = "ndarray_0_17")]
mod ndarray;
mod nullable;
mod offsets;
mod part;
mod plain;
mod pooled;
mod raw;
mod stored;
mod stored_table;
mod string;
mod structs;
mod table;
mod units;
mod value;
mod values;
mod walk;

#[cfg(feature = "arrow")]
pub use arrow::Arrow;
pub use bits::{Bits, BitsBuilder};
pub use column::Column;
pub use description::{Kind, Node, Primitive, Width};
pub use element::{Element, ElementType};
pub use error::{ArrayError, Shown};
pub use field::{Field, Logical, TimeUnit};
pub use layout::{Buildable, Builder, Layout, Meter, Rearrange, Replacing, Unmetered, tag_over};
pub use list::{List, ListBuilder};
pub use nd::{DIMENSIONS_MAX, NdArray};
pub use nullable::{Nullable, NullableBuilder};
pub use offsets::Offset;
pub use part::{Assembly, Parts};
pub use pooled::{Codes, Pooled, PooledBuilder};
pub use raw::{Held, Raw, pack};
pub use stored::Stored;
pub use stored_table::StoredTable;
pub use string::{Binary, BinaryBuilder, Strings, StringsBuilder};
pub use structs::{Row, Struct};
pub use table::Table;
pub use units::{Units, UnitsBuilder};
pub use value::Value;
pub use values::{Values, ValuesBuilder};
pub use walk::Elements;
