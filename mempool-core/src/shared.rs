//! What all fronts of one pool share: the table, the ledger, the store; and the life of an entry.
//!
//! Pins, evictions, loads and ends of entries meet here. The steps themselves are in `word.rs`; this file does what
//! the steps call for, and never holds a lock while it does I/O or runs a codec.

use std::any::TypeId;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::{Arc, Weak};

use crate::budget::{Ledger, Wait};
use crate::buffer::Buffer;
use crate::claim::{Back, Kept, OwnFrame};
use crate::codec::{Format, Room};
use crate::dref::{AnyRef, References, joined};
use crate::entry::{Entry, EntryRef, Held, Home};
use crate::error::{CodecError, Error, FrameDamage, Result, StoreError, StoreErrorKind};
use crate::events;
use crate::evict::Passes;
use crate::fork::Maker;
use crate::frame::{Body, Frame, Header, Measured, Section};
use crate::id::Id;
use crate::index::{Index, Touched};
use crate::names::Names;
use crate::origin::{self, Formats, OpenedRemote};
use crate::parking::Parking;
use crate::prefetch::Prefetcher;
use crate::recency::{Policy, SharedLog, with_log};
use crate::reclaim::Work;
use crate::registration::{ReadBack, Registration};
use crate::restored::{Origin, check_origin};
use crate::sink::{Sink, Source, Trust};
use crate::sites::Sites;
use crate::stats::{Counters, Stats, count, read};
use crate::store::{Fingerprint, Handle};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use crate::sync::{self, Mutex, MutexGuard};
use crate::trim::MappedLimit;
use crate::word::{Snapshot, State};
use crate::writers::{WriteAhead, Writers};
use crate::young::Queue;

/// From this size on the codec checks what it will show while another thread computes the checksum.
const CHECKED_BESIDE: usize = 8 << 20;

/// A codec instance with a type that the pool has met.
pub(crate) struct Known {
    /// The address of the instance, and the pair of codec and type.
    pub(crate) key: (usize, TypeId),
    /// Keeps the instance alive, so that its address names it.
    pub(crate) registration: Arc<dyn Registration>,
    /// What its entries have in common, as long as there are any: it keeps the pool, so the pool does not keep it.
    home: Weak<Home>,
}

impl Known {
    pub(crate) fn new(key: (usize, TypeId), registration: Arc<dyn Registration>) -> Self {
        Self { key, registration, home: Weak::new() }
    }

    /// The home of its entries.
    pub(crate) fn home(&mut self, shared: &Arc<Shared>) -> Arc<Home> {
        self.home.upgrade().unwrap_or_else(|| {
            let registration = Arc::clone(&self.registration);
            let home = Arc::new(Home { shared: Arc::clone(shared), registration });
            self.home = Arc::downgrade(&home);
            home
        })
    }
}

/// The state of one pool.
pub(crate) struct Shared {
    /// Names the pool, in this process and in its frames.
    pub(crate) id: u64,
    /// Names it to people.
    pub(crate) name: String,
    /// The process that opened it. A forked child of it takes none of the locks below.
    pub(crate) maker: Maker,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) index: Mutex<Index>,
    /// Entries that were read since the index last looked.
    pub(crate) touched: Touched,
    /// The index's clock, for readers.
    pub(crate) clock: AtomicU64,
    pub(crate) back: Arc<Back>,
    pub(crate) names: Names,
    /// What values have in common whose types are not known here.
    pub(crate) formats: Formats,
    pub(crate) prefetcher: Prefetcher,
    /// Held by the one thread that retains values.
    pub(crate) retaining: Mutex<()>,
    pub(crate) parking: Parking,
    pub(crate) counters: Counters,
    pub(crate) registrations: Mutex<Vec<Known>>,
    pub(crate) logs: Mutex<Vec<SharedLog>>,
    /// Gets of threads that have ended.
    pub(crate) past_gets: AtomicU64,
    pub(crate) closed: AtomicBool,
    pub(crate) passes: Passes,
    pub(crate) writers: Writers,
    pub(crate) mapped_limit: MappedLimit,
    /// Every pin's call site, if that is kept.
    pub(crate) pin_sites: Option<Sites>,
}

