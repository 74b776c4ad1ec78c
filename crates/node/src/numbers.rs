//! Tables whose keys are numbers of one's own.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Hashes keys made of numbers: one multiplication for each. **Only for numbers that nobody outside chooses**, such
/// as serials and random ids: whoever chose them could make them collide.
#[derive(Clone, Copy, Debug, Default)]
pub struct NumberHasher(u64);

/// A table under numbers of one's own; see [`NumberHasher`].
pub type NumberMap<K, V> = HashMap<K, V, BuildHasherDefault<NumberHasher>>;

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u8(&mut self, n: u8) {
        self.write_u64(u64::from(n));
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        // Both halves of the product, so that every bit of the key reaches every bit of the hash.
        let product = u128::from(self.0 ^ n ^ 0x2d35_8dcc_aa6c_78a5) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product as u64) ^ (product >> 64) as u64;
    }

    fn write_u128(&mut self, n: u128) {
        self.write_u64(n as u64);
        self.write_u64((n >> 64) as u64);
    }

    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }

    fn write_isize(&mut self, n: isize) {
        self.write_u64(n as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    #[test]
    fn serials_spread_over_the_low_and_the_high_bits() {
        let hasher = BuildHasherDefault::<NumberHasher>::default();
        let all: Vec<u64> = (0..4096u64).map(|n| hasher.hash_one((1u8, n, n % 3))).collect();
        for shift in [0, 52] {
            let buckets: HashSet<u64> = all.iter().map(|hash| hash >> shift & 0xfff).collect();
            // Balls thrown at random leave one in e of 4096 buckets empty.
            assert!(buckets.len() > 2300, "{} buckets used", buckets.len());
        }
    }
}
