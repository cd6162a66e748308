//! The HyperLogLog commands.

use resp::Encoder;

use super::flags::{ADMIN, DENYOOM, FAST, MAY_REPLICATE, READ, WRITE};
use super::{DataSpec, Done, Keys, keys, spec};
use crate::types::hyperloglog::{self, Corrupt, HyperLogLog, Registers};
use crate::types::string::StringRef;
use crate::{CommandError, Ctx, Str, Value, ValueRef};

/// The rows.
#[rustfmt::skip]
pub const TABLE: &[DataSpec] = &[
    spec("pfadd", pfadd, -2, WRITE | DENYOOM | FAST, keys::ADD, "2.8.9", "Shows elements to a HyperLogLog."),
    spec("pfcount", pfcount, -2, READ | MAY_REPLICATE, keys::PFCOUNT, "2.8.9", "Estimates how many different elements one HyperLogLog, or several together, have seen."),
    spec("pfdebug", pfdebug, 3, WRITE | DENYOOM | ADMIN, keys::PFDEBUG, "2.8.9", "Looks into a HyperLogLog."),
    spec("pfmerge", pfmerge, -2, WRITE | DENYOOM, keys::PFMERGE, "2.8.9", "Stores what several HyperLogLogs have seen together."),
    spec("pfselftest", pfselftest, 1, ADMIN, Keys::None, "2.8.9", "Tests how well HyperLogLogs estimate."),
];

impl From<Corrupt> for CommandError {
    fn from(_: Corrupt) -> Self {
        CommandError::other("INVALIDOBJ Corrupted HLL object detected")
    }
}

