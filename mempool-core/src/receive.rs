//! `Receiving`: takes in the frame of a value whose type this process may not know. What comes is checked whole before it is
//! a value.
//!
//! ```text
//!                    room is there                              checked
//!  receive(bytes) ─────────────────▶ one buffer, reserved whole ───────▶ resident, as it came
//!       │  no room in time, or more than the limit              checked
//!       └─────────────────────────▶ the store, piece by piece ─────────▶ spilled
//! ```

use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use crate::budget::Wait;
use crate::buffer::{ALIGNMENT, Buffer, BufferMut};
use crate::claim::{FrameClaim, Kept};
use crate::codec::copy_into;
use crate::dref::{AnyRef, References, references};
use crate::entry::{Cold, Contents, Entry, EntryRef, Held, Home};
use crate::error::{Error, FrameDamage, Result, StoreError, StoreErrorKind};
use crate::export::Sealed;
use crate::fork::Maker;
use crate::frame::{Frame, HEADER_BYTES, Header, SECTION_BYTES, SECTIONS_MAX};
use crate::id::Id;
use crate::names::{Names, Untyped};
use crate::options::SetOptions;
use crate::pool::Pool;
use crate::registration::{ReadBack, Registration};
use crate::restored::{Origin, Whence};
use crate::shared::{Shared, caught, frame_error};
use crate::sink::{Sink, Source, Trust};
use crate::stats::count;
use crate::store::{Handle, Summing};
use crate::sync::atomic::Ordering;
use crate::sync::{self, Mutex};
use crate::word::{State, Word};

/// What goes to the store at once.
const PIECE: usize = 256 << 10;

/// So many pieces may wait for the store.
const PIECES: usize = 2;

impl<C: Send + Sync + 'static> Pool<C> {
    /// Makes room for a frame of `frame_bytes` that comes from elsewhere, and waits for it as [`set`](Self::set) does.
    ///
    /// What its buffer takes is reserved before the first byte comes. Where there is no room in that time, or the frame is
    /// larger than the whole limit, it goes to the store as it comes.
    ///
    /// ```
    /// use mempool_core::{Blob, PoolOptions, SetOptions};
    ///
    /// let (sender, receiver) = (PoolOptions::new().open(Blob), PoolOptions::new().open(Blob));
    /// let export = sender.export(&sender.set(vec![7; 1000])?.untyped())?;
    ///
    /// let mut receiving = receiver.receive(export.frame_bytes())?;
    /// for part in export.slices(0..export.frame_bytes())?.expect("a blob is lent as it lies") {
    ///     receiving.write(&part)?;
    /// }
    /// let value = receiving.finish(export.type_name(), Vec::new(), SetOptions::new())?;
    /// assert_eq!(receiver.get(&receiver.typed::<Vec<u8>>(&value)?)?.len(), 1000);
    /// # Ok::<(), mempool_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Frame`] for fewer bytes than any frame has; [`Error::Spill`], [`Error::Allocation`], [`Error::Closed`],
    /// [`Error::Forked`].
    pub fn receive(&self, frame_bytes: u64) -> Result<Receiving> {
        self.receive_within(frame_bytes, self.patience())
    }

    /// As [`receive`](Self::receive), waiting for room as `wait` says.
    ///
    /// # Errors
    /// As [`receive`](Self::receive), and [`Error::Cancelled`].
    pub fn receive_within(&self, frame_bytes: u64, wait: Wait) -> Result<Receiving> {
        self.shared().check_open()?;
        Receiving::new(self.shared(), frame_bytes, wait)
    }
}

/// A frame on its way in.
///
/// *Ownership*: what was reserved for it is given back, in memory and in the store, when it is dropped before its end, and
/// by every error of [`finish`](Self::finish). *Threads*: [`write`](Self::write) blocks where the frame goes to the store.
pub struct Receiving {
    shared: Arc<Shared>,
    slot: Slot,
    frame_bytes: u64,
    received_bytes: u64,
    /// `None` once it has failed.
    into: Option<Into>,
    maker: Maker,
}

