//! The stream commands.

mod claim;
mod group;
mod info;
mod read;

use resp::{Encoder, number};
use smallvec::SmallVec;

use self::claim::{xautoclaim, xclaim};
use self::group::{XGROUP, xack, xgroup, xpending};
use self::info::{XINFO, xinfo};
use self::read::{xread, xreadgroup};
use super::flags::*;
use super::{DataSpec, Done, Keys, integer, keys, spec, write_help};
use crate::types::stream::{Entry, NodeLimits, Stream, StreamId, Trim, TrimTo};
use crate::{CommandError, Ctx, Value, ValueRef};

/// The rows.
#[rustfmt::skip]
pub const TABLE: &[DataSpec] = &[
    spec("xack", xack, -4, WRITE | FAST, keys::UPDATE_KEY, "5.0.0", "Acknowledges entries that a group has delivered."),
    spec("xadd", xadd, -5, WRITE | DENYOOM | FAST, keys::UPDATE_KEY, "5.0.0", "Appends an entry to a stream, and trims it if asked."),
    spec("xautoclaim", xautoclaim, -6, WRITE | FAST, keys::REMOVE, "6.2.0", "Hands a consumer the entries that others have left pending for too long."),
    spec("xclaim", xclaim, -6, WRITE | FAST, keys::UPDATE_KEY, "5.0.0", "Hands a consumer pending entries of others."),
    spec("xdel", xdel, -3, WRITE | FAST, keys::REMOVE, "5.0.0", "Deletes entries of a stream."),
    DataSpec { subcommands: XGROUP, ..spec("xgroup", xgroup, -2, 0, Keys::None, "5.0.0", "Makes, changes and removes consumer groups.") },
    DataSpec { subcommands: XINFO, ..spec("xinfo", xinfo, -2, 0, Keys::None, "5.0.0", "Describes streams and their groups.") },
    spec("xlen", xlen, 2, READ | FAST, keys::LOOK, "5.0.0", "Counts the entries of a stream."),
    spec("xpending", xpending, -3, READ, keys::READ_KEY, "5.0.0", "Lists the entries that a group has delivered and that nobody has acknowledged."),
    spec("xrange", xrange, -4, READ, keys::READ_KEY, "5.0.0", "Lists the entries between two IDs."),
    spec("xread", xread, -4, READ | BLOCKING, keys::XREAD, "5.0.0", "Lists the entries behind given ones in several streams, or waits for some."),
    spec("xreadgroup", xreadgroup, -7, WRITE | BLOCKING, keys::XREADGROUP, "5.0.0", "Delivers new entries to a consumer of a group, or lists those that it has, or waits for some."),
    spec("xrevrange", xrevrange, -4, READ, keys::READ_KEY, "5.0.0", "Lists the entries between two IDs, from the last to the first."),
    spec("xsetid", xsetid, -3, WRITE | DENYOOM | FAST, keys::UPDATE_KEY, "5.0.0", "Sets what a stream knows about itself: for logs and replicas."),
    spec("xtrim", xtrim, -4, WRITE, keys::REMOVE, "5.0.0", "Cuts entries off the front of a stream."),
];

fn xadd(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let key = argv[1];
    let options = Options::parse(ctx, argv, true)?;
    let (pairs, odd) = argv.get(options.end + 1..).unwrap_or_default().as_chunks();
    if pairs.is_empty() || !odd.is_empty() {
        return Err(CommandError::Arity("xadd".into()));
    }
    if options.id == NewId::Given(StreamId::MIN) {
        return Err(CommandError::other("ERR The ID specified in XADD must be greater than 0-0"));
    }
    let trim = options.trim(ctx);
    let Some(Added { id, cut, left }) = append(ctx, key, pairs, &options, trim)? else {
        out.null();
        return Ok(());
    };
    ctx.changed(key, 't', "xadd", 1);
    if cut > 0 {
        ctx.notify('t', "xtrim", key);
    }
    let id = id.to_text();
    out.bulk(&id);
    let approximate = trim.is_some_and(|trim| trim.approximate);
    let is_rewritten = approximate || !matches!(options.id, NewId::Given(_));
    if is_rewritten && ctx.is_logged() {
        let mut effect: SmallVec<[&[u8]; 16]> = SmallVec::from_slice(argv);
        effect[options.end] = &id;
        if approximate {
            options.make_exact(&mut effect, &left);
        }
        ctx.propagate(&effect);
    }
    Ok(())
}

