//! SORT, alone because it reads other keys: those that BY and GET make of each element.
//!
//! ```text
//! SORT key [BY pattern] [LIMIT start count] [GET pattern ...] [ASC|DESC] [ALPHA] [STORE destination]
//!
//! pattern   weight_*        the string at the key that the element makes in place of the first *
//!           data_*->name    the field `name` of the hash at that key
//!           #               (GET) the element itself
//!           no *            (BY) keep the order there is
//! ```

use std::cmp::Ordering;
use std::ops::Range;

use resp::{Encoder, number};

use super::flags::*;
use super::{DataSpec, Done, integer, keys, spec};
use crate::types::list::{ChunkLimit, List};
use crate::types::set::Set;
use crate::types::string::{StringRef, copied};
use crate::{CommandError, Ctx, Str, Value, ValueRef};

/// The rows.
#[rustfmt::skip]
pub const TABLE: &[DataSpec] = &[
    spec("sort", sort, -2, WRITE | DENYOOM | DANGEROUS, keys::SORT, "1.0.0", "Sorts a list, a set or a sorted set; shows or stores the result."),
    spec("sort_ro", sort_ro, -2, READ | DANGEROUS, keys::SORT_RO, "7.0.0", "Sorts a list, a set or a sorted set, and shows the result."),
];

fn sort(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    run(ctx, argv[1], &Options::parse(&argv[2..], true)?, out)
}

fn sort_ro(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    run(ctx, argv[1], &Options::parse(&argv[2..], false)?, out)
}

#[derive(Debug, Default)]
struct Options<'a> {
    by: Option<&'a [u8]>,
    get: Vec<&'a [u8]>,
    /// Start and count; a negative count is all.
    limit: Option<(i64, i64)>,
    descending: bool,
    alpha: bool,
    store: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(words: &[&'a [u8]], may_store: bool) -> Result<Self, CommandError> {
        let mut options = Options::default();
        let mut words = words;
        while let [name, rest @ ..] = words {
            words = match (name.to_ascii_lowercase().as_slice(), rest) {
                (b"asc", rest) => {
                    options.descending = false;
                    rest
                }
                (b"desc", rest) => {
                    options.descending = true;
                    rest
                }
                (b"alpha", rest) => {
                    options.alpha = true;
                    rest
                }
                (b"limit", [start, count, rest @ ..]) => {
                    options.limit = Some((integer(start)?, integer(count)?));
                    rest
                }
                (b"store", [key, rest @ ..]) if may_store => {
                    options.store = Some(key);
                    rest
                }
                (b"by", [pattern, rest @ ..]) => {
                    options.by = Some(pattern);
                    rest
                }
                (b"get", [pattern, rest @ ..]) => {
                    options.get.push(pattern);
                    rest
                }
                _ => return Err(CommandError::Syntax),
            };
        }
        Ok(options)
    }

    /// Whether BY, naming no key, asks for the order there is.
    fn keeps_order(&self) -> bool {
        self.by.is_some_and(|pattern| !pattern.contains(&b'*'))
    }

    /// The part of `len` elements that LIMIT selects.
    fn range(&self, len: usize) -> Range<usize> {
        let (start, count) = self.limit.unwrap_or((0, -1));
        let start = usize::try_from(start.max(0)).unwrap_or(len).min(len);
        let end = usize::try_from(count).map_or(len, |count| start.saturating_add(count).min(len));
        start..end
    }
}

fn run(ctx: &mut Ctx<'_>, key: &[u8], options: &Options<'_>, out: &mut Encoder<'_>) -> Done {
    let rows = match ctx.read(key) {
        Some(value) if options.keeps_order() => in_order(value, options)?,
        value => {
            let mut elements = all(value, options)?;
            sort_elements(ctx, &mut elements, options)?;
            elements.drain(options.range(elements.len())).collect()
        }
    };
    match options.store {
        None => show(ctx, &rows, &options.get, out),
        Some(to) => store(ctx, &rows, &options.get, to, out),
    }
    Ok(())
}

fn all(value: Option<ValueRef<'_>>, options: &Options<'_>) -> Result<Vec<Str>, CommandError> {
    Ok(match value {
        None => Vec::new(),
        Some(ValueRef::List(list)) => list.iter().map(|element| element.to_str()).collect(),
        Some(ValueRef::ZSet(zset)) => zset.iter().map(|(member, _)| member.to_str()).collect(),
        Some(ValueRef::Set(set)) if options.store.is_some() => in_alphabet(set),
        Some(ValueRef::Set(set)) => set.iter().map(|member| member.to_str()).collect(),
        Some(_) => return Err(CommandError::WrongType),
    })
}

/// What LIMIT selects from the order there is, or from its reverse; nothing else is looked at.
fn in_order(value: ValueRef<'_>, options: &Options<'_>) -> Result<Vec<Str>, CommandError> {
    let places = |len: usize| {
        let Range { start, end } = options.range(len);
        if options.descending { len - end..len - start } else { start..end }
    };
    let mut rows: Vec<Str> = match value {
        ValueRef::List(list) => {
            let places = places(list.len());
            list.iter_from(places.start).take(places.len()).map(|element| element.to_str()).collect()
        }
        ValueRef::ZSet(zset) => zset.range(places(zset.len())).map(|(member, _)| member.to_str()).collect(),
        ValueRef::Set(set) => return Ok(of_set(set, options)),
        _ => return Err(CommandError::WrongType),
    };
    if options.descending {
        rows.reverse();
    }
    Ok(rows)
}

