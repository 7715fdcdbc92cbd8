//! The cluster that a file describes, and the checks of the sections that describe it.

use unisono_config::RunConfig;
use unisono_core::protocol::Limits;

use super::reference;
use crate::scenario::keys::units::duration_text;
use crate::scenario::keys::*;
use crate::scenario::{Chaos, LinkOverride, Range, SimLimits};

/// Returns the smallest cluster and the run that the file describes.
pub(super) fn shape(run: &RunConfig, chaos: Option<&Chaos>, sim: &SimLimits) -> Shape {
    let range =
        |drawn: Option<Range<u32>>, fixed| drawn.unwrap_or(Range { min: fixed, max: fixed });
    let n_workers = range(chaos.and_then(|chaos| chaos.workers), run.sync.total_num_replicas);
    let replicas = chaos.and_then(|chaos| chaos.replicas_to_aggregate);
    let replicas = range(replicas, run.sync.replicas_to_aggregate);
    Shape {
        n_ps: range(chaos.and_then(|chaos| chaos.ps), run.n_ps).min,
        n_workers: n_workers.min,
        replicas: run.sync.replicas_to_aggregate,
        may_choose: replicas.min < n_workers.max,
        training_steps: run.train.training_steps,
        max_virtual_time: sim.max_virtual_time,
        tables: reference::all_tables,
    }
}

impl Check for Limits {
    fn check(&self, section: Section<'_>) -> Result<(), Wrong> {
        let Limits { heartbeat_interval, heartbeat_timeout, reconnect_min, reconnect_max, .. } =
            *self;
        let heartbeat =
            [("heartbeat_interval", heartbeat_interval), ("heartbeat_timeout", heartbeat_timeout)];
        let reconnect = [("reconnect_min", reconnect_min), ("reconnect_max", reconnect_max)];
        let are_wrong = [heartbeat_interval >= heartbeat_timeout, reconnect_min > reconnect_max];
        for ([(less, least), (more, most)], is_wrong) in
            [heartbeat, reconnect].into_iter().zip(are_wrong)
        {
            // The file gives at least one of two limits whose order is wrong.
            if let Some(value) =
                section.get(more).or_else(|| section.get(less)).filter(|_| is_wrong)
            {
                let (least, most) = (duration_text(least), duration_text(most));
                let what = format!("{less} is {least} and {more} is {most}: raise the second");
                return Err(Wrong { at: value.at, what });
            }
        }
        Ok(())
    }
}

impl Check for LinkOverride {
    fn check(&self, section: Section<'_>) -> Result<(), Wrong> {
        section.check_linked(self.from, self.to)?;
        if (&self.latency, &self.jitter, self.bandwidth) == (&None, &None, None) {
            return Err(
                section.wrong("the link is as all others: give latency, jitter or bandwidth")
            );
        }
        Ok(())
    }
}

impl Check for Chaos {
    fn check(&self, section: Section<'_>) -> Result<(), Wrong> {
        let what = "faults would begin after max_virtual_time, when the run is given up";
        section.deny("within", self.within > section.shape.max_virtual_time, what)
    }
}
