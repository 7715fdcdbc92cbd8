//! The same without a terminal: one table, and what has gone wrong.

use std::fmt::Write as _;
use std::iter;

use super::model::{Model, TaskRow, bytes_per_second};
use crate::cli::output::{self, PercentG};

/// One line on the whole.
pub(super) fn summary(model: &Model) -> String {
    let mut parts = Vec::new();
    if let Some(step) = model.step() {
        let of = model.training_steps.map_or_else(String::new, |steps| format!(" of {steps}"));
        parts.push(format!("step {step}{of}"));
    }
    parts.extend(model.rate().map(|rate| format!("{rate:.1} steps/s")));
    parts
        .extend(model.loss().map(|loss| format!("loss {}", PercentG::new(loss).with_precision(4))));
    parts.extend(
        model.accuracy().map(|share| format!("validation accuracy {}", PercentG::new(share))),
    );
    parts.extend(model.checkpoint().map(|step| format!("checkpoint at {step}")));
    parts.join(", ")
}

/// The cells of a task, but for what it waits for.
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

/// The names of those cells.
pub(super) const HEADERS: [&str; 6] = ["TASK", "STATE", "STEP", "STEPS/S", "IN/S", "OUT/S"];

/// Everything, as text.
pub(super) fn table(model: &Model) -> String {
    let mut text = format!("{}\n\n", summary(model));
    let row = |cells: &[String], waits: &str| [cells, &[waits.to_owned()]].concat();
    let of_task = |task: &TaskRow| row(&cells(task), task.waits.as_deref().unwrap_or_default());
    let headers = row(&HEADERS.map(str::to_owned), "WAITS FOR");
    let rows: Vec<_> = iter::once(headers).chain(model.tasks.iter().map(of_task)).collect();
    text.push_str(&output::table(&[false, false, true, true, true, true, false], &rows));
    let faults = model.faults();
    if !faults.is_empty() {
        text.push_str("\nFaults:\n");
        faults.iter().for_each(|fault| writeln!(text, "  {fault}").expect("a String takes all"));
    }
    text
}
