//! The sorted-set commands.

mod combine;
mod pop;
mod random;
mod range;

use resp::{Encoder, Version, number};
use smallvec::SmallVec;

use self::combine::{zdiff, zdiffstore, zinter, zintercard, zinterstore, zunion, zunionstore};
use self::pop::{bzmpop, bzpopmax, bzpopmin, zmpop, zpopmax, zpopmin};
use self::random::zrandmember;
use self::range::{
    zcount, zlexcount, zrange, zrangebylex, zrangebyscore, zrangestore, zremrangebylex, zremrangebyrank,
    zremrangebyscore, zrevrange, zrevrangebylex, zrevrangebyscore,
};
use super::flags::*;
use super::scan::{self, Options};
use super::{DataSpec, Done, keys, spec};
use crate::types::listpack::Element;
use crate::types::zset::{Scored, Thresholds, ZSet};
use crate::{CommandError, Ctx, Value, ValueRef};

/// The rows.
#[rustfmt::skip]
pub const TABLE: &[DataSpec] = &[
    spec("bzmpop", bzmpop, -5, WRITE | BLOCKING, keys::TAKE_COUNTED_BEHIND_TIMEOUT, "7.0.0", "Pops from the first sorted set that has members, or waits for one."),
    spec("bzpopmax", bzpopmax, -3, WRITE | FAST | BLOCKING, keys::TAKE_BEFORE_TIMEOUT, "5.0.0", "Pops the member with the highest score, or waits for one."),
    spec("bzpopmin", bzpopmin, -3, WRITE | FAST | BLOCKING, keys::TAKE_BEFORE_TIMEOUT, "5.0.0", "Pops the member with the lowest score, or waits for one."),
    spec("zadd", zadd, -4, WRITE | DENYOOM | FAST, keys::UPDATE_KEY, "1.2.0", "Adds members, or changes their scores."),
    spec("zcard", zcard, 2, READ | FAST, keys::LOOK, "1.2.0", "Counts the members."),
    spec("zcount", zcount, 4, READ | FAST, keys::READ_KEY, "2.0.0", "Counts the members with scores in a range."),
    spec("zdiff", zdiff, -3, READ, keys::READ_COUNTED, "6.2.0", "Lists the members of the first sorted set that the others lack."),
    spec("zdiffstore", zdiffstore, -4, WRITE | DENYOOM, keys::STORE_COUNTED, "6.2.0", "Stores the members of the first sorted set that the others lack."),
    spec("zincrby", zincrby, 4, WRITE | DENYOOM | FAST, keys::CHANGE, "1.2.0", "Adds to a member's score."),
    spec("zinter", zinter, -3, READ, keys::READ_COUNTED, "6.2.0", "Lists the members that all sorted sets have."),
    spec("zintercard", zintercard, -3, READ, keys::READ_COUNTED, "7.0.0", "Counts the members that all sorted sets have."),
    spec("zinterstore", zinterstore, -4, WRITE | DENYOOM, keys::STORE_COUNTED, "2.0.0", "Stores the members that all sorted sets have."),
    spec("zlexcount", zlexcount, 4, READ | FAST, keys::READ_KEY, "2.8.9", "Counts the members in a range of strings."),
    spec("zmpop", zmpop, -4, WRITE, keys::TAKE_COUNTED, "7.0.0", "Pops from the first sorted set that has members."),
    spec("zmscore", zmscore, -3, READ | FAST, keys::READ_KEY, "6.2.0", "Tells the scores of members."),
    spec("zpopmax", zpopmax, -2, WRITE | FAST, keys::TAKE, "5.0.0", "Pops the members with the highest scores."),
    spec("zpopmin", zpopmin, -2, WRITE | FAST, keys::TAKE, "5.0.0", "Pops the members with the lowest scores."),
    spec("zrandmember", zrandmember, -2, READ, keys::READ_KEY, "6.2.0", "Lists members by chance."),
    spec("zrange", zrange, -4, READ, keys::READ_KEY, "1.2.0", "Lists the members in a range of places, scores or strings."),
    spec("zrangebylex", zrangebylex, -4, READ, keys::READ_KEY, "2.8.9", "Lists the members in a range of strings."),
    spec("zrangebyscore", zrangebyscore, -4, READ, keys::READ_KEY, "1.0.5", "Lists the members with scores in a range."),
    spec("zrangestore", zrangestore, -5, WRITE | DENYOOM, keys::STORE_ONE, "6.2.0", "Stores the members in a range of places, scores or strings."),
    spec("zrank", zrank, -3, READ | FAST, keys::READ_KEY, "2.0.0", "Tells a member's place, counted from the lowest score."),
    spec("zrem", zrem, -3, WRITE | FAST, keys::REMOVE, "1.2.0", "Removes members."),
    spec("zremrangebylex", zremrangebylex, 4, WRITE, keys::REMOVE, "2.8.9", "Removes the members in a range of strings."),
    spec("zremrangebyrank", zremrangebyrank, 4, WRITE, keys::REMOVE, "2.0.0", "Removes the members in a range of places."),
    spec("zremrangebyscore", zremrangebyscore, 4, WRITE, keys::REMOVE, "1.2.0", "Removes the members with scores in a range."),
    spec("zrevrange", zrevrange, -4, READ, keys::READ_KEY, "1.2.0", "Lists the members in a range of places, from the highest score."),
    spec("zrevrangebylex", zrevrangebylex, -4, READ, keys::READ_KEY, "2.8.9", "Lists the members in a range of strings, from the highest."),
    spec("zrevrangebyscore", zrevrangebyscore, -4, READ, keys::READ_KEY, "2.2.0", "Lists the members with scores in a range, from the highest."),
    spec("zrevrank", zrevrank, -3, READ | FAST, keys::READ_KEY, "2.0.0", "Tells a member's place, counted from the highest score."),
    spec("zscan", zscan, -3, READ, keys::READ_KEY, "2.8.0", "Walks through members and scores by a cursor."),
    spec("zscore", zscore, 3, READ | FAST, keys::READ_KEY, "1.2.0", "Tells a member's score."),
    spec("zunion", zunion, -3, READ, keys::READ_COUNTED, "6.2.0", "Lists the members that any sorted set has."),
    spec("zunionstore", zunionstore, -4, WRITE | DENYOOM, keys::STORE_COUNTED, "2.0.0", "Stores the members that any sorted set has."),
];

