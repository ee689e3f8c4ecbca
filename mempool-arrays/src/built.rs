//! Arrays that are written piece by piece inside a pool's budget: what `pool.builder()` is for.

use mempool_core::{Build, Result, Room};

use crate::element::Element;
use crate::layout::{Buildable, Builder};
use crate::raw::{Held, Metered, Raw, charge};
use crate::values::{Values, ValuesBuilder};

/// Arrays grow by arrays: a piece is appended slot by slot, or not at all.
///
/// ```
/// use mempool_arrays::{Pooled, Raw, Strings};
/// use mempool_core::PoolOptions;
///
/// let pool = PoolOptions::new().memory_limit(1 << 20).open(Raw);
/// let mut modes = pool.builder::<Pooled<Strings>>()?;
/// modes.push(&["AIR", "RAIL"].into_iter().collect())?;
/// modes.push(&["AIR"].into_iter().collect())?;
/// let modes = modes.finish()?;
/// assert_eq!(pool.get(&modes)?.dictionary().iter().collect::<Vec<_>>(), ["AIR", "RAIL"]);
/// # Ok::<(), mempool_core::Error>(())
/// ```
impl<A: Buildable> Build<A> for Raw {
    type Piece = A;
    type Partial = A::Builder;

    fn start(&self) -> A::Builder {
        A::Builder::default()
    }

    fn push(&self, partial: &mut A::Builder, piece: &A, room: &mut Room) -> Result<()> {
        let len = partial.len();
        let mut slots = piece.iter();
        let pushed = slots.try_for_each(|slot| partial.push_metered(slot, &mut Metered(room)));
        if pushed.is_err() {
            partial.truncate(len);
        }
        pushed
    }

    fn finish(&self, partial: A::Builder, room: &mut Room) -> Result<Held<A>> {
        Ok(Held::new(charge(partial.finish(), room)?))
    }
}

impl<T: Element> Build<Vec<T>> for Raw {
    type Piece = [T];
    type Partial = ValuesBuilder<T>;

    fn start(&self) -> ValuesBuilder<T> {
        ValuesBuilder::default()
    }

    fn push(&self, partial: &mut ValuesBuilder<T>, piece: &[T], room: &mut Room) -> Result<()> {
        partial.extend_metered(piece, &mut Metered(room))
    }

    fn finish(&self, partial: ValuesBuilder<T>, room: &mut Room) -> Result<Held<Values<T>>> {
        Ok(Held::new(charge(partial.finish(), room)?))
    }
}
