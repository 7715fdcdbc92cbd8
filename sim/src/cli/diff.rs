//! `diff`: shows the first event in which two runs differ.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::context::CommandContext;
use super::sources::{self, is_scenario, usage};
use crate::cli::common::CommonArgs;
use crate::many::case::Case;
use crate::record::trace::Trace;
use crate::run::played::{PlayOptions, Played};
use crate::show::capsule::Capsule;
use crate::show::diff::{Divergence, first_divergence};
use crate::show::report::ChainLink;

#[derive(Args, Debug)]
pub(super) struct DiffArgs {
    /// Capsule or scenario file
    #[arg(value_name = "A")]
    a: PathBuf,
    /// Another capsule or scenario file [default: A]
    #[arg(value_name = "B")]
    b: Option<PathBuf>,
    /// Seed for scenario files; may be given twice, once for each run
    #[arg(long, value_name = "S")]
    seed: Vec<u64>,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// Plays both runs, and prints the first event that differs.
pub(super) fn diff(args: &DiffArgs, context: &CommandContext) -> anyhow::Result<u8> {
    let seeds = match *args.seed {
        [] => [0, 0],
        [both] => [both, both],
        [a, b] => [a, b],
        _ => return Err(usage("--seed may be given at most twice, once for each run")),
    };
    let other = args.b.as_ref().unwrap_or(&args.a);
    if args.b.is_none() && seeds[0] == seeds[1] {
        return Err(usage("both runs are the same; name another file, or two different seeds"));
    }
    let a = played(&args.a, seeds[0], context)?.trace;
    let b = played(other, seeds[1], context)?.trace;
    let divergence = first_divergence(&a, &b);
    match &divergence {
        None => {
            context.print_text(&format!("the runs are equal in all {} events", a.events.len()));
        }
        Some(divergence) => context.print_text(&text(divergence)),
    }
    let exit_code = u8::from(divergence.is_some());
    context.conclude("diff", json!({ "divergence": divergence }), exit_code)
}

/// A run that was played with a trace.
pub(super) struct Traced {
    pub(super) case: Case,
    pub(super) played: Played,
    pub(super) trace: Trace,
}

/// Plays a failure capsule, or a scenario with a seed, and records a trace.
pub(super) fn played(path: &Path, seed: u64, context: &CommandContext) -> anyhow::Result<Traced> {
    let (case, options) = if is_scenario(path) {
        (sources::load(path, context.caches.workload())?.case(seed), context.options)
    } else {
        let capsule = Capsule::load(path)?;
        let options = context.options_for(&capsule)?;
        (capsule.open(path)?.case, options)
    };
    let mut played = case.play(&context.caches, PlayOptions { trace: true, ..options });
    if let Some(failure) = &played.failure {
        context.screen.err(&format!("{}: {failure}", path.display()));
    }
    let trace = played.trace.take().unwrap_or_default();
    Ok(Traced { case, played, trace })
}

fn text(divergence: &Divergence) -> String {
    let Divergence { event, before, a, b } = divergence;
    let lines = |links: &[ChainLink], mark: &str| -> String {
        if links.is_empty() {
            return format!("{mark}  (the run has ended)\n");
        }
        links.iter().map(|link| link.lines(mark)).collect()
    };
    let before = if before.is_empty() { String::new() } else { lines(before, " ") };
    let (a, b) = (lines(a, "-"), lines(b, "+"));
    let text = format!("the first {event} events are equal; then the runs differ\n{before}{a}{b}");
    text.trim_end().to_owned()
}
