//! Downloads published files from mirrors into a folder.
//!
//! The next call resumes an interrupted download. A file is moved to its final path only after the
//! file is complete and its digest has been verified.
//!
//! This module prints nothing. It reports progress to a [`Watcher`]. The published data sets are
//! listed in [`unisono_learn::data`].

mod client;
pub mod error;
mod part;
#[cfg(test)]
mod tests;
mod verify;

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::Agent;

use self::client::RequestError;
use self::part::Part;
use crate::fetch::error::{FetchError, Fetched, Timing, gzip_path};
use unisono_learn::data::PublishedFile;

/// Number of consecutive requests without any received byte after which a mirror is given up.
const MAX_IDLE_TRIES: u32 = 3;
/// Maximum number of requests to one mirror for one file. This number suffices to fetch MNIST over
/// a connection that breaks after every half megabyte.
const MAX_TRIES: u32 = 50;

/// Downloads files from one of several mirrors into a folder.
#[derive(Debug)]
pub struct Fetcher<'a> {
    /// The folder of the files. It must exist.
    pub folder: &'a Path,
    /// Base URLs of the mirrors, in the order in which they are tried.
    pub mirrors: Vec<String>,
    /// Timeouts and delays of the requests.
    pub timing: Timing,
}

/// A receiver of progress reports.
pub trait Watcher {
    /// Reports the number of bytes received so far. If the number is smaller than before, the
    /// download has started again.
    fn bytes(&mut self, have: u64);

    /// Reports a failed or repeated request. `what` is a sentence for the user.
    fn note(&mut self, what: &str);
}

impl Fetcher<'_> {
    /// Downloads one file in gzip form to its final path. Does nothing if the file already exists,
    /// in gzip or plain form.
    ///
    /// # Errors
    /// If every mirror fails, if a local file cannot be read or written, if another process
    /// downloads the same file, or if a file with other content has the file's name. Received bytes
    /// are kept for the next call, unless they cannot belong to the published file.
    pub fn fetch(
        &self,
        file: &PublishedFile,
        watcher: &mut dyn Watcher,
    ) -> Result<Fetched, FetchError> {
        if let Some(path) = self.present(file)? {
            return Ok(Fetched::Present(path));
        }
        let client = client::client(self.timing);
        let mut part = Part::open(self.folder, file.name)?;
        let mut failures = Vec::new();
        let mut is_offline = true;
        for mirror in &self.mirrors {
            let mut download = Download { client: &client, file, part: &mut part, watcher };
            match download.fetch_from(&url(mirror, file.name), self.timing)? {
                Ok(()) => {
                    part.place()?;
                    return Ok(Fetched::From(mirror.clone()));
                }
                Err(failure) => {
                    is_offline &= failure.is_unreachable;
                    watcher.note(&format!("{mirror} {}", failure.why));
                    failures.push((mirror.clone(), failure.why));
                }
            }
        }
        part.leave()?;
        Err(FetchError::NoMirror { name: format!("{}.gz", file.name), failures, is_offline })
    }

    /// Returns the path of the published file if the folder contains it, in plain or gzip form.
    /// Fails if a file with other content has one of these two names.
    fn present(&self, file: &PublishedFile) -> Result<Option<PathBuf>, FetchError> {
        // Training prefers the plain file to the gzip file, so a wrong plain file would be used
        // instead of the right gzip file. The plain file is therefore checked, too.
        for path in [self.folder.join(file.name), gzip_path(self.folder, file.name)] {
            match File::open(&path).and_then(|mut there| verify::holds(&mut there, file)) {
                Ok(true) => return Ok(Some(path)),
                Ok(false) => return Err(FetchError::Occupied(path)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(FetchError::disk("read", &path)(error)),
            }
        }
        Ok(None)
    }
}

fn url(mirror: &str, name: &str) -> String {
    let slash = if mirror.ends_with('/') { "" } else { "/" };
    format!("{mirror}{slash}{name}.gz")
}

/// The download of one file.
struct Download<'a> {
    client: &'a Agent,
    file: &'a PublishedFile,
    part: &'a mut Part,
    watcher: &'a mut dyn Watcher,
}

impl Download<'_> {
    /// Downloads the whole file, or the missing rest of the file, from one mirror.
    fn fetch_from(
        &mut self,
        url: &str,
        timing: Timing,
    ) -> Result<Result<(), RequestError>, FetchError> {
        // The partial file may come from another mirror or an earlier run. If its bytes are wrong,
        // this mirror is asked once more, for the whole file.
        let mut is_from_this_mirror = self.part.len() == 0;
        let mut idle_tries = 0;
        for n_tries in 1..=MAX_TRIES {
            let had = self.part.len();
            match self.try_once(url)? {
                Ok(()) if self.part.is_whole(self.file)? => return Ok(Ok(())),
                Ok(()) => {
                    self.part.clear()?;
                    if is_from_this_mirror {
                        let why = "sent a different file than the published one".to_owned();
                        return Ok(Err(RequestError::final_of(why)));
                    }
                    is_from_this_mirror = true;
                    self.watcher.note(
                        "the partial download does not match the published file; starting again",
                    );
                    continue;
                }
                Err(error) => {
                    idle_tries = if self.part.len() > had { 0 } else { idle_tries + 1 };
                    if !error.may_pass || idle_tries == MAX_IDLE_TRIES || n_tries == MAX_TRIES {
                        return Ok(Err(error));
                    }
                    self.watcher.note(&format!("{url} {}; retrying", error.why));
                    pause(timing.retry_delay);
                }
            }
        }
        let why = format!("did not deliver the file in {MAX_TRIES} requests");
        Ok(Err(RequestError::final_of(why)))
    }

    /// Requests the missing bytes once, and appends the received bytes to the partial file. If they
    /// cannot be those of the file, discards them.
    fn try_once(&mut self, url: &str) -> Result<Result<(), RequestError>, FetchError> {
        let mut response = match client::get(self.client, url, self.part.len()) {
            Ok(Some(response)) => response,
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        };
        // A response that starts at byte 0 contains the whole file. Either no byte was received
        // before, or the server does not support ranges.
        if response.from == 0 {
            self.part.clear()?;
        }
        let longest = longest(self.file);
        if let Some(len) = response.len.filter(|len| *len > longest) {
            let why = format!("announces {len} bytes, far more than the file has");
            self.part.clear()?;
            return Ok(Err(RequestError::final_of(why)));
        }
        let mut buffer = vec![0; 1 << 16];
        loop {
            self.watcher.bytes(self.part.len());
            let n = match response.body.read(&mut buffer) {
                Ok(0) => return Ok(Ok(())),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Ok(Err(RequestError::from_body(&error))),
            };
            // The length is checked while bytes arrive, because a response without an announced
            // length could fill the disk.
            if self.part.len() + n as u64 > longest {
                let why = "sends far more bytes than the file has".to_owned();
                self.part.clear()?;
                return Ok(Err(RequestError::final_of(why)));
            }
            self.part.append(&buffer[..n])?;
        }
    }
}

/// Returns an upper bound for the length of any gzip file that has the published content.
///
/// A mirror may have compressed the file differently from the publisher. In the worst case, the
/// content is incompressible, and gzip adds 5 bytes per 16 KiB, a header and a trailer.
fn longest(file: &PublishedFile) -> u64 {
    file.gzip.len.max(file.content.len + file.content.len / 1024 + (1 << 16))
}

#[expect(clippy::disallowed_methods, reason = "a failing server needs real time to recover")]
fn pause(how_long: Duration) {
    std::thread::sleep(how_long);
}
