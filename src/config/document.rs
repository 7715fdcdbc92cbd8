//! The configuration of one task as a TOML document. `unisono local` passes this document to its
//! child processes.
//!
//! The document has every value of a [`RunConfig`], so a child process depends on no default. The
//! document differs from the configuration file that users write, which [`mod@crate::file`] reads.

use serde::{Deserialize, Serialize};

use crate::{ClusterSpec, RunConfig};

/// The configuration of a task, except for its own job and number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunDocument {
    /// The addresses of all tasks.
    pub cluster: ClusterSpec,
    /// The configuration of the run. The numbers of ps and workers must equal those of `cluster`.
    pub run: RunConfig,
}

impl RunDocument {
    /// Returns the document as TOML.
    ///
    /// # Panics
    /// Panics if TOML cannot represent a value, which only a bug can cause.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("every value has a form in TOML")
    }

    /// Reads a document that [`Self::to_toml`] has written.
    ///
    /// # Errors
    /// Returns an error if a key is missing or unknown, or a value has the wrong type. A document
    /// of another version of the program may have such errors.
    pub fn from_toml(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;
    use std::path::PathBuf;
    use std::time::Duration;

    use proptest::option;
    use proptest::prelude::*;
    use unisono_core::train_config::{Optimizer, Order, Placement, Portion, Sync, TrainConfig};

    use super::*;
    use crate::{LogFormat, ProgressMode, SecurityConfig, TlsFiles};

    fn optimizers() -> impl Strategy<Value = Optimizer> {
        prop_oneof![
            Just(Optimizer::Sgd),
            (0.0..0.99, any::<bool>())
                .prop_map(|(momentum, nesterov)| Optimizer::Momentum { momentum, nesterov }),
            (0.0..0.99, 0.0..0.99, 1e-30..1e30)
                .prop_map(|(beta1, beta2, epsilon)| Optimizer::Adam { beta1, beta2, epsilon }),
        ]
    }

    /// Generates paths of two kinds: text, and arbitrary bytes.
    fn paths() -> impl Strategy<Value = PathBuf> {
        let bytes = proptest::collection::vec(1..=u8::MAX, 1..9);
        prop_oneof![
            "[a-z \"'=\\\\/]{1,9}".prop_map(PathBuf::from),
            bytes.prop_map(|bytes| OsString::from_vec(bytes).into()),
        ]
    }

    fn securities() -> impl Strategy<Value = SecurityConfig> {
        let tls = (paths(), paths(), paths());
        prop_oneof![
            Just(SecurityConfig::Open),
            paths().prop_map(SecurityConfig::Secret),
            tls.prop_map(|(cert, key, ca)| SecurityConfig::Tls(TlsFiles { cert, key, ca })),
        ]
    }

    proptest! {
        #[test]
        fn every_configuration_is_read_back_from_its_document(
            optimizer in optimizers(),
            security in securities(),
            learning_rate in 1e-30..1e30,
            moving_average_decay in option::of(0.01..0.99),
            hidden in proptest::collection::vec(1..1000_usize, 0..3),
            seed: u64,
            nanos: u32,
            logdir in paths(),
            init_from in option::of(paths()),
            save_summaries_secs in option::of(Just(Duration::from_millis(1))),
            metrics in option::of(Just("[::1]:0")),
            flags: [bool; 5],
        ) {
            let train = TrainConfig {
                optimizer, learning_rate, moving_average_decay, hidden, seed,
                order: Order::Partitioned, ..TrainConfig::default()
            };
            let mut run = RunConfig {
                train, security, logdir, init_from, save_summaries_secs,
                sync: Sync { replicas_to_aggregate: 5, total_num_replicas: 3 },
                n_ps: 2,
                placement: Placement::RoundRobin,
                data_dir: Some("data".into()),
                validation_size: Some(Portion::Share(0.25)),
                test_size: Some(Portion::Count(7)),
                label_column: Some("class".to_owned()),
                shared_memory: flags[0],
                ledger: flags[1],
                trace: flags[2],
                allow_changed_settings: flags[3],
                allow_missing_losses: flags[4],
                progress: ProgressMode::Bar,
                log_format: LogFormat::Json,
                metrics: metrics.map(|text| text.parse().unwrap()),
                ..RunConfig::default()
            };
            run.limits.save_interval = Duration::new(1, nanos % 1_000_000_000);
            let document = RunDocument { cluster: ClusterSpec::default(), run };
            prop_assert_eq!(RunDocument::from_toml(&document.to_toml()), Ok(document));
        }
    }

    #[test]
    fn document_omits_the_fresh_flag() {
        let run = RunConfig { fresh: true, ..RunConfig::default() };
        let document = RunDocument { cluster: ClusterSpec::default(), run };
        let read = RunDocument::from_toml(&document.to_toml()).unwrap();
        assert_eq!(read.run, RunConfig::default());
    }

    #[test]
    fn document_of_another_version_is_refused_with_the_key() {
        let document =
            RunDocument { cluster: ClusterSpec::default(), run: RunConfig::default() }.to_toml();
        let unknown = document.replace("n_ps", "n_servers");
        let error = RunDocument::from_toml(&unknown).unwrap_err().to_string();
        assert!(error.contains("unknown field `n_servers`"), "{error}");
        let missing = document.replace("trace = false\n", "");
        let error = RunDocument::from_toml(&missing).unwrap_err().to_string();
        assert!(error.contains("missing field `trace`"), "{error}");
    }
}
