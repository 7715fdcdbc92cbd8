//! Tests of the screen at several sizes, and of the text without a terminal.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::super::axis::LossAxis;
use super::super::model::{Model, State, TaskRow};
use super::super::plain;
use super::super::wait::Wait;
use super::*;
use unisono_core::ids::TaskId;

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
        wait: Some(wait("gradient", TaskId::worker(1))),
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
    let chief =
        TaskRow { wait: Some(wait("version", TaskId::ps(0))), ..task("worker 0", State::Waits) };
    let model = Model {
        source: "127.0.0.1:9100".to_owned(),
        training_steps: Some(10_000),
        tasks: vec![waiting, chief, lost],
        ..Model::default()
    };
    with_losses(model, (0..1234).map(|k| 2.4 / (1.0 + f64::from(k) / 80.0)))
}

fn wait(what: &str, of: TaskId) -> Wait {
    Wait { seconds: 12.25, what: what.to_owned(), of: vec![of.to_string()] }
}

/// Returns the model with these losses, one loss for each step.
fn with_losses(model: Model, losses: impl Iterator<Item = f64> + Clone) -> Model {
    let mut axis = LossAxis::default();
    axis.fit(losses.clone());
    let losses = (0..).map(f64::from).zip(losses).collect();
    Model { losses, loss_axis: axis.ticks(), ..model }
}

/// Returns the model of a logdir whose run has finished.
fn finished() -> Model {
    let row = |name: &str| TaskRow {
        name: name.to_owned(),
        state: State::Done,
        step: Some(600),
        ..TaskRow::default()
    };
    let chief = TaskRow { accuracy: Some(0.9612), checkpoint: Some(600), ..row("worker 0") };
    let model = Model {
        source: "finished-run".to_owned(),
        training_steps: Some(600),
        tasks: vec![row("ps 0"), chief],
        ..Model::default()
    };
    with_losses(model, (0..600).map(|k| 2.4 / (1.0 + f64::from(k) / 20.0)))
}

fn drawn(width: u16, height: u16, model: &Model) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model, true)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn eighty_columns_hold_bottleneck_tasks_curve_and_faults() {
    insta::assert_snapshot!(drawn(80, 24, &model()));
}

#[test]
fn wide_screen_has_faults_beside_the_curve() {
    insta::assert_snapshot!(drawn(160, 40, &model()));
}

#[test]
fn no_size_is_too_small_and_an_empty_model_is_drawn() {
    for (width, height) in [(1, 1), (3, 2), (20, 4), (80, 5), (200, 100), (110, 3)] {
        drawn(width, height, &model());
        drawn(width, height, &Model::default());
    }
}

#[test]
fn screen_without_colours_uses_no_colour() {
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    terminal.draw(|frame| draw(frame, &model(), false)).unwrap();
    let is_plain =
        |cell: &ratatui::buffer::Cell| cell.fg == Color::Reset && cell.bg == Color::Reset;
    assert!(terminal.backend().buffer().content().iter().all(is_plain));
}

#[test]
fn table_without_a_terminal_has_the_same_facts() {
    insta::assert_snapshot!(plain::table(&model()));
}

#[test]
fn finished_run_is_shown_as_done_on_the_screen_and_in_the_table() {
    insta::assert_snapshot!(drawn(80, 24, &finished()));
    insta::assert_snapshot!(plain::table(&finished()));
}

#[test]
fn first_line_drops_whole_parts_that_do_not_fit() {
    let first_line = |width| drawn(width, 24, &finished()).lines().next().unwrap().to_owned();
    let full = "done at step 600, loss 0.07754, validation accuracy 0.9612";
    assert_eq!(first_line(86), format!("\"unisono top finished-run    {full}\""));
    assert_eq!(first_line(80), format!("\"unisono top finishe…  {full}\""), "the source is cut");
    assert_eq!(first_line(70), format!("\"{full:70}\""), "no room for a readable source");
    assert_eq!(
        first_line(50),
        format!("\"{:50}\"", "unisono top finis…  done at step 600, loss 0.07754")
    );
    assert_eq!(first_line(20), format!("\"{:20}\"", "done at step 600"));
}

#[test]
fn rest_of_the_screen_does_not_move_when_a_bottleneck_appears() {
    let (mut quiet, held_up) = (model(), model());
    quiet.tasks[1].wait = None;
    let lines = |model: &Model| drawn(80, 24, model).lines().map(str::to_owned).collect::<Vec<_>>();
    let (quiet, held_up) = (lines(&quiet), lines(&held_up));
    assert!(!quiet[1].contains("all wait") && held_up[1].contains("all wait for worker 1"));
    assert_eq!(quiet[2], held_up[2], "the header of the table");
    assert_eq!(quiet[6..], held_up[6..], "the curve and the faults");
}

#[test]
fn loss_beyond_the_axis_is_drawn_at_its_end_and_named() {
    let losses = std::iter::once(300.0).chain((0..200).map(|k| 2.0 - f64::from(k) / 200.0));
    let drawn = drawn(80, 24, &with_losses(Model::default(), losses));
    assert!(drawn.contains(" loss (largest: 300) "), "{drawn}");
    let top = drawn.lines().find(|line| line.contains("2  │")).expect("the axis ends at 2");
    assert!(top.contains("│⠉"), "the first dot is that of the first loss: {drawn}");
}

#[test]
fn losses_that_are_not_finite_are_drawn_without_a_panic() {
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    for losses in [&odd[..], &[f64::NAN]] {
        let model = with_losses(Model::default(), losses.iter().copied());
        assert!(drawn(80, 24, &model).contains("no loss is finite"), "{losses:?}");
    }
    let gaps = [1.0, f64::NAN, 0.5, f64::INFINITY, 0.5, f64::NEG_INFINITY];
    insta::assert_snapshot!(drawn(40, 18, &with_losses(Model::default(), gaps.into_iter())));
}
