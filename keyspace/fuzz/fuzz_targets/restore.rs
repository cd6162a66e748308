//! See `keyspace::fuzz::restore`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keyspace::fuzz::restore(data));
