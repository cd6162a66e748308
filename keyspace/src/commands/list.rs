//! The list commands.

use super::DataSpec;

/// The rows.
pub const TABLE: &[DataSpec] = &[];
