//! List commands.

use crate::Session;

const NULL: &str = "$-1\r\n";
const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
const SYNTAX: &str = "-ERR syntax error\r\n";
const NOT_AN_INTEGER: &str = "-ERR value is not an integer or out of range\r\n";

#[test]
fn elements_come_and_go_at_both_ends() {
    Session::new().check(&[
        ("LPUSHX l a", ":0\r\n"),
        ("LPUSH l b a", ":2\r\n"),
        ("RPUSH l c 4", ":4\r\n"),
        ("RPUSHX l 5", ":5\r\n"),
        ("LRANGE l 0 -1", "*5\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\n4\r\n$1\r\n5\r\n"),
        ("LRANGE l -2 100", "*2\r\n$1\r\n4\r\n$1\r\n5\r\n"),
        ("LRANGE l 3 1", "*0\r\n"),
        ("LRANGE none 0 x", NOT_AN_INTEGER),
        ("LPOP l", "$1\r\na\r\n"),
        ("RPOP l 2", "*2\r\n$1\r\n5\r\n$1\r\n4\r\n"),
        ("LPOP l 0", "*0\r\n"),
        ("LPOP l -1", "-ERR value is out of range, must be positive\r\n"),
        ("LPOP l x", "-ERR value is out of range, must be positive\r\n"),
        ("LPOP l 1 1", "-ERR wrong number of arguments for 'lpop' command\r\n"),
        ("LPOP none", NULL),
        ("LPOP none 1", "*-1\r\n"),
        ("LLEN l", ":2\r\n"),
        ("LPOP l 9", "*2\r\n$1\r\nb\r\n$1\r\nc\r\n"),
        ("EXISTS l", ":0\r\n"),
        ("SET s 1", "+OK\r\n"),
        ("RPUSH s a", WRONG_TYPE),
        ("LLEN s", WRONG_TYPE),
    ]);
}

#[test]
fn elements_are_found_replaced_inserted_and_removed() {
    Session::new().check(&[
        ("RPUSH l a b c a b a", ":6\r\n"),
        ("LINDEX l -1", "$1\r\na\r\n"),
        ("LINDEX l 6", NULL),
        ("LINDEX none x", NULL),
        ("LINDEX l x", NOT_AN_INTEGER),
        ("LSET l 6 x", "-ERR index out of range\r\n"),
        ("LSET none 0 x", "-ERR no such key\r\n"),
        ("LSET l -9223372036854775808 x", "-ERR index out of range\r\n"),
        ("LSET l -2 77", "+OK\r\n"),
        ("LINSERT l before 77 x", ":7\r\n"),
        ("LINSERT l AFTER a y", ":8\r\n"),
        ("LINSERT l AFTER none y", ":-1\r\n"),
        ("LINSERT none AFTER a y", ":0\r\n"),
        ("LINSERT l BESIDE a y", SYNTAX),
        (
            "LRANGE l 0 -1",
            "*8\r\n$1\r\na\r\n$1\r\ny\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\na\r\n$1\r\nx\r\n$2\r\n77\r\n$1\r\na\r\n",
        ),
        ("LREM l -2 a", ":2\r\n"),
        ("LREM l 0 none", ":0\r\n"),
        ("LTRIM l 1 -2", "+OK\r\n"),
        ("LRANGE l 0 -1", "*4\r\n$1\r\ny\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nx\r\n"),
        ("LTRIM l 5 10", "+OK\r\n"),
        ("EXISTS l", ":0\r\n"),
        ("LTRIM none 0 0", "+OK\r\n"),
    ]);
}

#[test]
fn lpos_counts_ranks_from_either_end() {
    Session::new().check(&[
        ("RPUSH l a b c 1 2 3 c c", ":8\r\n"),
        ("LPOS l c", ":2\r\n"),
        ("LPOS l c RANK -1", ":7\r\n"),
        ("LPOS l c RANK 2 COUNT 0", "*2\r\n:6\r\n:7\r\n"),
        ("LPOS l c RANK -2 COUNT 5 MAXLEN 2", "*1\r\n:6\r\n"),
        ("LPOS l x", NULL),
        ("LPOS l x COUNT 1", "*0\r\n"),
        ("LPOS none x COUNT 1", "*0\r\n"),
        ("LPOS l c COUNT -1", "-ERR COUNT can't be negative\r\n"),
        ("LPOS l c MAXLEN -1", "-ERR MAXLEN can't be negative\r\n"),
        ("LPOS l c RANK", SYNTAX),
        (
            "LPOS l c RANK 0",
            "-ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list\r\n",
        ),
        (
            "LPOS l c RANK -9223372036854775808",
            "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807\r\n",
        ),
    ]);
}

#[test]
fn elements_move_between_lists_and_within_one() {
    let mut session = Session::new();
    session.check(&[
        ("RPUSH a 1 2 3", ":3\r\n"),
        ("LMOVE a b LEFT RIGHT", "$1\r\n1\r\n"),
        ("RPOPLPUSH a a", "$1\r\n3\r\n"),
        ("LRANGE a 0 -1", "*2\r\n$1\r\n3\r\n$1\r\n2\r\n"),
        ("RPOPLPUSH b b", "$1\r\n1\r\n"),
        ("LMOVE none a LEFT LEFT", NULL),
        ("LMOVE a b LEFT UP", SYNTAX),
        ("SET s 1", "+OK\r\n"),
        ("RPOPLPUSH a s", WRONG_TYPE),
        ("LMPOP 0 a LEFT", "-ERR numkeys should be greater than 0\r\n"),
        ("LMPOP 9223372036854775807 a LEFT", SYNTAX),
        ("LMPOP 1 a LEFT COUNT 0", "-ERR count should be greater than 0\r\n"),
        ("LMPOP 1 a LEFT COUNT 1 COUNT 1", SYNTAX),
        ("LMPOP 2 none a RIGHT COUNT 9", "*2\r\n$1\r\na\r\n*2\r\n$1\r\n2\r\n$1\r\n3\r\n"),
        ("LMPOP 2 none a RIGHT", "*-1\r\n"),
    ]);
    session.run("RPOPLPUSH b b");
    assert_eq!(session.events(), ["lpush b", "rpop b"]);
    session.run("LMOVE b c LEFT RIGHT");
    assert_eq!(session.events(), ["rpush c", "lpop b", "del b"]);
}

