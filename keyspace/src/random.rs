//! The source of chance for RANDOMKEY, SPOP and their kin: small, seeded, good enough for games of chance and no more.

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Starts the sequence that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, each as likely as the next (to within 2^-32 for bounds below 2^32); 0 for bound 0.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }

    /// Chooses `count` of `len` things that pass in a row: each call says whether the next one is chosen. Every choice
    /// is as likely as the next. Knuth's selection sampling.
    pub fn sample(&mut self, count: usize, len: usize) -> impl FnMut() -> bool + '_ {
        let (mut wanted, mut left) = (count, len);
        move || {
            let chosen = self.below(left) < wanted;
            left = left.saturating_sub(1);
            wanted -= usize::from(chosen);
            chosen
        }
    }

    /// A source of its own, for a handler that holds a value of the keyspace meanwhile.
    pub fn fork(&mut self) -> Random {
        Random::new(self.next_u64())
    }
}
