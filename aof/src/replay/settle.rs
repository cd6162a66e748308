//! What becomes of bad bytes: cut, set aside, or refused.

use resp::Parser;

use super::file::{Bad, Frame, LIMITS, Replay, frame};
use super::{Context, Damage, Quarantine, Report, Sink};
use crate::Position;
use crate::block::{FilePoint, Line, MAGIC};
use crate::error::{Error, io_error};
use crate::options::LoadCorrupt;
use crate::recover::{Evidence, Verdict, judge};
use crate::scan::Scan;

/// A length line is damaged by zeros that begin this soon after its start.
const LENGTH_LINE_BYTES: usize = 32;
/// Keys that a report names.
const NAMED_KEYS: usize = 16;
impl<S: Sink> Replay<'_, S> {
    /// Decides what they are. Returns the end of the file, if it ends here; else the next items can be read.
    pub(super) fn settle(
        &mut self,
        bad: Bad,
        context: &Context<'_>,
        report: &mut Report,
    ) -> Result<Option<FilePoint>, Error> {
        let boundary = self.scan.point();
        // A base of ours was whole when it was published.
        let is_last = context.is_last && !(self.is_base && self.covers.is_some());
        match bad {
            Bad::Ends(reason) if is_last || !self.ours => {
                self.tear(boundary, reason, context, report).map(Some)
            }
            Bad::Ends(reason) => self.quarantine(boundary, reason.to_owned(), None, context, report),
            Bad::Misplaced(found) => self.judge(boundary, (0, found, None), false, context, report),
            Bad::Wrong { at, found, line } if self.is_place_of_block() => {
                self.judge(boundary, (at, found, line), is_last, context, report)
            }
            Bad::Wrong { at, found, .. } => {
                let error = self.bad_format(at, found);
                let zeros = self.scan.rest()[self.parsed..].iter().skip(at).take(LENGTH_LINE_BYTES);
                let text = zeros.take_while(|&&byte| byte != 0).count();
                self.scan.consume((self.parsed + at + text).min(self.scan.rest().len()));
                if self.scan.left_bytes() == 0 || !self.scan.skip_zeros()? {
                    return Err(error);
                }
                self.tear(boundary, "it ends in zeros", context, report).map(Some)
            }
        }
    }

    fn judge(
        &mut self,
        boundary: FilePoint,
        bad: (usize, String, Option<Line>),
        is_last: bool,
        context: &Context<'_>,
        report: &mut Report,
    ) -> Result<Option<FilePoint>, Error> {
        let (at, found, line) = bad;
        let expected = self.trail.expected.unwrap_or(0);
        let keys = self.keys(at);
        let rest_bytes = self.scan.left_bytes();
        // What is damaged is passed over byte by byte: its line may be what lies.
        self.scan.consume(1.min(self.scan.rest().len()));
        let survey = self.scan.survey(self.trail.epoch, expected)?;
        let evidence = Evidence {
            is_last: is_last && self.trail.epoch.is_some(),
            position: line.map_or(expected, |line| line.position),
            durable: self.trail.durable.max(survey.durable),
            rest_bytes,
            before_ms: self.trail.time_ms,
            behind_ms: survey.last_ms,
        };
        if judge(&evidence) == Verdict::Torn {
            return self.tear(boundary, "it ends in what is no block", context, report).map(Some);
        }
        self.quarantine(boundary, found, Some((keys, survey.next)), context, report)
    }

    /// Whether a block of ours should begin here.
    fn is_place_of_block(&self) -> bool {
        let is_ours = self.ours && self.loose_bytes == 0 || self.scan.rest().starts_with(MAGIC);
        is_ours && !self.in_multi
    }

    fn tear(
        &mut self,
        boundary: FilePoint,
        reason: &'static str,
        context: &Context<'_>,
        report: &mut Report,
    ) -> Result<FilePoint, Error> {
        let Context { directory, part, options, is_last } = *context;
        let torn = directory.tear(&part.entry, boundary.offset_bytes, reason, is_last, options)?;
        report.truncated = Some(torn);
        Ok(boundary)
    }

    /// Refuses corruption, or sets it aside and goes on at the next block that can be read.
    fn quarantine(
        &mut self,
        boundary: FilePoint,
        found: String,
        behind: Option<(Vec<Vec<u8>>, Option<(FilePoint, Position)>)>,
        context: &Context<'_>,
        report: &mut Report,
    ) -> Result<Option<FilePoint>, Error> {
        let Context { directory, part, options, .. } = *context;
        let (keys, next) = behind.unwrap_or_default();
        let end = next.map_or(part.counted_bytes(), |(point, _)| point.offset_bytes);
        let (path, offset_bytes) = (self.scan.path().to_path_buf(), boundary.offset_bytes);
        let damage = Damage { path, offset_bytes, len_bytes: end - offset_bytes, found, keys };
        if options.load_corrupt == LoadCorrupt::Fail {
            let manifest = directory.manifest_path();
            return Err(Error::Corrupt { damage: Box::new(damage), manifest });
        }
        let side_file = directory.copy_aside(&part.entry, offset_bytes, damage.len_bytes, "corrupt")?;
        report.quarantined.push(Quarantine { damage, side_file });
        self.trail.unsure = true;
        self.ours = true;
        self.loose_bytes = 0;
        // Whatever its first head said: the last one must come.
        self.open_base = self.is_base && context.part.is_resp();
        let Some((point, _)) = next else {
            while self.scan.more()? {}
            self.scan.consume(self.scan.rest().len());
            return Ok(Some(self.scan.point()));
        };
        self.scan = Scan::open(&**directory.fs(), &self.scan.path().to_path_buf(), part.counted_bytes())
            .and_then(|mut scan| scan.skip(point).map(|()| scan))
            .map_err(io_error("read", self.scan.path()))?;
        Ok(None)
    }

    /// The keys in a damaged block, as far as its commands can still be read.
    fn keys(&self, at: usize) -> Vec<Vec<u8>> {
        let rest = self.scan.rest();
        let line_end = rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |end| end + 1);
        let (mut at, mut parser, mut keys) = (at.max(line_end), Parser::default(), Vec::new());
        while keys.len() < NAMED_KEYS
            && let Some(bytes) = rest.get(at..).filter(|bytes| bytes.starts_with(b"*"))
            && let Ok(Some(len)) = parser.parse(bytes, &LIMITS)
        {
            let argv = parser.argv(bytes);
            if !argv.is_empty() && frame(&argv) == Frame::Effect {
                keys.extend(self.sink.keys_of(&argv));
            }
            at += len;
        }
        keys.truncate(NAMED_KEYS);
        keys
    }

    pub(super) fn not_as_recorded(&self, expected: FilePoint) -> Error {
        Error::NotAsRecorded {
            path: self.scan.path().to_path_buf(),
            len_bytes: expected.offset_bytes,
            expected: expected.crc,
            found: self.scan.point().crc,
        }
    }
}
