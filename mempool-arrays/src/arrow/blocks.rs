//! Blocks of an Arrow IPC file: a description, which is a flatbuffer, and a body in which the buffers of columns lie.
//!
//! Arrow's own reader is not asked, for it trusts what stands in a block to be whole, and panics where it is not. Here
//! buffers are cut out of the body within its bounds, and what they hold is checked as that of any array that comes in.

use std::collections::HashMap;
use std::vec::IntoIter;

use arrow_array::{Array as _, new_empty_array};
use arrow_ipc::{MetadataVersion, RecordBatch, root_as_message};
use arrow_schema::{DataType, Field, Fields, Schema};
use mempool_core::{Buffer, BufferMut, Result};

use crate::arrow::incoming::Part;
use crate::arrow::plain::Storage;
use crate::arrow::text::{VIEW_BYTES, total_bytes, viewed};
use crate::arrow::{Arrow, Memory};
use crate::bits::Bits;
use crate::column::Column;
use crate::description::DEPTH_MAX;
use crate::error::{ArrayError, Shown};
use crate::layout::{Rearrange, Unmetered};
use crate::structs::Struct;

/// In front of a description: a marker and its length.
pub(super) const PREFIX_BYTES: usize = 8;

/// A block in memory, and where its body starts.
pub(super) struct Block {
    pub(super) bytes: Buffer,
    pub(super) body: usize,
}

/// The dictionaries that were read so far, by the numbers that fields have for them.
pub(super) type Dictionaries = HashMap<i64, Part>;

/// Gives memory of so many bytes, all zero, that somebody pays for.
pub(super) type Room<'a> = &'a dyn Fn(usize) -> Result<BufferMut>;

/// Reads a dictionary and puts it beside the others.
pub(super) fn read_dictionary(
    block: &Block,
    schema: &Schema,
    dictionaries: &mut Dictionaries,
    room: Room<'_>,
) -> Result<(), Failure> {
    let message = message(block)?;
    let batch = message.header_as_dictionary_batch().ok_or("a block that is no dictionary")?;
    let id = batch.id();
    let values = values_of(schema.fields(), id).ok_or("a dictionary that no column has")?;
    let mut body = Body::of(block, batch.data().ok_or("a dictionary without values")?, room)?;
    let read = body.column(&Field::new("values", values.clone(), true), dictionaries, 0)?;
    let all = match dictionaries.get(&id) {
        Some(before) if batch.isDelta() => joined(before, &read)?,
        None if batch.isDelta() => return Err("the end of a dictionary without its start".into()),
        _ => read,
    };
    dictionaries.insert(id, all);
    Ok(())
}

/// A dictionary and what it grows by, copied end to end.
fn joined(before: &Part, more: &Part) -> Result<Part, Failure> {
    let (before, more): (Column, Column) = (before.import()?, more.import()?);
    let all = Column::concat(&[&before, &more], &mut Unmetered)?;
    Ok(Part::of(&all.to_arrow().to_data(), Memory::Heap)?)
}

/// Reads a batch.
pub(super) fn read_batch(
    block: &Block,
    schema: &Schema,
    dictionaries: &Dictionaries,
    room: Room<'_>,
) -> Result<Struct, Failure> {
    let message = message(block)?;
    let batch = message.header_as_record_batch().ok_or("a block that is no batch")?;
    let mut body = Body::of(block, batch, room)?;
    let len = slots(batch.length())?;
    let part = body.columns(schema.fields(), len, None, dictionaries, 0)?;
    Ok(part.import()?)
}

/// What went wrong with a block.
pub(super) enum Failure {
    Array(ArrayError),
    Pool(mempool_core::Error),
}

impl From<&str> for Failure {
    fn from(what: &str) -> Self {
        Self::Array(ArrayError::Arrow { what: what.to_owned() })
    }
}

impl From<ArrayError> for Failure {
    fn from(error: ArrayError) -> Self {
        Self::Array(error)
    }
}

impl From<mempool_core::Error> for Failure {
    fn from(error: mempool_core::Error) -> Self {
        Self::Pool(error)
    }
}

fn message(block: &Block) -> Result<arrow_ipc::Message<'_>, Failure> {
    let description = &block.bytes[..block.body];
    // A file of before 2019 has no marker in front of the length.
    let marked = description.starts_with(&[u8::MAX; 4]);
    let start = if marked { PREFIX_BYTES } else { PREFIX_BYTES / 2 };
    let message = description.get(start..).map(root_as_message);
    let message = message.ok_or("a block without a description")?;
    let message = message.map_err(|error| Failure::from(&*error.to_string()))?;
    if !matches!(message.version(), MetadataVersion::V4 | MetadataVersion::V5) {
        return Err("a version of the format that is not known".into());
    }
    Ok(message)
}

