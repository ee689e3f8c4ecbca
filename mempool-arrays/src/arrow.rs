//! `Arrow`: arrays to and from Apache Arrow's, sharing memory.
//!
//! ```text
//!  Values<f64> ── to_arrow ──▶ Float64Array          Float64Array ── from_arrow ──▶ Values<f64>
//!      │                            │                     │                             │
//!      ▼                            ▼                     ▼                             ▼
//!   Buffer ◀─── owns, counted ── Buffer of Arrow's ◀── owns, charged by its capacity ── Buffer
//! ```
//!
//! The crates of Arrow are those of major version 60; they are re-exported here, so that a program can name the very types.
//!
//! | layout | to Arrow | from Arrow |
//! | --- | --- | --- |
//! | [`Values<T>`](crate::Values) of numbers | the number; `i128` as `Decimal128(38, 0)` | what is stored as that number: dates, times, timestamps and decimals, too |
//! | `Values<T>` of `u128`, complex numbers, records | `FixedSizeBinary` | that, and what else has elements of as many bytes and no number of ours |
//! | [`Bits`](crate::Bits) | `Boolean` | `Boolean` |
//! | [`Units`](crate::Units) | `Null`; where slots may be missing `Struct` without fields | both |
//! | [`Strings`](crate::Strings) | `Utf8` or `LargeUtf8`, by the width of offsets | that, and `Utf8View`, which is copied |
//! | [`Binary`](crate::Binary) | `Binary` or `LargeBinary` | that, and `BinaryView`, which is copied |
//! | [`Nullable<A>`](crate::Nullable) | as `A`, with a validity bitmap | as `A` |
//! | [`Pooled<A>`](crate::Pooled) | `Dictionary` with unsigned keys | `Dictionary` with keys of any width, signed or not |
//! | [`List<A>`](crate::List) | `List` or `LargeList`, by the width of offsets | that; a `Map` is a list of structs |
//! | [`Struct`](crate::Struct) | `Struct` | `Struct` |
//! | [`Column`](crate::Column) | as what it is | all of these; `FixedSizeBinary(N)` as values of `[u8; N]`, `Null` as units that are all missing |
//! | [`Table`](crate::Table) | [`RecordBatch`](crate::Table::to_record_batch) | [`RecordBatch`](crate::Table::from_record_batch) |
//!
//! *Out*: nothing is copied and no buffer allocated, but for the bitmap of an array that is nullable twice. The arrays of
//! Arrow hold the buffers, and what they hold of a pool stays counted, counts as a pin, and keeps its map, until they are
//! dropped.
//!
//! *In*: nothing is copied but views, and everything is checked, for an array of Arrow's may have been built unchecked:
//! offsets, that text is UTF-8, that no slot is missing where the layout has none. What lies below a missing slot is
//! checked with the rest, but for codes, which are mended in a copy when one there has no value. Slices are honoured,
//! whether they start at an element or at a bit.
//!
//! *Meaning*: the [logical type](crate::Logical) of a column is Arrow's type of its numbers, in dictionaries and lists, too.
//! Alone, an array is what it is stored as.
//!
//! *Charge*: what comes in is charged to a pool when it enters it, by the capacity of Arrow's allocation, once for all
//! buffers of one call that lie in it. What was handed out is known when it comes back, whole or in part: it is the same
//! buffer, charged once, and no copy of a map. Of others Arrow does not tell whether they are on the heap: [`Memory`] says it.
//!
//! *Files*: [`ArrowFileWriter`] and [`ArrowFile`] write and read Arrow's IPC files.
//!
//! The C Data Interface crosses to all other users of Arrow, whatever their version; an array that was handed out pays
//! back when they release it:
//!
//! ```
//! use mempool_arrays::arrow::{Arrow, Memory, arrow_array::{Array, ffi}};
//! use mempool_arrays::Strings;
//!
//! let cities: Strings = ["Ushuaia", "Reykjavík"].into_iter().collect();
//! let (array, schema) = ffi::to_ffi(&cities.to_arrow().to_data())?;
//! // Two C structs, which somebody else takes. Here he is this program:
//! // SAFETY: they came from `to_ffi`.
//! let data = unsafe { ffi::from_ffi(array, &schema) }?;
//! assert_eq!(Strings::<i64>::from_arrow_data(&data, Memory::Heap)?, cities);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod blocks;
mod file;
mod handed;
mod incoming;
mod logical;
mod nested;
mod outgoing;
mod plain;
mod table;
mod text;
mod writer;

pub use arrow_array;
pub use arrow_buffer;
pub use arrow_data;
pub use arrow_ipc;
pub use arrow_schema;

pub use file::ArrowFile;
pub use incoming::{Incoming, Memory};
pub use outgoing::Outgoing;
pub use writer::ArrowFileWriter;

use arrow_array::{Array, ArrayRef};
use arrow_data::ArrayData;

use crate::error::ArrayError;
use crate::layout::Layout;

/// A layout that Arrow has, too.
///
/// A layout of your own implements it from the layout that it is made of, handing on [`export`](Self::export) and
/// [`import`](Self::import).
///
/// ```
/// use mempool_arrays::arrow::{Arrow, arrow_array::{Array, Int32Array}};
/// use mempool_arrays::{Layout, Nullable, Values};
///
/// let array = Int32Array::from(vec![Some(7), None, Some(9)]);
/// let values = Nullable::<Values<i32>>::from_arrow(&array)?;
/// assert_eq!(values.get(1), Some(None));
/// assert_eq!(values.to_arrow().as_ref(), &array as &dyn Array);
/// # Ok::<(), mempool_arrays::ArrayError>(())
/// ```
pub trait Arrow: Layout {
    /// The array as Arrow's, with the missing slots of what is around it.
    ///
    /// # Panics
    /// When `around` has another number of slots.
    fn export(&self, around: Outgoing) -> ArrayRef;

    /// The array that Arrow's is.
    ///
    /// # Errors
    /// What is wrong with it. Never a panic.
    fn import(from: Incoming<'_>) -> Result<Self, ArrayError>;

    /// Whether slots may be missing.
    fn is_nullable(&self) -> bool {
        false
    }

    /// The array as Arrow's, sharing its buffers.
    fn to_arrow(&self) -> ArrayRef {
        self.export(Outgoing::default())
    }

    /// The array that Arrow's is, sharing its buffers, which are on the heap.
    ///
    /// # Errors
    /// [`ArrayError::Kind`] for an array of another type, [`ArrayError::Missing`] when slots are missing where the layout
    /// has none, and what else is wrong with the array.
    fn from_arrow(array: &dyn Array) -> Result<Self, ArrayError> {
        Self::from_arrow_data(&array.to_data(), Memory::Heap)
    }

    /// As [`from_arrow`](Self::from_arrow), of what is in memory of any kind, such as the C Data Interface brings.
    ///
    /// # Errors
    /// As [`from_arrow`](Self::from_arrow).
    fn from_arrow_data(data: &ArrayData, memory: Memory) -> Result<Self, ArrayError> {
        incoming::Part::of(data, memory)?.import()
    }
}
