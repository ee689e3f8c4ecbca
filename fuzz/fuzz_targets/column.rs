//! Columns of any type that nobody wrote.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mempool_fuzz::arrays::look_at("column", data));
