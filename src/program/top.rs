//! `unisono top`: shows the state of a running cluster, or the state of a run according to the
//! files in its folder.
//!
//! The module `sources` requests the metrics of tasks (with `fetch`), reads files (with `logdir`),
//! and builds the `model`. The modules `render` and `plain` display the model. The modules `axis`,
//! `curve`, `smoothed`, `wait` and `wait_graph` only compute.

mod axis;
mod curve;
mod fetch;
mod logdir;
mod model;
mod plain;
mod render;
mod smoothed;
mod sources;
mod target;
mod wait;
mod wait_graph;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use self::sources::Sources;
use unisono_core::host::Clock as _;
use unisono_task::process::Process;
use unisono_terminal::output::Screen;

pub use self::target::Target;

/// The time between two polls of the targets. A poll requests the metrics of all tasks, and reads
/// the new parts of all files.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The time between the two polls before a single table is printed. A rate can only be computed
/// from two polls.
const TWICE: Duration = Duration::from_millis(500);

/// The configuration of `unisono top`.
#[derive(Clone, Debug, PartialEq)]
pub struct TopConfig {
    /// The targets; at least one.
    pub targets: Vec<Target>,
    /// Whether to print one table and exit.
    pub once: bool,
}

/// Shows the tasks until the user quits.
///
/// # Errors
/// Returns an error if there is nothing to show at any target, or the terminal cannot be used.
pub fn run_top(config: &TopConfig, process: &Process) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let mut sources = Sources::new(&config.targets);
    runtime.block_on(sources.look());
    if let Some(why) = sources.model.nothing_there() {
        bail!("{why}");
    }
    if config.once || !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        runtime.block_on(async {
            let clock = sources.clock;
            clock.sleep_until(clock.now() + TWICE).await;
            sources.look().await;
        });
        process.screen.out(plain::table(&sources.model).trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let mut terminal = ratatui::try_init().context("cannot use the terminal; try --once")?;
    let shown = show(&mut terminal, &runtime, &mut sources);
    ratatui::restore();
    shown.context("the terminal failed")?;
    Ok(ExitCode::SUCCESS)
}

fn show(
    terminal: &mut ratatui::DefaultTerminal,
    runtime: &tokio::runtime::Runtime,
    sources: &mut Sources,
) -> std::io::Result<()> {
    let has_colours = Screen::has_colours(&std::io::stdout());
    let clock = sources.clock;
    let mut next = clock.now() + LOOK_EVERY;
    loop {
        terminal.draw(|frame| render::draw(frame, &sources.model, has_colours))?;
        let now = clock.now();
        if next <= now {
            runtime.block_on(sources.look());
            next = now + LOOK_EVERY;
        } else if event::poll(next - now)? && is_quit_event(&event::read()?) {
            return Ok(());
        }
    }
}

fn is_quit_event(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let is_ctrl_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    let is_quit = matches!(key.code, KeyCode::Char('q' | 'Q') | KeyCode::Esc);
    key.kind == KeyEventKind::Press && (is_quit || is_ctrl_c)
}
