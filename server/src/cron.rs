//! What happens by the clock: `hz` times a second, and when somebody's time is over.

use std::time::Duration;

use crate::executor::Server;

impl Server {
    /// Periodic work; returns how long until the next.
    pub fn cron(&mut self) -> Duration {
        let hz = u64::from(self.config.hz.clamp(1, 500));
        self.note_ops_per_s();
        self.close_idle_clients();
        self.end_pause();
        let used = crate::memory::used_bytes();
        self.stats.used_memory_peak_bytes = self.stats.used_memory_peak_bytes.max(used);
        self.rewrite_if_grown();
        Duration::from_millis(1000 / hz)
    }

    /// Compares the memory in use with `maxmemory`. Without eviction, a full memory refuses writes under every policy.
    pub fn weigh(&mut self) {
        let limit = self.config.maxmemory_bytes;
        self.out_of_memory = limit > 0 && crate::memory::used_bytes() > limit;
    }

    /// Whether the next poll need not wait.
    pub fn has_work(&self) -> bool {
        !self.answered.is_empty() || !self.resumed.is_empty() && self.paused.is_none()
    }

    /// Answers the parked clients whose time is over.
    pub fn time_out_parked(&mut self) {
        while let Some(id) = self.blocking.next_due(self.clock.now) {
            self.time_out(id);
        }
    }

    /// Looks again at what clients sent while they were parked, paused or held back.
    pub fn resume_all(&mut self) {
        if !self.held.is_empty() && !self.persistence.writes_are_held() {
            self.resumed.append(&mut self.held);
        }
        for id in std::mem::take(&mut self.resumed) {
            self.resume(id);
        }
    }

    fn end_pause(&mut self) {
        if self.paused.is_some_and(|(until, _)| until <= self.clock.now) {
            self.paused = None;
        }
    }

    fn close_idle_clients(&mut self) {
        let timeout = Duration::from_secs(u64::from(self.config.timeout_s));
        if timeout.is_zero() {
            return;
        }
        let now = self.clock.now;
        let idle = self.clients.iter().filter(|client| {
            client.blocked.is_none()
                && !self.pubsub.is_subscribed(client.id)
                && now.saturating_duration_since(client.active_at) > timeout
        });
        for id in idle.map(|client| client.id).collect::<Vec<_>>() {
            self.forget(id);
        }
    }

    /// Commands a second, over at least a second.
    fn note_ops_per_s(&mut self) {
        let (count, since) = self.stats.ops_seen;
        let now = self.clock.now;
        let elapsed = since.map_or(Duration::MAX, |since| now.saturating_duration_since(since));
        if elapsed >= Duration::from_secs(1) {
            let commands = self.stats.commands.saturating_sub(count);
            self.stats.ops_per_s = (commands as f64 / elapsed.as_secs_f64()) as u64;
            self.stats.ops_seen = (self.stats.commands, Some(now));
        }
    }
}
