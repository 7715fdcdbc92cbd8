//! `--trace`, `unisono trace` and `unisono report` with a cluster of real processes.

use std::fs;

use serde_json::Value;

use crate::support::{
    Bits, Ended, Folder, HandStarted, Process, Role, bits_of, unisono, wait_until,
};
#[path = "../support/trace_events.rs"]
mod trace_events;

const STEPS: &str = "--training-steps 30";
const SMALL: &str = "--hidden 32 --batch-size 20 --progress none";

fn run(folder: &Folder, command: &str, flags: &[&str]) -> Ended {
    let mut command = unisono(command);
    command.arg(folder.logdir()).args(flags);
    Process::start(command).wait()
}

/// Writes the report of a run, and returns the data embedded in the page.
fn report(folder: &Folder) -> Value {
    run(folder, "report", &[]).expect_code(0);
    let page =
        fs::read_to_string(folder.logdir().join("report.html")).expect("the file was written");
    let (_, data) = page.split_once("type=\"application/json\">").expect("the page has data");
    serde_json::from_str(data.split_once("</script>").expect("the data end").0)
        .expect("the output is JSON")
}

#[test]
fn trace_changes_no_bit_and_is_written_only_if_requested() {
    let expected = bits_of(&format!("reference {SMALL} {STEPS}"));
    for (flag, is_there) in [("", false), ("--trace", true), ("--trace=false", false)] {
        let folder = Folder::new();
        let bits = folder.bits_of(&format!("local --ps 2 {SMALL} {STEPS} {flag}"));
        bits.assert_same(&expected, flag);
        for task in ["ps0", "ps1", "worker0", "worker1"] {
            let path = folder.logdir().join(format!("trace-{task}.jsonl"));
            assert_eq!(path.exists(), is_there, "{flag} {task}");
        }
    }
}

#[test]
fn trace_of_a_run_is_complete_and_is_written_for_perfetto() {
    let folder = Folder::new();
    folder.run(&format!("local --trace --ps 2 {SMALL} {STEPS}")).expect_code(0);
    let written = run(&folder, "trace", &[]);
    written.expect_code(0);
    let counts =
        trace_events::check(&serde_json::from_str(&written.stdout).expect("the output is JSON"));
    // In each step, each ps receives two pushes and sends two versions.
    assert!(counts["s"] >= 30 * 8, "{counts:?}");
    let data = report(&folder);
    let tasks = ["ps 0", "ps 1", "worker 0", "worker 1"];
    assert_eq!(data["tasks"], Value::from(tasks.to_vec()));
    assert_eq!(data["updates"]["step"].as_array().map(Vec::len), Some(30));
    assert_eq!(data["losses"]["step"].as_array().map(Vec::len), Some(30));
    assert_eq!(data["marks"], Value::Array(Vec::new()), "nothing broke");
    assert_eq!(data["notes"], Value::Array(Vec::new()), "nothing is missing");
    let lengths = data["path"]["length"].as_array().expect("a path");
    let path: i64 = lengths.iter().filter_map(Value::as_i64).sum();
    let length = data["length"].as_i64().expect("a length");
    assert!(path <= length && path > length / 2, "{path} of {length}");
    // 29 intervals between 30 updates, grouped into stretches of at least five.
    assert_eq!(data["rates"]["step"], Value::from(vec![5, 10, 15, 20, 25, 29]));
    assert_eq!(data["failures"], Value::Array(Vec::new()));
    assert_eq!(data["checkpoints"].as_array().and_then(|all| all.last()), Some(&Value::from(30)));
    let accuracies = data["accuracies"]["value"].as_array().expect("accuracies");
    assert!(accuracies.iter().all(|it| it.as_f64().is_some_and(|it| (0.0..=1.0).contains(&it))));
    check_about(&folder, &data);
}

/// Asserts the settings, the version and the start time in the report of a run with `SMALL` and
/// `STEPS`.
fn check_about(folder: &Folder, data: &Value) {
    let settings: std::collections::BTreeMap<_, _> = data["settings"]
        .as_array()
        .expect("settings")
        .iter()
        .map(|row| (row["name"].as_str().expect("a name"), row["value"].as_str().expect("a value")))
        .collect();
    let expected = [
        ("hidden layers", "32"),
        ("batch size", "20"),
        ("training steps", "30"),
        ("optimizer", "sgd"),
        ("parameter servers", "2"),
        ("workers", "2"),
        ("replicas to aggregate", "2"),
        ("data", "built-in digits"),
    ];
    for (name, value) in expected {
        assert_eq!(settings.get(name), Some(&value), "{name} in {settings:?}");
    }
    assert_eq!(data["version"], env!("CARGO_PKG_VERSION"));
    let started = data["started_ms"].as_u64().expect("a start");
    let losses = fs::metadata(folder.logdir().join("losses.csv")).expect("losses").modified();
    let since_1970 = losses.expect("a time").duration_since(std::time::UNIX_EPOCH).expect("later");
    let until = u64::try_from(since_1970.as_millis()).expect("this age");
    assert!(started <= until && until - started < 600_000, "{started} and {until}");
}

