//! What the servers' logs say of the same requests: the same effects in the same order and in the same transactions, and
//! nothing of what changed nothing.
//!
//! Times may differ by what passed between the two. 7.0 names a database before MULTI, not behind it; Valkey writes ZADD
//! for GEOADD, where Redis has `zadd`, and counts on what a group has read where Redis no longer knows it. Both write the
//! IDs of XCLAIM as the client did, and we whole. Lines of comment are each server's own.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::copy_reply;

/// So many digits are a time in milliseconds, or more.
const TIME_DIGITS: usize = 12;

/// Compares the logs of two servers that have ended; returns how many effects there are.
pub(super) fn compare(ours: &Path, theirs: &Path) -> Result<usize> {
    let [ours, theirs] =
        [ours, theirs].map(|dir| effects(&dir.join("appendonlydir/appendonly.aof.1.incr.aof")));
    let (ours, theirs) = (ours?, theirs?);
    let is_same =
        |(ours, theirs): &(&Effect, &Effect)| ours.0 == theirs.0 && compared(&ours.1) == compared(&theirs.1);
    let same = ours.iter().zip(&theirs).take_while(is_same).count();
    if same == ours.len() && same == theirs.len() {
        return Ok(same);
    }
    let shown = |effects: &[Effect]| {
        let near = effects.iter().take(same + 3).skip(same.saturating_sub(3));
        near.map(|(db, command)| format!("    {} {}", db.escape_ascii(), command.escape_ascii()))
            .collect::<Vec<_>>()
            .join("\n")
    };
    bail!("effect {same}\n  ours\n{}\n  theirs\n{}", shown(&ours), shown(&theirs))
}

/// A command, behind the SELECT that leads to its database.
type Effect = (Vec<u8>, Vec<u8>);

/// The commands of a log.
fn effects(log: &Path) -> Result<Vec<Effect>> {
    let bytes = fs::read(log).with_context(|| format!("{}", log.display()))?;
    let (mut rest, mut db, mut effects) = (&bytes[..], Vec::new(), Vec::new());
    while !rest.is_empty() {
        let mut line = Vec::new();
        copy_reply(&mut rest, &mut line).with_context(|| format!("{}", log.display()))?;
        match &line[..] {
            [b'#', ..] => {}
            [b'*', b'2', b'\r', b'\n', b'$', b'6', b'\r', b'\n', b'S', b'E', b'L', ..] => db = line,
            [b'*', b'1', b'\r', ..] => effects.push((Vec::new(), line)),
            _ => effects.push((db.clone(), line)),
        }
    }
    Ok(effects)
}

/// A command's words, as far as they must agree.
fn compared(command: &[u8]) -> Vec<Vec<u8>> {
    const NAME: usize = 1;
    let lines = command.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"$"));
    let mut words: Vec<Vec<u8>> = lines.map(|line| line.trim_ascii().to_vec()).collect();
    if let Some(name) = words.get_mut(NAME) {
        name.make_ascii_uppercase();
    }
    let is_number = |word: &[u8]| word.iter().all(u8::is_ascii_digit);
    for word in &mut words {
        if word.len() >= TIME_DIGITS && is_number(word) {
            word.clear();
        } else if let Some(ms) = word.strip_suffix(b"-0").filter(|ms| is_number(ms)) {
            *word = ms.to_vec();
        }
    }
    if let Some(count) = words.iter().position(|word| word == b"ENTRIESREAD") {
        words.truncate(count);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::compared;

    #[test]
    fn only_times_may_differ() {
        let effect = |value: &str, at: &str| format!("*3\r\n$3\r\nSET\r\n{value}\r\n$13\r\n{at}\r\n");
        let of = |value, at| effect(value, at);
        let (one, later, other) =
            (of("v", "1700000000000"), of("v", "1700000000001"), of("w", "1700000000000"));
        assert_eq!(compared(one.as_bytes()), compared(later.as_bytes()));
        assert_ne!(compared(one.as_bytes()), compared(other.as_bytes()));
        assert_ne!(compared(of("1", "1").as_bytes()), compared(of("2", "1").as_bytes()));
    }
}
