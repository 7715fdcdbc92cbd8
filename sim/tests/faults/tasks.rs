//! Faults of tasks: crash, pause, stop, slow and clock.

use unisono_core::{Step, TaskId};
use unisono_observe::trace::EventKind as E;
use unisono_sim::LifeId;
use unisono_sim::run::played::Played;

use crate::support::{TraceQueries as _, run};
use crate::{CHIEF, LATENCY, PS_0, PS_1, WORKER_1, ms, s, us};

/// The default `heartbeat_timeout` in seconds. Nodes check it once a second.
const HEARTBEAT_TIMEOUT: u64 = 10;

fn crash(more: &str) -> Played {
    run(&format!("[[fault]]\nid = \"it dies\"\nkind = \"crash\"\n{more}"))
}

#[test]
fn lost_machine_is_noticed_at_the_heartbeat_timeout() {
    let played = crash("node = \"worker 1\"\nat = \"5ms\"\nfor = \"30s\"");
    for ps in [PS_0, PS_1] {
        let missed = played.times_done(ps, E::PeerDown)[0];
        assert!((s(HEARTBEAT_TIMEOUT)..s(HEARTBEAT_TIMEOUT + 1) + ms(5)).contains(&missed));
        assert!(played.times(ps, E::Closed).iter().all(|at| *at > s(30)), "no link was closed");
    }
    assert_eq!(played.times(WORKER_1, E::Starts), [ms(0), s(30) + ms(5)]);
}

#[test]
fn dead_process_is_noticed_at_once() {
    let played = crash("node = \"worker 1\"\nat = \"5ms\"\nfor = \"30s\"\npeers = \"reset\"");
    for ps in [PS_0, PS_1] {
        assert_eq!(played.times(ps, E::Closed)[0], ms(5) + LATENCY);
        assert_eq!(played.times_done(ps, E::PeerDown)[0], ms(5) + LATENCY);
    }
    assert_eq!(played.effects(), [1]);
}

#[test]
fn call_to_a_lost_machine_times_out_and_call_to_a_dead_process_is_refused() {
    for (peers, told) in [("silence", "no answer within 3 s"), ("reset", "connection refused")] {
        let more = format!("node = \"ps 1\"\nat = \"5ms\"\nfor = \"30s\"\npeers = \"{peers}\"");
        let played = crash(&more);
        let failed = played.at(WORKER_1, E::ConnectFailed);
        assert!(!failed.is_empty());
        assert!(failed.iter().all(|event| event.text.contains(told)), "{}", failed[0].text);
    }
}

/// Returns the ps that receive the gradient of step 5 from the first life of worker 1.
fn reached(played: &Played) -> Vec<TaskId> {
    let reached = |ps: &TaskId| {
        let heard = played.heard(WORKER_1, *ps);
        heard.into_iter().any(|(event, sender)| {
            let what = (event.what.kind, event.what.step, sender.life.number);
            what == (E::ReceivesPush, Some(Step(5)), 1)
        })
    };
    [PS_0, PS_1].into_iter().filter(reached).collect()
}

#[test]
fn crashed_task_carries_out_exactly_the_effects_before_the_crash() {
    let both = &[PS_0, PS_1][..];
    for (event, nth, when, expected) in [
        ("computed", 1, "before", &[][..]),
        ("sends-push", 1, "before", &[]),
        ("sends-push", 1, "after", &[PS_0]),
        ("sends-push", 2, "before", &[PS_0]),
        ("sends-push", 2, "after", both),
        ("computed", 1, "after", both),
    ] {
        let on = format!(
            "on = {{ event = \"{event}\", node = \"worker 1\", step = 5, nth = {nth}, \
             when = \"{when}\" }}"
        );
        let played = crash(&format!("node = \"worker 1\"\nfor = \"50ms\"\n{on}"));
        assert_eq!(reached(&played), expected, "{when} {event} {nth}");
        let is_first = |life: LifeId| life.task == WORKER_1 && life.number == 1;
        let last = played.events().iter().rev().find(|event| is_first(event.life)).unwrap();
        let handles = (event, when) != ("computed", "before");
        assert_eq!(last.what.kind == E::Computed, handles, "{when} {event} {nth}");
    }
}

