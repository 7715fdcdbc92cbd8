//! The same without a terminal: one table, and what has gone wrong.

use std::fmt::Write as _;

use super::model::{Model, TaskRow, bytes_per_second};
use crate::cli::output::PercentG;

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
    let rows: Vec<_> = model.tasks.iter().map(|task| (cells(task), task)).collect();
    let widths: Vec<_> = (0..HEADERS.len())
        .map(|column| {
            let of_rows = rows.iter().map(|(cells, _)| cells[column].len()).max().unwrap_or(0);
            of_rows.max(HEADERS[column].len())
        })
        .collect();
    let mut line = |cells: &[&str], last: &str| {
        let mut line = String::new();
        for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            match column {
                0 | 1 => write!(line, "{cell:width$}  "),
                _ => write!(line, "{cell:>width$}  "),
            }
            .expect("a String takes all");
        }
        line.push_str(last);
        writeln!(text, "{}", line.trim_end()).expect("a String takes all");
    };
    line(&HEADERS, "WAITS FOR");
    for (cells, task) in &rows {
        let cells: Vec<_> = cells.iter().map(String::as_str).collect();
        line(&cells, task.waits.as_deref().unwrap_or_default());
    }
    let faults = model.faults();
    if !faults.is_empty() {
        text.push_str("\nFaults:\n");
        faults.iter().for_each(|fault| writeln!(text, "  {fault}").expect("a String takes all"));
    }
    text
}
