//! The macros that declare keys, and their helpers.
//!
//! This module declares no table of scenario files. [`super::file`] reads, writes and documents the
//! tables.

mod field;
mod key;
pub(super) mod lines;
pub(super) mod section;
mod shape;
mod table;
pub(super) mod tagged;
pub(super) mod tasks;
pub(super) mod units;
pub(super) mod values;

pub(super) use unisono_config::file::Wrong;

pub(super) use field::{ABOVE_ZERO, Bounds, Field, FieldType, OR_NONE, OR_UNLIMITED, ValueType};
pub(super) use key::{Form, Key, Kind, Known, REQUIRED};
pub(super) use lines::Lines;
pub(super) use section::{Section, Value};
pub(super) use shape::Shape;
pub(super) use table::{Check, Table, choices, field, first, lines_of, one_of, table};
pub(super) use tagged::{Tagged, tagged, tagged_field};
pub(super) use values::{Choice, Ends, value_types};
