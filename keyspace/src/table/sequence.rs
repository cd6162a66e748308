//! A copy-on-write array of shared things; its clone is a snapshot in O(1).
//!
//! `im` is archived and parts of it are unsound. What a server runs uses only `im::Vector`, by this name, and of it only
//! `push_back`, `pop_back`, `get`, indexing, `get_mut`, `len`, `iter` and `clone`, which property tests cover. The
//! reference table, [`Persistent`](super::Persistent), is an `im::HashMap`: tests and benchmarks measure by it, and no
//! database is one.

use triomphe::Arc;

/// Things in a row. No type of our own: whoever sends a keyspace to a thread has the compiler look through all of its
/// types, two of these within each other, and it gives up at a depth of 128 unless told otherwise, as here.
pub(crate) type Sequence<T> = im::Vector<Arc<T>>;
