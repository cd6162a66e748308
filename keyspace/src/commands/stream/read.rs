//! XREAD and XREADGROUP: what is behind given IDs, in several streams at once, or what comes.

use resp::{Encoder, Version, number};
use smallvec::SmallVec;

use super::{
    Claim, Done, integer, no_key_or_group, propagate_consumer, propagate_group_id, read, strict_id, write,
    write_entry, write_id,
};
use crate::effect::Block;
use crate::types::stream::{Group, Stream, StreamId};
use crate::{CommandError, Ctx, Str};

pub(super) fn xread(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let request = Request::parse(argv, false, ctx.now_ms)?;
    let from = request.resolve(ctx, false)?;
    serve(&request, out, ctx, |ctx, at, out| {
        let (key, from) = (request.keys[at], from[at]);
        let Some(stream) = read(ctx, key)? else { return Ok(false) };
        let served = stream.last().is_some_and(|last| last.id > from);
        if served {
            write_key(key, out);
            super::write_entries(stream.range(behind(from), StreamId::MAX), request.count, out);
        }
        Ok(served)
    })?
    .or_block(ctx, &from, out);
    Ok(())
}

pub(super) fn xreadgroup(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let request = Request::parse(argv, true, ctx.now_ms)?;
    let Some((group, consumer)) = request.group else {
        return Err(CommandError::other("ERR Missing GROUP option for XREADGROUP"));
    };
    let from = request.resolve(ctx, true)?;
    // What it changes is logged by other commands, or not at all.
    ctx.propagate_nothing();
    serve(&request, out, ctx, |ctx, at, out| {
        let reader = Reader { key: request.keys[at], group, consumer, now_ms: ctx.now_ms };
        // A hit, although it writes.
        ctx.read(reader.key);
        // The greatest ID stands for `>`.
        if from[at] == StreamId::MAX {
            reader.deliver(ctx, request.count, request.no_ack, out)
        } else {
            reader.list_history(ctx, from[at], request.count, out)
        }
    })?
    .or_block(ctx, &from, out);
    Ok(())
}

/// What is asked for.
struct Request<'a> {
    argv: &'a [&'a [u8]],
    keys: &'a [&'a [u8]],
    ids: &'a [&'a [u8]],
    /// Entries of each stream at most.
    count: Option<usize>,
    /// How long to wait, if at all; for ever if the inner one is `None`.
    block: Option<Option<u64>>,
    group: Option<(&'a [u8], &'a [u8])>,
    no_ack: bool,
}

impl<'a> Request<'a> {
    fn parse(argv: &'a [&'a [u8]], for_group: bool, now_ms: i64) -> Result<Self, CommandError> {
        let mut request =
            Request { argv, keys: &[], ids: &[], count: None, block: None, group: None, no_ack: false };
        let mut words = &argv[1..];
        while let [word, rest @ ..] = words {
            words = match (&word.to_ascii_lowercase()[..], rest) {
                (b"block", [timeout, rest @ ..]) => {
                    request.block = Some(timeout_ms(timeout, now_ms)?);
                    rest
                }
                (b"count", [count, rest @ ..]) => {
                    // None, like a negative number, is no limit.
                    request.count = usize::try_from(integer(count)?).ok().filter(|&count| count > 0);
                    rest
                }
                (b"streams", [_, ..]) => {
                    request.take_streams(rest, for_group)?;
                    return Ok(request);
                }
                (b"group", [_, _, ..]) if !for_group => return Err(only_for_groups("GROUP")),
                (b"group", [group, consumer, rest @ ..]) => {
                    request.group = Some((group, consumer));
                    rest
                }
                (b"noack", _) if !for_group => return Err(only_for_groups("NOACK")),
                (b"noack", _) => {
                    request.no_ack = true;
                    rest
                }
                _ => return Err(CommandError::Syntax),
            };
        }
        Err(CommandError::Syntax)
    }

    fn take_streams(&mut self, words: &'a [&'a [u8]], for_group: bool) -> Done {
        if words.len() % 2 == 1 {
            let (command, id) = if for_group { ("xreadgroup", '>') } else { ("xread", '$') };
            return Err(CommandError::other(format!(
                "ERR Unbalanced '{command}' list of streams: for each stream key an ID or '{id}' must be specified."
            )));
        }
        (self.keys, self.ids) = words.split_at(words.len() / 2);
        Ok(())
    }

    /// The IDs behind which to read; for a group the greatest stands for what is new.
    fn resolve(&self, ctx: &mut Ctx<'_>, for_group: bool) -> Result<SmallVec<[StreamId; 4]>, CommandError> {
        let resolve = |(&key, &id): (&&[u8], &&[u8])| {
            let stream = read(ctx, key)?;
            if let Some((group, _)) = self.group
                && stream.and_then(|stream| stream.group(group)).is_none()
            {
                return Err(no_key_or_group(key, group, " in XREADGROUP with GROUP option"));
            }
            match id {
                b"$" if for_group => Err(CommandError::other(
                    "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set.",
                )),
                b"$" => Ok(stream.map_or(StreamId::MIN, |stream| stream.header().last_id)),
                b">" if for_group => Ok(StreamId::MAX),
                b">" => Err(CommandError::other(
                    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
                )),
                _ => strict_id(id, 0),
            }
        };
        self.keys.iter().zip(self.ids).map(resolve).collect()
    }

    /// The request with an ID in the place of each `$`: what was the end of a stream when the client began to wait is
    /// not its end when it is served.
    fn resolved(&self, from: &[StreamId]) -> Option<Vec<Str>> {
        let mut words: Vec<Str> = self.argv.iter().map(|&word| Str::from(word)).collect();
        let first = words.len() - self.ids.len();
        for ((word, id), from) in words[first..].iter_mut().zip(self.ids).zip(from) {
            if *id == b"$" {
                *word = Str::from(from.to_string().as_bytes());
            }
        }
        self.ids.contains(&&b"$"[..]).then_some(words)
    }
}

