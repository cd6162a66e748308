//! Ranges of places, of scores and of strings: listed, counted, stored, removed.

use std::ops::Range;

use resp::{Encoder, number};

use super::{Done, read, removed_from, store, write, write_members};
use crate::commands::integer;
use crate::types::listpack::Element;
use crate::types::zset::{LexBound, LexRange, ScoreRange, Scored, ZSet};
use crate::{CommandError, Ctx};

/// What a range is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rank,
    Score,
    Lex,
}

/// A range with its bounds.
#[derive(Debug, Clone, Copy)]
enum Bounds<'a> {
    /// First and last place; negative counts from the end.
    Rank(i64, i64),
    Score(ScoreRange),
    Lex(LexRange<'a>),
}

impl<'a> Bounds<'a> {
    fn parse(kind: Kind, min: &'a [u8], max: &'a [u8]) -> Result<Self, CommandError> {
        Ok(match kind {
            Kind::Rank => Bounds::Rank(integer(min)?, integer(max)?),
            Kind::Score => {
                let bounds = score_bound(min).zip(score_bound(max));
                let ((min, min_open), (max, max_open)) =
                    bounds.ok_or(CommandError::other("ERR min or max is not a float"))?;
                Bounds::Score(ScoreRange { min, max, min_open, max_open })
            }
            Kind::Lex => {
                let bounds = lex_bound(min).zip(lex_bound(max));
                let (min, max) =
                    bounds.ok_or(CommandError::other("ERR min or max not valid string range item"))?;
                Bounds::Lex(LexRange { min, max })
            }
        })
    }

    /// Whether what it finds depends on how the set lies in memory: strings are in no order where scores differ. As
    /// that is not the same after a replay, the places are logged.
    fn is_vague(&self, zset: &ZSet) -> bool {
        matches!(self, Bounds::Lex(_)) && !zset.has_one_score()
    }

    /// The places of the members in the range.
    fn places(&self, zset: &ZSet) -> Range<usize> {
        match self {
            Bounds::Rank(first, last) => rank_range(*first, *last, zset.len()),
            Bounds::Score(range) => zset.score_range(range),
            Bounds::Lex(range) => zset.lex_range(range),
        }
    }
}

/// Turns places that may be negative or past the end into places that are there.
fn rank_range(first: i64, last: i64, len: usize) -> Range<usize> {
    let from_front = |place: i64| if place < 0 { place + len as i64 } else { place };
    let first = usize::try_from(from_front(first)).unwrap_or(0);
    match usize::try_from(from_front(last)) {
        Ok(last) if first <= last && first < len => first..last.min(len - 1) + 1,
        _ => 0..0,
    }
}

/// Reads a bound on scores and whether it is open (`(1.5`). It goes through `strtod` unguarded in Redis: blanks may
/// lead, nothing is 0, and what is too large is infinite.
/// Source: redis 7.2 `src/t_zset.c` `zslParseRange`.
fn score_bound(text: &[u8]) -> Option<(f64, bool)> {
    let (text, open) = match text {
        [b'(', rest @ ..] => (rest, true),
        _ => (text, false),
    };
    if text.is_empty() {
        return Some((0.0, open));
    }
    let is_blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let start = text.iter().position(|byte| !is_blank(byte))?;
    let text = &text[start..];
    let out_of_range = || std::str::from_utf8(text).ok()?.parse().ok().filter(|value: &f64| !value.is_nan());
    number::parse_f64(text).or_else(out_of_range).map(|value| (value, open))
}

/// Reads a bound on strings. Source: redis 7.2 `src/t_zset.c` `zslParseLexRangeItem`.
fn lex_bound(text: &[u8]) -> Option<LexBound<'_>> {
    match text {
        b"-" => Some(LexBound::Lowest),
        b"+" => Some(LexBound::Highest),
        [b'[', rest @ ..] => Some(LexBound::Closed(rest)),
        [b'(', rest @ ..] => Some(LexBound::Open(rest)),
        _ => None,
    }
}

/// A request of the ZRANGE family, but for its key.
#[derive(Debug, Clone, Copy)]
struct Query<'a> {
    bounds: Bounds<'a>,
    reverse: bool,
    with_scores: bool,
    /// Members to skip; negative finds nothing.
    offset: i64,
    /// Members to list at most; negative means all.
    limit: i64,
}

/// What a command of the family leaves to its options.
#[derive(Debug, Clone, Copy)]
struct Form {
    /// `None`: BYSCORE and BYLEX say it.
    kind: Option<Kind>,
    /// `None`: REV says it.
    reverse: Option<bool>,
    /// Whether WITHSCORES is known.
    may_have_scores: bool,
}

