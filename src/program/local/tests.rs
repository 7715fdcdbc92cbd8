//! Tests with real processes. In most tests, a shell replaces the task.

use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, RawFd};
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;
use unisono_learn::Workload;

use tokio::sync::mpsc;

use super::child::ChildCommand;
use super::supervise::{Ending, Limits, View, supervise};
use super::*;
use crate::program::argv::CommandLine;
use crate::program::{Action, ParentWatch, StopReason, args};
use unisono_config::{Environment, SecurityConfig};
use unisono_core::train_config::{ClusterSize, Placement};
use unisono_task::task_config::TaskConfig;

/// A limit that is only reached if a test fails.
const LONG: Duration = Duration::from_secs(120);
const AT_ONCE: Duration = Duration::from_millis(1);
const AMPLE: Limits = Limits { chief: LONG, rest: LONG, restarts: None };

/// Returns the limits of [`AMPLE`], with restarts and without pauses before them.
const fn supervised(max_restarts: u32) -> Limits {
    let restarts = RestartLimits {
        max_restarts,
        window: LONG,
        first_pause: AT_ONCE,
        longest_pause: AT_ONCE,
        steady_after: LONG,
    };
    Limits { restarts: Some(restarts), ..AMPLE }
}

/// A view that records the lines that it shows.
#[derive(Default)]
struct Recorder {
    lines: Vec<String>,
    /// The beginning of the line at which the launcher is asked to stop.
    stop: Option<(&'static str, mpsc::Sender<StopReason>)>,
}

impl Recorder {
    fn show(&mut self, line: String) {
        if let Some((_, stops)) = self.stop.as_ref().filter(|(at, _)| line.starts_with(at)) {
            stops.try_send(StopReason::Interrupted).expect("there is room");
        }
        self.lines.push(line);
    }
}

impl View for Recorder {
    fn result(&mut self, line: &str) {
        self.show(format!("= {line}"));
    }

    fn task(&mut self, task: TaskId, line: &str) {
        self.show(format!("{task} | {line}"));
    }

    fn own(&mut self, line: &str) {
        self.show(line.to_owned());
    }

