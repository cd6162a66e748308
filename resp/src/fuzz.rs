//! What the fuzzers of `resp/fuzz` call, one function per target: arbitrary bytes in, a panic if a promise is broken.
//!
//! Ordinary tests replay the committed corpus through the same functions.

use bytes::BytesMut;

use crate::error::ProtocolError;
use crate::request::{self, Limits, Parser};
use crate::{Decoder, Encoder, Reply, Version};

/// How one pass over a stream went: what was read, and what ended it.
type Outcome<T> = (Vec<T>, Option<ProtocolError>);

/// Any bytes as a client's stream. Whole or in pieces, they are the same requests; and each request, encoded again, is
/// the same arguments.
///
/// # Panics
/// When that does not hold.
pub fn request(data: &[u8]) {
    for check_crlf in [false, true] {
        let limits = Limits { max_bulk_bytes: 1 << 40, check_crlf, ..Limits::default() };
        let whole = requests(data, &limits, data.len());
        // A NUL or an endless line is judged by how much has arrived, so only shorter streams are comparable.
        if data.len() <= request::MAX_LINE_BYTES {
            for piece_bytes in [1, 7] {
                assert_eq!(requests(data, &limits, piece_bytes), whole, "in pieces of {piece_bytes}");
            }
        }
        for argv in whole.0 {
            let borrowed: Vec<&[u8]> = argv.iter().map(Vec::as_slice).collect();
            let mut bytes = BytesMut::new();
            request::encode(&borrowed, &mut bytes);
            assert_eq!(requests(&bytes, &limits, bytes.len()), (vec![argv], None), "encoded again");
        }
    }
}

/// Any bytes as a server's stream. Whole or in pieces, they are the same replies; and each reply, encoded again in
/// RESP3, is the same reply.
///
/// # Panics
/// When that does not hold.
pub fn reply(data: &[u8]) {
    let whole = replies(data, data.len());
    // Debug text, because a NaN equals nothing.
    let text = format!("{whole:?}");
    for piece_bytes in [1, 7] {
        assert_eq!(format!("{:?}", replies(data, piece_bytes)), text, "in pieces of {piece_bytes}");
    }
    for reply in whole.0 {
        let mut bytes = BytesMut::new();
        reply.encode(&mut Encoder::new(&mut bytes, Version::Resp2));
        bytes.clear();
        reply.encode(&mut Encoder::new(&mut bytes, Version::Resp3));
        let (again, error) = replies(&bytes, bytes.len());
        // RESP3 has one null.
        let expected = format!("{:?}", [&reply]).replace("NullArray", "Null");
        assert_eq!(format!("{again:?}"), expected, "encoded again");
        assert_eq!(error, None);
    }
}

fn requests(data: &[u8], limits: &Limits, piece_bytes: usize) -> Outcome<Vec<Vec<u8>>> {
    let mut parser = Parser::default();
    in_pieces(data, piece_bytes, |buf| {
        let len_bytes = parser.parse(buf, limits)?;
        assert!(parser.missing_bytes(buf) == 0 || len_bytes.is_none(), "a whole request misses nothing");
        Ok(len_bytes.map(|len_bytes| (parser.argv(buf).iter().map(|arg| arg.to_vec()).collect(), len_bytes)))
    })
}

fn replies(data: &[u8], piece_bytes: usize) -> Outcome<Reply> {
    let mut decoder = Decoder::default();
    in_pieces(data, piece_bytes, |buf| decoder.decode(buf))
}

/// Lets `data` arrive a piece at a time and collects what `read` makes of it.
fn in_pieces<T>(
    data: &[u8],
    piece_bytes: usize,
    mut read: impl FnMut(&[u8]) -> Result<Option<(T, usize)>, ProtocolError>,
) -> Outcome<T> {
    let (mut start, mut end) = (0, 0);
    let mut items = Vec::new();
    loop {
        match read(&data[start..end]) {
            Err(error) => return (items, Some(error)),
            Ok(Some((item, len_bytes))) => {
                items.push(item);
                start += len_bytes;
            }
            Ok(None) if end == data.len() => return (items, None),
            Ok(None) => end = (end + piece_bytes.max(1)).min(data.len()),
        }
    }
}
