//! Data for replicas that have none: the snapshot of one moment, which all that wait for one share.
//!
//! There is no fork. The job that a BGSAVE runs writes the file, under a name of its own; it is unlinked as soon as it is
//! whole and open, so that it holds nothing up and no start can take it for the data. It is one of the background jobs of
//! which one runs at a time: replicas wait for a running save or rewrite, and start theirs before any other is due. The
//! file is sent, as `$<length>` and its bytes, to replicas that can `eof` too: every one takes that.
//!
//! A job that fails or is killed (FLUSHALL, SHUTDOWN) takes the connections of those that wait for it along, as in Redis:
//! they were told an offset that belongs to no other snapshot. They come back by themselves.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use aof::Position;
use resp::Encoder;

use super::attached::{Attached, Nameless, Stage};
use super::backlog::Resync;
use crate::client::ClientId;
use crate::connection::Connection;
use crate::executor::Server;
use crate::logger::Level;

/// A snapshot on its way to replicas.
#[derive(Debug)]
pub(super) struct FullSync {
    /// The stream's end when it was taken.
    pub(super) from: u64,
    /// The log's: it is sent when no crash can take back what it holds.
    position: Position,
    /// The file and its length, once it is written.
    file: Option<(Arc<Nameless>, u64)>,
}

impl FullSync {
    /// Positions begin anew: everything so far is settled.
    pub(super) fn forget_position(&mut self) {
        self.position = 0;
    }
}

impl Server {
    /// SYNC, and PSYNC with a history and the first byte that is missing: attaches the client as a replica.
    pub(crate) fn attach_replica(&mut self, id: ClientId, psync: Option<(&[u8], i64)>) {
        let line = format!("Replica {} asks for synchronization", self.replica_name(id));
        self.log(Level::Notice, line);
        match psync {
            None => self.attach_for_full_sync(id, true),
            Some((history, next_byte)) => {
                let replication = &self.replication;
                match replication.backlog.resync(&replication.id, history, next_byte) {
                    Resync::Continue(from) => self.attach_for_partial_sync(id, from),
                    refusal => {
                        self.note_no_partial_sync(id, refusal, history, next_byte);
                        self.attach_for_full_sync(id, false);
                    }
                }
            }
        }
    }

    fn attach_for_partial_sync(&mut self, id: ClientId, from: u64) {
        self.replication.stats.partial += 1;
        self.attach(id, Stage::Online { sent: from }, false);
        let replication = &self.replication;
        let knows_id = replication.attached.last().is_some_and(|replica| replica.announced.psync2);
        let answer = if knows_id { format!("CONTINUE {}", replication.id) } else { "CONTINUE".to_owned() };
        let (missing, first) = (replication.backlog.end() - from, from + 1);
        self.tell_replica(id, |reply| reply.simple(&answer));
        let name = self.replica_name(id);
        let line = format!(
            "Partial resynchronization request from {name} accepted. Sending {missing} bytes of backlog starting from \
             offset {first}."
        );
        self.log(Level::Notice, line);
    }

    fn note_no_partial_sync(&mut self, id: ClientId, refusal: Resync, history: &[u8], next_byte: i64) {
        let (name, history) = (self.replica_name(id), String::from_utf8_lossy(history));
        self.replication.stats.refused += u64::from(refusal != Resync::Asked);
        let line = match refusal {
            Resync::OtherHistory => format!(
                "Partial resynchronization not accepted: Replication ID mismatch (Replica asked for '{history}', my \
                 replication ID is '{}')",
                self.replication.id
            ),
            Resync::NotKept => format!(
                "Unable to partial resync with replica {name} for lack of backlog (Replica request was: {next_byte})."
            ),
            Resync::Asked | Resync::Continue(_) => format!("Full resync requested by replica {name}"),
        };
        self.log(Level::Notice, line);
    }

    fn attach_for_full_sync(&mut self, id: ClientId, is_mute: bool) {
        self.replication.stats.full += 1;
        self.start_backlog();
        self.attach(id, Stage::Waiting, is_mute);
        if let Some(sync) = &self.replication.full_sync
            && self.replication.backlog.first() <= sync.from
        {
            self.log(Level::Notice, "Waiting for end of BGSAVE for SYNC");
            self.share_full_sync();
        } else if !self.start_full_sync_if_due() {
            let line = "Another background operation is active. BGSAVE for replication delayed";
            self.log(Level::Notice, line);
        }
    }

    fn attach(&mut self, id: ClientId, stage: Stage, is_mute: bool) {
        let announced = self.replication.announced.remove(&id).unwrap_or_default();
        if self.replication.is_empty() {
            self.replication.pinged_at = Some(self.clock.now);
        }
        self.replication.empty_since = None;
        self.replication.attached.push(Attached::new(id, announced, stage, is_mute, self.clock.now));
        if let Some(client) = self.clients.get_mut(id)
            && self.config.repl_disable_tcp_nodelay
        {
            client.connection.delay_small_writes();
        }
    }

