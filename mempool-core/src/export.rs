//! `Export`: the frame of any value as bytes, for whoever sends it. The value stays where it is: on disk, or in memory.
//!
//! ```text
//!  value in memory ── written by nobody yet ──▶ its codec writes it: what it shares is lent, what it makes is streamed
//!                 └── a good copy is on disk ─▶ that frame, mapped: nothing becomes resident
//!  value on disk ─────────────────────────────▶ the same
//! ```
//!
//! Both give the same bytes, so that a stream which broke can go on wherever the value is by then.

use std::fmt;
use std::fs::File;
use std::ops::{ControlFlow, Range};
use std::panic::Location;
use std::sync::Arc;

use bytes::Bytes;

use crate::budget::Wait;
use crate::buffer::Buffer;
use crate::claim::FrameClaim;
use crate::codec::Format;
use crate::dref::{AnyRef, References, joined, references};
use crate::entry::{Held, Pin};
use crate::error::{Error, Result, StoreError, StoreErrorKind};
use crate::frame::{Body, Content, Frame, Header, Measured};
use crate::id::Id;
use crate::names::{Untyped, type_name_of};
use crate::pool::Pool;
use crate::shared::{Opened, Shared, Writing, frame_error, reference_count};
use crate::sink::Sink;
use crate::sites::Site;
use crate::stats::read;
use crate::store::Summing;
use crate::sync;

/// What a codec makes is gathered to pieces of this size.
const PIECE: usize = 256 << 10;

/// What a codec shares is lent from this size on; less is copied, for a piece costs more than so few bytes.
const LENT: usize = 16 << 10;

/// A value of which a codec makes no more than this is kept in pieces; of another one the codec makes them anew for each
/// stream.
const MADE_MAX: usize = 64 << 10;

/// The frame of a value, as bytes that can be sent: a header that vouches for all the others, and the content.
///
/// *Ownership*: it holds the value, and pins it where it is read from memory, until it is dropped. *Shape*: always the same
/// bytes for one value of one pool, wherever the value is. *Threads*: what it reads blocks as a [`get`](Pool::get) does.
pub struct Export {
    sealed: Arc<Sealed>,
    value: AnyRef,
    from: From,
}

/// Where the content is read.
enum From {
    /// A frame on disk, mapped, or read into memory that is counted.
    Frame { content: Bytes, claim: Arc<FrameClaim>, as_it_lies: bool },
    /// A value in memory, all of it as pieces.
    Pieces { pieces: Vec<Piece>, _pin: Pin<AnyRef, dyn Held> },
    /// A value in memory, to be written by its codec.
    Codec { pin: Pin<AnyRef, dyn Held> },
}

/// A part of a frame.
struct Piece {
    at: u64,
    bytes: Bytes,
}

/// The header of a value's frame, and what is needed to write the same frame again.
pub(crate) struct Sealed {
    header: Header,
    bytes: Bytes,
    /// How many references the value had before its codec handed over more.
    before: u32,
    references: References,
}

impl<C: Send + Sync + 'static> Pool<C> {
    /// The value's frame as bytes, for a peer, without bringing the value into memory.
    ///
    /// A value on disk is read there: mapped, or where its store has filters, decoded into memory that is counted. A value
    /// that is in memory alone is read there, and checksummed once: its header is kept for the next export.
    ///
    /// ```
    /// use mempool_core::{Blob, PoolOptions};
    ///
    /// let pool = PoolOptions::new().open(Blob);
    /// let value = pool.set(vec![7; 1000])?;
    /// let export = pool.export(&value.untyped())?;
    /// let whole = export.slices(0..export.frame_bytes())?.expect("a blob is lent as it lies");
    /// assert_eq!(whole.iter().map(|part| part.len() as u64).sum::<u64>(), export.frame_bytes());
    /// # Ok::<(), mempool_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`get`](Self::get); [`Error::Elsewhere`] for a value of another pool's that is not in memory here, or is decoded here.
    #[track_caller]
    pub fn export(&self, value: &Untyped) -> Result<Export> {
        let any = value.as_any();
        self.check_process()?;
        if !Arc::ptr_eq(any.shared(), self.shared()) {
            return Err(Error::WrongPool { id: any.id() });
        }
        self.shared().export(any, Location::caller(), self.patience())
    }
}

