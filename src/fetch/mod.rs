//! Published files, from whichever mirror has them, into a folder: resumed where a download broke
//! off, held against their digests, and in their place only whole.
//!
//! It prints nothing: who watches is told. What is published is the business of [`unisono_learn::data`].

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

use self::client::{Answer, Client, Refusal};
use self::part::Part;
use crate::fetch::error::{FetchError, Fetched, Patience, gzip_path};
use unisono_learn::data::PublishedFile;

/// Tries in a row of one mirror that bring not a byte.
const MAX_IDLE_TRIES: u32 = 3;
/// Tries of one mirror for one file: of a line that drops every half megabyte, enough for MNIST.
const MAX_TRIES: u32 = 50;

/// Where files are fetched from, and where to.
#[derive(Debug)]
pub struct Fetcher<'a> {
    /// The folder of the files; it is there.
    pub folder: &'a Path,
    /// What the names of the files are put behind, the first one first.
    pub mirrors: Vec<String>,
    /// How long to wait for them.
    pub patience: Patience,
}

/// Whoever wants to know how far a file is.
pub trait Watcher {
    /// So many of its bytes are here. A number below the last one: it was begun again.
    fn bytes(&mut self, have: u64);

    /// A mirror was of no use, or is asked again: a sentence for a person.
    fn note(&mut self, what: &str);
}

impl Fetcher<'_> {
    /// Brings one file, gzip, to its place in the folder, unless it is there, gzip or plain.
    ///
    /// # Errors
    /// If no mirror has it, or the disk refuses. What has come is kept, for the next try.
    pub fn fetch(
        &self,
        file: &PublishedFile,
        watcher: &mut dyn Watcher,
    ) -> Result<Fetched, FetchError> {
        if let Some(path) = self.present(file)? {
            return Ok(Fetched::Present(path));
        }
        let client = Client::new(self.patience);
        let mut part = Part::open(self.folder, file.name)?;
        let mut failures = Vec::new();
        let mut is_offline = true;
        for mirror in &self.mirrors {
            let mut download = Download { client: &client, file, part: &mut part, watcher };
            match download.ask(&url(mirror, file.name), self.patience)? {
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

    /// The file, if it is there; an error if something else is in one of its places.
    fn present(&self, file: &PublishedFile) -> Result<Option<PathBuf>, FetchError> {
        // A reader takes the plain file first, so a wrong one would be taken for the right one.
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

/// Why one mirror was given up.
#[derive(Debug)]
struct MirrorFailure {
    why: String,
    /// It could not even be called.
    is_unreachable: bool,
}

impl MirrorFailure {
    const fn answered(why: String) -> Self {
        Self { why, is_unreachable: false }
    }
}

/// What became of one request.
#[derive(Debug)]
enum Tried {
    /// The mirror says that this is all.
    All,
    /// It ended too early; what came is kept.
    Broke(Refusal),
    /// It is of no use.
    Useless(String),
}

/// One file on its way.
struct Download<'a> {
    client: &'a Client,
    file: &'a PublishedFile,
    part: &'a mut Part,
    watcher: &'a mut dyn Watcher,
}

impl Download<'_> {
    /// Has all of the file from one mirror, or the rest of it.
    fn ask(
        &mut self,
        url: &str,
        patience: Patience,
    ) -> Result<Result<(), MirrorFailure>, FetchError> {
        // Another mirror, or an earlier run, may have left something else than this one has.
        let mut is_all_of_it = self.part.len() == 0;
        let mut idle_tries = 0;
        for n_tries in 1..=MAX_TRIES {
            let had = self.part.len();
            match self.try_once(url)? {
                Tried::All if self.part.is_whole(self.file)? => return Ok(Ok(())),
                Tried::All => {
                    self.part.clear()?;
                    if is_all_of_it {
                        let why = "sent other bytes than the published ones".to_owned();
                        return Ok(Err(MirrorFailure::answered(why)));
                    }
                    is_all_of_it = true;
                    self.watcher.note("what came earlier was not of this file: it is begun again");
                    continue;
                }
                Tried::Useless(why) => {
                    self.part.clear()?;
                    return Ok(Err(MirrorFailure::answered(why)));
                }
                Tried::Broke(refusal) => {
                    idle_tries = if self.part.len() > had { 0 } else { idle_tries + 1 };
                    if !refusal.may_pass || idle_tries == MAX_IDLE_TRIES || n_tries == MAX_TRIES {
                        let Refusal { why, is_unreachable, .. } = refusal;
                        return Ok(Err(MirrorFailure { why, is_unreachable }));
                    }
                    self.watcher.note(&format!("{url} {}: it is asked again", refusal.why));
                    pause(patience.pause);
                }
            }
        }
        let why = "began again and again".to_owned();
        Ok(Err(MirrorFailure::answered(why)))
    }

    /// Asks for what is missing, and keeps what comes.
    fn try_once(&mut self, url: &str) -> Result<Tried, FetchError> {
        let mut answer = match self.client.get(url, self.part.len()) {
            Ok(Answer::NothingMore) => return Ok(Tried::All),
            Ok(Answer::Bytes(answer)) => answer,
            Err(refusal) => return Ok(Tried::Broke(refusal)),
        };
        if answer.from == 0 {
            self.part.clear()?;
        }
        let longest = longest(self.file);
        if let Some(len) = answer.len.filter(|len| *len > longest) {
            return Ok(Tried::Useless(format!(
                "announces {len} bytes, far more than the file has"
            )));
        }
        let mut buffer = vec![0; 1 << 16];
        loop {
            self.watcher.bytes(self.part.len());
            let n = match answer.body.read(&mut buffer) {
                Ok(0) => return Ok(Tried::All),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Ok(Tried::Broke(Refusal::of_body(&error))),
            };
            if self.part.len() + n as u64 > longest {
                return Ok(Tried::Useless("sends far more bytes than the file has".to_owned()));
            }
            self.part.append(&buffer[..n])?;
        }
    }
}

/// No gzip file of the content is longer: what cannot be compressed grows by 5 bytes in 16 KiB,
/// and there are a header and a trailer.
fn longest(file: &PublishedFile) -> u64 {
    file.gzip.len.max(file.content.len + file.content.len / 1024 + (1 << 16))
}

#[expect(clippy::disallowed_methods, reason = "a server that fails wants real time")]
fn pause(how_long: Duration) {
    std::thread::sleep(how_long);
}
