//! The chief: adopts or restores the state of the cluster, saves checkpoints and ends the run.

use std::sync::Arc;

use unisono_core::protocol::{
    Done, Effect, Failure, Input, Message, NetworkEvent, Node, NotRepeated, Outcome, Recorded,
    Report, Restored, Snapshot, StorageEvent, Want, Worker,
};
use unisono_core::{Cut, Generation, Slot, Step, TaskId};

use crate::script::{
    Script, cluster, floats, generation, link, pull, send, state, update, version, with_updates,
};

/// The cut at version `step` of generation `number`.
fn cut(number: u64, step: u64) -> Cut {
    Cut { generation: generation(number), step: Step(step) }
}

/// The storage has read the checkpoint of `step`. At step 0 it found none, and returns initial
/// values.
pub(crate) fn checkpoint_found(step: u64, n_ps: usize) -> Input {
    let (generation, step) = (generation(0), Step(step));
    let snapshot =
        Arc::new(Snapshot { cut: Cut { generation, step }, shards: vec![state(0.0); n_ps] });
    let from = (step.0 > 0).then(|| format!("model.ckpt-{step}"));
    Input::Stored(StorageEvent::Restored(Ok(Restored { snapshot, from })))
}

fn persisted(step: u64, result: Result<&str, &str>) -> Input {
    let result = result.map(str::to_owned).map_err(str::to_owned);
    Input::Stored(StorageEvent::Persisted { step: Step(step), result })
}

fn persist(of: u64, step: u64, values: &[f32]) -> Effect {
    let shards = values.iter().map(|value| state(*value)).collect();
    let (generation, step) = (generation(of), Step(step));
    Effect::Persist(Arc::new(Snapshot { cut: Cut { generation, step }, shards }))
}

fn restore(of: u64, step: u64) -> Message {
    Message::Restore {
        cut: Cut { generation: generation(of), step: Step(step) },
        state: state(0.0),
    }
}

fn restored(of: u64) -> Message {
    Message::Restored { generation: generation(of) }
}

fn capture(of: u64, at: u64) -> Message {
    Message::Capture { cut: Cut { generation: generation(of), step: Step(at) } }
}

fn captured(of: u64, step: u64, value: f32) -> Message {
    Message::Captured {
        cut: Cut { generation: generation(of), step: Step(step) },
        state: state(value),
    }
}

fn missed(of: u64, at: u64, current: u64) -> Message {
    Message::Missed {
        cut: Cut { generation: generation(of), step: Step(at) },
        current: Step(current),
    }
}

fn peer_up(ps: u32) -> Effect {
    Effect::Report(Report::PeerUp { peer: TaskId::ps(ps) })
}

fn shard_lost(ps: u32, live: Result<Step, &'static str>) -> Effect {
    Effect::Report(Report::ShardLost { ps: TaskId::ps(ps), live })
}

fn adopted(of: u64, step: Option<u64>, restored: Option<Option<&str>>) -> Effect {
    let (generation, step) = (generation(of), step.map(Step));
    let restored = restored.map(|from| from.map(str::to_owned));
    Effect::Report(Report::Adopted { generation, step, restored })
}

fn pull_any_version() -> Message {
    pull(Want::AtLeast(Cut::default()))
}

/// Removes reports. Messages, storage requests and halts remain.
fn without_reports(out: Vec<Effect>) -> Vec<Effect> {
    out.into_iter().filter(|effect| !matches!(effect, Effect::Report(_))).collect()
}

/// A chief with two ps that has adopted a running cluster at version `step` of generation 1.
fn adopted_at(step: u64, found_step: u64) -> Script<Worker> {
    let mut chief = Script::worker(0, cluster(2, 1, 1));
    chief.feed(checkpoint_found(found_step, 2));
    chief.connects_to(0, 1, Some(cut(1, step)));
    chief.connects_to(1, 1, Some(cut(1, step)));
    chief
}

/// The chief of [`adopted_at`] after it received the version: it computes slot 0 and has requested
/// a capture.
fn computing_at(step: u64, found_step: u64) -> Script<Worker> {
    let mut chief = adopted_at(step, found_step);
    chief.receives(1, version(1, step, &[], 0.5));
    chief.receives(0, version(1, step, &[0], 0.5));
    chief
}