/// A count of slots that can be one in memory.
fn slots(count: i64) -> Result<usize, Failure> {
    let count = usize::try_from(count).ok().filter(|&count| count <= isize::MAX as usize / 64);
    count.ok_or_else(|| "a length that no array has".into())
}

/// What the numbers of a batch say of its columns, in the order in which the schema names them.
struct Body<'a> {
    bytes: Buffer,
    /// Slots, and how many of them are missing.
    nodes: IntoIter<(i64, i64)>,
    /// Where each buffer starts in the body, and its bytes.
    buffers: IntoIter<(i64, i64)>,
    /// How many buffers each column of views has behind the views.
    views: IntoIter<i64>,
    room: Room<'a>,
}

impl<'a> Body<'a> {
    fn of(block: &Block, batch: RecordBatch<'_>, room: Room<'a>) -> Result<Self, Failure> {
        if batch.compression().is_some() {
            return Err("it is compressed; write it without compression".into());
        }
        let nodes = batch.nodes().into_iter().flatten();
        let nodes: Vec<_> = nodes.map(|node| (node.length(), node.null_count())).collect();
        let buffers = batch.buffers().into_iter().flatten();
        let buffers: Vec<_> = buffers.map(|buffer| (buffer.offset(), buffer.length())).collect();
        let views: Vec<i64> = batch.variadicBufferCounts().into_iter().flatten().collect();
        Ok(Self {
            bytes: block.bytes.slice(block.body..),
            nodes: nodes.into_iter(),
            buffers: buffers.into_iter(),
            views: views.into_iter(),
            room,
        })
    }

    /// The next buffer.
    fn buffer(&mut self) -> Result<Buffer, Failure> {
        let (start, bytes) = self.buffers.next().ok_or("fewer buffers than its columns have")?;
        let range = usize::try_from(start).ok().zip(usize::try_from(bytes).ok());
        let range = range.and_then(|(start, bytes)| Some(start..start.checked_add(bytes)?));
        match range.filter(|range| range.end <= self.bytes.len()) {
            Some(range) => Ok(self.bytes.slice(range)),
            None => Err("a buffer outside of its block".into()),
        }
    }

    /// The next buffer, of elements that lie at a multiple of `align`: 8 is what other writers see to.
    fn aligned_buffer(&mut self, align: usize) -> Result<Buffer, Failure> {
        let buffer = self.buffer()?;
        if align <= 8 || buffer.as_ptr().addr().is_multiple_of(align) {
            return Ok(buffer);
        }
        let mut aligned = (self.room)(buffer.len())?;
        aligned.as_mut_slice().copy_from_slice(&buffer);
        Ok(aligned.freeze())
    }

    /// The next buffers, those of `len` views, as offsets and bytes: what they show is copied end to end. Views may show the
    /// same bytes many times over, so room for it is asked for.
    fn runs_of_views(&mut self, len: usize) -> Result<[Buffer; 2], Failure> {
        let views = self.buffer()?;
        let buffers = self.views.next().ok_or("views without a count of their buffers")?;
        let runs: Vec<Buffer> = (0..buffers).map(|_| self.buffer()).collect::<Result<_, _>>()?;
        let views = len.checked_mul(VIEW_BYTES).and_then(|bytes| views.get(..bytes));
        let views = views.ok_or("fewer views than slots")?;
        let mut bytes = (self.room)(total_bytes(viewed(views, &runs))?)?;
        let mut ends = (self.room)((len + 1) * size_of::<i64>())?;
        let mut end = 0;
        let (words, _) = ends.as_mut_slice().as_chunks_mut::<{ size_of::<i64>() }>();
        for (slot, word) in viewed(views, &runs).zip(words.iter_mut().skip(1)) {
            let slot = slot?;
            bytes.as_mut_slice()[end..end + slot.len()].copy_from_slice(slot);
            end += slot.len();
            *word = (end as u64).to_le_bytes();
        }
        Ok([ends.freeze(), bytes.freeze()])
    }

