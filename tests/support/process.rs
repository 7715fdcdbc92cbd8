//! One process: started, signalled, waited for with a limit after which the test fails with all
//! that it printed.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// Ample even on a machine that is busy with other things; only what hangs takes it.
const LIMIT: Duration = Duration::from_secs(100);
/// Between two looks at something that changes by itself.
const LOOK_EVERY: Duration = Duration::from_millis(4);

/// A running program. What it prints goes to files, so that it can be read at any time.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    output: PathBuf,
    /// Where that is, if it goes with the process.
    folder: Option<TempDir>,
}

impl Process {
    pub(crate) fn start(command: Command) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let mut process = Self::start_into(folder.path(), command);
        process.folder = Some(folder);
        process
    }

    /// What it prints stays there, in the files `out` and `err`.
    pub(crate) fn start_into(folder: &Path, mut command: Command) -> Self {
        fs::create_dir_all(folder).expect("a folder can be made");
        let file = |name| File::create(folder.join(name)).expect("a file can be made");
        command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err"));
        let child = command.spawn().expect("the program starts");
        Self { child, output: folder.to_owned(), folder: None }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far on standard output.
    pub(crate) fn stdout(&self) -> String {
        self.printed("out")
    }

    /// What it has printed so far on standard error.
    pub(crate) fn stderr(&self) -> String {
        self.printed("err")
    }

    fn printed(&self, name: &str) -> String {
        let bytes = fs::read(self.output.join(name)).expect("the output can be read");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(crate) fn signal(&self, name: &str) {
        send(name, self.pid());
    }

    /// Waits until it has printed this on standard error. It must not end before.
    pub(crate) fn wait_for_stderr(&mut self, text: &str) {
        self.wait_for(text, Self::stderr);
    }

    /// Waits until it has printed this on standard output. It must not end before.
    pub(crate) fn wait_for_stdout(&mut self, text: &str) {
        self.wait_for(text, Self::stdout);
    }

    fn wait_for(&mut self, text: &str, printed: impl Fn(&Self) -> String) {
        let has_it = poll(|| printed(self).contains(text) || !self.is_running());
        let ended = if has_it { "it ended" } else { "it hangs" };
        assert!(printed(self).contains(text), "{text:?} never came; {ended}:\n{}", self.all());
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// How it ended, if it did.
    pub(crate) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.exit_status().is_none()
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait(mut self) -> Ended {
        let ended = poll(|| !self.is_running());
        assert!(ended, "it did not end within {LIMIT:?}:\n{}", self.all());
        let status = self.child.wait().expect("a child can be waited for");
        Ended { status, stdout: self.stdout(), stderr: self.stderr() }
    }

    fn all(&self) -> String {
        format!("--- stdout\n{}--- stderr\n{}", self.stdout(), self.stderr())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How a process ended, and all that it printed.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn expect_code(&self, code: i32) -> &Self {
        let Self { status, stdout, stderr } = self;
        let told = format!("{status}\n--- stdout\n{stdout}--- stderr\n{stderr}");
        assert_eq!(status.signal(), None, "{told}");
        assert_eq!(status.code(), Some(code), "{told}");
        assert!(!stderr.contains("panicked"), "{told}");
        self
    }

    /// It must have printed all of these on standard error, among whatever else.
    pub(crate) fn expect_stderr(&self, parts: &[&str]) -> &Self {
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not in: {}", self.stderr);
        }
        self
    }

    /// Its one line `error: …`, which must be the only one, without those words.
    pub(crate) fn error(&self) -> &str {
        let mut errors = self.stderr.lines().filter_map(|line| line.strip_prefix("error: "));
        let first = errors.next().unwrap_or_else(|| panic!("no error line:\n{}", self.stderr));
        assert_eq!(errors.next(), None, "more than one error:\n{}", self.stderr);
        first
    }

    /// Its error, which must have all of these in it.
    pub(crate) fn expect_error(&self, code: i32, parts: &[&str]) -> &Self {
        let error = self.expect_code(code).error();
        for part in parts {
            assert!(error.contains(part), "{part:?} is not in: {error}");
        }
        self
    }
}

/// The processes that have this folder on their command line. One that has ended and was not yet
/// waited for has none.
pub(crate) fn tasks_in(folder: &Path) -> Vec<u32> {
    tasks_with(folder, "")
}

/// Those of them that have this text on their command line, too; its words are separated by NUL.
pub(crate) fn tasks_with(folder: &Path, text: &str) -> Vec<u32> {
    let folder = folder.to_str().expect("a folder's name is text");
    let entries = fs::read_dir("/proc").expect("/proc can be listed");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_one = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        line.contains(folder) && line.contains(text)
    };
    pids.filter(is_one).collect()
}

/// The process of one task of a `local` that runs in the folder.
pub(crate) fn task_of_local(folder: &Path, job: &str, index: u32) -> u32 {
    let text = format!("{job}\0--task-id={index}\0");
    let found = tasks_with(folder, &text);
    assert_eq!(found.len(), 1, "the processes of {job} {index}");
    found[0]
}

/// Sends a signal by its name. A process that is gone needs none.
pub(crate) fn send(signal: &str, pid: u32) {
    let script = "kill -s \"$0\" \"$1\" 2>/dev/null || true";
    let status = Command::new("sh").args(["-c", script, signal, &pid.to_string()]).status();
    assert!(status.expect("a shell runs").success());
}

/// Waits until something holds that comes to hold by itself, or fails.
pub(crate) fn wait_until(what: &str, holds: impl FnMut() -> bool) {
    assert!(poll(holds), "not within {LIMIT:?}: {what}");
}

/// Whether it came to hold within the limit.
#[expect(clippy::disallowed_methods, reason = "real processes take real time")]
fn poll(mut holds: impl FnMut() -> bool) -> bool {
    let start = std::time::Instant::now();
    while !holds() {
        if start.elapsed() > LIMIT {
            return false;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    true
}
