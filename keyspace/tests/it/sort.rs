//! SORT: orders, weights, what GET fetches, what STORE leaves.

use crate::Session;

/// An array of bulk strings; `None` is the null.
fn array(words: &[Option<&str>]) -> String {
    let print = |word: &Option<&str>| match word {
        Some(word) => format!("${}\r\n{word}\r\n", word.len()),
        None => "$-1\r\n".to_string(),
    };
    format!("*{}\r\n{}", words.len(), words.iter().map(print).collect::<String>())
}

/// Executes lines, each with the elements (blanks between, `-` for the null) that it must answer.
#[track_caller]
fn check(session: &mut Session, table: &[(&str, &str)]) {
    for (line, words) in table {
        let words: Vec<_> = words.split_whitespace().map(|word| (word != "-").then_some(word)).collect();
        assert_eq!(session.run(line), array(&words), "{line}");
    }
}

fn with_weights() -> Session {
    let mut session = Session::new();
    session.check(&[
        ("RPUSH l 3 1 10 2", ":4\r\n"),
        ("SADD s 3 1 10 2", ":4\r\n"),
        ("ZADD z 1 ten 2 nine 3 one", ":3\r\n"),
        ("MSET w_1 5 w_2 4 w_3 -1.5 w_10 0x10", "+OK\r\n"),
        ("MSET n_1 one n_2 two n_3 three", "+OK\r\n"),
        ("HSET h_1 name uno", ":1\r\n"),
        ("HSET h_2 name dos", ":1\r\n"),
    ]);
    session
}

#[test]
fn elements_are_sorted_by_number_or_alphabet() {
    let mut session = with_weights();
    check(
        &mut session,
        &[
            ("SORT l", "1 2 3 10"),
            ("SORT s DESC", "10 3 2 1"),
            ("SORT s desc ASC", "1 2 3 10"),
            ("SORT l ALPHA", "1 10 2 3"),
            ("SORT_RO z ALPHA DESC", "ten one nine"),
            ("SORT none", ""),
            ("SORT l LIMIT 1 2", "2 3"),
            ("SORT l LIMIT -5 2", "1 2"),
            ("SORT l LIMIT 2 -1", "3 10"),
            ("SORT l LIMIT 9 1", ""),
            ("SORT l LIMIT 1 0", ""),
            ("SORT l LIMIT 9223372036854775807 9223372036854775807", ""),
        ],
    );
}

#[test]
fn weights_come_from_other_keys() {
    let mut session = with_weights();
    check(
        &mut session,
        &[
            ("SORT l BY w_*", "3 2 1 10"),
            ("SORT l BY w_* DESC LIMIT 0 1", "10"),
            ("SORT l BY n_* ALPHA", "10 1 3 2"),
            ("SORT l BY h_*->name ALPHA", "3 10 2 1"),
            ("SORT l BY h_*->name ALPHA DESC", "1 2 3 10"),
            ("SORT l BY none_*", "1 10 2 3"),
            ("SORT l BY nosort", "3 1 10 2"),
            ("SORT l BY nosort DESC LIMIT 1 2", "10 1"),
            ("SORT z BY nosort", "ten nine one"),
            ("SORT z BY nosort DESC LIMIT 0 2", "one nine"),
        ],
    );
}

#[test]
fn get_fetches_other_keys_fields_and_the_element() {
    let mut session = with_weights();
    check(
        &mut session,
        &[
            ("SORT l GET n_*", "one two three -"),
            ("SORT l LIMIT 0 2 GET # GET h_*->name GET n_*", "1 uno one 2 dos two"),
            ("SORT l LIMIT 0 1 GET fixed GET h_* GET n_*->name GET h_*->none GET w_*", "- - - - 5"),
        ],
    );
    session.check(&[("HSET odd_1-> x y", ":1\r\n"), ("SET even_1-> v", "+OK\r\n")]);
    check(&mut session, &[("SORT l LIMIT 0 1 GET even_*->", "v")]);
}