/// What XADD did.
struct Added {
    id: StreamId,
    /// Entries that were trimmed.
    cut: u64,
    /// See [`left_by`].
    left: String,
}

/// Appends an entry and trims the stream; `None` if it is not there and not to be made.
fn append(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    pairs: &[[&[u8]; 2]],
    options: &Options,
    trim: Option<Trim>,
) -> Result<Option<Added>, CommandError> {
    let (now_ms, limits) = (ctx.now_ms, NodeLimits::new(ctx.limits()));
    let mut new = None;
    let stream = match write(ctx, key)? {
        Some(stream) => stream,
        None if options.no_make_stream => return Ok(None),
        None => new.insert(Stream::new()),
    };
    let id = options.id.after(stream.header().last_id, now_ms)?;
    if !Stream::fits(pairs) {
        return Err(CommandError::other("ERR Elements are too large to be stored"));
    }
    stream.add(id, pairs, limits);
    let cut = trim.map_or(0, |trim| stream.trim(&trim));
    let left = trim.map(|trim| left_by(stream, &trim)).unwrap_or_default();
    match new {
        Some(stream) => ctx.set(key, Value::Stream(stream)),
        None => ctx.signal_ready(key),
    }
    Ok(Some(Added { id, cut, left }))
}

fn xtrim(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let key = argv[1];
    let options = Options::parse(ctx, argv, false)?;
    // There is one, or the options would have been refused.
    let trim = options.trim(ctx).ok_or(CommandError::Syntax)?;
    let Some(stream) = write(ctx, key)? else {
        out.integer(0);
        return Ok(());
    };
    let cut = stream.trim(&trim);
    let left = left_by(stream, &trim);
    if cut > 0 {
        ctx.changed(key, 't', "xtrim", cut as usize);
        if trim.approximate {
            let mut effect = argv.to_vec();
            options.make_exact(&mut effect, &left);
            ctx.propagate(&effect);
        }
    }
    out.integer(cut as i64);
    Ok(())
}

/// What the argument of an exact trim would be that leaves as much: the log cannot know where nodes begin.
fn left_by(stream: &Stream, trim: &Trim) -> String {
    match trim.to {
        TrimTo::MaxLen(_) => stream.len().to_string(),
        TrimTo::MinId(_) => stream.nodes().first().map_or(StreamId::MAX, |node| node.master()).to_string(),
    }
}

/// What XADD and XTRIM have in common: how to trim. XADD's end with the ID.
#[derive(Debug)]
struct Options {
    no_make_stream: bool,
    to: Option<TrimTo>,
    /// The place of the length or ID to trim to.
    to_at: usize,
    approximate: bool,
    limit: Option<u64>,
    id: NewId,
    /// The place behind the options: that of the ID.
    end: usize,
}

/// The ID that an entry is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NewId {
    /// `*`.
    Any,
    /// `ms-*`.
    AnySeq(u64),
    /// Just this one.
    Given(StreamId),
}

impl NewId {
    fn parse(text: &[u8]) -> Result<Self, CommandError> {
        match StreamId::parse_any_seq(text) {
            Some(ms) => Ok(NewId::AnySeq(ms)),
            None => strict_id(text, 0).map(NewId::Given),
        }
    }

    /// The ID of an entry behind the last one.
    fn after(self, last_id: StreamId, now_ms: i64) -> Result<StreamId, CommandError> {
        if last_id == StreamId::MAX {
            return Err(CommandError::other(
                "ERR The stream has exhausted the last possible ID, unable to add more items",
            ));
        }
        let id = match self {
            NewId::Given(id) => Some(id),
            NewId::AnySeq(ms) if ms == last_id.ms => {
                last_id.seq.checked_add(1).map(|seq| StreamId { ms, seq })
            }
            NewId::AnySeq(ms) => Some(StreamId { ms, seq: 0 }),
            NewId::Any => {
                // The clock may have been set back.
                let now = StreamId { ms: u64::try_from(now_ms).unwrap_or(0), seq: 0 };
                if now.ms > last_id.ms { Some(now) } else { last_id.next() }
            }
        };
        id.filter(|&id| id > last_id).ok_or_else(|| {
            CommandError::other(
                "ERR The ID specified in XADD is equal or smaller than the target stream top item",
            )
        })
    }
}

