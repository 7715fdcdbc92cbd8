//! The types of values in scenario files. Each type has a reader, a writer, and a name in the
//! reference documentation.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;
use unisono_config::file::Wrong;
use unisono_core::train_config::Placement;
use unisono_core::{Step, TaskId};
use unisono_observe::trace::EventKind;

use super::field::{Bounds, ValueType};
use super::lines::{braced, quoted};
use super::section::Value;
use super::tasks::{task, task_of_key, task_set};
use super::units::{duration_text, rate_text};
use crate::scenario::task_set::TaskSet;

/// A type whose values all have names in scenario files.
pub(crate) trait Choice: Copy + PartialEq + 'static {
    /// The noun that error messages use for a value.
    const WHAT: &'static str;

    /// All values with their names.
    const NAMED: &'static [(Self, &'static str)];

    /// Returns an explanation of this value for the reference documentation. The explanation is
    /// empty if the description of the key explains all values.
    fn meaning(self) -> &'static str {
        ""
    }

    fn name_of(&self) -> &'static str {
        let named = Self::NAMED.iter().find(|(other, _)| other == self);
        named.expect("every value has a name").1
    }

    /// Returns all names, for the reference documentation.
    fn names() -> String {
        let names = Self::NAMED.iter().map(|(_, name)| format!("`\"{name}\"`"));
        names.collect::<Vec<_>>().join(", ")
    }

    /// Returns all meanings, for the reference documentation.
    fn meanings_of_all() -> String {
        let meaning = |(value, name): &(Self, &'static str)| (value.meaning(), *name);
        let meanings = Self::NAMED.iter().map(meaning).filter(|(text, _)| !text.is_empty());
        meanings.map(|(text, name)| format!(" `\"{name}\"`: {text}")).collect()
    }
}

impl Choice for EventKind {
    const WHAT: &'static str = "event";

    const NAMED: &'static [(Self, &'static str)] = Self::NAMED;

    /// Returns only the word `event`, because the reference documentation has a separate table of
    /// all events.
    fn names() -> String {
        "event".to_owned()
    }
}

impl Choice for Placement {
    const WHAT: &'static str = "placement";

    const NAMED: &'static [(Self, &'static str)] =
        &[(Self::RoundRobin, "round-robin"), (Self::Even, "even")];
}