#[test]
fn chief_adopts_live_state_instead_of_an_older_checkpoint() {
    let mut chief = Script::worker(0, cluster(2, 1, 1));
    assert_eq!(chief.feed(checkpoint_found(1, 2)), []);
    assert_eq!(chief.connects_to(0, 1, Some(cut(1, 2))), [peer_up(0), send(0, pull_any_version())]);
    let expected = [peer_up(1), adopted(1, None, None), send(1, pull_any_version())];
    assert_eq!(
        chief.connects_to(1, 1, Some(cut(1, 2))),
        expected,
        "the older checkpoint is not restored"
    );
}

#[test]
fn chief_sends_initial_values_once_every_ps_is_connected() {
    let mut chief = Script::worker(0, cluster(2, 1, 1));
    chief.connects_to(0, 1, None);
    chief.feed(checkpoint_found(0, 2));
    let expected =
        [peer_up(1), send(0, restore(1, 0)), send(1, restore(1, 0)), send(1, pull_any_version())];
    assert_eq!(chief.connects_to(1, 1, None), expected);
    assert_eq!(chief.receives(1, restored(1)), []);
    assert_eq!(chief.receives(0, restored(1)), [adopted(1, Some(0), Some(None))]);
}

#[test]
fn chief_opens_a_new_generation_when_a_shard_is_lost() {
    let mut chief = adopted_at(2, 1);
    chief.loses_link(1);
    let expected = [
        peer_up(1),
        shard_lost(1, Err("the chief has not held a whole version of this generation yet")),
        Effect::Restore,
        send(1, pull_any_version()),
    ];
    assert_eq!(chief.connects_to(1, 2, None), expected);
    let expected = [send(0, restore(2, 1)), send(1, restore(2, 1))];
    assert_eq!(chief.feed(checkpoint_found(1, 2)), expected, "every shard is restored");
}

#[test]
fn chief_saves_and_restores_its_own_version_when_a_shard_is_lost() {
    let mut chief = computing_at(2, 1);
    chief.loses_link(1);
    let expected = [shard_lost(1, Ok(Step(2))), persist(1, 2, &[0.5, 0.5]), Effect::Restore];
    assert_eq!(chief.connects_to(1, 2, None)[1..4], expected);
    chief.feed(persisted(2, Ok("model.ckpt-2")));
    let expected = [send(0, restore(2, 2)), send(1, restore(2, 2))];
    assert_eq!(chief.feed(checkpoint_found(2, 2)), expected, "no step is lost");
}

#[test]
fn version_without_the_optimizer_state_is_not_saved_when_a_shard_is_lost() {
    let mut chief = Script::worker(0, cluster(1, 1, 1));
    let Input::Stored(StorageEvent::Restored(Ok(mut with_momentum))) = checkpoint_found(1, 1)
    else {
        unreachable!("the input is a restored checkpoint");
    };
    let snapshot = Arc::make_mut(&mut with_momentum.snapshot);
    snapshot.shards[0].auxiliary = vec![floats(0.0)];
    chief.feed(Input::Stored(StorageEvent::Restored(Ok(with_momentum))));
    chief.connects_to(0, 1, Some(cut(1, 2)));
    chief.receives(0, version(1, 2, &[0], 0.5));
    chief.loses_link(0);
    let why = "the workers do not hold the optimizer's buffers";
    let out = chief.connects_to(0, 2, None);
    assert_eq!(out[1..3], [shard_lost(0, Err(why)), Effect::Restore]);
}

