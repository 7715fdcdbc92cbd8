//! `unisono eval` evaluates the latest checkpoint. With `--watch`, it evaluates every new one.

use crate::support::{DataDir, Ended, Folder, Labels, Process, unisono};

const SMALL: &str = "--hidden 32 --batch-size 20 --progress none";

fn eval(folder: &Folder, words: &str) -> Process {
    folder.start(&format!("eval {words}"))
}

/// Returns the validation accuracy, the test accuracy and the rest of the last line of a run.
fn closing(run: &Ended) -> (String, String, String) {
    let line = run.stdout.lines().find(|line| line.starts_with("After ")).expect("a closing line");
    let (_, rest) = line.split_once("validation accuracy = ").expect("an accuracy");
    let (validation, rest) = rest.split_once(", test accuracy = ").expect("another");
    let end = rest.find(" with ").unwrap_or(rest.len() - 1);
    (validation.to_owned(), rest[..end].to_owned(), rest[end..].to_owned())
}

#[test]
fn eval_of_the_latest_checkpoint_prints_the_accuracies_of_the_run() {
    for (words, tail) in [("", "."), ("--moving-average-decay 0.9", " with the moving averages.")] {
        let folder = Folder::new();
        let run = folder.run(&format!("reference {SMALL} --training-steps 30 {words}"));
        let (validation, test, with) = closing(&run);
        assert_eq!(with, tail);
        let evaluated = eval(&folder, "").wait();
        evaluated.expect_code(0);
        assert_eq!(
            evaluated.stdout,
            format!(
                "After 30 training step(s), validation accuracy = {validation}, test accuracy = \
                 {test}\n"
            )
        );
    }
}

#[test]
fn eval_uses_moving_averages_instead_of_variables() {
    // The average follows so slowly that its accuracy differs from that of the variables.
    let accuracy = |words: &str| {
        let folder = Folder::new();
        let words = format!("{SMALL} --training-steps 200 --learning-rate 0.1 {words}");
        let (validation, ..) = closing(&folder.run(&format!("reference {words}")));
        validation.parse::<f64>().expect("a number")
    };
    let (plain, averaged) = (accuracy(""), accuracy("--moving-average-decay 0.99"));
    assert!(plain > 0.6 && averaged != plain, "{plain} and {averaged}");
}

#[test]
fn eval_watch_prints_each_new_checkpoint_once_until_ctrl_c() {
    let folder = Folder::new();
    let mut watch = eval(&folder, "--watch --eval-interval-secs 0.02");
    watch.wait_for_stdout("No checkpoint file found in ");
    for steps in [10, 20] {
        folder.run(&format!("reference {SMALL} --training-steps {steps}")).expect_code(0);
        watch.wait_for_stdout(&format!("After {steps} training step(s), validation accuracy = "));
    }
    watch.signal("INT");
    let ended = watch.wait();
    ended.expect_code(130);
    assert_eq!(ended.stdout.matches("After ").count(), 2, "{}", ended.stdout);
}

#[test]
fn eval_without_a_checkpoint_fails() {
    let folder = Folder::new();
    let ended = eval(&folder, "").wait();
    ended.expect_code(1);
    assert!(ended.stdout.starts_with("No checkpoint file found in "), "{}", ended.stdout);
    assert!(!folder.logdir().exists(), "eval creates no folder");
}

#[test]
fn eval_refuses_a_checkpoint_that_does_not_fit_the_data() {
    let folder = Folder::new();
    folder.run(&format!("reference {SMALL} --training-steps 2")).expect_code(0);

    let data = DataDir {
        train_images: idx_images(300),
        train_labels: idx_labels(300),
        test_images: idx_images(20),
        test_labels: idx_labels(20),
    };
    data.write(&folder.join("data"));
    let mut command = unisono("eval --validation-size 50");
    command.arg("--logdir").arg(folder.logdir()).arg("--data-dir").arg(folder.join("data"));
    Process::start(command)
        .wait()
        .expect_error(1, &["layer1/weights has shape [784, 32]", "4 features"]);
}

#[test]
fn eval_warns_about_data_that_differ_from_the_training_data() {
    let folder = Folder::new();
    folder.run(&format!("reference {SMALL} --training-steps 2")).expect_code(0);
    assert_eq!(eval(&folder, "").wait().expect_code(0).stderr, "");
    let message =
        ["trained on data with the digest ", "leave --data-dir and --validation-size out"];
    eval(&folder, "--validation-size 7").wait().expect_code(0).expect_stderr(&message);
}

#[test]
fn eval_without_flags_uses_the_data_of_the_run() {
    for words in ["", "--validation-size 120"] {
        let folder = Folder::new();
        DataDir::new(Labels::Right).write(&folder.join("digits"));
        // A path relative to the training's working directory, which differs from the evaluation's.
        let mut command = folder.command(&format!("reference {SMALL} --training-steps 40 {words}"));
        command.arg("--data-dir=digits").current_dir(folder.path());
        let (validation, test, _) = closing(Process::start(command).wait().expect_code(0));
        let evaluated = eval(&folder, "").wait();
        evaluated.expect_code(0);
        assert_eq!(evaluated.stderr, "");
        assert_eq!(
            evaluated.stdout,
            format!(
                "After 40 training step(s), validation accuracy = {validation}, test accuracy = \
                 {test}\n"
            )
        );
    }
}

#[test]
fn eval_refuses_built_in_digits_if_the_data_of_the_run_are_missing_or_changed() {
    let folder = Folder::new();
    let data = folder.join("digits");
    DataDir::new(Labels::Right).write(&data);
    let words = format!("reference {SMALL} --training-steps 2 --data-dir {}", data.display());
    folder.run(&words).expect_code(0);

    DataDir::new(Labels::TwoExchanged).write(&data);
    let message = ["was trained on data with the digest ", "give --data-dir", "has the digest "];
    eval(&folder, "").wait().expect_error(1, &message);
    std::fs::remove_dir_all(&data).expect("the data can be removed");
    eval(&folder, "").wait().expect_error(1, &["give --data-dir", "there is no folder "]);
    std::fs::remove_file(folder.logdir().join("data_dir")).expect("the run left it");
    eval(&folder, "").wait().expect_error(1, &["which are not the built-in digits"]);
}

/// Returns an IDX file of images of 2 by 2 pixels.
fn idx_images(n: u32) -> Vec<u8> {
    let header = [0x803_u32, n, 2, 2].map(u32::to_be_bytes).concat();
    [header, vec![7; n as usize * 4]].concat()
}

fn idx_labels(n: u32) -> Vec<u8> {
    let header = [0x801_u32, n].map(u32::to_be_bytes).concat();
    [header, (0..n).map(|i| (i % 10) as u8).collect()].concat()
}