/// A slot that was claimed for a value that is on its way; dropped, it is free again.
pub(crate) struct Vacancy<'a> {
    shared: &'a Shared,
    id: Id,
}

impl Vacancy<'_> {
    pub(crate) fn id(&self) -> Id {
        self.id
    }

    /// The slot, which the value now fills.
    pub(crate) fn take(self) -> Id {
        std::mem::ManuallyDrop::new(self).id
    }
}

impl Drop for Vacancy<'_> {
    fn drop(&mut self) {
        if self.shared.maker.is_here() {
            sync::lock(&self.shared.index).free_slot(self.id.slot);
        }
    }
}

/// A frame of our own that was written, and the references that it holds.
pub(crate) struct Written {
    pub(crate) handle: Handle,
    pub(crate) references: References,
}

impl<'a> Writing<'a> {
    /// Of an entry that is in memory.
    pub(crate) fn of(entry: &'a Entry, body: &'a Body<'a>) -> Self {
        let cold = sync::lock(&entry.cold);
        // What the value takes; the entry has what it takes now, which is more for a copy of its frame.
        let charged_bytes = cold.value_bytes().unwrap_or_else(|| read(&entry.charged_bytes));
        Self {
            registration: entry.registration(),
            id: entry.id(),
            charged_bytes,
            references: cold.references(),
            body,
        }
    }
}

/// A frame that was opened, and how much of it is still to be checked by the codec.
pub(crate) struct Opened {
    pub(crate) frame: Buffer,
    pub(crate) header: Header,
    pub(crate) trust: Trust,
}

/// What a frame is written from.
pub(crate) struct Writing<'a> {
    pub(crate) registration: &'a Arc<dyn Registration>,
    pub(crate) id: Id,
    pub(crate) charged_bytes: u64,
    pub(crate) references: References,
    pub(crate) body: &'a Body<'a>,
}

impl Shared {
    pub(crate) fn new(
        id: u64,
        name: String,
        ledger: Arc<Ledger>,
        policy: Policy,
        back: Arc<Back>,
        track_pins: bool,
    ) -> Self {
        Self {
            id,
            name,
            maker: back.maker,
            ledger,
            index: Mutex::new(Index::new(policy)),
            touched: Touched::new(),
            clock: AtomicU64::new(0),
            back,
            names: Names::default(),
            formats: Formats::default(),
            prefetcher: Prefetcher::new(),
            retaining: Mutex::new(()),
            parking: Parking::new(),
            counters: Counters::default(),
            registrations: Mutex::new(Vec::new()),
            logs: Mutex::new(Vec::new()),
            past_gets: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            passes: Passes::default(),
            writers: Writers::new(WriteAhead::threads(0)),
            mapped_limit: MappedLimit::new(None, u64::MAX),
            pin_sites: track_pins.then(Sites::default),
        }
    }

