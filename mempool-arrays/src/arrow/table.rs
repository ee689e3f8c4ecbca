//! Columns and tables, to and from Arrow.

use arrow_array::{Array as _, ArrayRef, RecordBatch, StructArray};
use arrow_schema::DataType;
use mempool_core::Result;

use crate::arrow::plain::Storage;
use crate::arrow::{Arrow, Incoming, Memory, Outgoing, nested};
use crate::column::{Array, Column};
use crate::error::{ArrayError, Shown};
use crate::plain::Plain;
use crate::structs::Struct;
use crate::table::Table;

impl Arrow for Column {
    fn export(&self, around: Outgoing) -> ArrayRef {
        match &self.array {
            Array::Plain(plain) => plain.export(around),
            Array::Bits(bits) => bits.export(around),
            Array::Units(units) => units.export(around),
            Array::Strings32(strings) => strings.export(around),
            Array::Strings64(strings) => strings.export(around),
            Array::Binary32(binary) => binary.export(around),
            Array::Binary64(binary) => binary.export(around),
            Array::Nullable(nullable) => nullable.export(around),
            Array::Pooled(pooled) => pooled.export(around),
            Array::List32(list) => list.export(around),
            Array::List64(list) => list.export(around),
            Array::Struct(columns) => columns.export(around),
        }
    }

    fn import(from: Incoming<'_>) -> Result<Self, ArrayError> {
        use DataType as D;
        let array = match from.data_type() {
            _ if from.may_miss() => Array::Nullable(Box::new(Arrow::import(from)?)),
            D::Null => Array::Units(Arrow::import(from)?),
            D::Boolean => Array::Bits(Arrow::import(from)?),
            D::Utf8 => Array::Strings32(Arrow::import(from)?),
            D::LargeUtf8 | D::Utf8View => Array::Strings64(Arrow::import(from)?),
            D::Binary => Array::Binary32(Arrow::import(from)?),
            D::LargeBinary | D::BinaryView => Array::Binary64(Arrow::import(from)?),
            D::Dictionary(..) => Array::Pooled(Box::new(Arrow::import(from)?)),
            D::List(_) | D::Map(..) => Array::List32(Box::new(Arrow::import(from)?)),
            D::LargeList(_) => Array::List64(Box::new(Arrow::import(from)?)),
            D::Struct(fields) if fields.is_empty() => Array::Units(Arrow::import(from)?),
            D::Struct(_) => Array::Struct(Arrow::import(from)?),
            other => match Storage::of_type(other) {
                Some(storage) => Array::Plain(Plain::import(&from, storage)?),
                None => {
                    let found = Shown(other.to_string());
                    return Err(ArrayError::Kind { expected: Shown("a column".to_owned()), found });
                }
            },
        };
        Ok(Self { array })
    }

    fn is_nullable(&self) -> bool {
        match &self.array {
            Array::Nullable(_) => true,
            Array::Pooled(pooled) => pooled.is_nullable(),
            _ => false,
        }
    }
}

impl Table {
    /// The table as a batch of Arrow's, sharing its buffers. Logical types become Arrow's; the index goes unsaid.
    ///
    /// ```
    /// use mempool_arrays::{Column, Table, Values};
    ///
    /// let table = Table::new([("price", Column::of(&Values::from(vec![10_i64, 30])))])?;
    /// let batch = table.to_record_batch();
    /// assert_eq!((batch.num_rows(), batch.schema().field(0).name().as_str()), (2, "price"));
    /// assert_eq!(Table::from_record_batch(&batch)?, table);
    /// # Ok::<(), mempool_core::Error>(())
    /// ```
    #[must_use]
    pub fn to_record_batch(&self) -> RecordBatch {
        nested::struct_array(self.as_struct(), Outgoing::default()).into()
    }

    /// The table that a batch of Arrow's is, sharing its buffers, which are on the heap. It has no index:
    /// [`sort_by`](Self::sort_by) gives it one, and copies nothing when the rows are in that order already.
    ///
    /// A column that may miss slots, as its field says, is a nullable one, whether or not any is missing.
    ///
    /// # Errors
    /// As [`Arrow::from_arrow`], and [`ArrayError::Duplicate`] when two columns have one name.
    pub fn from_record_batch(batch: &RecordBatch) -> Result<Self> {
        let data = StructArray::from(batch.clone()).to_data();
        let columns = Struct::from_arrow_data(&data, Memory::Heap);
        Ok(Self::from_struct(columns.map_err(ArrayError::of::<Self>)?))
    }
}
