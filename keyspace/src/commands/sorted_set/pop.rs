//! Removing the members at an end, of the first key that has any, with or without waiting for one.

use resp::{Encoder, number};

use super::{Done, removed_from, write, write_member, write_members};
use crate::commands::count_from;
use crate::commands::timeout::parse_timeout;
use crate::effect::Block;
use crate::types::listpack::Element;
use crate::{CommandError, Ctx, Str};

/// The end to pop from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

impl End {
    const fn event(self) -> &'static str {
        match self {
            End::Min => "zpopmin",
            End::Max => "zpopmax",
        }
    }

    /// The command that says what was popped, for the log.
    const fn command(self) -> &'static [u8] {
        match self {
            End::Min => b"ZPOPMIN",
            End::Max => b"ZPOPMAX",
        }
    }
}

/// How a reply shows what was popped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// ZPOPMIN: members and scores in one array.
    Flat,
    /// ZPOPMIN with a count: as ZRANGE does it.
    Listed,
    /// BZPOPMIN: the key, a member, its score.
    Keyed,
    /// ZMPOP: the key, and an array of pairs.
    KeyedPairs,
}

impl Shape {
    /// Writes members in the order in which they are popped.
    fn write<'z>(
        self,
        key: &[u8],
        members: impl ExactSizeIterator<Item = (Element<'z>, f64)>,
        out: &mut Encoder<'_>,
    ) {
        match self {
            Shape::Listed => return write_members(out, members, true),
            Shape::Flat => out.array(2 * members.len()),
            Shape::Keyed => {
                out.array(2 * members.len() + 1);
                out.bulk(key);
            }
            Shape::KeyedPairs => {
                out.array(2);
                out.bulk(key);
                out.array(members.len());
            }
        }
        for member in members {
            if self == Shape::KeyedPairs {
                out.array(2);
            }
            write_member(out, member, true);
        }
    }
}

/// Pops up to `count` members from a key and writes them; returns how many, or `None` if the key is not there.
fn pop(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    end: End,
    count: usize,
    shape: Shape,
    out: &mut Encoder<'_>,
) -> Result<Option<usize>, CommandError> {
    let Some(zset) = write(ctx, key)? else { return Ok(None) };
    let count = count.min(zset.len());
    let places = match end {
        End::Min => 0..count,
        End::Max => zset.len() - count..zset.len(),
    };
    match end {
        End::Min => shape.write(key, zset.range(places.clone()), out),
        End::Max => shape.write(key, zset.range(places.clone()).rev(), out),
    }
    zset.remove_range(places);
    let is_empty = zset.is_empty();
    removed_from(ctx, key, end.event(), count, is_empty);
    Ok(Some(count))
}

pub(super) fn zpopmin(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    pop_one_key(ctx, argv, End::Min, out)
}

pub(super) fn zpopmax(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    pop_one_key(ctx, argv, End::Max, out)
}

fn pop_one_key(ctx: &mut Ctx<'_>, argv: &[&[u8]], end: End, out: &mut Encoder<'_>) -> Done {
    let (count, shape) = match &argv[2..] {
        [] => (1, Shape::Flat),
        [count] => (count_from(0, count, "ERR value is out of range, must be positive")?, Shape::Listed),
        _ => return Err(CommandError::Syntax),
    };
    if pop(ctx, argv[1], end, count, shape, out)?.is_none() {
        out.array(0);
    }
    Ok(())
}

/// What ZMPOP and BZMPOP ask for, from the number of keys on.
struct Request<'w, 'a> {
    keys: &'w [&'a [u8]],
    end: End,
    count: usize,
}

impl<'w, 'a> Request<'w, 'a> {
    fn parse(words: &'w [&'a [u8]]) -> Result<Self, CommandError> {
        let [numkeys, words @ ..] = words else { return Err(CommandError::Syntax) };
        let numkeys = count_from(1, numkeys, "ERR numkeys should be greater than 0")?;
        let (keys, words) = words.split_at_checked(numkeys).ok_or(CommandError::Syntax)?;
        let [end, options @ ..] = words else { return Err(CommandError::Syntax) };
        let end = if end.eq_ignore_ascii_case(b"min") {
            End::Min
        } else if end.eq_ignore_ascii_case(b"max") {
            End::Max
        } else {
            return Err(CommandError::Syntax);
        };
        let (count, rest) = match options {
            [name, count, rest @ ..] if name.eq_ignore_ascii_case(b"count") => {
                (count_from(1, count, "ERR count should be greater than 0")?, rest)
            }
            rest => (1, rest),
        };
        if rest.is_empty() { Ok(Request { keys, end, count }) } else { Err(CommandError::Syntax) }
    }

    /// Pops from the first key that has members; false if none has.
    fn serve(&self, ctx: &mut Ctx<'_>, out: &mut Encoder<'_>) -> Result<bool, CommandError> {
        for key in self.keys {
            if let Some(popped) = pop(ctx, key, self.end, self.count, Shape::KeyedPairs, out)? {
                let count = number::format_i64(popped as i64);
                ctx.propagate(&[self.end.command(), key, count.as_bytes()]);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

pub(super) fn zmpop(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let request = Request::parse(&argv[1..])?;
    if !request.serve(ctx, out)? {
        out.null_array();
    }
    Ok(())
}

pub(super) fn bzmpop(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let request = Request::parse(&argv[2..])?;
    let timeout_ms = parse_timeout(argv[1], ctx.now_ms)?;
    if !request.serve(ctx, out)? {
        wait(ctx, request.keys, timeout_ms, out);
    }
    Ok(())
}

pub(super) fn bzpopmin(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    pop_or_wait(ctx, argv, End::Min, out)
}

pub(super) fn bzpopmax(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    pop_or_wait(ctx, argv, End::Max, out)
}

fn pop_or_wait(ctx: &mut Ctx<'_>, argv: &[&[u8]], end: End, out: &mut Encoder<'_>) -> Done {
    let [_, keys @ .., timeout] = argv else { return Err(CommandError::Syntax) };
    let timeout_ms = parse_timeout(timeout, ctx.now_ms)?;
    for key in keys {
        if pop(ctx, key, end, 1, Shape::Keyed, out)?.is_some() {
            ctx.propagate(&[end.command(), key]);
            return Ok(());
        }
    }
    wait(ctx, keys, timeout_ms, out);
    Ok(())
}

fn wait(ctx: &mut Ctx<'_>, keys: &[&[u8]], timeout_ms: Option<u64>, out: &mut Encoder<'_>) {
    let keys = keys.iter().map(|key| Str::from(*key)).collect();
    if !ctx.block(Block { keys, timeout_ms, type_name: "zset", wakes_without_it: false, again: None }) {
        out.null_array();
    }
}
