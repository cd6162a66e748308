//! The grammar of the line, and what its checksums are worth.

use proptest::prelude::*;

use super::*;

const EPOCH: Epoch = Epoch(0x9f00_0000_0000_003c);

fn plain() -> Line {
    Line {
        payload_bytes: 0x1f,
        position: 0x2a40,
        lag: 0x40,
        db: Some(9),
        time_ms: 1_700_000_000_000,
        head: None,
        payload_crc: 0x5d6b_1c02,
    }
}

fn incr_head() -> Head {
    let behind = Some((2, FilePoint { offset_bytes: 0x5a10, crc: 0x77aa_0b1c }));
    Head::Incr(IncrHead { epoch: EPOCH, seq: 3, base: 2, moved_bytes: Some(7), behind })
}

fn encoded(line: &Line) -> Vec<u8> {
    let mut out = Vec::new();
    line.encode(EPOCH, &mut out);
    out
}

#[test]
fn a_line_is_written_as_drawn() {
    let text = encoded(&plain());
    assert!(text.starts_with(b"#EV1 1f 2a40 40 9 18bcfe56800 5d6b1c02 "));
    assert!(text.ends_with(b"\r\n"));
    let head = encoded(&Line { head: Some(incr_head()), db: None, ..plain() });
    assert!(
        head.starts_with(b"#EV1 1f 2a40 40 - 18bcfe56800 i 9f0000000000003c 3 2 7 2 5a10 77aa0b1c 5d6b1c02 ")
    );
}

#[test]
fn the_longest_line_is_within_its_limit() {
    let behind = Some((u64::MAX, FilePoint { offset_bytes: u64::MAX, crc: u32::MAX }));
    let head = IncrHead {
        epoch: Epoch(u64::MAX),
        seq: u64::MAX,
        base: u64::MAX,
        moved_bytes: Some(u64::MAX),
        behind,
    };
    let line = Line {
        payload_bytes: u64::MAX,
        position: u64::MAX,
        lag: u64::MAX,
        db: Some(u32::MAX),
        time_ms: i64::MAX,
        head: Some(Head::Incr(head)),
        payload_crc: u32::MAX,
    };
    let text = encoded(&line);
    assert!(text.len() <= MAX_LINE_BYTES, "{}", text.len());
    assert_eq!(Line::parse(&text, Some(EPOCH)), None, "signed for another epoch than its own");
}

#[test]
fn every_line_reads_back() {
    let base = Head::Base(BaseHead { epoch: EPOCH, covers: 0x1234 });
    for head in [None, Some(incr_head()), Some(base)] {
        for db in [None, Some(0), Some(u32::MAX)] {
            let line = Line { head, db, ..plain() };
            assert_eq!(Line::parse(&encoded(&line), Some(EPOCH)), Some(line));
        }
    }
}

#[test]
fn a_plain_line_belongs_to_one_epoch() {
    let text = encoded(&plain());
    assert_eq!(Line::parse(&text, Some(Epoch(EPOCH.0 ^ 1))), None);
    assert_eq!(Line::parse(&text, None), None, "nobody can check it without");
}

#[test]
fn every_flipped_bit_of_a_line_shows() {
    for line in [plain(), Line { head: Some(incr_head()), ..plain() }] {
        let text = encoded(&line);
        for bit in 0..text.len() * 8 {
            let mut damaged = text.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Line::parse(&damaged, Some(EPOCH)), None, "bit {bit}");
        }
    }
}

/// Whoever writes a file can sign what he likes; what is read from it is added up.
#[test]
fn a_claim_that_no_sum_could_hold_is_no_line() {
    let base = |covers| Some(Head::Base(BaseHead { epoch: EPOCH, covers }));
    for (claim, is_line) in [(MAX_CLAIM, true), (MAX_CLAIM + 1, false), (u64::MAX, false)] {
        for line in [
            Line { payload_bytes: claim, ..plain() },
            Line { position: claim, ..plain() },
            Line { lag: claim, ..plain() },
            Line { head: base(claim), ..plain() },
        ] {
            assert_eq!(Line::parse(&encoded(&line), Some(EPOCH)).is_some(), is_line, "{line:?}");
        }
    }
}

#[test]
fn the_checksum_is_crc_32c() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}

proptest! {
    #[test]
    fn a_point_is_the_same_in_one_step_or_many(bytes: Vec<u8>, at: prop::sample::Index) {
        let at = at.index(bytes.len() + 1);
        let whole = FilePoint::default().after(&bytes);
        prop_assert_eq!(FilePoint::default().after(&bytes[..at]).after(&bytes[at..]), whole);
        prop_assert_eq!(whole.crc, crc32c(&bytes));
    }

    #[test]
    fn nothing_makes_the_parser_panic(bytes: Vec<u8>) {
        let line = [MAGIC, &bytes, CRLF].concat();
        let _ = Line::parse(&line, Some(EPOCH));
        let _ = Line::parse(&bytes, Some(EPOCH));
    }
}
