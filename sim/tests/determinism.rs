//! A scenario and a seed give the same run in every process: addresses, the wall clock and other
//! differences between two processes have no influence.

#![allow(missing_docs, reason = "a test program")]

mod support;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use unisono_sim::run::played::PlayOptions;

use crate::support::{caches, sources};

const SEEDS: u64 = 3;
/// The variable with the path to which a process that this test started writes its runs.
const RECORD: &str = "UNISONO_TEST_RECORD";
const TEST: &str = "every_scenario_plays_the_same_run_in_two_processes";

#[test]
fn every_scenario_plays_the_same_run_in_two_processes() {
    if let Some(path) = std::env::var_os(RECORD) {
        let forwards = path.to_str().is_some_and(|path| path.ends_with("forwards"));
        fs::write(path, audits(forwards)).expect("the record can be written");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (one, other) = (folder.path().join("forwards"), folder.path().join("backwards"));
    let children = [start(&one), start(&other)];
    for mut child in children {
        assert!(child.wait().expect("a child can be waited for").success());
    }
    let read = |path: PathBuf| fs::read_to_string(path).expect("the process has written it");
    let (one, other) = (read(one), read(other));
    let n_runs = sources().len() * SEEDS as usize;
    assert_eq!(one.lines().count(), n_runs);
    let mut differing = one.lines().zip(other.lines()).filter(|(one, other)| one != other);
    assert_eq!(differing.next(), None);
}

fn start(record: &Path) -> std::process::Child {
    let program = std::env::current_exe().expect("this program has a file");
    let mut command = Command::new(program);
    command.args(["--exact", TEST]).env(RECORD, record);
    command.stdout(Stdio::null()).spawn().expect("this program starts")
}

/// Returns a line for each run. The two processes play the runs in opposite orders, so that
/// anything that one run leaves behind for the next is found, too.
fn audits(forwards: bool) -> String {
    let sources = sources();
    let mut cases: Vec<_> = sources
        .iter()
        .flat_map(|source| (0..SEEDS).map(move |seed| (source.name(), source.case(seed))))
        .collect();
    if !forwards {
        cases.reverse();
    }
    let line = |(name, case): &(String, unisono_sim::many::case::Case)| {
        let played = case.play(caches(), PlayOptions::default());
        let mut line = String::new();
        let (failure, seed) = (played.failure.map(|f| f.signature()), case.seed);
        write!(line, "{name} {seed} {} {} {failure:?}", played.audit, played.n_events)
            .expect("a string takes everything");
        for (_, _, loss) in &played.losses {
            write!(line, " {:x}", loss.to_bits()).expect("a string takes everything");
        }
        line
    };
    let mut lines: Vec<_> = cases.iter().map(line).collect();
    if !forwards {
        lines.reverse();
    }
    lines.join("\n")
}
