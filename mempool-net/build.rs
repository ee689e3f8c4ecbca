//! Compiles `proto/` into what `src/proto.rs` includes: types, clients, servers, and the descriptors that the reflection
//! service shows.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

const FILES: &[&str] = &[
    "mempool/v1/common.proto",
    "mempool/v1/claims.proto",
    "mempool/v1/node.proto",
    "mempool/v1/values.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).open_files(FILES)?;
    fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".")
        .out_dir(&out)
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
