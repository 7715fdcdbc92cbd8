//! Missing, damaged and mismatched IDX files.

use std::fs;

use crate::support::{DataDir, Folder, Labels, Listing};

const SMALL: &str = "--hidden 16 --batch-size 20 --training-steps 5 --progress none";

/// Asserts that the reference and a cluster refuse the data set with these messages.
fn assert_refused(folder: &Folder, flags: &str, message: &[&str]) {
    let data = folder.join("data");
    let before = Listing::of(folder.path());
    for command in ["reference", "local"] {
        let ended = folder.run(&format!("{command} {SMALL} {flags} --data-dir {}", data.display()));
        ended.expect_error(1, message);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(ended.stdout.is_empty());
        before.assert_unchanged(folder.path());
    }
}

/// Asserts that a data set is refused with these messages after `damage` changed it.
fn assert_damaged_is_refused(damage: impl FnOnce(&mut DataDir), message: &[&str]) {
    let folder = Folder::new();
    let mut data = DataDir::new(Labels::Right);
    damage(&mut data);
    data.write(&folder.join("data"));
    assert_refused(&folder, DataDir::VALIDATION, message);
}

#[test]
fn intact_small_data_set_is_accepted() {
    let folder = Folder::new();
    DataDir::new(Labels::Right).write(&folder.join("data"));
    let flags =
        format!("{SMALL} {} --data-dir {}", DataDir::VALIDATION, folder.join("data").display());
    folder.run(&format!("reference {flags}")).expect_code(0);
}

#[test]
fn error_for_a_missing_data_file_names_the_file() {
    for name in ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"] {
        let folder = Folder::new();
        DataDir::new(Labels::Right).write(&folder.join("data"));
        fs::remove_file(folder.join("data").join(name)).expect("the file exists");
        assert_refused(&folder, DataDir::VALIDATION, &[name, "exists", "--data-dir"]);
    }
}

#[test]
fn error_for_a_missing_data_folder_names_the_folder() {
    assert_refused(&Folder::new(), "", &["there is no folder ", "/data; give --data-dir"]);
}

#[test]
fn error_for_a_truncated_file_names_both_lengths() {
    let len = 16 + 500 * 784;
    let (is, should) = (format!("ends after {} bytes", len - 7), format!("needs {len}"));
    assert_damaged_is_refused(
        |data| data.train_images.truncate(len - 7),
        &["data/train-images-idx3-ubyte", &is, &should, "fetch or copy it again"],
    );
    assert_damaged_is_refused(
        |data| data.test_labels.truncate(5),
        &["data/t10k-labels-idx1-ubyte", "ends after 5 bytes", "fetch or copy it again"],
    );
    assert_damaged_is_refused(
        |data| data.train_labels.clear(),
        &["data/train-labels-idx1-ubyte", "ends after 0 bytes"],
    );
}

#[test]
fn bytes_after_the_last_element_are_refused() {
    assert_damaged_is_refused(
        |data| data.train_labels.push(1),
        &["data/train-labels-idx1-ubyte", "508"],
    );
}

#[test]
fn file_that_is_not_idx_is_refused() {
    assert_damaged_is_refused(
        |data| data.train_images[..4].copy_from_slice(b"\x89PNG"),
        &["data/train-images-idx3-ubyte", "IDX"],
    );
    // The type code of 32-bit floats.
    assert_damaged_is_refused(
        |data| data.test_images[2] = 0x0d,
        &["data/t10k-images-idx3-ubyte", "0x0d"],
    );
}

#[test]
fn file_of_the_wrong_shape_is_refused() {
    assert_damaged_is_refused(
        |data| data.train_images = data.train_labels.clone(),
        &["data/train-images-idx3-ubyte", "has the shape 500"],
    );
    assert_damaged_is_refused(
        |data| data.train_labels = data.train_images.clone(),
        &["data/train-labels-idx1-ubyte", "has the shape 500", "28"],
    );
    // Test images of 28 by 14 pixels, half the size of the training images.
    assert_damaged_is_refused(
        |data| {
            data.test_images[15] = 14;
            data.test_images.truncate(16 + 40 * 28 * 14);
        },
        &["784 pixels", "392", "one data set"],
    );
}

#[test]
fn different_numbers_of_images_and_labels_are_refused() {
    assert_damaged_is_refused(
        |data| {
            data.train_labels.truncate(8 + 499);
            data.train_labels[4..8].copy_from_slice(&499_u32.to_be_bytes());
        },
        &["500 images", "499 labels", "belong together"],
    );
}

#[test]
fn batch_or_validation_larger_than_the_data_is_refused() {
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
