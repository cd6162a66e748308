//! The view that a command's handler has of the keyspace: lookups that expire lazily, writes that leave their traces.

use crate::access::Access;
use crate::db::Db;
use crate::effect::{Block, KeyEvent, Touch, Unit, deletion};
use crate::entry::Entry;
use crate::table::HashSeed;
use crate::types::string::{StringMut, StringRef, copied, make_private};
use crate::value::New;
use crate::{CommandError, DbIndex, Keyspace, Limits, Random, Str, Value, ValueRef};

/// One command to execute.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The client's database.
    pub db: DbIndex,
    /// The wall clock, milliseconds since 1970; the same for all commands of a transaction.
    pub now_ms: i64,
    /// The command and its arguments; never empty.
    pub argv: &'a [&'a [u8]],
    /// The command's own name, if clients know it by another: that is the one to be logged.
    pub renamed_from: Option<&'static str>,
    /// False inside a transaction or a replay: a blocking command then answers at once as if its time were over.
    pub may_block: bool,
    /// CLIENT NO-TOUCH: what it looks up is as idle as before.
    pub no_touch: bool,
    /// The [hash](Keyspace::hash) of the first argument, where the caller has it already.
    pub first_hash: Option<u64>,
}

impl<'a> Call<'a> {
    /// A call that may not block.
    pub fn new(db: DbIndex, now_ms: i64, argv: &'a [&'a [u8]]) -> Self {
        Call { db, now_ms, argv, renamed_from: None, may_block: false, no_touch: false, first_hash: None }
    }
}

/// What a key held that [`Ctx::take`] removed.
#[derive(Debug)]
pub(crate) struct Taken {
    value: Value,
    expire_at_ms: Option<i64>,
    /// Of its use.
    noted: u32,
}

/// What a handler works with. Its reply goes to the [`resp::Encoder`] beside it, so that a borrowed value can be
/// written straight from the table.
#[derive(Debug)]
pub struct Ctx<'a> {
    /// All the data: for what concerns more than one database.
    pub keyspace: &'a mut Keyspace,
    /// The client's database.
    pub db: DbIndex,
    /// The command's time, milliseconds since 1970.
    pub now_ms: i64,
    /// Whether the command may park its client.
    pub may_block: bool,
    /// Whether lookups leave no trace of an access.
    pub no_touch: bool,
    argv: &'a [&'a [u8]],
    renamed_from: Option<&'static str>,
    first_hash: Option<u64>,
    unit: &'a mut Unit,
    dirty: u64,
    /// The key that was looked up last to be written: a command that looks again uses it once.
    used: Option<(DbIndex, u64)>,
    /// The handler named its effects (perhaps none); the command itself is not logged.
    explicit: bool,
}

impl<'a> Ctx<'a> {
    #[inline]
    pub(crate) fn new(keyspace: &'a mut Keyspace, call: &Call<'a>, unit: &'a mut Unit) -> Self {
        let Call { db, now_ms, argv, renamed_from, may_block, no_touch, first_hash } = *call;
        Ctx {
            keyspace,
            db,
            now_ms,
            may_block,
            no_touch,
            argv,
            renamed_from,
            first_hash,
            unit,
            dirty: 0,
            used: None,
            explicit: false,
        }
    }

    /// The command succeeded: if it changed something and named no effects, it is its own effect. A log that is being
    /// replayed holds it already.
    #[inline]
    pub(crate) fn finish(mut self) {
        self.unit.dirty += self.dirty;
        if self.dirty > 0 && !self.explicit && self.keyspace.has_log && !self.keyspace.loading {
            self.log(self.argv);
        }
    }

    /// The command was refused. Keys that expired on the way stay expired; the handler changed nothing.
    pub(crate) fn abandon(self) {
        debug_assert_eq!(self.dirty, 0, "a handler checks first and changes then");
        self.unit.dirty += self.dirty;
    }

    // Lookups.