/// The sorted set under a key, to be read.
pub(super) fn read<'c>(ctx: &'c mut Ctx<'_>, key: &[u8]) -> Result<Option<&'c ZSet>, CommandError> {
    match ctx.read(key) {
        Some(ValueRef::ZSet(zset)) => Ok(Some(zset)),
        Some(_) => Err(CommandError::WrongType),
        None => Ok(None),
    }
}

/// The sorted set under a key, to be changed.
fn write<'c>(ctx: &'c mut Ctx<'_>, key: &[u8]) -> Result<Option<&'c mut ZSet>, CommandError> {
    match ctx.write(key)? {
        Some(Value::ZSet(zset)) => Ok(Some(zset)),
        Some(_) => Err(CommandError::WrongType),
        None => Ok(None),
    }
}

fn thresholds(ctx: &Ctx<'_>) -> Thresholds {
    Thresholds::new(ctx.limits(), ctx.seed())
}

/// An array of members, each followed by its score if that is wanted: in RESP3 the two are an array of their own.
fn write_members<'a>(
    out: &mut Encoder<'_>,
    members: impl ExactSizeIterator<Item = (Element<'a>, f64)>,
    with_scores: bool,
) {
    let nested = with_scores && out.version() == Version::Resp3;
    let flat = with_scores && !nested;
    out.array(members.len() << u32::from(flat));
    for member in members {
        if nested {
            out.array(2);
        }
        write_member(out, member, with_scores);
    }
}

fn write_member(out: &mut Encoder<'_>, (member, score): (Element<'_>, f64), with_score: bool) {
    member.with_bytes(|member| out.bulk(member));
    if with_score {
        out.double(score);
    }
}

/// What a STORE command ends with: the members become the value of a key, or the key goes if there are none.
pub(super) fn store(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    members: Vec<Scored>,
    event: &'static str,
    out: &mut Encoder<'_>,
) -> Done {
    out.count(members.len());
    if members.is_empty() {
        if ctx.delete(key, ctx.limits().lazy_server_del) {
            ctx.changed(key, 'g', "del", 1);
        }
        return Ok(());
    }
    let zset = ZSet::from_members(members, thresholds(ctx));
    ctx.set(key, Value::ZSet(zset));
    ctx.changed(key, 'z', event, 1);
    Ok(())
}

