//! The bytes around effects.

use super::*;

const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n";
const DEL: &[u8] = b"*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n";

fn op(db: u32, command: &[u8]) -> Op<'_> {
    Op { db, command }
}

fn text(framer: &mut Framer, unit: &[Op<'_>]) -> String {
    let mut out = BytesMut::new();
    framer.unit(unit, &mut out);
    let words = String::from_utf8(out.to_vec()).unwrap();
    let is_text = |line: &&str| !line.starts_with('*') && !line.starts_with('$') && !line.is_empty();
    words.split("\r\n").filter(is_text).collect::<Vec<_>>().join(" ")
}

#[test]
fn select_stands_first_in_a_file_and_wherever_the_database_changes() {
    let mut framer = Framer::new(false);
    assert_eq!(text(&mut framer, &[op(0, SET)]), "SELECT 0 SET k v");
    assert_eq!(text(&mut framer, &[op(0, DEL)]), "DEL k");
    assert_eq!(text(&mut framer, &[op(12, SET)]), "SELECT 12 SET k v");
    framer.start_file();
    assert_eq!(text(&mut framer, &[op(12, DEL)]), "SELECT 12 DEL k");
}

#[test]
fn a_unit_of_several_is_a_transaction_with_select_inside() {
    let mut framer = Framer::new(false);
    let unit = [op(3, SET), op(4, DEL), op(4, SET)];
    assert_eq!(text(&mut framer, &unit), "MULTI SELECT 3 SET k v SELECT 4 DEL k SET k v EXEC");
}

#[test]
fn a_timestamp_leads_the_first_block_of_each_later_second() {
    let mut framer = Framer::new(true);
    let stamps = [(100, "#TS:100\r\n"), (100, ""), (99, ""), (101, "#TS:101\r\n")];
    for (unix_s, expected) in stamps {
        let mut out = Vec::new();
        framer.stamp(unix_s, &mut out);
        assert_eq!(out, expected.as_bytes(), "{unix_s}: a clock set back stamps nothing");
    }
}

#[test]
fn the_bytes_are_redis_own() {
    let mut out = BytesMut::new();
    Framer::new(true).unit(&[op(10, DEL), op(10, DEL)], &mut out);
    let expected = "*1\r\n$5\r\nMULTI\r\n*2\r\n$6\r\nSELECT\r\n$2\r\n10\r\n\
        *2\r\n$3\r\nDEL\r\n$1\r\nk\r\n*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n*1\r\n$4\r\nEXEC\r\n";
    assert_eq!(out, expected.as_bytes());
}

#[test]
fn an_opening_is_told_from_every_other_command_and_from_itself_with_a_byte_or_two_wrong() {
    let stamp = &b"#TS:1795765077\r\n"[..];
    let select = &b"*2\r\n$6\r\nSELECT\r\n$2\r\n15\r\n"[..];
    for opening in [select, MULTI] {
        assert_eq!(Opening::of(opening), Opening::Whole);
        let told_by = if opening == MULTI { MULTI.len() } else { SELECT.len() };
        for prefix in [&b""[..], stamp] {
            let whole = [prefix, opening].concat();
            for at in 0..prefix.len() + told_by {
                let mut one = whole.clone();
                one[at] ^= 0x80;
                assert_eq!(Opening::of(&one), Opening::Damaged, "byte {at}");
            }
            assert_eq!(Opening::of(&whole[..prefix.len() + told_by - 1]), Opening::Other, "it merely stops");
        }
        for at in 0..told_by {
            let mut three = opening.to_vec();
            (0..3).for_each(|n| three[(at + n) % told_by] ^= 0x80);
            assert_eq!(Opening::of(&three), Opening::Other, "bytes from {at}");
        }
    }
    for words in [
        &["SETBIT", "k", "7", "1"][..],
        &["EXEC"],
        &["UNLINK", "k"],
        &["GETDEL", "k"],
        &["PING"],
        &["FLUSHALL"],
    ] {
        let argv: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let mut out = BytesMut::new();
        resp::request::encode(&argv, &mut out);
        out.put_slice(&[b'x'; OPENING_BYTES]);
        assert_eq!(Opening::of(&out), Opening::Other, "{words:?}");
        assert_eq!(Opening::of(&[stamp, &out].concat()), Opening::Other, "{words:?} behind a stamp");
    }
    assert_eq!(Opening::of(b"#EV1 1f 2a40 0 0 18bcfe56800 5d6b1c02 0c7d2f19\r\n"), Opening::Other);
}