/// A paused task takes no input while time passes. After the pause, the task takes all inputs that
/// arrived meanwhile.
#[test]
fn paused_task_takes_its_inputs_after_the_pause() {
    let played = run(r#"
        [[fault]]
        id = "pause"
        kind = "pause"
        node = "worker 1"
        at = "5ms"
        for = "3s"
    "#);
    let (begin, end) = (ms(5), s(3) + ms(5));
    let of_worker = |event: &&unisono_sim::record::trace::TracedEvent| event.life.task == WORKER_1;
    let times: Vec<_> = played.events().iter().filter(of_worker).map(|event| event.at).collect();
    assert!(!times.iter().any(|at| (begin..end).contains(at)), "an input during the pause");
    for ps in [PS_0, PS_1] {
        let sent = played.done(ps, E::SendsHeartbeat);
        let meanwhile = |at| (begin..end).contains(&(at + LATENCY));
        let to_worker = sent.iter().filter(|(event, sent)| {
            sent.to.is_some_and(|to| to.task == WORKER_1) && meanwhile(event.at)
        });
        let heard = played.heard(ps, WORKER_1);
        let at_once = heard
            .iter()
            .filter(|(event, _)| (event.at, event.what.kind) == (end, E::ReceivesHeartbeat));
        let n_heard = at_once.count();
        assert_eq!(n_heard, to_worker.count());
        assert!(n_heard > 0, "{ps} sent no heartbeat");
    }
    assert_eq!(played.count(E::Starts), 4, "no task restarts");
    assert_eq!(played.effects(), [1]);
}

#[test]
fn stopped_task_restarts_when_the_fault_ends() {
    let played = run(r#"
        [[fault]]
        id = "stop"
        kind = "stop"
        node = "worker 1"
        at = "5ms"
        for = "1s"
    "#);
    assert_eq!(played.times(WORKER_1, E::AskedToStop), [ms(5)]);
    assert_eq!(played.times_done(WORKER_1, E::Stops), [ms(5)]);
    assert_eq!(played.times(PS_0, E::Closed)[0], ms(5) + LATENCY, "the task closes its links");
    assert_eq!(played.times(WORKER_1, E::Starts), [ms(0), s(1) + ms(5)]);
}

#[test]
fn slow_task_multiplies_the_duration_of_computations() {
    let played = run(r#"
        [[fault]]
        id = "slow"
        kind = "slow"
        node = "worker 1"
        factor = 10
        at_step = 5
        until_step = 10
    "#);
    for (worker, slow) in [(WORKER_1, us(7000)), (CHIEF, us(700))] {
        let begun = played.times_done(worker, E::Computes);
        let done = played.at(worker, E::Computed);
        assert_eq!((begun.len(), done.len()), (20, 20));
        for (begun, done) in begun.into_iter().zip(done) {
            let step = done.what.step.expect("a computation has a step").0;
            let expected = if (5..10).contains(&step) { slow } else { us(700) };
            assert_eq!(done.at - begun, expected, "step {step}");
        }
    }
    assert_eq!(played.effects(), [5]);
}

/// Plays a long run with few events: two updates of seven seconds each.
fn quiet(fault: &str) -> Played {
    let fault = if fault.is_empty() {
        String::new()
    } else {
        format!("[[fault]]\nid = \"clock\"\nkind = \"clock\"\nnode = \"worker 1\"\n{fault}")
    };
    let steps = "[train]\ntraining_steps = 2";
    run(&format!("{steps}\n[compute]\ngradient = \"7s\"\n{fault}"))
}

/// Returns all events except heartbeats and deadlines.
fn but_heartbeats(played: &Played) -> Vec<String> {
    let events = played.events().iter();
    let rest = events.filter(|event| !matches!(event.what.kind, E::Wakes | E::ReceivesHeartbeat));
    rest.map(|event| format!("{:?} {} {}", event.at, event.life, event.text)).collect()
}

#[test]
fn clock_that_is_twice_as_fast_doubles_the_heartbeats_and_changes_nothing_else() {
    let (right, fast) = (quiet(""), quiet("at = \"0s\"\nskew_ppm = 1000000"));
    let n_beats = |played: &Played, task| played.done(task, E::SendsHeartbeat).len();
    let (n_right, n_fast) = (n_beats(&right, WORKER_1), n_beats(&fast, WORKER_1));
    assert!(n_right >= 8 && (2 * n_right).abs_diff(n_fast) <= 2, "{n_right} and {n_fast}");
    assert_eq!(n_beats(&right, CHIEF), n_beats(&fast, CHIEF));
    assert_eq!(but_heartbeats(&right), but_heartbeats(&fast));
}

#[test]
fn clock_that_jumps_ahead_makes_a_heartbeat_early_and_changes_nothing_else() {
    let (right, jumped) = (quiet(""), quiet("at = \"3500ms\"\njump = \"5s\""));
    let jump = ms(3500);
    assert!(jumped.times_done(WORKER_1, E::SendsHeartbeat).contains(&jump));
    assert!(!right.times_done(WORKER_1, E::SendsHeartbeat).contains(&jump));
    assert_eq!(but_heartbeats(&right), but_heartbeats(&jumped));
}

#[test]
fn clock_that_jumps_over_the_heartbeat_timeout_makes_links_look_dead() {
    let played = quiet("at = \"3500ms\"\njump = \"1h\"");
    assert_eq!(played.times_done(WORKER_1, E::PeerDown)[..2], [ms(3500); 2]);
    assert_eq!(played.times(PS_1, E::Closed)[0], ms(3500) + LATENCY);
}
