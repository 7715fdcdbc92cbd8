//! The progress of a run: a bar for people, or JSON lines for programs.

use std::fmt;
use std::time::Duration;

use console::Term;
use indicatif::{ProgressDrawTarget, ProgressStyle};
use serde::{Deserialize, Serialize};

use super::{PercentG, Screen, TrainingLine};
use unisono_config::ProgressMode;

/// The progress of a run, as one line of `--progress json`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProgressLine {
    /// The number of updates since the start of the run, including those before a restart.
    pub step: u64,
    /// The total number of updates of the run.
    pub training_steps: u64,
    /// The loss of the last batch; `None`, or `null` in JSON, if the loss is not finite.
    pub loss: Option<f32>,
    /// The seconds since this process started to train.
    pub elapsed_secs: f64,
}

impl ProgressLine {
    /// Parses a line. Returns `None` if the line is not a progress line.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        if line.starts_with('{') { serde_json::from_str(line).ok() } else { None }
    }
}

impl fmt::Display for ProgressLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).expect("numbers can be written as JSON"))
    }
}

/// Shows the progress of a run in the mode that the user chose.
#[derive(Debug)]
pub struct ProgressView {
    screen: Screen,
    mode: ProgressMode,
    training_steps: u64,
    /// The step and the time of the first update in this process, from which the rate is computed.
    began: Option<(u64, Duration)>,
    /// The time at which the last JSON line was printed, measured since this process started to
    /// train.
    printed: Option<Duration>,
}

impl ProgressView {
    /// The minimum time between two JSON lines. No reader needs more than ten lines per second.
    const BETWEEN_LINES: Duration = Duration::from_millis(100);

    /// Creates a view of a run on `screen`. `training_steps` is the number of updates of the run.
    #[must_use]
    pub fn new(screen: Screen, mode: ProgressMode, training_steps: u64) -> Self {
        let target = match mode {
            // If standard error is not a terminal, `stderr()` hides the bar. `term_like` shows it
            // in any case.
            ProgressMode::Auto => ProgressDrawTarget::stderr(),
            ProgressMode::Bar => ProgressDrawTarget::term_like(Box::new(Term::stderr())),
            ProgressMode::Json | ProgressMode::None => ProgressDrawTarget::hidden(),
        };
        let style = "{bar:24} {pos}/{len} {wide_msg}";
        screen.bar().set_style(ProgressStyle::with_template(style).expect("the template is valid"));
        screen.bar().set_length(training_steps);
        screen.bar().set_draw_target(target);
        Self { screen, mode, training_steps, began: None, printed: None }
    }

    /// Shows that the run has made `step` updates. `elapsed` is the time since this process started
    /// to train.
    pub fn update(&mut self, step: u64, loss: f32, elapsed: Duration) {
        let began = *self.began.get_or_insert((step, elapsed));
        match self.mode {
            ProgressMode::Auto | ProgressMode::Bar => {
                self.screen.bar().set_message(message(
                    loss,
                    steps_per_second(began, (step, elapsed)),
                    self.training_steps.saturating_sub(step),
                ));
                self.screen.bar().set_position(step);
            }
            ProgressMode::Json if self.is_due(step, elapsed) => {
                self.printed = Some(elapsed);
                let (training_steps, elapsed_secs) = (self.training_steps, elapsed.as_secs_f64());
                // JSON cannot represent NaN and infinity, so such a loss is left out.
                let loss = Some(loss).filter(|loss| loss.is_finite());
                let line = ProgressLine { step, training_steps, loss, elapsed_secs };
                self.screen.out(&line.to_string());
            }
            ProgressMode::Json | ProgressMode::None => {}
        }
    }

    fn is_due(&self, step: u64, elapsed: Duration) -> bool {
        // The last step is always printed, so that a reader sees that the run is complete.
        let waited = |printed| elapsed.saturating_sub(printed) >= Self::BETWEEN_LINES;
        step >= self.training_steps || self.printed.is_none_or(waited)
    }

    /// Prints the progress line of the original script, unless the mode is `none`.
    pub fn line(&self, line: &TrainingLine) {
        if self.mode != ProgressMode::None {
            self.screen.out(&line.to_string());
        }
    }

    /// Removes the bar from the screen.
    pub fn finish(&self) {
        self.screen.bar().finish_and_clear();
    }
}

fn steps_per_second(began: (u64, Duration), now: (u64, Duration)) -> Option<f64> {
    let (steps, time) = (now.0.saturating_sub(began.0), now.1.saturating_sub(began.1));
    (steps > 0 && !time.is_zero()).then(|| steps as f64 / time.as_secs_f64())
}

/// Returns the text to the right of the bar.
fn message(loss: f32, rate: Option<f64>, steps_left: u64) -> String {
    let loss = PercentG::new(loss.into()).with_precision(4);
    let Some(rate) = rate else { return format!("loss {loss}") };
    let secs_left = (steps_left as f64 / rate).ceil() as u64;
    let (minutes, secs) = (secs_left / 60, secs_left % 60);
    let left = match minutes {
        0 => format!("{secs} s"),
        1..60 => format!("{minutes} min {secs:02} s"),
        _ => format!("{} h {:02} min", minutes / 60, minutes % 60),
    };
    format!("{rate:.1} steps/s, loss {loss}, {left} left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_line_survives_printing_and_parsing() {
        let line =
            ProgressLine { step: 3, training_steps: 10, loss: Some(0.1), elapsed_secs: 0.25 };
        let text = line.to_string();
        assert_eq!(text, r#"{"step":3,"training_steps":10,"loss":0.1,"elapsed_secs":0.25}"#);
        assert_eq!(ProgressLine::parse(&text), Some(line));
        let without_loss = ProgressLine { loss: None, ..line };
        assert_eq!(ProgressLine::parse(&without_loss.to_string()), Some(without_loss));
    }

    #[test]
    fn other_lines_are_not_parsed_as_progress() {
        for line in ["", "After 100 training steps", "{", "{}", "[1]", "{\"step\":1}"] {
            assert_eq!(ProgressLine::parse(line), None, "{line}");
        }
    }

    #[test]
    fn at_most_ten_lines_a_second_are_printed_and_always_the_last() {
        let mut view = ProgressView::new(Screen::new(), ProgressMode::Json, 300);
        let mut printed = Vec::new();
        for step in 1..=300 {
            let elapsed = Duration::from_millis(step * 7);
            if view.is_due(step, elapsed) {
                printed.push(step);
                view.printed = Some(elapsed);
            }
        }
        assert_eq!(printed.first(), Some(&1));
        assert_eq!(printed.last(), Some(&300));
        assert!(printed.len() <= 22, "{} lines in 2.1 s", printed.len());
    }

    #[test]
    fn bar_shows_rate_loss_and_time_left() {
        let rate = steps_per_second((100, Duration::from_secs(1)), (600, Duration::from_secs(3)));
        assert_eq!(rate, Some(250.0));
        assert_eq!(message(0.123_456, rate, 9000), "250.0 steps/s, loss 0.1235, 36 s left");
        assert_eq!(message(2.0, Some(1.5), 100), "1.5 steps/s, loss 2, 1 min 07 s left");
        assert_eq!(message(2.0, Some(0.5), 4000), "0.5 steps/s, loss 2, 2 h 13 min left");
        assert_eq!(message(2.0, None, 100), "loss 2");
    }
}
