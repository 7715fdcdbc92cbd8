//! The settings of a run, as rows of a table.

use std::path::Path;

use super::columns::Fact;
use crate::events::RunInfo;
use crate::ledger::{self, Ledger};
use crate::trace::Run;
use unisono_core::protocol::Settings;
use unisono_files::checkpoint::{DATA_DIR_FILE, newest_valid};
use unisono_files::disk::{Disk as _, RealDisk};

/// The settings that have their own names in the table, in the order of the table: each key with
/// its name. All other settings follow, and have names that are made from their keys.
const NAMES: [(&str, &str); 21] = [
    ("hidden", "hidden layers"),
    ("layers", "layers"),
    ("input", "input"),
    ("loss", "loss"),
    ("optimizer", "optimizer"),
    ("learning_rate", "learning rate"),
    ("learning_rate_decay", "learning rate decay"),
    ("decay_steps", "decay steps"),
    ("momentum", "momentum"),
    ("nesterov", "Nesterov"),
    ("regularization_rate", "L2 regularization"),
    ("moving_average_decay", "moving average decay"),
    ("batch_size", "batch size"),
    ("training_steps", "training steps"),
    ("seed", "seed"),
    ("ps", "parameter servers"),
    ("workers", "workers"),
    ("replicas_to_aggregate", "replicas to aggregate"),
    ("data", "data"),
    (TRAINING_DATA, "data digest"),
    (PROGRAM, "version of the run"),
];

/// Key of the training data's digest in the event files.
const TRAINING_DATA: &str = "training_data";
/// Key of the version of the training program in the event files.
const PROGRAM: &str = "unisono";
/// Number of characters of a digest that the table shows. This number suffices to distinguish data
/// sets.
const SHOWN_DIGEST: usize = 16;

/// Returns the rows of the table.
#[must_use]
pub fn rows(settings: &Settings) -> Vec<Fact> {
    let named = NAMES
        .iter()
        .filter_map(|(key, name)| Some((*key, (*name).to_owned(), settings.value(key)?)));
    let others = settings.iter().filter(|(key, _)| NAMES.iter().all(|(known, _)| known != key));
    let others = others.map(|(key, value)| (key, key.replace('_', " "), value));
    named.chain(others).map(|(key, name, value)| Fact { name, value: shown(key, value) }).collect()
}

fn shown(key: &str, value: &str) -> String {
    match (key, value) {
        ("hidden", "") => "none".to_owned(),
        ("hidden", _) => value.replace(',', ", "),
        (TRAINING_DATA, _) => value.chars().take(SHOWN_DIGEST).collect(),
        _ => value.to_owned(),
    }
}

/// Returns the settings of a run from the files in its logdir.
///
/// Event files contain all settings, and ledgers contain all settings except the digest of the
/// training data. A checkpoint is large and lacks the size of the cluster, so it is read only if
/// neither event files nor ledgers contain settings. A trace contains only the size of the cluster,
/// the number of gradients per update, and the number of steps.
pub(super) fn of_logdir(
    logdir: &Path,
    info: &RunInfo,
    ledgers: &[Ledger],
    run: Option<&Run>,
) -> Settings {
    let header = ledger::last_header(ledgers);
    let of_ledgers = header.map(|header| header.settings.clone()).unwrap_or_default();
    let mut settings = info.settings.or(&of_ledgers);
    if settings.iter().next().is_none() {
        settings = of_checkpoint(logdir);
    }
    if let Some(header) = run.and_then(|run| run.lives.last()).map(|life| &life.header) {
        let of_trace = Settings::default()
            .with("training_steps", header.training_steps)
            .with("replicas_to_aggregate", header.replicas_to_aggregate)
            .with("workers", header.total_num_replicas)
            .with("ps", header.n_ps);
        settings = settings.or(&of_trace);
    }
    match RealDisk.read(&logdir.join(DATA_DIR_FILE)) {
        Ok(path) if path.is_empty() => settings.with("data", "built-in digits"),
        Ok(path) => settings.with("data", String::from_utf8_lossy(&path)),
        Err(_) => settings,
    }
}

/// Returns the settings in the newest checkpoint. The result is empty if there is no valid
/// checkpoint.
fn of_checkpoint(logdir: &Path) -> Settings {
    let newest = newest_valid(&RealDisk, logdir).ok().and_then(|newest| newest.found);
    let Some((_, checkpoint)) = newest else { return Settings::default() };
    match checkpoint.data {
        Some(digest) => checkpoint.settings.with(TRAINING_DATA, digest),
        None => checkpoint.settings,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unisono_core::ids::Step;
    use unisono_files::checkpoint::file::{encode, file_name};
    use unisono_files::testing::checkpoint_of;

    fn text(rows: &[Fact]) -> String {
        rows.iter().map(|row| format!("{} = {}\n", row.name, row.value)).collect()
    }

    #[test]
    fn settings_have_the_order_of_the_table_and_unknown_settings_come_last() {
        let settings = Settings::default()
            .with("decay_rate_of_tomorrow", "0.5")
            .with("seed", 7)
            .with(TRAINING_DATA, "0123456789abcdef0123456789abcdef")
            .with("hidden", "300,100");
        insta::assert_snapshot!(text(&rows(&settings)), @"
        hidden layers = 300, 100
        seed = 7
        data digest = 0123456789abcdef
        decay rate of tomorrow = 0.5
        ");
        assert_eq!(text(&rows(&Settings::default().with("hidden", ""))), "hidden layers = none\n");
    }

    #[test]
    fn settings_are_read_from_a_checkpoint_if_there_is_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let (logdir, nothing) = (folder.path(), RunInfo::default());
        assert_eq!(of_logdir(logdir, &nothing, &[], None), Settings::default());
        let checkpoint = checkpoint_of(Step(200), 3);
        std::fs::write(logdir.join(file_name(Step(200))), encode(&checkpoint)).expect("a file");
        std::fs::write(logdir.join(DATA_DIR_FILE), "").expect("a file");
        let found = of_logdir(logdir, &nothing, &[], None);
        for (key, value) in checkpoint.settings.iter() {
            assert_eq!(found.value(key), Some(value), "{key}");
        }
        assert_eq!(found.value("data"), Some("built-in digits"));
        assert_eq!(found.value(TRAINING_DATA), checkpoint.data.as_deref());

        let settings = Settings::default().with("seed", 99);
        let info = RunInfo { settings, ..nothing };
        let found = of_logdir(logdir, &info, &[], None);
        assert_eq!((found.value("seed"), found.value(TRAINING_DATA)), (Some("99"), None));
    }
}
