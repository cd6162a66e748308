//! Bitmap commands.

use crate::Session;

const OFFSET: &str = "-ERR bit offset is not an integer or out of range\r\n";
const SYNTAX: &str = "-ERR syntax error\r\n";
const TYPE: &str =
    "-ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.\r\n";

#[test]
fn bits_are_set_and_counted() {
    Session::new().check(&[
        ("SETBIT k 7 1", ":0\r\n"),
        ("SETBIT k 7 1", ":1\r\n"),
        ("GETBIT k 7", ":1\r\n"),
        ("GETBIT k 99", ":0\r\n"),
        ("SET k foobar", "+OK\r\n"),
        ("BITCOUNT k", ":26\r\n"),
        ("BITCOUNT k 1 1", ":6\r\n"),
        ("BITCOUNT k 5 30 BIT", ":17\r\n"),
        ("BITCOUNT k -1 -3", ":0\r\n"),
        ("BITCOUNT none 0 9223372036854775807 BIT", ":0\r\n"),
        ("BITCOUNT k 0", SYNTAX),
        ("BITCOUNT k 0 1 hello", SYNTAX),
        ("SETBIT k -1 1", OFFSET),
        ("SETBIT k 4294967296 1", OFFSET),
        ("SETBIT k 1 2", "-ERR bit is not an integer or out of range\r\n"),
    ]);
}

#[test]
fn the_first_bit_of_a_kind_is_found() {
    let mut session = Session::new();
    session.check(&[
        ("BITPOS none 0", ":0\r\n"),
        ("BITPOS none 1", ":-1\r\n"),
        ("BITPOS none 2", "-ERR The bit argument must be 1 or 0.\r\n"),
    ]);
    session.run_argv(&[b"SET", b"k", b"\xff\xff\xff"]);
    session.check(&[
        ("BITPOS k 0", ":24\r\n"),
        ("BITPOS k 0 1", ":24\r\n"),
        ("BITPOS k 0 0 -1", ":-1\r\n"),
        ("BITPOS k 1 9 -1 BIT", ":9\r\n"),
        ("BITPOS k 0 3", ":-1\r\n"),
        // An end before the begin is the first byte, but where it makes GETRANGE and BITCOUNT find nothing.
        ("BITPOS k 1 -3 -9", ":0\r\n"),
        ("BITCOUNT k -3 -9", ":0\r\n"),
        ("GETRANGE k -3 -9", "$0\r\n\r\n"),
        ("BITCOUNT k 0 -9", ":8\r\n"),
    ]);
}

/// As in Redis: what is wrong with a range shows only where there is a string.
#[test]
fn a_range_is_read_behind_the_key() {
    const TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    const INTEGER: &str = "-ERR value is not an integer or out of range\r\n";
    Session::new().check(&[
        ("BITCOUNT none 1", ":0\r\n"),
        ("BITCOUNT none x y foo", ":0\r\n"),
        ("BITPOS none 0 x", ":0\r\n"),
        ("BITPOS none 1 0 1 foo", ":-1\r\n"),
        ("BITPOS none x", INTEGER),
        ("RPUSH l a", ":1\r\n"),
        ("BITCOUNT l x y", TYPE),
        ("BITPOS l 1 x", TYPE),
        ("BITPOS l 2 x", "-ERR The bit argument must be 1 or 0.\r\n"),
        ("SET s a", "+OK\r\n"),
        ("BITCOUNT s -1 -2 foo", ":0\r\n"),
        ("BITCOUNT s -1 x foo", INTEGER),
        ("BITCOUNT s -2 -1 foo", SYNTAX),
        ("BITPOS s 1 x 0 foo", INTEGER),
        ("BITPOS s 1 -1 x foo", SYNTAX),
        ("BITPOS s 1 -1 -2 foo", SYNTAX),
    ]);
}

