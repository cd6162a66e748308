//! The bytes around effects.

use super::*;

const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n";
const DEL: &[u8] = b"*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n";

fn op(db: u32, command: &[u8]) -> Op<'_> {
    Op { db, command }
}

fn text(framer: &mut Framer, unix_s: i64, unit: &[Op<'_>]) -> String {
    let mut out = BytesMut::new();
    framer.unit(unix_s, unit, &mut out);
    let words = String::from_utf8(out.to_vec()).unwrap();
    let is_text = |line: &&str| !line.starts_with('*') && !line.starts_with('$') && !line.is_empty();
    words.split("\r\n").filter(is_text).collect::<Vec<_>>().join(" ")
}

#[test]
fn select_stands_first_in_a_file_and_wherever_the_database_changes() {
    let mut framer = Framer::new(false);
    assert_eq!(text(&mut framer, 0, &[op(0, SET)]), "SELECT 0 SET k v");
    assert_eq!(text(&mut framer, 0, &[op(0, DEL)]), "DEL k");
    assert_eq!(text(&mut framer, 0, &[op(12, SET)]), "SELECT 12 SET k v");
    framer.start_file();
    assert_eq!(text(&mut framer, 0, &[op(12, DEL)]), "SELECT 12 DEL k");
}

#[test]
fn a_unit_of_several_is_a_transaction_with_select_inside() {
    let mut framer = Framer::new(false);
    let unit = [op(3, SET), op(4, DEL), op(4, SET)];
    assert_eq!(text(&mut framer, 0, &unit), "MULTI SELECT 3 SET k v SELECT 4 DEL k SET k v EXEC");
    assert_eq!(text(&mut framer, 0, &[]), "", "a unit without effects leaves nothing");
}

#[test]
fn a_timestamp_leads_the_first_unit_of_each_later_second() {
    let mut framer = Framer::new(true);
    assert_eq!(
        text(&mut framer, 100, &[op(0, SET), op(0, DEL)]),
        "#TS:100 MULTI SELECT 0 SET k v DEL k EXEC"
    );
    assert_eq!(text(&mut framer, 100, &[op(0, SET)]), "SET k v");
    assert_eq!(text(&mut framer, 99, &[op(0, SET)]), "SET k v", "a clock set back stamps nothing");
    assert_eq!(text(&mut framer, 101, &[op(1, SET)]), "#TS:101 SELECT 1 SET k v");
}

#[test]
fn the_bytes_are_redis_own() {
    let mut out = BytesMut::new();
    Framer::new(true).unit(7, &[op(10, DEL), op(10, DEL)], &mut out);
    let expected = "#TS:7\r\n*1\r\n$5\r\nMULTI\r\n*2\r\n$6\r\nSELECT\r\n$2\r\n10\r\n\
        *2\r\n$3\r\nDEL\r\n$1\r\nk\r\n*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n*1\r\n$4\r\nEXEC\r\n";
    assert_eq!(out, expected.as_bytes());
}