    /// A slot for a new value; an error when the pool is closed or has as many values as slots.
    pub(crate) fn claim_slot(&self) -> Result<Vacancy<'_>> {
        self.check_process()?;
        let claimed = sync::lock(&self.index).claim_slot();
        let (slot, generation) = claimed.ok_or(Error::Closed)?;
        Ok(Vacancy { shared: self, id: Id { slot, generation } })
    }

    /// Refuses a forked child of the process that opened the pool.
    #[inline]
    pub(crate) fn check_process(&self) -> Result<()> {
        if self.maker.is_here() { Ok(()) } else { Err(Error::Forked) }
    }

    /// Refuses a forked child, and everybody once the pool is closed.
    pub(crate) fn check_open(&self) -> Result<()> {
        self.check_process()?;
        if self.is_closed() { Err(Error::Closed) } else { Ok(()) }
    }

    /// Notes a get: stamps the entry, and queues it once for who will look at the stamp.
    pub(crate) fn note_get(&self, entry: &AnyRef) {
        // Relaxed: a stamp that misses a step which is under way may stand on either side of it.
        let ordered = self.clock.load(Ordering::Relaxed);
        let stamp = with_log(self.id, || self.new_log(), |log| log.note_get(ordered));
        entry.stamp.store(stamp, Ordering::Relaxed);
        // The stamp goes first: whoever takes the entry out of its queue afterwards finds it.
        match entry.noted.note() {
            None => {}
            Some(Queue::Touched) => self.touched.push(entry.holder()),
            Some(Queue::Young) => self.mapped_limit.young.push(entry.holder(), stamp),
        }
    }

    #[cold]
    fn new_log(&self) -> SharedLog {
        let log = SharedLog::default();
        let mut logs = sync::lock(&self.logs);
        logs.retain(|log| {
            let alive = Arc::strong_count(log) > 1;
            if !alive {
                // Acquire pairs with the Release of the drop by the thread that wrote the log: its last gets are seen.
                fence(Ordering::Acquire);
                count(&self.past_gets, log.gets());
            }
            alive
        });
        logs.push(Arc::clone(&log));
        log
    }

    /// Acts on the flags that the last unpin found.
    #[cold]
    pub(crate) fn after_last_unpin(&self, entry: &Entry, last: Snapshot) {
        if !self.maker.is_here() {
            return;
        }
        if last.doomed() {
            self.bury(entry);
        }
        if last.wanted() {
            entry.word.unwant();
            self.ledger.nudge();
        }
    }

    /// The last reference was dropped.
    pub(crate) fn last_reference_gone(&self, entry: &Entry) {
        if self.maker.is_here() && !entry.word.doom().doomed() {
            self.bury(entry);
        }
    }

    /// Ends a doomed entry if nobody holds it or works on it; else he who does will call this again.
    pub(crate) fn bury(&self, entry: &Entry) {
        if entry.word.bury() {
            let held = entry.take();
            held.iter().for_each(|held| self.mapped_limit.note_gone(&**held));
            self.end(entry, held);
        }
    }

    /// Gives back all that an entry had. No I/O, no code of the user's: that is queued.
    fn end(&self, entry: &Entry, held: Option<Box<dyn Held>>) {
        {
            let mut index = sync::lock(&self.index);
            index.free_slot(entry.slot);
            index.forget_ended(&self.touched);
        }
        let mut cold = std::mem::take(&mut *sync::lock(&entry.cold));
        let reclaimer = &self.back.reclaimer;
        match held {
            Some(mut held) if held.drops_user_code() => {
                held.pay_back();
                reclaimer.push(Work::Value(held));
            }
            other => drop(other),
        }
        let (references, destructor) = (cold.take_references(), cold.take_destructor());
        cold.kept.give_up(&self.back);
        for references in references.into_iter().flatten() {
            reclaimer.push(Work::References(references));
        }
        if let Some(destructor) = destructor {
            reclaimer.push(Work::Destructor(destructor));
        }
        self.parking.wake(entry.slot);
    }

    /// After a step that ended somebody's work on an entry: wakes who waited for it, buries it if it was doomed.
    pub(crate) fn settle(&self, entry: &Entry) {
        self.parking.wake(entry.slot);
        if entry.word.load().doomed() {
            self.bury(entry);
        }
    }

    /// Drops the memory of an entry whose word is `Releasing`.
    pub(crate) fn release(&self, entry: &Entry, discard: bool) {
        let held = entry.take();
        held.iter().for_each(|held| self.mapped_limit.note_gone(&**held));
        // A panic in a drop of the user's must not leave the entry half released.
        let dropped = catch_unwind(AssertUnwindSafe(move || drop(held)));
        if dropped.is_err() {
            self.back.reclaimer.note_panic();
        }
        entry.word.end_release(discard);
        if discard {
            count(&self.counters.discards, 1);
            events::discarded(self, entry);
            self.end(entry, None);
        } else {
            events::released(self, entry);
            self.settle(entry);
        }
    }

    /// Makes an entry evictable again, where its last use puts it.
    pub(crate) fn restore(&self, entry: &Entry) {
        sync::lock(&self.index).order_at_stamp(entry);
        self.settle(entry);
        self.ledger.nudge();
    }

    /// Puts a new entry in its slot, and if it is resident, in the order.
    pub(crate) fn install(&self, entry: &EntryRef, resident: bool) {
        let mut index = sync::lock(&self.index);
        index.install(entry.clone());
        if resident {
            self.order_newest_in(index, entry);
        }
    }

    /// Orders an entry as the most recently used, and publishes the time.
    pub(crate) fn order_newest(&self, entry: &Entry) {
        self.order_newest_in(sync::lock(&self.index), entry);
    }

    fn order_newest_in(&self, mut index: MutexGuard<'_, Index>, entry: &Entry) {
        let now = index.order_newest(entry, &self.touched);
        drop(index);
        self.publish_clock(now);
        // A request that looked before this entry was there must look again.
        self.ledger.nudge_waiting();
        self.writers.note_come(self, read(&entry.charged_bytes));
    }

    pub(crate) fn publish_clock(&self, now: u64) {
        self.clock.fetch_max(now, Ordering::Relaxed);
    }

    /// Why a value cannot be read now or ever; `None` when it only has to be brought back or waited for.
    pub(crate) fn refusal(&self, entry: &Entry) -> Option<Error> {
        let now = entry.word.load();
        let id = entry.id();
        match now.state() {
            State::Discarded => Some(Error::Discarded { id }),
            _ if self.closed.load(Ordering::Acquire) => Some(Error::Closed),
            _ if now.doomed() || now.state() == State::Deleted => Some(Error::Deleted { id }),
            _ => None,
        }
    }

    /// Waits until no thread works on the entry.
    pub(crate) fn wait_while_busy(&self, entry: &Entry) {
        self.parking.wait_while(entry.slot, || entry.word.load().busy());
    }

    /// Waits until the entry can be read, or no thread works on it.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub(crate) fn wait_while_absent(&self, entry: &Entry, wait: Wait) -> Result<()> {
        let absent = || {
            let now = entry.word.load();
            now.busy() && !now.readable()
        };
        let waits = || absent() && !self.ledger.is_cancelled(wait);
        self.parking.wait_while(entry.slot, waits);
        if absent() && self.ledger.is_cancelled(wait) { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Brings a value back; the word is `Loading` by this thread's step. On success the caller holds a pin.
    pub(crate) fn load(&self, entry: &Entry, wait: Wait) -> Result<()> {
        let (handle, references, claim, value_bytes) = {
            let cold = sync::lock(&entry.cold);
            (cold.kept.handle(), cold.references(), cold.kept.with_origin(), cold.value_bytes())
        };
        let charged_before = value_bytes.unwrap_or_else(|| read(&entry.charged_bytes));
        let registration = entry.registration();
        // The entry keeps its frame while the word is `Loading`.
        let frame = OwnFrame {
            handle,
            id: entry.id(),
            registration,
            charged_bytes: charged_before,
            references: references.as_deref().map_or(&[], Vec::as_slice),
            origin: claim.as_deref().and_then(|claim| claim.origin.as_ref()),
        };
        let loaded = caught(registration, || self.read_own(frame, wait));
        match loaded {
            Ok(ReadBack { held, charged_bytes }) => {
                // A view of a counted copy is resident like any other value: it can be evicted for its bytes.
                let free = charged_bytes == 0 || mutant!("copy_taken_for_a_map");
                let mapped = registration.maps() && free;
                if !mapped {
                    entry.charged_bytes.store(charged_bytes, Ordering::Relaxed);
                }
                if !mapped && registration.maps() {
                    sync::lock(&entry.cold).note_value_bytes(charged_before);
                }
                match mapped {
                    true => self.mapped_limit.note_view(entry),
                    false if entry.noted.is_young() => self.mapped_limit.young.forget(entry),
                    false => {}
                }
                entry.put(held);
                entry.word.end_load(mapped);
                count(&self.counters.loads, 1);
                if !mapped {
                    self.order_newest(entry);
                }
                self.parking.wake(entry.slot);
                events::loaded(self, entry, mapped);
                if mapped {
                    self.keep_mapped_limit();
                }
                Ok(())
            }
            Err(error) => {
                entry.word.fail_load();
                self.settle(entry);
                events::load_failed(self, entry, &error);
                Err(error)
            }
        }
    }

    /// Reads the value of a frame of our own, or of one that comes from elsewhere.
    pub(crate) fn read_own(&self, own: OwnFrame<'_>, wait: Wait) -> Result<ReadBack> {
        let trust = own.trust();
        let read = || {
            // A room of its own: what a copy of the frame takes is not what the value takes.
            let Opened { frame, header, trust } =
                self.open_own(&own, trust, &mut self.room(0, wait)?)?;
            let room = if own.registration.maps() { 0 } else { own.charged_bytes };
            let room = self.room(room, wait)?;
            own.registration.mmread(&mut Source::new(&frame, &header, own.references, trust), room)
        };
        let Some(origin) = own.origin else { return read() };
        let read = read().map_err(|error| origin.explain(own.id, error))?;
        origin.note_checked();
        Ok(read)
    }

    /// The sections of a frame of our own, each with an alignment that puts it where it stands.
    pub(crate) fn sections_of(
        &self,
        own: OwnFrame<'_>,
        trust: Trust,
    ) -> Result<Vec<(usize, Buffer)>> {
        // A frame of our own is mapped in most cases; one that lies elsewhere takes room, as a get of it does.
        let wait = own.handle.map_or(Wait::For(self.ledger.timeout()), |_| Wait::No);
        let mut room = self.room(0, wait)?;
        let Opened { frame, header, .. } = self.open_own(&own, trust, &mut room)?;
        let mut source = Source::new(&frame, &header, &[], Trust::Own);
        let place = |section: &Section| Ok((header.section_align(section), source.section()?));
        header.sections.iter().map(place).collect()
    }

    /// Opens a frame of our own, or one that comes from elsewhere.
    pub(crate) fn open_own(
        &self,
        own: &OwnFrame<'_>,
        trust: Trust,
        room: &mut Room,
    ) -> Result<Opened> {
        let damaged = |damage| Error::Frame { what: format!("value {}", own.id), damage };
        let writer = self.back.writer(own.id, own.origin);
        if let Some(remote) = own.origin.and_then(Origin::remote) {
            let _span = events::fetching(self, own.id);
            let came = self.open_remote(own, &**remote, room)?;
            let OpenedRemote { frame, header, trust, writer: other } = came;
            let writer = other.unwrap_or(writer);
            check_own(&header, own, writer, frame.len() as u64)
                .map_err(|damage| origin::explain(&**remote, own.id, damaged(damage)))?;
            return Ok(Opened { frame, header, trust });
        }
        let handle = own.handle.expect("a spilled entry has its frame");
        let _span = events::reading(self, own.id, handle.bytes);
        let store = &self.back.store;
        let frame = match trust {
            Trust::Own => store.open(&handle, room)?,
            _ if mutant!("restored_unchecked") => store.open(&handle, room)?,
            Trust::Saved | Trust::Foreign => store.open_whole(&handle, room)?,
        };
        let header = self.decode_header(&frame).map_err(damaged)?;
        check_own(&header, own, writer, frame.len() as u64).map_err(damaged)?;
        Ok(Opened { frame, header, trust })
    }

    /// Reads the value of a file that `save_to_disk` wrote.
    pub(crate) fn read_file(
        &self,
        path: &Path,
        fingerprint: Option<Fingerprint>,
        registration: &dyn Registration,
        wait: Wait,
    ) -> Result<Box<dyn Held>> {
        let _span = events::reading_file(self, path);
        let frame = self.back.store.load(path, &mut self.room(0, wait)?)?;
        let damaged = |damage| Error::Frame { what: path.display().to_string(), damage };
        let header = self.decode_header(&frame).map_err(damaged)?;
        check_saved(&header, &frame, fingerprint, registration.format()).map_err(damaged)?;
        let room = self.room(if registration.maps() { 0 } else { header.resident_bytes }, wait)?;
        Ok(registration.mmread(&mut Source::new(&frame, &header, &[], Trust::Saved), room)?.held)
    }

    /// Reads the value of a whole frame that somebody else vouches for: every byte is checked.
    pub(crate) fn read_whole(
        &self,
        frame: &Buffer,
        registration: &dyn Registration,
        wait: Wait,
    ) -> Result<Box<dyn Held>> {
        let damaged = |damage| Error::Frame { what: "a frame".to_owned(), damage };
        let checksum = |bytes: &[u8]| self.back.store.checksum(bytes);
        let header = Header::of_whole(frame, checksum).map_err(damaged)?;
        let check = || header.check_content(frame, checksum).map_err(damaged);
        let read = || self.read_checked(frame, &header, registration, wait);
        // A view of bytes takes no memory, whatever they say; what is decoded might.
        let beside = frame.len() >= CHECKED_BESIDE && registration.maps();
        if !beside || registration.format() != header.format {
            check()?;
            check_format(&header, registration.format()).map_err(damaged)?;
            return read();
        }
        std::thread::scope(|scope| {
            let other = std::thread::Builder::new().spawn_scoped(scope, check);
            let held = read();
            match other {
                Ok(other) => other.join().unwrap_or_else(|panic| resume_unwind(panic))?,
                Err(_) => check()?,
            }
            held
        })
    }

    /// Has the codec read the sections of a frame which the checksum vouches for; they are checked whole.
    fn read_checked(
        &self,
        frame: &Buffer,
        header: &Header,
        registration: &dyn Registration,
        wait: Wait,
    ) -> Result<Box<dyn Held>> {
        let mut room = self.room(0, wait)?;
        let align = header.align as usize;
        let aligned = match frame.as_ptr().addr().is_multiple_of(align) {
            true => frame.clone(),
            false => crate::codec::copy_into(&mut room, frame, align)?,
        };
        let room = self.room(if registration.maps() { 0 } else { header.resident_bytes }, wait)?;
        Ok(registration.mmread(&mut Source::new(&aligned, header, &[], Trust::Saved), room)?.held)
    }

    fn decode_header(&self, frame: &Buffer) -> Result<Header, FrameDamage> {
        Header::decode(frame, |bytes| self.back.store.checksum(bytes))
    }

    /// Writes a frame of our own.
    pub(crate) fn write_frame(&self, writing: Writing<'_>) -> Result<Written> {
        let (mut all, failed) = self.write_frames(&[writing]);
        match failed {
            Some(error) => Err(error),
            None => Ok(all.pop().expect("a frame that has not failed is written")),
        }
    }

    /// Writes frames of our own, in order, until one fails: those that were written, and the failure.
    fn write_frames(&self, writings: &[Writing<'_>]) -> (Vec<Written>, Option<Error>) {
        let mut frames = Vec::with_capacity(writings.len());
        let mut references_found = Vec::with_capacity(writings.len());
        let mut failed = None;
        for writing in writings {
            match self.measure(writing) {
                Ok(Measured { frame, references }) => {
                    frames.push(frame);
                    references_found.push(references);
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        let span = events::writing(self, frames.len());
        // A store that panics has broken its promise; whoever waits for these entries must not wait for ever.
        let write = || self.back.store.write_batch(&frames);
        let (handles, refused) = catch_unwind(AssertUnwindSafe(write)).unwrap_or_else(|_| {
            (Vec::new(), Some(StoreError::new(StoreErrorKind::Io, "the store panicked")))
        });
        if let (Some(error), Some(frame)) = (refused, frames.get(handles.len())) {
            failed = Some(frame_error(frame, error));
        }
        drop(span);
        events::write_failed(self, handles.len(), writings.len(), failed.as_ref());
        count(&self.counters.failed_writes, u64::from(failed.is_some()));
        let all = handles.into_iter().zip(writings).zip(references_found);
        let written =
            all.map(|((handle, writing), found)| self.note_written(handle, writing, found));
        (written.collect(), failed)
    }

    fn note_written(&self, handle: Handle, writing: &Writing<'_>, found: Vec<AnyRef>) -> Written {
        self.back.note_written(&handle);
        count(&self.counters.written_bytes, handle.bytes);
        Written { handle, references: joined(&writing.references, found) }
    }

    /// Writes a frame to a file of the user's.
    pub(crate) fn save_frame(&self, writing: &Writing<'_>, path: &Path) -> Result<Fingerprint> {
        let Measured { frame, references: found } = self.measure(writing)?;
        let held = writing.references.as_ref().map_or(0, |held| held.len());
        let references = found.len().max(held);
        if references > 0 {
            return Err(Error::HoldsReferences { id: writing.id, references });
        }
        let _span = events::saving(self, writing.id, path);
        self.back.store.save(&frame, path).map_err(|error| frame_error(&frame, error))
    }

    pub(crate) fn measure<'a>(&self, writing: &Writing<'a>) -> Result<Measured<'a>> {
        let header = Header {
            format: writing.registration.format(),
            align: 8,
            frame_bytes: 0,
            content_offset: 0,
            resident_bytes: writing.charged_bytes,
            id: writing.id,
            pool: self.id,
            references: writing.references.as_ref().map_or(0, |held| reference_count(held.len())),
            content_checksum: 0,
            sections: Vec::new(),
        };
        Frame::measure(header, writing.body, self.id)
    }

    /// Writes the value of an entry whose word is `Spilling` by this thread's step.
    pub(crate) fn write_entry(&self, entry: &Entry) -> Result<()> {
        match self.write_entries(&[entry]).1 {
            None => Ok(()),
            Some(error) => Err(error),
        }
    }

    /// Writes the values of entries whose words are `Spilling` by this thread's steps, in order, until one fails.
    /// Answers how many were written, and what the next one failed with.
    pub(crate) fn write_entries(&self, entries: &[&Entry]) -> (usize, Option<Error>) {
        let body = |entry| {
            move |sink: &mut Sink<'_>| {
                let entry: &Entry = entry;
                entry.registration().mmwrite(entry.value_of_worker(), sink)
            }
        };
        let bodies: Vec<_> = entries.iter().copied().map(body).collect();
        let writings: Vec<_> =
            entries.iter().zip(&bodies).map(|(entry, body)| Writing::of(entry, body)).collect();
        let (all, failed) = self.write_frames(&writings);
        let done = all.len();
        for (entry, Written { handle, references }) in entries.iter().zip(all) {
            let kept = self.kept_of(entry, handle, &references);
            let mut cold = sync::lock(&entry.cold);
            cold.kept = kept;
            let before = cold.replace_references(references);
            // What the entry held before is let go of under no lock: it may end other values.
            drop(cold);
            drop(before);
        }
        (done, failed)
    }

    /// The frame of value `id` has a copy at `new`: takes that one from now on, if it is the value's frame and nobody else
    /// has a claim on it. When it answers `true`, nobody reads the frame at its old place any more but by views that
    /// are held.
    pub(crate) fn rehome(&self, id: Id, old: &Handle, new: &Handle) -> bool {
        let Some(entry) = sync::lock(&self.index).entry(id) else { return false };
        match &mut sync::lock(&entry.cold).kept {
            // A claim that only the entry has left.
            Kept::Claimed(claim) if claim.handle == Some(*old) => match Arc::get_mut(claim) {
                Some(claim) => claim.handle = Some(*new),
                None => return false,
            },
            kept if kept.own_handle() == Some(*old) => *kept = Kept::own(*new),
            _ => return false,
        }
        self.leave_old_place(&entry);
        true
    }

    /// Ends what is under way with the place that a frame had before.
    pub(crate) fn leave_old_place(&self, entry: &Entry) {
        // Who has read the old handle holds the word at `Loading`; who comes now reads the new one.
        self.wait_while_busy(entry);
        // A view that nobody holds would keep the old place for as long as the value lives.
        if entry.word.load().state() == State::Mapped && entry.word.begin_release() {
            sync::lock(&self.index).unorder(entry.slot);
            self.release(entry, false);
        }
    }

    /// Room of `bytes` for a value that is set or loaded.
    pub(crate) fn room(&self, bytes: u64, wait: Wait) -> Result<Room> {
        Ok(Room::new(self.ledger.reserve(bytes, wait)?, wait, self.id))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Ends every value; what is pinned ends with its pins.
    pub(crate) fn close(&self) -> Result<()> {
        self.check_process()?;
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let _span = events::closing(self);
        self.ledger.close();
        self.prefetcher.stop();
        self.writers.stop();
        let entries: Vec<EntryRef> = {
            let mut index = sync::lock(&self.index);
            index.close();
            self.forget_noted();
            index.entries().cloned().collect()
        };
        for entry in &entries {
            if !entry.word.doom().doomed() {
                self.bury(entry);
            }
        }
        drop(self.names.close());
        events::closed(self, entries.len());
        drop(entries);
        self.ledger.nudge();
        self.back.reclaimer.stop();
        self.forget_noted();
        Ok(self.back.store.close()?)
    }

    /// Empties the queues of what readers did.
    fn forget_noted(&self) {
        while self.touched.pop().is_some() {}
        drop(self.mapped_limit.young.take_all());
    }

    pub(crate) fn stats(&self) -> Stats {
        if !self.maker.is_here() {
            return Stats::default();
        }
        let usage = self.ledger.usage();
        let counters = &self.counters;
        let gets = {
            // Both under the lock: a log that another thread takes in meanwhile must not be counted twice.
            let logs = sync::lock(&self.logs);
            logs.iter().map(|log| log.gets()).sum::<u64>() + read(&self.past_gets)
        };
        let loads = read(&counters.loads);
        Stats {
            limit_bytes: usage.limit_bytes,
            used_bytes: usage.used_bytes,
            peak_bytes: usage.peak_bytes,
            values: sync::lock(&self.index).len() as u64,
            sets: read(&counters.sets),
            straight_to_disk: read(&counters.straight_to_disk),
            gets,
            hits: gets.saturating_sub(loads),
            loads,
            remote_loads: read(&counters.remote_loads),
            remote_bytes: read(&counters.remote_bytes),
            spills: read(&counters.spills),
            written_ahead: read(&counters.written_ahead),
            background_writes: read(&counters.background_writes),
            background_bytes: read(&counters.background_bytes),
            written_bytes: read(&counters.written_bytes),
            clean_evictions: read(&counters.clean_evictions),
            discards: read(&counters.discards),
            failed_writes: read(&counters.failed_writes),
            panics: self.back.reclaimer.panics(),
            live_disk_bytes: read(&self.back.live_bytes),
            mapped_limit_bytes: self.mapped_limit.bytes(),
            mapped_trims: read(&self.mapped_limit.trims),
            mapped_overruns: read(&self.mapped_limit.overruns),
            foreign_mapped_bytes: self.mapped_limit.foreign.bytes(),
            store: self.back.store.usage(),
        }
    }
}

/// Runs a codec's code: a panic in it fails this call alone.
pub(crate) fn caught<R>(
    registration: &Arc<dyn Registration>,
    call: impl FnOnce() -> Result<R>,
) -> Result<R> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|panic| Err(CodecError::panicked(registration.format(), &*panic).into()))
}