    fn progress(&mut self, line: ProgressLine) {
        self.show(format!("step {}", line.step));
    }
}

fn shell(task: TaskId, script: &str) -> ChildCommand {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    ChildCommand::new(task, command)
}

/// Runs children. Asks the launcher to stop after the chief has printed a line that begins with
/// `up`.
fn run_children(children: Vec<ChildCommand>, limits: Limits) -> (Ending, Vec<String>) {
    run_children_until("= up", children, limits)
}

fn run_children_until(
    stop_at: &'static str,
    children: Vec<ChildCommand>,
    limits: Limits,
) -> (Ending, Vec<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (sender, receiver) = mpsc::channel(4);
    let mut view = Recorder { stop: Some((stop_at, sender)), ..Recorder::default() };
    let stops = StopRequests(receiver);
    let ending = runtime.block_on(supervise(children, stops, limits, &mut view)).unwrap();
    (ending, view.lines)
}

/// A script that exits with code 0 after it has read the line `stop`.
const OBEDIENT: &str = "read line; test \"$line\" = stop";
/// A script that ignores all lines. It ends only when it is killed, or when its parent has ended.
const DEAF: &str = "while read line; do :; done";

#[test]
fn lines_of_the_chief_are_the_output_of_the_run() {
    let progress = r#"{"step":3,"training_steps":9,"loss":0.5,"elapsed_secs":1.0}"#;
    let chief = format!("echo '{progress}'; echo After 100; echo log >&2; echo accuracy 0.9");
    let (ending, mut lines) =
        run_children(vec![shell(TaskId::ps(0), "echo ready"), shell(TaskId::CHIEF, &chief)], AMPLE);
    lines.sort();
    assert_eq!(ending, Ending::Finished);
    assert_eq!(
        lines,
        ["= After 100", "= accuracy 0.9", "ps 0 | ready", "step 3", "worker 0 | log"]
    );
}

#[test]
fn failed_child_is_reported_with_code_and_last_lines_and_the_others_end() {
    let noisy = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo line $i >&2; done; exit 4";
    let (ending, lines) = run_children(
        vec![
            shell(TaskId::ps(0), OBEDIENT),
            shell(TaskId::CHIEF, OBEDIENT),
            shell(TaskId::worker(1), noisy),
        ],
        AMPLE,
    );
    assert_eq!(ending, Ending::Failed(1));
    let own: Vec<_> = lines.iter().filter(|line| !line.contains(" | ")).collect();
    assert_eq!(own[0], "error: worker 1 exited with code 4");
    assert_eq!(own[1], "The last lines that it printed:");
    assert_eq!((own[2].as_str(), own[11].as_str()), ("  line 3", "  line 12"));
    assert_eq!(own.len(), 12, "{own:?}");
}

#[test]
fn killed_child_is_reported_with_the_signal() {
    let (ending, lines) = run_children(
        vec![shell(TaskId::ps(0), "kill -SEGV $$"), shell(TaskId::CHIEF, OBEDIENT)],
        AMPLE,
    );
    assert_eq!(ending, Ending::Failed(1));
    assert_eq!(lines, ["error: ps 0 was killed by SIGSEGV", "It printed nothing."]);
}

#[test]
fn child_that_refuses_its_command_line_is_a_usage_error() {
    let (ending, _) =
        run_children(vec![shell(TaskId::ps(0), "exit 2"), shell(TaskId::CHIEF, OBEDIENT)], AMPLE);
    assert_eq!(ending, Ending::Failed(2));
}

#[test]
fn task_that_does_not_end_after_a_failure_is_killed() {
    let (ending, lines) = run_children(
        vec![shell(TaskId::ps(0), DEAF), shell(TaskId::CHIEF, "exit 1")],
        Limits { rest: AT_ONCE, ..AMPLE },
    );
    assert_eq!(ending, Ending::Failed(1));
    assert_eq!(lines.last().map(String::as_str), Some("ps 0 did not end within 1ms; killed"));
}

#[test]
fn task_that_outlasts_the_finished_chief_is_a_failure() {
    let (ending, lines) = run_children(
        vec![shell(TaskId::ps(0), DEAF), shell(TaskId::CHIEF, "exit 0")],
        Limits { chief: AT_ONCE, ..AMPLE },
    );
    assert_eq!(ending, Ending::Failed(1));
    assert_eq!(lines, ["error: the chief has finished, but ps 0 did not end within 1ms; killed"]);
}

#[test]
fn ctrl_c_stops_the_chief_first_and_then_the_rest() {
    let chief = format!("echo up; {OBEDIENT} && echo saved");
    let (ending, lines) =
        run_children(vec![shell(TaskId::ps(0), OBEDIENT), shell(TaskId::CHIEF, &chief)], AMPLE);
    assert_eq!(ending, Ending::Stopped(StopReason::Interrupted));
    assert_eq!(
        lines,
        [
            "= up",
            "stopping: the chief is saving a checkpoint (press Ctrl-C again to quit immediately)",
            "= saved"
        ]
    );
}

#[test]
fn second_ctrl_c_kills_all_at_once() {
    let chief = format!("echo up; read line; echo up again; {DEAF}");
    let (ending, lines) =
        run_children(vec![shell(TaskId::ps(0), DEAF), shell(TaskId::CHIEF, &chief)], AMPLE);
    assert_eq!(ending, Ending::Stopped(StopReason::Interrupted));
    assert_eq!(lines.last().map(String::as_str), Some("= up again"));
}

#[test]
fn chief_that_does_not_stop_in_time_is_killed() {
    let (ending, lines) = run_children(
        vec![shell(TaskId::CHIEF, &format!("echo up; {DEAF}"))],
        Limits { chief: AT_ONCE, ..AMPLE },
    );
    assert_eq!(ending, Ending::Stopped(StopReason::Interrupted));
    let told = "the chief did not stop within 1ms; killed worker 0";
    assert_eq!(lines.last().map(String::as_str), Some(told));
}

/// Returns a script that runs `first` at its first start and `later` after each restart.
fn lives(folder: &Path, first: &str, later: &str) -> String {
    let mark = folder.join("lived").display().to_string();
    format!("if test -e {mark}; then {later}; else echo > {mark}; {first}; fi")
}

/// Returns the launcher's own lines, without the time for which a task ran.
fn own_lines(lines: &[String]) -> Vec<String> {
    let is_own = |line: &&String| !line.contains(" | ") && !line.starts_with("= ");
    let without_time = |line: &String| match (line.find(" after "), line.find(" s; ")) {
        (Some(start), Some(end)) => format!("{} …{}", &line[..start], &line[end + 2..]),
        _ => line.clone(),
    };
    lines.iter().filter(is_own).map(without_time).collect()
}

#[test]
fn supervised_child_restarts_after_a_kill_and_the_run_finishes() {
    let folder = tempfile::tempdir().unwrap();
    // The chief runs until the ps has restarted.
    let again = folder.path().join("again").display().to_string();
    let ps = lives(folder.path(), "kill -KILL $$", &format!("echo > {again}; {OBEDIENT}"));
    let chief = format!("until test -e {again}; do sleep 0.01; done");
    let (ending, lines) = run_children(
        vec![shell(TaskId::ps(0), &format!("{ps}; exit 0")), shell(TaskId::CHIEF, &chief)],
        Limits { chief: AT_ONCE, ..supervised(3) },
    );
    assert_eq!(ending, Ending::Finished);
    assert_eq!(
        own_lines(&lines),
        [
            "ps 0 was killed by SIGKILL (out of memory, perhaps) …; restart 1 of 3 in 1ms",
            "the chief has finished; ending ps 0, which missed the end of the run"
        ]
    );
}

#[test]
fn chief_restarts_like_any_other_task() {
    let folder = tempfile::tempdir().unwrap();
    let chief = lives(folder.path(), "exit 101", "echo accuracy 0.9");
    let (ending, lines) = run_children(vec![shell(TaskId::CHIEF, &chief)], supervised(3));
    assert_eq!(ending, Ending::Finished);
    assert_eq!(own_lines(&lines), ["worker 0 exited with code 101 …; restart 1 of 3 in 1ms"]);
    assert_eq!(lines.last().map(String::as_str), Some("= accuracy 0.9"));
}

#[test]
fn task_that_gave_up_waiting_determines_the_exit_code() {
    for limits in [AMPLE, supervised(0)] {
        let gives_up = shell(TaskId::worker(1), "exit 138");
        let children =
            vec![shell(TaskId::ps(0), OBEDIENT), shell(TaskId::CHIEF, OBEDIENT), gives_up];
        assert_eq!(run_children(children, limits).0, Ending::Failed(138));
    }
}

#[test]
fn chief_saves_and_all_end_at_the_limit_of_restarts() {
    let (ending, lines) = run_children(
        vec![
            shell(TaskId::ps(0), OBEDIENT),
            shell(TaskId::CHIEF, &format!("{OBEDIENT} && echo saved")),
            shell(TaskId::worker(1), "echo no memory >&2; exit 1"),
        ],
        supervised(2),
    );
    assert_eq!(ending, Ending::Failed(1));
    assert_eq!(
        own_lines(&lines),
        [
            "worker 1 exited with code 1 …; restart 1 of 2 in 1ms",
            "worker 1 exited with code 1 …; restart 2 of 2 in 1ms",
            "error: worker 1 exited with code 1",
            "The last lines that it printed:",
            "  no memory",
            "worker 1 has used all its restarts, 2 within 2 minutes: ending the run",
            "stopping: the chief is saving a checkpoint (press Ctrl-C again to quit immediately)",
        ]
    );
    assert_eq!(lines.last().map(String::as_str), Some("= saved"));
}

#[test]
fn task_with_a_permanent_error_is_not_restarted() {
    for code in [2, 3] {
        let (ending, lines) = run_children(
            vec![shell(TaskId::ps(0), OBEDIENT), shell(TaskId::CHIEF, &format!("exit {code}"))],
            supervised(9),
        );
        assert_eq!(ending, Ending::Failed(code));
        let failure = format!("error: worker 0 exited with code {code}");
        let told =
            [&failure, "It printed nothing.", "not restarting: the same error would happen again"];
        assert_eq!(own_lines(&lines), told);
    }
}

#[test]
fn task_that_dies_after_the_chief_has_finished_does_not_restart() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe").display().to_string();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // The chief's process id stays in `/proc` until the launcher has noticed the end of the chief.
    let ps = format!("read chief < {pipe}; while test -e /proc/$chief; do :; done; exit 7");
    let (ending, lines) = run_children(
        vec![shell(TaskId::ps(0), &ps), shell(TaskId::CHIEF, &format!("echo $$ > {pipe}"))],
        supervised(9),
    );
    assert_eq!(ending, Ending::Finished);
    let told = "ps 0 exited with code 7; not restarting it: the chief has finished";
    assert_eq!(lines, [told]);
}

