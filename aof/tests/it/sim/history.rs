//! What was appended, what was promised of it, and the judgement of an image: the *prefix oracle*.

use std::fmt;
use std::sync::Arc;

use aof::fs::Mem;
use aof::{BaseFrame, Directory, Error, Log, Op, Options, Position, Steps};
use bytes::BytesMut;

use crate::world::{Recorder, load, rdb, request};

/// When everything begins, in milliseconds since 1970.
pub(super) const TIME_MS: i64 = 1_700_000_000_000;

/// How an image can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wrong {
    /// The start refuses it.
    Refused,
    /// Something is halved, doubled, skipped or foreign.
    NotPrefix,
    /// Less is there than was promised.
    Lost,
    /// What a start found, a second start does not find, or cannot go on from.
    GoesNotOn,
    /// A log without faults makes no progress.
    Stuck,
    /// What was lost is not told.
    Untold,
}

#[derive(Debug, Clone)]
pub(super) struct Complaint {
    pub(super) wrong: Wrong,
    pub(super) text: String,
}

impl Complaint {
    pub(super) fn new(wrong: Wrong, text: impl fmt::Display) -> Complaint {
        Complaint { wrong, text: text.to_string() }
    }
}

/// What a start finds.
#[derive(Debug, PartialEq)]
pub(super) struct Found {
    /// So many units from the first on.
    pub(super) count: usize,
    commands: Vec<String>,
}

/// Of how many units a crash may take nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Promised {
    pub(super) by_kill: usize,
    pub(super) by_power_cut: usize,
}

/// Every unit ever appended, as replay shows it, and the positions of those in the running log.
#[derive(Debug, Default)]
pub(super) struct History {
    units: Vec<Vec<String>>,
    /// How many there were when the log was started.
    before: usize,
    ends: Vec<Position>,
    /// How long nothing has happened between units, in all.
    idle_ms: i64,
    /// What holds whatever the log says.
    floor: Promised,
}

impl History {
    pub(super) fn len(&self) -> usize {
        self.units.len()
    }

    /// Executes a unit of `SET`s, one for each database: `sizes` is what their values are padded to.
    pub(super) fn append(&mut self, log: Option<&mut Log>, ops: &[(u32, usize)]) {
        let n = self.units.len();
        let value = |at: usize, size: usize| format!("{n}.{at}{}", ".".repeat(size));
        let commands: Vec<(u32, BytesMut)> = ops
            .iter()
            .enumerate()
            .map(|(at, &(db, size))| (db, request(&["SET", "k", &value(at, size)])))
            .collect();
        let shown = ops.iter().enumerate().map(|(at, &(db, size))| format!("{db}:SET k {}", value(at, size)));
        self.units.push(shown.collect());
        let Some(log) = log else { return };
        let unit: Vec<Op<'_>> = commands.iter().map(|(db, command)| Op { db: *db, command }).collect();
        self.ends.push(log.append(TIME_MS + n as i64 * 250 + self.idle_ms, &unit));
    }

    /// Nothing happens for so long.
    pub(super) fn rest_ms(&mut self, ms: u64) {
        self.idle_ms += ms as i64;
    }

    /// The first units as an RDB base holds them, and behind it a head, if there is a frame.
    pub(super) fn rdb_base(&self, units: usize, frame: Option<BaseFrame>) -> Vec<u8> {
        let mut base = rdb(self.units[..units].iter().flatten());
        let len_bytes = base.len() as u64;
        frame.into_iter().for_each(|frame| frame.rdb_head(len_bytes, &mut base));
        base
    }

    /// The first units as a base of commands holds them, each in a block if there is a frame: all that ever was, so that
    /// nothing of a rewrite can hide behind a state.
    pub(super) fn base(&self, units: usize, mut frame: Option<BaseFrame>) -> Vec<u8> {
        let (mut selected, mut base) = (None, Vec::new());
        frame.iter().for_each(|frame| frame.head(&mut base));
        for unit in &self.units[..units] {
            let (before, mut payload) = (selected, BytesMut::new());
            for command in unit {
                let (db, words) = command.split_once(':').expect("as it was made");
                if selected.replace(db) != Some(db) {
                    payload.extend_from_slice(&request(&["SELECT", db]));
                }
                payload.extend_from_slice(&request(&words.split(' ').collect::<Vec<_>>()));
            }
            if let Some(frame) = &mut frame {
                frame.block(before.and_then(|db: &str| db.parse().ok()), &payload, &mut base);
            }
            base.extend_from_slice(&payload);
        }
        frame.iter().for_each(|frame| frame.head(&mut base));
        base
    }

