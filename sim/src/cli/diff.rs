//! `diff`: where two runs part.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::sources::{self, usage};
use super::stage::{SCHEMA, Stage};
use crate::cli::common::CommonArgs;
use crate::cli::sources::is_scenario;
use crate::many::case::Case;
use crate::record::trace::Trace;
use crate::run::played::{PlayOptions, Played};
use crate::show::capsule::Capsule;
use crate::show::diff::{Divergence, first_divergence};
use crate::show::report::ChainLink;

#[derive(Args, Debug)]
pub(super) struct DiffArgs {
    /// Capsule, or scenario file
    #[arg(value_name = "A")]
    a: PathBuf,
    /// The other one [default: the same]
    #[arg(value_name = "B")]
    b: Option<PathBuf>,
    /// The seed of scenario files; twice, if they differ
    #[arg(long, value_name = "S")]
    seed: Vec<u64>,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// Plays both, and shows the first event that differs.
pub(super) fn diff(args: &DiffArgs, stage: &Stage) -> anyhow::Result<u8> {
    let seeds = match *args.seed {
        [] => [0, 0],
        [both] => [both, both],
        [a, b] => [a, b],
        _ => return Err(usage("two runs have two seeds; leave the others out")),
    };
    let other = args.b.as_ref().unwrap_or(&args.a);
    if args.b.is_none() && seeds[0] == seeds[1] {
        return Err(usage("that is one run; name another file, or two different seeds"));
    }
    let a = played(&args.a, seeds[0], stage)?.trace;
    let b = played(other, seeds[1], stage)?.trace;
    let divergence = first_divergence(&a, &b);
    match &divergence {
        None => stage.say(&format!("both runs are the same, all {} events", a.events.len())),
        Some(divergence) => stage.say(&text(divergence)),
    }
    let exit_code = u8::from(divergence.is_some());
    stage.print_json(&Document { schema: SCHEMA, command: "diff", divergence, exit_code })?;
    Ok(exit_code)
}

#[derive(Serialize)]
struct Document {
    schema: u32,
    command: &'static str,
    divergence: Option<Divergence>,
    exit_code: u8,
}

/// A run with its trace.
pub(super) struct Traced {
    pub(super) case: Case,
    pub(super) played: Played,
    pub(super) trace: Trace,
}

/// The run of a capsule, or of a scenario and a seed.
pub(super) fn played(path: &Path, seed: u64, stage: &Stage) -> anyhow::Result<Traced> {
    let (case, options) = if is_scenario(path) {
        (sources::load(path)?.case(seed), stage.options)
    } else {
        let capsule = Capsule::load(path)?;
        let options = stage.options_for(&capsule)?;
        (capsule.open(path)?.case, options)
    };
    let mut played = case.play(&stage.caches, PlayOptions { trace: true, ..options });
    if let Some(failure) = &played.failure {
        stage.screen.err(&format!("{}: {failure}", path.display()));
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
    format!("the first {event} events are the same, and then\n{before}{a}{b}").trim_end().to_owned()
}
