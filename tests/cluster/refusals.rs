//! A task with other settings or data than the cluster is refused, and the cluster is not
//! disturbed.

use std::fs::{self, File};
use std::io::Write as _;
use std::process::Command;

use crate::support::{
    Bits, DataDir, Folder, HandStarted, Labels, Process, Role, bits_of, wait_until,
};

#[test]
fn worker_of_another_run_is_refused_and_the_right_one_is_accepted() {
    let folder = Folder::new();
    DataDir::new(Labels::Right).write(&folder.join("data"));
    DataDir::new(Labels::TwoExchanged).write(&folder.join("other"));
    let data = folder.join("data");
    let flags = format!(
        "--hidden 16 --batch-size 20 --training-steps 25 --seed 3 --progress none {} --data-dir {}",
        DataDir::VALIDATION,
        data.display()
    );
    let cluster = HandStarted::new(2, 2, &flags, folder.logdir());
    let ps = [0, 1].map(|index| cluster.start(Role::Ps(index)));
    let mut chief = cluster.command(Role::Worker(0), cluster.ps_hosts(), "");
    chief.env("UNISONO_LOG", "info");
    let mut chief = Process::start(chief);
    // The first worker that connects determines the data of the cluster. It must be the chief.
    chief.wait_for_stderr("saved the checkpoint of step 0 in");
    let mut undisturbed: Vec<_> = ps.into_iter().chain([chief]).collect();

    let other_data = format!("--data-dir {}", folder.join("other").display());
    for (wrong, message) in [
        ("--batch-size 25", ["batch_size", "20", "25"]),
        ("--seed 4", ["seed", "3", "4"]),
        ("--learning-rate 0.02", ["learning_rate", "0.01", "0.02"]),
        ("--placement round-robin", ["placement", "round-robin", "even"]),
        ("--replicas-to-aggregate 4", ["replicas_to_aggregate", "2", "4"]),
        (&other_data, ["training data", "digest", "--data-dir"]),
    ] {
        let refused = cluster.start_with(Role::Worker(1), wrong).wait();
        refused.expect_error(1, &message);
        assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
    }
    let permuted: Vec<_> = cluster.ps_hosts().iter().rev().cloned().collect();
    let refused = Process::start(cluster.command(Role::Worker(1), &permuted, "")).wait();
    refused.expect_error(1, &["ps 0", "ps 1"]);

    assert!(undisturbed.iter_mut().all(Process::is_running));
    cluster.start(Role::Worker(1)).wait().expect_code(0);
    for task in undisturbed {
        task.wait().expect_code(0);
    }
    let expected = bits_of(&format!("reference {flags}"));
    Bits::read(&folder.logdir()).assert_same(&expected, "with the right worker");
}

#[test]
fn process_that_read_its_data_before_another_started_has_the_older_incarnation() {
    let folder = Folder::new();
    let data = DataDir::new(Labels::Right);
    data.write(&folder.join("data"));
    data.write(&folder.join("slow"));
    let slow = folder.join("slow").join(DataDir::TRAIN_IMAGES);
    fs::remove_file(&slow).expect("the file exists");
    assert!(Command::new("mkfifo").arg(&slow).status().expect("mkfifo runs").success());
    // Opened for reading and writing, so that opening does not wait for another process.
    let pipe = File::options().read(true).write(true).open(&slow);
    let mut pipe = pipe.expect("a pipe can be opened");

    let flags = format!(
        "--hidden 16 --batch-size 20 --training-steps 25 --progress none \
         --heartbeat-interval 0.5 --heartbeat-timeout 2 {}",
        DataDir::VALIDATION
    );
    let cluster = HandStarted::new(1, 2, &flags, folder.logdir());
    let with_data = |role, name| {
        let mut command = cluster.command(role, cluster.ps_hosts(), "");
        command.arg("--data-dir").arg(folder.join(name)).env("UNISONO_LOG", "info");
        Process::start(command)
    };
    let ps = with_data(Role::Ps(0), "data");
    let older = with_data(Role::Worker(1), "slow");
    let files = format!("/proc/{}/fd", older.pid());
    wait_until("the worker reads its data", || {
        let files = fs::read_dir(&files).expect("the worker is running").flatten();
        files.into_iter().any(|file| fs::read_link(file.path()).is_ok_and(|path| path == slow))
    });
    let mut newer = with_data(Role::Worker(1), "data");
    newer.wait_for_stderr("ps 0 connected");
    pipe.write_all(&data.train_images).expect("the worker reads the pipe");
    drop(pipe);
    let message = ["this process of worker 1 has incarnation ", "worker 1 was restarted since"];
    older.wait().expect_error(1, &message);

    with_data(Role::Worker(0), "data").wait().expect_code(0);
    newer.wait().expect_code(0);
    ps.wait().expect_code(0);
}

#[test]
fn chief_of_another_run_is_refused_before_it_can_start_a_run() {
    let folder = Folder::new();
    let flags = "--hidden 16 --batch-size 20 --training-steps 25 --progress none";
    let cluster = HandStarted::new(1, 1, flags, folder.logdir());
    let ps = cluster.start(Role::Ps(0));
    let refused = cluster.start_with(Role::Worker(0), "--batch-size 30").wait();
    refused.expect_error(1, &["batch_size", "20", "30"]);
    cluster.start(Role::Worker(0)).wait().expect_code(0);
    ps.wait().expect_code(0);
    let expected = bits_of(&format!("reference {flags} --workers 1"));
    Bits::read(&folder.logdir()).assert_same(&expected, "with the right chief");
}
