//! What is shown of a load; and damaged files, which come to the same as with one thread that stores one key after the
//! other.

use std::path::Path;
use std::time::Instant;

use indicatif::ProgressBar;
use keyspace::rdb::Crc64;
use keyspace::{Digest, Keyspace, Random};

use super::*;
use crate::config::Config;
use crate::executor::{Loading, Server};
use crate::logger::Logger;

fn server() -> Server {
    let logger = Logger::open(Path::new("/dev/null"), Level::Warning).unwrap();
    Server::new(Config::redis_defaults(), logger, 42)
}

#[test]
fn a_terminal_is_told_how_long_the_file_is_and_how_much_of_it_is_loaded() {
    let keys: Vec<u8> = (1000..2000).flat_map(|n| format!("\0\u{4}{n}\u{1}v").into_bytes()).collect();
    let file = [b"REDIS0010\xfe\0", &keys[..], b"\xff", &[0; 8]].concat();
    let total_bytes = file.len() as u64;
    let mut server = server();
    server.loading = Some(Loading::begin(Instant::now(), 0, total_bytes));
    let bar = ProgressBar::hidden();
    let mut loader = Loader::new(&mut server, None).with_bar(bar.clone());
    let found = loader.rdb(&file[..], LoadOptions::default()).unwrap();
    assert_eq!(found.loaded, 1000);
    assert_eq!((bar.length(), bar.position()), (Some(total_bytes), total_bytes));
    drop(loader);
    assert_eq!(server.loading.map(|loading| loading.loaded_bytes), Some(total_bytes));
}

/// What a load must come to: each key is stored before the next one is read.
fn one_by_one(file: &[u8], now_ms: i64) -> Result<Keyspace> {
    let mut keyspace = Keyspace::new(16, 42);
    let mut reader = Reader::new(file, keyspace.rdb_shapes())?;
    while let Some(item) = reader.next()? {
        match item {
            Item::Key(key) if key.expire_at_ms.is_none_or(|at_ms| at_ms >= now_ms) => {
                keyspace.load_key(key, false, now_ms)?;
            }
            Item::Function(_) => {
                bail!("function libraries are not supported yet, at byte {}", reader.offset_bytes())
            }
            _ => {}
        }
    }
    Ok(keyspace)
}

/// An auxiliary field: two strings.
fn aux(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    [vec![0xfa], text(name), text(value)].concat()
}

/// What servers write in front of the keys; `no-such` none does.
const AUX: &[&str] =
    &["redis-ver", "redis-bits", "ctime", "used-mem", "aof-base", "repl-stream-db", "repl-offset", "no-such"];

/// Numbers at their ends, beyond them, and none.
const EXTREMES: &[&str] = &[
    "-9223372036854775808",
    "9223372036854775807",
    "18446744073709551615",
    "-9223372036854775809",
    "-1",
    "0",
    "1e400",
    "",
    "\n",
];

#[test]
fn a_file_loads_whatever_its_auxiliary_fields_say() {
    for (name, value) in AUX.iter().flat_map(|name| EXTREMES.iter().map(move |value| (name, value))) {
        let file = [b"REDIS0010", &aux(name, value)[..], b"\0\x01k\x01v\xff", &[0; 8]].concat();
        let mut server = server();
        server.loading = Some(Loading::begin(Instant::now(), 0, file.len() as u64));
        let found = Loader::new(&mut server, None).rdb(&file[..], LoadOptions::default()).unwrap();
        let used_memory_bytes = match (*name, *value) {
            ("used-mem", "9223372036854775807") => i64::MAX as u64,
            _ => 0,
        };
        let expected = Found { loaded: 1, used_memory_bytes, ..Found::default() };
        assert_eq!(found, expected, "{name} {value:?}");
    }
}

/// Small keys of two databases, some of them more than once, which fill several batches, and now and then what is told
/// between them.
fn many_keys(random: &mut Random) -> Vec<u8> {
    let mut file = b"REDIS0010".to_vec();
    for _ in 0..random.below(120) {
        if random.below(20) == 0 {
            file.extend(aux(AUX[random.below(AUX.len())], EXTREMES[random.below(EXTREMES.len())]));
        }
        if random.below(20) == 0 {
            file.extend([0xfe, random.below(2) as u8]);
        }
        file.extend(format!("\0\u{4}{}\u{1}v", 1000 + random.below(2000)).bytes());
    }
    file.push(0xff);
    file
}

/// Bits, bytes, the end, and pieces that stand there twice.
fn damage(file: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(file.len());
    match random.below(6) {
        0 => file[at] ^= 1 << random.below(8),
        1 => file[at] = random.below(256) as u8,
        2 => file[at] = [0, 1, 0x7f, 0x80, 0xfe, 0xff][random.below(6)],
        3 if random.below(4) == 0 => file.truncate(at + 1),
        _ => {
            let from = random.below(file.len());
            let piece = file[from..(from + 1 + random.below(60)).min(file.len())].to_vec();
            file.splice(at..at, piece);
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// What servers from Redis 2.4 on wrote, without checksums.
fn written_by_others() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../keyspace/tests/fixtures");
    let paths = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|kind| kind == "rdb")).collect();
    paths.sort();
    let mut files: Vec<_> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    files.iter_mut().for_each(|file| file.truncate(file.len() - 8));
    files
}

#[test]
fn a_damaged_file_comes_to_the_same_whichever_thread_decodes_it() {
    /// In ci; `EVERLOG_SOAK` multiplies it.
    const FILES: u64 = 1_000;
    let (tries, seed) = (FILES * number("EVERLOG_SOAK").unwrap_or(1), number("EVERLOG_SEED").unwrap_or(1));
    println!("EVERLOG_SEED={seed}");
    let (mut random, originals) = (Random::new(seed), written_by_others());
    let [mut loaded, mut duplicates, mut refused] = [0_u64; 3];
    for nth in 0..tries {
        let mut file = match random.below(2) {
            0 => originals[random.below(originals.len())].clone(),
            _ => many_keys(&mut random),
        };
        (0..random.below(4)).for_each(|_| damage(&mut file, &mut random));
        // Now and then the damage shows at the end only.
        let crc = Crc64::of(&file).wrapping_add(u64::from(random.below(10) == 0));
        file.extend_from_slice(&crc.to_le_bytes());
        let mut server = server();
        let expected = one_by_one(&file, server.clock.unix_ms);
        let mut loader = Loader::new(&mut server, None);
        let found = loader.rdb(&file[..], LoadOptions::default());
        drop(loader);
        server.keyspace.end_loading();
        let context = || format!("EVERLOG_SEED={seed}, file {nth}: {}", file.escape_ascii());
        match (found, expected) {
            (Ok(_), Ok(expected)) => {
                assert_eq!(Digest::of(server.keyspace.dbs()), Digest::of(expected.dbs()), "{}", context());
                loaded += 1;
            }
            (found, expected) => {
                let [found, expected] = [found.map(drop), expected.map(drop)].map(|outcome| match outcome {
                    Ok(()) => "it loads".to_owned(),
                    Err(error) => format!("{error:#}"),
                });
                assert_eq!(found, expected, "{}", context());
                duplicates += u64::from(found.contains("duplicated"));
                refused += 1;
            }
        }
    }
    assert!(loaded.min(duplicates) * 20 > tries, "{loaded} loaded, {duplicates} duplicates, of {tries}");
    println!("tried: {tries} damaged files through both threads of a load ({refused} were refused)");
}
