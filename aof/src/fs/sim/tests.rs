//! The disk's own promises: what each kind of power cut may leave, and what a call that fails has done.

use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use super::{PAGE_BYTES, PowerCut};
use crate::fs::{Call, File, Fs, Mem, Verdict, write_all};

const FILE: &str = "/d/f";
const SYNCED_BYTES: usize = 100;
const CHANCES: u64 = 500;

/// A page and a half more than was synced, none of it zeros.
fn half_synced() -> (Mem, Arc<dyn File>, Vec<u8>) {
    let mem = Mem::new();
    mem.put(FILE.as_ref(), b"");
    let file = mem.open_append(FILE.as_ref()).unwrap();
    let bytes: Vec<u8> = (0..SYNCED_BYTES + PAGE_BYTES * 3 / 2).map(|n| (n % 251) as u8 + 1).collect();
    write(&*file, &bytes[..SYNCED_BYTES]);
    file.sync_data().unwrap();
    write(&*file, &bytes[SYNCED_BYTES..]);
    (mem, file, bytes)
}

fn write(file: &dyn File, bytes: &[u8]) {
    write_all(file, &mut [IoSlice::new(bytes)]).unwrap();
}

fn after(mem: &Mem, cut: PowerCut, seed: u64) -> Vec<u8> {
    mem.power_cut_with(cut, seed).bytes(FILE.as_ref()).unwrap()
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

#[test]
fn the_strictest_disk_has_what_was_synced_and_a_kill_takes_nothing() {
    let (mem, _, bytes) = half_synced();
    assert_eq!(mem.power_cut().bytes(FILE.as_ref()).unwrap(), &bytes[..SYNCED_BYTES]);
    let killed = mem.kill();
    assert_eq!(killed.bytes(FILE.as_ref()).unwrap(), bytes);
    assert_eq!(killed.power_cut().bytes(FILE.as_ref()).unwrap(), &bytes[..SYNCED_BYTES], "it is not durable");
}

#[test]
fn the_same_seed_is_the_same_image() {
    let (mem, ..) = half_synced();
    for seed in 0..CHANCES {
        let cut = PowerCut::PagesLeavingOldBlocks;
        assert_eq!(after(&mem, cut, seed), after(&mem, cut, seed));
    }
}

#[test]
fn a_tail_is_cut_anywhere_behind_what_was_synced() {
    let (mem, _, bytes) = half_synced();
    let images = (0..CHANCES).map(|seed| after(&mem, PowerCut::Tail, seed));
    let lens: BTreeSet<usize> =
        images.inspect(|image| assert!(bytes.starts_with(image))).map(|image| image.len()).collect();
    assert_eq!((lens.first(), lens.last()), (Some(&SYNCED_BYTES), Some(&bytes.len())));
    assert!(lens.iter().any(|len| len % PAGE_BYTES != 0 && *len < bytes.len() - 1), "not only at pages");
}

#[test]
fn zeros_follow_where_the_size_was_ahead_of_the_data() {
    let (mem, _, bytes) = half_synced();
    let mut only_zeros = 0;
    for seed in 0..CHANCES {
        let image = after(&mem, PowerCut::TailLeavingZeros, seed);
        let data = image.iter().position(|&byte| byte == 0).unwrap_or(image.len());
        assert!((SYNCED_BYTES..=bytes.len()).contains(&data) && bytes.starts_with(&image[..data]));
        assert!(image[data..].iter().all(|&byte| byte == 0));
        only_zeros += usize::from(data == SYNCED_BYTES && image.len() == bytes.len());
    }
    assert!(only_zeros > 0);
}

#[test]
fn pages_arrive_in_any_order_and_never_change_what_was_synced() {
    let (mem, _, bytes) = half_synced();
    let holes = [PowerCut::PagesLeavingZeros, PowerCut::PagesLeavingOldBlocks].map(|cut| {
        let images = (0..CHANCES).map(|seed| after(&mem, cut, seed));
        let mut holes = BTreeSet::new();
        for image in images {
            assert_eq!(image[..SYNCED_BYTES], bytes[..SYNCED_BYTES]);
            let wrong = image.iter().zip(&bytes).position(|(found, written)| found != written);
            let zeros = wrong.is_none_or(|at| {
                image[at..PAGE_BYTES.max(at).min(image.len())].iter().all(|&byte| byte == 0)
            });
            assert!(zeros || cut == PowerCut::PagesLeavingOldBlocks);
            // The second page is there, and the first is not.
            let second = image.len() == bytes.len() && image[PAGE_BYTES..] == bytes[PAGE_BYTES..];
            holes.extend(wrong.filter(|_| second));
        }
        holes
    });
    for holes in holes {
        assert!(holes.contains(&SYNCED_BYTES) && holes.len() > 1, "whole and torn: {holes:?}");
    }
}

#[test]
fn a_failed_sync_leaves_its_pages_clean_and_only_a_write_brings_them_to_the_disk() {
    let (mem, file, bytes) = half_synced();
    mem.fail_with(|call, _| (call == Call::SyncData).then(eio));
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));
    mem.heal();
    file.sync_data().unwrap();
    assert_eq!(mem.bytes(FILE.as_ref()).unwrap(), bytes, "readable while there is power");
    let cut = after(&mem, PowerCut::Unsynced, 0);
    assert_eq!(cut[..SYNCED_BYTES], bytes[..SYNCED_BYTES]);
    assert!(cut[SYNCED_BYTES..].iter().all(|&byte| byte == 0) && cut.len() == bytes.len());

    write(&*file, b"more");
    file.sync_data().unwrap();
    let cut = after(&mem, PowerCut::Unsynced, 0);
    assert!(cut.ends_with(b"more") && cut[PAGE_BYTES..].starts_with(&bytes[PAGE_BYTES..]));
    assert_eq!(cut[PAGE_BYTES - 1], 0, "the first page was not written to");
}

