//! A field of a declared table: read from its keys, written back to them, and documented.
//!
//! The type of a field decides how its values look in a file. [`ValueType`] is for types with one
//! value at one key. [`FieldType`] is also for types that several keys describe together.

use std::ops::RangeInclusive;

use unisono_config::file::Wrong;

use super::key::{Key, REQUIRED};
use super::lines::Lines;
use super::section::{Section, Value};

/// A field, as a macro declares it.
pub(crate) struct Field<T> {
    pub(crate) key: &'static str,
    /// The text of the reference.
    pub(crate) doc: &'static str,
    pub(crate) bounds: Bounds,
    /// The value of an absent key; `None` if the key is required.
    pub(crate) default: Option<T>,
    /// The default in words, for the reference.
    pub(crate) words: Option<&'static str>,
}

/// What limits the values of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The least number, or nanoseconds.
    pub(crate) min: i128,
    /// The greatest number, or nanoseconds.
    pub(crate) max: i128,
    /// The word that stands for `None`.
    pub(crate) word: Option<&'static str>,
}

impl Bounds {
    /// No limits but those of the type.
    pub(crate) const ANY: Self = Self { min: i128::MIN, max: i128::MAX, word: None };
}

/// A duration above 0.
pub(crate) const ABOVE_ZERO: Bounds = Bounds { min: 1, ..Bounds::ANY };
/// A rate or none, whose name is `"unlimited"`.
pub(crate) const OR_UNLIMITED: Bounds = Bounds { word: Some("unlimited"), ..Bounds::ANY };
/// A name or none, whose name is `"none"`.
pub(crate) const OR_NONE: Bounds = Bounds { word: Some("none"), ..Bounds::ANY };

impl From<RangeInclusive<i128>> for Bounds {
    fn from(range: RangeInclusive<i128>) -> Self {
        let (min, max) = range.into_inner();
        Self { min, max, word: None }
    }
}

/// A type of fields, whose values one key or several keys describe.
pub(crate) trait FieldType: Clone {
    /// The keys, for the reader and the reference.
    fn keys(field: &Field<Self>) -> Vec<Key>;

    fn read(field: Field<Self>, section: Section<'_>) -> Result<Self, Wrong>;

    /// Writes the keys whose values are not the default.
    fn write(&self, field: &Field<Self>, lines: &mut Lines);
}

/// A type whose values a file gives at one key.
pub(crate) trait ValueType: Clone + PartialEq {
    /// The type and the bounds, for the reference.
    fn takes(bounds: Bounds) -> String;

    /// The meaning of each value, for the reference; empty if the key says enough.
    fn meanings() -> String {
        String::new()
    }

    fn read(value: Value<'_>, bounds: Bounds) -> Result<Self, Wrong>;

    /// The value as TOML.
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
    /// The field with another default, perhaps of another type.
    pub(crate) fn with<U>(&self, default: Option<U>) -> Field<U> {
        Field { key: self.key, doc: self.doc, bounds: self.bounds, default, words: None }
    }

    /// The field with another default, if there is one.
    pub(crate) fn or(self, default: Option<&T>) -> Self
    where
        T: Clone,
    {
        if default.is_none() { self } else { self.with(default.cloned()) }
    }

    /// The key of the field. `meanings` follow the text of the field.
    pub(crate) fn known(&self, takes: String, default: &str, meanings: &str) -> Key {
        let meaning = format!("{}{meanings}", self.doc.trim());
        Key { name: self.key, takes, default: default.to_owned(), meaning }
    }
}
