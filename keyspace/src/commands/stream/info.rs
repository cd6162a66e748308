//! XINFO: what a stream, its groups and their consumers look like.

use resp::Encoder;

use super::super::flags::{LOADING, READ, STALE};
use super::super::{DataSpec, Keys, keys, spec, unknown_subcommand};
use super::{
    Done, integer, no_group_of_key, read, write_entries, write_entry, write_help, write_id, wrong_subcommand,
};
use crate::memory::scale;
use crate::types::stream::{Consumer, Group, Header, Node, Pending, Stream, StreamId};
use crate::{CommandError, Ctx};

/// XINFO's rows.
#[rustfmt::skip]
pub(super) const XINFO: &[DataSpec] = &[
    spec("consumers", consumers, 4, READ, keys::READ_SUB, "5.0.0", "Describes the consumers of a group."),
    spec("groups", groups, 3, READ, keys::READ_SUB, "5.0.0", "Describes the groups of a stream."),
    spec("help", help, 2, LOADING | STALE, Keys::None, "5.0.0", "Lists the subcommands."),
    spec("stream", stream, -3, READ, keys::READ_SUB, "5.0.0", "Describes a stream."),
];

pub(super) fn xinfo(_: &mut Ctx<'_>, argv: &[&[u8]], _: &mut Encoder<'_>) -> Done {
    Err(unknown_subcommand(argv))
}

fn consumers(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (key, name, now_ms) = (argv[2], argv[3], ctx.now_ms);
    let group = existing(ctx, key)?.group(name).ok_or_else(|| no_group_of_key(name, key))?;
    out.array(group.consumers().len());
    for consumer in group.consumers().iter() {
        let since_ms = |at_ms: i64| now_ms.saturating_sub(at_ms);
        out.map(4);
        out.bulk(b"name");
        out.bulk(&consumer.name);
        out.bulk(b"pending");
        out.count(consumer.pending().len());
        out.bulk(b"idle");
        out.integer(since_ms(consumer.seen_at_ms).max(0));
        out.bulk(b"inactive");
        out.integer(consumer.active_at_ms.map_or(-1, since_ms));
    }
    Ok(())
}

fn groups(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let stream = existing(ctx, argv[2])?;
    out.array(stream.groups().len());
    for group in stream.groups().iter() {
        out.map(6);
        out.bulk(b"name");
        out.bulk(&group.name);
        out.bulk(b"consumers");
        out.count(group.consumers().len());
        out.bulk(b"pending");
        out.count(group.pending().len());
        write_progress(&stream.header(), group, out);
    }
    Ok(())
}

fn help(_: &mut Ctx<'_>, _: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    write_help("XINFO", XINFO, out);
    Ok(())
}

fn stream(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let stream = existing(ctx, argv[2])?;
    match argv[3..] {
        [] => write_short(stream, out),
        [full] if full.eq_ignore_ascii_case(b"full") => write_full(stream, Some(10), out),
        [full, count, number]
            if full.eq_ignore_ascii_case(b"full") && count.eq_ignore_ascii_case(b"count") =>
        {
            // 0 is all, a negative number as good as none.
            let count = usize::try_from(integer(number)?).unwrap_or(10);
            write_full(stream, Some(count).filter(|&count| count > 0), out);
        }
        _ => return Err(wrong_subcommand(argv)),
    }
    Ok(())
}

fn existing<'c>(ctx: &'c mut Ctx<'_>, key: &[u8]) -> Result<&'c Stream, CommandError> {
    read(ctx, key)?.ok_or(CommandError::NoSuchKey)
}

fn write_short(stream: &Stream, out: &mut Encoder<'_>) {
    out.map(10);
    write_header(stream, out);
    out.bulk(b"groups");
    out.count(stream.groups().len());
    for (name, entry) in [(&b"first-entry"[..], stream.iter().next()), (b"last-entry", stream.last())] {
        out.bulk(name);
        match entry {
            Some(entry) => write_entry(entry, out),
            None => out.null(),
        }
    }
}

fn write_full(stream: &Stream, count: Option<usize>, out: &mut Encoder<'_>) {
    out.map(9);
    write_header(stream, out);
    out.bulk(b"entries");
    write_entries(stream.iter(), count, out);
    out.bulk(b"groups");
    out.array(stream.groups().len());
    for group in stream.groups().iter() {
        out.map(7);
        out.bulk(b"name");
        out.bulk(&group.name);
        write_progress(&stream.header(), group, out);
        out.bulk(b"pel-count");
        out.count(group.pending().len());
        out.bulk(b"pending");
        write_pending(group.pending().iter(), true, count, out);
        out.bulk(b"consumers");
        out.array(group.consumers().len());
        group.consumers().iter().for_each(|consumer| write_consumer(group, consumer, count, out));
    }
}

