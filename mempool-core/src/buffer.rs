//! `Buffer`: immutable bytes with a promised alignment, owned or mapped, and counted until the last holder goes.
//!
//! ```text
//! heap:      one allocation, Layout::size of it is what the ledger is charged
//!            ┌──────────────────────────────┬─────────┬──────────────────────┐
//!            │ Header: holders, origin,     │ padding │ bytes, aligned       │
//!            │         payer                │         │                      │
//!            └──────────────────────────────┴─────────┴──────────────────────┘
//! adopted:   ┌──────────────────────────────┬──────────────────────────┐
//!            │ Header: holders, origin,     │ owner: a Vec, a map,     │ ──▶ its bytes
//!            │         payer                │ a Bytes …                │
//!            └──────────────────────────────┴──────────────────────────┘
//! holders:   bit 63: watched │ bits 32 to 62: marks of pools │ bits 0 to 31: holders
//! ```
//!
//! A [`Buffer`] is a counted pointer into it: clone and slice cost one atomic addition and copy nothing. Bytes that were
//! made outside of a pool are paid for when they first enter one ([`Buffer::charge`]), once, whoever else holds them.
//! This file never looks at what the bytes mean.

#![expect(unsafe_code, reason = "a counted allocation with its header in front of the bytes")]

use std::alloc::{Layout, alloc, dealloc};
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Bound, Deref, RangeBounds};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use bytes::Bytes;

use crate::budget::{Ledger, Reservation};
use crate::codec::Room;
use crate::error::{Error, Result};
use crate::sync::atomic::{AtomicPtr, AtomicU64, Ordering, fence};

/// The alignment of a buffer's first byte unless more is asked for: a cache line, and what Arrow recommends.
pub const ALIGNMENT: usize = 64;

/// The largest alignment that can be asked for: a page.
pub const ALIGNMENT_MAX: usize = 4096;

/// Set in `holders` when a request for room waits for pools to be the only holders again.
const WATCHED: u64 = 1 << 63;
/// One mark of a pool, see [`Buffer::mark_pooled`].
const MARK: u64 = 1 << 32;
/// The bits that count marks.
const MARKS: u64 = WATCHED - MARK;
/// The bits that count holders.
const HOLDERS: u64 = MARK - 1;
/// More holders or marks than any program has; far below where either count would run into the next bits.
const COUNT_MAX: u64 = 1 << 30;

/// Stands in front of the bytes, or alone when it owns bytes that lie elsewhere.
struct Header {
    holders: AtomicU64,
    origin: Origin,
    payer: Payer,
    /// For a planted bug: what was paid back too early is not paid back again.
    #[cfg(feature = "mutants")]
    credited: crate::sync::atomic::AtomicBool,
}

#[derive(Clone, Copy)]
enum Origin {
    /// The bytes follow in the same allocation, which has this layout.
    Inline(Layout),
    /// The bytes belong to an owner that follows in the same allocation; this frees both.
    Adopted(unsafe fn(NonNull<Header>)),
    /// As before, of heap memory that a ledger may be asked for: a [`HeapBytes`] follows the header.
    AdoptedHeap(unsafe fn(NonNull<Header>)),
}

/// A header with the owner of the bytes behind it.
#[repr(C)]
struct Adoption<O> {
    header: Header,
    owner: O,
}

/// What a ledger is charged for heap memory that was adopted, and its owner.
#[repr(C)]
struct Heap<O> {
    charge: HeapBytes,
    owner: O,
}

/// What a ledger is charged for heap memory that was adopted: all that the owner has allocated, and the adoption.
#[derive(Clone, Copy)]
struct HeapBytes(u64);

impl<O: AsRef<[u8]>> AsRef<[u8]> for Heap<O> {
    fn as_ref(&self) -> &[u8] {
        self.owner.as_ref()
    }
}

/// A reservation's ledger and its bytes, for whoever keeps them apart.
fn into_parts(reservation: Reservation) -> (Arc<Ledger>, u64) {
    let reservation = ManuallyDrop::new(reservation);
    // SAFETY: the reservation is not dropped, and its ledger is not used again.
    (unsafe { ptr::read(&reservation.ledger) }, reservation.bytes)
}

