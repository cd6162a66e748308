//! A stream as commands.
//!
//! ```text
//! XADD k 5-1 field value..                                     for each entry; for none: XADD k MAXLEN 0 0-1 x y
//! XSETID k 5-1 ENTRIESADDED 9 MAXDELETEDID 3-0
//! XGROUP CREATE k group 4-0 ENTRIESREAD 3                      for each group; -1: not known
//! XGROUP CREATECONSUMER k group consumer                       for each consumer that has nothing pending
//! XCLAIM k group consumer 0 4-0 TIME 1700000000000 RETRYCOUNT 1 JUSTID FORCE     for each pending entry
//! ```
//! XCLAIM makes nothing pending that is not in the stream. So entries that are pending and were deleted come back for
//! as long as it takes, and leave as they left: by XTRIM in front of the first entry, by XDEL behind it. Then XSETID
//! comes last. Redis loses them.
//!
//! Source: redis 7.2 `src/aof.c` `rewriteStreamObject`.

use std::collections::BTreeSet;
use std::io::{self, Write};

use keyspace::types::stream::{Entry, Group, Header, Pending, Stream, StreamId};

use super::{bulk, command, element, integer};

pub(super) fn write(key: &[u8], stream: &Stream, out: &mut impl Write) -> io::Result<()> {
    let ghosts = ghosts(stream);
    write_entries(key, stream, &ghosts, out)?;
    if ghosts.is_empty() {
        write_header(key, stream.header(), out)?;
    }
    stream.groups().iter().try_for_each(|group| write_group(key, group, out))?;
    if !ghosts.is_empty() {
        banish(key, stream, &ghosts, out)?;
        write_header(key, stream.header(), out)?;
    }
    Ok(())
}

/// Entries that are pending in some group and no longer in the stream.
fn ghosts(stream: &Stream) -> BTreeSet<StreamId> {
    let pending = stream.groups().iter().flat_map(|group| group.pending().iter());
    pending.map(|pending| pending.id).filter(|&id| stream.get(id).is_none()).collect()
}

/// The entries, and the ghosts in their places.
fn write_entries(
    key: &[u8],
    stream: &Stream,
    ghosts: &BTreeSet<StreamId>,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut ghosts = ghosts.iter().copied().peekable();
    if stream.is_empty() && ghosts.peek().is_none() {
        return words(out, &[b"XADD", key, b"MAXLEN", b"0", b"0-1", b"x", b"y"]);
    }
    for entry in stream.iter() {
        while let Some(ghost) = ghosts.next_if(|ghost| *ghost < entry.id) {
            write_ghost(key, ghost, out)?;
        }
        write_entry(key, entry, out)?;
    }
    ghosts.try_for_each(|ghost| write_ghost(key, ghost, out))
}

fn write_entry(key: &[u8], entry: Entry<'_>, out: &mut impl Write) -> io::Result<()> {
    command(out, b"XADD", 2 + 2 * entry.fields.len())?;
    bulk(out, key)?;
    id(out, entry.id)?;
    for (field, value) in entry.fields {
        element(out, field)?;
        element(out, value)?;
    }
    Ok(())
}

fn write_ghost(key: &[u8], ghost: StreamId, out: &mut impl Write) -> io::Result<()> {
    words(out, &[b"XADD", key, ghost.to_string().as_bytes(), b"x", b"y"])
}

/// Removes the ghosts. XDEL raises the greatest deleted ID, which cannot be lowered to none: what was trimmed is
/// trimmed again, and behind the first entry nothing can have been.
fn banish(key: &[u8], stream: &Stream, ghosts: &BTreeSet<StreamId>, out: &mut impl Write) -> io::Result<()> {
    if stream.is_empty() {
        return words(out, &[b"XTRIM", key, b"MAXLEN", b"0"]);
    }
    let first_id = stream.header().first_id;
    if ghosts.first().is_some_and(|ghost| *ghost < first_id) {
        words(out, &[b"XTRIM", key, b"MINID", first_id.to_string().as_bytes()])?;
    }
    let mut deleted = ghosts.range(first_id..);
    deleted.try_for_each(|ghost| words(out, &[b"XDEL", key, ghost.to_string().as_bytes()]))
}

fn write_header(key: &[u8], header: Header, out: &mut impl Write) -> io::Result<()> {
    command(out, b"XSETID", 6)?;
    bulk(out, key)?;
    id(out, header.last_id)?;
    bulk(out, b"ENTRIESADDED")?;
    integer(out, header.entries_added as i64)?;
    bulk(out, b"MAXDELETEDID")?;
    id(out, header.max_deleted_id)
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
