//! Archives that nobody wrote.

#![no_main]

use std::collections::{BTreeMap, HashMap};

use libfuzzer_sys::fuzz_target;
use mempool_codec::Rkyv;
use mempool_fuzz::{Linked, Nested, Record, choice, look};
use rkyv::Archived;

fn letters(text: &str) -> usize {
    text.chars().count()
}

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = choice(data) else { return };
    let codec = Rkyv::new();
    match first % 6 {
        0 => look::<Vec<Record>, _>(&codec, rest, |view| {
            std::hint::black_box(format!("{view:?}"));
        }),
        1 => look::<Nested, _>(&codec, rest, |view| {
            let mut at = view;
            while let Some(inner) = at.inner.as_ref() {
                at = inner;
            }
        }),
        2 => look::<HashMap<String, u32>, _>(
            &codec,
            rest,
            |view: &Archived<HashMap<String, u32>>| {
                std::hint::black_box((
                    view.iter().map(|(key, _)| letters(key)).max(),
                    view.get("a"),
                ));
            },
        ),
        3 => look::<BTreeMap<u64, String>, _>(&codec, rest, |view| {
            std::hint::black_box(view.iter().map(|(_, text)| letters(text)).max());
        }),
        4 => look::<Linked, _>(&codec, rest, |view| {
            std::hint::black_box(view.links.iter().map(|link| link.index()).max());
        }),
        _ => look::<Vec<Vec<u16>>, _>(&codec, rest, |view| {
            std::hint::black_box(view.iter().flat_map(|inner| inner.iter()).max());
        }),
    }
});
