//! The compact encodings of older servers, read only: each becomes a listpack.
//!
//! ```text
//! ziplist  bytes u32 LE | offset of the last entry u32 LE | entries u16 LE (65535: unknown) | entry.. | 0xff
//! entry    length of the entry before: u8, or 254 and u32 LE | encoding and data
//!          00nnnnnn | 01nnnnnn n | 10______ u32 BE   string
//!          0xc0 i16 | 0xd0 i32 | 0xe0 i64 | 0xf0 i24 | 0xfe i8 (LE)   0xf1..0xfd: 0..12
//!
//! zipmap   pairs u8 (254, 255: unknown) | pair.. | 0xff
//! pair     length, field | length, free u8, value, free bytes      length: u8 below 254, or 254 and u32 LE
//! ```
//! Sound means: every length fits, lengths backwards and the tail's offset agree, the count does, nothing follows the
//! end. Source: redis 7.0 `src/ziplist.c`, `src/zipmap.c`.

use crate::types::listpack::Listpack;

const END: u8 = 0xff;
const LONG: u8 = 0xfe;
const ZIPLIST_HEADER_BYTES: usize = 10;

/// The elements of a ziplist; `None` unless it is sound.
pub(super) fn ziplist(blob: &[u8]) -> Option<Listpack> {
    let (total, rest) = blob.split_first_chunk::<4>()?;
    let (tail, rest) = rest.split_first_chunk::<4>()?;
    let (count, mut rest) = rest.split_first_chunk::<2>()?;
    if u32::from_le_bytes(*total) as usize != blob.len() {
        return None;
    }
    let mut pack = Listpack::new();
    let (mut before_bytes, mut last) = (0, ZIPLIST_HEADER_BYTES);
    while *rest.first()? != END {
        let (stated_before, body) = length(rest)?;
        let after = entry(body, &mut pack)?;
        if stated_before != before_bytes {
            return None;
        }
        last = blob.len() - rest.len();
        before_bytes = rest.len() - after.len();
        rest = after;
    }
    let count = u16::from_le_bytes(*count);
    let counted = count == u16::MAX || usize::from(count) == pack.len();
    let ends = rest.len() == 1 && u32::from_le_bytes(*tail) as usize == last;
    (counted && ends).then_some(pack)
}

/// One byte, or a mark and four: the length of the entry before, or of a zipmap's string.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes.split_first()? {
        (&END, _) => None,
        (&LONG, rest) => {
            let (long, rest) = rest.split_first_chunk::<4>()?;
            Some((u32::from_le_bytes(*long) as usize, rest))
        }
        (&short, rest) => Some((usize::from(short), rest)),
    }
}

/// The same in its shortest form: a zipmap, unlike a ziplist, never keeps a longer one.
fn short_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    length(bytes).filter(|&(len, _)| (len >= usize::from(LONG)) == (bytes.first() == Some(&LONG)))
}

/// Appends a ziplist's entry to `pack`; returns what follows it.
fn entry<'a>(bytes: &'a [u8], pack: &mut Listpack) -> Option<&'a [u8]> {
    let (&head, rest) = bytes.split_first()?;
    let (len, rest) = match head {
        0x00..=0x3f => (usize::from(head), rest),
        0x40..=0x7f => {
            let (&low, rest) = rest.split_first()?;
            (usize::from(head & 0x3f) << 8 | usize::from(low), rest)
        }
        0x80 => {
            let (long, rest) = rest.split_first_chunk::<4>()?;
            (u32::from_be_bytes(*long) as usize, rest)
        }
        _ => return integer(head, rest, pack),
    };
    let (string, rest) = rest.split_at_checked(len)?;
    pack.push_back(string);
    Some(rest)
}

fn integer<'a>(head: u8, rest: &'a [u8], pack: &mut Listpack) -> Option<&'a [u8]> {
    let width = match head {
        0xc0 => 2,
        0xd0 => 4,
        0xe0 => 8,
        0xf0 => 3,
        0xfe => 1,
        0xf1..=0xfd => 0,
        _ => return None,
    };
    let (bytes, rest) = rest.split_at_checked(width)?;
    let value = if width == 0 { i64::from(head) - 0xf1 } else { little_endian(bytes) };
    pack.push_back(resp::number::format_i64(value).as_bytes());
    Some(rest)
}

fn little_endian(bytes: &[u8]) -> i64 {
    let unsigned = bytes.iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
    let unused = 64 - 8 * bytes.len() as u32;
    (unsigned << unused) as i64 >> unused
}

