//! The generic commands: what works on a key whatever it holds, and on whole databases.

use resp::{Encoder, number};

use super::flags::*;
use super::scan::{self, Options};
use super::{DataSpec, Done, Keys, integer, keys, spec, unknown_subcommand, write_help};
use crate::{CommandError, Ctx, Str, Usage, ValueRef, glob};

/// The rows of single keys.
#[rustfmt::skip]
pub const TABLE: &[DataSpec] = &[
    spec("copy", copy, -3, WRITE | DENYOOM, keys::COPY, "6.2.0", "Copies a value to another key, perhaps in another database."),
    spec("del", del, -2, WRITE, keys::DELETE_ALL, "1.0.0", "Deletes keys."),
    spec("exists", exists, -2, READ | FAST, keys::LOOK_ALL, "1.0.0", "Counts the keys that are there."),
    spec("expire", expire, -3, WRITE | FAST, keys::UPDATE_KEY, "1.0.0", "Sets a time to live in seconds."),
    spec("expireat", expireat, -3, WRITE | FAST, keys::UPDATE_KEY, "1.2.0", "Sets the Unix time, in seconds, at which a key expires."),
    spec("expiretime", expiretime, 2, READ | FAST, keys::READ_KEY, "7.0.0", "Tells the Unix time, in seconds, at which a key expires."),
    spec("keys", keys_command, 2, READ | DANGEROUS, Keys::None, "1.0.0", "Lists the keys that fit a pattern."),
    spec("move", move_command, 3, WRITE | FAST, keys::CHANGE, "1.0.0", "Moves a key to another database."),
    DataSpec { subcommands: OBJECT, ..spec("object", object, -2, 0, Keys::None, "2.2.3", "Looks into how a value is kept.") },
    spec("persist", persist, 2, WRITE | FAST, keys::UPDATE_KEY, "2.2.0", "Takes a key's time to live away."),
    spec("pexpire", pexpire, -3, WRITE | FAST, keys::UPDATE_KEY, "2.6.0", "Sets a time to live in milliseconds."),
    spec("pexpireat", pexpireat, -3, WRITE | FAST, keys::UPDATE_KEY, "2.6.0", "Sets the Unix time, in milliseconds, at which a key expires."),
    spec("pexpiretime", pexpiretime, 2, READ | FAST, keys::READ_KEY, "7.0.0", "Tells the Unix time, in milliseconds, at which a key expires."),
    spec("pttl", pttl, 2, READ | FAST, keys::READ_KEY, "2.6.0", "Tells a key's time to live in milliseconds."),
    spec("randomkey", randomkey, 1, READ | TOUCHES_ARBITRARY_KEYS, Keys::None, "1.0.0", "Names a key by chance."),
    spec("rename", rename, 3, WRITE, keys::RENAME, "1.0.0", "Renames a key; one of the new name is replaced."),
    spec("renamenx", renamenx, 3, WRITE | FAST, keys::RENAME_NEW, "1.0.0", "Renames a key unless the new name is taken."),
    spec("scan", scan_command, -2, READ | TOUCHES_ARBITRARY_KEYS, Keys::None, "2.8.0", "Walks through the keys by a cursor."),
    spec("touch", touch, -2, READ | FAST, keys::LOOK_ALL, "3.2.1", "Counts the keys that are there, and marks them as accessed."),
    spec("ttl", ttl, 2, READ | FAST, keys::READ_KEY, "1.0.0", "Tells a key's time to live in seconds."),
    spec("type", type_command, 2, READ | FAST, keys::LOOK, "1.0.0", "Names the type of a key's value."),
    spec("unlink", unlink, -2, WRITE | FAST, keys::DELETE_ALL, "4.0.0", "Deletes keys; big values are freed in the background."),
];

