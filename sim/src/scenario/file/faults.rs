//! `[[fault]]`: a flat table. Its keys depend on the kind of the fault.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use toml::de::DeTable;
use unisono_core::TaskId;

use super::events;
use crate::scenario::keys::tasks::task_set;
use crate::scenario::keys::*;
use crate::scenario::{End, EventPattern, Family, Fault, FaultKind, Trigger};

pub(super) fn read(file: &DeTable<'_>, shape: &Shape) -> Result<Vec<Fault>, Wrong> {
    let Some((name, value)) = file.get_key_value(Fault::known().name) else {
        return Ok(Vec::new());
    };
    let (mut ids, mut faults) = (BTreeSet::new(), Vec::new());
    let expected = "an array of tables: write [[fault]]";
    for table in Value::new(name.get_ref(), value, shape).items(expected)? {
        let family = family(table)?;
        let section = Section::open(&tables()[family as usize], table)?;
        let fault = Fault::read(section, None)?;
        let what = format!("another fault is called {:?}, too", fault.id);
        section.deny("id", !ids.insert(fault.id.clone()), what)?;
        faults.push(fault);
    }
    Ok(faults)
}

/// Returns the kind of a fault. The kind determines the known keys.
fn family(table: Value<'_>) -> Result<Family, Wrong> {
    let Some(kind) = table.raw.get("kind") else {
        let names: Vec<_> = Family::NAMED.iter().map(|(_, name)| *name).collect();
        let what = format!("kind is missing in [[fault]]; the kinds are {}", names.join(", "));
        return Err(Wrong { at: table.at, what });
    };
    table.inner("kind", kind).choice(Family::WHAT, Family::NAMED, None)
}

/// Returns the table of keys of each kind of fault, in the order of `Family::NAMED`.
pub(super) fn tables() -> &'static [Known] {
    static TABLES: LazyLock<Vec<Known>> = LazyLock::new(|| {
        let table = |(family, _): &(Family, &str)| {
            let common = &Fault::known().keys;
            let keys = [common.clone(), FaultKind::own_keys(*family)].concat();
            let (name, has_target) = (family.name(), *family != Family::Disk);
            let kind = Some(Kind { name, n_common_keys: common.len(), has_target });
            Known { name: "fault", form: Form::Tables, meaning: family.meaning(), keys, kind }
        };
        Family::NAMED.iter().map(table).collect()
    });
    &TABLES
}

impl Check for Fault {
    fn check(&self, section: Section<'_>) -> Result<(), Wrong> {
        section.deny("id", self.id.is_empty(), "it is empty; reports name a fault by it")?;
        // A fault that chaos draws may have no effect, but every drawn scenario must be a valid
        // file. So this check is left out for faults that may be inert.
        if !self.may_be_inert {
            check_effect(&self.kind, section)?;
        }
        match self.trigger {
            Trigger::At(time) => section.check_time("at", time)?,
            Trigger::AtStep(step) => section.check_version("at_step", step)?,
            Trigger::On(_) => {}
        }
        check_end(self, section)
    }
}

fn check_effect(kind: &FaultKind, section: Section<'_>) -> Result<(), Wrong> {
    let shape = section.shape;
    if section.known.has("to") {
        section.check_linked(task_set(section.need("from")?)?, task_set(section.need("to")?)?)?;
    }
    match *kind {
        FaultKind::Connect { from, to, .. } => {
            let what = "no task calls a worker; workers call ps: exchange from and to";
            section.deny("from", !shape.one_calls(from, to), what)
        }
        FaultKind::Gradient { node, .. } => {
            let what = "a ps computes no gradients; name workers";
            section.deny("node", !shape.has_worker(node), what)
        }
        FaultKind::Clock {
            skew_ppm: 0, jump: Duration::ZERO, set_back: Duration::ZERO, ..
        } => Err(section.wrong("no clock changes; give skew_ppm, jump or set_back")),
        _ => Ok(()),
    }
}

fn check_end(fault: &Fault, section: Section<'_>) -> Result<(), Wrong> {
    let name = fault.kind.family().name();
    for key in ["for", "until_step"] {
        let what = format!("a {name} fault ends as soon as it has begun; leave {key} out");
        section.deny(key, fault.kind.is_instant(), what)?;
    }
    let Some(End::UntilStep(until)) = fault.end else { return Ok(()) };
    section.check_version("until_step", until)?;
    if let FaultKind::Crash { node, .. } | FaultKind::Pause { node } | FaultKind::Stop { node } =
        fault.kind
    {
        let what = "the fault also stops ps 0, so that step never comes; give for";
        section.deny("until_step", node.contains(TaskId::PS_ZERO), what)?;
    }
    let begins = match fault.trigger {
        Trigger::AtStep(step) => Some(step),
        Trigger::On(EventPattern { event: Some(event), step, .. })
            if events::steps_of(event) == events::Steps::OfUpdate =>
        {
            step
        }
        Trigger::At(_) | Trigger::On(_) => None,
    };
    begins.map_or(Ok(()), |step| {
        let what = format!("the fault begins at step {step}, so it must end later");
        section.deny("until_step", until <= step, what)
    })
}
