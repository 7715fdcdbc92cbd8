//! Rule 2: the slots of an update are all of them, or with R < N the first R that every shard holds
//! whole, in the order in which ps 0 learns it. Ps 0 alone chooses.

use unisono_core::protocol::{Effect, Input, Job, Message};
use unisono_core::{Cut, Slot, TaskId};

use super::{Life, Violation};
use crate::invariant::{At, Invariant};

/// Looks at what a ps says that it holds, at what ps 0 chooses, and at every update.
#[derive(Debug, Default)]
pub(super) struct WhichR;

impl Invariant for WhichR {
    fn after(&mut self, at: &At<'_>, _input: &Input, effects: &[Effect]) -> Result<(), Violation> {
        for effect in effects {
            match effect {
                Effect::Compute(Job::Update { cut, gradients, .. }) => {
                    let cut = *cut;
                    check_used(at, cut, gradients.iter().map(|(slot, _)| *slot))?;
                }
                Effect::Send { message: Message::Chosen { cut, slots }, .. } => {
                    check_chosen(at, *cut, slots)?;
                }
                Effect::Send { message: Message::Received { cut, slots }, .. } => {
                    check_received(at, *cut, slots)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn check_used(
    at: &At<'_>,
    cut: Cut,
    mut used: impl Iterator<Item = Slot> + Clone,
) -> Result<(), Violation> {
    // How many there are is rule 1's question, their order rule 3's.
    if !at.config.has_backup_workers() {
        let n_slots = at.config.sync.slots_per_step();
        return match used.find(|slot| slot.0 >= n_slots) {
            Some(slot) => {
                let what = format!("it uses slot {slot}, of {n_slots} slots a step");
                Err(Violation::new(2, "slot-of-no-step", what).at(cut.step).of(at.life.task))
            }
            None => Ok(()),
        };
    }
    let Some(Life { shard, .. }) = at.seen() else { return Ok(()) };
    let all: Vec<_> = used.clone().collect();
    match &shard.chosen {
        None => {
            let what = format!("it uses {all:?}, and was not told which slots are chosen");
            Err(Violation::new(2, "used-before-chosen", what).at(cut.step).of(at.life.task))
        }
        Some(chosen) if all.iter().any(|slot| !chosen.contains(slot)) => {
            let what = format!("it uses {all:?}, and {chosen:?} are chosen");
            Err(Violation::new(2, "not-the-chosen", what).at(cut.step).of(at.life.task))
        }
        Some(_) => Ok(()),
    }
}

fn check_chosen(at: &At<'_>, cut: Cut, slots: &[Slot]) -> Result<(), Violation> {
    let Some(Life { shard, .. }) = at.seen() else { return Ok(()) };
    let broken =
        |name, what: String| Err(Violation::new(2, name, what).at(cut.step).of(at.life.task));
    if at.life.task != TaskId::PS_ZERO {
        return broken("another-chooses", format!("it chooses {slots:?}"));
    }
    match &shard.choice {
        Some((decided, first)) if *decided == cut && first == slots => Ok(()),
        Some((decided, first)) if *decided == cut => {
            let what = format!("it chooses {slots:?}; every shard held {first:?} first");
            broken("not-the-first-r", what)
        }
        _ => broken("chosen-too-early", format!("it chooses {slots:?}, not held by every shard")),
    }
}

/// What ps 0 is told is true: otherwise what it chooses may never come.
fn check_received(at: &At<'_>, cut: Cut, slots: &[Slot]) -> Result<(), Violation> {
    let Some(Life { shard, .. }) = at.seen() else { return Ok(()) };
    let is_held = |slot: &&Slot| shard.cut == Some(cut) && shard.held.contains_key(slot);
    match slots.iter().find(|slot| !is_held(slot)) {
        Some(slot) => {
            let what = format!("it tells ps 0 that it holds slot {slot} of {cut}, and does not");
            Err(Violation::new(2, "not-received", what).at(cut.step).of(at.life.task))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixture::{Fixture, cut, gradients, ps, push, received, send, update};

    /// R = 2, N = 3: every shard holds slots 2 and 0, then 1, as ps 0 learns it.
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
        run.does(&mut WhichR, ps(0), vec![chosen(&[0, 2])]).unwrap();
        let job = update(cut(0), 1.0, gradients(0, &[0, 2]));
        run.does(&mut WhichR, ps(0), vec![job]).unwrap();
    }

    #[test]
    fn wrong_slots_an_early_choice_or_a_wrong_chooser_is_a_violation() {
        let mut run = decided();
        let name = |run: &mut Fixture, of, effect| {
            run.does(&mut WhichR, ps(of), vec![effect]).unwrap_err().name
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
        run.does(&mut WhichR, ps(1), told(1)).unwrap();
        let violation = run.does(&mut WhichR, ps(1), told(2)).unwrap_err();
        assert_eq!(violation.name, "not-received");
    }

    #[test]
    fn without_backup_workers_only_slots_of_the_step_may_be_used() {
        let mut run = Fixture::new(2, 2);
        run.ready(2).unwrap();
        let job = |slots: &[u32]| vec![update(cut(0), 1.0, gradients(0, slots))];
        run.does(&mut WhichR, ps(0), job(&[0, 1])).unwrap();
        assert_eq!(run.does(&mut WhichR, ps(0), job(&[0, 2])).unwrap_err().name, "slot-of-no-step");
    }
}