/// Who pays for the bytes: nobody yet, or a reservation in its parts. It is settled once and never changes again.
struct Payer {
    /// A counted pointer as of [`Arc::into_raw`]; null while nobody pays.
    ledger: AtomicPtr<Ledger>,
    bytes: AtomicU64,
}

impl Payer {
    fn new(reservation: Option<Reservation>) -> Self {
        let Some(reservation) = reservation else {
            return Self { ledger: AtomicPtr::new(ptr::null_mut()), bytes: AtomicU64::new(0) };
        };
        let (ledger, bytes) = into_parts(reservation);
        Self {
            ledger: AtomicPtr::new(Arc::into_raw(ledger).cast_mut()),
            bytes: AtomicU64::new(bytes),
        }
    }

    /// Has `reservation` pay from now on; gives it back when somebody pays already. All who may ever call this for one
    /// allocation bring the same number of bytes.
    fn settle(&self, reservation: Reservation) -> Option<Reservation> {
        let (ledger, bytes) = into_parts(reservation);
        // Relaxed: published by the exchange below. Who loses that race has stored the same figure.
        self.bytes.store(bytes, Ordering::Relaxed);
        let raw = Arc::into_raw(ledger).cast_mut();
        let null = ptr::null_mut();
        // Release publishes the figure and the ledger; Acquire pairs with it for whoever comes second.
        match self.ledger.compare_exchange(null, raw, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => None,
            Err(_) => {
                // SAFETY: `raw` came from `into_raw` above and was stored nowhere.
                let ledger = unsafe { Arc::from_raw(raw) };
                Some(Reservation::from_parts(ledger, bytes))
            }
        }
    }

    fn ledger(&self) -> Option<&Ledger> {
        // Acquire pairs with the Release of `settle`.
        let ledger = self.ledger.load(Ordering::Acquire);
        // SAFETY: null or a counted pointer that is given up only by `take`, which has `self` to itself.
        unsafe { ledger.as_ref() }
    }

    fn counted_ledger(&self) -> Option<Arc<Ledger>> {
        let ledger: *const Ledger = self.ledger()?;
        // SAFETY: it came from `Arc::into_raw`, and `self` holds one count of it.
        unsafe { Arc::increment_strong_count(ledger) };
        // SAFETY: the count that was taken just now is the new handle's.
        Some(unsafe { Arc::from_raw(ledger) })
    }

    fn bytes(&self) -> u64 {
        // Relaxed: `ledger` acquires what `settle` has published.
        self.ledger().map_or(0, |_| self.bytes.load(Ordering::Relaxed))
    }

    /// The reservation, for the last holder, who gives it up when the bytes are gone.
    fn take(&mut self) -> Option<Reservation> {
        let bytes = self.bytes();
        let ledger = self.ledger.swap(ptr::null_mut(), Ordering::Relaxed);
        if ledger.is_null() {
            return None;
        }
        // SAFETY: it came from `Arc::into_raw`, and its count is handed on, for `self` points at it no more.
        let ledger = unsafe { Arc::from_raw(ledger.cast_const()) };
        Some(Reservation::from_parts(ledger, bytes))
    }
}

/// Frees an adoption and its owner.
///
/// # Safety
/// `header` is the start of a leaked box of an `Adoption<O>` that nobody holds any more.
unsafe fn free_adoption<O>(header: NonNull<Header>) {
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(header.cast::<Adoption<O>>().as_ptr()) });
}

/// Immutable bytes with a promised alignment.
///
/// *Shape*: 64-byte aligned unless it was sliced or adopted. *Ownership*: counted; the reservation that pays for
/// the bytes is paid back when the last clone or slice is dropped, wherever it is held. *Limit*: 2^30 holders.
pub struct Buffer {
    header: NonNull<Header>,
    data: NonNull<u8>,
    len: usize,
}