    /// The next column, which is as `field` says.
    fn column(
        &mut self,
        field: &Field,
        dictionaries: &Dictionaries,
        depth: u32,
    ) -> Result<Part, Failure> {
        if depth > DEPTH_MAX {
            return Err(ArrayError::Depth { most: DEPTH_MAX }.into());
        }
        let (len, nulls) = self.nodes.next().ok_or("fewer lengths than its columns have")?;
        let len = slots(len)?;
        let data_type = field.data_type();
        if *data_type == DataType::Null {
            // All are missing, which takes a bitmap that the file does not have.
            let zeros = (self.room)(len.div_ceil(8))?.freeze();
            return Ok(Part::bare(data_type, len, Some(Bits::from_buffer(zeros, 0, len)?)));
        }
        // A column of which no slot is missing may have an empty bitmap.
        let bits = self.buffer()?;
        let validity = match nulls {
            0 => None,
            _ => Some(Bits::from_buffer(bits, 0, len)?),
        };
        let mut part = Part::bare(data_type, len, validity);
        match data_type {
            DataType::Struct(fields) => {
                return self.columns(fields, len, part.validity, dictionaries, depth + 1);
            }
            DataType::List(child) | DataType::LargeList(child) | DataType::Map(child, _) => {
                part.buffers.push(self.buffer()?);
                part.children.push(self.column(child, dictionaries, depth + 1)?);
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => {
                part.buffers.extend([self.buffer()?, self.buffer()?]);
            }
            DataType::Utf8View | DataType::BinaryView => {
                let text = *data_type == DataType::Utf8View;
                part.data_type = if text { DataType::LargeUtf8 } else { DataType::LargeBinary };
                part.buffers.extend(self.runs_of_views(len)?);
            }
            DataType::Dictionary(_, values) => {
                part.buffers.push(self.buffer()?);
                part.children.push(match number_of(field).and_then(|id| dictionaries.get(&id)) {
                    Some(dictionary) => dictionary.clone(),
                    // One that no slot needs may be left out.
                    None => Part::of(&new_empty_array(values).to_data(), Memory::Heap)?,
                });
            }
            _ => {
                let align = if data_type.primitive_width() == Some(16) { 16 } else { 1 };
                part.buffers.push(self.aligned_buffer(align)?);
            }
        }
        Ok(part)
    }

    /// The next columns, as a struct of so many slots.
    fn columns(
        &mut self,
        fields: &Fields,
        len: usize,
        validity: Option<Bits>,
        dictionaries: &Dictionaries,
        depth: u32,
    ) -> Result<Part, Failure> {
        let columns = fields.iter().map(|field| self.column(field, dictionaries, depth));
        let children = columns.collect::<Result<Vec<_>, _>>()?;
        if children.iter().any(|child| child.len != len) {
            return Err("columns of other lengths than the batch".into());
        }
        let part = Part::bare(&DataType::Struct(fields.clone()), len, validity);
        Ok(Part { children, ..part })
    }
}

/// Checks that columns have such types.
pub(super) fn check_schema(schema: &Schema) -> Result<(), ArrayError> {
    schema.fields().iter().try_for_each(|field| check_type(field.data_type()))
}

fn check_type(data_type: &DataType) -> Result<(), ArrayError> {
    use DataType as D;
    match data_type {
        D::Null | D::Boolean | D::Utf8 | D::LargeUtf8 | D::Utf8View => Ok(()),
        D::Binary | D::LargeBinary | D::BinaryView => Ok(()),
        D::Dictionary(_, values) => check_type(values),
        D::List(child) | D::LargeList(child) | D::Map(child, _) => check_type(child.data_type()),
        D::Struct(fields) => fields.iter().try_for_each(|field| check_type(field.data_type())),
        other if Storage::of_type(other).is_some() => Ok(()),
        other => {
            let found = Shown(other.to_string());
            Err(ArrayError::Kind { expected: Shown("a column".to_owned()), found })
        }
    }
}

/// The number that a field has for its dictionary.
fn number_of(field: &Field) -> Option<i64> {
    #[expect(deprecated, reason = "it is how a file names dictionaries")]
    field.dict_id()
}

/// The type of the values of the dictionary of that number.
fn values_of(fields: &Fields, id: i64) -> Option<&DataType> {
    fields.iter().find_map(|field| values_of_field(field, id))
}

fn values_of_field(field: &Field, id: i64) -> Option<&DataType> {
    match field.data_type() {
        DataType::Dictionary(_, values) if number_of(field) == Some(id) => Some(values),
        data_type => values_within(data_type, id),
    }
}

fn values_within(data_type: &DataType, id: i64) -> Option<&DataType> {
    match data_type {
        DataType::Struct(fields) => values_of(fields, id),
        DataType::List(child) | DataType::LargeList(child) | DataType::Map(child, _) => {
            values_of_field(child, id)
        }
        DataType::Dictionary(_, values) => values_within(values, id),
        _ => None,
    }
}
