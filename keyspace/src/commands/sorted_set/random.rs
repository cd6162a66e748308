//! ZRANDMEMBER.

use std::collections::BTreeSet;

use resp::{Encoder, Version};

use super::{Done, read, write_member, write_members};
use crate::commands::{repeat, signed};
use crate::types::zset::ZSet;
use crate::{CommandError, Ctx, Random};

pub(super) fn zrandmember(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let Some((count, options)) = argv[2..].split_first() else { return one(ctx, argv[1], out) };
    let count = signed(count)?;
    let with_scores = match options {
        [] => false,
        [word] if word.eq_ignore_ascii_case(b"withscores") => true,
        _ => return Err(CommandError::Syntax),
    };
    if with_scores && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(CommandError::other("ERR value is out of range"));
    }
    let (mut random, max_bytes) = (branch(ctx), ctx.limits().max_repeated_bytes);
    let Some(zset) = read(ctx, argv[1])? else {
        out.array(0);
        return Ok(());
    };
    match usize::try_from(count) {
        Ok(count) => distinct(zset, count, with_scores, &mut random, out),
        Err(_) => {
            return repeated(zset, count.unsigned_abs() as usize, with_scores, max_bytes, &mut random, out);
        }
    }
    Ok(())
}

/// A sequence of its own, to draw from while a value is borrowed.
fn branch(ctx: &mut Ctx<'_>) -> Random {
    Random::new(ctx.random().next_u64())
}

fn one(ctx: &mut Ctx<'_>, key: &[u8], out: &mut Encoder<'_>) -> Done {
    let mut random = branch(ctx);
    match read(ctx, key)?.and_then(|zset| zset.random(&mut random)) {
        Some(member) => write_member(out, member, false),
        None => out.null(),
    }
    Ok(())
}

/// `count` members that may be the same.
fn repeated(
    zset: &ZSet,
    count: usize,
    with_scores: bool,
    max_bytes: usize,
    random: &mut Random,
    out: &mut Encoder<'_>,
) -> Done {
    let nested = with_scores && out.version() == Version::Resp3;
    out.array(if with_scores && !nested { 2 * count } else { count });
    repeat(count, max_bytes, out, |out| {
        let member = zset.random(random)?;
        if nested {
            out.array(2);
        }
        write_member(out, member, with_scores);
        Some(())
    })
}

/// `count` different members, or all.
fn distinct(zset: &ZSet, count: usize, with_scores: bool, random: &mut Random, out: &mut Encoder<'_>) {
    if count >= zset.len() {
        return write_members(out, zset.iter(), with_scores);
    }
    let ranks = sample(zset.len(), count, random);
    let members: Vec<_> = ranks.into_iter().filter_map(|rank| zset.get(rank)).collect();
    write_members(out, members.into_iter(), with_scores);
}

/// Draws `count` of `len` places; every selection is as likely as any other. Source: R. W. Floyd, "A sample of
/// brilliance", CACM 30(9), 1987.
fn sample(len: usize, count: usize, random: &mut Random) -> BTreeSet<usize> {
    let mut chosen = BTreeSet::new();
    for last in len - count..len {
        let place = random.below(last + 1);
        if !chosen.insert(place) {
            chosen.insert(last);
        }
    }
    chosen
}
