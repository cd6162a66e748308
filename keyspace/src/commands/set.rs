//! The set commands.

use std::cmp::Reverse;

use resp::Encoder;

use super::flags::{DENYOOM, FAST, READ, WRITE};
use super::scan::{self, Options};
use super::{DataSpec, Done, count_from, keys, signed, spec};
use crate::effect::deletion;
use crate::types::listpack::Element;
use crate::types::set::{Lookup, Set, Thresholds};
use crate::{CommandError, Ctx, Random, Str, Value, ValueRef};

/// The rows.
#[rustfmt::skip]
pub const TABLE: &[DataSpec] = &[
    spec("sadd",        sadd,        -3, WRITE | DENYOOM | FAST, keys::ADD,          "1.0.0", "Adds members to a set, which it makes if need be."),
    spec("srem",        srem,        -3, WRITE | FAST, keys::REMOVE,       "1.0.0", "Removes members from a set."),
    spec("sismember",   sismember,    3, READ | FAST, keys::LOOK,         "1.0.0", "Says whether a set has a member."),
    spec("smismember",  smismember,  -3, READ | FAST, keys::READ_KEY,     "6.2.0", "Says of each of several members whether a set has it."),
    spec("scard",       scard,        2, READ | FAST, keys::LOOK,         "1.0.0", "Counts the members of a set."),
    spec("smembers",    smembers,     2, READ, keys::READ_KEY,     "1.0.0", "Returns all members of a set."),
    spec("smove",       smove,        4, WRITE | FAST, keys::MOVE,         "1.0.0", "Moves a member from one set to another."),
    spec("spop",        spop,        -2, WRITE | FAST, keys::TAKE,         "1.0.0", "Removes random members from a set and returns them."),
    spec("srandmember", srandmember, -2, READ, keys::READ_KEY,     "1.0.0", "Returns random members of a set."),
    spec("sinter",      sinter,      -2, READ, keys::READ_ALL,     "1.0.0", "Returns the intersection of sets."),
    spec("sinterstore", sinterstore, -3, WRITE | DENYOOM, keys::UPDATE_ALL,   "1.0.0", "Stores the intersection of sets."),
    spec("sintercard",  sintercard,  -3, READ, keys::READ_COUNTED, "7.0.0", "Counts the members of an intersection of sets."),
    spec("sunion",      sunion,      -2, READ, keys::READ_ALL,     "1.0.0", "Returns the union of sets."),
    spec("sunionstore", sunionstore, -3, WRITE | DENYOOM, keys::STORE_ALL,    "1.0.0", "Stores the union of sets."),
    spec("sdiff",       sdiff,       -2, READ, keys::READ_ALL,     "1.0.0", "Returns what the first set has and the others have not."),
    spec("sdiffstore",  sdiffstore,  -3, WRITE | DENYOOM, keys::STORE_ALL,    "1.0.0", "Stores what the first set has and the others have not."),
    spec("sscan",       sscan,       -3, READ, keys::READ_KEY,     "2.8.0", "Iterates over the members of a set."),
];

/// SPOP with a count is logged as SREMs of this many members at most. Source: redis 7.2 `src/t_set.c`.
const SREM_MEMBERS_MAX: usize = 1024;

fn sadd(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (key, members) = (argv[1], &argv[2..]);
    let thresholds = thresholds(ctx);
    let added = match write(ctx, key)? {
        Some(set) => {
            set.expect(members.len(), thresholds);
            add_all(set, members, thresholds)
        }
        None => {
            let mut set = Set::for_members(members[0], members.len(), thresholds);
            let added = add_all(&mut set, members, thresholds);
            ctx.set(key, Value::Set(set));
            added
        }
    };
    if added > 0 {
        ctx.changed(key, 's', "sadd", added);
    }
    out.count(added);
    Ok(())
}

fn add_all(set: &mut Set, members: &[&[u8]], thresholds: Thresholds) -> usize {
    members.iter().filter(|member| set.add(member, thresholds)).count()
}

fn srem(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (key, members) = (argv[1], &argv[2..]);
    let Some(set) = write(ctx, key)? else {
        out.count(0);
        return Ok(());
    };
    let removed = members.iter().filter(|member| set.remove(member)).count();
    let empty = set.is_empty();
    if removed > 0 {
        ctx.changed(key, 's', "srem", removed);
    }
    if empty {
        ctx.delete_empty(key);
    }
    out.count(removed);
    Ok(())
}

fn sismember(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let is_member = read(ctx, argv[1])?.is_some_and(|set| set.contains(argv[2]));
    out.count(usize::from(is_member));
    Ok(())
}

