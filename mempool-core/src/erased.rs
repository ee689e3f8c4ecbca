//! References without a type: what is done for others is done to values whose types are not known here.

use crate::dref::DRef;
use crate::error::{Error, Result};
use crate::names::Untyped;
use crate::pool::Pool;

/// The type of a value whose type is not said. There are no values of it; a [`DRef`] to it stands for one of any type.
#[derive(Debug)]
pub enum Erased {}

impl Untyped {
    /// The same reference for the calls that need no type: whatever [`Pool`](crate::Pool) does without reading the value,
    /// such as [`info`](crate::Pool::info), [`delete`](crate::Pool::delete), [`set_name`](crate::Pool::set_name) and those
    /// that move and copy. A get answers [`WrongCodec`](crate::Error::WrongCodec).
    ///
    /// ```
    /// # use mempool_core::{Blob, PoolOptions};
    /// let pool = PoolOptions::new().open(Blob);
    /// let value = pool.set(vec![1; 100])?.untyped();
    /// pool.move_to_disk(&value.erased())?;
    /// assert_eq!(pool.get(&value.typed::<Vec<u8>>()?)?.len(), 100);
    /// # Ok::<(), mempool_core::Error>(())
    /// ```
    #[must_use]
    pub fn erased(&self) -> DRef<Erased> {
        DRef::new(self.as_any().clone())
    }

    /// Whether the value was set in this pool, by a codec of this process, and did not come as bytes: received, restored or
    /// another pool's. What came as bytes no codec may have looked at yet.
    #[must_use]
    pub fn was_set_here(&self) -> bool {
        self.as_any().registration().adopted().is_none()
    }
}

impl<C: Send + Sync + 'static> Pool<C> {
    /// The value of that name, whatever its type; [`named`](Self::named) compares it.
    ///
    /// # Errors
    /// [`Error::NoName`], [`Error::Closed`], [`Error::Forked`].
    pub fn named_untyped(&self, name: &str) -> Result<Untyped> {
        self.shared().check_open()?;
        let found = self.shared().names.find(name).map(Untyped::new);
        found.ok_or_else(|| Error::NoName { name: name.to_owned() })
    }

    /// The checksum of these bytes by which the frames of this pool's store are sealed: two pools that are to read each
    /// other's frames must have the same.
    #[must_use]
    pub fn checksum(&self, bytes: &[u8]) -> u64 {
        self.shared().back.store.checksum(bytes)
    }
}
