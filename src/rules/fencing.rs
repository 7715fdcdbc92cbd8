//! Rule 8: a message of an older generation changes nothing, an older life of a task is refused, and
//! what a closed link brings is nobody's.

use std::collections::BTreeMap;
use std::mem;

use unisono_core::protocol::{
    Done, Effect, Input, Job, Message, NetworkEvent, Outcome, Report, Verdict,
};
use unisono_core::{Cut, Generation, LinkId};

use super::lives::Fate;
use super::suspicions::Suspicions;
use super::{Life, Violation};
use crate::invariant::{At, End, Invariant};
use crate::life_id::LifeId;

/// Looks at what becomes of everything that is older than what its node knows.
#[derive(Debug, Default)]
pub(super) struct Fencing {
    /// Why the input must change nothing, and where the shard stood before it.
    old: Option<(Old, Option<Cut>)>,
    /// A gradient is coming that is not of the shard's generation.
    is_fenced: bool,
    /// The generation that each worker computed in last.
    generations: BTreeMap<LifeId, Generation>,
    suspicions: Suspicions,
}

/// What is older than what its node knows.
#[derive(Clone, Copy, Debug)]
enum Old {
    /// It came on a link that this end has closed, or was told is closed.
    Link,
    /// An older life greets.
    Greeting(LinkId),
    /// An older life says something.
    Life,
    /// It is of an older generation than the shard.
    Generation,
    /// It is the result of a job that a new generation has made void.
    Job,
}

impl Invariant for Fencing {
    fn before(&mut self, at: &At<'_>, input: &Input) -> Result<(), Violation> {
        self.suspicions.confirm(at.life)?;
        let Some(life) = at.seen() else { return Ok(()) };
        self.old = old(life, input).map(|old| (old, life.shard.cut));
        self.is_fenced = at.fate(input) == Some(Fate::Fenced);
        Ok(())
    }

    fn after(&mut self, at: &At<'_>, input: &Input, effects: &[Effect]) -> Result<(), Violation> {
        if let Some((old, stood)) = self.old.take() {
            check(at, old, stood, input, effects)?;
        }
        if mem::take(&mut self.is_fenced)
            && let Some(pushed) = at.seen().and_then(|life| life.pushed(input))
            && !(pushed.is_told(effects, Verdict::Fenced)
                && pushed.is_counted(effects, Some(Verdict::Fenced)))
        {
            let what = format!("slot {} of {} is not told to be fenced", pushed.slot, pushed.cut);
            let violation = Violation::new(8, "older-generation-accepted", what);
            self.suspicions.suspect(at.life, violation.at(pushed.cut.step).of(at.life.task));
        }
        for effect in effects {
            if let Effect::Compute(Job::Gradient { cut: Cut { generation, step }, .. }) = effect {
                let last = self.generations.insert(at.life, *generation);
                if last.is_some_and(|last| *generation < last) {
                    let what = "it goes back to an older generation";
                    let violation = Violation::new(8, "older-generation-computed", what);
                    return Err(violation.at(*step).of(at.life.task));
                }
            }
        }
        Ok(())
    }

    fn killed(&mut self, life: LifeId) {
        self.generations.remove(&life);
        self.suspicions.acquit(life);
    }

    fn end(&mut self, _end: &End<'_>) -> Result<(), Violation> {
        self.suspicions.confirm_all()
    }
}

