//! Scenario files: TOML to a [`Scenario`], and back.
//!
//! A file becomes a scenario that is right, or an error that names file, line and remedy; nothing
//! later checks it again. Whether faults bite and expectations hold is the runner's to find out.

mod chaos;
mod distributions;
mod error;
mod events;
mod expect;
mod extends;
mod faults;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod keys;
mod ranges;
mod reference;
mod section;
mod sections;
mod tasks;
#[cfg(test)]
mod tests;
mod train;
mod units;
mod write;

use std::path::Path;

use toml::de::DeTable;
use unisono_config::RunConfig;
use unisono_config::file::{Wrong, nearest};
use unisono_core::train_config::Sync;

pub use error::ScenarioError;
pub use reference::reference;
pub(crate) use units::parse_duration;

use self::error::Sources;
use self::section::Section;
use self::tasks::Shape;
use super::Scenario;

impl Scenario {
    /// Reads a file, and what it extends.
    ///
    /// # Errors
    /// If a file cannot be read, or something in it is wrong.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let sources = extends::read_chain(path)?;
        read(&sources).map_err(|wrong| sources.error(wrong))
    }

    /// Reads a text that extends nothing. `name` is what errors call it; a path in the text is
    /// relative to its folder.
    ///
    /// # Errors
    /// If something in it is wrong.
    pub fn parse(text: &str, name: &str) -> Result<Self, ScenarioError> {
        let mut sources = Sources::default();
        sources.add(Path::new(name), text);
        extends::refuse(sources.last())
            .and_then(|()| read(&sources))
            .map_err(|wrong| sources.error(wrong))
    }

    /// A text that [`Scenario::parse`] reads as this very scenario: what differs from the defaults.
    #[must_use]
    pub fn to_toml(&self) -> String {
        write::text(self)
    }
}

fn read(sources: &Sources) -> Result<Scenario, Wrong> {
    let file = &extends::merge(sources)?;
    check_sections(file)?;

    let cluster = sections::Cluster::read(Section::of(file, &keys::CLUSTER)?)?;
    let mut run = RunConfig { train: train::read(file)?, ..RunConfig::default() };
    (run.n_ps, run.placement) = (cluster.n_ps, cluster.placement);
    run.sync = Sync {
        replicas_to_aggregate: sections::replicas(Section::of(file, &keys::SYNC)?)?
            .unwrap_or(cluster.n_workers),
        total_num_replicas: cluster.n_workers,
    };
    let sim = sections::sim(Section::of(file, &keys::SIM)?)?;
    let chaos = match file.get(keys::CHAOS.name) {
        None => None,
        Some(table) => Some(chaos::read(Section::open(&keys::CHAOS, table)?, &sim)?),
    };
    let shape = &Shape::new(&run, chaos.as_ref(), &sim);
    let start = cluster.start(shape)?;
    let wrong = cluster.wrong(&run, shape)?;
    Ok(Scenario {
        start,
        wrong,
        limits: sections::limits(Section::of(file, &keys::LIMITS)?)?,
        compute: sections::compute(Section::of(file, &keys::COMPUTE)?, shape)?,
        network: sections::network(Section::of(file, &keys::NETWORK)?, shape)?,
        storage: sections::storage(Section::of(file, &keys::STORAGE)?)?,
        faults: faults::read(file, shape)?,
        expect: expect::read(Section::of(file, &keys::EXPECT)?, &run, shape, sources)?,
        liveness: sections::liveness(Section::of(file, &keys::LIVENESS)?)?,
        run,
        sim,
        chaos,
    })
}

/// Every top-level key is a section.
fn check_sections(file: &DeTable<'_>) -> Result<(), Wrong> {
    for (name, value) in file {
        let given = &**name.get_ref();
        if keys::sections().any(|known| known == given) {
            continue;
        }
        let at = name.span().start;
        let homes = || keys::ALL.iter().filter(|known| known.form == keys::Form::Section);
        let what = if let Some(near) = nearest(given, keys::sections()) {
            format!("there is no section [{given}]; did you mean [{near}]?")
        } else if let Some(home) =
            homes().find(|home| home.has(given) && !value.get_ref().is_table())
        {
            format!("the key {given} belongs in the section [{}]", home.name)
        } else {
            let all: Vec<_> = keys::sections().map(|name| format!("[{name}]")).collect();
            format!("there is no section [{given}]; there are {}", all.join(", "))
        };
        return Err(Wrong { at, what });
    }
    Ok(())
}
