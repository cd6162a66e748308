//! The server's configuration: redis.conf, the command line, and CONFIG GET, SET and REWRITE.
//!
//! [`DIRECTIVES`] is the one table; [`Config`] holds a typed field for each directive that the server reads, and keeps
//! the rest as it came, so that CONFIG GET and REWRITE show it. Nothing here changes the process: a relative path is
//! meant from [`Config::dir`], and whoever changes a directive applies its effect.
//!
//! | started as | defaults |
//! |---|---|
//! | `everlog-server`, no arguments | [`Config::everlog_defaults`]: AOF on, everysec, in `./everlog-data` |
//! | `redis-server`, or with any argument | [`Config::redis_defaults`] |

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

mod directives;
mod field;
mod file;
mod rewrite;
#[cfg(test)]
mod tests;
pub(crate) mod value;

pub use directives::{
    DENY_LOADING, DIRECTIVES, Directive, HIDDEN, IMMUTABLE, PROTECTED, SENSITIVE, Status, find,
};
pub use field::{
    AppendFsync, LoadCorrupt, LogLevel, MaxmemoryClients, MaxmemoryPolicy, PropagationErrorBehavior,
    ProtectedAction, ReplayErrors, Supervised,
};
pub use file::{ConfigError, RenamedCommand, Start, Warning};
pub use rewrite::RewriteError;
pub use value::{
    Check, KeyspaceEvents, Kind, OutputBufferLimit, OutputBufferLimits, SavePoint, ShutdownFlags, Value,
};

use directives::Slot;

/// The values of all directives. Each field is named after its directive; quantities end in their unit.
///
/// Has no `Debug`, because it holds the password.
#[expect(missing_docs, reason = "redis.conf documents each directive; only what it leaves open is said here")]
#[derive(Clone, Default)]
pub struct Config {
    /// Addresses; a leading `-` forgives one that is not there, and none at all means no TCP port.
    pub bind: Vec<Vec<u8>>,
    /// Zero listens on no TCP port.
    pub port: u16,
    /// Empty for none; from [`Config::dir`] if relative.
    pub unixsocket: PathBuf,
    /// Zero leaves it to the umask.
    pub unixsocketperm: u32,
    /// Zero never closes an idle client.
    pub timeout_s: u32,
    pub tcp_keepalive_s: u32,
    pub tcp_backlog: u32,
    pub protected_mode: bool,

    /// Empty asks for no password.
    pub requirepass: Vec<u8>,
    pub enable_protected_configs: ProtectedAction,
    pub enable_debug_command: ProtectedAction,
    pub enable_module_command: ProtectedAction,

    pub supervised: Supervised,
    /// Empty for none.
    pub pidfile: PathBuf,
    pub loglevel: LogLevel,
    /// Empty for standard output.
    pub logfile: PathBuf,
    pub always_show_logo: bool,
    /// 1 to 500.
    pub hz: u32,
    pub dynamic_hz: bool,
    pub shutdown_timeout_s: u32,
    pub shutdown_on_sigint: ShutdownFlags,
    pub shutdown_on_sigterm: ShutdownFlags,

    pub databases: u32,
    /// Absolute. Other relative paths start here.
    pub dir: PathBuf,
    pub save: Vec<SavePoint>,
    pub dbfilename: Vec<u8>,
    pub rdbcompression: bool,
    pub rdbchecksum: bool,
    pub rdb_save_incremental_fsync: bool,
    pub rdb_key_save_delay_us: i32,
    pub key_load_delay_us: i32,
    pub loading_process_events_interval_bytes: u64,
    pub stop_writes_on_bgsave_error: bool,

