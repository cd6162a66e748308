//! XCLAIM and XAUTOCLAIM: entries that one consumer has had for too long go to another.

use resp::{Encoder, number};

use super::{
    Claim, Done, no_key_or_group, propagate_consumer, propagate_group_id, range_start, strict_id, write,
    write_entry, write_id,
};
use crate::types::stream::{COUNT_MAX, Group, Pending, Stream, StreamId};
use crate::{CommandError, Ctx, Str};

pub(super) fn xclaim(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (key, name, now_ms) = (argv[1], argv[2], ctx.now_ms);
    let loading = ctx.keyspace.loading;
    let stream = stream_of(ctx, key, name)?;
    let min_idle_ms = min_idle_ms(argv[4], "XCLAIM")?;
    let ids: Vec<StreamId> = argv[5..].iter().map_while(|word| StreamId::parse(word, 0)).collect();
    let options = Options::parse(&argv[5 + ids.len()..], now_ms)?;
    // What a log says of the past is taken as it is, even if the clock was set back since.
    let is_sane = |at_ms: &i64| loading || (0..=now_ms).contains(at_ms);
    let mut claiming = Claiming::begin(stream, name, argv[3], now_ms);
    claiming.delivered_at_ms = options.delivered_at_ms.filter(is_sane).unwrap_or(now_ms);
    claiming.deliveries = options.deliveries;
    claiming.counts = !options.just_id;
    let moved = claiming.move_group(options.last_id);
    for &id in &ids {
        claiming.claim(id, min_idle_ms, options.force);
    }
    let Claiming { stream, claimed, .. } = &claiming;
    out.array(claimed.len());
    claimed.iter().for_each(|&id| write_claimed(stream, id, options.just_id, out));
    let traces = claiming.end();
    let has_claims = !traces.claims.is_empty();
    let (last_id, entries_read) = traces.leave(ctx, key, name, argv[3]);
    if moved && !has_claims {
        propagate_group_id(ctx, key, name, last_id, entries_read);
        ctx.changed_without_event(key, 1);
    }
    Ok(())
}

/// What follows the IDs of XCLAIM.
#[derive(Debug, Default)]
struct Options {
    delivered_at_ms: Option<i64>,
    deliveries: Option<u64>,
    force: bool,
    just_id: bool,
    last_id: StreamId,
}

impl Options {
    fn parse(mut words: &[&[u8]], now_ms: i64) -> Result<Self, CommandError> {
        let mut options = Options::default();
        while let [word, rest @ ..] = words {
            words = match (&word.to_ascii_lowercase()[..], rest) {
                (b"force", _) => {
                    options.force = true;
                    rest
                }
                (b"justid", _) => {
                    options.just_id = true;
                    rest
                }
                (b"idle", [idle, rest @ ..]) => {
                    options.delivered_at_ms = Some(now_ms.saturating_sub(number_for(idle, "IDLE")?));
                    rest
                }
                (b"time", [at, rest @ ..]) => {
                    options.delivered_at_ms = Some(number_for(at, "TIME")?);
                    rest
                }
                (b"retrycount", [count, rest @ ..]) => {
                    options.deliveries = u64::try_from(number_for(count, "RETRYCOUNT")?).ok();
                    rest
                }
                (b"lastid", [id, rest @ ..]) => {
                    options.last_id = strict_id(id, 0)?;
                    rest
                }
                _ => {
                    let word = String::from_utf8_lossy(word);
                    return Err(CommandError::other(format!("ERR Unrecognized XCLAIM option '{word}'")));
                }
            };
        }
        Ok(options)
    }
}

fn number_for(text: &[u8], option: &str) -> Result<i64, CommandError> {
    let invalid = || CommandError::other(format!("ERR Invalid {option} option argument for XCLAIM"));
    number::parse_i64(text).ok_or_else(invalid)
}