#[test]
fn report_of_a_failed_run_shows_the_failure() {
    let folder = Folder::new();
    let flags = format!("{SMALL} {STEPS} --trace --give-up-after 0.3");
    let cluster = HandStarted::new(1, 2, &flags, folder.logdir());
    // Worker 1 never starts.
    let tasks = [Role::Ps(0), Role::Worker(0)].map(|role| cluster.start(role));
    for task in tasks {
        task.wait().expect_code(138);
    }
    let data = report(&folder);
    let failure = &data["failures"][0];
    assert!(failure["text"].as_str().is_some_and(|text| text.contains(" failed: ")), "{failure}");
    let at = failure["at"].as_i64().expect("a time");
    let marks = data["marks"].as_array().expect("marks");
    let is_its_mark = |mark: &&Value| mark["kind"] == "failure" && mark["at"] == at;
    assert_eq!(marks.iter().filter(is_its_mark).count(), 1, "{marks:?}");
}

#[test]
fn trace_marks_a_killed_worker_and_orders_its_incarnations() {
    let folder = Folder::new();
    let flags = format!("{SMALL} --trace --training-steps 3000");
    let cluster = HandStarted::new(1, 2, &flags, folder.logdir());
    let tasks = [Role::Ps(0), Role::Worker(0)].map(|role| cluster.start(role));
    let mut victim = cluster.start(Role::Worker(1));
    let traced = folder.logdir().join("trace-ps0.jsonl");
    let has_begun = || fs::read_to_string(&traced).is_ok_and(|text| text.contains("\"updated\""));
    wait_until("the first updates", has_begun);
    victim.kill();
    let again = cluster.start(Role::Worker(1));
    for task in tasks.into_iter().chain([again]) {
        task.wait().expect_code(0);
    }
    let data = report(&folder);
    let marks = data["marks"].as_array().expect("marks");
    let kinds: Vec<_> = marks.iter().filter_map(|mark| mark["kind"].as_str()).collect();
    assert!(kinds.contains(&"restart") && kinds.contains(&"lost-link"), "{kinds:?}");
    assert_eq!(data["updates"]["step"].as_array().map(Vec::len), Some(3000));
}

#[test]
fn failed_trace_is_reported_once_and_changes_no_bit() {
    let expected = bits_of(&format!("reference {SMALL} {STEPS}"));
    let folder = Folder::new();
    // A folder in place of the trace file makes writing that file fail.
    fs::create_dir_all(folder.logdir().join("trace-ps0.jsonl")).expect("the folder can be made");
    let ended = folder.run(&format!("local --trace --ps 2 {SMALL} {STEPS}"));
    ended.expect_code(0);
    let message = "no trace is written, and training continues without it";
    assert_eq!(ended.stderr.matches(message).count(), 1, "{}", ended.stderr);
    Bits::read(&folder.logdir()).assert_same(&expected, "without one trace");
    fs::remove_dir(folder.logdir().join("trace-ps0.jsonl")).expect("the folder is empty");
    let notes = report(&folder)["notes"].to_string();
    assert!(notes.contains("There is no trace of ps 0: pass --trace"), "{notes}");
}

#[test]
fn report_of_a_folder_without_traces_names_the_flag_for_traces() {
    let folder = Folder::new();
    folder.run(&format!("local --ledger --ps 2 {SMALL} {STEPS}")).expect_code(0);
    let data = report(&folder);
    assert!(data["notes"][0].as_str().is_some_and(|note| note.contains("--trace")), "{data}");
    assert_eq!(data["losses"]["step"].as_array().map(Vec::len), Some(30));
    assert_eq!(data["updates"]["workers"][3], Value::from(vec![2, 3]));
    check_about(&folder, &data);
    // Without traces, the rates come from the summaries in the event files.
    assert!(data["rates"]["step"].as_array().is_some_and(|steps| !steps.is_empty()), "{data}");
    assert_eq!(data["checkpoints"], Value::from(vec![0, 30]));
    run(&folder, "trace", &[]).expect_error(2, &["there is no trace-TASK.jsonl", "--trace"]);
    let nothing = Folder::new();
    fs::create_dir_all(nothing.logdir()).expect("the folder can be made");
    run(&nothing, "report", &[]).expect_error(2, &["neither traces nor losses", "--trace"]);
}
