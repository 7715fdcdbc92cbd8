//! The fuzz target of scenario files. A zero byte, which TOML forbids, separates a scenario file
//! from the file that it extends.

use std::path::Path;

use super::error::Sources;
use super::read;
use crate::scenario::{Scenario, ScenarioError};

/// Reads a scenario and the files that it extends. If the scenario is valid, its own text must read
/// back as the same scenario.
pub fn scenario(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let mut sources = Sources::default();
    for (number, text) in text.split('\0').enumerate() {
        sources.add(Path::new(&format!("{number}.toml")), text);
    }
    match read(&sources).map_err(|wrong| sources.error(wrong)) {
        Ok(scenario) => {
            let written = scenario.to_toml();
            let again = Scenario::parse(&written, "0.toml");
            let again = again.unwrap_or_else(|error| panic!("{error}\nin\n{written}"));
            assert_eq!(again, scenario, "{written}");
            assert_eq!(again.to_toml(), written);
            true
        }
        Err(error) => {
            check_place(&error, text);
            false
        }
    }
}

/// Checks that an error has the path, the number and the text of a line.
fn check_place(error: &ScenarioError, given: &str) {
    let ScenarioError::Wrong { path, line, text, .. } = error else {
        panic!("no file was to be read: {error}")
    };
    let mut files = given.split('\0').enumerate();
    let file = files.find(|(number, _)| path == Path::new(&format!("{number}.toml")));
    let (_, file) = file.unwrap_or_else(|| panic!("no such file: {error}"));
    let there = file.lines().nth(line - 1).unwrap_or_default().trim();
    assert_eq!(text, there, "{error}");
}