impl Export {
    /// The value.
    #[must_use]
    pub fn id(&self) -> Id {
        self.value.id()
    }

    /// The header of the frame: its first bytes, decoded.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.sealed.header
    }

    /// Codec, type and layout.
    #[must_use]
    pub fn format(&self) -> Format {
        self.sealed.header.format
    }

    /// The type, for people.
    #[must_use]
    pub fn type_name(&self) -> &str {
        type_name_of(&**self.value.registration())
    }

    /// How long the frame is, header and all.
    #[must_use]
    pub fn frame_bytes(&self) -> u64 {
        self.sealed.header.frame_bytes
    }

    /// What the value takes where it is decoded.
    #[must_use]
    pub fn charged_bytes(&self) -> u64 {
        self.sealed.header.resident_bytes
    }

    /// The references that the value holds, in the order of their indices.
    #[must_use]
    pub fn references(&self) -> Vec<Untyped> {
        let references = self.sealed.references.as_deref().map_or(&[][..], Vec::as_slice);
        references.iter().cloned().map(Untyped::new).collect()
    }

    /// A read-only descriptor of a file that has the frame at an offset, and its length there; `None` where there is no
    /// such file, or it must not leave the process. The file stays as it is while this lives.
    #[must_use]
    pub fn share(&self) -> Option<(File, u64, u64)> {
        match &self.from {
            From::Frame { claim, as_it_lies: true, .. } => {
                let handle = claim.handle?;
                self.value.shared().back.store.share(&handle)
            }
            _ => None,
        }
    }

    /// The part `range` of the frame, lent as it lies in memory or in a map: no byte is copied. What is beyond the end is
    /// left out. `None` where the codec must make the bytes; [`stream`](Self::stream) does that.
    ///
    /// What is lent may outlive the export, and stays counted as long as it does.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn slices(&self, range: Range<u64>) -> Result<Option<Vec<Bytes>>> {
        self.value.shared().check_process()?;
        let mut parts = Vec::new();
        parts.extend(within(0, &self.sealed.bytes, &range));
        Ok(match &self.from {
            From::Frame { content, .. } => {
                parts.extend(within(self.header().header_bytes(), content, &range));
                Some(parts)
            }
            From::Pieces { pieces, .. } => {
                parts.extend(
                    pieces.iter().filter_map(|piece| within(piece.at, &piece.bytes, &range)),
                );
                Some(parts)
            }
            From::Codec { .. } => None,
        })
    }

    /// Gives the part `range` of the frame piece by piece, on this thread, until `give` has enough of it. What is beyond the
    /// end is left out.
    ///
    /// What lies in memory is lent, however long it is; what a codec makes comes in pieces of 256 KiB at most. Such a codec
    /// makes the bytes before the range, too, and they are left out.
    ///
    /// # Errors
    /// What the codec says, [`Error::Forked`].
    pub fn stream(
        &self,
        range: Range<u64>,
        give: &mut dyn FnMut(Bytes) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        if let Some(parts) = self.slices(range.clone())? {
            return Ok(parts.into_iter().try_for_each(give));
        }
        let From::Codec { pin } = &self.from else { return Ok(ControlFlow::Continue(())) };
        let header = within(0, &self.sealed.bytes, &range);
        if header.is_some_and(|part| give(part).is_break()) {
            return Ok(ControlFlow::Break(()));
        }
        let at = self.header().header_bytes();
        let mut out = Ranged { at, range, piece: Vec::new(), give, ended: None };
        let body = body_of(&self.value, pin);
        let written = self.sealed.frame(&self.value, &body, |frame| {
            let written = frame.write_content(&mut out);
            written.map_err(|error| frame_error(frame, error))
        });
        match (out.ended, written) {
            // What the codec made of being stopped is of no interest.
            (Some(ended), _) => Ok(ended),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => Ok(out.flush()),
        }
    }

    /// Copies bytes of the frame from `offset` on into `out`; how many there are, which is fewer at the end alone.
    ///
    /// # Errors
    /// As [`stream`](Self::stream).
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize> {
        let end = offset.saturating_add(out.len() as u64);
        let mut filled = 0;
        let _ = self.stream(offset..end, &mut |piece| {
            let rest = out.get_mut(filled..).unwrap_or_default();
            let count = rest.len().min(piece.len());
            rest[..count].copy_from_slice(&piece[..count]);
            filled += count;
            ControlFlow::Continue(())
        })?;
        Ok(filled)
    }
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export")
            .field("id", &self.id())
            .field("frame_bytes", &self.frame_bytes())
            .field("in_memory", &!matches!(self.from, From::Frame { .. }))
            .finish_non_exhaustive()
    }
}