#[test]
fn an_interrupted_sync_does_nothing_and_one_that_fails_late_has_done_all() {
    let (mem, file, bytes) = half_synced();
    mem.on_call(|_| Verdict::Fail(io::ErrorKind::Interrupted.into()));
    file.sync_data().unwrap_err();
    assert_eq!(after(&mem, PowerCut::Unsynced, 0).len(), SYNCED_BYTES);
    mem.on_call(|_| Verdict::FailAfter(eio(), 0));
    file.sync_data().unwrap_err();
    assert_eq!(after(&mem, PowerCut::Unsynced, 0), bytes);
}

#[test]
fn a_file_that_is_cut_is_durable_at_its_new_length() {
    let (mem, _, bytes) = half_synced();
    for len in [PAGE_BYTES + 7, PAGE_BYTES, 7, 0] {
        mem.truncate(FILE.as_ref(), len as u64).unwrap();
        for cut in [PowerCut::Unsynced, PowerCut::PagesLeavingOldBlocks] {
            assert_eq!(after(&mem, cut, len as u64), &bytes[..len]);
        }
    }
}

#[test]
fn a_file_that_is_emptied_may_be_found_as_it_was() {
    let (mem, _, bytes) = half_synced();
    let file = mem.create(FILE.as_ref()).unwrap();
    assert_eq!(mem.bytes(FILE.as_ref()).unwrap(), b"");
    assert_eq!(after(&mem, PowerCut::Unsynced, 0), &bytes[..SYNCED_BYTES]);
    file.sync_data().unwrap();
    assert_eq!(after(&mem, PowerCut::Unsynced, 0), b"");
}

#[test]
fn writes_land_as_far_as_they_are_told() {
    type Row = (fn() -> Verdict, usize, Option<usize>);
    let table: [Row; 4] = [
        (|| Verdict::Pass, 6, Some(6)),
        (|| Verdict::Short(2), 2, Some(2)),
        (|| Verdict::Fail(eio()), 0, None),
        (|| Verdict::FailAfter(eio(), 4), 4, None),
    ];
    for (verdict, landed, said) in table {
        let mem = Mem::new();
        mem.put(FILE.as_ref(), b"");
        let file = mem.open_append(FILE.as_ref()).unwrap();
        mem.on_call(move |request| {
            assert_eq!((request.call, request.path, request.len_bytes), (Call::Write, Path::new(FILE), 6));
            verdict()
        });
        assert_eq!(file.write(&[IoSlice::new(b"abc"), IoSlice::new(b"def")]).ok(), said);
        assert_eq!(mem.bytes(FILE.as_ref()).unwrap(), &b"abcdef"[..landed]);
    }
}

