//! Many runs: cases by seed, runs side by side, counts, shrinking and enumeration.

pub mod case;
pub mod enumerate;
pub mod pool;
pub mod shrink;
pub mod tally;
