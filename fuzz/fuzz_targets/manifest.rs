//! The manifest of retained values: whatever it says, it is refused or it is written as the same manifest again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mempool_core::Manifest;

fuzz_target!(|data: &[u8]| {
    // A checksum that is always zero: what the real one keeps out is what is to be looked at.
    let Ok(manifest) = Manifest::decode(data, |_| 0) else { return };
    assert_eq!(manifest.encode(|_| 0), data);
    assert_eq!(manifest.known_as().len(), manifest.values.len());
});