/// Where the bytes go.
enum Into {
    Memory(BufferMut),
    /// The header, which is not there whole.
    Header(Vec<u8>),
    Store(Stream),
}

impl Receiving {
    fn new(shared: &Arc<Shared>, frame_bytes: u64, wait: Wait) -> Result<Self> {
        if frame_bytes < HEADER_BYTES {
            let damage = FrameDamage::Length { expected: HEADER_BYTES, found: frame_bytes };
            return Err(damaged(damage));
        }
        let slot = Slot::claim(shared)?;
        let into = match Self::reserve(shared, frame_bytes, wait) {
            Ok(buffer) => Into::Memory(buffer),
            Err(Error::TooLarge { .. } | Error::NoRoom(_)) => Into::Header(Vec::new()),
            Err(error) => return Err(error),
        };
        let (shared, into, maker) = (Arc::clone(shared), Some(into), Maker::here());
        Ok(Self { shared, slot, frame_bytes, received_bytes: 0, into, maker })
    }

    fn reserve(shared: &Arc<Shared>, frame_bytes: u64, wait: Wait) -> Result<BufferMut> {
        let limit_bytes = shared.ledger.limit();
        let too_large = Error::TooLarge { asked_bytes: frame_bytes, limit_bytes };
        if frame_bytes > limit_bytes {
            return Err(too_large);
        }
        let Ok(len) = usize::try_from(frame_bytes) else { return Err(too_large) };
        let reservation = shared.ledger.reserve(Buffer::allocation_bytes(len, ALIGNMENT)?, wait)?;
        BufferMut::with_capacity(len, ALIGNMENT, reservation)
    }

    /// How long the frame is.
    #[must_use]
    pub fn frame_bytes(&self) -> u64 {
        self.frame_bytes
    }

    /// How much of it has come.
    #[must_use]
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Whether it goes to the store, because there is no room in memory.
    #[must_use]
    pub fn goes_to_store(&self) -> bool {
        !matches!(self.into, Some(Into::Memory(_)))
    }

