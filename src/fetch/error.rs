//! How long a download waits, and what ends it.

use std::io::{self};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a mirror may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// To be found and to take the call.
    pub connect: Duration,
    /// To send anything at all.
    pub silence: Duration,
    /// Before it is asked again.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            pause: Duration::from_secs(1),
        }
    }
}

/// How a file came to be in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// It was there, and is right.
    Present(PathBuf),
    /// It came from here.
    From(String),
}

/// Why a file is not in its place.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Something else has its name.
    #[error(
        "{} is there, but it is not the published file: nothing was changed; remove it, or give \
         another folder with --data-dir", .0.display()
    )]
    Occupied(PathBuf),
    /// Another process writes there.
    #[error(
        "{} is being written by another process: wait until it is done, or end it", .0.display()
    )]
    InUse(PathBuf),
    /// The disk refused.
    #[error("cannot {what} {}: {source}", path.display())]
    Disk {
        /// What was tried.
        what: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No mirror had it.
    #[error("{name} could not be fetched: {}; {}", told(failures), remedy(*is_offline))]
    NoMirror {
        /// The file.
        name: String,
        /// The mirrors, and what became of each.
        failures: Vec<(String, String)>,
        /// Not one of them could even be called.
        is_offline: bool,
    },
}

impl FetchError {
    pub fn disk<'p>(
        what: &'static str,
        path: &'p Path,
    ) -> impl FnOnce(io::Error) -> Self + use<'p> {
        move |source| Self::Disk { what, path: path.to_owned(), source }
    }
}

fn told(failures: &[(String, String)]) -> String {
    let told: Vec<_> = failures.iter().map(|(mirror, why)| format!("{mirror} {why}")).collect();
    told.join("; ")
}

const fn remedy(is_offline: bool) -> &'static str {
    if is_offline {
        "this machine seems to have no way to them: fetch the files on another machine and copy \
         the folder, give --mirror URL of a server that can be reached, or set HTTPS_PROXY; the \
         built-in digits need no network"
    } else {
        "try again later, which goes on from what has come, or give --mirror URL of another server"
    }
}

pub(super) fn gzip_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.gz"))
}