#[test]
fn ctrl_c_also_ends_a_task_that_is_about_to_restart() {
    let limits = RestartLimits { first_pause: LONG, ..supervised(9).restarts.unwrap() };
    let limits = Limits { restarts: Some(limits), ..AMPLE };
    let (ending, lines) = run_children_until(
        "worker 1 exited",
        vec![
            shell(TaskId::CHIEF, &format!("{OBEDIENT} && echo saved")),
            shell(TaskId::worker(1), "exit 1"),
        ],
        limits,
    );
    assert_eq!(ending, Ending::Stopped(StopReason::Interrupted));
    assert_eq!(lines.last().map(String::as_str), Some("= saved"));
}

#[test]
fn program_that_cannot_be_restarted_is_reported_and_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    std::fs::write(&program, "#!/bin/sh\nrm \"$0\"\nexit 9\n").unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let child = ChildCommand::new(TaskId::worker(1), Command::new(&program));
    let (ending, lines) = run_children(vec![shell(TaskId::CHIEF, OBEDIENT), child], supervised(2));
    assert_eq!(ending, Ending::Failed(1));
    let how = "worker 1 did not start (No such file or directory (os error 2))";
    let own = own_lines(&lines);
    assert_eq!(own[1], format!("{how} …; restart 2 of 2 in 1ms"));
    assert_eq!(own[2], format!("error: {how}"));
}

