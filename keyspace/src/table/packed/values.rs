//! The values of a segment that stand in no block of records, on shelves: a snapshot shares each until it is written
//! to. An index stays as long as its value; what is gone leaves a hole, unless it was the last.
//!
//! All shelves but the last have [`PLACES`], and the last 1, 3, 7, 15 or so many: with its count of owners such a shelf
//! fills a size that the allocator has. One vector, which grows by a fifth at a time, left slabs of fifteen sizes half
//! used.

use smallvec::SmallVec;
use triomphe::Arc;

use crate::Value;
use crate::table::spine::clone_all;

/// Places of a shelf.
const PLACES: usize = 31;

/// So many shelves there is room for in a segment itself: what 124 values take.
const SHELVES: usize = 4;

type Shelf = Arc<[Option<Value>]>;

/// Some values.
#[derive(Debug, Default)]
pub(super) struct Values {
    shelves: SmallVec<[Shelf; SHELVES]>,
    /// From this index on there are no values. A segment splits long before it has so many: no key of a client's choice
    /// is hashed without a secret.
    end: u16,
    holes: u16,
}

impl Clone for Values {
    fn clone(&self) -> Self {
        Values { shelves: clone_all(&self.shelves), ..*self }
    }
}

impl Values {
    /// The place of an index.
    #[inline]
    pub(super) fn place(&self, index: usize) -> Option<&Option<Value>> {
        self.shelves.get(index / PLACES)?.get(index % PLACES)
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
        self.shelves.truncate(usize::from(self.end).div_ceil(PLACES));
        Some(value)
    }

    /// From this index on there are no values.
    #[inline]
    pub(super) fn end(&self) -> usize {
        self.end.into()
    }

    /// How many values there are, if what is counted is true.
    #[cfg(test)]
    pub(super) fn sound_len(&self) -> Option<usize> {
        let end = self.end();
        let live = self.shelves.iter().flat_map(|shelf| shelf.iter()).flatten().count();
        let is_sound = live + usize::from(self.holes) == end
            && self.shelves.len() == end.div_ceil(PLACES)
            && (end == 0 || self.get(end - 1).is_some())
            && self.shelves.iter().rev().skip(1).all(|shelf| shelf.len() == PLACES);
        is_sound.then_some(live)
    }

    /// Bytes that it has allocated.
    pub(super) fn heap_bytes(&self) -> usize {
        let list = if self.shelves.spilled() { self.shelves.capacity() } else { 0 };
        let shelves = self.shelves.iter().map(|shelf| size_of::<usize>() + size_of_val(&**shelf));
        list * size_of::<Shelf>() + shelves.sum::<usize>()
    }

    fn first_hole(&self) -> Option<u16> {
        let mut places = (0..self.end).zip(self.shelves.iter().flat_map(|shelf| shelf.iter()));
        if self.holes > 0 { places.find(|(_, place)| place.is_none()).map(|(index, _)| index) } else { None }
    }

    /// Makes a place behind all others.
    fn make_place(&mut self, index: usize) {
        let at = index % PLACES;
        match self.shelves.get_mut(index / PLACES) {
            None => self.shelves.push(Arc::from_iter([None])),
            Some(last) if at == last.len() => *last = enlarged(last),
            Some(_) => {}
        }
    }

    fn place_mut(&mut self, index: usize) -> Option<&mut Option<Value>> {
        own(self.shelves.get_mut(index / PLACES)?).get_mut(index % PLACES)
    }
}

/// A shelf of our own.
fn own(shelf: &mut Shelf) -> &mut [Option<Value>] {
    if !shelf.is_unique() {
        *shelf = shelf.iter().cloned().collect();
    }
    // By now it has one owner.
    Arc::get_mut(shelf).unwrap_or_default()
}

/// A shelf of the next size, with what this one has.
fn enlarged(shelf: &mut Shelf) -> Shelf {
    let free = (0..=shelf.len()).map(|_| None);
    match Arc::get_mut(shelf) {
        Some(own) => own.iter_mut().map(Option::take).chain(free).collect(),
        None => shelf.iter().cloned().chain(free).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::{PLACES, Values};
    use crate::Value;
    use crate::room::allocated_bytes;

    #[test]
    fn an_index_stays_and_is_used_again() {
        let mut values = Values::default();
        for number in 0..200 {
            assert_eq!(i64::from(values.keep(Value::Int(number))), number);
            assert!(values.sound_len().is_some());
        }
        for gone in [7, 70, 199, 198] {
            assert!(matches!(values.release(gone), Some(Value::Int(value)) if value == gone as i64));
            assert!(values.release(gone).is_none() && values.sound_len().is_some());
        }
        for (place, number) in [(7, 300), (70, 301), (198, 302), (199, 303)] {
            assert_eq!(values.keep(Value::Int(number)), place);
            assert!(values.sound_len().is_some());
        }
        assert!(
            (0..7).chain(8..70).chain(71..198).all(|index| {
                matches!(values.get(index), Some(&Value::Int(value)) if value == index as i64)
            })
        );
        let all: Vec<_> = (0..200).map(|index| values.release(index)).collect();
        assert!(all.iter().all(Option::is_some));
        assert!(values.sound_len() == Some(0) && values.shelves.is_empty());
    }

    #[test]
    fn a_copy_shares_what_neither_writes_to() {
        let mut values = Values::default();
        (0..100).for_each(|number| assert_eq!(i64::from(values.keep(Value::Int(number))), number));
        let copy = values.clone();
        *values.get_mut(40).unwrap() = Value::Int(-1);
        assert!(values.release(70).is_some());
        assert_eq!((values.keep(Value::Int(-2)), values.keep(Value::Int(100))), (70, 100));
        let is = |values: &Values, index, number| matches!(values.get(index), Some(&Value::Int(own)) if own == number);
        assert!((0..100).all(|index| is(&copy, index, index as i64)) && copy.get(100).is_none());
        let is_shared = |(own, other): (&super::Shelf, _)| super::Arc::ptr_eq(own, other);
        let shared: Vec<bool> = values.shelves.iter().zip(&copy.shelves).map(is_shared).collect();
        assert_eq!(shared, [true, false, false, false]);
        drop(copy);
        let expected = |index| match index {
            40 => -1,
            70 => -2,
            other => other as i64,
        };
        assert!((0..=100).all(|index| is(&values, index, expected(index))));
    }

    #[test]
    fn a_shelf_leaves_no_place_of_its_allocation_idle() {
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
