//! Sound lines in wrong places. A crash can leave what a sector held before, where nothing was synced, and nothing else: what
//! no crash explains is damage everywhere, and in the middle of what was durable everything is.

use aof::block::{BaseHead, Epoch, FilePoint, Head, IncrHead, Line, crc32c};
use aof::fs::Mem;
use aof::{Error, Fsync, Position};

use crate::world::{load, options, path, start, turn, until};

const FIRST: &str = "appendonly.aof.1.incr.aof";

/// Blocks of which each calls the one before it durable, and where each of them ends.
struct Blocks {
    mem: Mem,
    bytes: Vec<u8>,
    epoch: Epoch,
    ends: Vec<(usize, Position)>,
}

fn blocks() -> Blocks {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Always));
    let mut ends = Vec::new();
    for n in 0..4 {
        let position = turn(&mut log, &[("k", n)]);
        until("durable", || log.durable() == position);
        ends.push((mem.bytes(&path(FIRST)).unwrap().len(), position));
    }
    let (mem, epoch) = (mem.kill(), log.epoch());
    let bytes = mem.bytes(&path(FIRST)).unwrap()[..ends[3].0].to_vec();
    Blocks { mem, bytes, epoch, ends }
}

impl Blocks {
    /// What a start makes of `bytes`.
    fn start(&self, bytes: &[u8]) -> Result<(usize, Option<u64>), Error> {
        let image = self.mem.kill();
        image.put(&path(FIRST), bytes);
        let (commands, report) = load(&image, &options(Fsync::Always))?;
        Ok((commands.len(), report.truncated.map(|cut| cut.offset_bytes)))
    }

    /// With `line` behind block `n`, and in front of what follows it.
    fn with(&self, n: usize, line: &[u8]) -> Vec<u8> {
        let (here, _) = self.ends[n];
        [&self.bytes[..here], line, &self.bytes[here..]].concat()
    }

    fn head(&self, position: Position, epoch: Epoch, head: Head) -> Vec<u8> {
        let (mut line, payload_crc) = (Vec::new(), crc32c(b""));
        Line { payload_bytes: 0, position, lag: 0, db: None, time_ms: 0, head: Some(head), payload_crc }
            .encode(epoch, &mut line);
        line
    }
}

/// What is put where it does not belong: from the log, where it will stand, and the position there.
type Sector = fn(&Blocks, FilePoint, Position) -> Vec<u8>;

fn incr(log: &Blocks, position: Position, seq: u64, behind: Option<(u64, FilePoint)>) -> Vec<u8> {
    let epoch = log.epoch;
    log.head(position, epoch, Head::Incr(IncrHead { epoch, seq, base: 1, moved_bytes: None, behind }))
}

/// The name, the bytes, and whether a sector may have held them before.
#[rustfmt::skip]
const SECTORS: &[(&str, Sector, bool)] = &[
    ("an earlier block of this file", |log, _, _| {
        let head = log.bytes.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        log.bytes[head..log.ends[0].0].to_vec()
    }, true),
    ("the head that opened this file", |log, _, _| incr(log, 0, 1, None), true),
    ("that, of the same position", |log, _, position| incr(log, position, 1, None), true),
    ("a head of another place in this file", |log, here, position| {
        incr(log, position, 1, Some((1, FilePoint { offset_bytes: here.offset_bytes - 1, ..here })))
    }, true),
    ("the head of another file, behind one of this length", |log, here, position| {
        incr(log, position, 2, Some((1, FilePoint { crc: !here.crc, ..here })))
    }, true),
    ("a head of another file, of this place there", |log, here, position| incr(log, position, 7, Some((7, here))), true),
    ("the head of a base", |log, _, position| {
        log.head(0, log.epoch, Head::Base(BaseHead { epoch: log.epoch, covers: position }))
    }, true),
    ("a head of another log", |log, here, position| {
        let epoch = Epoch(!log.epoch.0);
        log.head(position, epoch, Head::Incr(IncrHead { epoch, seq: 1, base: 1, moved_bytes: None, behind: Some((1, here)) }))
    }, true),
    ("a head of this place, before which something was changed", |log, here, position| {
        incr(log, position, 1, Some((1, FilePoint { crc: !here.crc, ..here })))
    }, false),
    ("that, of an earlier position", |log, here, _| {
        incr(log, 0, 1, Some((1, FilePoint { crc: !here.crc, ..here })))
    }, false),
    ("a head of a later position", |log, _, position| incr(log, position + 1, 2, None), false),
];

#[test]
fn a_sound_line_in_a_wrong_place_is_torn_only_where_nothing_was_synced_and_a_sector_may_have_held_it() {
    let log = blocks();
    for &(name, sector, may_be_torn) in SECTORS {
        for n in 0..4 {
            let (offset, position) = log.ends[n];
            let sector = sector(&log, FilePoint::default().after(&log.bytes[..offset]), position);
            let outcome = log.start(&log.with(n, &sector));
            // Behind the last two nothing says that they were durable: they go with it, or nothing does.
            match outcome {
                Ok((commands, cut)) if n >= 2 && may_be_torn => {
                    assert_eq!((commands, cut), (n + 1, Some(offset as u64)), "{name} behind block {n}");
                }
                Err(Error::Corrupt { damage, .. }) if n < 2 || !may_be_torn => {
                    assert_eq!(damage.offset_bytes, offset as u64, "{name} behind block {n}");
                }
                other => panic!("{name} behind block {n}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_block_that_is_gone_is_damage_wherever_it_stood() {
    let log = blocks();
    for n in 1..3 {
        let (from, to) = (log.ends[n - 1].0, log.ends[n].0);
        let outcome = log.start(&[&log.bytes[..from], &log.bytes[to..]].concat());
        let Err(Error::Corrupt { damage, .. }) = outcome else { panic!("block {n}: {outcome:?}") };
        assert_eq!(damage.offset_bytes, from as u64);
    }
}

#[test]
fn two_blocks_that_changed_places_are_damage() {
    let log = blocks();
    let [a, b, c] = [0, 1, 2].map(|n| log.ends[n].0);
    let outcome = log.start(&[&log.bytes[..a], &log.bytes[b..c], &log.bytes[a..b], &log.bytes[c..]].concat());
    assert!(matches!(outcome, Err(Error::Corrupt { .. })), "{outcome:?}");
}
