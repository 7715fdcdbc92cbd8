//! Tests of the metrics of scripted nodes, and of the server.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::text::Exposition;
use super::*;
use unisono_config::RunConfig;
use unisono_core::host::{Clock as _, Observer as _, Peers, Turn};
use unisono_core::ids::{Cut, Generation, LinkId, Slot, Step};
use unisono_core::protocol::{
    Effect, Input, Message, NetworkEvent, Node, Report, Standing, Status, UpdateRecord, Verdict,
    Wait, WaitFor,
};
use unisono_core::train_config::Sync;
use unisono_net::tcp::RealClock;

fn at(millis: u64) -> Moment {
    Moment::from_origin(Duration::from_millis(millis))
}

fn cluster() -> ClusterConfig {
    let run = RunConfig::default();
    ClusterConfig {
        n_ps: 2,
        sync: Sync { replicas_to_aggregate: 2, total_num_replicas: 2 },
        training_steps: Step(100),
        settings: run.settings(),
        data: None,
        limits: run.limits,
    }
}

fn metrics_of(task: TaskId) -> Arc<Metrics> {
    Metrics::new(task, Incarnation(7), &cluster(), Traffic::default())
}

/// A node with a scripted version and wait.
struct ScriptedNode {
    step: Option<u64>,
    wait: Option<(WaitFor, u64, Vec<TaskId>)>,
}

impl Node for ScriptedNode {
    fn handle(&mut self, _now: Moment, _input: &Input, _out: &mut Vec<Effect>) {}

    fn deadline(&self) -> Option<Moment> {
        None
    }

    fn status(&self, _now: Moment) -> Status {
        unreachable!("metrics do not use the status text")
    }

    fn standing(&self, of: &mut dyn FnMut(TaskId)) -> Standing {
        let generation = Generation { opener: Incarnation(3), number: 2 };
        let wait = self.wait.as_ref().map(|(what, since, from)| {
            from.iter().copied().for_each(of);
            Wait { what: *what, since: at(*since) }
        });
        Standing { cut: self.step.map(|step| Cut { generation, step: Step(step) }), wait }
    }
}

fn turn(
    observer: &mut MetricsObserver,
    now: Moment,
    node: &ScriptedNode,
    input: &Input,
    effects: &[Effect],
) {
    observer.turn(&Turn { now, input, effects, node, peers: &Peers::default() });
}

/// Passes a turn with these effects to the observer. The input of the turn does not matter.
fn see(observer: &mut MetricsObserver, now: Moment, node: &ScriptedNode, effects: &[Effect]) {
    turn(observer, now, node, &Input::Wake, effects);
}

fn scrape(metrics: &Metrics, now: Moment) -> Exposition {
    let text = metrics.to_text(now);
    Exposition::parse(&text).unwrap_or_else(|error| panic!("{error}:\n{text}"))
}

fn labelled(all: &Exposition, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let has = |sample: &&text::Sample| labels.iter().all(|(n, v)| sample.label(n) == Some(v));
    let found: Vec<_> = all.all(name).filter(has).collect();
    assert!(found.len() < 2, "{found:?}");
    found.first().map(|sample| sample.value)
}

