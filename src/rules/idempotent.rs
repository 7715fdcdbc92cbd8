//! Rule 4: a gradient's identity is (generation, step, slot). What is pushed under it is what was
//! computed there; a second copy is told to be one and changes nothing; one with other bits stops
//! the run.

use unisono_core::protocol::{Effect, Input, Message, Report, Verdict};
use unisono_core::{Cut, Floats, LinkId, Slot};

use super::lives::Fate;
use super::suspicions::Suspicions;
use super::{Life, Violation};
use crate::invariant::{At, Invariant};
use crate::life_id::LifeId;

/// Looks at every push that is sent, and at what becomes of it.
#[derive(Debug, Default)]
pub(super) struct Idempotent {
    /// What must become of the gradient that is coming.
    fate: Option<Fate>,
    suspicions: Suspicions,
}

impl Invariant for Idempotent {
    fn before(&mut self, at: &At<'_>, input: &Input) -> Result<(), Violation> {
        self.suspicions.confirm(at.life)?;
        self.fate = at.fate(input);
        Ok(())
    }

    fn after(&mut self, at: &At<'_>, input: &Input, effects: &[Effect]) -> Result<(), Violation> {
        if let (Some(fate), Some(life)) = (self.fate.take(), at.seen()) {
            self.check_fate(at, (life, fate), input, effects)?;
        }
        effects.iter().try_for_each(|effect| match effect {
            Effect::Send { link, message: Message::Push { cut, slot, loss, gradient, .. } } => {
                let cut = *cut;
                check_label(at, *link, (cut, *slot), *loss, gradient)
            }
            Effect::Send { message: Message::Version { cut, received, .. }, .. } => {
                check_received(at, *cut, received)
            }
            _ => Ok(()),
        })
    }

    fn killed(&mut self, life: LifeId) {
        self.suspicions.acquit(life);
    }

    fn end(&mut self, _end: &crate::invariant::End<'_>) -> Result<(), Violation> {
        self.suspicions.confirm_all()
    }
}

impl Idempotent {
    fn check_fate(
        &mut self,
        at: &At<'_>,
        (life, fate): (&Life, Fate),
        input: &Input,
        effects: &[Effect],
    ) -> Result<(), Violation> {
        let Some(pushed) = life.pushed(input) else { return Ok(()) };
        let (Cut { step, .. }, slot) = (pushed.cut, pushed.slot);
        let violation = |name, what: &str| {
            let what = format!("slot {slot} of {}, from {}, {what}", pushed.cut, pushed.worker);
            Violation::new(4, name, what).at(step).of(at.life.task)
        };
        let is_told_duplicate = effects.iter().any(|effect| {
            matches!(
                effect,
                Effect::Send {
                    message: Message::PushReply { verdict: Verdict::Duplicate, .. },
                    ..
                }
            )
        });
        let is_counted = || {
            effects.iter().any(|effect| {
                matches!(
                    effect,
                    Effect::Report(Report::Dropped { verdict: Some(Verdict::Duplicate), .. })
                )
            })
        };
        let has_effect = || {
            effects.iter().any(|effect| {
                matches!(
                    effect,
                    Effect::Compute(_)
                        | Effect::Send {
                            message: Message::Received { .. } | Message::Chosen { .. },
                            ..
                        }
                )
            })
        };
        let is_halted = || effects.iter().any(|effect| matches!(effect, Effect::Halt(_)));
        match fate {
            Fate::Duplicate if has_effect() => {
                Err(violation("copy-changes-something", "is a copy, and has an effect"))
            }
            Fate::Duplicate if !is_told_duplicate || !is_counted() => {
                let violation = violation("copy-not-told", "is a copy, and is not said to be one");
                self.suspicions.suspect(at.life, violation);
                Ok(())
            }
            Fate::Diverged if !is_halted() => {
                let what = "differs from what is held under its name, and the run goes on";
                self.suspicions.suspect(at.life, violation("other-bits-let-in", what));
                Ok(())
            }
            Fate::Duplicate | Fate::Diverged => Ok(()),
            _ if is_told_duplicate => {
                Err(violation("no-copy", "is said to be a copy of one that never came"))
            }
            _ => Ok(()),
        }
    }
}

/// What a worker pushes is what was computed under this name, whenever and by whichever life.
fn check_label(
    at: &At<'_>,
    link: LinkId,
    (cut, slot): (Cut, Slot),
    loss: f32,
    part: &Floats,
) -> Result<(), Violation> {
    let Some(ps) = at.seen().and_then(|life| life.peer(link)) else { return Ok(()) };
    let broken = |what: String| {
        Violation::new(4, "push-of-another-identity", what).at(cut.step).of(at.life.task)
    };
    let Some(computed) = at.history.gradient(cut, slot) else {
        return Err(broken(format!("it pushes slot {slot} of {cut}, which nobody computed")));
    };
    if computed.is(ps.index, loss, part) {
        return Ok(());
    }
    let violation = broken(format!("what it pushes to {ps} is not slot {slot} of {cut}"));
    Err(match computed.shards.get(ps.index as usize) {
        Some(kept) => violation.with_first(kept, part),
        None => violation,
    })
}

