//! Consumer groups: XGROUP, XACK, XPENDING.

use resp::{Encoder, number};

use super::super::flags::*;
use super::super::{DataSpec, Keys, keys, spec, unknown_subcommand};
use super::{
    Done, any_id, integer, no_group_of_key, no_key_or_group, range_end, range_start, read, strict_id,
    strict_ids, write, write_help, write_id, wrong_subcommand,
};
use crate::types::stream::{Group, Pending, Stream, StreamId};
use crate::{CommandError, Ctx, Value};

/// XGROUP's rows.
#[rustfmt::skip]
pub(super) const XGROUP: &[DataSpec] = &[
    spec("create", create, -5, WRITE | DENYOOM, keys::ADD_SUB, "5.0.0", "Makes a group."),
    spec("createconsumer", createconsumer, 5, WRITE | DENYOOM, keys::ADD_SUB, "6.2.0", "Makes a consumer of a group."),
    spec("delconsumer", delconsumer, 5, WRITE, keys::REMOVE_SUB, "5.0.0", "Removes a consumer, and what is pending for it."),
    spec("destroy", destroy, 4, WRITE, keys::REMOVE_SUB, "5.0.0", "Removes a group."),
    spec("help", help, 2, LOADING | STALE, Keys::None, "5.0.0", "Lists the subcommands."),
    spec("setid", setid, -5, WRITE, keys::UPDATE_SUB, "5.0.0", "Sets what a group was delivered last."),
];

pub(super) fn xgroup(_: &mut Ctx<'_>, argv: &[&[u8]], _: &mut Encoder<'_>) -> Done {
    Err(unknown_subcommand(argv))
}

fn create(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    const WORDS_MAX: usize = 8;
    let (key, name) = (argv[2], argv[3]);
    let options = Options::parse(argv, true)?;
    let mut new = None;
    let stream = match write(ctx, key)? {
        Some(stream) => stream,
        None if options.make_stream => new.insert(Stream::new()),
        None => return Err(no_stream()),
    };
    if argv.len() > WORDS_MAX {
        return Err(wrong_subcommand(argv));
    }
    let id = if argv[4] == b"$" { stream.header().last_id } else { strict_id(argv[4], 0)? };
    if !stream.add_group(Group::new(name, id, options.entries_read)) {
        return Err(CommandError::other("BUSYGROUP Consumer Group name already exists"));
    }
    if let Some(stream) = new {
        ctx.set(key, Value::Stream(stream));
    }
    ctx.changed(key, 't', "xgroup-create", 1);
    out.ok();
    Ok(())
}

fn createconsumer(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (key, now_ms) = (argv[2], ctx.now_ms);
    let created = change(ctx, argv, |group| group.create_consumer(argv[4], now_ms))?;
    if created {
        ctx.changed(key, 't', "xgroup-createconsumer", 1);
    }
    out.integer(i64::from(created));
    Ok(())
}

fn delconsumer(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let deleted = change(ctx, argv, |group| group.delete_consumer(argv[4]))?;
    if deleted.is_some() {
        ctx.changed(argv[2], 't', "xgroup-delconsumer", 1);
    }
    out.count(deleted.unwrap_or(0));
    Ok(())
}

fn destroy(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let key = argv[2];
    let destroyed = write(ctx, key)?.ok_or_else(no_stream)?.remove_group(argv[3]);
    if destroyed {
        ctx.changed(key, 't', "xgroup-destroy", 1);
        // Who waits for entries as its consumer waits in vain.
        ctx.signal_ready(key);
    }
    out.integer(i64::from(destroyed));
    Ok(())
}

fn help(_: &mut Ctx<'_>, _: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    write_help("XGROUP", XGROUP, out);
    Ok(())
}

fn setid(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (key, name) = (argv[2], argv[3]);
    let options = Options::parse(argv, false)?;
    let stream = write(ctx, key)?.ok_or_else(no_stream)?;
    if stream.group(name).is_none() {
        return Err(no_group_of_key(name, key));
    }
    if !matches!(argv.len(), 5 | 7) {
        return Err(wrong_subcommand(argv));
    }
    let id = if argv[4] == b"$" { stream.header().last_id } else { any_id(argv[4], 0)? };
    stream.update_group(name, |group| {
        group.last_id = id;
        group.entries_read = options.entries_read;
    });
    ctx.changed(key, 't', "xgroup-setid", 1);
    out.ok();
    Ok(())
}

/// What follows the ID of CREATE and SETID.
#[derive(Debug, Default)]
struct Options {
    make_stream: bool,
    entries_read: Option<u64>,
}

impl Options {
    fn parse(argv: &[&[u8]], creates: bool) -> Result<Self, CommandError> {
        let mut options = Options::default();
        let mut words = &argv[5..];
        while let [word, rest @ ..] = words {
            words = match (&word.to_ascii_lowercase()[..], rest) {
                (b"mkstream", _) if creates => {
                    options.make_stream = true;
                    rest
                }
                (b"entriesread", [read, rest @ ..]) => {
                    let read = integer(read)?;
                    if read < -1 {
                        return Err(CommandError::other("ERR value for ENTRIESREAD must be positive or -1"));
                    }
                    options.entries_read = u64::try_from(read).ok();
                    rest
                }
                _ => return Err(wrong_subcommand(argv)),
            };
        }
        Ok(options)
    }
}

