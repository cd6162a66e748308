//! Streams: their nodes and pending entries as Redis stores them.
//!
//! ```text
//! stream    nodes, and for each its master's ID (16 bytes in a string) and its listpack
//!           | length | last ID | first ID, greatest deleted ID, entries added (2, 3) | groups
//! group     name | last ID | entries read, 2^64 - 1 if not known (2, 3)
//!           | pending entries, each 16 bytes of ID, delivery time, deliveries
//!           | consumers
//! consumer  name | time when seen | time when active, -1 if never (3) | pending entries, each 16 bytes of ID
//!
//! ID        milliseconds and sequence, in the form of lengths; in 16 bytes u64 BE both
//! time      milliseconds since 1970, i64 LE
//! ```
//! In brackets are the layouts that have it: 1 is Redis 5.0's, 2 is 7.0's and what is written, 3 is 7.2's.
//! Source: redis 7.2 `src/rdb.c` `rdbSaveStreamPEL`, `rdbSaveStreamConsumers`.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

use super::error::ErrorKind;
use super::source::Source;
use super::write::Writer;
use crate::types::listpack::Listpack;
use crate::types::stream::{COUNT_MAX, Consumer, Group, Header, Node, Stream, StreamId};

type Result<T> = std::result::Result<T, ErrorKind>;

/// What is stored of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Layout {
    /// Redis 5.0's.
    First,
    /// With what counts deleted entries.
    Second,
    /// With the times when consumers were active.
    Third,
}

/// Writes a stream in the second layout.
pub(super) fn write(writer: &mut Writer, stream: &Stream, out: &mut impl Write) -> io::Result<()> {
    writer.count(stream.nodes().len() as u64);
    for node in stream.nodes().iter() {
        writer.string(&raw_id(node.master()), out)?;
        writer.string(node.pack().as_bytes(), out)?;
    }
    let Header { len, first_id, last_id, max_deleted_id, entries_added } = stream.header();
    writer.count(len);
    [last_id, first_id, max_deleted_id].into_iter().for_each(|id| write_id(writer, id));
    writer.count(entries_added);
    writer.count(stream.groups().len() as u64);
    stream.groups().iter().try_for_each(|group| write_group(writer, group, out))
}

fn write_group(writer: &mut Writer, group: &Group, out: &mut impl Write) -> io::Result<()> {
    writer.string(&group.name, out)?;
    write_id(writer, group.last_id);
    writer.count(group.entries_read.unwrap_or(u64::MAX));
    writer.count(group.pending().len() as u64);
    for pending in group.pending().iter() {
        writer.raw(&raw_id(pending.id), out)?;
        writer.raw(&pending.delivered_at_ms.to_le_bytes(), out)?;
        writer.count(pending.deliveries);
    }
    writer.count(group.consumers().len() as u64);
    group.consumers().iter().try_for_each(|consumer| write_consumer(writer, consumer, out))
}

fn write_consumer(writer: &mut Writer, consumer: &Consumer, out: &mut impl Write) -> io::Result<()> {
    writer.string(&consumer.name, out)?;
    writer.raw(&consumer.seen_at_ms.to_le_bytes(), out)?;
    writer.count(consumer.pending().len() as u64);
    consumer.pending().iter().try_for_each(|&id| writer.raw(&raw_id(id), out))
}

fn write_id(writer: &mut Writer, id: StreamId) {
    writer.count(id.ms);
    writer.count(id.seq);
}

fn raw_id(id: StreamId) -> [u8; 16] {
    (u128::from(id.ms) << 64 | u128::from(id.seq)).to_be_bytes()
}

/// Reads a stream. Its length and its first entry are those of its nodes, whatever stands there, and counts and IDs that
/// no command takes, so that no log could hold them, become the nearest that one does.
pub(super) fn read<R: BufRead>(layout: Layout, source: &mut Source<R>) -> Result<Stream> {
    let nodes = read_nodes(source)?;
    let mut header = read_header(layout, source)?;
    // The groups of the first layout are judged by the entries that are there.
    if layout == Layout::First {
        header = Stream::from_parts(header, nodes.clone(), Vec::new()).ok_or(DAMAGED)?.header();
    }
    let mut groups = Vec::new();
    for _ in 0..source.count()? {
        groups.push(read_group(layout, header, source)?);
    }
    Stream::from_parts(header, nodes, groups).ok_or(DAMAGED)
}

const DAMAGED: ErrorKind = ErrorKind::Blob("Stream");
const DAMAGED_NODE: ErrorKind = ErrorKind::Blob("Stream listpack");

