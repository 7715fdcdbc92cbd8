//! Data sets with other shapes and numbers of classes than MNIST, and `unisono data info`.

#![allow(missing_docs, reason = "a test program")]

#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use support::{DataDir, Folder, Labels, unisono};

/// Writes a data set of images with the shape `dims`. The label of image i is `i % n_classes`, and
/// the label determines the bright pixels.
fn write(folder: &Path, dims: &[u32], n_classes: u32) {
    fs::create_dir_all(folder).expect("a folder can be made");
    let n_pixels: u32 = dims.iter().product();
    for (part, n) in [("train", 330), ("t10k", 52)] {
        let labels: Vec<_> = (0..n).map(|i| i % n_classes).collect();
        let pixel = |label: u32, pixel: u32| (pixel * 7 % n_classes == label) as u8 * 200 + 3;
        let pixels = labels.iter().flat_map(|label| (0..n_pixels).map(move |at| pixel(*label, at)));
        let images = idx(&[&[n][..], dims].concat(), pixels);
        fs::write(folder.join(format!("{part}-images-idx3-ubyte")), images)
            .expect("the file can be written");
        let labels = idx(&[n], labels.iter().map(|label| *label as u8));
        fs::write(folder.join(format!("{part}-labels-idx1-ubyte")), labels)
            .expect("the file can be written");
    }
}

fn idx(dims: &[u32], elements: impl Iterator<Item = u8>) -> Vec<u8> {
    let header = [0, 0, 8, dims.len() as u8].into_iter();
    header.chain(dims.iter().flat_map(|dim| dim.to_be_bytes())).chain(elements).collect()
}

fn info(arguments: &str) -> (i32, String) {
    let output = unisono(&format!("data info {arguments}")).output().expect("the program runs");
    assert!(output.stderr.is_empty());
    let text = String::from_utf8(output.stdout).expect("the output is text");
    (output.status.code().expect("the program exits"), text)
}

/// Covers wide images, colour images, vectors and single pixels, with 2 to 256 classes.
#[test]
fn images_of_any_shape_and_any_number_of_classes_train() {
    for (dims, n_classes) in
        [(&[20, 30][..], 26), (&[6, 5, 3], 10), (&[16], 2), (&[1, 1], 3), (&[2, 2, 2, 2], 256)]
    {
        let (cluster, serial) = (Folder::new(), Folder::new());
        let data = cluster.join("data");
        write(&data, dims, n_classes);
        let flags = format!(
            "--hidden 12 --batch-size 20 --training-steps 8 --validation-size 60 --progress none \
             --data-dir {}",
            data.display()
        );
        let parallel = cluster.bits_of(&format!("local {flags}"));
        let case = format!("{dims:?} {n_classes}");
        parallel.assert_same_files(&serial.bits_of(&format!("reference {flags}")), &case);
        let n_features: u32 = dims.iter().product();
        assert_eq!(parallel.tensors["layer1/weights"].0, [n_features as usize, 12], "{case}");
        assert_eq!(parallel.tensors["layer2/weights"].0, [12, n_classes as usize], "{case}");
        let ended =
            cluster.run(&format!("eval --validation-size 60 --data-dir {}", data.display()));
        ended.expect_code(0);
    }
}

