//! Starts, signals and awaits a process. A test fails with the process's output if the process
//! hangs.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// Time after which a process counts as hanging. Ample even on a busy machine.
const LIMIT: Duration = Duration::from_secs(100);
/// Interval between two looks at a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(4);

/// A running program. Its output goes to files, which can be read at any time.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// The folder of the output files.
    output: PathBuf,
    /// The same folder, if it is temporary and removed with the process.
    folder: Option<TempDir>,
}

impl Process {
    pub(crate) fn start(command: Command) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let mut process = Self::start_into(folder.path(), command);
        process.folder = Some(folder);
        process
    }

    /// Starts a program whose output stays in the files `out` and `err` of `folder`.
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

    /// Returns the standard output so far.
    pub(crate) fn stdout(&self) -> String {
        self.printed("out")
    }

    /// Returns the standard error so far.
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

    /// Waits until standard error contains `text`. Fails if the process ends before.
    pub(crate) fn wait_for_stderr(&mut self, text: &str) {
        self.wait_for(text, Self::stderr);
    }

    /// Waits until standard output contains `text`. Fails if the process ends before.
    pub(crate) fn wait_for_stdout(&mut self, text: &str) {
        self.wait_for(text, Self::stdout);
    }

    fn wait_for(&mut self, text: &str, printed: impl Fn(&Self) -> String) {
        let has_it = poll(|| printed(self).contains(text) || !self.is_running());
        let ended = if has_it { "the process ended" } else { "the process hangs" };
        assert!(printed(self).contains(text), "{ended} without {text:?}:\n{}", self.all());
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Returns the exit status if the process has ended.
    pub(crate) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.exit_status().is_none()
    }

    /// Waits until the process ends by itself.
    pub(crate) fn wait(mut self) -> Ended {
        let ended = poll(|| !self.is_running());
        assert!(ended, "the process did not end within {LIMIT:?}:\n{}", self.all());
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

/// The exit status and the output of a process that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Asserts the exit code, and that no thread panicked.
    pub(crate) fn expect_code(&self, code: i32) -> &Self {
        let Self { status, stdout, stderr } = self;
        let all = format!("{status}\n--- stdout\n{stdout}--- stderr\n{stderr}");
        assert_eq!(status.signal(), None, "{all}");
        assert_eq!(status.code(), Some(code), "{all}");
        assert!(!stderr.contains("panicked"), "{all}");
        self
    }

    /// Asserts that standard error contains all of `parts`.
    pub(crate) fn expect_stderr(&self, parts: &[&str]) -> &Self {
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not in: {}", self.stderr);
        }
        self
    }

    /// Returns the text after `error: ` of the only line that begins so.
    pub(crate) fn error(&self) -> &str {
        let mut errors = self.stderr.lines().filter_map(|line| line.strip_prefix("error: "));
        let first = errors.next().unwrap_or_else(|| panic!("no error line:\n{}", self.stderr));
        assert_eq!(errors.next(), None, "more than one error:\n{}", self.stderr);
        first
    }

    /// Asserts the exit code, and that the error contains all of `parts`.
    pub(crate) fn expect_error(&self, code: i32, parts: &[&str]) -> &Self {
        let error = self.expect_code(code).error();
        for part in parts {
            assert!(error.contains(part), "{part:?} is not in: {error}");
        }
        self
    }
}

/// Returns the processes with this folder on their command line. A process that has ended but was
/// not waited for has no command line.
pub(crate) fn tasks_in(folder: &Path) -> Vec<u32> {
    tasks_with(folder, "")
}

/// Returns the processes with this folder and this text on their command line. In a command line,
/// NUL separates the words.
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

/// Returns the process of a task of `unisono local` that runs in the folder.
pub(crate) fn task_of_local(folder: &Path, job: &str, index: u32) -> u32 {
    let text = format!("{job}\0--task-id={index}\0");
    let found = tasks_with(folder, &text);
    assert_eq!(found.len(), 1, "the processes of {job} {index}");
    found[0]
}

/// Sends a signal by its name. Does nothing if the process has ended.
pub(crate) fn send(signal: &str, pid: u32) {
    let script = "kill -s \"$0\" \"$1\" 2>/dev/null || true";
    let status = Command::new("sh").args(["-c", script, signal, &pid.to_string()]).status();
    assert!(status.expect("a shell runs").success());
}

/// Waits until `holds` returns true. Fails with `what` after [`LIMIT`].
pub(crate) fn wait_until(what: &str, holds: impl FnMut() -> bool) {
    assert!(poll(holds), "waited {LIMIT:?} in vain: {what}");
}

/// Waits until `holds` returns true. Returns false after [`LIMIT`].
#[expect(clippy::disallowed_methods, reason = "real processes take real time")]
fn poll(mut holds: impl FnMut() -> bool) -> bool {
    let start = std::time::Instant::now();
    while !holds() {
        if start.elapsed() > LIMIT {
            return false;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    true
}
