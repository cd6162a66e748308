//! The hash commands.

use resp::{Encoder, Version, number};

use super::flags::{DENYOOM, FAST, READ, WRITE};
use super::scan::{self, Options};
use super::{DataSpec, Done, integer, keys, signed, spec};
use crate::types::hash::{Hash, Thresholds};
use crate::types::listpack::Element;
use crate::types::long_double::LongDouble;
use crate::{CommandError, Ctx, Random, Value, ValueRef};

/// The rows.
#[rustfmt::skip]
pub const TABLE: &[DataSpec] = &[
    spec("hset",         hset,         -4, WRITE | DENYOOM | FAST, keys::UPDATE_KEY, "2.0.0", "Sets fields of a hash, which it makes if need be."),
    spec("hsetnx",       hsetnx,        4, WRITE | DENYOOM | FAST, keys::ADD,        "2.0.0", "Sets a field of a hash unless it is there."),
    spec("hmset",        hmset,        -4, WRITE | DENYOOM | FAST, keys::UPDATE_KEY, "2.0.0", "Sets fields of a hash; HSET says how many were new."),
    spec("hget",         hget,          3, READ | FAST, keys::READ_KEY,   "2.0.0", "Returns the value of a field."),
    spec("hmget",        hmget,        -3, READ | FAST, keys::READ_KEY,   "2.0.0", "Returns the values of several fields."),
    spec("hdel",         hdel,         -3, WRITE | FAST, keys::REMOVE,     "2.0.0", "Removes fields of a hash."),
    spec("hlen",         hlen,          2, READ | FAST, keys::LOOK,       "2.0.0", "Counts the fields of a hash."),
    spec("hstrlen",      hstrlen,       3, READ | FAST, keys::LOOK,       "3.2.0", "Returns the length of a field's value."),
    spec("hexists",      hexists,       3, READ | FAST, keys::LOOK,       "2.0.0", "Says whether a hash has a field."),
    spec("hkeys",        hkeys,         2, READ, keys::READ_KEY,   "2.0.0", "Returns all fields of a hash."),
    spec("hvals",        hvals,         2, READ, keys::READ_KEY,   "2.0.0", "Returns all values of a hash."),
    spec("hgetall",      hgetall,       2, READ, keys::READ_KEY,   "2.0.0", "Returns all fields of a hash with their values."),
    spec("hincrby",      hincrby,       4, WRITE | DENYOOM | FAST, keys::CHANGE,     "2.0.0", "Adds an integer to the integer in a field."),
    spec("hincrbyfloat", hincrbyfloat,  4, WRITE | DENYOOM | FAST, keys::CHANGE,     "2.6.0", "Adds a float to the number in a field."),
    spec("hrandfield",   hrandfield,   -2, READ, keys::READ_KEY,   "6.2.0", "Returns random fields of a hash."),
    spec("hscan",        hscan,        -3, READ, keys::READ_KEY,   "2.8.0", "Iterates over the fields of a hash with their values."),
];

fn hset(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let added = set_all(ctx, argv, "hset")?;
    out.count(added);
    Ok(())
}

/// Sets fields; returns how many were new.
fn set_all(ctx: &mut Ctx<'_>, argv: &[&[u8]], command: &'static str) -> Result<usize, CommandError> {
    let (key, words) = (argv[1], &argv[2..]);
    if !words.len().is_multiple_of(2) {
        return Err(CommandError::Arity(command.into()));
    }
    let added = update(ctx, key, |hash, thresholds| hash.set_all(words, thresholds))?;
    ctx.changed(key, 'h', "hset", words.len() / 2);
    Ok(added)
}

fn hsetnx(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (key, field, value) = (argv[1], argv[2], argv[3]);
    if peek(ctx, key)?.is_some_and(|hash| hash.get(field).is_some()) {
        out.count(0);
        return Ok(());
    }
    update(ctx, key, |hash, thresholds| hash.set(field, value, thresholds))?;
    ctx.changed(key, 'h', "hset", 1);
    out.count(1);
    Ok(())
}

fn hmset(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    set_all(ctx, argv, "hmset")?;
    out.ok();
    Ok(())
}

fn hget(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    write_value(out, read(ctx, argv[1])?.and_then(|hash| hash.get(argv[2])));
    Ok(())
}

fn hmget(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let hash = read(ctx, argv[1])?;
    out.array(argv.len() - 2);
    for field in &argv[2..] {
        write_value(out, hash.and_then(|hash| hash.get(field)));
    }
    Ok(())
}