#[test]
fn ps_counts_updates_dropped_gradients_messages_and_sessions() {
    let metrics = metrics_of(TaskId::ps(0));
    let mut observer = MetricsObserver::new(Arc::clone(&metrics));
    let worker = TaskId::worker(1);
    let (generation, step) = (Generation::default(), Step(4));
    let dropped =
        |verdict| Effect::Report(Report::Dropped { step, slot: Slot(1), worker, verdict });
    let message = Message::Heartbeat;
    let link = LinkId(1);
    let received = Input::Network(NetworkEvent::Received { link, message });
    turn(&mut observer, at(0), &ScriptedNode { step: Some(5), wait: None }, &received, &[]);
    see(
        &mut observer,
        at(0),
        &ScriptedNode { step: Some(5), wait: None },
        &[
            Effect::Report(Report::PeerUp { peer: worker }),
            Effect::Report(Report::PeerDown { peer: worker, why: String::new() }),
            Effect::Report(Report::PeerUp { peer: worker }),
            Effect::Report(Report::Updated {
                cut: Cut { generation, step },
                slots: vec![Slot(0), Slot(1)],
            }),
            dropped(Some(Verdict::Stale)),
            dropped(Some(Verdict::Stale)),
            dropped(None),
            Effect::Send { link, message: Message::Goodbye },
            Effect::Report(Report::TurnedAway { why: String::new() }),
        ],
    );
    let all = scrape(&metrics, at(0));
    for (name, value) in [
        ("unisono_global_step", 5.0),
        ("unisono_generation", 2.0),
        ("unisono_incarnation", 7.0),
        ("unisono_training_steps", 100.0),
        ("unisono_replicas_to_aggregate", 2.0),
        ("unisono_updates_total", 1.0),
        ("unisono_gradients_applied_total", 2.0),
        ("unisono_callers_turned_away_total", 1.0),
    ] {
        assert_eq!(all.value(name), Some(value), "{name}");
    }
    let dropped = |why| labelled(&all, "unisono_gradients_dropped_total", &[("why", why)]);
    assert_eq!(
        ["stale", "duplicate", "fenced", "surplus"].map(dropped),
        [2.0, 0.0, 0.0, 1.0].map(Some)
    );
    let peer = |name, peer| labelled(&all, name, &[("peer", peer), ("task", "ps 0")]);
    assert_eq!(peer("unisono_peer_up", "worker 1"), Some(1.0));
    assert_eq!(peer("unisono_peer_up", "worker 0"), Some(0.0));
    assert_eq!(peer("unisono_reconnects_total", "worker 1"), Some(1.0));
    let kind = |name, kind| labelled(&all, name, &[("kind", kind)]);
    assert_eq!(kind("unisono_messages_received_total", "heartbeat"), Some(1.0));
    assert_eq!(kind("unisono_messages_sent_total", "goodbye"), Some(1.0));
    assert_eq!(all.value("unisono_loss"), None, "a ps has no loss");
}

#[test]
fn chief_reports_losses_and_checkpoints() {
    let metrics = metrics_of(TaskId::CHIEF);
    let mut observer = MetricsObserver::new(Arc::clone(&metrics));
    let node = ScriptedNode { step: Some(9), wait: None };
    see(&mut observer, at(1000), &node, &[]);
    assert_eq!(scrape(&metrics, at(3000)).value("unisono_checkpoint_age_seconds"), Some(2.0));
    let losses = vec![(Slot(0), 1.0), (Slot(1), 2.0)];
    let update =
        UpdateRecord { cut: Cut { generation: Generation::default(), step: Step(8) }, losses };
    let saved = Report::Saved { step: Step(9), path: String::new() };
    see(&mut observer, at(4000), &node, &[Effect::Record(update), Effect::Report(saved)]);
    let all = scrape(&metrics, at(4500));
    assert_eq!(all.value("unisono_loss"), Some(1.5));
    assert_eq!(all.value("unisono_recorded_step"), Some(9.0));
    assert_eq!(all.value("unisono_checkpoint_step"), Some(9.0));
    assert_eq!(all.value("unisono_checkpoints_total"), Some(1.0));
    assert_eq!(all.value("unisono_checkpoint_age_seconds"), Some(0.5));
    assert_eq!(all.value("unisono_updates_total"), None, "a worker makes no update");
}

