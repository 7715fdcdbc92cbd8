//! Bad flags, configuration files, environment variables and logdirs.

use std::fs;

use crate::support::{Folder, Listing, Process, unisono};

const SMALL: &str = "--hidden 16 --batch-size 20 --training-steps 5 --progress none";

#[test]
fn error_for_a_value_out_of_range_names_the_value_and_the_range() {
    let folder = Folder::new();
    for (flags, message) in [
        ("--learning-rate 0", ["'0'", "'--learning-rate <RATE>'", "a number above 0"]),
        ("--learning-rate -0.5", ["'-0.5'", "'--learning-rate <RATE>'", "a number above 0"]),
        ("--learning-rate nan", ["'nan'", "'--learning-rate <RATE>'", "a number above 0"]),
        ("--learning-rate-decay -1", ["'-1'", "'--learning-rate-decay <FACTOR>'", "above 0"]),
        ("--regularization-rate -1", ["'-1'", "'--regularization-rate <RATE>'", "0 or above"]),
        ("--replicas-to-aggregate 0", ["'0'", "'--replicas-to-aggregate <R>'", "from 1 to 4096"]),
        ("--batch-size 0", ["'0'", "'--batch-size <N>'", "at least 1"]),
        ("--training-steps 0", ["'0'", "'--training-steps <STEPS>'", "at least 1"]),
        ("--workers 0", ["'0'", "'--workers <N>'", "from 1 to 64"]),
    ] {
        for command in ["local", "reference"] {
            let ended = folder.run(&format!("{command} {flags}"));
            ended.expect_error(2, &message);
            assert!(ended.stdout.is_empty());
        }
    }
    assert!(!folder.logdir().exists());
}

#[test]
fn error_for_an_unknown_key_names_its_line_and_the_closest_key() {
    let folder = Folder::new();
    let file = folder.join("run.toml");
    for (text, message) in [
        ("[train]\nlearning_rat = 0.1\n", ["run.toml:2", "learning_rat", "learning_rate?"]),
        ("[trian]\nseed = 1\n", ["run.toml:1", "[trian]", "[train]?"]),
        ("[sync]\nreplicas_to_aggregate = 0\n", ["run.toml:2", "0", "from 1 to 4096"]),
    ] {
        fs::write(&file, text).expect("a file can be written");
        let ended = folder.run(&format!("local --config {}", file.display()));
        ended.expect_error(2, &message);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
    assert!(!folder.logdir().exists());
}

#[test]
fn missing_folder_is_reported_as_missing() {
    for words in ["audit no/such", "report no/such", "trace no/such", "data info no/such"] {
        let ended = Process::start(unisono(words)).wait();
        let message = format!("{}{}", ended.stdout, ended.stderr);
        assert_eq!(message.matches("there is no folder no/such").count(), 1, "{words}: {message}");
        assert!(!message.contains("os error"), "{words}: {message}");
    }
}

#[test]
fn invalid_log_filter_is_reported_once() {
    let folder = Folder::new();
    let mut command = folder.command(&format!("local {SMALL}"));
    command.env("UNISONO_LOG", "lots");
    let ended = Process::start(command).wait();
    let message = "UNISONO_LOG=lots is ignored: give error, warn, info, debug or trace";
    assert_eq!(ended.expect_code(0).stderr.matches(message).count(), 1, "{}", ended.stderr);
}

#[test]
fn error_for_an_unknown_simd_level_lists_the_available_levels() {
    for words in [
        "local",
        "reference",
        "eval",
        "worker --ps-hosts localhost:1 --worker-hosts localhost:2",
        "ps --ps-hosts localhost:1 --worker-hosts localhost:2",
    ] {
        let folder = Folder::new();
        let mut command = folder.command(words);
        command.env("UNISONO_SIMD", "sse9");
        let ended = Process::start(command).wait();
        ended.expect_error(2, &["UNISONO_SIMD is \"sse9\"", "set one of: ", "portable"]);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(!folder.logdir().exists());
    }
}

#[test]
fn file_in_place_of_the_logdir_is_not_overwritten() {
    for command in ["local", "reference", "eval"] {
        let folder = Folder::new();
        fs::write(folder.logdir(), "precious").expect("a file can be written");
        let before = Listing::of(folder.path());
        let small = if command == "eval" { "" } else { SMALL };
        let ended = folder.run(&format!("{command} {small}"));
        let logdir = folder.logdir();
        let message = [logdir.to_str().expect("text"), "choose another --logdir"];
        ended.expect_code(1).expect_stderr(&message);
        before.assert_unchanged(folder.path());
    }
}

#[test]
fn logdir_below_a_file_is_refused() {
    let folder = Folder::new();
    fs::write(folder.join("file"), "precious").expect("a file can be written");
    let before = Listing::of(folder.path());
    let mut command = unisono(&format!("reference {SMALL}"));
    command.arg("--logdir").arg(folder.join("file").join("logdir"));
    Process::start(command).wait().expect_error(1, &["file/logdir", "choose another --logdir"]);
    before.assert_unchanged(folder.path());
}

#[test]
fn initial_values_of_another_model_are_refused() {
    let folder = Folder::new();
    let golden = crate::support::fixture("golden/init.safetensors");
    fs::write(folder.join("text"), "not tensors at all").expect("a file can be written");
    for (hidden, file, message) in [
        ("32", folder.join("none"), ["none: ", "cannot be read", "give --init-from"]),
        ("32", folder.join("text"), ["text: ", "it is truncated", "give --init-from"]),
        ("16", golden.clone(), ["layer1/weights", "[784, 32]", "[784, 16]"]),
        ("32,10", golden, ["has no tensor layer3/weights", "init.safetensors", "--init-from"]),
    ] {
        for command in ["local", "reference"] {
            let words = format!("{command} {SMALL}").replace("--hidden 16", "");
            let words = format!("{words} --hidden {hidden} --init-from {}", file.display());
            let ended = folder.run(&words);
            ended.expect_error(1, &message);
            assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        }
    }
    assert!(!folder.logdir().exists());
}