/// A ps does not take a gradient for held that is not: its worker would not compute it.
fn check_received(at: &At<'_>, cut: Cut, received: &[Slot]) -> Result<(), Violation> {
    let Some(Life { shard, .. }) = at.seen() else { return Ok(()) };
    // Of the version before, all are said to be held: its update is made.
    if shard.cut != Some(cut) {
        return Ok(());
    }
    match received.iter().find(|slot| !shard.held.contains_key(slot)) {
        Some(slot) => {
            let what = format!("it says that it holds slot {slot} of {cut}, which never came");
            Err(Violation::new(4, "never-received", what).at(cut.step).of(at.life.task))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixture::{
        Fixture, PS_LINK, WORKER_LINK, cut, dropped, later, ps, push, reply, send, version, worker,
    };

    fn ready() -> Fixture {
        let mut run = Fixture::new(2, 2);
        run.ready(1).unwrap();
        run
    }

    fn copy(run: &mut Fixture, effects: Vec<Effect>) -> Result<(), Violation> {
        let mut rule = Idempotent::default();
        run.is_told(&mut rule, ps(0), 0, push(cut(0), 0, 0), effects)?;
        run.is_told(&mut rule, ps(0), 0, Message::Heartbeat, vec![])
    }

    #[test]
    fn duplicate_push_that_is_answered_and_counted_passes() {
        let told = vec![
            reply(0, cut(0), 0, Verdict::Duplicate),
            dropped(cut(0), 0, Some(Verdict::Duplicate)),
        ];
        copy(&mut ready(), told).unwrap();
    }

    #[test]
    fn duplicate_push_that_is_unanswered_uncounted_or_applied_is_a_violation() {
        assert_eq!(copy(&mut ready(), vec![]).unwrap_err().name, "copy-not-told");
        let told = vec![reply(0, cut(0), 0, Verdict::Duplicate)];
        assert_eq!(copy(&mut ready(), told).unwrap_err().name, "copy-not-told");
        let job = crate::tests::fixture::update(cut(0), 1.0, vec![]);
        assert_eq!(copy(&mut ready(), vec![job]).unwrap_err().name, "copy-changes-something");
    }

    #[test]
    fn task_killed_before_its_answer_is_not_blamed() {
        let mut rule = Idempotent::default();
        let mut run = ready();
        run.is_told(&mut rule, ps(0), 0, push(cut(0), 0, 0), vec![]).unwrap();
        rule.killed(ps(0));
        assert_eq!(rule.suspicions.confirm_all(), Ok(()));
    }

    #[test]
    fn accepting_different_bits_for_one_slot_is_a_violation() {
        let mut other = push(cut(0), 0, 0);
        if let Message::Push { gradient, .. } = &mut other {
            *gradient = vec![-3.0].into();
        }
        let mut rule = Idempotent::default();
        let mut run = ready();
        run.is_told(&mut rule, ps(0), 0, other, vec![]).unwrap();
        let violation = run.is_told(&mut rule, ps(0), 0, Message::Heartbeat, vec![]).unwrap_err();
        assert_eq!(violation.name, "other-bits-let-in");
    }

    #[test]
    fn answering_a_first_push_as_a_duplicate_is_a_violation() {
        let mut run = ready();
        run.all_computed(2).unwrap();
        let told = vec![reply(1, cut(0), 1, Verdict::Duplicate)];
        let mut rule = Idempotent::default();
        let violation = run.is_told(&mut rule, ps(0), 1, push(cut(0), 1, 0), told).unwrap_err();
        assert_eq!(violation.name, "no-copy");
    }

    #[test]
    fn push_with_a_wrong_identity_or_gradient_is_a_violation() {
        let mut run = ready();
        let mut rule = Idempotent::default();
        let name = |run: &mut Fixture, rule: &mut Idempotent, message| {
            run.does(rule, worker(0), vec![send(WORKER_LINK, message)])
                .map_err(|broken| broken.name)
        };
        assert_eq!(name(&mut run, &mut rule, push(cut(0), 0, 0)), Ok(()));
        let other = Err("push-of-another-identity");
        assert_eq!(name(&mut run, &mut rule, push(cut(0), 1, 0)), other);
        assert_eq!(name(&mut run, &mut rule, push(later(0), 0, 0)), other);
        assert_eq!(name(&mut run, &mut rule, push(cut(0), 0, 1)), other, "of another shard");
    }

    #[test]
    fn slot_reported_as_received_must_have_been_received() {
        let mut run = ready();
        let mut rule = Idempotent::default();
        let says = |slot| vec![send(PS_LINK, version(cut(0), 1.0, &[slot]))];
        run.does(&mut rule, ps(0), says(0)).unwrap();
        assert_eq!(run.does(&mut rule, ps(0), says(1)).unwrap_err().name, "never-received");
    }
}
