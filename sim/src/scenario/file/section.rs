//! A table of a scenario file, and values out of it.

use std::num::NonZeroU64;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use unisono_config::file::{Wrong, nearest};

use super::keys;
use super::units::{parse_duration, parse_rate};
use crate::scenario::file::keys::key::Known;

/// Names that a person reads in a message; of more than these there is a page.
const MOST_LISTED: usize = 20;

/// A table all of whose keys are known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section<'a> {
    pub(super) known: &'static Known,
    /// Where it begins.
    pub(super) at: usize,
    table: Option<&'a DeTable<'a>>,
}

/// What stands at a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'a> {
    key: &'a str,
    pub(super) at: usize,
    pub(super) raw: &'a DeValue<'a>,
}

impl<'a> Section<'a> {
    /// The section of that name in a file; without any keys, if the file does not have it.
    pub(super) fn of(file: &'a DeTable<'a>, known: &'static Known) -> Result<Self, Wrong> {
        file.get(known.name)
            .map_or(Ok(Self { known, at: 0, table: None }), |value| Self::open(known, value))
    }

    /// A table as this section.
    pub(super) fn open(
        known: &'static Known,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Result<Self, Wrong> {
        Self::open_value(known, Value::new(known.name, value))
    }

    /// As above.
    pub(super) fn open_value(known: &'static Known, value: Value<'a>) -> Result<Self, Wrong> {
        let at = value.at;
        let DeValue::Table(table) = value.raw else {
            let what = format!("{} is a table: write {}", known.name, known.heading());
            return Err(Wrong { at, what });
        };
        match table.keys().find(|key| !known.has(key.get_ref())) {
            None => Ok(Self { known, at, table: Some(table) }),
            Some(key) => {
                Err(Wrong { at: key.span().start, what: unknown_key(known, key.get_ref()) })
            }
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<Value<'a>> {
        assert!(self.known.has(key), "{key} is in the list of {}", self.known.name);
        let (key, value) = self.table?.get_key_value(key)?;
        Some(Value::new(key.get_ref(), value))
    }

    pub(super) fn need(&self, key: &str) -> Result<Value<'a>, Wrong> {
        self.get(key).ok_or_else(|| self.wrong(self.known.missing(key)))
    }

    /// The tables of an array such as `[[network.link]]`.
    pub(super) fn all(&self, key: &str, known: &'static Known) -> Result<Vec<Self>, Wrong> {
        self.get(key).map_or(Ok(Vec::new()), |value| value.tables(known))
    }

    /// The keys that there are, where anything may be one.
    pub(super) fn entries(table: Value<'a>) -> Result<Vec<Value<'a>>, Wrong> {
        let DeValue::Table(entries) = table.raw else {
            return Err(table.is_not("a table such as { \"worker 1\" = \"3s\" }"));
        };
        Ok(entries.iter().map(|(key, value)| Value::new(key.get_ref(), value)).collect())
    }

    pub(super) fn wrong(&self, what: String) -> Wrong {
        Wrong { at: self.at, what }
    }
}

fn unknown_key(known: &Known, given: &str) -> String {
    let heading = known.heading();
    if let Some(what) = keys::foreign_to_fault(known, given) {
        return what;
    }
    let mut sections = keys::ALL.iter().filter(|known| known.form == keys::Form::Section);
    let hint = if let Some(near) = nearest(given, known.names()) {
        format!("did you mean {near}?")
    } else if let Some(home) = sections.find(|home| home.has(given)) {
        format!("it belongs in {}", home.heading())
    } else {
        format!("it has {}", known.names().collect::<Vec<_>>().join(", "))
    };
    format!("unknown key {given} in {heading}; {hint}")
}

impl<'a> Value<'a> {
    pub(super) fn new(key: &'a str, value: &'a Spanned<DeValue<'a>>) -> Self {
        Self { key, at: value.span().start, raw: value.get_ref() }
    }

    pub(super) fn key(&self) -> &'a str {
        self.key
    }

    /// Something wrong with this value.
    pub(super) fn wrong(&self, what: impl std::fmt::Display) -> Wrong {
        Wrong { at: self.at, what: format!("{}: {what}", self.key) }
    }

    /// It is of another type.
    pub(super) fn is_not(&self, expected: &str) -> Wrong {
        let found = match self.raw {
            DeValue::String(text) => format!("{text:?}"),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(flag) => flag.to_string(),
            DeValue::Datetime(moment) => moment.to_string(),
            DeValue::Array(_) => "an array".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        };
        self.wrong(format!("it must be {expected}, not {found}"))
    }

