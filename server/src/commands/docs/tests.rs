//! The tables of docs against the command table.

use bytes::BytesMut;
use resp::{Encoder, Version};

use super::syntax::{Argument, parse};
use super::table::{DEPRECATED, HISTORY, SYNTAX, SYSTEM};
use super::{are_named, write_commands};
use crate::commands::introspection::searches;
use crate::commands::{Command, CommandTable};

fn commands() -> Vec<(String, Command)> {
    CommandTable::new(&[]).flat().map(|command| (command.full_name(), command)).collect()
}

fn arguments_of(name: &str) -> Vec<Argument<'static>> {
    let rows: Vec<_> = SYNTAX.iter().filter(|row| are_named(row.0, name)).collect();
    assert_eq!(rows.len(), 1, "rows of {name}");
    parse(rows[0].1).unwrap_or_else(|| panic!("{name}: {}", rows[0].1))
}

#[test]
fn each_command_has_a_syntax_and_each_name_a_command() {
    let commands = commands();
    for (name, _) in &commands {
        arguments_of(name);
    }
    let columns = [SYNTAX, DEPRECATED, HISTORY].into_iter().flatten().map(|row| row.0);
    for name in columns.chain([SYSTEM]).flat_map(|names| names.split(' ')) {
        assert!(commands.iter().any(|command| command.0 == name), "{name:?} is no command");
    }
}

/// The arity that arguments make, behind `words` words.
fn arity(words: i32, arguments: &[Argument<'_>]) -> i32 {
    let [least, most] = all(arguments).map(|count| count + words);
    if least == most { least } else { -least }
}

/// The least and the most words of all arguments.
fn all(arguments: &[Argument<'_>]) -> [i32; 2] {
    arguments.iter().map(words).fold([0, 0], |sum, next| [sum[0] + next[0], sum[1] + next[1]])
}

fn words(argument: &Argument<'_>) -> [i32; 2] {
    const MANY: i32 = 1000;
    let inner = || argument.arguments.iter().map(words);
    let own = match argument.kind {
        "pure-token" => [0, 0],
        "block" => all(&argument.arguments),
        "oneof" => {
            [inner().map(|one| one[0]).min().unwrap_or(0), inner().map(|one| one[1]).max().unwrap_or(0)]
        }
        _ => [1, 1],
    };
    let [least, most] = own.map(|count| count + i32::from(argument.token.is_some()));
    [if argument.is_optional { 0 } else { least }, if argument.is_multiple { MANY } else { most }]
}

/// What Redis takes and its documentation does not show, or the other way round.
const OTHER_ARITY: &str = "client|kill debug geohash geopos pfmerge psync quit replconf";

#[test]
fn a_syntax_has_as_many_words_as_the_arity_says() {
    for (name, command) in commands().iter().filter(|(_, command)| command.subcommands().len() == 0) {
        let arity = arity(1 + name.matches('|').count() as i32, &arguments_of(name));
        let is_same = arity == command.columns().arity;
        assert_ne!(is_same, are_named(OTHER_ARITY, name), "{name}: {arity} by its syntax");
    }
}

#[test]
fn the_keys_of_a_syntax_are_those_of_the_specifications() {
    fn find(arguments: &[Argument<'_>], found: &mut Vec<u16>) {
        for argument in arguments {
            found.extend(argument.key_spec);
            find(&argument.arguments, found);
        }
    }
    for (name, command) in commands() {
        let mut found = Vec::new();
        find(&arguments_of(&name), &mut found);
        found.sort_unstable();
        found.dedup();
        let specs: Vec<u16> = (0u16..).take(searches(command.columns().keys).len()).collect();
        assert_eq!(found, specs, "{name}");
    }
}

#[test]
fn no_damaged_syntax_is_a_panic() {
    for row in SYNTAX {
        for at in 0..row.1.len() {
            let (head, tail) = (&row.1[..at], &row.1[at + 1..]);
            parse(head);
            for sign in ["", " ", "|", "<", "]", "...", "+", "@", "=", "\u{e9}"] {
                parse(&format!("{head}{sign}{tail}"));
            }
        }
    }
}

fn written(name: &str, version: Version) -> String {
    let command = CommandTable::new(&[]).named(name.as_bytes());
    let mut out = BytesMut::new();
    write_commands(&mut Encoder::new(&mut out, version), command.as_slice());
    String::from_utf8_lossy(&out).replace("\r\n", " ")
}

#[test]
fn each_protocol_has_its_shape() {
    let is_in = |name: &str, resp2: &str, resp3: &str| {
        for (version, expected) in [(Version::Resp2, resp2), (Version::Resp3, resp3)] {
            let written = written(name, version);
            assert!(written.contains(expected), "{name} in {version:?}: {written}\nhas no {expected}");
        }
    };
    is_in(
        "brpoplpush",
        "$10 complexity $4 O(1) $9 doc_flags *1 +deprecated $16 deprecated_since $5 6.2.0 $11 replaced_by ",
        "$10 complexity $4 O(1) $9 doc_flags ~1 +deprecated $16 deprecated_since $5 6.2.0 $11 replaced_by ",
    );
    is_in(
        "xsetid",
        " $7 history *1 *2 $5 7.0.0 $37 Added `ENTRIESADDED`, `MAXDELETEDID`. ",
        " $7 history ~1 *2 $5 7.0.0 $37 Added `ENTRIESADDED`, `MAXDELETEDID`. ",
    );
    is_in(
        "bitfield_ro",
        " $9 arguments *2 *6 $4 name $3 key $4 type $3 key $14 key_spec_index :0 *10 $4 name $15 encoding_offset \
         $4 type $5 block $5 token $3 GET $5 flags *3 +optional +multiple +multiple_token $9 arguments *2 \
         *4 $4 name $8 encoding $4 type $6 string *4 $4 name $6 offset $4 type $7 integer ",
        " $9 arguments *2 %3 $4 name $3 key $4 type $3 key $14 key_spec_index :0 %5 $4 name $15 encoding_offset \
         $4 type $5 block $5 token $3 GET $5 flags ~3 +optional +multiple +multiple_token $9 arguments *2 \
         %2 $4 name $8 encoding $4 type $6 string %2 $4 name $6 offset $4 type $7 integer ",
    );
    is_in("config", " $11 subcommands *10 $", " $11 subcommands %5 $");
    is_in("client|kill", " $16 deprecated_since $6 2.8.12 ", " $16 deprecated_since $6 2.8.12 ");
}

#[test]
fn history_is_in_the_order_of_versions() {
    let history = super::history("set", &arguments_of("set"));
    let shown: Vec<String> = history.iter().map(|(version, what)| format!("{version} {what}")).collect();
    let expected = [
        "2.6.12 Added `NX`, `XX`, `EX`, `PX`.",
        "6.0.0 Added `KEEPTTL`.",
        "6.2.0 Added `GET`, `EXAT`, `PXAT`.",
        "7.0.0 `NX` and `GET` may stand together.",
    ];
    assert_eq!(shown, expected);
}
