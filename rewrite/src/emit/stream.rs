//! A stream as commands.
//!
//! ```text
//! XADD k 5-1 field value..                                     for each entry; for none: XADD k MAXLEN 0 0-1 x y
//! XSETID k 5-1 ENTRIESADDED 9 MAXDELETEDID 3-0
//! XGROUP CREATE k group 4-0 ENTRIESREAD 3                      for each group; -1: not known
//! XGROUP CREATECONSUMER k group consumer                       for each consumer that has nothing pending
//! XCLAIM k group consumer 0 4-0 TIME 1700000000000 RETRYCOUNT 1 JUSTID FORCE     for each pending entry
//! ```
//! An entry that is pending and was deleted is lost here, as in Redis: XCLAIM forces nothing for it.
//!
//! Source: redis 7.2 `src/aof.c` `rewriteStreamObject`.

use std::io::{self, Write};

use keyspace::types::stream::{Group, Header, Pending, Stream, StreamId};

use super::{bulk, command, element, integer};

pub(super) fn write(key: &[u8], stream: &Stream, out: &mut impl Write) -> io::Result<()> {
    for entry in stream.iter() {
        command(out, b"XADD", 2 + 2 * entry.fields.len())?;
        bulk(out, key)?;
        id(out, entry.id)?;
        for (field, value) in entry.fields {
            element(out, field)?;
            element(out, value)?;
        }
    }
    if stream.is_empty() {
        words(out, &[b"XADD", key, b"MAXLEN", b"0", b"0-1", b"x", b"y"])?;
    }
    let Header { last_id, entries_added, max_deleted_id, .. } = stream.header();
    command(out, b"XSETID", 6)?;
    bulk(out, key)?;
    id(out, last_id)?;
    bulk(out, b"ENTRIESADDED")?;
    integer(out, entries_added as i64)?;
    bulk(out, b"MAXDELETEDID")?;
    id(out, max_deleted_id)?;
    stream.groups().iter().try_for_each(|group| write_group(key, group, out))
}

fn write_group(key: &[u8], group: &Group, out: &mut impl Write) -> io::Result<()> {
    command(out, b"XGROUP", 6)?;
    for word in [b"CREATE", key, &group.name] {
        bulk(out, word)?;
    }
    id(out, group.last_id)?;
    bulk(out, b"ENTRIESREAD")?;
    integer(out, group.entries_read.map_or(-1, |read| read as i64))?;
    for consumer in group.consumers().iter() {
        if consumer.pending().is_empty() {
            words(out, &[b"XGROUP", b"CREATECONSUMER", key, &group.name, &consumer.name])?;
        }
        for pending in group.pending_of(consumer, StreamId::MIN) {
            write_pending(key, group, pending, out)?;
        }
    }
    Ok(())
}

fn write_pending(key: &[u8], group: &Group, pending: &Pending, out: &mut impl Write) -> io::Result<()> {
    command(out, b"XCLAIM", 11)?;
    for word in [key, &group.name, &pending.consumer, b"0"] {
        bulk(out, word)?;
    }
    id(out, pending.id)?;
    bulk(out, b"TIME")?;
    integer(out, pending.delivered_at_ms)?;
    bulk(out, b"RETRYCOUNT")?;
    integer(out, pending.deliveries as i64)?;
    bulk(out, b"JUSTID")?;
    bulk(out, b"FORCE")
}

/// A whole command.
fn words(out: &mut impl Write, words: &[&[u8]]) -> io::Result<()> {
    command(out, words[0], words.len() - 1)?;
    words[1..].iter().try_for_each(|word| bulk(out, word))
}

fn id(out: &mut impl Write, id: StreamId) -> io::Result<()> {
    bulk(out, id.to_string().as_bytes())
}
