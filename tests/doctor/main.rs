//! `unisono doctor`: each thing that would keep a run from starting, or spoil it, is found.

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

/// The exit code, and of each check the outcome, what there is and what to do.
struct Told {
    code: i32,
    checks: Vec<(String, String, String)>,
}

impl Told {
    fn by(words: &str) -> Self {
        let output = unisono(&format!("doctor --json {words}")).output().expect("it runs");
        Self::read(&output)
    }

    fn read(output: &std::process::Output) -> Self {
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        let json: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
        let text = |check: &Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
        let check = |check: &Value| {
            let what = format!("{}; {}", text(check, "what"), text(check, "remedy"));
            (text(check, "name"), text(check, "outcome"), what)
        };
        let checks = json["checks"].as_array().expect("there are checks").iter().map(check);
        let code = output.status.code().expect("it exits");
        assert_eq!(json["ok"].as_bool(), Some(code == 0));
        Self { code, checks: checks.collect() }
    }

    /// The check has this outcome, and says this.
    #[track_caller]
    fn expect(&self, name: &str, outcome: &str, says: &str) {
        let is_it = |(of, is, what): &&(String, String, String)| {
            of == name && is == outcome && what.contains(says)
        };
        assert!(self.checks.iter().any(|check| is_it(&check)), "{:#?}", self.checks);
        assert_eq!(self.code, i32::from(self.checks.iter().any(|(_, is, _)| is == "fail")));
    }

    fn outcomes(&self) -> Vec<(&str, &str)> {
        self.checks.iter().map(|(name, outcome, _)| (&**name, &**outcome)).collect()
    }
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("it is bound").to_string()
}

#[test]
fn a_machine_that_is_well_has_nothing_to_mend() {
    let folder = Folder::new();
    let told = Told::by(&format!("local --logdir {}", folder.logdir().display()));
    assert_eq!(told.code, 0, "{:#?}", told.checks);
    let names: Vec<_> = told.outcomes().iter().map(|(name, _)| *name).collect();
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
    assert!(!folder.logdir().exists(), "nothing is made");
}

#[test]
fn it_prints_a_line_each_with_no_colour_where_nobody_sees_it() {
    let output = unisono("doctor").output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("it is text");
    assert!(text.starts_with("ok    simd           "), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    let last = text.lines().last().expect("it has lines");
    assert!(last == "No problems found." || last.starts_with("A run can start"), "{text}");
}

#[test]
fn a_simd_level_that_is_forced_has_to_be_there() {
    let with = |level| {
        let output = unisono("doctor --json").env("UNISONO_SIMD", level).output();
        Told::read(&output.expect("it runs"))
    };
    with("portable").expect("bits", "ok", "(portable)");
    with("mmx").expect("simd", "fail", "unset it, or set one of");
}

#[test]
fn a_port_that_is_taken_is_a_failure_and_one_that_is_free_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let (taken, free) = (listener.local_addr().expect("it is bound"), free_address());
    let told = Told::by(&format!("ps --ps-hosts {taken},{free}"));
    told.expect("ports", "fail", "is taken");
    let told = Told::by(&format!("ps --task-id 1 --ps-hosts {taken},{free}"));
    told.expect("ports", "ok", &free);
    told.expect("peers", "ok", &format!("ps 0 listens at {taken}"));
    assert_eq!(told.code, 0);
}

#[test]
fn a_ps_that_is_not_there_yet_is_a_warning() {
    let folder = Folder::new();
    let address = free_address();
    let words = format!("worker --ps-hosts {address} --logdir {}", folder.logdir().display());
    let told = Told::by(&words);
    told.expect("peers", "warn", "tasks start in any order");
    assert_eq!(told.code, 0);
}

#[test]
fn a_name_without_an_address_is_a_failure_of_a_ps_only() {
    let free = free_address();
    let told = Told::by(&format!("ps --ps-hosts {free},no-such-host.invalid:1"));
    told.expect("names", "fail", "no-such-host.invalid of ps 1");
    let told = Told::by(&format!("ps --ps-hosts {free} --worker-hosts no-such-host.invalid:1"));
    told.expect("names", "warn", "no-such-host.invalid of worker 0");
}

#[test]
fn whoever_can_be_called_from_elsewhere_is_told_about_security() {
    let told = Told::by("ps --ps-hosts 192.0.2.1:2222 --bind 127.0.0.1:1");
    told.expect("security", "warn", "--secret-file");
    let told = Told::by(&format!("ps --ps-hosts {}", free_address()));
    told.expect("security", "ok", "only this machine can call");
    // It listens at all addresses, whatever its name leads to.
    let port = free_address().replace("127.0.0.1:", "");
    let words = format!("ps --ps-hosts localhost:{port} --bind 0.0.0.0:{port}");
    Told::by(&words).expect("security", "warn", "--secret-file");
}

