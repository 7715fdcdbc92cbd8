//! Links: accepted callers, refused callers and lost peers.

use std::time::Duration;
use unisono_core::ids::Cut;

use unisono_core::protocol::{
    ClusterConfig, Effect, Failure, Limits, Message, NetworkEvent, Outcome, Ps, Report, Settings,
    ShardState,
};
use unisono_core::{Generation, Incarnation, Moment, Step, TaskId};

use crate::script::{Script, cluster, hello, link, send};

/// The effects of refusing a call of `from` on link 9.
fn refusal(from: TaskId, reason: &str) -> Vec<Effect> {
    let why = format!("refused the caller {from}: {reason}");
    vec![
        send(9, Message::Refused { reason: reason.to_owned(), older_than: None }),
        Effect::Close { link: link(9) },
        Effect::Report(Report::TurnedAway { why }),
    ]
}

#[test]
fn caller_of_the_same_cluster_is_welcomed() {
    let mut ps = Script::ps(0, cluster(1, 2, 2));
    let welcome = Message::Welcome { incarnation: Incarnation(1), state: None };
    let up = Effect::Report(Report::PeerUp { peer: TaskId::worker(1) });
    assert_eq!(ps.accepts_worker(1, 1), [send(1, welcome), up]);
}

#[test]
fn different_setting_is_refused_with_both_values() {
    let mut ps = Script::ps(0, cluster(1, 2, 2));
    let from = TaskId::worker(1);
    let mut hello = hello(from, TaskId::PS_ZERO, 1, &ps.config);
    hello.settings = Settings::default().with("seed", 2);
    ps.network(NetworkEvent::Accepted { link: link(9) });
    let reason = "seed is 2 at worker 1 and 1 at ps 0: start both with the same value";
    assert_eq!(ps.receives(9, Message::Hello(hello)), refusal(from, reason));
}

#[test]
fn caller_that_expects_another_task_is_refused() {
    let mut ps = Script::ps(0, cluster(2, 2, 2));
    let from = TaskId::worker(1);
    let hello = hello(from, TaskId::ps(1), 1, &ps.config);
    ps.network(NetworkEvent::Accepted { link: link(9) });
    let reason = "worker 1 looks for ps 1 at the address of ps 0: compare --ps-hosts of both";
    assert_eq!(ps.receives(9, Message::Hello(hello)), refusal(from, reason));
}

#[test]
fn task_outside_the_cluster_is_refused() {
    let mut ps = Script::ps(0, cluster(1, 2, 2));
    let reason = "there is no other worker 2 in a cluster of 2 workers";
    assert_eq!(ps.accepts_on(9, TaskId::worker(2), 1), refusal(TaskId::worker(2), reason));
}

#[test]
fn ps_may_call_ps_0_only_with_backup_workers() {
    let from = TaskId::ps(1);
    let mut ps = Script::ps(0, cluster(2, 2, 2));
    let reason = "no ps of this cluster calls ps 0";
    assert_eq!(ps.accepts_on(9, from, 1), refusal(from, reason));
    let mut ps = Script::ps(0, cluster(2, 1, 2));
    let welcome = Message::Welcome { incarnation: Incarnation(1), state: None };
    let up = Effect::Report(Report::PeerUp { peer: from });
    assert_eq!(ps.accepts_on(9, from, 1), [send(9, welcome), up]);
}

#[test]
fn worker_refuses_every_caller() {
    let mut worker = Script::worker(0, cluster(1, 3, 3));
    let from = TaskId::worker(2);
    let hello = hello(from, TaskId::CHIEF, 1, &worker.config);
    worker.network(NetworkEvent::Accepted { link: link(9) });
    let reason = "no worker of this cluster calls worker 0";
    assert_eq!(worker.receives(9, Message::Hello(hello)), refusal(from, reason));
}

#[test]
fn newer_incarnation_replaces_the_older_one_and_its_link() {
    let mut ps = Script::ps(0, cluster(1, 2, 2));
    ps.accepts_worker(1, 5);
    let peer = TaskId::worker(1);
    let expected = [
        Effect::Close { link: link(1) },
        Effect::Report(Report::PeerDown { peer, why: "it called again".into() }),
        send(9, Message::Welcome { incarnation: Incarnation(1), state: None }),
        Effect::Report(Report::PeerUp { peer }),
    ];
    assert_eq!(ps.accepts_on(9, peer, 6), expected);
    // A late message of the old link is ignored.
    assert_eq!(ps.receives(1, Message::Goodbye), []);
}

