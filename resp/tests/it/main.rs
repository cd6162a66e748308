//! The protocol through its public API.

mod corpus;
mod number;
mod reply;
mod request;
