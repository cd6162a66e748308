//! Where a block of ours should stand, and other bytes do: a page that was written elsewhere, what a sector held before, or
//! what another server has appended. The story: whatever began with `*` there was executed, or cut as a command that merely
//! stops, with the sound blocks behind it; and a wrong byte in what another server had appended first cut all of it.

use aof::block::Line;
use aof::fs::Mem;
use aof::{Error, Fsync, LoadCorrupt, Log, Options};

use crate::world::{load, options, path, request, start, turn, until};

const FIRST: &str = "appendonly.aof.1.incr.aof";

/// A log of four blocks, as a kill leaves it, and where each ends. Under `always` the first three are called durable.
struct Blocks {
    mem: Mem,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

fn go_on(log: &mut Log, mem: &Mem, key: &str) -> usize {
    turn(log, &[(key, 1)]);
    until("acknowledged", || log.reply_watermark() == log.end());
    until("written", || log.written() == log.end());
    mem.bytes(&path(FIRST)).unwrap().len()
}

fn blocks(fsync: Fsync) -> Blocks {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(fsync));
    let ends = ["a", "b", "c", "d"].map(|key| go_on(&mut log, &mem, key)).to_vec();
    let mem = mem.kill();
    let bytes = mem.bytes(&path(FIRST)).unwrap()[..ends[3]].to_vec();
    Blocks { mem, bytes, ends }
}

fn start_on(mem: &Mem, bytes: &[u8], options: &Options) -> Result<(Vec<String>, Option<u64>), Error> {
    let image = mem.kill();
    image.put(&path(FIRST), bytes);
    let (commands, report) = load(&image, options)?;
    let cut = report.truncated.map(|cut| {
        let aside = image.bytes(&cut.side_file.unwrap()).unwrap();
        assert!(bytes.ends_with(&aside) && cut.cut_bytes as usize == aside.len(), "a byte has no copy");
        cut.offset_bytes
    });
    Ok((commands, cut))
}

impl Blocks {
    /// With `page` over whatever begins behind block `n`.
    fn with(&self, n: usize, page: &[u8]) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let end = bytes.len().min(self.ends[n] + page.len());
        bytes[self.ends[n]..end].copy_from_slice(&page[..end - self.ends[n]]);
        bytes
    }
}

fn sets(keys: &str) -> Vec<String> {
    keys.chars().map(|key| format!("0:SET {key} 1")).collect()
}

fn command(words: &[&str]) -> Vec<u8> {
    request(words).to_vec()
}

/// What may stand there and is no block: whole commands, one that lies about its length, one that is cut short by others.
fn pages() -> Vec<(&'static str, Vec<u8>)> {
    let transaction = [command(&["MULTI"]), command(&["SET", "evil", "1"]), command(&["EXEC"])].concat();
    vec![
        ("a whole command", command(&["SET", "evil", "1"])),
        ("two of them", command(&["SET", "evil", "1"]).repeat(2)),
        ("a SELECT", command(&["SELECT", "0"])),
        ("a SELECT, and a command", [command(&["SELECT", "0"]), command(&["SET", "evil", "1"])].concat()),
        ("a transaction", transaction.clone()),
        ("the beginning of one", transaction[..transaction.len() - 20].to_vec()),
        ("a stamp, and a command", [&b"#TS:1700000000\r\n"[..], &command(&["SET", "evil", "1"])].concat()),
        ("a length beyond the end", b"*3\r\n$3\r\nSET\r\n$4\r\nevil\r\n$99999\r\n".to_vec()),
        ("a number beyond the end", b"*9999\r\n$3\r\nSET\r\n".to_vec()),
        ("the middle of a command", b"$4\r\nevil\r\n$1\r\n1\r\n".to_vec()),
    ]
}