#[test]
fn what_was_served_is_logged_as_a_command_that_never_waits() {
    let mut session = Session::new();
    session.run("RPUSH l 1 2 3 4 5 6 7 8");
    session.check_effects(&[
        ("BLPOP none l 0", &["LPOP l"]),
        ("BRPOP l 1.5", &["RPOP l"]),
        ("BLMOVE l m left right 0", &["LMOVE l m left right"]),
        ("BRPOPLPUSH l m 0", &["RPOPLPUSH l m"]),
        ("LMPOP 1 l LEFT COUNT 2", &["LPOP l 2"]),
        ("BLMPOP 0 2 none l RIGHT COUNT 99", &["RPOP l 2"]),
        ("BLPOP l 0", &[]),
        ("LREM m 0 none", &[]),
        ("LTRIM m 0 -1", &[]),
        ("LPOP m 0", &[]),
    ]);
}

#[test]
fn clients_wait_where_they_may() {
    let mut session = Session::new();
    session.check(&[
        ("BLPOP l m 0", "*-1\r\n"),
        ("BLMPOP 0 1 l LEFT", "*-1\r\n"),
        ("BLMOVE l m LEFT LEFT 0", NULL),
        ("BRPOPLPUSH l m 0", NULL),
    ]);
    session.may_block = true;
    for (line, keys, timeout_ms) in [
        ("BLPOP l m 0", &[&b"l"[..], b"m"][..], None),
        ("BRPOP l 0.0001", &[b"l"], Some(1)),
        ("BLMOVE l m LEFT LEFT 2.5", &[b"l"], Some(2500)),
        ("BLMPOP 1 2 l m LEFT", &[b"l", b"m"], Some(1000)),
    ] {
        assert_eq!(session.run(line), "", "{line}");
        let block = session.unit.block.take().expect("the client is parked");
        assert_eq!(block.keys.iter().map(|key| &key[..]).collect::<Vec<_>>(), keys, "{line}");
        assert_eq!((block.timeout_ms, block.type_name), (timeout_ms, "list"));
        assert_eq!(session.unit.dirty, 0);
    }
    session.check(&[
        ("BLPOP l -1", "-ERR timeout is negative\r\n"),
        ("BLPOP l x", "-ERR timeout is not a float or out of range\r\n"),
        ("BLPOP l inf", "-ERR timeout is out of range\r\n"),
        ("BLPOP l 1e17", "-ERR timeout is out of range\r\n"),
        ("SET s 1", "+OK\r\n"),
        ("BLPOP s 0", WRONG_TYPE),
        ("RPUSH m a", ":1\r\n"),
    ]);
    assert_eq!(session.unit.ready.len(), 1);
    session.check(&[("BLPOP l m 0", "*2\r\n$1\r\nm\r\n$1\r\na\r\n")]);
}

#[test]
fn the_encoding_follows_the_size_both_ways() {
    let mut session = Session::new();
    session.run("RPUSH l a b c");
    session.check(&[("OBJECT ENCODING l", "$8\r\nlistpack\r\n")]);
    session.run(&format!("RPUSH l {}", "x".repeat(8200)));
    session.check(&[
        ("OBJECT ENCODING l", "$9\r\nquicklist\r\n"),
        ("LSET l 3 d", "+OK\r\n"),
        ("LRANGE l 0 -1", "*4\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n"),
    ]);
    session.run("RPOP l");
    session.check(&[("OBJECT ENCODING l", "$8\r\nlistpack\r\n")]);
}

#[test]
fn an_element_that_fits_in_the_place_of_another_takes_it() {
    let mut session = Session::new();
    session.keyspace.limits.list_max_listpack_size = -1;
    // As a listpack it has more bytes than a chunk may have, for their heads do not count.
    session.run(&format!("RPUSH l {}", vec!["elements"; 511].join(" ")));
    session.check(&[
        ("OBJECT ENCODING l", "$8\r\nlistpack\r\n"),
        ("RPUSH l elements", ":512\r\n"),
        ("OBJECT ENCODING l", "$9\r\nquicklist\r\n"),
        ("LSET l 0 x", "+OK\r\n"),
        ("LTRIM l 0 200", "+OK\r\n"),
        ("OBJECT ENCODING l", "$8\r\nlistpack\r\n"),
    ]);
}

#[test]
fn a_long_list_that_is_turned_round_may_become_a_listpack() {
    let mut session = Session::new();
    session.keyspace.limits.list_max_listpack_size = 8;
    session.run(&format!("RPUSH l a b c d e f g {}", "x".repeat(8200)));
    session.check(&[
        ("LTRIM l -3 -1", "+OK\r\n"),
        ("LSET l 2 h", "+OK\r\n"),
        ("OBJECT ENCODING l", "$9\r\nquicklist\r\n"),
        ("LMOVE l l RIGHT LEFT", "$1\r\nh\r\n"),
        ("OBJECT ENCODING l", "$8\r\nlistpack\r\n"),
    ]);
}
