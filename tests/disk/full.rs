//! A disk that is full, or read-only, or has a limit for a file's size.

use std::path::Path;
use std::process::Command;

use unisono_files::checkpoint::read_tensors;

use crate::support::{
    Bits, Folder, Process, bits_of, program, send, tasks_in, unisono, wait_until,
};
use crate::tmpfs::Tmpfs;
use crate::watched::{ENDLESS, FLAGS, Watched, checkpoint, latest};

/// What becomes of the file system under a run, and back.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Full,
    ReadOnly,
}

impl Trouble {
    fn begin(self, tmpfs: &Tmpfs) {
        match self {
            Self::Full => tmpfs.fill(),
            Self::ReadOnly => tmpfs.remount("ro"),
        }
    }

    fn end(self, tmpfs: &Tmpfs) {
        match self {
            Self::Full => tmpfs.free(),
            Self::ReadOnly => tmpfs.remount("rw"),
        }
    }

    const fn told(self) -> &'static str {
        match self {
            Self::Full => "No space left on device (os error 28); free some space there",
            Self::ReadOnly => "Read-only file system (os error 30); make it accessible",
        }
    }
}

#[test]
fn with_a_full_disk_training_goes_on_and_the_last_valid_checkpoint_stays() {
    survives(Trouble::Full);
}

#[test]
fn with_a_read_only_disk_training_goes_on_and_the_last_valid_checkpoint_stays() {
    survives(Trouble::ReadOnly);
}

fn survives(trouble: Trouble) {
    let folder = Folder::new();
    let Some(tmpfs) = Tmpfs::mount(folder.path(), "4m") else {
        return; // This system lets nobody mount anything.
    };
    let logdir = tmpfs.path().join("logdir");
    let run = |words: &str| {
        let mut command = unisono(words);
        command.arg("--logdir").arg(folder.logdir());
        tmpfs.within(&command)
    };
    let mut watched = Watched::start(run(&format!("local {ENDLESS}")), &logdir);
    watched.wait_for_a_checkpoint();

    // It goes on, says why nothing is saved, and catches up as soon as it can.
    let said = watched.n_said();
    begin(trouble, &tmpfs, &mut watched);
    watched.wait_until_it_says(trouble.told(), said);
    watched.wait_until_it_says("the losses are held in memory, and no checkpoint is made", said);
    watched.wait_for_progress();
    let newest = latest(&logdir).expect("there was a checkpoint");
    read_tensors(&checkpoint(&logdir, newest)).expect("it stays valid");
    trouble.end(&tmpfs);
    watched.wait_for_losses();
    watched.wait_for_a_checkpoint();

    // Killed in the midst of it, it does not start again, and goes on once it can.
    begin(trouble, &tmpfs, &mut watched);
    watched.wait_for_progress();
    tasks_of_the_program(folder.path()).into_iter().for_each(|pid| send("KILL", pid));
    drop(watched);
    wait_until("no task is left", || tasks_of_the_program(folder.path()).is_empty());
    let newest = latest(&logdir).expect("there was a checkpoint");
    let ended = Process::start(run(&format!("local {ENDLESS}"))).wait();
    ended.expect_code(1).expect_stderr(&[trouble.told()]);
    trouble.end(&tmpfs);
    assert_goes_on(run, &logdir, newest);
}

/// Begins it, and waits until the run has found out.
fn begin(trouble: Trouble, tmpfs: &Tmpfs, watched: &mut Watched) {
    let said = watched.n_said();
    trouble.begin(tmpfs);
    watched.wait_until_it_says(" could not be written: ", said);
    // A checkpoint that was half written has made some room again.
    trouble.begin(tmpfs);
}

/// All but the shell that holds the namespace, which has the folder's name, too.
fn tasks_of_the_program(folder: &Path) -> Vec<u32> {
    let is_ours = |pid: &u32| {
        let runs = std::fs::read_link(format!("/proc/{pid}/exe"));
        runs.is_ok_and(|runs| runs == program())
    };
    tasks_in(folder).into_iter().filter(is_ours).collect()
}

/// The run goes on from this checkpoint, to a few steps behind it, as if nothing had happened.
fn assert_goes_on(run: impl Fn(&str) -> Command, logdir: &Path, from: u64) {
    let flags = format!("{FLAGS} --training-steps {}", from + 20);
    let ended = Process::start(run(&format!("local {flags}"))).wait();
    let told = format!("model.ckpt-{from}.safetensors.\n");
    ended.expect_code(0).expect_stderr(&["Restored from ", &told]);
    Bits::read(logdir)
        .assert_same_files(&bits_of(&format!("reference {flags}")), "after the trouble");
}
