//! The losses and the final tensors do not depend on the cluster, the CPU or the build.
//!
//! The one plain loop, `unisono reference`, is what every cluster is compared with; what that
//! itself computes is compared with bytes that were recorded once, and with TensorFlow (`parity`).

use std::fs;

use unisono_learn::model::SimdLevel;

use crate::support::{Bits, Folder, bits_of, fixture};

const SMALL: &str = "--hidden 32 --batch-size 20 --training-steps 25 --progress none";

fn reference(words: &str) -> Bits {
    bits_of(&format!("reference {words}"))
}

fn assert_local_is(expected: &Bits, words: &str) {
    bits_of(&format!("local {words}")).assert_same(expected, words);
}

#[test]
fn the_number_of_ps_and_the_placement_change_no_bit() {
    let expected = reference(&format!("{SMALL} --workers 2"));
    assert_eq!(expected.rows().len(), 50, "R = 2, the number of workers");
    for n_ps in 1..=3 {
        for placement in ["round-robin", "even"] {
            let cluster = format!("--workers 2 --ps {n_ps} --placement {placement}");
            assert_local_is(&expected, &format!("{SMALL} {cluster}"));
        }
    }
}

/// The metadata, too: a checkpoint does not tell how its run was laid over tasks.
#[test]
fn final_checkpoint_has_the_same_bytes_for_any_ps_placement_and_number_of_workers() {
    let run = |words: &str| {
        let folder = Folder::new();
        folder.run(&format!("{words} {SMALL} --replicas-to-aggregate 4")).expect_code(0);
        fs::read(folder.logdir().join("model.ckpt-25.safetensors")).expect("the checkpoint")
    };
    let expected = run("reference --workers 4");
    for words in [
        "reference --workers 1 --ps 3 --placement round-robin --validation-size 1000",
        "local --workers 4 --ps 1",
        "local --workers 2 --ps 3 --placement round-robin",
    ] {
        assert!(run(words) == expected, "{words}");
    }
}

#[test]
fn the_way_tensors_take_changes_no_bit() {
    // Of 40 KB and more for each shard: the smaller ones take the sockets anyway.
    let words = "--hidden 30 --batch-size 20 --training-steps 30 --progress none";
    let expected = reference(words);
    for shared_memory in [true, false] {
        assert_local_is(&expected, &format!("{words} --shared-memory={shared_memory}"));
    }
}

#[test]
fn who_computes_a_slot_changes_no_bit() {
    let four = format!("{SMALL} --replicas-to-aggregate 4");
    let expected = reference(&format!("{four} --workers 4"));
    assert_eq!(expected.rows().len(), 100);
    for n_workers in 1..=4 {
        assert_local_is(&expected, &format!("{four} --workers {n_workers}"));
    }
}

#[test]
fn the_simd_level_changes_no_bit() {
    let few = "--hidden 32 --batch-size 20 --training-steps 8 --progress none";
    let run = |command: &str, level: SimdLevel| {
        let folder = Folder::new();
        let mut command = folder.command(&format!("{command} {few}"));
        command.env("UNISONO_SIMD", level.to_string());
        crate::support::Process::start(command).wait().expect_code(0);
        Bits::read(&folder.logdir())
    };
    let expected = reference(few);
    for level in SimdLevel::available() {
        run("reference", level).assert_same(&expected, &format!("reference, {level}"));
        run("local", level).assert_same(&expected, &format!("local, {level}"));
    }
}

#[test]
fn every_optimizer_is_the_same_on_a_cluster() {
    let average = format!("{SMALL} --moving-average-decay 0.99");
    let all = [
        (format!("{average} --optimizer momentum --nesterov"), "--ps 2"),
        (format!("{SMALL} --optimizer momentum --momentum 0.8"), "--ps 3 --placement even"),
        (format!("{average} --optimizer adam --learning-rate 0.001"), "--ps 3 --placement even"),
    ];
    let mut kept = Vec::new();
    for (words, cluster) in all {
        let expected = reference(&words);
        kept.push(expected.tensors.len());
        assert_local_is(&expected, &format!("{words} {cluster}"));
    }
    // Four variables; beside each its average, its velocity, its two moments.
    assert_eq!(kept, [4 * 3, 4 * 2, 4 * 4]);
}

#[test]
fn every_order_of_the_data_is_the_same_on_a_cluster() {
    let mut losses = Vec::new();
    for order in ["shuffled", "partitioned", "sequential"] {
        let words = format!("{SMALL} --order {order} --seed 5");
        let expected = reference(&words);
        assert_local_is(&expected, &words);
        losses.push(expected.losses);
    }
    losses.dedup();
    assert_eq!(losses.len(), 3, "each order is one of its own");
}

#[test]
fn no_hidden_layer_and_several_are_the_same_on_a_cluster() {
    for (hidden, n_tensors) in [("\"\"", 2), ("16,8", 6)] {
        let words =
            format!("--hidden {hidden} --batch-size 20 --training-steps 25 --progress none");
        let expected = reference(&words);
        assert_eq!(expected.tensors.len(), n_tensors);
        assert_local_is(&expected, &format!("{words} --ps 3 --placement even"));
        assert_local_is(
            &expected,
            &format!("{words} --ps 2 --workers 1 --replicas-to-aggregate 2"),
        );
    }
}

/// A debug build and one with all optimisation are compared with the same bytes, and so are all
/// CPUs that ever run this.
#[test]
fn the_bits_are_those_that_were_recorded() {
    for (name, words) in [
        ("sgd", "--hidden 32 --batch-size 50 --training-steps 40 --workers 2"),
        (
            "adam",
            "--hidden 16,8 --batch-size 30 --training-steps 40 --workers 3 --optimizer adam \
             --learning-rate 0.003 --moving-average-decay 0.99 --order partitioned --seed 7",
        ),
    ] {
        let bits = reference(words);
        let recorded = |extension: &str| {
            let path = fixture("golden/bits").join(format!("{name}.{extension}"));
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        assert_eq!(bits.losses, recorded("csv"), "{name}");
        assert_eq!(bits.tensors_sha256(), recorded("sha256").trim_end(), "{name}");
    }
}

#[test]
fn another_seed_is_another_run() {
    let (one, two) =
        (reference(&format!("{SMALL} --seed 1")), reference(&format!("{SMALL} --seed 2")));
    assert_ne!(one.losses, two.losses);
    assert_ne!(one.tensors_sha256(), two.tensors_sha256());
}
