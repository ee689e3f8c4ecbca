//! What is kept for a moment, until whoever it is for has claimed it: a value that was just put, references for a frame that
//! is still to come.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mempool_core::Untyped;

use crate::identity::GlobalId;

/// How long it is kept.
const KEPT_FOR: Duration = Duration::from_secs(30);

/// The values.
pub(crate) type Offers = Moment<GlobalId, Untyped>;

/// Things that are dropped after a while.
#[derive(Debug)]
pub(crate) struct Moment<K, V>(Mutex<HashMap<K, (V, Duration)>>);

impl<K, V> Default for Moment<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash + Copy, V> Moment<K, V> {
    /// How many may be kept at once.
    const MOST: usize = 65_536;

    fn lock(&self) -> MutexGuard<'_, HashMap<K, (V, Duration)>> {
        // Nothing panics with the lock held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps `value` from `now` on.
    ///
    /// # Errors
    /// Gives it back when there are too many.
    pub(crate) fn keep(&self, key: K, value: V, now: Duration) -> std::result::Result<(), V> {
        let mut kept = self.lock();
        if kept.len() >= Self::MOST {
            return Err(value);
        }
        let before = kept.insert(key, (value, now.saturating_add(KEPT_FOR)));
        drop(kept);
        drop(before);
        Ok(())
    }

    /// Looks at one that is kept under such a key.
    pub(crate) fn look<R>(
        &self,
        is_it: impl Fn(&K) -> bool,
        look: impl FnOnce(&V) -> R,
    ) -> Option<R> {
        let kept = self.lock();
        kept.iter().find(|(key, _)| is_it(key)).map(|(_, (value, _))| look(value))
    }

    /// Takes it out.
    pub(crate) fn take(&self, key: K) -> Option<V> {
        self.lock().remove(&key).map(|(value, _)| value)
    }

    /// Takes out those whose time is over; the rest says when the next one's is.
    pub(crate) fn over(&self, now: Duration) -> (Vec<V>, Option<Duration>) {
        let mut kept = self.lock();
        let over: Vec<K> =
            kept.iter().filter(|(_, one)| one.1 <= now).map(|(key, _)| *key).collect();
        let over = over.into_iter().filter_map(|key| kept.remove(&key)).map(|(value, _)| value);
        let over = over.collect();
        (over, kept.values().map(|(_, until)| *until).min())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_taken_in_time_is_over_once() {
        let kept = Moment::<u32, &str>::default();
        let at = Duration::from_secs;
        kept.keep(1, "one", at(100)).expect("room");
        kept.keep(2, "two", at(110)).expect("room");
        assert_eq!(kept.over(at(129)), (vec![], Some(at(130))));
        assert_eq!(kept.look(|key| *key == 1, |value| value.len()), Some(3));
        assert_eq!(kept.over(at(130)), (vec!["one"], Some(at(140))));
        assert_eq!((kept.take(1), kept.take(2), kept.take(2)), (None, Some("two"), None));
        assert_eq!(kept.over(Duration::MAX), (vec![], None));
    }

    #[test]
    fn more_than_there_may_be_is_given_back() {
        let kept = Moment::<u32, u32>::default();
        let most = u32::try_from(Moment::<u32, u32>::MOST).expect("a few");
        for key in 0..most {
            kept.keep(key, key, Duration::ZERO).expect("room");
        }
        assert_eq!(kept.keep(most, 7, Duration::ZERO), Err(7));
    }
}
