//! A stream as commands.
//!
//! ```text
//! XADD k 5-1 field value..                                     for each entry; for none: XADD k MAXLEN 0 0-1 x y
//! XSETID k 5-1 ENTRIESADDED 9 MAXDELETEDID 3-0
//! XGROUP CREATE k group 4-0 ENTRIESREAD 3                      for each group; -1: not known
//! XGROUP CREATECONSUMER k group consumer                       for each consumer that has nothing pending
//! XCLAIM k group consumer 0 4-0 TIME 1700000000000 RETRYCOUNT 1 JUSTID FORCE     for each pending entry
//! ```
//! XCLAIM makes nothing pending that is not in the stream. So entries that are pending and were deleted come back, first
//! and for as long as it takes, and XTRIM takes them, which leaves no trace. Redis loses them.
//!
//! ```text
//! XADD k 3-0 x y                                               for each such entry
//! XGROUP CREATE k group 4-0 ENTRIESREAD 3                      for each group
//! XCLAIM k group consumer 0 3-0 TIME 1700000000000 RETRYCOUNT 1 JUSTID FORCE     for each such entry of its
//! XTRIM k MAXLEN 0
//! XSETID k 0-0                                                 what follows is as above, but for XGROUP CREATE:
//! XGROUP SETID k group 4-0 ENTRIESREAD 3                       for each group, behind the header
//! ```
//! The number read is said again, since newer servers make it no greater than the number of entries that were added, and
//! at XGROUP CREATE this is the number of those that come back.
//!
//! Source: redis 7.2 `src/aof.c` `rewriteStreamObject`.

use std::collections::BTreeSet;
use std::io::{self, Write};

use keyspace::types::stream::{Entry, Group, Header, Pending, Stream, StreamId};

use super::{bulk, command, element, integer};

pub(super) fn write(key: &[u8], stream: &Stream, out: &mut impl Write) -> io::Result<()> {
    let ghosts = ghosts(stream);
    if ghosts.is_empty() { write_plain(key, stream, out) } else { write_haunted(key, stream, &ghosts, out) }
}

fn write_plain(key: &[u8], stream: &Stream, out: &mut impl Write) -> io::Result<()> {
    if stream.is_empty() {
        words(out, &[b"XADD", key, b"MAXLEN", b"0", b"0-1", b"x", b"y"])?;
    }
    write_entries(key, stream, out)?;
    stream.groups().iter().try_for_each(|group| {
        write_group(b"CREATE", key, group, out)?;
        write_consumers(key, group, &Ghosts::new(), out)
    })
}

fn write_haunted(key: &[u8], stream: &Stream, ghosts: &Ghosts, out: &mut impl Write) -> io::Result<()> {
    write_ghosts(key, stream, ghosts, out)?;
    write_entries(key, stream, out)?;
    stream.groups().iter().try_for_each(|group| {
        write_group(b"SETID", key, group, out)?;
        write_consumers(key, group, ghosts, out)
    })
}

type Ghosts = BTreeSet<StreamId>;

/// Entries that are pending in some group and no longer in the stream.
fn ghosts(stream: &Stream) -> Ghosts {
    let pending = stream.groups().iter().flat_map(|group| group.pending().iter());
    pending.map(|pending| pending.id).filter(|&id| stream.get(id).is_none()).collect()
}

/// The groups with their ghosts, in an empty stream without any trace of these.
fn write_ghosts(key: &[u8], stream: &Stream, ghosts: &Ghosts, out: &mut impl Write) -> io::Result<()> {
    for ghost in ghosts {
        words(out, &[b"XADD", key, ghost.to_string().as_bytes(), b"x", b"y"])?;
    }
    for group in stream.groups().iter() {
        write_group(b"CREATE", key, group, out)?;
        let mut pending = group.pending().iter().filter(|pending| ghosts.contains(&pending.id));
        pending.try_for_each(|pending| write_pending(key, group, pending, out))?;
    }
    words(out, &[b"XTRIM", key, b"MAXLEN", b"0"])?;
    words(out, &[b"XSETID", key, b"0-0"])
}

/// The entries and the header.
fn write_entries(key: &[u8], stream: &Stream, out: &mut impl Write) -> io::Result<()> {
    stream.iter().try_for_each(|entry| write_entry(key, entry, out))?;
    write_header(key, stream.header(), out)
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

fn write_header(key: &[u8], header: Header, out: &mut impl Write) -> io::Result<()> {
    command(out, b"XSETID", 6)?;
    bulk(out, key)?;
    id(out, header.last_id)?;
    bulk(out, b"ENTRIESADDED")?;
    integer(out, header.entries_added as i64)?;
    bulk(out, b"MAXDELETEDID")?;
    id(out, header.max_deleted_id)
}

/// XGROUP CREATE or SETID.
fn write_group(verb: &[u8], key: &[u8], group: &Group, out: &mut impl Write) -> io::Result<()> {
    command(out, b"XGROUP", 6)?;
    for word in [verb, key, &group.name] {
        bulk(out, word)?;
    }
    id(out, group.last_id)?;
    bulk(out, b"ENTRIESREAD")?;
    integer(out, group.entries_read.map_or(-1, |read| read as i64))
}

/// The consumers and what they have pending, but for the ghosts.
fn write_consumers(key: &[u8], group: &Group, ghosts: &Ghosts, out: &mut impl Write) -> io::Result<()> {
    for consumer in group.consumers().iter() {
        if consumer.pending().is_empty() {
            words(out, &[b"XGROUP", b"CREATECONSUMER", key, &group.name, &consumer.name])?;
        }
        let pending = group.pending_of(consumer, StreamId::MIN);
        let mut pending = pending.filter(|pending| !ghosts.contains(&pending.id));
        pending.try_for_each(|pending| write_pending(key, group, pending, out))?;
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
