//! `Promotions`: what a pool hands over of its values, and the sealed copies of those that are in memory alone.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use mempool_core::{Error, Export, Id, Pool, Untyped};

use super::frame::SharedFrame;
use super::memfd::SealedFrame;
use super::message::BytesReason;
use super::server::HandOver;

/// The frames of one pool's values for other processes.
///
/// A value with a file to itself is handed over as that file. One that is in memory alone is copied once into a
/// [`SealedFrame`], which whoever asks next gets without a copy. The copy goes with the last export of it, and with the last
/// [`Arc`] that somebody keeps. As long as it lives both count in the pool: the value, and its copy by a reservation.
///
/// ```
/// use mempool_core::{Blob, PoolOptions};
/// use mempool_net::host::Promotions;
///
/// let pool = PoolOptions::new().memory_limit(8 << 20).open(Blob);
/// let value = pool.set(vec![7; 2 << 20])?;
/// let promotions = Promotions::default();
/// // Made ahead, so that whoever asks first waits for no copy either.
/// let kept = promotions.promote(&pool, &value.untyped())?;
/// assert_eq!(promotions.bytes(), kept.bytes());
/// drop(kept);
/// assert_eq!(promotions.bytes(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Promotions(Mutex<BTreeMap<Id, Arc<Slot>>>);

/// The copy of one value. Whoever makes it holds the lock; who wants it too waits for him.
type Slot = Mutex<Weak<SealedFrame>>;

impl Promotions {
    /// Values whose frames are at least so large are copied for others; a smaller one costs less as bytes than as a map.
    pub const BYTES_MIN: u64 = 1 << 20;

    /// What to answer to who asks for a value of `pool`: its file, its sealed copy, or that it is to be had as bytes,
    /// because it is small, or there is no room for the copy.
    ///
    /// Blocks as [`Pool::export`] does, and for a copy.
    ///
    /// # Errors
    /// Those of [`Pool::export`]: the value is not there any more, or cannot be read.
    pub fn hand_over<C: Send + Sync + 'static>(
        &self,
        pool: &Pool<C>,
        value: &Untyped,
    ) -> Result<HandOver, Error> {
        if let Some(frame) = self.known(value.id()) {
            return Ok(answer(SharedFrame::of_sealed(frame)));
        }
        // Without a map of our own, for which views of others might have to go.
        if let Some((file, offset, bytes)) = value.share() {
            return Ok(answer(SharedFrame::of_file(file, offset, bytes)));
        }
        let export = pool.export(value)?;
        if export.frame_bytes() < Self::BYTES_MIN {
            return Ok(HandOver::Bytes(BytesReason::Small));
        }
        Ok(answer(self.copy(pool, &export).and_then(SharedFrame::of_sealed)))
    }

    /// The sealed copy of a value: the one that is there, or a new one. Other threads that want the same wait meanwhile.
    ///
    /// # Errors
    /// Those of [`Pool::export`], of [`Pool::try_reserve`] and of [`SealedFrame::write`].
    pub fn promote<C: Send + Sync + 'static>(
        &self,
        pool: &Pool<C>,
        value: &Untyped,
    ) -> io::Result<Arc<SealedFrame>> {
        match self.known(value.id()) {
            Some(frame) => Ok(frame),
            None => self.copy(pool, &pool.export(value).map_err(io::Error::other)?),
        }
    }

    /// Bytes of all copies that are there.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let slots: Vec<_> = lock(&self.0).values().map(Arc::clone).collect();
        let frames = slots.iter().filter_map(|slot| lock(slot).upgrade());
        frames.map(|frame| frame.bytes()).sum()
    }

    fn known(&self, id: Id) -> Option<Arc<SealedFrame>> {
        let slot = Arc::clone(lock(&self.0).get(&id)?);
        lock(&slot).upgrade()
    }

    fn copy<C: Send + Sync + 'static>(
        &self,
        pool: &Pool<C>,
        export: &Export,
    ) -> io::Result<Arc<SealedFrame>> {
        let slot = self.slot(export.id());
        let mut made = lock(&slot);
        if let Some(frame) = made.upgrade() {
            return Ok(frame);
        }
        let bytes = export.frame_bytes();
        let reservation = pool.try_reserve(bytes).map_err(io::Error::other)?;
        let frame = SealedFrame::write(bytes, Some(reservation), |out| {
            let mut written = Ok(());
            let streamed = export.stream(0..bytes, &mut |piece| {
                written = out.write_all(&piece);
                if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            streamed.map_err(io::Error::other).and(written)
        });
        let frame = Arc::new(frame?);
        *made = Arc::downgrade(&frame);
        Ok(frame)
    }

    fn slot(&self, id: Id) -> Arc<Slot> {
        let mut table = lock(&self.0);
        // Each costs a few bytes, and a copy at least a megabyte, so there are never many.
        table.retain(|_, slot| Arc::strong_count(slot) > 1 || lock(slot).strong_count() > 0);
        Arc::clone(table.entry(id).or_default())
    }
}

/// A copy that could not be made is one for which there was no room: in the pool, or in the machine.
fn answer(frame: io::Result<SharedFrame>) -> HandOver {
    frame.map_or(HandOver::Bytes(BytesReason::NoRoom), HandOver::Frame)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use mempool_core::{Blob, PoolOptions};

    use super::*;

    fn reason(given: HandOver) -> BytesReason {
        match given {
            HandOver::Bytes(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_value_is_copied_once_while_somebody_has_the_copy() {
        let pool = PoolOptions::new().memory_limit(8 << 20).open(Blob);
        let promotions = Promotions::default();
        let set = |fill| pool.set(vec![fill; 1 << 20]).unwrap().untyped();
        let (one, two) = (set(1), set(2));
        let before = pool.stats().used_bytes;
        let first = promotions.promote(&pool, &one).unwrap();
        assert!(Arc::ptr_eq(&first, &promotions.promote(&pool, &one).unwrap()));
        let given = promotions.hand_over(&pool, &one).unwrap();
        assert!(matches!(&given, HandOver::Frame(frame) if frame.bytes() == first.bytes()));
        assert_eq!(promotions.bytes(), first.bytes());
        assert_eq!(pool.stats().used_bytes, before + first.bytes());
        drop((first, given));
        assert_eq!((promotions.bytes(), pool.stats().used_bytes), (0, before));
        promotions.promote(&pool, &two).unwrap();
        assert_eq!(lock(&promotions.0).len(), 1, "who has no copy any more has no slot");
    }

    #[test]
    fn without_room_and_for_little_it_is_bytes() {
        let pool = PoolOptions::new().memory_limit(3 << 20).open(Blob);
        let promotions = Promotions::default();
        let small = pool.set(vec![1; 1 << 19]).unwrap();
        let given = promotions.hand_over(&pool, &small.untyped()).unwrap();
        assert_eq!(reason(given), BytesReason::Small);
        let large = pool.set(vec![2; 2 << 20]).unwrap();
        let given = promotions.hand_over(&pool, &large.untyped()).unwrap();
        assert_eq!(reason(given), BytesReason::NoRoom);
        pool.delete(&large).unwrap();
        let error = promotions.hand_over(&pool, &large.untyped()).unwrap_err();
        assert!(matches!(error, Error::Deleted { .. }), "{error}");
    }
}
