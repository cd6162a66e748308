//! See `rewrite::fuzz::restore`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rewrite::fuzz::restore(data));
