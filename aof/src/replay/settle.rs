//! What bad bytes are: torn off, damaged, or never a log.

use resp::Parser;

use super::file::{Bad, Replay};
use super::keys::keys_between;
use super::{Context, Course, Damage, Find, Kind};
use crate::Position;
use crate::block::{FilePoint, Line, MAGIC};
use crate::error::Error;
use crate::recover::{Evidence, Verdict, judge};
use crate::scan::Scan;

/// A length line is damaged by zeros that begin this soon after its start.
const LENGTH_LINE_BYTES: usize = 32;

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
        let finding = match bad {
            Bad::Ends(reason) if is_last || !self.ours => self.ends(reason),
            Bad::Ends(reason) => Finding { kind: Kind::Corrupt, ..self.ends(reason) },
            Bad::Unwanted(found) => Finding { kind: Kind::Unwanted, ..self.ends(found) },
            Bad::Misplaced(found) => self.judge(found, None, false)?,
            Bad::Wrong { at, found, line } => {
                let finding = match self.is_place_of_block() {
                    true => self.judge(found, line, is_last)?,
                    false => self.wrong(at, found)?,
                };
                let left_bytes = context.part.counted_bytes().saturating_sub(boundary.offset_bytes);
                self.or_tail(finding, left_bytes, is_last)
            }
            Bad::Senseless { offset_bytes, found } => {
                let kind = Kind::Wrong(offset_bytes);
                let lines = self.whole_lines((offset_bytes - boundary.offset_bytes) as usize);
                let finding = Finding { kind, found, lines, ..self.ends("") };
                Finding { next: self.next_block()?, ..finding }
            }
        };
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
        let found = format!("{}; an fdatasync of it had failed under appendfsync no", finding.found);
        Finding { kind: Kind::Lost, found, ..finding }
    }

    /// Whoever runs the server may have said how much of the end is not worth a start that is refused: from the damage on,
    /// whatever can be read behind it.
    fn or_tail(&self, finding: Finding, left_bytes: u64, is_last: bool) -> Finding {
        match is_last && self.course.is_tail(finding.kind, left_bytes) {
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

    fn judge(&mut self, found: String, line: Option<Line>, is_last: bool) -> Result<Finding, Error> {
        let expected = self.trail.expected.unwrap_or(0);
        let lines = self.whole_lines(usize::MAX);
        let offset_bytes = self.scan.offset_bytes();
        // What is damaged is passed over byte by byte: its line may be what lies.
        self.scan.consume(1.min(self.scan.rest().len()));
        let survey = self.scan.survey(self.trail.epoch, expected)?;
        let position = line.as_ref().map_or(expected, |line| line.position);
        let durable = self.trail.durable.max(survey.durable);
        // What was durable says nothing of how long a crash had to tear what came behind it: the log may have been idle.
        let about_ms = if expected > durable { self.trail.time_ms } else { survey.first_ms };
        let evidence = Evidence {
            is_last: is_last && self.trail.epoch.is_some(),
            position,
            durable,
            behind_bytes: survey.last_offset_bytes.map_or(0, |last| last - offset_bytes),
            before_ms: line.map(|line| line.time_ms).or(about_ms),
            behind_ms: survey.last_ms,
        };
        let position = Some(position);
        Ok(match judge(&evidence) {
            Verdict::Torn => Finding { lines, position, ..self.ends("it ends in what is no block") },
            Verdict::Corrupt => {
                // Without a known epoch any value might pretend to be the next block.
                let next = survey.next.filter(|_| self.trail.epoch.is_some()).map(|(point, _)| point);
                Finding { kind: Kind::Corrupt, found, lines, position, next }
            }
        })
    }

    /// Bytes that no block vouches for are no commands. Zeros up to the end are what a crash leaves.
    fn wrong(&mut self, at: usize, found: String) -> Result<Finding, Error> {
        let offset_bytes = self.scan.offset_bytes() + (self.parsed + at) as u64;
        let finding = self.ends("it ends in zeros");
        let zeros = self.scan.rest()[self.parsed..].iter().skip(at).take(LENGTH_LINE_BYTES);
        let text = zeros.take_while(|&&byte| byte != 0).count();
        self.scan.consume((self.parsed + at + text).min(self.scan.rest().len()));
        if self.scan.left_bytes() > 0 && self.scan.skip_zeros()? {
            return Ok(finding);
        }
        Ok(Finding { kind: Kind::Wrong(offset_bytes), found, next: self.next_block()?, ..finding })
    }

    /// Where this log goes on. Without a known epoch any value might pretend to be that.
    fn next_block(&mut self) -> Result<Option<FilePoint>, Error> {
        if self.trail.epoch.is_none() {
            return Ok(None);
        }
        self.scan.consume(1.min(self.scan.rest().len()));
        let survey = self.scan.survey(self.trail.epoch, self.trail.expected.unwrap_or(0))?;
        Ok(survey.next.map(|(point, _)| point))
    }

    /// Whether a block of ours should begin here.
    fn is_place_of_block(&self) -> bool {
        let is_ours = self.ours && self.loose_bytes == 0 || self.scan.rest().starts_with(MAGIC);
        is_ours && !self.in_multi
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
        let keys = match kind {
            Kind::Unwanted => Vec::new(),
            _ => {
                let mut place = Scan::open(&**directory.fs(), self.scan.path(), boundary, end)?;
                keys_between(&mut place, |argv| self.feed.keys_of(argv))?
            }
        };
        let (path, offset_bytes) = (self.scan.path().to_path_buf(), boundary.offset_bytes);
        let damage =
            Damage { path, offset_bytes, position, len_bytes: end.saturating_sub(offset_bytes), found, keys };
        self.feed.settle(offset_bytes)?;
        self.course.bad(Find { directory, part, is_last, kind, damage, lines })?;
        self.trail.unsure = true;
        if matches!(kind, Kind::Torn(_) | Kind::Tail | Kind::Unwanted) {
            return Ok(Some(boundary));
        }
        // Whatever its first head said: the last one must come.
        self.ours |= kind == Kind::Corrupt;
        self.open_base = self.ours && self.is_base && part.is_resp();
        (self.loose_bytes, self.in_multi, self.parsed) = (0, false, 0);
        self.parser = Parser::default();
        let Some(point) = next else {
            self.scan.drain()?;
            return Ok(Some(self.scan.point()));
        };
        self.scan = Scan::open(&**directory.fs(), self.scan.path(), point, part.counted_bytes())?;
        Ok(None)
    }

    /// A file that is whole, and not what another says of it.
    pub(super) fn not_as_recorded(
        &mut self,
        expected: FilePoint,
        context: &Context<'_>,
    ) -> Result<(), Error> {
        let Context { directory, part, .. } = *context;
        let end = self.scan.point();
        let damage = Damage {
            path: self.scan.path().to_path_buf(),
            offset_bytes: 0,
            position: None,
            len_bytes: end.offset_bytes,
            found: format!(
                "they hash to {:08x}, and to {:08x} when the file that follows took over; no block is, so it is \
                 something that no checksum covers",
                end.crc, expected.crc
            ),
            keys: Vec::new(),
        };
        self.feed.settle(end.offset_bytes)?;
        let kind = Kind::NotAsRecorded;
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
