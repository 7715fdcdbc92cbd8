//! A short serial run, for tests that compare two models.

use crate::model::SimdLevel;
use crate::training::reference::Reference;
use crate::workload::Workload;
use unisono_config::RunConfig;
use unisono_core::ids::Slot;
use unisono_core::protocol::Snapshot;

/// Trains a workload for five updates. Returns the losses of each update, and the final state.
pub(crate) fn trained(workload: &Workload, run: &RunConfig) -> (Vec<Vec<(Slot, f32)>>, Snapshot) {
    let plan = workload.plan(run, SimdLevel::detect()).expect("a good plan");
    let mut reference = Reference::new(&plan, plan.initial(None).expect("no file is read"));
    let losses = (0..5)
        .map(|_| reference.update(reference.default_slots()).expect("finite").losses)
        .collect();
    (losses, reference.snapshot().clone())
}
