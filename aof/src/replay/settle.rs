//! What bad bytes are: torn off, damaged, or never a log; and who wrote what is no block where one should stand.

use resp::Parser;

use super::file::{Bad, Replay};
use super::keys::{Keys, keys_between};
use super::survey::{Behind, Survey};
use super::{Context, Course, Damage, Find, Kind, Trail};
use crate::Position;
use crate::block::{Epoch, FilePoint, Head, Line, MAGIC, Stands};
use crate::error::Error;
use crate::record::{OPENING_BYTES, Opening};
use crate::recover::{Evidence, Verdict, judge};
use crate::scan::Scan;

/// A length line is damaged by zeros that begin this soon after its start.
const LENGTH_LINE_BYTES: usize = 32;
/// What a head tells of the file before it.
const WAS_LOST: &str = "an fdatasync of it had failed under appendfsync no";

/// What is no block where one should stand.
struct Misfit {
    /// Where it is wrong, from the boundary.
    at: usize,
    found: String,
    /// What it is called if it turns out to be torn.
    torn: &'static str,
    /// That of the block, if it can be read.
    line: Option<Line>,
}

impl Misfit {
    fn new(found: impl Into<String>) -> Misfit {
        Misfit { at: 0, found: found.into(), torn: "it ends in what is no block", line: None }
    }

    fn ends(reason: &'static str, line: Option<Line>) -> Misfit {
        Misfit { torn: reason, line, ..Misfit::new(reason) }
    }
}

/// A finding before it is placed.
struct Finding {
    kind: Kind,
    found: String,
    lines: u64,
    position: Option<Position>,
    /// The next block that can be read, if one was looked for and found.
    next: Option<FilePoint>,
}

impl<C: Course> Replay<'_, '_, C> {
    /// Decides what they are, and hands that to the course. Returns the end of the file, if it ends here; else the next
    /// items can be read.
    pub(super) fn settle(&mut self, bad: Bad, context: &Context<'_>) -> Result<Option<FilePoint>, Error> {
        let boundary = self.scan.point();
        // A base of ours was whole when it was published.
        let is_our_base = self.is_base
            && (self.covers.is_some() || boundary.offset_bytes == 0 && begins_as_ours(self.scan.rest()));
        self.ours |= is_our_base;
        let is_last = context.is_last && !is_our_base;
        let is_of_bytes = !matches!(bad, Bad::Unwanted(_) | Bad::Misplaced(_) | Bad::Senseless { .. });
        let finding = match bad {
            Bad::NoBlock => {
                self.judge(Misfit::new("commands where a block should stand"), is_last, context)?
            }
            Bad::Cut(line) => {
                self.judge(Misfit::ends("it ends inside a block", Some(line)), is_last, context)?
            }
            Bad::Ends(reason) if self.is_place_of_block() => {
                self.judge(Misfit::ends(reason, None), is_last, context)?
            }
            Bad::Ends(reason) => self.stops(reason, is_last, context)?,
            Bad::Unwanted(found) => Finding { kind: Kind::Unwanted, ..self.ends(found) },
            Bad::Misplaced(found) => self.judge(Misfit::new(found), false, context)?,
            Bad::Wrong { at, found, line } if self.is_place_of_block() || self.begins_as_block() => {
                self.judge(Misfit { at, line, ..Misfit::new(found) }, is_last, context)?
            }
            Bad::Wrong { at, found, .. } => {
                let next = self.behind(self.trail.epoch, context)?.next_block(self.trail.epoch);
                self.wrong(at, found, next)?
            }
            Bad::Senseless { offset_bytes, found } => {
                let lines = self.whole_lines((offset_bytes - boundary.offset_bytes) as usize);
                let next = self.behind(self.trail.epoch, context)?.next_block(self.trail.epoch);
                Finding { kind: Kind::Wrong(offset_bytes), found, lines, next, ..self.ends("") }
            }
        };
        let finding = if is_of_bytes && is_last { self.or_tail(finding, boundary, context) } else { finding };
        self.place(boundary, self.or_lost(finding, context), is_last, context)
    }

