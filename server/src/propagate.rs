//! The single choke point through which every effect leaves the executor: to the log, to the stream that replicas are
//! sent, and (by position) to the gate that holds the reply until the log is as safe as promised.

use aof::Op;
use smallvec::SmallVec;

use crate::client::{ClientId, Watched};
use crate::executor::Server;

impl Server {
    /// Logs the unit's effects, replicates them, and says what its reply waits for. `wrap`: several effects are one
    /// transaction.
    #[inline]
    pub fn propagate(&mut self, client: Option<ClientId>, wrap: bool) {
        if self.replication.backlog.is_active() {
            self.replicate(client, wrap);
        }
        self.log_unit(client, wrap);
        self.replication.unlogged.clear();
    }

    #[inline]
    fn log_unit(&mut self, client: Option<ClientId>, wrap: bool) {
        let Some(log) = self.persistence.log_mut() else { return };
        let (unit, unix_ms) = (&self.unit, self.clock.unix_ms);
        // In ascending order, as they were noted.
        let is_logged = |at: &usize| self.replication.unlogged.binary_search(at).is_err();
        let ops = unit.ops().enumerate().filter(|(at, _)| is_logged(at));
        let ops: SmallVec<[Op<'_>; 4]> =
            ops.map(|(_, (db, command))| Op { db: db as u32, command }).collect();
        let mut position = 0;
        for ops in ops.chunks(if wrap { ops.len().max(1) } else { 1 }) {
            position = log.append(unix_ms, ops);
        }
        // Until the first base is there, nothing of the log can be loaded: there is nothing to wait for.
        if log.is_waiting_rewrite() {
            return;
        }
        // What only expired gates nothing: time alone would have hidden it again.
        if unit.dirty > 0 && position > 0 {
            self.gate.wrote(&unit.touched, position);
        }
        let needs = self.gate.needs(&unit.touched);
        if needs > 0
            && let Some(client) = client.and_then(|id| self.clients.get_mut(id))
        {
            client.output.wait_for(needs);
        }
    }

    /// Lets a client's reply wait for every write so far: it tells of data that no unit has visited.
    pub fn wait_for_all(&mut self, id: ClientId) {
        let newest = self.gate.newest();
        if let Some(client) = self.clients.get_mut(id) {
            client.output.wait_for(newest);
        }
    }

    /// Lets a client's reply wait for the newest writes to keys that it has watched.
    pub fn wait_for_keys(&mut self, id: ClientId, watched: &[Watched]) {
        let needs = watched.iter().map(|watched| self.gate.key(watched.db, watched.hash)).max().unwrap_or(0);
        if let Some(client) = self.clients.get_mut(id) {
            client.output.wait_for(needs);
        }
    }
}
