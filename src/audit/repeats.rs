//! Checks that recomputed values have the same bits.
//!
//! After a rollback, steps are recomputed. The same version and the same slots must give the same
//! result, no matter which workers compute the gradients.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::shards::by_cut;
use super::{Rule, Violation};
use crate::found::Audit;
use crate::shard::Made;
use unisono_core::ids::{Slot, Step};
use unisono_observe::ledger::{Checksum, Loss, StateHash, UsedSlot};

/// Everything that determines a gradient: the settings and data (as an index), the step, the slot,
/// and the version of every shard (as hashes).
type GradientKey = (usize, Step, Slot, Vec<StateHash>);
/// Everything that determines an update of a shard: the settings and data (as an index), the ps,
/// the step, the version (as a hash) and the gradients.
type UpdateKey = (usize, u32, Step, StateHash, Vec<(Slot, Checksum)>);

pub(super) fn compare(audit: &mut Audit<'_>) {
    let again = made_again(audit);
    // Most runs have no rollback; skip the comparison, which hashes every update.
    if again.is_empty() {
        return;
    }
    let (n_repeated, mut violations) = updates(audit, &again);
    let (n_gradients_repeated, differing) = gradients(audit, &again);
    violations.extend(differing);
    audit.seen.n_repeated = n_repeated;
    audit.seen.n_gradients_repeated = n_gradients_repeated;
    audit.violations.extend(violations);
}

/// Returns the steps whose update was made more than once by any shard.
fn made_again(audit: &Audit<'_>) -> BTreeSet<Step> {
    let mut again = BTreeSet::new();
    for shard in &audit.shards {
        let mut known = BTreeSet::new();
        let steps = shard.made.iter().map(|made| made.update.step);
        again.extend(steps.filter(|step| !known.insert(*step)));
    }
    again
}

fn updates(audit: &Audit<'_>, again: &BTreeSet<Step>) -> (u64, Vec<Violation>) {
    let mut known: BTreeMap<UpdateKey, &Made<'_>> = BTreeMap::new();
    let (mut n_repeated, mut violations) = (0, Vec::new());
    let all = audit.shards.iter().flat_map(|shard| &shard.made);
    for made in all.filter(|made| again.contains(&made.update.step)) {
        let update = made.update;
        let slots = update.slots.iter().map(|used| (used.slot, used.checksum)).collect();
        match known.entry((made.arithmetic, made.ps(), update.step, update.before, slots)) {
            Entry::Vacant(place) => {
                place.insert(made);
            }
            Entry::Occupied(first) => {
                n_repeated += 1;
                let first = first.get();
                if first.update.after != update.after {
                    let wanted = format!("{}, as in {}", first.update.after, first.place());
                    let found = format!("{} of the same gradients", update.after);
                    violations.push(made.violation(Rule::SameBits, wanted, found));
                }
            }
        }
    }
    (n_repeated, violations)
}

/// Compares recomputed gradients. The comparison needs the version of every shard, so it skips an
/// update that is missing in some ledgers.
fn gradients(audit: &Audit<'_>, again: &BTreeSet<Step>) -> (u64, Vec<Violation>) {
    let mut known: BTreeMap<(u32, GradientKey), (&Made<'_>, &UsedSlot)> = BTreeMap::new();
    let (mut n_repeated, mut violations) = (0, Vec::new());
    for (cut, of_cut) in by_cut(&audit.shards) {
        let is_whole = |made: &&Made<'_>| made.header.n_ps as usize == of_cut.len();
        if !again.contains(&cut.step) || !of_cut.iter().all(is_whole) {
            continue;
        }
        // A gradient depends on all parameters, so the hashes of all shards are part of the key.
        let version: Vec<_> = of_cut.iter().map(|made| made.update.before).collect();
        let all = of_cut.iter().flat_map(|made| made.update.slots.iter().map(|used| (*made, used)));
        for (made, used) in all {
            let key = (made.arithmetic, made.update.step, used.slot, version.clone());
            match known.entry((made.ps(), key)) {
                Entry::Vacant(place) => {
                    place.insert((made, used));
                }
                Entry::Occupied(first) => {
                    n_repeated += 1;
                    let (first, as_first) = *first.get();
                    if (as_first.checksum, loss(as_first)) != (used.checksum, loss(used)) {
                        let (wanted, found) = (described(as_first), described(used));
                        let wanted = format!("{wanted}, as in {}", first.place());
                        violations.push(made.violation(Rule::SameBits, wanted, found));
                    }
                }
            }
        }
    }
    (n_repeated, violations)
}

fn loss(used: &UsedSlot) -> Option<Loss> {
    used.push.as_ref().map(|push| push.loss)
}

fn described(used: &UsedSlot) -> String {
    let loss = loss(used).map_or_else(|| "no loss".to_owned(), |loss| format!("loss {loss}"));
    format!("slot {} with gradient {} and {loss}", used.slot, used.checksum)
}