fn smismember(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let set = read(ctx, argv[1])?;
    out.array(argv.len() - 2);
    for member in &argv[2..] {
        out.count(usize::from(set.is_some_and(|set| set.contains(member))));
    }
    Ok(())
}

fn scard(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    out.count(read(ctx, argv[1])?.map_or(0, Set::len));
    Ok(())
}

fn smembers(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    match read(ctx, argv[1])? {
        Some(set) => write_set(out, set),
        None => out.set(0),
    }
    Ok(())
}

fn smove(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (source, destination, member) = (argv[1], argv[2], argv[3]);
    let Some(set) = peek(ctx, source)? else {
        out.count(0);
        return Ok(());
    };
    let is_member = set.contains(member);
    peek(ctx, destination)?;
    out.count(usize::from(is_member));
    if !is_member || source == destination {
        return Ok(());
    }
    let thresholds = thresholds(ctx);
    let mut emptied = false;
    if let Some(set) = write(ctx, source)? {
        set.remove(member);
        emptied = set.is_empty();
    }
    ctx.changed(source, 's', "srem", 1);
    if emptied {
        ctx.delete_empty(source);
    }
    let added = match write(ctx, destination)? {
        Some(set) => set.add(member, thresholds),
        None => {
            let mut set = Set::for_members(member, 1, thresholds);
            let added = set.add(member, thresholds);
            ctx.set(destination, Value::Set(set));
            added
        }
    };
    if added {
        ctx.changed(destination, 's', "sadd", 1);
    }
    Ok(())
}

fn spop(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    match *argv {
        [_, key] => spop_one(ctx, key, out),
        [_, key, count] => spop_count(ctx, key, count, out),
        _ => Err(CommandError::Syntax),
    }
}

fn spop_one(ctx: &mut Ctx<'_>, key: &[u8], out: &mut Encoder<'_>) -> Done {
    let mut random = ctx.random().fork();
    let Some(set) = write(ctx, key)? else {
        out.null();
        return Ok(());
    };
    let Some(member) = set.random(&mut random).map(|element| element.to_str()) else {
        out.null();
        return Ok(());
    };
    set.remove(&member);
    let empty = set.is_empty();
    ctx.changed(key, 's', "spop", 1);
    ctx.propagate(&[b"SREM", key, &member]);
    if empty {
        ctx.delete_empty(key);
    }
    out.bulk(&member);
    Ok(())
}

fn spop_count(ctx: &mut Ctx<'_>, key: &[u8], count: &[u8], out: &mut Encoder<'_>) -> Done {
    let count = count_from(0, count, "ERR value is out of range, must be positive")?;
    let len = peek(ctx, key)?.map_or(0, Set::len);
    if count == 0 || len == 0 {
        out.set(0);
        return Ok(());
    }
    if count >= len {
        return spop_all(ctx, key, out);
    }
    let (mut random, thresholds) = (ctx.random().fork(), thresholds(ctx));
    let Some(set) = write(ctx, key)? else { return Ok(()) };
    let popped = set.pop(count, &mut random, thresholds);
    ctx.changed(key, 's', "spop", popped.len());
    for batch in popped.chunks(SREM_MEMBERS_MAX) {
        let words: Vec<&[u8]> =
            [&b"SREM"[..], key].into_iter().chain(batch.iter().map(Str::as_slice)).collect();
        ctx.propagate(&words);
    }
    out.set(popped.len());
    popped.iter().for_each(|member| out.bulk(member));
    Ok(())
}

fn spop_all(ctx: &mut Ctx<'_>, key: &[u8], out: &mut Encoder<'_>) -> Done {
    let lazy = ctx.limits().lazy_server_del;
    let Some(set) = read(ctx, key)? else { return Ok(()) };
    let len = set.len();
    write_set(out, set);
    ctx.changed(key, 's', "spop", len);
    ctx.propagate(&[deletion(lazy), key]);
    ctx.delete(key, lazy);
    ctx.notify('g', "del", key);
    Ok(())
}

fn srandmember(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let mut random = ctx.random().fork();
    match *argv {
        [_, key] => {
            match read(ctx, key)?.and_then(|set| set.random(&mut random)) {
                Some(element) => write_element(out, element),
                None => out.null(),
            }
            Ok(())
        }
        [_, key, count] => {
            let count = signed(count)?;
            let max_bytes = ctx.limits().max_repeated_bytes;
            match read(ctx, key)? {
                Some(set) => return write_random(set, count, max_bytes, &mut random, out),
                None => out.array(0),
            }
            Ok(())
        }
        _ => Err(CommandError::Syntax),
    }
}

