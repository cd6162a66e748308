//! The Redis wire protocol, both directions, without I/O.
//!
//! A server reads requests with [`Parser`], which copies no argument (only the words of an inline request, to unquote
//! them) and never allocates for a length that a client merely claims, and writes replies with [`Encoder`], which
//! speaks RESP2 and RESP3. The same request bytes are the records of an append-only file. A client or a replica reads
//! replies with [`Decoder`]. [`number`] reads and prints integers and doubles exactly as Redis does.
//!
//! | limit | value | source in Redis 7.2 |
//! |---|---|---|
//! | arguments of a request | [`request::MAX_ARGS`] | `processMultibulkBuffer`, `INT_MAX` |
//! | bytes of an argument | [`Limits::max_bulk_bytes`], 512 MiB unless told | `proto-max-bulk-len` |
//! | bytes of an inline request or of a length line | [`request::MAX_LINE_BYTES`] | `PROTO_INLINE_MAX_SIZE` |
//! | before AUTH: arguments, bytes of each | 10, 16 KiB | `processMultibulkBuffer` |
//! | nesting of a decoded reply | [`reply::MAX_DEPTH`] | ours |
//!
//! Both readers are handed the bytes from the current message's first one on, and keep their place: what arrives in a
//! thousand pieces is scanned once. How many bytes a peer may leave unfinished is for their caller to bound.
//!
//! ```
//! use bytes::BytesMut;
//! use resp::{Encoder, Limits, Parser, Version};
//!
//! let received = b"*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n*1\r\n$4\r\nPI";
//! let mut parser = Parser::default();
//! let len_bytes = parser.parse(received, &Limits::default()).unwrap().expect("the first request is whole");
//! assert_eq!(parser.argv(received).as_slice(), [&b"ECHO"[..], b"hi"]);
//! // The second is not: `None` asks for more bytes.
//! assert_eq!(parser.parse(&received[len_bytes..], &Limits::default()).unwrap(), None);
//!
//! let mut out = BytesMut::new();
//! Encoder::new(&mut out, Version::Resp2).bulk(b"hi");
//! assert_eq!(&out[..], b"$2\r\nhi\r\n");
//! ```
#![forbid(unsafe_code)]

pub mod encoder;
pub mod error;
pub mod fuzz;
mod grisu;
pub mod number;
mod quote;
pub mod reply;
pub mod request;

pub use encoder::{Encoder, Version};
pub use error::{ProtocolError, ProtocolErrorKind};
pub use quote::quote;
pub use reply::{Decoder, Reply};
pub use request::{Limits, Parser};