#[test]
fn version_without_its_losses_or_already_saved_is_not_saved_when_a_shard_is_lost() {
    let mut chief = adopted_at(2, 1);
    // Ps 0 had room for update 0 only, so update 1 is not recorded.
    let records = vec![update(0, &[(0, 2.0)])];
    chief.receives(0, with_updates(version(1, 2, &[0], 0.5), records));
    chief.receives(1, version(1, 2, &[], 0.5));
    chief.loses_link(1);
    let why = "the chief has not received all losses before its version";
    assert_eq!(chief.connects_to(1, 2, None)[1..3], [shard_lost(1, Err(why)), Effect::Restore]);

    let mut chief = computing_at(2, 1);
    chief.receives(0, captured(1, 2, 0.5));
    assert_eq!(chief.receives(1, captured(1, 2, 0.5)), [persist(1, 2, &[0.5, 0.5])]);
    chief.loses_link(1);
    let why = "the newest checkpoint is not older than the chief's version";
    assert_eq!(chief.connects_to(1, 2, None)[1..3], [shard_lost(1, Err(why)), Effect::Restore]);
}

#[test]
fn recomputed_update_with_different_bits_fails_the_run() {
    let mut chief = computing_at(2, 1);
    let why = NotRepeated { step: Step(1), slot: Slot(0), first: 0.5, again: 0.25 };
    let out = chief.feed(Input::Stored(StorageEvent::NotRepeated(why)));
    let failure = Failure::NotRepeated(why);
    let abort = Message::Abort(failure.clone());
    let halt = Effect::Halt(Outcome::Failed(failure));
    assert_eq!(without_reports(out), [send(0, abort.clone()), send(1, abort), halt]);
}

/// A chief that has sent the initial values to both ps and lost ps 1 before its confirmation.
fn restoring_without_ps_1() -> Script<Worker> {
    let mut chief = Script::worker(0, cluster(2, 1, 1));
    chief.connects_to(0, 1, None);
    chief.connects_to(1, 1, None);
    chief.feed(checkpoint_found(0, 2));
    chief.loses_link(1);
    chief
}

#[test]
fn reconnected_ps_without_the_restored_state_opens_a_new_generation() {
    let mut chief = restoring_without_ps_1();
    let expected = [peer_up(1), send(1, restore(2, 0)), send(1, pull_any_version())];
    assert_eq!(chief.connects_to(1, 1, None), expected, "ps 0 has already been sent a state");
    assert_eq!(chief.receives(0, restored(1)), [send(0, restore(2, 0))]);
}

#[test]
fn welcome_with_the_restored_state_replaces_a_lost_confirmation() {
    let mut chief = restoring_without_ps_1();
    let expected = [peer_up(1), send(1, pull_any_version())];
    assert_eq!(chief.connects_to(1, 1, Some(cut(1, 0))), expected, "ps 1 has the state");
    assert_eq!(chief.receives(0, restored(1)), [adopted(1, Some(0), Some(None))]);
}

#[test]
fn chief_restores_nothing_while_a_ps_is_disconnected() {
    let mut chief = Script::worker(0, cluster(2, 1, 1));
    chief.feed(checkpoint_found(0, 2));
    chief.connects_to(0, 1, None);
    chief.loses_link(0);
    assert_eq!(chief.connects_to(1, 1, None), [peer_up(1), send(1, pull_any_version())]);
    let expected =
        [peer_up(0), send(0, restore(1, 0)), send(1, restore(1, 0)), send(0, pull_any_version())];
    assert_eq!(chief.connects_to(0, 2, None), expected);
}

#[test]
fn reconnected_ps_is_asked_again_for_a_capture_that_it_has_not_sent() {
    let mut chief = computing_at(1, 0);
    chief.loses_link(1);
    let out = without_reports(chief.connects_to(1, 1, Some(cut(1, 1))));
    assert!(out.contains(&send(1, capture(1, 1))), "{out:?}");
    assert!(!out.contains(&Effect::Restore), "no shard is lost");
    chief.receives(1, captured(1, 1, 0.5));
    chief.loses_link(1);
    let out = without_reports(chief.connects_to(1, 1, Some(cut(1, 1))));
    assert!(!out.contains(&send(1, capture(1, 1))), "ps 1 has already sent its capture: {out:?}");
}

