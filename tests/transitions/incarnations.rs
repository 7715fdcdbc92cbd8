//! Rule 8: older incarnations of a task are refused. A refused process may continue with a larger
//! incarnation if it is outdated, and must end if it is fenced.

use unisono_core::protocol::{
    Effect, Failure, Message, NetworkEvent, NewerIncarnation, Outcome, Report, Want, Worker,
};
use unisono_core::{Cut, Generation, Incarnation, Step, TaskId};

use crate::chief::checkpoint_found;
use crate::script::{Script, cluster, floats, generation, link, pull, send, state};

/// The incarnation of every node under test.
const OWN: Incarnation = Incarnation(1);
const LARGEST: u64 = 9_007_199_254_740_992;

/// A newer incarnation that is not connected any more.
fn gone_incarnation(incarnation: u64) -> NewerIncarnation {
    NewerIncarnation { incarnation: Incarnation(incarnation), is_connected: false }
}

fn refused(older_than: Option<NewerIncarnation>) -> Message {
    Message::Refused { reason: "older".to_owned(), older_than }
}

/// The halt of a node that peer `by` refused and whose process may continue with an incarnation
/// larger than `exceed`.
fn outdated(by: TaskId, exceed: u64) -> Effect {
    let reason = format!("{by} refused this task: older");
    Effect::Halt(Outcome::Outdated { exceed: Incarnation(exceed), reason })
}

/// The halt of a node that peer `by` refused and whose process must end.
fn failed(by: TaskId, failure: fn(String) -> Failure) -> Effect {
    Effect::Halt(Outcome::Failed(failure(format!("{by} refused this task: older"))))
}

/// A ps accepts a call of the worker and refuses it. Returns the effect after the close, if any.
fn calls_and_is_refused(
    worker: &mut Script<Worker>,
    ps: u32,
    older_than: Option<NewerIncarnation>,
) -> Option<Effect> {
    worker.network(NetworkEvent::Connected { link: link(ps), to: TaskId::ps(ps) });
    let mut out = worker.receives(ps, refused(older_than));
    assert_eq!(out.remove(0), Effect::Close { link: link(ps) });
    assert!(out.len() <= 1, "{out:?}");
    out.pop()
}

#[test]
fn older_caller_is_refused_with_the_incarnation_to_exceed() {
    let mut ps = Script::ps(0, cluster(1, 2, 2));
    ps.accepts_worker(1, 5);
    ps.loses_link(1);
    let reason = "this process of worker 1 has incarnation 4, and ps 0 knows incarnation 5: \
                  worker 1 was restarted since, or a clock was set back";
    let why = format!("refused the caller worker 1: {reason}");
    let expected = [
        send(
            9,
            Message::Refused { reason: reason.to_owned(), older_than: Some(gone_incarnation(5)) },
        ),
        Effect::Close { link: link(9) },
        Effect::Report(Report::TurnedAway { why }),
    ];
    assert_eq!(ps.accepts_on(9, TaskId::worker(1), 4), expected);
}

#[test]
fn worker_refuses_an_older_incarnation_of_a_ps_that_it_called() {
    let mut worker = Script::worker(1, cluster(1, 2, 2));
    worker.connects_to(0, 5, None);
    worker.loses_link(0);
    let reason = "this process of ps 0 has incarnation 4, and worker 1 knows incarnation 5: ps 0 \
                  was restarted since, or a clock was set back";
    let why = format!("refused ps 0: {reason}");
    let expected = [
        Effect::Report(Report::TurnedAway { why }),
        send(
            0,
            Message::Refused { reason: reason.to_owned(), older_than: Some(gone_incarnation(5)) },
        ),
        Effect::Close { link: link(0) },
    ];
    assert_eq!(worker.connects_to(0, 4, None), expected);
    let again = worker.deadline();
    assert_eq!(
        again - worker.now(),
        worker.config.limits.reconnect_min,
        "the worker calls again soon"
    );
}