/// The fields and values of a zipmap in turn; `None` unless it is sound, and has some.
pub(super) fn zipmap(blob: &[u8]) -> Option<Listpack> {
    let (&count, mut rest) = blob.split_first()?;
    let mut pack = Listpack::new();
    while *rest.first()? != END {
        let (field_len, after) = short_length(rest)?;
        let (field, after) = after.split_at_checked(field_len)?;
        let (value_len, after) = short_length(after)?;
        let (&free, after) = after.split_first()?;
        let (value, after) = after.split_at_checked(value_len)?;
        let (_, after) = after.split_at_checked(usize::from(free))?;
        pack.push_back(field);
        pack.push_back(value);
        rest = after;
    }
    let counted = count >= LONG || usize::from(count) == pack.len() / 2;
    (counted && rest.len() == 1 && !pack.is_empty()).then_some(pack)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pack: &Listpack) -> Vec<String> {
        pack.iter().map(|element| element.with_bytes(|bytes| bytes.escape_ascii().to_string())).collect()
    }

    #[test]
    fn each_form_of_a_ziplists_entries_is_read() {
        let mut entries: Vec<Vec<u8>> = vec![
            b"\x03abc".to_vec(),
            [&b"\x41\x00"[..], &[b'x'; 256]].concat(),
            [&b"\x80\0\x01\0\0"[..], &[b'y'; 65536]].concat(),
        ];
        entries.extend(
            [
                &b"\xc0\xff\xff"[..],
                b"\xd0\0\0\0\x80",
                b"\xe0\0\0\0\0\x01\0\0\0",
                b"\xf0\0\0\x80",
                b"\xfe\x80",
                b"\xf1",
                b"\xfd",
            ]
            .map(<[u8]>::to_vec),
        );
        let blob = ziplist_of(&entries);
        let found = texts(&ziplist(&blob).unwrap());
        assert_eq!(found[0], "abc");
        assert_eq!((found[1].len(), found[2].len()), (256, 65536));
        assert_eq!(found[3..], ["-1", "-2147483648", "4294967296", "-8388608", "-128", "0", "12"]);
    }

    fn ziplist_of(entries: &[Vec<u8>]) -> Vec<u8> {
        let (mut body, mut before, mut last) = (Vec::new(), 0, ZIPLIST_HEADER_BYTES);
        for entry in entries {
            last = ZIPLIST_HEADER_BYTES + body.len();
            let start = body.len();
            match u8::try_from(before) {
                Ok(short) if short < LONG => body.push(short),
                _ => {
                    body.push(LONG);
                    body.extend_from_slice(&(before as u32).to_le_bytes());
                }
            }
            body.extend_from_slice(entry);
            before = body.len() - start;
        }
        let mut blob = ((ZIPLIST_HEADER_BYTES + body.len() + 1) as u32).to_le_bytes().to_vec();
        blob.extend_from_slice(&(last as u32).to_le_bytes());
        blob.extend_from_slice(&(entries.len() as u16).to_le_bytes());
        blob.extend_from_slice(&body);
        blob.push(END);
        blob
    }

    #[test]
    fn every_changed_byte_of_a_ziplists_frame_is_noticed() {
        let blob = ziplist_of(&[b"\x01a".to_vec(), b"\xf3".to_vec()]);
        assert_eq!(texts(&ziplist(&blob).unwrap()), ["a", "2"]);
        // Header, lengths backwards, the string's length, the end. (A changed integer or letter is another value.)
        for at in (0..ZIPLIST_HEADER_BYTES).chain([10, 11, 13, blob.len() - 1]) {
            let mut damaged = blob.clone();
            damaged[at] ^= 1;
            assert!(ziplist(&damaged).is_none(), "byte {at}");
        }
        assert!(ziplist(&blob[..blob.len() - 1]).is_none());
    }

    #[test]
    fn a_zipmap_may_have_free_bytes_and_must_have_its_count() {
        let blob = b"\x02\x01a\x01\x001\x02bb\x02\x0322xxx\xff";
        assert_eq!(texts(&zipmap(blob).unwrap()), ["a", "1", "bb", "22"]);
        assert!(zipmap(b"\x03\x01a\x01\x001\xff").is_none(), "the count is wrong");
        assert!(zipmap(b"\x01\x01a\x01\x001\xff\xff").is_none(), "bytes behind the end");
        assert!(zipmap(b"\x01\x01a\x09\x001\xff").is_none(), "a value that is cut off");
        assert!(zipmap(b"\x01\xfe\x01\0\0\0a\x01\x001\xff").is_none(), "a long form of a short length");
        assert!(zipmap(b"\xfe\xff").is_none(), "no server kept an empty one");
    }
}