/// What of `bytes`, which start at `at` of the frame, lies in `range`.
fn within(at: u64, bytes: &Bytes, range: &Range<u64>) -> Option<Bytes> {
    let part = part_of(at, bytes.len(), range)?;
    Some(bytes.slice(part))
}

/// Which of `len` bytes that start at `at` of the frame lie in `range`.
fn part_of(at: u64, len: usize, range: &Range<u64>) -> Option<Range<usize>> {
    let index = |offset: u64| {
        usize::try_from(offset.saturating_sub(at)).map_or(len, |offset| offset.min(len))
    };
    let part = index(range.start)..index(range.end);
    (!part.is_empty()).then_some(part)
}

/// Whether a value is read from memory: one that was never written, and so is what it was when it was set, and a copy of a
/// remote frame that its codec shows as it is. What was decoded from a frame may be encoded otherwise than it was.
fn reads_memory(value: &AnyRef) -> bool {
    match value.word.load().on_disk() {
        false => true,
        true => value.registration().maps() && value.remote_claim().is_some(),
    }
}

/// Writes what is pinned.
fn body_of(value: &AnyRef, pin: &Pin<AnyRef, dyn Held>) -> impl Fn(&mut Sink<'_>) -> Result<()> {
    |sink| value.registration().mmwrite(pin.view(), sink)
}

impl Sealed {
    /// Of a value that was received: it has all its references, and its content was checked.
    pub(crate) fn received(
        header: Header,
        references: References,
        checksum: impl Fn(&[u8]) -> u64,
    ) -> Self {
        let (bytes, before) = (header.encode(checksum).into(), header.references);
        Self { header, bytes, before, references }
    }

    /// The references that the value holds.
    pub(crate) fn references(&self) -> References {
        self.references.clone()
    }

    /// Shows the frame that `body` writes, laid out as before.
    fn frame<R>(&self, value: &AnyRef, body: &Body<'_>, show: impl FnOnce(&Frame<'_>) -> R) -> R {
        // To the codec it is a frame of this pool's, whoever the owner is.
        let own = Header { id: value.id(), pool: value.shared().id, ..self.header.clone() };
        show(&Frame::again(own, body, self.before))
    }
}

impl Shared {
    fn export(&self, value: &AnyRef, site: Site, wait: Wait) -> Result<Export> {
        loop {
            if let Some(error) = self.refusal(value) {
                return Err(error);
            }
            if let Some(export) = self.export_from_memory(value, site)? {
                return Ok(export);
            }
            let now = value.word.load();
            if now.on_disk()
                && let Some(claim) = FrameClaim::on(value)
            {
                match claim.remote() {
                    None => return self.export_from_disk(value, claim, wait),
                    Some(_) if now.busy() => {}
                    Some(remote) => {
                        return Err(Error::Elsewhere { id: value.id(), at: remote.describe() });
                    }
                }
            }
            self.wait_while_busy(value);
        }
    }

    /// `None` when it is not in memory, or to be read from disk.
    fn export_from_memory(&self, value: &AnyRef, site: Site) -> Result<Option<Export>> {
        if !reads_memory(value) {
            return Ok(None);
        }
        let pinned = Pin::<AnyRef, dyn Held>::try_new(value.clone(), site, |held| Ok(held))?;
        // It may have been written and decoded again before it was pinned.
        let Some(pin) = pinned.ok().filter(|_| reads_memory(value)) else { return Ok(None) };
        let sealed = sync::lock(&value.cold).sealed();
        let mut gather = Gather::new();
        let body = body_of(value, &pin);
        let sealed = match sealed {
            Some(sealed) => {
                gather.at = sealed.header.header_bytes();
                let written = sealed.frame(value, &body, |frame| {
                    frame.write_content(&mut gather).map_err(|error| frame_error(frame, error))
                });
                if gather.pieces.is_some() {
                    written?;
                }
                sealed
            }
            None => {
                let sealed = Arc::new(self.seal(value, &body, &mut gather)?);
                sync::lock(&value.cold).note_sealed(&sealed);
                sealed
            }
        };
        drop(body);
        let from = match gather.finish() {
            Some(pieces) => From::Pieces { pieces, _pin: pin },
            None => From::Codec { pin },
        };
        Ok(Some(Export { sealed, value: value.clone(), from }))
    }

