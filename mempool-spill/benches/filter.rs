//! Filters beside the libraries under them: one thread, the same blocks, in one run, round by round.
//!
//! `cargo xtask bench filter [DIRECTORY]`. Prints medians and their ratios; judges nothing.
#![allow(clippy::cast_possible_truncation, reason = "a measurement")]

use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use chacha20poly1305::{AeadInOut, KeyInit, XChaCha20Poly1305, XNonce};
use mempool_core::{Blob, PoolOptions};
use mempool_spill::{Encrypt, Lz4, SpillOptions, Zstd};

const ROUNDS: usize = 5;
const VALUE: usize = 16 << 20;
const COUNT: usize = 8;
const BLOCK: usize = 256 << 10;
const KEY: [u8; 32] = [7; 32];

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Columns as an order's lines have them: keys that rise, few quantities, prices, dates, flags, words.
fn lines(mut seed: u64) -> Vec<u8> {
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let words = ["carefully", "furiously", "deposits", "quickly", "accounts", "final", "requests"];
    let mut out = Vec::with_capacity(VALUE + 200);
    let mut key = 0_u64;
    while out.len() < VALUE {
        key += next() % 2;
        out.extend_from_slice(&key.to_le_bytes());
        out.extend_from_slice(&((next() % 200_000) as u32).to_le_bytes());
        out.extend_from_slice(&(next() % 50 * 100).to_le_bytes());
        out.extend_from_slice(&(next() % 10_000_000).to_le_bytes());
        out.extend_from_slice(&((8000 + next() % 2500) as u32).to_le_bytes());
        out.push(b"ANR"[next() as usize % 3]);
        for _ in 0..4 {
            out.extend_from_slice(words[next() as usize % words.len()].as_bytes());
            out.push(b' ');
        }
    }
    out.truncate(VALUE);
    out
}

fn noise(mut seed: u64) -> Vec<u8> {
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    (0..VALUE / 8).flat_map(|_| next().to_le_bytes()).collect()
}

/// GiB/s of one round: written, read; and how many bytes there were.
struct Round {
    write: f64,
    read: f64,
    bytes: u64,
}

fn rate(start: Instant) -> f64 {
    (VALUE * COUNT) as f64 / f64::from(1 << 30) / start.elapsed().as_secs_f64()
}

/// Values written and read by a pool with these filters. Each is written by itself, by the thread that asks.
fn pool(
    directory: &Path,
    filters: fn(SpillOptions) -> SpillOptions,
    values: &[Vec<u8>],
) -> Outcome<Round> {
    let store = filters(SpillOptions::new(directory)).open()?;
    let limit = (VALUE * (COUNT + 2)) as u64;
    let pool = PoolOptions::new().memory_limit(limit).store(store).open(Blob);
    let values = values.iter().map(|value| pool.set(value.clone()));
    let values = values.collect::<Result<Vec<_>, _>>()?;
    let start = Instant::now();
    for value in &values {
        drop(pool.move_to_disk(value)?);
    }
    let write = rate(start);
    let bytes = pool.stats().store.live_bytes;
    let start = Instant::now();
    for value in &values {
        // One word of each page, so that a map is read as well.
        let view = pool.get(value)?;
        black_box(view.iter().step_by(4096).fold(0_u8, |sum, byte| sum.wrapping_add(*byte)));
    }
    let read = rate(start);
    drop(values);
    pool.close()?;
    Ok(Round { write, read, bytes })
}

/// The library alone, over the same blocks, from memory to memory.
fn bare(
    values: &[Vec<u8>],
    mut encode: impl FnMut(&[u8], &mut Vec<u8>),
    mut decode: impl FnMut(&[u8], &mut Vec<u8>),
) -> Round {
    let blocks = || values.iter().flat_map(|value| value.chunks(BLOCK));
    let mut encoded: Vec<Vec<u8>> = blocks().map(|_| vec![1; BLOCK * 2]).collect();
    let start = Instant::now();
    blocks().zip(&mut encoded).for_each(|(block, out)| encode(block, out));
    let write = rate(start);
    let bytes = encoded.iter().map(|block| block.len() as u64).sum();
    let mut out = vec![1; BLOCK * 2];
    let start = Instant::now();
    for block in &encoded {
        decode(block, &mut out);
        black_box(&out);
    }
    Round { write, read: rate(start), bytes }
}

fn bare_lz4(values: &[Vec<u8>]) -> Round {
    let encode = |block: &[u8], out: &mut Vec<u8>| {
        out.resize(BLOCK * 2, 0);
        let len = lz4_flex::block::compress_into(block, out).expect("room for twice as much");
        out.truncate(len);
    };
    let decode = |block: &[u8], out: &mut Vec<u8>| {
        lz4_flex::block::decompress_into(block, out).expect("its own block");
    };
    bare(values, encode, decode)
}