/// The rows of whole databases: COMMAND DOCS counts them among the server's.
#[rustfmt::skip]
pub const SERVER_TABLE: &[DataSpec] = &[
    spec("dbsize", dbsize, 1, READ | FAST, Keys::None, "1.0.0", "Counts the keys of a database."),
    spec("flushall", flushall, -1, WRITE | DANGEROUS, Keys::None, "1.0.0", "Deletes all keys of all databases."),
    spec("flushdb", flushdb, -1, WRITE | DANGEROUS, Keys::None, "1.0.0", "Deletes all keys of a database."),
    spec("swapdb", swapdb, 3, WRITE | FAST | DANGEROUS, Keys::None, "4.0.0", "Exchanges two databases."),
];

#[rustfmt::skip]
const OBJECT: &[DataSpec] = &[
    spec("encoding", object_encoding, 3, READ, keys::LOOK_SUB, "2.2.3", "Names the encoding of a value."),
    spec("freq", object_freq, 3, READ, keys::LOOK_SUB, "4.0.0", "Tells how often a key is accessed, under an LFU policy."),
    spec("help", object_help, 2, LOADING | STALE, Keys::None, "6.2.0", "Lists the subcommands."),
    spec("idletime", object_idletime, 3, READ, keys::LOOK_SUB, "2.2.3", "Tells the seconds since a key's last access."),
    spec("refcount", object_refcount, 3, READ, keys::LOOK_SUB, "2.2.3", "Counts the references to a value."),
];

