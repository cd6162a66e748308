//! The seam below framing: whatever takes blocks and tells how safe they are.

use std::time::Instant;

use bytes::Bytes;

use crate::Position;

/// Takes blocks in order and persists them; local files are the one there is, a replicated log may be another.
pub trait LogBackend {
    /// Takes a block. `now` is when the turn that made it ended. Must not wait for what a slow medium does.
    fn append(&self, block: Block, now: Instant);
    /// Up to here, a crash of the process takes nothing.
    fn written(&self) -> Position;
    /// Up to here, a power cut takes nothing.
    fn durable(&self) -> Position;
}

/// What one turn of the executor leaves for the log. Never cut inside.
#[derive(Debug, Clone)]
pub struct Block {
    /// As they are to stand in the log: a `#TS:` line, the block's own line, the payload.
    pub bytes: Bytes,
    /// What they keep in memory: themselves, and what their buffer has beside them.
    pub memory_bytes: usize,
    /// The position of the payload's first byte.
    pub start: Position,
    /// The position after its last byte.
    pub end: Position,
    /// The durable watermark that the line speaks of.
    pub durable: Position,
    /// The database selected before it; none if it begins a file and thus selects one itself.
    pub db: Option<u32>,
    /// The database selected after it.
    pub db_after: Option<u32>,
    /// When its turn ended.
    pub sealed: Instant,
    /// The same by the wall clock, milliseconds since 1970.
    pub time_ms: i64,
}
