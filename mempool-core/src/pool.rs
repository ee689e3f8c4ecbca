//! `Pool`: the user's verbs. It decides, and leaves the doing to the others.

use std::fmt;
use std::panic::Location;
use std::path::Path;
use std::sync::Arc;

use crate::budget::{Reservation, Wait};
use crate::buffer::Buffer;
use crate::builder::Builder;
use crate::claim::{FrameClaim, Kept};
use crate::codec::{Build, Codec, Room};
use crate::dref::{AnyRef, DRef, References, references};
use crate::entry::{Cold, Contents, Entry, EntryRef, Held, Home, Pin};
use crate::error::{Error, Rejected, Result};
use crate::file::{FileRef, On};
use crate::foreign::ForeignMaps;
use crate::id::Id;
use crate::names::Names;
use crate::options::SetOptions;
use crate::origin::RemoteFrame;
use crate::pin::{Loaded, Pinned, PinnedOwned};
use crate::receive::Received;
use crate::registration::{Holder, Registered, Registration, key_of, name_of, wrong_codec};
use crate::shared::{Known, Shared, Vacancy, Writing};
use crate::sink::Sink;
use crate::sites::Site;
use crate::stats::{Stats, count};
use crate::sync;
use crate::values::{ValueInfo, Values};
use crate::word::{Eviction, State, Word};

/// A store for values of any type that the codec `C` knows, within one memory limit.
///
/// A `Pool` is a thin typed front: clones and [`with_codec`](Self::with_codec) share values, budget and order.
/// The last front that is dropped closes the pool; references that outlive it answer [`Error::Closed`].
///
/// # Which calls may block
/// `set`, `try_set`, `set_with`, `reserve`, `builder` and `set_memory_limit` may write victims to disk, and all but
/// `try_set` and `try_reserve` may wait for pins. `get` and `get_owned` of a value in memory do neither; of a
/// spilled one they read from disk, and so does `get_many`; `prefetch` leaves that to a thread of the pool's. `move_to_disk`, `copy_to_disk`, `save_to_disk`, `get_file`, `retain`, `forget_retained`
/// and every `close` do disk I/O. `delete`, `stats`, `is_in_memory`, `is_on_disk`, what is about names and every drop do none. Of a
/// value of another pool's, `get`, `delete`, `move_to_disk`, `copy_to_disk` and `save_to_disk` wait for its owner. `export` reads from disk what is
/// there, and `receive` waits for room. From async code run what may block on the
/// runtime's blocking threads; [`PinnedOwned`] is `'static` and `Send`, so a guard may cross an await.
///
/// # Forks
/// A pool belongs to the process that opened it. In a forked child every call that can fail answers
/// [`Error::Forked`], `stats` is all zeros, nothing is in memory or on disk, and `quiesce` returns at once. Guards
/// that were held at the fork can still be read. Drops take no lock, run no destructor and touch no file; memory that
/// they would have freed may leak. The parent goes on as if there were no child; the session's lock stays held while
/// either lives. A fork within a codec's call or a destructor must exec or exit there. Children of a raw `clone(2)` or
/// `_Fork`, which call no handlers of `pthread_atfork`, are not noticed, and must not touch a pool.
pub struct Pool<C> {
    shared: Arc<Shared>,
    codec: Arc<C>,
    /// Closes the pool with the last front.
    closer: Arc<Closer>,
}

struct Closer(Arc<Shared>);

impl Drop for Closer {
    fn drop(&mut self) {
        // Whoever wants to know calls `close` himself.
        let closed = self.0.close();
        if matches!(closed, Err(Error::Forked)) {
            // The parent's store and values end with the parent's pool; this copy of them is left as it is.
            std::mem::forget(Arc::clone(&self.0));
        }
    }
}

impl<C> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            codec: Arc::clone(&self.codec),
            closer: Arc::clone(&self.closer),
        }
    }
}