    /// Takes the next bytes. A frame that cannot be one is refused as soon as that is seen.
    ///
    /// # Errors
    /// [`Error::Frame`] for more bytes than were announced, and for a header that is damaged or says another length;
    /// what the store says; [`Error::Forked`]. Nothing can be written after an error.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.shared.check_process()?;
        let Some(into) = self.into.take() else { return Err(failed_before()) };
        let before = self.received_bytes;
        let found = before.saturating_add(bytes.len() as u64);
        if found > self.frame_bytes {
            return Err(damaged(FrameDamage::Length { expected: self.frame_bytes, found }));
        }
        self.received_bytes = found;
        self.into = Some(match into {
            Into::Memory(mut buffer) => {
                buffer.extend_from_slice(bytes);
                if before < HEADER_BYTES && found >= HEADER_BYTES {
                    self.check_length(&buffer)?;
                }
                Into::Memory(buffer)
            }
            Into::Header(mut header) => {
                header.extend_from_slice(bytes);
                match self.header_of(&header)? {
                    None => Into::Header(header),
                    Some(whole) => {
                        let rest = header.split_off(whole.header_len());
                        let mut stream = Stream::start(&self.shared, self.slot.id, whole)?;
                        stream.write(&rest)?;
                        Into::Store(stream)
                    }
                }
            }
            Into::Store(mut stream) => {
                stream.write(bytes)?;
                Into::Store(stream)
            }
        });
        Ok(())
    }

    /// Compares what was announced with what the first bytes say.
    fn check_length(&self, start: &[u8]) -> Result<()> {
        let said = start.first_chunk().and_then(Header::frame_bytes_of);
        match said {
            Some(said) if said == self.frame_bytes => Ok(()),
            Some(found) => Err(damaged(FrameDamage::Length { expected: self.frame_bytes, found })),
            None => {
                let found = start.first_chunk().copied().unwrap_or_default();
                Err(damaged(FrameDamage::Magic { found }))
            }
        }
    }

    /// The header, once all its bytes are there.
    fn header_of(&self, bytes: &[u8]) -> Result<Option<Header>> {
        let Some(fixed) = bytes.first_chunk::<128>() else { return Ok(None) };
        self.check_length(fixed)?;
        let (sections, header_bytes) = Header::sections_of(fixed);
        if sections > SECTIONS_MAX || header_bytes != header_bytes_of(sections) {
            let found = u64::from(sections);
            return Err(damaged(FrameDamage::Field { field: "section count", found }));
        }
        if (bytes.len() as u64) < header_bytes {
            return Ok(None);
        }
        let header = Header::decode(bytes, |bytes| self.shared.back.store.checksum(bytes));
        let header = header.map_err(damaged)?;
        header.check_as_written().map_err(damaged)?;
        Ok(Some(header))
    }

    /// Ends the frame, and makes a value of it that is called `type_name` until somebody asks for it as a type of its
    /// format ([`Pool::typed`]). Its `references` are those that its header counts, in the order of their indices.
    ///
    /// The value is resident, as it came, or in the store. The first get by a codec checks the content once more, as bytes
    /// that are foreign; a codec that maps shares them. One that decodes takes what it decodes beside them, until the value
    /// is evicted. A discardable value that went to the store stays there.
    ///
    /// # Errors
    /// [`Error::Frame`] for a frame that is damaged, not whole, laid out as no writer does it, or has another count of
    /// references; [`Error::WrongPool`] for references of another pool, [`Error::NameTooLong`], what the store says,
    /// [`Error::Closed`], [`Error::Forked`]. Everything that was reserved is then given back.
    pub fn finish(
        mut self,
        type_name: &str,
        references: Vec<Untyped>,
        options: SetOptions,
    ) -> Result<Untyped> {
        self.shared.check_open()?;
        options.name.as_deref().map_or(Ok(()), Names::check)?;
        let shared = Arc::clone(&self.shared);
        let held = shared.own_references(references)?;
        let Some(into) = self.into.take() else { return Err(failed_before()) };
        let (expected, found) = (self.frame_bytes, self.received_bytes);
        if found != expected {
            return Err(damaged(FrameDamage::Length { expected, found }));
        }
        let contents = match into {
            Into::Memory(buffer) => self.resident(buffer.freeze(), type_name, held, &options)?,
            Into::Header(_) => return Err(damaged(FrameDamage::Length { expected, found: 0 })),
            Into::Store(stream) => self.spilled(stream, type_name, held, &options)?,
        };
        Ok(Untyped::new(self.publish(contents, options)))
    }

    /// What a value starts with that lies in memory as it came.
    fn resident(
        &self,
        frame: Buffer,
        type_name: &str,
        held: Vec<AnyRef>,
        options: &SetOptions,
    ) -> Result<New> {
        let shared = &self.shared;
        let checksum = |bytes: &[u8]| shared.back.store.checksum(bytes);
        let mut header = Header::check_whole(&frame, checksum).map_err(damaged)?;
        header.check_as_written().map_err(damaged)?;
        check_padding(&header, &frame).map_err(damaged)?;
        check_references(&header, &held)?;
        let align = header.align as usize;
        let frame = match frame.as_ptr().addr().is_multiple_of(align) {
            true => frame,
            // Few codecs ask for more than a buffer has.
            false => copy_into(&mut shared.room(0, shared.patience())?, &frame, align)?,
        };
        // From here on it is a value of this pool's.
        (header.id, header.pool) = (self.slot.id, shared.id);
        let home = shared.home_of_format(header.format, type_name.to_owned());
        let (charged_bytes, value_bytes) = (frame.reserved_bytes(), header.resident_bytes);
        let references = references(held);
        let sealed = Sealed::received(header.clone(), references.clone(), checksum);
        let mut cold = Cold::new(Kept::No, references.clone(), None);
        cold.note_value_bytes(value_bytes);
        cold.note_sealed(&Arc::new(sealed));
        let held = Received {
            home: Arc::clone(&home),
            header,
            references,
            frame: Mutex::new(Some(frame)),
            typing: Mutex::new(()),
            typed: OnceLock::new(),
        };
        let value: Option<Box<dyn Held>> = Some(Box::new(held));
        let discardable = options.discardable;
        Ok(New {
            home,
            state: State::Resident,
            contents: Contents { value, charged_bytes, discardable, cold },
        })
    }

    /// What a value starts with that was written to the store as it came.
    fn spilled(
        &self,
        stream: Stream,
        type_name: &str,
        held: Vec<AnyRef>,
        options: &SetOptions,
    ) -> Result<New> {
        let shared = &self.shared;
        let header = stream.header.clone();
        check_references(&header, &held)?;
        let handle = stream.finish()?;
        shared.back.note_written(&handle);
        count(&shared.counters.written_bytes, handle.bytes);
        count(&shared.counters.straight_to_disk, 1);
        let home = shared.home_of_format(header.format, type_name.to_owned());
        let references = references(held);
        let charged_bytes = header.resident_bytes;
        let claim = shared.claim_received(
            handle,
            self.slot.id,
            charged_bytes,
            &home.registration,
            &references,
        );
        let cold = Cold::new(Kept::Claimed(claim), references, None);
        let discardable = options.discardable;
        let contents = Contents { value: None, charged_bytes, discardable, cold };
        Ok(New { home, state: State::Spilled, contents })
    }

    fn publish(&mut self, new: New, options: SetOptions) -> AnyRef {
        let New { home, state, mut contents } = new;
        contents.cold.set_destructor(options.destructor);
        let Id { slot, generation } = self.slot.take();
        let word = Word::new(generation, state, state == State::Spilled);
        let entry = EntryRef::new(Entry::new(home, slot, word, contents));
        let value = self.shared.publish_first(&entry, state == State::Resident);
        count(&self.shared.counters.sets, 1);
        if let Some(name) = options.name {
            // A pool that was closed meanwhile has ended the value.
            let _ = self.shared.names.insert(&name, value.clone());
        }
        value
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if !self.maker.is_here() {
            // The thread behind a stream is the parent's, and so is the ledger.
            std::mem::forget(self.into.take());
        }
    }
}

