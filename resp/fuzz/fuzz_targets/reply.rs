//! See `resp::fuzz::reply`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| resp::fuzz::reply(data));
