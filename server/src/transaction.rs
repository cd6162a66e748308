//! MULTI's queue, and WATCH.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use keyspace::{DbIndex, Touch};

use crate::client::{ClientId, OwnedArgv, Watched};
use crate::commands::Command;
use crate::executor::Server;

/// What a client has queued since MULTI.
#[derive(Debug, Default)]
pub struct Transaction {
    /// The commands, looked up and checked.
    pub queue: Vec<(Command, OwnedArgv)>,
    /// A command was refused while queueing: EXEC will refuse the rest.
    pub spoilt: bool,
}

/// Who watches which keys.
#[derive(Debug, Default)]
pub struct Watching {
    keys: HashMap<(DbIndex, u64), Vec<ClientId>, FixedState>,
}

impl Watching {
    /// Whether nobody watches anything.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Notes that a client watches a key.
    pub fn add(&mut self, db: DbIndex, hash: u64, client: ClientId) {
        self.keys.entry((db, hash)).or_default().push(client);
    }

    /// Forgets that a client watches a key.
    pub fn remove(&mut self, db: DbIndex, hash: u64, client: ClientId) {
        if let Some(clients) = self.keys.get_mut(&(db, hash)) {
            clients.retain(|&id| id != client);
            if clients.is_empty() {
                self.keys.remove(&(db, hash));
            }
        }
    }

    /// The clients that watch a key which a unit changed, and with the database those of a database that it changed as a
    /// whole, of which a key that is absent before and after is not part.
    pub fn watchers(&self, touched: &[Touch]) -> Vec<(ClientId, Option<DbIndex>)> {
        let mut found = Vec::new();
        for touch in touched {
            match *touch {
                Touch::Key { db, hash, wrote: true } => {
                    let clients = self.keys.get(&(db, hash)).into_iter().flatten();
                    found.extend(clients.map(|&client| (client, None)));
                }
                Touch::Db { db, wrote: true } => {
                    let keys = self.keys.iter().filter(|((of, _), _)| *of == db);
                    found.extend(keys.flat_map(|(_, clients)| clients).map(|&client| (client, Some(db))));
                }
                Touch::Key { .. } | Touch::Db { .. } => {}
            }
        }
        // A client may watch thousands of the keys.
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl Server {
    /// Forgets a client's watched keys.
    pub fn unwatch(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        client.watch_broken = false;
        for watched in std::mem::take(&mut client.watched) {
            self.watching.remove(watched.db, watched.hash, id);
        }
    }

    /// All data was replaced: who watches a key that was there, or is now, has watched in vain.
    pub(crate) fn break_all_watches(&mut self) {
        self.unit.clear();
        let dbs = 0..self.keyspace.dbs().len();
        self.unit.touched.extend(dbs.map(|db| Touch::Db { db, wrote: true }));
        self.break_watches();
        self.unit.clear();
    }

    pub(crate) fn break_watches(&mut self) {
        for (id, whole) in self.watching.watchers(&self.unit.touched) {
            let Some(client) = self.clients.get_mut(id) else { continue };
            let (keyspace, now_ms) = (&mut self.keyspace, self.clock.unix_ms);
            let is_in = |watched: &Watched, db| {
                watched.db == db && (watched.existed || keyspace.entry(db, &watched.key, now_ms).is_some())
            };
            client.watch_broken |=
                whole.is_none_or(|db| client.watched.iter().any(|watched| is_in(watched, db)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each entry was a scan of all that the client watches: a FLUSHDB took seconds where thousands of keys were watched.
    #[test]
    fn a_client_is_told_once_of_a_database_of_which_it_watches_many_keys() {
        let mut watching = Watching::default();
        let client = ClientId { serial: 1, slot: 0 };
        (0..100).for_each(|hash| watching.add(0, hash, client));
        let whole = [Touch::Db { db: 0, wrote: true }];
        assert_eq!(watching.watchers(&whole), [(client, Some(0))]);
        let keys = [1, 2].map(|hash| Touch::Key { db: 0, hash, wrote: true });
        assert_eq!(watching.watchers(&keys), [(client, None)]);
    }
}
