//! What a lookup gives: a key, its value and its bookkeeping, seen where they stand.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::ValueRef;
use crate::access::{Access, Noting, Usage};

/// Stands for "no time to live"; a time as late as this is stored one millisecond earlier.
pub(crate) const NEVER: i64 = i64::MAX;

/// A time to live as it is stored.
pub(crate) fn stored_time(expire_at_ms: Option<i64>) -> i64 {
    expire_at_ms.map_or(NEVER, |at| at.min(NEVER - 1))
}

/// A key, its value and its bookkeeping.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: ValueRef<'a>,
    /// [`NEVER`] without a time to live.
    pub(crate) expire_at_ms: i64,
    /// What [`Usage`] is made of, of a key. Readers refresh it even where the segment is shared with a snapshot, so that
    /// a GET during a rewrite copies nothing.
    pub(crate) access: Option<&'a AtomicU32>,
}

impl<'a> Entry<'a> {
    /// The key.
    #[inline]
    pub fn key(&self) -> &'a [u8] {
        self.key
    }

    /// The value.
    #[inline]
    pub fn value(&self) -> ValueRef<'a> {
        self.value
    }

    /// A value that is known to be a string, and no integer: a field's.
    pub(crate) fn string(&self) -> &'a [u8] {
        match self.value {
            ValueRef::Str(bytes) => bytes,
            _ => &[],
        }
    }

    /// When the key expires, milliseconds since 1970.
    #[inline]
    pub fn expire_at_ms(&self) -> Option<i64> {
        (self.expire_at_ms != NEVER).then_some(self.expire_at_ms)
    }

    /// Whether its time is over.
    #[inline]
    pub fn is_due(&self, now_ms: i64) -> bool {
        self.expire_at_ms < now_ms
    }

    /// Notes an access.
    #[inline]
    pub(crate) fn touch(&self, access: Access) {
        if let Some(noted) = self.access {
            access.note(noted);
        }
    }

    /// What is noted of its use, to go with the value to another key.
    pub(crate) fn noted(&self) -> u32 {
        self.access.map_or(0, |noted| noted.load(Relaxed))
    }

    /// Notes what was noted of the use of a value that came here.
    pub(crate) fn note(&self, bits: u32) {
        if let Some(noted) = self.access {
            noted.store(bits, Relaxed);
        }
    }

    /// Notes what is known of its use, if the policy asks for that.
    pub(crate) fn set_usage(&self, usage: Usage, noting: Noting, now_ms: i64) {
        if let Some(bits) = usage.bits(noting, now_ms) {
            self.note(bits);
        }
    }

    /// How it is used.
    pub fn usage(&self, noting: Noting, now_ms: i64) -> Usage {
        Usage::of(self.noted(), noting, now_ms)
    }

    /// Seconds since the last access.
    pub fn idle_s(&self, now_ms: i64) -> u64 {
        match self.usage(None, now_ms) {
            Usage::Idle(idle_s) => idle_s,
            Usage::Freq(_) => 0,
        }
    }
}