fn only_for_groups(option: &str) -> CommandError {
    CommandError::other(format!(
        "ERR The {option} option is only supported by XREADGROUP. You called XREAD instead."
    ))
}

/// Reads a timeout in milliseconds; `None` is for ever, which clients write as 0.
fn timeout_ms(text: &[u8], now_ms: i64) -> Result<Option<u64>, CommandError> {
    let timeout_ms = number::parse_i64(text)
        .ok_or(CommandError::other("ERR timeout is not an integer or out of range"))?;
    let timeout = u64::try_from(timeout_ms).map_err(|_| CommandError::other("ERR timeout is negative"))?;
    match timeout_ms.checked_add(now_ms) {
        Some(_) => Ok(Some(timeout).filter(|&timeout| timeout > 0)),
        None => Err(CommandError::other("ERR timeout is out of range")),
    }
}

/// The ID behind one; behind the last it begins again, as Redis's does.
fn behind(id: StreamId) -> StreamId {
    id.next().unwrap_or(StreamId::MIN)
}

/// Writes the streams that `serve_one` can serve, as a map; RESP2 has an array of pairs instead.
fn serve<'r, 'c>(
    request: &'r Request<'r>,
    out: &mut Encoder<'_>,
    ctx: &mut Ctx<'c>,
    mut serve_one: impl FnMut(&mut Ctx<'c>, usize, &mut Encoder<'_>) -> Result<bool, CommandError>,
) -> Result<Served<'r>, CommandError> {
    let start_bytes = out.len_bytes();
    let mut outcome = Ok(0);
    let write = |out: &mut Encoder<'_>| {
        let mut streams = 0;
        for at in 0..request.keys.len() {
            match serve_one(ctx, at, out) {
                Ok(served) => streams += usize::from(served),
                Err(error) => {
                    outcome = Err(error);
                    return streams;
                }
            }
        }
        outcome = Ok(streams);
        streams
    };
    match out.version() {
        Version::Resp2 => out.counted_array(write),
        Version::Resp3 => out.counted_map(write),
    }
    let streams = outcome?;
    if streams == 0 {
        out.truncate(start_bytes);
    }
    Ok(Served { request, any: streams > 0 })
}

fn write_key(key: &[u8], out: &mut Encoder<'_>) {
    if out.version() == Version::Resp2 {
        out.array(2);
    }
    out.bulk(key);
}

/// Whether any stream could be served.
struct Served<'r> {
    request: &'r Request<'r>,
    any: bool,
}

impl Served<'_> {
    /// Parks the client if nothing was served and it would wait, or says that there is nothing.
    fn or_block(self, ctx: &mut Ctx<'_>, from: &[StreamId], out: &mut Encoder<'_>) {
        if self.any {
            return;
        }
        let Request { keys, block, group, .. } = *self.request;
        let Some(timeout_ms) = block else { return out.null_array() };
        let parked = ctx.block(Block {
            keys: keys.iter().map(|&key| Str::from(key)).collect(),
            timeout_ms,
            type_name: "stream",
            wakes_without_it: group.is_some(),
            again: self.request.resolved(from),
        });
        if !parked {
            out.null_array();
        }
    }
}

/// A consumer at one stream.
struct Reader<'a> {
    key: &'a [u8],
    group: &'a [u8],
    consumer: &'a [u8],
    now_ms: i64,
}

