//! The variables in which an engine tells a task who it is: the only ones that are settings.

use std::collections::BTreeMap;

/// `TF_CONFIG`, and what Slurm says of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The variable of Kubeflow, Vertex and others who start TensorFlow's clusters.
    pub const TF_CONFIG: &str = "TF_CONFIG";
    /// Slurm's all begin so; the second are those of its daemon on the node.
    const SLURM: [&str; 2] = ["SLURM_", "SLURMD_"];

    /// This process's. What is no UTF-8 is read as far as it is.
    #[must_use]
    pub fn of_process() -> Self {
        let all = std::env::vars_os();
        Self::from_iter(all.map(|(name, value)| {
            (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
        }))
    }

    /// The value of a variable. One that is empty or blank is not set.
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
    fn only_what_engines_set_is_a_setting_and_blank_is_not_set() {
        let all = [("TF_CONFIG", " {} "), ("SLURM_PROCID", " "), ("HOME", "/"), ("SLURMD_X", "1")];
        let environment = Environment::from_iter(all);
        assert_eq!(environment.value("TF_CONFIG"), Some("{}"));
        assert_eq!(environment.value("SLURM_PROCID"), None);
        assert_eq!(environment.value("HOME"), None);
        assert_eq!(environment.value("SLURMD_X"), Some("1"));
    }
}
