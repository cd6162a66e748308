//! An RDB file or preamble on its way into the keyspace: one thread reads, checks and decodes, the executor stores.
//!
//! What is decoded is put into the order of the table, many keys at once, so that those of a segment share its cache
//! misses. The table reads ahead, and has room for as many keys as the file announces. A key that cannot be stored is told
//! before anything that is wrong behind it in the file. Clients are answered every few keys, and while none comes: one huge
//! value may take long to decode.

use std::io::BufRead;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use aof::{RdbDamage, SinkError};
use keyspace::rdb::{
    Error, ErrorKind, Item, Key, Keys, LoadError, Loaded, ModuleType, Reader, Sorter, Verdict,
};

use crate::logger::Level;
use crate::rdb::{Found, LoadOptions};
use crate::startup::{Loader, WARMED_KEYS};

/// Keys are sorted and given away once there are so many: few in the tests, whose files are small.
const SORTED_KEYS: usize = if cfg!(test) { 7 } else { 128 * 1024 };
/// Or so many bytes of keys and short strings, or once they were decoded from so many.
const SORTED_BYTES: usize = 8 * 1024 * 1024;
/// The room for bytes that a part keeps.
const KEPT_BYTES: usize = 2 * SORTED_BYTES / Sorter::PARTS;
/// Clients are answered after so many keys.
const SERVED_KEYS: usize = 32 * WARMED_KEYS;
/// Of the keys without elements so many are named in the log.
const NAMED_EMPTY_KEYS: u64 = 10;
/// How long clients wait when none comes.
const PATIENCE: Duration = Duration::from_millis(10);

/// What the executor gets: batches and notes in the order of the file, and the keys within a batch in the table's.
enum Message {
    /// Keys; `coming` more are certain.
    Keys {
        keys: Keys,
        coming: usize,
        /// About where they end.
        end_bytes: u64,
    },
    Note(Note),
}

/// What the executor is told beside keys.
enum Note {
    Aux { name: Vec<u8>, value: Vec<u8> },
    Db(u64),
    Sizes { keys: u64 },
    Module(ModuleType),
}

/// A file that is being loaded.
#[derive(Default)]
struct Load {
    options: LoadOptions,
    found: Found,
    /// The database that the next keys are of, and how many it is to have.
    db: usize,
    announced: usize,
    /// Where what is being stored ends, about.
    end_bytes: u64,
    /// Of the keys of a batch that have no place, what is wrong with the first in the file.
    refused: Option<LoadError>,
    /// Whose data were left out.
    modules: Vec<ModuleType>,
}

impl Load {
    fn refuse(&mut self, error: LoadError) {
        if self.refused.as_ref().is_none_or(|first| error.offset_bytes() < first.offset_bytes()) {
            self.refused = Some(error);
        }
    }
}

/// The thread that decodes.
struct Decode<R> {
    reader: Reader<R>,
    sorter: Sorter,
    /// Where the keys begin that are being sorted.
    start_bytes: u64,
    messages: SyncSender<Message>,
    emptied: Receiver<Keys>,
}

/// Nobody wants more.
struct Unwanted;

impl<R: BufRead> Decode<R> {
    /// Until the file ends, or nobody wants more. What was read before an error is stored.
    fn run(&mut self) -> Result<()> {
        loop {
            let note = self.next_note();
            let is_wanted = self.give().is_ok();
            let Some(note) = note?.filter(|_| is_wanted) else { return Ok(()) };
            if self.messages.send(Message::Note(note)).is_err() {
                return Ok(());
            }
        }
    }

    /// Decodes up to what is no key, and is to be told; `None` at the end.
    fn next_note(&mut self) -> Result<Option<Note>> {
        while let Some(item) = self.reader.next()? {
            match item {
                Item::Key(key) => {
                    self.sorter.push(key);
                    if self.is_full() && self.give().is_err() {
                        return Ok(None);
                    }
                }
                Item::Function(_) => {
                    let offset_bytes = self.reader.offset_bytes();
                    bail!("function libraries are not supported yet, at byte {offset_bytes}")
                }
                Item::Aux { name, value } => return Ok(Some(Note::Aux { name, value })),
                Item::Db(index) => return Ok(Some(Note::Db(index))),
                Item::Sizes { keys, .. } => return Ok(Some(Note::Sizes { keys })),
                Item::Module { module, .. } => return Ok(Some(Note::Module(module))),
                Item::Skipped(_) | Item::End(_) => {}
            }
        }
        Ok(None)
    }