/// Accepts a call of a worker on link `on`, with this digest of its training data.
fn calls_with_data(ps: &mut Script<Ps>, on: u32, worker: u32, data: &str) -> Vec<Effect> {
    ps.network(NetworkEvent::Accepted { link: link(on) });
    let from = TaskId::worker(worker);
    let mut hello = hello(from, TaskId::PS_ZERO, u64::from(on), &ps.config);
    hello.data = Some(data.to_owned());
    ps.receives(on, Message::Hello(hello))
}

#[test]
fn worker_with_other_training_data_than_the_chief_is_disconnected_and_refused() {
    let mut ps = Script::ps(0, cluster(1, 2, 2));
    calls_with_data(&mut ps, 1, 1, "wrong");
    let out = calls_with_data(&mut ps, 3, 0, "right");
    let peer = TaskId::worker(1);
    let why = "its training data differs from that of worker 0".to_owned();
    let parted = [Effect::Close { link: link(1) }, Effect::Report(Report::PeerDown { peer, why })];
    assert_eq!(out[2..], parted, "the chief is accepted, and then worker 1 is disconnected");
    let reason = "the training data of worker 1 has digest wrong, that of worker 0 has right: \
                  give both the same --data-dir";
    assert_eq!(calls_with_data(&mut ps, 9, 1, "wrong"), refusal(peer, reason));
    assert_eq!(calls_with_data(&mut ps, 4, 1, "right").len(), 2);
}

#[test]
fn restarted_chief_with_other_training_data_is_refused_once_a_state_exists() {
    let mut ps = Script::ps(0, cluster(1, 2, 2));
    calls_with_data(&mut ps, 1, 0, "right");
    let (generation, step, state) = (Generation::default(), Step(0), ShardState::default());
    ps.receives(1, Message::Restore { cut: Cut { generation, step }, state });
    let reason = "the training data of worker 0 has digest wrong, that of worker 0 has right: \
                  give both the same --data-dir";
    assert_eq!(calls_with_data(&mut ps, 9, 0, "wrong"), refusal(TaskId::CHIEF, reason));
}

#[test]
fn task_that_set_the_expected_training_data_may_reconnect_with_other_data() {
    let mut ps = Script::ps(0, cluster(1, 2, 2));
    calls_with_data(&mut ps, 1, 1, "wrong");
    assert_eq!(calls_with_data(&mut ps, 2, 1, "right").len(), 4);
    assert_eq!(calls_with_data(&mut ps, 3, 0, "right").len(), 2);
}

#[test]
fn caller_whose_first_message_is_not_hello_is_disconnected() {
    let mut ps = Script::ps(0, cluster(1, 2, 2));
    ps.network(NetworkEvent::Accepted { link: link(9) });
    let why = "a caller sent goodbye before hello".to_owned();
    let expected = [Effect::Close { link: link(9) }, Effect::Report(Report::TurnedAway { why })];
    assert_eq!(ps.receives(9, Message::Goodbye), expected);
}

#[test]
fn callers_that_have_not_said_hello_are_limited_independently_of_members() {
    let mut ps = Script::ps(0, cluster(1, 200, 200));
    for worker in 0..200 {
        ps.accepts_worker(worker, 1);
    }
    let calls = |ps: &mut Script<Ps>, on| ps.network(NetworkEvent::Accepted { link: link(on) });
    for on in 1_000..1_256 {
        assert_eq!(calls(&mut ps, on), [], "{on}");
    }
    let why = "256 callers have not identified themselves yet".to_owned();
    let away = [Effect::Close { link: link(2_000) }, Effect::Report(Report::TurnedAway { why })];
    assert_eq!(calls(&mut ps, 2_000), away);
    ps.receives(1_000, Message::Goodbye);
    assert_eq!(calls(&mut ps, 2_000), [], "the disconnected caller made room for another one");
}

#[test]
fn refused_task_halts_with_the_reason() {
    let mut worker = Script::worker(1, cluster(1, 2, 2));
    worker.network(NetworkEvent::Connected { link: link(0), to: TaskId::PS_ZERO });
    let refused = Message::Refused { reason: "seed is 2 and 1".into(), older_than: None };
    let why = "ps 0 refused this task: seed is 2 and 1".to_owned();
    let halt = Effect::Halt(Outcome::Failed(Failure::Refused(why)));
    assert_eq!(worker.receives(0, refused), [Effect::Close { link: link(0) }, halt]);
}

#[test]
fn silent_peer_is_disconnected_unless_a_long_message_is_arriving() {
    let mut ps = Script::ps(0, cluster(1, 2, 2));
    ps.accepts_worker(1, 1);
    let lost = |out: &[Effect]| out.contains(&Effect::Close { link: link(1) });
    assert!(!lost(&ps.advances_to(9)));
    ps.network(NetworkEvent::Progress { link: link(1) });
    assert!(!lost(&ps.advances_to(18)));
    assert!(lost(&ps.advances_to(20)));
}