#[test]
fn info_prints_shapes_classes_and_labels() {
    let folder = Folder::new();
    write(&folder.join("data"), &[20, 30], 3);
    let (code, text) = info(&format!("{} --validation-size 60", folder.join("data").display()));
    assert_eq!(code, 0, "{text}");
    let (text, digest) = text.trim_end().rsplit_once('\n').expect("the output has lines");
    assert!(digest.starts_with("digest ") && digest.len() == 71, "{digest}");
    insta::assert_snapshot!(text, @"
    train-images-idx3-ubyte  plain  198016 bytes  330 x 20 x 30
    train-labels-idx1-ubyte  plain     338 bytes  330
    t10k-images-idx3-ubyte   plain   31216 bytes  52 x 20 x 30
    t10k-labels-idx1-ubyte   plain      60 bytes  52
    It is another data set: 270 examples to train on, 60 for validation, 52 to test; 600 features each, 3 classes.

    label  training  validation      test
        0        90          20        18
        1        90          20        17
        2        90          20        17

    Features other than 0 are from 0.011764707 to 0.7960785.
    ");
}

#[test]
fn info_reports_every_defect() {
    let folder = Folder::new();
    let data = folder.join("data");
    DataDir::new(Labels::Right).write(&data);
    fs::remove_file(data.join("train-labels-idx1-ubyte")).expect("the file exists");
    fs::write(data.join("t10k-labels-idx1-ubyte"), b"\x89PNG").expect("the file can be written");
    let (code, text) = info(&data.display().to_string());
    assert_eq!(code, 1, "{text}");
    let text = text.replace(&data.display().to_string(), "DIR");
    insta::assert_snapshot!(text.trim_end(), @"
    train-images-idx3-ubyte  plain  392016 bytes  500 x 28 x 28
    t10k-images-idx3-ubyte   plain   31376 bytes  40 x 28 x 28
    No run can train on it because of 2 defects:
      neither DIR/train-labels-idx1-ubyte nor DIR/train-labels-idx1-ubyte.gz exists; give --data-dir a folder with the four IDX files of a data set (`unisono data fetch --data-dir DIR` fetches MNIST), or omit --data-dir to use the built-in digits
      DIR/t10k-labels-idx1-ubyte: starts with the bytes 89 50, but an IDX file starts with 00 00; give the IDX file itself, plain or as gzip
    ");
    // An intact small data set needs no flag.
    DataDir::new(Labels::Right).write(&data);
    let (code, text) = info(&data.display().to_string());
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("450 examples to train on, 50 for validation"), "{text}");
    let (code, text) = info(&format!("{} --validation-size 500", data.display()));
    assert_eq!(code, 1);
    assert!(text.contains("a validation size of 500 leaves nothing"), "{text}");
}

#[test]
fn info_without_a_folder_describes_the_built_in_digits() {
    let (code, text) = info("");
    assert_eq!(code, 0);
    assert!(
        text.starts_with("It is the built-in digits, a part of MNIST: 8000 examples"),
        "{text}"
    );
    assert!(text.contains("3a5874144a835a5cc5c934a5d12206b668034cbce416b7a387b1a349fc8d72aa"));
}

#[test]
fn error_for_missing_data_suggests_fetch() {
    let folder = Folder::new();
    let data = folder.join("data");
    let ended = folder.run(&format!("local --data-dir {}", data.display()));
    let fetch = format!("`unisono data fetch --data-dir {}` fetches MNIST", data.display());
    ended.expect_error(1, &["there is no folder ", &fetch]);
}

#[test]
fn other_spellings_and_padded_gzip_files_are_the_same_data_set() {
    let folder = Folder::new();
    let plain = folder.join("plain");
    write(&plain, &[4, 4], 3);
    let digest = |dir: &Path| {
        let (code, message) = info(&format!("{} --validation-size 50", dir.display()));
        assert_eq!(code, 0, "{message}");
        message.lines().find(|line| line.starts_with("digest ")).expect("a digest").to_owned()
    };
    let expected = digest(&plain);
    let (dotted, nested, padded) =
        (folder.join("dotted"), folder.join("nested"), folder.join("gz"));
    for dir in [&dotted, &nested, &padded] {
        fs::create_dir(dir).expect("a folder can be made");
    }
    for entry in fs::read_dir(&plain).expect("the file exists") {
        let path = entry.expect("the file can be read").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8");
        fs::copy(&path, dotted.join(name.replacen("-idx", ".idx", 1))).expect("a copy");
        fs::create_dir(nested.join(name)).expect("a folder can be made");
        fs::copy(&path, nested.join(name).join(name)).expect("a copy");
        let mut gzip = Command::new("gzip");
        let gzip = gzip.arg("-c").arg(&path).output().expect("there is a gzip").stdout;
        let bytes = [gzip, vec![0; 512]].concat();
        fs::write(padded.join(format!("{name}.gz")), bytes).expect("the file can be written");
        let tested = Command::new("gzip").arg("-t").arg(padded.join(format!("{name}.gz"))).status();
        assert!(tested.expect("there is a gzip").success(), "gzip accepts the padding");
    }
    for dir in [dotted, nested, padded] {
        assert_eq!(digest(&dir), expected, "{}", dir.display());
    }
}