fn old(life: &Life, input: &Input) -> Option<Old> {
    match input {
        Input::Network(NetworkEvent::Received { link, message }) => {
            let Some(session) = life.sessions.get(link) else { return Some(Old::Link) };
            let newest = |peer| life.let_in.get(&peer).copied();
            match (message, session.incarnation) {
                (Message::Hello(hello), None) => newest(hello.from)
                    .is_some_and(|newest| hello.incarnation < newest)
                    .then_some(Old::Greeting(*link)),
                (Message::Welcome { incarnation, .. }, None) => newest(session.peer?)
                    .is_some_and(|newest| *incarnation < newest)
                    .then_some(Old::Greeting(*link)),
                (_, None) => None,
                (_, Some(incarnation)) if Some(incarnation) < newest(session.peer?) => {
                    Some(Old::Life)
                }
                (message, Some(_)) => {
                    (generation(message)? < life.shard.cut?.generation).then_some(Old::Generation)
                }
            }
        }
        Input::Computed(Done::Update { cut, .. }) => {
            let cut = *cut;
            let is_awaited = life.shard.cut == Some(cut) && life.shard.n_begun > 0;
            (!is_awaited).then_some(Old::Job)
        }
        Input::Computed(Done::Gradient { cut: Cut { generation, .. }, .. }) => {
            let is_over = life.work.whole().is_some_and(|whole| *generation < whole.generation);
            is_over.then_some(Old::Job)
        }
        _ => None,
    }
}

/// The generation that a message to a ps is of. A pull asks for any that is not before its own.
const fn generation(message: &Message) -> Option<Generation> {
    match message {
        Message::Push { cut: Cut { generation, .. }, .. }
        | Message::Received { cut: Cut { generation, .. }, .. }
        | Message::Chosen { cut: Cut { generation, .. }, .. }
        | Message::Restore { cut: Cut { generation, .. }, .. }
        | Message::Capture { cut: Cut { generation, .. }, .. } => Some(*generation),
        _ => None,
    }
}

fn check(
    at: &At<'_>,
    old: Old,
    stood: Option<Cut>,
    input: &Input,
    effects: &[Effect],
) -> Result<(), Violation> {
    let name = match old {
        Old::Link => "closed-link-heard",
        Old::Greeting(_) => "older-life-let-in",
        Old::Life => "older-life-heard",
        Old::Generation => "older-generation-accepted",
        Old::Job => "void-result-used",
    };
    let stands = at.seen().and_then(|life| life.shard.cut);
    let broken = |what: String| Err(Violation::new(8, name, what).of(at.life.task));
    if stands != stood {
        return broken(format!("it stood at {stood:?}, and stands at {stands:?}"));
    }
    // Rule 10: a worker that knows of the end lets in any life of a ps, to tell it or to leave it.
    if let Old::Greeting(on) = old
        && effects.iter().any(|effect| tells_the_end(on, effect))
    {
        let is_end = |effect: &&Effect| {
            tells_the_end(on, effect)
                || matches!(
                    effect,
                    Effect::Report(Report::PeerUp { .. }) | Effect::Halt(Outcome::Finished)
                )
        };
        return match effects.iter().find(|effect| !is_end(effect)) {
            Some(effect) => broken(format!("beside the end it leads to {}", kind(effect))),
            None => Ok(()),
        };
    }
    match effects.iter().find(|effect| !is_harmless(old, effect)) {
        Some(effect) => {
            let what = match input {
                Input::Network(NetworkEvent::Received { message, .. }) => message.kind(),
                _ => "a result",
            };
            broken(format!("{what} leads to {}", kind(effect)))
        }
        None => Ok(()),
    }
}

fn tells_the_end(on: LinkId, effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Send { link, message: Message::Finished { .. } | Message::Goodbye } if *link == on
    )
}

/// What may be done about something old.
fn is_harmless(old: Old, effect: &Effect) -> bool {
    match (old, effect) {
        // At the end the chief asks for what it lacks whatever happens.
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
        Effect::Close { .. } => "a link closed",
        Effect::Restore | Effect::Persist(_) | Effect::Record(_) => "something written or read",
        Effect::Report(_) => "a report",
        Effect::Halt(_) => "its end",
    }
}

#[cfg(test)]
mod tests {
    use unisono_core::Incarnation;
    use unisono_core::protocol::{Hello, PROTOCOL_VERSION, Settings};

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
