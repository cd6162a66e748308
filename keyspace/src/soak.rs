//! How many cases a property is held to.

use proptest::prelude::ProptestConfig;

/// What proptest tries unless `PROPTEST_CASES` says otherwise.
const DEFAULT: u32 = 256;

/// So many in ci; `PROPTEST_CASES`, by which a soak multiplies those of all other properties, multiplies them, too.
pub(crate) fn cases(in_ci: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: (in_ci.saturating_mul(default.cases) / DEFAULT).max(1), ..default }
}