fn write_header(stream: &Stream, out: &mut Encoder<'_>) {
    let header = stream.header();
    let nodes = stream.nodes();
    out.bulk(b"length");
    out.integer(header.len as i64);
    out.bulk(b"radix-tree-keys");
    out.count(nodes.len());
    out.bulk(b"radix-tree-nodes");
    out.count(radix_nodes(nodes.iter().map(radix_key), nodes.len()));
    for (name, id) in
        [(&b"last-generated-id"[..], header.last_id), (b"max-deleted-entry-id", header.max_deleted_id)]
    {
        out.bulk(name);
        write_id(id, out);
    }
    out.bulk(b"entries-added");
    out.integer(header.entries_added as i64);
    out.bulk(b"recorded-first-entry-id");
    write_id(header.first_id, out);
}

/// Where a group is.
fn write_progress(header: &Header, group: &Group, out: &mut Encoder<'_>) {
    let write = |number: Option<i64>, out: &mut Encoder<'_>| match number {
        Some(number) => out.integer(number),
        None => out.null(),
    };
    out.bulk(b"last-delivered-id");
    write_id(group.last_id, out);
    out.bulk(b"entries-read");
    write(group.entries_read.map(|read| read as i64), out);
    out.bulk(b"lag");
    write(header.lag(group), out);
}

fn write_consumer(group: &Group, consumer: &Consumer, count: Option<usize>, out: &mut Encoder<'_>) {
    out.map(5);
    out.bulk(b"name");
    out.bulk(&consumer.name);
    out.bulk(b"seen-time");
    out.integer(consumer.seen_at_ms);
    out.bulk(b"active-time");
    out.integer(consumer.active_at_ms.unwrap_or(-1));
    out.bulk(b"pel-count");
    out.count(consumer.pending().len());
    out.bulk(b"pending");
    write_pending(group.pending_of(consumer, StreamId::MIN), false, count, out);
}

fn write_pending<'g>(
    pending: impl Iterator<Item = &'g Pending>,
    with_consumer: bool,
    count: Option<usize>,
    out: &mut Encoder<'_>,
) {
    out.counted_array(|out| {
        let written = pending.take(count.unwrap_or(usize::MAX)).map(|pending| {
            out.array(3 + usize::from(with_consumer));
            write_id(pending.id, out);
            if with_consumer {
                out.bulk(&pending.consumer);
            }
            out.integer(pending.delivered_at_ms);
            out.integer(pending.deliveries as i64);
        });
        written.count()
    });
}

/// The key under which Redis's radix tree has a node: the ID of its first entry.
fn radix_key(node: &Node) -> [u8; 16] {
    let StreamId { ms, seq } = node.master();
    let mut key = [0; 16];
    key[..8].copy_from_slice(&ms.to_be_bytes());
    key[8..].copy_from_slice(&seq.to_be_bytes());
    key
}

/// How many nodes Redis's radix tree has for `len` keys. Monitors show the figure, and must not stop the server for it:
/// beyond the first few keys it is judged by them.
fn radix_nodes(keys: impl Iterator<Item = [u8; 16]>, len: usize) -> usize {
    const COUNTED: usize = 1024;
    let keys: Vec<[u8; 16]> = keys.take(COUNTED).collect();
    // The root is there in any case.
    scale(radix_nodes_below(&keys, 0), len, keys.len()).max(1)
}

/// How many nodes the tree has for keys in order that agree up to byte `depth`: one for each run of bytes that they have
/// in common, one where they part, one for each end.
fn radix_nodes_below(keys: &[[u8; 16]], depth: usize) -> usize {
    let (Some(first), Some(last)) = (keys.first(), keys.last()) else { return 0 };
    // In order, the first and the last have in common what all have.
    let common = first[depth..].iter().zip(&last[depth..]).take_while(|(a, b)| a == b).count();
    let run = usize::from(common > 0);
    let depth = depth + common;
    if depth == first.len() {
        return run + 1;
    }
    let branches = keys.chunk_by(|a, b| a[depth] == b[depth]);
    run + 1 + branches.map(|branch| radix_nodes_below(branch, depth + 1)).sum::<usize>()
}
