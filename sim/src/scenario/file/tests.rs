//! Files as people write them: every mistake has its place, its text and its remedy.

mod mistakes;
mod round_trip;
