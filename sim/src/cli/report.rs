//! `report`: one page that shows a run.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use unisono::cli::output::write_file;
use unisono::report::{Document, Fact, of_history, page};
use unisono::trace::History;
use unisono::trace::marks::{Mark, Steps};

use super::args::CommonArgs;
use super::diff::{Traced, played};
use super::stage::{SCHEMA, Stage};
use crate::capsule;
use crate::report::short;

#[derive(Args, Debug)]
pub(super) struct ReportArgs {
    /// Capsule, or scenario file
    #[arg(value_name = "CAPSULE|PATH")]
    path: PathBuf,
    /// The seed, with a scenario file
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// File to write [default: beside the source: its name and the seed, with .html]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

impl ReportArgs {
    fn output(&self) -> PathBuf {
        self.output.clone().unwrap_or_else(|| match capsule::stem(&self.path) {
            Some(stem) => self.path.with_file_name(format!("{stem}.html")),
            None => {
                let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
                self.path.with_file_name(format!("{stem}-{}.html", self.seed))
            }
        })
    }
}

/// Plays it, and writes the page.
pub(super) fn report(args: &ReportArgs, stage: &Stage) -> anyhow::Result<u8> {
    let traced = played(&args.path, args.seed, stage)?;
    let document = document(&args.path.display().to_string(), &traced);
    let path = &args.output();
    write_file(path, page(&document))?;
    stage.say(&format!("The report is in {}", path.display()));
    let report = path.display().to_string();
    stage.print_json(&Answer { schema: SCHEMA, command: "report", report, exit_code: 0 })?;
    Ok(0)
}

#[derive(Serialize)]
struct Answer {
    schema: u32,
    command: &'static str,
    /// The file.
    report: String,
    exit_code: u8,
}

fn document(path: &str, traced: &Traced) -> Document {
    let Traced { case, played, trace } = traced;
    let history = History::of(trace.to_run(&case.scenario.run));
    let name = format!("{path}, seed {}", case.seed);
    let mut document = of_history(Document::named(name, true), &history);
    let fact = |name: &str, value: String| Fact { name: name.to_owned(), value };
    document.facts.push(fact("virtual time", short(played.took)));
    document.facts.push(fact("audit", played.audit.to_string()));
    if let Some(failure) = &played.failure {
        document.notes.push(format!("This run fails: {failure}"));
    }
    let marks = faults(traced, &Steps::of(&history));
    document.with_losses(&played.losses).with_marks(&marks)
}

/// The faults that were injected.
fn faults(traced: &Traced, steps: &Steps) -> Vec<Mark> {
    let faults = traced.case.scenario.faults.iter().zip(&traced.played.faults);
    let mark = |(fault, bites): (&crate::scenario::Fault, &crate::Bites)| {
        let at = bites.began?;
        let kind = fault.kind.family().name();
        let bit = match bites.n_bites {
            0 => "and never bit".to_owned(),
            1 => "which bit once".to_owned(),
            n => format!("which bit {n} times"),
        };
        Some(Mark {
            at,
            until: bites.ended.filter(|ended| *ended > at),
            step: steps.at(at),
            task: None,
            kind: format!("injected {kind}"),
            text: format!("the fault {} ({kind}) begins, {bit}", bites.id),
        })
    };
    faults.filter_map(mark).collect()
}
