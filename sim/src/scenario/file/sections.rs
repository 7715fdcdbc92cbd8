//! The sections that say what a scenario runs on.

use std::collections::BTreeMap;
use std::time::Duration;

use unisono_config::RunConfig;
use unisono_config::file::Wrong;
use unisono_core::TaskId;
use unisono_core::protocol::Limits;
use unisono_core::train_config::Placement;

use super::section::{Section, Value};
use super::tasks::{Shape, task, task_of_key, task_set};
use super::units::duration_text;
use super::{distributions, keys};
use crate::scenario::{
    ComputeModel, LinkOverride, NetworkModel, Scenario, SimLimits, StorageModel, Wire, WrongSetting,
};

/// The most tasks of a job: typing errors should not ask for more memory than there is.
pub(super) const MOST_PS: u32 = 64;
/// As above.
pub(super) const MOST_WORKERS: u32 = 4096;
/// As in a production file.
pub(super) const MOST_REPLICAS: u32 = 4096;
/// Slots a worker that a seed may draw.
pub(super) const MOST_SLOTS: u32 = 64;
/// The simulator's model of 31 KB then counts as one of 31 GB.
pub(super) const MOST_TIMES_AS_LARGE: u32 = 1_000_000;

pub(super) const PLACEMENTS: [(Placement, &str); 2] =
    [(Placement::RoundRobin, "round-robin"), (Placement::Even, "even")];
pub(super) const WIRES: [(Wire, &str); 2] = [(Wire::Shared, "shared"), (Wire::Bytes, "bytes")];

/// `[cluster]`. Who is started when can be read only once it is known who there is.
pub(super) struct Cluster<'a> {
    pub(super) n_ps: u32,
    pub(super) n_workers: u32,
    pub(super) placement: Placement,
    section: Section<'a>,
}

impl<'a> Cluster<'a> {
    pub(super) fn read(section: Section<'a>) -> Result<Self, Wrong> {
        let default = Scenario::default().run;
        let count = |key, default, most| {
            section.get(key).map_or(Ok(default), |value| value.whole(1..=most))
        };
        let placement =
            section.get("placement").map(|value| value.choice("placement", &PLACEMENTS));
        Ok(Self {
            n_ps: count("ps", default.n_ps, MOST_PS)?,
            n_workers: count("workers", default.sync.total_num_replicas, MOST_WORKERS)?,
            placement: placement.unwrap_or(Ok(default.placement))?,
            section,
        })
    }

    pub(super) fn start(&self, shape: &Shape) -> Result<BTreeMap<TaskId, Duration>, Wrong> {
        let mut start = BTreeMap::new();
        for entry in self.section.get("start").map_or(Ok(Vec::new()), Section::entries)? {
            let task = task_of_key(entry, shape)?;
            let time = entry.duration()?;
            shape.check_time(entry, time)?;
            if start.insert(task, time).is_some() {
                return Err(entry.wrong(format!("{task} is named twice")));
            }
        }
        // At time zero is when tasks are started anyway.
        start.retain(|_, time| !time.is_zero());
        Ok(start)
    }

    pub(super) fn wrong(&self, run: &RunConfig, shape: &Shape) -> Result<Vec<WrongSetting>, Wrong> {
        let tables = self.section.all("wrong", &keys::WRONG)?;
        tables.into_iter().map(|table| wrong_setting(table, run, shape)).collect()
    }
}

fn wrong_setting(
    section: Section<'_>,
    run: &RunConfig,
    shape: &Shape,
) -> Result<WrongSetting, Wrong> {
    let settings = run.settings();
    let keys = settings.iter().map(|(key, _)| key).chain(["data"]);
    let named: Vec<_> = keys.map(|key| (key, key)).collect();
    let key = section.need("key")?;
    let name = key.choice("setting that tasks compare", &named)?;
    let value = section.need("value")?;
    let text = value.text("text, such as \"64\"")?;
    if settings.iter().any(|setting| setting == (name, text)) {
        return Err(value.wrong(format!("{text:?} is what the run has, and not wrong")));
    }
    Ok(WrongSetting {
        node: task(section.need("node")?, shape)?,
        key: name.to_owned(),
        value: text.to_owned(),
    })
}

pub(super) fn replicas(section: Section<'_>) -> Result<Option<u32>, Wrong> {
    section.get("replicas_to_aggregate").map(|value| value.whole(1..=MOST_REPLICAS)).transpose()
}

pub(super) fn limits(section: Section<'_>) -> Result<Limits, Wrong> {
    let mut limits = Limits::default();
    for (key, field) in limit_fields(&mut limits) {
        if let Some(value) = section.get(key) {
            *field = value.positive_duration()?;
        }
    }
    let Limits { heartbeat_interval, heartbeat_timeout, reconnect_min, reconnect_max, .. } = limits;
    if heartbeat_interval >= heartbeat_timeout {
        let ends =
            [("heartbeat_interval", heartbeat_interval), ("heartbeat_timeout", heartbeat_timeout)];
        return Err(upside_down(section, ends));
    }
    if reconnect_min > reconnect_max {
        let ends = [("reconnect_min", reconnect_min), ("reconnect_max", reconnect_max)];
        return Err(upside_down(section, ends));
    }
    Ok(limits)
}