fn hdel(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (key, fields) = (argv[1], &argv[2..]);
    let Some(hash) = write(ctx, key)? else {
        out.count(0);
        return Ok(());
    };
    let removed = fields.iter().filter(|field| hash.remove(field)).count();
    let empty = hash.is_empty();
    if removed > 0 {
        ctx.changed(key, 'h', "hdel", removed);
    }
    if empty {
        ctx.delete_empty(key);
    }
    out.count(removed);
    Ok(())
}

fn hlen(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    out.count(read(ctx, argv[1])?.map_or(0, Hash::len));
    Ok(())
}

fn hstrlen(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let value = read(ctx, argv[1])?.and_then(|hash| hash.get(argv[2]));
    out.count(value.map_or(0, |value| value.with_bytes(<[u8]>::len)));
    Ok(())
}

fn hexists(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let exists = read(ctx, argv[1])?.is_some_and(|hash| hash.get(argv[2]).is_some());
    out.count(usize::from(exists));
    Ok(())
}

fn hkeys(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    write_column(ctx, argv[1], out, |(field, _)| field)
}

fn hvals(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    write_column(ctx, argv[1], out, |(_, value)| value)
}

fn write_column(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    out: &mut Encoder<'_>,
    column: impl Fn(Pair<'_>) -> Element<'_>,
) -> Done {
    let hash = read(ctx, key)?;
    out.array(hash.map_or(0, Hash::len));
    hash.into_iter().flat_map(Hash::iter).for_each(|pair| write_element(out, column(pair)));
    Ok(())
}

fn hgetall(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let hash = read(ctx, argv[1])?;
    out.map(hash.map_or(0, Hash::len));
    hash.into_iter().flat_map(Hash::iter).for_each(|pair| write_pair(out, pair));
    Ok(())
}

fn hincrby(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (key, field) = (argv[1], argv[2]);
    let increment = integer(argv[3])?;
    let before = match peek(ctx, key)?.and_then(|hash| hash.get(field)) {
        Some(Element::Int(value)) => Some(value),
        Some(Element::Bytes(text)) => number::parse_i64(text),
        None => Some(0),
    };
    let before = before.ok_or(CommandError::other("ERR hash value is not an integer"))?;
    let after = before
        .checked_add(increment)
        .ok_or(CommandError::other("ERR increment or decrement would overflow"))?;
    let text = number::format_i64(after);
    update(ctx, key, |hash, thresholds| hash.set(field, text.as_bytes(), thresholds))?;
    ctx.changed(key, 'h', "hincrby", 1);
    out.integer(after);
    Ok(())
}

fn hincrbyfloat(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (key, field) = (argv[1], argv[2]);
    let zero = LongDouble::from_i64(0);
    let increment = LongDouble::parse(argv[3]).ok_or(CommandError::NotAFloat)?;
    // Only a finite number can be added to zero.
    zero.checked_add(increment).ok_or(CommandError::other("ERR value is NaN or Infinity"))?;
    let before = match peek(ctx, key)?.and_then(|hash| hash.get(field)) {
        Some(Element::Int(value)) => Some(LongDouble::from_i64(value)),
        Some(Element::Bytes(text)) => LongDouble::parse(text),
        None => Some(zero),
    };
    let before = before.ok_or(CommandError::other("ERR hash value is not a float"))?;
    let after = before
        .checked_add(increment)
        .ok_or(CommandError::other("ERR increment would produce NaN or Infinity"))?
        .format();
    update(ctx, key, |hash, thresholds| hash.set(field, after.as_bytes(), thresholds))?;
    ctx.changed(key, 'h', "hincrbyfloat", 1);
    // The sum, not the addition, is logged: another machine's arithmetic may differ.
    ctx.propagate(&[b"HSET", key, field, after.as_bytes()]);
    out.bulk(after.as_bytes());
    Ok(())
}

fn hrandfield(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let mut random = ctx.random().fork();
    let [_, key] = *argv else { return many_random(ctx, argv, &mut random, out) };
    let field = read(ctx, key)?.and_then(|hash| hash.random(&mut random));
    write_value(out, field.map(|(field, _)| field));
    Ok(())
}

/// Writes `count` different fields, or `-count` that may be the same.
fn many_random(ctx: &mut Ctx<'_>, argv: &[&[u8]], random: &mut Random, out: &mut Encoder<'_>) -> Done {
    let (key, count, with_values) = parse_random(argv)?;
    let max_bytes = ctx.limits().max_repeated_bytes;
    let Some(hash) = read(ctx, key)? else {
        out.array(0);
        return Ok(());
    };
    let wanted = count.unsigned_abs() as usize;
    let len = if count < 0 { wanted } else { wanted.min(hash.len()) };
    let nested = with_values && out.version() == Version::Resp3;
    out.array(if with_values && !nested { 2 * len } else { len });
    let write = |out: &mut Encoder<'_>, pair: Pair<'_>| match (with_values, nested) {
        (false, _) => write_element(out, pair.0),
        (true, false) => write_pair(out, pair),
        (true, true) => {
            out.array(2);
            write_pair(out, pair);
        }
    };
    if count >= 0 {
        hash.sample(wanted, random, |pair| write(out, pair));
        return Ok(());
    }
    // A hash that is stored has fields.
    super::repeat(len, max_bytes, out, |out| hash.random(random).map(|pair| write(out, pair)))
}

/// HRANDFIELD's key and count, and whether it wants values.
fn parse_random<'a>(argv: &[&'a [u8]]) -> Result<(&'a [u8], i64, bool), CommandError> {
    let [_, key, count, options @ ..] = argv else { return Err(CommandError::Syntax) };
    let count = signed(count)?;
    let with_values = match options {
        [] => false,
        [word] if word.eq_ignore_ascii_case(b"withvalues") => true,
        _ => return Err(CommandError::Syntax),
    };
    if with_values && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(CommandError::other("ERR value is out of range"));
    }
    Ok((*key, count, with_values))
}

