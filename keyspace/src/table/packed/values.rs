//! The values of a segment that stand in no block of records, in blocks of their own: a snapshot shares each until it
//! is written to. An index stays as long as its value; what is gone leaves a hole, unless it was the last.
//!
//! All blocks but the last have [`PLACES`], and the last 1, 3, 7, 15 or so many: with its count of owners such a block
//! fills a size that the allocator has. One vector, which grows by a fifth at a time, left slabs of fifteen sizes half
//! used.

use smallvec::SmallVec;
use triomphe::Arc;

use crate::Value;
use crate::table::spine::clone_all;

/// Places of a block.
const PLACES: usize = 31;

/// So many blocks there is room for in a segment itself: what 124 values take.
const BLOCKS: usize = 4;

type Block = Arc<[Option<Value>]>;

/// Some values.
#[derive(Debug, Default)]
pub(super) struct Values {
    blocks: SmallVec<[Block; BLOCKS]>,
    /// Behind this index there are no values.
    end: u16,
    holes: u16,
}

impl Clone for Values {
    fn clone(&self) -> Self {
        Values { blocks: clone_all(&self.blocks), ..*self }
    }
}

impl Values {
    /// The place of an index.
    #[inline]
    pub(super) fn place(&self, index: usize) -> Option<&Option<Value>> {
        self.blocks.get(index / PLACES)?.get(index % PLACES)
    }

    /// A value.
    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<&Value> {
        self.place(index)?.as_ref()
    }

    /// A value, to be changed.
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Value> {
        self.place_mut(index)?.as_mut()
    }

    /// Takes a value that nobody will look for any more.
    pub(super) fn take(&mut self, index: usize) -> Option<Value> {
        self.place_mut(index)?.take()
    }

    /// Keeps a value; returns its index.
    pub(super) fn keep(&mut self, value: Value) -> u16 {
        let index = self.first_hole().unwrap_or(self.end);
        if index < self.end {
            self.holes -= 1;
        } else {
            self.make_place(index.into());
            self.end += 1;
        }
        if let Some(place) = self.place_mut(index.into()) {
            *place = Some(value);
        }
        index
    }

    /// Takes a value out; its index may be used again.
    pub(super) fn release(&mut self, index: usize) -> Option<Value> {
        let value = self.take(index)?;
        self.holes += 1;
        while self.end > 0 && self.get(usize::from(self.end) - 1).is_none() {
            self.end -= 1;
            self.holes -= 1;
        }
        self.blocks.truncate(usize::from(self.end).div_ceil(PLACES));
        Some(value)
    }

    /// Behind this index there are no values.
    #[inline]
    pub(super) fn end(&self) -> usize {
        self.end.into()
    }

    /// Bytes that it has allocated.
    pub(super) fn heap_bytes(&self) -> usize {
        let list = if self.blocks.spilled() { self.blocks.capacity() } else { 0 };
        let blocks = self.blocks.iter().map(|block| size_of::<usize>() + size_of_val(&**block));
        list * size_of::<Block>() + blocks.sum::<usize>()
    }

    fn first_hole(&self) -> Option<u16> {
        let mut places = (0..self.end).zip(self.blocks.iter().flat_map(|block| block.iter()));
        if self.holes > 0 { places.find(|(_, place)| place.is_none()).map(|(index, _)| index) } else { None }
    }

    /// Makes a place behind all others.
    fn make_place(&mut self, index: usize) {
        let at = index % PLACES;
        match self.blocks.get_mut(index / PLACES) {
            None => self.blocks.push(Arc::from_iter([None])),
            Some(last) if at == last.len() => *last = enlarged(last),
            Some(_) => {}
        }
    }

    fn place_mut(&mut self, index: usize) -> Option<&mut Option<Value>> {
        own(self.blocks.get_mut(index / PLACES)?).get_mut(index % PLACES)
    }
}

/// A block of our own.
fn own(block: &mut Block) -> &mut [Option<Value>] {
    if !block.is_unique() {
        *block = block.iter().cloned().collect();
    }
    Arc::get_mut(block).unwrap_or_default()
}

fn enlarged(block: &mut Block) -> Block {
    let more = block.len() + 1;
    own(block).iter_mut().map(Option::take).chain((0..more).map(|_| None)).collect()
}

#[cfg(test)]
mod tests {
    use super::{PLACES, Values};
    use crate::Value;
    use crate::room::allocated_bytes;

    /// What nobody counted is what the indices say.
    fn is_sound(values: &Values) -> bool {
        let (end, places) = (usize::from(values.end), values.blocks.iter().map(|block| block.len()));
        let live = (0..places.sum()).filter(|&index| values.get(index).is_some()).count();
        live + usize::from(values.holes) == end
            && values.blocks.len() == end.div_ceil(PLACES)
            && (end == 0 || values.get(end - 1).is_some())
            && values.blocks.iter().rev().skip(1).all(|block| block.len() == PLACES)
    }

    #[test]
    fn an_index_stays_and_is_used_again() {
        let mut values = Values::default();
        for number in 0..200 {
            assert_eq!(i64::from(values.keep(Value::Int(number))), number);
            assert!(is_sound(&values));
        }
        for gone in [7, 70, 199, 198] {
            assert!(matches!(values.release(gone), Some(Value::Int(value)) if value == gone as i64));
            assert!(values.release(gone).is_none() && is_sound(&values));
        }
        for (place, number) in [(7, 300), (70, 301), (198, 302), (199, 303)] {
            assert_eq!(values.keep(Value::Int(number)), place);
            assert!(is_sound(&values));
        }
        assert!(
            (0..7).chain(8..70).chain(71..198).all(|index| {
                matches!(values.get(index), Some(&Value::Int(value)) if value == index as i64)
            })
        );
        let all: Vec<_> = (0..200).map(|index| values.release(index)).collect();
        assert!(all.iter().all(Option::is_some));
        assert!(is_sound(&values) && values.blocks.is_empty());
    }

    #[test]
    fn a_copy_shares_what_neither_writes_to() {
        let mut values = Values::default();
        (0..100).for_each(|number| assert_eq!(i64::from(values.keep(Value::Int(number))), number));
        let copy = values.clone();
        *values.get_mut(40).unwrap() = Value::Int(-1);
        values.keep(Value::Int(100));
        assert!(matches!(copy.get(40), Some(Value::Int(40))));
        assert!(copy.get(100).is_none());
        let is_shared = |(own, other): (&super::Block, _)| super::Arc::ptr_eq(own, other);
        let shared: Vec<bool> = values.blocks.iter().zip(&copy.blocks).map(is_shared).collect();
        assert_eq!(shared, [true, false, true, false]);
        drop(copy);
        assert!((0..=100).all(|index| index == 40
            || matches!(values.get(index), Some(&Value::Int(value)) if value == index as i64)));
    }

    #[test]
    fn a_block_leaves_no_place_of_its_allocation_idle() {
        let mut values = Values::default();
        let mut sizes = Vec::new();
        for number in 0..PLACES as i64 {
            values.keep(Value::Int(number));
            sizes.push(values.heap_bytes());
        }
        sizes.dedup();
        assert_eq!(sizes, [32, 80, 176, 368, 752]);
        assert!(sizes.iter().all(|&bytes| allocated_bytes(bytes) - bytes < size_of::<Option<Value>>()));
    }
}
