//! The progress line, which has exactly the characters of the original script's progress line.

use std::fmt;

use unisono_core::percent_g::PercentG;

/// The progress line `After %d training steps (%d global step), loss on training batch is %g. (%.3f
/// sec/batch)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainingLine {
    /// The number of steps that this worker has made since the worker started.
    pub step: u64,
    /// The global step of the cluster.
    pub global_step: u64,
    /// The loss of the worker's last batch.
    pub loss: f32,
    /// The mean duration of a global step, in seconds.
    pub sec_per_batch: f64,
}

impl TrainingLine {
    /// The number of steps between two lines, as in the original script.
    pub const INTERVAL: u64 = 100;
}

impl fmt::Display for TrainingLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "After {} training steps ({} global step), loss on training batch is {}. ({:.3} \
             sec/batch)",
            self.step,
            self.global_step,
            PercentG::new(self.loss.into()),
            self.sec_per_batch,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn training_line_equals_that_of_the_original_script() {
        let line =
            TrainingLine { step: 100, global_step: 101, loss: 0.74, sec_per_batch: 0.004_49 };
        assert_eq!(
            line.to_string(),
            "After 100 training steps (101 global step), loss on training batch is 0.74. (0.004 \
             sec/batch)"
        );
    }

    #[test]
    fn seconds_are_rounded_as_in_python() {
        // The expected texts come from: python3: ["%.3f" % x for x in (0.0005, 0.0015, 2.5e-3,
        // 1e3)]
        let printed = [0.0005, 0.0015, 2.5e-3, 1e3].map(|secs: f64| format!("{secs:.3}"));
        assert_eq!(printed, ["0.001", "0.002", "0.003", "1000.000"]);
    }
}