// SAFETY: the bytes never change after construction, the count is atomic, and the owner and the reservation in
// the header are Send and Sync.
unsafe impl Send for Buffer {}
// SAFETY: as for Send; a shared Buffer gives out `&[u8]` alone.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// What a heap buffer of `len` bytes is charged: its header, padding and bytes.
    ///
    /// # Errors
    /// [`Error::Allocation`] when no allocation can be that large.
    pub fn allocation_bytes(len: usize, align: usize) -> Result<u64> {
        Ok(layout_of(len, align)?.0.size() as u64)
    }

    /// What adopting an owner of type `O` allocates, beside what the owner has allocated itself.
    #[must_use]
    pub const fn adoption_bytes<O>() -> u64 {
        size_of::<Adoption<O>>() as u64
    }

    /// Copies `bytes` into a new heap buffer that `reservation` pays for.
    ///
    /// # Errors
    /// [`Error::Allocation`] when the allocator refuses.
    ///
    /// # Panics
    /// When `reservation` is not exactly [`allocation_bytes`](Self::allocation_bytes).
    pub fn copy_of(bytes: &[u8], align: usize, reservation: Reservation) -> Result<Self> {
        let mut buffer = BufferMut::with_capacity(bytes.len(), align, reservation)?;
        buffer.extend_from_slice(bytes);
        Ok(buffer.freeze())
    }

    /// A heap buffer that no ledger counts: for stores and tests.
    ///
    /// # Errors
    /// [`Error::Allocation`] when the allocator refuses.
    pub fn uncounted(bytes: &[u8]) -> Result<Self> {
        let mut buffer = BufferMut::allocate(bytes.len(), ALIGNMENT, None)?;
        buffer.extend_from_slice(bytes);
        Ok(buffer.freeze())
    }

    /// Takes over the bytes of `owner`, without a copy; `reservation`, if any, pays for them.
    ///
    /// The alignment is that of `owner`'s bytes. `as_ref` is called once, and what it returned is the buffer.
    /// The caller vouches that the bytes do not change while `owner` lives, as for [`Bytes::from_owner`].
    pub fn adopt<O>(owner: O, reservation: Option<Reservation>) -> Self
    where
        O: AsRef<[u8]> + Send + Sync + 'static,
    {
        Self::adopt_as(Origin::Adopted(free_adoption::<O>), owner, reservation)
    }

    /// Takes over heap memory of `owner`, who has allocated `owned_bytes` for it, without a copy.
    ///
    /// As [`adopt`](Self::adopt), but nobody pays before the buffer enters a pool: then [`charge`](Self::charge) has
    /// the pool pay `owned_bytes` and [`adoption_bytes`](Self::adoption_bytes).
    pub fn adopt_heap<O>(owner: O, owned_bytes: u64) -> Self
    where
        O: AsRef<[u8]> + Send + Sync + 'static,
    {
        const { assert!(align_of::<O>() <= align_of::<Header>(), "the charge follows the header") };
        let charge = HeapBytes(owned_bytes.saturating_add(Self::heap_adoption_bytes::<O>()));
        let origin = Origin::AdoptedHeap(free_adoption::<Heap<O>>);
        Self::adopt_as(origin, Heap { charge, owner }, None)
    }

    /// What [`adopt_heap`](Self::adopt_heap) allocates for an owner of type `O`, beside what the owner has allocated.
    #[must_use]
    pub const fn heap_adoption_bytes<O>() -> u64 {
        size_of::<Adoption<Heap<O>>>() as u64
    }

    fn adopt_as<O>(origin: Origin, owner: O, reservation: Option<Reservation>) -> Self
    where
        O: AsRef<[u8]> + Send + Sync + 'static,
    {
        let header = Header {
            holders: AtomicU64::new(1),
            origin,
            payer: Payer::new(reservation),
            #[cfg(feature = "mutants")]
            credited: crate::sync::atomic::AtomicBool::new(false),
        };
        // Leaked before its bytes are asked for: a box that moves may not be pointed into.
        let adoption = NonNull::from(Box::leak(Box::new(Adoption { header, owner })));
        // SAFETY: the box was leaked just now and is freed by the last holder alone.
        let adopted = unsafe { adoption.as_ref() };
        let bytes: &[u8] = adopted.owner.as_ref();
        let len = bytes.len();
        let data = NonNull::from(bytes).cast::<u8>();
        Self { header: adoption.cast(), data, len }
    }

    /// The part `range` of it, sharing the allocation.
    ///
    /// # Panics
    /// When the range does not lie within it, as slicing does.
    #[must_use]
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Self {
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&start) => start.checked_add(1).expect("a range within the buffer"),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&end) => end.checked_add(1).expect("a range within the buffer"),
            Bound::Excluded(&end) => end,
            Bound::Unbounded => self.len,
        };
        let part = NonNull::from(&self[start..end]);
        let whole = ManuallyDrop::new(self.clone());
        Self { header: whole.header, data: part.cast(), len: part.len() }
    }

    /// The bytes as [`Bytes`], sharing the allocation: they stay counted until the `Bytes` is dropped.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }

    /// Whether both are parts of one allocation, which is charged once.
    #[must_use]
    pub fn shares_allocation(&self, other: &Self) -> bool {
        self.header == other.header
    }

    /// Whether somebody beside this handle holds the allocation.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        // Acquire pairs with the Release of a drop: what the last other holder read, it has read.
        self.header().holders.load(Ordering::Acquire) & HOLDERS > 1
    }

    /// Whether somebody outside of pools holds the allocation beside this handle; if so, the ledger is told when that
    /// may have changed.
    ///
    /// Handles that pools hold are those that were [marked](Self::mark_pooled), or else this one alone.
    #[must_use]
    pub fn watch_shared(&self) -> bool {
        // Acquire as in `is_shared`. A drop after this sees the mark, one before it is seen here: both are
        // read-modify-writes of one word.
        let holders = self.header().holders.fetch_or(WATCHED, Ordering::Acquire);
        holders & HOLDERS > (holders & MARKS).checked_div(MARK).unwrap_or(0).max(1)
    }

    /// Says that a pool holds this handle, as a part of a value: an allocation that pools alone hold can be evicted,
    /// however many of their values share it. Whoever marks a handle takes the mark back before it drops the handle.
    ///
    /// # Panics
    /// At the 2^30th mark of one allocation.
    pub fn mark_pooled(&self) {
        // Relaxed: nothing is read on the strength of a mark.
        let before = self.header().holders.fetch_add(MARK, Ordering::Relaxed);
        assert!((before & MARKS) / MARK < COUNT_MAX, "too many marks of one buffer");
    }

    /// Takes a mark back.
    ///
    /// # Panics
    /// When there is none.
    pub fn unmark_pooled(&self) {
        // Relaxed as in `mark_pooled`.
        let before = self.header().holders.fetch_sub(MARK, Ordering::Relaxed);
        assert!(before & MARKS != 0, "a mark that was set before");
    }

    /// What its reservation holds; 0 for bytes that no ledger counts.
    #[must_use]
    pub fn reserved_bytes(&self) -> u64 {
        self.header().payer.bytes()
    }

    /// What a ledger is charged for the whole allocation, whoever pays for it now; `None` for bytes that are not known
    /// to lie on the heap, such as those of a map.
    #[must_use]
    pub fn heap_bytes(&self) -> Option<u64> {
        match self.header().origin {
            Origin::Inline(layout) => Some(layout.size() as u64),
            Origin::Adopted(_) => match self.reserved_bytes() {
                0 => None,
                bytes => Some(bytes),
            },
            Origin::AdoptedHeap(_) => {
                let adoption = self.header.cast::<Adoption<HeapBytes>>();
                // SAFETY: of this origin a `Heap` follows the header, and in C's order its charge comes first.
                Some(unsafe { adoption.as_ref() }.owner.0)
            }
        }
    }

    /// Whether `ledger` pays for the allocation.
    #[must_use]
    pub fn is_paid_by(&self, ledger: &Arc<Ledger>) -> bool {
        self.header().payer.ledger().is_some_and(|payer| ptr::eq(payer, Arc::as_ptr(ledger)))
    }

    /// What [`charge`](Self::charge) takes from `room`: 0 when its ledger pays already, the allocation when nobody
    /// does, and `None` when it cannot be charged there: bytes of a map, or another ledger's. They are to be copied.
    #[must_use]
    pub fn missing_charge(&self, room: &Room) -> Option<u64> {
        match self.header().payer.ledger() {
            None => self.heap_bytes(),
            Some(_) if self.is_paid_by(room.ledger()) => Some(0),
            Some(_) => None,
        }
    }

    /// Has `room` pay for the allocation; answers whether its ledger pays now, be it since this call or before.
    ///
    /// It does not when [`missing_charge`](Self::missing_charge) is `None`, or when another pool was faster.
    ///
    /// # Errors
    /// What `room` says.
    pub fn charge(&self, room: &mut Room) -> Result<bool> {
        let bytes = match self.missing_charge(room) {
            None => return Ok(false),
            Some(0) => return Ok(true),
            Some(bytes) => bytes,
        };
        let Some(unused) = self.header().payer.settle(room.take(bytes)?) else { return Ok(true) };
        // Somebody was faster: what was taken is given back.
        drop(unused);
        room.note_returned(bytes);
        Ok(self.is_paid_by(room.ledger()))
    }

    fn header(&self) -> &Header {
        // SAFETY: the header is freed by the last holder alone, and `self` is a holder.
        unsafe { self.header.as_ref() }
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        // Relaxed: the new handle is made from one that already keeps the allocation alive.
        let before = self.header().holders.fetch_add(1, Ordering::Relaxed);
        assert!(before & HOLDERS < COUNT_MAX, "too many holders of one buffer");
        Self { header: self.header, data: self.data, len: self.len }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut before = self.header().holders.load(Ordering::Relaxed);
        loop {
            let last = before & HOLDERS == 1;
            // Who waits looks again, and watches again if it was not the holder it waits for.
            let told = before & WATCHED != 0 && !last;
            let after = (before & !WATCHED).wrapping_sub(1);
            // Taken before the step: after it, the other holders may free the header.
            let ledger = if told { self.header().payer.counted_ledger() } else { None };
            // Release: all that was read through this handle was read before the allocation is freed.
            let step = self.header().holders.compare_exchange_weak(
                before,
                after,
                Ordering::Release,
                Ordering::Relaxed,
            );
            match step {
                Err(now) => before = now,
                Ok(_) if last => return self.free(),
                Ok(_) if mutant!("ledger_credited_while_view_lives") => return self.credit_early(),
                Ok(_) => return ledger.iter().for_each(|ledger| ledger.nudge()),
            }
        }
    }
}

