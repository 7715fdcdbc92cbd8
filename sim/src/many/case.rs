//! A scenario and a seed: all that a run depends on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::ComputeCaches;
use crate::many::tally::Brief;
use crate::run::play::play;
use crate::run::played::{PlayOptions, Played};
use crate::scenario::draw::draw;
use crate::scenario::{Family, Scenario, ScenarioError};

/// A scenario, and the file that it is from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// What it says.
    pub scenario: Arc<Scenario>,
}

impl Source {
    /// Reads a file.
    ///
    /// # Errors
    /// If it is no scenario.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let scenario = Arc::new(Scenario::load(path)?);
        Ok(Self { path: path.to_owned(), scenario })
    }

    /// Its name: the file's, without folder and extension.
    #[must_use]
    pub fn name(&self) -> String {
        let stem = self.path.file_stem().unwrap_or(self.path.as_os_str());
        stem.to_string_lossy().into_owned()
    }

    /// The scenario with a seed: chaos, if there is any, becomes faults.
    #[must_use]
    pub fn case(&self, seed: u64) -> Case {
        let scenario = match self.scenario.chaos {
            Some(_) => Arc::new(draw(&self.scenario, seed)),
            None => Arc::clone(&self.scenario),
        };
        Case { scenario, seed }
    }
}

/// What is played. It has no chaos any more.
#[derive(Clone, Debug)]
pub struct Case {
    /// The concrete scenario.
    pub scenario: Arc<Scenario>,
    /// The seed of everything that is random in it.
    pub seed: u64,
}

impl Case {
    /// Plays it.
    #[must_use]
    pub fn play(&self, caches: &ComputeCaches, options: PlayOptions) -> Played {
        play(&self.scenario, self.seed, caches, options)
    }

    /// Plays it, and keeps what is counted.
    #[must_use]
    pub fn brief(&self, caches: &ComputeCaches, options: PlayOptions) -> Brief {
        Brief::of(&self.play(caches, options), &self.families())
    }

    /// The kind of each fault, in their order.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        self.scenario.faults.iter().map(|fault| fault.kind.family()).collect()
    }
}
