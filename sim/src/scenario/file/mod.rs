//! Scenario files: the reader that turns TOML into a [`Scenario`], and the writer.
//!
//! The reader returns a valid scenario, or an error with the file, the line and the correction.
//! Only a run shows whether faults have an effect and expectations are met.

mod distributions;
mod error;
mod events;
mod expect;
mod extends;
mod faults;
#[cfg(any(test, fuzzing))]
#[path = "../../../../tests/fuzzing/scenario.rs"]
pub(crate) mod fuzzing;
mod model;
mod ranges;
mod reference;
mod sections;
#[cfg(test)]
mod tests;
mod train;
mod write;

use std::path::Path;

use toml::de::DeTable;
use unisono_config::RunConfig;
use unisono_config::file::{Wrong, nearest};
use unisono_core::train_config::Sync;

pub(crate) use super::keys::units::parse_duration;
pub use error::ScenarioError;
pub use reference::reference;

use self::error::Sources;
use super::keys::section::section_with;
use super::keys::*;
use super::{Chaos, Cluster, Liveness, Scenario, SimLimits, SyncKeys, WrongSetting};

impl Scenario {
    /// Reads a file and the files that it extends.
    ///
    /// # Errors
    /// If a file cannot be read or is wrong.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let sources = extends::read_chain(path)?;
        read(&sources).map_err(|wrong| sources.error(wrong))
    }

    /// Reads a scenario from a text, which must not extend a file. Error messages use `name` as the
    /// path of the text. A path in the text is relative to the folder of `name`.
    ///
    /// # Errors
    /// If the text is not a valid scenario.
    pub fn parse(text: &str, name: &str) -> Result<Self, ScenarioError> {
        let mut sources = Sources::default();
        sources.add(Path::new(name), text);
        extends::refuse(sources.last())
            .and_then(|()| read(&sources))
            .map_err(|wrong| sources.error(wrong))
    }

    /// Returns a text that [`Scenario::parse`] reads as this scenario. The text contains only the
    /// keys whose values differ from the defaults.
    #[must_use]
    pub fn to_toml(&self) -> String {
        write::text(self)
    }
}

fn read(sources: &Sources) -> Result<Scenario, Wrong> {
    let file = &extends::merge(sources)?;
    check_sections(file)?;
    // These sections are read first, because the checks of all other sections need the size of the
    // cluster and the limits of the simulation.
    let any = Shape { tables: reference::all_tables, ..Shape::ANY };
    let sim: SimLimits = section(file, &any)?;
    let any = &Shape { max_virtual_time: sim.max_virtual_time, ..any };
    let Cluster { ps, workers, placement, .. } = section(file, any)?;
    let SyncKeys { replicas_to_aggregate } = section(file, any)?;
    let chaos = file.get(Chaos::known().name).map(|_| section(file, any)).transpose()?;
    let (train, own) = (train::read(file)?, model::read(file)?);
    let mut run = RunConfig { train, own, ..RunConfig::default() };
    (run.n_ps, run.placement) = (ps, placement);
    run.sync = Sync {
        replicas_to_aggregate: replicas_to_aggregate.unwrap_or(workers),
        total_num_replicas: workers,
    };
    let shape = &sections::shape(&run, chaos.as_ref(), &sim);
    // `[cluster]` is read again, now with the size of the cluster, to check that the tasks in
    // `start` and `wrong` exist.
    let Cluster { start, wrong, .. } = section(file, shape)?;
    check_wrong_settings(file, &run, shape)?;
    Ok(Scenario {
        start,
        wrong,
        limits: section(file, shape)?,
        compute: section(file, shape)?,
        network: section(file, shape)?,
        storage: section(file, shape)?,
        faults: faults::read(file, shape)?,
        expect: expect::read(file, shape, sources)?,
        places: expect::places(file, shape, sources)?,
        liveness: section::<Liveness>(file, shape)?.within,
        run,
        sim,
        chaos,
    })
}

fn section<T: Table>(file: &DeTable<'_>, shape: &Shape) -> Result<T, Wrong> {
    T::read(Section::of(file, T::known(), shape)?, None)
}

/// Checks that each setting in `[[cluster.wrong]]` exists, and that its value differs from the
/// run's value.
fn check_wrong_settings(file: &DeTable<'_>, run: &RunConfig, shape: &Shape) -> Result<(), Wrong> {
    let settings = run.settings();
    let keys = settings.iter().map(|(key, _)| key).chain(["data"]);
    let named: Vec<_> = keys.map(|key| (key, key)).collect();
    let cluster = Section::of(file, Cluster::known(), shape)?;
    for table in cluster.all("wrong", WrongSetting::known())? {
        let name = table.need("key")?.choice("setting that tasks compare", &named, None)?;
        let text = table.need("value")?.text("text in quotes")?;
        let is_right = settings.iter().any(|setting| setting == (name, text));
        let what = format!("{text:?} is the run's own value; give a different value");
        table.deny("value", is_right, what)?;
    }
    Ok(())
}

/// Checks that every top-level key is a section.
fn check_sections(file: &DeTable<'_>) -> Result<(), Wrong> {
    let names = || {
        let others = reference::tables().into_iter();
        let others = others.filter(|known| known.form != Form::Inline && !known.name.contains('.'));
        [train::NAME, model::NAME].into_iter().chain(others.map(|known| known.name))
    };
    let mut keys = file.iter();
    let Some((name, value)) = keys.find(|(name, _)| !names().any(|known| known == *name.get_ref()))
    else {
        return Ok(());
    };
    let given = &**name.get_ref();
    let home = section_with(given, &reference::tables()).filter(|_| !value.get_ref().is_table());
    let what = if let Some(near) = nearest(given, names()) {
        format!("there is no section [{given}]; did you mean [{near}]?")
    } else if let Some(home) = home {
        format!("the key {given} belongs in the section [{}]", home.name)
    } else {
        let all: Vec<_> = names().map(|name| format!("[{name}]")).collect();
        format!("there is no section [{given}]; there are {}", all.join(", "))
    };
    Err(Wrong { at: name.span().start, what })
}