#[test]
fn ps_that_other_machines_cannot_reach_is_a_warning_of_doctor_and_of_ps() {
    let address = free_address();
    let hosts = format!("--ps-hosts {address} --worker-hosts nodeb.invalid:2222");
    let told = Told::by(&format!("ps {hosts}"));
    told.expect(
        "ports",
        "warn",
        "such as worker 0 at nodeb.invalid:2222, cannot reach it; give ps 0",
    );
    let folder = Folder::new();
    let ended = folder.run(&format!("ps {hosts} --give-up-after 1"));
    ended.expect_code(138);
    let warned = format!("ps 0 listens at {address}, where tasks of other machines");
    assert!(ended.stderr.contains(&warned), "{}", ended.stderr);
    let told = Told::by(&format!("ps {hosts} --bind {address}"));
    told.expect("ports", "ok", &format!("can listen at {address}"));
}

#[test]
fn certificates_are_looked_at_now_and_in_thirty_days() {
    let folder = Folder::new();
    let certs = |days: &str| {
        let dir = folder.join(days);
        let made = unisono(&format!("certs {} --days {days}", dir.display())).output();
        assert!(made.expect("it runs").status.success());
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
    Told::by(&format!("local {long}")).expect("security", "ok", "valid");
    Told::by(&format!("local {}", certs("7"))).expect("security", "warn", "expires within 30");
    let other = long.replace("365/ca.pem", "7/ca.pem");
    Told::by(&format!("local {other}")).expect("security", "fail", "--tls-cert");
    let told = Told::by("local --secret-file no/such/file");
    told.expect("security", "fail", "cannot read --secret-file no/such/file");
}

#[test]
fn a_secret_that_others_can_read_is_a_warning() {
    let folder = Folder::new();
    let secret = folder.join("secret");
    fs::write(&secret, "0123456789abcdef0123456789abcdef").expect("it can be written");
    let words = format!("local --secret-file {}", secret.display());
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).expect("it is ours");
    Told::by(&words).expect("security", "warn", "chmod 600");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("it is ours");
    Told::by(&words).expect("security", "ok", "the secret is long enough");
}

#[test]
fn a_ps_that_has_another_secret_is_a_failure() {
    let folder = Folder::new();
    let secret = |name: &str| {
        let path = folder.join(name);
        fs::write(&path, name.repeat(16)).expect("it can be written");
        path.display().to_string()
    };
    let (right, wrong) = (secret("ab"), secret("cd"));
    let address = free_address();
    let flags = |secret: &str| format!("--ps-hosts {address} --secret-file {secret}");
    let ps = Process::start(unisono(&format!("ps {}", flags(&right))));
    let worker = |secret: &str| {
        let logdir = folder.logdir();
        Told::by(&format!("worker {} --logdir {}", flags(secret), logdir.display()))
    };
    let proved = "has authenticated itself";
    let mut told = worker(&right);
    while !told.checks.iter().any(|(_, _, what)| what.contains(proved)) {
        told.expect("peers", "warn", "nobody listens"); // yet
        told = worker(&right);
    }
    told.expect("peers", "ok", proved);
    worker(&wrong).expect("peers", "fail", "the secret of worker 0 differs from that of ps 0");
    drop(ps);
}

#[test]
fn a_port_of_metrics_that_is_taken_is_a_warning() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let taken = listener.local_addr().expect("it is bound");
    let words = |address: &str| format!("ps --ps-hosts {} --metrics {address}", free_address());
    Told::by(&words(&taken.to_string())).expect("metrics", "warn", "choose another --metrics");
    let free = free_address();
    Told::by(&words(&free)).expect("metrics", "ok", &free);
}

#[test]
fn a_checkpoint_that_cannot_be_gone_on_from_is_a_failure() {
    let folder = Folder::new();
    let small = "--hidden 16 --batch-size 20 --training-steps 5";
    folder.run(&format!("reference {small}")).expect_code(0);
    let before = Listing::of(folder.path());
    let told = |flags: &str| {
        Told::by(&format!("local {small} {flags} --logdir {}", folder.logdir().display()))
    };
    told("").expect("checkpoint", "ok", "model.ckpt-5.safetensors");
    told("--seed 7").expect("checkpoint", "fail", "seed = 1, and not 7");
    told("--seed 7 --allow-changed-settings").expect("checkpoint", "warn", "seed = 1, and not 7");
    before.assert_unchanged(folder.path());

    fs::write(folder.logdir().join("checkpoint"), "?").expect("it can be written");
    fs::write(folder.logdir().join("model.ckpt-9.safetensors"), "?").expect("it can be written");
    let told = told("");
    told.expect("checkpoint", "warn", "used by their steps instead; no remedy");
    told.expect("checkpoint", "warn", "model.ckpt-9.safetensors is skipped");
    told.expect("checkpoint", "warn", "restore a good copy");
    told.expect("checkpoint", "ok", "model.ckpt-5.safetensors");
}

