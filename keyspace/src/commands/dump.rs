//! DUMP and RESTORE: a value as a payload that other servers take, and back.

use resp::Encoder;
use resp::number::format_i64;

use super::flags::*;
use super::{DataSpec, Done, integer, keys, spec};
use crate::rdb::{self, PayloadError};
use crate::{CommandError, Ctx, Usage};

/// The rows.
#[rustfmt::skip]
pub const TABLE: &[DataSpec] = &[
    spec("dump", dump, 2, READ, keys::READ_KEY, "2.6.0", "Gives a value as a payload for RESTORE."),
    spec("restore", restore, -4, WRITE | DENYOOM | DANGEROUS, keys::STORE, "2.6.0", "Makes a key of a payload that DUMP gave."),
];

/// What COMMAND DOCS counts among the server's: the nodes of a cluster send it to each other.
#[rustfmt::skip]
pub const SERVER_TABLE: &[DataSpec] = &[
    spec("restore-asking", restore, -4, WRITE | DENYOOM | DANGEROUS | ASKING, keys::STORE, "3.0.0", "Is RESTORE for a slot that is on its way."),
];

fn dump(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let compress = ctx.keyspace.limits.rdb_compression;
    match ctx.read(argv[1]) {
        Some(value) => out.bulk(&rdb::dump(value, compress)),
        None => out.null(),
    }
    Ok(())
}

fn restore(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let key = argv[1];
    let options = Options::parse(&argv[4..])?;
    let is_taken = ctx.exists(key);
    if is_taken && !options.replace {
        return Err(CommandError::other("BUSYKEY Target key name already exists."));
    }
    let ttl_ms = integer(argv[2])?;
    if ttl_ms < 0 {
        return Err(CommandError::other("ERR Invalid TTL value, must be >= 0"));
    }
    // Whoever replays the log, or follows it, does look at the checksum.
    let resealed = ctx.keyspace.skips_checksums.then(|| rdb::resealed(argv[3]));
    let payload = resealed.as_deref().unwrap_or(argv[3]);
    let value = rdb::restore(payload, ctx.keyspace.rdb_shapes()).map_err(|error| refusal(ctx, &error))?;
    // As Redis: a sum beyond the end of time is the end of time.
    let since_ms = if options.absolute { 0 } else { ctx.now_ms };
    let expire_at_ms = Some(since_ms.saturating_add(ttl_ms)).filter(|_| ttl_ms > 0);
    if expire_at_ms.is_some_and(|at_ms| at_ms <= ctx.now_ms) && !ctx.keyspace.loading {
        if is_taken {
            // The key that was to be replaced goes, and the one that is over already does not come.
            ctx.delete_instead(key, ctx.limits().lazy_server_del);
        }
        out.ok();
        return Ok(());
    }
    ctx.replace_in(ctx.db, key, value, expire_at_ms);
    if let Some(usage) = options.usage {
        let (db, noting, now_ms) = (ctx.db, ctx.limits().noting(), ctx.now_ms);
        if let Some(entry) = ctx.peek_entry(db, key) {
            entry.set_usage(usage, noting, now_ms);
        }
    }
    ctx.changed(key, 'g', "restore", 1);
    propagate(ctx, argv, resealed.as_deref(), expire_at_ms.filter(|_| !options.absolute));
    out.ok();
    Ok(())
}

/// The reply; what exactly is wrong with the value, the log says as it does of a file.
fn refusal(ctx: &mut Ctx<'_>, error: &PayloadError) -> CommandError {
    if let PayloadError::Value(cause) = error {
        ctx.remark(cause.report());
    }
    CommandError::other(format!("ERR {error}"))
}

/// A time to live that is relative is logged as the time when it is over.
fn propagate(ctx: &mut Ctx<'_>, argv: &[&[u8]], resealed: Option<&[u8]>, at_ms: Option<i64>) {
    if resealed.is_none() && at_ms.is_none() {
        return;
    }
    let (at, mut effect) = (at_ms.map(format_i64), argv.to_vec());
    effect[3] = resealed.unwrap_or(argv[3]);
    if let Some(at) = &at {
        effect[2] = at.as_bytes();
        effect.push(b"ABSTTL");
    }
    ctx.propagate(&effect);
}

#[derive(Debug, Default)]
struct Options {
    replace: bool,
    absolute: bool,
    usage: Option<Usage>,
}

impl Options {
    fn parse(mut words: &[&[u8]]) -> Result<Self, CommandError> {
        let mut options = Options::default();
        while let [word, rest @ ..] = words {
            words = rest;
            match (word.to_ascii_lowercase().as_slice(), words) {
                (b"replace", _) => options.replace = true,
                (b"absttl", _) => options.absolute = true,
                (b"idletime", [number, rest @ ..]) if !matches!(options.usage, Some(Usage::Freq(_))) => {
                    let idle_s = within(number, i64::MAX, "ERR Invalid IDLETIME value, must be >= 0")?;
                    options.usage = Some(Usage::Idle(idle_s));
                    words = rest;
                }
                (b"freq", [number, rest @ ..]) if !matches!(options.usage, Some(Usage::Idle(_))) => {
                    let freq = within(number, 255, "ERR Invalid FREQ value, must be >= 0 and <= 255")?;
                    options.usage = Some(Usage::Freq(freq as u8));
                    words = rest;
                }
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(options)
    }
}

/// A number from 0 to `most`.
fn within(number: &[u8], most: i64, refusal: &'static str) -> Result<u64, CommandError> {
    let number = integer(number)?;
    u64::try_from(number).ok().filter(|_| number <= most).ok_or(CommandError::other(refusal))
}
