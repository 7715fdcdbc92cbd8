//! `unisono doctor` finds every problem that would prevent or damage a run.

#![allow(missing_docs, reason = "a test program")]

#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use serde_json::Value;
use support::{DataDir, Folder, Labels, Listing, Process, unisono};

/// The result of `unisono doctor --json`.
struct Diagnosis {
    code: i32,
    /// The name, the outcome, and the text of each check. The text includes the remedy.
    checks: Vec<(String, String, String)>,
}

impl Diagnosis {
    /// Runs `unisono doctor` with these words.
    fn of(words: &str) -> Self {
        let output = unisono(&format!("doctor --json {words}")).output().expect("the program runs");
        Self::read(&output)
    }

    fn read(output: &std::process::Output) -> Self {
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        let json: Value = serde_json::from_slice(&output.stdout).expect("the output is JSON");
        let text = |check: &Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
        let check = |check: &Value| {
            let what = format!("{}; {}", text(check, "what"), text(check, "remedy"));
            (text(check, "name"), text(check, "outcome"), what)
        };
        let checks = json["checks"].as_array().expect("there are checks").iter().map(check);
        let code = output.status.code().expect("the program exits");
        assert_eq!(json["ok"].as_bool(), Some(code == 0));
        Self { code, checks: checks.collect() }
    }

    /// Asserts that the check `name` has this outcome and a text that contains `part`.
    #[track_caller]
    fn expect(&self, name: &str, outcome: &str, part: &str) {
        let is_expected = |(found, found_outcome, what): &&(String, String, String)| {
            found == name && found_outcome == outcome && what.contains(part)
        };
        assert!(self.checks.iter().any(|check| is_expected(&check)), "{:#?}", self.checks);
        let has_failure = self.checks.iter().any(|(_, outcome, _)| outcome == "fail");
        assert_eq!(self.code, i32::from(has_failure));
    }

    fn outcomes(&self) -> Vec<(&str, &str)> {
        self.checks.iter().map(|(name, outcome, _)| (&**name, &**outcome)).collect()
    }
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("the listener is bound").to_string()
}

#[test]
fn doctor_reports_no_problem_on_a_healthy_machine() {
    let folder = Folder::new();
    let diagnosis = Diagnosis::of(&format!("local --logdir {}", folder.logdir().display()));
    assert_eq!(diagnosis.code, 0, "{:#?}", diagnosis.checks);
    let names: Vec<_> = diagnosis.outcomes().iter().map(|(name, _)| *name).collect();
    let all = [
        "simd",
        "bits",
        "clock",
        "open-files",
        "shared-memory",
        "ports",
        "security",
        "data",
        "logdir",
        "space",
        "checkpoint",
    ];
    assert_eq!(names, all);
    assert!(!folder.logdir().exists(), "doctor creates no folder");
}

#[test]
fn doctor_prints_one_line_per_check_without_colour_to_a_pipe() {
    let output = unisono("doctor").output().expect("the program runs");
    let text = String::from_utf8(output.stdout).expect("the output is text");
    assert!(text.starts_with("ok    simd           "), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    let last = text.lines().last().expect("the output has lines");
    assert!(last == "No problems found." || last.starts_with("A run can start"), "{text}");
}

#[test]
fn unavailable_simd_level_is_a_failure() {
    let with = |level| {
        let output = unisono("doctor --json").env("UNISONO_SIMD", level).output();
        Diagnosis::read(&output.expect("the program runs"))
    };
    with("portable").expect("bits", "ok", "(portable)");
    with("mmx").expect("simd", "fail", "unset it, or set one of");
}

#[test]
fn port_in_use_is_a_failure_and_a_free_port_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let (taken, free) = (listener.local_addr().expect("the listener is bound"), free_address());
    let diagnosis = Diagnosis::of(&format!("ps --ps-hosts {taken},{free}"));
    diagnosis.expect("ports", "fail", "is taken");
    let diagnosis = Diagnosis::of(&format!("ps --task-id 1 --ps-hosts {taken},{free}"));
    diagnosis.expect("ports", "ok", &free);
    diagnosis.expect("peers", "ok", &format!("ps 0 listens at {taken}"));
    assert_eq!(diagnosis.code, 0);
}

