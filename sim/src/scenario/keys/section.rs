//! A table of a scenario file, and the values of its keys.

use std::borrow::Cow;
use std::fmt::Display;
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use unisono_config::file::{Wrong, nearest};
use unisono_core::Step;

use super::key::{Form, Known};
use super::shape::Shape;
use super::units::{duration_text, parse_duration, parse_rate};
use crate::scenario::task_set::TaskSet;

/// The maximum number of names that a message lists. The reference documentation lists all names.
const MOST_LISTED: usize = 20;

/// A table of a scenario file. All of its keys are known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section<'a> {
    pub(crate) known: &'static Known,
    /// The offset of the table's first byte in the file.
    pub(crate) at: usize,
    pub(crate) shape: &'a Shape,
    table: Option<&'a DeTable<'a>>,
}

/// The value of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a> {
    pub(crate) key: &'a str,
    pub(crate) at: usize,
    pub(crate) raw: &'a DeValue<'a>,
    pub(crate) shape: &'a Shape,
}

impl<'a> Section<'a> {
    /// Returns a section of a file. A section that is missing in the file has no keys.
    pub(crate) fn of(
        file: &'a DeTable<'a>,
        known: &'static Known,
        shape: &'a Shape,
    ) -> Result<Self, Wrong> {
        match file.get(known.name) {
            Some(value) => Self::open(known, Value::new(known.name, value, shape)),
            None => Ok(Self { shape, ..Self::empty(known) }),
        }
    }

    /// Returns a section without keys.
    pub(crate) fn empty(known: &'static Known) -> Self {
        Self { known, at: 0, shape: &Shape::ANY, table: None }
    }

    /// Returns a section with the keys of the table `value`.
    pub(crate) fn open(known: &'static Known, value: Value<'a>) -> Result<Self, Wrong> {
        let at = value.at;
        let DeValue::Table(table) = value.raw else {
            let what = format!("{} is a table: write {}", known.name, known.heading());
            return Err(Wrong { at, what });
        };
        match table.keys().find(|key| !known.has(key.get_ref())) {
            None => Ok(Self { known, at, shape: value.shape, table: Some(table) }),
            Some(key) => Err(Wrong {
                at: key.span().start,
                what: unknown_key(known, key.get_ref(), value.shape),
            }),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<Value<'a>> {
        assert!(self.known.has(key), "{key} is in the list of {}", self.known.name);
        let (key, value) = self.table?.get_key_value(key)?;
        Some(Value::new(key.get_ref(), value, self.shape))
    }

    pub(crate) fn need(&self, key: &str) -> Result<Value<'a>, Wrong> {
        self.get(key).ok_or_else(|| self.wrong(self.known.missing(key)))
    }

    /// Returns the tables of an array of tables, such as `[[network.link]]`.
    pub(crate) fn all(&self, key: &str, known: &'static Known) -> Result<Vec<Self>, Wrong> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let items = value.items(&format!("an array of tables: write {}", known.heading()))?;
        items.into_iter().map(|item| Section::open(known, item)).collect()
    }

    /// Fails if the key is given and `is_wrong` is true.
    pub(crate) fn deny(&self, key: &str, is_wrong: bool, what: impl Display) -> Result<(), Wrong> {
        match self.get(key) {
            Some(value) if is_wrong => Err(value.wrong(what)),
            _ => Ok(()),
        }
    }

    /// Fails if the key is given, and the run is given up at `time` or earlier.
    pub(crate) fn check_time(&self, key: &str, time: Duration) -> Result<(), Wrong> {
        self.get(key).map_or(Ok(()), |value| value.check_time(time))
    }

    /// Fails if the key is given, and the run does not reach version `step`.
    pub(crate) fn check_version(&self, key: &str, step: Step) -> Result<(), Wrong> {
        let last = self.shape.training_steps;
        let what =
            format!("{step} never comes: the run ends at version {last}, its training_steps");
        self.deny(key, step.0 > last, what)
    }

    /// Fails if no task in `from` has a link with a task in `to`. `to` is also the key at which the
    /// error is reported.
    pub(crate) fn check_linked(&self, from: TaskSet, to: TaskSet) -> Result<(), Wrong> {
        let (from_text, to_text) = (from.text(), to.text());
        let what = match (from, to) {
            (TaskSet::Task(from), TaskSet::Task(to)) if from == to => {
                format!("from and to are both {to_text}, but a task has no link to itself")
            }
            _ => format!(
                "there is no link between {from_text} and {to_text}: workers have links with ps, \
                 and if R is below N each ps has one with ps 0"
            ),
        };
        self.deny("to", !self.shape.linked(from, to), what)
    }

    pub(crate) fn wrong(&self, what: impl Into<String>) -> Wrong {
        Wrong { at: self.at, what: what.into() }
    }
}

