//! `unisono certs`: a CA, and a certificate and a key for each task, for trying mutual TLS out.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};

use super::Process;
use super::output::make_folder;
use crate::certs::{Authority, Pair, Validity};
use crate::config::ClusterSize;
use crate::ids::TaskId;

/// Clocks of two machines differ by less, so that a new certificate is valid on all.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);

/// Of a private key: its owner alone reads it.
const KEY_MODE: u32 = 0o600;
const CERT_MODE: u32 = 0o644;

/// What certificates to make, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertsConfig {
    /// The folder.
    pub folder: PathBuf,
    /// The tasks.
    pub size: ClusterSize,
    /// How long they are valid.
    pub days: u32,
}

/// Makes the files; touches none that is there.
///
/// # Errors
/// If one of the files is there already, or cannot be written.
pub fn run_certs(config: &CertsConfig, process: &Process) -> anyhow::Result<ExitCode> {
    let files = make(config)?;
    let folder = &config.folder;
    if let Some(file) = files.iter().find(|file| file.path.symlink_metadata().is_ok()) {
        bail!(
            "{} is there already, and nothing was written: give another folder, or remove what is \
             in this one",
            file.path.display()
        );
    }
    make_folder(folder)?;
    for file in &files {
        file.write().with_context(|| format!("cannot write {}", file.path.display()))?;
    }
    let shown = folder.display();
    process.screen.out(&format!(
        "{shown} has a CA and a certificate for each of {} ps and {} workers, valid for {} days.",
        config.size.n_ps, config.size.n_workers, config.days
    ));
    process.screen.out(&format!(
        "Give ps 0: --tls-cert {0} --tls-key {1} --tls-ca {2}; the others theirs; `unisono local`: \
         {3} and {4}.",
        folder.join("ps-0.pem").display(),
        folder.join("ps-0-key.pem").display(),
        folder.join("ca.pem").display(),
        folder.join("local.pem").display(),
        folder.join("local-key.pem").display(),
    ));
    Ok(ExitCode::SUCCESS)
}

/// A file to be made.
struct File {
    path: PathBuf,
    mode: u32,
    text: String,
}

impl File {
    fn write(&self) -> std::io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(self.mode).open(&self.path)?;
        file.write_all(self.text.as_bytes())?;
        file.sync_all()
    }
}

fn make(config: &CertsConfig) -> anyhow::Result<Vec<File>> {
    let validity = validity(config.days);
    let authority = Authority::new(validity)?;
    let ps = (0..config.size.n_ps).map(TaskId::ps);
    let tasks: Vec<_> = ps.chain((0..config.size.n_workers).map(TaskId::worker)).collect();
    let mut files = Vec::from(files(&config.folder, "ca", authority.pair()));
    for task in &tasks {
        let name = format!("{}-{}", task.job, task.index);
        files.extend(self::files(&config.folder, &name, authority.issue(&[*task], validity)?));
    }
    // All tasks of `unisono local` have the same flags.
    files.extend(self::files(&config.folder, "local", authority.issue(&tasks, validity)?));
    Ok(files)
}

fn files(folder: &Path, name: &str, pair: Pair) -> [File; 2] {
    [
        File { path: folder.join(format!("{name}.pem")), mode: CERT_MODE, text: pair.cert },
        File { path: folder.join(format!("{name}-key.pem")), mode: KEY_MODE, text: pair.key },
    ]
}

#[expect(clippy::disallowed_methods, reason = "a certificate is valid by the clock on the wall")]
fn validity(days: u32) -> Validity {
    let now = SystemTime::now();
    let from = now - CLOCK_SKEW;
    Validity { from, until: now + Duration::from_secs(u64::from(days) * 24 * 3600) }
}
