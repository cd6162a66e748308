//! How much of what a file shows is on the disk for certain.
//!
//! An fdatasync that fails leaves pages that the kernel calls clean and shows to whoever reads, as long as there is power. Was
//! the process killed before it could act on the failure, the next one reads a log that looks whole, and no later fdatasync
//! would bring those pages to the disk. But a line says how far the log was durable when it was written, and that was
//! learnt from an fdatasync that succeeded. So what is *unsure* is behind the last block that a line calls durable, and is
//! written again, over itself, before anything counts on it.

use crate::Position;
use crate::block::{FilePoint, Line};
use crate::manifest::FileSeq;

/// The end of a block.
type End = (Position, FilePoint);

/// What the lines of one file tell, read in order. It keeps two ends of blocks and not all that are yet to be called
/// durable, so it may be sure of a little less than the lines are.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sure {
    point: FilePoint,
    /// The next one that will do.
    candidate: End,
    last: End,
    has_lines: bool,
}

impl Sure {
    /// A line was read; with its payload, it ends at `here`. A line alone has no position, so nobody calls it durable.
    pub(super) fn note(&mut self, line: &Line, here: FilePoint) {
        self.has_lines = true;
        if line.durable() >= self.last.0 {
            self.candidate = self.last;
        }
        if line.durable() >= self.candidate.0 {
            self.point = self.candidate.1;
            self.candidate = self.last;
        }
        if line.head.is_none() && line.payload_bytes > 0 {
            self.last = (line.end(), here);
        }
    }

    pub(super) fn end(self, point: FilePoint) -> FileEnd {
        FileEnd { point, position: self.last.0, sure: self.has_lines.then_some(self.point) }
    }
}

/// Where a file ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileEnd {
    pub(crate) point: FilePoint,
    /// The position behind its last block.
    position: Position,
    /// Where it begins to be unsure; none if no line says anything.
    sure: Option<FilePoint>,
}

/// What is to be written again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unsure {
    pub(crate) seq: FileSeq,
    pub(crate) from: FilePoint,
    pub(crate) to: FilePoint,
}

/// Of all incrs, when `durable` is the highest position that any line calls so. A file behind which another has bytes was
/// synced to its end before, unless under `no` its fdatasync failed: then the other does not call it durable.
pub(super) fn unsure(incrs: &[(FileSeq, FileEnd)], durable: Position) -> Vec<Unsure> {
    let last = incrs.iter().rposition(|(_, end)| end.point.offset_bytes > 0);
    let unsure = incrs.iter().enumerate().filter_map(|(n, (seq, end))| {
        let is_done = Some(n) != last && end.position <= durable;
        let from = end.sure.filter(|from| !is_done && from.offset_bytes < end.point.offset_bytes)?;
        Some(Unsure { seq: *seq, from, to: end.point })
    });
    unsure.collect()
}
