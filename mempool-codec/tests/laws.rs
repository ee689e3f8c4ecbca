//! Both codecs keep the laws, for types of many shapes.
#![cfg(all(feature = "testing", feature = "rkyv", feature = "bincode"))]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use mempool_codec::{Bincode, Rkyv, codec_laws};
use rkyv::{Archive, Archived, Deserialize, Serialize};

#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[rkyv(compare(PartialEq))]
struct Record {
    key: u64,
    wide: i128,
    name: String,
    tags: Vec<Option<String>>,
    flag: bool,
}

fn record(n: u64) -> Record {
    Record {
        key: n,
        wide: -i128::from(n) << 70,
        name: "x".repeat(n as usize),
        tags: (0..n % 5).map(|tag| (tag % 2 == 0).then(|| format!("tag {tag} of {n}"))).collect(),
        flag: n % 2 == 1,
    }
}

codec_laws!(rkyv_record, Rkyv::new(), record, |view: &Archived<Record>, value: &Record| view
    == value);
codec_laws!(
    rkyv_records,
    Rkyv::new(),
    |n: u64| (0..n).map(record).collect::<Vec<_>>(),
    |view: &Archived<Vec<Record>>, value: &Vec<Record>| view == value
);
codec_laws!(
    rkyv_string,
    Rkyv::new(),
    |n: u64| "ß".repeat(n as usize),
    |view: &Archived<String>, value: &String| { view == value }
);
codec_laws!(
    rkyv_bytes,
    Rkyv::new(),
    |n: u64| vec![n as u8; n as usize * 31],
    |view: &Archived<Vec<u8>>, value: &Vec<u8>| { view.as_slice() == value.as_slice() }
);
codec_laws!(
    rkyv_floats,
    Rkyv::new(),
    |n: u64| vec![n as f64; n as usize],
    |view: &Archived<Vec<f64>>, value: &Vec<f64>| { view == value }
);
codec_laws!(rkyv_unit, Rkyv::new(), |_| (), |_: &Archived<()>, (): &()| true);
codec_laws!(rkyv_wide, Rkyv::new(), |n: u64| (n as u8, u128::from(n) << 90), |view: &Archived<
    (u8, u128),
>,
                                                                              value: &(
    u8,
    u128
)| {
    view.0 == value.0 && view.1 == value.1
});

codec_laws!(
    bincode_string,
    Bincode,
    |n: u64| "ß".repeat(n as usize),
    |view: &String, value: &String| view == value
);
codec_laws!(
    bincode_bytes,
    Bincode,
    |n: u64| vec![n as u8; n as usize * 31],
    |view: &Vec<u8>, value: &Vec<u8>| view == value
);
codec_laws!(
    bincode_nested,
    Bincode,
    |n: u64| (0..n % 9).map(|i| (i % 2 == 0).then(|| "y".repeat(i as usize))).collect::<Vec<_>>(),
    |view: &Vec<Option<String>>, value: &Vec<Option<String>>| view == value
);
codec_laws!(
    bincode_boxed,
    Bincode,
    |n: u64| (Box::new(n), [n as f32; 3], vec![(n, true); n as usize]),
    |view: &(Box<u64>, [f32; 3], Vec<(u64, bool)>),
     value: &(Box<u64>, [f32; 3], Vec<(u64, bool)>)| view == value
);

/// A valid archive of very many nested boxes is refused, and does not overflow the stack.
mod depth {
    use super::*;
    use mempool_core::testing::{decode, encode, room};
    use mempool_core::{Codec, Ledger, Trust};

    #[derive(Archive, Serialize, Deserialize)]
    #[rkyv(serialize_bounds(
        __S: rkyv::ser::Writer,
        <__S as rkyv::rancor::Fallible>::Error: rkyv::rancor::Source
    ))]
    #[rkyv(deserialize_bounds(<__D as rkyv::rancor::Fallible>::Error: rkyv::rancor::Source))]
    #[rkyv(bytecheck(bounds(
        __C: rkyv::validation::ArchiveContext,
        <__C as rkyv::rancor::Fallible>::Error: rkyv::rancor::Source
    )))]
    struct Nested {
        #[rkyv(omit_bounds)]
        inner: Option<Box<Nested>>,
    }

    fn nested(depth: usize) -> Nested {
        (0..depth).fold(Nested { inner: None }, |inner, _| Nested { inner: Some(Box::new(inner)) })
    }

    fn read_back(depth: usize) -> mempool_core::Result<()> {
        let ledger = Ledger::new(1 << 30, std::time::Duration::ZERO);
        let mut admitted = room(&ledger);
        let resident = Rkyv::new().admit(nested(depth), &mut admitted).map_err(|r| r.error)?;
        let frame = encode::<Nested, _>(&Rkyv::new(), &resident, 0)?;
        let mut back = room(&ledger);
        decode::<Nested, _>(&Rkyv::new(), &frame, Trust::Foreign, &mut back).map(|_| ())
    }

    #[test]
    fn is_limited() {
        read_back(40).unwrap();
        assert!(matches!(read_back(2000), Err(mempool_core::Error::Codec(_))));
    }
}
