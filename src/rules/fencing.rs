//! Rule 8: a message of an older generation changes nothing, an older incarnation of a task is
//! refused, and messages on a closed link are ignored.

use std::collections::BTreeMap;

use unisono_core::protocol::{Effect, Input, Job, Message, NetworkEvent, Outcome, Report, Verdict};
use unisono_core::{Generation, LinkId};

use crate::life_id::LifeId;
use crate::lives::{Fate, Old};
use crate::rule::{At, Rule};
use crate::violation::Violation;

/// Checks the effects of every outdated input, such as a message of an older generation.
#[derive(Debug, Default)]
pub(crate) struct Fencing {
    /// The generation in which each worker computed last.
    generations: BTreeMap<LifeId, Generation>,
}

impl Rule for Fencing {
    fn turn(&mut self, at: &mut At<'_>) -> Result<(), Violation> {
        if let Some(old) = at.before.old
            && let Some((name, what)) = broken(at, old)
        {
            return Err(Violation::new(8, name, what).of(at.turn.life.task));
        }
        if at.before.fate == Some(Fate::Fenced)
            && let Some(pushed) = at.seen().and_then(|life| life.pushed(at.turn.input))
            && !pushed.is_answered(at.turn.effects, Verdict::Fenced)
        {
            let what = format!("slot {} of {} is not answered as fenced", pushed.slot, pushed.cut);
            let step = pushed.cut.step;
            let violation = at.violation(8, "older-generation-accepted", step, what);
            at.suspicions.suspect(at.turn.life, violation);
        }
        for effect in at.turn.effects {
            if let Effect::Compute(Job::Gradient { cut, .. }) = effect {
                let last = self.generations.insert(at.turn.life, cut.generation);
                if last.is_some_and(|last| cut.generation < last) {
                    let what = "the worker goes back to an older generation";
                    return Err(at.violation(8, "older-generation-computed", cut.step, what));
                }
            }
        }
        Ok(())
    }
}

/// Returns the name and the text of the violation if an outdated input changes something.
fn broken(at: &At<'_>, old: Old) -> Option<(&'static str, String)> {
    let name = match old {
        Old::Link => "closed-link-heard",
        Old::Greeting(_) => "older-life-let-in",
        Old::Life => "older-life-heard",
        Old::Generation => "older-generation-accepted",
        Old::Job => "void-result-used",
    };
    let (stood, stands) = (at.before.stood, at.seen().and_then(|life| life.shard.cut));
    if stands != stood {
        let what = format!("an outdated input moved the shard from {stood:?} to {stands:?}");
        return Some((name, what));
    }
    // Rule 10: a worker that knows of the end accepts even an older incarnation of a ps, to send it
    // `Goodbye`.
    let is_told = |effect: &Effect| matches!(old, Old::Greeting(on) if tells_the_end(on, effect));
    let is_end = at.turn.effects.iter().any(is_told);
    let is_allowed = |effect: &&Effect| match effect {
        Effect::Report(Report::PeerUp { .. }) | Effect::Halt(Outcome::Finished) if is_end => true,
        effect if is_end => is_told(effect),
        effect => is_harmless(old, effect),
    };
    let effect = at.turn.effects.iter().find(|effect| !is_allowed(effect))?;
    let input = match at.turn.input {
        Input::Network(NetworkEvent::Received { message, .. }) => message.kind(),
        _ => "a result",
    };
    let beside = if is_end { " in addition to the end of the run" } else { "" };
    Some((name, format!("{input} is outdated, but it causes {}{beside}", kind(effect))))
}

fn tells_the_end(on: LinkId, effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Send { link, message: Message::Finished { .. } | Message::Goodbye } if *link == on
    )
}

