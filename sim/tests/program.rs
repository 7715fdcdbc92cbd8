//! The program as a shell runs it: its output, its files and its exit codes.

#![allow(missing_docs, reason = "a test program")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

#[path = "../../tests/support/trace_events.rs"]
mod trace_events;

/// A folder with scenario files, in which the program runs.
struct Folder(TempDir);

impl Folder {
    fn new(scenarios: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in scenarios {
            fs::write(folder.path().join(name), text).expect("a writable file");
        }
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_unisono-sim"));
        command.args(arguments).current_dir(self.path()).output().expect("the program runs")
    }

    fn json(&self, arguments: &[&str]) -> (Value, Option<i32>) {
        let output = self.run(&[arguments, &["--json"]].concat());
        let document = serde_json::from_slice(&output.stdout);
        (document.unwrap_or_else(|error| panic!("{error}: {output:?}")), output.status.code())
    }

    fn capsules(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.path().join("capsules")) else { return Vec::new() };
        let mut paths: Vec<_> =
            entries.map(|entry| entry.expect("a readable entry").path()).collect();
        paths.sort();
        paths
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("output is UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("errors are UTF-8")
}

const CLEAN: &str = "[sim]\nseeds = 3\n";
/// A scenario that always fails: its runs take longer than the 20 ms that it expects.
const IMPOSSIBLE: &str = "\
[network]
jitter = { uniform = [\"0s\", \"100us\"] }

[[fault]]
id = \"worker 1 dies\"
kind = \"crash\"
node = \"worker 1\"
at_step = 5
for = \"10ms\"

[expect]
virtual_time = { max = \"1ms\" }
";
const WITHOUT_EFFECT: &str = "\
[[fault]]
id = \"too late\"
kind = \"reset\"
from = \"worker 1\"
to = \"ps\"
at = \"1s\"
";
const HANG: &str = "\
[[fault]]
id = \"for good\"
kind = \"crash\"
node = \"worker 1\"
at_step = 5

[liveness]
within = \"5s\"
";

#[test]
fn passing_scenarios_print_one_line_each_and_exit_with_0() {
    let folder = Folder::new(&[("b.toml", CLEAN), ("a.toml", CLEAN), ("notes.txt", "no scenario")]);
    let output = folder.run(&["run", "."]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("✓ a ") && lines[1].starts_with("✓ b "), "{text}");
    assert!(lines[2].starts_with("2 scenarios passed: 6 runs in "), "{text}");
    assert!(folder.capsules().is_empty());
}

#[test]
fn exit_code_depends_on_the_kind_of_failure() {
    let folder = Folder::new(&[
        ("clean.toml", CLEAN),
        ("impossible.toml", IMPOSSIBLE),
        ("no-effect.toml", WITHOUT_EFFECT),
        ("hang.toml", HANG),
        ("bad.toml", "[train]\nbatch_sise = 3\n"),
    ]);
    let code = |arguments: &[&str]| folder.run(&[&["run"], arguments].concat()).status.code();
    assert_eq!(code(&["clean.toml", "--seed", "9"]), Some(0));
    assert_eq!(code(&["impossible.toml", "--seeds", "2"]), Some(1));
    assert_eq!(code(&["hang.toml", "--seed", "0"]), Some(3));
    assert_eq!(code(&["no-effect.toml", "--seed", "0"]), Some(5));
    assert_eq!(
        code(&["no-effect.toml", "hang.toml", "--seed", "0"]),
        Some(3),
        "not the worst code"
    );
    assert_eq!(code(&["clean.toml", "--seed", "1", "--seeds", "2"]), Some(2));
    assert_eq!(code(&["no-such.toml"]), Some(2));
    let output = folder.run(&["run", ".", "--seed", "0"]);
    assert_eq!(output.status.code(), Some(2), "no run is played if one file is invalid");
    let error = stderr(&output);
    assert!(error.contains("bad.toml:2: ") && error.contains("did you mean batch_size"), "{error}");
    assert!(output.stdout.is_empty());
}

/// `worst.toml` breaks an expectation (code 1) and `hang.toml` hangs (code 3), each after a crash.
#[test]
fn enumerate_exits_with_the_code_of_the_worst_failure() {
    let worst = "[train]\ntraining_steps = 1\n[expect]\nleft_behind = 0\n";
    let hang = "[train]\ntraining_steps = 1\n[sim]\nmax_virtual_time = \"100ms\"\n";
    let folder = Folder::new(&[("hang.toml", hang), ("worst.toml", worst)]);
    let code = |files: &[&str]| folder.json(&[&["enumerate"], files].concat()).1;
    assert_eq!(code(&["hang.toml"]), Some(3));
    assert_eq!(code(&["worst.toml"]), Some(1));
    assert_eq!(code(&["hang.toml", "worst.toml"]), Some(1));
}

#[test]
fn failure_is_reported_and_its_capsule_replays_it_anywhere() {
    let folder = Folder::new(&[("impossible.toml", IMPOSSIBLE)]);
    let output = folder.run(&["run", "impossible.toml", "--seed", "7"]);
    let text = stdout(&output);
    let from = text.find("✗ impossible, seed 7").expect("the report of the failure");
    let until = text.find("1 of 1 scenario failed").expect("the summary");
    insta::assert_snapshot!("report", text[from..until].trim_end());

    let [capsule] = &*folder.capsules() else { panic!("one capsule: {:?}", folder.capsules()) };
    let elsewhere = Folder::new(&[]);
    let copy = elsewhere.path().join("copy.capsule.json");
    fs::copy(capsule, &copy).unwrap();
    for jobs in ["1", "3"] {
        let (document, code) = elsewhere.json(&["replay", "copy.capsule.json", "--jobs", jobs]);
        assert_eq!((code, &document["outcome"]), (Some(1), &"same".into()), "{document}");
        assert_eq!(document["failure"]["not_reproducible"], Value::Null);
    }
    let text = stdout(&elsewhere.run(&["replay", "copy.capsule.json"]));
    assert!(
        text.contains("The run fails as in its capsule: failure virtual-time, audit "),
        "{text}"
    );
    let by_seed = stdout(&folder.run(&["replay", "impossible.toml", "--seed", "7"]));
    assert!(by_seed.contains("replay: unisono-sim replay impossible.toml --seed 7"), "{by_seed}");
}

/// Returns the report of seed 7 of a scenario: the page, and the data in it.
fn report_of(folder: &Folder, scenario: &str) -> (String, Value) {
    let output = folder.run(&["report", scenario, "--seed", "7", "-o", "page.html"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let page = fs::read_to_string(folder.path().join("page.html")).expect("the page");
    let (_, data) = page.split_once("type=\"application/json\">").expect("the page has data");
    let data = data.split_once("</script>").expect("the data end").0;
    let data = serde_json::from_str(data).expect("the data are JSON");
    (page, data)
}

#[test]
fn report_of_a_seed_has_the_same_bytes_each_time_and_no_date() {
    let folder = Folder::new(&[("impossible.toml", IMPOSSIBLE)]);
    let (page, data) = report_of(&folder, "impossible.toml");
    assert_eq!(data["started_ms"], Value::Null);
    assert_eq!(data["version"], env!("CARGO_PKG_VERSION"));
    let elsewhere = Folder::new(&[("impossible.toml", IMPOSSIBLE)]);
    assert!(report_of(&elsewhere, "impossible.toml").0 == page, "the pages differ");
}

#[test]
fn report_of_a_failed_run_has_its_settings_and_a_mark_for_each_failure() {
    let scenarios = [
        ("impossible.toml", IMPOSSIBLE),
        ("hang.toml", HANG),
        ("no-effect.toml", WITHOUT_EFFECT),
        ("clean.toml", CLEAN),
    ];
    let folder = Folder::new(&scenarios);
    let (_, data) = report_of(&folder, "impossible.toml");
    let [failure] = &**data["failures"].as_array().expect("failures") else { panic!("{data}") };
    assert!(failure["text"].as_str().is_some_and(|text| text.contains("virtual")), "{failure}");
    // The first event after the limit broke the expectation.
    let at = failure["at"].as_i64().expect("a time");
    assert!(at > 1_000_000 && at < 2_000_000, "{failure}");
    let marks = |data: &Value, kind: &str| {
        let marks = data["marks"].as_array().expect("marks").iter();
        marks
            .filter(|mark| mark["kind"] == kind)
            .map(|mark| mark["at"].as_i64())
            .collect::<Vec<_>>()
    };
    assert_eq!(marks(&data, "failure"), [Some(at)]);
    assert_eq!(marks(&data, "injected crash").len(), 1);
    let settings = data["settings"].as_array().expect("settings");
    let has = |name: &str, value: &str| {
        settings.iter().any(|row| row["name"] == name && row["value"] == value)
    };
    assert!(has("seed of the simulator", "7") && has("optimizer", "sgd"), "{settings:?}");

    let (_, data) = report_of(&folder, "hang.toml");
    assert_eq!(marks(&data, "failure").len(), 1, "{}", data["failures"]);
    // A fault without effect has no event.
    let (_, data) = report_of(&folder, "no-effect.toml");
    assert_eq!(data["failures"][0]["at"], -1);
    assert_eq!(marks(&data, "failure").len(), 0);
    let (_, data) = report_of(&folder, "clean.toml");
    assert_eq!(data["failures"], Value::Array(Vec::new()));
}

/// Constant durations, so that all seeds play one order of events.
const CONSTANT: &str = "\
[compute]
gradient = \"700us\"
update = \"50us\"

[network]
jitter = \"0s\"

[sim]
seeds = 9
";

#[test]
fn scenario_whose_seeds_play_only_one_order_fails_unless_it_allows_one_order() {
    let allowed = format!("{CONSTANT}one_order = true\n");
    let folder = Folder::new(&[("constant.toml", CONSTANT), ("allowed.toml", &allowed)]);
    let output = folder.run(&["run", "constant.toml"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(5), "{text}");
    assert!(text.contains("✗ constant    9 seeds, 1 order "), "{text}");
    assert!(text.contains("9 seeds played 1 order of events"), "{text}");
    assert!(text.contains("write `one_order = true` or `seeds = 1`"), "{text}");
    assert!(text.contains("1 of 1 scenario failed"), "{text}");
    let (document, _) = folder.json(&["run", "constant.toml"]);
    let scenario = &document["scenarios"][0];
    let repeats = (&scenario["orders"], &scenario["repeats_one_order"]);
    assert_eq!(repeats, (&1.into(), &true.into()), "{document}");
    for arguments in [["run", "allowed.toml", "--jobs=1"], ["run", "constant.toml", "--seeds=3"]] {
        let output = folder.run(&arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stdout(&output));
    }
}

#[test]
fn every_output_counts_orders_of_events() {
    let folder = Folder::new(&[("clean.toml", CLEAN), ("constant.toml", CONSTANT)]);
    let text = stdout(&folder.run(&["run", "clean.toml", "constant.toml", "--seeds", "6"]));
    assert!(text.contains("✓ clean       6 seeds, 6 orders "), "{text}");
    assert!(text.contains("✓ constant    6 seeds, 1 order "), "{text}");
    let (document, _) = folder.json(&["hunt", "clean.toml", "--seeds", "20"]);
    let orders = &document["orders"];
    assert_eq!(orders["is_exact"], true);
    assert_eq!(orders["kept"].as_array().unwrap().len() as u64, orders["different"]);
    assert!(orders["different"].as_u64().unwrap() > 10, "{document}");
    let text = stdout(&folder.run(&["hunt", "constant.toml", "--seeds", "20"]));
    assert!(text.contains("; 1 order of events\n0 of 20 seeds failed\n"), "{text}");
    let (document, _) = folder.json(&["verify", "."]);
    assert_eq!(document["orders"], 2, "{document}");
    let [first, second] = ["first", "second"].map(|it| &document["scenarios"][0][it]["order"]);
    assert!(first.is_string() && first == second, "{document}");
}

/// A lost ps breaks these three expectations.
const LOST_PS: &str = "\
[[fault]]
id = \"ps 1 dies\"
kind = \"crash\"
node = \"ps 1\"
peers = \"reset\"
at_step = 5
for = \"10ms\"

[expect]
rollbacks = 0
stale = { min = 1000 }

[[expect.event]]
event = \"starts\"
node = \"ps 1\"
times = 1
";

#[test]
fn every_unmet_expectation_is_printed_with_its_line() {
    let folder = Folder::new(&[("lost.toml", LOST_PS)]);
    let output = folder.run(&["run", "lost.toml", "--seeds", "4"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part:?} in {text}"));
    assert!(at("  4 of 4 seeds failed: stale 4\n") < at("✗ lost, seed 0: stale\n"));
    at(" stale gradients; expected at least 1000\n    lost.toml:11: stale = { min = 1000 }\n");
    at("\n  1 rollback; expected 0\n    lost.toml:10: rollbacks = 0\n");
    at("\n  starts of ps 1: 2 times; expected 1\n    lost.toml:16: times = 1\n");
    let [capsule] = &*folder.capsules() else { panic!("one capsule") };
    // The capsule contains another text, with other lines.
    let replayed = stdout(&folder.run(&["replay", capsule.to_str().unwrap()]));
    assert!(replayed.contains("    lost.toml:10: rollbacks = 0\n"), "{replayed}");
}

#[test]
fn causal_chain_ends_at_the_event_that_broke_the_expectation() {
    let without = |line: &str| LOST_PS.replace("stale = { min = 1000 }\n", "").replace(line, "");
    let rollbacks = without("\n[[expect.event]]\nevent = \"starts\"\nnode = \"ps 1\"\ntimes = 1\n");
    let starts = without("rollbacks = 0\n");
    let never = "[[expect.event]]\nevent = \"save-failed\"\n";
    let folder = Folder::new(&[
        ("rollbacks.toml", &rollbacks),
        ("starts.toml", &starts),
        ("never.toml", never),
    ]);
    let failure = |name: &str| {
        let (document, _) = folder.json(&["run", name, "--seed", "3"]);
        document["scenarios"][0]["failures"][0].clone()
    };
    let last = |failure: &Value| failure["chain"].as_array().unwrap().last().unwrap().clone();
    let (rollback, start, end) =
        (failure("rollbacks.toml"), failure("starts.toml"), failure("never.toml"));

    assert_eq!(rollback["chain_ends_at"], "broken-expectation");
    let effects = last(&rollback)["effects"].to_string();
    assert!(effects.contains("sends-restore, step "), "{rollback}");
    assert!(last(&rollback)["at_ns"].as_u64() < rollback["virtual_time_ns"].as_u64());

    let started = last(&start);
    assert_eq!((&started["node"], &started["text"]), (&"ps 1 (life 2)".into(), &"starts".into()));

    assert_eq!(end["chain_ends_at"], "end-of-run");
    assert_eq!(last(&end)["at_ns"], end["virtual_time_ns"]);
}

#[test]
fn files_of_a_failure_have_short_names_in_the_folder_of_their_source() {
    let elsewhere = Folder::new(&[]);
    fs::create_dir_all(elsewhere.path().join("a/stories")).unwrap();
    fs::write(elsewhere.path().join("a/stories/impossible.toml"), IMPOSSIBLE).unwrap();
    let run = |arguments: &[&str]| {
        let output = elsewhere.run(arguments);
        assert!(stderr(&output).is_empty() || arguments[0] == "report", "{}", stderr(&output));
        stdout(&output)
    };
    run(&["run", "a/stories/impossible.toml", "--seed", "7"]);
    let capsule = "a/stories/capsules/impossible-virtual-time-7.capsule.json";
    assert!(elsewhere.path().join(capsule).is_file());
    run(&["shrink", capsule]);
    let small = "a/stories/capsules/impossible-virtual-time-7-small";
    let small_capsule = format!("{small}.capsule.json");
    run(&["shrink", &small_capsule]);
    run(&["report", capsule]);
    run(&["report", "a/stories/impossible.toml", "--seed", "7"]);
    run(&["shrink", capsule, "-o", "mine.toml"]);
    let mut files = Vec::new();
    let mut folders = vec![elsewhere.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let below = path.strip_prefix(elsewhere.path()).unwrap();
                files.push(below.to_str().unwrap().to_owned());
            }
        }
    }
    files.sort();
    let expected = [
        "a/stories/capsules/impossible-virtual-time-7-small.capsule.json",
        "a/stories/capsules/impossible-virtual-time-7-small.toml",
        "a/stories/capsules/impossible-virtual-time-7.capsule.json",
        "a/stories/capsules/impossible-virtual-time-7.html",
        "a/stories/impossible-7.html",
        "a/stories/impossible.toml",
        "mine-small.capsule.json",
        "mine.toml",
    ];
    assert_eq!(files, expected);
    // The capsule of a failure is not a scenario of the folder.
    let (document, _) = elsewhere.json(&["verify", "a"]);
    assert_eq!(document["scenarios"].as_array().unwrap().len(), 1);
}

#[cfg(not(feature = "planted-bugs"))]
#[test]
fn plant_flag_in_a_build_without_bugs_suggests_the_bugs_command() {
    let folder = Folder::new(&[("clean.toml", CLEAN)]);
    let output = folder.run(&["run", "clean.toml", "--plant", "stale-applied"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("`unisono-sim bugs --bug stale-applied`"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn file_that_is_not_a_capsule_is_refused() {
    let folder = Folder::new(&[("a.json", "{}"), ("clean.toml", CLEAN)]);
    for arguments in [
        &["replay", "a.json"][..],
        &["replay", "no-such.json"],
        &["replay", "clean.toml"],
        &["replay", "a.json", "--seed", "1"],
        &["shrink", "a.json"],
        &["diff", "clean.toml"],
    ] {
        let output = folder.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert_eq!(stderr(&output).matches("error: ").count(), 1);
    }
}

#[test]
fn hunt_finds_the_same_failures_with_any_number_of_jobs() {
    let hunt = |jobs| {
        let folder = Folder::new(&[("chaos.toml", CHAOS)]);
        let arguments = ["hunt", "chaos.toml", "--from", "5", "--seeds", "60", "--jobs", jobs];
        let (document, code) = folder.json(&arguments);
        let document = without_time(document);
        assert_eq!(folder.capsules().len(), document["failures"].as_array().unwrap().len());
        (document, code)
    };
    let (first, code) = hunt("1");
    assert_eq!(first["seeds"], 60);
    assert_eq!(first["first_seed"], 5);
    assert_eq!(code, Some(1), "no seed takes longer than allowed: {first}");
    assert_eq!((first, code), hunt("3"));
}

/// A scenario of which some seeds take longer than allowed.
const CHAOS: &str =
    "[chaos]\nfaults = { min = 1, max = 4 }\n\n[expect]\nvirtual_time = { max = \"5s\" }\n";

fn without_time(mut document: Value) -> Value {
    document["elapsed_secs"] = Value::Null;
    document
}

#[test]
fn merged_shards_equal_the_whole_hunt() {
    let folder = Folder::new(&[("chaos.toml", CHAOS)]);
    let hunt = ["hunt", "chaos.toml", "--from", "5", "--seeds", "61"];
    let (whole, code) = folder.json(&hunt);
    assert_eq!(code, Some(1), "no seed takes longer than allowed: {whole}");
    let one_machine_each = |jobs: &str| {
        for index in 0..3_u64 {
            let (shard, out) = (format!("{index}/3"), format!("out/{index}.json"));
            let elsewhere = ["--shard", &shard, "--out", &out, "--jobs", jobs];
            let (document, _) = folder.json(&[&hunt, &elsewhere[..]].concat());
            assert_eq!(document["seeds"], [21, 20, 20][index as usize]);
        }
        let files = ["merge", "out/2.json", "out/0.json", "out/1.json", "--out", "all.json"];
        let (merged, code_merged) = folder.json(&files);
        assert_eq!(code_merged, code);
        let written = fs::read(folder.path().join("all.json")).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), merged);
        merged
    };
    for jobs in ["1", "2"] {
        assert_eq!(without_time(one_machine_each(jobs)), without_time(whole.clone()));
    }
    let text = stdout(&folder.run(&["merge", "all.json"]));
    assert!(text.contains("\n61 seeds in ") && text.contains("virtual-time: "), "{text}");
}

#[test]
fn shard_auto_takes_the_index_of_an_indexed_job() {
    let folder = Folder::new(&[("clean.toml", CLEAN)]);
    let pod = |index: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_unisono-sim"));
        command.args(["hunt", "clean.toml", "--seeds", "7", "--shard", "auto/4", "--json"]);
        command.current_dir(folder.path()).env_remove("JOB_COMPLETION_INDEX");
        command.envs(index.map(|index| ("JOB_COMPLETION_INDEX", index)));
        command.output().expect("the program runs")
    };
    let document: Value = serde_json::from_slice(&pod(Some("3")).stdout).unwrap();
    assert_eq!((&document["shard"]["index"], &document["seeds"]), (&3.into(), &1.into()));
    for (index, told) in
        [(None, "is not set"), (Some("4"), "is 4, but must be"), (Some(""), "is ,")]
    {
        let output = pod(index);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(told), "{}", stderr(&output));
    }
}

#[test]
fn results_of_different_hunts_are_not_merged() {
    let folder =
        Folder::new(&[("clean.toml", CLEAN), ("other.toml", WITHOUT_EFFECT), ("notes", "{}")]);
    let play = |name: &str, words: &str| {
        let words = words.split(' ').chain(["--out", name]);
        let words: Vec<_> = ["hunt"].into_iter().chain(words).collect();
        folder.run(&words);
    };
    play("0", "clean.toml --seeds 8 --shard 0/3");
    play("1", "clean.toml --seeds 8 --shard 1/3");
    play("2", "clean.toml --seeds 8 --shard 2/3");
    play("longer", "clean.toml --seeds 9 --shard 2/3");
    play("later", "clean.toml --seeds 8 --shard 2/3 --from 1");
    play("fewer", "clean.toml --seeds 8 --shard 1/2");
    play("early", "clean.toml --seeds 8 --shard 2/3 --for 1ms");
    play("else", "other.toml --seeds 8 --shard 2/3");
    fs::write(folder.path().join("clean.toml"), "[sim]\nseeds = 4\n").unwrap();
    play("changed", "clean.toml --seeds 8 --shard 2/3");
    let told = [
        "0 2",
        "0 0 1 2",
        "0 1 longer",
        "0 1 later",
        "0 1 fewer",
        "0 1 else",
        "0 1 changed",
        "0 1 notes",
        "0 1 nowhere",
    ]
    .map(|files| {
        let files: Vec<_> = ["merge"].into_iter().chain(files.split(' ')).collect();
        let output = folder.run(&files);
        assert_eq!(output.status.code(), Some(2), "{files:?}");
        stderr(&output)
    });
    insta::assert_snapshot!("not-merged", told.concat());
    assert_eq!(folder.run(&["merge", "0", "1", "2"]).status.code(), Some(0));
    // A shard that ended early counts with the seeds that it played, and is named.
    let output = folder.run(&["merge", "0", "1", "early"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("shard 2/3 ended early, after 1 of its 2 seeds"), "{text}");
}

#[test]
fn hunt_stops_after_the_given_number_of_failures() {
    let folder = Folder::new(&[("impossible.toml", IMPOSSIBLE)]);
    let (document, _) = folder.json(&["hunt", "impossible.toml", "--stop-after", "3"]);
    assert_eq!((&document["seeds"], &document["failed"]), (&3.into(), &3.into()));
    assert_eq!(document["failures"][0]["first_seeds"], serde_json::json!([0, 1, 2]));
}

#[test]
fn forty_faults_shrink_to_the_one_that_matters() {
    let mut text = String::from("[cluster]\nworkers = 4\n\n[expect]\nrollbacks = 0\n");
    for n in 0..40 {
        let fault = match n {
            23 => "kind = \"crash\"\nnode = \"ps 1\"\nat_step = 9\nfor = \"77ms\"".to_owned(),
            _ => format!(
                "kind = \"slow\"\nnode = \"worker {}\"\nfactor = 2\nat = \"{n}ms\"\nfor = \"3ms\"",
                n % 4
            ),
        };
        text.push_str(&format!("\n[[fault]]\nid = \"f{n}\"\nmay_be_inert = true\n{fault}\n"));
    }
    let folder = Folder::new(&[("forty.toml", &text)]);
    assert_eq!(folder.run(&["run", "forty.toml", "--seed", "3"]).status.code(), Some(1));
    let [capsule] = &*folder.capsules() else { panic!("one capsule") };
    let capsule = capsule.to_str().unwrap();
    let shrink = |name, jobs| {
        let (document, code) = folder.json(&["shrink", capsule, "-o", name, "--jobs", jobs]);
        assert_eq!(code, Some(0), "{document}");
        assert_eq!(
            (&document["before"]["faults"], &document["after"]["faults"]),
            (&40.into(), &1.into())
        );
        fs::read_to_string(folder.path().join(name)).unwrap()
    };
    let small = shrink("small.toml", "1");
    assert_eq!(small, shrink("small.toml", "3"));
    insta::assert_snapshot!("shrunk", small);
    let (document, code) = folder.json(&["run", "small.toml"]);
    assert_eq!(code, Some(1));
    assert_eq!(document["scenarios"][0]["failures"][0]["signature"], "rollbacks");
}

#[test]
fn short_run_survives_a_crash_at_every_event() {
    let folder = Folder::new(&[("short.toml", "[train]\ntraining_steps = 3\n")]);
    let (document, code) = folder.json(&["enumerate", "short.toml", "--jobs", "2"]);
    assert_eq!(code, Some(0), "{document}");
    let short = &document["scenarios"][0];
    assert_eq!(short["crash_points"], short["runs"]);
    assert!(short["runs"].as_u64().unwrap() > 100, "{document}");
    let (document, code) = folder.json(&["enumerate", "short.toml", "--pairs", "50"]);
    assert_eq!((code, &document["scenarios"][0]["runs"]), (Some(0), &50.into()), "{document}");
}

#[test]
fn verify_passes_if_two_processes_play_equal_runs() {
    let folder = Folder::new(&[("a.toml", CLEAN), ("b.toml", IMPOSSIBLE)]);
    let output = folder.run(&["verify", ".", "--seed", "4"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.ends_with("2 of 2 scenarios gave identical runs in two processes, seed 4\n"),
        "{text}"
    );
}

#[test]
fn diff_shows_the_first_difference_with_the_events_before_it() {
    let folder = Folder::new(&[("a.toml", CLEAN), ("b.toml", IMPOSSIBLE)]);
    assert_eq!(folder.run(&["diff", "a.toml", "a.toml"]).status.code(), Some(0));
    let output = folder.run(&["diff", "b.toml", "--seed", "1", "--seed", "2"]);
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!("diff", stdout(&output));
}

#[test]
fn trace_has_the_format_of_perfetto() {
    let folder = Folder::new(&[("a.toml", CLEAN)]);
    let output = folder.run(&["trace", "a.toml"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    trace_events::check(&document);
    let events = document["traceEvents"].as_array().unwrap();
    let of = |phase: &str, name: &str| {
        let fits = |event: &&Value| event["ph"] == phase && event["name"] == name;
        events.iter().filter(fits).count()
    };
    assert_eq!((of("X", "computes"), of("X", "updates")), (40, 40));
    assert_eq!(of("s", "message"), of("f", "message"));
    assert_eq!(of("M", "process_name"), 4);
    let text = stdout(&folder.run(&["trace", "a.toml", "--text"]));
    assert!(text.lines().next().unwrap().contains("starts"), "{text}");
    let events = events.iter().filter(|event| event["cat"] == "event").count();
    assert_eq!(text.lines().count(), events);
}

#[cfg(not(feature = "planted-bugs"))]
#[test]
fn bugs_command_outside_of_a_clone_explains_that_it_needs_the_sources() {
    let output = Folder::new(&[]).run(&["bugs"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("run this command in a clone"), "{}", stderr(&output));
}

#[cfg(feature = "planted-bugs")]
#[test]
fn planted_bug_is_caught_and_its_capsule_plants_it_again() {
    let folder = Folder::new(&[("clean.toml", CLEAN)]);
    let (document, code) = folder.json(&["bugs", "clean.toml", "--bug", "one-step-too-many"]);
    assert_eq!((code, &document["bugs"][0]["runs"]), (Some(0), &1.into()), "{document}");
    let capsule = "capsules/clean-one-step-too-many-0.capsule.json";
    assert_eq!(document["bugs"][0]["capsule"], capsule);
    let (document, _) = folder.json(&["replay", capsule]);
    assert_eq!(document["outcome"], "same", "{document}");
    let hunt = ["hunt", "clean.toml", "--plant", "one-step-too-many", "--stop-after", "1"];
    assert_eq!(folder.run(&hunt).status.code(), Some(1));
    let shard = |index: u64| {
        let (shard, out) = (format!("{index}/2"), format!("{index}.json"));
        let plant = ["--plant", "one-step-too-many", "--seeds", "9", "--capsules", "of-shards"];
        let own = ["hunt", "clean.toml", "--shard", &shard, "--out", &out];
        assert_eq!(folder.run(&[&own[..], &plant].concat()).status.code(), Some(1));
    };
    for index in [0, 1] {
        shard(index);
    }
    let (merged, code) = folder.json(&["merge", "0.json", "1.json"]);
    assert_eq!((code, &merged["bug"]), (Some(1), &"one-step-too-many".into()));
    assert_eq!((&merged["seeds"], &merged["failed"]), (&9.into(), &9.into()));
    assert_eq!(merged["failures"][0]["first_seeds"], serde_json::json!([0, 1, 2, 3, 4]));
    let [capsule] = &*folder.capsules() else { panic!("one capsule") };
    let (document, _) = folder.json(&["replay", capsule.to_str().unwrap()]);
    assert_eq!(document["outcome"], "same", "{document}");
}

const LAST_SEED: &str = "18446744073709551615";
const THIRD_LAST_SEED: &str = "18446744073709551613";

#[test]
fn every_seed_up_to_the_last_can_be_played() {
    let folder = Folder::new(&[("clean.toml", CLEAN)]);
    let (run, code) = folder.json(&["run", "clean.toml", "--seed", LAST_SEED]);
    assert_eq!((&run["scenarios"][0]["seeds"], code), (&1.into(), Some(0)));
    for seeds in [&["--seeds", "3"][..], &[]] {
        let arguments = [&["hunt", "clean.toml", "--from", THIRD_LAST_SEED][..], seeds].concat();
        let (hunt, code) = folder.json(&arguments);
        assert_eq!((&hunt["seeds"], code), (&3.into(), Some(0)), "{seeds:?}");
        assert_eq!(hunt["last_seed"], u64::MAX);
    }
}

#[test]
fn shards_of_the_last_seeds_make_a_whole_hunt() {
    let folder = Folder::new(&[("clean.toml", CLEAN)]);
    for (shard, out) in [("0/2", "0.json"), ("1/2", "1.json")] {
        let seeds = ["--from", THIRD_LAST_SEED, "--seeds", "3", "--shard", shard, "--out", out];
        let output = folder.run(&[&["hunt", "clean.toml"][..], &seeds].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
    let merged = folder.run(&["merge", "0.json", "1.json"]);
    let text = stdout(&merged);
    assert!(text.contains("\n3 seeds in ") && !text.contains("ended early"), "{text}");
}

#[test]
fn command_that_would_play_no_run_is_bad_usage() {
    let folder = Folder::new(&[("clean.toml", CLEAN)]);
    for arguments in [
        &["run", "clean.toml", "--seeds", "0"][..],
        &["hunt", "clean.toml", "--seeds", "0"],
        &["hunt", "clean.toml", "--for", "0s"],
        &["hunt", "clean.toml", "--from", THIRD_LAST_SEED, "--seeds", "4"],
        &["hunt", "clean.toml", "--seeds", "2", "--shard", "2/3"],
        &["enumerate", "clean.toml", "--pairs", "0"],
        &["bugs", "clean.toml", "--seeds", "0"],
    ] {
        let output = folder.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stdout(&output));
        assert!(stderr(&output).starts_with("error: "), "{arguments:?}: {}", stderr(&output));
        assert!(!stderr(&output).contains("non-zero type"), "{}", stderr(&output));
        assert!(stdout(&output).is_empty(), "{arguments:?}: {}", stdout(&output));
    }
}

#[test]
fn every_command_fails_if_its_output_cannot_be_written() {
    let folder = Folder::new(&[("clean.toml", CLEAN)]);
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["run", "clean.toml"],
        &["run", "clean.toml", "--json"],
        &["hunt", "clean.toml", "--seeds", "2", "--json"],
        &["verify", "clean.toml"],
        &["fingerprint", "clean.toml"],
        &["replay", "clean.toml", "--seed", "1"],
        &["trace", "clean.toml", "--text"],
        &["report", "clean.toml"],
        &["completions", "bash"],
        &["man"],
    ] {
        let full = fs::File::options().write(true).open("/dev/full").expect("Linux has /dev/full");
        let mut command = Command::new(env!("CARGO_BIN_EXE_unisono-sim"));
        command.args(arguments).current_dir(folder.path()).stdout(full);
        let child = command.stderr(std::process::Stdio::piped()).spawn();
        let output = child.and_then(std::process::Child::wait_with_output);
        let output = output.expect("the program runs");
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
        let error = "error: cannot write standard output: No space left on device (os error 28)";
        assert_eq!(told.matches(error).count(), 1, "{arguments:?}: {told}");
    }
}
