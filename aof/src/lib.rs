//! Everlog's aof crate.
