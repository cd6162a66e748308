//! The story: a file that a disk has damaged, or a payload that somebody has made, is read by a server that must not die
//! of it. What real servers wrote, from Redis 2.4 on, is damaged in many ways and gets the checksum that fits, so that
//! every byte is reached; the wrong bytes are refused or are another value, which can be used, dumped and restored. Memory
//! follows the bytes that there are, not those that are claimed, and so does time.
//!
//! `EVERLOG_SOAK` multiplies how much is tried.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use keyspace::rdb::{Checksum, Crc64, Reader, end_of};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::Session;
use crate::allocations::allocated_bytes;
use crate::fixtures::{FIXTURES, bodies};
use crate::rdb::{file_of, read};
use crate::soak;

/// Of each property in ci; a million files and payloads together with `EVERLOG_SOAK=500`.
const CASES: u32 = 1_000;

/// What no decoder needs, whatever its bytes claim. A byte that is packed gives up to 88.
fn allowed_bytes(len: usize) -> u64 {
    (1 << 20) + 512 * len as u64
}

/// No input of a few kilobytes takes so long, on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn cases() -> u32 {
    CASES * u32::try_from(soak()).expect("a small factor")
}

/// The types and values of all fixtures.
static BODIES: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| FIXTURES.iter().flat_map(|fixture| bodies(fixture.file)).collect());

/// One thing that happens to bytes.
#[derive(Debug, Clone)]
enum Damage {
    Flip(Index, u8),
    Put(Index, u8),
    Cut(Index),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    /// A piece of another body of the fixtures.
    Splice(Index, Index, Index, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<Index>;
    prop_oneof![
        4 => (at(), 0u8..8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        4 => (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Put(at, byte)),
        // Lengths and counts at their ends.
        2 => (at(), prop::sample::select(vec![0x00, 0x3f, 0x7f, 0x80, 0x81, 0xc3, 0xfe, 0xff]))
            .prop_map(|(at, byte)| Damage::Put(at, byte)),
        1 => at().prop_map(Damage::Cut),
        2 => (at(), 1usize..40).prop_map(|(at, len)| Damage::Remove(at, len)),
        2 => (at(), prop::collection::vec(any::<u8>(), 1..12)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        2 => (at(), at(), at(), 1usize..200)
            .prop_map(|(at, body, from, len)| Damage::Splice(at, body, from, len)),
    ]
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let place = |at: &Index| at.index(bytes.len() + 1);
        match self {
            Damage::Flip(..) | Damage::Put(..) if bytes.is_empty() => {}
            Damage::Flip(at, bit) => *at.get_mut(bytes) ^= 1 << bit,
            Damage::Put(at, byte) => *at.get_mut(bytes) = *byte,
            Damage::Cut(at) => bytes.truncate(place(at)),
            Damage::Remove(at, len) => {
                let at = place(at);
                let end = (at + len).min(bytes.len());
                bytes.drain(at..end);
            }
            Damage::Insert(at, more) => {
                let at = place(at);
                bytes.splice(at..at, more.iter().copied());
            }
            Damage::Splice(at, body, from, len) => {
                let (at, body) = (place(at), body.get(&BODIES));
                let from = from.index(body.len());
                let end = (from + len).min(body.len());
                let replaced = (at + (end - from)).min(bytes.len());
                bytes.splice(at..replaced, body[from..end].iter().copied());
            }
        }
    }
}

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    prop::collection::vec(damage(), 1..6)
}

/// Holds `read` to its bounds.
fn within_bounds<T>(len: usize, read: impl FnOnce() -> T) -> Result<T, TestCaseError> {
    let start = Instant::now();
    let (result, allocated) = allocated_bytes(read);
    prop_assert!(allocated <= allowed_bytes(len), "{allocated} bytes allocated for {len}");
    prop_assert!(start.elapsed() < PATIENCE, "{:?} for {len} bytes", start.elapsed());
    Ok(result)
}

/// The checksum at the end is that of what is before it.
fn seal(file: &mut Vec<u8>) {
    let crc = Crc64::of(file).to_le_bytes();
    file.extend_from_slice(&crc);
}

/// What can be read of a damaged file is kept so.
#[test]
fn a_file_that_ends_behind_any_of_its_items_is_whole_with_a_new_end() {
    for fixture in FIXTURES {
        let mut reader = Reader::new(fixture.file, Session::new().keyspace.rdb_shapes()).unwrap();
        let expected = if reader.version() < 5 { Checksum::Unchecked } else { Checksum::Verified };
        let mut whole = Vec::new();
        while reader.next().unwrap().is_some() {
            let start = &fixture.file[..reader.sound_bytes() as usize];
            whole = [start, &end_of(start).unwrap()].concat();
            assert_eq!(read(&whole).unwrap().1, expected, "{} bytes", start.len());
        }
        assert_eq!(whole, fixture.file, "its last item is the end");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    fn damaged_file_does_no_harm(fixture: Index, damages in damages()) {
        let mut file = fixture.get(FIXTURES).file.to_vec();
        file.truncate(file.len() - 8);
        damages.iter().for_each(|damage| damage.apply(&mut file));
        seal(&mut file);
        drop(within_bounds(file.len(), || read(&file))?);
        keyspace::fuzz::rdb_file(&file, |_| {});
    }

    fn damaged_payload_does_no_harm(body: Index, damages in damages()) {
        let mut body = body.get(&BODIES).clone();
        damages.iter().for_each(|damage| damage.apply(&mut body));
        // As a file of one key: the same decoder, without what the commands behind RESTORE take.
        if let Some((&code, value)) = body.split_first() {
            drop(within_bounds(body.len(), || read(&file_of(code, value)))?);
        }
        keyspace::fuzz::restore(&body, |_| {});
    }

    fn random_value_does_no_harm(code in 0u8..26, head in 0u8..6, body in prop::collection::vec(any::<u8>(), 0..80)) {
        keyspace::fuzz::restore(&[&[code, head], &body[..]].concat(), |_| {});
    }

    fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        keyspace::fuzz::rdb_file(&[b"REDIS0011", &bytes[..]].concat(), |_| {});
        keyspace::fuzz::rdb_file(&bytes, |_| {});
    }
}

/// Each property holds for all its cases.
#[expect(clippy::print_stdout, reason = "a soak adds these lines up")]
fn told(what: &str, property: fn()) {
    property();
    println!("tried: {} {what}", cases());
}

#[test]
fn damaged_files_do_no_harm() {
    told("damaged files", damaged_file_does_no_harm);
}

#[test]
fn damaged_payloads_do_no_harm() {
    told("damaged payloads", damaged_payload_does_no_harm);
}

#[test]
fn random_values_and_bytes_do_no_harm() {
    told("random values", random_value_does_no_harm);
    told("random files", random_bytes_do_no_harm);
}
