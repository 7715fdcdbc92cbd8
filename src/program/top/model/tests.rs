//! Tests of rows that are computed from given metrics, and of the task for which a cluster waits.

use super::*;

fn scrape(secs: u64, lines: &str) -> Scrape {
    let mut text = String::new();
    let mut names: Vec<_> =
        lines.lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
    names.dedup();
    names.iter().for_each(|name| text.push_str(&format!("# TYPE {name} untyped\n")));
    let metrics = Exposition::parse(&(text + lines)).unwrap();
    Scrape { at: Duration::from_secs(secs), metrics }
}

#[test]
fn rates_are_measured_between_two_scrapes_and_count_bytes_of_sockets_and_memory() {
    let look = |secs, step, bytes| {
        scrape(
            secs,
            &format!(
                "unisono_global_step{{task=\"ps 1\"}} {step}\n\
                 unisono_bytes_received_total {bytes}\nunisono_shared_bytes_received_total 100\n"
            ),
        )
    };
    let first = look(10, 5, 1000);
    let row_of = |now: &Scrape, before| row(now, before, 0);
    let alone = row_of(&first, None);
    assert_eq!((alone.name.as_str(), alone.step, alone.rate), ("ps 1", Some(5), None));
    let second = row_of(&look(12, 25, 5000), Some(&first));
    assert_eq!((second.rate, second.bytes), (Some(10.0), Some((2000.0, 0.0))));
    assert_eq!(row_of(&look(12, 0, 0), Some(&first)).rate, Some(0.0), "a rollback is no speed");
}

#[test]
fn validation_accuracy_comes_from_the_chief_and_is_absent_before_its_first_evaluation() {
    let of = |value| row(&scrape(0, &format!("unisono_validation_accuracy {value}\n")), None, 0);
    let model = |value| Model { tasks: vec![of("NaN"), of(value)], ..Model::default() };
    assert_eq!(model("0.875").accuracy(), Some(0.875));
    assert_eq!(model("NaN").accuracy(), None);
}

#[test]
fn task_counts_as_waiting_after_half_a_second() {
    let waits = |secs: &str| {
        let line = |of| {
            format!("unisono_waiting_seconds{{what=\"gradient\",of=\"worker {of}\"}} {secs}\n")
        };
        row(&scrape(0, &(line(2) + &line(1))), None, 0)
    };
    assert_eq!((waits("0.4").state, waits("0.4").wait), (State::Runs, None));
    assert_eq!(waits("2").state, State::Waits);
    assert_eq!(waits("2").wait.unwrap().to_string(), "2.0 s gradient of worker 1, worker 2");
}

#[test]
fn faults_are_listed_in_words() {
    let lines = "unisono_peer_up{peer=\"ps 0\"} 0\nunisono_peer_up{peer=\"ps 1\"} 1\n\
                 unisono_reconnects_total{peer=\"ps 1\"} 2\n\
                 unisono_gradients_dropped_total{why=\"stale\"} 3\n\
                 unisono_gradients_dropped_total{why=\"fenced\"} 0\n\
                 unisono_shards_lost_total 1\n";
    let TaskRow { faults, disconnected, .. } = row(&scrape(0, lines), None, 1);
    assert_eq!(disconnected, [TaskId::ps(0)]);
    assert_eq!(
        faults,
        [
            "a ps restarted without its shard once",
            "gradients dropped: 3 stale",
            "no session with ps 0",
            "ps 1 reconnected 2 times",
            "restarted once",
        ]
    );
    let clean = "unisono_peer_up{peer=\"ps 0\"} 1\nunisono_shards_lost_total 0\n";
    assert!(row(&scrape(0, clean), None, 0).faults.is_empty());
}

#[test]
fn error_is_shown_only_if_no_task_answers() {
    let lost = |name: &str| TaskRow {
        name: name.to_owned(),
        state: State::Lost("nobody listens there".to_owned()),
        ..TaskRow::default()
    };
    let mut model = Model { tasks: vec![lost("a:1")], ..Model::default() };
    assert!(model.nothing_there().unwrap().contains("a:1: nobody listens there"));
    model.tasks.push(TaskRow::default());
    assert_eq!(model.nothing_there(), None);
    assert!(Model::default().nothing_there().unwrap().contains("no losses.csv"));
}

