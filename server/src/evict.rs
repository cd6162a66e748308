//! Making room: the memory in use against `maxmemory`, and what clients take of it against `maxmemory-clients`.
//!
//! The allocator's books are opened ten times a second, and whenever the executor has allocated so much since that the
//! limit may be passed: its own allocations are counted by the thread, for nothing. So a full memory is noticed before
//! the command that would pass it, as in Redis, and a server that is far below its limit pays two loads a command.
//!
//! What the log still holds is no data and goes with the next fsync, what the lazyfree thread has is as good as free, and
//! what is kept for replicas that lag goes with them: none of it counts. Nor does what keys that went leave to a snapshot
//! that is being written: it falls free with that, however many keys follow. If it counted, a rewrite of a full memory
//! would empty it.

use std::time::{Duration, Instant};

use keyspace::{Keyspace, Snapshot};

use crate::client::{Client, ClientId};
use crate::config::MaxmemoryClients;
use crate::executor::Server;
use crate::logger::Level;
use crate::memory::{self, Bookkeeper, Found};

/// What is known of the room that there is.
#[derive(Debug, Default)]
pub struct Room {
    /// Bytes in use before anything was loaded.
    pub startup_bytes: u64,
    /// What the allocator said last.
    pub(crate) count: memory::Count,
    pub(crate) pages: memory::Pages,
    bookkeeper: Bookkeeper,
    /// Bytes of data by then.
    weighed_bytes: u64,
    weighed_at: Option<Instant>,
    /// What evictions have not freed because a snapshot holds it, copies that they had to make among it.
    held_bytes: u64,
    /// Bytes in use when a snapshot was last taken: it holds no more, however often what it shares is copied and goes.
    snapshot_bytes: u64,
    /// `maxmemory-clients` in bytes when clients were looked at last, and what the executor had allocated by then, or
    /// less since.
    clients_seen: (u64, i64),
    state: State,
    /// Since when there is too little.
    exceeded_since: Option<Instant>,
    /// How long that was before.
    exceeded: Duration,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is enough.
    #[default]
    Enough,
    /// Eviction goes on in the next turn.
    Emptying,
    /// There is too little, and nothing that may go.
    Exceeded,
}

impl Room {
    /// Whether commands that need memory must be refused.
    pub fn is_exceeded(&self) -> bool {
        self.state == State::Exceeded
    }

    /// Whether eviction goes on in the next turn.
    pub fn is_emptying(&self) -> bool {
        self.state == State::Emptying
    }

    /// How long there was too little until now: altogether, and this time.
    pub fn exceeded(&self, now: Instant) -> (Duration, Duration) {
        let current =
            self.exceeded_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        (self.exceeded + current, current)
    }

    /// Forgets how long there was too little.
    pub fn reset_stats(&mut self, now: Instant) {
        self.exceeded = Duration::ZERO;
        self.exceeded_since = self.exceeded_since.map(|_| now);
    }

    /// About how many bytes of data there are now.
    #[inline]
    fn estimated_bytes(&self) -> u64 {
        self.weighed_bytes.saturating_add_signed(memory::thread_bytes().wrapping_sub(self.count.by_thread))
    }

    /// So many bytes of data have gone that did not fall free.
    fn hold(&mut self, bytes: i64) {
        self.held_bytes = self.held_bytes.saturating_add_signed(bytes);
        self.weighed_bytes = self.weighed_bytes.saturating_add_signed(bytes.saturating_neg());
    }

    /// Takes a snapshot.
    pub fn snapshot(&mut self, keyspace: &Keyspace) -> Snapshot {
        self.snapshot_bytes = self.count.used_by_now();
        keyspace.snapshot()
    }

    /// How much a snapshot may hold of data that has gone: what evictions left to it, and so many bytes of values that
    /// were freed elsewhere.
    fn held_bytes(&self, freed_elsewhere_bytes: u64) -> u64 {
        self.held_bytes.saturating_add(freed_elsewhere_bytes).min(self.snapshot_bytes)
    }

    /// Lets clients be looked at when the turn ends and has sent what it could, whatever was allocated.
    pub fn doubt_clients(&mut self) {
        self.clients_seen = Default::default();
    }

    /// What has just been given back must not hide what clients take next.
    fn note_given_back(&mut self) {
        self.clients_seen.1 = self.clients_seen.1.min(memory::thread_bytes());
    }

    /// Whether clients may take notably more than when they were looked at last.
    fn clients_may_have_grown(&mut self, limit: u64) -> bool {
        self.note_given_back();
        let (limit_then, bytes_then) = self.clients_seen;
        limit != limit_then || memory::thread_bytes().saturating_sub(bytes_then) > (limit / 16) as i64
    }