#[test]
fn waits_are_counted_for_each_awaited_task() {
    let metrics = metrics_of(TaskId::ps(1));
    let mut observer = MetricsObserver::new(Arc::clone(&metrics));
    let [zero, one] = [TaskId::worker(0), TaskId::worker(1)];
    let waits = |of: &[TaskId]| ScriptedNode {
        step: Some(3),
        wait: Some((WaitFor::Gradient, 500, of.to_vec())),
    };
    see(&mut observer, at(500), &waits(&[zero, one]), &[]);
    see(&mut observer, at(1500), &waits(&[one]), &[]);
    let all = scrape(&metrics, at(3500));
    let secs = |name, of| labelled(&all, name, &[("what", "gradient"), ("of", of)]);
    assert_eq!(secs("unisono_wait_seconds_total", "worker 0"), Some(1.0));
    assert_eq!(secs("unisono_wait_seconds_total", "worker 1"), Some(3.0));
    assert_eq!(secs("unisono_waiting_seconds", "worker 0"), None, "its gradient has arrived");
    assert_eq!(secs("unisono_waiting_seconds", "worker 1"), Some(3.0));

    see(&mut observer, at(4000), &ScriptedNode { step: Some(4), wait: None }, &[]);
    let all = scrape(&metrics, at(9000));
    assert_eq!(all.all("unisono_waiting_seconds").count(), 0);
    let labels = [("what", "gradient"), ("of", "worker 1")];
    assert_eq!(labelled(&all, "unisono_wait_seconds_total", &labels), Some(3.5));
    assert_eq!(all.value("unisono_step_seconds_sum"), Some(3.5));
    assert_eq!(all.value("unisono_step_seconds_count"), Some(1.0));
}

#[test]
fn wait_for_no_task_counts_as_a_wait_for_the_storage() {
    let metrics = metrics_of(TaskId::CHIEF);
    let mut observer = MetricsObserver::new(Arc::clone(&metrics));
    let wait = Some((WaitFor::Checkpoint, 0, Vec::new()));
    see(&mut observer, at(0), &ScriptedNode { step: Some(100), wait }, &[]);
    let all = scrape(&metrics, at(2000));
    let labels = [("what", "checkpoint"), ("of", "storage")];
    assert_eq!(labelled(&all, "unisono_waiting_seconds", &labels), Some(2.0));
}

#[test]
fn step_duration_is_observed_only_between_consecutive_steps() {
    let metrics = metrics_of(TaskId::ps(0));
    let mut observer = MetricsObserver::new(Arc::clone(&metrics));
    for (millis, step) in [(0, 3), (10, 4), (500, 4), (510, 5), (600, 2), (700, 8)] {
        see(&mut observer, at(millis), &ScriptedNode { step: Some(step), wait: None }, &[]);
    }
    let all = scrape(&metrics, at(800));
    assert_eq!(all.value("unisono_step_seconds_count"), Some(2.0));
    assert!((all.value("unisono_step_seconds_sum").unwrap() - 0.51).abs() < 1e-9);
}

#[test]
fn ps_is_ready_once_it_has_a_state_and_healthy_while_its_loop_turns() {
    let metrics = metrics_of(TaskId::ps(0));
    let mut observer = MetricsObserver::new(Arc::clone(&metrics));
    assert!(metrics.health(at(0)).is_err() && metrics.readiness().is_err());
    let chief = vec![TaskId::CHIEF];
    let wait = Some((WaitFor::State, 0, chief));
    see(&mut observer, at(0), &ScriptedNode { step: None, wait }, &[]);
    assert_eq!(metrics.readiness(), Err("no chief has given this ps its state yet".to_owned()));
    assert_eq!(metrics.health(at(10_000)), Ok(()));
    assert_eq!(
        metrics.health(at(10_001)),
        Err("the task's loop has handled no input for 10.0 s".to_owned())
    );
    see(&mut observer, at(20_000), &ScriptedNode { step: Some(0), wait: None }, &[]);
    assert_eq!((metrics.health(at(20_001)), metrics.readiness()), (Ok(()), Ok(())));
}

