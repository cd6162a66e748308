//! See `keyspace::fuzz::rdb_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keyspace::fuzz::rdb_file(data));