/// Writes `count` different members, or `-count` that may be the same.
fn write_random(set: &Set, count: i64, max_bytes: usize, random: &mut Random, out: &mut Encoder<'_>) -> Done {
    let len = count.unsigned_abs() as usize;
    if count >= 0 {
        out.array(len.min(set.len()));
        set.sample(len, random, |element| write_element(out, element));
        return Ok(());
    }
    out.array(len);
    // A set that is stored has members.
    super::repeat(len, max_bytes, out, |out| set.random(random).map(|element| write_element(out, element)))
}

fn sinter(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let sets = smallest_first(read_all(ctx, &argv[1..])?);
    let mut members = Vec::with_capacity(sets.first().map_or(0, Set::len).min(1024));
    intersection(&sets).for_each(|element| members.push(element));
    write_members(out, &members);
    Ok(())
}

fn sinterstore(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let sets = smallest_first(read_all(ctx, &argv[2..])?);
    let thresholds = thresholds(ctx);
    // In a listpack members are added sooner than in an intset, unless they come in order. Source: redis 7.2
    // `src/t_set.c` `sinterGenericCommand`.
    let ascending = sets.first().is_some_and(|set| set.as_intset().is_some());
    let mut result = if ascending { Set::default() } else { Set::listpack() };
    add_elements(&mut result, intersection(&sets), thresholds);
    result.prefer_intset(thresholds);
    store(ctx, argv[1], result, "sinterstore", out);
    Ok(())
}

fn sintercard(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let count = count_from(1, argv[1], "ERR numkeys should be greater than 0")?;
    if count > argv.len() - 2 {
        return Err(CommandError::other("ERR Number of keys can't be greater than number of args"));
    }
    let (names, mut options) = argv[2..].split_at(count);
    let mut limit = 0;
    while let [name, value, rest @ ..] = options {
        if !name.eq_ignore_ascii_case(b"limit") {
            return Err(CommandError::Syntax);
        }
        limit = count_from(0, value, "ERR LIMIT can't be negative")?;
        options = rest;
    }
    if !options.is_empty() {
        return Err(CommandError::Syntax);
    }
    let sets = smallest_first(read_all(ctx, names)?);
    // 0 is no limit.
    out.count(intersection(&sets).take(if limit == 0 { usize::MAX } else { limit }).count());
    Ok(())
}

fn sunion(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let sets = read_all(ctx, &argv[1..])?;
    let result = union(&sets, thresholds(ctx));
    write_set(out, &result);
    Ok(())
}

fn sunionstore(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let sets = read_all(ctx, &argv[2..])?;
    let result = union(&sets, thresholds(ctx));
    store(ctx, argv[1], result, "sunionstore", out);
    Ok(())
}

fn sdiff(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let sets = largest_others_first(read_all(ctx, &argv[1..])?);
    match remainder(&sets, thresholds(ctx)) {
        Some(left) => write_set(out, &left),
        None => write_members(out, &difference(&sets).collect::<Vec<_>>()),
    }
    Ok(())
}

fn sdiffstore(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let sets = largest_others_first(read_all(ctx, &argv[2..])?);
    let thresholds = thresholds(ctx);
    let result = remainder(&sets, thresholds).unwrap_or_else(|| {
        let mut result = Set::default();
        add_elements(&mut result, difference(&sets), thresholds);
        result
    });
    store(ctx, argv[1], result, "sdiffstore", out);
    Ok(())
}

fn sscan(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let cursor = scan::parse_cursor(argv[2])?;
    let Some(set) = read(ctx, argv[1])? else {
        scan::write_empty(out);
        return Ok(());
    };
    let options = Options::parse(&argv[3..], false)?;
    let mut found = Vec::new();
    let next = set.scan(cursor, options.count, |element| {
        if element.with_bytes(|member| options.accepts(member)) {
            found.push(element);
        }
    });
    scan::write_head(out, next, found.len());
    found.into_iter().for_each(|element| write_element(out, element));
    Ok(())
}

// What the handlers share.

fn thresholds(ctx: &Ctx<'_>) -> Thresholds {
    Thresholds::new(ctx.limits(), ctx.seed())
}

fn read<'a>(ctx: &'a mut Ctx<'_>, key: &[u8]) -> Result<Option<&'a Set>, CommandError> {
    typed(ctx.read(key))
}

/// Looks at what a command may change: neither a hit nor a miss, but an access.
fn peek<'a>(ctx: &'a mut Ctx<'_>, key: &[u8]) -> Result<Option<&'a Set>, CommandError> {
    typed(ctx.lookup_write(key))
}

fn typed(value: Option<ValueRef<'_>>) -> Result<Option<&Set>, CommandError> {
    match value {
        Some(ValueRef::Set(set)) => Ok(Some(set)),
        Some(_) => Err(CommandError::WrongType),
        None => Ok(None),
    }
}

