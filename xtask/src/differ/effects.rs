//! What the servers' logs say of the same requests: the same effects in the same order and in the same transactions,
//! and nothing of what changed nothing.
//!
//! A time of now may differ by what passed between the two. 7.0 names a database before MULTI, not behind it; Valkey
//! writes ZADD for GEOADD, where Redis has `zadd`, and counts on what a group has read where Redis no longer knows it.
//! Both write the IDs of XCLAIM as the client did, and we whole. Lines of comment are each server's own.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::client::{self, Value};

/// A command and its database; MULTI and EXEC have none.
type Effect = (Vec<u8>, Vec<Vec<u8>>);

/// Compares the logs of two servers that have just ended; returns how many effects there are.
pub(super) fn compare(ours: &Path, theirs: &Path) -> Result<usize> {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    let [ours, theirs] = [ours, theirs].map(|dir| {
        let log = dir.join("appendonlydir/appendonly.aof.1.incr.aof");
        fs::read(&log)
            .map_err(anyhow::Error::from)
            .and_then(|bytes| effects(&bytes))
            .with_context(|| format!("{log:?}"))
    });
    let (ours, theirs) = (ours?, theirs?);
    let same = ours.iter().zip(&theirs).take_while(|(ours, theirs)| is_same(ours, theirs, now_ms)).count();
    if same == ours.len() && same == theirs.len() {
        return Ok(same);
    }
    let shown = |effects: &[Effect]| {
        let near = effects.iter().take(same + 3).skip(same.saturating_sub(3));
        near.map(|(db, words)| format!("    {} {}", db.escape_ascii(), words.join(&b' ').escape_ascii()))
            .collect::<Vec<_>>()
            .join("\n")
    };
    bail!("effect {same}\n  ours\n{}\n  theirs\n{}", shown(&ours), shown(&theirs))
}

/// The commands of a log.
fn effects(log: &[u8]) -> Result<Vec<Effect>> {
    let (mut rest, mut db, mut effects) = (log, Vec::new(), Vec::new());
    while let Some(&first) = rest.first() {
        if first == b'#' {
            let end = rest.iter().position(|byte| *byte == b'\n').context("a comment without its end")?;
            rest = &rest[end + 1..];
            continue;
        }
        let words = client::read(&mut rest)?.into_array().into_iter().map(|word| match word {
            Value::Bytes(word) => Ok(word),
            other => bail!("{other:?} in a command"),
        });
        let words: Vec<Vec<u8>> = words.collect::<Result<_>>()?;
        match &words[..] {
            [name, number] if name == b"SELECT" => db.clone_from(number),
            [name] if name == b"MULTI" || name == b"EXEC" => effects.push((Vec::new(), words)),
            _ => effects.push((db.clone(), words)),
        }
    }
    Ok(effects)
}

fn is_same((our_db, ours): &Effect, (their_db, theirs): &Effect, now_ms: u64) -> bool {
    let name = ours.first().map(|name| name.to_ascii_uppercase()).unwrap_or_default();
    let is_same_word = |(at, (ours, theirs)): (usize, (&Vec<u8>, &Vec<u8>))| match (at, &name[..]) {
        _ if ours == theirs => true,
        (0, b"ZADD") => ours.eq_ignore_ascii_case(theirs),
        (_, b"XCLAIM") if ours.strip_suffix(b"-0") == Some(theirs) => true,
        (6, b"XGROUP") => true,
        _ => [ours, theirs].iter().all(|word| is_near(word, now_ms)),
    };
    our_db == their_db && ours.len() == theirs.len() && ours.iter().zip(theirs).enumerate().all(is_same_word)
}

/// Whether a word is a time of the last minutes, in milliseconds.
fn is_near(word: &[u8], now_ms: u64) -> bool {
    const MINUTES_MS: u64 = 10 * 60 * 1000;
    let number: Option<u64> = std::str::from_utf8(word).ok().and_then(|text| text.parse().ok());
    number.is_some_and(|ms| now_ms.abs_diff(ms) < MINUTES_MS)
}

#[cfg(test)]
mod tests {
    use super::{Effect, effects, is_same};
    use crate::client;

    fn effect(db: &str, line: &str) -> Effect {
        (db.into(), line.split(' ').map(Vec::from).collect())
    }

    #[test]
    fn only_what_is_each_servers_own_may_differ() {
        const NOW_MS: u64 = 1_700_000_000_000;
        let table = [
            (true, "SET k v PXAT 1700000000007", "SET k v PXAT 1700000000001"),
            (false, "SET k v PXAT 4102444800000", "SET k v PXAT 4102444800001"),
            (false, "SET k 9223372036854775807", "SET k 9223372036854775806"),
            (false, "SET k v", "SET k w"),
            (false, "SET k v", "set k v"),
            (false, "DEL k", "DEL k k"),
            (true, "zadd k 1 m", "ZADD k 1 m"),
            (true, "XCLAIM k g c 0 7-0 JUSTID", "XCLAIM k g c 0 7 JUSTID"),
            (false, "XDEL k 7-0", "XDEL k 7"),
            (true, "XGROUP SETID k g 1-0 ENTRIESREAD 7", "XGROUP SETID k g 1-0 ENTRIESREAD 9"),
            (false, "XGROUP SETID k g 1-0 ENTRIESREAD 7", "XGROUP SETID k g 2-0 ENTRIESREAD 7"),
        ];
        for (same, ours, theirs) in table {
            assert_eq!(is_same(&effect("0", ours), &effect("0", theirs), NOW_MS), same, "{ours}, {theirs}");
        }
        assert!(!is_same(&effect("0", "FLUSHDB"), &effect("1", "FLUSHDB"), NOW_MS));
    }

    #[test]
    fn a_log_says_in_which_database_a_command_was_executed() {
        let lines = ["SELECT 3", "SET k $", "MULTI", "SELECT 1", "FLUSHDB", "EXEC"];
        let mut log = b"#TS:1700000000\r\n".to_vec();
        lines.iter().for_each(|line| client::encode(&line.split(' ').collect::<Vec<_>>(), &mut log));
        let expected =
            [effect("3", "SET k $"), effect("", "MULTI"), effect("1", "FLUSHDB"), effect("", "EXEC")];
        assert_eq!(effects(&log).unwrap(), expected);
        assert!(effects(&log[..log.len() - 1]).is_err());
    }
}