impl Buffer {
    /// The planted bug: pays back, once, what somebody still holds.
    #[cold]
    fn credit_early(&self) {
        #[cfg(feature = "mutants")]
        if let Some(ledger) = self.header().payer.ledger()
            && !self.header().credited.swap(true, Ordering::Relaxed)
        {
            ledger.credit_planted(self.reserved_bytes());
        }
    }

    /// Whether a parent of this process counts the bytes.
    fn reservation_is_foreign(&self) -> bool {
        self.header().payer.ledger().is_some_and(|ledger| !ledger.is_ours())
    }

    fn free(&mut self) {
        // Acquire pairs with the Release of every other holder's drop.
        fence(Ordering::Acquire);
        if self.reservation_is_foreign() {
            // Dropping an adopted owner might run a destructor that the parent will run. The child's copy leaks.
            return;
        }
        let header = self.header.as_ptr();
        #[cfg(feature = "mutants")]
        let credited = self.header().credited.load(Ordering::Relaxed);
        // SAFETY: the count fell to zero, so this is the only pointer to the header.
        let Header { origin, payer, .. } = unsafe { self.header.as_mut() };
        let (origin, reservation) = (*origin, payer.take());
        match origin {
            Origin::Inline(layout) => {
                // SAFETY: `header` came from `alloc` with this layout; what it held was taken out.
                unsafe { dealloc(header.cast(), layout) };
            }
            Origin::Adopted(free) | Origin::AdoptedHeap(free) => {
                // SAFETY: `free` was made for this adoption's type, which nobody holds any more.
                unsafe { free(self.header) };
            }
        }
        #[cfg(feature = "mutants")]
        if credited {
            return std::mem::forget(reservation);
        }
        // The bytes are gone: now they may be given to somebody else.
        drop(reservation);
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `data` and `len` lie within the allocation or the owner's bytes, which live as long as a
        // holder does, are initialized, and are not written any more.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer")
            .field("len", &self.len)
            .field("reserved_bytes", &self.reserved_bytes())
            .finish_non_exhaustive()
    }
}

