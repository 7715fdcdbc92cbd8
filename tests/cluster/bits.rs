//! The losses and the final tensors do not depend on the cluster, the CPU or the build.
//!
//! Every cluster is compared with the serial run, `unisono reference`. The serial run is compared
//! with recorded bytes, and with TensorFlow in `parity`.

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
fn number_of_ps_and_placement_change_no_bit() {
    let expected = reference(&format!("{SMALL} --workers 2"));
    assert_eq!(expected.rows().len(), 50, "R = 2, the number of workers");
    for n_ps in 1..=3 {
        for placement in ["round-robin", "even"] {
            let cluster = format!("--workers 2 --ps {n_ps} --placement {placement}");
            assert_local_is(&expected, &format!("{SMALL} {cluster}"));
        }
    }
}

/// A small convolutional network with every kind of layer, and dropout.
const NETWORK: &str = "conv2d filters=3 kernel=5x4 stride=3 padding=same; layer_norm; gelu; \
                       max_pool size=2 stride=1 padding=same; conv2d filters=4 kernel=3; tanh; \
                       average_pool size=2; flatten; dropout rate=0.3; dense units=9; sigmoid; \
                       dense";

#[test]
fn network_of_all_layers_has_the_same_bits_in_a_cluster_and_with_every_simd_level() {
    let few = ["--batch-size", "5", "--training-steps", "6", "--learning-rate", "0.1"];
    let quiet = ["--progress", "none", "--regularization-rate", "0.01"];
    let run = |words: &str, level: Option<SimdLevel>| {
        let folder = Folder::new();
        let mut command = folder.command(words);
        command.args(["--layers", NETWORK]).args(few).args(quiet);
        level.into_iter().for_each(|level| {
            command.env("UNISONO_SIMD", level.to_string());
        });
        crate::support::Process::start(command).wait().expect_code(0);
        Bits::read(&folder.logdir())
    };
    let expected = run("reference --workers 3", None);
    for words in [
        "local --workers 3 --ps 1",
        "local --workers 2 --ps 3 --replicas-to-aggregate 3 --placement round-robin",
        "local --workers 1 --ps 2 --replicas-to-aggregate 3 --shared-memory=false",
    ] {
        run(words, None).assert_same(&expected, words);
    }
    for level in SimdLevel::available() {
        run("reference --workers 3", Some(level)).assert_same(&expected, &level.to_string());
    }
}

#[test]
fn lenet_trains_in_a_cluster_with_the_bits_of_the_serial_run() {
    let words = "--model lenet5 --batch-size 8 --training-steps 3 --progress none";
    assert_local_is(&reference(words), words);
}

/// This includes the metadata, which does not record the layout of the run.
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
fn shared_memory_and_sockets_give_the_same_bits() {
    // Shards of more than 40 KB each, because smaller tensors always go through sockets.
    let words = "--hidden 30 --batch-size 20 --training-steps 30 --progress none";
    let expected = reference(words);
    for shared_memory in [true, false] {
        assert_local_is(&expected, &format!("{words} --shared-memory={shared_memory}"));
    }
}

#[test]
fn assignment_of_slots_to_workers_changes_no_bit() {
    let four = format!("{SMALL} --replicas-to-aggregate 4");
    let expected = reference(&format!("{four} --workers 4"));
    assert_eq!(expected.rows().len(), 100);
    for n_workers in 1..=4 {
        assert_local_is(&expected, &format!("{four} --workers {n_workers}"));
    }
}

#[test]
fn simd_level_changes_no_bit() {
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
fn every_optimizer_gives_the_bits_of_the_reference_on_a_cluster() {
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
    // Four variables. For each, there is the variable, its average or not, and one velocity or two
    // moments.
    assert_eq!(kept, [4 * 3, 4 * 2, 4 * 4]);
}

#[test]
fn every_data_order_gives_the_bits_of_the_reference_on_a_cluster() {
    let mut losses = Vec::new();
    for order in ["shuffled", "partitioned", "sequential"] {
        let words = format!("{SMALL} --order {order} --seed 5");
        let expected = reference(&words);
        assert_local_is(&expected, &words);
        losses.push(expected.losses);
    }
    losses.dedup();
    assert_eq!(losses.len(), 3, "all orders differ");
}

#[test]
fn any_number_of_hidden_layers_gives_the_bits_of_the_reference_on_a_cluster() {
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

/// Debug builds and optimized builds on all CPUs are compared with the same recorded bytes.
#[test]
fn runs_keep_their_recorded_bits() {
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
fn another_seed_changes_the_run() {
    let (one, two) =
        (reference(&format!("{SMALL} --seed 1")), reference(&format!("{SMALL} --seed 2")));
    assert_ne!(one.losses, two.losses);
    assert_ne!(one.tensors_sha256(), two.tensors_sha256());
}