impl Options {
    fn parse(ctx: &Ctx<'_>, argv: &[&[u8]], adds: bool) -> Result<Self, CommandError> {
        let mut options = Options {
            no_make_stream: false,
            to: None,
            to_at: 0,
            approximate: false,
            limit: None,
            id: NewId::Any,
            end: 2,
        };
        while let [word, rest @ ..] = &argv[options.end..] {
            if adds && *word == b"*" {
                break;
            }
            match (&word.to_ascii_lowercase()[..], rest) {
                (name @ (b"maxlen" | b"minid"), [_, ..]) => options.take_strategy(name, rest)?,
                (b"limit", [limit, ..]) => {
                    let limit = u64::try_from(integer(limit)?);
                    options.limit =
                        Some(limit.map_err(|_| CommandError::other("ERR The LIMIT argument must be >= 0."))?);
                    options.end += 1;
                }
                (b"nomkstream", _) if adds => options.no_make_stream = true,
                _ if adds => {
                    options.id = NewId::parse(word)?;
                    break;
                }
                _ => return Err(CommandError::Syntax),
            }
            options.end += 1;
        }
        options.check(adds, ctx.keyspace.loading)?;
        Ok(options)
    }

    fn check(&self, adds: bool, loading: bool) -> Done {
        Err(CommandError::other(match (self.limit, self.to) {
            (Some(1..), None) => {
                "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy"
            }
            (_, None) if !adds => "ERR syntax error, XTRIM must be called with a trimming strategy",
            // In a log the threshold says exactly what is left, and a LIMIT may have been left behind it.
            (Some(_), _) if !self.approximate && !loading => {
                "ERR syntax error, LIMIT cannot be used without the special ~ option"
            }
            _ => return Ok(()),
        }))
    }

    /// Reads what follows MAXLEN or MINID: `[=|~] threshold`.
    fn take_strategy(&mut self, name: &[u8], words: &[&[u8]]) -> Done {
        if self.to.is_some() {
            return Err(CommandError::other(
                "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
            ));
        }
        let sign = words.first().filter(|sign| words.len() > 1 && matches!(sign, [b'~' | b'=']));
        self.approximate = sign.is_some_and(|sign| *sign == b"~");
        let skipped = 1 + usize::from(sign.is_some());
        let threshold = words[skipped - 1];
        self.to = Some(if name == b"maxlen" {
            let len = u64::try_from(integer(threshold)?);
            TrimTo::MaxLen(len.map_err(|_| CommandError::other("ERR The MAXLEN argument must be >= 0."))?)
        } else {
            TrimTo::MinId(strict_id(threshold, 0)?)
        });
        self.end += skipped;
        self.to_at = self.end;
        Ok(())
    }

    /// The trim that is asked for.
    fn trim(&self, ctx: &Ctx<'_>) -> Option<Trim> {
        let limit = match self.limit {
            _ if ctx.keyspace.loading || !self.approximate => None,
            Some(limit) => Some(limit).filter(|&limit| limit > 0),
            None => Some(default_limit(ctx.limits().stream_node_max_entries)),
        };
        self.to.map(|to| Trim { to, approximate: self.approximate, limit })
    }

    /// Rewrites `~ threshold` as `= left`.
    fn make_exact<'a>(&self, effect: &mut [&'a [u8]], left: &'a str) {
        effect[self.to_at - 1] = b"=";
        effect[self.to_at] = left.as_bytes();
    }
}

/// A hundred nodes are what an approximate trim cuts off at once. Source: redis 7.2 `streamParseAddOrTrimArgsOrReply`.
fn default_limit(node_max_entries: usize) -> u64 {
    match node_max_entries as u64 {
        0 => 10_000,
        entries => entries.saturating_mul(100).min(1_000_000),
    }
}

fn xdel(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let key = argv[1];
    let Some(stream) = write(ctx, key)? else {
        out.integer(0);
        return Ok(());
    };
    let ids = strict_ids(&argv[2..])?;
    let deleted = ids.iter().filter(|&&id| stream.delete(id)).count();
    if deleted > 0 {
        ctx.changed(key, 't', "xdel", deleted);
    }
    out.count(deleted);
    Ok(())
}

fn xlen(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    out.integer(read(ctx, argv[1])?.map_or(0, |stream| stream.len() as i64));
    Ok(())
}

fn xrange(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    range(ctx, argv, [argv[2], argv[3]], false, out)
}

fn xrevrange(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    range(ctx, argv, [argv[3], argv[2]], true, out)
}

