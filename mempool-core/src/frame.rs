//! A value at rest: the header in front of its sections, and the streaming of both.
//!
//! ```text
//! offset  bytes
//!      0      8  magic "MEMPOOL\0"
//!      8      4  format version, 1
//!     12      4  header bytes: 128 + 16 per section
//!     16     16  codec, ASCII, padded with zeros
//!     32      8  type tag, chosen by the codec
//!     40      1  pointer width of archives in bits; 0 where the codec has none
//!     41      1  alignment of the content, as a power of two
//!     42      2  zero
//!     44      4  number of sections
//!     48      8  frame bytes: header, padding and sections together
//!     56      8  content offset: where section 0 starts
//!     64      8  resident bytes: what the decoded value is charged
//!     72      4  slot of the value
//!     76      4  generation of the slot
//!     80      8  pool: which pool wrote it
//!     88      4  number of references that the value holds
//!     92     20  zero
//!    112      8  checksum of the content: of all bytes behind the header
//!    120      8  checksum of the header, computed with this field zero
//!    128   16·n  sections: offset from the start of the frame, bytes
//! ```
//!
//! All integers are little-endian. Sections stand in ascending order, each at a multiple of its own alignment; the
//! bytes between are zero. What a checksum is computed with is the store's choice ([`SpillStore::checksum`]).
//!
//! [`SpillStore::checksum`]: crate::store::SpillStore::checksum

use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::buffer::{ALIGNMENT_MAX, Buffer};
use crate::codec::{CodecName, Format};
use crate::error::{CodecError, Error, FrameDamage, Result, StoreError, StoreErrorKind};
use crate::id::Id;
use crate::sink::{Measure, Sink, Stream};

/// The first eight bytes of a frame.
pub const MAGIC: [u8; 8] = *b"MEMPOOL\0";
/// The version of the format.
pub const VERSION: u32 = 1;
/// The bytes of a header without its sections.
pub const HEADER_BYTES: u64 = 128;
/// The bytes of one entry of the section table.
pub const SECTION_BYTES: u64 = 16;
/// Where the header's own checksum stands.
pub(crate) const HEADER_SUM: std::ops::Range<usize> = 120..128;
/// The most sections that a frame may have: a bound on what a hostile header can ask for.
pub const SECTIONS_MAX: u32 = 65_536;

/// One aligned part of a value's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Where it starts, from the start of the frame.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
}

/// What stands in front of a value at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Codec, type and layout.
    pub format: Format,
    /// The alignment of the content; a power of two, at most [`ALIGNMENT_MAX`].
    pub align: u32,
    /// Header, padding and sections together.
    pub frame_bytes: u64,
    /// Where the content starts, from the start of the frame.
    pub content_offset: u64,
    /// What the decoded value is charged; 0 where reading it back needs no memory.
    pub resident_bytes: u64,
    /// The value.
    pub id: Id,
    /// The pool that wrote it.
    pub pool: u64,
    /// How many references the value holds.
    pub references: u32,
    /// The checksum of all bytes behind the header.
    pub content_checksum: u64,
    /// The parts of the value.
    pub sections: Vec<Section>,
}

impl Header {
    /// The header's own bytes, its section table included.
    #[must_use]
    pub fn header_bytes(&self) -> u64 {
        HEADER_BYTES + SECTION_BYTES * self.sections.len() as u64
    }

