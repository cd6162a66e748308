//! Everlog's rewrite crate.