#[test]
fn refusals_come_in_redis_words_and_order() {
    let mut session = with_weights();
    session.check(&[
        ("SET str 1", "+OK\r\n"),
        ("SORT str", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
        ("SORT str BOGUS", "-ERR syntax error\r\n"),
        ("SORT l LIMIT 1", "-ERR syntax error\r\n"),
        ("SORT l LIMIT a 1", "-ERR value is not an integer or out of range\r\n"),
        ("SORT l BY", "-ERR syntax error\r\n"),
        ("SORT_RO l STORE d", "-ERR syntax error\r\n"),
        ("SORT z", "-ERR One or more scores can't be converted into double\r\n"),
        ("SORT z STORE l", "-ERR One or more scores can't be converted into double\r\n"),
        ("LLEN l", ":4\r\n"),
    ]);
}

#[test]
fn store_replaces_the_destination_or_deletes_it() {
    let mut session = with_weights();
    session.check(&[("SET d v EX 100", "+OK\r\n"), ("SORT l STORE d", ":4\r\n")]);
    assert_eq!(session.effects(), ["SORT l STORE d"]);
    assert_eq!(session.events(), ["sortstore d"]);
    check(&mut session, &[("LRANGE d 0 -1", "1 2 3 10")]);
    session.check(&[("TTL d", ":-1\r\n"), ("SORT l GET n_* STORE d", ":4\r\n")]);
    session.check(&[("LRANGE d 3 3", "*1\r\n$0\r\n\r\n"), ("SORT none STORE d", ":0\r\n")]);
    assert_eq!(session.effects(), ["SORT none STORE d"]);
    assert_eq!(session.events(), ["del d"]);
    session.check(&[("EXISTS d", ":0\r\n"), ("SORT none STORE d", ":0\r\n")]);
    assert!(session.effects().is_empty());
    // What a set stores never depends on its table's order.
    session.check(&[("SORT s BY nosort STORE d", ":4\r\n")]);
    check(&mut session, &[("LRANGE d 0 -1", "1 10 2 3")]);
}

#[test]
fn a_list_of_many_elements_is_sorted_whole() {
    let mut session = Session::new();
    let numbers = (0..1000).map(|number| (number * 7919) % 1000);
    numbers.for_each(|number| _ = session.run(&format!("RPUSH l {number}")));
    let expected: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
    check(&mut session, &[("SORT l", &expected.join(" "))]);
}

#[test]
fn limit_selects_from_the_order_there_is_and_from_its_reverse() {
    let mut session = Session::new();
    for n in 0..1000 {
        session.run(&format!("RPUSH l {n}"));
        session.run(&format!("ZADD z {n} {n}"));
        session.run(&format!("SADD s {n}"));
    }
    for key in ["l", "z"] {
        let table = [
            (format!("SORT {key} BY nosort LIMIT 998 5"), "998 999"),
            (format!("SORT {key} BY nosort LIMIT 0 2"), "0 1"),
            (format!("SORT {key} BY nosort DESC LIMIT 0 2"), "999 998"),
            (format!("SORT {key} BY nosort DESC LIMIT 998 5"), "1 0"),
            (format!("SORT_RO {key} BY nosort LIMIT 1000 5"), ""),
            (format!("SORT_RO {key} BY nosort DESC LIMIT 1000 5"), ""),
        ];
        for (line, words) in &table {
            check(&mut session, &[(line, words)]);
        }
    }
    let (some, first) =
        (session.run("SORT s BY nosort LIMIT 0 2"), session.run("SORT s BY nosort DESC LIMIT 0 2"));
    assert_eq!(some, first, "a set has no reverse");
    session.check(&[("SORT s BY nosort LIMIT 1 2 STORE d", ":2\r\n")]);
    check(&mut session, &[("LRANGE d 0 -1", "1 10")]);
    session.check(&[("SORT s BY nosort DESC LIMIT 0 2 STORE d", ":2\r\n")]);
    check(&mut session, &[("LRANGE d 0 -1", "999 998")]);
}

/// The result was one listpack, however long it became.
#[test]
fn what_sort_stores_is_a_list_in_the_encoding_of_its_size() {
    let mut session = Session::new();
    session.keyspace.limits.list_max_listpack_size = 8;
    for (len, encoding) in [(8, "listpack"), (9, "quicklist"), (300, "quicklist")] {
        (0..len).for_each(|number| _ = session.run(&format!("RPUSH l{len} {number}")));
        assert_eq!(session.run(&format!("SORT l{len} STORE d")), format!(":{len}\r\n"));
        let entry = session.keyspace.entry(0, b"d", session.now_ms).unwrap();
        assert_eq!(entry.value().encoding(), encoding, "{len} elements");
        assert_eq!(session.run("LRANGE d -1 -1"), session.run(&format!("LRANGE l{len} -1 -1")));
    }
}
