//! The messages and services of `proto/mempool/v1`, as they are compiled, and their descriptors. Owns no meaning: who makes
//! one of ours from a message checks it.

#![allow(missing_docs, unreachable_pub, clippy::all, clippy::missing_errors_doc)]

include!(concat!(env!("OUT_DIR"), "/mempool.v1.rs"));

/// All files of the package with their comments, for the reflection service.
pub(crate) const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
