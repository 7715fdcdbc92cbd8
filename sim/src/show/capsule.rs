//! A failing run in a file: a seed alone is worth nothing after the next commit.

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

/// The version of the capsule's format.
const SCHEMA: u32 = 1;
/// What its file's name ends with.
pub const EXTENSION: &str = ".capsule.json";
/// The longest part of a file's name that is taken from a scenario's name or from a signature.
const MAX_NAME: usize = 40;

/// A run that failed, with all that it takes to play it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Capsule {
    /// The version of this format.
    pub schema: u32,
    /// The file that the scenario is from. It is not needed any more.
    pub path: String,
    /// The concrete scenario: a scenario file, with all that it extended, and with the faults that
    /// the seed drew.
    pub scenario: String,
    /// Where the file of the scenario states its expectations.
    #[serde(default)]
    pub places: Places,
    /// The losses file that the scenario's `golden` names.
    pub golden: Option<String>,
    /// The seed.
    pub seed: u64,
    /// The bug that was planted.
    pub bug: Option<String>,
    /// How it failed.
    pub failure: FailureNote,
    /// The hash of everything that happened.
    pub audit: String,
    /// Events of the universe.
    pub events: u64,
    /// What played it.
    pub build: Build,
}

/// How a run failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureNote {
    /// [`Failure::signature`].
    pub signature: String,
    /// For a person.
    pub text: String,
}

/// A build of the simulator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The version of the package.
    pub version: String,
    /// The commit, if `UNISONO_COMMIT` was set when it was built.
    pub commit: Option<String>,
    /// Features that it was built with.
    pub features: Vec<String>,
}

/// Why a capsule cannot be written, or is none.
#[derive(Debug, thiserror::Error)]
pub enum CapsuleError {
    /// The file cannot be read.
    #[error("cannot read the capsule {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is something else.
    #[error("{} is no capsule", path.display())]
    NoCapsule {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The file is of another version of the simulator.
    #[error(
        "{} is a capsule of schema {schema}, and this program knows only {SCHEMA}; build \
         unisono-sim {version} for it", path.display()
    )]
    Schema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        schema: u32,
        /// The version that wrote it.
        version: String,
    },
    /// The scenario in it is wrong.
    #[error("the scenario in the capsule {} is not of this version", path.display())]
    Scenario {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ScenarioError,
    },
}

impl Build {
    /// This one.
    #[must_use]
    pub fn this() -> Self {
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
    /// The capsule of a run that failed. `path` is the file that its scenario is from.
    #[must_use]
    pub fn of(path: &Path, case: &Case, failure: &Failure, played: &Played) -> Self {
        let golden = case.scenario.expect.golden.as_ref();
        Self {
            schema: SCHEMA,
            path: path.display().to_string(),
            scenario: case.scenario.to_toml(),
            places: case.scenario.expect.places.clone(),
            golden: golden.and_then(|path| fs::read_to_string(path).ok()),
            seed: case.seed,
            bug: None,
            failure: FailureNote { signature: failure.signature(), text: failure.to_string() },
            audit: played.audit.to_string(),
            events: played.n_events,
            build: Build::this(),
        }
    }

    /// The name of its file, which tells what failed, and how. Two bugs often fail in the same way,
    /// so that a planted bug stands in the place of the signature.
    #[must_use]
    pub fn file_name(&self) -> String {
        let stem = Path::new(&self.path).file_stem().unwrap_or_default().to_string_lossy();
        let what = self.bug.as_ref().unwrap_or(&self.failure.signature);
        format!("{}-{}-{}{EXTENSION}", words(&stem), words(what), self.seed)
    }

    /// Writes it into a folder, which is made if need be.
    ///
    /// # Errors
    /// If that cannot be done.
    pub fn save(&self, folder: &Path) -> Result<PathBuf, CapsuleError> {
        self.save_as(folder.join(self.file_name()))
    }

    /// Writes it into a file, with the folders above it.
    ///
    /// # Errors
    /// If that cannot be done.
    pub fn save_as(&self, path: PathBuf) -> Result<PathBuf, CapsuleError> {
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        let mut text = serde_json::to_string_pretty(self).expect("texts and numbers are JSON");
        text.push('\n');
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, text))
            .map_err(|source| CapsuleError::Unwritable { path: path.clone(), source })?;
        Ok(path)
    }

    /// Reads one.
    ///
    /// # Errors
    /// If the file is none, or of another version.
    pub fn load(path: &Path) -> Result<Self, CapsuleError> {
        let path = path.to_owned();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) => return Err(CapsuleError::Unreadable { path, source }),
        };
        let capsule: Self = match serde_json::from_str(&text) {
            Ok(capsule) => capsule,
            Err(source) => return Err(CapsuleError::NoCapsule { path, source }),
        };
        let Self { schema, build: Build { version, .. }, .. } = &capsule;
        if *schema != SCHEMA {
            return Err(CapsuleError::Schema { path, schema: *schema, version: version.clone() });
        }
        Ok(capsule)
    }

    /// What it plays. `path` is where it was read, for what is wrong with it.
    ///
    /// # Errors
    /// If its scenario is of another version, or its golden file cannot be put anywhere.
    pub fn open(&self, path: &Path) -> Result<Opened, CapsuleError> {
        let mut scenario = Scenario::parse(&self.scenario, &self.path)
            .map_err(|source| CapsuleError::Scenario { path: path.to_owned(), source })?;
        let golden = self.golden.as_deref().map(Golden::put).transpose()?;
        if let Some(Golden(path)) = &golden {
            scenario.expect.golden = Some(path.clone());
        }
        // Lines of the text above are known to nobody; those of the file are.
        scenario.expect.places = self.places.clone();
        let case = Case { scenario: Arc::new(scenario), seed: self.seed };
        Ok(Opened { case, _golden: golden })
    }
}

/// The name of a capsule's file without its extension; `None` if the file is no capsule's.
#[must_use]
pub fn stem(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_string_lossy().strip_suffix(EXTENSION)?.to_owned())
}

/// Letters, digits and single dashes, at most [`MAX_NAME`].
fn words(text: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let kept: String = text.chars().take(MAX_NAME).map(keep).collect();
    kept.split('-').filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
}

/// What a capsule plays, as long as this lives.
#[derive(Debug)]
pub struct Opened {
    /// The run.
    pub case: Case,
    _golden: Option<Golden>,
}

/// A losses file that is gone when this is.
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
        // What is left behind is a small file among the system's temporary ones.
        let _ = fs::remove_file(&self.0);
    }
}
