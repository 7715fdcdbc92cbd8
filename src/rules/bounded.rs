//! Rule 11: a worker has at most `PUSH_WINDOW` unacknowledged pushes on a link, and no honest task
//! is disconnected because the task reads slowly.

use unisono_core::host::limits::QueueFull;
use unisono_core::protocol::{Effect, Input, Message, NetworkEvent, PUSH_WINDOW};

use crate::rule::At;
use crate::violation::Violation;

/// Checks every push that a worker sends, and the reason of every link that closes.
pub(crate) fn bounded(at: &mut At<'_>) -> Result<(), Violation> {
    if let Input::Network(NetworkEvent::Closed { why, .. }) = at.turn.input
        && QueueFull::is_reason(why)
    {
        return Err(Violation::new(11, "queue-full", why.clone()).of(at.turn.life.task));
    }
    let Some(life) = at.seen() else { return Ok(()) };
    for effect in at.turn.effects {
        if let Effect::Send { link, message: Message::Push { cut, .. } } = effect
            && let Some(n_open) = life.sessions.get(link).map(|session| session.n_open_pushes())
            && n_open > PUSH_WINDOW as u64
        {
            let what = format!("{n_open} pushes on one link are not acknowledged");
            return Err(at.violation(11, "window-exceeded", cut.step, what));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use unisono_core::LinkId;
    use unisono_core::host::limits::QueueLimit;

    use super::*;
    use crate::tests::fixture::{
        Fixture, PS_LINK, WORKER_LINK, cut, ps, push, send, version, worker,
    };

    #[test]
    fn fifth_unacknowledged_push_is_a_violation() {
        let mut run = Fixture::new(8, 1);
        let is_told = |run: &mut Fixture, message| {
            run.is_told(&mut bounded, worker(0), WORKER_LINK, message, vec![]).unwrap();
        };
        let pushes = |run: &mut Fixture, n: u32| {
            let effects = (0..n).map(|slot| send(WORKER_LINK, push(cut(1), slot, 0))).collect();
            run.does(&mut bounded, worker(0), effects)
        };
        pushes(&mut run, 4).unwrap();
        is_told(&mut run, Message::Acknowledged { pushes: 1 });
        pushes(&mut run, 1).unwrap();
        let mut newer = version(cut(2), 0.5, &[]);
        if let Message::Version { acknowledged, .. } = &mut newer {
            *acknowledged = 2;
        }
        is_told(&mut run, newer);
        pushes(&mut run, 1).unwrap();
        assert_eq!(pushes(&mut run, 1).unwrap_err().name, "window-exceeded");
    }

    #[test]
    fn disconnecting_an_honest_task_for_not_reading_is_a_violation() {
        let mut run = Fixture::new(2, 2);
        let mut closes = |why: String| {
            let closed = NetworkEvent::Closed { link: LinkId(PS_LINK), why };
            run.takes(&mut bounded, ps(0), Input::Network(closed))
        };
        closes("reset by the network".to_owned()).unwrap();
        let full = QueueLimit::default().check(1, usize::MAX).unwrap_err();
        assert_eq!(closes(full.to_string()).unwrap_err().name, "queue-full");
    }
}