impl Reader<'_> {
    /// Delivers entries that nobody in the group had yet; false if there are none.
    fn deliver(
        &self,
        ctx: &mut Ctx<'_>,
        count: Option<usize>,
        no_ack: bool,
        out: &mut Encoder<'_>,
    ) -> Result<bool, CommandError> {
        let Some(stream) = write(ctx, self.key)? else { return Ok(false) };
        let last_id = stream.group(self.group).map(|group| group.last_id).unwrap_or_default();
        let has_new = stream.last().is_some_and(|last| last.id > last_id);
        let created = self.introduce(stream);
        let mut ids: Vec<StreamId> = Vec::new();
        if has_new {
            write_key(self.key, out);
            out.counted_array(|out| {
                let new = stream.range(behind(last_id), StreamId::MAX).take(count.unwrap_or(usize::MAX));
                new.for_each(|entry| {
                    ids.push(entry.id);
                    write_entry(entry, out);
                });
                ids.len()
            });
        }
        let (last_ids, entries_read) = self.hand_over(stream, &ids, no_ack);
        self.note(ctx, created, created && (no_ack || ids.is_empty()), has_new);
        if !no_ack {
            for (&id, &last_id) in ids.iter().zip(&last_ids) {
                let consumer = Str::from(self.consumer);
                Claim { id, consumer, delivered_at_ms: self.now_ms, deliveries: 1, last_id }
                    .propagate(ctx, self.key, self.group);
            }
        }
        if let Some(&last_id) = last_ids.last() {
            // An XCLAIM moves the group on, but says nothing of how much it has read.
            propagate_group_id(ctx, self.key, self.group, last_id, entries_read);
        }
        Ok(has_new)
    }

    /// Moves the group on over entries, which are pending from now on unless nobody will acknowledge them. Returns how
    /// far the group was with each, and what it has read then.
    fn hand_over(&self, stream: &mut Stream, ids: &[StreamId], no_ack: bool) -> (Vec<StreamId>, Option<u64>) {
        let header = stream.header();
        let delivered = stream.update_group(self.group, |group| {
            let hand_over = |&id: &StreamId| {
                header.advance(group, id);
                if !no_ack {
                    group.assign(id, self.consumer, self.now_ms, 1);
                    group.touch_consumer(self.consumer, self.now_ms, true);
                }
                group.last_id
            };
            let last_ids = ids.iter().map(hand_over).collect();
            (last_ids, group.entries_read)
        });
        delivered.unwrap_or_default()
    }

    /// Lists entries that the consumer has, from behind `from` on, and counts it as another delivery. That is not
    /// logged: Redis deems it too unimportant.
    fn list_history(
        &self,
        ctx: &mut Ctx<'_>,
        from: StreamId,
        count: Option<usize>,
        out: &mut Encoder<'_>,
    ) -> Result<bool, CommandError> {
        let Some(stream) = write(ctx, self.key)? else { return Ok(false) };
        let created = self.introduce(stream);
        write_key(self.key, out);
        let mut delivered: Vec<(StreamId, u64)> = Vec::new();
        out.counted_array(|out| {
            let Some(group) = stream.group(self.group) else { return 0 };
            let Some(consumer) = group.consumer(self.consumer) else { return 0 };
            let own = group.pending_of(consumer, behind(from)).take(count.unwrap_or(usize::MAX));
            own.map(|pending| match stream.get(pending.id) {
                Some(entry) => {
                    delivered.push((pending.id, pending.deliveries.saturating_add(1)));
                    write_entry(entry, out);
                }
                None => {
                    out.array(2);
                    write_id(pending.id, out);
                    out.null_array();
                }
            })
            .count()
        });
        if !delivered.is_empty() {
            stream.update_group(self.group, |group| {
                for (id, deliveries) in delivered {
                    group.assign(id, self.consumer, self.now_ms, deliveries);
                }
            });
        }
        self.note(ctx, created, created, true);
        Ok(true)
    }

    /// Makes the consumer if it is new to the group, and notes that it was here; whether it was new.
    fn introduce(&self, stream: &mut Stream) -> bool {
        let introduce = |group: &mut Group| {
            let created = group.create_consumer(self.consumer, self.now_ms);
            group.touch_consumer(self.consumer, self.now_ms, false);
            created
        };
        stream.update_group(self.group, introduce).unwrap_or(false)
    }

    /// Leaves the traces: of the consumer's creation (which an XCLAIM for it would imply), and of having been served.
    fn note(&self, ctx: &mut Ctx<'_>, created: bool, logs_creation: bool, served: bool) {
        if created {
            ctx.changed(self.key, 't', "xgroup-createconsumer", 1);
        }
        if logs_creation {
            propagate_consumer(ctx, self.key, self.group, self.consumer);
        }
        if served {
            ctx.changed_without_event(self.key, 1);
        }
    }
}
