//! Arrow IPC files that nobody wrote.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mempool_fuzz::arrow::look_at(data));
