//! The configuration that `unisono local` passes to a task. It is in an anonymous file, which every
//! process of the task inherits and reads by the path of its descriptor.
//!
//! The file has no name, so it never outlives the run, and only this user can open it. Each restart
//! of the task reads it again. A person can read it, too: `cat /proc/PID/fd/4`.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::Context as _;
use unisono_config::RunDocument;

/// Writes a document into an anonymous file.
///
/// # Errors
/// If the system has no memory or no descriptor for the file.
pub(super) fn write(document: &RunDocument) -> io::Result<OwnedFd> {
    let mut file = anonymous_file()?;
    file.write_all(document.to_toml().as_bytes())?;
    Ok(file.into())
}

/// Returns the path under which a process reads an inherited descriptor.
pub(super) fn path(descriptor: i32) -> String {
    // `/dev/fd` exists on every Unix, but not in every container.
    let folder = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    format!("{folder}/{descriptor}")
}

/// Reads the document that the parent process wrote.
///
/// # Errors
/// If the file cannot be read, or a program of another version wrote it.
pub(super) fn read(path: &Path) -> anyhow::Result<RunDocument> {
    let read = || {
        let mut file = File::open(path)?;
        // Except on Linux, opening a descriptor by its path shares the file position of the writer.
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
    // Linux before 6.3 refuses the flag. Later systems may refuse a file without the flag.
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
