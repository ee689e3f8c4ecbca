//! The header of a frame: whatever it says, it is refused or it is written as the same header again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mempool_core::Header;

fuzz_target!(|data: &[u8]| {
    // A checksum that is always zero: what the real one keeps out is what is to be looked at.
    let Ok(header) = Header::decode(data, |_| 0) else { return };
    let again = header.encode(|_| 0);
    assert_eq!(Header::decode(&again, |_| 0).as_ref(), Ok(&header));
    let _ = Header::check_whole(data, |_| 0);
});