#[test]
fn status_of_a_chief_names_what_each_phase_waits_for() {
    let mut chief = Script::worker(0, cluster(2, 1, 1));
    let does = |chief: &Script<Worker>| chief.node.status(chief.now()).does;
    insta::assert_snapshot!(does(&chief), @"waits for the newest checkpoint to be read");
    chief.connects_to(0, 1, None);
    chief.feed(checkpoint_found(2, 2));
    insta::assert_snapshot!(does(&chief), @"waits for reports of their state from ps 1, never heard from");
    chief.connects_to(1, 1, None);
    chief.receives(0, restored(1));
    insta::assert_snapshot!(does(&chief), @"waits for the restored state to be taken by ps 1, heard from 0.0 s ago");
    chief.receives(1, restored(1));
    insta::assert_snapshot!(does(&chief), @"waits for a first version of ps 0, heard from 0.0 s ago; ps 1, heard from 0.0 s ago");
    chief.receives(1, version(1, 3, &[], 0.5));
    let records = vec![update(2, &[(0, 2.0)])];
    chief.receives(0, with_updates(version(1, 3, &[], 0.5), records));
    insta::assert_snapshot!(does(&chief), @"waits for the final checkpoint to be written");
    chief.receives(0, captured(1, 3, 0.5));
    chief.receives(1, captured(1, 3, 0.5));
    chief.feed(persisted(3, Ok("a")));
    chief.receives(0, Message::Finished { generation: generation(1) });
    insta::assert_snapshot!(does(&chief), @"waits for news of the end to reach ps 1, heard from 0.0 s ago");
}

#[test]
fn first_version_is_captured_before_the_first_push_and_saved_with_all_shards() {
    let mut chief = adopted_at(0, 0);
    chief.receives(1, version(1, 0, &[], 0.5));
    let out = chief.receives(0, version(1, 0, &[0], 0.5));
    let captures = [send(0, capture(1, 0)), send(1, capture(1, 0))];
    assert_eq!(out[1..], captures, "the captures are requested before the job has a result");
    assert_eq!(chief.receives(0, captured(1, 0, 0.5)), []);
    assert_eq!(chief.receives(1, captured(1, 0, 0.25)), [persist(1, 0, &[0.5, 0.25])]);
    let saved = Report::Saved { step: Step(0), path: "a".into() };
    assert_eq!(chief.feed(persisted(0, Ok("a"))), [Effect::Report(saved)]);
}

#[test]
fn captures_of_different_steps_are_never_saved_together() {
    let mut chief = computing_at(0, 0);
    chief.receives(0, captured(1, 0, 0.5));
    let again = [send(0, capture(1, 2)), send(1, capture(1, 2))];
    assert_eq!(chief.receives(1, missed(1, 0, 1)), again);
    assert_eq!(chief.receives(0, captured(1, 2, 0.5)), []);
    assert_eq!(
        chief.receives(1, captured(1, 1, 0.125)),
        [],
        "ps 1 sent another step than requested"
    );
    assert_eq!(chief.receives(1, captured(1, 2, 0.25)), [], "updates 0 and 1 are not recorded yet");
    let records = vec![update(0, &[(0, 2.0)]), update(1, &[(0, 2.0)])];
    let out = without_reports(chief.receives(0, with_updates(version(1, 2, &[0], 0.5), records)));
    assert_eq!(out[2], persist(1, 2, &[0.5, 0.25]));
}

#[test]
fn no_checkpoint_is_written_while_state_is_being_restored() {
    let mut chief = computing_at(1, 0);
    chief.receives(1, captured(1, 1, 0.5));
    chief.loses_link(1);
    assert!(chief.connects_to(1, 2, None).contains(&Effect::Restore));
    assert_eq!(
        chief.receives(0, captured(1, 1, 0.5)),
        [],
        "the capture is complete, but its state is lost"
    );
}

#[test]
fn missed_capture_is_not_repeated_after_a_shard_is_lost() {
    let mut chief = computing_at(0, 0);
    chief.loses_link(1);
    chief.connects_to(1, 2, None);
    assert_eq!(chief.receives(0, missed(1, 0, 1)), []);
}

