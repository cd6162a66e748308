//! The log through its public face: what stands in the files, what comes back, and what faults leave behind.

mod adoption;
mod ahead;
mod bases;
mod beside_writes;
mod check;
mod corruption;
mod crash;
mod edges;
mod faults;
mod full_disk;
mod gathering;
mod leftovers;
mod misplaced;
mod read_only;
mod rotation;
mod seed;
mod shortened;
mod sim;
mod stepping;
mod takeover;
mod truncation;
mod unsure;
mod world;
