//! `unisono certs`: creates a CA, and a certificate and a key for each task, to try mutual TLS.
//!
//! If the folder already has a CA, the command creates only the missing files, so that tasks can be
//! added to a cluster.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};

use unisono_certs::{Authority, Pair, Validity};
use unisono_core::ids::TaskId;
use unisono_core::train_config::ClusterSize;
use unisono_task::process::Process;
use unisono_terminal::output::make_folder;

/// The validity of a certificate starts this long before its creation, so that a machine with a
/// slow clock accepts the certificate.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);

/// The mode of a private key: only its owner can read it.
const KEY_MODE: u32 = 0o600;
const CERT_MODE: u32 = 0o644;

/// The arguments of `unisono certs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertsConfig {
    /// The folder for the files.
    pub folder: PathBuf,
    /// The tasks that need certificates.
    pub size: ClusterSize,
    /// The number of days for which the certificates are valid.
    pub days: u32,
}

/// Makes the missing files, and changes no existing one.
///
/// # Errors
/// Returns an error if no file is missing, if the CA of an existing folder cannot be used, or if a
/// file cannot be written.
pub fn run_certs(config: &CertsConfig, process: &Process) -> anyhow::Result<ExitCode> {
    let Made { files, is_new_ca, left_alone } = make(config)?;
    let folder = &config.folder;
    if files.is_empty() {
        bail!(
            "{} already exists, so nothing was written: ask for more tasks, give another folder, or \
             empty this one",
            folder.join("ca.pem").display()
        );
    }
    make_folder(folder)?;
    for file in &files {
        file.write().with_context(|| format!("cannot write {}", file.path.display()))?;
    }
    let shown = folder.display();
    let ClusterSize { n_ps, n_workers } = config.size;
    let days = config.days;
    if is_new_ca {
        process.screen.out(&format!(
            "{shown} has a CA and a certificate for each of {n_ps} ps and {n_workers} workers, \
             valid for {days} days."
        ));
    } else {
        let names: Vec<_> = files.iter().filter_map(File::new_task).collect();
        process.screen.out(&format!(
            "The CA in {shown} has signed a certificate for each of {}, valid for {days} days.",
            names.join(", ")
        ));
    }
    process.screen.out(&format!(
        "Start ps 0 with --tls-cert {0} --tls-key {1} --tls-ca {2}, and each other task with its own \
         files; start `unisono local` with {3} and {4}.",
        folder.join("ps-0.pem").display(),
        folder.join("ps-0-key.pem").display(),
        folder.join("ca.pem").display(),
        folder.join("local.pem").display(),
        folder.join("local-key.pem").display(),
    ));
    if left_alone {
        process.screen.out(&format!(
            "{} lacks the new tasks: to include them, remove this file and its key, and run this \
             command again.",
            folder.join("local.pem").display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// A file to make.
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

    /// Returns the name of the task, such as `ps-1`, for a certificate; `None` for a key.
    fn new_task(&self) -> Option<String> {
        let name = self.path.file_stem()?.to_string_lossy();
        (!name.ends_with("-key")).then(|| name.into_owned())
    }
}

/// The missing files of a folder.
struct Made {
    files: Vec<File>,
    /// Whether the files include a new CA.
    is_new_ca: bool,
    /// Whether the certificate of `unisono local` exists and lacks the new tasks.
    left_alone: bool,
}

fn make(config: &CertsConfig) -> anyhow::Result<Made> {
    let validity = validity(config.days);
    let folder = &config.folder;
    let ps = (0..config.size.n_ps).map(TaskId::ps);
    let tasks: Vec<_> = ps.chain((0..config.size.n_workers).map(TaskId::worker)).collect();
    let is_new_ca = !pair_exists(folder, "ca")?;
    let authority = if is_new_ca { Authority::new(validity)? } else { read_ca(folder)? };
    let mut made = Vec::new();
    if is_new_ca {
        made.extend(files(folder, "ca", authority.pair()));
    }
    for task in &tasks {
        let name = format!("{}-{}", task.job, task.index);
        if !pair_exists(folder, &name)? {
            made.extend(files(folder, &name, authority.issue(&[*task], validity)?));
        }
    }
    let has_local = pair_exists(folder, "local")?;
    let left_alone = has_local && !made.is_empty();
    if !has_local {
        // All tasks of `unisono local` have the same configuration, so they share one certificate.
        made.extend(files(folder, "local", authority.issue(&tasks, validity)?));
    }
    if is_new_ca && let Some(other) = made.iter().map(|file| &file.path).find(|path| exists(path)) {
        bail!("{} already exists, so nothing was written", other.display());
    }
    Ok(Made { files: made, is_new_ca, left_alone })
}

/// Returns whether a certificate and its key exist.
///
/// # Errors
/// Returns an error if only the certificate or only the key exists, because a new pair would
/// replace the existing file.
fn pair_exists(folder: &Path, name: &str) -> anyhow::Result<bool> {
    let [cert, key] = paths(folder, name);
    match (exists(&cert), exists(&key)) {
        (cert, key) if cert == key => Ok(cert),
        (is_cert, _) => {
            let (there, missing) = if is_cert { (cert, key) } else { (key, cert) };
            bail!(
                "{} exists, but {} does not, so nothing was written: restore the missing file, or \
                 remove the other one",
                there.display(),
                missing.display()
            )
        }
    }
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn read_ca(folder: &Path) -> anyhow::Result<Authority> {
    let [cert, key] = paths(folder, "ca");
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let pair = Pair { cert: read(&cert)?, key: read(&key)? };
    Authority::from_pair(pair)
        .with_context(|| format!("cannot sign with {} and {}", cert.display(), key.display()))
}

fn paths(folder: &Path, name: &str) -> [PathBuf; 2] {
    [folder.join(format!("{name}.pem")), folder.join(format!("{name}-key.pem"))]
}

fn files(folder: &Path, name: &str, pair: Pair) -> [File; 2] {
    let [cert, key] = paths(folder, name);
    [
        File { path: cert, mode: CERT_MODE, text: pair.cert },
        File { path: key, mode: KEY_MODE, text: pair.key },
    ]
}

#[expect(clippy::disallowed_methods, reason = "a certificate is valid by the clock on the wall")]
fn validity(days: u32) -> Validity {
    let now = SystemTime::now();
    let from = now - CLOCK_SKEW;
    Validity { from, until: now + Duration::from_secs(u64::from(days) * 24 * 3600) }
}
