//! What happens by the clock: `hz` times a second, and when somebody's time is over.

use std::time::{Duration, Instant};

use crate::clock::{self, Jump};
use crate::disk::Wish;
use crate::executor::{PauseMode, Server};
use crate::logger::Level;
use crate::memory::Bookkeeper;

impl Server {
    /// Periodic work; returns how long until the next.
    pub fn cron(&mut self) -> Duration {
        let hz = u64::from(self.config.hz.clamp(1, 500));
        self.report_clock_jump();
        self.stats.note_rates(self.clock.now);
        self.close_idle_clients();
        self.close_unanswered();
        self.limit_lasting_output();
        self.make_room(true);
        self.room.doubt_clients();
        self.migrations.links.close_idle(self.clock.now);
        self.tick_replication();
        self.start_full_sync_if_due();
        self.save_if_due();
        self.keep_books(Bookkeeper::ask);
        self.note_log_events();
        self.stop_if_awaited();
        Duration::from_millis(1000 / hz)
    }

    /// Whether the next poll need not wait.
    pub fn has_work(&self) -> bool {
        self.expire_more
            || self.persistence.block_awaits_only_time()
            || self.room.is_emptying()
            || !self.answered.is_empty()
            || self.replication.has_more
            || self.has_clients_to_read()
    }

    /// Whether clients go on that nobody has to mention: cut or woken, or postponed until now.
    pub fn has_clients_to_read(&self) -> bool {
        !self.readable.is_empty() || self.may_resume()
    }

    /// Answers the parked clients whose time is over.
    pub fn time_out_parked(&mut self) {
        while let Some(id) = self.blocking.next_due(self.clock.now) {
            self.time_out(id);
        }
    }

    /// Whether clients that were paused or held back may go on.
    fn may_resume(&self) -> bool {
        self.paused.is_none()
            && (!self.postponed.is_empty() || !self.held.is_empty() && !self.writes_are_held())
    }

    /// Lets those go on who were paused or held back, if they may.
    pub fn resume_all(&mut self) {
        self.blocking.has_weighed = false;
        self.end_pause();
        if !self.may_resume() {
            return;
        }
        let mut ids = std::mem::take(&mut self.postponed);
        if !self.writes_are_held() {
            ids.append(&mut self.held);
        }
        ids.into_iter().for_each(|id| self.go_on(id));
        self.serve_ready();
    }

    /// Deletes keys that are due, within a budget.
    pub fn expire_cycle(&mut self) {
        /// Keys to a cycle: some 100 microseconds. What is due beyond is due in the next turn, which does not wait.
        const BUDGET: usize = 200;
        self.expire_more = false;
        // Reads find an expired key absent all the same.
        if !self.debug.active_expire || !self.may_log_by_itself(false) {
            return;
        }
        let began = self.watches_latency().then(Instant::now);
        self.unit.clear();
        self.expire_more = self.keyspace.expire_due(self.clock.unix_ms, BUDGET, &mut self.unit);
        self.finish_unit(None, false);
        if let Some(began) = began {
            self.note_latency("expire-cycle", began.elapsed());
        }
        // Who reads for a group of a stream that expired waits in vain.
        self.serve_ready();
    }

    /// Whether keys may be deleted that nobody has asked to delete. As in Redis, not while loading, so that the log decides
    /// what there is, and not while paused. Behind a disk that is late or fails the DELs would only pile up.
    /// `grows`: it would be for the sake of writes that need memory, which a disk that is almost full refuses.
    pub(crate) fn may_log_by_itself(&self, grows: bool) -> bool {
        self.loading.is_none()
            && self.paused.is_none()
            && !self.persistence.writes_are_held()
            && self.persistence.admits(Wish { writes: true, grows, bytes: 0 })
    }

    fn end_pause(&mut self) {
        if self.paused.is_some_and(|(until, _)| until <= self.clock.now) {
            self.pause(None);
        }
    }

    /// CLIENT PAUSE and its end. Meanwhile no key is deleted because its time is over, as nothing else is written.
    pub(crate) fn pause(&mut self, until: Option<(Instant, PauseMode)>) {
        self.paused = until;
        self.keyspace.keeps_expired = until.is_some();
    }

    /// Times to live are the wall clock's, and so are idle times, the IDs of XADD and what LASTSAVE tells: whoever sets it
    /// is to learn what becomes of keys. While the machine sleeps it goes on as it should.
    fn report_clock_jump(&mut self) {
        let Jump { slept_ms, set_ms } = self.clock.jump(clock::slept_ms());
        let seconds = |ms: i64| ms.unsigned_abs() as f64 / 1000.0;
        if slept_ms != 0 {
            let (seconds, then) = (seconds(slept_ms), "keys that were due meanwhile expire now");
            self.log(Level::Notice, format!("The machine slept for {seconds:.3} seconds: {then}"));
        }
        if set_ms != 0 {
            let (way, then) = match set_ms > 0 {
                true => ("forward", "keys expire that much earlier"),
                false => ("back", "keys live that much longer"),
            };
            let text = format!("The wall clock was set {way} by {:.3} seconds: {then}", seconds(set_ms));
            self.log(Level::Warning, text);
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
                && !client.monitors
                && !self.pubsub.is_subscribed(client.id)
                && !self.replication.has(client.id)
                && now.saturating_duration_since(client.active_at) > timeout
        });
        for id in idle.map(|client| client.id).collect::<Vec<_>>() {
            self.forget(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::logger::Logger;

    #[test]
    fn a_wall_clock_that_is_set_stands_in_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.log");
        let mut server = Server::new(Config::default(), Logger::open(&path, Level::Notice).unwrap(), 1);
        server.cron();
        server.clock.unix_ms -= 3_600_000;
        server.cron();
        server.cron();
        let log = std::fs::read_to_string(&path).unwrap();
        let line = "# The wall clock was set back by 3600.000 seconds: keys live that much longer";
        assert_eq!(log.matches("The wall clock").count(), 1, "{log}");
        assert!(log.contains(line), "{log}");
    }
}
