//! The program as a user's shell runs it: what it prints where, and its exit codes.

#![allow(missing_docs, reason = "a test program")]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

fn unisono(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_unisono"));
    command.args(arguments).env_remove("UNISONO_LOG").output().expect("the program runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("errors are text")
}

#[test]
fn help_goes_to_standard_output_and_is_a_success() {
    for arguments in [&["--help"][..], &["local", "-h"], &["--job_name=ps", "--help"]] {
        let output = unisono(arguments);
        assert!(output.status.success(), "{arguments:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn program_without_arguments_prints_the_help_and_exits_with_2() {
    for tf_config in [None, Some(" ")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_unisono"));
        command.env_remove("TF_CONFIG").envs(tf_config.map(|value| ("TF_CONFIG", value)));
        let output = command.output().expect("the program runs");
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty());
        let help = stderr(&output);
        assert!(help.contains("Usage: unisono <COMMAND>"), "{help}");
        assert!(help.contains("A local cluster of 2 ps and 2 workers"), "{help}");
    }
}

#[test]
fn a_wrong_command_line_is_one_error_and_exit_code_2() {
    for arguments in [
        &["--job_name=ps", "--task_id=2"][..],
        &["worker", "--ps_hosts=a:1", "--worker_hosts=a:1"],
        &["local", "--momentum", "0.9"],
        &["local", "--config", "no/such.toml"],
        &["local", "--batch-size", "0"],
        &["local", "--learning-rate", "-1"],
        &["wroker"],
    ] {
        let output = unisono(arguments);
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert_eq!(error.matches("error: ").count(), 1, "{error}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_wrong_file_is_told_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    std::fs::write(&path, "[train]\n\nbatch_sise = 3\n").unwrap();
    let output = unisono(&["local", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let expected = "run.toml:3: unknown key batch_sise in [train]; did you mean batch_size?\n";
    assert!(stderr(&output).ends_with(expected), "{}", stderr(&output));
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("output is text")
}

#[test]
fn a_shell_takes_the_completions_of_bash() {
    let program = env!("CARGO_BIN_EXE_unisono");
    let script = format!(
        "source <({program} completions bash) && complete -p unisono && COMP_WORDS=(unisono loc) \
         COMP_CWORD=1 && _unisono unisono loc unisono && echo \"${{COMPREPLY[@]}}\" && \
         COMP_WORDS=(unisono local --learning-rate-d) COMP_CWORD=2 && \
         _unisono unisono --learning-rate-d local && echo \"${{COMPREPLY[@]}}\""
    );
    let output = Command::new("bash").args(["-c", &script]).output().expect("there is a bash");
    assert!(output.status.success(), "{}", stderr(&output));
    let told = stdout(&output);
    assert!(told.contains("-F _unisono"), "{told}");
    assert!(told.ends_with("\nlocal\n--learning-rate-decay\n"), "{told}");
}

#[test]
fn every_shell_has_completions() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = unisono(&["completions", shell]);
        assert!(output.status.success(), "{shell}: {}", stderr(&output));
        let script = stdout(&output);
        assert!(script.contains("replicas-to-aggregate"), "{shell}");
    }
    assert_eq!(unisono(&["completions", "tcsh"]).status.code(), Some(2));
}

#[test]
fn every_command_has_a_page_of_the_manual() {
    let folder = tempfile::tempdir().unwrap();
    let output = unisono(&["man", folder.path().to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    let entries = std::fs::read_dir(folder.path()).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let expected = [
        "unisono-audit.1",
        "unisono-certs.1",
        "unisono-completions.1",
        "unisono-data-fetch.1",
        "unisono-data-info.1",
        "unisono-data.1",
        "unisono-doctor-local.1",
        "unisono-doctor-ps.1",
        "unisono-doctor-worker.1",
        "unisono-doctor.1",
        "unisono-eval.1",
        "unisono-local.1",
        "unisono-man.1",
        "unisono-ps.1",
        "unisono-reference.1",
        "unisono-worker.1",
        "unisono.1",
    ];
    for name in expected {
        assert!(names.iter().any(|found| found == name), "no {name} in {names:?}");
        let page = std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(page.contains(".TH UNISONO") && page.contains(".SH NAME"), "{name}");
    }
    let first = unisono(&["man"]);
    let page = std::fs::read_to_string(folder.path().join("unisono.1")).unwrap();
    assert_eq!(stdout(&first).trim_end(), page.trim_end());
}

#[test]
fn a_fetch_without_a_server_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mirror = format!("http://{free}/");
    let data = folder.path().join("data");
    let arguments = ["data", "fetch", "--mirror", &mirror, "--data-dir", data.to_str().unwrap()];
    let output = unisono(&arguments);
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    assert!(told.contains("train-images-idx3-ubyte.gz could not be fetched"), "{told}");
    assert!(told.contains("fetch the files on another machine and copy the folder"), "{told}");
    assert_eq!(std::fs::read_dir(data).unwrap().count(), 0, "nothing is left");
    let output = unisono(&["data", "fetch", "--mirror", "files.example.org"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

/// The program in a folder of its own. A link: a file that was just written may still be busy.
fn elsewhere() -> (TempDir, PathBuf) {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder can be made");
    let program = folder.path().join("unisono");
    std::fs::hard_link(env!("CARGO_BIN_EXE_unisono"), &program).expect("a file can be linked");
    (folder, program)
}

#[test]
fn sim_is_the_program_beside_this_one_with_its_arguments_and_exit_code() {
    let (folder, program) = elsewhere();
    std::os::unix::fs::symlink("/bin/sh", folder.path().join("unisono-sim")).unwrap();
    let script = "echo \"$@\"; exit 7";
    let arguments = ["sim", "-c", script, "sh", "--trace_out=x", "--help", "a_b"];
    let output = Command::new(program).args(arguments).output().unwrap();
    assert_eq!(output.stdout, b"--trace_out=x --help a_b\n");
    assert_eq!(output.status.code(), Some(7));
}

#[test]
fn without_the_simulators_program_sim_says_how_to_get_it() {
    let (folder, program) = elsewhere();
    let output = Command::new(program).arg("sim").env("PATH", folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cannot run unisono-sim"), "{}", stderr(&output));
}

/// A run of a few steps, and its checkpoint.
fn trained() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let logdir = folder.path().join("run").display().to_string();
    let output = unisono(&["reference", "--hidden=", "--training-steps=3", "--logdir", &logdir]);
    assert!(output.status.success(), "{}", stderr(&output));
    let checkpoint = folder.path().join("run/model.ckpt-3.safetensors");
    (folder, checkpoint)
}

#[test]
fn inspect_finds_the_newest_checkpoint_and_exits_with_1_for_a_damaged_one() {
    let (folder, checkpoint) = trained();
    let run = folder.path().join("run").display().to_string();
    let output = unisono(&["inspect", &run, "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let seen: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(seen["path"], checkpoint.display().to_string());
    assert_eq!(seen["step"], 3);
    assert!(seen["damage"].is_null());
    assert_eq!(seen["settings"]["seed"], "1");

    let mut bytes = std::fs::read(&checkpoint).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&checkpoint, bytes).unwrap();
    let output = unisono(&["inspect", checkpoint.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("is DAMAGED: its content has the digest"), "{shown}");
    assert!(shown.contains("layer1/weights"), "what can be read is shown: {shown}");
    let output = unisono(&["inspect", &run]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no checkpoint in"), "{}", stderr(&output));
}

#[test]
fn convert_and_back_is_the_same_file_and_writes_over_another_only_if_told() {
    let (folder, checkpoint) = trained();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (from, npz) = (checkpoint.display().to_string(), path("model.npz"));
    let back = path("model.ckpt-3.safetensors");
    assert!(unisono(&["convert", &from, &npz]).status.success());
    std::fs::write(&back, "precious").unwrap();
    let refused = unisono(&["convert", &npz, &back]);
    assert_eq!(refused.status.code(), Some(1));
    let expected = "exists: choose another name, or give --force to overwrite it\n";
    assert!(stderr(&refused).ends_with(expected), "{}", stderr(&refused));
    assert_eq!(std::fs::read(&back).unwrap(), b"precious");

    let output = unisono(&["convert", &npz, &back, "--force"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(output.stdout, format!("{back} has the checkpoint of step 3.\n").as_bytes());
    assert_eq!(std::fs::read(&back).unwrap(), std::fs::read(&checkpoint).unwrap());
    let left = std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(left, 3, "nothing is left beside");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    for arguments in [&["inspect", "no/such.npz"][..], &["convert", "no/such.npz", "x.safetensors"]]
    {
        let output = unisono(arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("cannot read no/such.npz"), "{}", stderr(&output));
    }
}

/// `unisono` with its standard output in the hands of the test.
fn unisono_into(stdout: impl Into<Stdio>, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_unisono"));
    let command = command.args(arguments).env_remove("UNISONO_LOG").stdout(stdout);
    let child = command.stderr(Stdio::piped()).spawn().expect("the program starts");
    child.wait_with_output().expect("the program runs")
}

#[test]
fn output_on_a_full_disk_is_an_error_of_every_command_and_a_closed_pipe_is_none() {
    let (folder, checkpoint) = trained();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (run, checkpoint) = (path("run"), checkpoint.display().to_string());
    let small = ["--hidden=", "--training-steps=3", "--progress=none", "--logdir"];
    let (serial_run, local_run) = (path("reference"), path("local"));
    let (certs, npz) = (path("certs"), path("model.npz"));
    let reference = [&["reference"][..], &small, &[&*serial_run]].concat();
    let local = [&["local", "--ledger", "--trace"][..], &small, &[&*local_run]].concat();
    assert!(unisono(&local).status.success());
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["local", "--help"],
        &["data", "info"],
        &["doctor", "local", "--json"],
        &["inspect", &checkpoint],
        &["inspect", &checkpoint, "--json"],
        &["eval", "--logdir", &run],
        &["audit", &local_run],
        &["report", &local_run],
        &["trace", &local_run],
        &["top", "--once", &local_run],
        &["completions", "bash"],
        &["man"],
        &local,
        &reference,
        &["convert", &checkpoint, &npz, "--force"],
        &["certs", &certs],
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("Linux has it");
        let output = unisono_into(full, arguments);
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
        let error = "error: cannot write standard output: No space left on device (os error 28)";
        assert_eq!(told.matches(error).count(), 1, "{arguments:?}: {told}");

        // The files of certificates are not written over.
        let _ = std::fs::remove_dir_all(&certs);
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = unisono_into(writer, arguments);
        let (code, told) = (output.status.code(), stderr(&output));
        let is_doctor = arguments[0] == "doctor";
        assert!(code == Some(0) || (is_doctor && code == Some(1)), "{arguments:?}: {told}");
        assert!(!told.contains("standard output"), "{arguments:?}: {told}");
    }
}

#[test]
fn inspect_shows_a_cell_of_any_length() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("long.safetensors");
    let value = "x".repeat(1 << 16);
    let header = format!(r#"{{"__metadata__":{{"key":"{value}"}}}}"#);
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    std::fs::write(&path, bytes).expect("a file can be written");
    let output = unisono(&["inspect", path.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains(&format!("key  {value}\n")));
}
