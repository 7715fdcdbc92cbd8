//! `unisono convert`: converts a checkpoint to numpy's npz format, and back.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use unisono_files::disk::{DiskError, Publication, RealDisk};
use unisono_task::process::Process;
use unisono_tensors::tensor::Format;
use unisono_tensors::{Converted, convert};
use unisono_terminal::output::{cannot_write, make_folder_of};

/// The arguments of `unisono convert`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvertConfig {
    /// The file to read.
    pub from: PathBuf,
    /// The format of `from`. The file `to` gets the other format.
    pub format: Format,
    /// The file to write.
    pub to: PathBuf,
    /// Whether an existing file is overwritten.
    pub overwrites: bool,
}

/// Converts a file.
///
/// # Errors
/// Returns an error if `from` cannot be read or is damaged, or if `to` cannot be written or must
/// not be overwritten.
pub fn run_convert(config: &ConvertConfig, process: &Process) -> anyhow::Result<ExitCode> {
    let ConvertConfig { from, format, to, overwrites } = config;
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    // The target is checked before the conversion, to save a useless conversion, and again before
    // the publication.
    check_free(to, *overwrites)?;
    let converted = convert(*format, &bytes, to);
    let Converted { bytes, step, n_tensors } =
        converted.with_context(|| format!("cannot convert {}", from.display()))?;
    check_free(to, *overwrites)?;
    publish(to, &bytes)?;
    let what = match step {
        Some(step) => format!("the checkpoint of step {step}"),
        None => format!("{n_tensors} tensors"),
    };
    process.screen.out(&format!("{} has {what}.", to.display()));
    Ok(ExitCode::SUCCESS)
}

fn check_free(to: &Path, overwrites: bool) -> anyhow::Result<()> {
    if !overwrites && fs::symlink_metadata(to).is_ok() {
        bail!("{} exists: choose another name, or give --force to overwrite it", to.display());
    }
    Ok(())
}

fn publish(to: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let name = to.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("{} is no file name", to.display()))?;
    let dir = to.parent().unwrap_or_else(|| Path::new(""));
    make_folder_of(to)?;
    let writer = format!("convert-{}", std::process::id());
    // The disk's own error message suggests another --logdir, but this command has no such flag.
    let said = |DiskError { source, .. }| cannot_write(to, &source);
    Publication { dir, name, writer: &writer, bytes }.publish(&RealDisk).map_err(said)?;
    Ok(())
}
