//! A field of a declared table. This file reads a field from its keys, writes the field back, and
//! documents the field.
//!
//! The type of a field determines how its values look in a file. [`ValueType`] is for types with
//! one value at one key. [`FieldType`] is also for types that several keys describe together.

use std::ops::RangeInclusive;

use unisono_config::file::Wrong;

use super::key::{Key, REQUIRED};
use super::lines::Lines;
use super::section::{Section, Value};

/// A field that a macro declares.
pub(crate) struct Field<T> {
    pub(crate) key: &'static str,
    /// The description of the field in the reference documentation.
    pub(crate) doc: &'static str,
    pub(crate) bounds: Bounds,
    /// The value of an absent key; `None` if the key is required.
    pub(crate) default: Option<T>,
    /// The description of the default in the reference documentation, for a default that is not a
    /// TOML value.
    pub(crate) words: Option<&'static str>,
}

/// The limits for the values of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The least number; for a duration, in nanoseconds.
    pub(crate) min: i128,
    /// The greatest number; for a duration, in nanoseconds.
    pub(crate) max: i128,
    /// The text that stands for `None` in a file, if the key has such a text.
    pub(crate) word: Option<&'static str>,
}

impl Bounds {
    /// The bounds of a key whose type alone limits the values.
    pub(crate) const ANY: Self = Self { min: i128::MIN, max: i128::MAX, word: None };
}

/// The bounds of a duration above 0.
pub(crate) const ABOVE_ZERO: Bounds = Bounds { min: 1, ..Bounds::ANY };
/// The bounds of an optional rate. In a file, `"unlimited"` stands for `None`.
pub(crate) const OR_UNLIMITED: Bounds = Bounds { word: Some("unlimited"), ..Bounds::ANY };
/// The bounds of a key whose value is a name or `None`. In a file, `"none"` stands for `None`.
pub(crate) const OR_NONE: Bounds = Bounds { word: Some("none"), ..Bounds::ANY };

impl From<RangeInclusive<i128>> for Bounds {
    fn from(range: RangeInclusive<i128>) -> Self {
        let (min, max) = range.into_inner();
        Self { min, max, word: None }
    }
}

/// A type of field. One key or several keys describe a value of the type.
pub(crate) trait FieldType: Clone {
    /// Returns the keys of the field, for the reader and the reference documentation.
    fn keys(field: &Field<Self>) -> Vec<Key>;

    fn read(field: Field<Self>, section: Section<'_>) -> Result<Self, Wrong>;

    /// Writes the keys whose values differ from the default.
    fn write(&self, field: &Field<Self>, lines: &mut Lines);
}

/// A type whose values a file writes at a single key.
pub(crate) trait ValueType: Clone + PartialEq {
    /// Returns the type and the bounds, for the reference documentation.
    fn takes(bounds: Bounds) -> String;

    /// Returns the meaning of each value, for the reference documentation. The text is empty if the
    /// description of the key is sufficient.
    fn meanings() -> String {
        String::new()
    }

    fn read(value: Value<'_>, bounds: Bounds) -> Result<Self, Wrong>;

    /// Returns the value as TOML.
    fn text(&self, bounds: Bounds) -> String;
}

impl<T: ValueType> FieldType for T {
    fn keys(field: &Field<Self>) -> Vec<Key> {
        let default = match (&field.default, field.words) {
            (None, _) => REQUIRED.to_owned(),
            (_, Some(words)) => words.to_owned(),
            (Some(default), None) => default.text(field.bounds),
        };
        vec![field.known(T::takes(field.bounds), &default, &T::meanings())]
    }

    fn read(field: Field<Self>, section: Section<'_>) -> Result<Self, Wrong> {
        match (section.get(field.key), field.default) {
            (None, Some(default)) => Ok(default),
            _ => <T as ValueType>::read(section.need(field.key)?, field.bounds),
        }
    }

    fn write(&self, field: &Field<Self>, lines: &mut Lines) {
        if field.default.as_ref() != Some(self) {
            lines.put(field.key, self.text(field.bounds));
        }
    }
}

impl<T> Field<T> {
    /// Returns the field with another default, which may have another type.
    pub(crate) fn with<U>(&self, default: Option<U>) -> Field<U> {
        Field { key: self.key, doc: self.doc, bounds: self.bounds, default, words: None }
    }

    /// Returns the field with `default` as its default, if `default` is given.
    pub(crate) fn or(self, default: Option<&T>) -> Self
    where
        T: Clone,
    {
        if default.is_none() { self } else { self.with(default.cloned()) }
    }

    /// Returns the key of the field. `meanings` is appended to the field's description.
    pub(crate) fn known(&self, takes: String, default: &str, meanings: &str) -> Key {
        let meaning = format!("{}{meanings}", self.doc.trim());
        Key { name: self.key, takes, default: default.to_owned(), meaning }
    }
}
