//! The server through real sockets: the shipped binary is started, spoken to, killed and started again.

mod harness;

mod aof;
mod bad_input;
mod check_aof;
mod clients;
mod config;
mod durability;
mod evict;
mod full_disk;
mod gating;
mod migrate;
mod observation;
mod rdb;
mod replication;
mod restart;
mod rewrite_aof;
mod seed;
mod waiting;
