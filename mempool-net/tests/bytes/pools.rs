//! Values of pools that travel: out of memory, out of a codec's hands, off the disk; into memory, and on to the disk.

use mempool_codec::Bincode;
use mempool_core::{Blob, ErrorKind, Pool, PoolOptions, SetOptions, Untyped};
use mempool_net::bytes::{ByteRange, BytesError, ExportFrame, Peer, RefusalKind, ServedFrame};
use mempool_spill::SpillOptions;

use crate::support::{id, pair, run};

/// A directory that is gone at the end.
struct Directory(std::path::PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mempool-net-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).expect("a directory");
        Self(path)
    }

    fn pool<C>(&self, limit: u64, codec: C) -> Pool<C>
    where
        C: Send + Sync + 'static,
    {
        let store = SpillOptions::new(&self.0).open().expect("a store");
        PoolOptions::new().memory_limit(limit).store(store).open(codec)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Fetches value 1 into `pool`, as a value of it.
async fn fetch<C>(peer: &Peer, pool: &Pool<C>) -> Untyped
where
    C: Send + Sync + 'static,
{
    let begin = |head: &mempool_net::bytes::FrameHead, _| Ok(pool.receive(head.bytes())?);
    let (head, receiving) = peer.fetch(id(1), ByteRange::WHOLE, begin).await.expect("all bytes");
    receiving.finish(&head.type_name, Vec::new(), SetOptions::new()).expect("a good frame")
}

#[test]
fn a_value_in_memory_goes_from_pool_to_pool() {
    run(async {
        let (shelf, peer) = pair().await;
        let directory = Directory::new("memory");
        let (from, to) = (directory.pool(1 << 26, Blob), directory.pool(1 << 26, Blob));
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        let value = from.set(bytes.clone()).expect("room");
        let frame = ExportFrame::new(from.export(&value.untyped()).expect("it"), false);
        let frame = frame.expect("its head");
        assert!(!frame.streams() && !frame.may_block());
        shelf.put(id(1), frame);
        let got = fetch(&peer, &to).await;
        let got = to.typed::<Vec<u8>>(&got).expect("of that type");
        assert!(to.get(&got).expect("it")[..] == bytes[..]);
        shelf.clear();
    });
}

#[test]
fn a_value_that_its_codec_makes_is_made_once_a_body() {
    run(async {
        let (shelf, peer) = pair().await;
        let directory = Directory::new("made");
        let (from, to) = (directory.pool(1 << 26, Bincode), directory.pool(1 << 26, Bincode));
        let words: Vec<String> = (0..100_000).map(|n| format!("word {n}")).collect();
        let value = from.set(words.clone()).expect("room");
        let frame = ExportFrame::new(from.export(&value.untyped()).expect("it"), false);
        let frame = frame.expect("its head");
        assert!(frame.streams());
        shelf.put(id(1), frame);
        let got = fetch(&peer, &to).await;
        let got = to.typed::<Vec<String>>(&got).expect("of that type");
        assert!(*to.get(&got).expect("it") == words);
        shelf.clear();
    });
}

#[test]
fn a_value_on_disk_leaves_without_coming_into_memory_and_goes_to_disk_where_there_is_no_room() {
    run(async {
        let (shelf, peer) = pair().await;
        let directory = Directory::new("disk");
        let (from, to) = (directory.pool(1 << 26, Blob), directory.pool(1 << 20, Blob));
        let bytes: Vec<u8> = (0..9_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        let value = from.set(bytes.clone()).expect("room");
        from.move_to_disk(&value).expect("written");
        assert_eq!(from.stats().used_bytes, 0);
        let frame = ExportFrame::new(from.export(&value.untyped()).expect("it"), true);
        shelf.put(id(1), frame.expect("its head"));
        let receiving = to.receive(9_000_192).expect("it goes to disk");
        assert!(receiving.goes_to_store());
        drop(receiving);
        let got = fetch(&peer, &to).await;
        assert_eq!(from.stats().used_bytes, 0, "nothing became resident");
        assert_eq!((to.stats().used_bytes, to.stats().peak_bytes), (0, 0));
        let got = to.typed::<Vec<u8>>(&got).expect("of that type");
        assert!(to.get(&got).expect("it")[..] == bytes[..]);
        shelf.clear();
    });
}

#[test]
fn the_errors_of_a_pool_have_their_kinds_on_the_wire() {
    run(async {
        let pool = PoolOptions::new().open(Blob);
        let value = pool.set(vec![1; 100]).expect("room");
        let untyped = value.untyped();
        pool.delete(&value).expect("deleted");
        let error = pool.export(&untyped).expect_err("it is gone");
        let refusal = mempool_net::bytes::Refusal::from(&error);
        assert_eq!(refusal.kind, RefusalKind::Gone);
        assert_eq!(refusal.kind.error_kind(), ErrorKind::Misuse);
        let (shelf, peer) = pair().await;
        let value = pool.set(vec![1; 100]).expect("room");
        let frame = ExportFrame::new(pool.export(&value.untyped()).expect("it"), false);
        shelf.put(id(1), frame.expect("its head"));
        // Of another length than was announced.
        let begin = |head: &mempool_net::bytes::FrameHead, _| Ok(pool.receive(head.bytes() - 1)?);
        let fetched = peer.fetch(id(1), ByteRange::WHOLE, begin).await;
        assert!(matches!(fetched, Err(BytesError::Sink { .. })));
    });
}
