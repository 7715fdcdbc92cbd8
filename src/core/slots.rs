//! Functions that check rules 1 to 5 and 8 of the protocol, as far as these rules concern slots,
//! generations and steps. The crate `unisono-rules` and the audit of ledgers share these functions.
//! The protocol does not use the functions, because they check the protocol.

use std::cmp::Ordering;

use crate::ids::{Cut, Slot};
use crate::protocol::Verdict;
use crate::train_config::Sync;

/// How the slots of an update break a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongSlots {
    /// Rule 1: not exactly R slots.
    NotR,
    /// Rule 1: a slot is used twice.
    Twice,
    /// Rule 2: the step has no such slot.
    OfNoStep,
    /// Rule 3: the slots do not ascend.
    NotAscending,
}

/// Returns the first of rules 1, 2 and 3 that the slots of an update break, or `None` if the slots
/// break no rule.
#[must_use]
pub fn wrong_slots(sync: Sync, slots: &[Slot]) -> Option<WrongSlots> {
    let is_of_step = |slot: &Slot| slot.0 < sync.slots_per_step();
    let ascends = slots.is_sorted_by(|a, b| a < b);
    let is_twice = || {
        let mut sorted = slots.to_vec();
        sorted.sort_unstable();
        sorted.windows(2).any(|pair| pair[0] == pair[1])
    };
    if slots.len() != sync.replicas_to_aggregate as usize {
        Some(WrongSlots::NotR)
    } else if !ascends && is_twice() {
        Some(WrongSlots::Twice)
    } else if !slots.iter().all(is_of_step) {
        Some(WrongSlots::OfNoStep)
    } else {
        (!ascends).then_some(WrongSlots::NotAscending)
    }
}

/// The age of a gradient: the gradient's generation and step, compared with those of the shard that
/// receives the gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// The gradient belongs to another generation than the shard, or the shard is empty. By rule 8,
    /// the gradient changes nothing.
    OtherGeneration,
    /// The gradient belongs to an earlier step, so it is stale (rule 5).
    Older,
    /// The gradient belongs to the generation and step of the shard.
    Current,
    /// The gradient belongs to a later step, which no correct worker can compute.
    Newer,
}

impl Age {
    /// Compares the generation and step of a gradient with those of a shard. `None` stands for an
    /// empty shard.
    #[must_use]
    pub fn of(gradient: Cut, shard: Option<Cut>) -> Self {
        match shard {
            Some(shard) if shard.generation == gradient.generation => {
                match gradient.step.cmp(&shard.step) {
                    Ordering::Less => Self::Older,
                    Ordering::Equal => Self::Current,
                    Ordering::Greater => Self::Newer,
                }
            }
            _ => Self::OtherGeneration,
        }
    }

    /// Returns the age that a gradient must have if its ps drops the gradient with this verdict.
    /// The verdict is `None` if the ps dropped the gradient because its slot was not chosen.
    #[must_use]
    pub const fn when_dropped(verdict: Option<Verdict>) -> Self {
        match verdict {
            Some(Verdict::Fenced) => Self::OtherGeneration,
            Some(Verdict::Stale) => Self::Older,
            Some(Verdict::Duplicate) | None => Self::Current,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_broken_rule_of_the_slots_is_named() {
        let sync = Sync { replicas_to_aggregate: 2, total_num_replicas: 3 };
        let wrong =
            |slots: &[u32]| wrong_slots(sync, &slots.iter().copied().map(Slot).collect::<Vec<_>>());
        assert_eq!(wrong(&[0, 2]), None);
        assert_eq!(wrong(&[0]), Some(WrongSlots::NotR));
        assert_eq!(wrong(&[0, 1, 2]), Some(WrongSlots::NotR));
        assert_eq!(wrong(&[9, 9]), Some(WrongSlots::Twice));
        assert_eq!(wrong(&[3, 0]), Some(WrongSlots::OfNoStep));
        assert_eq!(wrong(&[2, 0]), Some(WrongSlots::NotAscending));
    }
}
