//! Frames that went through filters: whatever a container says, with checksums that are right, it is refused or decoded,
//! and takes no more memory than a few blocks.

#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use mempool_spill::{Container, Encrypt, Lz4, SpillOptions, Zstd, check_blocks};
use twox_hash::XxHash3_64;

fn half(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..at + 4).map_or(0, |part| u32::from_le_bytes(part.try_into().unwrap()) as usize)
}

/// Gives a container the checksums that it should have: what they keep out is what is to be looked at.
fn reseal(bytes: &mut [u8]) {
    let head = 64 + 64 * half(bytes, 12).min(8);
    if head > bytes.len() {
        return;
    }
    let mut context = bytes[..head].to_vec();
    context[16..24].fill(0);
    context[56..64].fill(0);
    let seed = XxHash3_64::oneshot(&context);
    let (mut at, mut index) = (head, 0);
    while at + 16 <= bytes.len() {
        let end = at + 16 + half(bytes, at);
        let Some(encoded) = bytes.get(at + 16..end) else { break };
        let place = 2 * index + u64::from(end == bytes.len());
        let sum = XxHash3_64::oneshot_with_seed(seed.wrapping_add(place), encoded);
        bytes[at + 8..at + 16].copy_from_slice(&sum.to_le_bytes());
        (at, index) = (end, index + 1);
    }
    let len = bytes.len() as u64;
    bytes[16..24].copy_from_slice(&len.to_le_bytes());
    bytes[56..64].fill(0);
    let sum = XxHash3_64::oneshot(&bytes[..head]);
    bytes[56..64].copy_from_slice(&sum.to_le_bytes());
}

fuzz_target!(|data: &[u8]| {
    let mut bytes = data.to_vec();
    reseal(&mut bytes);
    if let Ok(container) = Container::decode(&bytes) {
        assert!(container.frame_bytes <= (bytes.len() as u64) << 16, "16 bytes a block of 1 MiB");
    }
    let path = std::env::temp_dir().join(format!("mempool-fuzz-{}", std::process::id()));
    fs::write(&path, &bytes).unwrap();
    let readers = SpillOptions::new("").reads(Lz4).reads(Zstd::default());
    let decoded = readers.reads(Encrypt::with_key([7; 32])).check_file(&path);
    assert!(decoded.is_err() || check_blocks(&path).is_ok(), "what is decoded has whole blocks");
});