#[test]
fn unreachable_ps_is_a_warning() {
    let folder = Folder::new();
    let address = free_address();
    let words = format!("worker --ps-hosts {address} --logdir {}", folder.logdir().display());
    let diagnosis = Diagnosis::of(&words);
    diagnosis.expect("peers", "warn", "tasks start in any order");
    assert_eq!(diagnosis.code, 0);
}

#[test]
fn unresolvable_name_is_a_failure_only_for_a_ps() {
    let free = free_address();
    let diagnosis = Diagnosis::of(&format!("ps --ps-hosts {free},no-such-host.invalid:1"));
    diagnosis.expect("names", "fail", "no-such-host.invalid of ps 1");
    let diagnosis =
        Diagnosis::of(&format!("ps --ps-hosts {free} --worker-hosts no-such-host.invalid:1"));
    diagnosis.expect("names", "warn", "no-such-host.invalid of worker 0");
}

#[test]
fn listening_beyond_this_machine_without_security_is_a_warning() {
    let diagnosis = Diagnosis::of("ps --ps-hosts 192.0.2.1:2222 --bind 127.0.0.1:1");
    diagnosis.expect("security", "warn", "--secret-file");
    let diagnosis = Diagnosis::of(&format!("ps --ps-hosts {}", free_address()));
    diagnosis.expect("security", "ok", "only this machine can call");
    // --bind decides where the ps listens, here at all addresses.
    let port = free_address().replace("127.0.0.1:", "");
    let words = format!("ps --ps-hosts localhost:{port} --bind 0.0.0.0:{port}");
    Diagnosis::of(&words).expect("security", "warn", "--secret-file");
}

#[test]
fn ps_that_other_machines_cannot_reach_is_a_warning_of_doctor_and_ps() {
    let address = free_address();
    let hosts = format!("--ps-hosts {address} --worker-hosts nodeb.invalid:2222");
    let diagnosis = Diagnosis::of(&format!("ps {hosts}"));
    diagnosis.expect(
        "ports",
        "warn",
        "such as worker 0 at nodeb.invalid:2222, cannot reach it; give ps 0",
    );
    let folder = Folder::new();
    let ended = folder.run(&format!("ps {hosts} --give-up-after 1"));
    ended.expect_code(138);
    let warned = format!("ps 0 listens at {address}, where tasks of other machines");
    assert!(ended.stderr.contains(&warned), "{}", ended.stderr);
    let diagnosis = Diagnosis::of(&format!("ps {hosts} --bind {address}"));
    diagnosis.expect("ports", "ok", &format!("can listen at {address}"));
}

#[test]
fn certificate_that_expires_within_thirty_days_is_a_warning() {
    let folder = Folder::new();
    let certs = |days: &str| {
        let dir = folder.join(days);
        let made = unisono(&format!("certs {} --days {days}", dir.display())).output();
        assert!(made.expect("the program runs").status.success());
        let path = |name: &str| dir.join(name).display().to_string();
        format!(
            "--tls-cert {} --tls-key {} --tls-ca {} --logdir {}",
            path("local.pem"),
            path("local-key.pem"),
            path("ca.pem"),
            folder.logdir().display()
        )
    };
    let long = certs("365");
    Diagnosis::of(&format!("local {long}")).expect("security", "ok", "valid");
    Diagnosis::of(&format!("local {}", certs("7"))).expect("security", "warn", "expires within 30");
    let other = long.replace("365/ca.pem", "7/ca.pem");
    Diagnosis::of(&format!("local {other}")).expect("security", "fail", "--tls-cert");
    let diagnosis = Diagnosis::of("local --secret-file no/such/file");
    diagnosis.expect("security", "fail", "cannot read --secret-file no/such/file");
}