    /// What was not durable when another file took over is no damage, whatever became of it. Commands without blocks have no
    /// positions: of those only what merely stops is taken for that.
    fn or_lost(&self, finding: Finding, context: &Context<'_>) -> Finding {
        let is_lost = context.part.lost_from.is_some_and(|from| {
            let is_above = finding.position.is_some_and(|position| position >= from);
            matches!(finding.kind, Kind::Torn(_)) || finding.kind == Kind::Corrupt && is_above
        });
        if !is_lost {
            return finding;
        }
        let found = format!("{}; {WAS_LOST}", finding.found);
        Finding { kind: Kind::Lost, found, ..finding }
    }

    /// Whoever runs the server may have said how much of the end is not worth a start that is refused: from the damage on,
    /// whatever can be read behind it.
    fn or_tail(&self, finding: Finding, boundary: FilePoint, context: &Context<'_>) -> Finding {
        let left_bytes = context.part.counted_bytes().saturating_sub(boundary.offset_bytes);
        match self.course.is_tail(finding.kind, left_bytes) {
            true => Finding { kind: Kind::Tail, next: None, ..finding },
            false => finding,
        }
    }

    /// It merely stops.
    fn ends(&self, reason: &'static str) -> Finding {
        Finding {
            kind: Kind::Torn(reason),
            found: reason.to_owned(),
            lines: self.whole_lines(usize::MAX),
            position: self.trail.expected,
            next: None,
        }
    }

    /// It merely stops among commands of others; unless what it stops in goes over a head that was written where it stands.
    /// Where some of them were never durable, that is where they end.
    fn stops(
        &mut self,
        reason: &'static str,
        is_last: bool,
        context: &Context<'_>,
    ) -> Result<Finding, Error> {
        let behind = self.behind(self.trail.epoch, context)?;
        let finding = self.ends(reason);
        if behind.is_vouched_for {
            let kind = Kind::Wrong(self.scan.offset_bytes() + self.parsed as u64);
            return Ok(Finding { kind, next: behind.next_block(self.trail.epoch), ..finding });
        }
        let may_stop = is_last || !self.ours || context.part.lost_from.is_some();
        Ok(if may_stop { finding } else { Finding { kind: Kind::Corrupt, ..finding } })
    }

    fn judge(&mut self, misfit: Misfit, is_last: bool, context: &Context<'_>) -> Result<Finding, Error> {
        let Misfit { at, found, torn, line } = misfit;
        let Trail { expected, unsure, durable, time_ms, .. } = *self.trail;
        let head = line.as_ref().and_then(|line| line.head);
        let epoch = self.trail.epoch.or(head.map(|head| head.epoch()));
        let least = expected.unwrap_or(0);
        // Of one that a sector held before, the rest is not what stood here.
        let line = line.filter(|line| line.position >= least);
        let known = expected.filter(|_| !unsure);
        let position = known.or(line.as_ref().map(|line| line.position)).unwrap_or(least);
        let is_almost_foreign = self.opening()? == Opening::Damaged;
        let behind = self.behind(epoch, context)?;
        let durable = durable.max(behind.durable);
        // What was durable says nothing of how long a crash had to tear what came behind it: the log may have been idle.
        let about_ms = if least > durable { time_ms } else { behind.first_ms };
        let explained_bytes = line.as_ref().map_or(0, |line| line.payload_bytes.saturating_add(at as u64));
        let verdict = judge(&Evidence {
            is_last: is_last && epoch.is_some(),
            position,
            durable,
            is_vouched_for: behind.is_vouched_for,
            behind_bytes: behind.last_offset_bytes.map(|last| last - self.scan.offset_bytes()),
            rest_bytes: self.scan.left_bytes().saturating_sub(explained_bytes),
            is_almost_foreign,
            before_ms: line.map(|line| line.time_ms).or(about_ms),
            behind_ms: behind.last_ms,
        });
        let position = Some(position);
        Ok(match verdict {
            Verdict::Torn => Finding { position, ..self.ends(torn) },
            Verdict::Foreign => self.wrong(at, found, behind.next_block(epoch))?,
            Verdict::Corrupt => {
                let next = behind.next_block(epoch);
                Finding { kind: Kind::Corrupt, found, position, next, ..self.ends(torn) }
            }
        })
    }

