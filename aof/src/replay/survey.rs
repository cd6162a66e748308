//! What of ours stands behind a damaged place: lines that check, of this log, of positions that may come here.
//!
//! For that all the rest is read, once: what it says of one place it says of the next, as long as the lines that it goes by
//! are behind that, too. Only the next line is looked for anew, from the last one on.

use crate::Position;
use crate::block::{Epoch, FilePoint, Head, Line, Stands};
use crate::error::Error;
use crate::manifest::FileSeq;
use crate::scan::Scan;

/// What stands behind one damaged place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Behind {
    /// The next line that checks.
    next: Option<FilePoint>,
    /// The highest position that a line calls durable.
    pub(super) durable: Position,
    /// When the first of them was written, and when the latest.
    pub(super) first_ms: Option<i64>,
    pub(super) last_ms: Option<i64>,
    /// Where the last of them stands in the file.
    pub(super) last_offset_bytes: Option<u64>,
    /// A head among them was written where it stands: what precedes it was durable before.
    pub(super) is_vouched_for: bool,
}

impl Behind {
    /// Where the log goes on. Without a known epoch any value might pretend to be that.
    pub(super) fn next_block(&self, epoch: Option<Epoch>) -> Option<FilePoint> {
        epoch.and(self.next)
    }
}

/// What stands behind one damaged place after the other.
pub(super) struct Survey {
    epoch: Option<Epoch>,
    /// What it was asked for last: lines of positions below were passed over.
    from: Position,
    last: Option<Place>,
    /// The last of those that call most durable.
    durable: Option<(Position, Place)>,
    /// The last of those that were written latest.
    latest: Option<(i64, Place)>,
    /// The last head that was written where it stands.
    head: Option<Place>,
    /// Moves from one next line to the other.
    seeker: Scan,
}

/// A line that a survey goes by.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset_bytes: u64,
    position: Position,
}

impl Place {
    fn of(here: FilePoint, line: &Line) -> Place {
        Place { offset_bytes: here.offset_bytes, position: line.position }
    }

    fn is_behind(self, boundary: FilePoint, from: Position) -> bool {
        self.offset_bytes > boundary.offset_bytes && self.position >= from
    }
}

impl Survey {
    /// Reads all behind `boundary`, in incr number `seq`, where `open` opens the file. What stands at the boundary itself is
    /// passed over: its line may be what lies.
    pub(super) fn of(
        open: impl Fn() -> Result<Scan, Error>,
        epoch: Option<Epoch>,
        boundary: FilePoint,
        from: Position,
        seq: FileSeq,
    ) -> Result<Survey, Error> {
        let seeker = open()?;
        let mut survey = Survey { epoch, from, last: None, durable: None, latest: None, head: None, seeker };
        open()?.lines(epoch, |here, line| {
            if Place::of(here, line).is_behind(boundary, from) {
                survey.note(here, line, seq);
            }
            true
        })?;
        Ok(survey)
    }

    fn note(&mut self, here: FilePoint, line: &Line, seq: FileSeq) {
        let place = Place::of(here, line);
        self.last = Some(place);
        if self.durable.is_none_or(|(durable, _)| line.durable() >= durable) {
            self.durable = Some((line.durable(), place));
        }
        if self.latest.is_none_or(|(time_ms, _)| line.time_ms >= time_ms) {
            self.latest = Some((line.time_ms, place));
        }
        if let Some(Head::Incr(head)) = line.head
            && head.stands(seq, here) != Stands::Elsewhere
        {
            self.head = Some(place);
        }
    }

    /// Whether it says what stands behind this boundary, too, from position `from` on.
    pub(super) fn holds(&self, epoch: Option<Epoch>, boundary: FilePoint, from: Position) -> bool {
        let places =
            [self.last, self.durable.map(|(_, place)| place), self.latest.map(|(_, place)| place), self.head];
        self.epoch == epoch
            && self.from <= from
            && places.into_iter().flatten().all(|place| place.is_behind(boundary, from))
    }

    /// What stands behind a boundary for which it [holds](Self::holds), no earlier in the file than the last one.
    pub(super) fn behind(&mut self, boundary: FilePoint, from: Position) -> Result<Behind, Error> {
        self.from = from;
        let mut next = None;
        if self.last.is_some() {
            self.seeker.lines(self.epoch, |here, line| {
                next = Place::of(here, line).is_behind(boundary, from).then_some((here, line.time_ms));
                next.is_none()
            })?;
        }
        Ok(Behind {
            next: next.map(|(here, _)| here),
            durable: self.durable.map_or(0, |(durable, _)| durable),
            first_ms: next.map(|(_, time_ms)| time_ms),
            last_ms: self.latest.map(|(time_ms, _)| time_ms),
            last_offset_bytes: self.last.map(|place| place.offset_bytes),
            is_vouched_for: self.head.is_some(),
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::block::IncrHead;
    use crate::fs::Mem;

    const EPOCH: Epoch = Epoch(7);
    const SEQ: FileSeq = 1;

    /// Lines with other bytes between them, as no log is: positions and times go up and down. Returns where they stand, too.
    fn lines(chances: &[(u64, u64, i64, u8)]) -> (Vec<u8>, Vec<(FilePoint, Position)>) {
        let (mut bytes, mut places) = (Vec::new(), Vec::new());
        for &(position, lag, time_ms, kind) in chances {
            bytes.extend_from_slice(b"other bytes");
            let here = FilePoint::default().after(&bytes);
            let behind = Some((SEQ, if kind == 0 { here } else { FilePoint::default() }));
            let head = Head::Incr(IncrHead { epoch: EPOCH, seq: SEQ, base: 0, moved_bytes: None, behind });
            let head = (kind < 2).then_some(head);
            let line = Line { payload_bytes: 0, position, lag, db: None, time_ms, head, payload_crc: 0 };
            line.encode(EPOCH, &mut bytes);
            places.push((here, position));
        }
        (bytes, places)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_kept_of_a_survey_says_the_same_as_a_new_one(
            chances in prop::collection::vec((0u64..6, 0u64..6, 0i64..6, 0u8..6), 1..12),
        ) {
            let (bytes, places) = lines(&chances);
            let (mem, path) = (Mem::new(), Path::new("/file"));
            mem.put(path, &bytes);
            let survey = |boundary, from| {
                let open = || Scan::open(&mem, path, boundary, bytes.len() as u64);
                Survey::of(open, Some(EPOCH), boundary, from, SEQ).unwrap()
            };
            let mut kept = survey(FilePoint::default(), 0);
            for (boundary, from) in places {
                if !kept.holds(Some(EPOCH), boundary, from) {
                    kept = survey(boundary, from);
                }
                let expected = survey(boundary, from).behind(boundary, from).unwrap();
                prop_assert_eq!(kept.behind(boundary, from).unwrap(), expected);
            }
        }
    }
}
