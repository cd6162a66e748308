//! What replies may tell: how safe what they tell of is, what becomes of those whose promise changes while they wait, and
//! of those that wait too long.

use std::time::{Duration, Instant};

use aof::{Log, Position};
use keyspace::Touch;

use crate::executor::Server;
use crate::logger::Level;
use crate::persistence::Persistence;

impl Persistence {
    /// The position up to which replies may leave.
    #[inline]
    pub(crate) fn reply_watermark(&self) -> Position {
        match &self.log {
            None => self.last_watermark,
            Some(log) if self.was_waiting => log.end(),
            Some(log) => log.reply_watermark(),
        }
    }

    /// The same, for who lets them leave.
    #[inline]
    pub(crate) fn release_replies(&mut self) -> Position {
        let watermark = self.reply_watermark();
        if self.log.is_some() {
            self.told = self.told.max(watermark);
        }
        watermark
    }

    /// Up to here a power cut takes nothing; `None` while nothing is promised: the log is off, or has no base yet.
    #[inline]
    pub fn acknowledged(&self) -> Option<Position> {
        self.log.as_ref().filter(|log| !log.is_waiting_rewrite()).map(Log::durable)
    }

    /// Whether a power cut takes nothing of what was logged up to a position.
    pub fn is_durable(&self, position: Position) -> bool {
        self.acknowledged().is_some_and(|durable| durable >= position)
    }
}

impl Server {
    /// Closes connections whose replies have waited for the disk longer than `aof-outcome-timeout`: an error would make
    /// clients repeat a write that has happened, and a closed connection means perhaps.
    pub(crate) fn close_unanswered(&mut self) {
        let (timeout_s, now) = (u64::from(self.config.aof_outcome_timeout_s), self.clock.now);
        self.clients.note_held(self.persistence.reply_watermark(), now);
        if timeout_s == 0 {
            return;
        }
        let is_over = |since: Instant| now.saturating_duration_since(since) >= Duration::from_secs(timeout_s);
        let late = self.clients.iter().filter(|client| client.held.is_some_and(|(_, since)| is_over(since)));
        for id in late.map(|client| client.id).collect::<Vec<_>>() {
            self.forget(id);
            let line = format!(
                "Client {} closed: its reply has waited for the disk for {timeout_s} seconds (aof-outcome-timeout)",
                id.serial
            );
            self.log(Level::Warning, line);
        }
    }

    /// Changes what the log promises. Where that is more than before, nothing may be told before it is durable, not even
    /// what was answered under the old promise.
    pub(super) fn change_log(&mut self, change: impl FnOnce(&mut Log)) {
        let Some(log) = &mut self.persistence.log else { return };
        let before = log.acknowledges_durable();
        change(log);
        if !before && log.acknowledges_durable() && log.durable() < log.end() {
            self.gate_everything();
        }
    }

    /// Called as a turn begins: once the first base is there, the log keeps its promise, also for what was answered
    /// before. A turn in whose midst it comes is still one without a promise.
    pub(crate) fn notice_first_base(&mut self) {
        let is_waiting = self.persistence.is_waiting_rewrite();
        if std::mem::replace(&mut self.persistence.was_waiting, is_waiting) && !is_waiting {
            self.gate_everything();
        }
    }

    /// Nobody is told of anything logged so far before it is safe.
    fn gate_everything(&mut self) {
        let Some(log) = &self.persistence.log else { return };
        let everything: Vec<Touch> =
            (0..self.keyspace.dbs().len()).map(|db| Touch::Db { db, wrote: true }).collect();
        self.gate.wrote(&everything, log.end());
        if let Some(client) = self.executing.and_then(|id| self.clients.get_mut(id)) {
            client.output.wait_for(log.end());
        }
    }
}
