//! Measures the time of each part of a gradient, and its share of the CPU core's peak.
//! `cargo bench --features benching --bench kernels`
//!
//! The model is the original script's, on the built-in MNIST examples. The peak is measured in the
//! same run, by fused multiply-adds with all operands in registers.
#![expect(clippy::print_stdout, reason = "it prints its figures")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

#[path = "support/timing.rs"]
mod timing;

use timing::{SAMPLES, median, print_head, print_row, time};
use unisono_core::train_config::Placement;
use unisono_learn::data::Dataset;
use unisono_learn::model::benching::{Bench, Part, Peak};
use unisono_learn::model::{Batch, Layout, Mlp, Model as _, SimdLevel};

const SIZES: [usize; 3] = [784, 500, 10];
const BATCH: usize = 100;

const PARTS: [(Part, &str); 11] = [
    (Part::LoadBatch, "reading a batch, in two orders"),
    (Part::ForwardFirst, "layer 1 forward, sparse, with bias and ReLU"),
    (Part::ForwardFirstWithSquares, "layer 1 forward and the squares of its weights"),
    (Part::LoadSecond, "reading layer 2's weights, with their squares"),
    (Part::ForwardSecond, "layer 2 forward, dense"),
    (Part::Softmax, "softmax and loss"),
    (Part::PassBack, "deltas of the hidden layer, dense"),
    (Part::SpreadDeltas, "copying these deltas into strips, with layer 1's bias gradient"),
    (Part::SecondGradient, "gradient of layer 2, dense"),
    (Part::FirstGradient, "gradient of layer 1, sparse"),
    (Part::Whole, "a whole gradient"),
];

fn main() {
    let data = Dataset::embedded();
    let rows: Vec<_> = (0..BATCH).collect();
    let batch = Batch::evaluation(&data.train, &rows);
    for level in SimdLevel::available() {
        let model = Mlp::new(&SIZES, 1e-4, level);
        let layout = Layout::new(model.variables(), 1, Placement::Even);
        let parameters = layout.split(&model.initial_values(1));
        let mut bench = Bench::new(SIZES, layout, parameters, batch, level);
        let mut seconds = vec![Vec::new(); PARTS.len()];
        let mut peaks = Vec::new();
        for _ in 0..SAMPLES {
            let mut flops = 0;
            let round = time(|| flops = Peak { rounds: 100_000 }.run(level));
            peaks.push(flops as f64 / round);
            for ((part, _), seconds) in PARTS.iter().zip(&mut seconds) {
                seconds.push(time(|| bench.run(*part)));
            }
        }
        let peak = median(peaks);
        print_head(level, peak);
        for ((part, name), seconds) in PARTS.iter().zip(seconds) {
            print_row(name, bench.flops(*part), seconds, peak);
        }
        println!();
    }
}