    fn enter(&mut self, state: State, now: Instant) {
        self.state = state;
        if state != State::Enough {
            self.exceeded_since.get_or_insert(now);
        } else if let Some(since) = self.exceeded_since.take() {
            self.exceeded += now.saturating_duration_since(since);
        }
    }
}

/// How long one turn may evict; `None`: as long as it takes. Source: redis 7.2 `src/evict.c` `evictionTimeLimitUs`.
fn budget(tenacity: u32) -> Option<Duration> {
    const USUAL_US: f64 = 500.0;
    match tenacity {
        0..=10 => Some(Duration::from_micros(50 * u64::from(tenacity))),
        11..=99 => Some(Duration::from_micros((USUAL_US * 1.15f64.powi(tenacity as i32 - 10)) as u64)),
        _ => None,
    }
}

impl Server {
    /// Has memory counted. A limit needs this moment's count; else the turn goes on until it has
    /// [come](Self::hear_bookkeeper).
    pub(crate) fn keep_books(&mut self, ask: fn(&mut Bookkeeper, u64) -> bool) {
        self.forget_held();
        let uncounted_bytes = self.uncounted_bytes();
        if self.config.maxmemory_bytes > 0 || !ask(&mut self.room.bookkeeper, uncounted_bytes) {
            self.weigh();
            self.room.pages = memory::Pages::look();
            self.note_count(uncounted_bytes);
        }
    }

    /// Takes what the bookkeeper has found.
    #[inline]
    pub fn hear_bookkeeper(&mut self) {
        let found = self.room.bookkeeper.answer();
        // Since a limit was set, what was weighed goes by a count of its own.
        if let Some(Found { count, uncounted_bytes, pages }) =
            found.filter(|_| self.config.maxmemory_bytes == 0)
        {
            (self.room.count, self.room.pages) = (count, pages);
            self.note_count(uncounted_bytes);
        }
    }

    /// Does what is due by what is in use now.
    fn note_count(&mut self, uncounted_bytes: u64) {
        let used = self.room.count.used_by_now();
        self.stats.used_memory_peak_bytes = self.stats.used_memory_peak_bytes.max(used);
        self.rewrite_if_due(used.saturating_sub(uncounted_bytes));
    }

    /// Opens the allocator's books.
    pub fn weigh(&mut self) {
        self.forget_held();
        self.room.count = memory::Count::take();
        if self.config.maxmemory_bytes > 0 {
            self.room.weighed_bytes = self.room.count.used.saturating_sub(self.uncounted_bytes());
            self.room.weighed_at = Some(self.clock.now);
        }
    }

    /// A snapshot that is no more holds nothing.
    fn forget_held(&mut self) {
        if !self.is_writing_snapshot() {
            self.room.held_bytes = 0;
            self.lazyfree.forget_held();
        }
    }

    /// Bytes in use that are not data, or as good as free.
    pub fn uncounted_bytes(&self) -> u64 {
        self.persistence.retained_bytes()
            + self.lazyfree.pending_bytes()
            + self.room.held_bytes(self.lazyfree.held_bytes())
            + self.replication.excess_bytes(&self.config)
    }

    /// Whether a rewrite or a save may hold a snapshot.
    pub fn is_writing_snapshot(&self) -> bool {
        self.persistence.holds_snapshot()
    }

    /// Evicts keys if there is too little room, as far as one turn may.
    /// `grows`: somebody is about to add data, and would be refused.
    #[inline]
    pub fn make_room(&mut self, grows: bool) {
        let limit = self.config.maxmemory_bytes;
        if limit > 0 && self.room.estimated_bytes() > limit {
            self.make_room_below(limit, grows);
        } else if self.room.state != State::Enough {
            self.room.enter(State::Enough, self.clock.now);
        }
    }

    #[cold]
    fn make_room_below(&mut self, limit: u64, grows: bool) {
        // A memory with nothing to give is weighed once a batch of requests, and for those alone that it is refused to.
        if self.room.is_exceeded() && (!grows || self.room.weighed_at == Some(self.clock.now)) {
            return;
        }
        self.evict_grown_clients();
        let state = self.evict_below(limit);
        self.room.enter(state, self.clock.now);
        // The command that needed room has not begun yet.
        self.observer.begin(crate::clock::monotonic_ns());
    }

    fn evict_below(&mut self, limit: u64) -> State {
        // Asked first: it costs nothing, and readers go on meanwhile.
        if !self.may_log_by_itself(true) {
            return State::Enough;
        }
        self.weigh();
        let excess = self.room.weighed_bytes.saturating_sub(limit);
        if excess == 0 {
            State::Enough
        } else if self.keyspace.limits.policy.is_none() {
            State::Exceeded
        } else {
            self.evict_keys(excess + spare_bytes(limit))
        }
    }

