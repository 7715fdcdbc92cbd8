//! `report`: writes one HTML page that shows a run.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use unisono_observe::report::{Document, Fact, Failure, of_history, page, settings};
use unisono_observe::trace::History;
use unisono_observe::trace::marks::{Mark, Steps};
use unisono_terminal::output::write_file;

use super::context::CommandContext;
use super::diff::{Traced, played};
use crate::cli::common::CommonArgs;
use crate::durations::short;
use crate::show::capsule;
use crate::show::report::last_of_chain;

#[derive(Args, Debug)]
pub(super) struct ReportArgs {
    /// Capsule or scenario file
    #[arg(value_name = "CAPSULE|PATH")]
    path: PathBuf,
    /// Seed for a scenario file
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// File to write [default: beside the source, with its name, the seed and .html]
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

/// Plays the run and writes the page.
pub(super) fn report(args: &ReportArgs, context: &CommandContext) -> anyhow::Result<u8> {
    let traced = played(&args.path, args.seed, context)?;
    let document = document(&args.path.display().to_string(), &traced);
    let path = &args.output();
    write_file(path, page(&document))?;
    context.print_text(&format!("The report is in {}", path.display()));
    context.conclude("report", json!({ "report": path.display().to_string() }), 0)
}

/// Returns the content of the page. The content depends only on the run, so the page has the same
/// bytes on every machine.
fn document(path: &str, traced: &Traced) -> Document {
    let Traced { case, played, trace } = traced;
    let history = History::of(trace.to_run(&case.scenario.run));
    let name = format!("{path}, seed {}", case.seed);
    let mut document = of_history(Document::named(name, true), &history);
    let fact = |name: &str, value: String| Fact { name: name.to_owned(), value };
    // `took` is the time at which the last task ended. In a run that hangs, the last event comes
    // much later.
    document.facts.push(fact("virtual time", short(played.took.max(history.length))));
    document.facts.push(fact("audit", played.audit.to_string()));
    document.settings = settings::rows(&case.scenario.run.settings());
    document.settings.push(fact("seed of the simulator", case.seed.to_string()));
    let steps = Steps::of(&history);
    document
        .with_losses(&played.losses)
        .with_marks(&faults(traced, &steps))
        .with_failures(&failures(traced), &steps)
}

/// Returns all unmet expectations. If the run failed in another way, that failure comes first.
fn failures(traced: &Traced) -> Vec<Failure> {
    let Traced { played, trace, .. } = traced;
    let Some(first) = &played.failure else { return Vec::new() };
    let unmet = played.unmet.iter().cloned().map(crate::run::failure::Failure::Unmet);
    let mut all: Vec<crate::run::failure::Failure> = unmet.collect();
    if !all.contains(first) {
        all.insert(0, first.clone());
    }
    let explained = |failure: &crate::run::failure::Failure| {
        let event = last_of_chain(trace, failure).and_then(|number| trace.events.get(number));
        let (at, task) = (event.map(|event| event.at), event.map(|event| event.life.task));
        Failure { text: failure.to_string(), at, task }
    };
    all.iter().map(explained).collect()
}

/// Returns a timeline mark for each fault that began.
fn faults(traced: &Traced, steps: &Steps) -> Vec<Mark> {
    let mark = |effects: &crate::FaultEffects| {
        let at = effects.began?;
        let kind = effects.kind.name();
        let n_effects = match effects.n_effects {
            0 => "had no effect".to_owned(),
            1 => "had one effect".to_owned(),
            n => format!("had {n} effects"),
        };
        Some(Mark {
            at,
            until: effects.ended.filter(|ended| *ended > at),
            step: steps.at(at),
            task: None,
            kind: format!("injected {kind}"),
            text: format!("the fault {} ({kind}) began and {n_effects}", effects.id),
        })
    };
    traced.played.faults.iter().filter_map(mark).collect()
}
