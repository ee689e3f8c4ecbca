//! What was handed out to Arrow, so that it is known when it comes back: as the very buffer, which a pool charges once and
//! of which it knows whether it is on the heap.
//!
//! Arrow does not say who owns a buffer. But as long as somebody holds what we handed out, its addresses are nobody else's:
//! whatever lies within them is a part of it, also when it comes by the C Data Interface.

use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use mempool_core::Buffer;

/// By address and length.
type Out = BTreeMap<(usize, usize), Weak<Handed>>;

static OUT: Mutex<Out> = Mutex::new(BTreeMap::new());

/// The process that the map belongs to.
static PROCESS: OnceLock<u32> = OnceLock::new();

/// Buffers that overlap: more than those that start last before an address are not looked at.
const LOOKED_AT: usize = 8;

/// The owner of a buffer that was handed out.
struct Handed(Buffer);

/// A share of it, as bytes.
struct Share(Arc<Handed>);

impl AsRef<[u8]> for Share {
    fn as_ref(&self) -> &[u8] {
        &self.0.0
    }
}

/// The map; `None` in a forked child, where nobody may ever give the lock back. There nothing is known again.
fn out() -> Option<MutexGuard<'static, Out>> {
    let here = std::process::id();
    // Nothing that runs under the lock leaves the map half changed.
    (*PROCESS.get_or_init(|| here) == here)
        .then(|| OUT.lock().unwrap_or_else(PoisonError::into_inner))
}

fn key(bytes: &Buffer) -> (usize, usize) {
    (bytes.as_ptr().addr(), bytes.len())
}

/// The bytes as Arrow's, sharing the allocation.
pub(super) fn share(bytes: &Buffer) -> arrow_buffer::Buffer {
    if bytes.is_empty() {
        return arrow_buffer::Buffer::default();
    }
    let known = out().and_then(|out| out.get(&key(bytes)).and_then(Weak::upgrade));
    let handed = match known.filter(|known| known.0.shares_allocation(bytes)) {
        Some(known) => known,
        None => {
            let handed = Arc::new(Handed(bytes.clone()));
            out().and_then(|mut out| out.insert(key(bytes), Arc::downgrade(&handed)));
            handed
        }
    };
    bytes::Bytes::from_owner(Share(handed)).into()
}

/// The bytes from `start` on, so many, if they are a part of what was handed out.
pub(super) fn find(start: NonNull<u8>, len: usize) -> Option<Buffer> {
    let start = start.as_ptr().addr();
    // Dropped only when the lock is free again: the last share of one takes it.
    let candidates: Vec<Arc<Handed>> = {
        let out = out()?;
        let before = out.range(..=(start, usize::MAX)).rev().take(LOOKED_AT);
        before.filter_map(|(_, handed)| handed.upgrade()).collect()
    };
    candidates.iter().find_map(|handed| {
        let first = start.checked_sub(handed.0.as_ptr().addr())?;
        let end = first.checked_add(len).filter(|&end| end <= handed.0.len())?;
        Some(handed.0.slice(first..end))
    })
}

impl Drop for Handed {
    fn drop(&mut self) {
        let Some(mut out) = out() else { return };
        // Somebody may have handed the same out again.
        if out.get(&key(&self.0)).is_some_and(|handed| handed.strong_count() == 0) {
            out.remove(&key(&self.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Layout;
    use crate::values::Values;

    fn buffer(numbers: u64) -> Buffer {
        Values::from((0..numbers).collect::<Vec<u64>>()).buffer().clone()
    }

    fn find_in(bytes: &arrow_buffer::Buffer) -> Option<Buffer> {
        find(NonNull::new(bytes.as_ptr().cast_mut()).unwrap(), bytes.len())
    }

    #[test]
    fn a_part_of_what_is_out_is_known_until_nobody_holds_it() {
        let whole = buffer(100);
        let (out, again) = (share(&whole), share(&whole));
        let part = share(&whole.slice(80..160));
        let found = find_in(&out.slice_with_length(16, 700)).unwrap();
        assert!(found.shares_allocation(&whole) && found[..] == whole[16..716]);
        // One that starts later lies between, and does not hold it.
        let behind = find_in(&out.slice_with_length(88, 400)).unwrap();
        assert_eq!(behind[..], whole[88..488]);
        drop((out, part));
        assert!(find_in(&again).is_some(), "the other share holds it");
        let address = NonNull::new(again.as_ptr().cast_mut()).unwrap();
        drop(again);
        assert!(find(address, 8).is_none());
        assert!(!super::out().unwrap().contains_key(&key(&whole)), "nothing is left in the map");
    }

    #[test]
    fn what_lies_beside_or_beyond_is_not_known() {
        let out = share(&buffer(10));
        let address = |at: usize| NonNull::new(out.as_ptr().wrapping_add(at).cast_mut()).unwrap();
        assert!(find(address(0), 80).is_some() && find(address(80), 0).is_some());
        assert!(find(address(0), 81).is_none() && find(address(81), 0).is_none());
        assert!(find(address(8), usize::MAX).is_none());
        let strange = Values::from(vec![1_u64]).slice(0..1);
        let strange = NonNull::new(strange.buffer().as_ptr().cast_mut()).unwrap();
        assert!(find(strange, 8).is_none());
    }

    #[test]
    fn empty_buffers_are_nobodys() {
        let empty = share(&buffer(0));
        assert!(empty.is_empty() && find_in(&empty).is_none());
    }
}
