//! A failure capsule: a file from which a failing run can be replayed. A seed alone does not
//! suffice, because scenario files and random draws change with later commits.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};

use crate::many::case::Case;
use crate::run::failure::Failure;
use crate::run::played::Played;
use crate::scenario::{Places, Scenario, ScenarioError};

/// The version of the format of failure capsules.
const SCHEMA: u32 = 1;
/// The ending of the file names of failure capsules.
pub(crate) const EXTENSION: &str = ".capsule.json";
/// The maximum number of characters of a scenario's name, or of a failure's signature, in the file
/// name of a failure capsule.
const MAX_NAME: usize = 40;

/// A run that failed, with all data that a replay of the run needs. The fields have the same names
/// in the JSON file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Capsule {
    /// The version of this format.
    pub schema: u32,
    /// The path of the scenario file, for reports. A replay does not read the scenario file.
    pub path: String,
    /// The text of the scenario, including the files that the scenario extends and the faults that
    /// the seed drew.
    pub scenario: String,
    /// The lines of the scenario file that state the expectations of the scenario.
    #[serde(default)]
    pub places: Places,
    /// The content of the losses file that the scenario's key `golden` names; `None` without this
    /// key.
    pub golden: Option<String>,
    /// The seed.
    pub seed: u64,
    /// The name of the planted bug.
    pub bug: Option<String>,
    /// The failure.
    pub failure: FailureNote,
    /// The hash of all events.
    pub audit: String,
    /// Number of events of the simulated world.
    pub events: u64,
    /// The build of the simulator that played the run.
    pub build: Build,
}

/// The failure of a run, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureNote {
    /// [`Failure::signature`].
    pub signature: String,
    /// The failure as text for the user.
    pub text: String,
}

/// A build of the simulator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The version of the package.
    pub version: String,
    /// The commit of the source, if the environment variable `UNISONO_COMMIT` was set during the
    /// build.
    pub commit: Option<String>,
    /// The features of the build.
    pub features: Vec<String>,
}

/// An error of reading, writing or opening a failure capsule.
#[derive(Debug, thiserror::Error)]
pub enum CapsuleError {
    /// The file cannot be read.
    #[error("cannot read the capsule {}", path.display())]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {}", path.display())]
    Unwritable {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file is not a failure capsule.
    #[error("{} is not a capsule", path.display())]
    NoCapsule {
        /// The path of the file.
        path: PathBuf,
        /// The error of the JSON parser.
        source: serde_json::Error,
    },
    /// The file has another schema, because another version of the simulator wrote the file.
    #[error(
        "{} is a capsule of schema {schema}, but this program reads only schema {SCHEMA}; use \
         unisono-sim {version}", path.display()
    )]
    Schema {
        /// The path of the file.
        path: PathBuf,
        /// The schema of the file.
        schema: u32,
        /// The version that wrote the file.
        version: String,
    },
    /// This version of the program cannot read the scenario in the failure capsule.
    #[error("this version cannot read the scenario in the capsule {}", path.display())]
    Scenario {
        /// The path of the file.
        path: PathBuf,
        /// The reason why the scenario cannot be read.
        source: ScenarioError,
    },
}

impl Build {
    /// Returns the build of this program.
    pub(crate) fn this() -> Self {
        let mut features = Vec::new();
        if cfg!(feature = "planted-bugs") {
            features.push("planted-bugs".to_owned());
        }
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("UNISONO_COMMIT").map(str::to_owned),
            features,
        }
    }
}

impl std::fmt::Display for Build {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.version)?;
        if let Some(commit) = &self.commit {
            write!(f, " ({commit})")?;
        }
        if !self.features.is_empty() {
            write!(f, " with {}", self.features.join(", "))?;
        }
        Ok(())
    }
}

impl Capsule {
    /// Returns the failure capsule of a run that failed. `path` is the path of the run's scenario
    /// file.
    pub(crate) fn new(path: &Path, case: &Case, failure: &Failure, played: &Played) -> Self {
        let golden = case.scenario.expect.golden.as_ref();
        Self {
            schema: SCHEMA,
            path: path.display().to_string(),
            scenario: case.scenario.to_toml(),
            places: case.scenario.places.clone(),
            golden: golden.and_then(|path| fs::read_to_string(path).ok()),
            seed: case.seed,
            bug: None,
            failure: FailureNote { signature: failure.signature(), text: failure.to_string() },
            audit: played.audit.to_string(),
            events: played.n_events,
            build: Build::this(),
        }
    }