    pub appendonly: bool,
    pub appendfilename: Vec<u8>,
    pub appenddirname: Vec<u8>,
    pub appendfsync: AppendFsync,
    pub no_appendfsync_on_rewrite: bool,
    /// Zero never rewrites by itself.
    pub auto_aof_rewrite_percentage: u32,
    pub auto_aof_rewrite_min_size_bytes: u64,
    pub aof_load_truncated: bool,
    /// How much of the log's end a start may cut although it is damaged. Zero: nothing.
    pub aof_load_corrupt_tail_max_size_bytes: u64,
    /// Yes writes the base as RDB, no as commands.
    pub aof_use_rdb_preamble: bool,
    pub aof_timestamp_enabled: bool,
    pub aof_rewrite_incremental_fsync: bool,
    pub aof_disable_auto_gc: bool,
    /// Each block of the log is led by a line with position and checksums, from the next file on.
    pub aof_checksum: bool,
    /// What a start does about damage that no crash explains.
    pub aof_load_corrupt: LoadCorrupt,
    /// What a start does about a logged command that answers with an error.
    pub aof_replay_errors: ReplayErrors,
    /// The executor may write(2) to the log itself while nobody else is at the file.
    pub aof_direct_write: bool,
    /// Ours: how long a reply may wait for the disk before its connection is closed instead. Zero: for ever.
    pub aof_outcome_timeout_s: u32,
    /// Ours: how fast a rewrite may write, in MiB a second. Zero: as fast as it can.
    pub aof_rewrite_max_mb_per_sec: u32,
    /// Ours: how much may wait for fsync before writers are held back.
    pub aof_max_unsynced_bytes: u64,

    pub maxclients: u32,
    pub proto_max_bulk_len_bytes: i64,
    pub client_query_buffer_limit_bytes: u64,
    pub client_output_buffer_limit: OutputBufferLimits,
    pub maxmemory_clients: MaxmemoryClients,
    pub tracking_table_max_keys: u64,

    /// Zero is no limit.
    pub min_replicas_to_write: u64,
    /// Zero is no limit.
    pub min_replicas_max_lag_s: u64,
    pub repl_backlog_size_bytes: u64,
    /// Zero keeps it for ever.
    pub repl_backlog_ttl_s: u64,
    pub repl_disable_tcp_nodelay: bool,
    pub repl_ping_replica_period_s: u32,
    pub repl_timeout_s: u32,
    pub maxmemory_bytes: u64,
    pub maxmemory_policy: MaxmemoryPolicy,
    pub maxmemory_samples: u32,
    /// 0 to 100: how long one turn may evict.
    pub maxmemory_eviction_tenacity: u32,
    pub lfu_log_factor: u32,
    /// Zero never forgets.
    pub lfu_decay_time_min: u32,
    pub lazyfree_lazy_eviction: bool,
    pub lazyfree_lazy_expire: bool,
    pub lazyfree_lazy_server_del: bool,
    pub lazyfree_lazy_user_del: bool,
    pub lazyfree_lazy_user_flush: bool,

    pub hash_max_listpack_entries: u64,
    pub hash_max_listpack_value_bytes: u64,
    /// Elements of a node if positive; -1 to -5 are 4, 8, 16, 32 and 64 KiB.
    pub list_max_listpack_size: i32,
    pub list_compress_depth: u32,
    pub set_max_intset_entries: u64,
    pub set_max_listpack_entries: u64,
    pub set_max_listpack_value_bytes: u64,
    pub zset_max_listpack_entries: u64,
    pub zset_max_listpack_value_bytes: u64,
    pub hll_sparse_max_bytes: u64,
    pub stream_node_max_bytes: u64,
    pub stream_node_max_entries: u64,

    pub busy_reply_threshold_ms: u64,

    pub notify_keyspace_events: KeyspaceEvents,
    /// Negative logs nothing, zero everything.
    pub slowlog_log_slower_than_us: i64,
    pub slowlog_max_len: u64,
    /// Zero watches nothing.
    pub latency_monitor_threshold_ms: u64,
    pub latency_tracking: bool,
    pub latency_tracking_info_percentiles: Vec<f64>,

    pub propagation_error_behavior: PropagationErrorBehavior,

