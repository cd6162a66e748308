//! MULTI's queue, and WATCH.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use keyspace::{DbIndex, Touch};

use crate::client::{ClientId, OwnedArgv};
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

    /// The clients whose keys a unit may have changed, with the key's hash; `None` where it changed a whole database,
    /// of which a key that is absent before and after is not part.
    pub fn watchers(&self, touched: &[Touch]) -> Vec<(ClientId, DbIndex, Option<u64>)> {
        let mut found = Vec::new();
        for touch in touched {
            match *touch {
                Touch::Key { db, hash, wrote: true } => {
                    let clients = self.keys.get(&(db, hash)).into_iter().flatten();
                    found.extend(clients.map(|&client| (client, db, Some(hash))));
                }
                Touch::Db { db, wrote: true } => {
                    let keys = self.keys.iter().filter(|((of, _), _)| *of == db);
                    found.extend(keys.flat_map(|(_, clients)| clients).map(|&client| (client, db, None)));
                }
                Touch::Key { .. } | Touch::Db { .. } => {}
            }
        }
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

    pub(crate) fn break_watches(&mut self) {
        for (id, db, hash) in self.watching.watchers(&self.unit.touched) {
            let Some(client) = self.clients.get_mut(id) else { continue };
            let keyspace = &mut self.keyspace;
            let now_ms = self.clock.unix_ms;
            client.watch_broken |= client.watched.iter().any(|watched| {
                watched.db == db
                    && hash.map_or_else(
                        || watched.existed || keyspace.entry(db, &watched.key, now_ms).is_some(),
                        |hash| watched.hash == hash,
                    )
            });
        }
    }
}
