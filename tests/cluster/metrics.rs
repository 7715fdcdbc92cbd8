//! `--metrics`: compares the metrics of real tasks during training with their files.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use unisono_metrics::text::Exposition;

use crate::support::{Folder, HandStarted, Process, Role, bits_of, wait_until};

const SMALL: &str = "--hidden 32 --batch-size 20 --progress none";
const ANY_PORT: &str = "--metrics 127.0.0.1:0";

/// Requests `path`, and returns the status and the body.
fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

fn scrape(address: &str) -> Option<Exposition> {
    let (status, text) = get(address, "/metrics")?;
    assert_eq!(status, 200);
    Some(Exposition::parse(&text).unwrap_or_else(|error| panic!("{error}:\n{text}")))
}

/// Returns the addresses of metrics in a log, in the order of their lines.
fn addresses(stderr: &str) -> Vec<String> {
    let of_line = |line: &str| {
        let (_, rest) = line.split_once("Metrics are at http://")?;
        rest.strip_suffix("/metrics").map(str::to_owned)
    };
    stderr.lines().filter_map(of_line).collect()
}

fn address(process: &mut Process) -> String {
    process.wait_for_stderr("/metrics\n");
    addresses(&process.stderr()).remove(0)
}

fn value(address: &str, name: &str) -> Option<f64> {
    scrape(address)?.value(name)
}

