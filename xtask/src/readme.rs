//! The README as a test: every Rust block in it is compiled and run as a doc test of this library, which has all crates
//! as dev-dependencies so that `cargo xtask` itself builds none of them. It holds no code and never will.

/// The README's own text. Only `cargo test --doc` ever sees it.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
