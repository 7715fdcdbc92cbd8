//! A run that was stopped and resumed has the same bits as an uninterrupted one.

use crate::support::{Bits, Folder, Process, bits_of, wait_until};

const SGD: &str = "--hidden 32 --batch-size 20 --progress none";
const ADAM: &str = "--hidden 32 --batch-size 20 --progress none --optimizer adam \
                    --learning-rate 0.001 --moving-average-decay 0.99";

#[test]
fn run_with_more_steps_resumes_from_its_end() {
    for words in [SGD, ADAM] {
        let expected = bits_of(&format!("reference {words} --training-steps 40"));
        // The second command resumes the run of the first one, also with another layout.
        for (first, second) in [
            ("local --ps 3", "local --ps 3"),
            ("reference", "reference"),
            ("reference", "local"),
            ("local --ps 3 --placement even", "reference"),
            ("local --ps 1", "local --ps 3 --placement even"),
        ] {
            let folder = Folder::new();
            folder.bits_of(&format!("{first} {words} --training-steps 20"));
            let ended = folder.run(&format!("{second} {words} --training-steps 40"));
            ended.expect_code(0).expect_stderr(&["model.ckpt-20.safetensors"]);
            Bits::read(&folder.logdir()).assert_same(&expected, &format!("{first}, {second}"));
        }
    }
}

#[test]
fn restarted_finished_run_ends_at_once_and_changes_no_bit() {
    let folder = Folder::new();
    let words = format!("{SGD} --training-steps 15");
    let expected = folder.bits_of(&format!("local {words}"));
    for command in ["local", "reference"] {
        folder.bits_of(&format!("{command} {words}")).assert_same(&expected, command);
    }
}

#[test]
fn run_stopped_by_ctrl_c_resumes_with_the_same_command() {
    for words in [SGD, ADAM] {
        let folder = Folder::new();
        // Too many steps to reach the end before the signal.
        let endless = format!("local {words} --training-steps 1000000");
        // The step of the newest checkpoint, and the last step with losses.
        let (mut before, mut made) = (0, 0);
        for life in 0..2 {
            let mut run = start_slowly(&folder, &endless);
            let started =
                if life == 0 { "saved the checkpoint of step 0" } else { "Restored from" };
            run.wait_for_stderr(started);
            wait_for_new_losses(&mut run, &folder, made);
            run.signal("INT");
            let ended = run.wait();
            ended.expect_code(130).expect_stderr(&["The same command resumes"]);
            let restored = format!("model.ckpt-{before}.safetensors.\n");
            assert_eq!(ended.stderr.contains(&restored), life > 0, "{}", ended.stderr);
            let bits = Bits::read(&folder.logdir());
            assert!(bits.step > before, "the checkpoint of step {before} became {}", bits.step);
            (before, made) = (bits.step, bits.rows().last().map_or(0, |(step, ..)| *step));
        }
        let steps = before + 5;
        let resumed = folder.bits_of(&format!("local {words} --training-steps {steps}"));
        let expected = bits_of(&format!("reference {words} --training-steps {steps}"));
        resumed.assert_same(&expected, words);
    }
}

fn start_slowly(folder: &Folder, words: &str) -> Process {
    let mut command = folder.command(words);
    command.env("UNISONO_SIMD", "portable").env("UNISONO_LOG", "info");
    Process::start(command)
}

/// Waits until there are losses of steps after `made`, the last step of the earlier runs.
fn wait_for_new_losses(run: &mut Process, folder: &Folder, made: u64) {
    let path = folder.logdir().join("losses.csv");
    wait_until("new losses", || {
        assert!(run.is_running(), "the run ended:\n{}", run.stderr());
        let losses = std::fs::read_to_string(&path).unwrap_or_default();
        losses.lines().any(|line| line.starts_with(&format!("{},", made + 3)))
    });
}
