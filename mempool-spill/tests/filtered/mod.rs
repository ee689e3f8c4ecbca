//! Chains of filters for tests, and values that compress in part.
#![allow(dead_code, reason = "each test uses a part")]

use std::fs;
use std::path::{Path, PathBuf};

use mempool_spill::{Encrypt, Lz4, SpillOptions, Zstd};

pub(crate) const KEY: [u8; 32] = *b"a key of exactly thirty-two byte";

/// A chain by the letters of its filters: `l` lz4, `z` zstd, `e` encryption.
pub(crate) fn with_chain(options: SpillOptions, chain: &str) -> SpillOptions {
    chain.chars().fold(options, |options, filter| match filter {
        'l' => options.filter(Lz4),
        'z' => options.filter(Zstd::level(1)),
        'e' => options.filter(Encrypt::with_key(KEY)),
        other => panic!("no filter {other}"),
    })
}

/// Every filter alone, the useful chains, and some that are only allowed.
pub(crate) const CHAINS: [&str; 9] = ["l", "z", "e", "le", "ze", "el", "lze", "ee", "lzelzelz"];

/// Bytes that look random and are the same each time.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}

/// Bytes of which half compress.
pub(crate) fn mixed(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = noise(seed, len);
    bytes.chunks_mut(2000).step_by(2).for_each(|part| {
        let text = b"a line of text which comes again and again\n";
        part.iter_mut().zip(text.iter().cycle()).for_each(|(byte, letter)| *byte = *letter);
    });
    bytes
}

pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let path = base.join(format!("mempool-filter-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn options(&self) -> SpillOptions {
        SpillOptions::new(&self.0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The bytes of every file below a directory.
pub(crate) fn files_below(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap()) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_below(&entry.path()));
        } else {
            found.push((entry.path(), fs::read(entry.path()).unwrap()));
        }
    }
    found
}