#[test]
fn missing_program_is_an_error_that_names_the_task() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (_sender, receiver) = mpsc::channel(1);
    let stops = StopRequests(receiver);
    let child = ChildCommand::new(TaskId::ps(1), Command::new("/no/such/program"));
    let mut view = Recorder::default();
    let error = runtime.block_on(supervise(vec![child], stops, AMPLE, &mut view)).unwrap_err();
    assert!(format!("{error:#}").starts_with("cannot start ps 1: "), "{error:#}");
}

fn run_of(size: ClusterSize) -> RunConfig {
    let mut run = RunConfig::resolve(unisono_config::keys::RunKeys::default(), size).unwrap();
    run.train.hidden = Vec::new();
    run.placement = Placement::Even;
    run
}

/// Creates a program that prints its arguments, each on its own line, and then its inherited
/// configuration.
fn program_that_prints_its_configuration(folder: &Path) -> PathBuf {
    let program = folder.join("program");
    let document = handed_document::path(DOCUMENT_FD);
    let script = format!("#!/bin/sh\nprintf '%s\\n' \"$@\" end-of-arguments\ncat {document}\n");
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    program
}

/// Returns the configuration that a child derives from its arguments and its document, both of
/// which it has printed.
fn configuration_of(printed: &str, folder: &Path) -> TaskConfig {
    let (arguments, document) = printed.split_once("end-of-arguments\n").unwrap();
    let file = folder.join("document");
    std::fs::write(&file, document).unwrap();
    let inherited = handed_document::path(DOCUMENT_FD);
    let arguments = arguments.replace(&inherited, file.to_str().unwrap());
    let line = CommandLine::read(["unisono"].into_iter().chain(arguments.lines()));
    // The environment describes the launcher, and must not affect the role of its children.
    let environment = Environment::from_iter([("TF_CONFIG", "{}")]);
    match args::parse(&line, &environment, &Workload::built_in()) {
        Ok(Action::Task(config)) => config,
        other => panic!("{printed}: {other:?}"),
    }
}

