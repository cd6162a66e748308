//! The types of [`Config`](super::Config)'s fields, and their way to and from a directive's [`Value`].

use std::path::PathBuf;

use keyspace::{By, Policy};

use super::value::{KeyspaceEvents, OutputBufferLimits, SavePoint, ShutdownFlags, Value};
use super::{bytes_to_path, path_to_bytes};

/// `maxmemory-clients`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxmemoryClients {
    /// This many bytes; zero is no limit.
    Bytes(u64),
    /// 1 to 100 per cent of `maxmemory`.
    Percent(u8),
}

impl Default for MaxmemoryClients {
    fn default() -> Self {
        MaxmemoryClients::Bytes(0)
    }
}

/// An enum and the words of its directive, in Redis's order.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// The words that stand for the variants.
            pub const WORDS: &'static [&'static str] = &[$($word,)*];

            /// The word of this one.
            pub fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }

        impl Field for $name {
            fn to_value(&self) -> Value {
                Value::Word(self.word())
            }

            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    $(Value::Word($word) => Some($name::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

words! {
    /// When the log is fsynced.
    AppendFsync {
        /// Once per second.
        #[default]
        Everysec = "everysec",
        /// Before a write is acknowledged.
        Always = "always",
        /// When the kernel likes.
        No = "no",
    }
}

words! {
    /// What a start does about damaged bytes that were safe once.
    LoadCorrupt {
        /// It refuses.
        #[default]
        Fail = "fail",
        /// It copies them aside and loads the rest.
        Quarantine = "quarantine",
    }
}

words! {
    /// What a start does about a logged command that answers with an error.
    ReplayErrors {
        /// It logs and counts it, as Redis does.
        #[default]
        Log = "log",
        /// It refuses.
        Fail = "fail",
    }
}

words! {
    /// The least important lines that are logged.
    LogLevel {
        /// Everything.
        Debug = "debug",
        /// Connections, and the dataset every few seconds.
        Verbose = "verbose",
        /// What an operator wants to know.
        #[default]
        Notice = "notice",
        /// What an operator must know.
        Warning = "warning",
        /// Silence.
        Nothing = "nothing",
    }
}

words! {
    /// Who started the process, and is told when it is ready.
    Supervised {
        /// By SIGSTOP.
        Upstart = "upstart",
        /// By a datagram to `$NOTIFY_SOCKET`.
        Systemd = "systemd",
        /// Whichever the environment names.
        Auto = "auto",
        /// Nobody.
        #[default]
        No = "no",
    }
}

words! {
    /// Which keys make room when `maxmemory` is reached.
    MaxmemoryPolicy {
        /// Least recently used, of those that expire.
        VolatileLru = "volatile-lru",
        /// Least frequently used, of those that expire.
        VolatileLfu = "volatile-lfu",
        /// Any of those that expire.
        VolatileRandom = "volatile-random",
        /// Those that expire soonest.
        VolatileTtl = "volatile-ttl",
        /// Least recently used.
        AllkeysLru = "allkeys-lru",
        /// Least frequently used.
        AllkeysLfu = "allkeys-lfu",
        /// Any.
        AllkeysRandom = "allkeys-random",
        /// None: writes fail.
        #[default]
        Noeviction = "noeviction",
    }
}

words! {
    /// Who may do something dangerous.
    ProtectedAction {
        /// Nobody.
        #[default]
        No = "no",
        /// Everybody.
        Yes = "yes",
        /// Clients on a loopback address or the Unix socket.
        Local = "local",
    }
}

words! {
    /// What a replica does about a command from its primary that fails.
    PropagationErrorBehavior {
        /// Go on.
        #[default]
        Ignore = "ignore",
        /// Stop the process.
        Panic = "panic",
        /// Stop the process if replicas hang on it.
        PanicOnReplicas = "panic-on-replicas",
    }
}

impl ProtectedAction {
    /// True if a client may; `local` says whether it came over a loopback address or the Unix socket.
    pub fn allows(self, local: bool) -> bool {
        match self {
            ProtectedAction::No => false,
            ProtectedAction::Yes => true,
            ProtectedAction::Local => local,
        }
    }
}

/// A field's type, to and from the values that its directive parses.
pub(crate) trait Field: Sized {
    fn to_value(&self) -> Value;
    fn from_value(value: &Value) -> Option<Self>;
}

macro_rules! field_of {
    ($($type:ty: $variant:ident,)*) => {$(
        impl Field for $type {
            fn to_value(&self) -> Value {
                Value::$variant(self.clone())
            }

            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::$variant(inner) => Some(inner.clone()),
                    _ => None,
                }
            }
        }
    )*};
}

field_of! {
    bool: YesNo,
    Vec<u8>: Text,
    Vec<Vec<u8>>: Words,
    Vec<SavePoint>: Save,
    Vec<f64>: Percentiles,
    OutputBufferLimits: OutputBufferLimits,
    KeyspaceEvents: KeyspaceEvents,
    ShutdownFlags: ShutdownFlags,
}

macro_rules! number_field {
    ($($type:ty)*) => {$(
        impl Field for $type {
            fn to_value(&self) -> Value {
                Value::Number(i128::from(*self))
            }

            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::Number(number) => <$type>::try_from(*number).ok(),
                    Value::Octal(number) => <$type>::try_from(*number).ok(),
                    _ => None,
                }
            }
        }
    )*};
}

number_field!(u16 u32 u64 i32 i64);

impl Field for PathBuf {
    fn to_value(&self) -> Value {
        Value::Text(path_to_bytes(self))
    }

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(bytes_to_path(text).to_owned()),
            _ => None,
        }
    }
}

impl MaxmemoryPolicy {
    /// What it says to the data; nothing for `noeviction`.
    pub fn policy(self) -> Option<Policy> {
        let (by, volatile_only) = match self {
            MaxmemoryPolicy::VolatileLru => (By::Lru, true),
            MaxmemoryPolicy::VolatileLfu => (By::Lfu, true),
            MaxmemoryPolicy::VolatileRandom => (By::Random, true),
            MaxmemoryPolicy::VolatileTtl => (By::Ttl, true),
            MaxmemoryPolicy::AllkeysLru => (By::Lru, false),
            MaxmemoryPolicy::AllkeysLfu => (By::Lfu, false),
            MaxmemoryPolicy::AllkeysRandom => (By::Random, false),
            MaxmemoryPolicy::Noeviction => return None,
        };
        Some(Policy { by, volatile_only })
    }
}

impl Field for MaxmemoryClients {
    fn to_value(&self) -> Value {
        match *self {
            MaxmemoryClients::Bytes(bytes) => Value::Number(bytes.into()),
            MaxmemoryClients::Percent(percent) => Value::Percent(percent),
        }
    }

    fn from_value(value: &Value) -> Option<Self> {
        match *value {
            Value::Number(bytes) => u64::try_from(bytes).ok().map(MaxmemoryClients::Bytes),
            Value::Percent(percent) => Some(MaxmemoryClients::Percent(percent)),
            _ => None,
        }
    }
}