pub(super) fn xautoclaim(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (key, name, now_ms) = (argv[1], argv[2], ctx.now_ms);
    let min_idle_ms = min_idle_ms(argv[4], "XAUTOCLAIM")?;
    let start = range_start(argv[5])?;
    let (count, just_id) = parse_auto(&argv[6..])?;
    let stream = stream_of(ctx, key, name)?;
    let mut claiming = Claiming::begin(stream, name, argv[3], now_ms);
    claiming.counts = !just_id;
    let end = claiming.claim_from(start, min_idle_ms, count);
    let Claiming { stream, claimed, gone, .. } = &claiming;
    out.array(3);
    write_id(end, out);
    out.array(claimed.len());
    claimed.iter().for_each(|&id| write_claimed(stream, id, just_id, out));
    out.array(gone.len());
    gone.iter().for_each(|&id| write_id(id, out));
    claiming.end().leave(ctx, key, name, argv[3]);
    Ok(())
}

/// Reads `[COUNT count] [JUSTID]`.
fn parse_auto(mut words: &[&[u8]]) -> Result<(usize, bool), CommandError> {
    // Redis multiplies it by the size of an ID.
    const COUNT_MAX: usize = i64::MAX as usize / 16;
    let (mut count, mut just_id) = (100, false);
    while let [word, rest @ ..] = words {
        words = match (&word.to_ascii_lowercase()[..], rest) {
            (b"count", [number, rest @ ..]) => {
                let number = number::parse_i64(number).and_then(|number| usize::try_from(number).ok());
                let number = number.filter(|number| (1..=COUNT_MAX).contains(number));
                count = number.ok_or(CommandError::other("ERR COUNT must be > 0"))?;
                rest
            }
            (b"justid", _) => {
                just_id = true;
                rest
            }
            _ => return Err(CommandError::Syntax),
        };
    }
    Ok((count, just_id))
}

fn stream_of<'c>(ctx: &'c mut Ctx<'_>, key: &[u8], group: &[u8]) -> Result<&'c mut Stream, CommandError> {
    // A hit or a miss, although it writes.
    ctx.read(key);
    let stream = write(ctx, key)?.filter(|stream| stream.group(group).is_some());
    stream.ok_or_else(|| no_key_or_group(key, group, ""))
}

fn min_idle_ms(text: &[u8], command: &str) -> Result<i64, CommandError> {
    let invalid = || CommandError::other(format!("ERR Invalid min-idle-time argument for {command}"));
    number::parse_i64(text).map(|ms| ms.max(0)).ok_or_else(invalid)
}

fn write_claimed(stream: &Stream, id: StreamId, just_id: bool, out: &mut Encoder<'_>) {
    match stream.get(id).filter(|_| !just_id) {
        Some(entry) => write_entry(entry, out),
        None => write_id(id, out),
    }
}

/// A consumer at work on a group's pending entries.
struct Claiming<'a> {
    stream: &'a mut Stream,
    group: &'a [u8],
    consumer: &'a [u8],
    now_ms: i64,
    /// What the entries are marked with: when they were delivered, how often (once more than before, if it is open).
    delivered_at_ms: i64,
    deliveries: Option<u64>,
    /// Whether it counts as a delivery.
    counts: bool,
    /// What it got.
    claimed: Vec<StreamId>,
    /// What was pending and is no longer in the stream: it is pending no more.
    gone: Vec<StreamId>,
    claims: Vec<Claim>,
    created: bool,
}

impl<'a> Claiming<'a> {
    fn begin(stream: &'a mut Stream, group: &'a [u8], consumer: &'a [u8], now_ms: i64) -> Self {
        let introduce = |group: &mut Group| {
            let created = group.create_consumer(consumer, now_ms);
            group.touch_consumer(consumer, now_ms, false);
            created
        };
        let created = stream.update_group(group, introduce).unwrap_or(false);
        Claiming {
            stream,
            group,
            consumer,
            now_ms,
            delivered_at_ms: now_ms,
            deliveries: None,
            counts: true,
            claimed: Vec::new(),
            gone: Vec::new(),
            claims: Vec::new(),
            created,
        }
    }

    /// Moves the group on to an ID; false if it is beyond it.
    fn move_group(&mut self, last_id: StreamId) -> bool {
        let moves = self.stream.group(self.group).is_some_and(|group| group.last_id < last_id);
        if moves {
            self.stream.update_group(self.group, |group| group.last_id = last_id);
        }
        moves
    }