    /// The header as bytes, sealed with `checksum`.
    #[must_use]
    pub fn encode(&self, checksum: impl Fn(&[u8]) -> u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.header_len());
        self.seal_into(self.content_checksum, checksum, &mut out);
        out
    }

    /// Appends the header to `out` with `content_checksum` in its place, sealed with `checksum`.
    pub fn seal_into(
        &self,
        content_checksum: u64,
        checksum: impl Fn(&[u8]) -> u64,
        out: &mut Vec<u8>,
    ) {
        let start = out.len();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&le32(self.header_bytes()));
        out.extend_from_slice(self.format.codec.as_bytes());
        out.extend_from_slice(&self.format.type_tag.to_le_bytes());
        out.push(self.format.pointer_width);
        out.push(self.align.trailing_zeros().to_le_bytes()[0]);
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&le32(self.sections.len() as u64));
        out.extend_from_slice(&self.frame_bytes.to_le_bytes());
        out.extend_from_slice(&self.content_offset.to_le_bytes());
        out.extend_from_slice(&self.resident_bytes.to_le_bytes());
        out.extend_from_slice(&self.id.slot.to_le_bytes());
        out.extend_from_slice(&self.id.generation.to_le_bytes());
        out.extend_from_slice(&self.pool.to_le_bytes());
        out.extend_from_slice(&self.references.to_le_bytes());
        out.extend_from_slice(&[0; 20]);
        out.extend_from_slice(&content_checksum.to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        for section in &self.sections {
            out.extend_from_slice(&section.offset.to_le_bytes());
            out.extend_from_slice(&section.bytes.to_le_bytes());
        }
        let sealed = &mut out[start..];
        let sum = checksum(sealed);
        sealed[HEADER_SUM].copy_from_slice(&sum.to_le_bytes());
    }

    pub(crate) fn header_len(&self) -> usize {
        128 + 16 * self.sections.len()
    }

    /// How long the frame is whose first [`HEADER_BYTES`] these are, for a reader who does not know; nothing is checked
    /// but the magic, so that what it says must be checked by [`decode`](Self::decode) before it is believed.
    #[must_use]
    pub fn frame_bytes_of(fixed: &[u8; 128]) -> Option<u64> {
        (array::<8>(fixed, 0) == MAGIC).then(|| u64::from_le_bytes(array(fixed, 48)))
    }

    /// How many sections the frame says that it has, and how long its header is; nothing is checked, as in
    /// [`frame_bytes_of`](Self::frame_bytes_of).
    pub(crate) fn sections_of(fixed: &[u8; 128]) -> (u32, u64) {
        let header_bytes = u32::from_le_bytes(array(fixed, 12));
        (u32::from_le_bytes(array(fixed, 44)), header_bytes.into())
    }

    /// An alignment that puts a section where it stands.
    pub(crate) fn section_align(&self, section: &Section) -> usize {
        let from_content = section.offset - self.content_offset;
        1 << from_content.trailing_zeros().min(self.align.trailing_zeros())
    }

    /// Checks that the frame is laid out as a [`Frame`] would be: sections stand as near to each other as they can, so that
    /// it stays the same frame when it is written anew.
    pub(crate) fn check_as_written(&self) -> Result<(), FrameDamage> {
        let field = |field, found| Err(FrameDamage::Field { field, found });
        let align = u64::from(self.align);
        let next = |end: u64, align: u64| end.checked_next_multiple_of(align);
        if align < 8 || self.sections.is_empty() && align != 8 {
            return field("alignment", align);
        }
        if next(self.header_bytes(), align) != Some(self.content_offset) {
            return field("content offset", self.content_offset);
        }
        let mut end = 0;
        for section in &self.sections {
            let from_content = section.offset - self.content_offset;
            if next(end, self.section_align(section) as u64) != Some(from_content) {
                return field("section offset", section.offset);
            }
            end = from_content + section.bytes;
        }
        Ok(())
    }

    /// Reads the header at the start of `bytes`, which may go on with the content.
    ///
    /// Checks magic, version, the header's checksum, and that every length and offset fits the others;
    /// allocates at most what the section table takes, which lies within `bytes`. Does not look at the content.
    ///
    /// # Errors
    /// [`FrameDamage`] says what is wrong.
    pub fn decode(bytes: &[u8], checksum: impl Fn(&[u8]) -> u64) -> Result<Self, FrameDamage> {
        let fixed = part(bytes, 0, HEADER_BYTES)?;
        let magic: [u8; 8] = array(fixed, 0);
        if magic != MAGIC {
            return Err(FrameDamage::Magic { found: magic });
        }
        let version = u32::from_le_bytes(array(fixed, 8));
        if version != VERSION {
            return Err(FrameDamage::Version { expected: VERSION, found: version });
        }
        let count = u32::from_le_bytes(array(fixed, 44));
        let header_bytes = u64::from(u32::from_le_bytes(array(fixed, 12)));
        let expected_bytes = HEADER_BYTES + SECTION_BYTES * u64::from(count);
        if count > SECTIONS_MAX || header_bytes != expected_bytes {
            return Err(FrameDamage::Field { field: "section count", found: u64::from(count) });
        }
        let whole = part(bytes, 0, header_bytes)?;
        check_header_sum(whole, checksum)?;
        let header = Self {
            format: Format {
                codec: CodecName::from_bytes(array(fixed, 16)),
                type_tag: u64::from_le_bytes(array(fixed, 32)),
                pointer_width: fixed[40],
            },
            align: decode_align(fixed[41])?,
            frame_bytes: u64::from_le_bytes(array(fixed, 48)),
            content_offset: u64::from_le_bytes(array(fixed, 56)),
            resident_bytes: u64::from_le_bytes(array(fixed, 64)),
            id: Id {
                slot: u32::from_le_bytes(array(fixed, 72)),
                generation: u32::from_le_bytes(array(fixed, 76)),
            },
            pool: u64::from_le_bytes(array(fixed, 80)),
            references: u32::from_le_bytes(array(fixed, 88)),
            content_checksum: u64::from_le_bytes(array(fixed, 112)),
            sections: whole[128..].chunks_exact(16).map(decode_section).collect(),
        };
        header.check_layout()?;
        Ok(header)
    }

    /// Reads the header of a whole frame and checks its length and both checksums.
    ///
    /// # Errors
    /// [`FrameDamage`] says what is wrong.
    pub fn check_whole(frame: &[u8], checksum: impl Fn(&[u8]) -> u64) -> Result<Self, FrameDamage> {
        let header = Self::of_whole(frame, &checksum)?;
        header.check_content(frame, checksum)?;
        Ok(header)
    }

    /// The header of a whole frame, whose length is checked, and its content not.
    pub(crate) fn of_whole(
        frame: &[u8],
        checksum: impl Fn(&[u8]) -> u64,
    ) -> Result<Self, FrameDamage> {
        let header = Self::decode(frame, checksum)?;
        match frame.len() as u64 {
            found if found == header.frame_bytes => Ok(header),
            found => Err(FrameDamage::Length { expected: header.frame_bytes, found }),
        }
    }

    /// Checks the content of the whole frame that this is the header of.
    pub(crate) fn check_content(
        &self,
        frame: &[u8],
        checksum: impl Fn(&[u8]) -> u64,
    ) -> Result<(), FrameDamage> {
        let content = &frame[self.header_len()..];
        let (expected, found) = (self.content_checksum, checksum(content));
        if found != expected && !mutant!("checksum_skipped") {
            return Err(FrameDamage::Checksum { part: "content", expected, found });
        }
        Ok(())
    }

    fn check_layout(&self) -> Result<(), FrameDamage> {
        let field = |field, found| Err(FrameDamage::Field { field, found });
        if self.content_offset < self.header_bytes() || self.content_offset > self.frame_bytes {
            return field("content offset", self.content_offset);
        }
        if !self.content_offset.is_multiple_of(u64::from(self.align)) {
            return field("content offset", self.content_offset);
        }
        let mut end = self.content_offset;
        for section in &self.sections {
            if section.offset < end || section.offset > self.frame_bytes {
                return field("section offset", section.offset);
            }
            end = match section.offset.checked_add(section.bytes) {
                Some(end) if end <= self.frame_bytes => end,
                _ => return field("section bytes", section.bytes),
            };
        }
        if end != self.frame_bytes {
            return field("frame bytes", self.frame_bytes);
        }
        Ok(())
    }
}