fn range(
    ctx: &mut Ctx<'_>,
    argv: &[&[u8]],
    [start, end]: [&[u8]; 2],
    reverse: bool,
    out: &mut Encoder<'_>,
) -> Done {
    let (start, end) = (range_start(start)?, range_end(end)?);
    let mut count = None;
    let (options, rest) = argv[4..].as_chunks();
    for [name, value] in options {
        if !name.eq_ignore_ascii_case(b"count") {
            return Err(CommandError::Syntax);
        }
        count = Some(usize::try_from(integer(value)?).unwrap_or(0));
    }
    if !rest.is_empty() {
        return Err(CommandError::Syntax);
    }
    match read(ctx, argv[1])? {
        None => out.array(0),
        Some(_) if count == Some(0) => out.null_array(),
        Some(stream) if reverse => write_entries(stream.range_rev(start, end), count, out),
        Some(stream) => write_entries(stream.range(start, end), count, out),
    }
    Ok(())
}

fn xsetid(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (key, id) = (argv[1], strict_id(argv[2], 0)?);
    // Not every server refuses the same, and what they logged and wrote is data: it is put right, as in an RDB file.
    let loading = ctx.keyspace.loading;
    let (mut entries_added, mut max_deleted_id) = (None, None);
    let (options, rest) = argv[3..].as_chunks();
    for [name, value] in options {
        match &name.to_ascii_lowercase()[..] {
            b"entriesadded" => {
                let added = u64::try_from(integer(value)?);
                entries_added =
                    Some(added.map_err(|_| CommandError::other("ERR entries_added must be positive"))?);
            }
            b"maxdeletedid" => {
                let deleted = strict_id(value, 0)?;
                if id < deleted && !loading {
                    return Err(smaller_than("the provided max_deleted_entry_id"));
                }
                max_deleted_id = Some(deleted).filter(|&deleted| deleted != StreamId::MIN);
            }
            _ => return Err(CommandError::Syntax),
        }
    }
    if !rest.is_empty() {
        return Err(CommandError::Syntax);
    }
    let stream = write(ctx, key)?.ok_or(CommandError::NoSuchKey)?;
    let header = stream.header();
    if !loading {
        may_set_id(stream, id, entries_added)?;
    }
    let entries_added = entries_added.unwrap_or(header.entries_added);
    stream.set_header(id, entries_added, max_deleted_id.unwrap_or(header.max_deleted_id));
    ctx.changed(key, 't', "xsetid", 1);
    out.ok();
    Ok(())
}

/// What is refused for what the stream holds.
fn may_set_id(stream: &Stream, id: StreamId, entries_added: Option<u64>) -> Done {
    if id < stream.header().max_deleted_id {
        return Err(smaller_than("current max_deleted_entry_id"));
    }
    if stream.last().is_some_and(|last| id < last.id) {
        return Err(smaller_than("the target stream top item"));
    }
    if entries_added.is_some_and(|added| added < stream.len()) {
        return Err(CommandError::other(
            "ERR The entries_added specified in XSETID is smaller than the target stream length",
        ));
    }
    Ok(())
}

fn smaller_than(what: &str) -> CommandError {
    CommandError::other(format!("ERR The ID specified in XSETID is smaller than {what}"))
}

// What several of them need.

/// The stream under a key, to be read.
fn read<'c>(ctx: &'c mut Ctx<'_>, key: &[u8]) -> Result<Option<&'c Stream>, CommandError> {
    match ctx.read(key) {
        Some(ValueRef::Stream(stream)) => Ok(Some(stream)),
        Some(_) => Err(CommandError::WrongType),
        None => Ok(None),
    }
}

/// The stream under a key, to be changed.
fn write<'c>(ctx: &'c mut Ctx<'_>, key: &[u8]) -> Result<Option<&'c mut Stream>, CommandError> {
    match ctx.write(key)? {
        Some(Value::Stream(stream)) => Ok(Some(stream)),
        Some(_) => Err(CommandError::WrongType),
        None => Ok(None),
    }
}

/// Reads an ID; one without a sequence gets `missing_seq`.
fn strict_id(text: &[u8], missing_seq: u64) -> Result<StreamId, CommandError> {
    StreamId::parse(text, missing_seq)
        .ok_or(CommandError::other("ERR Invalid stream ID specified as stream command argument"))
}

fn strict_ids(words: &[&[u8]]) -> Result<Vec<StreamId>, CommandError> {
    words.iter().map(|word| strict_id(word, 0)).collect()
}

/// Reads an ID, or `-` for the least and `+` for the greatest.
fn any_id(text: &[u8], missing_seq: u64) -> Result<StreamId, CommandError> {
    match text {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        _ => strict_id(text, missing_seq),
    }
}

