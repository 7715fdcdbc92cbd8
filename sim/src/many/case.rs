//! A scenario with a seed. A run depends only on its scenario and its seed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::ComputeCaches;
use crate::run::play::play;
use crate::run::played::{PlayOptions, Played};
use crate::scenario::draw::draw;
use crate::scenario::{Scenario, ScenarioError};

/// A scenario and its file.
#[derive(Clone, Debug)]
pub struct Source {
    /// The path of the file.
    pub path: PathBuf,
    /// The parsed content of the file.
    pub scenario: Arc<Scenario>,
}

impl Source {
    /// Reads a scenario file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, or is not a valid scenario.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let scenario = Arc::new(Scenario::load(path)?);
        Ok(Self { path: path.to_owned(), scenario })
    }

    /// Returns the name of the scenario: the file name without folder and extension.
    #[must_use]
    pub fn name(&self) -> String {
        let stem = self.path.file_stem().unwrap_or(self.path.as_os_str());
        stem.to_string_lossy().into_owned()
    }

    /// Returns the case for a seed. `[chaos]` is replaced by the cluster and the faults that the
    /// seed draws.
    #[must_use]
    pub fn case(&self, seed: u64) -> Case {
        let scenario = match self.scenario.chaos {
            Some(_) => Arc::new(draw(&self.scenario, seed)),
            None => Arc::clone(&self.scenario),
        };
        Case { scenario, seed }
    }
}

/// A run that can be played: a scenario without `[chaos]`, and a seed.
#[derive(Clone, Debug)]
pub struct Case {
    /// The scenario, with all faults that the seed has drawn.
    pub scenario: Arc<Scenario>,
    /// The seed of all random draws of the run.
    pub seed: u64,
}

impl Case {
    /// Plays the run.
    #[must_use]
    pub fn play(&self, caches: &ComputeCaches, options: PlayOptions) -> Played {
        play(&self.scenario, self.seed, caches, options)
    }

    /// Plays the run, and drops the losses, the checkpoint and the ledgers from the result, because
    /// a tally does not use them.
    pub(crate) fn brief(&self, caches: &ComputeCaches, options: PlayOptions) -> Played {
        let played = self.play(caches, options);
        Played { losses: Vec::new(), checkpoint: None, ledgers: Vec::new(), ..played }
    }
}
