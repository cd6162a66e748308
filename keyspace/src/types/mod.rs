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
