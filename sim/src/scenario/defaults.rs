//! What a scenario file that says nothing means: a small clean run, of some 20 ms of virtual time.
//!
//! Times vary a little by default. With constant times all seeds would play one order of events, since
//! the same message would always be the first.

use std::collections::BTreeMap;
use std::time::Duration;

use unisono_config::RunConfig;
use unisono_core::protocol::Limits;

use super::{
    Chaos, ComputeModel, Distribution, Expect, ExpectedOutcome, Family, NetworkModel, Oracle,
    Places, Range, Scenario, SimLimits, StorageModel, Wire,
};

const fn uniform(min: u64, max: u64) -> Distribution {
    Distribution::Uniform { min: micros(min), max: micros(max) }
}

const fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            run: small_run(),
            start: BTreeMap::new(),
            wrong: Vec::new(),
            limits: Limits::default(),
            compute: ComputeModel::default(),
            network: NetworkModel::default(),
            storage: StorageModel::default(),
            sim: SimLimits::default(),
            faults: Vec::new(),
            chaos: None,
            expect: Expect::default(),
            liveness: Duration::from_secs(60),
        }
    }
}

/// Two ps and two workers, and a model so small that a seed costs little.
fn small_run() -> RunConfig {
    let mut run = RunConfig::default();
    run.train.hidden = Vec::new();
    run.train.batch_size = 10;
    run.train.training_steps = 20;
    run
}

impl Default for ComputeModel {
    fn default() -> Self {
        Self { gradient: uniform(600, 800), update: uniform(40, 60), tasks: BTreeMap::new() }
    }
}

impl Default for NetworkModel {
    fn default() -> Self {
        Self {
            wire: Wire::Shared,
            latency: Distribution::Const(micros(100)),
            jitter: uniform(0, 20),
            bandwidth: None,
            nic: None,
            tensor_factor: 1,
            connect_timeout: Duration::from_secs(3),
            links: Vec::new(),
        }
    }
}

impl Default for StorageModel {
    fn default() -> Self {
        Self { write: micros(20), sync: micros(500), read: micros(20), bandwidth: None }
    }
}

impl Default for SimLimits {
    fn default() -> Self {
        Self {
            seeds: 64,
            max_virtual_time: Duration::from_secs(600),
            max_events: 1_000_000,
            one_order: false,
        }
    }
}

impl Default for Expect {
    fn default() -> Self {
        Self {
            outcome: ExpectedOutcome::Finished,
            final_step: None,
            oracle: Some(Oracle::Serial),
            golden: None,
            gradients_per_update: None,
            duplicates: None,
            stale: None,
            fenced: None,
            rollbacks: None,
            left_behind: None,
            virtual_time: None,
            events: Vec::new(),
            places: Places::default(),
        }
    }
}

impl Default for Chaos {
    fn default() -> Self {
        Self {
            families: Family::NAMED
                .iter()
                .map(|(family, _)| *family)
                // A wrong gradient makes a wrong run, as it should.
                .filter(|family| *family != Family::Gradient)
                .collect(),
            swarm: true,
            faults: Range { min: 1, max: 6 },
            within: Duration::from_millis(20),
            longest: Duration::from_secs(3),
            ps: None,
            workers: None,
            replicas_to_aggregate: None,
            slots_per_worker: None,
            tensor_factor: None,
            optimizer: false,
        }
    }
}