fn hscan(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let cursor = scan::parse_cursor(argv[2])?;
    let Some(hash) = read(ctx, argv[1])? else {
        scan::write_empty(out);
        return Ok(());
    };
    let options = Options::parse(&argv[3..], false)?;
    let mut found = Vec::new();
    let next = hash.scan(cursor, options.count, |pair| {
        if pair.0.with_bytes(|field| options.accepts(field)) {
            found.push(pair);
        }
    });
    scan::write_head(out, next, 2 * found.len());
    found.into_iter().for_each(|pair| write_pair(out, pair));
    Ok(())
}

// What the handlers share.

/// A field and its value.
type Pair<'a> = (Element<'a>, Element<'a>);

fn read<'a>(ctx: &'a mut Ctx<'_>, key: &[u8]) -> Result<Option<&'a Hash>, CommandError> {
    typed(ctx.read(key))
}

/// Looks at what a command may change: neither a hit nor a miss, but an access.
fn peek<'a>(ctx: &'a mut Ctx<'_>, key: &[u8]) -> Result<Option<&'a Hash>, CommandError> {
    typed(ctx.lookup_write(key))
}

fn typed(value: Option<ValueRef<'_>>) -> Result<Option<&Hash>, CommandError> {
    match value {
        Some(ValueRef::Hash(hash)) => Ok(Some(hash)),
        Some(_) => Err(CommandError::WrongType),
        None => Ok(None),
    }
}

fn write<'a>(ctx: &'a mut Ctx<'_>, key: &[u8]) -> Result<Option<&'a mut Hash>, CommandError> {
    match ctx.write(key)? {
        Some(Value::Hash(hash)) => Ok(Some(hash)),
        Some(_) => Err(CommandError::WrongType),
        None => Ok(None),
    }
}

/// Lets `change` work on the key's hash, which is made if need be.
fn update<T>(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    change: impl FnOnce(&mut Hash, Thresholds) -> T,
) -> Result<T, CommandError> {
    let thresholds = Thresholds::new(ctx.limits(), ctx.seed());
    if let Some(hash) = write(ctx, key)? {
        return Ok(change(hash, thresholds));
    }
    let mut hash = Hash::default();
    let result = change(&mut hash, thresholds);
    ctx.set(key, Value::Hash(hash));
    Ok(result)
}

fn write_element(out: &mut Encoder<'_>, element: Element<'_>) {
    element.with_bytes(|bytes| out.bulk(bytes));
}

fn write_pair(out: &mut Encoder<'_>, (field, value): Pair<'_>) {
    write_element(out, field);
    write_element(out, value);
}

fn write_value(out: &mut Encoder<'_>, value: Option<Element<'_>>) {
    match value {
        Some(value) => write_element(out, value),
        None => out.null(),
    }
}
