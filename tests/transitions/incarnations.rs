//! Rule 8: which life of a task is refused as older, and whether its process may go on with a larger
//! incarnation.

use unisono_core::protocol::{
    Effect, Failure, Message, NetworkEvent, NewerIncarnation, Outcome, Report, Want, Worker,
};
use unisono_core::{Cut, Generation, Incarnation, Step, TaskId};

use crate::chief::found;
use crate::script::{Script, cluster, floats, generation, link, pull, send, state};

/// The incarnation of every node under test.
const OWN: Incarnation = Incarnation(1);
const LARGEST: u64 = 9_007_199_254_740_992;

/// A life that is gone.
fn life(incarnation: u64) -> NewerIncarnation {
    NewerIncarnation { incarnation: Incarnation(incarnation), is_connected: false }
}

fn refused(older_than: Option<NewerIncarnation>) -> Message {
    Message::Refused { reason: "older".to_owned(), older_than }
}

/// The end of a node that peer `by` refused, if its process may go on with a larger incarnation.
fn outdated(by: TaskId, exceed: u64) -> Effect {
    let reason = format!("{by} turned this task away: older");
    Effect::Halt(Outcome::Outdated { exceed: Incarnation(exceed), reason })
}

fn failed(by: TaskId, failure: fn(String) -> Failure) -> Effect {
    Effect::Halt(Outcome::Failed(failure(format!("{by} turned this task away: older"))))
}

/// A call of the worker is taken by a ps, whose first word is a refusal.
fn calls_and_is_refused(
    worker: &mut Script<Worker>,
    ps: u32,
    older_than: Option<NewerIncarnation>,
) -> Option<Effect> {
    worker.network(NetworkEvent::Connected { link: link(ps), to: TaskId::ps(ps) });
    let mut out = worker.hears(ps, refused(older_than));
    assert_eq!(out.remove(0), Effect::Close { link: link(ps) });
    assert!(out.len() <= 1, "{out:?}");
    out.pop()
}

#[test]
fn an_older_caller_is_refused_with_the_incarnation_to_exceed() {
    let mut ps = Script::ps(0, cluster(1, 2, 2));
    ps.lets_in(1, 5);
    ps.loses(1);
    let reason = "this process of worker 1 has incarnation 4, and ps 0 knows incarnation 5: \
                  worker 1 was restarted since, or a clock was set back";
    let why = format!("worker 1 called, and was turned away: {reason}");
    let expected = [
        send(9, Message::Refused { reason: reason.to_owned(), older_than: Some(life(5)) }),
        Effect::Close { link: link(9) },
        Effect::Report(Report::TurnedAway { why }),
    ];
    assert_eq!(ps.is_called_on(9, TaskId::worker(1), 4), expected);
}

#[test]
fn an_older_ps_is_refused_by_the_worker_that_called_it() {
    let mut worker = Script::worker(1, cluster(1, 2, 2));
    worker.meets(0, 5, None);
    worker.loses(0);
    let reason = "this process of ps 0 has incarnation 4, and worker 1 knows incarnation 5: ps 0 \
                  was restarted since, or a clock was set back";
    let why = format!("ps 0 was turned away: {reason}");
    let expected = [
        Effect::Report(Report::TurnedAway { why }),
        send(0, Message::Refused { reason: reason.to_owned(), older_than: Some(life(5)) }),
        Effect::Close { link: link(0) },
    ];
    assert_eq!(worker.meets(0, 4, None), expected);
    let again = worker.deadline();
    assert_eq!(again - worker.now(), worker.config.limits.reconnect_min, "it calls soon");
}

#[test]
fn an_older_caller_hears_whether_the_newer_life_is_connected() {
    let mut ps = Script::ps(0, cluster(1, 2, 2));
    ps.lets_in(1, 5);
    let out = ps.is_called_on(9, TaskId::worker(1), 4);
    let Effect::Send { message: Message::Refused { older_than, .. }, .. } = &out[0] else {
        panic!("{out:?}")
    };
    assert_eq!(*older_than, Some(NewerIncarnation { is_connected: true, ..life(5) }));
}

