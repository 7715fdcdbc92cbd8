//! A small file system for a test, in a mount namespace of its own, which needs no privileges.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A file system that is mounted until this value is dropped.
pub(crate) struct Tmpfs {
    /// The shell that keeps the namespace alive.
    holder: Child,
    mount: PathBuf,
}

impl Tmpfs {
    /// Mounts a file system of `size`. Returns `None` if the system does not allow that.
    pub(crate) fn mount(path: &Path, size: &str) -> Option<Self> {
        let script = "mount -t tmpfs -o size=\"$1\" none \"$0\" && echo mounted && read line";
        let mut holder = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
            .arg(path)
            .arg(size)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut line = String::new();
        let stdout = holder.stdout.take().expect("the output is a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a pipe can be read");
        let tmpfs = Self { holder, mount: path.to_owned() };
        (line == "mounted\n").then_some(tmpfs)
    }

    /// Returns a command that runs `command` within the namespace.
    pub(crate) fn within(&self, command: &Command) -> Command {
        let mut within = Command::new("nsenter");
        let holder = self.holder.id().to_string();
        within.args(["--preserve-credentials", "--user", "--mount", "--target", &holder]);
        within.arg(command.get_program()).args(command.get_args());
        within.env_remove("UNISONO_LOG").env_remove("UNISONO_SIMD");
        within
    }

    /// Returns the path of the mounted folder for processes outside of the namespace.
    pub(crate) fn path(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.mount.strip_prefix("/").expect("the path is absolute"))
    }

    /// Fills the file system to the last byte.
    pub(crate) fn fill(&self) {
        let ballast = File::options().create(true).append(true).open(self.ballast());
        let mut ballast = ballast.expect("there is room for a name");
        for size in [4096, 1] {
            while ballast.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Frees the space that [`Self::fill`] took.
    pub(crate) fn free(&self) {
        std::fs::remove_file(self.ballast()).expect("the file exists");
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Remounts the file system as `ro` or `rw`. Retries while a file is open for writing.
    pub(crate) fn remount(&self, mode: &str) {
        let mut mount = Command::new("mount");
        mount.arg("-o").arg(format!("remount,{mode}")).arg(&self.mount);
        let is_done = || {
            let status = self.within(&mount).stderr(Stdio::null()).status();
            status.expect("nsenter runs").success()
        };
        crate::support::wait_until("a moment in which no file is written", is_done);
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
