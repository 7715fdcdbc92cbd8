//! `shrink`: turns a failure capsule into a small scenario file that fails with the same signature.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::bail;
use clap::Args;
use serde::Serialize;
use unisono_terminal::output::write_file;

use super::context::CommandContext;
use super::progress::Progress;
use crate::cli::common::CommonArgs;
use crate::durations::short;
use crate::many::case::{Case, Source};
use crate::many::shrink::{Shrinker, Shrunk};
use crate::scenario::Scenario;
use crate::show::capsule;
use crate::show::capsule::Capsule;
use crate::show::report::Report;
use unisono_observe::counted::counted;

#[derive(Args, Debug)]
pub(super) struct ShrinkArgs {
    /// Capsule
    #[arg(value_name = "CAPSULE")]
    path: PathBuf,
    /// Scenario file to write [default: beside the capsule, with its name and -small.toml]
    #[arg(short, long, value_name = "FILE.toml")]
    output: Option<PathBuf>,
    /// Folder for the capsule of the small scenario [default: the folder of the small scenario]
    #[arg(long, value_name = "DIR")]
    capsules: Option<PathBuf>,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

impl ShrinkArgs {
    fn output(&self) -> PathBuf {
        self.output.clone().unwrap_or_else(|| {
            let name = self.path.file_name().unwrap_or_default().to_string_lossy();
            let stem = capsule::stem(&self.path).unwrap_or_else(|| name.into_owned());
            self.path.with_file_name(format!("{}.toml", small_name(&stem)))
        })
    }

    /// Returns the path for the failure capsule of the small scenario. The path differs from that
    /// of the input capsule, unless the input capsule is itself the result of a shrink.
    fn small_capsule(&self, output: &Path) -> PathBuf {
        let stem = output.file_stem().unwrap_or_default().to_string_lossy();
        let name = format!("{}{}", small_name(&stem), capsule::EXTENSION);
        match &self.capsules {
            Some(folder) => folder.join(name),
            None => output.with_file_name(name),
        }
    }
}

/// Returns the file name of the small scenario without extension: `stem` with `-small` at its end.
/// A `stem` that already ends with `small` stays unchanged.
fn small_name(stem: &str) -> String {
    const SMALL: &str = "small";
    if stem.ends_with(SMALL) { stem.to_owned() } else { format!("{stem}-{SMALL}") }
}

/// Shrinks the run, and writes the small scenario and its failure capsule.
pub(super) fn shrink(args: &ShrinkArgs, context: &CommandContext) -> anyhow::Result<u8> {
    let capsule = Capsule::load(&args.path)?;
    let options = context.options_for(&capsule)?;
    let opened = capsule.open(&args.path)?;
    let signature = capsule.failure.signature.clone();
    let first = opened.case.brief(&context.caches, options);
    match first.failure.map(|failure| failure.signature()) {
        None => bail!("the run passes, but its capsule has the failure {signature}"),
        Some(other) if other != signature => {
            bail!("the run fails with {other}, but its capsule has the failure {signature}")
        }
        Some(_) => {}
    }
    let progress = Progress::new(&context.screen, None);
    let (caches, jobs) = (&context.caches, context.jobs);
    let shrinker = Shrinker { caches, options, jobs, signature };
    let Shrunk { case, n_tried } =
        shrinker.shrink(&opened.case, |smaller| progress.note(&size(&smaller.case.scenario)));
    progress.finish();
    let elapsed = progress.elapsed();

    let (before, after) = (size(&opened.case.scenario), size(&case.scenario));
    let output = args.output();
    write(&output, &capsule, &case)?;
    let small = args.small_capsule(&output);
    let case = with_places(case, &output)?;
    let run = case.brief(&context.caches, options);
    let source = Source { path: output, scenario: Arc::clone(&case.scenario) };
    let report = context.keep(&source, &case, &run, options, |_| small)?;
    let output = source.path;
    context.print_text(&report.to_string());
    context.print_text(&format!(
        "{before}\n→ {after}, in {}: {}",
        short(elapsed),
        output.display()
    ));
    let document = Document {
        before: Size::of_scenario(&opened.case.scenario),
        after: Size::of_scenario(&case.scenario),
        tried: n_tried,
        elapsed_secs: elapsed.as_secs_f64(),
        output: output.display().to_string(),
        failure: report,
    };
    context.conclude("shrink", document, 0)
}

#[derive(Serialize)]
struct Document {
    before: Size,
    after: Size,
    tried: u64,
    elapsed_secs: f64,
    output: String,
    failure: Report,
}

#[derive(Serialize)]
struct Size {
    faults: usize,
    steps: u64,
    ps: u32,
    workers: u32,
}

impl Size {
    fn of_scenario(scenario: &Scenario) -> Self {
        Self {
            faults: scenario.faults.len(),
            steps: scenario.run.train.training_steps,
            ps: scenario.run.n_ps,
            workers: scenario.run.sync.total_num_replicas,
        }
    }
}

fn size(scenario: &Scenario) -> String {
    let Size { faults, steps, ps, workers } = Size::of_scenario(scenario);
    let (faults, steps) = (counted(faults as u64, "fault"), counted(steps, "step"));
    format!("{faults}, {steps}, {ps} ps, {}", counted(workers.into(), "worker"))
}

fn write(output: &Path, capsule: &Capsule, case: &Case) -> anyhow::Result<()> {
    let Capsule { path, seed, failure, .. } = capsule;
    let mut text =
        format!("# Shrunk from seed {seed} of {path}. It fails with {}.\n", failure.signature);
    if let Some(bug) = &capsule.bug {
        text.push_str(&format!("# It fails only with the planted bug {bug}.\n"));
    }
    if case.seed != 0 {
        text.push_str(&format!("# Play it with `--seed {}`; other seeds may pass.\n", case.seed));
    }
    text.push('\n');
    text.push_str(&case.scenario.to_toml());
    write_file(output, text)
}

/// Returns the case with new places of its expectations: their lines in the new file `output`.
fn with_places(case: Case, output: &Path) -> anyhow::Result<Case> {
    let mut scenario = (*case.scenario).clone();
    scenario.places = Scenario::load(output)?.places;
    Ok(Case { scenario: Arc::new(scenario), ..case })
}
