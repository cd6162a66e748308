//! The data structures behind the values, one to a file, and the parts they are built of.
//!
//! Every one of them clones in O(1): a clone is a snapshot that later writes do not change.

mod blob;
pub mod chunked;
pub mod geohash;
pub mod hash;
pub mod hyperloglog;
pub mod intset;
pub mod list;
pub mod listpack;
pub mod long_double;
pub mod set;
pub mod stream;
pub mod string;
pub mod tree;
pub mod zset;

/// The first of `len` indices for which `is_before` does not hold.
fn partition_point(len: usize, is_before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = usize::midpoint(low, high);
        if is_before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}