    /// Returns the path of the failure capsule's file in a folder. The file name contains the name
    /// of the scenario, the signature of the failure, and the seed. If the run had a planted bug,
    /// the name of the bug replaces the signature, because two bugs often cause the same signature.
    pub(crate) fn file_in(&self, folder: &Path) -> PathBuf {
        let stem = Path::new(&self.path).file_stem().unwrap_or_default().to_string_lossy();
        let what = self.bug.as_ref().unwrap_or(&self.failure.signature);
        folder.join(format!("{}-{}-{}{EXTENSION}", words(&stem), words(what), self.seed))
    }

    /// Writes the failure capsule into a file, and creates missing folders.
    ///
    /// # Errors
    /// Returns an error if the folders or the file cannot be written.
    pub fn save(&self, path: PathBuf) -> Result<PathBuf, CapsuleError> {
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        let mut text = serde_json::to_string_pretty(self).expect("texts and numbers are JSON");
        text.push('\n');
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, text))
            .map_err(|source| CapsuleError::Unwritable { path: path.clone(), source })?;
        Ok(path)
    }

    /// Reads a failure capsule.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, is not a failure capsule, or has another
    /// schema.
    pub fn load(path: &Path) -> Result<Self, CapsuleError> {
        let path = || path.to_owned();
        let text = fs::read_to_string(path())
            .map_err(|source| CapsuleError::Unreadable { path: path(), source })?;
        let capsule: Self = serde_json::from_str(&text)
            .map_err(|source| CapsuleError::NoCapsule { path: path(), source })?;
        let Self { schema, build: Build { version, .. }, .. } = &capsule;
        if *schema != SCHEMA {
            let (schema, version) = (*schema, version.clone());
            return Err(CapsuleError::Schema { path: path(), schema, version });
        }
        Ok(capsule)
    }

    /// Returns the run that the failure capsule contains. `path` is the capsule's file, for error
    /// messages.
    ///
    /// # Errors
    /// Returns an error if this version cannot read the scenario, or cannot write the temporary
    /// file of expected losses.
    pub fn open(&self, path: &Path) -> Result<Opened, CapsuleError> {
        let mut scenario = Scenario::parse(&self.scenario, &self.path)
            .map_err(|source| CapsuleError::Scenario { path: path.to_owned(), source })?;
        let golden = self.golden.as_deref().map(Golden::put).transpose()?;
        if let Some(Golden(path)) = &golden {
            scenario.expect.golden = Some(path.clone());
        }
        // Reports must name lines of the scenario file, which the user knows, and not lines of the
        // text in the capsule.
        scenario.places = self.places.clone();
        let case = Case { scenario: Arc::new(scenario), seed: self.seed };
        Ok(Opened { case, _golden: golden })
    }
}

/// Returns the name of a failure capsule's file without the ending [`EXTENSION`]. Returns `None` if
/// the file name has another ending.
pub(crate) fn stem(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_string_lossy().strip_suffix(EXTENSION)?.to_owned())
}

/// Shortens a text to [`MAX_NAME`] characters, and replaces everything except ASCII letters and
/// digits by single dashes.
fn words(text: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let kept: String = text.chars().take(MAX_NAME).map(keep).collect();
    kept.split('-').filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
}

/// The run of a failure capsule. Dropping this value removes the run's temporary file of expected
/// losses.
#[derive(Debug)]
pub struct Opened {
    /// The run.
    pub case: Case,
    _golden: Option<Golden>,
}

/// A temporary losses file. Dropping this value removes the file.
#[derive(Debug)]
struct Golden(PathBuf);

impl Golden {
    fn put(text: &str) -> Result<Self, CapsuleError> {
        static N_PUT: AtomicU32 = AtomicU32::new(0);
        let number = N_PUT.fetch_add(1, Ordering::Relaxed);
        let name = format!("unisono-sim-{}-{number}.csv", std::process::id());
        let path = std::env::temp_dir().join(name);
        match fs::write(&path, text) {
            Ok(()) => Ok(Self(path)),
            Err(source) => Err(CapsuleError::Unwritable { path, source }),
        }
    }
}

impl Drop for Golden {
    fn drop(&mut self) {
        // If the removal fails, a small file stays in the system's temporary folder, which is
        // harmless.
        let _ = fs::remove_file(&self.0);
    }
}
