//! The string commands.

use super::DataSpec;

/// The rows.
pub const TABLE: &[DataSpec] = &[];
