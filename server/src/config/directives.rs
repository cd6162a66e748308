//! THE DIRECTIVES: every one of Redis 7.2, and our own.
//!
//! The row order is that of `CONFIG GET *` and of lines that CONFIG REWRITE appends. `include`, `rename-command`,
//! `loadmodule`, `user` and `sentinel` have no value to get or set: `file.rs` knows them.
//! Source of names, bounds and defaults: redis 7.0.15 and valkey 9.1, asked and diffed; redis 7.2 `redis.conf`.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::Config;
use super::field::{
    AppendFsync, Field, LoadCorrupt, LogLevel, MaxmemoryPolicy, PropagationErrorBehavior, ProtectedAction,
    ReplayErrors, Supervised,
};
use super::value::{Kind, Value};

/// One row of [`DIRECTIVES`].
#[derive(Debug)]
pub struct Directive {
    /// The name, in lower case.
    pub name: &'static str,
    /// Another name that works everywhere, or `""`.
    pub alias: &'static str,
    /// What it accepts.
    pub kind: Kind,
    /// Redis's default, as a configuration file would have it.
    pub default: &'static str,
    /// Bits: [`IMMUTABLE`], [`SENSITIVE`], [`HIDDEN`], [`PROTECTED`], [`DENY_LOADING`].
    pub flags: u8,
    /// What Everlog does with it.
    pub status: Status,
    pub(crate) slot: Slot,
}

/// What Everlog does with a directive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It works.
    Implemented,
    /// Its value is checked and kept, and has no effect. Said once at start, unless it is the default.
    Accepted,
    /// Only its default is accepted: the directive promises protection or data that is not there.
    Refused(&'static str),
}

/// Only in the file and on the command line; never by CONFIG SET.
pub const IMMUTABLE: u8 = 1 << 0;
/// The value is a secret: logs, SLOWLOG and MONITOR must not show it.
pub const SENSITIVE: u8 = 1 << 1;
/// CONFIG GET shows it only by its exact name.
pub const HIDDEN: u8 = 1 << 2;
/// CONFIG SET needs `enable-protected-configs`.
pub const PROTECTED: u8 = 1 << 3;
/// Not while the dataset is being loaded.
pub const DENY_LOADING: u8 = 1 << 4;

/// Where a directive's value lives.
#[derive(Debug)]
pub(crate) enum Slot {
    /// In a field of [`Config`]. `set` returns false if the value is of a type that the field is not.
    Field { get: fn(&Config) -> Value, set: fn(&mut Config, &Value) -> bool },
    /// In [`Config`]'s map of values that nothing reads.
    Kept,
}

impl Directive {
    /// True if all bits of `flag` are set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag == flag
    }

    /// The default as a value; none only if the row is wrong, which a test excludes.
    pub(crate) fn default_value(&self) -> Option<Value> {
        let args = match self.kind {
            Kind::Dir => return Some(Value::Text(self.default.into())),
            _ if self.kind.is_multi_arg() && !self.default.is_empty() => {
                super::file::words(self.default.as_bytes())?
            }
            _ => vec![self.default.into()],
        };
        self.kind.parse(&args, &Value::Words(Vec::new())).ok()
    }
}

/// Finds a directive by its name or alias, whatever the case; also returns the name that was meant.
pub fn find(name: &[u8]) -> Option<(&'static Directive, &'static str)> {
    static BY_NAME: LazyLock<HashMap<&'static [u8], (&'static Directive, &'static str)>> =
        LazyLock::new(|| {
            let names =
                DIRECTIVES.iter().flat_map(|row| row.names().map(move |name| (name.as_bytes(), (row, name))));
            names.collect()
        });
    BY_NAME.get(name.to_ascii_lowercase().as_slice()).copied()
}

impl Directive {
    /// The name, and the alias if there is one.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        [self.name, self.alias].into_iter().filter(|name| !name.is_empty())
    }
}

const fn row(
    name: &'static str,
    alias: &'static str,
    kind: Kind,
    default: &'static str,
    flags: u8,
    status: Status,
    slot: Slot,
) -> Directive {
    Directive { name, alias, kind, default, flags, status, slot }
}

macro_rules! field {
    ($field:ident) => {
        Slot::Field {
            get: |config| config.$field.to_value(),
            set: |config, value| match Field::from_value(value) {
                Some(value) => {
                    config.$field = value;
                    true
                }
                None => false,
            },
        }
    };
}

