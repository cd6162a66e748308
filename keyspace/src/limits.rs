//! Thresholds between compact and expanded encodings, with Redis 7.2's names and defaults.

use crate::access::{Lfu, Noting};
use crate::{By, Policy};

/// The longest string, whatever [`Limits::max_string_bytes`] says: a base holds no longer one, and a listpack counts in 32
/// bits.
pub const STRING_BYTES_MAX: u64 = u32::MAX as u64 - 64 * 1024;

/// What the server's configuration says to this crate.
#[derive(Debug, Clone)]
pub struct Limits {
    /// `hash-max-listpack-entries`.
    pub hash_max_listpack_entries: usize,
    /// `hash-max-listpack-value`, bytes.
    pub hash_max_listpack_value: usize,
    /// `set-max-intset-entries`.
    pub set_max_intset_entries: usize,
    /// `set-max-listpack-entries`.
    pub set_max_listpack_entries: usize,
    /// `set-max-listpack-value`, bytes.
    pub set_max_listpack_value: usize,
    /// `zset-max-listpack-entries`.
    pub zset_max_listpack_entries: usize,
    /// `zset-max-listpack-value`, bytes.
    pub zset_max_listpack_value: usize,
    /// `list-max-listpack-size`: elements if positive, -1..-5 for 4..64 KiB.
    pub list_max_listpack_size: i64,
    /// Elements of a list above this length, in bytes, stand alone in their chunk: `DEBUG QUICKLIST-PACKED-THRESHOLD`.
    pub list_packed_threshold: usize,
    /// `hll-sparse-max-bytes`.
    pub hll_sparse_max_bytes: usize,
    /// `stream-node-max-bytes`; 0: no limit.
    pub stream_node_max_bytes: usize,
    /// `stream-node-max-entries`; 0: no limit.
    pub stream_node_max_entries: usize,
    /// `proto-max-bulk-len`, the longest string, bytes.
    pub max_string_bytes: u64,
    /// How long a reply may get, in bytes, that is as long as the client says, not as the data are.
    pub max_repeated_bytes: usize,
    /// `rdbcompression`, of DUMP's payloads.
    pub rdb_compression: bool,
    /// `lazyfree-lazy-expire`: expired keys are logged as UNLINK.
    pub lazy_expire: bool,
    /// `lazyfree-lazy-server-del`: values that a write replaces are freed elsewhere.
    pub lazy_server_del: bool,
    /// `lazyfree-lazy-user-del`: DEL frees as UNLINK does.
    pub lazy_user_del: bool,
    /// `lazyfree-lazy-user-flush`: FLUSHALL and FLUSHDB free elsewhere unless told SYNC.
    pub lazy_user_flush: bool,
    /// `lazyfree-lazy-eviction`: evicted keys are logged as UNLINK.
    pub lazy_eviction: bool,
    /// `maxmemory`, bytes; 0: no limit. Whoever knows how much is in use asks for evictions.
    pub maxmemory_bytes: u64,
    /// `maxmemory-policy`; `None` for `noeviction`.
    pub policy: Option<Policy>,
    /// `maxmemory-samples`.
    pub maxmemory_samples: usize,
    /// `lfu-log-factor` and `lfu-decay-time`.
    pub lfu: Lfu,
}

impl Limits {
    /// How accesses are noted.
    #[inline]
    pub fn noting(&self) -> Noting {
        self.policy.filter(|policy| policy.by == By::Lfu).map(|_| self.lfu)
    }

    /// Whether small integers are one object for all, as OBJECT REFCOUNT tells it: not where each has its own access.
    pub(crate) fn shares_integers(&self) -> bool {
        let ranks = |policy: Policy| matches!(policy.by, By::Lru | By::Lfu);
        self.maxmemory_bytes == 0 || !self.policy.is_some_and(ranks)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            hash_max_listpack_entries: 512,
            hash_max_listpack_value: 64,
            set_max_intset_entries: 512,
            set_max_listpack_entries: 128,
            set_max_listpack_value: 64,
            zset_max_listpack_entries: 128,
            zset_max_listpack_value: 64,
            list_max_listpack_size: -2,
            list_packed_threshold: usize::MAX,
            hll_sparse_max_bytes: 3000,
            stream_node_max_bytes: 4096,
            stream_node_max_entries: 100,
            max_string_bytes: 512 * 1024 * 1024,
            max_repeated_bytes: 512 * 1024 * 1024,
            rdb_compression: true,
            lazy_expire: false,
            lazy_server_del: false,
            lazy_user_del: false,
            lazy_user_flush: false,
            lazy_eviction: false,
            maxmemory_bytes: 0,
            policy: None,
            maxmemory_samples: 5,
            lfu: Lfu { log_factor: 10, decay_minutes: 1 },
        }
    }
}