    /// Lays the frame out, and goes through its content once.
    fn seal(&self, value: &AnyRef, body: &Body<'_>, gather: &mut Gather) -> Result<Sealed> {
        let (mut held, written, charged_bytes, claim) = {
            let cold = sync::lock(&value.cold);
            let charged_bytes = cold.value_bytes().unwrap_or_else(|| read(&value.charged_bytes));
            (cold.references(), cold.kept.is_some(), charged_bytes, cold.kept.with_origin())
        };
        let lay_out = |held: &References| {
            let registration = value.registration();
            let references = held.clone();
            self.measure(&Writing { registration, id: value.id(), charged_bytes, references, body })
        };
        let mut measured = lay_out(&held)?;
        let found = measured.references.len();
        if written && found > 0 {
            // A frame of it is somewhere: what its codec hands over is the last of the references that it has.
            let all = held.as_deref().map_or(&[][..], Vec::as_slice);
            let before = all.get(..all.len().saturating_sub(found)).unwrap_or_default();
            held = references(before.to_vec());
            measured = lay_out(&held)?;
        }
        let Measured { frame, references: found } = measured;
        gather.at = frame.header().header_bytes();
        gather.sum = Some(self.back.store.summing());
        frame.write_content(gather).map_err(|error| frame_error(&frame, error))?;
        let content_checksum = gather.sum.take().map_or(0, |sum| sum.finish());
        // A copy of another pool's value is given on under its owner's name.
        let origin = claim.as_deref().and_then(|claim| claim.origin.as_ref());
        let origin = origin.filter(|origin| origin.remote().is_some());
        let (id, pool) = self.back.writer(value.id(), origin);
        let header = Header { id, pool, content_checksum, ..frame.header().clone() };
        let before = reference_count(held.as_ref().map_or(0, |held| held.len()));
        Ok(Sealed { bytes: self.sealed(&header), header, before, references: joined(&held, found) })
    }

    fn sealed(&self, header: &Header) -> Bytes {
        header.encode(|bytes| self.back.store.checksum(bytes)).into()
    }

    fn export_from_disk(
        &self,
        value: &AnyRef,
        claim: Arc<FrameClaim>,
        wait: Wait,
    ) -> Result<Export> {
        let own = claim.frame();
        let opened = self.open_own(&own, own.trust(), &mut self.room(0, wait)?);
        let opened = opened.map_err(|error| match own.origin {
            Some(origin) => origin.explain(value.id(), error),
            None => error,
        });
        let Opened { frame, header: found, .. } = opened?;
        self.keep_mapped_limit();
        // A value that was restored has a name of its own here.
        let header = Header { id: value.id(), pool: self.id, ..found.clone() };
        let as_it_lies = header == found;
        let content_at = usize::try_from(header.header_bytes()).unwrap_or(frame.len());
        let content = frame.slice(content_at.min(frame.len())..).into_bytes();
        let before = header.references;
        let bytes = self.sealed(&header);
        let references = claim.references.clone();
        Ok(Export {
            sealed: Arc::new(Sealed { header, bytes, before, references }),
            value: value.clone(),
            from: From::Frame { content, claim, as_it_lies },
        })
    }
}

/// Goes through a content: keeps it in pieces while that takes little memory, and sums it up if it is asked to.
struct Gather {
    at: u64,
    /// `None` once the codec has made too much.
    pieces: Option<Vec<Piece>>,
    /// What it has made since the last piece.
    made: Vec<u8>,
    made_bytes: usize,
    sum: Option<Box<dyn Summing>>,
}

impl Gather {
    fn new() -> Self {
        let pieces = Some(Vec::new());
        Self { at: 0, pieces, made: Vec::new(), made_bytes: 0, sum: None }
    }

    fn sum_up(&mut self, bytes: &[u8]) {
        if let Some(sum) = &mut self.sum {
            sum.update(bytes);
        }
        self.at = self.at.saturating_add(bytes.len() as u64);
    }

