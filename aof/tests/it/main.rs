//! The log through its public face: what stands in the files, what comes back, and what faults leave behind.

mod adoption;
mod crash;
mod faults;
mod rotation;
mod sim;
mod stepping;
mod takeover;
mod truncation;
mod world;
