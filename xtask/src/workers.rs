//! Work that mostly waits, done by several threads at once.

use std::sync::Mutex;
use std::thread;

use anyhow::{Result, bail};

/// Does the work for each item, in order, as soon as one of so many workers is free; `work` is told which one it is. A
/// worker stops at its first failure; one of them is returned when all have stopped.
pub(crate) fn share<T: Sync>(
    items: &[T],
    workers: usize,
    work: impl Fn(usize, &T) -> Result<()> + Sync,
) -> Result<()> {
    let queue = Mutex::new(items.iter());
    let next = || queue.lock().ok().and_then(|mut queue| queue.next());
    let run = |worker| {
        while let Some(item) = next() {
            work(worker, item)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let run = &run;
        let workers: Vec<_> = (0..workers).map(|worker| scope.spawn(move || run(worker))).collect();
        let outcomes: Vec<Result<()>> = workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|_| bail!("a worker panicked")))
            .collect();
        outcomes.into_iter().collect()
    })
}