fn write<'a>(ctx: &'a mut Ctx<'_>, key: &[u8]) -> Result<Option<&'a mut Set>, CommandError> {
    match ctx.write(key)? {
        Some(Value::Set(set)) => Ok(Some(set)),
        Some(_) => Err(CommandError::WrongType),
        None => Ok(None),
    }
}

/// Reads the sets of all these keys; an absent one is empty.
fn read_all(ctx: &mut Ctx<'_>, names: &[&[u8]]) -> Result<Vec<Set>, CommandError> {
    names.iter().map(|key| Ok(read(ctx, key)?.cloned().unwrap_or_default())).collect()
}

fn smallest_first(mut sets: Vec<Set>) -> Vec<Set> {
    sets.sort_by_key(Set::len);
    sets
}

/// The members of the first set that all others have.
fn intersection(sets: &[Set]) -> impl Iterator<Item = Element<'_>> {
    let (first, others) = first_and_others(sets);
    first.filter(move |&element| others.iter().all(|other| other.contains(element)))
}

/// The others in an order in which the first of them most likely has a member.
fn largest_others_first(mut sets: Vec<Set>) -> Vec<Set> {
    if let Some((_, others)) = sets.split_first_mut() {
        others.sort_by_key(|set| Reverse(set.len()));
    }
    sets
}

/// Whether a difference costs less if the others' members are taken from a copy of the first set than if each of its own
/// is looked up in the others. Source: redis 7.2 `src/t_set.c` `sunionDiffGenericCommand`.
pub(super) fn is_cheaper_to_subtract(lens: impl ExactSizeIterator<Item = usize> + Clone) -> bool {
    let sets = lens.len();
    // Looking up finds most members in the first of the others.
    let looking_up = lens.clone().next().unwrap_or(0).saturating_mul(sets) / 2;
    looking_up > lens.sum()
}

/// The members of the first set that no other has, if that is cheaper than [`difference`].
fn remainder(sets: &[Set], thresholds: Thresholds) -> Option<Set> {
    let (first, others) = sets.split_first()?;
    if !is_cheaper_to_subtract(sets.iter().map(Set::len)) {
        return None;
    }
    let mut left = Set::default();
    add_elements(&mut left, first.iter(), thresholds);
    for element in others.iter().flat_map(Set::iter) {
        if left.is_empty() {
            break;
        }
        element.with_bytes(|member| left.remove(member));
    }
    Some(left)
}

/// The members of the first set that no other has.
fn difference(sets: &[Set]) -> impl Iterator<Item = Element<'_>> {
    let (first, others) = first_and_others(sets);
    first.filter(move |&element| !others.iter().any(|other| other.contains(element)))
}

/// The members of the first set, and the others prepared for being asked for each of them.
fn first_and_others(sets: &[Set]) -> (impl Iterator<Item = Element<'_>>, Vec<Lookup<'_>>) {
    let (first, others) = sets.split_first().unzip();
    let lookup = |other| first.map(|first| Lookup::new(other, first));
    let others = others.unwrap_or_default().iter().filter_map(lookup).collect();
    (first.into_iter().flat_map(Set::iter), others)
}

fn union(sets: &[Set], thresholds: Thresholds) -> Set {
    let mut result = Set::default();
    for set in sets {
        add_elements(&mut result, set.iter(), thresholds);
    }
    result
}

fn add_elements<'a>(set: &mut Set, elements: impl Iterator<Item = Element<'a>>, thresholds: Thresholds) {
    elements.for_each(|element| {
        element.with_bytes(|member| set.add(member, thresholds));
    });
}

/// Puts a result in the place of whatever the destination holds, and replies with its size; an empty one deletes it.
fn store(ctx: &mut Ctx<'_>, key: &[u8], result: Set, event: &'static str, out: &mut Encoder<'_>) {
    let len = result.len();
    if len > 0 {
        ctx.set(key, Value::Set(result));
        ctx.changed(key, 's', event, 1);
    } else if ctx.delete(key, ctx.limits().lazy_server_del) {
        ctx.changed(key, 'g', "del", 1);
    }
    out.count(len);
}

fn write_element(out: &mut Encoder<'_>, element: Element<'_>) {
    element.with_bytes(|bytes| out.bulk(bytes));
}

fn write_members(out: &mut Encoder<'_>, members: &[Element<'_>]) {
    out.set(members.len());
    members.iter().for_each(|&element| write_element(out, element));
}

fn write_set(out: &mut Encoder<'_>, set: &Set) {
    out.set(set.len());
    set.iter().for_each(|element| write_element(out, element));
}
