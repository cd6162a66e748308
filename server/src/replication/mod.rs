//! REPLICATION, the primary's side: servers of Redis and Valkey hang on this one as its replicas, are given its data, and
//! follow.
//!
//! ```text
//! backlog    the stream of effects, and how much of its past is kept
//! attached   one replica: how far it is, what it has confirmed
//! full_sync  data for those that have none: a snapshot, a file, and who waits for it
//! primary    what a turn and the clock do for all of them
//! ```
//! The stream carries what the log carries, whether there is a log or not, and nothing leaves before it is as safe here as
//! `appendfsync` promises. The history that the stream is part of
//! has a random name of its own in each run of the server, and a new one when the backlog is given up: whoever comes back
//! after that gets all data anew.

pub mod attached;
pub mod backlog;

mod full_sync;
mod primary;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::client::ClientId;
use crate::config::Config;
use crate::info::Fields;

use attached::{Announced, Attached};
use backlog::Backlog;
use full_sync::FullSync;

/// Who hangs on this server, and what they are sent.
#[derive(Debug, Default)]
pub struct Replication {
    /// The name of the history, forty hexadecimal digits.
    pub id: String,
    /// The stream.
    pub backlog: Backlog,
    /// What clients have said of themselves that have asked for no data yet.
    announced: HashMap<ClientId, Announced>,
    /// In the order in which they came.
    attached: Vec<Attached>,
    /// A snapshot for those that have no data.
    full_sync: Option<FullSync>,
    /// Which effects of the current unit are for replicas alone, and not for the log.
    pub(crate) unlogged: Vec<usize>,
    /// Replicas are to be asked how far they are, when the turn ends.
    pub(crate) ack_wanted: bool,
    /// Somebody would take more than one turn sends.
    pub(crate) has_more: bool,
    /// Counters for INFO.
    pub stats: SyncStats,
    /// When the replicas were sent a PING last, or the first of them came.
    pinged_at: Option<Instant>,
    /// Since when there are no replicas.
    empty_since: Option<Instant>,
    /// When the clock's part was done last.
    ticked_at: Option<Instant>,
    /// Where a piece of a snapshot is read to.
    scratch: Vec<u8>,
}

/// How replicas were brought up.
#[derive(Debug, Clone, Copy, Default)]
pub struct SyncStats {
    /// By all data.
    pub full: u64,
    /// By what they missed.
    pub partial: u64,
    /// They asked for what they missed, and that is gone.
    pub refused: u64,
}