    /// Evicts keys until so many bytes are free or the turn's time is over.
    fn evict_keys(&mut self, wanted_bytes: u64) -> State {
        let (began, budget) = (Instant::now(), budget(self.config.maxmemory_eviction_tenacity));
        let (mut freed_bytes, mut is_more) = (0, true);
        let is_over = |freed_bytes: i64| freed_bytes >= wanted_bytes as i64;
        while is_more && !is_over(freed_bytes) {
            let (freed, more) = self.evict_some(wanted_bytes as i64 - freed_bytes);
            (freed_bytes, is_more) = (freed_bytes + freed, more);
            if budget.is_some_and(|budget| began.elapsed() >= budget) {
                break;
            }
        }
        self.room.note_given_back();
        self.note_latency("eviction-cycle", began.elapsed());
        // Who waits for a key to go has waited for this.
        self.serve_ready();
        match (is_over(freed_bytes), is_more) {
            (true, _) => State::Enough,
            (false, true) => State::Emptying,
            (false, false) => State::Exceeded,
        }
    }

    /// Evicts a few keys and lets the log know; returns how many bytes of data have gone, and whether more may.
    fn evict_some(&mut self, wanted_bytes: i64) -> (i64, bool) {
        /// Between two looks at the clock. Source: redis 7.2 `src/evict.c`.
        const KEYS: usize = 16;
        self.unit.clear();
        let (mut freed_bytes, mut is_more) = (0, true);
        for _ in 0..KEYS {
            let Some(freed) = self.evict_one() else {
                is_more = false;
                break;
            };
            freed_bytes += freed;
            if freed_bytes >= wanted_bytes {
                break;
            }
        }
        // Save points count what clients have changed.
        let changes = self.persistence.dirty;
        self.finish_unit(None, false);
        self.persistence.dirty = changes;
        (freed_bytes, is_more)
    }

    /// Evicts a key; returns how many bytes of data have gone, whoever still holds them. `None`: no key may go.
    fn evict_one(&mut self) -> Option<i64> {
        let (now_ms, before) = (self.clock.unix_ms, memory::thread_bytes());
        if !self.is_writing_snapshot() {
            let garbage_bytes = self.keyspace.evict(now_ms, &mut self.unit)?;
            return Some(before.wrapping_sub(memory::thread_bytes()) + garbage_bytes as i64);
        }
        let (bytes, garbage_bytes) = self.keyspace.evict_beside_snapshot(now_ms, &mut self.unit)?;
        // Less than nothing if a segment had to be copied; all of it if the snapshot never had the key.
        let freed_bytes = before.wrapping_sub(memory::thread_bytes());
        self.room.hold(bytes as i64 - freed_bytes);
        Some((bytes + garbage_bytes) as i64)
    }

    /// `maxmemory` was set.
    pub fn limit_memory(&mut self) {
        self.weigh();
        let (limit, used) = (self.config.maxmemory_bytes, self.room.weighed_bytes);
        if limit == 0 {
            self.room.weighed_bytes = 0;
        } else if limit < used {
            self.log(
                Level::Warning,
                format!(
                    "maxmemory was set to {limit} bytes, {used} are in use: keys are evicted, or writes refused, as \
                     maxmemory-policy says."
                ),
            );
            // Not here: a transaction may be running.
            self.room.enter(State::Emptying, self.clock.now);
        }
    }

    /// Closes those clients that take most, while all together take more than `maxmemory-clients`; looks at them only
    /// if they may have grown.
    pub fn evict_grown_clients(&mut self) {
        let limit = self.clients_limit_bytes();
        if limit > 0 && self.room.clients_may_have_grown(limit) {
            self.evict_clients(limit);
        }
    }

    fn clients_limit_bytes(&self) -> u64 {
        match self.config.maxmemory_clients {
            MaxmemoryClients::Bytes(bytes) => bytes,
            MaxmemoryClients::Percent(percent) => self.config.maxmemory_bytes / 100 * u64::from(percent),
        }
    }

    fn evict_clients(&mut self, limit: u64) {
        self.room.clients_seen = (limit, memory::thread_bytes());
        let mut sizes: Vec<(u64, ClientId)> = self
            .clients
            .iter()
            .filter(|client| !client.no_evict && !self.replication.has(client.id))
            .map(|client| (client.memory_bytes(), client.id))
            .collect();
        let mut total: u64 = sizes.iter().map(|(bytes, _)| bytes).sum();
        if total <= limit {
            return;
        }
        sizes.sort_unstable_by_key(|&(bytes, id)| (bytes, std::cmp::Reverse(id)));
        while total > limit
            && let Some((bytes, id)) = sizes.pop()
        {
            total -= bytes;
            self.evict_client(id);
        }
        self.room.note_given_back();
    }