/// Returns whether the rules allow this effect of an outdated input.
fn is_harmless(old: Old, effect: &Effect) -> bool {
    match (old, effect) {
        // At the end, any input can make the chief pull the versions that the chief lacks.
        (_, Effect::Send { message: Message::Pull { .. }, .. }) => true,
        (Old::Link | Old::Job, _) => false,
        (_, Effect::Report(report)) => {
            !matches!(report, Report::PeerUp { .. } | Report::Updated { .. })
        }
        (Old::Greeting(on), Effect::Send { link, message: Message::Refused { .. } }) => on == *link,
        (Old::Greeting(on), Effect::Close { link }) => on == *link,
        (Old::Generation | Old::Life, Effect::Close { .. }) => true,
        (Old::Generation, Effect::Send { message, .. }) => matches!(
            message,
            Message::PushReply { .. }
                | Message::Acknowledged { .. }
                | Message::Version { .. }
                | Message::Missed { .. }
        ),
        _ => false,
    }
}

fn kind(effect: &Effect) -> &'static str {
    match effect {
        Effect::Send { message, .. } => message.kind(),
        Effect::Compute(_) => "a job",
        Effect::Connect { .. } => "a call",
        Effect::Close { .. } => "a closed link",
        Effect::Restore | Effect::Persist(_) | Effect::Record(_) => "a read or written file",
        Effect::Report(_) => "a report",
        Effect::Halt(_) => "the end of the node",
    }
}

#[cfg(test)]
mod tests {
    use unisono_core::protocol::{Hello, PROTOCOL_VERSION, Settings};
    use unisono_core::{Cut, Incarnation};

    use super::*;
    use crate::tests::fixture::{
        Fixture, cut, dropped, gradients, job, later, ps, push, reply, send, state, update,
        update_done, updated, version, worker,
    };

    fn hello(incarnation: u64) -> Message {
        Message::Hello(Hello {
            version: PROTOCOL_VERSION,
            from: worker(0).task,
            incarnation: Incarnation(incarnation),
            to: ps(0).task,
            settings: Settings::default(),
            data: None,
        })
    }