    /// Looks a key up to read it. An expired key is deleted and absent.
    #[inline]
    pub fn read(&mut self, key: &[u8]) -> Option<ValueRef<'_>> {
        self.read_in(self.db, key)
    }

    /// As [`read`](Self::read), in another database.
    #[inline]
    pub fn read_in(&mut self, db: DbIndex, key: &[u8]) -> Option<ValueRef<'_>> {
        let access = self.access();
        self.look_up(db, key, access, true).map(|entry| entry.value())
    }

    /// Looks a key up to tell of it (EXISTS, TTL, TYPE): a hit or a miss, and its idle time stays.
    pub fn inspect(&mut self, key: &[u8]) -> Option<Entry<'_>> {
        self.look_up(self.db, key, None, true)
    }

    /// As [`inspect`](Self::inspect), without an event for a key that is not there (OBJECT).
    pub fn inspect_quietly(&mut self, key: &[u8]) -> Option<Entry<'_>> {
        self.look_up(self.db, key, None, false)
    }

    /// A lookup that counts as a hit or a miss; `tells`: a miss is an event, too.
    #[inline]
    fn look_up(&mut self, db: DbIndex, key: &[u8], access: Option<Access>, tells: bool) -> Option<Entry<'_>> {
        let hash = self.visit_to_read(db, key);
        let (hidden_from, keyspace) = (self.hidden_from(), &mut *self.keyspace);
        match keyspace.dbs[db].find(hash, key).filter(|entry| !entry.is_due(hidden_from)) {
            Some(entry) => {
                keyspace.stats.hits += 1;
                if let Some(access) = access {
                    entry.touch(access);
                }
                Some(entry)
            }
            None => {
                keyspace.stats.misses += 1;
                if tells && keyspace.has_listeners {
                    self.unit.events.push(KeyEvent { db, class: 'm', name: "keymiss", key: Str::from(key) });
                }
                None
            }
        }
    }

    /// As [`read`](Self::read), for a value to keep: what is big is shared.
    pub fn read_value(&mut self, key: &[u8]) -> Option<Value> {
        self.read(key)?;
        let hash = self.hash(key);
        self.keyspace.dbs[self.db].value(hash, key)
    }

    /// Looks a key up that the command may write: neither a hit nor a miss, but an access.
    #[inline]
    pub fn lookup_write(&mut self, key: &[u8]) -> Option<ValueRef<'_>> {
        self.lookup_write_in(self.db, key).map(|entry| entry.value())
    }

    /// As [`lookup_write`](Self::lookup_write), in some database.
    pub fn lookup_write_in(&mut self, db: DbIndex, key: &[u8]) -> Option<Entry<'_>> {
        let hash = self.visit_to_read(db, key);
        let (access, hidden_from) = (self.access_to_write(db, hash), self.hidden_from());
        let entry = self.keyspace.dbs[db].find(hash, key).filter(|entry| !entry.is_due(hidden_from))?;
        if let Some(access) = access {
            entry.touch(access);
        }
        Some(entry)
    }

    /// Looks once more at a key, or at one that nobody has asked for: no hit, no miss, and its idle time stays.
    pub fn peek(&mut self, key: &[u8]) -> Option<ValueRef<'_>> {
        self.peek_entry(self.db, key).map(|entry| entry.value())
    }

    /// Looks a collection up to change it in place; say so afterwards with [`changed`](Self::changed). An expired key
    /// is deleted and absent. The value is private to the keyspace from here on: a snapshot keeps the old one.
    ///
    /// # Errors
    /// [`CommandError::WrongType`] for a short string or an integer; a long string is for the caller to refuse.
    #[inline]
    pub fn write(&mut self, key: &[u8]) -> Result<Option<&mut Value>, CommandError> {
        self.write_any(key).map(|value| value.ok_or(CommandError::WrongType)).transpose()
    }

    /// Changes a string, which is made if the key is not there, and lengthened with zeros to at least `len` bytes first.
    /// A time to live stays. As with [`write`](Self::write), say so afterwards.
    ///
    /// # Errors
    /// [`CommandError::WrongType`].
    pub fn edit<T>(
        &mut self,
        key: &[u8],
        len: usize,
        change: impl FnOnce(StringMut<'_>) -> T,
    ) -> Result<T, CommandError> {
        let stored = self.write_any(key).flatten();
        if let Some(string) = stored.and_then(|value| StringMut::lengthened(value, len)) {
            return Ok(change(string));
        }
        self.edit_copy(key, |value| StringMut::lengthened(value, len).map(change))
    }

    /// As [`edit`](Self::edit), for what is never long: all bytes in a row.
    ///
    /// # Errors
    /// [`CommandError::WrongType`].
    pub fn edit_bytes<T>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut Str) -> T,
    ) -> Result<T, CommandError> {
        if let Some(Value::Str(bytes)) = self.write_any(key).flatten() {
            make_private(bytes);
            return Ok(change(bytes));
        }
        self.edit_copy(key, |value| match value {
            Value::Str(bytes) => Some(change(bytes)),
            _ => None,
        })
    }

    /// Changes a copy, with a string in a row, of a string that cannot be changed in place.
    fn edit_copy<T>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut Value) -> Option<T>,
    ) -> Result<T, CommandError> {
        let held = self.peek(key);
        let (is_new, is_int) = (held.is_none(), matches!(held, Some(ValueRef::Int(_))));
        let before = StringRef::of_key(held)?;
        let mut value = Value::Str(copied(&before.contiguous()));
        let result = change(&mut value).ok_or(CommandError::WrongType)?;
        // What stays as it was leaves no trace: a WATCH of it still holds.
        if is_new || StringRef::of(value.view())? != before {
            self.set_keep_ttl(key, value);
        } else if is_int {
            // But as in Redis, an integer that could have been edited is a string from then on.
            let hash = self.hash(key);
            self.keyspace.dbs[self.db].restate(hash, key, value.into());
        }
        Ok(result)
    }

    /// `Some(None)`: the value is a short string or an integer, and can only be replaced.
    #[inline]
    fn write_any(&mut self, key: &[u8]) -> Option<Option<&mut Value>> {
        let hash = self.visit(self.db, key, false);
        let access = self.access_to_write(self.db, hash);
        self.keyspace.dbs[self.db].value_mut(hash, key, access)
    }

    /// What a lookup notes.
    #[inline]
    fn access(&mut self) -> Option<Access> {
        (!self.no_touch).then(|| self.keyspace.access(self.now_ms))
    }

    /// What a lookup notes for a command that may write, once.
    #[inline]
    fn access_to_write(&mut self, db: DbIndex, hash: u64) -> Option<Access> {
        if self.used.replace((db, hash)) == Some((db, hash)) { None } else { self.access() }
    }

    /// What is noted of a value that takes another's place: when it came, and how often that one was used.
    #[inline]
    fn access_to_store(&mut self, db: DbIndex, hash: u64) -> Access {
        let access = self.keyspace.access(self.now_ms);
        if self.no_touch || self.used == Some((db, hash)) { access.again() } else { access }
    }

    /// Whether the key is there (expired keys are not), for a command that may write: see
    /// [`lookup_write`](Self::lookup_write).
    pub fn exists(&mut self, key: &[u8]) -> bool {
        self.lookup_write(key).is_some()
    }

    /// When the key expires, milliseconds since 1970. `None` without a time to live, or without the key.
    pub fn expire_at_ms(&mut self, key: &[u8]) -> Option<i64> {
        self.peek_entry(self.db, key).and_then(|entry| entry.expire_at_ms())
    }

    /// The whole entry, as [`peek`](Self::peek) finds it.
    pub(crate) fn peek_entry(&mut self, db: DbIndex, key: &[u8]) -> Option<Entry<'_>> {
        let hash = self.visit_to_read(db, key);
        let hidden_from = self.hidden_from();
        self.keyspace.dbs[db].find(hash, key).filter(|entry| !entry.is_due(hidden_from))
    }

    // Writes. Each leaves the traces of its own; the number of changes and the event come with `changed`.

    /// Stores a value under a key, new or not; its time to live is gone.
    #[inline]
    pub fn set<'v>(&mut self, key: &[u8], value: impl Into<New<'v>>) {
        self.set_in(self.db, key, value, None);
    }

    /// Stores a value under a key, new or not; a time to live stays.
    pub fn set_keep_ttl<'v>(&mut self, key: &[u8], value: impl Into<New<'v>>) {
        let expire_at_ms = self.expire_at_ms(key);
        self.set_in(self.db, key, value, expire_at_ms);
    }

    /// Stores a value under a key of some database, new or not, with this time to live.
    #[inline]
    pub fn set_in<'v>(
        &mut self,
        db: DbIndex,
        key: &[u8],
        value: impl Into<New<'v>>,
        expire_at_ms: Option<i64>,
    ) {
        let hash = self.visit(db, key, true);
        let access = self.access_to_store(db, hash);
        let keys = &mut self.keyspace.dbs[db];
        let before = keys.len();
        let old = keys.put(hash, key, value.into(), expire_at_ms, access);
        if keys.len() > before {
            self.notify_in(db, 'n', "new", key);
        }
        if let Some(old) = old {
            self.discard(old, self.keyspace.limits.lazy_server_del);
        }
        self.note_ready(db, key);
    }

    /// As [`set_in`](Self::set_in), where Redis deletes what was there before: the key is new in either case, and was
    /// never used.
    pub(crate) fn replace_in(&mut self, db: DbIndex, key: &[u8], value: Value, expire_at_ms: Option<i64>) {
        let hash = self.visit(db, key, true);
        if let Some((Some(old), _)) = self.keyspace.dbs[db].remove(hash, key) {
            self.discard(old, self.keyspace.limits.lazy_server_del);
        }
        self.set_in(db, key, value, expire_at_ms);
    }

    /// As [`replace_in`](Self::replace_in), of what was taken from another key: it has been used as often as there.
    pub(crate) fn put_in(&mut self, db: DbIndex, key: &[u8], taken: Taken) {
        let Taken { value, expire_at_ms, noted } = taken;
        self.replace_in(db, key, value, expire_at_ms);
        let hash = self.hash(key);
        if let Some(entry) = self.keyspace.dbs[db].find(hash, key) {
            entry.note(noted);
        }
    }

    /// Deletes a key; false if it was not there. `lazy` leaves a big value to another thread.
    pub fn delete(&mut self, key: &[u8], lazy: bool) -> bool {
        let (db, hash) = (self.db, self.visit(self.db, key, false));
        let Some((value, _)) = self.keyspace.dbs[db].remove(hash, key) else { return false };
        self.mark(Touch::Key { db, hash, wrote: true });
        self.note_ready(db, key);
        if let Some(value) = value {
            self.discard(value, lazy);
        }
        true
    }

    /// Removes a key, for another to hold what it held.
    pub(crate) fn take(&mut self, key: &[u8]) -> Option<Taken> {
        let (db, hash) = (self.db, self.visit(self.db, key, false));
        let keys = &mut self.keyspace.dbs[db];
        let noted = keys.find(hash, key)?.noted();
        let value = keys.value(hash, key)?;
        let (_, expire_at_ms) = keys.remove(hash, key)?;
        self.mark(Touch::Key { db, hash, wrote: true });
        self.note_ready(db, key);
        Some(Taken { value, expire_at_ms, noted })
    }

    /// Deletes a key whose collection has become empty, with the `del` event.
    pub fn delete_empty(&mut self, key: &[u8]) {
        self.delete(key, false);
        self.notify('g', "del", key);
    }

    /// Sets or clears a key's time to live; false if the key is not there.
    pub fn set_expire(&mut self, key: &[u8], expire_at_ms: Option<i64>) -> bool {
        let hash = self.visit(self.db, key, false);
        let found = self.keyspace.dbs[self.db].set_expire(hash, key, expire_at_ms);
        if found {
            self.mark(Touch::Key { db: self.db, hash, wrote: true });
        }
        found
    }

    /// Drops a value, here or (if it is big, and `lazy` or a string) on another thread: a string that is one allocation in
    /// Redis is thousands here.
    pub fn discard(&mut self, value: Value, lazy: bool) {
        if lazy || matches!(value, Value::Chunked(_)) {
            self.keyspace.discard(value);
        }
    }

    // Traces.

    /// Says that a key was changed in `changes` places, and which event that is: the command will be logged, WATCH
    /// broken, later readers held until the log has it.
    #[inline]
    pub fn changed(&mut self, key: &[u8], class: char, event: &'static str, changes: usize) {
        self.changed_in(self.db, key, class, event, changes);
    }

    /// As [`changed`](Self::changed), in another database.
    #[inline]
    pub fn changed_in(&mut self, db: DbIndex, key: &[u8], class: char, event: &'static str, changes: usize) {
        self.mark_written(db, key);
        self.dirty += changes as u64;
        self.notify_in(db, class, event, key);
    }

    /// As [`changed`](Self::changed), where Redis has no event for it.
    pub fn changed_without_event(&mut self, key: &[u8], changes: usize) {
        self.mark_written(self.db, key);
        self.dirty += changes as u64;
    }

    /// Whether the command has changed anything so far.
    pub fn has_changed(&self) -> bool {
        self.dirty > 0
    }

    /// Counts changes that belong to no key (FLUSHALL of nothing).
    pub fn add_dirty(&mut self, changes: usize) {
        self.dirty += changes as u64;
    }

    /// Says that the command depends on (or changed) every key of a database.
    pub fn touch_db(&mut self, db: DbIndex, wrote: bool) {
        self.mark(Touch::Db { db, wrote });
    }

    /// Reports a keyspace event; `class` is the letter of `notify-keyspace-events`.
    #[inline]
    pub fn notify(&mut self, class: char, name: &'static str, key: &[u8]) {
        self.notify_in(self.db, class, name, key);
    }

    /// As [`notify`](Self::notify), in another database.
    #[inline]
    pub fn notify_in(&mut self, db: DbIndex, class: char, name: &'static str, key: &[u8]) {
        if self.keyspace.has_listeners {
            self.unit.events.push(KeyEvent { db, class, name, key: Str::from(key) });
        }
    }

    /// Logs `argv` in place of the command as the client sent it; each call adds one effect.
    pub fn propagate(&mut self, argv: &[&[u8]]) {
        self.explicit = true;
        if self.keyspace.has_log {
            self.log(argv);
        }
    }

    /// Whether anybody is told of effects: without a log and replicas, a command need not put into words what it did.
    #[inline]
    pub fn is_logged(&self) -> bool {
        self.keyspace.has_log
    }

    /// Adds an effect; the word by which the client called the command becomes the command's own name.
    #[inline]
    fn log(&mut self, argv: &[&[u8]]) {
        match (self.renamed_from, argv) {
            (Some(own), [sent, rest @ ..]) if std::ptr::eq(*sent, self.argv[0]) => {
                self.unit.push(self.db, &[&[own.as_bytes()], rest].concat());
            }
            _ => self.unit.push(self.db, argv),
        }
    }

    /// Deletes a key, and logs that in place of the command.
    pub(crate) fn delete_instead(&mut self, key: &[u8], lazy: bool) {
        self.delete(key, lazy);
        self.changed(key, 'g', "del", 1);
        self.propagate(&[deletion(lazy), key]);
    }

    /// Logs nothing for this command, whatever it changed.
    pub fn propagate_nothing(&mut self) {
        self.explicit = true;
    }

    /// Explains an error in the server's log.
    pub fn remark(&mut self, line: String) {
        self.unit.remarks.push(line);
    }

    /// Parks the client, if it may be: the command is executed again when a key is ready. After the timeout the reply
    /// is a null array. Without permission this returns false, and the caller writes the reply.
    pub fn block(&mut self, block: Block) -> bool {
        if self.may_block {
            self.unit.block = Some(block);
        }
        self.may_block
    }

    // What handlers need besides.

    /// Thresholds between encodings.
    pub fn limits(&self) -> &Limits {
        &self.keyspace.limits
    }

    /// The hash function's key, for a table that a value grows into.
    pub fn seed(&self) -> HashSeed {
        self.keyspace.seed
    }

    /// The source of chance.
    pub fn random(&mut self) -> &mut Random {
        &mut self.keyspace.random
    }

    /// A key of the client's database, each as likely as the next; perhaps one whose time is over.
    pub(crate) fn random_key(&mut self) -> Option<Str> {
        let Keyspace { dbs, random, .. } = &mut *self.keyspace;
        dbs[self.db].table().random(random).map(|entry| Str::from(entry.key()))
    }

    /// The client's database as a whole.
    pub fn database(&mut self) -> &mut Db {
        &mut self.keyspace.dbs[self.db]
    }

    /// Reads a database number from an argument.
    ///
    /// # Errors
    /// See [`Keyspace::parse_db`].
    pub fn parse_db(&self, text: &[u8]) -> Result<DbIndex, CommandError> {
        self.keyspace.parse_db(text)
    }

    /// The hash of a key. Most commands name one, their first argument, and visit it again and again.
    #[inline]
    fn hash(&mut self, key: &[u8]) -> u64 {
        match self.argv.get(1) {
            Some(first) if std::ptr::eq(*first, key) => {
                *self.first_hash.get_or_insert_with(|| self.keyspace.hash(key))
            }
            _ => self.keyspace.hash(key),
        }
    }

    /// Marks the key as touched, and deletes it if its time is over. Returns its hash.
    #[inline]
    fn visit(&mut self, db: DbIndex, key: &[u8], wrote: bool) -> u64 {
        self.visit_unless(false, db, key, wrote)
    }

    /// As [`visit`](Self::visit), for a lookup. While clients are paused, it leaves a key whose time is over where it is:
    /// whoever looks then filters by [`hidden_from`](Self::hidden_from).
    #[inline]
    fn visit_to_read(&mut self, db: DbIndex, key: &[u8]) -> u64 {
        self.visit_unless(self.keyspace.keeps_expired, db, key, false)
    }

    #[inline]
    fn visit_unless(&mut self, keeps_expired: bool, db: DbIndex, key: &[u8], wrote: bool) -> u64 {
        let hash = self.hash(key);
        if self.keyspace.loading {
            return hash;
        }
        self.mark(Touch::Key { db, hash, wrote });
        if !keeps_expired && self.keyspace.dbs[db].has_expires() {
            self.expire_if_due(db, hash, key);
        }
        hash
    }

    /// The time at which a key that is still there must have been due to be hidden.
    #[inline]
    fn hidden_from(&self) -> i64 {
        if self.keyspace.keeps_expired && !self.keyspace.loading { self.now_ms } else { i64::MIN }
    }

    /// Nobody waits for what a log that is being replayed has changed.
    #[inline]
    fn mark_written(&mut self, db: DbIndex, key: &[u8]) {
        if !self.keyspace.loading {
            let hash = self.hash(key);
            self.mark(Touch::Key { db, hash, wrote: true });
        }
    }

    #[inline]
    fn mark(&mut self, touch: Touch) {
        // The same key is often visited twice in a row: keep its strongest mark.
        if let (Some(Touch::Key { db, hash, wrote }), Touch::Key { db: db2, hash: hash2, wrote: wrote2 }) =
            (self.unit.touched.last_mut(), touch)
            && *db == db2
            && *hash == hash2
        {
            *wrote |= wrote2;
            return;
        }
        self.unit.touched.push(touch);
    }

    fn expire_if_due(&mut self, db: DbIndex, hash: u64, key: &[u8]) {
        if self.keyspace.dbs[db].find(hash, key).is_some_and(|entry| entry.is_due(self.now_ms)) {
            self.keyspace.expire_key(db, hash, key, self.unit);
        }
    }

    /// Clients blocked on this key may be served now, though its value is not new.
    pub fn signal_ready(&mut self, key: &[u8]) {
        self.note_ready(self.db, key);
    }

    /// A client blocked on this key may be served now.
    fn note_ready(&mut self, db: DbIndex, key: &[u8]) {
        if self.keyspace.has_blocked {
            self.unit.ready.push((db, Str::from(key)));
        }
    }
}