    /// Makes a piece of what was made since the last one.
    fn flush(&mut self) {
        let made = std::mem::take(&mut self.made);
        let at = self.at.saturating_sub(made.len() as u64);
        if let Some(pieces) = self.pieces.as_mut().filter(|_| !made.is_empty()) {
            pieces.push(Piece { at, bytes: made.into() });
        }
    }

    /// All of it, if it is few enough.
    fn finish(mut self) -> Option<Vec<Piece>> {
        self.flush();
        self.pieces
    }
}

impl Content for Gather {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.made_bytes = self.made_bytes.saturating_add(bytes.len());
        if self.made_bytes > MADE_MAX {
            self.pieces = None;
            self.made = Vec::new();
        }
        if self.pieces.is_some() {
            self.made.extend_from_slice(bytes);
        } else if self.sum.is_none() {
            return Err(enough());
        }
        self.sum_up(bytes);
        Ok(())
    }

    fn write_buffer(&mut self, buffer: &Buffer) -> Result<(), StoreError> {
        if buffer.len() < LENT {
            return self.write(buffer);
        }
        self.flush();
        if let Some(pieces) = &mut self.pieces {
            pieces.push(Piece { at: self.at, bytes: buffer.clone().into_bytes() });
        } else if self.sum.is_none() {
            return Err(enough());
        }
        self.sum_up(buffer);
        Ok(())
    }
}

/// Gives a part of a content to somebody, in pieces.
struct Ranged<'a> {
    at: u64,
    range: Range<u64>,
    piece: Vec<u8>,
    give: &'a mut dyn FnMut(Bytes) -> ControlFlow<()>,
    /// Nothing more is wanted: since the range ended, or since whoever takes it has enough.
    ended: Option<ControlFlow<()>>,
}

impl Ranged<'_> {
    /// The part of the next `len` bytes that is wanted.
    fn next(&mut self, len: usize) -> Option<Range<usize>> {
        let part = part_of(self.at, len, &self.range);
        self.at = self.at.saturating_add(len as u64);
        part
    }

    fn give(&mut self, bytes: Bytes) {
        if (self.give)(bytes).is_break() {
            self.ended = Some(ControlFlow::Break(()));
        }
    }

    fn flush(&mut self) -> ControlFlow<()> {
        if self.ended.is_none() && !self.piece.is_empty() {
            let piece = std::mem::take(&mut self.piece);
            self.give(piece.into());
        }
        self.ended.unwrap_or(ControlFlow::Continue(()))
    }

    /// Whether the codec goes on.
    fn goes_on(&mut self) -> Result<(), StoreError> {
        if self.ended.is_none() && self.at >= self.range.end {
            self.ended = Some(self.flush());
        }
        self.ended.map_or(Ok(()), |_| Err(enough()))
    }
}

impl Content for Ranged<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let mut rest = self.next(bytes.len()).and_then(|part| bytes.get(part)).unwrap_or_default();
        while !rest.is_empty() && self.ended.is_none() {
            let room = PIECE.saturating_sub(self.piece.len());
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.piece.extend_from_slice(now);
            rest = later;
            if self.piece.len() == PIECE {
                let _ = self.flush();
            }
        }
        self.goes_on()
    }

    fn write_buffer(&mut self, buffer: &Buffer) -> Result<(), StoreError> {
        if buffer.len() < LENT {
            return self.write(buffer);
        }
        if let Some(part) = self.next(buffer.len())
            && self.flush().is_continue()
        {
            self.give(buffer.slice(part).into_bytes());
        }
        self.goes_on()
    }
}

/// What a codec is told that need not go on.
fn enough() -> StoreError {
    StoreError::new(StoreErrorKind::Codec, "nobody wants the rest of this frame")
}

impl<C: Send + Sync + 'static> Pool<C> {
    /// The value of that name, as [`DRef::id`](crate::DRef::id) says it, counted once more; `None` when it is gone, or was
    /// deleted. Touches nothing else.
    #[must_use]
    pub fn find(&self, id: Id) -> Option<Untyped> {
        self.check_process().ok()?;
        let entry = sync::lock(&self.shared().index).entry(id)?;
        let found = AnyRef::again(&entry)?;
        self.shared().refusal(&found).is_none().then(|| Untyped::new(found))
    }
}
