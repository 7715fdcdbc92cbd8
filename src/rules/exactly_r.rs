//! Rule 1: an update uses exactly R gradients, of R distinct slots, each computed from the version
//! that it updates, and the same slots on every shard.

use unisono_core::protocol::{Effect, Input, Job, ShardState};
use unisono_core::{Cut, Floats, Slot};

use super::Violation;
use crate::invariant::{At, Invariant};

/// Looks at every update that is begun.
#[derive(Debug, Default)]
pub(super) struct ExactlyR;

impl Invariant for ExactlyR {
    fn after(&mut self, at: &At<'_>, _input: &Input, effects: &[Effect]) -> Result<(), Violation> {
        for effect in effects {
            if let Effect::Compute(Job::Update {
                cut: Cut { generation, step },
                state,
                gradients,
            }) = effect
            {
                let cut = Cut { generation: *generation, step: *step };
                check_update(at, cut, state, gradients)
                    .map_err(|violation| violation.at(*step).of(at.life.task))?;
            }
        }
        Ok(())
    }
}

fn check_update(
    at: &At<'_>,
    cut: Cut,
    state: &ShardState,
    gradients: &[(Slot, Floats)],
) -> Result<(), Violation> {
    let wanted = at.config.sync.replicas_to_aggregate as usize;
    if gradients.len() != wanted {
        let what = format!("an update of {} gradients, and R is {wanted}", gradients.len());
        return Err(Violation::new(1, "not-exactly-r", what));
    }
    // Whatever order they are in: that is rule 3.
    if !gradients.is_sorted_by(|(a, _), (b, _)| a < b) {
        let mut slots: Vec<_> = gradients.iter().map(|(slot, _)| *slot).collect();
        slots.sort_unstable();
        if slots.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Violation::new(1, "slot-twice", format!("an update of slots {slots:?}")));
        }
    }
    check_slots(at, cut, gradients)?;
    check_state(at, cut, state)?;
    gradients.iter().try_for_each(|(slot, gradient)| check_gradient(at, cut, *slot, gradient))
}

/// All shards use the same slots.
fn check_slots(at: &At<'_>, cut: Cut, gradients: &[(Slot, Floats)]) -> Result<(), Violation> {
    let first = at.history.version(cut).and_then(|version| version.update.as_ref());
    let Some(first) = first else { return Ok(()) };
    // An order of its own is against rule 3; here only the set counts.
    let is_used = |slot: &Slot| first.contains(slot);
    if gradients.iter().map(|(slot, _)| slot).eq(first)
        || gradients.iter().all(|(slot, _)| is_used(slot))
    {
        return Ok(());
    }
    let slots: Vec<_> = gradients.iter().map(|(slot, _)| *slot).collect();
    let what = format!("it uses {slots:?}, and another shard {first:?}");
    Err(Violation::new(1, "shards-disagree", what))
}

/// It updates the version that the shard is at, once.
fn check_state(at: &At<'_>, cut: Cut, state: &ShardState) -> Result<(), Violation> {
    let seen = at.seen().map(|life| (life.shard.cut, life.shard.n_begun));
    if seen.is_some_and(|(stands, _)| stands != Some(cut)) {
        let what = format!("it updates {cut}, and stands at {:?}", seen.and_then(|seen| seen.0));
        return Err(Violation::new(1, "update-of-another-version", what));
    }
    if seen.is_some_and(|(_, n_begun)| n_begun > 1) {
        return Err(Violation::new(1, "update-twice", format!("it updates {cut} again")));
    }
    match at.history.state(cut, at.life.task.index) {
        Some(made) if made.parameters.is(&state.parameters) => Ok(()),
        Some(made) => {
            let what = format!("what it updates is not {cut}");
            let violation = Violation::new(1, "update-of-another-version", what);
            Err(violation.with_first(&made.parameters, &state.parameters))
        }
        None => {
            let what = format!("it updates {cut}, which its shard never came to");
            Err(Violation::new(1, "update-of-another-version", what))
        }
    }
}

/// A gradient was pushed to this very shard at this version, and is what was computed there.
fn check_gradient(at: &At<'_>, cut: Cut, slot: Slot, gradient: &Floats) -> Result<(), Violation> {
    let ps = at.life.task.index;
    let Some(computed) = at.history.gradient(cut, slot) else {
        let what = format!("it uses slot {slot}, which nobody computed at {cut}");
        return Err(Violation::new(1, "gradient-of-another-version", what));
    };
    if !computed.is_part(ps, gradient) {
        let what = format!("what it uses for slot {slot} is not what was computed at {cut}");
        let violation = Violation::new(1, "gradient-of-another-version", what);
        return Err(match computed.shards.get(ps as usize) {
            Some(part) => violation.with_first(part, gradient),
            None => violation,
        });
    }
    let is_held = at.seen().is_none_or(|life| life.shard.held.contains_key(&slot));
    if !is_held {
        let what = format!("it uses slot {slot}, which was not pushed to it at {cut}");
        return Err(Violation::new(1, "gradient-never-came", what));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixture::{Fixture, cut, gradients, later, ps, update};

    fn broken(fixture: &mut Fixture, job: Effect) -> &'static str {
        fixture.does(&mut ExactlyR, ps(0), vec![job]).unwrap_err().name
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
            run.does(&mut ExactlyR, ps(of), vec![job]).unwrap();
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
        run.does(&mut ExactlyR, ps(0), vec![update(cut(0), 1.0, gradients(0, &[0, 1]))]).unwrap();
        let job = update(cut(0), 1.0, gradients(1, &[0, 2]));
        let violation = run.does(&mut ExactlyR, ps(1), vec![job]).unwrap_err();
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
        run.does(&mut ExactlyR, ps(0), vec![job()]).unwrap();
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