    /// Bytes that no block vouches for are no commands. Zeros up to the end are what a crash leaves.
    fn wrong(&mut self, at: usize, found: String, next: Option<FilePoint>) -> Result<Finding, Error> {
        let offset_bytes = self.scan.offset_bytes() + (self.parsed + at) as u64;
        let finding = self.ends("it ends in zeros");
        // It may be the end of a value that was not read.
        self.scan.go_to(offset_bytes)?;
        while self.scan.rest().len() < LENGTH_LINE_BYTES && self.scan.more()? {}
        let rest = self.scan.rest();
        let text = rest.iter().take(LENGTH_LINE_BYTES).take_while(|&&byte| byte != 0).count();
        if rest[text..].iter().all(|&byte| byte == 0) {
            self.scan.consume(text);
            if self.scan.left_bytes() > 0 && self.scan.skip_zeros()? {
                return Ok(finding);
            }
        }
        Ok(Finding { kind: Kind::Wrong(offset_bytes), found, next, ..finding })
    }

    /// What of ours stands behind the boundary.
    fn behind(&mut self, epoch: Option<Epoch>, context: &Context<'_>) -> Result<Behind, Error> {
        let (boundary, from) = (self.scan.point(), self.trail.expected.unwrap_or(0));
        let survey = match self.survey.take().filter(|survey| survey.holds(epoch, boundary, from)) {
            Some(survey) => survey,
            None => Survey::of(|| self.ahead(context), epoch, boundary, from, self.seq)?,
        };
        self.survey.insert(survey).behind(boundary, from)
    }

    /// The file once more, from the boundary on.
    fn ahead(&self, context: &Context<'_>) -> Result<Scan, Error> {
        let Context { directory, part, .. } = *context;
        Scan::open(&**directory.fs(), self.scan.path(), self.scan.point(), part.counted_bytes())
    }

    /// Whether it was another server that went on where a block of ours should stand: it begins as they do, or the file does
    /// and was ended since, and nothing of ours is missing behind it. Nobody goes on inside of a base.
    pub(super) fn others_go_on(&mut self, context: &Context<'_>) -> Result<bool, Error> {
        let is_whole_file = self.scan.offset_bytes() == 0 && !context.is_last;
        if self.open_base || !is_whole_file && self.opening()? != Opening::Whole {
            return Ok(false);
        }
        let Trail { epoch, expected, unsure, .. } = *self.trail;
        let expected = expected.filter(|_| !unsure);
        let mut is_missing = None;
        self.ahead(context)?.lines(epoch, |here, line| {
            is_missing = match line.head {
                Some(Head::Incr(head)) => match head.stands(self.seq, here) {
                    Stands::Here => Some(false),
                    Stands::Changed => Some(true),
                    Stands::Elsewhere => None,
                },
                _ => expected
                    .filter(|&expected| line.position >= expected)
                    .map(|expected| line.position > expected),
            };
            is_missing.is_none()
        })?;
        Ok(!is_missing.unwrap_or(false))
    }

    /// How what stands at the boundary compares with the beginning of another server's commands.
    fn opening(&mut self) -> Result<Opening, Error> {
        while self.scan.rest().len() < OPENING_BYTES && self.scan.more()? {}
        Ok(Opening::of(self.scan.rest()))
    }

    fn begins_as_block(&self) -> bool {
        self.scan.rest().starts_with(MAGIC) && !self.in_multi
    }

