//! What happens to links: reset, half-open, duplicate, and calls that fail.

use unisono_core::{Step, TaskId};
use unisono_observe::trace::EventKind as E;
use unisono_sim::record::trace::TracedEvent;
use unisono_sim::run::played::Played;

use crate::support::{Told as _, run};
use crate::{CHIEF, LATENCY, PS_0, PS_1, WORKER_1, ms, s};

/// A fault between worker 1 and ps 0 as soon as its push of step 5 to ps 0 has left. The chief is
/// slow, so that the update is not made before worker 1 can say it again.
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

/// The pushes of step 5 from worker 1 that ps 0 gets, with the events at which they were sent.
fn pushes(played: &Played) -> Vec<(&TracedEvent, &TracedEvent)> {
    let mut heard = played.heard(WORKER_1, PS_0);
    heard.retain(|(event, _)| {
        (event.what.kind, event.what.step) == (E::ReceivesPush, Some(Step(5)))
    });
    heard
}

/// When worker 1 first pushes at step 5.
fn left(played: &Played) -> std::time::Duration {
    let pushes = played.done(WORKER_1, E::SendsPush);
    let first = pushes.iter().find(|(_, push)| push.what.step == Some(Step(5)));
    first.expect("step 5 is pushed").0.at
}

fn closed_at(played: &Played, task: TaskId) -> Option<(std::time::Duration, &str)> {
    played.at(task, E::Closed).first().map(|event| (event.at, event.text.as_str()))
}

#[test]
fn a_reset_tells_both_ends_and_loses_what_is_on_its_way() {
    let played = as_a_push_leaves("kind = \"reset\"");
    let left = left(&played);
    for task in [WORKER_1, PS_0] {
        let (at, text) = closed_at(&played, task).expect("it is told");
        assert_eq!(at, left);
        assert!(text.contains("reset by the network"), "{text}");
    }
    let [(arrived, sent)] = pushes(&played)[..] else { panic!("one push arrives") };
    assert!(sent.at > left && arrived.at == sent.at + LATENCY, "it was said again");
    assert!(played.times(PS_1, E::Closed).iter().all(|at| *at > arrived.at), "others stay up");
    assert_eq!(played.bites(), [1]);
}

#[test]
fn of_a_half_open_link_only_one_end_is_told() {
    let played = as_a_push_leaves("kind = \"half-open\"");
    let left = left(&played);
    assert_eq!(closed_at(&played, WORKER_1).map(|(at, _)| at), Some(left));
    let [(arrived, sent)] = pushes(&played)[..] else { panic!("one push arrives") };
    assert!(sent.at > left, "what was on its way is lost");
    // Ps 0 hears nothing of the old link: it is dropped for the new one.
    let down = played.times_done(PS_0, E::PeerDown)[0];
    assert!(down > left && down < arrived.at, "{down:?}");
    assert!(played.times(PS_0, E::Closed).iter().all(|at| *at > arrived.at));
}

/// The other end is told: it hears, and nobody hears it.
#[test]
fn of_a_half_open_link_the_end_that_is_not_told_waits_for_the_heartbeat() {
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
fn a_duplicate_delivers_what_is_on_its_way_and_has_it_said_again() {
    let played = as_a_push_leaves("kind = \"duplicate\"");
    let left = left(&played);
    let [(first, _), (second, again)] = pushes(&played)[..] else { panic!("it arrives twice") };
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
        played.events()[cause.expect("it was sent")].life
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
    events.iter().find(|event| event.text.contains(with)).expect("it happens").at
}

#[test]
fn a_call_that_is_refused_fails_at_once_and_is_made_again() {
    let played = calls("refuse", "1s");
    let failed = played.times(CHIEF, E::ConnectFailed);
    assert_eq!(failed[0], 2 * LATENCY, "there and back");
    // The pause before the next call doubles: 20, 40, … ms.
    assert_eq!(failed[1] - failed[0], ms(20) + 2 * LATENCY);
    assert_eq!(failed[2] - failed[1], ms(40) + 2 * LATENCY);
    assert!(played.at(CHIEF, E::ConnectFailed).iter().all(|it| it.text.contains("ps 1: conn")));
    assert_eq!(played.bites(), [failed.len() as u64]);
    assert!(first(&played, E::Connected, "to ps 1") > s(1));
    assert_eq!(first(&played, E::Connected, "to ps 0"), 2 * LATENCY, "others are answered");
}

#[test]
fn a_call_that_nobody_answers_is_repeated_and_fails_after_the_connect_timeout() {
    let played = calls("hang", "500ms");
    assert_eq!(first(&played, E::Connected, "to ps 1"), s(1) + 2 * LATENCY, "the first repeat");
    assert_eq!(played.count(E::ConnectFailed), 0);
    let played = calls("hang", "5s");
    // A pause of 20 ms between the calls, and of 40 ms before the third.
    assert_eq!(played.times(CHIEF, E::ConnectFailed), [s(3), s(6) + ms(20)]);
    let failed = played.at(CHIEF, E::ConnectFailed)[0];
    assert!(failed.text.contains("no answer within 3 s"), "{}", failed.text);
    assert_eq!(first(&played, E::Connected, "to ps 1"), s(6) + ms(60) + 2 * LATENCY);
    // Each of the two calls, and one repeat of each.
    assert_eq!(played.bites(), [4]);
}
