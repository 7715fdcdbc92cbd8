//! The time limits of a download, and the possible results of a download.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Timeouts and delays of requests to a mirror.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Maximum time to look up a mirror's name, and to connect to the mirror. Default: 10 s.
    pub connect_timeout: Duration,
    /// Maximum time without a byte from the mirror. Default: 30 s.
    pub idle_timeout: Duration,
    /// Pause before a failed request is repeated. Default: 1 s.
    pub retry_delay: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            retry_delay: Duration::from_secs(1),
        }
    }
}

/// The origin of a file that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The file was already at this path, and has the published content.
    Present(PathBuf),
    /// The file was downloaded from this mirror.
    From(String),
}

/// The reason why a file could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// A file of this name exists, but its content differs from the content of the published file.
    #[error(
        "{} exists, but is not the published file: nothing was changed; remove it, or give \
         another folder with --data-dir", .0.display()
    )]
    Occupied(PathBuf),
    /// Another process downloads the same file into the same folder.
    #[error(
        "another process is writing {}: wait until it has finished, or end it", .0.display()
    )]
    InUse(PathBuf),
    /// An operation on a local file failed.
    #[error("cannot {what} {}: {source}", path.display())]
    Disk {
        /// The failed operation, as a verb for the error message: "cannot read …".
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Every mirror failed.
    #[error("{name} could not be fetched: {}; {}", list(failures), remedy(*is_offline))]
    NoMirror {
        /// Name of the file.
        name: String,
        /// The URL of each mirror, and the reason why this mirror failed.
        failures: Vec<(String, String)>,
        /// Whether no mirror could be reached at all.
        is_offline: bool,
    },
}

impl FetchError {
    /// Returns a function that turns an error of the operating system into a [`FetchError`]. `what`
    /// is the failed operation, and `path` is the file or folder.
    pub fn disk<'p>(
        what: &'static str,
        path: &'p Path,
    ) -> impl FnOnce(io::Error) -> Self + use<'p> {
        move |source| Self::Disk { what, path: path.to_owned(), source }
    }
}

fn list(failures: &[(String, String)]) -> String {
    let lines: Vec<_> = failures.iter().map(|(mirror, why)| format!("{mirror} {why}")).collect();
    lines.join("; ")
}

const fn remedy(is_offline: bool) -> &'static str {
    if is_offline {
        "this machine seems to be offline: fetch the files on another machine and copy the folder, \
         give --mirror URL of a server that can be reached, or set HTTPS_PROXY; the built-in digits \
         need no network"
    } else {
        "run the same command later to resume the download, or give --mirror URL of another server"
    }
}

/// Returns the final path of a published file: `NAME.gz` in the folder.
pub(super) fn gzip_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.gz"))
}