/// Changes the group that words 2 and 3 name.
fn change<R>(
    ctx: &mut Ctx<'_>,
    argv: &[&[u8]],
    change: impl FnOnce(&mut Group) -> R,
) -> Result<R, CommandError> {
    let (key, name) = (argv[2], argv[3]);
    let stream = write(ctx, key)?.ok_or_else(no_stream)?;
    stream.update_group(name, change).ok_or_else(|| no_group_of_key(name, key))
}

fn no_stream() -> CommandError {
    CommandError::other(
        "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically.",
    )
}

pub(super) fn xack(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (key, name) = (argv[1], argv[2]);
    // A hit or a miss, although it writes.
    ctx.read(key);
    let stream = write(ctx, key)?.filter(|stream| stream.group(name).is_some());
    let Some(stream) = stream else {
        out.integer(0);
        return Ok(());
    };
    let ids = strict_ids(&argv[3..])?;
    let acknowledge = |group: &mut Group| ids.iter().filter(|&&id| group.acknowledge(id)).count();
    let acknowledged = stream.update_group(name, acknowledge).unwrap_or(0);
    if acknowledged > 0 {
        ctx.changed_without_event(key, acknowledged);
    }
    out.count(acknowledged);
    Ok(())
}

pub(super) fn xpending(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let query = match argv.len() {
        3 => None,
        6..=9 => Some(Query::parse(&argv[3..])?),
        _ => return Err(CommandError::Syntax),
    };
    let (key, name, now_ms) = (argv[1], argv[2], ctx.now_ms);
    let group = read(ctx, key)?.and_then(|stream| stream.group(name));
    let group = group.ok_or_else(|| no_key_or_group(key, name, ""))?;
    match query {
        None => write_summary(group, out),
        Some(query) => query.write(group, now_ms, out),
    }
    Ok(())
}

/// How many are pending, from which to which, and how many of whom.
fn write_summary(group: &Group, out: &mut Encoder<'_>) {
    let pending = group.pending();
    out.array(4);
    out.count(pending.len());
    let (Some(first), Some(last)) = (pending.first(), pending.last()) else {
        out.null();
        out.null();
        return out.null_array();
    };
    write_id(first.id, out);
    write_id(last.id, out);
    out.counted_array(|out| {
        let busy = group.consumers().iter().filter(|consumer| !consumer.pending().is_empty());
        busy.map(|consumer| {
            out.array(2);
            out.bulk(&consumer.name);
            out.bulk(number::format_i64(consumer.pending().len() as i64).as_bytes());
        })
        .count()
    });
}

/// `[IDLE ms] start end count [consumer]`.
struct Query<'a> {
    min_idle_ms: i64,
    start: StreamId,
    end: StreamId,
    count: usize,
    consumer: Option<&'a [u8]>,
}

impl<'a> Query<'a> {
    fn parse(words: &[&'a [u8]]) -> Result<Self, CommandError> {
        let (min_idle_ms, words) = match words {
            [word, min_idle, rest @ ..] if word.eq_ignore_ascii_case(b"idle") => (integer(min_idle)?, rest),
            _ => (0, words),
        };
        let [start, end, count, rest @ ..] = words else { return Err(CommandError::Syntax) };
        let count = usize::try_from(integer(count)?).unwrap_or(0);
        let (start, end) = (range_start(start)?, range_end(end)?);
        Ok(Query { min_idle_ms, start, end, count, consumer: rest.first().copied() })
    }

    fn write(&self, group: &Group, now_ms: i64, out: &mut Encoder<'_>) {
        match self.consumer.map(|name| group.consumer(name)) {
            None => self.write_pending(group.pending_from(self.start), now_ms, out),
            Some(Some(consumer)) => {
                self.write_pending(group.pending_of(consumer, self.start), now_ms, out);
            }
            Some(None) => out.array(0),
        }
    }

    fn write_pending<'g>(
        &self,
        pending: impl Iterator<Item = &'g Pending>,
        now_ms: i64,
        out: &mut Encoder<'_>,
    ) {
        let idle_ms = |pending: &Pending| now_ms.saturating_sub(pending.delivered_at_ms);
        let wanted = pending
            .take_while(|pending| pending.id <= self.end)
            .filter(|pending| self.min_idle_ms == 0 || idle_ms(pending) >= self.min_idle_ms);
        out.counted_array(|out| {
            let written = wanted.take(self.count).map(|pending| {
                out.array(4);
                write_id(pending.id, out);
                out.bulk(&pending.consumer);
                out.integer(idle_ms(pending).max(0));
                out.integer(pending.deliveries as i64);
            });
            written.count()
        });
    }
}