#[test]
fn refusal_reports_whether_the_newer_incarnation_is_connected() {
    let mut ps = Script::ps(0, cluster(1, 2, 2));
    ps.accepts_worker(1, 5);
    let out = ps.accepts_on(9, TaskId::worker(1), 4);
    let Effect::Send { message: Message::Refused { older_than, .. }, .. } = &out[0] else {
        panic!("{out:?}")
    };
    assert_eq!(*older_than, Some(NewerIncarnation { is_connected: true, ..gone_incarnation(5) }));
}

#[test]
fn refused_worker_retries_until_the_newer_incarnation_is_known_to_be_alive() {
    let connected = Some(NewerIncarnation { is_connected: true, ..gone_incarnation(5) });
    let mut worker = Script::worker(1, cluster(1, 2, 2));
    let limits = worker.config.limits;
    let clear = worker.now() + limits.heartbeat_timeout + limits.heartbeat_interval;
    while worker.now() <= clear {
        assert_eq!(calls_and_is_refused(&mut worker, 0, connected), None);
        let at = worker.deadline();
        worker.wakes_at(at);
    }
    let fenced = failed(TaskId::ps(0), Failure::Fenced);
    assert_eq!(calls_and_is_refused(&mut worker, 0, connected), Some(fenced));
}

#[test]
fn worker_is_outdated_once_the_newer_incarnation_is_disconnected() {
    let connected = Some(NewerIncarnation { is_connected: true, ..gone_incarnation(5) });
    let mut worker = Script::worker(1, cluster(1, 2, 2));
    assert_eq!(calls_and_is_refused(&mut worker, 0, connected), None);
    let outdated = outdated(TaskId::ps(0), 5);
    assert_eq!(calls_and_is_refused(&mut worker, 0, Some(gone_incarnation(5))), Some(outdated));
}

#[test]
fn refused_worker_that_never_joined_is_outdated_and_names_the_incarnation_to_exceed() {
    let mut worker = Script::worker(1, cluster(1, 2, 2));
    assert_eq!(
        calls_and_is_refused(&mut worker, 0, Some(gone_incarnation(5))),
        Some(outdated(TaskId::ps(0), 5))
    );
}

#[test]
fn worker_has_not_joined_until_every_ps_has_welcomed_it() {
    let mut worker = Script::worker(1, cluster(2, 2, 2));
    worker.connects_to(0, 1, None);
    assert_eq!(
        calls_and_is_refused(&mut worker, 1, Some(gone_incarnation(5))),
        Some(outdated(TaskId::ps(1), 5))
    );
}

#[test]
fn joined_worker_is_fenced_even_after_all_its_links_were_lost() {
    let mut worker = Script::worker(1, cluster(2, 2, 2));
    worker.connects_to(0, 1, None);
    worker.loses_link(0);
    worker.connects_to(1, 1, None);
    worker.loses_link(1);
    let fenced = failed(TaskId::ps(0), Failure::Fenced);
    assert_eq!(calls_and_is_refused(&mut worker, 0, Some(gone_incarnation(5))), Some(fenced));
}

#[test]
fn chief_that_never_joined_is_outdated_even_if_it_finds_the_final_checkpoint() {
    // If the reason of the refusal were ignored, the chief would count the ps as informed and halt.
    let mut chief = Script::worker(0, cluster(1, 2, 2));
    chief.feed(checkpoint_found(3, 1));
    assert_eq!(
        calls_and_is_refused(&mut chief, 0, Some(gone_incarnation(5))),
        Some(outdated(TaskId::ps(0), 5))
    );
}

#[test]
fn ps_without_a_state_is_outdated_if_a_worker_knows_a_newer_incarnation() {
    let mut ps = Script::ps(0, cluster(1, 2, 2));
    ps.accepts_worker(0, 1);
    ps.accepts_worker(1, 1);
    let (peer, why) = (TaskId::worker(1), "worker 1 refused this task: older".to_owned());
    let expected = [
        Effect::Close { link: link(1) },
        Effect::Report(Report::PeerDown { peer, why }),
        outdated(peer, 5),
    ];
    assert_eq!(ps.receives(1, refused(Some(gone_incarnation(5)))), expected);
}

