//! Tests that keep `docs/configuration.md` equal to the texts of `--help`.

use std::fmt::Write as _;

use super::file::sections;

/// Returns the text of the document.
fn document() -> String {
    let mut text = String::from(
        "# Configuration\n\n\
         Every key of the file that `--config FILE.toml` names is also a flag: `batch_size` in \
         `[train]` is `--batch-size`.\n\
         A flag overrides the file, and the file overrides the default.\n\
         An unknown key is an error.\n\
         Lists are arrays in the file (`hidden = [300, 100]`) and have commas on the command line \
         (`--hidden 300,100`).\n\
         This page is generated from the texts of `--help`; a test keeps it up to date.\n",
    );
    for section in sections() {
        write!(text, "\n## `[{}]`\n\n", section.name).expect("a String takes all");
        for key in section.texts() {
            writeln!(text, "- `{}` (default {}): {}", key.name, key.default, key.what)
                .expect("a String takes all");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::*;
    use crate::keys::{LocalKeys, RunKeys};
    use crate::{ClusterSpec, RunConfig};
    use unisono_core::train_config::ClusterSize;

    #[test]
    fn documentation_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, document()).unwrap();
        }
        let there = std::fs::read_to_string(path).unwrap_or_default();
        assert!(there == document(), "update it with UPDATE_DOCS=1 cargo test -p unisono-config");
    }

    #[test]
    fn every_documented_default_is_the_real_one() {
        // These words describe a default in the documentation. They are not compared with the real
        // default.
        let words = [
            "the number of workers",
            "a small part",
            "a tenth",
            "a fifth",
            "the column",
            "the shape",
            "none",
            "off",
        ];
        let mut flags = Vec::new();
        let mut hosts = Vec::new();
        for section in sections() {
            for key in section.texts() {
                let default = key.default;
                assert!(!default.is_empty(), "{} says no default", key.name);
                let name = &*key.name.replace('_', "-");
                let text = format!("--{name}={default}");
                match name {
                    "momentum" | "nesterov" | "beta1" | "beta2" | "epsilon" => {}
                    "ps-hosts" | "worker-hosts" => hosts.push(default.to_owned()),
                    "ps" | "workers" => assert_eq!(default, "2"),
                    "supervise" => assert_eq!(default, "false"),
                    "max-restarts" => {
                        let supervise = Some(true);
                        let keys = LocalKeys { supervise, ..LocalKeys::default() };
                        assert_eq!(keys.max_restarts(), Ok(Some(default.parse().unwrap())));
                    }
                    _ if words.iter().any(|word| default.starts_with(word)) => {}
                    _ => flags.push(text),
                }
            }
        }
        let size = ClusterSize { n_ps: 2, n_workers: 2 };
        let resolve = |flags: Vec<String>| {
            let command = <RunKeys as clap::Args>::augment_args(clap::Command::new("test"));
            let matches = command.no_binary_name(true).get_matches_from(flags);
            RunConfig::resolve(RunKeys::from_arg_matches(&matches).unwrap(), size).unwrap()
        };
        assert_eq!(resolve(flags), resolve(Vec::new()));
        let documented = ClusterSpec::new(hosts[0].parse().unwrap(), hosts[1].parse().unwrap());
        assert_eq!(documented, Ok(ClusterSpec::default()));
        let momentum = resolve(vec!["--optimizer=momentum".to_owned()]);
        let adam = resolve(vec!["--optimizer=adam".to_owned()]);
        let written = |flags: &str| resolve(flags.split(' ').map(str::to_owned).collect());
        assert_eq!(momentum, written("--optimizer=momentum --momentum=0.9 --nesterov=false"));
        assert_eq!(adam, written("--optimizer=adam --beta1=0.9 --beta2=0.999 --epsilon=1e-8"));
    }
}