/// The count of references as the header has it; `push_reference` keeps it within 32 bits.
pub(crate) fn reference_count(references: usize) -> u32 {
    u32::try_from(references).unwrap_or(u32::MAX)
}

/// The codec's own error where there is one, else the store's.
pub(crate) fn frame_error(frame: &Frame<'_>, error: StoreError) -> Error {
    match (error.kind, frame.take_failure()) {
        (StoreErrorKind::Codec, Some(codec)) => codec,
        _ => error.into(),
    }
}

fn check_own(
    header: &Header,
    own: &OwnFrame<'_>,
    writer: (Id, u64),
    found: u64,
) -> Result<(), FrameDamage> {
    if header.frame_bytes != found {
        return Err(FrameDamage::Length { expected: header.frame_bytes, found });
    }
    check_origin(writer, own, header)?;
    check_format(header, own.registration.format())
}

fn check_saved(
    header: &Header,
    frame: &Buffer,
    fingerprint: Option<Fingerprint>,
    format: Format,
) -> Result<(), FrameDamage> {
    let found = frame.len() as u64;
    if header.frame_bytes != found {
        return Err(FrameDamage::Length { expected: header.frame_bytes, found });
    }
    if let Some(expected) = fingerprint {
        let found = Fingerprint::of(frame);
        if found != expected {
            let (expected, found) = (expected.header_checksum, found.header_checksum);
            return Err(FrameDamage::Checksum { part: "header", expected, found });
        }
    }
    check_format(header, format)
}

fn check_format(header: &Header, format: Format) -> Result<(), FrameDamage> {
    match header.format == format {
        true => Ok(()),
        false => Err(FrameDamage::Format {
            expected: format.to_string(),
            found: header.format.to_string(),
        }),
    }
}