/// Calls `with` with the HyperLogLog that a value is, if there is one.
fn view<T>(
    value: Option<ValueRef<'_>>,
    with: impl FnOnce(HyperLogLog<'_>) -> Result<T, CommandError>,
) -> Result<Option<T>, CommandError> {
    let Some(value) = value else { return Ok(None) };
    let string = StringRef::of(value)?;
    let none = || CommandError::other("WRONGTYPE Key is not a valid HyperLogLog string value.");
    // A long string that is none is not copied to find that out.
    let mut magic = [0; hyperloglog::MAGIC.len()];
    string.read(0, &mut magic);
    if magic != hyperloglog::MAGIC {
        return Err(none());
    }
    let bytes = string.contiguous();
    with(HyperLogLog::new(&bytes).ok_or_else(none)?).map(Some)
}

fn pfadd(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (key, elements) = (argv[1], &argv[2..]);
    let max_bytes = ctx.limits().hll_sparse_max_bytes;
    // One element is added or refused; of several none may be added if another is refused.
    let is_there = view(ctx.lookup_write(key), |hll| {
        if elements.len() > 1 { hll.check().map_err(CommandError::from) } else { Ok(()) }
    })?;
    let add_all = |bytes: &mut Str| {
        let add = |element: &&[u8]| hyperloglog::add(bytes, element, max_bytes).map(usize::from);
        elements.iter().map(add).sum::<Result<usize, Corrupt>>()
    };
    let updated = match is_there {
        Some(()) => ctx.edit_bytes(key, add_all)??,
        None => {
            let mut bytes = hyperloglog::empty();
            let added = add_all(&mut bytes)?;
            hyperloglog::invalidate(&mut bytes);
            ctx.set(key, Value::Str(bytes));
            added + 1
        }
    };
    if updated > 0 {
        ctx.changed(key, '$', "pfadd", updated);
    }
    out.integer(i64::from(updated > 0));
    Ok(())
}

fn pfcount(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let [_, key] = *argv else { return count_union(ctx, &argv[1..], out) };
    let counted = view(ctx.read(key), |hll| match hll.cached() {
        Some(count) => Ok((count, false)),
        None => Ok((hll.count()?, true)),
    })?;
    let (count, is_new) = counted.unwrap_or_default();
    if is_new {
        ctx.edit_bytes(key, |bytes| hyperloglog::set_cached(bytes, count))?;
        // Whoever reads the string sees the cardinality in it, so the log must see it too; it is no event.
        ctx.changed_without_event(key, 1);
    }
    out.integer(count as i64);
    Ok(())
}

fn count_union(ctx: &mut Ctx<'_>, keys: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let mut union = Registers::default();
    for key in keys {
        view(ctx.read(key), |hll| Ok(union.merge(hll)?))?;
    }
    out.integer(union.count() as i64);
    Ok(())
}

fn pfmerge(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let key = argv[1];
    let max_bytes = ctx.limits().hll_sparse_max_bytes;
    let (mut union, mut dense) = (Registers::default(), false);
    for key in &argv[1..] {
        view(ctx.read(key), |hll| {
            dense |= !hll.is_sparse();
            Ok(union.merge(hll)?)
        })?;
    }
    if !ctx.exists(key) {
        ctx.set(key, Value::Str(hyperloglog::empty()));
    }
    ctx.edit_bytes(key, |bytes| {
        if dense {
            hyperloglog::make_dense(bytes)?;
        }
        for (index, &value) in union.values().iter().enumerate().filter(|(_, value)| **value > 0) {
            hyperloglog::raise(bytes, index, value, max_bytes)?;
        }
        hyperloglog::invalidate(bytes);
        Ok::<_, Corrupt>(())
    })??;
    ctx.changed(key, '$', "pfadd", 1);
    out.ok();
    Ok(())
}

fn pfselftest(ctx: &mut Ctx<'_>, _: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let max_bytes = ctx.limits().hll_sparse_max_bytes;
    hyperloglog::self_test(ctx.random(), max_bytes)
        .map_err(|failure| CommandError::other(format!("ERR TESTFAILED {failure}")))?;
    out.ok();
    Ok(())
}

fn pfdebug(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (subcommand, key) = (argv[1], argv[2]);
    let is_sparse = view(ctx.lookup_write(key), |hll| Ok(hll.is_sparse()))?;
    let is_sparse = is_sparse.ok_or(CommandError::other("ERR The specified key does not exist"))?;
    match &subcommand.to_ascii_lowercase()[..] {
        b"getreg" => {
            make_dense(ctx, key)?;
            let mut registers = Registers::default();
            view(ctx.peek(key), |hll| Ok(registers.merge(hll)?))?;
            out.array(hyperloglog::REGISTERS);
            registers.values().iter().for_each(|&value| out.integer(i64::from(value)));
        }
        b"decode" if !is_sparse => return Err(CommandError::other("ERR HLL encoding is not sparse")),
        b"decode" => {
            let text = view(ctx.peek(key), |hll| Ok(decoded(hll)))?;
            out.bulk(text.unwrap_or_default().as_bytes());
        }
        b"encoding" => out.simple(if is_sparse { "sparse" } else { "dense" }),
        b"todense" => {
            let converted = make_dense(ctx, key)?;
            out.integer(i64::from(converted));
        }
        _ => {
            let subcommand = String::from_utf8_lossy(subcommand);
            return Err(CommandError::other(format!("ERR Unknown PFDEBUG subcommand '{subcommand}'")));
        }
    }
    Ok(())
}

fn make_dense(ctx: &mut Ctx<'_>, key: &[u8]) -> Result<bool, CommandError> {
    let converted = ctx.edit_bytes(key, hyperloglog::make_dense)??;
    if converted {
        ctx.changed_without_event(key, 1);
    }
    Ok(converted)
}

/// The runs of a sparse one: `z:` and `Z:` zeros, `v:` other values and how many of each.
fn decoded(hll: HyperLogLog<'_>) -> String {
    let word = |run: hyperloglog::Run| match (run.value, run.size_bytes) {
        (0, 1) => format!("z:{}", run.len),
        (0, _) => format!("Z:{}", run.len),
        (value, _) => format!("v:{value},{}", run.len),
    };
    hll.runs().map(word).collect::<Vec<_>>().join(" ")
}
