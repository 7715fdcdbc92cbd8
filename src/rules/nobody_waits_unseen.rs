//! Rule 9: whoever waits longer than `report_after` says so, and again whenever the wait has
//! doubled. A peer that is not heard of for `heartbeat_timeout` is parted from.
//!
//! Checked only at a wake: a node that is frozen cannot speak, and what it did not get to is not
//! its fault; at its next wake it knows the time.

use std::collections::BTreeMap;

use unisono_core::protocol::{Effect, Input, Message, NetworkEvent, Report};
use unisono_core::{LinkId, Moment};

use super::suspicions::Suspicions;
use super::{Session, Violation};
use crate::invariant::{At, End, Invariant};
use crate::life_id::LifeId;

/// Looks at every node when it is woken.
#[derive(Debug, Default)]
pub(super) struct NobodyWaitsUnseen {
    waits: BTreeMap<LifeId, Wait>,
    suspicions: Suspicions,
}

/// How long a node has waited, at least.
#[derive(Clone, Copy, Debug)]
struct Wait {
    since: Moment,
    /// When it must have spoken again, by what it said last.
    doubled: Moment,
    /// When its sessions were looked at last.
    looked: Moment,
}

impl Invariant for NobodyWaitsUnseen {
    fn before(&mut self, at: &At<'_>, _input: &Input) -> Result<(), Violation> {
        self.suspicions.confirm(at.life)
    }

    fn after(&mut self, at: &At<'_>, input: &Input, effects: &[Effect]) -> Result<(), Violation> {
        if *input == Input::Wake {
            self.on_wake(at, effects);
        } else if gets_on(input)
            || effects.iter().any(|effect| matches!(effect, Effect::Compute(_)))
        {
            let new = Wait { since: at.moment, doubled: at.moment, looked: at.moment };
            // Not everything that may be progress is: what it said last counts until then, too.
            self.waits.entry(at.life).or_insert(new).since = at.moment;
        }
        Ok(())
    }

    fn killed(&mut self, life: LifeId) {
        self.waits.remove(&life);
        self.suspicions.acquit(life);
    }

    fn end(&mut self, _end: &End<'_>) -> Result<(), Violation> {
        self.suspicions.confirm_all()
    }
}

/// Whether an input may be what was waited for.
const fn gets_on(input: &Input) -> bool {
    match input {
        Input::Start | Input::Computed(_) => true,
        Input::Network(NetworkEvent::Received { message, .. }) => {
            matches!(
                message,
                Message::Version { .. } | Message::Restore { .. } | Message::Acknowledged { .. }
            )
        }
        _ => false,
    }
}