const I32: i128 = i32::MAX as i128;
const U32: i128 = u32::MAX as i128;
const I64: i128 = i64::MAX as i128;
const U64: i128 = u64::MAX as i128;
const MIB: i128 = 1 << 20;

const fn num(min: i128, max: i128) -> Kind {
    Kind::Number { min, max }
}
const fn mem(min: i128, max: i128) -> Kind {
    Kind::Memory { min, max }
}

const YESNO: Kind = Kind::YesNo;
const TEXT: Kind = Kind::Text(|_| Ok(()));
const COUNT: Kind = num(0, I32);
const PORT: Kind = num(0, 65535);
const PROTECTED_ACTION: Kind = Kind::OneOf(ProtectedAction::WORDS);

/// A plain file name, as the names of the AOF and of its folder must be. Redis takes `.` for the folder; but what the lock
/// on that allows must not be done to `dir`, which other servers may share.
macro_rules! file_name {
    ($name:literal, $what:literal) => {
        Kind::Text(|text| match text {
            b"" => Err(concat!($name, " can't be empty")),
            b"." | b".." => Err(concat!($name, " can't be a path, just a ", $what)),
            _ if text.contains(&b'/') => Err(concat!($name, " can't be a path, just a ", $what)),
            _ => Ok(()),
        })
    };
}

const DBFILENAME: Kind = Kind::Text(|text| match text {
    _ if text.contains(&b'/') => Err("dbfilename can't be a path, just a filename"),
    _ => Ok(()),
});

const HOSTNAME: Kind = Kind::Text(|text| match text {
    _ if text.len() >= 256 => Err("Hostnames must be less than 256 characters"),
    _ if text.iter().any(|byte| !byte.is_ascii_alphanumeric() && !b"-.".contains(byte)) => {
        Err("Hostnames may only contain alphanumeric characters, hyphens or dots")
    }
    _ => Ok(()),
});

const NODE_NAME: Kind = Kind::Text(|text| match text {
    _ if text.len() >= 128 => Err("Hostnames must be less than 128 characters"),
    _ if text.iter().any(|byte| !byte.is_ascii_alphanumeric() && !b"-._".contains(byte)) => {
        Err("Announced human node name contained invalid character")
    }
    _ => Ok(()),
});

const TITLE_TEMPLATE: Kind = Kind::Text(|text| {
    const VARIABLES: [&str; 7] =
        ["title", "listen-addr", "server-mode", "port", "tls-port", "config-file", "unixsocket"];
    let invalid = "template format is invalid or contains unknown variables";
    let mut rest = std::str::from_utf8(text).map_err(|_| invalid)?;
    if rest.is_empty() {
        return Err(invalid);
    }
    while let Some((_, after)) = rest.split_once('{') {
        let (variable, after) = after.split_once('}').ok_or(invalid)?;
        if !VARIABLES.contains(&variable) {
            return Err(invalid);
        }
        rest = after;
    }
    Ok(())
});

use Slot::Kept;
use Status::{Accepted, Implemented, Refused};

const NO_ACL: Status = Refused("access control lists are not built yet, and their users would be missing");
const NO_TLS: Status = Refused("TLS is not built yet: put a TLS proxy in front, or listen on a Unix socket");
const NO_REPLICATION: Status = Refused("replication is not built yet");
const NO_CLUSTER: Status = Refused("cluster mode is not offered");