#[test]
fn a_call_that_fails_has_happened_or_not() {
    let (mem, ..) = half_synced();
    mem.on_call(|_| Verdict::Fail(eio()));
    mem.remove(FILE.as_ref()).unwrap_err();
    assert!(mem.bytes(FILE.as_ref()).is_some());
    mem.on_call(|_| Verdict::FailAfter(eio(), 0));
    mem.remove(FILE.as_ref()).unwrap_err();
    assert!(mem.bytes(FILE.as_ref()).is_none());
}

#[test]
fn a_hook_may_call_into_the_world() {
    let (mem, file, _) = half_synced();
    let (again, nested) = (file.clone(), std::sync::atomic::AtomicBool::new(false));
    mem.on_call(move |request| {
        if request.call == Call::Write && !nested.swap(true, std::sync::atomic::Ordering::Relaxed) {
            again.sync_data().unwrap();
        }
        Verdict::Pass
    });
    write(&*file, b"more");
    assert!(!after(&mem, PowerCut::Unsynced, 0).ends_with(b"more"), "synced just before");
    mem.heal();
}

/// Which of the names are there after a power cut, over many chances.
fn names_after(mem: &Mem, names: [&str; 2]) -> BTreeSet<[bool; 2]> {
    let images = (0..CHANCES).map(|seed| mem.power_cut_with(PowerCut::Tail, seed));
    images.map(|image| names.map(|name| image.bytes(name.as_ref()).is_some())).collect()
}

#[test]
fn names_arrive_in_any_order_until_their_directory_is_synced() {
    let mem = Mem::new();
    mem.put("/d/other".as_ref(), b"");
    let names = ["/d/a", "/d/b"];
    names.iter().for_each(|name| drop(mem.create(name.as_ref()).unwrap()));
    assert_eq!(names_after(&mem, names).len(), 4);
    mem.sync_dir("/elsewhere".as_ref()).unwrap();
    assert_eq!(names_after(&mem, names).len(), 4);
    mem.sync_dir("/d".as_ref()).unwrap();
    assert_eq!(names_after(&mem, names), [[true; 2]].into());
    mem.remove("/d/a".as_ref()).unwrap();
    assert_eq!(names_after(&mem, names), [[true; 2], [false, true]].into());
}

#[test]
fn a_rename_is_one_step_in_a_directory_and_two_across() {
    let mem = Mem::new();
    mem.put("/d/a".as_ref(), b"new");
    mem.put("/d/b".as_ref(), b"old");
    mem.put("/e/other".as_ref(), b"");
    mem.rename("/d/a".as_ref(), "/d/b".as_ref()).unwrap();
    assert_eq!(names_after(&mem, ["/d/a", "/d/b"]), [[true; 2], [false, true]].into());
    for seed in 0..CHANCES {
        let image = mem.power_cut_with(PowerCut::Tail, seed);
        let is_old = image.bytes("/d/a".as_ref()).is_some();
        assert_eq!(image.bytes("/d/b".as_ref()).unwrap(), if is_old { b"old" } else { b"new" });
    }
    mem.sync_dir("/d".as_ref()).unwrap();
    mem.rename("/d/b".as_ref(), "/e/b".as_ref()).unwrap();
    assert_eq!(names_after(&mem, ["/d/b", "/e/b"]).len(), 4, "even both, and even none");
}

#[test]
fn a_file_needs_the_name_of_its_directory() {
    let mem = Mem::new();
    mem.create_dir("/d".as_ref()).unwrap();
    mem.create(FILE.as_ref()).unwrap().sync_data().unwrap();
    mem.sync_dir("/d".as_ref()).unwrap();
    assert_eq!(mem.power_cut().bytes(FILE.as_ref()), None);
    assert!(mem.power_cut().list("/d".as_ref()).is_err());
    mem.sync_dir("/".as_ref()).unwrap();
    assert!(mem.power_cut().bytes(FILE.as_ref()).is_some());
    assert_eq!(mem.create("/none/f".as_ref()).unwrap_err().kind(), io::ErrorKind::NotFound);
}