fn copy(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (from, to) = (argv[1], argv[2]);
    let (mut db, mut replace) = (ctx.db, false);
    let mut words = &argv[3..];
    while let [option, rest @ ..] = words {
        words = rest;
        if option.eq_ignore_ascii_case(b"replace") {
            replace = true;
        } else if option.eq_ignore_ascii_case(b"db")
            && let [number, rest @ ..] = words
        {
            db = ctx.parse_db(number)?;
            words = rest;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    if db == ctx.db && from == to {
        return Err(same_object());
    }
    let source = ctx.read_value(from);
    let expire_at_ms = ctx.expire_at_ms(from);
    let taken = ctx.lookup_write_in(db, to).is_some();
    let Some(value) = source.filter(|_| replace || !taken) else {
        out.integer(0);
        return Ok(());
    };
    ctx.replace_in(db, to, value, expire_at_ms);
    ctx.changed_in(db, to, 'g', "copy_to", 1);
    out.integer(1);
    Ok(())
}

fn same_object() -> CommandError {
    CommandError::other("ERR source and destination objects are the same")
}

fn del(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let lazy = ctx.limits().lazy_user_del;
    delete_all(ctx, &argv[1..], lazy, out)
}

fn unlink(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    delete_all(ctx, &argv[1..], true, out)
}

fn delete_all(ctx: &mut Ctx<'_>, keys: &[&[u8]], lazy: bool, out: &mut Encoder<'_>) -> Done {
    let mut deleted = 0;
    for key in keys {
        if ctx.delete(key, lazy) {
            ctx.changed(key, 'g', "del", 1);
            deleted += 1;
        }
    }
    out.count(deleted);
    Ok(())
}

fn exists(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    out.count(argv[1..].iter().filter(|key| ctx.inspect(key).is_some()).count());
    Ok(())
}

fn touch(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    // To touch is what it is for, whatever CLIENT NO-TOUCH says.
    ctx.no_touch = false;
    out.count(argv[1..].iter().filter(|key| ctx.read(key).is_some()).count());
    Ok(())
}

fn type_command(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    out.simple(ctx.inspect(argv[1]).map_or("none", |entry| entry.value().type_name()));
    Ok(())
}

fn keys_command(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    ctx.touch_db(ctx.db, false);
    let pattern = argv[1];
    // What is due is hidden, not deleted: the walk reads only.
    let now_ms = if ctx.keyspace.loading { i64::MIN } else { ctx.now_ms };
    out.counted_array(|out| {
        let mut listed = 0;
        for entry in ctx.database().table().iter() {
            let fits = pattern == b"*" || glob::matches(pattern, entry.key(), false);
            if fits && !entry.is_due(now_ms) {
                out.bulk(entry.key());
                listed += 1;
            }
        }
        listed
    });
    Ok(())
}

fn randomkey(ctx: &mut Ctx<'_>, _: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    ctx.touch_db(ctx.db, false);
    /// Where keys that are due stay, there may be no others: then one of them is named, as in Redis.
    const DRAWS: usize = 100;
    let mut draws = 0;
    // A key that turns out to be due is deleted, and another is drawn.
    while let Some(key) = ctx.random_key() {
        draws += 1;
        if ctx.peek(&key).is_some() || ctx.keyspace.keeps_expired && draws == DRAWS {
            out.bulk(&key);
            return Ok(());
        }
    }
    out.null();
    Ok(())
}

fn rename(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    rename_unless(ctx, argv, false)?;
    out.ok();
    Ok(())
}

fn renamenx(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let renamed = rename_unless(ctx, argv, true)?;
    out.integer(i64::from(renamed));
    Ok(())
}

/// Renames a key, unless the new name is its own or (with `unless_taken`) another's; whether it did.
fn rename_unless(ctx: &mut Ctx<'_>, argv: &[&[u8]], unless_taken: bool) -> Result<bool, CommandError> {
    let (from, to) = (argv[1], argv[2]);
    if !ctx.exists(from) {
        return Err(CommandError::NoSuchKey);
    }
    if from == to || unless_taken && ctx.exists(to) {
        return Ok(false);
    }
    let taken = ctx.take(from).ok_or(CommandError::NoSuchKey)?;
    ctx.put_in(ctx.db, to, taken);
    ctx.changed(from, 'g', "rename_from", 1);
    ctx.changed(to, 'g', "rename_to", 0);
    Ok(true)
}

fn move_command(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let key = argv[1];
    let db = ctx.parse_db(argv[2])?;
    if db == ctx.db {
        return Err(same_object());
    }
    let moved = ctx.exists(key) && ctx.lookup_write_in(db, key).is_none();
    if moved && let Some(taken) = ctx.take(key) {
        ctx.put_in(db, key, taken);
        ctx.changed(key, 'g', "move_from", 1);
        ctx.changed_in(db, key, 'g', "move_to", 0);
    }
    out.integer(i64::from(moved));
    Ok(())
}

// Time to live.

/// How an EXPIRE command says when.
struct When {
    /// Its name, for the error.
    command: &'static str,
    /// Milliseconds to its unit.
    unit_ms: i64,
    /// Counted from now rather than from 1970.
    relative: bool,
}

fn expire(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    expire_when(ctx, argv, out, &When { command: "expire", unit_ms: 1000, relative: true })
}

fn pexpire(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    expire_when(ctx, argv, out, &When { command: "pexpire", unit_ms: 1, relative: true })
}

fn expireat(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    expire_when(ctx, argv, out, &When { command: "expireat", unit_ms: 1000, relative: false })
}

fn pexpireat(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    expire_when(ctx, argv, out, &When { command: "pexpireat", unit_ms: 1, relative: false })
}

fn expire_when(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>, when: &When) -> Done {
    let key = argv[1];
    let conditions = Conditions::parse(&argv[3..])?;
    let number = integer(argv[2])?;
    let base_ms = if when.relative { ctx.now_ms } else { 0 };
    let at_ms = number.checked_mul(when.unit_ms).and_then(|ms| ms.checked_add(base_ms));
    let at_ms = at_ms.ok_or(CommandError::InvalidExpire(when.command))?;

    let wanted = ctx.exists(key) && conditions.hold(ctx.expire_at_ms(key), at_ms);
    if wanted && at_ms <= ctx.now_ms && !ctx.keyspace.loading {
        ctx.delete_instead(key, ctx.limits().lazy_expire);
    } else if wanted {
        ctx.set_expire(key, Some(at_ms));
        ctx.changed(key, 'g', "expire", 1);
        // The log is replayed at another time. PEXPIREAT is that already.
        if when.relative || when.unit_ms != 1 {
            let at_ms = number::format_i64(at_ms);
            let effect: Vec<&[u8]> =
                [b"PEXPIREAT", key, at_ms.as_bytes()].into_iter().chain(argv[3..].iter().copied()).collect();
            ctx.propagate(&effect);
        }
    }
    out.integer(i64::from(wanted));
    Ok(())
}

/// NX, XX, GT and LT.
#[derive(Debug, Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn parse(words: &[&[u8]]) -> Result<Self, CommandError> {
        let mut set = Conditions::default();
        for word in words {
            match word.to_ascii_lowercase().as_slice() {
                b"nx" => set.nx = true,
                b"xx" => set.xx = true,
                b"gt" => set.gt = true,
                b"lt" => set.lt = true,
                _ => {
                    let word = String::from_utf8_lossy(word);
                    return Err(CommandError::other(format!("ERR Unsupported option {word}")));
                }
            }
        }
        if set.nx && (set.xx || set.gt || set.lt) {
            return Err(CommandError::other(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if set.gt && set.lt {
            return Err(CommandError::other("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(set)
    }

    /// Whether a time may take the place of another; no time to live is later than any.
    fn hold(&self, before_ms: Option<i64>, at_ms: i64) -> bool {
        !(self.nx && before_ms.is_some()
            || self.xx && before_ms.is_none()
            || self.gt && before_ms.is_none_or(|before| at_ms <= before)
            || self.lt && before_ms.is_some_and(|before| at_ms >= before))
    }
}

fn ttl(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let now_ms = ctx.now_ms;
    tell_time(ctx, argv[1], out, |at| to_seconds(at.saturating_sub(now_ms).max(0)))
}

fn pttl(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let now_ms = ctx.now_ms;
    tell_time(ctx, argv[1], out, |at| at.saturating_sub(now_ms).max(0))
}

fn expiretime(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    tell_time(ctx, argv[1], out, to_seconds)
}

fn pexpiretime(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    tell_time(ctx, argv[1], out, |at| at)
}

/// Rounds to the nearest second.
fn to_seconds(ms: i64) -> i64 {
    ms.saturating_add(500) / 1000
}

/// -2 without the key, -1 without a time to live, else what `form` makes of the time.
fn tell_time(ctx: &mut Ctx<'_>, key: &[u8], out: &mut Encoder<'_>, form: impl Fn(i64) -> i64) -> Done {
    out.integer(match ctx.inspect(key) {
        None => -2,
        Some(entry) => entry.expire_at_ms().map_or(-1, form),
    });
    Ok(())
}

fn persist(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let key = argv[1];
    let entry = ctx.lookup_write_in(ctx.db, key);
    let had_one = entry.is_some_and(|entry| entry.expire_at_ms().is_some());
    if had_one {
        ctx.set_expire(key, None);
        ctx.changed(key, 'g', "persist", 1);
    }
    out.integer(i64::from(had_one));
    Ok(())
}

fn scan_command(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let cursor = scan::parse_cursor(argv[1])?;
    let options = Options::parse(&argv[2..], true)?;
    ctx.touch_db(ctx.db, false);
    let now_ms = if ctx.keyspace.loading { i64::MIN } else { ctx.now_ms };
    let (next, found) = options.walk(ctx.database().table(), cursor);
    let (due, mut live): (Vec<_>, Vec<_>) = found.into_iter().partition(|entry| entry.is_due(now_ms));
    if let Some(name) = options.type_name {
        live.retain(|entry| name.eq_ignore_ascii_case(entry.value().type_name().as_bytes()));
    }
    scan::write_head(out, next, live.len());
    live.iter().for_each(|entry| out.bulk(entry.key()));
    // Meeting a key that is due deletes it.
    let due: Vec<Str> = due.into_iter().map(|entry| Str::from(entry.key())).collect();
    due.iter().for_each(|key| _ = ctx.peek(key));
    Ok(())
}

// OBJECT.

fn object(_: &mut Ctx<'_>, argv: &[&[u8]], _: &mut Encoder<'_>) -> Done {
    Err(unknown_subcommand(argv))
}

fn object_encoding(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    match ctx.inspect_quietly(argv[2]) {
        Some(entry) => out.bulk(entry.value().encoding().as_bytes()),
        None => out.null(),
    }
    Ok(())
}

fn object_freq(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    match usage(ctx, argv[2]) {
        Some(Usage::Freq(counter)) => out.integer(i64::from(counter)),
        Some(Usage::Idle(_)) => {
            return Err(not_tracked("An LFU maxmemory policy is not selected, access frequency"));
        }
        None => out.null(),
    }
    Ok(())
}

fn usage(ctx: &mut Ctx<'_>, key: &[u8]) -> Option<Usage> {
    let (noting, now_ms) = (ctx.limits().noting(), ctx.now_ms);
    ctx.inspect_quietly(key).map(|entry| entry.usage(noting, now_ms))
}

fn not_tracked(what: &str) -> CommandError {
    CommandError::other(format!(
        "ERR {what} not tracked. Please note that when switching between policies at runtime LRU and LFU data will \
         take some time to adjust."
    ))
}

fn object_help(_: &mut Ctx<'_>, _: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    write_help("OBJECT", OBJECT, out);
    Ok(())
}

fn object_idletime(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    match usage(ctx, argv[2]) {
        Some(Usage::Idle(idle_s)) => out.integer(idle_s as i64),
        Some(Usage::Freq(_)) => return Err(not_tracked("An LFU maxmemory policy is selected, idle time")),
        None => out.null(),
    }
    Ok(())
}

fn object_refcount(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    /// What Redis says of the small integers that it keeps once for all.
    const SHARED: i64 = i32::MAX as i64;
    let shared = ctx.limits().shares_integers();
    match ctx.inspect_quietly(argv[2]).map(|entry| entry.value()) {
        Some(ValueRef::Int(0..=9999)) if shared => out.integer(SHARED),
        Some(_) => out.integer(1),
        None => out.null(),
    }
    Ok(())
}

// Whole databases.

fn dbsize(ctx: &mut Ctx<'_>, _: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    ctx.touch_db(ctx.db, false);
    out.count(ctx.database().len());
    Ok(())
}

fn flushdb(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let lazy = parse_flush(ctx, argv)?;
    flush(ctx, lazy, ctx.db..ctx.db + 1);
    out.ok();
    Ok(())
}

fn flushall(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let lazy = parse_flush(ctx, argv)?;
    flush(ctx, lazy, 0..ctx.keyspace.dbs.len());
    out.ok();
    Ok(())
}

/// Whether the databases are freed elsewhere: ASYNC, or the configuration without SYNC.
fn parse_flush(ctx: &Ctx<'_>, argv: &[&[u8]]) -> Result<bool, CommandError> {
    match argv[1..] {
        [] => Ok(ctx.limits().lazy_user_flush),
        [word] if word.eq_ignore_ascii_case(b"async") => Ok(true),
        [word] if word.eq_ignore_ascii_case(b"sync") => Ok(false),
        _ => Err(CommandError::Syntax),
    }
}

fn flush(ctx: &mut Ctx<'_>, lazy: bool, dbs: std::ops::Range<usize>) {
    let mut keys = 0;
    for db in dbs {
        keys += ctx.keyspace.flush(db, lazy);
        ctx.touch_db(db, true);
    }
    // Logged even if there was nothing: replicas may have something.
    ctx.add_dirty(keys.max(1));
}

fn swapdb(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let number = |text, wrong| {
        let number = number::parse_i64(text).and_then(|number| i32::try_from(number).ok());
        number.ok_or(CommandError::other(wrong))
    };
    let first = number(argv[1], "ERR invalid first DB index")?;
    let second = number(argv[2], "ERR invalid second DB index")?;
    let (first, second) = (ctx.keyspace.db_index(first)?, ctx.keyspace.db_index(second)?);
    ctx.keyspace.dbs.swap(first, second);
    if first != second {
        ctx.touch_db(first, true);
        ctx.touch_db(second, true);
    }
    ctx.add_dirty(1);
    out.ok();
    Ok(())
}