#[test]
fn commands_in_the_place_of_a_durable_block_are_damage_and_none_of_them_is_executed() {
    let log = blocks(Fsync::Always);
    for (name, page) in pages() {
        let bytes = log.with(0, &page);
        let image = log.mem.kill();
        image.put(&path(FIRST), &bytes);
        let error = load(&image, &options(Fsync::Always)).unwrap_err();
        let Error::Corrupt { damage, .. } = error else { panic!("{name}: {error}") };
        let stamp_bytes = if page.starts_with(b"#TS:") { 16 } else { 0 };
        assert_eq!(damage.offset_bytes as usize, log.ends[0] + stamp_bytes, "{name}");
        assert_eq!(image.bytes(&path(FIRST)).unwrap(), bytes, "{name}: nothing is cut");
        let quarantine = Options { load_corrupt: LoadCorrupt::Quarantine, ..options(Fsync::Always) };
        let (commands, _) = start_on(&log.mem, &bytes, &quarantine).unwrap();
        assert!(commands.iter().all(|command| !command.contains("evil")), "{name}: {commands:?}");
        assert!(commands.contains(&"0:SET d 1".to_owned()), "{name}: {commands:?}");
    }
}

#[test]
fn the_same_above_the_durable_mark_is_a_torn_tail() {
    let log = blocks(Fsync::Everysec);
    for (name, page) in pages() {
        let stamp_bytes = if page.starts_with(b"#TS:") { 16 } else { 0 };
        let (commands, cut) = start_on(&log.mem, &log.with(1, &page), &options(Fsync::Everysec)).unwrap();
        assert_eq!((commands, cut), (sets("ab"), Some((log.ends[1] + stamp_bytes) as u64)), "{name}");
    }
}

/// An old sector may hold the line of a block that was longer than what is left of the file.
#[test]
fn a_sound_line_that_claims_more_than_there_is_hides_no_durable_blocks() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Always));
    let big = turn(&mut log, &[(&"x".repeat(9000), 1)]);
    until("durable", || log.durable() == big);
    let old = mem.bytes(&path(FIRST)).unwrap();
    let at = old.windows(5).rposition(|window| window == b"#EV1 ").unwrap();
    let line_bytes = old[at..].iter().position(|&byte| byte == b'\n').unwrap() + 1;
    let ends = ["a", "b", "c", "d"].map(|key| go_on(&mut log, &mem, key));
    let mem = mem.kill();
    let mut bytes = mem.bytes(&path(FIRST)).unwrap()[..ends[3]].to_vec();
    bytes[ends[0]..ends[0] + line_bytes].copy_from_slice(&old[at..at + line_bytes]);
    let error = start_on(&mem, &bytes, &options(Fsync::Always)).unwrap_err();
    let Error::Corrupt { damage, .. } = error else { panic!("{error}") };
    assert_eq!(damage.offset_bytes as usize, ends[0]);
    // Behind the last block it is what a crash may leave.
    bytes.truncate(ends[0] + line_bytes);
    let (commands, cut) = start_on(&mem, &bytes, &options(Fsync::Always)).unwrap();
    assert_eq!((commands.len(), cut), (2, Some(ends[0] as u64)));
}

/// What stands in a new file before its head.
#[test]
fn an_incr_of_ours_holds_no_block_before_its_head() {
    let mem = Mem::new();
    let mut log = start(mem.clone(), &options(Fsync::Always));
    let (first, second) = (go_on(&mut log, &mem, "a"), go_on(&mut log, &mem, "b"));
    let epoch = log.epoch();
    let mem = mem.kill();
    let bytes = mem.bytes(&path(FIRST)).unwrap();
    let head_bytes = bytes.windows(5).skip(1).position(|window| window == b"#EV1 ").unwrap() + 1;
    let line = Line::parse(&bytes[..head_bytes], Some(epoch));
    assert!(line.is_some_and(|line| line.head.is_some()));
    let outcome = start_on(&mem, &bytes[head_bytes..second], &options(Fsync::Always));
    assert!(matches!(outcome, Err(Error::Corrupt { .. })), "{outcome:?}");
    // Nobody had called the first block durable.
    let outcome = start_on(&mem, &bytes[head_bytes..first], &options(Fsync::Always)).unwrap();
    assert_eq!(outcome, (Vec::new(), Some(0)));
}

/// What other servers append, in each of the ways in which they begin; and how long that beginning is.
fn foreign() -> Vec<(Vec<u8>, usize)> {
    let [select, multi, set, exec] =
        [&["SELECT", "0"][..], &["MULTI"], &["SET", "theirs", "1"], &["EXEC"]].map(command);
    let stamp = b"#TS:1700000000\r\n".to_vec();
    let (more, transaction) = (set.repeat(40), [&multi[..], &select, &set, &exec].concat());
    vec![
        ([&select[..], &more].concat(), select.len()),
        ([&stamp[..], &select, &more].concat(), stamp.len() + select.len()),
        ([&transaction[..], &more].concat(), multi.len()),
        ([&stamp[..], &transaction, &more].concat(), stamp.len() + multi.len()),
    ]
}