impl<'a> Query<'a> {
    /// Reads the bounds and the options behind them. Source: redis 7.2 `src/t_zset.c` `zrangeGenericCommand`.
    fn parse(words: &[&'a [u8]], form: Form) -> Result<Self, CommandError> {
        let [min, max, options @ ..] = words else { return Err(CommandError::Syntax) };
        let Form { mut kind, mut reverse, may_have_scores } = form;
        let (mut with_scores, mut offset, mut limit) = (false, 0, -1);
        let mut options = options;
        while let [option, rest @ ..] = options {
            options = rest;
            let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
            if may_have_scores && is("withscores") {
                with_scores = true;
            } else if is("limit")
                && let [skipped, count, rest @ ..] = options
            {
                (offset, limit) = (integer(skipped)?, integer(count)?);
                options = rest;
            } else if form.reverse.is_none() && reverse.is_none() && is("rev") {
                reverse = Some(true);
            } else if kind.is_none() && is("bylex") {
                kind = Some(Kind::Lex);
            } else if kind.is_none() && is("byscore") {
                kind = Some(Kind::Score);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        let (kind, reverse) = (kind.unwrap_or(Kind::Rank), reverse.unwrap_or(false));
        if limit != -1 && kind == Kind::Rank {
            return Err(CommandError::other(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if with_scores && kind == Kind::Lex {
            return Err(CommandError::other(
                "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
            ));
        }
        let (min, max) = if reverse && kind != Kind::Rank { (max, min) } else { (min, max) };
        Ok(Query { bounds: Bounds::parse(kind, min, max)?, reverse, with_scores, offset, limit })
    }

    /// The places of the members to list; from the last to the first if the query is reversed.
    fn places(&self, zset: &ZSet) -> Range<usize> {
        let found = self.bounds.places(zset);
        match self.bounds {
            Bounds::Rank(..) if self.reverse => zset.len() - found.end..zset.len() - found.start,
            Bounds::Rank(..) => found,
            _ => self.window(found),
        }
    }

    fn window(&self, found: Range<usize>) -> Range<usize> {
        let Ok(offset) = usize::try_from(self.offset) else { return 0..0 };
        let offset = offset.min(found.len());
        let rest = found.len() - offset;
        let taken = usize::try_from(self.limit).map_or(rest, |limit| limit.min(rest));
        if self.reverse {
            let end = found.end - offset;
            end - taken..end
        } else {
            let start = found.start + offset;
            start..start + taken
        }
    }
}

const LISTING: Form = Form { kind: None, reverse: None, may_have_scores: true };

pub(super) fn zrange(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    list(ctx, argv, LISTING, out)
}

pub(super) fn zrangebylex(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    list(ctx, argv, Form { kind: Some(Kind::Lex), reverse: Some(false), ..LISTING }, out)
}

pub(super) fn zrangebyscore(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    list(ctx, argv, Form { kind: Some(Kind::Score), reverse: Some(false), ..LISTING }, out)
}

pub(super) fn zrevrange(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    list(ctx, argv, Form { kind: Some(Kind::Rank), reverse: Some(true), ..LISTING }, out)
}

pub(super) fn zrevrangebylex(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    list(ctx, argv, Form { kind: Some(Kind::Lex), reverse: Some(true), ..LISTING }, out)
}

pub(super) fn zrevrangebyscore(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    list(ctx, argv, Form { kind: Some(Kind::Score), reverse: Some(true), ..LISTING }, out)
}

fn list(ctx: &mut Ctx<'_>, argv: &[&[u8]], form: Form, out: &mut Encoder<'_>) -> Done {
    let query = Query::parse(&argv[2..], form)?;
    let Some(zset) = read(ctx, argv[1])? else {
        out.array(0);
        return Ok(());
    };
    let members = zset.range(query.places(zset));
    if query.reverse {
        write_members(out, members.rev(), query.with_scores);
    } else {
        write_members(out, members, query.with_scores);
    }
    Ok(())
}

pub(super) fn zrangestore(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let query = Query::parse(&argv[3..], Form { may_have_scores: false, ..LISTING })?;
    let Some(zset) = read(ctx, argv[2])? else { return store(ctx, argv[1], Vec::new(), "zrangestore", out) };
    let places = query.places(zset);
    let is_vague = query.bounds.is_vague(zset);
    let scored = |(member, score): (Element<'_>, f64)| Scored { score, member: member.to_str() };
    let members = zset.range(places.clone()).map(scored).collect();
    store(ctx, argv[1], members, "zrangestore", out)?;
    if is_vague && ctx.has_changed() {
        let [first, last] = first_and_last(&places);
        ctx.propagate(&[b"ZRANGESTORE", argv[1], argv[2], &first, &last]);
    }
    Ok(())
}

/// Places as the arguments of a command.
fn first_and_last(places: &Range<usize>) -> [Vec<u8>; 2] {
    let (first, last) = if places.is_empty() { (1, 0) } else { (places.start, places.end - 1) };
    [first, last].map(|place| place.to_string().into_bytes())
}

pub(super) fn zcount(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    count(ctx, argv, Kind::Score, out)
}

pub(super) fn zlexcount(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    count(ctx, argv, Kind::Lex, out)
}

fn count(ctx: &mut Ctx<'_>, argv: &[&[u8]], kind: Kind, out: &mut Encoder<'_>) -> Done {
    let bounds = Bounds::parse(kind, argv[2], argv[3])?;
    out.count(read(ctx, argv[1])?.map_or(0, |zset| bounds.places(zset).len()));
    Ok(())
}

pub(super) fn zremrangebylex(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    remove(ctx, argv, Kind::Lex, "zremrangebylex", out)
}

pub(super) fn zremrangebyrank(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    remove(ctx, argv, Kind::Rank, "zremrangebyrank", out)
}

pub(super) fn zremrangebyscore(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    remove(ctx, argv, Kind::Score, "zremrangebyscore", out)
}

fn remove(ctx: &mut Ctx<'_>, argv: &[&[u8]], kind: Kind, event: &'static str, out: &mut Encoder<'_>) -> Done {
    let key = argv[1];
    let bounds = Bounds::parse(kind, argv[2], argv[3])?;
    let Some(zset) = write(ctx, key)? else {
        out.integer(0);
        return Ok(());
    };
    let places = bounds.places(zset);
    let removed = places.len();
    let is_vague = bounds.is_vague(zset);
    zset.remove_range(places.clone());
    let is_empty = zset.is_empty();
    removed_from(ctx, key, event, removed, is_empty);
    if is_vague && removed > 0 {
        let [first, last] = first_and_last(&places);
        ctx.propagate(&[b"ZREMRANGEBYRANK", key, &first, &last]);
    }
    out.count(removed);
    Ok(())
}
