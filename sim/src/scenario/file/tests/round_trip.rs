//! Files are read as scenarios, and scenarios are written as files.

use std::time::Duration;

use proptest::prelude::*;
use unisono_core::train_config::Optimizer;
use unisono_core::{Job, Step, TaskId};

use crate::scenario::{Distribution, End, Fault, FaultKind, Oracle, Scenario, TaskSet, Trigger};

fn parse(text: &str) -> Scenario {
    Scenario::parse(text, "a.toml").unwrap_or_else(|error| panic!("{error}"))
}

fn load(files: &[(&str, &str)]) -> Scenario {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    Scenario::load(&folder.path().join(files[0].0)).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn empty_file_is_the_default_scenario() {
    assert_eq!(parse(""), Scenario::default());
    assert_eq!(Scenario::default().to_toml(), "");
}

/// A file with every section, every kind of fault and every form of a value.
const EVERYTHING: &str = include_str!("../../../../../fuzz/corpus/scenario/everything.toml");

#[test]
fn every_key_is_written_as_it_was_read() {
    assert_eq!(parse(EVERYTHING).to_toml(), EVERYTHING);
}

#[test]
fn keys_with_their_default_values_are_not_written() {
    let text = "[chaos]\n[expect]\noracle = \"provenance\"\n[cluster]\nstart = { chief = \"0s\" }\n\
                [network]\nlatency = { const = \"100us\" }\nnic = \"unlimited\"\n\
                [sync]\nreplicas_to_aggregate = 1\n[train]\noptimizer = \"sgd\"";
    assert_eq!(parse(text).to_toml(), "[sync]\nreplicas_to_aggregate = 1\n\n[chaos]\n");
}

#[test]
fn default_oracle_is_the_strictest_that_holds() {
    let oracle = |text: &str| parse(text).expect.oracle;
    assert_eq!(oracle(""), Some(Oracle::Serial));
    assert_eq!(oracle("[sync]\nreplicas_to_aggregate = 1"), Some(Oracle::Provenance));
    assert_eq!(oracle("[chaos]\nworkers = { max = 3 }"), Some(Oracle::Provenance));
    assert_eq!(oracle("[expect]\noutcome = \"any\""), None);
}

#[test]
fn extending_file_wins_key_by_key_and_appends_its_tables() {
    let fault = |id: &str, at: &str| {
        format!("[[fault]]\nid = \"{id}\"\nkind = \"pause\"\nnode = \"chief\"\nat = \"{at}\"\n")
    };
    let base = format!(
        "[train]\noptimizer = \"momentum\"\nmomentum = 0.5\nseed = 9\n[network]\n\
         latency = {{ uniform = [\"1ms\", \"2ms\"] }}\njitter = \"1ms\"\n{}{}",
        fault("a", "1ms"),
        fault("b", "2ms")
    );
    let own = format!(
        "extends = \"base/b.toml\"\n[train]\noptimizer = \"sgd\"\n[network]\n\
         latency = {{ exponential = \"3ms\" }}\n{}{}",
        fault("b", "5ms"),
        fault("c", "3ms")
    );
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("base")).unwrap();
    std::fs::write(folder.path().join("base/b.toml"), base).unwrap();
    std::fs::write(folder.path().join("a.toml"), own).unwrap();
    let scenario = Scenario::load(&folder.path().join("a.toml")).unwrap();
    assert_eq!((scenario.run.train.optimizer, scenario.run.train.seed), (Optimizer::Sgd, 9));
    let exponential =
        Distribution::Exponential { min: Duration::ZERO, mean: Duration::from_millis(3) };
    assert_eq!(scenario.network.latency, exponential);
    assert_eq!(scenario.network.jitter, Distribution::Const(Duration::from_millis(1)));
    let faults = scenario.faults.iter();
    let faults: Vec<_> = faults.map(|fault| (fault.id.as_str(), fault.trigger.clone())).collect();
    let at = |millis| Trigger::At(Duration::from_millis(millis));
    assert_eq!(faults, [("a", at(1)), ("b", at(5)), ("c", at(3))]);
}

