//! Seeded random numbers: an independent ChaCha stream for each (seed, purpose, entity, index).
//!
//! Each purpose has its own streams. If one purpose draws an additional number, the numbers of the
//! other purposes stay the same. This file derives all numbers from the raw ChaCha output of
//! `rand_chacha`, and uses no other algorithm of that crate.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The purpose of a random stream. The purposes of other crates have numbers from 2^32 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// The initial values of a variable. The entity is the variable's number.
    InitialValues = 1,
    /// The order of the training examples. The entity is the slot, or 0 for an order that all slots
    /// share. The index is the epoch.
    Permutation = 2,
    /// The numbers that a model draws for a batch. The entity is the slot, and the index is the
    /// step. Each layer has its own nonce.
    Batch = 3,
}

impl From<Purpose> for u64 {
    fn from(purpose: Purpose) -> Self {
        purpose as Self
    }
}

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// Creates the stream of the given seed, purpose, entity and index. The generator is ChaCha8.
    /// The key consists of the four numbers, each with 64 bits, little-endian.
    #[must_use]
    pub fn new(seed: u64, purpose: impl Into<u64>, entity: u64, index: u64) -> Self {
        let mut key = [0; 32];
        let words = [seed, purpose.into(), entity, index];
        for (place, word) in key.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Returns the stream with the same key and another nonce. [`Self::new`] has the nonce 0.
    #[must_use]
    pub fn with_nonce(mut self, nonce: u64) -> Self {
        self.0.set_stream(nonce);
        self
    }

    /// Returns 32 random bits.
    pub fn word(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Returns 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Returns a uniformly distributed integer below `bound`, by Lemire's multiplication with
    /// rejection ("Fast random integer generation in an interval", 2019).
    ///
    /// # Panics
    /// Panics if `bound` is 0, because no unsigned integer is below 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "no number is below 0");
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.bits()) * u128::from(bound);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }

    /// Returns a uniformly distributed multiple of 2^-53 in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_agree_only_if_all_four_numbers_agree() {
        let first =
            |seed, entity, index| Stream::new(seed, Purpose::Permutation, entity, index).bits();
        assert_eq!(first(1, 2, 3), first(1, 2, 3));
        assert_ne!(first(1, 2, 3), first(2, 2, 3));
        assert_ne!(first(1, 2, 3), first(1, 3, 3));
        assert_ne!(first(1, 2, 3), first(1, 2, 4));
    }

    #[test]
    fn streams_of_different_nonces_differ_and_two_words_are_64_bits() {
        let stream = || Stream::new(1, Purpose::Batch, 2, 3);
        assert_eq!(stream().bits(), stream().with_nonce(0).bits());
        assert_ne!(stream().bits(), stream().with_nonce(1).bits());
        let mut words = stream();
        let (low, high) = (words.word(), words.word());
        assert_eq!(stream().bits(), u64::from(high) << 32 | u64::from(low));
    }

    #[test]
    fn raw_stream_is_chacha8_with_a_zero_key() {
        // The expected bytes are the test vector TC1 (3e00ef2f895f40d6...) of
        // draft-strombergson-chacha-test-vectors-01: RFC 7539's block function with 8 rounds and an
        // all-zero key and nonce.
        let mut raw = ChaCha8Rng::from_seed([0; 32]);
        assert_eq!(raw.next_u64().to_le_bytes(), [0x3e, 0x00, 0xef, 0x2f, 0x89, 0x5f, 0x40, 0xd6]);
    }

    #[test]
    fn numbers_below_a_small_bound_are_uniform() {
        let mut stream = Stream::new(7, Purpose::Permutation, 0, 0);
        let mut counts = [0u32; 6];
        for _ in 0..60_000 {
            counts[stream.below(6) as usize] += 1;
        }
        // Six standard deviations of a binomial(60000, 1/6) distribution are 548.
        assert!(counts.iter().all(|&n| n.abs_diff(10_000) < 548), "{counts:?}");
    }
}