    /// `rename-command` in the order of the file; see [`Config::check_renames`].
    pub renamed_commands: Vec<RenamedCommand>,
    /// The file that CONFIG REWRITE writes to; none if there was none on the command line.
    pub config_file: Option<PathBuf>,
    /// A part was read from standard input, which nobody can read again.
    pub is_from_stdin: bool,
    /// The values of directives without a field, where they are not at their default.
    kept: BTreeMap<&'static str, Value>,
}

/// Who asks for a CONFIG SET, and when.
#[derive(Debug, Clone, Copy, Default)]
pub struct Origin {
    /// The dataset is being loaded.
    pub loading: bool,
    /// The client came over a loopback address or the Unix socket.
    pub local: bool,
}

/// Why CONFIG SET changed nothing. `Display` is what follows `-ERR `.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SetError {
    /// No directive has this name.
    #[error("Unknown option or number of arguments for CONFIG SET - '{}'", String::from_utf8_lossy(.name))]
    Unknown {
        /// As the client wrote it.
        name: Vec<u8>,
    },
    /// The directive cannot be set, or not to this, or its effect could not be had.
    #[error("CONFIG SET failed (possibly related to argument '{}') - {reason}", String::from_utf8_lossy(.name))]
    Failed {
        /// The directive or alias.
        name: Vec<u8>,
        /// Why, in Redis's words where it has some.
        reason: String,
    },
    /// The directive waits until the dataset is loaded: the reply is Redis's -LOADING, not -ERR.
    #[error("Redis is loading the dataset in memory")]
    Loading,
}

/// What a CONFIG SET has changed, and the values from before.
#[must_use = "the effects must be applied, or the change rolled back"]
#[derive(Debug, Default)]
pub struct Changed {
    previous: Vec<(&'static Directive, Value)>,
}

impl Changed {
    /// The directives that have another value now, by name, in the order of the command.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.rows().map(|row| row.name)
    }

    /// The same, by row.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &'static Directive> {
        self.previous.iter().map(|(row, _)| *row)
    }

    /// True if this directive, by its first name, has another value now.
    pub fn contains(&self, name: &str) -> bool {
        self.names().any(|changed| changed == name)
    }
}

impl Config {
    /// The defaults of Redis 7.2, in the process's current folder.
    pub fn redis_defaults() -> Self {
        let mut config = Config::default();
        for row in DIRECTIVES {
            if let Some(value) = row.default_value() {
                config.put(row, &value);
            }
        }
        config.dir = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        config
    }

    /// Redis's, but with the AOF on, in `everlog-data` below the current folder; what the log holds is not saved again.
    pub fn everlog_defaults() -> Self {
        let redis = Self::redis_defaults();
        Config { appendonly: true, save: Vec::new(), dir: redis.dir.join("everlog-data"), ..redis }
    }

    /// The value of a directive.
    pub fn value(&self, row: &Directive) -> Value {
        match row.slot {
            Slot::Field { get, .. } if matches!(row.kind, Kind::Octal(_)) => match get(self) {
                Value::Number(number) => Value::Octal(u32::try_from(number).unwrap_or_default()),
                other => other,
            },
            Slot::Field { get, .. } => get(self),
            Slot::Kept => self.kept.get(row.name).cloned().or_else(|| row.default_value()).unwrap_or(EMPTY),
        }
    }

    /// CONFIG GET: the names that one of the patterns matches, with their values, in the order of the table.
    ///
    /// A pattern without `*`, `?` and `[` is a name in any case, and alone finds hidden directives. An alias is found
    /// as well as the name, each under its own.
    pub fn get(&self, patterns: &[&[u8]], glob: fn(&[u8], &[u8]) -> bool) -> Vec<(&'static str, Vec<u8>)> {
        let matches = |row: &Directive, name: &str, pattern: &[u8]| {
            if pattern.iter().any(|byte| b"[*?".contains(byte)) {
                return !row.has(HIDDEN) && glob(&pattern.to_ascii_lowercase(), name.as_bytes());
            }
            pattern.eq_ignore_ascii_case(name.as_bytes())
        };
        let names = DIRECTIVES.iter().flat_map(|row| row.names().map(move |name| (row, name)));
        let found = names.filter(|(row, name)| patterns.iter().any(|pattern| matches(row, name, pattern)));
        found.map(|(row, name)| (name, self.value(row).to_bytes())).collect()
    }