#[test]
fn long_file_can_extend_another() {
    let long = format!("extends = \"b.toml\"\n{}", "# and so on\n".repeat(10_000));
    assert_eq!(load(&[("a.toml", &long), ("b.toml", "[train]\nseed = 9")]).run.train.seed, 9);
}

#[test]
fn golden_path_is_relative_to_the_file_that_names_it() {
    let own = ("a.toml", "extends = \"b.toml\"");
    let golden = load(&[own, ("b.toml", "[expect]\ngolden = \"g.csv\"")]).expect.golden.unwrap();
    assert!(golden.is_absolute() && golden.ends_with("g.csv"), "{}", golden.display());
}

#[test]
fn fault_that_may_be_inert_may_have_an_impossible_target() {
    let fault =
        "[[fault]]\nid = \"f\"\nkind = \"reset\"\nfrom = \"chief\"\nto = \"chief\"\nat = \"0s\"\n";
    assert!(Scenario::parse(fault, "a.toml").is_err());
    assert!(Scenario::parse(&format!("{fault}may_be_inert = true"), "a.toml").is_ok());
}

fn durations() -> impl Strategy<Value = Duration> {
    prop_oneof![0..5_000_u64, 0..100_000_000_000_u64, Just(1_500_000_000)]
        .prop_map(Duration::from_nanos)
}

fn distributions() -> impl Strategy<Value = Distribution> {
    (0..5, durations(), durations(), 0.0..=1.0).prop_map(|(form, a, b, share)| {
        let (min, max) = (a.min(b), a.max(b));
        match form {
            0 => Distribution::Const(a),
            1 => Distribution::Uniform { min, max },
            2 => Distribution::Exponential { min: a, mean: b },
            3 => Distribution::Bimodal { usual: a, rare: b, share },
            _ => Distribution::Pareto { min, shape: share + 0.01, max },
        }
    })
}

fn faults() -> impl Strategy<Value = Fault> {
    let when = (durations(), 0..20_u64, any::<bool>(), 0..3_usize);
    ("[a-zA-Zé\"\\\\ \n]{1,8}", 0..6, when, distributions(), 0.001..1e9).prop_map(
        |(id, kind, (time, step, is_step, end), by, factor)| {
            let (node, from, to) =
                (TaskSet::Task(TaskId::worker(1)), TaskSet::All, TaskSet::Job(Job::Ps));
            let until = End::UntilStep(Step(20));
            let lasting = [None, Some(End::For(time + Duration::from_nanos(1))), Some(until)][end];
            let (kind, end) = match kind {
                0 => (FaultKind::Slow { node, factor }, lasting),
                1 => (FaultKind::Delay { from, to, by }, lasting),
                2 => (FaultKind::Reset { from, to }, None),
                3 => (FaultKind::Pause { node }, lasting),
                4 => (FaultKind::Corrupt { from, to }, lasting),
                _ => (FaultKind::Duplicate { from, to }, None),
            };
            let trigger = if is_step { Trigger::AtStep(Step(step)) } else { Trigger::At(time) };
            Fault { id, trigger, end, kind, may_be_inert: is_step }
        },
    )
}

proptest! {
    #[test]
    fn written_scenario_reads_back(
        mut faults in proptest::collection::vec(faults(), 0..5),
        (gradient, latency) in (distributions(), distributions()),
        (n_ps, n_workers, replicas) in (1..5_u32, 2..5_u32, 1..9_u32),
        (learning_rate, seed) in (1e-30..1e30, 0..i64::MAX as u64),
        write in durations(),
    ) {
        for (n, fault) in faults.iter_mut().enumerate() {
            fault.id.push_str(&n.to_string());
        }
        let mut scenario = Scenario { faults, ..Scenario::default() };
        scenario.run.n_ps = n_ps;
        scenario.run.sync.total_num_replicas = n_workers;
        scenario.run.sync.replicas_to_aggregate = replicas;
        scenario.run.train.learning_rate = learning_rate;
        scenario.run.train.seed = seed;
        scenario.compute.gradient = gradient;
        scenario.network.latency = latency;
        scenario.storage.write = write;
        if replicas < n_workers {
            scenario.expect.oracle = Some(Oracle::Provenance);
        }
        prop_assert_eq!(parse(&scenario.to_toml()), scenario);
    }
}
