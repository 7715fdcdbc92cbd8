//! Many slots per worker: links and tasks that are slower than the workers delay the run, and have
//! no other effect.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::{
    Bits, Folder, HandStarted, Process, Role, Shape, bits_of, last_step, send, shaped_link,
    task_of_local, wait_until,
};

/// Runs `run` while two busy threads per CPU core compete with it.
fn on_a_loaded_machine<T>(run: impl FnOnce() -> T) -> T {
    /// Ends the load when it is dropped, even if `run` panics.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let is_over = AtomicBool::new(false);
    let n_cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    thread::scope(|scope| {
        for _ in 0..2 * n_cores {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let _over = Over(&is_over);
        run()
    })
}

#[expect(clippy::disallowed_methods, reason = "the fault lasts for some time")]
fn pause(time: Duration) {
    thread::sleep(time);
}

fn assert_no_link_was_cut_off(stderr: &str) {
    assert!(!stderr.contains("does not read"), "{stderr}");
}

#[test]
fn twelve_slots_per_worker_on_slow_links_give_the_bits_of_the_reference() {
    let flags = "--replicas-to-aggregate 24 --training-steps 6 --progress none";
    let folder = Folder::new();
    let cluster = HandStarted::new(2, 2, flags, folder.logdir());
    let shape = Shape { bytes_per_second: 12_500_000, latency: Duration::from_millis(20) };
    let links: Vec<_> = cluster.ps_hosts().iter().map(|ps| shaped_link(ps, shape)).collect();
    let start_ps = |index| Process::start(cluster.command(Role::Ps(index), &links, ""));
    let start_worker = |index| {
        Process::start(cluster.command(Role::Worker(index), &links, "--shared-memory=false"))
    };
    let tasks = [start_ps(0), start_ps(1), start_worker(0), start_worker(1)];
    for task in tasks {
        let ended = task.wait();
        ended.expect_code(0);
        assert_no_link_was_cut_off(&ended.stderr);
    }
    let expected = bits_of(&format!("reference {flags} --workers 2"));
    Bits::read(&folder.logdir()).assert_same(&expected, "shaped links");
}

#[test]
fn paused_ps_on_a_loaded_machine_only_delays_a_run_of_twenty_slots_per_worker() {
    let flags = "--replicas-to-aggregate 40 --workers 2 --training-steps 12 --progress none";
    let folder = Folder::new();
    let ended = on_a_loaded_machine(|| {
        let mut run = folder.start(&format!("local {flags}"));
        wait_until("two updates", || {
            assert!(run.is_running(), "the run ended:\n{}", run.stderr());
            last_step(&folder.logdir()) >= Some(1)
        });
        let ps = task_of_local(folder.path(), "ps", 1);
        send("STOP", ps);
        // Long enough for the workers to fill their window of pushes and wait.
        pause(Duration::from_secs(5));
        send("CONT", ps);
        run.wait()
    });
    ended.expect_code(0);
    assert_no_link_was_cut_off(&ended.stderr);
    let expected = bits_of(&format!("reference {flags}"));
    Bits::read(&folder.logdir()).assert_same(&expected, "a ps that stood still");
}

#[test]
fn four_thousand_slots_of_a_tiny_model_give_the_bits_of_the_reference() {
    let flags = "--replicas-to-aggregate 4096 --workers 2 --hidden 2 --batch-size 2 \
                 --training-steps 2 --progress none";
    let folder = Folder::new();
    let ended = folder.run(&format!("local {flags}"));
    ended.expect_code(0);
    assert_no_link_was_cut_off(&ended.stderr);
    let expected = bits_of(&format!("reference {flags}"));
    Bits::read(&folder.logdir()).assert_same(&expected, "R = 4096");
}
