//! Passes the configuration of a task from `unisono local` to the processes of the task. The
//! configuration is in an anonymous file. Each process inherits the descriptor of this file, and
//! reads the file by a path such as `/proc/self/fd/4`.
//!
//! The anonymous file has no name in a file system, so the file never outlives the run, and only
//! the user of the run can open it. Each restart of the task reads the file again. A person can
//! read the file, too, with `cat /proc/PID/fd/4`.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::Context as _;
use unisono_config::RunDocument;

/// Writes a document into an anonymous file.
///
/// # Errors
/// Returns an error if the system has no memory or no descriptor for the file.
pub(super) fn write(document: &RunDocument) -> io::Result<OwnedFd> {
    let mut file = anonymous_file()?;
    file.write_all(document.to_toml().as_bytes())?;
    Ok(file.into())
}

/// Returns the path by which a process opens the file behind an inherited descriptor, such as
/// `/proc/self/fd/4`.
pub(super) fn path(descriptor: i32) -> String {
    // `/dev/fd` exists on every Unix, but not in every container.
    let folder = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    format!("{folder}/{descriptor}")
}

/// Reads the document that the parent process wrote.
///
/// # Errors
/// Returns an error if the file cannot be read, or if its content is invalid because a program of
/// another version wrote the file.
pub(super) fn read(path: &Path) -> anyhow::Result<RunDocument> {
    let read = || {
        let mut file = File::open(path)?;
        // On systems other than Linux, a descriptor that is opened by its path shares the file
        // position of the writer.
        file.rewind()?;
        anyhow::Ok(RunDocument::from_toml(&io::read_to_string(file)?)?)
    };
    read().with_context(|| {
        format!("cannot read the configuration that the parent process wrote, {}", path.display())
    })
}

#[cfg(target_os = "linux")]
fn anonymous_file() -> io::Result<File> {
    use rustix::fs::{MemfdFlags, memfd_create};
    let create = |flag| memfd_create("unisono-run-config", MemfdFlags::CLOEXEC | flag);
    // Linux before 6.3 refuses `NOEXEC_SEAL`. Later systems may refuse a file without this flag.
    let file = create(MemfdFlags::NOEXEC_SEAL).or_else(|_| create(MemfdFlags::empty()))?;
    Ok(file.into())
}

#[cfg(not(target_os = "linux"))]
fn anonymous_file() -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = std::env::temp_dir().join(format!("unisono-run-config-{}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(path)?;
    Ok(file)
}