fn unknown_key(known: &Known, given: &str, shape: &Shape) -> String {
    let heading = known.heading();
    let tables = (shape.tables)();
    if let Some(kind) = known.kind
        && tables.iter().any(|other| other.kind.is_some() && other.has(given))
    {
        let own: Vec<_> = known.names().skip(kind.n_common_keys).collect();
        let target =
            if kind.has_target { "" } else { "it is the chief's disk, and needs no target; " };
        let (name, own) = (kind.name, own.join(", "));
        return format!(
            "a {name} fault has no {given}; {target}beside the keys of every fault, it has {own}"
        );
    }
    let hint = if let Some(near) = nearest(given, known.names()) {
        format!("did you mean {near}?")
    } else if let Some(home) = section_with(given, &tables) {
        format!("it belongs in {}", home.heading())
    } else {
        format!("it has {}", known.names().collect::<Vec<_>>().join(", "))
    };
    format!("unknown key {given} in {heading}; {hint}")
}

/// Returns the section that contains a key.
pub(crate) fn section_with<'a>(key: &str, tables: &[&'a Known]) -> Option<&'a Known> {
    tables.iter().copied().find(|known| known.form == Form::Section && known.has(key))
}

impl<'a> Value<'a> {
    pub(crate) fn new(key: &'a str, value: &'a Spanned<DeValue<'a>>, shape: &'a Shape) -> Self {
        Self { key, at: value.span().start, raw: value.get_ref(), shape }
    }

    /// Returns a value that is part of this value.
    pub(crate) fn inner(self, key: &'a str, value: &'a Spanned<DeValue<'a>>) -> Self {
        Self::new(key, value, self.shape)
    }

    /// Returns an error that points to this value.
    pub(crate) fn wrong(&self, what: impl Display) -> Wrong {
        Wrong { at: self.at, what: format!("{}: {what}", self.key) }
    }

    /// Fails if the run is given up at `time` or earlier.
    pub(crate) fn check_time(&self, time: Duration) -> Result<(), Wrong> {
        if time < self.shape.max_virtual_time {
            return Ok(());
        }
        let end = duration_text(self.shape.max_virtual_time);
        Err(self.wrong(format!("the run is given up at {end}, its max_virtual_time")))
    }

    /// Returns an error that points to a key within this value.
    pub(crate) fn wrong_key(&self, key: &Spanned<Cow<'_, str>>, what: String) -> Wrong {
        Wrong { at: key.span().start, ..self.wrong(what) }
    }

    /// Returns the error for a value of another type.
    pub(crate) fn is_not(&self, expected: &str) -> Wrong {
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

    pub(crate) fn items(self, expected: &str) -> Result<Vec<Self>, Wrong> {
        let DeValue::Array(items) = self.raw else { return Err(self.is_not(expected)) };
        Ok(items.iter().map(|item| self.inner(self.key, item)).collect())
    }

    pub(crate) fn text(self, expected: &str) -> Result<&'a str, Wrong> {
        self.raw.as_str().ok_or_else(|| self.is_not(expected))
    }

    pub(crate) fn flag(self) -> Result<bool, Wrong> {
        self.raw.as_bool().ok_or_else(|| self.is_not("true or false, without quotes"))
    }

    /// Returns the value if it is a whole number in `range`.
    pub(crate) fn whole(self, range: RangeInclusive<i128>, expected: &str) -> Result<i128, Wrong> {
        let number = self.integer().filter(|number| range.contains(number));
        number.ok_or_else(|| self.is_not(expected))
    }

    /// Returns the value, if it is an integer. TOML only guarantees signed integers of 64 bits, but
    /// the parser also accepts larger integers. The result is an `i128`, which also holds the
    /// numbers from 2^63 to 2^64.
    fn integer(self) -> Option<i128> {
        let number = self.raw.as_integer()?;
        i128::from_str_radix(number.as_str(), number.radix()).ok()
    }

    /// Returns the value if it is a number, with or without decimals, for which `holds` returns
    /// `true`.
    pub(crate) fn number(self, expected: &str, holds: impl Fn(f64) -> bool) -> Result<f64, Wrong> {
        let number = match self.raw {
            DeValue::Float(number) => number.as_str().parse().ok(),
            #[expect(clippy::cast_precision_loss, reason = "as near as f64 comes")]
            DeValue::Integer(_) => self.integer().map(|number| number as f64),
            _ => None,
        };
        number.filter(|number| holds(*number)).ok_or_else(|| self.is_not(expected))
    }

    pub(crate) fn duration(self) -> Result<Duration, Wrong> {
        self.quantity("duration", "\"100us\" or \"1.5s\"", parse_duration)
    }

    pub(crate) fn rate(self) -> Result<NonZeroU64, Wrong> {
        self.quantity("rate", "\"1Gbit\" or \"50MB\"", parse_rate)
    }

    fn quantity<T>(
        self,
        name: &str,
        examples: &str,
        parse: fn(&str) -> Result<T, String>,
    ) -> Result<T, Wrong> {
        let name = match self.raw {
            DeValue::Integer(_) | DeValue::Float(_) => "string with a unit,",
            _ => name,
        };
        let text = self.text(&format!("a {name} such as {examples}"))?;
        parse(text).map_err(|what| self.wrong(what))
    }

    /// Returns the value that has the given name. Error messages also list `other`, a name that the
    /// caller handles itself.
    pub(crate) fn choice<T: Copy>(
        self,
        what: &str,
        named: &[(T, &str)],
        other: Option<&str>,
    ) -> Result<T, Wrong> {
        let names = || named.iter().map(|(_, name)| *name).chain(other);
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
