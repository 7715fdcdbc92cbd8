//! Rule 5: a gradient that is not used is counted; a stale one is answered at once, and with the
//! shard's current version. Nothing is dropped silently.
//!
//! What a shard held when another generation was opened is not counted: the whole shard is
//! forgotten then.

use unisono_core::protocol::{Effect, Input, Message, Verdict};

use super::Violation;
use super::lives::{Fate, Pushed};
use super::suspicions::Suspicions;
use crate::invariant::{At, End, Invariant};
use crate::life_id::LifeId;

/// Looks at what becomes of every gradient that comes.
#[derive(Debug, Default)]
pub(super) struct StaleIsTold {
    fate: Option<Fate>,
    suspicions: Suspicions,
}

impl Invariant for StaleIsTold {
    fn before(&mut self, at: &At<'_>, input: &Input) -> Result<(), Violation> {
        self.suspicions.confirm(at.life)?;
        self.fate = at.fate(input);
        Ok(())
    }

    fn after(&mut self, at: &At<'_>, input: &Input, effects: &[Effect]) -> Result<(), Violation> {
        let Some(life) = at.seen() else { return Ok(()) };
        if let (Some(fate), Some(pushed)) = (self.fate.take(), life.pushed(input)) {
            self.check(at, fate, &pushed, effects)?;
        }
        if let Some((cut, slot)) = life.shard.lost {
            let what = format!("slot {slot} of {cut} was held, and neither used nor counted");
            return Err(Violation::new(5, "dropped-silently", what).at(cut.step).of(at.life.task));
        }
        Ok(())
    }

    fn killed(&mut self, life: LifeId) {
        self.suspicions.acquit(life);
    }

    fn end(&mut self, _end: &End<'_>) -> Result<(), Violation> {
        self.suspicions.confirm_all()
    }
}

impl StaleIsTold {
    fn check(
        &mut self,
        at: &At<'_>,
        fate: Fate,
        pushed: &Pushed<'_>,
        effects: &[Effect],
    ) -> Result<(), Violation> {
        let violation = |name, what: &str| {
            let Pushed { cut, slot, worker, .. } = pushed;
            let what = format!("slot {slot} of {cut}, from {worker}, {what}");
            Violation::new(5, name, what).at(cut.step).of(at.life.task)
        };
        let verdict = match fate {
            Fate::Stale => Some(Verdict::Stale),
            Fate::Surplus => None,
            // Rules 4 and 8 look after these, and a closed session has nobody to be told.
            Fate::Duplicate | Fate::Diverged | Fate::Fenced | Fate::Wrong => return Ok(()),
            Fate::Accepted => {
                let is_held = at.seen().is_none_or(|life| {
                    life.shard.cut != Some(pushed.cut) || life.shard.held.contains_key(&pushed.slot)
                });
                if is_held || chosen_without(at, pushed) {
                    return Ok(());
                }
                return Err(violation("new-not-taken", "is new, of this version, and not taken"));
            }
        };
        let told = verdict.is_none_or(|verdict| pushed.is_told(effects, verdict));
        if !told {
            let what = "is not used, and its worker is not told";
            self.suspicions.suspect(at.life, violation("not-told", what));
        } else if verdict == Some(Verdict::Stale) && !moves_on(effects, pushed) {
            let what = "is stale, and its worker gets no newer version";
            self.suspicions.suspect(at.life, violation("told-without-a-version", what));
        } else if !pushed.is_counted(effects, verdict) {
            let what = "is not used, and not counted";
            self.suspicions.suspect(at.life, violation("not-counted", what));
        }
        Ok(())
    }
}

/// R < N: this very gradient may have brought about a choice that it is not in.
fn chosen_without(at: &At<'_>, pushed: &Pushed<'_>) -> bool {
    let beside = |life: &super::Life| {
        life.shard.chosen.as_ref().is_some_and(|chosen| !chosen.contains(&pushed.slot))
    };
    at.seen().is_some_and(beside)
}

/// A newer version follows on the same link.
fn moves_on(effects: &[Effect], pushed: &Pushed<'_>) -> bool {
    effects.iter().any(|effect| match effect {
        Effect::Send { link, message: Message::Version { cut, .. } } => {
            *link == pushed.link && *cut > pushed.cut
        }
        _ => false,
    })
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
        run.does(
            &mut StaleIsTold::default(),
            ps(0),
            vec![update(cut(0), 1.0, gradients(0, &[0, 1]))],
        )
        .unwrap();
        run.updated(ps(0), cut(0), 2.0).unwrap();
        run
    }

    fn stale(effects: Vec<Effect>) -> Result<(), Violation> {
        let (mut run, mut rule) = (at_one(), StaleIsTold::default());
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
        let mut rule = StaleIsTold::default();
        let surplus = || push(cut(0), 2, 0);
        run.is_told(&mut rule, ps(0), 2, surplus(), vec![dropped(cut(0), 2, None)]).unwrap();
        run.is_told(&mut rule, ps(0), 2, surplus(), vec![]).unwrap();
        assert_eq!(rule.suspicions.confirm(ps(0)).unwrap_err().name, "not-counted");
    }

    #[test]
    fn received_gradient_must_be_used_or_counted() {
        for (counted, name) in [(true, None), (false, Some("dropped-silently"))] {
            let mut run = Fixture::new(2, 3);
            run.ready(3).unwrap();
            let mut rule = StaleIsTold::default();
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
        let mut rule = StaleIsTold::default();
        let declined = vec![reply(1, cut(0), 1, Verdict::Stale)];
        let violation = run.is_told(&mut rule, ps(0), 1, push(cut(0), 1, 0), declined).unwrap_err();
        assert_eq!(violation.name, "new-not-taken");
    }
}
