//! (to come)

pub mod storage;
