//! A disk that becomes full or read-only during a run.

use std::path::Path;
use std::process::Command;

use unisono_files::checkpoint::read_tensors;

use crate::support::{
    Bits, Folder, Process, bits_of, program, send, tasks_in, unisono, wait_until,
};
use crate::tmpfs::Tmpfs;
use crate::watched::{ENDLESS, FLAGS, Watched, checkpoint, latest};

/// A fault of the file system, which can be ended.
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

    /// Returns the end of the log line about this fault.
    const fn log_text(self) -> &'static str {
        match self {
            Self::Full => "No space left on device (os error 28); free some space there",
            Self::ReadOnly => "Read-only file system (os error 30); make it accessible",
        }
    }
}

#[test]
fn training_continues_on_a_full_disk_and_the_last_checkpoint_stays_valid() {
    survives(Trouble::Full);
}

#[test]
fn training_continues_on_a_read_only_disk_and_the_last_checkpoint_stays_valid() {
    survives(Trouble::ReadOnly);
}

fn survives(trouble: Trouble) {
    let folder = Folder::new();
    let Some(tmpfs) = Tmpfs::mount(folder.path(), "4m") else {
        return; // This system does not allow users to mount a file system.
    };
    let logdir = tmpfs.path().join("logdir");
    let run = |words: &str| {
        let mut command = unisono(words);
        command.arg("--logdir").arg(folder.logdir());
        tmpfs.within(&command)
    };
    let mut watched = Watched::start(run(&format!("local {ENDLESS}")), &logdir);
    watched.wait_for_a_checkpoint();

    // Training continues, logs why nothing is saved, and catches up after the fault.
    let log_len = watched.log_len();
    begin(trouble, &tmpfs, &mut watched);
    watched.wait_for_log(trouble.log_text(), log_len);
    watched.wait_for_log("the losses are held in memory, and no checkpoint is made", log_len);
    watched.wait_for_progress();
    let newest = latest(&logdir).expect("there was a checkpoint");
    read_tensors(&checkpoint(&logdir, newest)).expect("the checkpoint is still valid");
    trouble.end(&tmpfs);
    watched.wait_for_losses();
    watched.wait_for_a_checkpoint();

    // After a kill during the fault, the run cannot restart. After the fault, it resumes.
    begin(trouble, &tmpfs, &mut watched);
    watched.wait_for_progress();
    tasks_of_the_program(folder.path()).into_iter().for_each(|pid| send("KILL", pid));
    drop(watched);
    wait_until("no task is left", || tasks_of_the_program(folder.path()).is_empty());
    let newest = latest(&logdir).expect("there was a checkpoint");
    let ended = Process::start(run(&format!("local {ENDLESS}"))).wait();
    ended.expect_code(1).expect_stderr(&[trouble.log_text()]);
    trouble.end(&tmpfs);
    assert_resumes(run, &logdir, newest);
}

/// Begins a fault, and waits until the run has noticed it.
fn begin(trouble: Trouble, tmpfs: &Tmpfs, watched: &mut Watched) {
    let log_len = watched.log_len();
    trouble.begin(tmpfs);
    watched.wait_for_log(" could not be written: ", log_len);
    // Removing an incomplete checkpoint may have freed some space.
    trouble.begin(tmpfs);
}

/// Returns the processes in the folder, without the shell that holds the namespace.
fn tasks_of_the_program(folder: &Path) -> Vec<u32> {
    let is_ours = |pid: &u32| {
        let runs = std::fs::read_link(format!("/proc/{pid}/exe"));
        runs.is_ok_and(|runs| runs == program())
    };
    tasks_in(folder).into_iter().filter(is_ours).collect()
}

/// Asserts that the run resumes from this checkpoint with the bits of an undisturbed run.
fn assert_resumes(run: impl Fn(&str) -> Command, logdir: &Path, from: u64) {
    let flags = format!("{FLAGS} --training-steps {}", from + 20);
    let ended = Process::start(run(&format!("local {flags}"))).wait();
    let message = format!("model.ckpt-{from}.safetensors.\n");
    ended.expect_code(0).expect_stderr(&["Restored from ", &message]);
    Bits::read(logdir)
        .assert_same_files(&bits_of(&format!("reference {flags}")), "after the fault");
}