/// Two limits, of which at least one is given, are in the wrong order.
fn upside_down(section: Section<'_>, ends: [(&str, Duration); 2]) -> Wrong {
    let [(less, less_time), (more, more_time)] = ends;
    let (less_time, more_time) = (duration_text(less_time), duration_text(more_time));
    let what = format!("{less} is {less_time} and {more} is {more_time}: raise the second");
    let value = section.get(more).or_else(|| section.get(less));
    Wrong { at: value.map_or(section.at, |value| value.at), what }
}

/// The limits by name.
pub(super) fn limit_fields(limits: &mut Limits) -> [(&'static str, &mut Duration); 10] {
    [
        ("heartbeat_interval", &mut limits.heartbeat_interval),
        ("heartbeat_timeout", &mut limits.heartbeat_timeout),
        ("reconnect_min", &mut limits.reconnect_min),
        ("reconnect_max", &mut limits.reconnect_max),
        ("report_after", &mut limits.report_after),
        ("give_up_after", &mut limits.give_up_after),
        ("linger", &mut limits.linger),
        ("stop_timeout", &mut limits.stop_timeout),
        ("save_interval", &mut limits.save_interval),
        ("final_save_retry", &mut limits.final_save_retry),
    ]
}

pub(super) fn compute(section: Section<'_>, shape: &Shape) -> Result<ComputeModel, Wrong> {
    let default = ComputeModel::default();
    let mut tasks = BTreeMap::new();
    for table in section.all("task", &keys::COMPUTE_TASK)? {
        let time = distributions::read(table.need("time")?)?;
        tasks.insert(task(table.need("node")?, shape)?, time);
    }
    Ok(ComputeModel {
        gradient: section.get("gradient").map_or(Ok(default.gradient), distributions::read)?,
        update: section.get("update").map_or(Ok(default.update), distributions::read)?,
        tasks,
    })
}

pub(super) fn network(section: Section<'_>, shape: &Shape) -> Result<NetworkModel, Wrong> {
    let default = NetworkModel::default();
    let rate = |key| section.get(key).map_or(Ok(None), Value::rate_or_unlimited);
    let links = section.all("link", &keys::LINK)?;
    Ok(NetworkModel {
        wire: section.get("wire").map_or(Ok(default.wire), |value| value.choice("wire", &WIRES))?,
        latency: section.get("latency").map_or(Ok(default.latency), distributions::read)?,
        jitter: section.get("jitter").map_or(Ok(default.jitter), distributions::read)?,
        bandwidth: rate("bandwidth")?,
        nic: rate("nic")?,
        tensor_factor: section
            .get("tensor_factor")
            .map_or(Ok(default.tensor_factor), |value| value.whole(1..=MOST_TIMES_AS_LARGE))?,
        connect_timeout: section
            .get("connect_timeout")
            .map_or(Ok(default.connect_timeout), Value::positive_duration)?,
        links: links.into_iter().map(|table| link(table, shape)).collect::<Result<_, _>>()?,
    })
}

fn link(section: Section<'_>, shape: &Shape) -> Result<LinkOverride, Wrong> {
    let from = task_set(section.need("from")?, shape)?;
    let to = section.need("to")?;
    let link = LinkOverride {
        from,
        to: task_set(to, shape)?,
        latency: section.get("latency").map(distributions::read).transpose()?,
        jitter: section.get("jitter").map(distributions::read).transpose()?,
        bandwidth: section.get("bandwidth").map(Value::rate).transpose()?,
    };
    shape.check_linked(to, link.from, link.to)?;
    if (&link.latency, &link.jitter, link.bandwidth) == (&None, &None, None) {
        let what = "the link is as all others: give latency, jitter or bandwidth".to_owned();
        return Err(section.wrong(what));
    }
    Ok(link)
}

pub(super) fn storage(section: Section<'_>) -> Result<StorageModel, Wrong> {
    let default = StorageModel::default();
    let duration = |key, default| section.get(key).map_or(Ok(default), Value::duration);
    Ok(StorageModel {
        write: duration("write", default.write)?,
        sync: duration("sync", default.sync)?,
        read: duration("read", default.read)?,
        bandwidth: section.get("bandwidth").map_or(Ok(None), Value::rate_or_unlimited)?,
    })
}

pub(super) fn sim(section: Section<'_>) -> Result<SimLimits, Wrong> {
    const MOST_SEEDS: u32 = 1_000_000;
    const MOST_EVENTS: i64 = 1_000_000_000_000;
    let default = SimLimits::default();
    let events = section.get("max_events").map(|value| value.whole(1..=MOST_EVENTS)).transpose()?;
    Ok(SimLimits {
        seeds: section
            .get("seeds")
            .map_or(Ok(default.seeds), |value| value.whole(1..=MOST_SEEDS))?,
        max_virtual_time: section
            .get("max_virtual_time")
            .map_or(Ok(default.max_virtual_time), Value::positive_duration)?,
        max_events: events.map_or(default.max_events, i64::unsigned_abs),
        one_order: section.get("one_order").map_or(Ok(default.one_order), Value::flag)?,
    })
}

pub(super) fn liveness(section: Section<'_>) -> Result<Duration, Wrong> {
    let default = Scenario::default().liveness;
    section.get("within").map_or(Ok(default), Value::positive_duration)
}
