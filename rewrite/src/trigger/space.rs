//! Whether a new base fits on the disk beside the files that it is to replace.
//!
//! ```text
//! free bytes   0               17/16 of the base               3/2 of the base
//!              |-- none begins by itself --|-- one begins that gives back --|-- growth alone decides
//!                                              an eighth of its length
//! ```
//! One that begins too late fills the disk, fails, and finds less space the next time. By these figures none does where the
//! base alone takes up to 45 % of what the disk has for the log, unless writers fill the rest while it runs.

/// Of the memory that a shorter base was begun with most is the server's own: it tells nothing.
const TELLING_BYTES: u64 = 1 << 20;

/// About how long the next base becomes: as long for each byte of memory in use as the last one that tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    base_bytes: u64,
    memory_bytes: u64,
    /// The one begun last, until both are known of it.
    begun: Option<Begun>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Begun {
    base_bytes: Option<u64>,
    memory_bytes: Option<u64>,
}

impl Default for Estimate {
    /// As long as its data are in memory, where they take more room.
    fn default() -> Self {
        Estimate { base_bytes: 1, memory_bytes: 1, begun: None }
    }
}

impl Estimate {
    /// A base is `base_bytes` long, or would be if it had not failed; so much memory was in use when it was begun, 0 if
    /// nobody knows.
    pub fn note(&mut self, base_bytes: u64, memory_bytes: u64) {
        self.begun = None;
        if base_bytes >= TELLING_BYTES && memory_bytes > 0 {
            (self.base_bytes, self.memory_bytes) = (base_bytes, memory_bytes);
        }
    }

    /// A base is begun. Its memory is what the next count says: in the last one were blocks of the log that may have
    /// gone.
    pub fn begin(&mut self) {
        self.begun = Some(Begun::default());
    }

    /// So much memory is in use.
    pub fn note_memory(&mut self, memory_bytes: u64) {
        if let Some(begun) = &mut self.begun {
            begun.memory_bytes.get_or_insert(memory_bytes);
            self.close();
        }
    }

    /// The base that was begun is so long, or would be if it had not failed.
    pub fn note_base(&mut self, base_bytes: u64) {
        if let Some(begun) = &mut self.begun {
            begun.base_bytes = Some(base_bytes);
            self.close();
        }
    }

    fn close(&mut self) {
        if let Some(Begun { base_bytes: Some(base_bytes), memory_bytes: Some(memory_bytes) }) = self.begun {
            self.note(base_bytes, memory_bytes);
        }
    }

    /// The length of one that is begun now: not above that of the log, which tells the same with more words.
    pub fn base_bytes(&self, log_bytes: u64, memory_bytes: u64) -> u64 {
        let scaled =
            u128::from(self.base_bytes) * u128::from(memory_bytes) / u128::from(self.memory_bytes.max(1));
        u64::try_from(scaled).unwrap_or(u64::MAX).min(log_bytes)
    }
}

/// The disk of the log, held against what a base would take there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Free for whoever comes first.
    pub free_bytes: u64,
    /// What the base will take, about.
    pub base_bytes: u64,
}

impl Space {
    /// What must be free: the estimate is rough, and writers go on.
    pub fn needed_bytes(&self) -> u64 {
        self.base_bytes.saturating_add(self.base_bytes / 16)
    }

    /// Whether a rewrite that begins now has a chance.
    pub fn is_enough(&self) -> bool {
        self.free_bytes >= self.needed_bytes()
    }

    /// Whether it may soon have none, and would give back enough of the log's `log_bytes` to be worth its while.
    pub fn is_running_out(&self, log_bytes: u64) -> bool {
        let gain_bytes = log_bytes.saturating_sub(self.base_bytes);
        self.free_bytes < self.base_bytes.saturating_add(self.base_bytes / 2)
            && gain_bytes >= self.base_bytes / 8
            && gain_bytes > 0
    }
}