#[test]
fn updates_are_recorded_once_and_acknowledged_with_the_next_push() {
    let mut chief = adopted_at(1, 0);
    chief.receives(1, version(1, 1, &[], 0.5));
    let records = vec![update(0, &[(0, 2.0)])];
    let at_one = with_updates(version(1, 1, &[0], 0.5), records.clone());
    assert_eq!(chief.receives(0, at_one.clone())[0], Effect::Record(records[0].clone()));
    let recorded_again = chief.receives(0, at_one);
    assert!(!recorded_again.contains(&Effect::Record(records[0].clone())));
    let (generation, step, slot) = (generation(1), Step(1), Slot(0));
    let gradient = vec![floats(2.0); 2];
    let done = Done::Gradient { cut: Cut { generation, step }, slot, loss: 2.0, gradient };
    let out = chief.feed(Input::Computed(done));
    let Effect::Send { message: Message::Push { recorded, .. }, .. } = &out[0] else {
        panic!("{out:?}");
    };
    assert_eq!(*recorded, Recorded { written: Step(1), durable: Step(0) });
}

#[test]
fn records_of_one_generation_acknowledge_no_update_of_the_next() {
    let mut chief = adopted_at(2, 1);
    chief.receives(0, version(1, 2, &[0], 0.5));
    chief.loses_link(1);
    chief.connects_to(1, 2, None);
    chief.feed(checkpoint_found(1, 2));
    // Generation 2 is at version 1. Other workers may make its update 1 before the chief knows that
    // the generation is open, so the chief must not acknowledge that update.
    chief.loses_link(0);
    let out = without_reports(chief.connects_to(0, 1, Some(cut(2, 1))));
    let recorded = out.iter().filter_map(|effect| match effect {
        Effect::Send { message: Message::Pull { recorded, .. }, .. } => Some(*recorded),
        _ => None,
    });
    assert!(recorded.eq([]), "{out:?}");
    let out = chief.receives(1, version(2, 1, &[], 0.5));
    assert_eq!(out, [send(0, pull(Want::AtLeast(cut(2, 1))))]);
}

/// A chief at the last version, with all updates recorded and the final captures requested.
fn awaiting_final_captures() -> Script<Worker> {
    let mut chief = adopted_at(3, 2);
    chief.receives(1, version(1, 3, &[], 0.5));
    let out = chief.receives(0, version(1, 3, &[], 0.5));
    assert_eq!(out, [send(0, capture(1, 3)), send(1, capture(1, 3))]);
    chief
}

/// Ps 0 may have more updates than fit in one message.
#[test]
fn last_version_is_captured_only_after_the_losses_of_all_updates_are_recorded() {
    let mut chief = adopted_at(1, 1);
    let at_three = |step| with_updates(version(1, 3, &[], 0.5), vec![update(step, &[(0, 2.0)])]);
    chief.receives(1, version(1, 3, &[], 0.5));
    let recorded = Recorded { written: Step(2), durable: Step(0) };
    let want = Want::AtLeast(cut(1, 3));
    let asks_again = send(0, Message::Pull { want, recorded });
    let record = |step| Effect::Record(update(step, &[(0, 2.0)]));
    assert_eq!(chief.receives(0, at_three(1)), [record(1), asks_again]);
    let captures = [record(2), send(0, capture(1, 3)), send(1, capture(1, 3))];
    assert_eq!(chief.receives(0, at_three(2)), captures);
}

#[test]
fn end_is_announced_only_after_the_final_checkpoint_is_durable() {
    let mut chief = awaiting_final_captures();
    chief.receives(0, captured(1, 3, 0.5));
    assert_eq!(chief.receives(1, captured(1, 3, 0.5)), [persist(1, 3, &[0.5, 0.5])]);
    let finished = || Message::Finished { generation: generation(1) };
    let told = [send(0, finished()), send(1, finished())];
    assert_eq!(without_reports(chief.feed(persisted(3, Ok("a")))), told);
    assert_eq!(chief.receives(0, finished()), []);
    let leaves =
        [send(0, Message::Goodbye), send(1, Message::Goodbye), Effect::Halt(Outcome::Finished)];
    assert_eq!(chief.receives(1, finished()), leaves);
}

