//! A loss that is NaN or infinite stops the run.

use std::fs;

use crate::support::{Bits, Folder, bits_of};

const SMALL: &str = "--hidden 16 --batch-size 20 --progress none";

#[test]
fn non_finite_loss_stops_the_run_and_keeps_the_last_good_checkpoint() {
    let expected = bits_of(&format!("reference {SMALL} --training-steps 20"));
    for command in ["local", "reference"] {
        let folder = Folder::new();
        folder.run(&format!("{command} {SMALL} --training-steps 10")).expect_code(0);
        let good = folder.logdir().join("model.ckpt-10.safetensors");
        let before = fs::read(&good).expect("the file exists");

        let words = format!(
            "{command} {SMALL} --training-steps 20 --learning-rate 1e30 \
             --allow-changed-settings"
        );
        let ended = folder.run(&words);
        ended.expect_code(3).expect_stderr(&[
            "the loss is ",
            " at step 11, slot ",
            "the last good checkpoint is kept",
            "a lower --learning-rate",
        ]);
        assert_eq!(fs::read(&good).expect("the file exists"), before, "{command}");
        assert_eq!(Bits::read(&folder.logdir()).step, 10, "{command}");
        assert!(!folder.logdir().join("model.ckpt-11.safetensors").exists(), "{command}");

        let resumed = folder.bits_of(&format!("{command} {SMALL} --training-steps 20"));
        resumed.assert_same(&expected, command);
    }
}