impl NobodyWaitsUnseen {
    fn on_wake(&mut self, at: &At<'_>, effects: &[Effect]) {
        let Some(wait) = self.waits.get_mut(&at.life) else { return };
        let Some(life) = at.seen() else { return };
        let limits = at.config.limits;
        let says = effects.iter().find_map(|effect| match effect {
            Effect::Report(Report::Waiting { waited, .. }) => Some(*waited),
            _ => None,
        });
        let is_over = effects.iter().any(|effect| matches!(effect, Effect::Halt(_)));
        let due = wait.doubled.max(wait.since + limits.report_after);
        if let Some(waited) = says {
            wait.doubled = at.moment + waited;
        } else if life.n_jobs == 0 && at.moment >= due && !is_over {
            let waited = at.moment - wait.since;
            let what = format!("it has waited for {waited:?}, and does not say so");
            let violation = Violation::new(9, "wait-not-told", what).of(at.life.task);
            self.suspicions.suspect(at.life, violation);
        }
        if at.moment - wait.looked >= limits.heartbeat_interval && !is_over {
            wait.looked = at.moment;
            // A node looks at its sessions on a beat of half an interval.
            let patience = limits.heartbeat_timeout + limits.heartbeat_interval;
            let is_silent =
                |(_, session): &(&LinkId, &Session)| at.moment - session.heard >= patience;
            if let Some((link, session)) = life.sessions.iter().find(is_silent) {
                let who =
                    session.peer.map_or_else(|| "a stranger".to_owned(), |peer| peer.to_string());
                let silent = at.moment - session.heard;
                let what = format!("{who} is silent for {silent:?} on link {}", link.0);
                let violation = Violation::new(9, "silence-unnoticed", what).of(at.life.task);
                self.suspicions.suspect(at.life, violation);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tests::fixture::{Fixture, cut, job, ps, worker};

    fn says(waited_secs: u64) -> Vec<Effect> {
        let waited = Duration::from_secs(waited_secs);
        vec![Effect::Report(Report::Waiting { what: String::new(), waited })]
    }

    /// Wakes worker 0, whose peers are all heard of, at a second, and then lives on.
    fn wakes(
        (run, rule): (&mut Fixture, &mut NobodyWaitsUnseen),
        at_secs: u64,
        effects: Vec<Effect>,
    ) -> Option<&'static str> {
        run.moment = Moment::from_origin(Duration::from_secs(at_secs));
        for link in [0, 1] {
            run.hears(worker(0), link);
        }
        let wake = run.plays(rule, worker(0), Input::Wake, effects);
        let next = run.plays(rule, worker(0), Input::Stop, vec![]);
        wake.and(next).err().map(|violation| violation.name)
    }

    fn ready() -> (Fixture, NobodyWaitsUnseen) {
        let (mut run, mut rule) = (Fixture::new(2, 2), NobodyWaitsUnseen::default());
        run.plays(&mut rule, worker(0), Input::Start, vec![]).unwrap();
        run.connect(worker(0));
        (run, rule)
    }

    #[test]
    fn wait_must_be_reported_at_the_limit_and_at_each_doubling() {
        let (mut run, mut rule) = ready();
        let mut wakes = |at, effects| wakes((&mut run, &mut rule), at, effects);
        assert_eq!(wakes(9, vec![]), None);
        assert_eq!(wakes(10, says(10)), None);
        assert_eq!(wakes(19, vec![]), None);
        assert_eq!(wakes(20, says(20)), None);
        assert_eq!(wakes(39, vec![]), None);
        assert_eq!(wakes(40, vec![]), Some("wait-not-told"));
    }

    #[test]
    fn wait_that_is_never_reported_is_a_violation() {
        let (mut run, mut rule) = ready();
        assert_eq!(wakes((&mut run, &mut rule), 10, vec![]), Some("wait-not-told"));
    }

    #[test]
    fn computing_worker_is_not_waiting() {
        let (mut run, mut rule) = ready();
        run.does(&mut rule, worker(0), vec![job(cut(0), &[1.0, 1.0])]).unwrap();
        assert_eq!(wakes((&mut run, &mut rule), 100, vec![]), None);
    }

    #[test]
    fn task_killed_during_its_wake_is_not_blamed() {
        let (mut run, mut rule) = ready();
        run.moment = Moment::from_origin(Duration::from_secs(100));
        run.plays(&mut rule, worker(0), Input::Wake, vec![]).unwrap();
        rule.killed(worker(0));
        assert_eq!(rule.suspicions.confirm_all(), Ok(()));
    }

    #[test]
    fn silent_peer_must_be_disconnected() {
        for (effects, name) in
            [(vec![Effect::Close { link: LinkId(0) }], None), (vec![], Some("silence-unnoticed"))]
        {
            let (mut run, mut rule) = (Fixture::new(2, 2), NobodyWaitsUnseen::default());
            run.plays(&mut rule, ps(0), Input::Start, vec![]).unwrap();
            run.connect_only(ps(0), 0);
            run.moment = Moment::from_origin(Duration::from_secs(12));
            let mut all = says(12);
            all.extend(effects);
            run.plays(&mut rule, ps(0), Input::Wake, all).unwrap();
            let next = run.plays(&mut rule, ps(0), Input::Stop, vec![]);
            assert_eq!(next.err().map(|violation| violation.name), name);
        }
    }
}
