//! See `resp::fuzz::request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| resp::fuzz::request(data));
