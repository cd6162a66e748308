//! An RDB file or preamble on its way into the keyspace: one thread reads, checks and decodes, the executor stores.
//!
//! What is decoded goes over in batches; the table reads ahead of each, and has room for as many keys as the file
//! announces. What is wrong is told in the order of the file: a key that cannot be stored comes before what is wrong
//! behind it. Clients are answered between batches, and while none comes: one huge value may take long to decode.

use std::io::BufRead;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use keyspace::rdb::{Item, Key, Loaded, Reader};

use crate::logger::Level;
use crate::rdb::{Found, LoadOptions};
use crate::startup::{Loader, WARMED_KEYS};

/// A batch is given away once it has so many items.
const BATCH_ITEMS: usize = 32 * WARMED_KEYS;
/// Or was decoded from so many bytes.
const BATCH_BYTES: u64 = 256 * 1024;
/// Batches on their way.
const BATCHES: usize = 8;
/// How long clients wait when none comes.
const PATIENCE: Duration = Duration::from_millis(10);

/// Items that follow each other.
struct Batch {
    items: Vec<Item>,
    /// Where the last of them ends.
    end_bytes: u64,
}

/// A file that is being loaded.
#[derive(Default)]
struct Load {
    options: LoadOptions,
    found: Found,
    /// The database that the next keys are of, and how many it is to have.
    db: usize,
    announced: usize,
    /// Where the items end that are being stored.
    end_bytes: u64,
}

/// Decodes until the file ends, or nobody wants more.
fn decode(mut reader: Reader<impl BufRead>, batches: &SyncSender<Batch>) -> Result<()> {
    loop {
        let (start_bytes, mut items) = (reader.offset_bytes(), Vec::with_capacity(BATCH_ITEMS));
        let mut outcome = Ok(true);
        while items.len() < BATCH_ITEMS && reader.offset_bytes() - start_bytes < BATCH_BYTES {
            outcome = next(&mut reader, &mut items);
            if !matches!(outcome, Ok(true)) {
                break;
            }
        }
        let end_bytes = reader.offset_bytes();
        let is_wanted = batches.send(Batch { items, end_bytes }).is_ok();
        if !outcome? || !is_wanted {
            return Ok(());
        }
    }
}

/// Decodes one item; false at the end.
fn next(reader: &mut Reader<impl BufRead>, items: &mut Vec<Item>) -> Result<bool> {
    match reader.next()? {
        None => return Ok(false),
        Some(Item::Function(_)) => {
            bail!("function libraries are not supported yet, at byte {}", reader.offset_bytes())
        }
        Some(item) => items.push(item),
    }
    Ok(true)
}

impl Loader<'_> {
    /// Loads an RDB file or preamble, and leaves `source` behind its last byte.
    pub(crate) fn rdb(&mut self, source: impl BufRead + Send, options: LoadOptions) -> Result<Found> {
        let mut reader = Reader::new(source, self.server.keyspace.rdb_shapes())?;
        if !self.server.config.rdbchecksum {
            reader = reader.without_checksum();
        }
        let (batches, decoded) = sync_channel(BATCHES);
        let found = thread::scope(|scope| {
            let decoder = thread::Builder::new().name("decode".to_owned());
            let decoder =
                decoder.spawn_scoped(scope, move || decode(reader, &batches)).context("no thread")?;
            let found = self.rdb_batches(decoded, options)?;
            let decoded = decoder.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            decoded.map(|()| found)
        })?;
        self.server.persistence.saving.loaded = found;
        let Found { loaded, expired, empty } = found;
        let line = format!(
            "Done loading RDB, keys loaded: {loaded}, keys expired: {expired}, empty keys skipped: {empty}."
        );
        self.server.log(Level::Notice, line);
        Ok(found)
    }

    fn rdb_batches(&mut self, batches: Receiver<Batch>, options: LoadOptions) -> Result<Found> {
        let mut load = Load { options, ..Load::default() };
        loop {
            match batches.recv_timeout(PATIENCE) {
                Ok(batch) => self.rdb_batch(batch, &mut load)?,
                Err(RecvTimeoutError::Timeout) => self.rdb_progress(load.end_bytes)?,
                Err(RecvTimeoutError::Disconnected) => return Ok(load.found),
            }
        }
    }

    fn rdb_batch(&mut self, Batch { items, end_bytes }: Batch, load: &mut Load) -> Result<()> {
        load.end_bytes = end_bytes;
        if let Some(db) = self.server.keyspace.db_mut(load.db) {
            db.expect(load.announced);
        }
        let mut items = items.into_iter();
        while !items.as_slice().is_empty() {
            let ahead = items.as_slice();
            self.warm_items(ahead.get(..WARMED_KEYS).unwrap_or(ahead));
            items.by_ref().take(WARMED_KEYS).try_for_each(|item| self.rdb_item(item, load))?;
        }
        self.rdb_progress(end_bytes)
    }

    fn rdb_item(&mut self, item: Item, load: &mut Load) -> Result<()> {
        let number = |number| usize::try_from(number).unwrap_or(usize::MAX);
        match item {
            Item::Key(key) => self.rdb_key(key, load)?,
            Item::Aux { name, value } => self.rdb_aux(&name, &value),
            Item::Db(index) => (load.db, load.announced) = (number(index), 0),
            Item::Sizes { keys, .. } => load.announced = number(keys),
            Item::Function(_) | Item::Skipped(_) | Item::End(_) => {}
        }
        Ok(())
    }

    fn warm_items(&self, items: &[Item]) {
        let keys = items.iter().filter_map(|item| match item {
            Item::Key(key) => Some((usize::try_from(key.db).ok()?, &key.key[..])),
            _ => None,
        });
        self.server.keyspace.warm(keys);
    }

    fn rdb_key(&mut self, key: Key, load: &mut Load) -> Result<()> {
        let (now_ms, Load { options, found, .. }) = (self.server.clock.unix_ms, &mut *load);
        if !options.is_base && key.expire_at_ms.is_some_and(|at_ms| at_ms < now_ms) {
            found.expired += 1;
            return Ok(());
        }
        match self.server.keyspace.load_key(key, options.replace, now_ms)? {
            Loaded::Stored | Loaded::Replaced => found.loaded += 1,
            Loaded::Empty => found.empty += 1,
        }
        if self.rest_after_key() { self.rdb_progress(load.end_bytes) } else { Ok(()) }
    }

    fn rdb_aux(&mut self, name: &[u8], value: &[u8]) {
        let text = String::from_utf8_lossy(value);
        let number = resp::number::parse_i64(value).unwrap_or(0);
        let line = match name {
            b"redis-ver" | b"valkey-ver" => format!("Loading RDB produced by version {text}"),
            b"ctime" => format!("RDB age {} seconds", (self.server.clock.unix_s() - number).max(0)),
            b"used-mem" => {
                format!("RDB memory usage when created {:.2} Mb", number as f64 / (1024.0 * 1024.0))
            }
            b"aof-base" if number == 1 => "RDB is base AOF".to_owned(),
            _ => return,
        };
        self.server.log(Level::Notice, line);
    }

    fn rdb_progress(&mut self, loaded_bytes: u64) -> Result<()> {
        if let Some(loading) = &mut self.server.loading {
            loading.loaded_bytes = loaded_bytes;
        }
        self.show(loaded_bytes);
        self.serve();
        ensure!(self.server.exit.is_none(), "the server is to end");
        Ok(())
    }
}
