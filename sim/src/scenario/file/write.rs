//! A scenario as a file: the keys that differ from the defaults, in the order of the reference.

use unisono_config::RunConfig;
use unisono_config::file::KnownSection;
use unisono_config::keys::TrainKeys;
use unisono_config::values::OptimizerName;

use super::lines::{Lines, quoted};
use super::tasks::Shape;
use super::{expect, train};
use crate::scenario::{Cluster, ExpectedOutcome, Liveness, Scenario, SyncKeys};

pub(super) fn text(scenario: &Scenario) -> String {
    let Scenario { run, limits, compute, network, storage, sim, chaos, .. } = scenario;
    let mut file = Lines::default();
    train(&mut file, run);
    let workers = run.sync.total_num_replicas;
    let cluster = Cluster {
        ps: run.n_ps,
        workers,
        placement: run.placement,
        start: scenario.start.clone(),
        wrong: scenario.wrong.clone(),
    };
    file.section(&cluster, None);
    let sync = |replicas| SyncKeys { replicas_to_aggregate: Some(replicas) };
    file.section(&sync(run.sync.replicas_to_aggregate), Some(&sync(workers)));
    file.section(limits, None);
    file.section(compute, None);
    file.section(network, None);
    file.section(storage, None);
    file.section(sim, None);
    scenario.faults.iter().for_each(|fault| file.table(fault));
    // A seed draws faults even if the section has no keys.
    chaos.iter().for_each(|chaos| file.table(chaos));
    let shape = Shape::new(run, chaos.as_ref(), sim);
    let is_any = scenario.expect.outcome == ExpectedOutcome::Any;
    file.section(&scenario.expect, Some(&expect::defaults(is_any, &shape)));
    file.section(&Liveness { within: scenario.liveness }, None);
    file.into_file()
}

fn train(file: &mut Lines, run: &RunConfig) {
    // Each optimizer has its own defaults for its parameters.
    let optimizer = TrainKeys {
        optimizer: Some(OptimizerName::of(&run.train.optimizer)),
        ..TrainKeys::default()
    };
    let mut default = Scenario::default().run;
    let settings = default.settings();
    let default_optimizer = settings.iter().find(|(key, _)| *key == "optimizer");
    default.train.optimizer =
        train::resolve(optimizer).expect("a name contradicts nothing").optimizer;
    let default = default.settings();
    let known = KnownSection::train();
    let is_default = |(key, value): &(&str, &str)| {
        if *key == "optimizer" {
            default_optimizer == Some((key, value))
        } else {
            default.iter().any(|setting| setting == (key, value))
        }
    };
    let settings = run.settings();
    let given = settings.iter().filter(|(key, _)| known.has(key));
    let given = given.filter(|setting| !is_default(setting));
    let keys: Vec<_> =
        given.map(|(key, value)| format!("{key} = {}", setting(key, value))).collect();
    file.text("[train]", &keys);
}

/// Returns the canonical text of a setting as TOML.
fn setting(key: &str, value: &str) -> String {
    match key {
        "hidden" => format!("[{}]", value.replace(',', ", ")),
        "optimizer" | "order" => quoted(value),
        _ => value.to_owned(),
    }
}
