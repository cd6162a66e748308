//! Chunks against a vector of them.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

#[derive(Debug, Clone)]
enum Op {
    Insert(Index, usize),
    Remove(Index),
    RemoveRange(Index, Index),
    Update(Index, usize),
    /// The two ends, over and over.
    Fill(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (any::<Index>(), 1usize..4).prop_map(|(at, len)| Op::Insert(at, len)),
        2 => any::<Index>().prop_map(Op::Remove),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(start, end)| Op::RemoveRange(start, end)),
        2 => (any::<Index>(), 1usize..4).prop_map(|(at, len)| Op::Update(at, len)),
        1 => (1usize..100).prop_map(Op::Fill),
    ]
}

fn chunk(len: usize) -> Listpack {
    let mut chunk = Listpack::new();
    (0..len).for_each(|number| chunk.push_back(number.to_string().as_bytes()));
    chunk
}

fn apply(chunks: &mut Chunks, model: &mut Vec<Listpack>, op: Op) {
    let len = model.len();
    match op {
        Op::Insert(at, elements) => {
            chunks.insert(at.index(len + 1), chunk(elements));
            model.insert(at.index(len + 1), chunk(elements));
        }
        Op::Fill(count) => {
            for number in 0..count {
                chunks.insert(0, chunk(1 + number % 3));
                model.insert(0, chunk(1 + number % 3));
                chunks.insert(model.len(), chunk(2));
                model.push(chunk(2));
            }
        }
        Op::RemoveRange(start, end) => {
            let start = start.index(len + 1);
            let range = start..start + end.index(len + 1 - start);
            chunks.remove_range(range.clone());
            model.drain(range);
        }
        _ if model.is_empty() => {}
        Op::Remove(at) => assert_eq!(chunks.remove(at.index(len)), Some(model.remove(at.index(len)))),
        Op::Update(at, elements) => {
            assert!(chunks.update(at.index(len), |own| *own = chunk(elements)).is_some());
            model[at.index(len)] = chunk(elements);
        }
    }
}

/// Compares all that can be asked.
fn check(chunks: &Chunks, model: &[Listpack]) {
    assert_eq!(chunks.len(), model.len());
    assert!((0..model.len() + 2).all(|at| chunks.get(at) == model.get(at)));
    let elements = |at: usize| (0..model[at].len()).map(move |offset| (at, offset));
    let places: Vec<(usize, usize)> = (0..model.len()).flat_map(elements).collect();
    assert_eq!(chunks.weight(), places.len());
    assert!((0..places.len() + 2).all(|at| chunks.seek(at) == places.get(at).copied()));
    for (start, end) in [(0, model.len()), (0, model.len() / 2), (model.len() / 3, model.len())] {
        assert!(chunks.range(start..end).eq(&model[start..end]));
        assert!(chunks.range(start..end).rev().eq(model[start..end].iter().rev()));
    }
}

proptest! {
    #[test]
    fn chunks_are_a_vector_of_chunks(ops in prop::collection::vec(op(), 0..30)) {
        let (mut chunks, mut model) = (Chunks::default(), Vec::new());
        let mut snapshots = Vec::new();
        for (number, op) in ops.into_iter().enumerate() {
            if number % 5 == 0 {
                snapshots.push((chunks.clone(), model.clone()));
            }
            apply(&mut chunks, &mut model, op);
            check(&chunks, &model);
            let past_the_end = model.len();
            assert!(chunks.update(past_the_end, |_| ()).is_none() && chunks.remove(past_the_end).is_none());
        }
        check(&model.iter().cloned().collect(), &model);
        snapshots.iter().for_each(|(chunks, model)| check(chunks, model));
    }
}
