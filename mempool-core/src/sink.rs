//! Where a codec writes a value's sections, and where it reads them back.
//!
//! A codec writes through a [`Sink`] twice: once to be measured, once into the store. What was written is never
//! held whole a second time.

use std::io;

use crate::buffer::{ALIGNMENT_MAX, Buffer};
use crate::dref::{AnyRef, DRef, ReferenceList};
use crate::error::{Error, FrameDamage, Result, StoreError, StoreErrorKind};
use crate::frame::{Content, Header, Section};

/// Takes a value's sections in order.
///
/// A codec may hand its sink to another codec: what that one writes are the next sections.
pub struct Sink<'a> {
    out: &'a mut dyn Output,
    references: ReferenceList,
}

/// What stands behind a sink.
pub(crate) trait Output {
    fn section(&mut self, align: usize) -> Result<()>;
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
    fn write_buffer(&mut self, buffer: &Buffer) -> Result<()> {
        self.write(buffer)
    }
}

impl<'a> Sink<'a> {
    /// A sink of a value of `pool` that has so many references `before` it is written.
    pub(crate) fn new(out: &'a mut dyn Output, pool: u64, before: u32) -> Self {
        Self { out, references: ReferenceList::new(pool, before as usize) }
    }

    /// Starts the next section, at a multiple of `align`.
    ///
    /// # Errors
    /// When the writing fails.
    ///
    /// # Panics
    /// When `align` is no power of two or more than [`ALIGNMENT_MAX`].
    pub fn section(&mut self, align: usize) -> Result<()> {
        assert!(align.is_power_of_two() && align <= ALIGNMENT_MAX, "alignment {align}");
        self.out.section(align)
    }

    /// Writes `bytes` to the section that was started last.
    ///
    /// # Errors
    /// When the writing fails, or no section was started.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write(bytes)
    }

    /// As [`write`](Self::write), of bytes that the value has in a buffer: whoever exports the value lends them, and copies
    /// nothing.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_buffer(&mut self, buffer: &Buffer) -> Result<()> {
        self.out.write_buffer(buffer)
    }

    /// Hands over a reference that the value holds; the bytes hold the index it answers.
    ///
    /// The entry owns the reference from then on, as long as the value is there.
    ///
    /// # Errors
    /// [`Error::WrongPool`] for a reference of another pool.
    pub fn reference<T>(&mut self, reference: &DRef<T>) -> Result<u32> {
        self.references.push(reference)
    }

    /// Takes out what was handed over so far, for an encoder that adds to it by itself; what it made of it comes back
    /// by [`put_references`](Self::put_references).
    pub fn take_references(&mut self) -> ReferenceList {
        let left = ReferenceList::new(self.references.pool(), self.references.before());
        std::mem::replace(&mut self.references, left)
    }

    /// Puts back what [`take_references`](Self::take_references) has taken out, and what was added to it.
    pub fn put_references(&mut self, references: ReferenceList) {
        self.references = references;
    }

    pub(crate) fn finish(self) -> Vec<AnyRef> {
        self.references.into_list()
    }
}

impl io::Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The sink that only measures.
#[derive(Default)]
pub(crate) struct Measure {
    sections: Vec<Section>,
    align: usize,
    end: u64,
}

impl Measure {
    /// The alignment of the most aligned section, and of a header field at least.
    pub(crate) fn align(&self) -> u32 {
        u32::try_from(self.align.max(8)).expect("at most a page")
    }

    /// The sections, their offsets counted from the start of the content.
    pub(crate) fn sections(self) -> Vec<Section> {
        self.sections
    }
}

impl Output for Measure {
    fn section(&mut self, align: usize) -> Result<()> {
        self.align = self.align.max(align);
        self.end = self.end.next_multiple_of(align as u64);
        self.sections.push(Section { offset: self.end, bytes: 0 });
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let section = self.sections.last_mut().ok_or_else(no_section)?;
        section.bytes += bytes.len() as u64;
        self.end += bytes.len() as u64;
        Ok(())
    }
}

fn no_section() -> Error {
    StoreError::new(StoreErrorKind::Codec, "the codec wrote bytes before it started a section")
        .into()
}

/// The sink that streams into a store, and sees that the second writing is the measured one.
pub(crate) struct Stream<'a> {
    sections: std::slice::Iter<'a, Section>,
    current: Option<&'a Section>,
    content: &'a mut dyn Content,
    at: u64,
    end: u64,
}

