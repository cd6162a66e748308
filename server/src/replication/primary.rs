//! What each turn, and the clock, do for all replicas.

use std::io;
use std::time::Duration;

use aof::{Op, Position};
use bytes::BytesMut;
use smallvec::SmallVec;

use super::attached::{Attached, Sent};
use crate::client::ClientId;
use crate::executor::Server;
use crate::logger::Level;

/// Bytes of a snapshot read at a time.
const SCRATCH_BYTES: usize = 64 << 10;

impl Server {
    /// Appends the current unit's effects to the stream. `wrap`: several are one transaction.
    pub(crate) fn replicate(&mut self, client: Option<ClientId>, wrap: bool) {
        let ops: SmallVec<[Op<'_>; 4]> =
            self.unit.ops().map(|(db, command)| Op { db: db as u32, command }).collect();
        if ops.is_empty() {
            return;
        }
        for unit in ops.chunks(if wrap { ops.len() } else { 1 }) {
            self.replication.backlog.append_unit(unit);
        }
        drop(ops);
        self.note_replicated(client);
    }

    /// Appends a command that is for replicas alone, and not for the log: PUBLISH. Inside of EXEC it stands where it was
    /// executed.
    pub(crate) fn replicate_only(&mut self, id: ClientId, argv: &[&[u8]]) {
        let Some(client) = self.clients.get(id).filter(|_| self.replication.backlog.is_active()) else {
            return;
        };
        if self.in_exec {
            self.replication.unlogged.push(self.unit.ops().len());
            self.unit.push(client.db, argv);
            return;
        }
        let mut command = BytesMut::new();
        resp::request::encode(argv, &mut command);
        self.replication.backlog.append_unit(&[Op { db: client.db as u32, command: &command }]);
        self.note_replicated(Some(id));
    }

    /// The stream holds what a client has written: WAIT goes by that.
    fn note_replicated(&mut self, client: Option<ClientId>) {
        if let Some(client) = client.and_then(|id| self.clients.get_mut(id)) {
            client.replicated_to = self.replication.backlog.end();
        }
    }

    /// Begins to keep the stream, with the first replica.
    pub(super) fn start_backlog(&mut self) {
        if self.replication.backlog.is_active() {
            return;
        }
        self.replication.backlog.start();
        self.leave_effects();
        let line = format!("Replication backlog created, my new replication ID is '{}'", self.replication.id);
        self.log(Level::Notice, line);
    }

    /// Gives the backlog up: what is written from now on is not in this history, which must not be continued.
    fn stop_backlog(&mut self) {
        let Ok(id) = crate::random_id() else { return };
        self.replication.id = id;
        self.replication.backlog.stop();
        self.leave_effects();
        let line = format!(
            "Replication backlog freed after {} seconds without connected replicas.",
            self.config.repl_backlog_ttl_s
        );
        self.log(Level::Notice, line);
    }

    /// Commands leave effects as long as somebody has a use for them.
    pub(crate) fn leave_effects(&mut self) {
        let is_logged = self.persistence.log_mut().is_some();
        self.keyspace.has_log = is_logged || self.replication.backlog.is_active();
    }

    /// A client is gone: if it was a replica, nothing is kept for it any more.
    pub(crate) fn detach_replica(&mut self, id: ClientId) {
        self.replication.announced.remove(&id);
        let Some(at) = self.replication.attached.iter().position(|replica| replica.id == id) else { return };
        let line = format!("Connection with replica {} lost.", self.replica_name(id));
        self.log(Level::Notice, line);
        self.replication.attached.remove(at);
        if self.replication.is_empty() {
            self.replication.empty_since = Some(self.clock.now);
        }
        // A snapshot that nobody waits for.
        let is_wanted = self.replication.attached.iter().any(Attached::is_waiting);
        if self.replication.full_sync.is_some() && !is_wanted {
            self.replication.full_sync = None;
            if self.persistence.saving.is_for_replicas() {
                self.abort_save();
            }
        }
    }

    /// Behind [`persist`](Self::persist), in front of what clients are sent: notes how far the stream has settled.
    pub(crate) fn settle_stream(&mut self, watermark: Position) {
        if !self.replication.backlog.is_active() {
            return;
        }
        // While clients are paused replicas are not asked, as in Redis: nothing is to be written then.
        if self.replication.ack_wanted && self.paused.is_none() {
            self.replication.ack_wanted = false;
            if !self.replication.is_empty() {
                self.replication.backlog.append_command(&[b"REPLCONF", b"GETACK", b"*"]);
            }
        }
        // What was appended since a log was closed, or beside none, is safe only if that is all there is to say.
        let position = self.persistence.log_mut().map_or(Position::MAX, |log| log.end());
        self.replication.backlog.mark(position);
        self.replication.backlog.settle(watermark);
        self.release_full_sync(watermark);
    }

    /// The log that positions belong to has ended, durably.
    pub(crate) fn settle_whole_stream(&mut self) {
        self.replication.backlog.settle_all();
        if let Some(sync) = &mut self.replication.full_sync {
            sync.forget_position();
        }
    }

    /// Behind what clients are sent: sends the replicas snapshots and stream, gives up who lags too much, and lets go of
    /// what nobody needs.
    pub(crate) fn feed_replicas(&mut self) {
        if !self.replication.backlog.is_active() {
            return;
        }
        self.replication.has_more = false;
        for at in 0..self.replication.attached.len() {
            match self.feed_replica(at) {
                Some(Ok(sent)) => self.note_sent(at, sent),
                Some(Err(error)) => self.give_up_replica(at, &error.to_string()),
                None => {}
            }
        }
        self.limit_replicas();
        let needs = self.replication.attached.iter().filter_map(Attached::needs);
        // Somebody may yet come to share a snapshot, but for one who takes that alone nothing is kept.
        let may_share =
            self.replication.attached.iter().any(|replica| replica.is_waiting() && replica.follows());
        let sync = self.replication.full_sync.as_ref().map(|sync| sync.from).filter(|_| may_share);
        let needed = needs.chain(sync).min().unwrap_or(u64::MAX);
        self.replication.backlog.trim(needed, self.config.repl_backlog_size_bytes);
    }

    /// `None`: it must wait, for its socket or for what stands in front.
    fn feed_replica(&mut self, at: usize) -> Option<io::Result<Sent>> {
        let replication = &mut self.replication;
        let replica = replication.attached.get_mut(at).filter(|replica| !replica.is_blocked)?;
        let client = self.clients.get_mut(replica.id).filter(|client| client.output.len_bytes() == 0)?;
        replication.scratch.resize(SCRATCH_BYTES, 0);
        Some(replica.send(&mut client.connection, &replication.backlog, &mut replication.scratch))
    }

    fn note_sent(&mut self, at: usize, sent: Sent) {
        let Some(replica) = self.replication.attached.get_mut(at).filter(|_| sent.bytes > 0) else { return };
        replica.sent_at = self.clock.now;
        let (id, is_done) = (replica.id, sent.came_online && replica.announced.rdb_only);
        if sent.came_online {
            replica.acked_at = self.clock.now;
        }
        self.replication.has_more |= sent.is_more;
        self.stats.writes += 1;
        self.stats.output_bytes += sent.bytes as u64;
        self.stats.replica_output_bytes += sent.bytes as u64;
        if let Some(client) = self.clients.get_mut(id) {
            client.active_at = self.clock.now;
            if is_done {
                // It wanted the data and nothing else.
                client.closing = true;
                self.answered.push(id);
            }
        }
        if sent.came_online {
            let line = format!("Synchronization with replica {} succeeded", self.replica_name(id));
            self.log(Level::Notice, line);
        }
    }

    fn give_up_replica(&mut self, at: usize, reason: &str) {
        let Some(replica) = self.replication.attached.get_mut(at) else { return };
        // Not here: others stand behind it.
        replica.is_blocked = true;
        let id = replica.id;
        if let Some(client) = self.clients.get_mut(id) {
            client.output.give_up();
            client.closing = true;
        }
        self.answered.push(id);
        let line = format!("Sending to replica {} failed: {reason}", self.replica_name(id));
        self.log(Level::Notice, line);
    }

    /// `client-output-buffer-limit replica`.
    fn limit_replicas(&mut self) {
        let (limit, size_bytes) =
            (self.config.client_output_buffer_limit.replica, self.config.repl_backlog_size_bytes);
        let (backlog, now) = (&self.replication.backlog, self.clock.now);
        let is_over =
            |replica: &mut Attached| replica.is_over(backlog, size_bytes, limit, now).then_some(replica.id);
        let over: SmallVec<[ClientId; 1]> =
            self.replication.attached.iter_mut().filter_map(is_over).collect();
        for id in over {
            self.log_overflow(id);
            self.forget(id);
        }
    }

    /// Once a second: lets replicas know that this server lives, and gives up those that do not.
    pub(crate) fn tick_replication(&mut self) {
        const SECOND: Duration = Duration::from_secs(1);
        let now = self.clock.now;
        let since = |then| now.saturating_duration_since(then);
        if self.replication.ticked_at.is_some_and(|then| since(then) < SECOND) {
            return;
        }
        self.replication.ticked_at = Some(now);
        if self.replication.is_empty() {
            let ttl = Duration::from_secs(self.config.repl_backlog_ttl_s);
            let is_old = self.replication.empty_since.is_some_and(|then| since(then) > ttl);
            if self.replication.backlog.is_active() && !ttl.is_zero() && is_old {
                self.stop_backlog();
            }
            return;
        }
        let period = Duration::from_secs(u64::from(self.config.repl_ping_replica_period_s));
        if self.replication.pinged_at.is_none_or(|then| since(then) >= period) {
            self.replication.pinged_at = Some(now);
            self.replication.backlog.append_command(&[b"PING"]);
        }
        self.reassure_waiting();
        self.drop_silent_replicas();
    }

    /// A newline says nothing, and keeps a replica from giving up while its snapshot is written.
    fn reassure_waiting(&mut self) {
        let waiting = self.replication.attached.iter().filter(|replica| replica.is_waiting());
        for id in waiting.map(|replica| replica.id).collect::<SmallVec<[ClientId; 4]>>() {
            if self.clients.get(id).is_some_and(|client| client.output.len_bytes() == 0) {
                self.tell_replica_bytes(id, b"\n");
            }
        }
    }

    /// `repl-timeout`.
    fn drop_silent_replicas(&mut self) {
        let (now, timeout) = (self.clock.now, Duration::from_secs(u64::from(self.config.repl_timeout_s)));
        let lost = self.replication.attached.iter().filter(|replica| replica.is_lost(now, timeout));
        for id in lost.map(|replica| replica.id).collect::<SmallVec<[ClientId; 1]>>() {
            let line = format!("Disconnecting timedout replica: {}", self.replica_name(id));
            self.log(Level::Warning, line);
            self.forget(id);
        }
    }
}
