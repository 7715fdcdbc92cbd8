//! What the tests of several rules share.

pub(crate) mod fixture;
