//! Many runs: cases by seed, parallel runs, tallies, shrinking and enumeration.

pub mod case;
pub mod enumerate;
pub mod pool;
pub mod shrink;
pub mod tally;
