//! Rule 5: a gradient that is not used is counted. A stale gradient is answered at once, with the
//! shard's current version.
//!
//! Gradients that a shard holds when another generation is opened are not counted, because the shard
//! loses all of its state then.

use unisono_core::protocol::{Effect, Message, Verdict};

use crate::lives::{Fate, Life, Pushed};
use crate::rule::At;
use crate::violation::Violation;

/// Checks the fate of every gradient that arrives.
pub(crate) fn stale_is_told(at: &mut At<'_>) -> Result<(), Violation> {
    let Some(life) = at.seen() else { return Ok(()) };
    if let (Some(fate), Some(pushed)) = (at.before.fate, life.pushed(at.turn.input))
        && let Some((name, what)) = broken(at, life, fate, &pushed)
    {
        let Pushed { cut, slot, worker, .. } = pushed;
        let what = format!("slot {slot} of {cut}, from {worker}, {what}");
        let violation = at.violation(5, name, cut.step, what);
        if fate == Fate::Accepted {
            return Err(violation);
        }
        at.suspicions.suspect(at.turn.life, violation);
    }
    if let Some((cut, slot)) = life.shard.lost {
        let what = format!("slot {slot} of {cut} was held, but was neither used nor counted");
        return Err(at.violation(5, "dropped-silently", cut.step, what));
    }
    Ok(())
}

fn broken(
    at: &At<'_>,
    life: &Life,
    fate: Fate,
    pushed: &Pushed<'_>,
) -> Option<(&'static str, &'static str)> {
    let effects = at.turn.effects;
    let verdict = match fate {
        Fate::Stale => Some(Verdict::Stale),
        Fate::Surplus => None,
        Fate::Accepted => {
            let shard = &life.shard;
            let is_held = shard.cut != Some(pushed.cut) || shard.held.contains_key(&pushed.slot);
            // With R < N, the ps may choose the slots when this gradient arrives, and leave out its
            // slot.
            let is_beside =
                shard.chosen.as_ref().is_some_and(|slots| !slots.contains(&pushed.slot));
            let what = "is new and of the current version, but is not accepted";
            return (!is_held && !is_beside).then_some(("new-not-taken", what));
        }
        // Rules 4 and 8 check the first three fates. The ps closes the session of a worker that
        // pushes a wrong gradient, so it cannot answer.
        Fate::Duplicate | Fate::Diverged | Fate::Fenced | Fate::Wrong => return None,
    };
    let moves_on = |effect: &Effect| match effect {
        Effect::Send { link, message: Message::Version { cut, .. } } => {
            *link == pushed.link && *cut > pushed.cut
        }
        _ => false,
    };
    if verdict.is_some_and(|verdict| !pushed.is_told(effects, verdict)) {
        Some(("not-told", "is not used, but the worker gets no reply"))
    } else if fate == Fate::Stale && !effects.iter().any(moves_on) {
        Some(("told-without-a-version", "is stale, but the worker gets no newer version"))
    } else if !pushed.is_counted(effects, verdict) {
        Some(("not-counted", "is neither used nor counted"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixture::{
        Fixture, cut, dropped, gradients, ps, push, received, reply, send, update, updated, version,
    };

    const STALE: Option<Verdict> = Some(Verdict::Stale);

    /// Ps 0 is at version 1.
    fn at_one() -> Fixture {
        let mut run = Fixture::new(1, 2);
        run.ready(2).unwrap();
        run.does(&mut stale_is_told, ps(0), vec![update(cut(0), 1.0, gradients(0, &[0, 1]))])
            .unwrap();
        run.updated(ps(0), cut(0), 2.0).unwrap();
        run
    }

    fn stale(effects: Vec<Effect>) -> Result<(), Violation> {
        let (mut run, mut rule) = (at_one(), stale_is_told);
        run.is_told(&mut rule, ps(0), 1, push(cut(0), 1, 0), effects)?;
        run.is_told(&mut rule, ps(0), 1, Message::Heartbeat, vec![])
    }

    #[test]
    fn stale_gradient_must_be_answered_counted_and_followed_by_a_newer_version() {
        let told = || reply(1, cut(0), 1, Verdict::Stale);
        let next = || send(1, version(cut(1), 2.0, &[]));
        stale(vec![told(), dropped(cut(0), 1, STALE), next()]).unwrap();
        assert_eq!(stale(vec![dropped(cut(0), 1, STALE), next()]).unwrap_err().name, "not-told");
        assert_eq!(stale(vec![told(), next()]).unwrap_err().name, "not-counted");
        let without = stale(vec![told(), dropped(cut(0), 1, STALE)]).unwrap_err();
        assert_eq!(without.name, "told-without-a-version");
        let old = send(1, version(cut(0), 2.0, &[]));
        let old = stale(vec![told(), dropped(cut(0), 1, STALE), old]).unwrap_err();
        assert_eq!(old.name, "told-without-a-version");
    }

    #[test]
    fn gradient_of_a_slot_that_was_not_chosen_must_be_counted() {
        let mut run = Fixture::new(1, 3);
        run.ready(2).unwrap();
        run.all_computed(3).unwrap();
        run.told_by_ps(received(cut(0), vec![unisono_core::Slot(0)]), vec![]).unwrap();
        let mut rule = stale_is_told;
        let surplus = || push(cut(0), 2, 0);
        run.is_told(&mut rule, ps(0), 2, surplus(), vec![dropped(cut(0), 2, None)]).unwrap();
        run.is_told(&mut rule, ps(0), 2, surplus(), vec![]).unwrap();
        assert_eq!(run.seen.suspicions.confirm(ps(0)).unwrap_err().name, "not-counted");
    }

    #[test]
    fn received_gradient_must_be_used_or_counted() {
        for (counted, name) in [(true, None), (false, Some("dropped-silently"))] {
            let mut run = Fixture::new(2, 3);
            run.ready(3).unwrap();
            let mut rule = stale_is_told;
            run.does(&mut rule, ps(1), vec![update(cut(0), 1.0, gradients(1, &[0, 1]))]).unwrap();
            if counted {
                run.does(&mut rule, ps(1), vec![dropped(cut(0), 2, None)]).unwrap();
            }
            let made = run.does(&mut rule, ps(1), vec![updated(cut(0), &[0, 1])]);
            assert_eq!(made.err().map(|violation| violation.name), name);
        }
    }

    #[test]
    fn answering_a_current_gradient_as_stale_is_a_violation() {
        let mut run = Fixture::new(1, 2);
        run.ready(1).unwrap();
        run.all_computed(2).unwrap();
        let mut rule = stale_is_told;
        let declined = vec![reply(1, cut(0), 1, Verdict::Stale)];
        let violation = run.is_told(&mut rule, ps(0), 1, push(cut(0), 1, 0), declined).unwrap_err();
        assert_eq!(violation.name, "new-not-taken");
    }
}
