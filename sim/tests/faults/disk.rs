//! Faults of the chief's disk, and power losses.

use std::time::Duration;

use unisono_core::Step;
use unisono_observe::trace::EventKind as E;
use unisono_sim::run::played::Played;

use crate::support::{TraceQueries as _, caches, passed, run, scenario, watch};
use crate::{CHIEF, s, us};

fn saves_often(fault: &str) -> String {
    format!("[limits]\nsave_interval = \"3ms\"\n[[fault]]\nid = \"disk\"\nkind = \"disk\"\n{fault}")
}

#[test]
fn failing_disk_fails_every_save_until_the_fault_ends() {
    for mode in ["enospc", "eio", "torn", "failed-sync"] {
        let fault = format!("mode = \"{mode}\"\nat_step = 5\nfor = \"5s\"");
        let played = run(&saves_often(&fault));
        let updated = played.at(crate::PS_0, E::Updated);
        let is_it =
            |event: &&&unisono_sim::record::trace::TracedEvent| event.what.step == Some(Step(4));
        let begin = updated.iter().find(is_it).expect("version 5 exists").at;
        let is_broken = |at: &Duration| (begin..begin + s(5)).contains(at);
        let (failed, saved) = (played.times(CHIEF, E::SaveFailed), played.times(CHIEF, E::Saved));
        assert!(failed.len() > 1 && failed.iter().all(is_broken), "{mode}: {failed:?}");
        assert!(!saved.iter().any(is_broken), "{mode}: {saved:?}");
        assert!(saved.iter().any(|at| *at < begin), "{mode}: no save before the fault");
        assert!(played.effects()[0] > 0);
        assert_eq!(played.checkpoint.map(|checkpoint| checkpoint.cut.step), Some(Step(20)));
    }
}

#[test]
fn slow_disk_multiplies_the_duration_of_saves() {
    // Four writes of 20 µs and five syncs of 500 µs.
    let save = us(4 * 20 + 5 * 500);
    let slow = run(&saves_often("mode = \"slow\"\nfactor = 7\nat = \"0s\""));
    let right = run("[limits]\nsave_interval = \"3ms\"");
    let n_saves = slow.times_done(CHIEF, E::Saves).len() as u64;
    assert_eq!(slow.effects(), [n_saves], "the chief read its checkpoint before the fault began");
    for (played, expected) in [(right, save), (slow, 7 * save)] {
        let begun = played.times_done(CHIEF, E::Saves);
        let done = played.times(CHIEF, E::Saved);
        assert_eq!(begun.len(), done.len());
        let takes: Vec<_> = begun.iter().zip(&done).map(|(begun, done)| *done - *begun).collect();
        assert!(takes.iter().all(|takes| *takes == expected), "{takes:?}");
    }
}

/// Plays a power loss of the whole cluster. Returns the steps of the checkpoints that were reported
/// as durable before it, and the step from which the chief continues.
fn blackout(disk: &str, seed: u64) -> (Vec<u64>, u64, Played) {
    let text = format!(
        "[limits]\nsave_interval = \"3ms\"\n{disk}\n[[fault]]\nid = \"blackout\"\n\
         kind = \"crash\"\nnode = \"all\"\npower_loss = true\nat = \"15ms\"\nfor = \"50ms\""
    );
    let played = passed(watch(&scenario(&text), seed));
    let steps = |kind, is_first_life| {
        let events = played.at(CHIEF, kind).into_iter();
        let of_life = events.filter(move |event| (event.life.number == 1) == is_first_life);
        of_life.filter_map(|event| Some(event.what.step?.0)).collect::<Vec<_>>()
    };
    let (saved, read) = (steps(E::Saved, true), steps(E::Read, false)[0]);
    (saved, read, played)
}

#[test]
fn power_loss_loses_no_synced_checkpoint() {
    for seed in 0..10 {
        let (saved, read, played) = blackout("", seed);
        assert!(read >= *saved.last().unwrap(), "seed {seed}: saved {saved:?}, read {read}");
        assert_eq!(played.n_generations, 2, "all shards roll back to the checkpoint");
    }
}

#[test]
fn disk_that_lies_about_syncs_loses_checkpoints_in_a_power_loss() {
    let lying = "[[fault]]\nid = \"lying\"\nkind = \"disk\"\nmode = \"lost-unsynced\"\nat = \"4ms\"\n\
                 for = \"10ms\"";
    let is_lost = |seed: &u64| {
        let (saved, read, _) = blackout(lying, *seed);
        read < *saved.last().expect("a checkpoint was reported as saved")
    };
    let n_lost = (0..10).filter(is_lost).count();
    assert!(n_lost > 0, "no checkpoint was lost with any seed");
}

/// Every read returns one wrong bit, so no checkpoint can be read, and none is taken for a valid
/// one. The chief fails and is restarted until the fault has ended. Losses have no checksum: from
/// the first line on that cannot be parsed they are cut off.
#[test]
fn checkpoint_read_with_a_flipped_bit_is_refused() {
    let (mut n_failed, end) = (0, s(3));
    for seed in 0..10 {
        let flips = "[[fault]]\nid = \"flips\"\nkind = \"disk\"\nmode = \"bit-flip\"\n\
                     at = \"20ms\"\nfor = \"2980ms\"\n[expect]\noracle = \"none\"";
        let (saved, _, played) = blackout(flips, seed);
        assert!(!saved.is_empty() && played.effects()[0] > 0);
        let is_flipped = |at: &Duration| (us(20_000)..end).contains(at);
        assert!(!played.times(CHIEF, E::Read).iter().any(is_flipped), "seed {seed}");
        n_failed += played.times(CHIEF, E::ReadFailed).len();
        let cache = caches().for_run(&scenario("").run).expect("the data fit the configuration");
        let checkpoint = played.checkpoint.expect("the run has ended");
        assert_eq!(checkpoint.shards, cache.serial().end.shards, "seed {seed}");
    }
    assert!(n_failed > 0);
}