#[test]
fn a_wrong_bit_where_another_server_goes_on_cuts_nothing() {
    for policy in [Fsync::Always, Fsync::Everysec] {
        let log = blocks(policy);
        for (foreign, opening_bytes) in foreign() {
            let whole = [&log.bytes[..], &foreign].concat();
            let (expected, _) = start_on(&log.mem, &whole, &options(policy)).unwrap();
            assert!(expected.len() >= 44, "{expected:?}");
            for bit in 0..opening_bytes * 8 {
                let mut bytes = whole.clone();
                bytes[log.bytes.len() + bit / 8] ^= 1 << (bit % 8);
                match start_on(&log.mem, &bytes, &options(policy)) {
                    // Another stamp or database, which nothing vouches for.
                    Ok((commands, cut)) => {
                        assert_eq!((commands.len(), cut), (expected.len(), None), "bit {bit}")
                    }
                    Err(Error::BadFormat { .. }) => {}
                    Err(error) => panic!("bit {bit}: {error}"),
                }
            }
        }
    }
}

/// Lines of formats that are others' or yet to come; any line else was one of ours.
#[test]
fn lines_of_other_formats_are_skipped_wherever_an_item_ends() {
    let log = blocks(Fsync::Everysec);
    for (line, is_known) in [("#HDR:1 2 3\r\n", true), ("#PAD:\0\0\0\r\n", true), ("#HDX:1 2 3\r\n", false)] {
        for end in &log.ends {
            let bytes = [&log.bytes[..*end], line.as_bytes(), &log.bytes[*end..]].concat();
            let (commands, cut) = start_on(&log.mem, &bytes, &options(Fsync::Everysec)).unwrap();
            let kept = if is_known { 4 } else { log.ends.iter().filter(|other| *other <= end).count() };
            assert_eq!(
                (commands, cut),
                (sets(&"abcd"[..kept]), (!is_known).then_some(*end as u64)),
                "{line:?}"
            );
        }
        let (foreign, _) = &foreign()[2];
        let exec = foreign.windows(4).position(|window| window == b"EXEC").unwrap() - 8;
        for at in [0, 15, exec, foreign.len()] {
            let foreign = [&foreign[..at], line.as_bytes(), &foreign[at..]].concat();
            let outcome = start_on(&log.mem, &[&log.bytes[..], &foreign].concat(), &options(Fsync::Everysec));
            // Among what others wrote, any annotation may stand.
            let expected = if is_known || at > 0 { 45 } else { 4 };
            assert_eq!(outcome.unwrap().0.len(), expected, "{line:?} at {at}");
        }
    }
}

/// Two servers at once: what a stock one appends between two blocks of ours says of both that nothing is missing.
#[test]
fn the_block_that_comes_next_is_kept_behind_what_another_server_wrote() {
    let log = blocks(Fsync::Always);
    for (foreign, _) in foreign() {
        let bytes = [&log.bytes[..log.ends[1]], &foreign, &log.bytes[log.ends[1]..]].concat();
        let image = log.mem.kill();
        image.put(&path(FIRST), &bytes);
        let (commands, report) = load(&image, &options(Fsync::Always)).unwrap();
        let ours: Vec<_> = commands.iter().filter(|command| !command.contains("theirs")).cloned().collect();
        assert_eq!((ours, commands.len() >= 44), (sets("abcd"), true), "{commands:?}");
        let stamp_bytes = if foreign.starts_with(b"#TS:") { 16 } else { 0 };
        assert_eq!(
            (report.unverified_bytes as usize, report.quarantined.len()),
            (foreign.len() - stamp_bytes, 0)
        );
        // With a block missing it is damage.
        let without = [&log.bytes[..log.ends[1]], &foreign, &log.bytes[log.ends[2]..]].concat();
        let error = start_on(&log.mem, &without, &options(Fsync::Always)).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    }
}

