//! What CONFIG SET changes beyond the value itself, and what the configuration says to the crates below.

use std::path::Path;

use keyspace::{CommandError, Lfu, Limits};

use crate::config::{Config, LogLevel, Origin, SetError};
use crate::executor::Server;
use crate::logger::Level;

impl Config {
    /// The thresholds that `keyspace` goes by.
    pub fn keyspace_limits(&self) -> Limits {
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let max_string_bytes = u64::try_from(self.proto_max_bulk_len_bytes).unwrap_or(0);
        // Redis closes a client whose reply gets longer than its buffer may, and where that has no limit runs out of
        // memory.
        let max_output_bytes = self.client_output_buffer_limit.normal.hard_bytes;
        Limits {
            hash_max_listpack_entries: count(self.hash_max_listpack_entries),
            hash_max_listpack_value: count(self.hash_max_listpack_value_bytes),
            set_max_intset_entries: count(self.set_max_intset_entries),
            set_max_listpack_entries: count(self.set_max_listpack_entries),
            set_max_listpack_value: count(self.set_max_listpack_value_bytes),
            zset_max_listpack_entries: count(self.zset_max_listpack_entries),
            zset_max_listpack_value: count(self.zset_max_listpack_value_bytes),
            list_max_listpack_size: i64::from(self.list_max_listpack_size),
            list_packed_threshold: usize::MAX,
            hll_sparse_max_bytes: count(self.hll_sparse_max_bytes),
            stream_node_max_bytes: count(self.stream_node_max_bytes),
            stream_node_max_entries: count(self.stream_node_max_entries),
            max_string_bytes,
            max_repeated_bytes: count(if max_output_bytes > 0 { max_output_bytes } else { max_string_bytes }),
            rdb_compression: self.rdbcompression,
            lazy_expire: self.lazyfree_lazy_expire,
            lazy_server_del: self.lazyfree_lazy_server_del,
            lazy_user_del: self.lazyfree_lazy_user_del,
            lazy_user_flush: self.lazyfree_lazy_user_flush,
            lazy_eviction: self.lazyfree_lazy_eviction,
            maxmemory_bytes: self.maxmemory_bytes,
            policy: self.maxmemory_policy.policy(),
            maxmemory_samples: self.maxmemory_samples as usize,
            lfu: Lfu { log_factor: self.lfu_log_factor, decay_minutes: self.lfu_decay_time_min },
        }
    }

    /// The least level of the server's log.
    pub fn log_level(&self) -> Level {
        match self.loglevel {
            LogLevel::Debug => Level::Debug,
            LogLevel::Verbose => Level::Verbose,
            LogLevel::Notice => Level::Notice,
            LogLevel::Warning | LogLevel::Nothing => Level::Warning,
        }
    }
}

impl From<SetError> for CommandError {
    fn from(error: SetError) -> Self {
        match error {
            SetError::Loading => CommandError::other(format!("LOADING {error}")),
            error => CommandError::other(format!("ERR {error}")),
        }
    }
}

/// How far a CONFIG SET has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// It is done.
    Done,
    /// Nothing is: it turns the log off, and that has something to do first. To be tried again.
    AwaitsLogEnd,
}

impl Server {
    /// CONFIG SET: all of the directives or none, with their effects.
    ///
    /// # Errors
    /// Redis's words; nothing has changed then.
    pub fn set_config(&mut self, pairs: &[(&[u8], &[u8])], local: bool) -> Result<Setting, CommandError> {
        let changed = self.config.set(pairs, self.origin(local))?;
        if changed.contains("appendonly") && !self.config.appendonly && self.must_wait_for_log_end() {
            self.config.rollback(changed);
            return Ok(Setting::AwaitsLogEnd);
        }
        let mut names: Vec<&'static str> = changed.names().collect();
        // The last of those that can fail, since it cannot be taken back: a log that is turned on again has no base.
        names.sort_by_key(|&name| name == "appendonly");
        for (at, name) in names.iter().enumerate() {
            if let Err(reason) = self.apply(name) {
                self.config.rollback(changed);
                // What was applied before the failure is applied again, with the old values.
                for name in &names[..at] {
                    let _ = self.apply(name);
                }
                return Err(SetError::Failed { name: name.as_bytes().to_vec(), reason }.into());
            }
        }
        let list_packed_threshold = self.keyspace.limits.list_packed_threshold;
        self.keyspace.limits = Limits { list_packed_threshold, ..self.config.keyspace_limits() };
        self.keyspace.has_listeners = self.config.notify_keyspace_events.0 != 0;
        self.logger.set_level(self.config.log_level());
        self.observer.set_thresholds(&self.config);
        self.apply_log_options();
        if names.contains(&"maxmemory") {
            self.limit_memory();
        }
        for warning in self.config.warnings(changed.rows()) {
            self.log(Level::Warning, warning.to_string());
        }
        Ok(Setting::Done)
    }

    /// Who asks for a CONFIG SET.
    pub(crate) fn origin(&self, local: bool) -> Origin {
        Origin { loading: self.loading.is_some(), local }
    }

    /// Carries one changed directive to where it acts, if that is not done for all of them together.
    fn apply(&mut self, name: &str) -> Result<(), String> {
        match name {
            "dir" => change_dir(&self.config.dir),
            "maxclients" => self.raise_maxclients(),
            "port" => self.rebind("Unable to listen on this port. Check server logs."),
            "bind" => self.rebind("Failed to bind to specified addresses."),
            "appendonly" if self.config.appendonly => self.turn_log_on().map_err(|error| {
                self.log(Level::Warning, format!("AOF can't be turned on: {error}"));
                "Unable to turn on AOF. Check server logs.".into()
            }),
            "appendonly" => self.turn_log_off().map_err(|error| error.to_string()),
            _ => Ok(()),
        }
    }
}

/// Relative paths (files of the log, the RDB file) are meant from `dir`.
///
/// # Errors
/// What chdir(2) says.
pub(crate) fn change_dir(dir: &Path) -> Result<(), String> {
    std::env::set_current_dir(dir).map_err(|error| format!("Can't chdir to '{}': {error}", dir.display()))
}
