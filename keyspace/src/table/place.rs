//! A *place*: the upper half of a hash with its bits reversed, as in SCAN's cursor. So what stands in its order is
//! found near where its place says, SCAN goes straight through it, a split cuts it in two, and none of the three hashes
//! a key.

/// The place of a hash.
#[inline]
pub(crate) fn place_of(hash: u64) -> u32 {
    (hash as u32).reverse_bits()
}

/// The first thing whose place is not before `place`, in the order of their places. Those are as good as random, so
/// it is looked for around where it would be if they were even. `shared_bits`: in so many upper bits all places agree.
#[inline]
pub(super) fn lower_bound<T>(
    things: &[T],
    place_of: impl Fn(&T) -> u32,
    place: u32,
    shared_bits: u32,
) -> usize {
    let mut index = guess(things.len(), place, shared_bits);
    while things.get(index).is_some_and(|thing| place_of(thing) < place) {
        index += 1;
    }
    while index > 0 && place_of(&things[index - 1]) >= place {
        index -= 1;
    }
    index
}

/// Where among `len` things a place would be if places were even.
#[inline]
pub(super) fn guess(len: usize, place: u32, shared_bits: u32) -> usize {
    let own_bits = u64::from(place.checked_shl(shared_bits).unwrap_or(0));
    ((own_bits * len as u64) >> 32) as usize
}

/// The first cursor of a place.
pub(super) fn cursor_of(place: u32) -> u64 {
    u64::from(place) << 16
}
