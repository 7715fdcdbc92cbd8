//! `[[fault]]`: flat tables, whose kind says which keys they have.

use std::collections::BTreeSet;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use unisono_config::file::Wrong;
use unisono_core::TaskId;

use super::section::{Section, Value};
use super::tasks::{Shape, task, task_set};
use super::{distributions, events, keys};
use crate::scenario::{
    ConnectMode, DiskMode, End, EventPattern, Family, Fault, FaultKind, GradientMode,
    PartitionMode, PeersSee, TaskSet, Trigger, When,
};

pub(super) const PEERS: [(PeersSee, &str); 2] =
    [(PeersSee::Silence, "silence"), (PeersSee::Reset, "reset")];
pub(super) const PARTITIONS: [(PartitionMode, &str); 3] =
    [(PartitionMode::Stop, "stop"), (PartitionMode::Slow, "slow"), (PartitionMode::Jam, "jam")];
pub(super) const CONNECTS: [(ConnectMode, &str); 2] =
    [(ConnectMode::Refuse, "refuse"), (ConnectMode::Hang, "hang")];
pub(super) const GRADIENTS: [(GradientMode, &str); 2] =
    [(GradientMode::Nan, "nan"), (GradientMode::FlippedBit, "flipped-bit")];
/// The factor of a slow disk is a key of its own.
pub(super) const DISKS: [(DiskMode, &str); 7] = [
    (DiskMode::NoSpace, "enospc"),
    (DiskMode::Io, "eio"),
    (DiskMode::Torn, "torn"),
    (DiskMode::FailedSync, "failed-sync"),
    (DiskMode::LostUnsynced, "lost-unsynced"),
    (DiskMode::BitFlip, "bit-flip"),
    (DiskMode::Slow(0), "slow"),
];
pub(super) const WHENS: [(When, &str); 2] = [(When::Before, "before"), (When::After, "after")];

pub(super) fn read(file: &DeTable<'_>, shape: &Shape) -> Result<Vec<Fault>, Wrong> {
    let Some((name, value)) = file.get_key_value(keys::FAULT.name) else { return Ok(Vec::new()) };
    let value = Value::new(name.get_ref(), value);
    let DeValue::Array(tables) = value.raw else {
        return Err(value.is_not("an array of tables: write [[fault]]"));
    };
    let mut ids = BTreeSet::new();
    let mut faults = Vec::new();
    for table in tables.iter() {
        let family = family(table)?;
        let section = Section::open(keys::of_fault(family), table)?;
        let fault = fault(family, section, shape)?;
        if !ids.insert(fault.id.clone()) {
            let id = section.need("id")?;
            return Err(id.wrong(format!("another fault is called {:?}, too", fault.id)));
        }
        faults.push(fault);
    }
    Ok(faults)
}

/// A fault's kind, which has to be known before its keys are.
fn family(table: &Spanned<DeValue<'_>>) -> Result<Family, Wrong> {
    let kind = table.get_ref().get("kind").map(|kind| Value::new("kind", kind));
    let Some(kind) = kind else {
        let names = Family::NAMED.map(|(_, name)| name).join(", ");
        let what = format!("kind is missing in [[fault]]; there are {names}");
        return Err(Wrong { at: table.span().start, what });
    };
    kind.choice("kind of fault", &Family::NAMED)
}

fn fault(family: Family, section: Section<'_>, shape: &Shape) -> Result<Fault, Wrong> {
    let id = section.need("id")?;
    let name = id.text("text, such as \"worker dies\"")?;
    if name.is_empty() {
        return Err(id.wrong("it is empty; reports name a fault by it"));
    }
    let may_be_inert = section.get("may_be_inert").map_or(Ok(false), Value::flag)?;
    let shape = &Shape { may_be_inert, ..*shape };
    let kind = kind(family, section, shape)?;
    let trigger = trigger(section, shape)?;
    Ok(Fault {
        id: name.to_owned(),
        end: end(section, &kind, &trigger, shape)?,
        trigger,
        kind,
        may_be_inert,
    })
}