    /// Tells the course, and goes on at the next block that can be read.
    fn place(
        &mut self,
        boundary: FilePoint,
        finding: Finding,
        is_last: bool,
        context: &Context<'_>,
    ) -> Result<Option<FilePoint>, Error> {
        let Context { directory, part, .. } = *context;
        let Finding { kind, found, lines, position, next } = finding;
        let end = next.map_or(part.counted_bytes(), |point| point.offset_bytes);
        let Keys { named: keys, are_more: are_more_keys, .. } = match self.course.wants_keys(kind) {
            true => {
                let mut place = Scan::open(&**directory.fs(), self.scan.path(), boundary, end)?;
                keys_between(&mut place, |argv| self.feed.keys_of(argv))?
            }
            false => Keys::default(),
        };
        let (path, offset_bytes) = (self.scan.path().to_path_buf(), boundary.offset_bytes);
        let len_bytes = end.saturating_sub(offset_bytes);
        let damage = Damage { path, offset_bytes, position, len_bytes, found, keys, are_more_keys };
        self.feed.settle(offset_bytes)?;
        self.course.bad(Find { directory, part, is_last, kind, damage, lines })?;
        self.trail.unsure = true;
        if matches!(kind, Kind::Torn(_) | Kind::Tail | Kind::Unwanted) {
            return Ok(Some(boundary));
        }
        // Whatever its first head said: the last one must come.
        self.ours |= kind == Kind::Corrupt;
        self.open_base = self.ours && self.is_base && part.is_resp();
        (self.is_foreign, self.loose_bytes, self.in_multi, self.parsed) = (false, 0, false, 0);
        self.parser = Parser::default();
        let Some(point) = next else {
            self.scan.drain()?;
            return Ok(Some(self.scan.point()));
        };
        if self.scan.offset_bytes() > point.offset_bytes {
            self.scan = Scan::open(&**directory.fs(), self.scan.path(), point, part.counted_bytes())?;
        }
        self.scan.go_to(point.offset_bytes)?;
        Ok(None)
    }

    /// A file that is whole, and not what another says of it. Commands without blocks may hold what a power cut has left of
    /// a value that was never durable.
    pub(super) fn not_as_recorded(
        &mut self,
        expected: FilePoint,
        context: &Context<'_>,
    ) -> Result<(), Error> {
        let Context { directory, part, .. } = *context;
        let end = self.scan.point();
        let was_lost = part.lost_from.is_some() && self.loose_bytes > 0;
        let reason =
            if was_lost { WAS_LOST } else { "no block is, so it is something that no checksum covers" };
        let damage = Damage {
            path: self.scan.path().to_path_buf(),
            offset_bytes: 0,
            position: None,
            len_bytes: end.offset_bytes,
            found: format!(
                "they hash to {:08x}, and to {:08x} when the file that follows took over; {reason}",
                end.crc, expected.crc
            ),
            keys: Vec::new(),
            are_more_keys: false,
        };
        self.feed.settle(end.offset_bytes)?;
        let kind = Kind::NotAsRecorded { was_lost };
        self.course.bad(Find { directory, part, is_last: false, kind, damage, lines: 0 })
    }

    /// Lines of commands in the next `len` bytes, up to what is wrong. Those of a block count as a whole or not at all.
    fn whole_lines(&self, len: usize) -> u64 {
        let rest = self.scan.rest();
        if rest.starts_with(MAGIC) { 0 } else { command_lines(&rest[..len.min(rest.len())]) }
    }
}

/// A line of ours, or the start of one.
fn begins_as_ours(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().zip(MAGIC).all(|(byte, magic)| byte == magic)
}

/// Lines of commands at the start of `bytes` that are whole; what stands between commands does not count.
pub(crate) fn command_lines(bytes: &[u8]) -> u64 {
    let (mut rest, mut lines, mut values) = (bytes, 0, 0);
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let (line, behind) = rest.split_at(end + 1);
        let number = |prefix| {
            let digits = line.strip_prefix(&[prefix])?.strip_suffix(b"\r\n")?;
            usize::try_from(resp::number::parse_i64(digits)?).ok()
        };
        rest = behind;
        if values > 0 {
            let Some(len) = number(b'$') else { break };
            lines += 1;
            let value = rest.split_at_checked(len).and_then(|(_, rest)| rest.strip_prefix(b"\r\n"));
            let Some(behind) = value else { break };
            (rest, lines, values) = (behind, lines + 1, values - 1);
        } else if let Some(count) = number(b'*') {
            (lines, values) = (lines + 1, count);
        } else if !line.starts_with(b"#") {
            break;
        }
    }
    lines
}
