//! Derives the cluster from the sections of a file, and checks the sections that describe the
//! cluster.

use unisono_config::RunConfig;
use unisono_core::protocol::Limits;

use super::reference;
use crate::scenario::keys::units::duration_text;
use crate::scenario::keys::*;
use crate::scenario::{Chaos, LinkOverride, Range, SimLimits};

/// Returns the smallest cluster that a seed may draw, and the run that the file describes. The
/// other sections of the file must fit this cluster and this run.
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
        let order = |is_wrong, (less, least), (more, most)| {
            let (least, most) = (duration_text(least), duration_text(most));
            let what = format!("{more} ({most}) is too small for {less} ({least}): raise {more}");
            // The default limits do not contradict each other. So if two limits contradict each
            // other, the file gives at least one of them.
            match section.get(more).or_else(|| section.get(less)) {
                Some(value) if is_wrong => Err(Wrong { at: value.at, what }),
                _ => Ok(()),
            }
        };
        let (interval, timeout) = (self.heartbeat_interval, self.heartbeat_timeout);
        let ends = (("heartbeat_interval", interval), ("heartbeat_timeout", timeout));
        order(interval >= timeout, ends.0, ends.1)?;
        let (min, max) = (self.reconnect_min, self.reconnect_max);
        order(min > max, ("reconnect_min", min), ("reconnect_max", max))
    }
}

impl Check for LinkOverride {
    fn check(&self, section: Section<'_>) -> Result<(), Wrong> {
        section.check_linked(self.from, self.to)?;
        if (&self.latency, &self.jitter, self.bandwidth) == (&None, &None, None) {
            let what = "the link equals all others: give latency, jitter or bandwidth";
            return Err(section.wrong(what));
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
