//! The room that the allocator gives: its sizes are quarters of powers of two, and what is asked for in between is
//! rounded up. A vector that grows from size to size grows by a fifth, and a tenth of it is idle; one that doubles
//! leaves a third.

/// The size of the allocation for so many bytes.
#[inline]
pub(crate) fn allocated_bytes(bytes: usize) -> usize {
    let step = (bytes.next_power_of_two() / 8).max(16);
    // A power of two: no division.
    (bytes + step - 1) & !(step - 1)
}

/// The capacity for so many elements: what the allocator would give anyway.
#[inline]
pub(crate) fn roomy<T>(len: usize) -> usize {
    allocated_bytes(len * size_of::<T>()) / size_of::<T>()
}

/// Makes room for some elements more.
#[inline]
pub(crate) fn reserve<T>(vec: &mut Vec<T>, more: usize) {
    let len = vec.len() + more;
    if len > vec.capacity() {
        vec.reserve_exact(roomy::<T>(len) - vec.len());
    }
}

/// Makes room for one element more; where there are few, for as many again.
#[inline]
pub(crate) fn reserve_next<T>(vec: &mut Vec<T>, few: usize) {
    if vec.len() == vec.capacity() {
        let more = if vec.len() < few { vec.len().max(1) } else { 1 };
        reserve(vec, more);
    }
}

/// Gives idle memory back, once it is half.
pub(crate) fn trim<T>(vec: &mut Vec<T>) {
    let (len, capacity) = (vec.len(), vec.capacity());
    if capacity >= 2 * len + 16 && capacity >= 2 * roomy::<T>(len) + 16 {
        vec.shrink_to(roomy::<T>(len));
    }
}

#[cfg(test)]
mod tests {
    use super::allocated_bytes;

    #[test]
    fn sizes_are_quarters_of_powers_of_two() {
        let sizes = [(1, 16), (16, 16), (100, 112), (129, 160), (600, 640), (1025, 1280), (8192, 8192)];
        for (bytes, allocated) in sizes {
            assert_eq!(allocated_bytes(bytes), allocated, "{bytes}");
        }
    }
}