fn trigger(section: Section<'_>, shape: &Shape) -> Result<Trigger, Wrong> {
    let given: Vec<_> =
        ["at", "at_step", "on"].into_iter().filter_map(|key| section.get(key)).collect();
    match given[..] {
        [] => {
            let what = "nothing says when the fault begins; give at, at_step or on".to_owned();
            Err(section.wrong(what))
        }
        [value] => match value.key() {
            "at" => {
                let time = value.duration()?;
                shape.check_time(value, time)?;
                Ok(Trigger::At(time))
            }
            "at_step" => events::version(value, shape).map(Trigger::AtStep),
            _ => pattern(Section::open_value(&keys::ON, value)?, shape).map(Trigger::On),
        },
        [first, second, ..] => {
            let what = format!("the fault begins by {}, too; give one of them", first.key());
            Err(second.wrong(what))
        }
    }
}

fn pattern(section: Section<'_>, shape: &Shape) -> Result<EventPattern, Wrong> {
    let event = section.get("event").map(events::event).transpose()?;
    let step = section.get("step").map(|value| events::step(value, event, shape)).transpose()?;
    let nth = section.get("nth").map_or(Ok(1), |value| value.whole(1..=i64::MAX))?;
    Ok(EventPattern {
        event,
        node: section.get("node").map(|value| task(value, shape)).transpose()?,
        step,
        nth: nth.unsigned_abs(),
        when: section.get("when").map_or(Ok(When::After), |value| value.choice("side", &WHENS))?,
    })
}

fn end(
    section: Section<'_>,
    kind: &FaultKind,
    trigger: &Trigger,
    shape: &Shape,
) -> Result<Option<End>, Wrong> {
    let (value, end) = match (section.get("for"), section.get("until_step")) {
        (None, None) => return Ok(None),
        (Some(_), Some(until)) => {
            return Err(until.wrong("the fault ends by for, too; give one of them"));
        }
        (Some(value), None) => (value, End::For(value.positive_duration()?)),
        (None, Some(value)) => (value, End::UntilStep(events::version(value, shape)?)),
    };
    let name = kind.family().name();
    match kind {
        FaultKind::Reset { .. } | FaultKind::HalfOpen { .. } | FaultKind::Duplicate { .. } => {
            return Err(
                value.wrong(format!("a {name} is over in an instant; leave {} out", value.key()))
            );
        }
        FaultKind::Crash { node, .. } | FaultKind::Pause { node } | FaultKind::Stop { node }
            if node.contains(TaskId::PS_ZERO) && matches!(end, End::UntilStep(_)) =>
        {
            let what = "ps 0, whose version is waited for, gets no further meanwhile; give for";
            return Err(value.wrong(what));
        }
        _ => {}
    }
    check_order(value, trigger, end)?;
    Ok(Some(end))
}

/// A fault ends after it begins.
fn check_order(value: Value<'_>, trigger: &Trigger, end: End) -> Result<(), Wrong> {
    let End::UntilStep(until) = end else { return Ok(()) };
    let begins = match trigger {
        Trigger::At(_) => None,
        Trigger::AtStep(step) => Some(*step),
        Trigger::On(EventPattern { event, step, .. }) => step.filter(|_| {
            event.is_some_and(|kind| events::steps_of(kind) == events::Steps::OfUpdate)
        }),
    };
    match begins {
        Some(step) if until <= step => {
            Err(value.wrong(format!("the fault begins at step {step}, and must end later")))
        }
        _ => Ok(()),
    }
}

