//! `unisono inspect`: shows the contents of a checkpoint to a person or a script.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use unisono_observe::counted::thousands;
use unisono_task::evaluation::latest_checkpoint;
use unisono_task::process::Process;
use unisono_tensors::inspect::{Kind, TensorReport};
use unisono_tensors::tensor::Format;
use unisono_tensors::{Inspection, inspect};
use unisono_terminal::output::{PercentG, table};

/// The arguments of `unisono inspect`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct InspectConfig {
    /// File of tensors (.safetensors or .npz), or a logdir, whose newest valid checkpoint is shown
    #[arg(value_name = "FILE", default_value = "./mnist_model/")]
    path: PathBuf,
    /// Print one JSON object
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// The first bytes of a zip file.
const ZIP: &[u8] = b"PK";

/// Prints the contents of a file of tensors. If the file is damaged or uses an unsupported feature,
/// the function prints the reason, and returns the exit code 1 instead of an error.
///
/// # Errors
/// Returns an error if the file does not exist or cannot be read.
pub fn run_inspect(config: &InspectConfig, process: &Process) -> anyhow::Result<ExitCode> {
    let path = if config.path.is_dir() { newest(&config.path)? } else { config.path.clone() };
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let by_content = || if bytes.starts_with(ZIP) { Format::Npz } else { Format::Safetensors };
    let format = Format::of(&path).unwrap_or_else(by_content);
    let of = Report { path: path.display().to_string(), seen: inspect(&path, format, &bytes) };
    let text = if config.json { serde_json::to_string_pretty(&of)? } else { of.to_string() };
    process.screen.out(text.trim_end());
    let is_read = of.seen.damage.is_none() && of.seen.unsupported.is_none();
    Ok(if is_read { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns the path of the checkpoint from which training in a logdir would resume.
fn newest(logdir: &Path) -> anyhow::Result<PathBuf> {
    let found = latest_checkpoint(logdir)?.map(|(path, _)| path);
    found.with_context(|| format!("there is no checkpoint in {}", logdir.display()))
}

#[derive(Serialize)]
struct Report {
    path: String,
    #[serde(flatten)]
    seen: Inspection,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, seen } = self;
        match (&seen.damage, &seen.unsupported) {
            (Some(damage), _) => writeln!(f, "{path} is DAMAGED: {damage}")?,
            (None, Some(why)) => writeln!(f, "{path} cannot be read: {why}")?,
            (None, None) => writeln!(f, "{path} is intact: {}", what(seen))?,
        }
        writeln!(f, "\nsize    {} bytes", thousands(seen.bytes as u64))?;
        writeln!(f, "sha256  {}", seen.sha256)?;
        if let Some(digest) = &seen.digest {
            writeln!(f, "crc32c  {digest}")?;
        }
        if let Some(data) = &seen.data {
            writeln!(f, "data    {data}")?;
        }
        if !seen.tensors.is_empty() {
            write!(f, "\n{}", tensors(&seen.tensors))?;
        }
        for (title, pairs) in [("settings", &seen.settings), ("metadata", &seen.metadata)] {
            if !pairs.is_empty() {
                write!(f, "\n{title}\n{}", table(&[false, false], &pairs_of(pairs)))?;
            }
        }
        Ok(())
    }
}

fn what(seen: &Inspection) -> String {
    let step = || seen.step.unwrap_or_default();
    match seen.kind {
        Kind::Checkpoint => format!("the checkpoint of step {}", step()),
        Kind::CheckpointAsNpz => {
            format!(
                "the npz form of a checkpoint of step {}; `unisono convert` turns it into a checkpoint",
                step()
            )
        }
        Kind::Safetensors => "tensors, and no checkpoint".to_owned(),
        Kind::Npz => "arrays, and no checkpoint".to_owned(),
    }
}

fn tensors(tensors: &[TensorReport]) -> String {
    let titles =
        ["tensor", "type", "shape", "elements", "min", "max", "mean", "crc32c"].map(str::to_owned);
    let row = |tensor: &TensorReport| {
        let number = |number: Option<f64>| match number {
            Some(number) => PercentG::new(number).to_string(),
            None => "-".to_owned(),
        };
        let of = tensor.statistics;
        let not_finite = of.map_or(0, |of| of.not_finite);
        let mut crc32c = tensor.crc32c.clone();
        if not_finite > 0 {
            let _infallible = write!(crc32c, "  {} not finite", thousands(not_finite));
        }
        vec![
            tensor.name.escape_debug().to_string(),
            tensor.dtype.clone(),
            shape(&tensor.shape),
            thousands(tensor.elements as u64),
            number(of.map(|of| of.min)),
            number(of.map(|of| of.max)),
            number(of.map(|of| of.mean)),
            crc32c,
        ]
    };
    let rows: Vec<_> = std::iter::once(titles.to_vec()).chain(tensors.iter().map(row)).collect();
    table(&[false, false, true, true, true, true, true, false], &rows)
}

fn shape(shape: &[usize]) -> String {
    if shape.is_empty() {
        return "scalar".to_owned();
    }
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ")
}

fn pairs_of(pairs: &[(String, String)]) -> Vec<Vec<String>> {
    let escaped = |text: &String| text.escape_debug().to_string();
    pairs.iter().map(|(key, value)| vec![escaped(key), escaped(value)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use unisono_core::ids::Step;
    use unisono_files::checkpoint::file::encode;
    use unisono_files::testing::checkpoint_of;

    fn report(bytes: &[u8]) -> Report {
        let path = "model.ckpt-200.safetensors".to_owned();
        let seen = inspect(Path::new(&path), Format::Safetensors, bytes);
        Report { path, seen }
    }

    #[test]
    fn inspection_is_printed_as_readable_text() {
        let mut bytes = encode(&checkpoint_of(Step(200), 3));
        insta::assert_snapshot!("whole", report(&bytes).to_string());
        *bytes.last_mut().unwrap() ^= 0x7f;
        let damaged = report(&bytes).to_string();
        insta::assert_snapshot!(damaged.lines().next().unwrap(), @"model.ckpt-200.safetensors is DAMAGED: its content has digest ee96f182, but c11d99ab was recorded: it is corrupt");
    }
}