fn check_header_sum(header: &[u8], checksum: impl Fn(&[u8]) -> u64) -> Result<(), FrameDamage> {
    let expected = u64::from_le_bytes(array(header, 120));
    // Most headers have a few sections: then the copy needs no memory of its own.
    let mut few = [0; 256];
    let mut many = Vec::new();
    let zeroed = match few.get_mut(..header.len()) {
        Some(few) => few,
        None => {
            many.resize(header.len(), 0);
            &mut many[..]
        }
    };
    zeroed.copy_from_slice(header);
    zeroed[HEADER_SUM].fill(0);
    let found = checksum(zeroed);
    match found == expected {
        true => Ok(()),
        false => Err(FrameDamage::Checksum { part: "header", expected, found }),
    }
}

fn decode_align(log2: u8) -> Result<u32, FrameDamage> {
    match 1u32.checked_shl(u32::from(log2)) {
        Some(align) if align as usize <= ALIGNMENT_MAX => Ok(align),
        _ => Err(FrameDamage::Field { field: "alignment", found: u64::from(log2) }),
    }
}

fn decode_section(entry: &[u8]) -> Section {
    Section {
        offset: u64::from_le_bytes(array(entry, 0)),
        bytes: u64::from_le_bytes(array(entry, 8)),
    }
}

fn part(bytes: &[u8], start: usize, len: u64) -> Result<&[u8], FrameDamage> {
    let found = bytes.len() as u64;
    let short = FrameDamage::Length { expected: len, found };
    let len = usize::try_from(len).map_err(|_| short.clone())?;
    bytes.get(start..).and_then(|rest| rest.get(..len)).ok_or(short)
}

fn array<const N: usize>(bytes: &[u8], start: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[start..start + N]);
    out
}

