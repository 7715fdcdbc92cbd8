//! Tests of the reader and the writer, on files as people write them.

mod mistakes;
mod round_trip;
