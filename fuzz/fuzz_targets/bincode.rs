//! Encodings that nobody wrote, kept decoded.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mempool_codec::Bincode;
use mempool_fuzz::{Linked, Nested, Record, choice, look};

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = choice(data) else { return };
    match first % 5 {
        0 => look::<Vec<Record>, _>(&Bincode, rest, |view| {
            std::hint::black_box(format!("{view:?}"));
        }),
        1 => look::<Nested, _>(&Bincode, rest, |_| {}),
        2 => look::<Vec<Vec<Vec<u64>>>, _>(&Bincode, rest, |_| {}),
        3 => look::<Linked, _>(&Bincode, rest, |_| {}),
        _ => look::<Vec<()>, _>(&Bincode, rest, |_| {}),
    }
});
