//! Files of every format version are kept and read for ever, and what is written today is what was written then.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;

use mempool_core::testing::{room, with_frame};
use mempool_core::{Fingerprint, Header, Id, Ledger, SpillStore};
use mempool_spill::SpillOptions;

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
