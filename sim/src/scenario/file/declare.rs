//! Everything that a declaration of tables and values needs.

pub(crate) use unisono_config::file::Wrong;

pub(crate) use super::field::{ABOVE_ZERO, Bounds, Field, FieldType, OR_NONE, OR_UNLIMITED};
pub(crate) use super::key::{Form, Key, Known};
pub(crate) use super::lines::Lines;
pub(crate) use super::section::Section;
pub(crate) use super::table::{Table, choices, field, first, one_of, table};
pub(crate) use super::tagged::{Tagged, tagged};
pub(crate) use super::values::Choice;