/// ZADD's options; ZINCRBY is ZADD with INCR.
#[derive(Debug, Clone, Copy, Default)]
struct AddOptions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
    ch: bool,
    incr: bool,
}

impl AddOptions {
    /// Takes the options off the front of the words; scores and members are left.
    fn parse<'w, 'a>(mut self, mut words: &'w [&'a [u8]]) -> (Self, &'w [&'a [u8]]) {
        // Scores mostly begin with a digit.
        while let [word @ [b'a'..=b'z' | b'A'..=b'Z', ..], rest @ ..] = words {
            let options: [(&str, &mut bool); 6] = [
                ("nx", &mut self.nx),
                ("xx", &mut self.xx),
                ("ch", &mut self.ch),
                ("incr", &mut self.incr),
                ("gt", &mut self.gt),
                ("lt", &mut self.lt),
            ];
            let found = options.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()));
            let Some((_, option)) = found else { break };
            *option = true;
            words = rest;
        }
        (self, words)
    }

    fn check(self, words: usize) -> Done {
        if words == 0 || !words.is_multiple_of(2) {
            return Err(CommandError::Syntax);
        }
        let text = if self.nx && self.xx {
            "ERR XX and NX options at the same time are not compatible"
        } else if (self.gt || self.lt) && self.nx || self.gt && self.lt {
            "ERR GT, LT, and/or NX options at the same time are not compatible"
        } else if self.incr && words > 2 {
            "ERR INCR option supports a single increment-element pair"
        } else {
            return Ok(());
        };
        Err(CommandError::other(text))
    }

    /// The score that a member will probably get, while it is not known what it has. With NX those that are there,
    /// which most are where a set is not new, get none.
    fn likely(self, score: f64) -> Option<f64> {
        (!self.incr && !self.nx).then_some(score)
    }

    /// The score that a member gets, if it gets one.
    fn decide(self, old: Option<f64>, score: f64) -> Result<Option<f64>, CommandError> {
        let Some(old) = old else { return Ok((!self.xx).then_some(score)) };
        let score = if self.incr { old + score } else { score };
        if self.nx {
            return Ok(None);
        }
        if score.is_nan() {
            return Err(CommandError::other("ERR resulting score is not a number (NaN)"));
        }
        let refused = self.lt && score >= old || self.gt && score <= old;
        Ok((!refused).then_some(score))
    }
}

pub(super) fn zadd(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    add(ctx, argv, AddOptions::default(), out)
}

fn zincrby(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    add(ctx, argv, AddOptions { incr: true, ..AddOptions::default() }, out)
}

fn add(ctx: &mut Ctx<'_>, argv: &[&[u8]], options: AddOptions, out: &mut Encoder<'_>) -> Done {
    let key = argv[1];
    let (options, words) = options.parse(&argv[2..]);
    options.check(words.len())?;
    let mut scores: SmallVec<[f64; 4]> = SmallVec::new();
    for pair in words.chunks_exact(2) {
        scores.push(number::parse_f64(pair[0]).ok_or(CommandError::NotAFloat)?);
    }
    let thresholds = thresholds(ctx);

    let mut new = None;
    let zset = match write(ctx, key)? {
        Some(zset) => {
            zset.expect(scores.len(), thresholds);
            zset
        }
        None => new.insert(ZSet::for_members(words[1], scores.len(), thresholds)),
    };
    let (mut added, mut updated, mut result) = (0, 0, None);
    for (pair, &score) in words.chunks_exact(2).zip(&scores) {
        let decide = |old| options.decide(old, score);
        let (old, new) = zset.update(pair[1], options.likely(score), thresholds, decide)?;
        result = new.or(result);
        if new.is_some() && new != old {
            added += usize::from(old.is_none());
            updated += usize::from(old.is_some());
        }
    }
    if let Some(zset) = new.filter(|zset| !zset.is_empty()) {
        ctx.set(key, Value::ZSet(zset));
    }
    if added + updated > 0 {
        ctx.changed(key, 'z', if options.incr { "zincr" } else { "zadd" }, added + updated);
    }
    match result {
        Some(score) if options.incr => out.double(score),
        None if options.incr => out.null(),
        _ => out.count(if options.ch { added + updated } else { added }),
    }
    Ok(())
}

fn zcard(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    out.count(read(ctx, argv[1])?.map_or(0, ZSet::len));
    Ok(())
}

fn zmscore(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let zset = read(ctx, argv[1])?;
    out.array(argv.len() - 2);
    for member in &argv[2..] {
        write_score(out, zset.and_then(|zset| zset.score(member)));
    }
    Ok(())
}

