//! Faults of links: reset, half-open, duplicate, and calls that fail.

use unisono_core::{Step, TaskId};
use unisono_observe::trace::EventKind as E;
use unisono_sim::record::trace::TracedEvent;
use unisono_sim::run::played::Played;

use crate::support::{TraceQueries as _, run};
use crate::{CHIEF, LATENCY, PS_0, PS_1, WORKER_1, ms, s};

/// Plays a fault between worker 1 and ps 0 that begins when the worker's push of step 5 has left.
/// The chief is slow, so that the update is not computed before worker 1 can repeat its push.
fn as_a_push_leaves(fault: &str) -> Played {
    run(&format!(
        r#"
        [[compute.task]]
        node = "chief"
        time = "60ms"

        [[fault]]
        id = "break"
        from = "worker 1"
        to = "ps 0"
        on = {{ event = "sends-push", node = "worker 1", step = 5, nth = 1 }}
        {fault}
    "#
    ))
}

/// Returns the pushes of step 5 that ps 0 receives from worker 1, with the events that sent them.
fn pushes(played: &Played) -> Vec<(&TracedEvent, &TracedEvent)> {
    let mut heard = played.heard(WORKER_1, PS_0);
    heard.retain(|(event, _)| {
        (event.what.kind, event.what.step) == (E::ReceivesPush, Some(Step(5)))
    });
    heard
}

/// Returns when worker 1 first pushes at step 5.
fn left(played: &Played) -> std::time::Duration {
    let pushes = played.done(WORKER_1, E::SendsPush);
    let first = pushes.iter().find(|(_, push)| push.what.step == Some(Step(5)));
    first.expect("step 5 is pushed").0.at
}

fn closed_at(played: &Played, task: TaskId) -> Option<(std::time::Duration, &str)> {
    played.at(task, E::Closed).first().map(|event| (event.at, event.text.as_str()))
}

#[test]
fn reset_closes_both_ends_and_loses_messages_under_way() {
    let played = as_a_push_leaves("kind = \"reset\"");
    let left = left(&played);
    for task in [WORKER_1, PS_0] {
        let (at, text) = closed_at(&played, task).expect("the end learns of the reset");
        assert_eq!(at, left);
        assert!(text.contains("reset by the network"), "{text}");
    }
    let [(arrived, sent)] = pushes(&played)[..] else { panic!("one push arrives") };
    assert!(sent.at > left && arrived.at == sent.at + LATENCY, "the push was repeated");
    assert!(
        played.times(PS_1, E::Closed).iter().all(|at| *at > arrived.at),
        "the links to other ps stay open"
    );
    assert_eq!(played.effects(), [1]);
}

#[test]
fn half_open_link_closes_only_one_end() {
    let played = as_a_push_leaves("kind = \"half-open\"");
    let left = left(&played);
    assert_eq!(closed_at(&played, WORKER_1).map(|(at, _)| at), Some(left));
    let [(arrived, sent)] = pushes(&played)[..] else { panic!("one push arrives") };
    assert!(sent.at > left, "the message under way is lost");
    // Ps 0 learns nothing about the old link, and drops it for the new one.
    let down = played.times_done(PS_0, E::PeerDown)[0];
    assert!(down > left && down < arrived.at, "{down:?}");
    assert!(played.times(PS_0, E::Closed).iter().all(|at| *at > arrived.at));
}

/// The fault closes the end of ps 0, and worker 1 keeps its end.
#[test]
fn open_end_of_a_half_open_link_waits_for_the_heartbeat_timeout() {
    let played = run(r#"
        [[fault]]
        id = "half-open"
        kind = "half-open"
        from = "ps 0"
        to = "worker 1"
        at = "5ms"
    "#);
    assert_eq!(closed_at(&played, PS_0).map(|(at, _)| at), Some(ms(5)));
    let down = played.times_done(WORKER_1, E::PeerDown)[0];
    assert!((s(10)..s(11) + ms(5)).contains(&down), "{down:?}");
}

#[test]
fn duplicate_delivers_messages_under_way_and_lets_the_sender_repeat_them() {
    let played = as_a_push_leaves("kind = \"duplicate\"");
    let left = left(&played);
    let [(first, _), (second, again)] = pushes(&played)[..] else { panic!("not two pushes") };
    assert_eq!(first.at, left + LATENCY);
    assert_eq!((first.what, again.life), (second.what, first.life_of_sender(&played)));
    for task in [WORKER_1, PS_0] {
        assert_eq!(closed_at(&played, task).map(|(at, _)| at), Some(left + LATENCY));
    }
    assert_eq!(played.count(E::DropsDuplicate), 1);
    assert_eq!(played.count(E::DropsStale), 0);
}

trait Sender {
    fn life_of_sender(&self, played: &Played) -> unisono_sim::LifeId;
}

impl Sender for TracedEvent {
    fn life_of_sender(&self, played: &Played) -> unisono_sim::LifeId {
        let cause = self.cause.and_then(|cause| usize::try_from(cause).ok());
        played.events()[cause.expect("the message was sent")].life
    }
}

fn calls(mode: &str, duration: &str) -> Played {
    run(&format!(
        "[[fault]]\nid = \"calls\"\nkind = \"connect\"\nfrom = \"chief\"\nto = \"ps 1\"\n\
         mode = \"{mode}\"\nat = \"0s\"\nfor = \"{duration}\""
    ))
}

fn first(played: &Played, kind: E, with: &str) -> std::time::Duration {
    let events = played.at(CHIEF, kind);
    events.iter().find(|event| event.text.contains(with)).expect("the event happens").at
}

#[test]
fn refused_call_fails_at_once_and_is_repeated() {
    let played = calls("refuse", "1s");
    let failed = played.times(CHIEF, E::ConnectFailed);
    assert_eq!(failed[0], 2 * LATENCY, "a refusal takes one round trip");
    // The pause before the next call doubles: 20, 40, … ms.
    assert_eq!(failed[1] - failed[0], ms(20) + 2 * LATENCY);
    assert_eq!(failed[2] - failed[1], ms(40) + 2 * LATENCY);
    assert!(played.at(CHIEF, E::ConnectFailed).iter().all(|it| it.text.contains("ps 1: conn")));
    assert_eq!(played.effects(), [failed.len() as u64]);
    assert!(first(&played, E::Connected, "to ps 1") > s(1));
    assert_eq!(
        first(&played, E::Connected, "to ps 0"),
        2 * LATENCY,
        "calls of other ps are answered"
    );
}

#[test]
fn unanswered_call_is_repeated_and_fails_after_the_connect_timeout() {
    let played = calls("hang", "500ms");
    assert_eq!(
        first(&played, E::Connected, "to ps 1"),
        s(1) + 2 * LATENCY,
        "the first repetition of the call succeeds"
    );
    assert_eq!(played.count(E::ConnectFailed), 0);
    let played = calls("hang", "5s");
    // A pause of 20 ms between the calls, and of 40 ms before the third.
    assert_eq!(played.times(CHIEF, E::ConnectFailed), [s(3), s(6) + ms(20)]);
    let failed = played.at(CHIEF, E::ConnectFailed)[0];
    assert!(failed.text.contains("no answer within 3 s"), "{}", failed.text);
    assert_eq!(first(&played, E::Connected, "to ps 1"), s(6) + ms(60) + 2 * LATENCY);
    // The two calls, and one repetition of each.
    assert_eq!(played.effects(), [4]);
}