/// Reads where a range begins: an ID, or `(` and the one before it.
fn range_start(text: &[u8]) -> Result<StreamId, CommandError> {
    match text {
        [b'(', id @ ..] if !id.is_empty() => {
            strict_id(id, 0)?.next().ok_or(CommandError::other("ERR invalid start ID for the interval"))
        }
        _ => any_id(text, 0),
    }
}

/// Reads where a range ends: an ID, or `(` and the one behind it.
fn range_end(text: &[u8]) -> Result<StreamId, CommandError> {
    match text {
        [b'(', id @ ..] if !id.is_empty() => {
            strict_id(id, u64::MAX)?.prev().ok_or(CommandError::other("ERR invalid end ID for the interval"))
        }
        _ => any_id(text, u64::MAX),
    }
}

fn write_id(id: StreamId, out: &mut Encoder<'_>) {
    out.bulk(&id.to_text());
}

fn write_entry(entry: Entry<'_>, out: &mut Encoder<'_>) {
    out.array(2);
    write_id(entry.id, out);
    out.array(2 * entry.fields.len());
    for (field, value) in entry.fields {
        field.with_bytes(|field| out.bulk(field));
        value.with_bytes(|value| out.bulk(value));
    }
}

/// Writes at most `count` entries.
fn write_entries<'a>(entries: impl Iterator<Item = Entry<'a>>, count: Option<usize>, out: &mut Encoder<'_>) {
    out.counted_array(|out| {
        entries.take(count.unwrap_or(usize::MAX)).map(|entry| write_entry(entry, out)).count()
    });
}

/// What a container says that no group of a name is there.
fn no_group_of_key(group: &[u8], key: &[u8]) -> CommandError {
    let (group, key) = (String::from_utf8_lossy(group), String::from_utf8_lossy(key));
    CommandError::other(format!("NOGROUP No such consumer group '{group}' for key name '{key}'"))
}

/// What the other commands say; `command` is what follows.
fn no_key_or_group(key: &[u8], group: &[u8], command: &str) -> CommandError {
    let (group, key) = (String::from_utf8_lossy(group), String::from_utf8_lossy(key));
    CommandError::other(format!("NOGROUP No such key '{key}' or consumer group '{group}'{command}"))
}

/// Redis's words for a subcommand whose options do not fit.
fn wrong_subcommand(argv: &[&[u8]]) -> CommandError {
    CommandError::other(format!(
        "ERR unknown subcommand or wrong number of arguments for '{:.128}'. Try {} HELP.",
        String::from_utf8_lossy(argv[1]),
        String::from_utf8_lossy(argv[0]).to_ascii_uppercase()
    ))
}

/// The effect of handing out an entry: done again, it changes nothing more.
struct Claim {
    id: StreamId,
    consumer: crate::Str,
    delivered_at_ms: i64,
    deliveries: u64,
    /// The group's.
    last_id: StreamId,
}

impl Claim {
    fn propagate(&self, ctx: &mut Ctx<'_>, key: &[u8], group: &[u8]) {
        let (id, last_id) = (self.id.to_string(), self.last_id.to_string());
        let delivered_at_ms = number::format_i64(self.delivered_at_ms);
        let deliveries = self.deliveries.to_string();
        ctx.propagate(&[
            b"XCLAIM",
            key,
            group,
            &self.consumer,
            b"0",
            id.as_bytes(),
            b"TIME",
            delivered_at_ms.as_bytes(),
            b"RETRYCOUNT",
            deliveries.as_bytes(),
            b"FORCE",
            b"JUSTID",
            b"LASTID",
            last_id.as_bytes(),
        ]);
    }
}

/// The effect of a consumer's creation.
fn propagate_consumer(ctx: &mut Ctx<'_>, key: &[u8], group: &[u8], consumer: &[u8]) {
    ctx.propagate(&[b"XGROUP", b"CREATECONSUMER", key, group, consumer]);
}

/// The effect of a group's moving on.
fn propagate_group_id(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    group: &[u8],
    last_id: StreamId,
    entries_read: Option<u64>,
) {
    let (last_id, read) =
        (last_id.to_string(), number::format_i64(entries_read.map_or(-1, |read| read as i64)));
    ctx.propagate(&[b"XGROUP", b"SETID", key, group, last_id.as_bytes(), b"ENTRIESREAD", read.as_bytes()]);
}