#[test]
fn ps_with_a_state_is_fenced_if_a_worker_knows_a_newer_incarnation() {
    let mut ps = Script::ps(0, cluster(1, 2, 2));
    ps.accepts_worker(0, 1);
    ps.accepts_worker(1, 1);
    let (generation, step) = (generation(1), Step(0));
    ps.receives(0, Message::Restore { cut: Cut { generation, step }, state: state(0.0) });
    let last = ps.receives(1, refused(Some(gone_incarnation(5)))).pop();
    assert_eq!(last, Some(failed(TaskId::worker(1), Failure::Fenced)));
}

#[test]
fn leaving_worker_says_goodbye_even_to_an_older_incarnation_of_a_ps() {
    for state in [None, Some(Cut { generation: generation(1), step: Step(3) })] {
        let mut worker = Script::worker(1, cluster(2, 2, 2));
        worker.connects_to(0, 1, None);
        worker.connects_to(1, 5, None);
        worker.loses_link(1);
        worker.receives(0, Message::Finished { generation: generation(1) });
        let out = worker.connects_to(1, 4, state);
        let says_goodbye =
            |effect: &Effect| matches!(effect, Effect::Send { message: Message::Goodbye, .. });
        assert!(out.iter().any(says_goodbye), "{out:?}");
        assert_eq!(out.last(), Some(&Effect::Halt(Outcome::Finished)));
    }
}

#[test]
fn ending_ps_with_a_state_is_outdated_if_a_worker_knows_a_newer_incarnation() {
    let mut ps = Script::restored_ps(cluster(1, 2, 2), 3);
    ps.receives(0, Message::Finished { generation: generation(1) });
    let connected = Some(NewerIncarnation { is_connected: true, ..gone_incarnation(5) });
    // A connected newer incarnation announces the end to the worker, so this ps stays.
    let halts = |effect: &Effect| matches!(effect, Effect::Halt(_));
    assert!(!ps.receives(1, refused(connected)).iter().any(halts));
    ps.accepts_worker(1, 1);
    let last = ps.receives(1, refused(Some(gone_incarnation(5)))).pop();
    assert_eq!(last, Some(outdated(TaskId::worker(1), 5)));
}

#[test]
fn refusal_by_a_caller_without_a_larger_incarnation_only_closes_the_link() {
    for exceed in [None, Some(0), Some(OWN.0), Some(LARGEST), Some(u64::MAX)] {
        let older_than = exceed.map(gone_incarnation);
        let mut ps = Script::ps(0, cluster(1, 2, 2));
        ps.accepts_worker(1, 1);
        let (peer, why) = (TaskId::worker(1), "it sent refused, which it may not send");
        let parted = [
            Effect::Close { link: link(1) },
            Effect::Report(Report::PeerDown { peer, why: why.to_owned() }),
        ];
        assert_eq!(ps.receives(1, refused(older_than)), parted, "{exceed:?}");
    }
}

#[test]
fn refusal_after_a_welcome_does_not_halt_the_worker() {
    let mut worker = Script::worker(1, cluster(1, 2, 2));
    worker.connects_to(0, 1, None);
    let out = worker.receives(0, refused(Some(gone_incarnation(5))));
    assert!(!out.iter().any(|effect| matches!(effect, Effect::Halt(_))), "{out:?}");
}

#[test]
fn refusal_without_a_larger_incarnation_is_final() {
    for exceed in [None, Some(0), Some(OWN.0), Some(LARGEST), Some(u64::MAX)] {
        let older_than = exceed.map(gone_incarnation);
        let mut worker = Script::worker(1, cluster(1, 2, 2));
        let refused = Some(failed(TaskId::ps(0), Failure::Refused));
        assert_eq!(calls_and_is_refused(&mut worker, 0, older_than), refused, "{exceed:?}");
    }
}