    fn is_full(&self) -> bool {
        self.sorter.len() >= SORTED_KEYS
            || self.sorter.len_bytes() >= SORTED_BYTES
            || self.reader.offset_bytes() - self.start_bytes >= SORTED_BYTES as u64
    }

    /// Gives what was decoded so far.
    fn give(&mut self) -> Result<(), Unwanted> {
        let (start_bytes, end_bytes) = (self.start_bytes, self.reader.offset_bytes());
        self.start_bytes = end_bytes;
        if self.sorter.is_empty() {
            return Ok(());
        }
        for part in 0..Sorter::PARTS {
            let coming = self.sorter.len();
            let mut keys = self.emptied.try_recv().unwrap_or_default();
            self.sorter.take(part, &mut keys);
            let end_bytes =
                start_bytes + (end_bytes - start_bytes) * (part as u64 + 1) / Sorter::PARTS as u64;
            let message = Message::Keys { keys, coming, end_bytes };
            self.messages.send(message).map_err(|_| Unwanted)?;
        }
        Ok(())
    }
}

impl Loader<'_> {
    /// Loads an RDB file or preamble, and leaves `source` behind its last byte.
    pub(crate) fn rdb(&mut self, source: impl BufRead + Send, options: LoadOptions) -> Result<Found> {
        let mut reader = Reader::new(source, self.server.keyspace.rdb_shapes())?;
        if !self.server.config.rdbchecksum || self.server.keyspace.skips_checksums {
            reader = reader.without_checksum();
        }
        // As many parts as there are, so that the next keys are decoded while these are stored.
        let (messages, decoded) = sync_channel(Sorter::PARTS);
        let (stored, emptied) = channel();
        let mut decode = Decode { reader, sorter: Sorter::default(), start_bytes: 0, messages, emptied };
        let found = thread::scope(|scope| {
            let decoder = thread::Builder::new().name("decode".to_owned());
            // What it holds is dropped with its end, and so are its ends of the channels.
            let decoder = decoder.spawn_scoped(scope, move || decode.run()).context("no thread")?;
            let found = self.rdb_messages(decoded, &stored, options)?;
            let decoded = decoder.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            decoded.map(|()| found)
        })?;
        self.server.persistence.saving.loaded = found;
        let Found { loaded, expired, empty, .. } = found;
        let line = format!(
            "Done loading RDB, keys loaded: {loaded}, keys expired: {expired}, empty keys skipped: {empty}."
        );
        self.server.log(Level::Notice, line);
        Ok(found)
    }

    fn rdb_messages(
        &mut self,
        messages: Receiver<Message>,
        stored: &Sender<Keys>,
        options: LoadOptions,
    ) -> Result<Found> {
        let mut load = Load { options, ..Load::default() };
        loop {
            match messages.recv_timeout(PATIENCE) {
                Ok(Message::Keys { mut keys, coming, end_bytes }) => {
                    load.end_bytes = end_bytes;
                    self.rdb_keys(&mut keys, coming, &mut load)?;
                    keys.clear(KEPT_BYTES);
                    // A decoder that has ended needs none.
                    let _ = stored.send(keys);
                }
                Ok(Message::Note(note)) => self.rdb_note(note, &mut load),
                Err(RecvTimeoutError::Timeout) => self.rdb_progress(load.end_bytes)?,
                Err(RecvTimeoutError::Disconnected) => {
                    // The last parts may have been without keys.
                    self.rdb_progress(load.end_bytes)?;
                    return Ok(load.found);
                }
            }
        }
    }

    /// Stores keys that are the first of `coming`.
    fn rdb_keys(&mut self, keys: &mut Keys, coming: usize, load: &mut Load) -> Result<()> {
        if let Some(db) = self.server.keyspace.db_mut(load.db) {
            db.expect(load.announced, coming);
        }
        let is_whole = keys.len() == coming;
        let places: Vec<(usize, u64)> = keys.places().collect();
        let mut keys = keys.drain();
        for served in places.chunks(SERVED_KEYS) {
            for ahead in served.chunks(WARMED_KEYS) {
                self.server.keyspace.warm(ahead);
                keys.by_ref().take(ahead.len()).try_for_each(|key| self.rdb_key(key, load))?;
            }
            self.rdb_progress(load.end_bytes)?;
        }
        // Only now it is known which of them comes first in the file.
        load.refused.take_if(|_| is_whole).map_or(Ok(()), |error| Err(error.into()))
    }

    fn rdb_note(&mut self, note: Note, load: &mut Load) {
        let number = |number| usize::try_from(number).unwrap_or(usize::MAX);
        match note {
            Note::Aux { name, value } => self.rdb_aux(&name, &value, load),
            Note::Db(index) => (load.db, load.announced) = (number(index), 0),
            Note::Sizes { keys } => load.announced = number(keys),
            Note::Module(module) => self.rdb_module(module, load),
        }
    }

    /// Redis would not start without the module. What it keeps beside the keys is seldom data, but may be.
    fn rdb_module(&mut self, module: ModuleType, load: &mut Load) {
        if !load.modules.contains(&module) {
            load.modules.push(module);
            let version = module.version();
            let line = format!(
                "Loading RDB: left out what the module type '{module}' (version {version}) keeps beside the keys: there \
                 are no modules here"
            );
            self.server.log(Level::Warning, line);
        }
    }

    fn rdb_key(&mut self, key: Key<'_>, load: &mut Load) -> Result<()> {
        let (now_ms, Load { options, found, .. }) = (self.server.clock.unix_ms, &mut *load);
        if !options.keeps_expired && key.expire_at_ms.is_some_and(|at_ms| at_ms < now_ms) {
            found.expired += 1;
            return Ok(());
        }
        let name = key.key;
        match self.server.keyspace.load_key(key, options.replace, now_ms) {
            Ok(Loaded::Stored | Loaded::Replaced) => found.loaded += 1,
            Err(error) => load.refuse(error),
            Ok(Loaded::Empty) => {
                found.empty += 1;
                if found.empty <= NAMED_EMPTY_KEYS {
                    let line = format!("Loading RDB: skipping empty key: {}", name.escape_ascii());
                    self.server.log(Level::Notice, line);
                }
            }
        }
        if self.rest_after_key() { self.rdb_progress(load.end_bytes) } else { Ok(()) }
    }

    fn rdb_aux(&mut self, name: &[u8], value: &[u8], load: &mut Load) {
        let text = String::from_utf8_lossy(value);
        let number = resp::number::parse_i64(value).unwrap_or(0);
        let line = match name {
            b"redis-ver" | b"valkey-ver" => format!("Loading RDB produced by version {text}"),
            b"ctime" => {
                format!("RDB age {} seconds", self.server.clock.unix_s().saturating_sub(number).max(0))
            }
            b"used-mem" => {
                load.found.used_memory_bytes = u64::try_from(number).unwrap_or(0);
                if let Some(loading) = &mut self.server.loading {
                    loading.rdb_used_memory_bytes = load.found.used_memory_bytes;
                }
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

/// What a log is told of an RDB of which only `sound_bytes` can be read, and so many keys: only damage can be repaired.
pub(crate) fn told(error: &Error, sound_bytes: u64, keys: &str) -> SinkError {
    if error.verdict() != Verdict::Damaged {
        return SinkError::new(error);
    }
    let damage = RdbDamage {
        at_bytes: error.offset_bytes,
        end_bytes: matches!(error.kind, ErrorKind::Checksum { .. }).then_some(error.offset_bytes),
        sound_bytes,
        keys: error.key.iter().cloned().collect(),
    };
    let hazard = "may be damaged as well, for one checksum covers all of the RDB";
    SinkError::damaged_rdb(format!("{error}; {keys} can be read before that, and {hazard}"), damage)
}

#[cfg(test)]
mod tests;