    fn name(result: Result<(), Violation>) -> Option<&'static str> {
        result.err().map(|violation| violation.name)
    }

    /// Ps 0 is at `later(0)`.
    fn rolled_back() -> Fixture {
        let mut run = Fixture::new(2, 2);
        run.ready(2).unwrap();
        run.restored(ps(0), later(0), 1.0).unwrap();
        run
    }

    #[test]
    fn push_and_restore_of_an_older_generation_must_have_no_effect() {
        let mut rule = Fencing::default();
        let mut told =
            |message, effects| name(rolled_back().is_told(&mut rule, ps(0), 0, message, effects));
        let fenced = || {
            let stands = send(0, version(later(0), 1.0, &[]));
            let counted = dropped(cut(0), 0, Some(Verdict::Fenced));
            vec![reply(0, cut(0), 0, Verdict::Fenced), counted, stands]
        };
        assert_eq!(told(push(cut(0), 0, 0), fenced()), None);
        let accepted = vec![update(cut(0), 1.0, gradients(0, &[0, 1]))];
        assert_eq!(told(push(cut(0), 0, 0), accepted), Some("older-generation-accepted"));
        let Cut { generation, step } = cut(0);
        let restore = || Message::Restore { cut: Cut { generation, step }, state: state(1.0) };
        assert_eq!(told(restore(), vec![]), None);
        let restored = vec![send(0, Message::Restored { generation })];
        assert_eq!(told(restore(), restored), Some("older-generation-accepted"));
    }

    #[test]
    fn push_of_an_older_generation_without_an_answer_is_a_violation() {
        let (mut run, mut rule) = (rolled_back(), Fencing::default());
        run.is_told(&mut rule, ps(0), 0, push(cut(0), 0, 0), vec![]).unwrap();
        let next = run.is_told(&mut rule, ps(0), 0, Message::Heartbeat, vec![]);
        assert_eq!(name(next), Some("older-generation-accepted"));
    }

    #[test]
    fn message_from_a_closed_link_must_have_no_effect() {
        let mut run = Fixture::new(2, 2);
        run.ready(2).unwrap();
        let mut rule = Fencing::default();
        run.does(&mut rule, ps(0), vec![Effect::Close { link: LinkId(1) }]).unwrap();
        let push = || push(cut(0), 1, 0);
        run.is_told(&mut rule, ps(0), 1, push(), vec![]).unwrap();
        let answered =
            run.is_told(&mut rule, ps(0), 1, push(), vec![reply(1, cut(0), 1, Verdict::Duplicate)]);
        assert_eq!(name(answered), Some("closed-link-heard"));
    }

    #[test]
    fn accepting_an_older_incarnation_is_a_violation() {
        let mut run = Fixture::new(2, 2);
        run.ready(0).unwrap();
        let mut rule = Fencing::default();
        let greets = |link, incarnation| (link, hello(incarnation));
        let welcome = |link| {
            let message = Message::Welcome { incarnation: Incarnation(1), state: None };
            vec![send(link, message), Effect::Report(Report::PeerUp { peer: worker(0).task })]
        };
        for link in [50, 51, 52] {
            run.is_accepted(ps(0), link);
        }
        let (link, message) = greets(50, 2);
        run.is_told(&mut rule, ps(0), link, message, welcome(50)).unwrap();
        let refused = Message::Refused { reason: String::new(), older_than: None };
        let refused = vec![send(51, refused), Effect::Close { link: LinkId(51) }];
        let (link, message) = greets(51, 1);
        run.is_told(&mut rule, ps(0), link, message, refused).unwrap();
        let (link, message) = greets(52, 1);
        let result = run.is_told(&mut rule, ps(0), link, message, welcome(52));
        assert_eq!(name(result), Some("older-life-let-in"));
    }

    #[test]
    fn leaving_worker_may_only_say_goodbye_to_an_older_incarnation() {
        let let_in = |also: Option<Effect>| {
            let mut run = Fixture::new(2, 2);
            run.ready(0).unwrap();
            let mut rule = Fencing::default();
            let greeted = |link, then| {
                vec![Effect::Report(Report::PeerUp { peer: ps(0).task }), send(link, then)]
            };
            let welcome = |incarnation| Message::Welcome {
                incarnation: Incarnation(incarnation),
                state: None,
            };
            let goodbye = |link| greeted(link, Message::Goodbye);
            run.is_connected(worker(1), 50, ps(0).task);
            run.is_told(&mut rule, worker(1), 50, welcome(9), goodbye(50)).unwrap();
            run.is_connected(worker(1), 51, ps(0).task);
            let effects = goodbye(51).into_iter().chain(also).collect();
            run.is_told(&mut rule, worker(1), 51, welcome(8), effects)
        };
        let_in(None).unwrap();
        assert_eq!(name(let_in(Some(job(cut(0), &[0.0])))), Some("older-life-let-in"));
    }

    #[test]
    fn result_of_an_older_generation_must_have_no_effect() {
        let mut rule = Fencing::default();
        let result = |effects| (Input::Computed(update_done(cut(0), 2.0)), effects);
        let (input, effects) = result(vec![]);
        rolled_back().plays(&mut rule, ps(0), input, effects).unwrap();
        let (input, effects) = result(vec![updated(later(0), &[0, 1])]);
        let used = rolled_back().plays(&mut rule, ps(0), input, effects);
        assert_eq!(name(used), Some("void-result-used"));
    }

    #[test]
    fn computing_in_an_older_generation_is_a_violation() {
        let mut run = Fixture::new(2, 2);
        let mut rule = Fencing::default();
        run.does(&mut rule, worker(0), vec![job(later(0), &[1.0, 1.0])]).unwrap();
        let back = run.does(&mut rule, worker(0), vec![job(cut(0), &[1.0, 1.0])]);
        assert_eq!(name(back), Some("older-generation-computed"));
    }
}