    /// Claims one entry, if it is pending (or else with `force`) and has been for long enough.
    fn claim(&mut self, id: StreamId, min_idle_ms: i64, force: bool) {
        let pending = self.stream.group(self.group).and_then(|group| group.get_pending(id)).cloned();
        if self.stream.get(id).is_none() {
            if let Some(pending) = pending {
                self.forget(&pending);
            }
            return;
        }
        let deliveries = match &pending {
            None if !force => return,
            None => 1,
            Some(pending) if min_idle_ms > 0 && self.idle_ms(pending) < min_idle_ms => return,
            Some(pending) => pending.deliveries,
        };
        self.take(id, deliveries);
    }

    /// Claims up to `count` entries from `start` on; returns where to go on, or zero at the end.
    fn claim_from(&mut self, start: StreamId, min_idle_ms: i64, count: usize) -> StreamId {
        /// So many are looked at for each that is wanted.
        const ATTEMPTS: usize = 10;
        let mut next = Some(start);
        let next_pending = |stream: &Stream, group: &[u8], from: Option<StreamId>| {
            stream.group(group).and_then(|group| group.pending_from(from?).next().cloned())
        };
        for _ in 0..count.saturating_mul(ATTEMPTS) {
            if self.claimed.len() + self.gone.len() == count {
                break;
            }
            let Some(pending) = next_pending(self.stream, self.group, next) else { return StreamId::MIN };
            next = pending.id.next();
            if self.stream.get(pending.id).is_none() {
                self.forget(&pending);
            } else if min_idle_ms == 0 || self.idle_ms(&pending) >= min_idle_ms {
                self.take(pending.id, pending.deliveries);
            }
        }
        next_pending(self.stream, self.group, next).map_or(StreamId::MIN, |pending| pending.id)
    }

    fn idle_ms(&self, pending: &Pending) -> i64 {
        self.now_ms.saturating_sub(pending.delivered_at_ms)
    }

    fn take(&mut self, id: StreamId, deliveries: u64) {
        let deliveries = deliveries.saturating_add(u64::from(self.counts)).min(COUNT_MAX);
        let deliveries = self.deliveries.unwrap_or(deliveries);
        let (consumer, now_ms, delivered_at_ms) = (self.consumer, self.now_ms, self.delivered_at_ms);
        self.stream.update_group(self.group, |group| {
            group.assign(id, consumer, delivered_at_ms, deliveries);
            group.touch_consumer(consumer, now_ms, true);
        });
        self.claimed.push(id);
        self.note(id, Str::from(consumer), delivered_at_ms, deliveries);
    }

    fn forget(&mut self, pending: &Pending) {
        self.stream.update_group(self.group, |group| group.acknowledge(pending.id));
        self.gone.push(pending.id);
        self.note(pending.id, pending.consumer.clone(), pending.delivered_at_ms, pending.deliveries);
    }

    fn note(&mut self, id: StreamId, consumer: Str, delivered_at_ms: i64, deliveries: u64) {
        let last_id = self.stream.group(self.group).map(|group| group.last_id).unwrap_or_default();
        self.claims.push(Claim { id, consumer, delivered_at_ms, deliveries, last_id });
    }

    fn end(self) -> Traces {
        let group = self.stream.group(self.group);
        Traces {
            last_id: group.map(|group| group.last_id).unwrap_or_default(),
            entries_read: group.and_then(|group| group.entries_read),
            created: self.created,
            claims: self.claims,
        }
    }
}

/// What claiming has changed.
struct Traces {
    created: bool,
    claims: Vec<Claim>,
    last_id: StreamId,
    entries_read: Option<u64>,
}

impl Traces {
    /// Logs it; returns where the group is.
    fn leave(self, ctx: &mut Ctx<'_>, key: &[u8], group: &[u8], consumer: &[u8]) -> (StreamId, Option<u64>) {
        ctx.propagate_nothing();
        if self.created {
            ctx.changed(key, 't', "xgroup-createconsumer", 1);
        }
        // An XCLAIM for the consumer implies its creation.
        if self.created && self.claims.iter().all(|claim| claim.consumer[..] != *consumer) {
            propagate_consumer(ctx, key, group, consumer);
        }
        self.claims.iter().for_each(|claim| claim.propagate(ctx, key, group));
        if !self.claims.is_empty() {
            ctx.changed_without_event(key, self.claims.len());
        }
        (self.last_id, self.entries_read)
    }
}
