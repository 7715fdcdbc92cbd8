//! Rule 11: a worker has at most a window of pushes on a link that their ps has not acknowledged,
//! and no honest task is ever taken for one that does not read.

use std::collections::BTreeMap;
use unisono_core::ids::Cut;

use unisono_core::LinkId;
use unisono_core::host::limits::QueueFull;
use unisono_core::protocol::{Effect, Input, Message, NetworkEvent, PUSH_WINDOW};

use super::Violation;
use crate::invariant::{At, Invariant};
use crate::life_id::LifeId;

/// Counts the pushes of each link, and what its ps has acknowledged of them.
#[derive(Debug, Default)]
pub(super) struct Bounded(BTreeMap<(LifeId, LinkId), Pushes>);

#[derive(Clone, Copy, Debug, Default)]
struct Pushes {
    sent: u64,
    acknowledged: u64,
}

impl Invariant for Bounded {
    fn before(&mut self, at: &At<'_>, input: &Input) -> Result<(), Violation> {
        match input {
            Input::Network(NetworkEvent::Closed { link, why }) => {
                self.0.remove(&(at.life, *link));
                if QueueFull::is_reason(why) {
                    return Err(Violation::new(11, "queue-full", why.clone()).of(at.life.task));
                }
            }
            Input::Network(NetworkEvent::Received { link, message }) => {
                let acknowledged = match message {
                    Message::Version { acknowledged, .. } => *acknowledged,
                    Message::Acknowledged { pushes } => *pushes,
                    _ => return Ok(()),
                };
                if let Some(pushes) = self.0.get_mut(&(at.life, *link)) {
                    pushes.acknowledged = pushes.acknowledged.max(acknowledged);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn after(&mut self, at: &At<'_>, _input: &Input, effects: &[Effect]) -> Result<(), Violation> {
        for effect in effects {
            let Effect::Send { link, message: Message::Push { cut: Cut { step, .. }, .. } } =
                effect
            else {
                continue;
            };
            let pushes = self.0.entry((at.life, *link)).or_default();
            pushes.sent += 1;
            let n_open = pushes.sent - pushes.acknowledged.min(pushes.sent);
            if n_open > PUSH_WINDOW as u64 {
                let what = format!("{n_open} of its pushes on one link are not acknowledged");
                let violation = Violation::new(11, "window-exceeded", what);
                return Err(violation.at(*step).of(at.life.task));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixture::{
        Fixture, PS_LINK, WORKER_LINK, cut, ps, push, send, version, worker,
    };

    /// Worker 0 pushes `n` slots to ps 0 at once.
    fn pushes(fixture: &Fixture, rule: &mut Bounded, n: u32) -> Result<(), Violation> {
        let effects: Vec<_> = (0..n).map(|slot| send(WORKER_LINK, push(cut(1), slot, 0))).collect();
        rule.after(&fixture.at(worker(0)), &Input::Wake, &effects)
    }

    fn is_told(fixture: &Fixture, rule: &mut Bounded, message: Message) {
        let event = NetworkEvent::Received { link: LinkId(WORKER_LINK), message };
        rule.before(&fixture.at(worker(0)), &Input::Network(event)).unwrap();
    }

    #[test]
    fn fifth_unacknowledged_push_is_a_violation() {
        let (fixture, mut rule) = (Fixture::new(8, 1), Bounded::default());
        assert!(pushes(&fixture, &mut rule, 4).is_ok());
        is_told(&fixture, &mut rule, Message::Acknowledged { pushes: 1 });
        assert!(pushes(&fixture, &mut rule, 1).is_ok());
        let mut newer = version(cut(2), 0.5, &[]);
        if let Message::Version { acknowledged, .. } = &mut newer {
            *acknowledged = 2;
        }
        is_told(&fixture, &mut rule, newer);
        assert!(pushes(&fixture, &mut rule, 1).is_ok());
        assert!(pushes(&fixture, &mut rule, 1).is_err());
    }

    #[test]
    fn disconnecting_an_honest_task_for_not_reading_is_a_violation() {
        let (fixture, mut rule) = (Fixture::new(2, 2), Bounded::default());
        let closed = |why: &str| {
            let (link, why) = (LinkId(PS_LINK), why.to_owned());
            Input::Network(NetworkEvent::Closed { link, why })
        };
        let at = fixture.at(ps(0));
        assert!(rule.before(&at, &closed("reset by the network")).is_ok());
        let full =
            unisono_core::host::limits::QueueLimit::default().check(1, usize::MAX).unwrap_err();
        assert!(rule.before(&at, &closed(&full.to_string())).is_err());
    }
}