    /// CONFIG SET: all of the values, or none.
    ///
    /// The caller applies the effects of what has changed; if it cannot, it calls [`rollback`](Self::rollback) and
    /// replies with [`SetError::Failed`].
    ///
    /// # Errors
    /// See [`SetError`]; nothing has changed then. All names are looked at before the first value.
    pub fn set(&mut self, pairs: &[(&[u8], &[u8])], origin: Origin) -> Result<Changed, SetError> {
        let rows = self.check_names(pairs, origin)?;
        let mut changed = Changed::default();
        for ((row, name), (_, value)) in rows.into_iter().zip(pairs) {
            // One space separates, as in Redis: quotes mean nothing here, unlike in the file.
            let args: Vec<Vec<u8>> = match row.kind.is_multi_arg() {
                true if value.is_empty() => Vec::new(),
                true => value.split(|&byte| byte == b' ').map(<[u8]>::to_vec).collect(),
                false => vec![value.to_vec()],
            };
            match self.assign(row, &args) {
                Ok(None) => {}
                Ok(Some(previous)) => changed.previous.push((row, previous)),
                Err(reason) => {
                    self.rollback(changed);
                    return Err(SetError::Failed { name: name.into(), reason });
                }
            }
        }
        Ok(changed)
    }

    /// Takes a change back.
    pub fn rollback(&mut self, changed: Changed) {
        for (row, previous) in changed.previous.into_iter().rev() {
            self.put(row, &previous);
        }
    }

    fn check_names(
        &self,
        pairs: &[(&[u8], &[u8])],
        origin: Origin,
    ) -> Result<Vec<(&'static Directive, &'static str)>, SetError> {
        let mut rows: Vec<(&'static Directive, &'static str)> = Vec::with_capacity(pairs.len());
        for (name, _) in pairs {
            let found = find(name).ok_or_else(|| SetError::Unknown { name: name.to_vec() })?;
            let failed =
                |reason: &str| Err(SetError::Failed { name: name.to_vec(), reason: reason.to_owned() });
            if found.0.has(IMMUTABLE) {
                return failed("can't set immutable config");
            }
            if found.0.has(PROTECTED) && !self.enable_protected_configs.allows(origin.local) {
                return failed("can't set protected config");
            }
            if found.0.has(DENY_LOADING) && origin.loading {
                return Err(SetError::Loading);
            }
            // By the name that was used: Redis does not see that an alias repeats it.
            if rows.iter().any(|row| row.1 == found.1) {
                return failed("duplicate parameter");
            }
            rows.push(found);
        }
        Ok(rows)
    }

    /// Parses and stores a value; returns the previous one if it is another.
    fn assign(&mut self, row: &'static Directive, args: &[Vec<u8>]) -> Result<Option<Value>, String> {
        let previous = self.value(row);
        let value = row.kind.parse(args, &previous)?;
        if let Status::Refused(reason) = row.status
            && row.default_value().as_ref() != Some(&value)
        {
            return Err(format!("refused: {reason}"));
        }
        if !self.put(row, &value) {
            return Err("the value does not fit".to_owned());
        }
        Ok((self.value(row) != previous).then_some(previous))
    }

    fn put(&mut self, row: &'static Directive, value: &Value) -> bool {
        let fits = match row.slot {
            Slot::Field { set, .. } => set(self, value),
            Slot::Kept => {
                self.kept.insert(row.name, value.clone());
                true
            }
        };
        // Redis takes any number and uses the nearest that it can.
        self.hz = self.hz.clamp(1, 500);
        fits
    }
}

const EMPTY: Value = Value::Text(Vec::new());

fn path_to_bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

fn bytes_to_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// The kernel's words, without the number that std appends.
fn strerror(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}