#[test]
fn final_checkpoint_is_tried_ten_times_before_the_run_fails() {
    let mut chief = awaiting_final_captures();
    for attempt in 1..=10u64 {
        chief.receives(0, captured(1, 3, 0.5));
        let out = chief.receives(1, captured(1, 3, 0.5));
        assert_eq!(without_reports(out), [persist(1, 3, &[0.5, 0.5])], "attempt {attempt}");
        let out = without_reports(chief.feed(persisted(3, Err("no space"))));
        if attempt < 10 {
            assert_eq!(out, []);
            let out = without_reports(chief.advances_to(attempt * 2));
            assert!(out.contains(&send(0, capture(1, 3))), "{out:?}");
            for ps in 0..2 {
                chief.receives(ps, Message::Heartbeat);
            }
        } else {
            assert!(matches!(out.last(), Some(Effect::Halt(Outcome::Failed(_)))), "{out:?}");
        }
    }
}

#[test]
fn finished_message_is_ignored_before_the_final_checkpoint() {
    let mut chief = adopted_at(2, 1);
    assert_eq!(chief.receives(0, Message::Finished { generation: generation(1) }), []);
}

#[test]
fn chief_that_finds_the_final_checkpoint_announces_the_end_and_restores_nothing() {
    let mut chief = Script::worker(0, cluster(2, 1, 1));
    chief.connects_to(0, 1, None);
    let finished = |ps| send(ps, Message::Finished { generation: Generation::default() });
    assert_eq!(chief.feed(checkpoint_found(3, 2)), [finished(0)]);
    assert_eq!(chief.connects_to(1, 1, Some(cut(1, 3))), [peer_up(1), finished(1)]);
}

#[test]
fn stopping_chief_halts_once_its_checkpoint_is_saved() {
    let mut chief = computing_at(1, 1);
    chief.receives(0, captured(1, 1, 0.5));
    chief.receives(1, captured(1, 1, 0.5));
    assert_eq!(chief.feed(Input::Stop), []);
    let out = without_reports(chief.feed(persisted(1, Ok("a"))));
    assert_eq!(out, [Effect::Halt(Outcome::Stopped { saved: Some(Step(1)) })]);
}

/// The optimizer is plain gradient descent, so the chief's version is the whole state.
#[test]
fn stopping_chief_saves_its_own_version_if_a_ps_is_disconnected() {
    let live = || persist(1, 1, &[0.5, 0.5]);
    for is_away_first in [true, false] {
        let mut chief = computing_at(1, 1);
        if is_away_first {
            chief.loses_link(1);
            assert_eq!(chief.feed(Input::Stop), [live()]);
        } else {
            assert_eq!(chief.feed(Input::Stop), []);
            assert_eq!(without_reports(chief.loses_link(1)), [live()]);
        }
        assert_eq!(without_reports(chief.loses_link(0)), [], "one save is enough");
        let out = without_reports(chief.feed(persisted(1, Ok("a"))));
        assert_eq!(out, [Effect::Halt(Outcome::Stopped { saved: Some(Step(1)) })]);
    }
}

#[test]
fn stopping_chief_announces_the_end_of_a_completed_run_even_if_a_ps_is_disconnected() {
    let mut chief = awaiting_final_captures();
    chief.loses_link(1);
    assert_eq!(chief.feed(Input::Stop), [persist(1, 3, &[0.5, 0.5])]);
    let finished = Message::Finished { generation: generation(1) };
    assert_eq!(without_reports(chief.feed(persisted(3, Ok("a")))), [send(0, finished)]);
}

#[test]
fn stopping_chief_saves_its_newer_version_after_an_older_save_fails() {
    let mut chief = computing_at(1, 1);
    chief.receives(0, captured(1, 1, 0.5));
    chief.receives(1, captured(1, 1, 0.5));
    chief.receives(1, version(1, 2, &[], 0.5));
    chief.receives(0, with_updates(version(1, 2, &[0], 0.5), vec![update(1, &[(0, 2.0)])]));
    chief.feed(Input::Stop);
    assert_eq!(without_reports(chief.loses_link(1)), [], "the storage is busy with the older save");
    let live = persist(1, 2, &[0.5, 0.5]);
    assert_eq!(without_reports(chief.feed(persisted(1, Err("full")))), [live]);
    let out = without_reports(chief.feed(persisted(2, Ok("b"))));
    assert_eq!(out, [Effect::Halt(Outcome::Stopped { saved: Some(Step(2)) })]);
}