    /// A log was started, and serves the first `units`.
    pub(super) fn begin(&mut self, units: usize) {
        self.units.truncate(units);
        self.begin_waiting();
        self.floor = Promised { by_kill: units, by_power_cut: units };
    }

    /// A log was started that promises nothing before its first base.
    pub(super) fn begin_waiting(&mut self) {
        self.before = self.units.len();
        self.ends.clear();
    }

    /// A log has ended: from now on this is promised, and nothing more.
    pub(super) fn end(&mut self, floor: Promised) {
        self.floor = floor;
    }

    pub(super) fn floor(&self) -> Promised {
        self.floor
    }

    /// What the watermarks promise.
    pub(super) fn promised(&self, written: Position, durable: Position) -> Promised {
        let below = |position: Position| self.before + self.ends.partition_point(|&end| end <= position);
        Promised {
            by_kill: self.floor.by_kill.max(below(written)),
            by_power_cut: self.floor.by_power_cut.max(below(durable)),
        }
    }

    /// How many units `commands` are, if they are the first ones, whole and once each.
    pub(super) fn count(&self, commands: &[String]) -> Option<usize> {
        let mut rest = commands;
        for (count, unit) in self.units.iter().enumerate() {
            if rest.is_empty() {
                return Some(count);
            }
            rest = rest.strip_prefix(&unit[..])?;
        }
        rest.is_empty().then_some(self.units.len())
    }

    /// The same, if any others may follow them, in order.
    fn count_before_a_hole(&self, commands: &[String]) -> Option<usize> {
        let (mut rest, mut missing) = (commands, None);
        for (n, unit) in self.units.iter().enumerate() {
            match rest.strip_prefix(&unit[..]) {
                Some(behind) => rest = behind,
                None => missing = missing.or(Some(n)),
            }
        }
        rest.is_empty().then_some(missing.unwrap_or(self.units.len()))
    }

    /// What a start finds in `image`, which it may cut: at least the units that are promised, and, if there was a loss under
    /// `no`, perhaps others behind a hole.
    pub(super) fn judge(
        &self,
        image: &Mem,
        options: &Options,
        promised: usize,
        is_lossy: bool,
    ) -> Result<Found, Complaint> {
        let refused = |error: Error| Complaint::new(Wrong::Refused, error);
        let (commands, _) = load(image, options).map_err(refused)?;
        let count = if is_lossy { self.count_before_a_hole(&commands) } else { self.count(&commands) };
        let count = count.ok_or_else(|| {
            Complaint::new(Wrong::NotPrefix, format!("{commands:?} begins not {:?}", self.units))
        })?;
        if count < promised {
            let text = format!("{promised} units were promised, {count} of {} are there", self.units.len());
            return Err(Complaint::new(Wrong::Lost, text));
        }
        Ok(Found { count, commands })
    }

    /// A start on `image` finds the same again, takes another unit, and all of that survives a crash.
    pub(super) fn goes_on(
        &self,
        image: &Mem,
        options: &Options,
        expected: &Found,
        crash: fn(&Mem) -> Mem,
    ) -> Result<(), Complaint> {
        let failed = |what: &str, error: Error| Complaint::new(Wrong::GoesNotOn, format!("{what}: {error}"));
        let mut directory =
            Directory::open(Arc::new(image.clone()), options).map_err(|e| failed("open", e))?;
        let mut found = Recorder::default();
        let report = directory.replay(&mut found, options).map_err(|e| failed("second start", e))?;
        let (log, steps) =
            Steps::start(directory, options, Box::new(|| {})).map_err(|e| failed("start", e))?;
        let mut log = log;
        let ping = request(&["PING"]);
        log.append(TIME_MS, &[Op { db: 1, command: &ping }]);
        log.seal(steps.now());
        steps.ask_to_stop();
        while steps.write() || steps.begin_sync() || steps.end_sync() || steps.do_chore() {}
        log.stop().map_err(|e| failed("stop", e))?;
        let after = load(&crash(image), options).map_err(|e| failed("third start", e))?;
        let (last, first) =
            after.0.split_last().map_or(("", &[][..]), |(last, first)| (last.as_str(), first));
        let is_whole = report.truncated.is_none() && last == "1:PING" && first == found.commands;
        if is_whole && first == expected.commands {
            return Ok(());
        }
        let text = format!("{expected:?}, then {:?} and {report:?}, then {:?}", found.commands, after.0);
        Err(Complaint::new(Wrong::GoesNotOn, text))
    }
}
