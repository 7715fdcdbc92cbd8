//! Compares the ledgers of all shards: their lines about the same update must agree.

use std::collections::BTreeMap;

use super::shard::Restored;
use super::violation::{full, listed};
use super::{FilePlace, Rule, Violation};
use crate::found::{Audit, MAX_APART};
use crate::shard::{Made, ShardHistory};
use unisono_core::ids::{Cut, Generation, Slot, Step};

/// Groups updates by generation and step. If a shard made an update several times in a generation,
/// the group has only the last of these updates.
pub(super) fn by_cut<'b, 'a>(shards: &'b [ShardHistory<'a>]) -> BTreeMap<Cut, Vec<&'b Made<'a>>> {
    let mut updates: BTreeMap<Cut, Vec<&Made<'a>>> = BTreeMap::new();
    for made in shards.iter().flat_map(|shard| &shard.made) {
        let of_cut = updates.entry(made.update.cut()).or_default();
        match of_cut.last_mut().filter(|last| last.ps() == made.ps()) {
            Some(last) => *last = made,
            None => of_cut.push(made),
        }
    }
    updates
}

pub(super) fn compare(audit: &mut Audit<'_>) {
    let updates = by_cut(&audit.shards);
    let mut violations = Vec::new();
    for of_cut in updates.values() {
        let Some((first, others)) = of_cut.split_first() else { continue };
        for other in others {
            audit.seen.n_compared += 1;
            violations.extend(compare_settings(first, other));
            violations.extend(compare_updates(first, other));
        }
    }
    violations.extend(compare_clusters(audit));
    violations.extend(compare_standing(audit));
    violations.extend(compare_restored(&audit.shards));
    let notes = notes(audit);
    audit.violations.extend(violations);
    audit.notes.extend(notes);
}

/// Compares the slots of an update on two shards (rule 1), and the losses of its gradients (rule
/// 6).
fn compare_updates(first: &Made<'_>, other: &Made<'_>) -> Option<Violation> {
    let slots: Vec<Slot> = first.update.slot_numbers().collect();
    let others: Vec<Slot> = other.update.slot_numbers().collect();
    if slots != others {
        let wanted = format!("slots {}, as on ps {}", listed(&slots), first.ps());
        return Some(other.violation(Rule::ExactlyR, wanted, listed(&others)));
    }
    first.update.slots.iter().zip(&other.update.slots).find_map(|(used, others)| {
        let (push, others) = (used.push.as_ref()?, others.push.as_ref()?);
        (push.loss != others.loss).then(|| {
            // A gradient is computed once, from one whole version, so every shard must have
            // received the same loss.
            let wanted =
                format!("slot {} with loss {}, as on ps {}", used.slot, push.loss, first.ps());
            other.violation(Rule::WholeVersionsOnly, wanted, others.loss.to_string())
        })
    })
}

/// Compares the settings under which two shards made an update.
fn compare_settings(first: &Made<'_>, other: &Made<'_>) -> Option<Violation> {
    let differ = first.arithmetic != other.arithmetic;
    let difference = differ.then(|| other.header.difference(first.header))??;
    let wanted = format!("{} {}, as on ps {}", difference.key, difference.theirs, first.ps());
    Some(other.violation(Rule::SameBits, wanted, difference.ours))
}

/// Compares the settings of all ps, even of ps that made no common update.
fn compare_clusters(audit: &Audit<'_>) -> Vec<Violation> {
    let n_ps = audit.n_ps();
    // A ps that was removed from the cluster may have older settings, so its settings are not
    // compared.
    let mut members = audit.shards.iter().filter(|shard| shard.ps() < n_ps);
    let Some((first, theirs)) = members.find_map(|shard| Some((shard, shard.header()?))) else {
        return Vec::new();
    };
    let compare = |shard: &ShardHistory<'_>| {
        let difference = shard.header()?.difference(theirs)?;
        let wanted = format!("{} {}, as on ps {}", difference.key, difference.theirs, first.ps());
        let (rule, step) = (Rule::SameBits, Step(0));
        let (place, found) = (shard.place_of_header()?, difference.ours.to_owned());
        Some(Violation { rule, step, place, wanted, found })
    };
    members.filter_map(compare).collect()
}

/// Checks that all shards made an update in the same generation, for each update that no rollback
/// undid (rule 8).
fn compare_standing(audit: &Audit<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for of_step in audit.standing().values() {
        let Some((first, others)) = of_step.split_first() else { continue };
        let theirs = first.update.generation;
        for other in others.iter().filter(|other| other.update.generation != theirs) {
            let wanted = format!("generation {}, as on ps {}", full(theirs), first.ps());
            let found = full(other.update.generation);
            violations.push(other.violation(Rule::Fencing, wanted, found));
        }
    }
    violations
}

/// Checks that all shards of a generation received the same version and the same training data
/// (rule 7).
fn compare_restored(shards: &[ShardHistory<'_>]) -> Vec<Violation> {
    let mut first: BTreeMap<Generation, (&ShardHistory<'_>, &Restored<'_>)> = BTreeMap::new();
    let mut violations = Vec::new();
    for (shard, restored) in
        shards.iter().flat_map(|shard| shard.restored.iter().map(move |line| (shard, line)))
    {
        let line = restored.line;
        let (other, theirs) = *first.entry(line.generation).or_insert((shard, restored));
        let (wanted, found) = if theirs.line.step != line.step {
            let generation = full(line.generation);
            let wanted = format!("version {} in generation {generation}", theirs.line.step);
            (wanted, format!("version {}", line.step))
        } else if theirs.line.data != line.data {
            let digest = |data: &Option<String>| data.clone().unwrap_or_else(|| "none".to_owned());
            (format!("training data {}", digest(&theirs.line.data)), digest(&line.data))
        } else {
            continue;
        };
        let place = FilePlace::line(&shard.ledger().path, restored.number);
        let wanted = format!("{wanted}, as on ps {}", other.ps());
        let rule = Rule::CheckpointsAreCuts;
        violations.push(Violation { rule, step: line.step, place, wanted, found });
    }
    violations
}

/// Returns notes about ledgers that are missing or too short.
fn notes(audit: &Audit<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    let absent: Vec<_> = audit.absent().iter().map(|ps| format!("ps {ps}")).collect();
    if !absent.is_empty() {
        notes.push(format!(
            "there is no ledger of {}: collect the ledgers of all ps in one folder",
            absent.join(", ")
        ));
    }
    let ends = audit.shards.iter().filter_map(|shard| Some((shard.end()?, shard)));
    let furthest = ends.clone().map(|(end, _)| end).max().unwrap_or_default();
    let is_behind = |end: Step| end.0.saturating_add(MAX_APART as u64) < furthest.0;
    for (end, shard) in ends.filter(|(end, _)| is_behind(*end)) {
        let (path, last) = (shard.ledger().path.display(), Step(furthest.0 - 1));
        notes.push(format!(
            "{path} ends with version {end}: updates {end} to {last} are only in other ledgers. A \
             ps stops its ledger with a warning when its disk is full"
        ));
    }
    notes
}