#[test]
fn caller_with_an_incarnation_above_the_largest_is_refused() {
    let mut ps = Script::ps(0, cluster(1, 2, 2));
    for incarnation in [LARGEST + 1, u64::MAX] {
        let reason =
            format!("worker 1 has incarnation {incarnation}; the limit is 9007199254740992");
        let out = ps.accepts_on(9, TaskId::worker(1), incarnation);
        assert_eq!(out[0], send(9, Message::Refused { reason, older_than: None }));
    }
    // A refused caller must not change the known incarnation of the worker.
    assert_eq!(ps.accepts_worker(1, 1).len(), 2);
}

#[test]
fn largest_incarnation_does_not_fence_later_processes() {
    let mut ps = Script::ps(0, cluster(1, 2, 2));
    ps.accepts_worker(1, LARGEST);
    let out = ps.accepts_on(9, TaskId::worker(1), 7);
    assert!(out.contains(&Effect::Report(Report::PeerUp { peer: TaskId::worker(1) })), "{out:?}");
    // From then on, the new incarnation fences older ones again.
    let out = ps.accepts_on(8, TaskId::worker(1), 6);
    assert!(matches!(&out[0], Effect::Send { message: Message::Refused { .. }, .. }), "{out:?}");
}

/// Version 0 of the first generation that incarnation `opener` of the chief opened.
fn version_of(opener: u64) -> Message {
    Message::Version {
        cut: Cut {
            generation: Generation { opener: Incarnation(opener), number: 1 },
            step: Step(0),
        },
        tokens: Vec::new(),
        received: Vec::new(),
        updates: Vec::new(),
        acknowledged: 0,
        parameters: floats(0.5),
    }
}

#[test]
fn worker_rejects_a_version_of_an_older_generation_and_requests_the_newer_one() {
    let mut worker = Script::worker(1, cluster(1, 2, 2));
    worker.connects_to(0, 1, None);
    worker.receives(0, version_of(7));
    worker.loses_link(0);
    worker.connects_to(0, 2, None);
    let generation = Generation { opener: Incarnation(7), number: 1 };
    let start = Cut { generation, step: Step(0) };
    assert_eq!(worker.receives(0, version_of(6)), [send(0, pull(Want::AtLeast(start)))]);
    assert_eq!(worker.node.cut(), Some(start));
}

#[test]
fn ps_disconnects_and_refuses_a_chief_older_than_a_known_generation() {
    let mut ps = Script::restored_ps(cluster(1, 2, 2), 0);
    let generation = Generation { opener: Incarnation(7), number: 1 };
    let out = ps.receives(1, pull(Want::AtLeast(Cut { generation, step: Step(0) })));
    let (peer, why) = (TaskId::CHIEF, "worker 0 has incarnation 1, but a peer knows incarnation 7");
    let parted = [
        Effect::Close { link: link(0) },
        Effect::Report(Report::PeerDown { peer, why: why.to_owned() }),
    ];
    assert_eq!(out, parted);
    let out = ps.accepts_on(9, TaskId::CHIEF, 1);
    let Effect::Send { message: Message::Refused { older_than, .. }, .. } = &out[0] else {
        panic!("{out:?}")
    };
    assert_eq!(*older_than, Some(gone_incarnation(7)));
}

#[test]
fn ps_hides_its_state_from_a_newer_chief_if_a_worker_knows_a_newer_generation() {
    let mut ps = Script::restored_ps(cluster(1, 2, 2), 0);
    let has_state = |out: &[Effect]| {
        out.iter().any(|effect| {
            matches!(effect, Effect::Send { message: Message::Welcome { state: Some(_), .. }, .. })
        })
    };
    assert!(
        has_state(&ps.accepts_on(9, TaskId::CHIEF, 9)),
        "without a newer generation, the chief adopts the state"
    );
    let generation = Generation { opener: Incarnation(7), number: 1 };
    let out = ps.receives(1, pull(Want::AtLeast(Cut { generation, step: Step(0) })));
    assert_eq!(out[0], Effect::Close { link: link(9) });
    let out = ps.accepts_on(8, TaskId::CHIEF, 9);
    assert!(out.contains(&Effect::Report(Report::PeerUp { peer: TaskId::CHIEF })), "{out:?}");
    assert!(!has_state(&out), "{out:?}");
}
