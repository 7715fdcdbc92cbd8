//! The environment variables in which a cluster manager, such as Kubeflow or Slurm, gives a process
//! the job and the number of its task. No other environment variable is a setting.

use std::collections::BTreeMap;

/// The variable `TF_CONFIG` and the variables that Slurm sets for its processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The variable that Kubeflow, Vertex AI and other cluster managers set when they start
    /// TensorFlow clusters.
    pub const TF_CONFIG: &str = "TF_CONFIG";
    /// The prefixes of Slurm's variables. The daemon `slurmd` on each node sets the variables with
    /// the prefix `SLURMD_`.
    const SLURM: [&str; 2] = ["SLURM_", "SLURMD_"];

    /// Reads the environment of this process. Bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn of_process() -> Self {
        let all = std::env::vars_os();
        Self::from_iter(all.map(|(name, value)| {
            (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
        }))
    }

    /// Returns the value of a variable; `None` if the variable is absent, empty or blank.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let of_engines = |name: &str| {
            name == Self::TF_CONFIG || Self::SLURM.iter().any(|prefix| name.starts_with(prefix))
        };
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self(variables.filter(|(name, _)| of_engines(name)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_engine_variables_are_read_and_blank_counts_as_unset() {
        let all = [("TF_CONFIG", " {} "), ("SLURM_PROCID", " "), ("HOME", "/"), ("SLURMD_X", "1")];
        let environment = Environment::from_iter(all);
        assert_eq!(environment.value("TF_CONFIG"), Some("{}"));
        assert_eq!(environment.value("SLURM_PROCID"), None);
        assert_eq!(environment.value("HOME"), None);
        assert_eq!(environment.value("SLURMD_X"), Some("1"));
    }
}