/// Behind them there may be a crash, too.
#[test]
fn what_another_server_appended_may_be_torn_anywhere() {
    let log = blocks(Fsync::Always);
    for (foreign, _) in foreign() {
        let whole = [&log.bytes[..], &foreign].concat();
        for len in log.bytes.len()..whole.len() {
            let (commands, _) = start_on(&log.mem, &whole[..len], &options(Fsync::Always)).unwrap();
            assert_eq!(commands[..4], sets("abcd"), "{len} bytes");
            let zeros = [&whole[..len], &[0; 100]].concat();
            let (again, cut) = start_on(&log.mem, &zeros, &options(Fsync::Always)).unwrap();
            assert!(again == commands && cut.is_some(), "{len} bytes, and zeros");
        }
    }
}

/// A head behind them says what all before it hashed to: so damage is known before any of them is executed.
#[test]
fn nothing_of_what_a_head_vouches_for_is_executed_if_a_bit_of_it_is_wrong() {
    let log = blocks(Fsync::Always);
    for (foreign, _) in foreign() {
        let image = log.mem.kill();
        image.put(&path(FIRST), &[&log.bytes[..], &foreign].concat());
        let mut again = start(image.clone(), &options(Fsync::Always));
        turn(&mut again, &[("ours", 1)]);
        again.stop().unwrap();
        let whole = image.bytes(&path(FIRST)).unwrap();
        let quarantine = Options { load_corrupt: LoadCorrupt::Quarantine, ..options(Fsync::Always) };
        let mut loaded = 0;
        for at in (log.bytes.len()..log.bytes.len() + foreign.len()).filter(|at| at % 7 < 2) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            let error = start_on(&log.mem, &bytes, &options(Fsync::Always)).unwrap_err();
            let is_told = matches!(error, Error::Corrupt { .. } | Error::BadFormat { .. });
            assert!(is_told, "byte {at}: {error}");
            if let Ok((commands, _)) = start_on(&log.mem, &bytes, &quarantine) {
                loaded += 1;
                assert!(
                    commands.iter().all(|command| !command.contains("theirs")),
                    "byte {at}: {commands:?}"
                );
                assert_eq!(commands.last().unwrap(), "0:SET ours 1", "byte {at}");
            }
        }
        assert!(loaded > 300, "{loaded}");
        // The head itself.
        let head_at = log.bytes.len() + foreign.len();
        let mut bytes = whole.clone();
        bytes[head_at + 8] ^= 1;
        let (commands, _) = start_on(&log.mem, &bytes, &quarantine).unwrap();
        assert!(commands.iter().any(|command| command.contains("theirs")), "nothing of ours is missing");
        assert_eq!(commands.last().unwrap(), "0:SET ours 1");
    }
}

/// A length that lies in what another server wrote before our first run may swallow all that follows.
#[test]
fn no_length_in_another_server_s_commands_swallows_the_run_behind_them() {
    let mem = Mem::new();
    start(mem.clone(), &Options { checksum: false, ..options(Fsync::Always) }).stop().unwrap();
    let theirs = [command(&["SELECT", "0"]), command(&["SET", "theirs", &"x".repeat(1000)])].concat();
    mem.put(&path(FIRST), &theirs);
    let mut log = start(mem.clone(), &options(Fsync::Always));
    turn(&mut log, &[("ours", 1)]);
    log.stop().unwrap();
    let whole = mem.bytes(&path(FIRST)).unwrap();
    let at = whole.windows(5).position(|window| window == b"$1000").unwrap() + 1;
    let mut bytes = whole.clone();
    bytes[at] = b'9';
    let error = start_on(&mem, &bytes, &options(Fsync::Always)).unwrap_err();
    assert!(matches!(error, Error::BadFormat { .. }), "{error}");
    // Without that run, it merely stops.
    bytes.truncate(theirs.len());
    let (commands, cut) = start_on(&mem, &bytes, &options(Fsync::Always)).unwrap();
    assert_eq!((commands, cut), (Vec::new(), Some(23)));
}

#[test]
fn a_block_inside_a_transaction_of_others_is_none_of_it() {
    let log = blocks(Fsync::Always);
    let image = log.mem.kill();
    image.put(&path(FIRST), &[&log.bytes[..], &command(&["MULTI"]), &log.bytes[log.ends[0]..]].concat());
    let error = load(&image, &options(Fsync::Always)).unwrap_err();
    let Error::BadFormat { offset_bytes, .. } = error else { panic!("{error}") };
    assert_eq!(offset_bytes as usize, log.bytes.len() + 15);
}
