//! Times code in short samples, and prints its share of the CPU core's peak.

use std::time::{Duration, Instant};

/// Number of samples per part. The parts take turns, because a machine's speed changes from one
/// second to the next.
pub(crate) const SAMPLES: usize = 40;
const SAMPLE_TIME: Duration = Duration::from_millis(5);

/// Returns the seconds per call of `run`, averaged over a sample.
pub(crate) fn time(mut run: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut n_runs = 0;
    loop {
        run();
        n_runs += 1;
        let elapsed = start.elapsed();
        if elapsed >= SAMPLE_TIME {
            return elapsed.as_secs_f64() / f64::from(n_runs);
        }
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints a row of a table: the times of a part, and its rate as a share of `peak`, both in
/// operations per second.
pub(crate) fn print_row(name: &str, flops: usize, seconds: Vec<f64>, peak: f64) {
    let fastest = seconds.iter().copied().fold(f64::INFINITY, f64::min);
    let (flops, seconds) = (flops as f64, median(seconds));
    let rate = if flops > 0.0 {
        format!("{:.1} | {:.0} %", flops / seconds / 1e9, 100.0 * flops / seconds / peak)
    } else {
        " | ".to_owned()
    };
    println!("| {name} | {:.0} | {:.0} | {rate} |", 1e6 * seconds, 1e6 * fastest);
}

/// Prints the head of the table.
pub(crate) fn print_head(level: impl std::fmt::Display, peak: f64) {
    println!("{level}: peak {:.1} GFLOP/s, medians of {SAMPLES}\n", peak / 1e9);
    println!("| part | µs | fastest | GFLOP/s | of the peak |\n|---|---|---|---|---|");
}