fn zrank(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    rank(ctx, argv, false, out)
}

fn zrevrank(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    rank(ctx, argv, true, out)
}

fn rank(ctx: &mut Ctx<'_>, argv: &[&[u8]], reverse: bool, out: &mut Encoder<'_>) -> Done {
    let with_score = match &argv[3..] {
        [] => false,
        [word] if word.eq_ignore_ascii_case(b"withscore") => true,
        [_] => return Err(CommandError::Syntax),
        _ => return Err(CommandError::Arity(if reverse { "zrevrank" } else { "zrank" }.into())),
    };
    let found = read(ctx, argv[1])?.and_then(|zset| {
        let (rank, score) = zset.rank(argv[2])?;
        Some((if reverse { zset.len() - 1 - rank } else { rank }, score))
    });
    match found {
        Some((rank, score)) if with_score => {
            out.array(2);
            out.count(rank);
            out.double(score);
        }
        Some((rank, _)) => out.count(rank),
        None if with_score => out.null_array(),
        None => out.null(),
    }
    Ok(())
}

fn zrem(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let key = argv[1];
    let Some(zset) = write(ctx, key)? else {
        out.integer(0);
        return Ok(());
    };
    let removed = argv[2..].iter().filter(|member| zset.remove(member).is_some()).count();
    let is_empty = zset.is_empty();
    removed_from(ctx, key, "zrem", removed, is_empty);
    out.count(removed);
    Ok(())
}

/// Leaves the traces of a removal.
fn removed_from(ctx: &mut Ctx<'_>, key: &[u8], event: &'static str, removed: usize, is_empty: bool) {
    if removed > 0 {
        ctx.changed(key, 'z', event, removed);
        if is_empty {
            ctx.delete_empty(key);
        }
    }
}

fn zscan(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let cursor = scan::parse_cursor(argv[2])?;
    let Some(zset) = read(ctx, argv[1])? else {
        scan::write_empty(out);
        return Ok(());
    };
    let options = Options::parse(&argv[3..], false)?;
    match zset.as_large() {
        Some(large) => {
            let mut found = Vec::new();
            let next = large.scan(cursor, options.count, |(member, score)| {
                if member.with_bytes(|member| options.accepts(member)) {
                    found.push((member, score));
                }
            });
            scan::write_head(out, next, 2 * found.len());
            for (member, score) in found {
                member.with_bytes(|member| out.bulk(member));
                out.bulk(seventeen_digits(score).as_bytes());
            }
        }
        None => scan::write_all(out, |out| {
            let mut written = 0;
            for (member, score) in zset.iter() {
                if member.with_bytes(|member| options.accepts(member)) {
                    member.with_bytes(|member| out.bulk(member));
                    out.bulk(number::format_f64(score).as_bytes());
                    written += 2;
                }
            }
            written
        }),
    }
    Ok(())
}

/// Prints a score as C's `%.17g` does: in this one place Redis does not look for the shortest form.
/// Source: redis 7.2 `src/db.c` `scanCallback`.
fn seventeen_digits(score: f64) -> String {
    let scientific = format!("{score:.16e}");
    // Infinities have no exponent.
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let trim = |digits: &str| match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => digits.to_owned(),
    };
    match exponent.parse().unwrap_or(0i32) {
        exponent @ -4..17 => trim(&format!("{score:.*}", (16 - exponent) as usize)),
        exponent => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{}e{sign}{:02}", trim(mantissa), exponent.unsigned_abs())
        }
    }
}

fn zscore(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let score = read(ctx, argv[1])?.and_then(|zset| zset.score(argv[2]));
    write_score(out, score);
    Ok(())
}

fn write_score(out: &mut Encoder<'_>, score: Option<f64>) {
    match score {
        Some(score) => out.double(score),
        None => out.null(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zscan_prints_seventeen_digits() {
        for (score, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (3.0, "3"),
            (0.1, "0.10000000000000001"),
            (-2.25, "-2.25"),
            (1e-4, "0.0001"),
            (1e-5, "1.0000000000000001e-05"),
            (1e20, "1e+20"),
            (12345678901234567.0, "12345678901234568"),
            (123456789012345678.0, "1.2345678901234568e+17"),
            (5e-324, "4.9406564584124654e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(seventeen_digits(score), text);
        }
    }
}