fn kind(family: Family, section: Section<'_>, shape: &Shape) -> Result<FaultKind, Wrong> {
    let tasks = |key| task_set(section.need(key)?, shape);
    let flag = |key, default| section.get(key).map_or(Ok(default), Value::flag);
    Ok(match family {
        Family::Crash => FaultKind::Crash {
            node: tasks("node")?,
            peers: section
                .get("peers")
                .map_or(Ok(PeersSee::Silence), |value| value.choice("way to notice", &PEERS))?,
            power_loss: flag("power_loss", false)?,
        },
        Family::Pause => FaultKind::Pause { node: tasks("node")? },
        Family::Stop => FaultKind::Stop { node: tasks("node")? },
        Family::Slow => FaultKind::Slow {
            node: tasks("node")?,
            factor: section
                .need("factor")?
                .number("a number above 0", |factor| factor > 0.0 && factor.is_finite())?,
        },
        Family::Delay => {
            let Ends { from, to } = ends(section, shape)?;
            FaultKind::Delay { from, to, by: distributions::read(section.need("by")?)? }
        }
        Family::Partition => {
            let Ends { from, to } = ends(section, shape)?;
            let mode = section.get("mode");
            FaultKind::Partition {
                from,
                to,
                both_ways: flag("both_ways", true)?,
                mode: mode.map_or(Ok(PartitionMode::Stop), |mode| {
                    mode.choice("mode of partitions", &PARTITIONS)
                })?,
            }
        }
        Family::Reset => {
            let Ends { from, to } = ends(section, shape)?;
            FaultKind::Reset { from, to }
        }
        Family::HalfOpen => {
            let Ends { from, to } = ends(section, shape)?;
            FaultKind::HalfOpen { from, to }
        }
        Family::Duplicate => {
            let Ends { from, to } = ends(section, shape)?;
            FaultKind::Duplicate { from, to }
        }
        Family::Connect => connect(section, shape)?,
        Family::Corrupt => {
            let Ends { from, to } = ends(section, shape)?;
            FaultKind::Corrupt { from, to }
        }
        Family::NarrowLink => {
            let Ends { from, to } = ends(section, shape)?;
            FaultKind::NarrowLink { from, to, rate: section.need("rate")?.rate()? }
        }
        Family::SlowReader => {
            let node = task_set(section.need("node")?, shape)?;
            FaultKind::SlowReader { node, rate: section.need("rate")?.rate()? }
        }
        Family::Disk => FaultKind::Disk { mode: disk(section)? },
        Family::Clock => clock(section, shape)?,
        Family::Gradient => gradient(section, shape)?,
    })
}

struct Ends {
    from: TaskSet,
    to: TaskSet,
}

/// `from` and `to`, which have a link.
fn ends(section: Section<'_>, shape: &Shape) -> Result<Ends, Wrong> {
    let from = task_set(section.need("from")?, shape)?;
    let value = section.need("to")?;
    let to = task_set(value, shape)?;
    shape.check_linked(value, from, to)?;
    Ok(Ends { from, to })
}

fn connect(section: Section<'_>, shape: &Shape) -> Result<FaultKind, Wrong> {
    let Ends { from, to } = ends(section, shape)?;
    if !shape.may_be_inert && !shape.one_calls(from, to) {
        let what = "nobody calls a worker; workers call ps: exchange from and to";
        return Err(section.need("from")?.wrong(what));
    }
    let mode = section.get("mode");
    let mode =
        mode.map_or(Ok(ConnectMode::Refuse), |mode| mode.choice("way to fail", &CONNECTS))?;
    Ok(FaultKind::Connect { from, to, mode })
}

fn disk(section: Section<'_>) -> Result<DiskMode, Wrong> {
    const MOST: u32 = 1_000_000;
    let mode = section.need("mode")?.choice("mode of disks", &DISKS)?;
    match (mode, section.get("factor")) {
        (DiskMode::Slow(_), None) => {
            Err(section
                .wrong("factor is missing: a slow disk takes so many times as long".to_owned()))
        }
        (DiskMode::Slow(_), Some(factor)) => factor.whole(2..=MOST).map(DiskMode::Slow),
        (_, Some(factor)) => Err(factor.wrong("only a disk whose mode is \"slow\" has it")),
        (mode, None) => Ok(mode),
    }
}

fn clock(section: Section<'_>, shape: &Shape) -> Result<FaultKind, Wrong> {
    const SLOWEST_PPM: i32 = -500_000;
    const FASTEST_PPM: i32 = 1_000_000;
    let skew = section.get("skew_ppm").map(|value| value.whole(SLOWEST_PPM..=FASTEST_PPM));
    let duration = |key| section.get(key).map_or(Ok(Duration::ZERO), Value::duration);
    let skew_ppm = skew.unwrap_or(Ok(0))?;
    let (jump, set_back) = (duration("jump")?, duration("set_back")?);
    if !shape.may_be_inert && skew_ppm == 0 && jump.is_zero() && set_back.is_zero() {
        return Err(section.wrong("the clock is right; give skew_ppm, jump or set_back".to_owned()));
    }
    Ok(FaultKind::Clock { node: task_set(section.need("node")?, shape)?, skew_ppm, jump, set_back })
}

fn gradient(section: Section<'_>, shape: &Shape) -> Result<FaultKind, Wrong> {
    let value = section.need("node")?;
    let node = task_set(value, shape)?;
    if !shape.may_be_inert && !shape.has_worker(node) {
        return Err(value.wrong("a ps computes no gradients; name workers"));
    }
    let mode = section.need("mode")?.choice("wrong gradient", &GRADIENTS)?;
    Ok(FaultKind::Gradient { node, mode })
}
