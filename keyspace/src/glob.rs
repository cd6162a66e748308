//! Glob.
