//! What several benches measure alike.

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, BenchmarkId};

/// The first write to a structure that a snapshot shares: of all writes it copies most. Neither the snapshot nor what
/// is written nor the end of either is measured.
pub(crate) fn first_write<S: Clone, I>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: BenchmarkId,
    structure: &S,
    mut input: impl FnMut() -> I,
    mut write: impl FnMut(&mut S, I),
) {
    group.bench_function(id, |bencher| {
        bencher.iter_batched(
            || (structure.clone(), input()),
            |(mut structure, input)| {
                write(&mut structure, input);
                structure
            },
            BatchSize::NumIterations(16),
        );
    });
}