#[test]
fn every_task_gets_the_whole_configuration_at_each_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = run_of(ClusterSize { n_ps: 2, n_workers: 3 });
    run.logdir = folder.path().join("a logdir");
    run.metrics = Some("127.0.0.1:9100".parse().unwrap());
    run.security = SecurityConfig::Secret("/etc/unisono/secret".into());
    let lock = run_files::lock(folder.path()).unwrap().0.unwrap();
    let program = program_that_prints_its_configuration(folder.path());
    let mut tasks = Vec::new();
    let mut clusters = Vec::new();
    for mut child in children(&program, &run, Some(&lock)).unwrap() {
        let command = child.command.as_std_mut();
        let mut start = || loop {
            match command.output() {
                // If another test forks at this moment, its child may have the new program open for
                // a short time.
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {}
                output => break String::from_utf8(output.unwrap().stdout).unwrap(),
            }
        };
        let printed = start();
        assert_eq!(printed, start(), "a restarted task has the same configuration");
        let listed = printed.split("--run-config").next().unwrap();
        let TaskId { job, index } = child.task;
        let logdir = run.logdir.display();
        assert_eq!(listed, format!("{job}\n--task-id={index}\n--logdir={logdir}\n"));
        let TaskConfig {
            task,
            cluster,
            run: told,
            bind,
            is_placed,
            notes,
            exit_with_parent,
            logdir_locked_by,
        } = configuration_of(&printed, folder.path());
        assert!(!is_placed && notes.is_empty());
        let json_for_the_chief =
            if task == TaskId::CHIEF { ProgressMode::Json } else { ProgressMode::None };
        assert_eq!((child.task, bind, exit_with_parent), (task, None, true));
        let of_chief = if task == TaskId::CHIEF { LockedBy::Parent } else { LockedBy::Nobody };
        assert_eq!(logdir_locked_by, of_chief);
        let metrics = run.metrics_of(task).unwrap();
        assert_eq!(told, RunConfig { progress: json_for_the_chief, metrics, ..run.clone() });
        tasks.push(task.to_string());
        clusters.push(cluster);
    }
    assert_eq!(tasks, ["ps 0", "ps 1", "worker 0", "worker 1", "worker 2"]);
    assert!(clusters.windows(2).all(|two| two[0] == two[1]));
}

#[test]
fn lines_are_aligned_behind_their_tasks() {
    let ps = prefixed(TaskId::ps(0), 8, false, "a");
    let worker = prefixed(TaskId::worker(1), 8, false, "a");
    assert_eq!((ps.as_str(), worker.as_str()), ("ps 0     | a", "worker 1 | a"));
    assert_eq!(prefixed(TaskId::ps(0), 4, true, "a"), "\x1b[36mps 0 |\x1b[0m a");
}

/// The environment variable that tells a process of this test program its role.
const ROLE: &str = "UNISONO_TEST_ROLE";
/// The environment variable with the path of a named pipe. A process with a role keeps this pipe
/// open while it runs.
const WITNESS: &str = "UNISONO_TEST_WITNESS";

