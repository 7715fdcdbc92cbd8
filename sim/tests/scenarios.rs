//! The scenario files of the repository.

#![allow(missing_docs, reason = "a test program")]

mod support;

use std::collections::BTreeSet;

use unisono_sim::scenario::Scenario;

use crate::support::files;

#[test]
fn every_scenario_file_survives_a_round_trip() {
    for path in files() {
        let scenario = Scenario::load(&path).unwrap_or_else(|error| panic!("{error}"));
        let text = scenario.to_toml();
        let again = Scenario::parse(&text, "again.toml").unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(again, scenario, "{}:\n{text}", path.display());
        assert_eq!(again.to_toml(), text, "{}", path.display());
    }
}

#[test]
fn every_scenario_file_begins_with_a_unique_description() {
    let mut stories = BTreeSet::new();
    for path in files() {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let is_plain =
            name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        assert!(is_plain && path.extension().unwrap() == "toml", "{name}: letters, digits, dashes");
        let text = std::fs::read_to_string(&path).unwrap();
        let story: Vec<_> = text.lines().map_while(|line| line.strip_prefix("# ")).collect();
        let story = story.join(" ");
        assert!(
            story.len() > 60 && story.ends_with('.'),
            "{name}: the file must begin with a description: {story}"
        );
        assert!(stories.insert(story), "{name} has the description of another file");
    }
}

#[test]
fn every_scenario_file_has_an_expectation() {
    for path in files() {
        let scenario = Scenario::load(&path).unwrap();
        let nothing = Scenario::default().expect;
        assert_ne!(scenario.expect, nothing, "{} expects nothing", path.display());
    }
}

/// A user gets the scenario that a failing seed has drawn as a file.
#[test]
fn drawn_scenario_survives_a_round_trip() {
    for path in files() {
        let scenario = Scenario::load(&path).unwrap();
        let n_seeds = if scenario.chaos.is_some() { 1_000 } else { 0 };
        for drawn in (0..n_seeds).map(|seed| unisono_sim::scenario::draw::draw(&scenario, seed)) {
            let text = drawn.to_toml();
            let again = Scenario::parse(&text, "drawn.toml");
            assert_eq!(again.unwrap_or_else(|error| panic!("{error}\n{text}")), drawn, "{text}");
        }
    }
}
