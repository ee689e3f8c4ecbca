//! Writes good inputs for the targets that read arrays, each into the corpus that cargo-fuzz looks into:
//! `cargo run --manifest-path fuzz/Cargo.toml --example seeds [DIRECTORY]`, by default `fuzz/corpus`.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use mempool_fuzz::{arrays, arrow};

fn main() -> io::Result<()> {
    let beside_us = || Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let corpus = env::args_os().nth(1).map_or_else(beside_us, PathBuf::from);
    for (layout, _) in arrays::LAYOUTS {
        write(&corpus.join(layout), arrays::seeds(layout))?;
    }
    write(&corpus.join("arrow_file"), arrow::seeds())
}

fn write(directory: &Path, seeds: impl Iterator<Item = Vec<u8>>) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let mut count = 0;
    for (number, seed) in (0..).zip(seeds) {
        fs::write(directory.join(format!("seed-{number}")), seed)?;
        count = number + 1;
    }
    println!("{count} seeds in {}", directory.display());
    Ok(())
}
