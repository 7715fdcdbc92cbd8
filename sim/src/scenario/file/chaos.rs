//! `[chaos]`: what a seed may draw.

use unisono_config::file::Wrong;

use super::ranges;
use super::section::{Section, Value};
use super::sections::{MOST_PS, MOST_REPLICAS, MOST_SLOTS, MOST_TIMES_AS_LARGE, MOST_WORKERS};
use crate::scenario::{Chaos, Family, Range, SimLimits};

/// The most faults of a run.
pub(super) const MOST_FAULTS: u32 = 1_000;

pub(super) fn read(section: Section<'_>, sim: &SimLimits) -> Result<Chaos, Wrong> {
    let default = Chaos::default();
    let counts = |key, least: u32, most: u32| {
        let read = |value| {
            ranges::read(value, Range { min: least, max: most }, |end| end.whole(least..=most))
        };
        section.get(key).map(read).transpose()
    };
    let flag = |key, default| section.get(key).map_or(Ok(default), Value::flag);
    let longest = section.get("longest");
    Ok(Chaos {
        families: section.get("families").map_or(Ok(default.families), families)?,
        swarm: flag("swarm", default.swarm)?,
        faults: counts("faults", 0, MOST_FAULTS)?.unwrap_or(default.faults),
        within: within(section, sim)?.unwrap_or(default.within),
        longest: longest.map_or(Ok(default.longest), Value::positive_duration)?,
        ps: counts("ps", 1, MOST_PS)?,
        workers: counts("workers", 1, MOST_WORKERS)?,
        replicas_to_aggregate: counts("replicas_to_aggregate", 1, MOST_REPLICAS)?,
        slots_per_worker: counts("slots_per_worker", 1, MOST_SLOTS)?,
        tensor_factor: counts("tensor_factor", 1, MOST_TIMES_AS_LARGE)?,
        optimizer: flag("optimizer", default.optimizer)?,
    })
}

fn within(section: Section<'_>, sim: &SimLimits) -> Result<Option<std::time::Duration>, Wrong> {
    let Some(value) = section.get("within") else { return Ok(None) };
    let within = value.positive_duration()?;
    if within > sim.max_virtual_time {
        return Err(
            value.wrong("faults would begin after max_virtual_time, when the run is given up")
        );
    }
    Ok(Some(within))
}

fn families(value: Value<'_>) -> Result<Vec<Family>, Wrong> {
    let expected = "an array of kinds of faults, such as [\"crash\", \"reset\"]";
    let mut families = Vec::new();
    for item in value.items(expected)? {
        let family = item.choice("kind of fault", &Family::NAMED)?;
        if families.contains(&family) {
            return Err(item.wrong(format!("\"{}\" is there twice", family.name())));
        }
        families.push(family);
    }
    if families.is_empty() {
        return Err(value.wrong("it is empty; name kinds of faults, or leave it out"));
    }
    Ok(families)
}
