//! What a stock server leaves of a log of ours that a crash has torn: it skips our lines, cuts the file where its last
//! whole command ends, in the middle of a block, and may append to what is left. No damage tells, for it can hide
//! anything, from a block that was shortened so: whatever nobody had called durable is set aside, and none of it halved.

use std::time::Instant;

use aof::fs::Mem;
use aof::{Error, Fsync, Op, Options};

use crate::world::{load, options, path, request, start, turn, until};

const FIRST: &str = "appendonly.aof.1.incr.aof";
/// Commands of a block.
const COMMANDS: usize = 3;

fn set(n: usize) -> Vec<u8> {
    request(&["SET", "k", &n.to_string()]).to_vec()
}

fn sets(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("0:SET k {n}")).collect()
}

/// Two blocks, and where the commands of the second end in the file.
fn two_blocks(fsync: Fsync) -> (Mem, Vec<usize>) {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(fsync));
    for block in 0..2 {
        for n in 0..COMMANDS {
            log.append(1_700_000_000_000, &[Op { db: 0, command: &set(block * COMMANDS + n) }]);
        }
        log.seal(Instant::now());
        until("acknowledged", || log.reply_watermark() == log.end());
    }
    let len = mem.bytes(&path(FIRST)).unwrap().len();
    let ends = (1..=COMMANDS).map(|n| len - (COMMANDS - n) * set(0).len()).collect();
    let image = if fsync == Fsync::Always {
        // The line that a stop writes calls both blocks durable.
        log.stop().unwrap();
        mem
    } else {
        mem.kill()
    };
    (image, ends)
}

/// What it appends.
fn foreign() -> Vec<u8> {
    [request(&["SELECT", "0"]), request(&["SET", "k", "foreign"])].concat()
}

fn with(image: &Mem, bytes: &[u8]) -> Mem {
    let image = image.kill();
    image.put(&path(FIRST), bytes);
    image
}

#[test]
fn a_block_that_a_stock_server_has_shortened_is_set_aside_whole_with_what_follows() {
    let (mem, ends) = two_blocks(Fsync::No);
    let bytes = mem.bytes(&path(FIRST)).unwrap();
    for (&end, tail) in ends[..COMMANDS - 1].iter().flat_map(|end| [(end, Vec::new()), (end, foreign())]) {
        let shortened = [&bytes[..end], &tail].concat();
        let image = with(&mem, &shortened);
        let strict = Options { load_truncated: false, ..options(Fsync::No) };
        assert!(matches!(load(&image, &strict), Err(Error::UnexpectedEnd { .. })), "cut at {end}");
        let (commands, report) = load(&image, &options(Fsync::No)).unwrap();
        assert_eq!(commands, sets(COMMANDS), "cut at {end}");
        let side_file = report.truncated.unwrap().side_file.unwrap();
        let aside = image.bytes(&side_file).unwrap();
        assert!(shortened.ends_with(&aside) && aside.ends_with(&tail), "a byte has no copy");
        let mut log = start(image.clone(), &options(Fsync::No));
        turn(&mut log, &[("k", 9)]);
        log.stop().unwrap();
        let (again, report) = load(&image, &strict).unwrap();
        assert_eq!((&again[..COMMANDS], &again[COMMANDS..]), (&commands[..], &["0:SET k 9".to_owned()][..]));
        assert_eq!(report.unverified_bytes, 0);
    }
}

#[test]
fn a_block_that_was_cut_off_whole_is_not_missed_where_nobody_called_it_durable() {
    let (mem, ends) = two_blocks(Fsync::No);
    let bytes = mem.bytes(&path(FIRST)).unwrap();
    let line_at = bytes.windows(5).rposition(|window| window == b"#EV1 ").unwrap();
    for tail in [Vec::new(), foreign()] {
        let image = with(&mem, &[&bytes[..line_at], &tail].concat());
        let (commands, report) = load(&image, &options(Fsync::No)).unwrap();
        let expected: Vec<String> = sets(COMMANDS)
            .into_iter()
            .chain((!tail.is_empty()).then(|| "0:SET k foreign".to_owned()))
            .collect();
        assert_eq!((commands, report.truncated), (expected, None));
        assert_eq!(report.unverified_bytes, tail.len() as u64);
    }
    assert_eq!(ends[COMMANDS - 1], bytes.len());
}

/// A crash cannot have torn these: whoever shortened them is not believed.
#[test]
fn a_shortened_block_that_was_durable_is_damage() {
    let (mem, ends) = two_blocks(Fsync::Always);
    let bytes = mem.bytes(&path(FIRST)).unwrap();
    assert_ne!(bytes.len(), ends[COMMANDS - 1], "the line is there");
    let hole = [&bytes[..ends[0]], &foreign(), &bytes[ends[COMMANDS - 1]..]].concat();
    let image = with(&mem, &hole);
    assert!(matches!(load(&image, &options(Fsync::Always)), Err(Error::Corrupt { .. })));
    assert_eq!(image.bytes(&path(FIRST)).unwrap(), hole, "nothing was changed");
}
