//! A workload that is not built in: as a test with faults, and as a program with all commands.

#![allow(missing_docs, reason = "a test program")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use unisono_core::TaskId;
use unisono_learn::Workload;
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

/// The built-in workload with a network that has every kind of layer but layer normalisation.
const NETWORK: &str = "\
[train]
batch_size = 3
training_steps = 8
learning_rate = 0.05
layers = [
  \"conv2d filters=2 kernel=5 stride=4 padding=same\",
  \"relu\",
  \"max_pool size=2 padding=same\",
  \"conv2d filters=3 kernel=2\",
  \"gelu\",
  \"average_pool size=2\",
  \"flatten\",
  \"dropout rate=0.25\",
  \"dense\",
]

[chaos]
faults = { min = 1, max = 6 }
ps = { min = 1, max = 3 }
workers = { min = 1, max = 4 }
replicas_to_aggregate = { min = 1, max = 6 }
optimizer = true

[expect]
oracle = \"provenance\"
";

#[test]
fn losses_of_a_convolutional_network_survive_every_kind_of_fault() {
    Sim::of(Workload::built_in()).scenario(NETWORK).seeds(0..500).check();
}

/// LeNet-5 is larger than any fault needs, so its batches are small.
const LENET: &str = "\
[train]
model = \"lenet5\"
batch_size = 1
training_steps = 3

[chaos]
faults = { min = 1, max = 4 }
workers = { min = 1, max = 3 }
";

#[test]
fn losses_of_lenet_survive_every_kind_of_fault() {
    Sim::of(Workload::built_in()).scenario(LENET).seeds(0..20).check();
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

#[test]
fn own_model_survives_the_swarm() {
    Sim::of(bright_rows()).scenario_file("../scenarios/swarm.toml").seeds(0..500).check();
}

/// Runs the example `name`. `cargo test` builds the examples, unless a single test program is
/// selected: then `cargo build -p unisono-sim --examples` does.
fn program(name: &str, folder: &Path, arguments: &str) -> Output {
    let test = std::env::current_exe().expect("this program has a file");
    let path: PathBuf = test.parent().and_then(Path::parent).expect("target/…/deps").to_owned();
    let mut command = Command::new(path.join("examples").join(name));
    command.current_dir(folder).args(arguments.split_whitespace());
    command.output().expect("cargo test builds the examples")
}

fn succeeds(folder: &Path, arguments: &str) -> String {
    succeeds_in("own_program", folder, arguments)
}

fn succeeds_in(name: &str, folder: &Path, arguments: &str) -> String {
    let output = program(name, folder, arguments);
    assert!(output.status.success(), "{arguments}: {output:?}");
    String::from_utf8(output.stdout).expect("the output is text")
}

fn fails(folder: &Path, arguments: &str) -> String {
    let output = program("own_program", folder, arguments);
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

#[test]
fn wine_program_has_all_commands() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let wine = |arguments: &str| succeeds_in("wine", folder, arguments);
    for file in ["fixtures/wine/wine.csv", "scenarios/swarm.toml"] {
        let to = folder.join(Path::new(file).file_name().expect("a file"));
        std::fs::copy(Path::new("..").join(file), to).expect("a file of the tree");
    }
    let run = "--batch-size 16 --learning-rate 0.1 --training-steps 200";
    wine("certs certs --ps 2 --workers 2");
    let tls = "--tls-cert certs/local.pem --tls-key certs/local-key.pem --tls-ca certs/ca.pem";
    wine(&format!("local {run} {tls} --ledger --logdir run"));
    let evaluated = wine("eval --logdir run");
    let accuracy = evaluated.trim().rsplit("test accuracy = ").next().expect("the accuracy");
    assert!(accuracy.parse::<f64>().expect("a number") > 0.9, "{evaluated}");
    wine(&format!("reference {run} --logdir serial"));
    let losses = |logdir| std::fs::read(folder.join(logdir).join("losses.csv")).expect("losses");
    assert_eq!(losses("run"), losses("serial"));
    wine("audit run");
    wine("report run");
    wine("sim hunt swarm.toml --seeds 500");
}

#[test]
fn tutorial_shows_the_wine_program() {
    let example = include_str!("../examples/wine.rs");
    let program = &example[example.find("use std::process").expect("the first import")..];
    let tutorial = include_str!("../../docs/own-model.md");
    assert!(tutorial.contains(&format!("```rust\n{program}```\n")), "copy the example to the page");
}