/// A restore would take time that a stop may not have, and its result would not be used.
#[test]
fn shard_lost_during_a_stop_is_not_restored() {
    let stopped = |saved| [Effect::Halt(Outcome::Stopped { saved })];
    let mut chief = computing_at(1, 1);
    chief.feed(Input::Stop);
    assert_eq!(without_reports(chief.loses_link(1)), [persist(1, 1, &[0.5, 0.5])]);
    let out = without_reports(chief.connects_to(1, 2, None));
    assert!(matches!(out[..], [Effect::Send { .. }]), "the checkpoint is being written: {out:?}");
    assert_eq!(without_reports(chief.feed(persisted(1, Ok("a")))), stopped(Some(Step(1))));

    let mut chief = awaiting_final_captures();
    chief.loses_link(1);
    chief.feed(Input::Stop);
    chief.connects_to(1, 2, None);
    let finished = |ps| send(ps, Message::Finished { generation: generation(1) });
    assert_eq!(without_reports(chief.feed(persisted(3, Ok("a")))), [finished(0), finished(1)]);

    // Ps 0 had room for update 0 only, so the losses before the chief's version are incomplete.
    let mut chief = adopted_at(2, 1);
    let records = vec![update(0, &[(0, 2.0)])];
    chief.receives(0, with_updates(version(1, 2, &[0], 0.5), records));
    chief.receives(1, version(1, 2, &[], 0.5));
    chief.feed(Input::Stop);
    assert_eq!(without_reports(chief.loses_link(1)), []);
    assert_eq!(without_reports(chief.connects_to(1, 2, None))[..1], stopped(None));
}

#[test]
fn finished_chief_does_not_wait_for_a_ps_that_refused_it() {
    let mut chief = Script::worker(0, cluster(2, 1, 1));
    chief.feed(checkpoint_found(3, 2));
    chief.network(NetworkEvent::Connected { link: link(1), to: TaskId::ps(1) });
    let refused = Message::Refused { reason: "seed is 2 and 1".into(), older_than: None };
    assert_eq!(chief.receives(1, refused), [Effect::Close { link: link(1) }]);
    chief.connects_to(0, 1, Some(cut(1, 3)));
    let left = [send(0, Message::Goodbye), Effect::Halt(Outcome::Finished)];
    let finished = Message::Finished { generation: Generation::default() };
    assert_eq!(chief.receives(0, finished), left);
}

#[test]
fn chief_of_a_finished_run_succeeds_even_if_it_gives_up_waiting() {
    let mut config = cluster(2, 1, 1);
    config.limits.give_up_after = std::time::Duration::from_secs(5);
    let mut chief = Script::worker(0, config);
    chief.connects_to(0, 1, None);
    chief.feed(checkpoint_found(3, 2));
    chief.advances_to(4);
    chief.receives(0, Message::Heartbeat);
    let out = chief.advances_to(5);
    let left = [send(0, Message::Goodbye), Effect::Halt(Outcome::Finished)];
    assert_eq!(out[out.len() - 2..], left);
}

#[test]
fn stopping_chief_halts_at_once_if_its_version_is_saved() {
    let mut chief = computing_at(1, 1);
    chief.receives(0, captured(1, 1, 0.5));
    chief.receives(1, captured(1, 1, 0.5));
    chief.feed(persisted(1, Ok("a")));
    let stopped = Effect::Halt(Outcome::Stopped { saved: Some(Step(1)) });
    assert_eq!(chief.feed(Input::Stop), [stopped]);
}