impl fmt::Debug for Receiving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiving")
            .field("frame_bytes", &self.frame_bytes)
            .field("received_bytes", &self.received_bytes)
            .field("goes_to_store", &self.goes_to_store())
            .finish_non_exhaustive()
    }
}

/// What is to become a value.
struct New {
    home: Arc<Home>,
    state: State,
    contents: Contents,
}

/// A slot that is kept for a frame on its way; dropped, it is free again.
struct Slot {
    shared: Arc<Shared>,
    id: Id,
    taken: bool,
}

impl Slot {
    fn claim(shared: &Arc<Shared>) -> Result<Self> {
        let id = shared.claim_slot()?.take();
        Ok(Self { shared: Arc::clone(shared), id, taken: false })
    }

    /// The slot, which the value now fills.
    fn take(&mut self) -> Id {
        self.taken = true;
        self.id
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.taken && self.shared.maker.is_here() {
            sync::lock(&self.shared.index).free_slot(self.id.slot);
        }
    }
}

fn damaged(damage: FrameDamage) -> Error {
    Error::Frame { what: "a value that was received".to_owned(), damage }
}

fn failed_before() -> Error {
    StoreError::new(StoreErrorKind::Closed, "the frame was refused before").into()
}

fn header_bytes_of(sections: u32) -> u64 {
    HEADER_BYTES.saturating_add(SECTION_BYTES.saturating_mul(u64::from(sections)))
}