#[test]
fn metrics_report_readiness_progress_and_waiting() {
    let folder = Folder::new();
    let words = format!("{SMALL} {ANY_PORT} --ledger --training-steps 1000000");
    let cluster = HandStarted::new(2, 2, &words, folder.logdir());
    let mut ps: Vec<_> = [0, 1].map(|index| cluster.start(Role::Ps(index))).into();
    let of_ps: Vec<_> = ps.iter_mut().map(address).collect();

    wait_until("a ps whose loop runs", || {
        get(&of_ps[0], "/healthz").is_some_and(|(code, _)| code == 200)
    });
    let not_ready = "no chief has given this ps its state yet\n".to_owned();
    assert_eq!(get(&of_ps[0], "/readyz"), Some((503, not_ready)));
    let waits = scrape(&of_ps[0]).expect("the task serves metrics");
    let wait = waits.all("unisono_waiting_seconds").next().expect("the ps waits");
    assert_eq!((wait.label("what"), wait.label("of")), (Some("state"), Some("worker 0")));

    let mut chief = cluster.start(Role::Worker(0));
    let mut other = cluster.start(Role::Worker(1));
    let (of_chief, of_other) = (address(&mut chief), address(&mut other));
    let all = [&of_ps[0], &of_ps[1], &of_chief, &of_other];
    wait_until("steps", || {
        value(&of_chief, "unisono_recorded_step").is_some_and(|step| step > 20.0)
    });
    for task in all {
        assert_eq!(get(task, "/readyz"), Some((200, "ok\n".to_owned())), "{task}");
    }

    // While worker 1 is paused, no other task makes progress, so the metrics are consistent.
    other.signal("STOP");
    let waits_for_other = |ps: &String| {
        let all = scrape(ps).expect("the task serves metrics");
        let mut waits = all.all("unisono_waiting_seconds").filter(|wait| wait.value > 0.3);
        let is_it = waits.next().is_some_and(|wait| {
            (wait.label("what"), wait.label("of")) == (Some("gradient"), Some("worker 1"))
        });
        is_it && waits.next().is_none()
    };
    wait_until("both ps wait for worker 1 alone", || {
        let is_so = of_ps.iter().all(waits_for_other);
        let [zero, one] = [0, 1].map(|ps| value(&of_ps[ps], "unisono_global_step"));
        if zero != one {
            // The worker was paused between its two pushes, so one ps is a step ahead and waits for
            // both workers. Another moment is needed.
            other.signal("CONT");
            other.signal("STOP");
        }
        is_so && zero == one
    });
    let metrics: Vec<_> =
        [&of_ps[0], &of_ps[1], &of_chief].map(|task| scrape(task).unwrap()).into();
    let step = metrics[0].value("unisono_global_step").unwrap();
    for ps in &metrics[..2] {
        assert_eq!(ps.value("unisono_global_step"), Some(step));
        assert_eq!(ps.value("unisono_updates_total"), Some(step));
        assert_eq!(ps.value("unisono_gradients_applied_total"), Some(2.0 * step));
        assert_eq!(ps.sum("unisono_gradients_dropped_total"), 0.0);
        assert!(ps.sum("unisono_bytes_received_total") > 0.0);
    }
    let recorded = metrics[2].value("unisono_recorded_step").unwrap();
    assert_eq!(recorded, step, "the chief has the losses of every update");
    assert_eq!(metrics[2].value("unisono_gradients_computed_total"), Some(step + 1.0));
    let losses = std::fs::read_to_string(folder.logdir().join("losses.csv")).unwrap();
    let last = format!("{},", recorded - 1.0);
    let of_last: Vec<f64> = losses
        .lines()
        .filter(|line| line.starts_with(&last))
        .map(|line| line.rsplit(',').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(of_last.len(), 2);
    let mean = of_last.iter().sum::<f64>() / 2.0;
    assert!((metrics[2].value("unisono_loss").unwrap() - mean).abs() < 1e-6 * mean);
    for (index, ps) in metrics[..2].iter().enumerate() {
        let path = folder.logdir().join(format!("ledger-ps{index}.jsonl"));
        let ledger = std::fs::read_to_string(path).unwrap();
        let updates = ledger.lines().filter(|line| line.starts_with("{\"update\"")).count();
        assert_eq!(ps.value("unisono_updates_total"), Some(updates as f64));
    }

    other.kill();
    let mut again = cluster.start(Role::Worker(1));
    let of_again = address(&mut again);
    wait_until("training continues", || value(&of_ps[0], "unisono_global_step") > Some(step + 5.0));
    assert!(value(&of_again, "unisono_incarnation") > Some(0.0));
    let of_ps = scrape(&of_ps[0]).expect("the task serves metrics");
    let reconnects: Vec<_> = of_ps.all("unisono_reconnects_total").collect();
    let of_other = reconnects.iter().find(|sample| sample.label("peer") == Some("worker 1"));
    assert_eq!(of_other.map(|sample| sample.value), Some(1.0), "{reconnects:?}");
    assert_eq!(of_ps.sum("unisono_reconnects_total"), 1.0);
}

#[test]
fn metrics_change_no_bit_and_a_port_in_use_stops_no_task() {
    let words = format!("{SMALL} --training-steps 40");
    let expected = bits_of(&format!("reference {words}"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = taken.local_addr().expect("the listener is bound").port();
    let folder = Folder::new();
    let cluster = HandStarted::new(1, 2, &words, folder.logdir());
    let blocked = cluster.start_with(Role::Ps(0), &format!("--metrics 127.0.0.1:{port}"));
    let workers = [0, 1].map(|index| cluster.start_with(Role::Worker(index), ANY_PORT));
    let ended = blocked.wait();
    ended.expect_code(0).expect_stderr(&["no metrics are served, and training continues without"]);
    for worker in workers {
        worker.wait().expect_code(0);
    }
    crate::support::Bits::read(&folder.logdir()).assert_same(&expected, "with metrics");
}

#[test]
fn local_serves_metrics_on_one_port_per_task_and_top_shows_all() {
    let folder = Folder::new();
    let mut run = folder.start(&format!("local {SMALL} {ANY_PORT} --training-steps 1000000"));
    wait_until("four addresses", || {
        assert!(run.is_running(), "{}", run.stderr());
        addresses(&run.stderr()).len() == 4
    });
    let addresses = addresses(&run.stderr());
    wait_until("steps", || {
        addresses.iter().all(|task| value(task, "unisono_global_step") > Some(3.0))
    });
    let mut top = crate::support::unisono("top --once");
    top.args(&addresses);
    let shown = Process::start(top).wait();
    shown.expect_code(0);
    for task in ["ps 0 ", "ps 1 ", "worker 0 ", "worker 1 "] {
        let row = shown.stdout.lines().find(|line| line.starts_with(task));
        let row = row.unwrap_or_else(|| panic!("no {task}:\n{}", shown.stdout));
        assert!(row.contains("runs") || row.contains("waits"), "{row}");
    }
    assert!(
        shown.stdout.starts_with("step ") && shown.stdout.contains(" of 1000000, "),
        "{}",
        shown.stdout
    );
    let mut of_files = crate::support::unisono("top");
    of_files.arg(folder.logdir());
    let shown = Process::start(of_files).wait();
    shown.expect_code(0);
    assert!(shown.stdout.contains("worker 0  file"), "{}", shown.stdout);
    run.kill();
    let gone = crate::support::unisono(&format!("top --once {}", addresses[0]));
    wait_until("the tasks are gone with their launcher", || {
        get(&addresses[0], "/healthz").is_none()
    });
    Process::start(gone).wait().expect_error(1, &["no task answers", "nobody listens there"]);
}

#[test]
fn every_line_of_a_json_log_is_an_object_that_names_its_task() {
    let folder = Folder::new();
    let mut command =
        folder.command(&format!("local {SMALL} {ANY_PORT} --training-steps 20 --log-format json"));
    command.env("UNISONO_LOG", "info");
    let ended = Process::start(command).wait();
    ended.expect_code(0);
    let mut tasks = std::collections::BTreeSet::new();
    for line in ended.stderr.lines() {
        let line: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for key in ["timestamp", "level", "target", "message"] {
            assert!(line[key].is_string(), "{line}");
        }
        tasks.extend(line["task"].as_str().map(str::to_owned));
    }
    assert_eq!(tasks.into_iter().collect::<Vec<_>>(), ["ps 0", "ps 1", "worker 0", "worker 1"]);
    assert!(ended.stderr.contains(r#""message":"ps 0 connected","fields":{"peer":"ps 0"}"#));
    let bad = folder.run("local --log-format xml");
    bad.expect_code(2);
}
