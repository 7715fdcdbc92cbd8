//! Writes a scenario as a file: the keys whose values differ from the defaults, in the order of the
//! reference documentation.

use unisono_config::file::KnownSection;
use unisono_config::keys::TrainKeys;
use unisono_config::values::OptimizerName;
use unisono_config::{OwnSettings, RunConfig};

use super::sections::shape;
use super::{expect, model, train};
use crate::scenario::keys::lines::quoted;
use crate::scenario::keys::{Lines, Table, lines_of};
use crate::scenario::{Cluster, ExpectedOutcome, Liveness, Scenario, SyncKeys, small_run};

pub(super) fn text(scenario: &Scenario) -> String {
    let Scenario { run, limits, compute, network, storage, sim, chaos, .. } = scenario;
    let mut file = Lines::default();
    train(&mut file, run);
    model::write(&mut file, &run.own);
    let workers = run.sync.total_num_replicas;
    let cluster = Cluster {
        ps: run.n_ps,
        workers,
        placement: run.placement,
        start: scenario.start.clone(),
        wrong: scenario.wrong.clone(),
    };
    section(&mut file, &cluster, None);
    let sync = |replicas| SyncKeys { replicas_to_aggregate: Some(replicas) };
    section(&mut file, &sync(run.sync.replicas_to_aggregate), Some(&sync(workers)));
    section(&mut file, limits, None);
    section(&mut file, compute, None);
    section(&mut file, network, None);
    section(&mut file, storage, None);
    section(&mut file, sim, None);
    scenario.faults.iter().for_each(|fault| table(&mut file, fault));
    // The section is written even without keys, because its presence makes each seed draw faults.
    chaos.iter().for_each(|chaos| table(&mut file, chaos));
    let shape = shape(run, chaos.as_ref(), sim);
    let is_any = scenario.expect.outcome == ExpectedOutcome::Any;
    section(&mut file, &scenario.expect, Some(&expect::defaults(is_any, &shape)));
    section(&mut file, &Liveness { within: scenario.liveness }, None);
    file.into_file()
}

fn section<T: Table>(file: &mut Lines, section: &T, default: Option<&T>) {
    file.section(&T::known().heading(), lines_of(section, default));
}

fn table<T: Table>(file: &mut Lines, table: &T) {
    file.table(&T::known().heading(), lines_of(table, None));
}

fn train(file: &mut Lines, run: &RunConfig) {
    let mut default = small_run();
    let optimizer = default.settings();
    // Each optimizer has its own defaults for its parameters.
    let name = Some(OptimizerName::of(&run.train.optimizer));
    let resolved = train::resolve(TrainKeys { optimizer: name, ..TrainKeys::default() });
    default.train.optimizer = resolved.expect("a name contradicts nothing").optimizer;
    // The settings of an own workload are in [model], and one of them has the key model, too.
    let given = RunConfig { own: OwnSettings::default(), ..run.clone() }.settings();
    let (parameters, known) = (default.settings(), KnownSection::train());
    let keys = given.iter().filter(|(key, value)| {
        let default = if *key == "optimizer" { &optimizer } else { &parameters };
        known.has(key) && !default.iter().any(|setting| setting == (*key, *value))
    });
    let mut lines = Lines::default();
    keys.for_each(|(key, value)| lines.put(key, setting(key, value)));
    file.section("[train]", lines);
}

/// Returns a setting as TOML, from its canonical text.
fn setting(key: &str, value: &str) -> String {
    match key {
        "hidden" => format!("[{}]", value.replace(',', ", ")),
        "layers" => {
            let layers: Vec<_> = value.split("; ").map(quoted).collect();
            format!("[{}]", layers.join(", "))
        }
        "optimizer" | "order" | "input" | "loss" => quoted(value),
        _ => value.to_owned(),
    }
}
