//! Frames of every layout are kept and read for ever, and what is written today is what was written then.
//!
//! They are sealed as `MemoryStore` seals them. `WRITE_GOLDEN` in the environment writes them, once for each version.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use mempool_arrays::{
    Binary, Bits, Column, Element, ElementType, Field, Layout, List, Logical, NdArray, Nullable,
    Pooled, Raw, Strings, Struct, Table, Units, Values,
};
use mempool_core::testing::{decode, room};
use mempool_core::{Buffer, Codec, Header, Ledger, MemoryStore, SpillStore, Trust};

mod frames;
use frames::frame;

/// Compares the frame of `array` with the file, and reads the file.
fn golden<A: Layout + PartialEq>(name: &str, array: &A) {
    let name = format!("{name}.frame");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(&name);
    let today = frame(array);
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &today[..]).unwrap();
    }
    let kept = Buffer::uncounted(&fs::read(&path).unwrap()).unwrap();
    let store = MemoryStore::new();
    let header = Header::check_whole(&kept, |bytes| store.checksum(bytes)).unwrap();
    assert_eq!(header.format, <Raw as Codec<A>>::format(&Raw));
    let ledger = Ledger::new(1 << 20, Duration::ZERO);
    for trust in [Trust::Own, Trust::Saved, Trust::Foreign] {
        let back = decode::<A, Raw>(&Raw, &kept, trust, &mut room(&ledger)).unwrap();
        assert!(<Raw as Codec<A>>::view(&Raw, &back) == array, "{name} as {trust:?}");
    }
    assert!(today[..] == kept[..], "{name}: other bytes are written, so that is a new version");
}

#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Trade {
    price: f64,
    quantity: u32,
    venue: u32,
}

impl Element for Trade {
    const TYPE: ElementType = ElementType::record::<Self>("trade");
}

fn trade() -> Trade {
    Trade { price: 9.5, quantity: 100, venue: 3 }
}

fn texts() -> Strings {
    ["a", "", "Reykjavík", "東京"].into_iter().collect()
}

#[test]
fn plain_data() {
    golden("values-i128", &Values::from(vec![0_i128, -1, i128::MAX]));
    golden("values-f32", &Values::from(vec![0.5_f32, f32::NEG_INFINITY]));
    golden("values-record", &Values::from(vec![trade()]));
    golden("values-array-of-records", &Values::from(vec![[trade(); 2]]));
    golden("values-bytes", &Values::from(vec![*b"abc", *b"xyz"]));
    golden("bits", &(0..13).map(|slot| slot % 3 == 0).collect::<Bits>());
    golden("units", &Units::new(5));
}

#[test]
fn runs_of_bytes() {
    golden("strings", &texts());
    golden("binary", &[&b"\xff\0"[..], b""].into_iter().collect::<Binary>());
}

#[test]
fn nested_layouts() {
    let words = || texts().iter().map(str::to_owned).collect::<Vec<_>>();
    let nullable: Nullable<Strings> =
        words().iter().map(|text| (!text.is_empty()).then_some(&text[..])).collect();
    golden("nullable", &nullable);
    golden("pooled", &["AIR", "RAIL", "AIR"].into_iter().collect::<Pooled<Strings>>());
    golden("list", &List::<_, i64>::new(vec![0_i64, 3, 3, 4].into(), texts()).unwrap());
    golden("list-32", &List::<_, i32>::new(vec![1_i32, 4].into(), texts()).unwrap());
    golden("several-dimensions", &NdArray::new(vec![1_i64, 2, 3, 4, 5, 6], &[3, 2]).unwrap());
}

#[test]
fn columns() {
    let cities: Pooled<Strings> = ["Ushuaia", "Reykjavík", "Ushuaia"].into_iter().collect();
    let days = Field::new("day").with_logical(Logical::Date);
    let columns = || {
        let days = (days.clone(), Column::of(&Values::from(vec![3_i32, 1, 2])));
        [(Field::new("city"), Column::of(&cities)), days]
    };
    golden("column", &Column::of(&cities));
    golden("struct", &Struct::new(columns()).unwrap());
    golden("table", &Table::new(columns()).unwrap().sort_by(&["day"]).unwrap());
}