fn read_nodes<R: BufRead>(source: &mut Source<R>) -> Result<Vec<Node>> {
    let (mut nodes, mut string) = (Vec::new(), Vec::new());
    for _ in 0..source.count()? {
        source.string(&mut string)?;
        let master = <[u8; 16]>::try_from(&string[..]).map_err(|_| ErrorKind::Blob("Stream node ID"))?;
        source.string(&mut string)?;
        let pack = Listpack::from_bytes(&string).ok_or(DAMAGED_NODE)?;
        let node = Node::from_parts(id_of(master), pack).ok_or(DAMAGED_NODE)?;
        nodes.push(node);
    }
    Ok(nodes)
}

fn read_header<R: BufRead>(layout: Layout, source: &mut Source<R>) -> Result<Header> {
    let mut header = Header { len: source.count()?, last_id: read_id(source)?, ..Header::default() };
    if layout >= Layout::Second {
        header.first_id = read_id(source)?;
        header.max_deleted_id = read_id(source)?;
        header.entries_added = source.count()?;
    }
    Ok(header)
}

fn read_group<R: BufRead>(layout: Layout, header: Header, source: &mut Source<R>) -> Result<Group> {
    let mut name = Vec::new();
    source.string(&mut name)?;
    let last_id = read_id(source)?;
    let entries_read = match layout {
        Layout::First => header.entries_up_to(last_id),
        Layout::Second | Layout::Third => i64::try_from(source.count()?).ok().map(i64::cast_unsigned),
    };
    let mut group = Group::new(&name, last_id, entries_read);
    let mut pending = read_pending(source)?;
    for _ in 0..source.count()? {
        read_consumer(layout, &mut group, &mut pending, source)?;
    }
    if pending.is_empty() { Ok(group) } else { Err(ErrorKind::Pending("NACK entry without consumer")) }
}

/// When an entry was delivered, milliseconds since 1970, and how often.
type Deliveries = BTreeMap<StreamId, (i64, u64)>;

fn read_pending<R: BufRead>(source: &mut Source<R>) -> Result<Deliveries> {
    let mut pending = Deliveries::new();
    for _ in 0..source.count()? {
        let id = id_of(source.array()?);
        let delivery = (i64::from_le_bytes(source.array()?), source.count()?.min(COUNT_MAX));
        if pending.insert(id, delivery).is_some() {
            return Err(ErrorKind::Duplicate("pending entry"));
        }
    }
    Ok(pending)
}

/// Reads a consumer; what it has leaves the group's `pending` entries.
fn read_consumer<R: BufRead>(
    layout: Layout,
    group: &mut Group,
    pending: &mut Deliveries,
    source: &mut Source<R>,
) -> Result<()> {
    let mut name = Vec::new();
    source.string(&mut name)?;
    let seen_at_ms = i64::from_le_bytes(source.array()?);
    // Unless it is told, it was active when it was seen.
    let active_at_ms = match layout {
        Layout::First | Layout::Second => seen_at_ms,
        Layout::Third => i64::from_le_bytes(source.array()?),
    };
    if !group.create_consumer(&name, seen_at_ms) {
        return Err(ErrorKind::Duplicate("stream consumer"));
    }
    if active_at_ms >= 0 {
        group.touch_consumer(&name, active_at_ms, true);
        group.touch_consumer(&name, seen_at_ms, false);
    }
    for _ in 0..source.count()? {
        let id = id_of(source.array()?);
        let (delivered_at_ms, deliveries) = pending.remove(&id).ok_or_else(|| missing(group, id))?;
        // No entry has that ID: nothing could make it pending again.
        if id != StreamId::MIN {
            group.assign(id, &name, delivered_at_ms, deliveries);
        }
    }
    Ok(())
}

/// Why a consumer cannot have this entry.
fn missing(group: &Group, id: StreamId) -> ErrorKind {
    ErrorKind::Pending(match group.pending_from(id).next() {
        Some(taken) if taken.id == id => "Stream consumer PEL entry already has a consumer assigned",
        _ => "Consumer entry not found in group global PEL",
    })
}

fn read_id<R: BufRead>(source: &mut Source<R>) -> Result<StreamId> {
    Ok(StreamId { ms: source.count()?, seq: source.count()? })
}

fn id_of(raw: [u8; 16]) -> StreamId {
    let both = u128::from_be_bytes(raw);
    StreamId { ms: (both >> 64) as u64, seq: both as u64 }
}