#[test]
fn a_worker_calls_again_until_it_is_clear_that_the_newer_life_is_alive() {
    let connected = Some(NewerIncarnation { is_connected: true, ..life(5) });
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
fn a_worker_is_outdated_once_the_connection_of_the_newer_life_is_lost() {
    let connected = Some(NewerIncarnation { is_connected: true, ..life(5) });
    let mut worker = Script::worker(1, cluster(1, 2, 2));
    assert_eq!(calls_and_is_refused(&mut worker, 0, connected), None);
    let outdated = outdated(TaskId::ps(0), 5);
    assert_eq!(calls_and_is_refused(&mut worker, 0, Some(life(5))), Some(outdated));
}

#[test]
fn a_worker_that_never_joined_is_outdated_and_names_the_incarnation_to_exceed() {
    let mut worker = Script::worker(1, cluster(1, 2, 2));
    assert_eq!(
        calls_and_is_refused(&mut worker, 0, Some(life(5))),
        Some(outdated(TaskId::ps(0), 5))
    );
}

#[test]
fn a_worker_that_not_every_ps_has_welcomed_has_not_joined() {
    let mut worker = Script::worker(1, cluster(2, 2, 2));
    worker.meets(0, 1, None);
    assert_eq!(
        calls_and_is_refused(&mut worker, 1, Some(life(5))),
        Some(outdated(TaskId::ps(1), 5))
    );
}

#[test]
fn a_worker_that_has_joined_is_fenced_though_its_links_were_lost() {
    let mut worker = Script::worker(1, cluster(2, 2, 2));
    worker.meets(0, 1, None);
    worker.loses(0);
    worker.meets(1, 1, None);
    worker.loses(1);
    let fenced = failed(TaskId::ps(0), Failure::Fenced);
    assert_eq!(calls_and_is_refused(&mut worker, 0, Some(life(5))), Some(fenced));
}

#[test]
fn a_chief_that_never_joined_is_outdated_though_it_finds_the_final_checkpoint() {
    // Who was refused for another reason would count the ps as told, and leave.
    let mut chief = Script::worker(0, cluster(1, 2, 2));
    chief.feed(found(3, 1));
    assert_eq!(
        calls_and_is_refused(&mut chief, 0, Some(life(5))),
        Some(outdated(TaskId::ps(0), 5))
    );
}

#[test]
fn a_ps_without_a_state_is_outdated_when_a_worker_knows_a_newer_life() {
    let mut ps = Script::ps(0, cluster(1, 2, 2));
    ps.lets_in(0, 1);
    ps.lets_in(1, 1);
    let (peer, why) = (TaskId::worker(1), "worker 1 turned this task away: older".to_owned());
    let expected = [
        Effect::Close { link: link(1) },
        Effect::Report(Report::PeerDown { peer, why }),
        outdated(peer, 5),
    ];
    assert_eq!(ps.hears(1, refused(Some(life(5)))), expected);
}

#[test]
fn a_ps_that_held_a_state_is_fenced_when_a_worker_knows_a_newer_life() {
    let mut ps = Script::ps(0, cluster(1, 2, 2));
    ps.lets_in(0, 1);
    ps.lets_in(1, 1);
    let (generation, step) = (generation(1), Step(0));
    ps.hears(0, Message::Restore { cut: Cut { generation, step }, state: state(0.0) });
    let last = ps.hears(1, refused(Some(life(5)))).pop();
    assert_eq!(last, Some(failed(TaskId::worker(1), Failure::Fenced)));
}

#[test]
fn a_leaving_worker_says_goodbye_to_an_older_life_of_a_ps() {
    for state in [None, Some(Cut { generation: generation(1), step: Step(3) })] {
        let mut worker = Script::worker(1, cluster(2, 2, 2));
        worker.meets(0, 1, None);
        worker.meets(1, 5, None);
        worker.loses(1);
        worker.hears(0, Message::Finished { generation: generation(1) });
        let out = worker.meets(1, 4, state);
        let says_goodbye =
            |effect: &Effect| matches!(effect, Effect::Send { message: Message::Goodbye, .. });
        assert!(out.iter().any(says_goodbye), "{out:?}");
        assert_eq!(out.last(), Some(&Effect::Halt(Outcome::Finished)));
    }
}

#[test]
fn an_ending_ps_with_a_state_is_outdated_when_a_worker_knows_a_newer_life() {
    let mut ps = Script::restored(cluster(1, 2, 2), 3);
    ps.hears(0, Message::Finished { generation: generation(1) });
    let connected = Some(NewerIncarnation { is_connected: true, ..life(5) });
    // The newer life tells the worker of the end.
    let halts = |effect: &Effect| matches!(effect, Effect::Halt(_));
    assert!(!ps.hears(1, refused(connected)).iter().any(halts));
    ps.lets_in(1, 1);
    let last = ps.hears(1, refused(Some(life(5)))).pop();
    assert_eq!(last, Some(outdated(TaskId::worker(1), 5)));
}

#[test]
fn an_incarnation_that_is_not_larger_ends_no_session_with_a_caller_as_outdated() {
    for exceed in [None, Some(0), Some(OWN.0), Some(LARGEST), Some(u64::MAX)] {
        let older_than = exceed.map(life);
        let mut ps = Script::ps(0, cluster(1, 2, 2));
        ps.lets_in(1, 1);
        let (peer, why) = (TaskId::worker(1), "it said refused, which is not for it to say");
        let parted = [
            Effect::Close { link: link(1) },
            Effect::Report(Report::PeerDown { peer, why: why.to_owned() }),
        ];
        assert_eq!(ps.hears(1, refused(older_than)), parted, "{exceed:?}");
    }
}

#[test]
fn a_called_ps_may_not_refuse_after_its_welcome() {
    let mut worker = Script::worker(1, cluster(1, 2, 2));
    worker.meets(0, 1, None);
    let out = worker.hears(0, refused(Some(life(5))));
    assert!(!out.iter().any(|effect| matches!(effect, Effect::Halt(_))), "{out:?}");
}

#[test]
fn a_refusal_that_names_no_larger_incarnation_is_final() {
    for exceed in [None, Some(0), Some(OWN.0), Some(LARGEST), Some(u64::MAX)] {
        let older_than = exceed.map(life);
        let mut worker = Script::worker(1, cluster(1, 2, 2));
        let refused = Some(failed(TaskId::ps(0), Failure::Refused));
        assert_eq!(calls_and_is_refused(&mut worker, 0, older_than), refused, "{exceed:?}");
    }
}

#[test]
fn nobody_has_a_larger_incarnation_than_the_largest() {
    let mut ps = Script::ps(0, cluster(1, 2, 2));
    for incarnation in [LARGEST + 1, u64::MAX] {
        let reason =
            format!("worker 1 has incarnation {incarnation}; the largest is 9007199254740992");
        let out = ps.is_called_on(9, TaskId::worker(1), incarnation);
        assert_eq!(out[0], send(9, Message::Refused { reason, older_than: None }));
    }
    // A stranger that was turned away leaves nothing behind.
    assert_eq!(ps.lets_in(1, 1).len(), 2);
}

#[test]
fn the_largest_incarnation_keeps_nobody_out() {
    let mut ps = Script::ps(0, cluster(1, 2, 2));
    ps.lets_in(1, LARGEST);
    let out = ps.is_called_on(9, TaskId::worker(1), 7);
    assert!(out.contains(&Effect::Report(Report::PeerUp { peer: TaskId::worker(1) })), "{out:?}");
    // The task itself is fenced again from then on.
    let out = ps.is_called_on(8, TaskId::worker(1), 6);
    assert!(matches!(&out[0], Effect::Send { message: Message::Refused { .. }, .. }), "{out:?}");
}

/// A version of the generation that another chief opened.
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
fn a_worker_does_not_go_back_to_an_older_generation_and_tells_the_ps_of_the_newer() {
    let mut worker = Script::worker(1, cluster(1, 2, 2));
    worker.meets(0, 1, None);
    worker.hears(0, version_of(7));
    worker.loses(0);
    worker.meets(0, 2, None);
    let generation = Generation { opener: Incarnation(7), number: 1 };
    let start = Cut { generation, step: Step(0) };
    assert_eq!(worker.hears(0, version_of(6)), [send(0, pull(Want::AtLeast(start)))]);
    assert_eq!(worker.node.cut(), Some(start));
}

#[test]
fn a_ps_that_hears_of_a_newer_chief_lets_the_older_one_go_and_refuses_it() {
    let mut ps = Script::restored(cluster(1, 2, 2), 0);
    let generation = Generation { opener: Incarnation(7), number: 1 };
    let out = ps.hears(1, pull(Want::AtLeast(Cut { generation, step: Step(0) })));
    let (peer, why) = (TaskId::CHIEF, "worker 0 is known with incarnation 7, and has 1");
    let parted = [
        Effect::Close { link: link(0) },
        Effect::Report(Report::PeerDown { peer, why: why.to_owned() }),
    ];
    assert_eq!(out, parted);
    let out = ps.is_called_on(9, TaskId::CHIEF, 1);
    let Effect::Send { message: Message::Refused { older_than, .. }, .. } = &out[0] else {
        panic!("{out:?}")
    };
    assert_eq!(*older_than, Some(life(7)));
}

#[test]
fn a_state_of_an_older_generation_than_a_workers_is_none_to_a_newer_chief() {
    let mut ps = Script::restored(cluster(1, 2, 2), 0);
    let has_state = |out: &[Effect]| {
        out.iter().any(|effect| {
            matches!(effect, Effect::Send { message: Message::Welcome { state: Some(_), .. }, .. })
        })
    };
    assert!(has_state(&ps.is_called_on(9, TaskId::CHIEF, 9)), "the chief takes it up");
    let generation = Generation { opener: Incarnation(7), number: 1 };
    let out = ps.hears(1, pull(Want::AtLeast(Cut { generation, step: Step(0) })));
    assert_eq!(out[0], Effect::Close { link: link(9) });
    let out = ps.is_called_on(8, TaskId::CHIEF, 9);
    assert!(out.contains(&Effect::Report(Report::PeerUp { peer: TaskId::CHIEF })), "{out:?}");
    assert!(!has_state(&out), "{out:?}");
}
