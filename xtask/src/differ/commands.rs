//! COMMAND: what our table says of each command that another server has, too, field by field.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, ensure};

use super::Chance;
use crate::client::Value;
use crate::server::{Party, Server, free_port, redis_and_valkey};

/// A command's entry, in the order of COMMAND INFO.
const FIELDS: &[&str] =
    &["name", "arity", "flags", "first key", "last key", "step", "categories", "tips", "keys", "subcommands"];

/// What differs and may: who else, the command, the field. `*` is any.
#[rustfmt::skip]
const MEANT: &[(&str, &str, &str)] = &[
    // 7.2 changed these.
    ("redis", "blmove", "flags"),
    ("redis", "blpop", "flags"),
    ("redis", "brpop", "flags"),
    ("redis", "brpoplpush", "flags"),
    ("redis", "bzpopmax", "flags"),
    ("redis", "bzpopmin", "flags"),
    ("redis", "client|setname", "tips"),
    ("redis", "cluster|shards", "flags"),
    ("redis", "cluster|slots", "flags"),
    ("redis", "command|getkeys", "arity"),
    ("redis", "command|getkeysandflags", "arity"),
    ("redis", "config|resetstat", "tips"),
    ("redis", "config|rewrite", "tips"),
    ("redis", "latency|reset", "tips"),
    ("redis", "msetnx", "tips"),
    ("redis", "randomkey", "tips"),
    ("redis", "scan", "tips"),
    ("redis", "wait", "flags"),
    ("redis", "zrank", "arity"),
    ("redis", "zrevrank", "arity"),
    // Valkey has gone on from 7.2.
    ("valkey", "*", "flags"),
    ("valkey", "*", "categories"),
    ("valkey", "*", "tips"),
    ("valkey", "cluster|replicate", "arity"),
    ("valkey", "georadius", "keys"),
    ("valkey", "georadiusbymember", "keys"),
    ("valkey", "sinterstore", "keys"),
];

/// Names what differs and is not meant to.
pub(super) fn compare(ours: &Path, dir: &Path, _: &mut Chance) -> Result<()> {
    let ours = table("ours", ours, dir)?;
    let mut unmeant = Vec::new();
    for Party { name, program } in redis_and_valkey()? {
        let theirs = table(name, &program, dir)?;
        let mut compared = 0;
        for (command, own) in &ours {
            let Some(other) = theirs.get(command) else { continue };
            compared += 1;
            for ((field, own), other) in FIELDS.iter().zip(own).zip(other) {
                let is_meant = |row: &(&str, &str, &str)| {
                    [row.0, row.1, row.2]
                        .iter()
                        .zip([name, command, field])
                        .all(|(row, it)| *row == "*" || *row == it)
                };
                if own != other && !MEANT.iter().any(is_meant) {
                    unmeant.push(format!("{command}, {field}: ours {}, {name} {}", shown(own), shown(other)));
                }
            }
        }
        println!("commands: {compared} compared with {name}");
    }
    ensure!(unmeant.is_empty(), "{} differences:\n  {}", unmeant.len(), unmeant.join("\n  "));
    Ok(())
}

/// What a server says of its commands and their subcommands, by full name.
fn table(name: &str, program: &Path, dir: &Path) -> Result<BTreeMap<String, Vec<Value>>> {
    let server = Server::start(program, &dir.join(format!("commands-{name}")), free_port(), &[])?;
    let mut commands = server.connect()?.call(&["COMMAND"])?.into_array();
    let mut table = BTreeMap::new();
    while let Some(command) = commands.pop() {
        let mut fields = command.into_array();
        ensure!(fields.len() == FIELDS.len(), "an entry of {} fields", fields.len());
        commands.extend(fields.pop().map(Value::into_array).unwrap_or_default());
        let name = fields[0].text();
        table.insert(name, fields.into_iter().enumerate().map(comparable).collect());
    }
    Ok(table)
}

/// Sets have no order, and notes are for people.
fn comparable((field, value): (usize, Value)) -> Value {
    match (FIELDS[field], value) {
        ("flags" | "categories" | "tips", Value::Array(mut values)) => {
            values.sort();
            Value::Array(values)
        }
        ("keys", Value::Array(specs)) => Value::Array(specs.into_iter().map(without_notes).collect()),
        (_, value) => value,
    }
}

fn without_notes(spec: Value) -> Value {
    let fields = spec.into_array();
    let kept = fields.as_chunks::<2>().0.iter().filter(|[name, _]| name.text() != "notes");
    Value::Array(kept.flatten().cloned().collect())
}

fn shown(value: &Value) -> String {
    match value {
        Value::Array(values) => format!("[{}]", values.iter().map(shown).collect::<Vec<_>>().join(" ")),
        other => other.text(),
    }
}
