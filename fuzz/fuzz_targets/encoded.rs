//! Encodings that nobody wrote, decoded when they are used.

#![no_main]

use std::collections::{BTreeMap, HashMap, HashSet};

use libfuzzer_sys::fuzz_target;
use mempool_codec::{Encoded, Encoding};
use mempool_fuzz::{Linked, Nested, Record, Shape, choice, look};

fn decode<T: serde::Serialize + serde::de::DeserializeOwned + Send + Sync + 'static>(bytes: &[u8]) {
    look::<T, _>(&Encoded::new(), bytes, |view: &Encoding<T>| drop(view.decode()));
}

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = choice(data) else { return };
    match first % 6 {
        0 => decode::<BTreeMap<String, Vec<Shape>>>(rest),
        1 => decode::<HashMap<u64, String>>(rest),
        2 => decode::<HashSet<()>>(rest),
        3 => decode::<Nested>(rest),
        4 => decode::<Linked>(rest),
        _ => decode::<Record>(rest),
    }
});
