//! Formats the state of a cluster as text, with a table of tasks and a list of faults. The module
//! `render` shows parts of this text on the screen.

use std::fmt::Write as _;
use std::iter;

use super::model::{Model, TaskRow, bytes_per_second};
use unisono_terminal::output::{self, PercentG};

/// Returns the state of the whole run in one line of at most `width` characters. Parts that do not
/// fit are left out, the least important parts first.
pub(super) fn summary_within(model: &Model, width: usize) -> String {
    let mut parts = summary_parts(model);
    while parts.len() > 1 && parts.join(", ").chars().count() > width {
        parts.pop();
    }
    parts.join(", ")
}

/// Returns the parts of the summary, the most important part first.
fn summary_parts(model: &Model) -> Vec<String> {
    let mut parts = Vec::new();
    if let Some(step) = model.step() {
        let of = model.training_steps.map_or_else(String::new, |steps| format!(" of {steps}"));
        parts.push(match model.is_done() {
            true => format!("done at step {step}"),
            false => format!("step {step}{of}"),
        });
    }
    parts.extend(model.rate().map(|rate| format!("{rate:.1} steps/s")));
    parts
        .extend(model.loss().map(|loss| format!("loss {}", PercentG::new(loss).with_precision(4))));
    parts.extend(
        model.accuracy().map(|share| format!("validation accuracy {}", PercentG::new(share))),
    );
    // The final checkpoint of a finished run is not listed, because its step is already in the
    // summary.
    let is_final = |step: &u64| model.is_done() && Some(*step) == model.step();
    let checkpoint = model.checkpoint().filter(|step| !is_final(step));
    parts.extend(checkpoint.map(|step| format!("checkpoint at {step}")));
    parts
}

/// Returns the cells of a task's row in the table, except the last cell, which describes the task's
/// wait.
pub(super) fn cells(task: &TaskRow) -> [String; 6] {
    let dash = || "-".to_owned();
    let bytes = |bytes: Option<f64>| bytes.map_or_else(dash, bytes_per_second);
    [
        task.name.clone(),
        task.state.name().to_owned(),
        task.step.map_or_else(dash, |step| step.to_string()),
        task.rate.map_or_else(dash, |rate| format!("{rate:.1}")),
        bytes(task.bytes.map(|(into, _)| into)),
        bytes(task.bytes.map(|(_, out)| out)),
    ]
}

/// Returns the last cell of a task's row, which describes the task's wait.
pub(super) fn wait(task: &TaskRow) -> String {
    task.wait.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// The headers of all columns except the last column.
pub(super) const HEADERS: [&str; 6] = ["TASK", "STATE", "STEP", "STEPS/S", "IN/S", "OUT/S"];

/// Returns the whole model as text.
pub(super) fn table(model: &Model) -> String {
    let mut text = format!("{}\n", summary_parts(model).join(", "));
    if let Some(bottleneck) = model.bottleneck() {
        text.push_str(&bottleneck);
        text.push('\n');
    }
    text.push('\n');
    let row = |cells: &[String], wait: String| [cells, &[wait]].concat();
    let of_task = |task: &TaskRow| row(&cells(task), wait(task));
    let headers = row(&HEADERS.map(str::to_owned), "WAITS FOR".to_owned());
    let rows: Vec<_> = iter::once(headers).chain(model.tasks.iter().map(of_task)).collect();
    text.push_str(&output::table(&[false, false, true, true, true, true, false], &rows));
    let faults = model.faults();
    if !faults.is_empty() {
        text.push_str("\nFaults:\n");
        faults.iter().for_each(|fault| writeln!(text, "  {fault}").expect("a String takes all"));
    }
    text
}
