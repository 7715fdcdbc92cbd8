//! `trace`: writes every event of a run.

use std::path::PathBuf;

use clap::Args;
use unisono_observe::trace::{History, perfetto};
use unisono_terminal::output::write_file;

use super::context::CommandContext;
use super::diff::{Traced, played};
use crate::cli::common::CommonArgs;
use crate::record::trace::Trace;
use crate::show::report::ChainLink;

#[derive(Args, Debug)]
pub(super) struct TraceArgs {
    /// Capsule or scenario file
    #[arg(value_name = "CAPSULE|PATH")]
    path: PathBuf,
    /// Seed for a scenario file
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// File to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write one line per event instead of JSON for ui.perfetto.dev
    #[arg(long, conflicts_with = "json")]
    text: bool,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// Plays the run, and writes its trace.
pub(super) fn trace(args: &TraceArgs, context: &CommandContext) -> anyhow::Result<u8> {
    let Traced { case, trace, .. } = played(&args.path, args.seed, context)?;
    let document = match args.text {
        true => text(&trace),
        false => perfetto::text(&History::of(trace.to_run(&case.scenario.run))),
    };
    match &args.output {
        None => context.screen.out(document.trim_end()),
        Some(path) => write_file(path, document)?,
    }
    Ok(0)
}

fn text(trace: &Trace) -> String {
    let line = |event| {
        let ChainLink { at_ns, node, text, effects } = ChainLink::from_event(event);
        let at = format!("{:?}", std::time::Duration::from_nanos(at_ns));
        let effects: String = effects.iter().map(|effect| format!(" → {effect}")).collect();
        format!("{at:>14}  {node:<19} {text}{effects}\n")
    };
    trace.events.iter().map(line).collect()
}
