//! Everlog's keyspace crate.
