//! Steps, claims and shortages, on a disk in memory.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::block::FilePoint;
use crate::fs::{Mem, Verdict};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// A live file with `len_bytes` on a disk with `free_bytes` beside it.
fn live(len_bytes: u64, free_bytes: u64) -> (Mem, LiveFile) {
    let (mem, path) = (Mem::new(), Path::new("/f"));
    mem.set_capacity(len_bytes + free_bytes);
    mem.put(path, &vec![0; len_bytes as usize]);
    let file = mem.open_append(path).unwrap();
    let point = FilePoint { offset_bytes: len_bytes, ..FilePoint::default() };
    (mem, LiveFile { file, path: Arc::from(path), seq: 1, start: 0, point, owed: None })
}

#[test]
fn a_claim_takes_what_it_should_of_what_there_is() {
    // free on the disk, what is asked for, what is had, whether the disk counts as full then
    for (free_bytes, step_bytes, expected, is_full) in [
        (1024 * MIB, 4 * MIB, 4 * MIB, false),
        (64 * MIB, 64 * MIB, 8 * MIB, false),
        (MIB, 4 * MIB, 512 * KIB, false),
        (512 * KIB, 4 * MIB, 512 * KIB, false),
        (511 * KIB, 4 * MIB, 496 * KIB, true),
        (100 * KIB, 4 * MIB, 96 * KIB, true),
        (15 * KIB, 4 * MIB, 0, true),
    ] {
        let (mem, live) = live(100, free_bytes);
        let mut space = Space::default();
        space.note(&live, claim(&mem, &live, Some(100..100 + step_bytes)), Instant::now());
        let found = (space.ahead_bytes(live.point.offset_bytes), space.shortage.is_some());
        assert_eq!(found, (expected, is_full), "{free_bytes} bytes free");
    }
}

#[test]
fn steps_double_and_a_shortage_is_asked_about_again_and_ends_by_itself() {
    let (mem, live) = live(100, 1024 * MIB);
    let (mut space, now) = (Space::default(), Instant::now());
    let mut steps = Vec::new();
    for _ in 0..6 {
        space.start_file();
        let place = space.step_due(100, now, false).unwrap();
        steps.push(place.end - place.start);
        space.note(&live, claim(&mem, &live, Some(place)), now);
        assert_eq!(space.step_due(100, now, false), None);
    }
    assert_eq!(steps, [4, 8, 16, 32, 64, 64].map(|n| n * MIB));

    mem.set_capacity(100);
    live.file.trim().unwrap();
    space.start_file();
    space.note(&live, claim(&mem, &live, space.step_due(100, now, true)), now);
    let shortage = space.shortage.clone().unwrap();
    assert_eq!((shortage.errno, shortage.message.as_str()), (Some(28), "No space left on device"));
    assert_eq!(space.step_due(100, now, false), None);
    assert_eq!(space.retry_at(), Some(now + RETRY_FULL));
    mem.set_capacity(100 + LEAST_BYTES);
    let now = now + RETRY_FULL;
    space.note(&live, claim(&mem, &live, space.step_due(100, now, false)), now);
    assert_eq!((space.shortage.is_some(), space.retry_at()), (true, Some(now + RETRY)));
    mem.set_capacity(MIB);
    space.note(&live, claim(&mem, &live, space.step_due(100, now + RETRY, false)), now + RETRY);
    assert_eq!((space.shortage.is_none(), space.retry_at()), (true, None));
}

/// Nothing was asked for then, which the kernel calls invalid: what was ahead had to be written first, by whoever came.
#[test]
fn a_shortage_with_much_ahead_ends_as_soon_as_there_is_room() {
    let (mem, live) = live(100, 31 * MIB);
    live.file.reserve(100, 31 * MIB).unwrap();
    let mut space = Space { reserved_to: 100 + 31 * MIB, step_bytes: 64 * MIB, ..Space::default() };
    let now = Instant::now();
    space.note(&live, claim(&mem, &live, space.step_due(100, now, false)), now);
    assert!(space.shortage.is_some() && !space.is_unknown);
    mem.set_capacity(100 + 51 * MIB);
    let now = space.retry_at().unwrap();
    space.note(&live, claim(&mem, &live, space.step_due(100, now, false)), now);
    assert_eq!((space.ahead_bytes(100), space.shortage.is_none()), (31 * MIB + LEAST_BYTES, true));
}

/// ext4 has reserved blocks, and `tune2fs -u` or `-g` says whose they are.
#[test]
fn what_is_kept_for_us_is_had_although_nothing_is_said_to_be_free() {
    let ((full, _), (own, live), now) = (live(100, 0), live(100, MIB), Instant::now());
    let mut space = Space::default();
    space.note(&live, claim(&full, &live, Some(100..4 * MIB)), now);
    assert_eq!((space.ahead_bytes(100), space.shortage.is_none()), (ENOUGH_BYTES, true));

    own.set_capacity(100 + ENOUGH_BYTES);
    let calls = Arc::new(AtomicU64::new(0));
    let count = calls.clone();
    own.on_call(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Verdict::Pass
    });
    space.note(&live, claim(&full, &live, space.step_due(200, now, false)), now);
    assert_eq!((calls.load(Ordering::Relaxed), space.retry_at()), (1, Some(now + RETRY_FULL)));
}

#[test]
fn a_failure_that_is_not_for_want_of_space_leaves_it_to_the_next_write() {
    let ((mem, live), now) = (live(100, 0), Instant::now());
    let mut space = Space::default();
    space.note(&live, claim(&mem, &live, space.step_due(100, now, false)), now);
    assert!(space.shortage.is_some());
    mem.on_call(|_| Verdict::Fail(io::Error::from_raw_os_error(5)));
    let now = space.retry_at().unwrap();
    space.note(&live, claim(&mem, &live, space.step_due(100, now, false)), now);
    assert!(space.shortage.is_none() && !space.is_unknown);
    assert_eq!(space.step_due(100, now, false), None);
}

#[test]
fn while_an_fdatasync_runs_only_what_is_urgent_is_asked_for() {
    let space = Space { reserved_to: MIB, ..Space::default() };
    let now = Instant::now();
    assert_eq!(space.step_due(100, now, false), Some(MIB..100 + 4 * MIB));
    assert_eq!(space.step_due(100, now, true), None);
    let end = MIB - FIRST_MARK_BYTES + 1;
    assert_eq!(space.step_due(end, now, true), Some(MIB..end + 4 * MIB));
}

#[test]
fn where_nobody_can_tell_nothing_is_asked_twice() {
    let (_, live) = live(100, MIB);
    let elsewhere = Mem::new();
    elsewhere.put(Path::new("/f"), b"");
    let live = LiveFile { file: elsewhere.open_append(Path::new("/f")).unwrap(), ..live };
    let mut space = Space::default();
    space.note(&live, claim(&elsewhere, &live, Some(100..MIB)), Instant::now());
    assert!(space.is_unknown && space.shortage.is_none());
    assert_eq!(space.step_due(100, Instant::now(), false), None);
}
