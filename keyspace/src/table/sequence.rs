//! A copy-on-write array of shared things; its clone is a snapshot in O(1).
//!
//! `im` is archived and parts of it are unsound. Only `im::Vector` is used, only here and by this name, and of it only
//! `push_back`, `pop_back`, `get`, `get_mut`, `len`, `iter` and `clone`, which property tests cover.

use triomphe::Arc;

/// Things in a row. No type of our own: whoever sends a keyspace to a thread has the compiler look through all of its
/// types, two of these within each other, and it gives up at a depth of 128.
pub(crate) type Sequence<T> = im::Vector<Arc<T>>;