/// A heap buffer while it is written, with room for a fixed number of bytes.
pub struct BufferMut {
    buffer: ManuallyDrop<Buffer>,
    capacity: usize,
}

impl BufferMut {
    /// Room for `capacity` bytes at `align`, paid by `reservation`.
    ///
    /// # Errors
    /// [`Error::Allocation`] when the allocator refuses.
    ///
    /// # Panics
    /// When `reservation` is not exactly [`Buffer::allocation_bytes`].
    pub fn with_capacity(capacity: usize, align: usize, reservation: Reservation) -> Result<Self> {
        let charged = Buffer::allocation_bytes(capacity, align)?;
        assert_eq!(reservation.bytes(), charged, "the reservation of an allocation is exact");
        Self::allocate(capacity, align, Some(reservation))
    }

    fn allocate(capacity: usize, align: usize, reservation: Option<Reservation>) -> Result<Self> {
        let (layout, offset) = layout_of(capacity, align)?;
        // SAFETY: the layout holds a header, so its size is not zero.
        let Some(block) = NonNull::new(unsafe { alloc(layout) }) else {
            return Err(Error::Allocation { bytes: layout.size() as u64 });
        };
        let header = block.cast::<Header>();
        let content = Header {
            holders: AtomicU64::new(1),
            origin: Origin::Inline(layout),
            payer: Payer::new(reservation),
            #[cfg(feature = "mutants")]
            credited: crate::sync::atomic::AtomicBool::new(false),
        };
        // SAFETY: the block is at least a header in size, aligned for one, and ours alone.
        unsafe { header.write(content) };
        // SAFETY: `offset` is at most the size of the block (`layout_of`).
        let data = unsafe { block.add(offset) };
        Ok(Self { buffer: ManuallyDrop::new(Buffer { header, data, len: 0 }), capacity })
    }

