//! Rule 4: a gradient's identity is (generation, step, slot). A pushed gradient has the bits that
//! were computed for its identity. A second copy is answered as a duplicate, and changes nothing. A
//! second copy with different bits stops the run.

use unisono_core::protocol::{Effect, Message, Verdict};
use unisono_core::{Cut, Slot};

use crate::lives::{Fate, Pushed};
use crate::made::{Key, Made};
use crate::rule::At;
use crate::violation::Violation;

/// Checks every push that a worker sends, and the answer to every push that reaches a ps.
pub(crate) fn idempotent(at: &mut At<'_>) -> Result<(), Violation> {
    let Some(life) = at.seen() else { return Ok(()) };
    if let (Some(fate), Some(pushed)) = (at.before.fate, life.pushed(at.turn.input)) {
        check_fate(at, fate, &pushed)?;
    }
    at.turn.effects.iter().try_for_each(|effect| match effect {
        Effect::Send { link, message: Message::Push { cut, slot, loss, gradient, .. } } => {
            let Some(ps) = life.peer(*link) else { return Ok(()) };
            let key = Key::Gradient(*slot);
            let broken = |what| at.violation(4, "push-of-another-identity", cut.step, what);
            at.history.check((*cut, key, ps.index), gradient, broken)?;
            let has_loss = |made: &Made| made.has_loss(*loss);
            if at.history.made(*cut, key).is_some_and(has_loss) {
                return Ok(());
            }
            Err(broken(format!("loss {loss} is not the loss of slot {slot} at {cut}")))
        }
        Effect::Send { message: Message::Version { cut, received, .. }, .. } => {
            check_received(at, *cut, received)
        }
        _ => Ok(()),
    })
}

fn check_fate(at: &mut At<'_>, fate: Fate, pushed: &Pushed<'_>) -> Result<(), Violation> {
    let violation = |name, what: &str| {
        let what =
            format!("slot {} of {}, from {}, {what}", pushed.slot, pushed.cut, pushed.worker);
        at.violation(4, name, pushed.cut.step, what)
    };
    let (life, effects) = (at.turn.life, at.turn.effects);
    match fate {
        Fate::Duplicate if effects.iter().any(applies) => {
            return Err(violation("copy-changes-something", "is a copy, but has an effect"));
        }
        Fate::Duplicate if !pushed.is_answered(effects, Verdict::Duplicate) => {
            let what = "is a copy, but the ps did not answer or count it as a copy";
            at.suspicions.suspect(life, violation("copy-not-told", what));
        }
        Fate::Diverged if !effects.iter().any(|effect| matches!(effect, Effect::Halt(_))) => {
            let what = "differs from the copy that the ps holds, but the run continues";
            at.suspicions.suspect(life, violation("other-bits-let-in", what));
        }
        Fate::Duplicate | Fate::Diverged => {}
        _ if pushed.is_told(effects, Verdict::Duplicate) => {
            let what = "is answered as a copy, but no earlier copy came";
            return Err(violation("no-copy", what));
        }
        _ => {}
    }
    Ok(())
}

/// Returns whether an effect shows that the ps has accepted a gradient.
const fn applies(effect: &Effect) -> bool {
    match effect {
        Effect::Compute(_) => true,
        Effect::Send { message, .. } => {
            matches!(message, Message::Received { .. } | Message::Chosen { .. })
        }
        _ => false,
    }
}

/// Checks that a ps holds the gradients that the ps reports to a worker as received. The worker
/// does not compute these gradients again.
fn check_received(at: &At<'_>, cut: Cut, received: &[Slot]) -> Result<(), Violation> {
    let Some(shard) = at.seen().map(|life| &life.shard) else { return Ok(()) };
    // If the shard has left the version `cut`, the update of `cut` is made, so all slots of `cut`
    // may be reported as received.
    if shard.cut != Some(cut) {
        return Ok(());
    }
    match received.iter().find(|slot| !shard.held.contains_key(slot)) {
        Some(slot) => {
            let what = format!("slot {slot} of {cut} is reported as received, but is not held");
            Err(at.violation(4, "never-received", cut.step, what))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Rule;
    use crate::tests::fixture::{
        Fixture, PS_LINK, WORKER_LINK, cut, dropped, later, ps, push, reply, send, version, worker,
    };

    fn ready() -> Fixture {
        let mut run = Fixture::new(2, 2);
        run.ready(1).unwrap();
        run
    }

    fn copy(run: &mut Fixture, effects: Vec<Effect>) -> Result<(), Violation> {
        let mut rule = idempotent;
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
        let mut rule = idempotent;
        let mut run = ready();
        run.is_told(&mut rule, ps(0), 0, push(cut(0), 0, 0), vec![]).unwrap();
        run.seen.suspicions.acquit(ps(0));
        assert_eq!(run.seen.suspicions.confirm_all(), Ok(()));
    }

    #[test]
    fn accepting_different_bits_for_one_slot_is_a_violation() {
        let mut other = push(cut(0), 0, 0);
        if let Message::Push { gradient, .. } = &mut other {
            *gradient = vec![-3.0].into();
        }
        let mut rule = idempotent;
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
        let mut rule = idempotent;
        let violation = run.is_told(&mut rule, ps(0), 1, push(cut(0), 1, 0), told).unwrap_err();
        assert_eq!(violation.name, "no-copy");
    }

    #[test]
    fn push_with_a_wrong_identity_or_gradient_is_a_violation() {
        let mut run = ready();
        let mut rule = idempotent;
        let name = |run: &mut Fixture, rule: &mut dyn Rule, message| {
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
        let mut rule = idempotent;
        let says = |slot| vec![send(PS_LINK, version(cut(0), 1.0, &[slot]))];
        run.does(&mut rule, ps(0), says(0)).unwrap();
        assert_eq!(run.does(&mut rule, ps(0), says(1)).unwrap_err().name, "never-received");
    }
}