fn check_references(header: &Header, held: &[AnyRef]) -> Result<()> {
    let found = u64::from(header.references);
    match found == held.len() as u64 {
        true => Ok(()),
        false => Err(damaged(FrameDamage::Field { field: "references", found })),
    }
}

/// What lies between the sections of a frame is zero: it is not kept where the frame is written anew.
fn check_padding(header: &Header, frame: &[u8]) -> Result<(), FrameDamage> {
    let mut at = header.header_bytes();
    for section in &header.sections {
        let gap = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        let between = frame.get(gap(at)..gap(section.offset)).unwrap_or_default();
        check_zero(between)?;
        at = section.offset.saturating_add(section.bytes);
    }
    Ok(())
}

fn check_zero(bytes: &[u8]) -> Result<(), FrameDamage> {
    match bytes.iter().find(|&&byte| byte != 0) {
        Some(&byte) => Err(FrameDamage::Field { field: "padding", found: u64::from(byte) }),
        None => Ok(()),
    }
}

/// A frame on its way to the store, which a thread of its own writes.
struct Stream {
    /// As it came.
    header: Header,
    gathered: Vec<u8>,
    pieces: SyncSender<Piece>,
    writer: JoinHandle<Result<Handle>>,
}

/// What the writing thread is given.
enum Piece {
    Bytes(Vec<u8>),
    /// That was all, and it is wanted. Without this nothing stays in the store.
    End,
}

impl Stream {
    fn start(shared: &Arc<Shared>, id: Id, header: Header) -> Result<Self> {
        let (pieces, receiver) = sync_channel(PIECES);
        let own = Header { id, pool: shared.id, ..header.clone() };
        let shared = Arc::clone(shared);
        let write = move || {
            let comes = RefCell::new(Some(Comes::new(receiver, shared.back.store.summing())));
            let body = |sink: &mut Sink<'_>| {
                // What has come cannot be had a second time, as a store with several directories may want it.
                let comes = comes.borrow_mut().take();
                comes
                    .ok_or_else(|| StoreError::new(StoreErrorKind::Io, "a stream comes once"))?
                    .pass(&own, sink)
            };
            let frame = Frame::again(own.clone(), &body, own.references);
            catch_unwind(AssertUnwindSafe(|| shared.back.store.write(&frame)))
                .unwrap_or_else(|_| Err(StoreError::new(StoreErrorKind::Io, "the store panicked")))
                .map_err(|error| frame_error(&frame, error))
        };
        let thread = std::thread::Builder::new().name("mempool-receive".into());
        let writer =
            thread.spawn(write).map_err(|error| StoreError::new(StoreErrorKind::Io, error))?;
        Ok(Self { header, gathered: Vec::new(), pieces, writer })
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let room = PIECE.saturating_sub(self.gathered.len());
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.gathered.extend_from_slice(now);
            bytes = later;
            if self.gathered.len() == PIECE {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let gathered = std::mem::replace(&mut self.gathered, Vec::with_capacity(PIECE));
        if gathered.is_empty() || self.pieces.send(Piece::Bytes(gathered)).is_ok() {
            return Ok(());
        }
        // It does not listen any more: it has failed, and says why at the end.
        Err(failed_before())
    }

    /// Where the frame lies; all of it, checked.
    fn finish(mut self) -> Result<Handle> {
        // Whether they are taken or not, the thread says what became of them.
        let _ = self.flush();
        let Self { pieces, writer, .. } = self;
        let _ = pieces.send(Piece::End);
        drop(pieces);
        let panicked = |_| Err(StoreError::new(StoreErrorKind::Io, "the store panicked").into());
        writer.join().unwrap_or_else(panicked)
    }
}

/// The content of a frame, as it comes.
struct Comes {
    pieces: Receiver<Piece>,
    piece: Vec<u8>,
    /// How much of the piece was passed on.
    done: usize,
    sum: Box<dyn Summing>,
}