#[test]
fn save_from_before_a_stop_is_followed_by_a_save_of_the_newer_version() {
    let mut chief = computing_at(1, 1);
    chief.receives(0, captured(1, 1, 0.5));
    chief.receives(1, captured(1, 1, 0.5));
    chief.receives(1, version(1, 2, &[], 0.5));
    chief.receives(0, with_updates(version(1, 2, &[0], 0.5), vec![update(1, &[(0, 2.0)])]));
    assert_eq!(chief.feed(Input::Stop), []);
    let again = [send(0, capture(1, 2)), send(1, capture(1, 2))];
    assert_eq!(
        without_reports(chief.feed(persisted(1, Ok("a")))),
        again,
        "the checkpoint is older than the stop"
    );
    chief.receives(0, captured(1, 2, 0.5));
    assert_eq!(chief.receives(1, captured(1, 2, 0.25)), [persist(1, 2, &[0.5, 0.25])]);
    let out = without_reports(chief.feed(persisted(2, Ok("b"))));
    assert_eq!(out, [Effect::Halt(Outcome::Stopped { saved: Some(Step(2)) })]);
}

#[test]
fn stopping_chief_halts_without_a_checkpoint_after_20_seconds() {
    let mut chief = computing_at(1, 1);
    assert_eq!(chief.feed(Input::Stop), []);
    let given_up = Effect::Halt(Outcome::Stopped { saved: None });
    assert!(!chief.advances_to(19).contains(&given_up));
    assert_eq!(chief.feed(Input::Stop), [], "a second request does not extend the wait");
    assert_eq!(chief.advances_to(20).last(), Some(&given_up));
}

#[test]
fn stopping_chief_halts_without_a_checkpoint_if_the_final_save_fails() {
    let mut chief = awaiting_final_captures();
    assert_eq!(chief.feed(Input::Stop), []);
    chief.receives(0, captured(1, 3, 0.5));
    chief.receives(1, captured(1, 3, 0.5));
    let out = without_reports(chief.feed(persisted(3, Err("no space"))));
    assert_eq!(out, [Effect::Halt(Outcome::Stopped { saved: None })]);
}

#[test]
fn stop_after_the_final_checkpoint_does_not_interrupt_the_end_of_the_run() {
    let mut chief = awaiting_final_captures();
    chief.receives(0, captured(1, 3, 0.5));
    chief.receives(1, captured(1, 3, 0.5));
    chief.feed(persisted(3, Ok("a")));
    assert_eq!(chief.feed(Input::Stop), []);
}

#[test]
fn save_starts_when_the_save_interval_has_elapsed() {
    let mut chief = computing_at(1, 1);
    chief.receives(0, captured(1, 1, 0.5));
    chief.receives(1, captured(1, 1, 0.5));
    chief.feed(persisted(1, Ok("a")));
    chief.receives(1, version(1, 2, &[], 0.5));
    chief.receives(0, with_updates(version(1, 2, &[0], 0.5), vec![update(1, &[(0, 2.0)])]));
    let captures = [send(0, capture(1, 2)), send(1, capture(1, 2))];
    for secs in 1..=60 {
        chief.receives(0, Message::Heartbeat);
        chief.receives(1, Message::Heartbeat);
        let out = chief.advances_to(secs);
        assert_eq!(captures.iter().all(|capture| out.contains(capture)), secs == 60, "{secs}");
    }
}

#[test]
fn no_save_starts_while_a_save_of_an_older_generation_is_being_written() {
    let mut chief = computing_at(2, 0);
    chief.receives(0, captured(1, 2, 0.5));
    assert_eq!(chief.receives(1, captured(1, 2, 0.5)), [persist(1, 2, &[0.5, 0.5])]);
    chief.loses_link(1);
    chief.connects_to(1, 2, None);
    chief.feed(checkpoint_found(0, 2));
    chief.receives(0, restored(2));
    chief.receives(1, restored(2));
    chief.receives(1, version(2, 0, &[], 0.5));
    let out = chief.receives(0, version(2, 0, &[0], 0.5));
    assert!(!out.contains(&send(0, capture(2, 0))), "{out:?}");
}

#[test]
fn chief_with_a_saved_version_has_no_deadline_in_the_past() {
    let mut config = cluster(1, 1, 1);
    config.limits.save_interval = std::time::Duration::from_nanos(1);
    let mut chief = Script::worker(0, config);
    chief.feed(checkpoint_found(1, 1));
    chief.connects_to(0, 1, None);
    chief.receives(0, restored(1));
    chief.receives(0, version(1, 1, &[0], 0.5));
    // Panics if a deadline is not in the future.
    chief.advances_to(5);
}
