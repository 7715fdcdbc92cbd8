//! Rule 9: a task that waits longer than `report_after` reports the wait, and reports it again
//! whenever the wait has doubled. A peer that is silent for `heartbeat_timeout` is disconnected.
//!
//! The rule is checked only when a node is woken, because a frozen node cannot report, and learns
//! the current time only when it is woken again.

use std::collections::BTreeMap;

use unisono_core::protocol::{Effect, Input, Message, NetworkEvent, Report};
use unisono_core::{Job, Moment};

use crate::life_id::LifeId;
use crate::lives::Session;
use crate::rule::{At, Rule};
use crate::violation::Violation;

/// Checks every node that is woken.
#[derive(Debug, Default)]
pub(crate) struct NobodyWaitsUnseen(BTreeMap<LifeId, Wait>);

/// The wait of a node.
#[derive(Clone, Copy, Debug)]
struct Wait {
    /// The time of the last input that may have ended a wait.
    since: Moment,
    /// The time before which no further report is due: the time of the last report plus the wait in
    /// this report.
    doubled: Moment,
    /// The time of the last check of the sessions.
    looked: Moment,
}

impl Rule for NobodyWaitsUnseen {
    fn turn(&mut self, at: &mut At<'_>) -> Result<(), Violation> {
        let now = at.turn.now;
        if *at.turn.input == Input::Wake {
            self.on_wake(at);
        } else if gets_on(at.turn.input)
            || at.turn.effects.iter().any(|effect| matches!(effect, Effect::Compute(_)))
        {
            let new = Wait { since: now, doubled: now, looked: now };
            // `doubled` keeps its value, because some of these inputs do not end the wait.
            self.0.entry(at.turn.life).or_insert(new).since = now;
        }
        Ok(())
    }
}

/// Returns whether an input may end a wait.
const fn gets_on(input: &Input) -> bool {
    match input {
        Input::Start | Input::Computed(_) => true,
        Input::Network(NetworkEvent::Received { message, .. }) => matches!(
            message,
            Message::Version { .. } | Message::Restore { .. } | Message::Acknowledged { .. }
        ),
        _ => false,
    }
}

impl NobodyWaitsUnseen {
    fn on_wake(&mut self, at: &mut At<'_>) {
        let (Some(wait), Some(life)) = (self.0.get_mut(&at.turn.life), at.seen()) else { return };
        let (now, limits) = (at.turn.now, at.turn.config.limits);
        let mut suspect = |name, what| {
            let violation = Violation::new(9, name, what).of(at.turn.life.task);
            at.suspicions.suspect(at.turn.life, violation);
        };
        let is_over = at.turn.effects.iter().any(|effect| matches!(effect, Effect::Halt(_)));
        let reported = at.turn.effects.iter().find_map(|effect| match effect {
            Effect::Report(Report::Waiting { waited, .. }) => Some(*waited),
            _ => None,
        });
        // A worker does not wait while it computes. But a ps must report even an update of its own
        // that takes too long.
        let is_working = life.n_jobs > 0 && at.turn.life.task.job == Job::Worker;
        let due = wait.doubled.max(wait.since + limits.report_after);
        if let Some(waited) = reported {
            wait.doubled = now + waited;
        } else if !is_working && now >= due && !is_over {
            let waited = now - wait.since;
            suspect("wait-not-told", format!("a wait of {waited:?} is not reported"));
        }
        if now - wait.looked >= limits.heartbeat_interval && !is_over {
            wait.looked = now;
            // A node checks its sessions twice per `heartbeat_interval`, so it may notice a silence
            // a little later than `heartbeat_timeout`.
            let patience = limits.heartbeat_timeout + limits.heartbeat_interval;
            let is_silent = |(_, session): &(_, &Session)| now - session.heard >= patience;
            if let Some((link, Session { peer, heard, .. })) = life.sessions.iter().find(is_silent)
            {
                let peer = peer.map_or_else(|| "a stranger".to_owned(), |peer| peer.to_string());
                let silent = now - *heard;
                let link = link.0;
                let what = format!("{peer} is silent for {silent:?}, but link {link} is open");
                suspect("silence-unnoticed", what);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use unisono_core::LinkId;

    use super::*;
    use crate::tests::fixture::{Fixture, cut, job, ps, worker};

    fn says(waited_secs: u64) -> Vec<Effect> {
        let waited = Duration::from_secs(waited_secs);
        vec![Effect::Report(Report::Waiting { what: String::new(), waited })]
    }

    /// Wakes worker 0 at the second `at_secs` of its clock, directly after messages from all of its
    /// peers. Then the worker handles another input. Returns the name of the violation, if there is
    /// one.
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
        run.seen.suspicions.acquit(worker(0));
        assert_eq!(run.seen.suspicions.confirm_all(), Ok(()));
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
