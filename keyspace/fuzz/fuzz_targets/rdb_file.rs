//! See `rewrite::fuzz::rdb_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rewrite::fuzz::rdb_file(data));