fn bare_zstd(values: &[Vec<u8>], level: i32) -> Round {
    let mut compressor = zstd::bulk::Compressor::new(level).expect("a context");
    let mut decompressor = zstd::bulk::Decompressor::new().expect("a context");
    let encode = |block: &[u8], out: &mut Vec<u8>| {
        out.resize(BLOCK * 2, 0);
        let len = compressor.compress_to_buffer(block, &mut out[..]).expect("room");
        out.truncate(len);
    };
    let decode = |block: &[u8], out: &mut Vec<u8>| {
        decompressor.decompress_to_buffer(block, &mut out[..]).expect("its own block");
    };
    bare(values, encode, decode)
}

fn bare_cipher(values: &[Vec<u8>]) -> Round {
    let cipher = XChaCha20Poly1305::new(&KEY.into());
    let nonce = XNonce::from([1; 24]);
    let encode = |block: &[u8], out: &mut Vec<u8>| {
        out.clear();
        out.extend_from_slice(block);
        let tag = cipher.encrypt_inout_detached(&nonce, &[], (&mut out[..]).into());
        out.extend_from_slice(&tag.expect("so few bytes"));
    };
    let decode = |block: &[u8], out: &mut Vec<u8>| {
        let (block, tag) = block.split_last_chunk::<16>().expect("a tag");
        out.clear();
        out.extend_from_slice(block);
        let opened =
            cipher.decrypt_inout_detached(&nonce, &[], (&mut out[..]).into(), &(*tag).into());
        opened.expect("its own block");
    };
    bare(values, encode, decode)
}

fn median(all: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = all.collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn filters(letters: &'static str) -> fn(SpillOptions) -> SpillOptions {
    match letters {
        "none" => |options| options,
        "none, read into memory" => |options| options.read_mode(mempool_spill::ReadMode::Copy),
        "lz4" => |options| options.filter(Lz4),
        "zstd:1" => |options| options.filter(Zstd::level(1)),
        "zstd:3" => |options| options.filter(Zstd::level(3)),
        "encrypt" => |options| options.filter(Encrypt::with_key(KEY)),
        "lz4, encrypt" => |options| options.filter(Lz4).filter(Encrypt::with_key(KEY)),
        _ => |options| options.filter(Zstd::level(3)).filter(Encrypt::with_key(KEY)),
    }
}

const CHAINS: [&str; 8] = [
    "none",
    "none, read into memory",
    "lz4",
    "zstd:1",
    "zstd:3",
    "encrypt",
    "lz4, encrypt",
    "zstd:3, encrypt",
];

fn main() -> Outcome<()> {
    let named = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let parent = named.map_or_else(std::env::temp_dir, Into::into);
    let directory = parent.join(format!("mempool-bench-{}", std::process::id()));
    fs::create_dir(&directory)?;
    println!(
        "{COUNT} values of 16 MiB, medians of {ROUNDS} rounds in turn, GiB/s of values, in {}",
        parent.display()
    );
    for (what, make) in [("order lines", lines as fn(u64) -> Vec<u8>), ("noise", noise)] {
        let values: Vec<Vec<u8>> = (1..=COUNT as u64).map(make).collect();
        let mut rounds: Vec<Vec<(Round, Option<Round>)>> = CHAINS.map(|_| Vec::new()).into();
        for _ in 0..ROUNDS {
            for (chain, rounds) in CHAINS.into_iter().zip(&mut rounds) {
                let ours = pool(&directory, filters(chain), &values)?;
                let bare = match chain {
                    "lz4" => Some(bare_lz4(&values)),
                    "zstd:1" => Some(bare_zstd(&values, 1)),
                    "zstd:3" => Some(bare_zstd(&values, 3)),
                    "encrypt" => Some(bare_cipher(&values)),
                    _ => None,
                };
                rounds.push((ours, bare));
            }
        }
        println!(
            "\n{what:<24} {:>8} {:>8} {:>8} {:>10} {:>9}",
            "size", "write", "read", "bare write", "bare read"
        );
        for (chain, rounds) in CHAINS.iter().zip(&rounds) {
            let size = rounds[0].0.bytes as f64 / (VALUE * COUNT) as f64;
            let write = median(rounds.iter().map(|(ours, _)| ours.write));
            let read = median(rounds.iter().map(|(ours, _)| ours.read));
            let bare = || rounds.iter().filter_map(|(_, bare)| bare.as_ref());
            print!("{chain:<24} {size:>8.3} {write:>8.2} {read:>8.2}");
            if bare().next().is_some() {
                let bare_write = median(bare().map(|bare| bare.write));
                let bare_read = median(bare().map(|bare| bare.read));
                print!(
                    " {bare_write:>10.2} {bare_read:>9.2}   {:.2} and {:.2} of them",
                    write / bare_write,
                    read / bare_read
                );
            }
            println!();
        }
    }
    fs::remove_dir_all(&directory)?;
    Ok(())
}
