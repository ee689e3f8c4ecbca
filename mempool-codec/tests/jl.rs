//! What MemPool.jl's tests show with values of several types. `docs/mempool-jl.md` is the map.
#![cfg(feature = "bincode")]
#![allow(clippy::unwrap_used, reason = "a test")]

use mempool_codec::Bincode;
use mempool_core::{Error, PoolOptions};

#[test]
fn values_of_several_types_are_set_got_and_deleted() {
    let pool = PoolOptions::new().memory_limit(1 << 20).open(Bincode);
    let numbers = pool.set(vec![1_i64, 2]).unwrap();
    let words = pool.set(vec!["abc".to_owned(), "def".to_owned()]).unwrap();
    let boxes = pool.set(vec![Box::new(1_i64), Box::new(2)]).unwrap();
    for _ in 0..2 {
        assert_eq!(*pool.get(&numbers).unwrap(), [1, 2]);
        assert_eq!(*pool.get(&words).unwrap(), ["abc", "def"]);
        assert_eq!(*pool.get(&boxes).unwrap(), [Box::new(1), Box::new(2)]);
        // And once more, decoded from where they were spilled to.
        pool.set_memory_limit(0).unwrap();
        pool.set_memory_limit(1 << 20).unwrap();
    }
    pool.delete(&numbers).unwrap();
    assert!(matches!(pool.get(&numbers), Err(Error::Deleted { .. })));
    pool.delete(&words).unwrap();
    pool.delete(&boxes).unwrap();
    assert!(matches!(pool.get(&words), Err(Error::Deleted { .. })));
    pool.quiesce();
    let stats = pool.stats();
    assert_eq!((stats.values, stats.used_bytes, stats.store.live_bytes), (0, 0, 0));
}