impl Replication {
    /// Whether nobody hangs on this server.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.attached.is_empty()
    }

    /// The replicas, in the order in which they came.
    pub fn replicas(&self) -> &[Attached] {
        &self.attached
    }

    /// Whether a client is a replica.
    #[inline]
    pub fn has(&self, id: ClientId) -> bool {
        self.attached.iter().any(|replica| replica.id == id)
    }

    /// How much of the stream waits for a client.
    pub fn waiting_bytes(&self, id: ClientId) -> u64 {
        let replica = self.attached.iter().find(|replica| replica.id == id);
        replica.map_or(0, |replica| replica.waiting_bytes(&self.backlog))
    }

    fn get_mut(&mut self, id: ClientId) -> Option<&mut Attached> {
        self.attached.iter_mut().find(|replica| replica.id == id)
    }

    /// What a client has said of itself, attached or not.
    fn announced(&self, id: ClientId) -> Option<&Announced> {
        let attached = self.attached.iter().find(|replica| replica.id == id);
        attached.map(|replica| &replica.announced).or_else(|| self.announced.get(&id))
    }

    /// What a client says of itself before it is attached.
    pub(crate) fn announced_mut(&mut self, id: ClientId) -> &mut Announced {
        self.announced.entry(id).or_default()
    }

    /// A replica's socket takes more.
    #[inline]
    pub(crate) fn note_writable(&mut self, id: ClientId) {
        if let Some(replica) = self.get_mut(id) {
            replica.is_blocked = false;
        }
    }

    /// An empty line: that is what a replica sends while it loads its snapshot.
    pub(crate) fn note_alive(&mut self, id: ClientId, now: Instant) {
        if let Some(replica) = self.get_mut(id) {
            replica.acked_at = now;
        }
    }

    /// REPLCONF ACK: a replica has executed the stream up to here.
    pub(crate) fn note_ack(&mut self, id: ClientId, offset: u64, durable: Option<u64>, now: Instant) {
        if let Some(replica) = self.get_mut(id) {
            replica.acked = replica.acked.max(offset);
            replica.acked_durable = replica.acked_durable.max(durable.unwrap_or(0));
            replica.acked_at = now;
        }
    }

    /// How many replicas have executed the stream up to an offset; `durable`: and have that on their disks.
    pub fn count_acks(&self, offset: u64, durable: bool) -> u64 {
        let has = |replica: &&Attached| match durable {
            true => replica.acked_durable >= offset,
            false => replica.acked >= offset,
        };
        self.attached.iter().filter(|replica| replica.is_online()).filter(has).count() as u64
    }

    /// How many replicas follow closely enough to count for `min-replicas-to-write`.
    pub fn count_good(&self, config: &Config, now: Instant) -> u64 {
        let most = Duration::from_secs(config.min_replicas_max_lag_s.saturating_add(1));
        self.attached.iter().filter(|replica| replica.is_online() && replica.lag(now) < most).count() as u64
    }

    /// Whether too few replicas follow closely enough for a write.
    #[inline]
    pub fn lacks_replicas(&self, config: &Config, now: Instant) -> bool {
        let wanted = config.min_replicas_to_write;
        wanted > 0 && config.min_replicas_max_lag_s > 0 && self.count_good(config, now) < wanted
    }

    /// Bytes of memory that are kept for replicas beyond what the backlog is to keep: no data, and gone when they are.
    pub fn excess_bytes(&self, config: &Config) -> u64 {
        self.backlog.memory_bytes().saturating_sub(config.repl_backlog_size_bytes)
    }

    /// The fields of INFO's section. Source: redis 7.2 `src/server.c` `genRedisInfoString`.
    pub fn info(&self, config: &Config, addresses: &[String], now: Instant, fields: &mut Fields) {
        fields.add("role", "master");
        fields.add("connected_slaves", self.attached.len());
        if config.min_replicas_to_write > 0 && config.min_replicas_max_lag_s > 0 {
            fields.add("min_slaves_good_slaves", self.count_good(config, now));
        }
        for (at, (replica, ip)) in self.attached.iter().zip(addresses).enumerate() {
            let (port, state, offset) = (replica.announced.port, replica.state(), replica.acked);
            let lag_s = replica.lag(now).as_secs();
            let line = format!("ip={ip},port={port},state={state},offset={offset},lag={lag_s}");
            fields.add(&format!("slave{at}"), line);
        }
        fields.add("master_failover_state", "no-failover");
        fields.add("master_replid", &self.id);
        fields.add("master_replid2", "0".repeat(40));
        fields.add("master_repl_offset", self.backlog.end());
        fields.add("second_repl_offset", -1);
        let is_active = self.backlog.is_active();
        fields.add("repl_backlog_active", u8::from(is_active));
        fields.add("repl_backlog_size", config.repl_backlog_size_bytes);
        fields.add("repl_backlog_first_byte_offset", if is_active { self.backlog.first() + 1 } else { 0 });
        fields.add("repl_backlog_histlen", self.backlog.len_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::attached::Stage;

    /// It confirms nothing then, and was let go in the midst, to begin anew for ever.
    #[test]
    fn a_replica_that_loads_for_long_is_not_lost_while_it_sends_empty_lines() {
        let (id, start) = (ClientId { serial: 1, slot: 0 }, Instant::now());
        let (minute, timeout) = (start + Duration::from_secs(60), Duration::from_secs(59));
        let replica = Attached::new(id, Announced::default(), Stage::Online { sent: 0 }, false, start);
        let mut replication = Replication { attached: vec![replica], ..Replication::default() };
        assert!(replication.attached[0].is_lost(minute, timeout));
        replication.note_alive(id, minute);
        assert!(!replication.attached[0].is_lost(minute, timeout));
    }
}
