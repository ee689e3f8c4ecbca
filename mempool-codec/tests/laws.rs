//! The codecs keep the laws, for types of many shapes.
#![cfg(all(feature = "testing", feature = "rkyv", feature = "bincode"))]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use std::collections::BTreeMap;

use mempool_codec::{Bincode, Encoded, Encoding, Rkyv, codec_laws};
use mempool_core::{Blob, Buffer};
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

codec_laws!(
    encoded_string,
    Encoded::new(),
    |n: u64| "ß".repeat(n as usize),
    |view: &Encoding<String>, value: &String| view.decode().is_ok_and(|it| *it == *value)
);
codec_laws!(
    encoded_map,
    Encoded::new(),
    |n: u64| (0..n % 20).map(|i| (format!("key {i}"), i.pow(9))).collect::<BTreeMap<_, _>>(),
    |view: &Encoding<BTreeMap<String, u64>>, value: &BTreeMap<String, u64>| {
        view.decode().is_ok_and(|it| *it == *value)
    }
);
codec_laws!(
    blob,
    Blob,
    |n: u64| vec![n as u8; n as usize * 31],
    |view: &Buffer, value: &Vec<u8>| view[..] == value[..]
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

/// The laws can fail: codecs that break one of them are found.
mod broken {
    use super::*;
    use mempool_codec::laws::Subject;
    use mempool_core::{
        Codec, CodecError, CodecName, Format, Rejected, Result, Room, Sink, Source, copy_into,
    };

    /// Bytes behind their length, read back in a way that breaks a law.
    #[derive(Clone, Copy, PartialEq)]
    enum Broken {
        /// Reserves what the length claims before it looks whether so much is there.
        Greedy,
        /// Wants more than the alignment that it wrote with.
        Picky,
        /// Believes that its section is as long as it was.
        Careless,
    }

    impl Codec<Vec<u8>> for Broken {
        type Resident = Buffer;
        type View = Buffer;

        fn format(&self) -> Format {
            Format { codec: CodecName::new("broken"), type_tag: 0, pointer_width: 0 }
        }

        fn size_hint(&self, _: &Vec<u8>) -> Result<u64> {
            Ok(0)
        }

        fn admit(&self, value: Vec<u8>, room: &mut Room) -> Result<Buffer, Rejected<Vec<u8>>> {
            let bytes = [&(value.len() as u64).to_le_bytes()[..], &value].concat();
            copy_into(room, &bytes, 8).map_err(|error| Rejected::new(value, error))
        }

        fn view<'a>(&self, resident: &'a Buffer) -> &'a Buffer {
            resident
        }

        fn mmwrite(&self, resident: &Buffer, sink: &mut Sink<'_>) -> Result<()> {
            sink.section(8)?;
            sink.write(resident)
        }

        fn mmwrite_value(&self, value: &Vec<u8>, sink: &mut Sink<'_>) -> Result<()> {
            sink.section(8)?;
            sink.write(&(value.len() as u64).to_le_bytes())?;
            sink.write(value)
        }

        fn mmread(&self, source: &mut Source<'_>, room: &mut Room) -> Result<Buffer> {
            let bytes = source.section()?;
            let damage = || CodecError::damage::<Vec<u8>>("broken", "no length");
            if *self == Self::Careless {
                assert!(bytes.len() >= 8, "what a careless codec does not check");
            }
            let (len, _) = bytes.split_first_chunk().ok_or_else(damage)?;
            if *self == Self::Picky && !bytes.as_ptr().addr().is_multiple_of(16) {
                return Err(damage().into());
            }
            if *self == Self::Greedy {
                room.grow(u64::from_le_bytes(*len))?;
            }
            match u64::from_le_bytes(*len) == bytes.len() as u64 - 8 {
                true => Ok(bytes),
                false => Err(damage().into()),
            }
        }

        fn maps(&self) -> bool {
            true
        }
    }

    fn subject(codec: &Broken) -> Subject<'_, Broken, Vec<u8>, impl Fn(&Buffer, &Vec<u8>) -> bool> {
        let make = &|n: u64| vec![n as u8; n as usize * 5];
        Subject { codec, make, shows: |view: &Buffer, value: &Vec<u8>| view[8..] == value[..] }
    }

    #[test]
    #[should_panic(expected = "bytes taken")]
    fn a_greedy_codec() {
        subject(&Broken::Greedy).hostile_lengths(4);
    }

    #[test]
    #[should_panic(expected = "value 0 at 0")]
    fn a_picky_codec() {
        subject(&Broken::Picky).alignment(4);
    }

    #[test]
    #[should_panic(expected = "what a careless codec does not check")]
    fn a_careless_codec() {
        subject(&Broken::Careless).hostile_lengths(4);
    }

    #[test]
    fn each_breaks_no_other_law() {
        subject(&Broken::Greedy).alignment(4);
        subject(&Broken::Picky).hostile_lengths(4);
        subject(&Broken::Careless).alignment(4);
    }
}
