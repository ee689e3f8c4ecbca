//! Files of every format version are kept and read for ever, and what is written today is what was written then.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;

use mempool_codec::{Bincode, ResidentBytes};
use mempool_core::testing::{room, with_frame};
use mempool_core::{
    Blob, DRef, Fingerprint, Header, Id, Ledger, Manifest, PoolOptions, SetOptions, SpillStore,
};
use mempool_spill::{Retained, SpillOptions, read_retained};

/// Three sections, one empty, one at a page.
fn save(path: &Path, store: &impl SpillStore) -> Fingerprint {
    let numbers: Vec<u8> = (0..=255).collect();
    let sections: [(usize, &[u8]); 3] =
        [(64, b"mempool format version 1"), (8, b""), (256, &numbers)];
    let id = Id { slot: 3, generation: 7 };
    with_frame(id, &sections, |frame| store.save(frame, path)).unwrap().unwrap()
}

#[test]
fn version_1() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/version-1.frame");
    let directory = std::env::temp_dir().join(format!("mempool-golden-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    let store = SpillOptions::new(&directory).open().unwrap();
    let today = directory.join("today");
    let fingerprint = save(&today, &store);
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        fs::copy(&today, &golden).unwrap();
    }
    let kept = fs::read(&golden).unwrap();
    assert_eq!(fs::read(&today).unwrap(), kept, "the bytes on disk changed: that is a new version");
    assert_eq!(Fingerprint::of(&kept), fingerprint);
    let ledger = Ledger::new(1 << 20, std::time::Duration::ZERO);
    let read = store.load(&golden, &mut room(&ledger)).unwrap();
    let header = Header::decode(&read, |bytes| store.checksum(bytes)).unwrap();
    assert_eq!(header.id, Id { slot: 3, generation: 7 });
    let section = |index: usize| {
        let section = header.sections[index];
        let start = usize::try_from(section.offset).unwrap();
        &read[start..start + usize::try_from(section.bytes).unwrap()]
    };
    assert_eq!(section(0), b"mempool format version 1");
    assert_eq!(section(1), b"");
    assert!((0..=255).eq(section(2).iter().copied()));
    drop(read);
    drop(store);
    fs::remove_dir_all(&directory).unwrap();
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Listing {
    title: String,
    #[serde(with = "mempool_codec::reference")]
    parts: Vec<DRef<Vec<u8>>>,
}

impl ResidentBytes for Listing {
    fn resident_bytes(&self) -> u64 {
        self.title.resident_bytes() + self.parts.resident_bytes()
    }
}

/// Retains two values, one of them under two names, and one that refers to both and to one that is gone.
fn retain(directory: &Path) -> Retained {
    let store = SpillOptions::new(directory).label("golden").segment_bytes(64 << 10);
    let store = store.open().unwrap();
    let session = store.session_path().to_path_buf();
    let pool = PoolOptions::new().memory_limit(1 << 20).store(store).open(Blob);
    let lists = pool.with_codec(Bincode);
    let parts: Vec<_> = (1..4).map(|n| pool.set(vec![n; 100 * usize::from(n)]).unwrap()).collect();
    pool.set_name("one", &parts[0]).unwrap();
    pool.set_name("ein/er", &parts[0]).unwrap();
    let listing = Listing { title: "all".into(), parts: parts.clone() };
    drop(lists.set_with(listing, SetOptions::new().name("listing")).unwrap());
    pool.delete(&parts[2]).unwrap();
    pool.close_retaining().unwrap();
    read_retained(&session).unwrap()
}

/// A manifest without what differs from pool to pool.
fn nameless(manifest: &Manifest) -> Manifest {
    let mut manifest = manifest.clone();
    manifest.values.iter_mut().for_each(|value| value.pool = 0);
    manifest
}

#[test]
fn retained_version_1() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/retained-1");
    let name = format!("mempool-golden-retained-{}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    fs::create_dir(&directory).unwrap();
    let today = retain(&directory);
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        let _ = fs::remove_dir_all(&golden);
        fs::create_dir(&golden).unwrap();
        for file in fs::read_dir(&today.path).unwrap().map(|file| file.unwrap()) {
            fs::copy(file.path(), golden.join(file.file_name())).unwrap();
        }
    }
    let kept = read_retained(&golden).unwrap();
    assert_eq!(kept.label, "golden");
    assert_eq!(nameless(&kept.manifest), nameless(&today.manifest));
    assert_eq!(kept.segments, today.segments);
    let bytes = |session: &Path| fs::read(session.join("manifest")).unwrap();
    assert_eq!(bytes(&golden).len(), bytes(&today.path).len());
    assert!(kept.manifest.values.iter().all(|value| kept.check(value).is_ok()));
    // It is restored from a copy, which is removed afterwards.
    fs::remove_dir_all(&today.path).unwrap();
    fs::create_dir(&today.path).unwrap();
    for file in ["manifest", "seg-1"] {
        fs::copy(golden.join(file), today.path.join(file)).unwrap();
    }
    let store = SpillOptions::new(&directory).label("golden").restore().unwrap();
    let pool = PoolOptions::new().store(store).restore(Blob).unwrap();
    let lists = pool.with_codec(Bincode);
    let names: Vec<_> = pool.names().into_iter().map(|info| info.name).collect();
    assert_eq!(names, ["ein/er", "listing", "one"]);
    let one = pool.named::<Vec<u8>>("one").unwrap();
    assert_eq!(pool.get(&one).unwrap()[..], [1; 100]);
    assert_eq!(one, pool.named("ein/er").unwrap());
    let listing = lists.named::<Listing>("listing").unwrap();
    let view = lists.get(&listing).unwrap();
    assert_eq!((&*view.title, &view.parts[0]), ("all", &one));
    assert_eq!(pool.get(&view.parts[1]).unwrap()[..], [2; 200]);
    assert!(matches!(pool.get(&view.parts[2]), Err(mempool_core::Error::Deleted { .. })));
    drop(view);
    pool.forget_retained().unwrap();
    pool.close().unwrap();
    fs::remove_dir(&directory).unwrap();
}
