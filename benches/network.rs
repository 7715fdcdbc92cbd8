//! Measures the time of each layer of LeNet-5, and its share of the CPU core's peak.
//! `cargo bench --features benching --bench network`
//!
//! The data are the built-in digits, in batches of 100. The peak is measured in the same run, by
//! fused multiply-adds with all operands in registers.
#![expect(clippy::print_stdout, reason = "it prints its figures")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

#[path = "support/timing.rs"]
mod timing;

use timing::{SAMPLES, median, print_head, print_row, time};
use unisono_core::network::{Loss, Network as Layers};
use unisono_core::train_config::Placement;
use unisono_learn::data::Dataset;
use unisono_learn::model::benching::Peak;
use unisono_learn::model::{Batch, Layout, Model as _, SimdLevel};
use unisono_learn::network::Network;
use unisono_learn::network::benching::{Bench, Part};

const BATCH: usize = 100;

fn main() {
    let data = Dataset::embedded();
    let rows: Vec<_> = (0..BATCH).collect();
    let lenet = Layers::lenet5();
    for level in SimdLevel::available().into_iter().filter(|level| *level != SimdLevel::Portable) {
        let loss = Loss::default();
        let network = Network::new(&lenet, loss, 1e-4, &data.train, level).expect("LeNet fits");
        let layout = Layout::new(network.variables(), 1, Placement::Even);
        let parameters = layout.split(&network.initial_values(1));
        let batch = Batch::evaluation(&data.train, &rows);
        let mut bench = Bench::new(network, &layout, &parameters, batch);
        let parts = bench.parts();
        let mut seconds = vec![Vec::new(); parts.len()];
        let mut peaks = Vec::new();
        for _ in 0..SAMPLES {
            let mut flops = 0;
            let round = time(|| flops = Peak { rounds: 100_000 }.run(level));
            peaks.push(flops as f64 / round);
            for (part, seconds) in parts.iter().zip(&mut seconds) {
                seconds.push(time(|| bench.run(*part)));
            }
        }
        let peak = median(peaks);
        print_head(level, peak);
        for (part, seconds) in parts.iter().zip(seconds) {
            let kind = |layer: usize| lenet.layers[layer].to_string();
            let name = match part {
                Part::Begin => "reading the batch and the parameters".to_owned(),
                Part::Forward(layer) => format!("{}, forward", kind(*layer)),
                Part::Backward(layer) => format!("{}, backward", kind(*layer)),
                Part::Whole => "a whole gradient".to_owned(),
            };
            print_row(&name, bench.flops(*part), seconds, peak);
        }
        println!();
    }
}
