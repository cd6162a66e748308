//! The command table against what the files `src/commands/*.json` of redis 7.2.6 say of each command that is here: name,
//! arity, version, flags, ACL categories, tips, and key specifications as COMMAND INFO shows them. A command of which they
//! say more than COMMAND INFO (`may_replicate`, `touches_arbitrary_keys`) is without it here.

use std::collections::BTreeSet;

use super::{KEY_FLAGS, SHOWN_FLAGS, Shown, categories, searches, shown, tips};
use crate::commands::{Command, CommandTable};

const REDIS: &str = include_str!("redis-7.2.6.txt");

#[test]
fn what_command_info_says_is_what_redis_says() {
    let ours: BTreeSet<String> = CommandTable::new(&[]).flat().map(row).collect();
    let redis: BTreeSet<String> = REDIS.lines().map(str::to_owned).collect();
    let only =
        |these: &BTreeSet<String>, those| these.difference(those).cloned().collect::<Vec<_>>().join("\n");
    assert!(ours == redis, "ours\n{}\nredis\n{}", only(&ours, &redis), only(&redis, &ours));
}

fn row(command: Command) -> String {
    let columns = command.columns();
    let flags = SHOWN_FLAGS.iter().filter(|(flag, _)| command.has(*flag)).map(|(_, name)| *name);
    let keys: Vec<String> = searches(columns.keys)
        .into_iter()
        .map(|(spec, option)| {
            let [begin, find] = shown(spec, option).each_ref().map(search);
            let flags = KEY_FLAGS.iter().filter(|(flag, _)| spec.flags & flag != 0);
            let flags: Vec<String> = flags.map(|(_, name)| name.to_ascii_uppercase()).collect();
            let flags = sorted(flags.iter().map(String::as_str));
            format!("{begin} {find} {flags}")
        })
        .collect();
    let columns = [
        command.full_name(),
        columns.arity.to_string(),
        columns.since.to_owned(),
        sorted(flags),
        sorted(categories(command).iter().map(String::as_str)),
        sorted(tips(command).into_iter()),
        keys.join(", "),
    ];
    columns.join(" | ").replace("  ", " ").trim_end().to_owned()
}

fn search((kind, fields): &(&str, Vec<(&str, Shown<'_>)>)) -> String {
    let value = |(_, value): &(&str, Shown<'_>)| match value {
        Shown::Number(number) => format!(" {number}"),
        Shown::Word(word) => format!(" {word}"),
    };
    fields.iter().map(value).fold((*kind).to_owned(), |text, field| text + &field)
}

fn sorted<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut words: Vec<&str> = words.collect();
    words.sort_unstable();
    words.join(" ")
}
