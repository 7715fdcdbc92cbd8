//! IDX files that are not what they should be.

use std::fs;

use crate::support::{DataDir, Folder, Labels, Listing};

const SMALL: &str = "--hidden 16 --batch-size 20 --training-steps 5 --progress none";

/// What a data set must be told with, by the loop and by a cluster alike.
fn assert_refused(folder: &Folder, flags: &str, told: &[&str]) {
    let data = folder.join("data");
    let before = Listing::of(folder.path());
    for command in ["reference", "local"] {
        let ended = folder.run(&format!("{command} {SMALL} {flags} --data-dir {}", data.display()));
        ended.expect_error(1, told);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(ended.stdout.is_empty());
        before.assert_unchanged(folder.path());
    }
}

fn assert_spoiled_is_refused(spoil: impl FnOnce(&mut DataDir), told: &[&str]) {
    let folder = Folder::new();
    let mut data = DataDir::new(Labels::Right);
    spoil(&mut data);
    data.write(&folder.join("data"));
    assert_refused(&folder, DataDir::VALIDATION, told);
}

#[test]
fn a_small_data_set_is_fine_until_it_is_spoiled() {
    let folder = Folder::new();
    DataDir::new(Labels::Right).write(&folder.join("data"));
    let flags =
        format!("{SMALL} {} --data-dir {}", DataDir::VALIDATION, folder.join("data").display());
    folder.run(&format!("reference {flags}")).expect_code(0);
}

#[test]
fn a_missing_file_is_named() {
    for name in ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"] {
        let folder = Folder::new();
        DataDir::new(Labels::Right).write(&folder.join("data"));
        fs::remove_file(folder.join("data").join(name)).expect("it was there");
        assert_refused(&folder, DataDir::VALIDATION, &[name, "exists", "--data-dir"]);
    }
}

#[test]
fn a_missing_folder_is_named() {
    assert_refused(&Folder::new(), "", &["there is no folder ", "/data; --data-dir"]);
}

#[test]
fn a_truncated_file_is_told_with_both_lengths() {
    let len = 16 + 500 * 784;
    let (is, should) = (format!("ends after {} bytes", len - 7), format!("needs {len}"));
    assert_spoiled_is_refused(
        |data| data.train_images.truncate(len - 7),
        &["data/train-images-idx3-ubyte", &is, &should, "fetch or copy it again"],
    );
    assert_spoiled_is_refused(
        |data| data.test_labels.truncate(5),
        &["data/t10k-labels-idx1-ubyte", "ends after 5 bytes", "fetch or copy it again"],
    );
    assert_spoiled_is_refused(
        |data| data.train_labels.clear(),
        &["data/train-labels-idx1-ubyte", "ends after 0 bytes"],
    );
}

#[test]
fn bytes_after_the_last_element_are_told() {
    assert_spoiled_is_refused(
        |data| data.train_labels.push(1),
        &["data/train-labels-idx1-ubyte", "508"],
    );
}

#[test]
fn a_file_of_something_else_is_told() {
    assert_spoiled_is_refused(
        |data| data.train_images[..4].copy_from_slice(b"\x89PNG"),
        &["data/train-images-idx3-ubyte", "IDX"],
    );
    // Floats, where bytes are wanted.
    assert_spoiled_is_refused(
        |data| data.test_images[2] = 0x0d,
        &["data/t10k-images-idx3-ubyte", "0x0d"],
    );
}

#[test]
fn a_file_of_another_shape_is_told() {
    assert_spoiled_is_refused(
        |data| data.train_images = data.train_labels.clone(),
        &["data/train-images-idx3-ubyte", "has the shape 500"],
    );
    assert_spoiled_is_refused(
        |data| data.train_labels = data.train_images.clone(),
        &["data/train-labels-idx1-ubyte", "has the shape 500", "28"],
    );
    // 40 test images of 14 by 56 have as many pixels; those of 28 by 14 have not.
    assert_spoiled_is_refused(
        |data| {
            data.test_images[15] = 14;
            data.test_images.truncate(16 + 40 * 28 * 14);
        },
        &["784 pixels", "392", "one data set"],
    );
}

#[test]
fn images_and_labels_of_different_numbers_are_told() {
    assert_spoiled_is_refused(
        |data| {
            data.train_labels.truncate(8 + 499);
            data.train_labels[4..8].copy_from_slice(&499_u32.to_be_bytes());
        },
        &["500 images", "499 labels", "belong together"],
    );
}

#[test]
fn a_batch_or_a_validation_larger_than_the_data_is_told() {
    let folder = Folder::new();
    DataDir::new(Labels::Right).write(&folder.join("data"));
    let flags = format!("{} --batch-size 451", DataDir::VALIDATION);
    let small = Folder::new();
    DataDir::new(Labels::Right).write(&small.join("data"));
    for command in ["reference", "local"] {
        let words = format!(
            "{command} --hidden 16 --progress none {flags} --data-dir {}",
            folder.join("data").display()
        );
        folder.run(&words).expect_error(1, &["batch size of 451", "450", "from 1 to 450"]);
    }
    assert!(!folder.logdir().exists());
    assert_refused(&small, "--validation-size 500", &["validation size of 500", "below 500"]);
}
