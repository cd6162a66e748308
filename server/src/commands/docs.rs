//! COMMAND DOCS: what is said of a command to people, and to the programs that help them to write it.

mod syntax;
mod table;
#[cfg(test)]
mod tests;

use keyspace::CommandError;
use resp::Encoder;

use self::syntax::Argument;
use self::table::{DEPRECATED, HISTORY, SYNTAX, SYSTEM};
use super::Command;
use super::connection::reply;
use super::introspection::{named, write_names};
use crate::client::ClientId;
use crate::executor::Server;

/// The command.
pub(super) fn docs(server: &mut Server, id: ClientId, argv: &[&[u8]]) -> Result<(), CommandError> {
    let commands: Vec<Command> = named(server, &argv[2..]).into_iter().flatten().collect();
    reply(server, id, |reply| write_commands(reply, &commands));
    Ok(())
}

/// Whether one of a row's names is this.
pub(super) fn are_named(names: &str, name: &str) -> bool {
    names.split(' ').any(|each| each == name)
}

/// What stands behind a field's name.
enum Field<'a> {
    Text(&'a str),
    Number(u16),
    Flags(&'a [&'a str]),
    History(&'a [(&'a str, String)]),
    Arguments(&'a [Argument<'a>]),
    Commands(&'a [Command]),
}

use Field::{Arguments, Commands, Flags, History, Number, Text};

/// A list that is left out if it is empty.
fn list<'a, T>(items: &'a [T], field: fn(&'a [T]) -> Field<'a>) -> Option<Field<'a>> {
    (!items.is_empty()).then(|| field(items))
}

fn write_commands(reply: &mut Encoder<'_>, commands: &[Command]) {
    reply.map(commands.len());
    for command in commands {
        write_command(reply, *command);
    }
}

fn write_command(reply: &mut Encoder<'_>, command: Command) {
    let (columns, name) = (command.columns(), command.full_name());
    let subcommands: Vec<Command> = command.subcommands().collect();
    let row = SYNTAX.iter().find(|row| are_named(row.0, &name));
    let arguments = row.and_then(|row| syntax::parse(row.1)).unwrap_or_default();
    let complexity = row.map(|row| row.2).filter(|text| !text.is_empty());
    let deprecated = DEPRECATED.iter().find(|row| are_named(row.0, &name));
    let history = history(&name, &arguments);
    let flags = set([(deprecated.is_some(), "deprecated"), (are_named(SYSTEM, &name), "syscmd")]);
    let fields = [
        ("summary", Some(Text(columns.summary))),
        ("since", Some(Text(columns.since))),
        ("group", Some(Text(command.group()))),
        ("complexity", complexity.map(Text)),
        ("doc_flags", list(&flags, Flags)),
        ("deprecated_since", deprecated.map(|row| Text(row.1))),
        ("replaced_by", deprecated.map(|row| Text(row.2))),
        ("history", list(&history, History)),
        ("arguments", list(&arguments, Arguments)),
        ("subcommands", list(&subcommands, Commands)),
    ];
    reply.bulk(name.as_bytes());
    write_fields(reply, fields);
}

fn write_argument(reply: &mut Encoder<'_>, argument: &Argument<'_>) {
    let flags = set([
        (argument.is_optional, "optional"),
        (argument.is_multiple, "multiple"),
        (argument.repeats_token, "multiple_token"),
    ]);
    let fields = [
        ("name", Some(Text(&argument.name))),
        ("type", Some(Text(argument.kind))),
        ("key_spec_index", argument.key_spec.map(Number)),
        ("token", argument.token.map(Text)),
        ("since", argument.since.map(Text)),
        ("deprecated_since", argument.deprecated_since.map(Text)),
        ("flags", list(&flags, Flags)),
        ("arguments", list(&argument.arguments, Arguments)),
    ];
    write_fields(reply, fields);
}

/// The flags that are set.
fn set<const N: usize>(flags: [(bool, &str); N]) -> Vec<&str> {
    flags.into_iter().filter(|flag| flag.0).map(|flag| flag.1).collect()
}

fn write_fields<const N: usize>(reply: &mut Encoder<'_>, fields: [(&str, Option<Field<'_>>); N]) {
    reply.map(fields.iter().filter(|field| field.1.is_some()).count());
    for (name, field) in fields.into_iter().filter_map(|(name, field)| Some((name, field?))) {
        reply.bulk(name.as_bytes());
        write_field(reply, field);
    }
}

fn write_field(reply: &mut Encoder<'_>, field: Field<'_>) {
    match field {
        Text(text) => reply.bulk(text.as_bytes()),
        Number(number) => reply.integer(i64::from(number)),
        Flags(names) => write_names(reply, names),
        History(entries) => {
            reply.set(entries.len());
            for (version, what) in entries {
                reply.array(2);
                reply.bulk(version.as_bytes());
                reply.bulk(what.as_bytes());
            }
        }
        Arguments(arguments) => {
            reply.array(arguments.len());
            arguments.iter().for_each(|argument| write_argument(reply, argument));
        }
        Commands(commands) => write_commands(reply, commands),
    }
}

/// What became of a command, by version: the arguments that the syntax says were added, and what [`HISTORY`] tells.
fn history<'a>(name: &str, arguments: &[Argument<'a>]) -> Vec<(&'a str, String)> {
    let mut added = Vec::new();
    arguments.iter().for_each(|argument| find_added(argument, &mut added));
    added.sort_by_key(|entry| version(entry.0));
    let added = added.chunk_by(|one, next| one.0 == next.0).map(|same| {
        let words: Vec<String> = same.iter().map(|entry| format!("`{}`", entry.1)).collect();
        (same[0].0, format!("Added {}.", words.join(", ")))
    });
    let told = HISTORY.iter().filter(|row| are_named(row.0, name)).map(|row| (row.1, row.2.to_owned()));
    let mut history: Vec<_> = added.chain(told).collect();
    history.sort_by_key(|entry| version(entry.0));
    history
}

fn version(text: &str) -> Vec<u32> {
    text.split('.').map(|number| number.parse().unwrap_or(0)).collect()
}

/// Finds the words that came in a version, each with it.
fn find_added<'s, 'a>(argument: &'s Argument<'a>, added: &mut Vec<(&'a str, &'s str)>) {
    if let Some(since) = argument.since {
        added.extend(words(argument).into_iter().map(|word| (since, word)));
    }
    argument.arguments.iter().for_each(|argument| find_added(argument, added));
}

/// What one types for it, or else its name.
fn words<'s>(argument: &'s Argument<'_>) -> Vec<&'s str> {
    match (argument.token, &argument.arguments[..]) {
        (Some(token), _) => vec![token],
        (None, []) => vec![&argument.name],
        (None, arguments) => arguments.iter().flat_map(words).collect(),
    }
}
