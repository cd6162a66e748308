//! The story: a stream that RESTORE took, or a file of another server, was in memory and could be read and changed; but
//! what a rewrite made of it was refused by the next start. Whatever `keyspace` lets in, commands can say.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use keyspace::Random;
use keyspace::rdb::Crc64;

/// Files of `keyspace`: the fuzzers' corpus, or what servers wrote.
fn files(folder: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../keyspace").join(folder);
    let paths = dir.read_dir().expect("it is committed").map(|entry| entry.expect("readable").path());
    let files: Vec<_> = paths.map(|path| (path.clone(), std::fs::read(path).expect("a file"))).collect();
    assert!(!files.is_empty(), "nothing in {folder}");
    files
}

fn check(what: &str, bytes: &[u8], run: fn(&[u8])) {
    let kept = catch_unwind(AssertUnwindSafe(|| run(bytes)));
    assert!(kept.is_ok(), "{what}: {}", bytes.escape_ascii());
}

#[test]
fn what_the_corpus_brings_into_memory_replays_from_commands() {
    for (folder, run) in [
        ("fuzz/corpus/restore", rewrite::fuzz::restore as fn(&[u8])),
        ("fuzz/corpus/rdb_file", rewrite::fuzz::rdb_file),
        ("tests/fixtures", rewrite::fuzz::rdb_file),
    ] {
        for (path, bytes) in files(folder) {
            check(&path.display().to_string(), &bytes, run);
        }
    }
}

#[test]
fn what_damaged_payloads_bring_into_memory_replays_from_commands() {
    /// In ci; `EVERLOG_SOAK` multiplies it.
    const ROUNDS: u64 = 40;
    let number = |variable| std::env::var(variable).ok().and_then(|text| text.parse::<u64>().ok());
    let (rounds, seed) = (ROUNDS * number("EVERLOG_SOAK").unwrap_or(1), number("EVERLOG_SEED").unwrap_or(31));
    println!("EVERLOG_SEED={seed}");
    let (mut random, payloads) = (Random::new(seed), files("fuzz/corpus/restore"));
    for (path, bytes) in &payloads {
        for round in 0..rounds {
            let mut damaged = bytes.clone();
            for _ in 0..1 + random.below(3) {
                let at = random.below(damaged.len());
                damaged[at] = match random.below(3) {
                    0 => damaged[at] ^ 1 << random.below(8),
                    1 => random.below(256) as u8,
                    _ => [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
                };
            }
            check(&format!("{} {round}", path.display()), &damaged, rewrite::fuzz::restore);
        }
    }
    println!("tried: {} damaged payloads as commands", rounds * payloads.len() as u64);
}

#[test]
fn a_time_of_any_file_replays_from_commands() {
    for at_ms in [i64::MIN, i64::MIN + 1, -1000, -1, 0, 1, i64::MAX - 1, i64::MAX] {
        let mut file = [&b"REDIS0010\xfc"[..], &at_ms.to_le_bytes(), b"\x00\x01k\x01v\xff"].concat();
        file.extend(Crc64::of(&file).to_le_bytes());
        check(&at_ms.to_string(), &file, rewrite::fuzz::rdb_file);
    }
}
