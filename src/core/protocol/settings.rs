//! The settings that influence the computed numbers. All tasks of a cluster must have the same
//! values of these settings.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Every setting that influences the computed numbers, as text, in a fixed order.
///
/// A caller sends its settings in its greeting, so that a refusal can name both values of a setting
/// that differs. A clone shares the memory of the original.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings(Arc<Vec<(String, String)>>);

impl Settings {
    /// Appends a setting.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        Arc::make_mut(&mut self.0).push((key.to_owned(), value.to_string()));
        self
    }

    /// Returns a copy without the settings whose keys are in `keys`. The order stays the same.
    #[must_use]
    pub fn without(&self, keys: &[&str]) -> Self {
        let kept = self.0.iter().filter(|(key, _)| !keys.contains(&key.as_str()));
        Self(Arc::new(kept.cloned().collect()))
    }

    /// Returns the settings with these keys.
    #[must_use]
    pub fn only(&self, keys: &[&str]) -> Self {
        let kept = self.0.iter().filter(|(key, _)| keys.contains(&key.as_str()));
        Self(Arc::new(kept.cloned().collect()))
    }

    /// Returns these settings, followed by the settings of `weaker` whose keys `self` lacks.
    #[must_use]
    pub fn or(&self, weaker: &Self) -> Self {
        let is_absent = |(key, _): &&(String, String)| self.value(key).is_none();
        let absent = weaker.0.iter().filter(is_absent);
        Self(Arc::new(self.0.iter().chain(absent).cloned().collect()))
    }

    /// Returns the value of a key.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// Returns the keys and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Returns the settings whose values differ between `self` and `other`: first the keys of
    /// `self`, then the keys that only `other` has.
    pub fn differences<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = Difference<'a>> {
        const ABSENT: &str = "(absent)";
        let value = |settings: &'a Self, key: &str| settings.value(key).unwrap_or(ABSENT);
        let is_theirs_alone = |(key, _): &(&str, &str)| self.iter().all(|(ours, _)| ours != *key);
        self.iter()
            .chain(other.iter().filter(is_theirs_alone))
            .map(move |(key, _)| Difference {
                key,
                ours: value(self, key),
                theirs: value(other, key),
            })
            .filter(|difference| difference.ours != difference.theirs)
    }
}

/// A setting whose values differ between two tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference<'a> {
    /// The key.
    pub key: &'a str,
    /// The value in `self` of [`Settings::differences`], or `(absent)` if `self` lacks the key.
    pub ours: &'a str,
    /// The value in `other` of [`Settings::differences`], or `(absent)` if `other` lacks the key.
    pub theirs: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_both_values() {
        let ours = Settings::default().with("seed", 1).with("batch_size", 100);
        let theirs = Settings::default().with("seed", 1).with("batch_size", 64);
        assert_eq!(
            ours.differences(&theirs).next(),
            Some(Difference { key: "batch_size", ours: "100", theirs: "64" })
        );
        assert_eq!(ours.differences(&ours.clone()).next(), None);
    }

    #[test]
    fn settings_lose_keys_and_take_absent_ones_from_weaker_settings() {
        let text = |settings: &Settings| {
            settings.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>()
        };
        let all = Settings::default().with("seed", 1).with("ps", 2).with("order", "shuffled");
        let few = all.without(&["ps"]);
        assert_eq!(text(&few), ["seed=1", "order=shuffled"]);
        let weaker = Settings::default().with("seed", 7).with("ps", 3);
        assert_eq!(text(&few.or(&weaker)), ["seed=1", "order=shuffled", "ps=3"]);
        assert_eq!((few.value("seed"), few.value("ps")), (Some("1"), None));
    }

    #[test]
    fn a_setting_that_only_one_side_has_is_a_difference() {
        let ours = Settings::default().with("seed", 1);
        let theirs = ours.clone().with("order", "shuffled");
        let found = ours.differences(&theirs).next().map(|d| (d.key, d.ours, d.theirs));
        assert_eq!(found, Some(("order", "(absent)", "shuffled")));
    }
}