#[test]
fn worker_is_ready_once_it_has_a_version_and_a_session_with_every_ps() {
    let metrics = metrics_of(TaskId::worker(1));
    let mut observer = MetricsObserver::new(Arc::clone(&metrics));
    let up = |ps| Effect::Report(Report::PeerUp { peer: TaskId::ps(ps) });
    let nothing = ScriptedNode { step: None, wait: None };
    see(&mut observer, at(0), &nothing, &[up(1)]);
    assert_eq!(metrics.readiness(), Err("no session with ps 0".to_owned()));
    see(&mut observer, at(0), &nothing, &[up(0)]);
    let no_version = "no complete version of the parameters has arrived".to_owned();
    assert_eq!(metrics.readiness(), Err(no_version));
    see(&mut observer, at(0), &ScriptedNode { step: Some(0), wait: None }, &[]);
    assert_eq!(metrics.readiness(), Ok(()));
    let down = Report::PeerDown { peer: TaskId::ps(1), why: String::new() };
    see(&mut observer, at(0), &nothing, &[Effect::Report(down)]);
    assert_eq!(metrics.readiness(), Err("no session with ps 1".to_owned()));
}

/// Sends a request, and returns the response.
fn call(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    // The server may reset the connection after it has sent its response.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

#[test]
fn every_request_gets_one_response() {
    let metrics = metrics_of(TaskId::ps(0));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let address = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, metrics, RealClock::start()));
        address
    });
    let status = |request: &[u8]| {
        let answer = call(address, request);
        answer.lines().next().unwrap_or_default().to_owned()
    };
    let whole = call(address, b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\n\r\n");
    let (head, body) = whole.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    assert_eq!(Exposition::parse(body).unwrap().value("unisono_incarnation"), Some(7.0));
    let head_only = call(address, b"HEAD /metrics HTTP/1.0\r\n\r\n");
    assert!(head_only.ends_with("\r\n\r\n") && head_only.starts_with("HTTP/1.1 200 OK"));
    assert_eq!(status(b"GET /readyz HTTP/1.1\r\n\r\n"), "HTTP/1.1 503 Service Unavailable");
    let absolute = b"GET http://ps0.example:9100/readyz HTTP/1.1\r\nHost: ps0.example\r\n\r\n";
    assert_eq!(status(absolute), "HTTP/1.1 503 Service Unavailable");
    assert_eq!(status(b"GET / HTTP/1.1\r\n\r\n"), "HTTP/1.1 404 Not Found");
    assert_eq!(status(b"POST /metrics HTTP/1.1\r\n\r\n"), "HTTP/1.1 405 Method Not Allowed");
    assert_eq!(status(b"\x16\x03\x01\r\n\r\n"), "HTTP/1.1 400 Bad Request");
    let long = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'a'; 9000]].concat();
    assert_eq!(status(&long), "HTTP/1.1 431 Request Header Fields Too Large");
}

/// Sends a probe, and returns the time on the paused clock until its answer.
async fn probe(address: SocketAddr, clock: RealClock) -> Duration {
    let start = clock.now();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "no loop is running: {answer}");
    clock.now() - start
}

// The paused clock of the runtime advances only while all tasks are idle.
#[tokio::test(start_paused = true)]
async fn probe_is_answered_in_time_during_a_flood_of_connections() {
    const SOON: Duration = Duration::from_millis(500);
    let clock = RealClock::start();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, metrics_of(TaskId::ps(0)), clock));

    let mut others = Vec::new();
    for request in [&b""[..], b"GET /healthz HT", b"GET /metrics HTTP/1.1\r\n\r\n"] {
        for _ in 0..300 {
            let mut other = tokio::net::TcpStream::connect(address).await.unwrap();
            // The server may have closed this connection to make room for another one.
            let _ = other.write_all(request).await;
            others.push(other);
        }
        let took = probe(address, clock).await;
        assert!(took < SOON, "{took:?} with {} other connections", others.len());
    }
}