impl<'a> Stream<'a> {
    pub(crate) fn new(
        header: &'a Header,
        content: &'a mut dyn Content,
    ) -> Result<Self, StoreError> {
        let mut stream = Self {
            sections: header.sections.iter(),
            current: None,
            content,
            at: header.header_bytes(),
            end: header.frame_bytes,
        };
        stream.pad_to(header.content_offset)?;
        Ok(stream)
    }

    pub(crate) fn finish(mut self) -> Result<(), StoreError> {
        self.end_section()?;
        if self.at != self.end || self.sections.next().is_some() {
            return Err(unstable());
        }
        Ok(())
    }

    fn check_fits(&self, bytes: &[u8]) -> Result<()> {
        let section = self.current.ok_or_else(no_section)?;
        let fits = self.at + bytes.len() as u64 <= section.offset + section.bytes;
        if fits { Ok(()) } else { Err(unstable().into()) }
    }

    fn end_section(&mut self) -> Result<(), StoreError> {
        match self.current {
            Some(section) if section.offset + section.bytes != self.at => Err(unstable()),
            _ => Ok(()),
        }
    }

    fn pad_to(&mut self, offset: u64) -> Result<(), StoreError> {
        const ZEROS: [u8; ALIGNMENT_MAX] = [0; ALIGNMENT_MAX];
        while self.at < offset {
            let count =
                usize::try_from(offset - self.at).map_or(ALIGNMENT_MAX, |n| n.min(ALIGNMENT_MAX));
            self.content.write(&ZEROS[..count])?;
            self.at += count as u64;
        }
        Ok(())
    }
}

impl Output for Stream<'_> {
    fn section(&mut self, _align: usize) -> Result<()> {
        self.end_section()?;
        let section = self.sections.next().ok_or_else(unstable)?;
        self.current = Some(section);
        Ok(self.pad_to(section.offset)?)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.check_fits(bytes)?;
        self.content.write(bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn write_buffer(&mut self, buffer: &Buffer) -> Result<()> {
        self.check_fits(buffer)?;
        self.content.write_buffer(buffer)?;
        self.at += buffer.len() as u64;
        Ok(())
    }
}

fn unstable() -> StoreError {
    StoreError::new(
        StoreErrorKind::Codec,
        "the codec wrote other lengths than it was measured with",
    )
}

/// Whose bytes a [`Source`] reads: what a codec must check before it believes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Written by this process in this session: the codec may skip its checks.
    Own,
    /// A saved or adopted file: every check, once, now.
    Saved,
    /// From a peer or another user: every check, and the bytes cannot be changed by anybody else.
    Foreign,
}

/// The sections of a frame, read in the order in which they were written.
pub struct Source<'a> {
    frame: &'a Buffer,
    header: &'a Header,
    references: &'a [AnyRef],
    trust: Trust,
    next: usize,
}

impl<'a> Source<'a> {
    /// The sections of `frame`, whose header was decoded and checked.
    pub(crate) fn new(
        frame: &'a Buffer,
        header: &'a Header,
        references: &'a [AnyRef],
        trust: Trust,
    ) -> Self {
        Self { frame, header, references, trust, next: 0 }
    }

    /// The next section, sharing the frame's bytes.
    ///
    /// # Errors
    /// [`Error::Frame`] when there is no further one.
    pub fn section(&mut self) -> Result<Buffer> {
        let damage = || Error::Frame {
            what: format!("value {}", self.header.id),
            damage: FrameDamage::Section { index: self.next, sections: self.header.sections.len() },
        };
        let section = self.header.sections.get(self.next).ok_or_else(damage)?;
        let start = usize::try_from(section.offset).map_err(|_| damage())?;
        let bytes = usize::try_from(section.bytes).map_err(|_| damage())?;
        let end =
            start.checked_add(bytes).filter(|&end| end <= self.frame.len()).ok_or_else(damage)?;
        self.next += 1;
        Ok(self.frame.slice(start..end))
    }

    /// The reference that was given `index` when the value was written.
    ///
    /// # Errors
    /// [`Error::NoReference`] when there is none of that index and type.
    pub fn reference<T: 'static>(&self, index: u32) -> Result<DRef<T>> {
        crate::dref::reference_at(self.references, index)
    }

    /// What the frame takes from the ledger: nothing when it is mapped.
    pub(crate) fn reserved_bytes(&self) -> u64 {
        self.frame.reserved_bytes()
    }

    /// All references that the value holds, counted once more: for a decoder that cannot borrow this source.
    #[must_use]
    pub fn references(&self) -> ReferenceList {
        ReferenceList::of(self.references)
    }

    /// How much is to be checked.
    #[must_use]
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// The header of the frame.
    #[must_use]
    pub fn header(&self) -> &Header {
        self.header
    }
}