#[test]
fn task_that_has_made_all_updates_is_done_and_has_no_rate() {
    let look = |secs, step| {
        let lines = format!("unisono_global_step {step}\nunisono_training_steps 600\n");
        scrape(secs, &lines)
    };
    let running = row(&look(2, 599), Some(&look(1, 500)), 0);
    assert_eq!((running.state, running.rate), (State::Runs, Some(99.0)));
    let done = row(&look(2, 600), Some(&look(1, 500)), 0);
    assert_eq!((done.state, done.rate), (State::Done, None));
}

#[test]
fn rows_are_sorted_by_number_and_unknown_addresses_come_last() {
    let row = |name: &str| TaskRow { name: name.to_owned(), ..TaskRow::default() };
    let mut rows = ["worker 10", "a:9100", "worker 2", "ps 10", "ps 9"].map(row);
    sort(&mut rows);
    let names = rows.map(|row| row.name);
    assert_eq!(names, ["ps 9", "ps 10", "worker 2", "worker 10", "a:9100"]);
}

#[test]
fn rates_are_smoothed_and_absent_rates_stay_absent() {
    let mut rates = SmoothedRates::default();
    let look = |rate| TaskRow { rate, bytes: Some((100.0, 200.0)), ..TaskRow::default() };
    let mut smooth = |rate| {
        let mut row = look(rate);
        rates.smooth(&mut row, Duration::from_secs(1));
        (row.rate, row.bytes)
    };
    let bytes = Some((100.0, 200.0));
    assert_eq!(smooth(Some(400.0)), (Some(400.0), bytes));
    let (rate, _) = smooth(Some(0.0));
    assert!(rate > Some(320.0) && rate < Some(330.0), "{rate:?}");
    assert_eq!(smooth(None), (None, bytes));
}

/// Returns a cluster in which all tasks wait for the gradient of worker 1.
fn held_up(by: TaskRow) -> Model {
    let waits = |name: &str, seconds, what: &str, of: TaskId| TaskRow {
        name: name.to_owned(),
        state: State::Waits,
        step: Some(1234),
        wait: Some(Wait { seconds, what: what.to_owned(), of: vec![of.to_string()] }),
        ..TaskRow::default()
    };
    let ps = waits("ps 0", 12.25, "gradient", TaskId::worker(1));
    let chief = waits("worker 0", 12.5, "version", TaskId::ps(0));
    Model { tasks: vec![ps, chief, by], ..Model::default() }
}

fn worker_1(state: State) -> TaskRow {
    TaskRow { name: "worker 1".to_owned(), state, ..TaskRow::default() }
}

#[test]
fn bottleneck_is_named_with_the_longest_direct_wait() {
    let mut straggler = held_up(worker_1(State::Runs));
    let mut ps_1 = straggler.tasks[0].clone();
    "ps 1".clone_into(&mut ps_1.name);
    ps_1.wait.as_mut().unwrap().seconds = 0.5;
    straggler.tasks.push(ps_1);
    let expected = "all wait for worker 1: gradient of step 1234, 12.2 s";
    assert_eq!(straggler.bottleneck().as_deref(), Some(expected));
}

#[test]
fn bottleneck_is_described_as_lost_or_disconnected() {
    let lost = held_up(worker_1(State::Lost("no answer".to_owned())));
    let expected = "all wait for worker 1, which does not answer";
    assert_eq!(lost.bottleneck().as_deref(), Some(expected));
    // The address of worker 1 has never answered, so only the other tasks know its name.
    let unknown = TaskRow { name: "a:9103".to_owned(), ..worker_1(State::Lost(String::new())) };
    let mut unknown = held_up(unknown);
    unknown.tasks[0].disconnected = vec![TaskId::worker(1)];
    let expected = "all wait for worker 1, which is disconnected";
    assert_eq!(unknown.bottleneck().as_deref(), Some(expected));
}

#[test]
fn bottleneck_that_waits_for_its_disk_names_its_disk() {
    let storage = vec!["storage".to_owned()];
    let wait = Some(Wait { seconds: 3.0, what: "checkpoint".to_owned(), of: storage });
    let model = held_up(TaskRow { wait, ..worker_1(State::Waits) });
    let expected = "all wait for worker 1: checkpoint of its storage, 3.0 s";
    assert_eq!(model.bottleneck().as_deref(), Some(expected));
}

#[test]
fn there_is_no_bottleneck_while_another_task_runs() {
    let mut model = held_up(worker_1(State::Runs));
    model.tasks.push(TaskRow { name: "worker 2".to_owned(), ..TaskRow::default() });
    assert_eq!(model.bottleneck(), None);
    model.tasks[3].state = State::File;
    assert!(model.bottleneck().is_some());
}