    /// How many bytes it has room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// What its reservation holds; 0 for bytes that no ledger counts.
    #[must_use]
    pub fn reserved_bytes(&self) -> u64 {
        self.buffer.reserved_bytes()
    }

    /// Appends `bytes`.
    ///
    /// # Panics
    /// When they do not fit.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let left = self.capacity.checked_sub(self.buffer.len).expect("len stays within capacity");
        assert!(bytes.len() <= left, "{} bytes into room for {left}", bytes.len());
        // SAFETY: `len <= capacity`, so the end of what is written lies within the allocation.
        let end = unsafe { self.buffer.data.add(self.buffer.len) };
        // SAFETY: `left` bytes follow `end` in the allocation, which is ours alone, so `bytes` is elsewhere.
        unsafe { end.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
        self.buffer.len = self.buffer.len.checked_add(bytes.len()).expect("within capacity");
    }

    /// Appends zeros until it holds `len` bytes, if it holds fewer.
    ///
    /// # Panics
    /// When they do not fit.
    pub fn zero_to(&mut self, len: usize) {
        assert!(len <= self.capacity, "{len} bytes into room for {}", self.capacity);
        let Some(missing) = len.checked_sub(self.buffer.len) else { return };
        // SAFETY: `len <= capacity`, so the end of what is written lies within the allocation.
        let end = unsafe { self.buffer.data.add(self.buffer.len) };
        // SAFETY: `missing` bytes follow `end` within the capacity.
        unsafe { end.write_bytes(0, missing) };
        self.buffer.len = len;
    }

    /// What was written so far, to be changed in place.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: `len` bytes were initialized, and `&mut self` is the only handle.
        unsafe { std::slice::from_raw_parts_mut(self.buffer.data.as_ptr(), self.buffer.len) }
    }

    /// Ends the writing; from here on the bytes do not change.
    #[must_use]
    pub fn freeze(self) -> Buffer {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not dropped, and its buffer is not used again.
        unsafe { ManuallyDrop::take(&mut this.buffer) }
    }
}

impl Deref for BufferMut {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for BufferMut {
    fn drop(&mut self) {
        // SAFETY: dropped once, here; `freeze` does not drop `self`.
        unsafe { ManuallyDrop::drop(&mut self.buffer) };
    }
}

// SAFETY: it is the only handle of an allocation that is plain bytes.
unsafe impl Send for BufferMut {}
// SAFETY: a shared BufferMut gives out `&[u8]` alone.
unsafe impl Sync for BufferMut {}

impl fmt::Debug for BufferMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferMut")
            .field("len", &self.buffer.len)
            .field("capacity", &self.capacity)
            .finish()
    }
}

/// The layout of a heap buffer, and where its bytes start.
fn layout_of(len: usize, align: usize) -> Result<(Layout, usize)> {
    let too_large = |_| Error::Allocation { bytes: len as u64 };
    let bytes = Layout::from_size_align(len, align).map_err(too_large)?;
    let (whole, offset) = Layout::new::<Header>().extend(bytes).map_err(too_large)?;
    Ok((whole, offset))
}