#[test]
fn secret_that_other_users_can_read_is_a_warning() {
    let folder = Folder::new();
    let secret = folder.join("secret");
    fs::write(&secret, "0123456789abcdef0123456789abcdef").expect("the file can be written");
    let words = format!("local --secret-file {}", secret.display());
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644))
        .expect("this user owns the file");
    Diagnosis::of(&words).expect("security", "warn", "chmod 600");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))
        .expect("this user owns the file");
    Diagnosis::of(&words).expect("security", "ok", "the secret is long enough");
}

#[test]
fn ps_with_another_secret_is_a_failure() {
    let folder = Folder::new();
    let secret = |name: &str| {
        let path = folder.join(name);
        fs::write(&path, name.repeat(16)).expect("the file can be written");
        path.display().to_string()
    };
    let (right, wrong) = (secret("ab"), secret("cd"));
    let address = free_address();
    let flags = |secret: &str| format!("--ps-hosts {address} --secret-file {secret}");
    let ps = Process::start(unisono(&format!("ps {}", flags(&right))));
    let worker = |secret: &str| {
        let logdir = folder.logdir();
        Diagnosis::of(&format!("worker {} --logdir {}", flags(secret), logdir.display()))
    };
    let proved = "has authenticated itself";
    let mut diagnosis = worker(&right);
    while !diagnosis.checks.iter().any(|(_, _, what)| what.contains(proved)) {
        // The ps may not listen yet.
        diagnosis.expect("peers", "warn", "nobody listens");
        diagnosis = worker(&right);
    }
    diagnosis.expect("peers", "ok", proved);
    worker(&wrong).expect("peers", "fail", "the secrets of worker 0 and ps 0 differ");
    drop(ps);
}

#[test]
fn metrics_port_in_use_is_a_warning() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let taken = listener.local_addr().expect("the listener is bound");
    let words = |address: &str| format!("ps --ps-hosts {} --metrics {address}", free_address());
    Diagnosis::of(&words(&taken.to_string())).expect("metrics", "warn", "choose another --metrics");
    let free = free_address();
    Diagnosis::of(&words(&free)).expect("metrics", "ok", &free);
}

#[test]
fn checkpoint_that_cannot_be_resumed_is_a_failure() {
    let folder = Folder::new();
    let small = "--hidden 16 --batch-size 20 --training-steps 5";
    folder.run(&format!("reference {small}")).expect_code(0);
    let before = Listing::of(folder.path());
    let diagnosis = |flags: &str| {
        Diagnosis::of(&format!("local {small} {flags} --logdir {}", folder.logdir().display()))
    };
    diagnosis("").expect("checkpoint", "ok", "model.ckpt-5.safetensors");
    diagnosis("--seed 7").expect("checkpoint", "fail", "seed = 1 (this run: 7)");
    diagnosis("--seed 7 --allow-changed-settings").expect(
        "checkpoint",
        "warn",
        "seed = 1 (this run: 7)",
    );
    before.assert_unchanged(folder.path());

    fs::write(folder.logdir().join("checkpoint"), "?").expect("the file can be written");
    fs::write(folder.logdir().join("model.ckpt-9.safetensors"), "?")
        .expect("the file can be written");
    let diagnosis = diagnosis("");
    diagnosis.expect("checkpoint", "warn", "in the directory by step; no remedy");
    diagnosis.expect("checkpoint", "warn", "model.ckpt-9.safetensors is skipped");
    diagnosis.expect("checkpoint", "warn", "restore a good copy");
    diagnosis.expect("checkpoint", "ok", "model.ckpt-5.safetensors");
}

#[test]
fn unusable_data_set_is_a_failure() {
    let folder = Folder::new();
    let data = folder.join("data");
    Diagnosis::of(&format!("local --data-dir {}", data.display())).expect(
        "data",
        "fail",
        "data fetch",
    );
    DataDir::new(Labels::Right).write(&data);
    let words = format!("local {} --data-dir {}", DataDir::VALIDATION, data.display());
    Diagnosis::of(&format!("{words} --batch-size 451")).expect("data", "fail", "from 1 to 450");
    Diagnosis::of(&words).expect("data", "ok", "450 examples to train on");
    // A ps does not read data.
    let diagnosis = Diagnosis::of(&format!("ps --ps-hosts {} --data-dir no/such", free_address()));
    assert!(diagnosis.outcomes().iter().all(|(name, _)| *name != "data"));
}