/// Implements [`ValueType`] for each listed type, from the name in the reference documentation, the
/// reader and the writer.
macro_rules! value_types {
    ($( $type:ty: $takes:literal, $read:expr, $text:expr; )*) => {
        $( impl ValueType for $type {
            fn takes(_: Bounds) -> String {
                $takes.to_owned()
            }

            fn read(value: Value<'_>, bounds: Bounds) -> Result<Self, Wrong> {
                let read: fn(Value<'_>, Bounds) -> Result<Self, Wrong> = $read;
                read(value, bounds)
            }

            fn text(&self, _: Bounds) -> String {
                let text: fn(&Self) -> String = $text;
                text(self)
            }
        } )*
    };
}

pub(crate) use value_types;

value_types! {
    bool: "bool", |value, _| value.flag(), Self::to_string;
    f64: "number above 0",
        |value, _| value.number("a number above 0", |number| number > 0.0 && number.is_finite()),
        |given| format!("{given:?}");
    String: "text",
        |value, _| value.text("text in quotes").map(ToOwned::to_owned), |given| quoted(given);
    PathBuf: "path",
        |value, _| value.text("a path in quotes").map(PathBuf::from),
        |given| quoted(&given.to_string_lossy());
    Step: "step",
        |value, bounds| <u64 as ValueType>::read(value, bounds).map(Step), Self::to_string;
    TaskId: "task", |value, _| task(value), |given| quoted(&TaskSet::Task(*given).text());
    TaskSet: "tasks", |value, _| task_set(value), |given| quoted(&given.text());
    Duration: "duration",
        |value, bounds| match value.duration()? {
            Self::ZERO if bounds.min > 0 => Err(value.wrong("it must be above 0")),
            duration => Ok(duration),
        },
        |given| quoted(&duration_text(*given));
    NonZeroU64: "rate", |value, _| value.rate(), |given| quoted(&rate_text(*given));
    BTreeMap<TaskId, Duration>: "table: task = duration",
        |value, _| times_of_tasks(value), times_text;
}

impl<T: Choice> ValueType for T {
    fn takes(_: Bounds) -> String {
        Self::names()
    }

    fn meanings() -> String {
        Self::meanings_of_all()
    }

    fn read(value: Value<'_>, bounds: Bounds) -> Result<Self, Wrong> {
        value.choice(Self::WHAT, Self::NAMED, bounds.word)
    }

    fn text(&self, _: Bounds) -> String {
        quoted(self.name_of())
    }
}

/// A type whose values can be the ends of a range.
pub(crate) trait Ends: ValueType + PartialOrd + Copy {
    /// The name of a range of this type in the reference documentation.
    const RANGE: &'static str = "range";

    /// Returns the least and the greatest value.
    fn ends(bounds: Bounds) -> (Self, Self);
}

/// Implements [`ValueType`] for whole numbers.
macro_rules! whole_numbers {
    ($($type:ty),*) => {
        $( impl ValueType for $type {
            fn takes(bounds: Bounds) -> String {
                match Self::ends(bounds) {
                    (min, Self::MAX) => format!("number of {min} or above"),
                    (min, max) => format!("number from {min} to {max}"),
                }
            }

            fn read(value: Value<'_>, bounds: Bounds) -> Result<Self, Wrong> {
                let (min, max) = Self::ends(bounds);
                let expected = format!("a whole {}", Self::takes(bounds));
                let number = value.whole(min.into()..=max.into(), &expected)?;
                Ok(Self::try_from(number).expect("the range is one of this type"))
            }

            fn text(&self, _: Bounds) -> String {
                self.to_string()
            }
        }

        impl Ends for $type {
            fn ends(bounds: Bounds) -> (Self, Self) {
                let end = |end: i128, widest| Self::try_from(end).unwrap_or(widest);
                (end(bounds.min, Self::MIN), end(bounds.max, Self::MAX))
            }
        } )*
    };
}

whole_numbers!(i32, u32, u64);

impl Ends for Duration {
    const RANGE: &'static str = "range of durations";

    fn ends(_: Bounds) -> (Self, Self) {
        (Self::ZERO, Self::MAX)
    }
}

/// Scenario files express `None` by a missing key, or by the word in `Bounds::word`, such as
/// `"unlimited"`.
impl<T: ValueType> ValueType for Option<T> {
    fn takes(bounds: Bounds) -> String {
        let word = bounds.word.map(|word| format!(", `\"{word}\"`"));
        format!("{}{}", T::takes(bounds), word.unwrap_or_default())
    }

    fn meanings() -> String {
        T::meanings()
    }

    fn read(value: Value<'_>, bounds: Bounds) -> Result<Self, Wrong> {
        if bounds.word.is_some() && value.raw.as_str() == bounds.word {
            return Ok(None);
        }
        <T as ValueType>::read(value, bounds).map(Some)
    }

    fn text(&self, bounds: Bounds) -> String {
        match self {
            Some(given) => given.text(bounds),
            None => quoted(bounds.word.expect("an absent key is not written")),
        }
    }
}

fn times_of_tasks(value: Value<'_>) -> Result<BTreeMap<TaskId, Duration>, Wrong> {
    let mut times = BTreeMap::new();
    let DeValue::Table(entries) = value.raw else {
        return Err(value.is_not("a table such as { \"worker 1\" = \"3s\" }"));
    };
    for (key, time) in entries {
        let entry = value.inner(key.get_ref(), time);
        let (task, time) = (task_of_key(entry)?, entry.duration()?);
        entry.check_time(time)?;
        if times.insert(task, time).is_some() {
            return Err(entry.wrong(format!("{task} is named twice")));
        }
    }
    // Every task starts at time zero by default, so an entry with zero changes nothing.
    times.retain(|_, time| !time.is_zero());
    Ok(times)
}

fn times_text(times: &BTreeMap<TaskId, Duration>) -> String {
    let text = |(task, time): (&TaskId, &Duration)| {
        format!("{} = {}", task.text(Bounds::ANY), time.text(Bounds::ANY))
    };
    braced(&times.iter().map(text).collect::<Vec<_>>())
}