/// Returns a command that runs one of the tests of this program in `role`.
fn in_role(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let test = "program::local::tests::entry_point_of_the_child_processes_of_these_tests";
    command.args(["--exact", test, "--nocapture", "--quiet"]).env(ROLE, role);
    command
}

#[test]
fn entry_point_of_the_child_processes_of_these_tests() {
    match std::env::var(ROLE).as_deref() {
        Ok("launcher") => {
            let child = |task| ChildCommand::new(task, in_role("task"));
            run_children(vec![child(TaskId::ps(0)), child(TaskId::CHIEF)], AMPLE);
        }
        Ok("task") => {
            let mut witness = File::options().write(true).open(std::env::var(WITNESS).unwrap());
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let _stops = runtime
                .block_on(async { StopRequests::listen(Some(ParentWatch::start().unwrap())) })
                .unwrap();
            writeln!(witness.as_mut().unwrap(), "up").unwrap();
            loop {
                std::thread::park(); // the runtime is stuck
            }
        }
        Ok("stopped task") => {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let reason = runtime.block_on(async {
                let mut stops = StopRequests::listen(Some(ParentWatch::start().unwrap())).unwrap();
                println!("up");
                stops.next().await
            });
            println!("{reason:?}");
        }
        Ok("listener") => {
            let mut inherited = listenfd::ListenFd::from_env();
            let listener = inherited.take_tcp_listener(0).unwrap().expect("a socket");
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"hello").unwrap();
        }
        _ => {}
    }
}

#[test]
fn no_child_outlives_a_killed_launcher() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("witness");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let mut launcher = in_role("launcher")
        .env(WITNESS, &path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut witness = BufReader::new(File::open(&path).unwrap());
    for _ in 0..2 {
        let mut line = String::new();
        witness.read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
    }
    launcher.kill().unwrap();
    launcher.wait().unwrap();
    let mut rest = String::new();
    witness.read_to_string(&mut rest).unwrap(); // returns once no process keeps the pipe open
    assert_eq!(rest, "");
}

/// Returns the stop reason that a task prints after `ask`.
fn stop_reason_after(ask: impl FnOnce(u32, &mut ChildStdin)) -> String {
    let mut task =
        in_role("stopped task").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = task.stdin.take().unwrap();
    let mut lines = BufReader::new(task.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.ends_with("up")));
    ask(task.id(), &mut stdin);
    let told = lines.find(|line| !line.is_empty()).expect("the task answers");
    task.wait().unwrap();
    told
}

#[test]
fn line_with_stop_on_standard_input_is_a_stop_request() {
    let told = stop_reason_after(|_, stdin| stdin.write_all(b"go on\nstop\n").unwrap());
    assert_eq!(told, "Asked");
}

#[test]
fn signals_are_stop_requests() {
    for (signal, reason) in [("INT", "Interrupted"), ("TERM", "Terminated")] {
        let told = stop_reason_after(|task, _| {
            let kill = format!("kill -{signal} {task}");
            assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        });
        assert_eq!(told, reason);
    }
}

#[test]
fn child_listens_on_the_socket_bound_for_it_and_its_parent_does_not() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let socket = std::fs::read_link(own_file(listener.as_raw_fd())).unwrap();
    let mut command = in_role("listener");
    let document = File::open("/dev/null").unwrap().into();
    hand_over(&mut command, listener, document, None);
    command.stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    drop(command);
    // A connection would prove nothing, because the child of another test may have a copy of the
    // socket for a moment.
    let is_open = |fd| std::fs::read_link(own_file(fd)).is_ok_and(|file| file == socket);
    assert!(!(0..1024).any(is_open), "the parent listens, too");
    let mut greeting = String::new();
    TcpStream::connect(address).unwrap().read_to_string(&mut greeting).unwrap();
    assert_eq!(greeting, "hello");
    assert!(child.wait().unwrap().success());
}

fn own_file(fd: RawFd) -> String {
    format!("/proc/self/fd/{fd}")
}