impl Comes {
    fn new(pieces: Receiver<Piece>, sum: Box<dyn Summing>) -> Self {
        Self { pieces, piece: Vec::new(), done: 0, sum }
    }

    /// Passes the sections on, and fails unless they are what the header vouches for, and are wanted.
    fn pass(mut self, header: &Header, sink: &mut Sink<'_>) -> Result<()> {
        let mut at = header.header_bytes();
        for section in &header.sections {
            let gap = section.offset.saturating_sub(at);
            self.take(gap, &mut |padding| check_zero(padding).map_err(damaged))?;
            sink.section(header.section_align(section))?;
            self.take(section.bytes, &mut |bytes| sink.write(bytes))?;
            at = section.offset.saturating_add(section.bytes);
        }
        let Ok(Piece::End) = self.pieces.recv() else { return Err(given_up()) };
        let (expected, found) = (header.content_checksum, self.sum.finish());
        match found == expected || mutant!("received_unchecked") {
            true => Ok(()),
            false => Err(damaged(FrameDamage::Checksum { part: "content", expected, found })),
        }
    }

    /// Gives the next `left` bytes.
    fn take(&mut self, mut left: u64, give: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        while left > 0 {
            let rest = self.piece.get(self.done..).unwrap_or_default();
            if rest.is_empty() {
                let Ok(Piece::Bytes(piece)) = self.pieces.recv() else { return Err(given_up()) };
                self.sum.update(&piece);
                (self.piece, self.done) = (piece, 0);
                continue;
            }
            let count = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
            give(&rest[..count])?;
            self.done = self.done.saturating_add(count);
            left = left.saturating_sub(count as u64);
        }
        Ok(())
    }
}

/// What the store is told of a frame that ended too soon; nobody waits for it.
fn given_up() -> Error {
    StoreError::new(StoreErrorKind::Codec, "the frame did not come to its end").into()
}

/// A value as it came: a frame in memory, whose type is not known or was not asked for; and its value, once it was.
pub(crate) struct Received {
    home: Arc<Home>,
    /// Of this pool's own.
    header: Header,
    references: References,
    /// The frame, unless the value shares its bytes now: then it alone holds them, as any value of its codec does.
    frame: Mutex<Option<Buffer>>,
    /// Held by the thread that makes the value. Never asked for by who writes or evicts.
    typing: Mutex<()>,
    typed: OnceLock<Box<dyn Held>>,
}

impl Received {
    pub(crate) fn of(held: &dyn Held) -> Option<&Self> {
        (held as &dyn std::any::Any).downcast_ref()
    }

    /// Whether that codec and type reads it.
    pub(crate) fn is_of(&self, key: std::any::TypeId) -> bool {
        self.home.registration.key() == key
    }

    fn frame(&self) -> Option<Buffer> {
        sync::lock(&self.frame).clone()
    }

    /// The value, made by its codec when it is asked for first. The caller holds a pin.
    pub(crate) fn typed(&self) -> Result<&dyn Held> {
        if let Some(typed) = self.typed.get() {
            return Ok(&**typed);
        }
        let _turn = sync::lock(&self.typing);
        if let Some(typed) = self.typed.get() {
            return Ok(&**typed);
        }
        let (shared, registration) = (&self.home.shared, &self.home.registration);
        let frame = self.frame().expect("it has its frame until it has its value");
        let room = if registration.maps() { 0 } else { self.header.resident_bytes };
        let room = shared.room(room, shared.patience())?;
        let held = self.references.as_deref().map_or(&[][..], Vec::as_slice);
        let trust = if mutant!("received_believed") { Trust::Own } else { Trust::Foreign };
        let mut source = Source::new(&frame, &self.header, held, trust);
        let ReadBack { held, charged_bytes } =
            caught(registration, || registration.mmread(&mut source, room))?;
        let typed = &**self.typed.get_or_init(|| held);
        self.note_typed(frame, charged_bytes);
        Ok(typed)
    }