/// A set has no order; what a replay of STORE leaves must not depend on a table's.
fn in_alphabet(set: &Set) -> Vec<Str> {
    let mut members: Vec<Str> = set.iter().map(|member| member.to_str()).collect();
    members.sort_unstable();
    members
}

/// What LIMIT selects of a set. What has no order has no reverse, unless it is stored.
fn of_set(set: &Set, options: &Options<'_>) -> Vec<Str> {
    let range = options.range(set.len());
    if options.store.is_none() {
        return set.iter().skip(range.start).take(range.len()).map(|member| member.to_str()).collect();
    }
    let mut members = in_alphabet(set);
    if options.descending {
        members.reverse();
    }
    members.drain(range).collect()
}

/// What an element is sorted by.
enum Weight {
    Number(f64),
    /// Nothing comes first.
    Text(Option<Str>),
}

fn sort_elements(ctx: &mut Ctx<'_>, elements: &mut Vec<Str>, options: &Options<'_>) -> Done {
    let mut weighed = Vec::with_capacity(elements.len());
    for element in elements.drain(..) {
        let by = match options.by {
            None => Some(element.clone()),
            Some(pattern) => look_up(ctx, pattern, &element),
        };
        let weight = match by {
            by if options.alpha => Weight::Text(by),
            // No weight is zero.
            None => Weight::Number(0.0),
            Some(text) => Weight::Number(parse_weight(&text)?),
        };
        weighed.push((weight, element));
    }
    // Elements of equal weight keep their order; those of equal number are in the alphabet's.
    weighed.sort_by(|(a, one), (b, other)| {
        let order = match (a, b) {
            (Weight::Number(a), Weight::Number(b)) => a.total_cmp(b).then_with(|| one.cmp(other)),
            (Weight::Text(a), Weight::Text(b)) => a.cmp(b),
            // One SORT has weights of one kind.
            _ => Ordering::Equal,
        };
        if options.descending { order.reverse() } else { order }
    });
    elements.extend(weighed.into_iter().map(|(_, element)| element));
    Ok(())
}

/// Reads a weight as `strtod` does: blanks in front are skipped, and the empty string is zero.
fn parse_weight(text: &[u8]) -> Result<f64, CommandError> {
    let trimmed = text.trim_ascii_start();
    if text.is_empty() {
        return Ok(0.0);
    }
    // Adding zero makes one of -0 and 0.
    number::parse_f64(trimmed)
        .map(|weight| weight + 0.0)
        .ok_or(CommandError::other("ERR One or more scores can't be converted into double"))
}

/// The string that a pattern of BY or GET leads to from an element.
fn look_up(ctx: &mut Ctx<'_>, pattern: &[u8], element: &Str) -> Option<Str> {
    if pattern == b"#" {
        return Some(element.clone());
    }
    let star = memchr::memchr(b'*', pattern)?;
    let (before, after) = (&pattern[..star], &pattern[star + 1..]);
    // The name of a field is behind the first arrow after the star, unless nothing is.
    let arrow = memchr::memmem::find(after, b"->").filter(|arrow| arrow + 2 < after.len());
    let (after, field) = match arrow {
        Some(arrow) => (&after[..arrow], Some(&after[arrow + 2..])),
        None => (after, None),
    };
    let key = [before, element, after].concat();
    match (ctx.read(&key)?, field) {
        (ValueRef::Hash(hash), Some(field)) => hash.get(field).map(|value| value.to_str()),
        (value, None) => StringRef::of(value).ok().map(|text| copied(&text.contiguous())),
        _ => None,
    }
}

fn show(ctx: &mut Ctx<'_>, rows: &[Str], get: &[&[u8]], out: &mut Encoder<'_>) {
    out.array(rows.len() * get.len().max(1));
    for row in rows {
        if get.is_empty() {
            out.bulk(row);
        }
        for pattern in get {
            match look_up(ctx, pattern, row) {
                Some(text) => out.bulk(&text),
                None => out.null(),
            }
        }
    }
}

/// Stores the rows as a list in the place of `to`; no rows delete it.
fn store(ctx: &mut Ctx<'_>, rows: &[Str], get: &[&[u8]], to: &[u8], out: &mut Encoder<'_>) {
    let mut stored = Vec::with_capacity(rows.len() * get.len().max(1));
    for row in rows {
        if get.is_empty() {
            stored.push(row.clone());
        }
        stored.extend(get.iter().map(|pattern| look_up(ctx, pattern, row).unwrap_or_default()));
    }
    if !stored.is_empty() {
        let limit = ChunkLimit::of(ctx.limits());
        let list = List::of(stored.iter().map(Str::as_slice), limit);
        ctx.set(to, Value::List(list));
        ctx.changed(to, 'l', "sortstore", stored.len());
    } else if ctx.delete(to, ctx.limits().lazy_server_del) {
        ctx.changed(to, 'g', "del", 1);
    }
    out.count(stored.len());
}
