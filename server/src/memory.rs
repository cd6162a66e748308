//! How much memory is in use, by the allocator's own count.

use std::fs;

/// Bytes that live allocations take, as of now.
pub(crate) fn used_bytes() -> u64 {
    // Statistics are cached until the epoch advances.
    let _ = tikv_jemalloc_ctl::epoch::advance();
    tikv_jemalloc_ctl::stats::allocated::read().unwrap_or(0) as u64
}

/// Bytes of the allocator's pages: in use, and resident.
pub(crate) fn allocator_bytes() -> (u64, u64) {
    let active = tikv_jemalloc_ctl::stats::active::read().unwrap_or(0) as u64;
    let resident = tikv_jemalloc_ctl::stats::resident::read().unwrap_or(0) as u64;
    (active, resident)
}

/// Resident bytes of the process, by the kernel's count; 0 where there is no `/proc`.
pub(crate) fn resident_bytes() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok())
        .unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// Bytes of memory that the machine has; 0 where there is no `/proc`.
pub(crate) fn system_bytes() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}
