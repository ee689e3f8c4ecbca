//! Frames of every codec are kept and read for ever, and what is written today is what was written then.
//!
//! They are sealed as `MemoryStore` seals them. `WRITE_GOLDEN` in the environment writes them, once for each version.
#![cfg(all(feature = "testing", feature = "rkyv", feature = "bincode"))]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use mempool_codec::{Bincode, Encoded, Encoding, ResidentBytes, Rkyv};
use mempool_core::testing::{decode, encode, room};
use mempool_core::{Blob, Buffer, Codec, Header, Ledger, MemoryStore, SpillStore, Trust};

#[derive(
    Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, serde::Serialize, serde::Deserialize,
)]
#[rkyv(compare(PartialEq))]
struct Record {
    name: String,
    numbers: Vec<i64>,
    wide: u128,
    shape: Shape,
    none: Option<Box<u32>>,
}

#[derive(
    Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, serde::Serialize, serde::Deserialize,
)]
#[rkyv(compare(PartialEq))]
enum Shape {
    Point,
    Circle { radius: f64, label: char },
}

impl ResidentBytes for Record {
    fn resident_bytes(&self) -> u64 {
        self.name.resident_bytes() + self.numbers.resident_bytes() + self.none.resident_bytes()
    }
}

fn record() -> Record {
    Record {
        name: "a name of more than eight bytes, é".to_owned(),
        numbers: vec![0, -1, 250, 251, -70_000, i64::MAX],
        wide: 1 << 100 | 5,
        shape: Shape::Circle { radius: 2.5, label: 'ß' },
        none: None,
    }
}

fn map() -> BTreeMap<String, (u16, Vec<Shape>)> {
    let shapes = vec![Shape::Point, record().shape];
    BTreeMap::from([("one".to_owned(), (1, Vec::new())), ("two".to_owned(), (600, shapes))])
}

/// Compares the frame of `value` with the file, and reads the file.
fn golden<T, C>(name: &str, codec: &C, value: T, shows: impl Fn(&C::View) -> bool)
where
    C: Codec<T>,
    T: Send + Sync + 'static,
{
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let ledger = Ledger::new(1 << 20, Duration::ZERO);
    let mut admitted = room(&ledger);
    let charged = codec.size_hint(&value).unwrap();
    let Ok(resident) = codec.admit(value, &mut admitted) else { panic!("it is admitted") };
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &encode(codec, &resident, charged).unwrap()[..]).unwrap();
    }
    let kept = Buffer::uncounted(&fs::read(&path).unwrap()).unwrap();
    let store = MemoryStore::new();
    let header = Header::check_whole(&kept, |bytes| store.checksum(bytes)).unwrap();
    assert_eq!(header.format, codec.format());
    for trust in [Trust::Own, Trust::Saved, Trust::Foreign] {
        let back = decode(codec, &kept, trust, &mut room(&ledger)).unwrap();
        assert!(shows(codec.view(&back)), "{name} as {trust:?}");
    }
    // What a value is charged stands in the header, but is this build's own affair and no part of the format.
    let today = encode(codec, &resident, header.resident_bytes).unwrap();
    assert_eq!(&today[..], &kept[..], "{name}: other bytes are written, so that is a new version");
}

#[test]
fn rkyv() {
    golden("rkyv.frame", &Rkyv::new(), record(), |view| *view == record());
}

#[test]
fn bincode() {
    golden("bincode.frame", &Bincode, record(), |view| *view == record());
}

#[test]
fn encoded() {
    golden("encoded.frame", &Encoded::new(), map(), |view: &Encoding<_>| {
        *view.decode().unwrap() == map()
    });
}

#[test]
fn blob() {
    golden("blob.frame", &Blob, (0..=255).collect(), |view| (0..=255).eq(view.iter().copied()));
}