#[test]
fn positions_and_counts_agree_with_looking_at_each_bit() {
    let mut session = Session::new();
    let mut random = keyspace::Random::new(11);
    for _ in 0..300 {
        let len = random.below(40);
        let fill = [0x00, 0xff][random.below(2)];
        let mut bytes = vec![fill; len];
        for _ in 0..random.below(3) {
            let at = random.below(len.max(1));
            bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << random.below(8));
        }
        session.run_argv(&[b"SET", b"k", &bytes]);
        let is_set = |bit: usize| bytes[bit / 8] >> (7 - bit % 8) & 1 == 1;
        let (start, end) = (random.below(330), random.below(330));
        let range = start..(end + 1).min(len * 8);
        let count = range.clone().filter(|&bit| is_set(bit)).count();
        let line = format!("BITCOUNT k {start} {end} BIT");
        assert_eq!(session.run(&line), format!(":{count}\r\n"), "{line} of {bytes:?}");
        for wanted in [false, true] {
            let found = range.clone().find(|&bit| is_set(bit) == wanted).map_or(-1, |bit| bit as i64);
            let line = format!("BITPOS k {} {start} {end} BIT", u8::from(wanted));
            assert_eq!(session.run(&line), format!(":{found}\r\n"), "{line} of {bytes:?}");
        }
    }
}

#[test]
fn strings_are_combined_bit_by_bit() {
    let mut session = Session::new();
    session.check(&[
        ("SET a abc", "+OK\r\n"),
        ("SET b \"  \"", "+OK\r\n"),
        ("BITOP XOR to a b", ":3\r\n"),
        ("GET to", "$3\r\nABc\r\n"),
        ("BITOP AND to a b none", ":3\r\n"),
        ("GET to", "$3\r\n\0\0\0\r\n"),
        ("BITOP OR to none b", ":2\r\n"),
        ("BITOP NOT to a b", "-ERR BITOP NOT must be called with a single source key.\r\n"),
        ("BITOP NAND to a b", SYNTAX),
        ("BITOP NOT to none", ":0\r\n"),
        ("EXISTS to", ":0\r\n"),
        ("LPUSH list a", ":1\r\n"),
        ("BITOP OR to a list", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
    ]);
    session.check_effects(&[("BITOP NOT to none", &[]), ("BITOP NOT to a", &["BITOP NOT to a"])]);
}

#[test]
fn fields_wrap_saturate_or_fail() {
    Session::new().check(&[
        ("BITFIELD k SET u8 0 255 GET u8 0 GET i8 0", "*3\r\n:0\r\n:255\r\n:-1\r\n"),
        ("BITFIELD k INCRBY u8 0 10", "*1\r\n:9\r\n"),
        ("BITFIELD k OVERFLOW SAT INCRBY u8 0 250", "*1\r\n:255\r\n"),
        ("BITFIELD k OVERFLOW FAIL INCRBY u8 0 1", "*1\r\n$-1\r\n"),
        ("BITFIELD k OVERFLOW SAT INCRBY i8 #1 -200", "*1\r\n:-128\r\n"),
        (
            "BITFIELD k SET i64 3 -9223372036854775808 GET i64 3",
            "*2\r\n:-288230376151711744\r\n:-9223372036854775808\r\n",
        ),
        ("BITFIELD k OVERFLOW SAT INCRBY i64 3 -1", "*1\r\n:-9223372036854775808\r\n"),
        ("BITFIELD k SET u63 5 -1 GET u63 5", "*2\r\n:0\r\n:9223372036854775807\r\n"),
        ("BITFIELD k", "*0\r\n"),
        ("BITFIELD k GET u64 0", TYPE),
        ("BITFIELD k GET i0 0", TYPE),
        ("BITFIELD k GET u8 -1", OFFSET),
        ("BITFIELD k GET u8 #9223372036854775807", OFFSET),
        ("BITFIELD k SET u8 0", SYNTAX),
        ("BITFIELD k OVERFLOW MAYBE", "-ERR Invalid OVERFLOW type specified\r\n"),
        ("BITFIELD_RO k SET u8 0 1", "-ERR BITFIELD_RO only supports the GET subcommand\r\n"),
    ]);
}

#[test]
fn only_changes_are_logged() {
    Session::new().check_effects(&[
        ("SETBIT k 9 0", &["SETBIT k 9 0"]),
        ("SETBIT k 9 0", &[]),
        ("BITFIELD k GET u8 0", &[]),
        ("BITFIELD k SET u8 0 0", &[]),
        ("BITFIELD k SET u8 0 1", &["BITFIELD k SET u8 0 1"]),
        // The string grew, though nothing was stored in it.
        ("BITFIELD k OVERFLOW FAIL SET u8 800 256", &["BITFIELD k OVERFLOW FAIL SET u8 800 256"]),
        ("STRLEN k", &[]),
    ]);
}