    /// Takes a snapshot for the replicas that wait for one, unless another job runs; whether it did. Nothing may be in
    /// the midst of execution.
    pub(crate) fn start_full_sync_if_due(&mut self) -> bool {
        let is_waiting = |replica: &Attached| matches!(replica.stage, Stage::Waiting);
        let is_busy = self.persistence.is_rewriting()
            || self.persistence.saving.is_running()
            || self.loading.is_some()
            || self.replication.full_sync.is_some();
        if is_busy || !self.replication.attached.iter().any(is_waiting) {
            return false;
        }
        self.log(Level::Notice, "Starting BGSAVE for SYNC with target: disk");
        let from = self.replication.backlog.end();
        let position = self.persistence.log_mut().map_or(0, |log| log.end());
        self.replication.backlog.forget_selected();
        self.replication.full_sync = Some(FullSync { from, position, file: None });
        // Told first: a job that cannot even begin takes those along that wait for it.
        self.share_full_sync();
        self.start_save_for_replicas();
        true
    }

    /// Tells the replicas that wait which snapshot they will get.
    fn share_full_sync(&mut self) {
        let Some(from) = self.replication.full_sync.as_ref().map(|sync| sync.from) else { return };
        let answer = format!("FULLRESYNC {} {from}", self.replication.id);
        let mut told = Vec::new();
        for replica in &mut self.replication.attached {
            if matches!(replica.stage, Stage::Waiting) {
                replica.stage = Stage::Saving { from };
                // SYNC is older than this line.
                told.extend((!replica.is_mute).then_some(replica.id));
            }
        }
        for id in told {
            self.tell_replica(id, |reply| reply.simple(&answer));
        }
    }

    /// The job has written its file: it has no name any more when this returns.
    pub(crate) fn full_sync_written(&mut self, path: &Path) {
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), Nameless::new(file))));
        let _ = fs::remove_file(path);
        match (opened, &mut self.replication.full_sync) {
            (Ok((len_bytes, file)), Some(sync)) => sync.file = Some((Arc::new(file), len_bytes)),
            (Ok(_), None) => {}
            (Err(error), _) => self.full_sync_failed(&format!("{}: {error}", path.display())),
        }
    }

    /// There will be no file.
    pub(crate) fn full_sync_failed(&mut self, reason: &str) {
        if self.replication.full_sync.take().is_none() {
            return;
        }
        self.log(Level::Warning, format!("SYNC failed: {reason}"));
        let is_saving = |replica: &&Attached| matches!(replica.stage, Stage::Saving { .. });
        let waiting: Vec<ClientId> =
            self.replication.attached.iter().filter(is_saving).map(|replica| replica.id).collect();
        for id in waiting {
            self.forget(id);
        }
    }

    /// Lets the file leave that is written, once the log's watermark has reached what it holds.
    pub(super) fn release_full_sync(&mut self, watermark: Position) {
        let is_settled = |sync: &mut FullSync| sync.file.is_some() && sync.position <= watermark;
        let Some(FullSync { from, file: Some((file, len_bytes)), .. }) =
            self.replication.full_sync.take_if(is_settled)
        else {
            return;
        };
        let mut sending = Vec::new();
        for replica in &mut self.replication.attached {
            if matches!(replica.stage, Stage::Saving { .. }) {
                let file = Arc::clone(&file);
                replica.stage = Stage::Sending { from, file, len_bytes, sent_bytes: 0 };
                replica.sent_at = self.clock.now;
                sending.push(replica.id);
            }
        }
        for id in sending {
            self.tell_replica_bytes(id, format!("${len_bytes}\r\n").as_bytes());
        }
    }

    /// Writes to a replica's own buffer, which leaves in front of snapshot and stream.
    fn tell_replica(&mut self, id: ClientId, write: impl FnOnce(&mut Encoder<'_>)) {
        if let Some(client) = self.clients.get_mut(id) {
            write(&mut client.reply());
            self.answered.push(id);
        }
    }

    pub(super) fn tell_replica_bytes(&mut self, id: ClientId, bytes: &[u8]) {
        if let Some(client) = self.clients.get_mut(id) {
            client.output.buffer().extend_from_slice(bytes);
            self.answered.push(id);
        }
    }

    /// A replica as the server's log names it: where it listens, if it has said so.
    pub(super) fn replica_name(&self, id: ClientId) -> String {
        match self.replication.announced(id).map_or(0, |announced| announced.port) {
            0 => format!("client id #{}", id.serial),
            port => format!("{}:{port}", self.replica_ip(id)),
        }
    }

    /// Where a replica is: as it has said, or as its connection tells.
    pub(crate) fn replica_ip(&self, id: ClientId) -> String {
        let own = self.replication.announced(id).and_then(|announced| announced.ip.clone());
        let client = self.clients.get(id);
        let seen = || {
            client
                .map(|client| client.peer.map_or_else(|| client.local.clone(), |peer| peer.ip().to_string()))
        };
        own.or_else(seen).unwrap_or_default()
    }
}

impl Connection {
    /// `repl-disable-tcp-nodelay`: fewer, fuller packets, later. A socket that refuses is as fast as it was.
    fn delay_small_writes(&self) {
        if let Connection::Tcp(stream) = self {
            let _ = stream.set_nodelay(false);
        }
    }
}
