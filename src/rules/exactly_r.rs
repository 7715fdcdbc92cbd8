//! Rule 1: an update of a version uses exactly R gradients, of R distinct slots, each computed from
//! this version. All shards use the same slots.

use unisono_core::protocol::{Effect, Job, ShardState};
use unisono_core::{Cut, Floats, Slot};

use crate::made::Key;
use crate::rule::At;
use crate::violation::Violation;
use unisono_core::slots::{WrongSlots, wrong_slots};

/// Checks every update that is begun.
pub(crate) fn exactly_r(at: &mut At<'_>) -> Result<(), Violation> {
    at.turn.effects.iter().try_for_each(|effect| match effect {
        Effect::Compute(Job::Update { cut, state, gradients }) => {
            check_slots(at, *cut, gradients)?;
            check_state(at, *cut, state)?;
            gradients.iter().try_for_each(|(slot, part)| check_gradient(at, *cut, *slot, part))
        }
        _ => Ok(()),
    })
}

fn check_slots(at: &At<'_>, cut: Cut, gradients: &[(Slot, Floats)]) -> Result<(), Violation> {
    let slots: Vec<_> = gradients.iter().map(|(slot, _)| *slot).collect();
    let broken = |name, what| Err(at.violation(1, name, cut.step, what));
    match wrong_slots(at.turn.config.sync, &slots) {
        Some(WrongSlots::NotR) => {
            let wanted = at.turn.config.sync.replicas_to_aggregate;
            let what = format!("the update has {} gradients, but R is {wanted}", slots.len());
            return broken("not-exactly-r", what);
        }
        Some(WrongSlots::Twice) => {
            return broken("slot-twice", format!("the update uses a slot twice: {slots:?}"));
        }
        // Rules 2 and 3 check for slots that the step does not have, and for a wrong order.
        Some(WrongSlots::OfNoStep | WrongSlots::NotAscending) | None => {}
    }
    match at.history.slots_of_update(cut) {
        // Only the sets of slots are compared, because rule 3 checks the order.
        Some(first) if *first != slots && slots.iter().any(|slot| !first.contains(slot)) => broken(
            "shards-disagree",
            format!("the update uses {slots:?}, but another shard used {first:?}"),
        ),
        _ => Ok(()),
    }
}

/// Checks that an update starts from the current version of its shard, and that the shard begins
/// only one update of this version.
fn check_state(at: &At<'_>, cut: Cut, state: &ShardState) -> Result<(), Violation> {
    if let Some(shard) = at.seen().map(|life| &life.shard) {
        if shard.cut != Some(cut) {
            let what = format!("the update starts from {cut}, but the shard is at {:?}", shard.cut);
            return Err(at.violation(1, "update-of-another-version", cut.step, what));
        }
        if shard.n_begun > 1 {
            let what = format!("the shard updates {cut} a second time");
            return Err(at.violation(1, "update-twice", cut.step, what));
        }
    }
    at.history.check((cut, Key::State(at.turn.life.task.index), 0), &state.parameters, |what| {
        at.violation(1, "update-of-another-version", cut.step, what)
    })
}

/// Checks that a gradient was pushed to this shard, and has the bits that were computed for its
/// slot from the version `cut`.
fn check_gradient(at: &At<'_>, cut: Cut, slot: Slot, part: &Floats) -> Result<(), Violation> {
    at.history.check((cut, Key::Gradient(slot), at.turn.life.task.index), part, |what| {
        at.violation(1, "gradient-of-another-version", cut.step, what)
    })?;
    if at.seen().is_none_or(|life| life.shard.held.contains_key(&slot)) {
        return Ok(());
    }
    let what = format!("slot {slot} was never pushed to this shard at {cut}");
    Err(at.violation(1, "gradient-never-came", cut.step, what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixture::{Fixture, cut, gradients, later, ps, update};

    fn broken(fixture: &mut Fixture, job: Effect) -> &'static str {
        fixture.does(&mut exactly_r, ps(0), vec![job]).unwrap_err().name
    }

    fn ready() -> Fixture {
        let mut run = Fixture::new(2, 2);
        run.ready(2).unwrap();
        run
    }

    #[test]
    fn update_with_pushed_gradients_passes() {
        let mut run = ready();
        for of in [0, 1] {
            let job = update(cut(0), 1.0, gradients(of, &[0, 1]));
            run.does(&mut exactly_r, ps(of), vec![job]).unwrap();
        }
    }

    #[test]
    fn update_with_too_few_too_many_or_repeated_slots_is_a_violation() {
        let job = |slots: &[u32]| update(cut(0), 1.0, gradients(0, slots));
        assert_eq!(broken(&mut ready(), job(&[0])), "not-exactly-r");
        assert_eq!(broken(&mut ready(), job(&[0, 1, 1])), "not-exactly-r");
        assert_eq!(broken(&mut ready(), job(&[1, 1])), "slot-twice");
    }

    #[test]
    fn updates_with_different_slots_on_two_shards_are_a_violation() {
        let mut run = Fixture::new(2, 3);
        run.ready(3).unwrap();
        run.does(&mut exactly_r, ps(0), vec![update(cut(0), 1.0, gradients(0, &[0, 1]))]).unwrap();
        let job = update(cut(0), 1.0, gradients(1, &[0, 2]));
        let violation = run.does(&mut exactly_r, ps(1), vec![job]).unwrap_err();
        assert_eq!(violation.name, "shards-disagree");
    }

    #[test]
    fn update_of_another_version_or_state_is_a_violation() {
        let job = update(later(0), 1.0, gradients(0, &[0, 1]));
        assert_eq!(broken(&mut ready(), job), "update-of-another-version");
        let job = update(cut(0), 1.5, gradients(0, &[0, 1]));
        assert_eq!(broken(&mut ready(), job), "update-of-another-version");
        let mut run = ready();
        let job = || update(cut(0), 1.0, gradients(0, &[0, 1]));
        run.does(&mut exactly_r, ps(0), vec![job()]).unwrap();
        assert_eq!(broken(&mut run, job()), "update-twice");
    }

    #[test]
    fn update_with_a_gradient_that_was_not_computed_or_received_is_a_violation() {
        let mut run = ready();
        let mut others = gradients(0, &[0, 1]);
        others[1].1 = vec![-7.0].into();
        assert_eq!(broken(&mut run, update(cut(0), 1.0, others)), "gradient-of-another-version");
        let mut run = Fixture::new(2, 2);
        run.restored(ps(0), cut(0), 1.0).unwrap();
        let job = || update(cut(0), 1.0, gradients(0, &[0, 1]));
        assert_eq!(broken(&mut run, job()), "gradient-of-another-version");
        let mut run = Fixture::new(2, 2);
        run.restored(ps(0), cut(0), 1.0).unwrap();
        run.all_computed(2).unwrap();
        assert_eq!(broken(&mut run, job()), "gradient-never-came");
    }
}
