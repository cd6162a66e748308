//! The command table as a whole.

use std::collections::BTreeSet;

use keyspace::commands::{DataSpec, GROUPS, flags, lookup};

use crate::Session;

fn rows() -> impl Iterator<Item = &'static DataSpec> {
    GROUPS.iter().flat_map(|group| group.table)
}

#[test]
fn every_row_is_found_by_its_name_in_any_case_and_only_once() {
    let mut names = BTreeSet::new();
    for row in rows() {
        assert!(names.insert(row.name), "{} stands twice", row.name);
        assert_eq!(row.name, row.name.to_ascii_lowercase());
        let name = row.name.to_ascii_uppercase();
        let mut argv = vec![b"1".as_slice(); row.arity.unsigned_abs() as usize];
        argv[0] = name.as_bytes();
        assert_eq!(lookup(&argv).unwrap().name, row.name);
        argv.pop();
        argv.extend((row.arity == 1).then_some([b"1".as_slice(); 2]).into_iter().flatten());
        assert!(row.arity == -1 || lookup(&argv).is_err(), "{} with a word too few", row.name);
    }
}

#[test]
fn every_row_says_what_kind_of_command_it_is() {
    for row in rows().filter(|row| row.subcommands.is_empty()) {
        // PFSELFTEST does neither.
        let kinds = [flags::WRITE, flags::READ].into_iter().filter(|&kind| row.has(kind)).count();
        assert!(kinds == 1 || kinds == 0 && row.has(flags::ADMIN), "{} writes or reads", row.name);
        assert!(!row.has(flags::DENYOOM) || row.has(flags::WRITE), "{}", row.name);
        assert!(row.summary.ends_with('.') && row.summary.len() < 120, "{}", row.name);
        assert_eq!(row.since.split('.').count(), 3, "{}", row.name);
    }
}

#[test]
fn no_request_panics_however_short_or_strange_its_words_are() {
    let mut random = keyspace::Random::new(5);
    let words: [&[u8]; 18] = [
        b"",
        b"a",
        b"b",
        b"0",
        b"-1",
        b"1",
        b"9223372036854775807",
        b"-9223372036854775808",
        b"1e308",
        b"nan",
        b"-inf",
        b"COUNT",
        b"LIMIT",
        b"STORE",
        b"WITHSCORES",
        b"*",
        b"[",
        b"\xff\x00",
    ];
    // PFSELFTEST has no words, and takes its time.
    let rows: Vec<_> = rows().filter(|row| row.name != "pfselftest").collect();
    let mut session = Session::new();
    for _ in 0..40_000 {
        let row = rows[random.below(rows.len())];
        let len = row.arity.unsigned_abs() as usize + random.below(5);
        let mut argv = vec![row.name.as_bytes()];
        let sub = row.subcommands.get(random.below(row.subcommands.len().max(1)));
        argv.extend(sub.map(|sub| sub.name.as_bytes()));
        argv.extend((1..len).map(|_| words[random.below(words.len())]));
        let reply = session.run_argv(&argv);
        assert!(!reply.is_empty() && reply.ends_with(b"\r\n"), "{}", row.name);
    }
}

#[test]
fn a_database_that_is_not_there_is_refused() {
    let mut session = Session::new();
    session.db = 16;
    session.check(&[("DBSIZE", "-ERR DB index is out of range\r\n")]);
}