    /// The value is there: what it shares it holds alone, and what it takes beside the frame is told.
    fn note_typed(&self, frame: Buffer, charged_bytes: u64) {
        let (shared, registration) = (&self.home.shared, &self.home.registration);
        let charged_bytes = match registration.maps() {
            true => charged_bytes,
            false => charged_bytes.saturating_add(frame.reserved_bytes()),
        };
        let entry = sync::lock(&shared.index).entry(self.header.id);
        if let Some(entry) = &entry {
            entry.charged_bytes.store(charged_bytes, Ordering::Relaxed);
        }
        if registration.maps() {
            // Its codec writes it from here on, and may lay it out otherwise than its sender did.
            let sealed = entry.and_then(|entry| sync::lock(&entry.cold).take_sealed());
            let ours = sync::lock(&self.frame).take();
            drop((sealed, ours));
        }
        drop(frame);
    }

    /// Writes the sections as they came, or what shares their bytes now.
    pub(crate) fn mmwrite(
        &self,
        registration: Option<&dyn Registration>,
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        let Some(frame) = self.frame() else {
            let (typed, registration) =
                self.typed.get().zip(registration).expect("a value takes the place of its frame");
            return registration.mmwrite(&**typed, sink);
        };
        let mut source = Source::new(&frame, &self.header, &[], Trust::Own);
        self.header.sections.iter().try_for_each(|section| {
            sink.section(self.header.section_align(section))?;
            sink.write_buffer(&source.section()?)
        })
    }
}

impl Held for Received {
    fn name(&self) -> String {
        self.home.registration.name()
    }

    fn held_outside(&self) -> bool {
        let typed = self.typed.get().is_some_and(|typed| typed.held_outside());
        typed || sync::lock(&self.frame).as_ref().is_some_and(Buffer::watch_shared)
    }

    fn drops_user_code(&self) -> bool {
        self.typed.get().is_some_and(|typed| typed.drops_user_code())
    }

    fn pay_back(&mut self) {
        if let Some(typed) = self.typed.get_mut() {
            typed.pay_back();
        }
        drop(sync::lock(&self.frame).take());
    }

    fn is_view(&self) -> bool {
        false
    }
}

impl Shared {
    /// How long a call waits that says nothing else.
    pub(crate) fn patience(&self) -> Wait {
        Wait::For(self.ledger.timeout())
    }

    /// What a value keeps of a frame that was written of it: whether its codec has looked at it.
    pub(crate) fn kept_of(&self, entry: &Entry, handle: Handle, references: &References) -> Kept {
        let received = Received::of(entry.value_of_worker());
        let Some(received) = received.filter(|received| received.typed.get().is_none()) else {
            return Kept::own(handle);
        };
        let charged_bytes = received.header.resident_bytes;
        let registration = entry.registration();
        let claim =
            self.claim_received(handle, entry.id(), charged_bytes, registration, references);
        Kept::Claimed(claim)
    }

    /// What a value keeps of a frame that was copied: a copy is no better known than the frame was.
    pub(crate) fn kept_anew(&self, of: &FrameClaim, handle: Handle) -> Kept {
        if !of.origin.as_ref().is_some_and(Origin::is_received) {
            return Kept::own(handle);
        }
        let FrameClaim { id, charged_bytes, registration, references, .. } = of;
        let claim = self.claim_received(handle, *id, *charged_bytes, registration, references);
        Kept::Claimed(claim)
    }

    /// A claim on a frame of ours whose content no codec has looked at.
    fn claim_received(
        &self,
        handle: Handle,
        id: Id,
        charged_bytes: u64,
        registration: &Arc<dyn Registration>,
        references: &References,
    ) -> Arc<FrameClaim> {
        Arc::new(FrameClaim {
            back: Arc::clone(&self.back),
            handle: Some(handle),
            charged_bytes,
            id,
            registration: Arc::clone(registration),
            references: references.clone(),
            origin: Some(Origin::new(id, self.id, Whence::Received)),
        })
    }
}