#[test]
fn data_that_cannot_be_trained_on_are_a_failure() {
    let folder = Folder::new();
    let data = folder.join("data");
    Told::by(&format!("local --data-dir {}", data.display())).expect("data", "fail", "data fetch");
    DataDir::new(Labels::Right).write(&data);
    let words = format!("local {} --data-dir {}", DataDir::VALIDATION, data.display());
    Told::by(&format!("{words} --batch-size 451")).expect("data", "fail", "from 1 to 450");
    Told::by(&words).expect("data", "ok", "450 examples to train on");
    // A ps reads none.
    let told = Told::by(&format!("ps --ps-hosts {} --data-dir no/such", free_address()));
    assert!(told.outcomes().iter().all(|(name, _)| *name != "data"));
}

#[test]
fn a_logdir_that_is_a_file_or_in_use_is_told() {
    let folder = Folder::new();
    fs::write(folder.join("file"), "").expect("it can be written");
    let told = Told::by(&format!("local --logdir {}", folder.join("file").display()));
    told.expect("logdir", "fail", "is a file");
    let logdir = folder.logdir();
    fs::create_dir(&logdir).expect("it can be made");
    let held = fs::File::open(&logdir).expect("it can be opened");
    held.lock().expect("nobody has it");
    let told = Told::by(&format!("local --logdir {}", logdir.display()));
    told.expect("logdir", "warn", "a run is writing");
    drop(held);
    assert_eq!(fs::read_dir(&logdir).expect("it can be listed").count(), 0);
    // Root may write everywhere.
    fs::set_permissions(&logdir, fs::Permissions::from_mode(0o555)).expect("it is ours");
    let told = Told::by(&format!("local --logdir {}", logdir.display()));
    if fs::write(logdir.join("probe"), "").is_err() {
        told.expect("logdir", "fail", "make it writable");
    }
}

#[test]
fn a_wrong_command_line_is_one_as_ever() {
    for words in ["doctor ps --task-id 2", "doctor local --batch-size 0", "doctor lokal"] {
        let output = unisono(words).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{words}");
    }
}

#[test]
fn dangling_link_in_place_of_the_logdir_is_a_failure_in_doctor_and_at_the_start() {
    let folder = Folder::new();
    std::os::unix::fs::symlink(folder.join("nowhere"), folder.logdir()).expect("it is free");
    let local = format!("local --training-steps 5 --logdir {}", folder.logdir().display());
    Told::by(&local).expect("logdir", "fail", "nowhere, which does not exist; make the missing");
    let run = folder.run("local --training-steps 5");
    run.expect_code(1);
    assert!(run.stderr.contains("nowhere, which does not exist; make the"), "{}", run.stderr);
    fs::create_dir(folder.join("nowhere")).expect("it is free");
    Told::by(&local).expect("logdir", "ok", "can write files");
    folder.run("local --training-steps 5").expect_code(0);
}

#[test]
fn parent_folder_that_may_not_be_listed_keeps_no_run_from_starting() {
    let folder = Folder::new();
    // Root may list every folder, so the program runs as nobody, who has to reach the program, too.
    let scratch = folder.join("scratch");
    let program = folder.join("program");
    fs::copy(support::program(), &program).expect("there is room");
    fs::create_dir(&scratch).expect("it is free");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    let mode = |mode| {
        fs::set_permissions(&scratch, fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    mode(if is_root { 0o1733 } else { 0o333 });
    let nobody = |words: &str| {
        let mut command = Command::new(&program);
        command.current_dir(folder.path()).args(words.split_whitespace());
        if is_root {
            command.uid(65534).gid(65534);
        }
        command.output().expect("it runs")
    };
    let local = format!("local --training-steps 5 --logdir {}", scratch.join("run").display());
    Told::read(&nobody(&format!("doctor --json {local}"))).expect(
        "logdir",
        "ok",
        "can write files",
    );
    assert!(!scratch.join("run").exists(), "nothing is made");
    let run = nobody(&local);
    mode(0o755);
    assert_eq!(run.status.code(), Some(0), "{}", String::from_utf8_lossy(&run.stderr));
}