#[test]
fn logdir_that_is_a_file_or_in_use_is_reported() {
    let folder = Folder::new();
    fs::write(folder.join("file"), "").expect("the file can be written");
    let diagnosis = Diagnosis::of(&format!("local --logdir {}", folder.join("file").display()));
    diagnosis.expect("logdir", "fail", "is a file");
    let logdir = folder.logdir();
    fs::create_dir(&logdir).expect("the folder can be made");
    let held = fs::File::open(&logdir).expect("the file can be opened");
    held.lock().expect("no other process holds the lock");
    let diagnosis = Diagnosis::of(&format!("local --logdir {}", logdir.display()));
    diagnosis.expect("logdir", "warn", "a run is writing");
    drop(held);
    assert_eq!(fs::read_dir(&logdir).expect("the folder can be listed").count(), 0);
    // Root may write to any folder, so this check applies to other users only.
    fs::set_permissions(&logdir, fs::Permissions::from_mode(0o555))
        .expect("this user owns the file");
    let diagnosis = Diagnosis::of(&format!("local --logdir {}", logdir.display()));
    if fs::write(logdir.join("probe"), "").is_err() {
        diagnosis.expect("logdir", "fail", "make it writable");
    }
}

#[test]
fn wrong_command_line_exits_with_2_in_doctor() {
    for words in ["doctor ps --task-id 2", "doctor local --batch-size 0", "doctor lokal"] {
        let output = unisono(words).output().expect("the program runs");
        assert_eq!(output.status.code(), Some(2), "{words}");
    }
}

#[test]
fn dangling_link_in_place_of_the_logdir_fails_in_doctor_and_at_the_start() {
    let folder = Folder::new();
    std::os::unix::fs::symlink(folder.join("nowhere"), folder.logdir()).expect("the name is free");
    let local = format!("local --training-steps 5 --logdir {}", folder.logdir().display());
    Diagnosis::of(&local).expect(
        "logdir",
        "fail",
        "nowhere, which does not exist; create the missing",
    );
    let run = folder.run("local --training-steps 5");
    run.expect_code(1);
    assert!(run.stderr.contains("nowhere, which does not exist; create the"), "{}", run.stderr);
    fs::create_dir(folder.join("nowhere")).expect("the name is free");
    Diagnosis::of(&local).expect("logdir", "ok", "can write files in");
    folder.run("local --training-steps 5").expect_code(0);
}

#[test]
fn unlistable_parent_folder_does_not_prevent_a_run() {
    let folder = Folder::new();
    // Root may list every folder. As root, this test therefore runs the program as the user nobody,
    // from a copy that nobody can reach.
    let scratch = folder.join("scratch");
    let program = folder.join("program");
    fs::copy(support::program(), &program).expect("there is room");
    fs::create_dir(&scratch).expect("the name is free");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))
        .expect("this user owns the file");
    let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    let mode = |mode| {
        fs::set_permissions(&scratch, fs::Permissions::from_mode(mode))
            .expect("this user owns the file");
    };
    mode(if is_root { 0o1733 } else { 0o333 });
    let nobody = |words: &str| {
        let mut command = Command::new(&program);
        command.current_dir(folder.path()).args(words.split_whitespace());
        if is_root {
            command.uid(65534).gid(65534);
        }
        command.output().expect("the program runs")
    };
    let local = format!("local --training-steps 5 --logdir {}", scratch.join("run").display());
    Diagnosis::read(&nobody(&format!("doctor --json {local}"))).expect(
        "logdir",
        "ok",
        "can write files in",
    );
    assert!(!scratch.join("run").exists(), "doctor creates no folder");
    let run = nobody(&local);
    mode(0o755);
    assert_eq!(run.status.code(), Some(0), "{}", String::from_utf8_lossy(&run.stderr));
}