impl<C: Send + Sync + 'static> Pool<C> {
    pub(crate) fn new(shared: Arc<Shared>, codec: C) -> Self {
        let closer = Arc::new(Closer(Arc::clone(&shared)));
        Self { shared, codec: Arc::new(codec), closer }
    }

    /// Another front on the same values, budget and order.
    pub fn with_codec<D: Send + Sync + 'static>(&self, codec: D) -> Pool<D> {
        Pool {
            shared: Arc::clone(&self.shared),
            codec: Arc::new(codec),
            closer: Arc::clone(&self.closer),
        }
    }

    /// Puts `value` into the pool, evicting others if it must, and waiting for room as the options say.
    ///
    /// # Errors
    /// Gives the value back. [`Error::NoRoom`] when pins fill the limit for the whole timeout, [`Error::Spill`] when
    /// a victim could not be written, or the codec's error. A value larger than the limit goes straight to disk.
    pub fn set<T>(&self, value: T) -> Result<DRef<T>, Rejected<T>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        self.set_with(value, SetOptions::new())
    }

    /// As [`set`](Self::set), but does not wait for pins to be dropped.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn try_set<T>(&self, value: T) -> Result<DRef<T>, Rejected<T>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        self.set_with(value, SetOptions::new().wait(Wait::No))
    }

    /// As [`set`](Self::set), with options.
    ///
    /// # Errors
    /// As [`set`](Self::set). A rejected value's destructor is dropped, not called. A discardable value larger than the
    /// limit is [`Error::TooLarge`]; a name that is too long is [`Error::NameTooLong`].
    pub fn set_with<T>(&self, value: T, options: SetOptions) -> Result<DRef<T>, Rejected<T>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        let wait = options.wait.unwrap_or_else(|| self.patience());
        if let Err(error) = options.name.as_deref().map_or(Ok(()), Names::check) {
            return Err(Rejected::new(value, error));
        }
        let vacancy = match self.shared.claim_slot() {
            Ok(vacancy) => vacancy,
            Err(error) => return Err(Rejected::new(value, error)),
        };
        match self.admit(value, wait) {
            Ok((holder, charge)) => Ok(self.insert(vacancy, holder, charge, options)),
            Err(Rejected { value, error: Error::TooLarge { .. } }) if !options.discardable => {
                self.set_on_disk(vacancy, value, options)
            }
            Err(rejected) => Err(rejected),
        }
    }

    /// Writes a value piece by piece inside the budget.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Forked`].
    pub fn builder<T>(&self) -> Result<Builder<C, T>>
    where
        C: Build<T>,
        T: Send + Sync + 'static,
    {
        self.shared.check_open()?;
        Ok(Builder::new(self.clone(), self.shared.room(0, self.patience())?))
    }

    /// Holds the value readable, bringing it back from disk if it must, and marks it most recently used.
    ///
    /// A value in memory costs two atomic additions on a word of its own: no lock, no look-up, no I/O.
    ///
    /// # Errors
    /// [`Error::Deleted`], [`Error::Discarded`], [`Error::Closed`], [`Error::WrongCodec`], [`Error::WrongPool`],
    /// [`Error::Forked`]; for a value on disk what the store and the codec say, and [`Error::NoRoom`] or
    /// [`Error::TooLarge`] if it must be decoded, or copied by a store that has run out of maps, and there is no room
    /// for that. The value is whole in all these cases, and a later get may succeed.
    #[track_caller]
    #[inline]
    pub fn get<'a, T>(&self, reference: &'a DRef<T>) -> Result<Pinned<'a, C, T>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        let any = reference.as_any();
        let pin = self.pin::<T, &'a Entry>(reference.entry(), Location::caller())?;
        self.shared.note_get(any);
        Ok(Pinned::new(pin))
    }

    /// As [`get`](Self::get), waiting as `wait` says: for room, if the value has to be decoded, and for another thread that
    /// reads it at the moment.
    ///
    /// # Errors
    /// As [`get`](Self::get), and [`Error::Cancelled`].
    #[track_caller]
    pub fn get_within<'a, T>(&self, reference: &'a DRef<T>, wait: Wait) -> Result<Pinned<'a, C, T>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        let pinned = self.hold(reference, Location::caller(), wait)?;
        self.shared.note_get(reference.as_any());
        Ok(pinned)
    }

    /// As [`get`](Self::get), with a guard that owns a reference of its own and may go to other threads and tasks.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    #[track_caller]
    pub fn get_owned<T>(&self, reference: &DRef<T>) -> Result<PinnedOwned<C, T>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        let any = reference.as_any();
        let pin = self.pin::<T, AnyRef>(any.clone(), Location::caller())?;
        self.shared.note_get(any);
        Ok(PinnedOwned::new(pin))
    }

    /// Ends the value, whatever references there are. Readers keep what they hold; new gets answer
    /// [`Error::Deleted`]; the bytes return with the last reader.
    ///
    /// A value of another pool's ends there, and then here.
    ///
    /// # Errors
    /// [`Error::Deleted`], [`Error::Discarded`], [`Error::Closed`], [`Error::WrongPool`]; [`Error::Remote`] from another
    /// pool, when the value is as it was.
    pub fn delete<T>(&self, reference: &DRef<T>) -> Result<()> {
        let entry = self.own(reference)?;
        if let Some(error) = self.shared.refusal(entry) {
            return Err(error);
        }
        if let Some(claim) = entry.remote_claim() {
            claim.at_owner(RemoteFrame::delete)?;
        }
        if entry.word.doom().doomed() {
            return Err(Error::Deleted { id: entry.id() });
        }
        self.shared.bury(entry);
        Ok(())
    }

    /// Releases the value's memory, writing it first if no good copy is on disk; the file is readable by itself.
    ///
    /// A buffer of it that somebody holds outside the pool stays counted until he drops it. Of a value of another pool's the
    /// copy that is here is released, and then its owner moves it.
    ///
    /// # Errors
    /// [`Error::Pinned`] while readers hold it; what the store and the codec say; [`Error::Remote`] from another pool.
    pub fn move_to_disk<T>(&self, reference: &DRef<T>) -> Result<FileRef<T>> {
        let entry = self.own(reference)?;
        loop {
            if let Some(error) = self.shared.refusal(entry) {
                return Err(error);
            }
            let now = entry.word.load();
            match now.state() {
                State::Spilled => {
                    if let Some(claim) = FrameClaim::on(entry) {
                        claim.at_owner(RemoteFrame::move_to_disk)?;
                        return Ok(FileRef::claimed(claim));
                    }
                }
                State::Resident | State::Mapped if now.pins() > 0 => {
                    return Err(Error::Pinned { id: entry.id(), pins: now.pins() });
                }
                State::Resident | State::Mapped => self.move_out(entry)?,
                _ => self.shared.wait_while_busy(entry),
            }
        }
    }

    /// One attempt to release an entry that was found without pins; the caller looks again.
    fn move_out(&self, entry: &Entry) -> Result<()> {
        // Another thread may have written it since it was looked at, so each step says what is left to do.
        let eviction = entry.word.begin_evict(false);
        let release = match eviction {
            Some(eviction) => eviction == Eviction::Release,
            None => entry.word.begin_release(),
        };
        if eviction.is_some() || release {
            sync::lock(&self.shared.index).unorder(entry.slot);
        }
        if release {
            // A map that is let go of frees no resident bytes, so it is no eviction.
            count(&self.shared.counters.clean_evictions, u64::from(eviction.is_some()));
            self.shared.release(entry, false);
        } else if eviction == Some(Eviction::Write) {
            self.shared.spill(entry)?;
        }
        Ok(())
    }

    /// Writes the value to disk if no good copy is there, and keeps it in memory. Of a value of another pool's its owner
    /// does so.
    ///
    /// # Errors
    /// What the store and the codec say; [`Error::Remote`] from another pool.
    pub fn copy_to_disk<T>(&self, reference: &DRef<T>) -> Result<FileRef<T>> {
        let claim = self.shared.write_out(self.own(reference)?)?;
        claim.at_owner(RemoteFrame::copy_to_disk)?;
        Ok(FileRef::claimed(claim))
    }

    /// Writes the value to a file of the user's, durably and whole. Touches neither recency nor accounting, and
    /// nothing in the pool ever deletes that file.
    ///
    /// # Errors
    /// [`Error::HoldsReferences`] for a value that holds references; what the store and the codec say. An existing
    /// file is then as it was, or replaced whole where only its directory could not be made durable.
    #[track_caller]
    pub fn save_to_disk<T>(
        &self,
        reference: &DRef<T>,
        path: impl AsRef<Path>,
    ) -> Result<FileRef<T>> {
        let entry = self.own(reference)?;
        let path = path.as_ref();
        let site = Location::caller();
        loop {
            if let Some(error) = self.shared.refusal(entry) {
                return Err(error);
            }
            if let Some(saved) = self.save_from_memory(entry, site, path)? {
                return Ok(saved);
            }
            if entry.word.load().on_disk()
                && let Some(claim) = FrameClaim::on(entry)
            {
                return self.save_from_disk(&claim, path);
            }
            self.shared.wait_while_busy(entry);
        }
    }

    fn save_from_memory<T>(
        &self,
        entry: &Entry,
        site: Site,
        path: &Path,
    ) -> Result<Option<FileRef<T>>> {
        let registration = entry.registration();
        let Ok(pin) = Pin::<&Entry, dyn Held>::try_new(entry, site, |held| Ok(held))? else {
            return Ok(None);
        };
        let body = |sink: &mut Sink<'_>| registration.mmwrite(pin.view(), sink);
        let fingerprint = self.shared.save_frame(&Writing::of(entry, &body), path)?;
        Ok(Some(FileRef::saved(path, Some(fingerprint))))
    }

    /// Copies the sections of a frame as they are: nothing is decoded, so nothing is charged.
    fn save_from_disk<T>(&self, claim: &FrameClaim, path: &Path) -> Result<FileRef<T>> {
        let frame = claim.frame();
        let sections = self.shared.sections_of(frame, frame.trust())?;
        let body = |sink: &mut Sink<'_>| {
            sections.iter().try_for_each(|(align, bytes)| {
                sink.section(*align)?;
                sink.write(bytes)
            })
        };
        let writing = Writing {
            registration: &claim.registration,
            id: claim.id,
            charged_bytes: claim.charged_bytes,
            references: claim.references.clone(),
            body: &body,
        };
        let fingerprint = self.shared.save_frame(&writing, path)?;
        Ok(FileRef::saved(path, Some(fingerprint)))
    }

    /// A file that [`save_to_disk`](Self::save_to_disk) wrote, here or elsewhere; it is looked at when it is got.
    pub fn file<T>(&self, path: impl AsRef<Path>) -> FileRef<T> {
        FileRef::saved(path.as_ref(), None)
    }

    /// Reads a value from disk by itself; the guard owns what it reads. A file of the user's is checked whole.
    ///
    /// # Errors
    /// [`Error::WrongCodec`], [`Error::Frame`] or [`Error::Store`] for a file that is damaged, of another type, or not there;
    /// [`Error::NoRoom`] if it must be decoded and pins fill the limit.
    ///
    /// # Panics
    /// When a codec's registration answers for another codec: a broken invariant of this crate.
    pub fn get_file<T>(&self, file: &FileRef<T>) -> Result<Loaded<C, T>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        self.shared.check_open()?;
        let registration = self.registration::<T>();
        let (held, claim) = match &file.on {
            On::Claimed(claim) => {
                if claim.back.pool != self.shared.id {
                    return Err(Error::WrongPool { id: claim.id });
                }
                if claim.registration.key() != registration.key() {
                    return Err(wrong_codec::<C, T>(&*claim.registration));
                }
                let read = self.shared.read_own(claim.frame(), self.patience())?;
                (read.held, Some(Arc::clone(claim)))
            }
            On::Saved(saved) => {
                let (path, print) = (&saved.path, saved.fingerprint);
                let held = self.shared.read_file(path, print, &*registration, self.patience())?;
                (held, None)
            }
        };
        let holder = Holder::<C, T>::from_held(held).expect("a registration reads what it wrote");
        self.shared.keep_mapped_limit();
        Ok(Loaded::new(holder, claim))
    }

    /// Reads a value from the bytes of a saved file that the caller has, such as a map of it; the guard keeps them.
    ///
    /// Every byte is checked, with the checksum of this pool's store. Bytes that are not aligned are copied.
    ///
    /// # Errors
    /// [`Error::Frame`] for bytes that are damaged or of another type; [`Error::NoRoom`] as [`get_file`](Self::get_file).
    ///
    /// # Panics
    /// When a codec's registration answers for another codec: a broken invariant of this crate.
    pub fn read_frame<T>(&self, frame: &Buffer) -> Result<Loaded<C, T>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        self.shared.check_open()?;
        let registration = self.registration::<T>();
        let held = self.shared.read_whole(frame, &*registration, self.patience())?;
        let holder = Holder::<C, T>::from_held(held).expect("a registration reads what it wrote");
        Ok(Loaded::new(holder, None))
    }

    /// Whether a get would find the value in memory, as a resident or as a map. Touches nothing.
    #[must_use]
    pub fn is_in_memory<T>(&self, reference: &DRef<T>) -> bool {
        let now = reference.entry().word.load();
        let here = matches!(now.state(), State::Resident | State::Spilling | State::Mapped);
        here && !now.doomed() && self.shared.maker.is_here()
    }

    /// Whether a good copy of the value is on disk. Touches nothing. Of a value of another pool's there is always one: its
    /// owner has it, on disk or in memory.
    #[must_use]
    pub fn is_on_disk<T>(&self, reference: &DRef<T>) -> bool {
        let now = reference.entry().word.load();
        now.on_disk() && !now.doomed() && self.shared.maker.is_here()
    }

    /// Changes the memory limit while the pool works; a lower one evicts first and stands when enough is free.
    ///
    /// # Errors
    /// [`Error::NoRoom`] or [`Error::Spill`] when the pool cannot shrink so far, [`Error::Closed`]; the limit then stays
    /// as it was.
    pub fn set_memory_limit(&self, bytes: u64) -> Result<()> {
        self.shared.ledger.set_limit(bytes, self.patience())
    }

    /// Takes bytes from the budget for the caller's own working memory, evicting values as `set` does.
    ///
    /// # Errors
    /// [`Error::NoRoom`], [`Error::TooLarge`], [`Error::Spill`], [`Error::Closed`].
    pub fn reserve(&self, bytes: u64) -> Result<Reservation> {
        self.reserve_within(bytes, self.patience())
    }

    /// As [`reserve`](Self::reserve), but does not wait for pins to be dropped.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve).
    pub fn try_reserve(&self, bytes: u64) -> Result<Reservation> {
        self.reserve_within(bytes, Wait::No)
    }

    /// As [`reserve`](Self::reserve), waiting as `wait` says.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve), and [`Error::Cancelled`].
    pub fn reserve_within(&self, bytes: u64, wait: Wait) -> Result<Reservation> {
        self.shared.check_open()?;
        self.shared.ledger.reserve(bytes, wait)
    }

    /// What the pool knows of one value. Touches nothing.
    ///
    /// # Errors
    /// [`Error::Deleted`], [`Error::Discarded`], [`Error::Closed`], [`Error::WrongPool`], [`Error::Forked`].
    pub fn info<T>(&self, reference: &DRef<T>) -> Result<ValueInfo> {
        let entry = self.own(reference)?;
        // Looked at first: a value that ends in between has its reason by then.
        let info = ValueInfo::of(entry);
        match (self.shared.refusal(entry), info) {
            (None, Some(info)) => Ok(info),
            (error, _) => Err(error.unwrap_or(Error::Deleted { id: entry.id() })),
        }
    }

    /// What is in the pool, value by value, in no order that means anything. Touches nothing.
    ///
    /// Each item is of one instant, and the whole is not: values that come or go meanwhile may be in it or not. Takes
    /// the lock of the pool's table for a thousand slots at a time. Empty in a forked child.
    ///
    /// ```
    /// # use mempool_core::{Blob, PoolOptions};
    /// let pool = PoolOptions::new().open(Blob);
    /// let kept = [pool.set(vec![1; 10])?, pool.set(vec![2; 5000])?];
    /// let largest = pool.values().max_by_key(|value| value.resident_bytes).unwrap();
    /// assert_eq!(largest.id, kept[1].id());
    /// assert_eq!(largest.value_type, "alloc::vec::Vec<u8>");
    /// # Ok::<(), mempool_core::Error>(())
    /// ```
    #[must_use]
    pub fn values(&self) -> Values<'_> {
        Values::new(&self.shared)
    }

    /// What it is called in statistics and events.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What the pool has done and holds.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Where maps of frames are counted that lie with other processes: they count towards the limit of mapped bytes as those
    /// of the store do. Whoever brings a frame here by a map counts it for as long as the map lives.
    #[must_use]
    pub fn foreign_maps(&self) -> ForeignMaps {
        self.shared.mapped_limit.foreign.clone()
    }

    /// Waits until all that drops have left to the reclaimer is done: space on disk, destructors, references
    /// inside values; and before that, until the threads that write ahead of need have nothing left to write.
    pub fn quiesce(&self) {
        if self.shared.maker.is_here() {
            self.shared.writers.quiesce();
            self.shared.back.reclaimer.quiesce();
            self.shared.back.reclaim();
        }
    }

    /// Ends every value and the store's session. Guards that are held stay good; calls that wait for room answer
    /// [`Error::Closed`]; a second call does nothing.
    ///
    /// What was retained before, by this pool or by the one that it was restored from, stays as it was then:
    /// [`forget_retained`](Self::forget_retained) gives it up.
    ///
    /// # Errors
    /// When the store could not remove what it had made.
    pub fn close(&self) -> Result<()> {
        self.shared.close()
    }

    /// The codec of this front.
    #[must_use]
    pub fn codec(&self) -> &C {
        &self.codec
    }

    pub(crate) fn patience(&self) -> Wait {
        Wait::For(self.shared.ledger.timeout())
    }

    pub(crate) fn check_process(&self) -> Result<()> {
        self.shared.check_process()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn own<'a, T>(&self, reference: &'a DRef<T>) -> Result<&'a Entry> {
        self.shared.check_process()?;
        let entry = reference.entry();
        match Arc::ptr_eq(entry.shared(), &self.shared) {
            true => Ok(entry),
            false => Err(Error::WrongPool { id: entry.id() }),
        }
    }

    #[inline]
    fn pin<T, E>(&self, entry: E, site: Site) -> Result<Pin<E, C::View>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
        E: std::ops::Deref<Target = Entry>,
    {
        self.shared.check_process()?;
        if !Arc::ptr_eq(entry.shared(), &self.shared) {
            return Err(Error::WrongPool { id: entry.id() });
        }
        match Pin::try_new(entry, site, Self::view::<T>)? {
            Ok(pin) => Ok(pin),
            Err(entry) => self.pin_absent::<T, E>(entry, site, self.patience()),
        }
    }

    /// As [`get`](Self::get), with a patience of its own, and without noting that it was read.
    pub(crate) fn hold<'a, T>(
        &self,
        reference: &'a DRef<T>,
        site: Site,
        wait: Wait,
    ) -> Result<Pinned<'a, C, T>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        let entry = self.own(reference)?;
        let pin = match Pin::try_new(entry, site, Self::view::<T>)? {
            Ok(pin) => pin,
            Err(entry) => self.pin_absent::<T, _>(entry, site, wait)?,
        };
        Ok(Pinned::new(pin))
    }

    /// Pins a value that was not in memory a moment ago.
    #[cold]
    fn pin_absent<T, E>(&self, mut entry: E, site: Site, wait: Wait) -> Result<Pin<E, C::View>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
        E: std::ops::Deref<Target = Entry>,
    {
        if entry.registration().key() != key_of::<C, T>() {
            return Err(wrong_codec::<C, T>(&**entry.registration()));
        }
        loop {
            if let Some(error) = self.shared.refusal(&entry) {
                return Err(error);
            }
            if entry.word.begin_load() {
                self.shared.load(&entry, wait)?;
                return Pin::of_pinned(entry, site, Self::view::<T>);
            }
            self.shared.wait_while_absent(&entry, wait)?;
            match Pin::try_new(entry, site, Self::view::<T>)? {
                Ok(pin) => return Ok(pin),
                Err(back) => entry = back,
            }
        }
    }

    fn view<T>(held: &dyn Held) -> Result<&C::View>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        match Holder::<C, T>::of(held) {
            Some(holder) => Ok(holder.view()),
            None => Self::view_received(held),
        }
    }

    /// The view of a value that was received, and is here as it came.
    #[cold]
    fn view_received<T>(held: &dyn Held) -> Result<&C::View>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        let wrong = || Error::WrongCodec { stored: held.name(), asked: name_of::<C, T>() };
        let received = Received::of(held).filter(|received| received.is_of(key_of::<C, T>()));
        let typed = received.ok_or_else(wrong)?.typed()?;
        Holder::<C, T>::of(typed).map(Holder::view).ok_or_else(wrong)
    }

    /// The registration of `T` with this front's codec instance.
    pub(crate) fn registration<T>(&self) -> Arc<dyn Registration>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        self.known::<T, _>(|known| Arc::clone(&known.registration))
    }

    /// What the entries of `T` with this front's codec instance have in common.
    fn home<T>(&self) -> Arc<Home>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        self.known::<T, _>(|known| known.home(&self.shared))
    }

    /// Shows what the pool knows of `T` with this front's codec instance, under the lock.
    fn known<T, R>(&self, show: impl FnOnce(&mut Known) -> R) -> R
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        let key = (Arc::as_ptr(&self.codec) as usize, key_of::<C, T>());
        let mut registrations = sync::lock(&self.shared.registrations);
        // A program has a few pairs of codec and type: they are looked through faster than they are hashed.
        if let Some(known) = registrations.iter_mut().find(|known| known.key == key) {
            return show(known);
        }
        let new: Arc<dyn Registration> = Arc::new(Registered::<C, T>::new(Arc::clone(&self.codec)));
        registrations.push(Known::new(key, new));
        show(registrations.last_mut().expect("it was pushed"))
    }

    fn admit<T>(&self, value: T, wait: Wait) -> Result<(Holder<C, T>, Charge), Rejected<T>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        let room = self.codec.size_hint(&value).and_then(|bytes| self.shared.room(bytes, wait));
        let mut room = match room {
            Ok(room) => room,
            Err(error) => return Err(Rejected::new(value, error)),
        };
        let resident = self.codec.admit(value, &mut room)?;
        Ok(self.boxed(resident, room))
    }

    /// Boxes up an admitted resident with what it is charged.
    fn boxed<T>(&self, resident: C::Resident, room: Room) -> (Holder<C, T>, Charge)
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        let charged_bytes = room.charged_bytes();
        let (rest, list) = room.finish();
        let charge = Charge { charged_bytes, references: references(list) };
        (Holder::new(&self.codec, resident, rest), charge)
    }

    /// Inserts what a builder has finished.
    pub(crate) fn insert_built<T>(&self, resident: C::Resident, room: Room) -> Result<DRef<T>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        let vacancy = self.shared.claim_slot()?;
        let (holder, charge) = self.boxed::<T>(resident, room);
        Ok(self.insert(vacancy, holder, charge, SetOptions::new()))
    }

    fn insert<T>(
        &self,
        vacancy: Vacancy<'_>,
        holder: Holder<C, T>,
        charge: Charge,
        options: SetOptions,
    ) -> DRef<T>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        let contents = Contents {
            value: Some(Box::new(holder)),
            charged_bytes: charge.charged_bytes,
            discardable: options.discardable,
            cold: Cold::new(Kept::No, charge.references, options.destructor),
        };
        self.publish(vacancy, self.home::<T>(), State::Resident, contents, options.name.as_deref())
    }

    fn publish<T>(
        &self,
        vacancy: Vacancy<'_>,
        home: Arc<Home>,
        state: State,
        contents: Contents,
        name: Option<&str>,
    ) -> DRef<T> {
        let Id { slot, generation } = vacancy.take();
        let word = Word::new(generation, state, state == State::Spilled);
        let entry = EntryRef::new(Entry::new(home, slot, word, contents));
        let reference = DRef::new(AnyRef::first(&entry));
        self.shared.install(&entry, state == State::Resident);
        count(&self.shared.counters.sets, 1);
        // A close that came between the slot and the table has not seen this entry.
        if self.shared.is_closed() && !entry.word.doom().doomed() {
            self.shared.bury(&entry);
        }
        if let Some(name) = name {
            // A pool that was closed meanwhile has ended the value.
            let _ = self.shared.names.insert(name, reference.as_any().clone());
        }
        reference
    }

    /// Writes a value that is larger than the limit straight to disk.
    fn set_on_disk<T>(
        &self,
        vacancy: Vacancy<'_>,
        value: T,
        options: SetOptions,
    ) -> Result<DRef<T>, Rejected<T>>
    where
        C: Codec<T>,
        T: Send + Sync + 'static,
    {
        let registration = self.registration::<T>();
        let charged_bytes = self.codec.size_hint(&value).unwrap_or(0);
        let writing = Writing {
            registration: &registration,
            id: vacancy.id(),
            charged_bytes,
            references: None,
            body: &|sink| self.codec.mmwrite_value(&value, sink),
        };
        let written = match self.shared.write_frame(writing) {
            Ok(written) => written,
            Err(error) => return Err(Rejected::new(value, error)),
        };
        count(&self.shared.counters.straight_to_disk, 1);
        let kept = Kept::own(written.handle);
        let contents = Contents {
            value: None,
            charged_bytes,
            discardable: false,
            cold: Cold::new(kept, written.references, options.destructor),
        };
        Ok(self.publish(
            vacancy,
            self.home::<T>(),
            State::Spilled,
            contents,
            options.name.as_deref(),
        ))
    }
}

/// What a new value is charged, and what it holds.
struct Charge {
    charged_bytes: u64,
    references: References,
}

impl<C> fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.shared.name)
            .field("ledger", &self.shared.ledger)
            .finish_non_exhaustive()
    }
}
