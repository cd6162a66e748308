//! The continuation line: what it says, and every way in which it can be damaged.

use super::{Continuation, MAX_LINE_BYTES, crc32c};

const SAMPLE: Continuation = Continuation { predecessor: 1, end_bytes: 0x5a };

#[test]
fn the_checksum_is_the_castagnoli_one() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}

#[test]
fn a_line_is_read_as_it_was_written_whatever_follows_it() {
    let largest = Continuation { predecessor: u64::MAX, end_bytes: u64::MAX };
    for continuation in [SAMPLE, largest, Continuation { predecessor: 0, end_bytes: 0 }] {
        let line = continuation.line();
        assert!(line.starts_with('#') && line.ends_with("\r\n") && line.len() as u64 <= MAX_LINE_BYTES);
        assert_eq!(Continuation::parse(line.as_bytes()), Ok(Some(continuation)));
        assert_eq!(Continuation::parse(format!("{line}*1\r\n").as_bytes()), Ok(Some(continuation)));
    }
}

#[test]
fn no_single_byte_of_a_line_can_change_unnoticed() {
    let line = SAMPLE.line().into_bytes();
    for at in 0..line.len() {
        for byte in (0..=255).filter(|&byte| byte != line[at]) {
            let mut garbled = line.clone();
            garbled[at] = byte;
            let read = Continuation::parse(&garbled);
            // A line that is not recognised as ours is an annotation of somebody else's.
            assert_eq!(read.is_err(), at >= 5, "byte {at} became {byte}: {read:?}");
            assert!(read.is_err() || read == Ok(None));
        }
    }
}

#[test]
fn a_line_cut_anywhere_is_damage_once_it_is_known_as_ours() {
    let line = SAMPLE.line().into_bytes();
    for cut in 0..line.len() {
        assert_eq!(Continuation::parse(&line[..cut]).is_err(), cut >= 5, "cut at {cut}");
    }
}

#[test]
fn other_first_lines_say_nothing() {
    for head in [&b""[..], b"#TS:1700000000\r\n", b"*1\r\n", b"#EV1 1 2 3\r\n", b"REDIS0010"] {
        assert_eq!(Continuation::parse(head), Ok(None));
    }
}

#[test]
fn one_way_of_writing_only() {
    for numbers in ["01 5a", "1 5A", "+1 5a", "1  5a", "1 5a 0"] {
        let head = format!("#EV1-CONT {numbers} ");
        let line = format!("{head}{:08x}\r\n", crc32c(head.as_bytes()));
        assert!(Continuation::parse(line.as_bytes()).is_err(), "{line}");
    }
}
