//! A workload that is not built in: as a test with faults, and as a program with all commands.

#![allow(missing_docs, reason = "a test program")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use unisono_core::TaskId;
use unisono_sim::check::{Sim, crash};

#[allow(dead_code, reason = "the example has a main function")]
#[path = "../../examples/own_model.rs"]
mod own_model;

use own_model::bright_rows;

#[test]
fn losses_survive_a_ps_crash() {
    Sim::of(bright_rows())
        .ps(2)
        .workers(3)
        .fault(crash(TaskId::ps(1)).at_step(4).back_after(Duration::from_millis(20)))
        .seeds(0..64)
        .check();
}

const WIDE: &str = "\
[model]
width = 5

[cluster]
workers = 3

[sync]
replicas_to_aggregate = 2

[expect]
oracle = \"provenance\"
";

#[test]
fn scenario_file_configures_the_model_and_its_backup_workers() {
    Sim::of(bright_rows()).scenario(WIDE).seeds(0..16).check();
}

/// Returns the message with which a check fails.
fn failure(check: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(check)).expect_err("the check fails");
    *panic.downcast::<String>().expect("the message is a text")
}

#[test]
fn failed_check_leaves_a_capsule_and_a_smaller_scenario() {
    let impossible = format!("{WIDE}virtual_time = {{ max = \"1ms\" }}\n");
    let message = failure(|| Sim::of(bright_rows()).scenario(&impossible).seeds(3..9).check());
    assert!(message.contains("seed 3"), "{message}");
    let folder = Path::new("target/unisono-failures");
    let small = folder.join("failed_check_leaves_a_capsule_and_a_smaller_scenario-small.toml");
    assert!(message.contains(&small.display().to_string()), "{message}");
    let small = std::fs::read_to_string(small).expect("the smaller scenario");
    assert!(small.contains("[model]\nwidth = \"5\""), "{small}");
    let again = failure(|| Sim::of(bright_rows()).scenario(&small).check());
    assert!(again.contains("virtual-time"), "{again}");
    std::fs::remove_dir_all(folder).expect("the folder of the failure");
}

#[test]
fn flag_that_the_model_lacks_is_refused() {
    let wrong = WIDE.replace("width", "height");
    let message = failure(|| Sim::of(bright_rows()).scenario(&wrong).check());
    assert!(message.ends_with("height is unknown; the model has width"), "{message}");
}

/// Runs the example `own_program`. `cargo test` builds it, unless a single test program is selected:
/// then `cargo build -p unisono-sim --example own_program` does.
fn program(folder: &Path, arguments: &str) -> Output {
    let test = std::env::current_exe().expect("this program has a file");
    let path: PathBuf = test.parent().and_then(Path::parent).expect("target/…/deps").to_owned();
    let mut command = Command::new(path.join("examples/own_program"));
    command.current_dir(folder).args(arguments.split_whitespace());
    command.output().expect("cargo test builds the examples")
}

fn succeeds(folder: &Path, arguments: &str) -> String {
    let output = program(folder, arguments);
    assert!(output.status.success(), "{arguments}: {output:?}");
    String::from_utf8(output.stdout).expect("the output is text")
}

fn fails(folder: &Path, arguments: &str) -> String {
    let output = program(folder, arguments);
    assert!(!output.status.success(), "{arguments}: {output:?}");
    String::from_utf8(output.stderr).expect("the errors are text")
}

#[test]
fn program_with_an_own_model_has_all_commands() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let run = "--width 7 --batch-size 20 --training-steps 40 --regularization-rate 0";
    succeeds(folder, &format!("local {run} --ledger --trace --logdir cluster"));
    succeeds(folder, &format!("reference {run} --logdir serial"));
    let losses = |logdir| std::fs::read(folder.join(logdir).join("losses.csv")).expect("losses");
    assert_eq!(losses("cluster"), losses("serial"));

    assert!(succeeds(folder, "eval --logdir cluster").contains("After 40 training step(s)"));
    assert!(succeeds(folder, "audit cluster").contains("Clean"));
    assert!(succeeds(folder, "sim replay --ledger cluster").contains("The same to the bit"));
    succeeds(folder, "report cluster");
    assert!(succeeds(folder, "inspect cluster").contains("width"));
    succeeds(folder, &format!("doctor local {run} --logdir cluster"));

    std::fs::write(folder.join("wide.toml"), WIDE).expect("a writable folder");
    succeeds(folder, "sim run wide.toml --seeds 4");
    succeeds(folder, "sim verify wide.toml");
    std::fs::write(folder.join("high.toml"), WIDE.replace("width", "height")).expect("writable");
    assert!(
        fails(folder, "sim run high.toml")
            .contains("high.toml: height is unknown; the model has width")
    );
}

#[test]
fn file_and_flags_configure_an_own_model_and_mistakes_are_reported() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("writable");
    write("run.toml", "[model]\nwidth = 3\n");
    let run = "--config run.toml --batch-size 20 --training-steps 5";
    succeeds(folder, &format!("reference {run} --logdir a"));
    assert!(succeeds(folder, "inspect a --json").contains(r#""width": "3""#));
    let error = fails(folder, &format!("reference {run} --width 4 --logdir a"));
    assert!(error.contains("width = 3 (this run: 4)"), "{error}");

    write("wrong.toml", "[model]\nwidht = 3\n");
    let error = fails(folder, "reference --config wrong.toml");
    assert!(
        error.contains("wrong.toml:2: unknown key widht in [model]; did you mean width?"),
        "{error}"
    );
    write("wrong.toml", "[model]\nwidth = -3\n");
    let error = fails(folder, "reference --config wrong.toml");
    assert!(error.contains("wrong.toml:2: width: invalid digit found in string"), "{error}");
}