#[test]
fn caller_with_a_slow_hello_is_disconnected_despite_progress() {
    let mut ps = Script::ps(0, cluster(1, 2, 2));
    ps.network(NetworkEvent::Accepted { link: link(9) });
    ps.advances_to(9);
    ps.network(NetworkEvent::Progress { link: link(9) });
    assert!(ps.advances_to(11).contains(&Effect::Close { link: link(9) }));
}

#[test]
fn idle_link_sends_a_heartbeat() {
    let mut ps = Script::ps(0, cluster(1, 2, 2));
    ps.accepts_worker(1, 1);
    assert_eq!(ps.advances_to(2), [send(1, Message::Heartbeat)]);
    assert_eq!(ps.receives(1, Message::Heartbeat), []);
}

#[test]
fn links_are_checked_at_fixed_times_and_not_at_every_wake() {
    let mut ps = Script::ps(0, cluster(1, 2, 2));
    let at = |millis| Moment::from_origin(Duration::from_millis(millis));
    assert_eq!(ps.wakes_at(at(500)), []);
    ps.accepts_worker(1, 1);
    assert_eq!((ps.wakes_at(at(1_000)), ps.wakes_at(at(2_000))), (vec![], vec![]));
    assert_eq!(
        ps.wakes_at(at(2_500)),
        [],
        "the link was idle for 2 s, but the next check is at 3 s"
    );
    assert_eq!(ps.wakes_at(at(3_000)), [send(1, Message::Heartbeat)]);
}

#[test]
fn connected_peers_are_awaited_longer_than_disconnected_peers() {
    let limits = Limits { give_up_after: Duration::from_secs(8), ..Limits::default() };
    let config = || ClusterConfig { limits, ..cluster(1, 2, 2) };
    let gave_up = |out: &[Effect]| match out.last() {
        Some(Effect::Halt(Outcome::Failed(Failure::GaveUp(gave_up)))) => Some(gave_up.waited),
        _ => None,
    };
    let mut without = Script::restored_ps(config(), 0);
    without.loses_link(1);
    assert_eq!(gave_up(&without.advances_to(8)), Some(Duration::from_secs(8)));
    let mut with = Script::restored_ps(config(), 0);
    with.advances_to(7);
    for worker in 0..2 {
        with.receives(worker, Message::Heartbeat);
    }
    // A connected peer may itself be waiting for the task that is missing. Such a peer must give up
    // first, because its error names the missing task.
    let longer = Duration::from_secs(8) + limits.heartbeat_timeout;
    let at = with.advances_to(16);
    assert_eq!(gave_up(&at), None);
    for worker in 0..2 {
        with.receives(worker, Message::Heartbeat);
    }
    assert_eq!(gave_up(&with.advances_to(18)), Some(longer));
}

#[test]
fn lost_ps_is_called_again_after_doubling_pauses() {
    let mut worker = Script::worker(1, cluster(1, 2, 2));
    let failed = || NetworkEvent::ConnectFailed { to: TaskId::PS_ZERO, why: "refused".into() };
    let connect = Effect::Connect { to: TaskId::PS_ZERO };
    let down = Effect::Report(Report::PeerDown { peer: TaskId::PS_ZERO, why: "refused".into() });
    for told in [vec![down], vec![]] {
        assert_eq!(worker.network(failed()), told, "a lost ps is reported once");
        let at = worker.deadline();
        assert_eq!(worker.wakes_at(at), std::slice::from_ref(&connect));
    }
    worker.network(failed());
    assert_eq!(worker.deadline() - worker.now(), Duration::from_millis(80));
}

#[test]
fn ps_that_accepts_and_disconnects_is_called_again_after_doubling_pauses() {
    let mut worker = Script::worker(1, cluster(1, 2, 2));
    for pause in [20, 40, 80].map(Duration::from_millis) {
        worker.network(NetworkEvent::Connected { link: link(0), to: TaskId::PS_ZERO });
        assert_eq!(worker.loses_link(0), [], "a ps that has not sent its welcome is no peer yet");
        assert_eq!(worker.deadline() - worker.now(), pause);
        let at = worker.deadline();
        assert_eq!(worker.wakes_at(at), [Effect::Connect { to: TaskId::PS_ZERO }]);
    }
    // A welcome resets the pause.
    worker.connects_to(0, 1, None);
    worker.loses_link(0);
    assert_eq!(worker.deadline() - worker.now(), Duration::from_millis(20));
}
