//! A model of one's own on a table, with all commands of `unisono` and, below `sim`, those of
//! `unisono-sim`. `docs/own-model.md` explains this program.

use std::process::ExitCode;

use ndarray::Array2;
use unisono::datasets::{self, Division};
use unisono::model::blocks::{column_sums, product, softmax_cross_entropy};
use unisono::model::{Batch, Gradient, Model, Parameters, Variable};
use unisono::{Setup, Workload};

/// A network of two layers: logits = relu(x·W + b)·V + c.
struct Wine {
    sizes: [usize; 3],
    regularization_rate: f64,
}

fn forward(x: &Array2<f32>, p: Parameters<'_>) -> [Array2<f32>; 2] {
    let hidden = product(x.view(), p.matrix(0).view()) + p.vector(1);
    let hidden = hidden.mapv(|z| if z > 0.0 { z } else { 0.0 });
    let logits = product(hidden.view(), p.matrix(2).view()) + p.vector(3);
    [hidden, logits]
}

impl Model for Wine {
    fn variables(&self) -> Vec<Variable> {
        let [features, width, classes] = self.sizes;
        vec![
            Variable::new("hidden/weights", &[features, width]).regularized(),
            Variable::new("hidden/biases", &[width]),
            Variable::new("output/weights", &[width, classes]).regularized(),
            Variable::new("output/biases", &[classes]),
        ]
    }

    fn gradient(&mut self, batch: Batch<'_>, p: Parameters<'_>, mut out: Gradient<'_>) -> f32 {
        let x = batch.features();
        let [hidden, mut deltas] = forward(&x, p);
        let loss = softmax_cross_entropy(&mut deltas, &batch.labels());
        let mut back = product(deltas.view(), p.matrix(2).t());
        back.zip_mut_with(&hidden, |delta, h| *delta = if *h > 0.0 { *delta } else { 0.0 });
        out.write(0, product(x.t(), back.view()).view().into_dyn());
        out.write(1, column_sums(back.view()).view().into_dyn());
        out.write(2, product(hidden.t(), deltas.view()).view().into_dyn());
        out.write(3, column_sums(deltas.view()).view().into_dyn());
        (loss + p.l2(self.regularization_rate)) as f32
    }

    fn logits(&mut self, batch: Batch<'_>, p: Parameters<'_>, logits: &mut Vec<f32>) {
        let [_, values] = forward(&batch.features(), p);
        *logits = values.into_raw_vec_and_offset().0;
    }
}

fn wine() -> Workload {
    Workload::new("wine", |setup: &Setup<'_>, data| {
        let sizes = [data.train.n_features(), setup.get("width"), data.train.n_classes()];
        Ok(Wine { sizes, regularization_rate: setup.run().train.regularization_rate })
    })
    .flag("width", &16_usize, "Units of the hidden layer")
    .with_data(|source| {
        let path = source.path().unwrap_or_else(|| "wine.csv".as_ref());
        let division = Division { label_column: Some("cultivar"), ..Division::of(source) };
        Ok(datasets::open(Some(path), division)?.standardized())
    })
}

fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(word) if word == "sim" => {
            unisono_sim::cli::main_with(&wine(), std::env::args_os().skip(1))
        }
        _ => unisono::program::main_with(&wine()),
    }
}
