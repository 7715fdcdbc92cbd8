//! Rule 2: an update uses all slots of its step or, with R < N, the first R slots whose gradients
//! every shard holds completely, in the order in which ps 0 learns of them. Only ps 0 chooses the
//! slots.

use unisono_core::protocol::{Effect, Job, Message};
use unisono_core::{Cut, Slot, TaskId};

use crate::lives::Shard;
use crate::rule::At;
use crate::violation::Violation;
use unisono_core::slots::{WrongSlots, wrong_slots};

/// Checks the slots that a ps reports as received, the slots that ps 0 chooses, and the slots of
/// every update.
pub(crate) fn which_r(at: &mut At<'_>) -> Result<(), Violation> {
    let Some(shard) = at.seen().map(|life| &life.shard) else { return Ok(()) };
    for effect in at.turn.effects {
        let (cut, broken) = match effect {
            Effect::Compute(Job::Update { cut, gradients, .. }) => {
                let slots: Vec<_> = gradients.iter().map(|(slot, _)| *slot).collect();
                (cut, check_used(at, shard, &slots))
            }
            Effect::Send { message: Message::Chosen { cut, slots }, .. } => {
                (cut, check_chosen(at, shard, *cut, slots))
            }
            Effect::Send { message: Message::Received { cut, slots }, .. } => {
                (cut, check_received(shard, *cut, slots))
            }
            _ => continue,
        };
        if let Some((name, what)) = broken {
            return Err(at.violation(2, name, cut.step, what));
        }
    }
    Ok(())
}

/// The name of a violation, and its text.
type Broken = (&'static str, String);

fn check_used(at: &At<'_>, shard: &Shard, slots: &[Slot]) -> Option<Broken> {
    let config = at.turn.config;
    if wrong_slots(config.sync, slots) == Some(WrongSlots::OfNoStep) {
        let n_slots = config.sync.slots_per_step();
        let what = format!("the update uses {slots:?}, but a step has {n_slots} slots");
        return Some(("slot-of-no-step", what));
    }
    match &shard.chosen {
        _ if !config.has_backup_workers() => None,
        None => {
            let what = format!("the update uses {slots:?}, but no slots are chosen yet");
            Some(("used-before-chosen", what))
        }
        Some(chosen) => slots.iter().any(|slot| !chosen.contains(slot)).then(|| {
            let what = format!("the update uses {slots:?}, but ps 0 chose {chosen:?}");
            ("not-the-chosen", what)
        }),
    }
}

fn check_chosen(at: &At<'_>, shard: &Shard, cut: Cut, slots: &[Slot]) -> Option<Broken> {
    if at.turn.life.task != TaskId::PS_ZERO {
        return Some(("another-chooses", format!("a ps other than ps 0 chooses {slots:?}")));
    }
    match &shard.choice {
        Some((decided, first)) if *decided == cut => (first != slots).then(|| {
            let what = format!("ps 0 chose {slots:?}, but every shard held {first:?} first");
            ("not-the-first-r", what)
        }),
        _ => {
            let what = format!("ps 0 chose {slots:?}, but not every shard holds them");
            Some(("chosen-too-early", what))
        }
    }
}

/// Checks that a shard holds the gradients that the shard reports as received. Otherwise, an update
/// could wait forever for the gradient of a chosen slot.
fn check_received(shard: &Shard, cut: Cut, slots: &[Slot]) -> Option<Broken> {
    let is_held = |slot: &&Slot| shard.cut == Some(cut) && shard.held.contains_key(slot);
    let slot = slots.iter().find(|slot| !is_held(slot))?;
    let what = format!("the ps reports slot {slot} of {cut} as received, but does not hold it");
    Some(("not-received", what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixture::{Fixture, cut, gradients, ps, push, received, send, update};

    /// Returns a run with R = 2 and N = 3, in which both shards hold the slots 0 and 2, and ps 0
    /// knows that the other shard holds slot 1, too.
    fn decided() -> Fixture {
        let mut run = Fixture::new(2, 3);
        run.ready(0).unwrap();
        run.all_computed(3).unwrap();
        for slot in [2, 0] {
            run.told(ps(0), slot, push(cut(0), slot, 0), vec![]).unwrap();
        }
        let slots = vec![Slot(0), Slot(1), Slot(2)];
        run.told_by_ps(received(cut(0), slots), vec![]).unwrap();
        run
    }

    fn chosen(slots: &[u32]) -> Effect {
        let slots = slots.iter().copied().map(Slot).collect();
        send(9, Message::Chosen { cut: cut(0), slots })
    }

    #[test]
    fn first_r_slots_that_every_shard_holds_pass() {
        let mut run = decided();
        run.does(&mut which_r, ps(0), vec![chosen(&[0, 2])]).unwrap();
        let job = update(cut(0), 1.0, gradients(0, &[0, 2]));
        run.does(&mut which_r, ps(0), vec![job]).unwrap();
    }

    #[test]
    fn wrong_slots_an_early_choice_or_a_wrong_chooser_is_a_violation() {
        let mut run = decided();
        let name = |run: &mut Fixture, of, effect| {
            run.does(&mut which_r, ps(of), vec![effect]).unwrap_err().name
        };
        assert_eq!(name(&mut run, 0, chosen(&[0, 1])), "not-the-first-r");
        assert_eq!(name(&mut run, 1, chosen(&[0, 2])), "another-chooses");
        let job = |slots: &[u32]| update(cut(0), 1.0, gradients(0, slots));
        assert_eq!(name(&mut run, 0, job(&[1, 2])), "not-the-chosen");
        assert_eq!(name(&mut run, 1, job(&[0, 2])), "used-before-chosen");
        let mut run = Fixture::new(2, 3);
        run.ready(3).unwrap();
        assert_eq!(name(&mut run, 0, chosen(&[0, 2])), "chosen-too-early");
    }

    #[test]
    fn reporting_a_slot_that_was_not_received_is_a_violation() {
        let mut run = Fixture::new(2, 3);
        run.ready(2).unwrap();
        let told = |slot| vec![send(9, received(cut(0), vec![Slot(slot)]))];
        run.does(&mut which_r, ps(1), told(1)).unwrap();
        let violation = run.does(&mut which_r, ps(1), told(2)).unwrap_err();
        assert_eq!(violation.name, "not-received");
    }

    #[test]
    fn without_backup_workers_only_slots_of_the_step_may_be_used() {
        let mut run = Fixture::new(2, 2);
        run.ready(2).unwrap();
        let job = |slots: &[u32]| vec![update(cut(0), 1.0, gradients(0, slots))];
        run.does(&mut which_r, ps(0), job(&[0, 1])).unwrap();
        assert_eq!(
            run.does(&mut which_r, ps(0), job(&[0, 2])).unwrap_err().name,
            "slot-of-no-step"
        );
    }
}