fn le32(value: u64) -> [u8; 4] {
    u32::try_from(value).expect("at most 65536 sections").to_le_bytes()
}

/// A function that writes a value's sections into a sink; called twice, and must write the same both times.
pub(crate) type Body<'a> = dyn Fn(&mut Sink<'_>) -> Result<()> + 'a;

/// Runs a codec's code: a panic in it fails this frame alone, and leaves the store's own work whole.
fn run(format: Format, body: &Body<'_>, sink: &mut Sink<'_>) -> Result<()> {
    catch_unwind(AssertUnwindSafe(|| body(sink)))
        .unwrap_or_else(|panic| Err(CodecError::panicked(format, &*panic).into()))
}

/// Where a store wants the content to go.
pub trait Content {
    /// Takes the next bytes of the content.
    ///
    /// # Errors
    /// The store's own; the frame stops and hands it through.
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError>;

    /// As [`write`](Self::write), of bytes that may be kept by a count instead of a copy.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    fn write_buffer(&mut self, buffer: &Buffer) -> Result<(), StoreError> {
        self.write(buffer)
    }
}

/// A value on its way to a store: its lengths are known, its bytes are streamed.
pub struct Frame<'a> {
    header: Header,
    body: &'a Body<'a>,
    /// How many references the value had before it was written.
    before: u32,
    /// The codec's error, while the store's own error type carries only that there was one.
    failed: RefCell<Option<Error>>,
}

impl<'a> Frame<'a> {
    /// Lays out `body`, which is run once to measure it; `header` gives all that is not a length. Its count of
    /// references is that of the value before; what `body` hands over is added.
    ///
    /// # Errors
    /// What `body` says.
    pub(crate) fn measure(
        mut header: Header,
        body: &'a Body<'a>,
        pool: u64,
    ) -> Result<Measured<'a>> {
        let mut measure = Measure::default();
        let before = header.references;
        let mut sink = Sink::new(&mut measure, pool, before);
        run(header.format, body, &mut sink)?;
        let references = sink.finish();
        let found = u32::try_from(references.len()).unwrap_or(u32::MAX);
        header.references = before.saturating_add(found);
        header.align = measure.align();
        header.sections = measure.sections();
        if header.sections.len() as u64 > u64::from(SECTIONS_MAX) {
            return Err(StoreError::new(StoreErrorKind::Codec, "more than 65536 sections").into());
        }
        header.content_offset = header.header_bytes().next_multiple_of(u64::from(header.align));
        for section in &mut header.sections {
            section.offset += header.content_offset;
        }
        header.frame_bytes =
            header.sections.last().map_or(header.content_offset, |last| last.offset + last.bytes);
        let frame = Self::again(header, body, before);
        Ok(Measured { frame, references })
    }

    /// A frame that was laid out before, with its header.
    pub(crate) fn again(header: Header, body: &'a Body<'a>, before: u32) -> Self {
        Self { header, body, before, failed: RefCell::new(None) }
    }

    /// The header, with every field but the content's checksum.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How many bytes the frame has in all.
    #[must_use]
    pub fn frame_bytes(&self) -> u64 {
        self.header.frame_bytes
    }

    /// Streams all bytes behind the header, padding included: `frame_bytes - header_bytes` of them.
    ///
    /// # Errors
    /// What `content` says, or of kind [`StoreErrorKind::Codec`] when the value could not be written.
    pub fn write_content(&self, content: &mut dyn Content) -> Result<(), StoreError> {
        let mut stream = Stream::new(&self.header, content)?;
        let mut sink = Sink::new(&mut stream, self.header.pool, self.before);
        match run(self.header.format, self.body, &mut sink) {
            Ok(()) => stream.finish(),
            Err(error) => Err(self.keep(error)),
        }
    }

    /// Takes the codec's error out, once a store has returned one of kind [`StoreErrorKind::Codec`].
    pub(crate) fn take_failure(&self) -> Option<Error> {
        self.failed.borrow_mut().take()
    }

    fn keep(&self, error: Error) -> StoreError {
        match error {
            Error::Store(own) => own,
            other => {
                let said = other.to_string();
                *self.failed.borrow_mut() = Some(other);
                StoreError::new(StoreErrorKind::Codec, said)
            }
        }
    }
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame").field("header", &self.header).finish_non_exhaustive()
    }
}

/// A frame that was laid out, and the references that its value handed to the sink.
pub(crate) struct Measured<'a> {
    pub(crate) frame: Frame<'a>,
    pub(crate) references: Vec<crate::dref::AnyRef>,
}
