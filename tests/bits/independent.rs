//! Compares runs with `fixtures/golden/independent.txt` and `networks.txt`, the results of a second
//! implementation of `docs/arithmetic.md` in another language.

use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

use crate::reference;

const PERCEPTRONS: &str = include_str!("../../fixtures/golden/independent.txt");
const NETWORKS: &str = include_str!("../../fixtures/golden/networks.txt");

/// Runs the reference and returns its losses and tensors in the format of that file.
fn lines_of(flags: &[String]) -> Vec<String> {
    let run = reference(&[], flags);
    let mut lines: Vec<String> = run.losses.lines().skip(1).map(str::to_owned).collect();
    let file = SafeTensors::deserialize(&run.checkpoint).expect("a checkpoint is safetensors");
    let mut tensors = file.tensors();
    tensors.retain(|(_, tensor)| tensor.dtype() == Dtype::F32);
    tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
    lines.extend(tensors.iter().map(|(name, tensor)| {
        let mut crc = flate2::Crc::new();
        crc.update(tensor.data());
        format!("{name},{},{:08x}", tensor.data().len() / 4, crc.sum())
    }));
    lines
}

#[test]
fn losses_and_tensors_equal_those_of_a_second_implementation() {
    let cases = [PERCEPTRONS, NETWORKS].map(|golden| golden.split("# ").skip(1));
    let cases: Vec<&str> = cases.into_iter().flatten().collect();
    assert_eq!(cases.len(), 5 + 11);
    for case in cases {
        let (head, body) = case.split_once('\n').expect("a case has lines");
        let (name, flags) = head.split_once(": ").expect("a name, and flags");
        let flags: Vec<String> = serde_json::from_str(flags).expect("flags are a JSON list");
        let wanted: Vec<&str> = body.lines().collect();
        assert_eq!(lines_of(&flags), wanted, "{name}");
    }
}