/// Every directive, by subject.
///
/// Columns: name, alias, what it accepts, default, flags, status, field. A directive starts to work by one word: its
/// status.
#[rustfmt::skip]
pub static DIRECTIVES: &[Directive] = &[
    // Network
    row("bind", "", Kind::Bind, "* -::*", 0, Implemented, field!(bind)),
    row("bind-source-addr", "", TEXT, "", 0, Accepted, Kept),
    row("port", "", PORT, "6379", 0, Implemented, field!(port)),
    row("unixsocket", "", TEXT, "", IMMUTABLE, Implemented, field!(unixsocket)),
    row("unixsocketperm", "", Kind::Octal(0o777), "0", IMMUTABLE, Implemented, field!(unixsocketperm)),
    row("timeout", "", COUNT, "0", 0, Implemented, field!(timeout_s)),
    row("tcp-keepalive", "", COUNT, "300", 0, Implemented, field!(tcp_keepalive_s)),
    row("tcp-backlog", "", COUNT, "511", IMMUTABLE, Implemented, field!(tcp_backlog)),
    row("protected-mode", "", YESNO, "yes", 0, Implemented, field!(protected_mode)),
    row("socket-mark-id", "", num(0, U32), "0", IMMUTABLE, Accepted, Kept),
    row("io-threads", "", num(1, 128), "1", IMMUTABLE, Accepted, Kept),
    row("io-threads-do-reads", "", YESNO, "no", IMMUTABLE, Accepted, Kept),
    // Access
    row("requirepass", "", TEXT, "", SENSITIVE, Implemented, field!(requirepass)),
    row("aclfile", "", TEXT, "", IMMUTABLE, NO_ACL, Kept),
    row("acl-pubsub-default", "", Kind::OneOf(&["allchannels", "resetchannels"]), "resetchannels", 0, Accepted, Kept),
    row("acllog-max-len", "", num(0, I64), "128", 0, Accepted, Kept),
    row("enable-protected-configs", "", PROTECTED_ACTION, "no", IMMUTABLE, Implemented, field!(enable_protected_configs)),
    row("enable-debug-command", "", PROTECTED_ACTION, "no", IMMUTABLE, Implemented, field!(enable_debug_command)),
    row("enable-module-command", "", PROTECTED_ACTION, "no", IMMUTABLE, Accepted, field!(enable_module_command)),
    // TLS
    row("tls-port", "", PORT, "0", 0, NO_TLS, Kept),
    row("tls-cert-file", "", TEXT, "", 0, NO_TLS, Kept),
    row("tls-key-file", "", TEXT, "", 0, NO_TLS, Kept),
    row("tls-key-file-pass", "", TEXT, "", SENSITIVE, NO_TLS, Kept),
    row("tls-client-cert-file", "", TEXT, "", 0, NO_TLS, Kept),
    row("tls-client-key-file", "", TEXT, "", 0, NO_TLS, Kept),
    row("tls-client-key-file-pass", "", TEXT, "", SENSITIVE, NO_TLS, Kept),
    row("tls-dh-params-file", "", TEXT, "", 0, NO_TLS, Kept),
    row("tls-ca-cert-file", "", TEXT, "", 0, NO_TLS, Kept),
    row("tls-ca-cert-dir", "", TEXT, "", 0, NO_TLS, Kept),
    row("tls-auth-clients", "", Kind::OneOf(&["no", "yes", "optional"]), "yes", 0, NO_TLS, Kept),
    row("tls-replication", "", YESNO, "no", 0, NO_TLS, Kept),
    row("tls-cluster", "", YESNO, "no", 0, NO_TLS, Kept),
    row("tls-protocols", "", TEXT, "", 0, NO_TLS, Kept),
    row("tls-ciphers", "", TEXT, "", 0, NO_TLS, Kept),
    row("tls-ciphersuites", "", TEXT, "", 0, NO_TLS, Kept),
    row("tls-prefer-server-ciphers", "", YESNO, "no", 0, NO_TLS, Kept),
    row("tls-session-caching", "", YESNO, "yes", 0, NO_TLS, Kept),
    row("tls-session-cache-size", "", COUNT, "20480", 0, NO_TLS, Kept),
    row("tls-session-cache-timeout", "", COUNT, "300", 0, NO_TLS, Kept),
    // The process
    row("daemonize", "", YESNO, "no", IMMUTABLE, Refused("run it under a supervisor, or append & to the command"), Kept),
    row("supervised", "", Kind::OneOf(Supervised::WORDS), "no", IMMUTABLE, Implemented, field!(supervised)),
    row("pidfile", "", TEXT, "", IMMUTABLE, Implemented, field!(pidfile)),
    row("loglevel", "", Kind::OneOf(LogLevel::WORDS), "notice", 0, Implemented, field!(loglevel)),
    row("logfile", "", TEXT, "", IMMUTABLE, Implemented, field!(logfile)),
    row("syslog-enabled", "", YESNO, "no", IMMUTABLE, Accepted, Kept),
    row("syslog-ident", "", TEXT, "redis", IMMUTABLE, Accepted, Kept),
    row("syslog-facility", "", Kind::OneOf(&["user", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"]), "local0", IMMUTABLE, Accepted, Kept),
    row("crash-log-enabled", "", YESNO, "yes", 0, Accepted, Kept),
    row("crash-memcheck-enabled", "", YESNO, "yes", 0, Accepted, Kept),
    row("use-exit-on-panic", "", YESNO, "no", HIDDEN, Accepted, Kept),
    row("watchdog-period", "", COUNT, "0", HIDDEN, Accepted, Kept),
    row("ignore-warnings", "", TEXT, "", 0, Accepted, Kept),
    row("always-show-logo", "", YESNO, "no", IMMUTABLE, Implemented, field!(always_show_logo)),
    row("set-proc-title", "", YESNO, "yes", IMMUTABLE, Accepted, Kept),
    row("proc-title-template", "", TITLE_TEMPLATE, "{title} {listen-addr} {server-mode}", 0, Accepted, Kept),
    row("locale-collate", "", TEXT, "", 0, Accepted, Kept),
    row("server-cpulist", "server_cpulist", TEXT, "", IMMUTABLE, Accepted, Kept),
    row("bio-cpulist", "bio_cpulist", TEXT, "", IMMUTABLE, Accepted, Kept),
    row("aof-rewrite-cpulist", "aof_rewrite_cpulist", TEXT, "", IMMUTABLE, Accepted, Kept),
    row("bgsave-cpulist", "bgsave_cpulist", TEXT, "", IMMUTABLE, Accepted, Kept),
    row("oom-score-adj", "", Kind::OneOf(&["no", "yes", "relative", "absolute"]), "no", 0, Accepted, Kept),
    row("oom-score-adj-values", "", Kind::OomScoreAdjValues, "0 200 800", 0, Accepted, Kept),
    row("disable-thp", "", YESNO, "yes", IMMUTABLE, Accepted, Kept),
    row("jemalloc-bg-thread", "", YESNO, "yes", 0, Accepted, Kept),
    row("hz", "", COUNT, "10", 0, Implemented, field!(hz)),
    row("dynamic-hz", "", YESNO, "yes", 0, Accepted, field!(dynamic_hz)),
    row("shutdown-timeout", "", COUNT, "10", 0, Accepted, field!(shutdown_timeout_s)),
    row("shutdown-on-sigint", "", Kind::ShutdownFlags, "default", 0, Implemented, field!(shutdown_on_sigint)),
    row("shutdown-on-sigterm", "", Kind::ShutdownFlags, "default", 0, Implemented, field!(shutdown_on_sigterm)),
    // Data and the snapshot
    row("databases", "", num(1, I32), "16", IMMUTABLE, Implemented, field!(databases)),
    row("dir", "", Kind::Dir, "", PROTECTED | DENY_LOADING, Implemented, field!(dir)),
    row("save", "", Kind::Save, "3600 1 300 100 60 10000", 0, Implemented, field!(save)),
    row("dbfilename", "", DBFILENAME, "dump.rdb", PROTECTED, Implemented, field!(dbfilename)),
    row("rdbcompression", "", YESNO, "yes", 0, Implemented, field!(rdbcompression)),
    row("rdbchecksum", "", YESNO, "yes", IMMUTABLE, Implemented, field!(rdbchecksum)),
    row("rdb-save-incremental-fsync", "", YESNO, "yes", 0, Implemented, field!(rdb_save_incremental_fsync)),
    row("rdb-del-sync-files", "", YESNO, "no", 0, Accepted, Kept),
    row("rdb-key-save-delay", "", num(-I32 - 1, I32), "0", HIDDEN, Implemented, field!(rdb_key_save_delay_us)),
    row("key-load-delay", "", num(-I32 - 1, I32), "0", HIDDEN, Implemented, field!(key_load_delay_us)),
    row("loading-process-events-interval-bytes", "", num(1024, I32), "2097152", HIDDEN, Accepted, field!(loading_process_events_interval_bytes)),
    row("stop-writes-on-bgsave-error", "", YESNO, "yes", 0, Implemented, field!(stop_writes_on_bgsave_error)),
    row("sanitize-dump-payload", "", Kind::OneOf(&["no", "yes", "clients"]), "no", 0, Accepted, Kept),
    // The append-only file
    row("appendonly", "", YESNO, "no", DENY_LOADING, Implemented, field!(appendonly)),
    row("appendfilename", "", file_name!("appendfilename", "filename"), "appendonly.aof", IMMUTABLE, Implemented, field!(appendfilename)),
    row("appenddirname", "", file_name!("appenddirname", "dirname"), "appendonlydir", IMMUTABLE, Implemented, field!(appenddirname)),
    row("appendfsync", "", Kind::OneOf(AppendFsync::WORDS), "everysec", 0, Implemented, field!(appendfsync)),
    row("no-appendfsync-on-rewrite", "", YESNO, "no", 0, Implemented, field!(no_appendfsync_on_rewrite)),
    row("auto-aof-rewrite-percentage", "", COUNT, "100", 0, Implemented, field!(auto_aof_rewrite_percentage)),
    row("auto-aof-rewrite-min-size", "", mem(0, I64), "64mb", 0, Implemented, field!(auto_aof_rewrite_min_size_bytes)),
    row("aof-load-truncated", "", YESNO, "yes", 0, Implemented, field!(aof_load_truncated)),
    row("aof-load-corrupt-tail-max-size", "", mem(0, I64), "0", 0, Implemented, field!(aof_load_corrupt_tail_max_size_bytes)),
    row("aof-use-rdb-preamble", "", YESNO, "yes", 0, Implemented, field!(aof_use_rdb_preamble)),
    row("aof-timestamp-enabled", "", YESNO, "no", 0, Implemented, field!(aof_timestamp_enabled)),
    row("aof-rewrite-incremental-fsync", "", YESNO, "yes", 0, Implemented, field!(aof_rewrite_incremental_fsync)),
    row("aof-disable-auto-gc", "", YESNO, "no", HIDDEN, Implemented, field!(aof_disable_auto_gc)),
    row("aof-checksum", "", YESNO, "yes", 0, Implemented, field!(aof_checksum)),
    row("aof-load-corrupt", "", Kind::OneOf(LoadCorrupt::WORDS), "fail", 0, Implemented, field!(aof_load_corrupt)),
    row("aof-replay-errors", "", Kind::OneOf(ReplayErrors::WORDS), "log", 0, Implemented, field!(aof_replay_errors)),
    row("aof-direct-write", "", YESNO, "yes", 0, Implemented, field!(aof_direct_write)),
    row("aof-outcome-timeout", "", COUNT, "60", 0, Implemented, field!(aof_outcome_timeout_s)),
    row("aof-rewrite-max-mb-per-sec", "", COUNT, "0", 0, Implemented, field!(aof_rewrite_max_mb_per_sec)),
    row("aof-max-unsynced-bytes", "", mem(MIB, I64), "256mb", 0, Implemented, field!(aof_max_unsynced_bytes)),
    // Clients
    row("maxclients", "", num(1, U32), "10000", 0, Implemented, field!(maxclients)),
    row("proto-max-bulk-len", "", mem(MIB, I64), "512mb", 0, Implemented, field!(proto_max_bulk_len_bytes)),
    row("client-query-buffer-limit", "", mem(MIB, I64), "1gb", 0, Implemented, field!(client_query_buffer_limit_bytes)),
    row("client-output-buffer-limit", "", Kind::OutputBufferLimits, "normal 0 0 0 replica 256mb 64mb 60 pubsub 32mb 8mb 60", 0, Implemented, field!(client_output_buffer_limit)),
    row("maxmemory-clients", "", Kind::MemoryOrPercent, "0", 0, Implemented, field!(maxmemory_clients)),
    row("tracking-table-max-keys", "", num(0, I64), "1000000", 0, Accepted, field!(tracking_table_max_keys)),
    // Memory and expiry
    row("maxmemory", "", mem(0, U64), "0", 0, Implemented, field!(maxmemory_bytes)),
    row("maxmemory-policy", "", Kind::OneOf(MaxmemoryPolicy::WORDS), "noeviction", 0, Implemented, field!(maxmemory_policy)),
    row("maxmemory-samples", "", num(1, I32), "5", 0, Implemented, field!(maxmemory_samples)),
    row("maxmemory-eviction-tenacity", "", num(0, 100), "10", 0, Implemented, field!(maxmemory_eviction_tenacity)),
    row("lfu-log-factor", "", COUNT, "10", 0, Implemented, field!(lfu_log_factor)),
    row("lfu-decay-time", "", COUNT, "1", 0, Implemented, field!(lfu_decay_time_min)),
    row("active-expire-effort", "", num(1, 10), "1", 0, Accepted, Kept),
    row("lazyfree-lazy-eviction", "", YESNO, "no", 0, Implemented, field!(lazyfree_lazy_eviction)),
    row("lazyfree-lazy-expire", "", YESNO, "no", 0, Implemented, field!(lazyfree_lazy_expire)),
    row("lazyfree-lazy-server-del", "", YESNO, "no", 0, Implemented, field!(lazyfree_lazy_server_del)),
    row("lazyfree-lazy-user-del", "", YESNO, "no", 0, Implemented, field!(lazyfree_lazy_user_del)),
    row("lazyfree-lazy-user-flush", "", YESNO, "no", 0, Implemented, field!(lazyfree_lazy_user_flush)),
    row("activerehashing", "", YESNO, "yes", 0, Accepted, Kept),
    row("activedefrag", "", YESNO, "no", 0, Accepted, Kept),
    row("active-defrag-cycle-min", "", num(1, 99), "1", 0, Accepted, Kept),
    row("active-defrag-cycle-max", "", num(1, 99), "25", 0, Accepted, Kept),
    row("active-defrag-threshold-lower", "", num(0, 1000), "10", 0, Accepted, Kept),
    row("active-defrag-threshold-upper", "", num(0, 1000), "100", 0, Accepted, Kept),
    row("active-defrag-ignore-bytes", "", mem(1, I64), "100mb", 0, Accepted, Kept),
    row("active-defrag-max-scan-fields", "", num(1, I64), "1000", 0, Accepted, Kept),
    // Encodings
    row("hash-max-listpack-entries", "hash-max-ziplist-entries", num(0, I64), "512", 0, Implemented, field!(hash_max_listpack_entries)),
    row("hash-max-listpack-value", "hash-max-ziplist-value", mem(0, I64), "64", 0, Implemented, field!(hash_max_listpack_value_bytes)),
    row("list-max-listpack-size", "list-max-ziplist-size", num(-I32 - 1, I32), "-2", 0, Implemented, field!(list_max_listpack_size)),
    row("list-compress-depth", "", COUNT, "0", 0, Accepted, field!(list_compress_depth)),
    row("set-max-intset-entries", "", num(0, I64), "512", 0, Implemented, field!(set_max_intset_entries)),
    row("set-max-listpack-entries", "", num(0, I64), "128", 0, Implemented, field!(set_max_listpack_entries)),
    row("set-max-listpack-value", "", num(0, I64), "64", 0, Implemented, field!(set_max_listpack_value_bytes)),
    row("zset-max-listpack-entries", "zset-max-ziplist-entries", num(0, I64), "128", 0, Implemented, field!(zset_max_listpack_entries)),
    row("zset-max-listpack-value", "zset-max-ziplist-value", mem(0, I64), "64", 0, Implemented, field!(zset_max_listpack_value_bytes)),
    row("hll-sparse-max-bytes", "", mem(0, I64), "3000", 0, Implemented, field!(hll_sparse_max_bytes)),
    row("stream-node-max-bytes", "", mem(0, I64), "4096", 0, Implemented, field!(stream_node_max_bytes)),
    row("stream-node-max-entries", "", num(0, I64), "100", 0, Implemented, field!(stream_node_max_entries)),
    // Scripts
    row("busy-reply-threshold", "lua-time-limit", num(0, I64), "5000", 0, Accepted, field!(busy_reply_threshold_ms)),
    // Observation
    row("notify-keyspace-events", "", Kind::KeyspaceEvents, "", 0, Implemented, field!(notify_keyspace_events)),
    row("slowlog-log-slower-than", "", num(-1, I64), "10000", 0, Implemented, field!(slowlog_log_slower_than_us)),
    row("slowlog-max-len", "", num(0, I64), "128", 0, Implemented, field!(slowlog_max_len)),
    row("latency-monitor-threshold", "", num(0, I64), "0", 0, Implemented, field!(latency_monitor_threshold_ms)),
    row("latency-tracking", "", YESNO, "yes", 0, Implemented, field!(latency_tracking)),
    row("latency-tracking-info-percentiles", "", Kind::Percentiles, "50 99 99.9", 0, Implemented, field!(latency_tracking_info_percentiles)),
    // Replication
    row("replicaof", "slaveof", Kind::ReplicaOf, "", IMMUTABLE, NO_REPLICATION, Kept),
    row("masterauth", "", TEXT, "", SENSITIVE, Accepted, Kept),
    row("masteruser", "", TEXT, "", SENSITIVE, Accepted, Kept),
    row("min-replicas-to-write", "min-slaves-to-write", COUNT, "0", 0, Implemented, field!(min_replicas_to_write)),
    row("min-replicas-max-lag", "min-slaves-max-lag", COUNT, "10", 0, Implemented, field!(min_replicas_max_lag_s)),
    row("replica-serve-stale-data", "slave-serve-stale-data", YESNO, "yes", 0, Accepted, Kept),
    row("replica-read-only", "slave-read-only", YESNO, "yes", 0, Accepted, Kept),
    row("replica-ignore-maxmemory", "slave-ignore-maxmemory", YESNO, "yes", 0, Accepted, Kept),
    row("replica-ignore-disk-write-errors", "", YESNO, "no", 0, Accepted, Kept),
    row("replica-lazy-flush", "slave-lazy-flush", YESNO, "no", 0, Accepted, Kept),
    row("replica-priority", "slave-priority", COUNT, "100", 0, Accepted, Kept),
    row("replica-announced", "", YESNO, "yes", 0, Accepted, Kept),
    row("replica-announce-ip", "slave-announce-ip", TEXT, "", 0, Accepted, Kept),
    row("replica-announce-port", "slave-announce-port", PORT, "0", 0, Accepted, Kept),
    row("repl-backlog-size", "", mem(1, I64), "1mb", 0, Implemented, field!(repl_backlog_size_bytes)),
    row("repl-backlog-ttl", "", num(0, I64), "3600", 0, Implemented, field!(repl_backlog_ttl_s)),
    row("repl-disable-tcp-nodelay", "", YESNO, "no", 0, Implemented, field!(repl_disable_tcp_nodelay)),
    row("repl-diskless-load", "", Kind::OneOf(&["disabled", "on-empty-db", "swapdb"]), "disabled", DENY_LOADING, Accepted, Kept),
    row("repl-diskless-sync", "", YESNO, "yes", 0, Accepted, Kept),
    row("repl-diskless-sync-delay", "", COUNT, "5", 0, Accepted, Kept),
    row("repl-diskless-sync-max-replicas", "", COUNT, "0", 0, Accepted, Kept),
    row("repl-ping-replica-period", "repl-ping-slave-period", num(1, I32), "10", 0, Implemented, field!(repl_ping_replica_period_s)),
    row("repl-timeout", "", num(1, I32), "60", 0, Implemented, field!(repl_timeout_s)),
    row("propagation-error-behavior", "", Kind::OneOf(PropagationErrorBehavior::WORDS), "ignore", 0, Implemented, field!(propagation_error_behavior)),
    // Cluster
    row("cluster-enabled", "", YESNO, "no", IMMUTABLE, NO_CLUSTER, Kept),
    row("cluster-config-file", "", TEXT, "nodes.conf", IMMUTABLE, Accepted, Kept),
    row("cluster-node-timeout", "", num(0, I64), "15000", 0, Accepted, Kept),
    row("cluster-ping-interval", "", num(0, I64), "0", HIDDEN, Accepted, Kept),
    row("cluster-port", "", PORT, "0", IMMUTABLE, Accepted, Kept),
    row("cluster-announce-ip", "", TEXT, "", 0, Accepted, Kept),
    row("cluster-announce-port", "", PORT, "0", 0, Accepted, Kept),
    row("cluster-announce-tls-port", "", PORT, "0", 0, Accepted, Kept),
    row("cluster-announce-bus-port", "", PORT, "0", 0, Accepted, Kept),
    row("cluster-announce-hostname", "", HOSTNAME, "", 0, Accepted, Kept),
    row("cluster-announce-human-nodename", "", NODE_NAME, "", 0, Accepted, Kept),
    row("cluster-preferred-endpoint-type", "", Kind::OneOf(&["ip", "hostname", "unknown-endpoint"]), "ip", 0, Accepted, Kept),
    row("cluster-replica-validity-factor", "cluster-slave-validity-factor", COUNT, "10", 0, Accepted, Kept),
    row("cluster-replica-no-failover", "cluster-slave-no-failover", YESNO, "no", 0, Accepted, Kept),
    row("cluster-migration-barrier", "", COUNT, "1", 0, Accepted, Kept),
    row("cluster-allow-replica-migration", "", YESNO, "yes", 0, Accepted, Kept),
    row("cluster-require-full-coverage", "", YESNO, "yes", 0, Accepted, Kept),
    row("cluster-allow-reads-when-down", "", YESNO, "no", 0, Accepted, Kept),
    row("cluster-allow-pubsubshard-when-down", "", YESNO, "yes", 0, Accepted, Kept),
    row("cluster-link-sendbuf-limit", "", mem(0, U64), "0", 0, Accepted, Kept),
];