    fn evict_client(&mut self, id: ClientId) {
        let Some(client) = self.clients.get(id) else { return };
        let line = format!("Evicting client: {}", self.describe(client));
        self.log(Level::Notice, line);
        self.stats.evicted_clients += 1;
        drop(self.forget(id));
    }
}

/// What is freed beyond the limit, so that the books stay closed for the next few writes.
fn spare_bytes(limit: u64) -> u64 {
    const SPARE_BYTES: u64 = 256 << 10;
    (limit / 1024).min(SPARE_BYTES)
}

impl Client {
    /// Bytes that its buffers and its queue take.
    pub fn memory_bytes(&self) -> u64 {
        (size_of::<Client>() + self.input.capacity() + self.output.capacity_bytes()) as u64
            + self.queue_bytes()
    }

    /// Bytes that its queue takes.
    pub fn queue_bytes(&self) -> u64 {
        let queue = self.transaction.as_ref().map(|transaction| &transaction.queue);
        queue.into_iter().flatten().map(|(_, argv)| argv.log_bytes()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenacity_is_redis_scale() {
        let us = |tenacity| budget(tenacity).map(|budget| budget.as_micros());
        assert_eq!([0, 1, 10, 11, 100].map(us), [Some(0), Some(50), Some(500), Some(575), None]);
        assert!(us(99).is_some_and(|us| (100_000_000..200_000_000).contains(&us)), "{:?}", us(99));
    }

    #[test]
    fn the_time_without_room_is_counted_from_turn_to_turn() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut room = Room::default();
        room.enter(State::Emptying, start);
        room.enter(State::Exceeded, start + second);
        assert_eq!(room.exceeded(start + 3 * second), (3 * second, 3 * second));
        room.enter(State::Enough, start + 4 * second);
        assert_eq!(room.exceeded(start + 9 * second), (4 * second, Duration::ZERO));
        room.enter(State::Exceeded, start + 10 * second);
        assert_eq!(room.exceeded(start + 11 * second), (5 * second, second));
        room.reset_stats(start + 11 * second);
        assert_eq!(room.exceeded(start + 12 * second), (second, second));
    }

    #[test]
    fn what_a_snapshot_holds_is_no_data() {
        let mut room = Room { weighed_bytes: 1 << 20, count: memory::Count::take(), ..Room::default() };
        room.hold(1 << 19);
        assert!(room.estimated_bytes() < 600_000, "{room:?}");
        assert_eq!(room.held_bytes, 1 << 19);
        // A key that it never had takes more than was thought.
        room.hold(-1_000);
        assert_eq!(room.held_bytes, (1 << 19) - 1_000);
        room.hold(-(1 << 20));
        assert_eq!(room.held_bytes, 0);
    }

    #[test]
    fn a_snapshot_holds_no_more_than_was_in_use_when_it_was_taken() {
        let mut room = Room { snapshot_bytes: 1_000, count: memory::Count::take(), ..Room::default() };
        assert_eq!(room.held_bytes(999), 999);
        room.hold(600);
        assert_eq!(
            (room.held_bytes(300), room.held_bytes(500), room.held_bytes(u64::MAX)),
            (900, 1_000, 1_000)
        );
        drop(room.snapshot(&Keyspace::new(1, 0)));
        assert!(room.snapshot_bytes > 1_000 && room.held_bytes(u64::MAX) == room.snapshot_bytes, "{room:?}");
    }

    #[test]
    fn clients_are_looked_at_when_they_may_have_grown_or_the_limit_has_changed() {
        const LIMIT: u64 = 16 << 20;
        let mut room = Room { clients_seen: (LIMIT, memory::thread_bytes()), ..Room::default() };
        assert!(!room.clients_may_have_grown(LIMIT));
        assert!(room.clients_may_have_grown(LIMIT - 1));
        let grown = vec![0u8; 2 << 20];
        assert!(room.clients_may_have_grown(LIMIT), "a sixteenth is one MiB");
        room.clients_seen = (LIMIT, memory::thread_bytes());
        drop(grown);
        assert!(!room.clients_may_have_grown(LIMIT));
        let again = vec![0u8; 2 << 20];
        assert!(room.clients_may_have_grown(LIMIT), "since it was least");
        drop(again);
    }

    #[test]
    fn what_the_thread_allocates_is_known_without_weighing() {
        let mut room = Room { weighed_bytes: 1_000, count: memory::Count::take(), ..Room::default() };
        let bytes = vec![0u8; 1 << 20];
        assert!(room.estimated_bytes() >= 1_000 + (1 << 20));
        drop(bytes);
        assert!(room.estimated_bytes() < 100_000);
        room.weighed_bytes = 0;
        assert!(room.estimated_bytes() < 100_000, "never below nothing");
    }
}
