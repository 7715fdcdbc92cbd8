//! What the screen shows, at three sizes and without a terminal.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::super::model::{Model, State, TaskRow};
use super::super::plain;
use super::*;

fn model() -> Model {
    let task = |name: &str, state| TaskRow {
        name: name.to_owned(),
        state,
        step: Some(1234),
        rate: Some(412.5),
        bytes: Some((1_250_000.0, 980.0)),
        ..TaskRow::default()
    };
    let waiting = TaskRow {
        waits: Some("12.3 s gradient of worker 1".to_owned()),
        rate: Some(0.0),
        faults: vec![
            "no session with worker 1".to_owned(),
            "gradients dropped: 3 stale".to_owned(),
        ],
        ..task("ps 0", State::Waits)
    };
    let lost = TaskRow {
        rate: None,
        bytes: None,
        ..task("worker 1", State::Lost("nobody listens there".to_owned()))
    };
    Model {
        source: "127.0.0.1:9100".to_owned(),
        training_steps: Some(10_000),
        losses: (0..200).map(|k| (f64::from(k), 2.5 / (1.0 + f64::from(k) / 20.0))).collect(),
        tasks: vec![waiting, task("worker 0", State::Runs), lost],
    }
}

fn drawn(width: u16, height: u16, model: &Model) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model, true)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn eighty_columns_hold_tasks_curve_and_faults() {
    insta::assert_snapshot!(drawn(80, 24, &model()));
}

#[test]
fn a_wide_screen_has_faults_beside_the_curve() {
    insta::assert_snapshot!(drawn(160, 30, &model()));
}

#[test]
fn no_size_is_too_small_and_nothing_is_no_reason_to_panic() {
    for (width, height) in [(1, 1), (3, 2), (20, 4), (80, 5), (200, 100), (110, 3)] {
        drawn(width, height, &model());
        drawn(width, height, &Model::default());
    }
}

#[test]
fn without_colours_none_is_used() {
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    terminal.draw(|frame| draw(frame, &model(), false)).unwrap();
    let is_plain =
        |cell: &ratatui::buffer::Cell| cell.fg == Color::Reset && cell.bg == Color::Reset;
    assert!(terminal.backend().buffer().content().iter().all(is_plain));
}

#[test]
fn the_table_says_the_same_without_a_terminal() {
    insta::assert_snapshot!(plain::table(&model()));
}