    pub(super) fn tables(self, known: &'static Known) -> Result<Vec<Section<'a>>, Wrong> {
        let DeValue::Array(items) = self.raw else {
            return Err(self.is_not(&format!("an array of tables: write {}", known.heading())));
        };
        items.iter().map(|item| Section::open(known, item)).collect()
    }

    pub(super) fn items(self, expected: &str) -> Result<Vec<Self>, Wrong> {
        let DeValue::Array(items) = self.raw else { return Err(self.is_not(expected)) };
        Ok(items.iter().map(|item| Value::new(self.key, item)).collect())
    }

    pub(super) fn text(self, expected: &str) -> Result<&'a str, Wrong> {
        self.raw.as_str().ok_or_else(|| self.is_not(expected))
    }

    pub(super) fn flag(self) -> Result<bool, Wrong> {
        self.raw.as_bool().ok_or_else(|| self.is_not("true or false, without quotes"))
    }

    /// A whole number in a range.
    pub(super) fn whole<T: TryFrom<i128> + PartialOrd + std::fmt::Display + Copy>(
        self,
        range: std::ops::RangeInclusive<T>,
    ) -> Result<T, Wrong> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let number = self.integer().ok_or_else(|| self.is_not(&expected))?;
        T::try_from(number)
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| self.is_not(&expected))
    }

    /// A whole number of 0 or above, below 2^64.
    pub(super) fn count(self) -> Result<u64, Wrong> {
        let expected = "a whole number of 0 or above";
        let number = self.integer().and_then(|number| u64::try_from(number).ok());
        number.ok_or_else(|| self.is_not(expected))
    }

    /// An integer of the file. `i128` holds every number from 2^63 to 2^64, which TOML does not
    /// promise and the parser passes on.
    fn integer(self) -> Option<i128> {
        let number = self.raw.as_integer()?;
        i128::from_str_radix(number.as_str(), number.radix()).ok()
    }

    /// A number, whole or not, for which `holds`.
    pub(super) fn number(self, expected: &str, holds: impl Fn(f64) -> bool) -> Result<f64, Wrong> {
        let number = match self.raw {
            DeValue::Float(number) => number.as_str().parse().ok(),
            #[expect(clippy::cast_precision_loss, reason = "as near as f64 comes")]
            DeValue::Integer(_) => self.integer().map(|number| number as f64),
            _ => None,
        };
        number.filter(|number| holds(*number)).ok_or_else(|| self.is_not(expected))
    }

    pub(super) fn duration(self) -> Result<Duration, Wrong> {
        if let DeValue::Integer(_) | DeValue::Float(_) = self.raw {
            return Err(self.is_not("a string with a unit, such as \"100us\" or \"1.5s\""));
        }
        let text = self.text("a duration such as \"100us\" or \"1.5s\"")?;
        parse_duration(text).map_err(|what| self.wrong(what))
    }

    /// A duration above 0.
    pub(super) fn positive_duration(self) -> Result<Duration, Wrong> {
        let duration = self.duration()?;
        if duration.is_zero() {
            return Err(self.wrong("it must be above 0"));
        }
        Ok(duration)
    }

    pub(super) fn rate(self) -> Result<NonZeroU64, Wrong> {
        if let DeValue::Integer(_) | DeValue::Float(_) = self.raw {
            return Err(self.is_not("a string with a unit, such as \"1Gbit\" or \"50MB\""));
        }
        let text = self.text("a rate such as \"1Gbit\" or \"50MB\"")?;
        parse_rate(text).map_err(|what| self.wrong(what))
    }

    /// A rate, or none.
    pub(super) fn rate_or_unlimited(self) -> Result<Option<NonZeroU64>, Wrong> {
        if self.raw.as_str() == Some(keys::UNLIMITED) { Ok(None) } else { self.rate().map(Some) }
    }

    /// One of a few names.
    pub(super) fn choice<T: Copy>(self, what: &str, named: &[(T, &str)]) -> Result<T, Wrong> {
        let names = || named.iter().map(|(_, name)| *name);
        let all = || names().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        let DeValue::String(given) = self.raw else {
            return Err(self.is_not(&format!("one of {}", all())));
        };
        if let Some((value, _)) = named.iter().find(|(_, name)| name == given) {
            return Ok(*value);
        }
        let hint = match nearest(given, names()) {
            Some(name) => format!("did you mean \"{name}\"?"),
            None if named.len() > MOST_LISTED => "docs/simulation.md lists them all".to_owned(),
            None => format!("there are {}", all()),
        };
        Err(self.wrong(format!("there is no {what} \"{given}\"; {hint}")))
    }
}
