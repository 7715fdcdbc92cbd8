//! The promise of the protocol, with random clusters and random faults: update k uses exactly R
//! gradients, and the trajectory is that of the serial run. A failing case shrinks to a scenario
//! file.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestError, TestRunner};
use unisono_core::train_config::{Optimizer, Placement, Sync};
use unisono_sim::play;
use unisono_sim::run::played::{PlayOptions, Played};
use unisono_sim::scenario::draw;
use unisono_sim::scenario::{Chaos, Family, Oracle, Range};
use unisono_sim::{ComputeCaches, Scenario};

/// A cluster and its faults. A fault is given by the number from which it is drawn.
#[derive(Clone, Debug)]
struct Case {
    n_ps: u32,
    n_workers: u32,
    replicas_to_aggregate: u32,
    training_steps: u64,
    is_even: bool,
    has_momentum: bool,
    seed: u64,
    faults: Vec<u32>,
}

fn cases() -> impl Strategy<Value = Case> {
    let cluster = (1u32..=3, 1u32..=4, 1u32..=6, 1u64..=12);
    let faults = proptest::collection::vec(0u32..10_000, 0..8);
    (cluster, any::<bool>(), any::<bool>(), any::<u64>(), faults).prop_map(
        |(cluster, is_even, has_momentum, seed, faults)| {
            let (n_ps, n_workers, replicas_to_aggregate, training_steps) = cluster;
            Case {
                n_ps,
                n_workers,
                replicas_to_aggregate,
                training_steps,
                is_even,
                has_momentum,
                seed,
                faults,
            }
        },
    )
}

impl Case {
    fn scenario(&self) -> Scenario {
        let mut scenario = Scenario::default();
        let Self { replicas_to_aggregate, n_workers, .. } = *self;
        scenario.run.n_ps = self.n_ps;
        scenario.run.sync = Sync { replicas_to_aggregate, total_num_replicas: n_workers };
        scenario.run.train.training_steps = self.training_steps;
        scenario.run.placement = if self.is_even { Placement::Even } else { Placement::RoundRobin };
        if self.has_momentum {
            scenario.run.train.optimizer = Optimizer::Momentum { momentum: 0.9, nesterov: false };
        }
        scenario.limits.save_interval = Duration::from_millis(5);
        let timing_chooses = replicas_to_aggregate < n_workers;
        scenario.expect.oracle =
            Some(if timing_chooses { Oracle::Provenance } else { Oracle::Serial });
        scenario.expect.gradients_per_update = Some(replicas_to_aggregate);
        let chaos = every_kind();
        let fault = |&number| draw::fault(&scenario, &chaos, &chaos.families, self.seed, number);
        let mut faults: Vec<_> = self.faults.iter().map(fault).collect();
        faults.sort_by(|a, b| a.id.cmp(&b.id));
        faults.dedup_by(|a, b| a.id == b.id);
        scenario.faults = faults;
        scenario
    }
}

fn every_kind() -> Chaos {
    let families = Family::NAMED.iter().map(|(family, _)| *family);
    Chaos {
        // A wrong gradient may rightly make the run wrong.
        families: families.filter(|family| *family != Family::Gradient).collect(),
        swarm: false,
        faults: Range { min: 0, max: 0 },
        within: Duration::from_millis(40),
        longest: Duration::from_secs(15),
        ps: None,
        workers: None,
        replicas_to_aggregate: None,
        slots_per_worker: None,
        tensor_factor: None,
        optimizer: false,
    }
}

/// The compute caches, shared by all cases, so that each gradient is computed once.
fn caches() -> &'static ComputeCaches {
    static CACHES: OnceLock<ComputeCaches> = OnceLock::new();
    CACHES.get_or_init(ComputeCaches::default)
}

fn run(scenario: &Scenario, seed: u64, caches: &ComputeCaches) -> Played {
    play(&Arc::new(scenario.clone()), seed, caches, PlayOptions::default())
}

/// Returns the failure of a case, with a scenario file that fails in the same way.
fn check(case: &Case, scenario: &Scenario, caches: &ComputeCaches) -> Result<(), TestCaseError> {
    match run(scenario, case.seed, caches).failure {
        None => Ok(()),
        Some(failure) => {
            let file = scenario.to_toml();
            let seed = case.seed;
            Err(TestCaseError::fail(format!("{failure}\n\nseed {seed} of this scenario:\n{file}")))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: ProptestConfig::default().cases.max(500),
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_update_uses_exactly_r_gradients_and_the_trajectory_is_serial_under_any_faults(
        case in cases()
    ) {
        check(&case, &case.scenario(), caches())?;
    }
}

/// The expectation that no run ever rolls back is wrong, so some case must fail. The case must
/// shrink to faults that all matter, and its scenario file must fail in the same way when it is
/// read again.
#[test]
fn failing_case_shrinks_to_a_file_that_fails_in_the_same_way() {
    let caches = caches();
    let broken = |case: &Case| {
        let mut scenario = case.scenario();
        scenario.expect.rollbacks = Some(Range { min: 0, max: 0 });
        scenario
    };
    let config = ProptestConfig { failure_persistence: None, cases: 500, ..Default::default() };
    let result = TestRunner::new(config).run(&cases(), |case| check(&case, &broken(&case), caches));
    let Err(TestError::Fail(_, case)) = result else { panic!("some fault rolls a run back") };
    for fault in 0..case.faults.len() {
        let mut without = case.clone();
        without.faults.remove(fault);
        check(&without, &broken(&without), caches).expect("each remaining fault is necessary");
    }
    let scenario = broken(&case);
    let reread = Scenario::parse(&scenario.to_toml(), "shrunk.toml")
        .expect("the text was written by this test");
    assert_eq!(reread, scenario);
    let signature = |scenario| run(scenario, case.seed, caches).failure.map(|f| f.signature());
    assert_eq!(signature(&reread), Some("rollbacks".to_owned()));
}
