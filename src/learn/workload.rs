//! The workload of a program as one value: the model, the data, and the flags that configure both.
//!
//! Every command that computes gets a [`Workload`]. [`Workload::built_in`] is that of the program
//! `unisono`. A program with a model of its own passes its own workload, and has all commands.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use unisono_config::file::is_common_key;
use unisono_config::{OwnFlag, OwnSettings, RunConfig};
use unisono_core::network::{self as layers, Loss};
use unisono_core::train_config::{Portion, TrainConfig};
use unisono_files::checkpoint::GLOBAL_STEP;

use crate::data::{Dataset, DatasetError, Examples};
use crate::model::{Mlp, Model, SimdLevel, Variable};
use crate::network::Network;
use crate::training::Plan;

type OpenData = dyn Fn(&DataSource<'_>) -> Result<Dataset, DatasetError> + Send + Sync;
type MakeModel = dyn Fn(&Setup<'_>, &Dataset) -> Result<Box<dyn Model>, String> + Send + Sync;

/// A model and its data, and the flags that configure both. A clone shares the functions of the
/// original.
#[derive(Clone)]
pub struct Workload {
    /// `None` for the built-in models.
    name: Option<String>,
    flags: Vec<OwnFlag>,
    open_data: Arc<OpenData>,
    make_model: Arc<MakeModel>,
}

/// The configuration of a run, for the functions of its workload.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    run: &'a RunConfig,
    level: SimdLevel,
}

/// The settings that select the data of a run, for the function that opens them. The data may depend
/// on no other setting, so runs that differ in other settings share the opened data.
#[derive(Clone, Copy, Debug)]
pub struct DataSource<'a> {
    run: &'a RunConfig,
}

/// The reason why a run of a workload cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The data cannot be used.
    #[error(transparent)]
    Data(#[from] DatasetError),
    /// The model cannot be created, or its variables cannot be stored.
    #[error("{0}")]
    Model(String),
    /// The settings are those of another workload.
    #[error(
        "the settings are of {theirs}, but this program trains {ours}: use the program that wrote \
         them"
    )]
    OtherModel {
        /// The model of the settings.
        theirs: String,
        /// The model of this program.
        ours: String,
    },
    /// The settings are of this workload, but of another version of it.
    #[error("the settings do not fit this version of {model}: {what}")]
    OtherSettings {
        /// The name of the model.
        model: String,
        /// The key of the first such setting, and the problem.
        what: String,
    },
}

impl Setup<'_> {
    /// Returns the configuration of the run.
    #[must_use]
    pub const fn run(&self) -> &RunConfig {
        self.run
    }

    /// Returns the SIMD level of the run. It must not affect a bit of any result.
    #[must_use]
    pub const fn level(&self) -> SimdLevel {
        self.level
    }

    /// Returns the value of a flag of the workload. `key` is the name of the flag with underscores.
    ///
    /// # Panics
    /// Panics if the workload has no such flag, or the flag has values of another type.
    #[must_use]
    pub fn get<T: FromStr>(&self, key: &str) -> T {
        value_of(&self.run.own, key)
    }
}

impl DataSource<'_> {
    /// Returns the path of `--data-dir`; `None` for the data that the program has without a path.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.run.data_dir.as_deref()
    }

    /// Returns the training examples that are used for validation; `None` for the default.
    #[must_use]
    pub const fn validation_size(&self) -> Option<Portion> {
        self.run.validation_size
    }

    /// Returns the examples of a table that are used as test examples; `None` for the default.
    #[must_use]
    pub const fn test_size(&self) -> Option<Portion> {
        self.run.test_size
    }

    /// Returns the name of a table's column of labels; `None` for the default.
    #[must_use]
    pub fn label_column(&self) -> Option<&str> {
        self.run.label_column.as_deref()
    }

    /// Returns the value of a flag of the workload. `key` is the name of the flag with underscores.
    ///
    /// # Panics
    /// Panics if the workload has no such flag, or the flag has values of another type.
    #[must_use]
    pub fn get<T: FromStr>(&self, key: &str) -> T {
        value_of(&self.run.own, key)
    }

    /// Returns a text that is equal for two sources of equal data.
    fn key(&self) -> String {
        let Self { run } = self;
        let parts = (run.validation_size, run.test_size, &run.label_column, &run.own.values);
        format!("{:?} {parts:?}", run.data_dir)
    }
}

fn value_of<T: FromStr>(own: &OwnSettings, key: &str) -> T {
    let text = own.values.get(key).unwrap_or_else(|| panic!("the workload has no flag {key}"));
    text.parse().unwrap_or_else(|_| panic!("the flag {key} has values of another type"))
}

impl Workload {
    /// Returns the workload of the program `unisono`: the network of the configuration on the data of
    /// `--data-dir`, or else on the embedded digits.
    #[must_use]
    pub fn built_in() -> Self {
        Self {
            name: None,
            flags: Vec::new(),
            open_data: Arc::new(open_data_dir),
            make_model: Arc::new(|setup, data| {
                built_in_model(&setup.run.train, &data.train, setup.level)
            }),
        }
    }

    /// Creates a workload that trains the model of `make` on the data of `--data-dir`.
    ///
    /// `name` becomes the setting `model`, so that tasks with different models refuse to train
    /// together. `make` must return equal models for equal arguments. Its error is a text for the
    /// user.
    #[must_use]
    pub fn new<M: Model + 'static>(
        name: &str,
        make: impl Fn(&Setup<'_>, &Dataset) -> Result<M, String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: Some(name.to_owned()),
            flags: Vec::new(),
            open_data: Arc::new(open_data_dir),
            make_model: Arc::new(move |setup, data| Ok(Box::new(make(setup, data)?))),
        }
    }

    /// Replaces the data of `--data-dir` by the data that `open` returns.
    ///
    /// `open` must return equal data for equal arguments. Tasks compare the digests of their data.
    #[must_use]
    pub fn with_data(
        self,
        open: impl Fn(&DataSource<'_>) -> Result<Dataset, DatasetError> + Send + Sync + 'static,
    ) -> Self {
        Self { open_data: Arc::new(open), ..self }
    }

    /// Adds a flag, such as the width of a layer. [`Setup::get`] returns its value.
    ///
    /// `key` is the key in `[model]` of configuration files; the flag has dashes instead of
    /// underscores. Tasks compare the values, and checkpoints and ledgers record them.
    ///
    /// # Panics
    /// Panics if the key is not made of lower-case letters, digits and underscores, if the workload
    /// has it already, or if every run has a flag of this name.
    #[must_use]
    pub fn flag<T: FromStr<Err: Display> + Display>(
        mut self,
        key: &str,
        default: &T,
        help: &str,
    ) -> Self {
        assert!(
            self.flags.iter().all(|flag| flag.key() != key),
            "the flag {key} is declared twice"
        );
        assert!(!is_common_key(key), "every run has a flag {key}: choose another name");
        self.flags.push(OwnFlag::new(key, default, help));
        self
    }

    /// Returns the name of the model; `None` for the built-in models.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Returns the flags that the workload has beside those of every run.
    #[must_use]
    pub fn flags(&self) -> &[OwnFlag] {
        &self.flags
    }

    /// Returns the settings of a run of this workload. Flags that are not `given` have their
    /// defaults.
    ///
    /// # Errors
    /// Returns an error if a given value is not one of its flag, or there is no such flag. The text has the key.
    pub fn settings(&self, given: &BTreeMap<String, String>) -> Result<OwnSettings, String> {
        let unknown = |key: &&String| self.flags.iter().all(|flag| flag.key() != *key);
        if let Some(key) = given.keys().find(unknown) {
            let known: Vec<_> = self.flags.iter().map(OwnFlag::key).collect();
            let known = if known.is_empty() { "no flags".to_owned() } else { known.join(", ") };
            return Err(format!("{key} is unknown; the model has {known}"));
        }
        let value = |flag: &OwnFlag| {
            let given = given.get(flag.key()).map(String::as_str);
            let text = given.unwrap_or_else(|| flag.default_text());
            let value = flag.canonical(text);
            let value = value.map_err(|why| format!("{} is {text:?}: {why}", flag.key()))?;
            Ok((flag.key().to_owned(), value))
        };
        let values = self.flags.iter().map(value).collect::<Result<_, String>>()?;
        Ok(OwnSettings { model: self.name.clone(), values })
    }

    /// Returns `run` with the settings of this workload: those that the run has, or else the
    /// defaults.
    ///
    /// # Errors
    /// Returns an error if the run's settings are those of another workload.
    pub fn configure(&self, run: &RunConfig) -> Result<RunConfig, WorkloadError> {
        let described = |name: Option<&String>| {
            name.map_or_else(|| "a built-in model".to_owned(), |name| format!("the model {name}"))
        };
        let own = &run.own;
        let is_network = run.train.network.is_some() || run.train.loss != Loss::default();
        let is_foreign = own.model.is_some() && own.model != self.name;
        if let (Some(name), Some(_), true) = (&self.name, &own.model, is_network && !is_foreign) {
            return Err(WorkloadError::Model(format!(
                "this program trains the model {name}, so --model, --layers and --loss have no \
                 effect: leave them out"
            )));
        }
        if is_foreign || (self.name.is_some() && is_network) {
            let (theirs, ours) = (described(own.model.as_ref()), described(self.name.as_ref()));
            return Err(WorkloadError::OtherModel { theirs, ours });
        }
        let settings = self.settings(&own.values).and_then(|settings| {
            // Recorded settings must be complete, and each value must be in its canonical form.
            if own.model.is_some() && settings != *own {
                let changed =
                    settings.values.iter().find(|(key, value)| own.values.get(*key) != Some(value));
                let key = changed.map_or("a setting", |(key, _)| key);
                return Err(format!("{key} is missing, or not in its canonical form"));
            }
            Ok(settings)
        });
        let own = settings.map_err(|what| match &own.model {
            Some(model) => WorkloadError::OtherSettings { model: model.clone(), what },
            None => WorkloadError::Model(what),
        })?;
        Ok(RunConfig { own, ..run.clone() })
    }

    /// Opens the data of a run.
    ///
    /// # Errors
    /// Returns an error if the data are missing or malformed.
    pub fn open_data(&self, run: &RunConfig) -> Result<Dataset, WorkloadError> {
        let run = self.configure(run)?;
        let data = (self.open_data)(&DataSource { run: &run })?;
        Ok(if reads_shape(&run.train) { data.identified_by_shape() } else { data })
    }

    /// Returns a key of the data of a run: two runs with the same key have the same data.
    ///
    /// # Errors
    /// Returns an error if the run's settings are those of another workload.
    pub fn data_key(&self, run: &RunConfig) -> Result<String, WorkloadError> {
        let run = self.configure(run)?;
        Ok(format!("{} {}", DataSource { run: &run }.key(), reads_shape(&run.train)))
    }

    /// Creates the model of a run on `data`.
    ///
    /// # Errors
    /// Returns an error if the data or the settings do not fit the model.
    pub fn model(
        &self,
        run: &RunConfig,
        data: &Dataset,
        level: SimdLevel,
    ) -> Result<Box<dyn Model>, WorkloadError> {
        let run = self.configure(run)?;
        (self.make_model)(&Setup { run: &run, level }, data).map_err(WorkloadError::Model)
    }

    /// Opens the data of a run, and returns the run's plan.
    ///
    /// # Errors
    /// Returns an error if the data or the model do not fit the configuration.
    pub fn plan(&self, run: &RunConfig, level: SimdLevel) -> Result<Plan, WorkloadError> {
        self.plan_on(run, self.open_data(run)?, level)
    }

    /// Returns the plan of a run on data that are already open.
    ///
    /// # Errors
    /// Returns an error if the data or the model do not fit the configuration.
    pub fn plan_on(
        &self,
        run: &RunConfig,
        data: impl Into<Arc<Dataset>>,
        level: SimdLevel,
    ) -> Result<Plan, WorkloadError> {
        let (run, data) = (self.configure(run)?, data.into());
        data.check_batch_size(run.train.batch_size)?;
        let (make_model, of_run, on) =
            (Arc::clone(&self.make_model), run.clone(), Arc::clone(&data));
        let make = move || make_model(&Setup { run: &of_run, level }, &on);
        let variables = make().map_err(WorkloadError::Model)?.variables();
        check_names(&variables).map_err(WorkloadError::Model)?;
        let make = move || make().expect("equal arguments have made a model before");
        Ok(Plan::new_for(&run, data, level, variables, make))
    }
}

impl Plan {
    /// Creates the plan of a run of the built-in model on `data`. The SIMD level affects only the
    /// speed.
    ///
    /// # Errors
    /// Returns an error if the batch size is 0 or larger than the number of training examples.
    pub fn new(
        run: &RunConfig,
        data: impl Into<Arc<Dataset>>,
        level: SimdLevel,
    ) -> Result<Self, WorkloadError> {
        Workload::built_in().plan_on(run, data, level)
    }
}

/// Returns whether the losses depend on the shape of the examples in the data.
fn reads_shape(train: &TrainConfig) -> bool {
    train.network.as_ref().is_some_and(|network| network.input.is_none())
}

/// Creates the network of the configuration. A multilayer perceptron with softmax cross-entropy has
/// faster kernels, with the same bits for finite parameters.
fn built_in_model(
    train: &TrainConfig,
    examples: &Examples,
    level: SimdLevel,
) -> Result<Box<dyn Model>, String> {
    let rate = train.regularization_rate;
    let network = match (&train.network, train.loss) {
        (Some(network), _) => network.clone(),
        (None, Loss::SoftmaxCrossEntropy) => {
            let mut sizes = vec![examples.n_features()];
            sizes.extend(&train.hidden);
            sizes.push(examples.n_classes());
            return Ok(Box::new(Mlp::new(&sizes, rate, level)));
        }
        (None, _) => layers::Network::perceptron(&train.hidden),
    };
    let network = Network::new(&network, train.loss, rate, examples, level);
    let network = network.map_err(|error| error.to_string())?;
    network.check_batch_size(train.batch_size).map_err(|error| error.to_string())?;
    Ok(Box::new(network))
}

/// Opens the data of `--data-dir`, or else the embedded digits.
fn open_data_dir(source: &DataSource<'_>) -> Result<Dataset, DatasetError> {
    Dataset::open(source.path(), source.validation_size())
}

/// Checks that the variables can be stored in a checkpoint under their names.
fn check_names(variables: &[Variable]) -> Result<(), String> {
    if variables.is_empty() {
        return Err("the model has no variables, so there is nothing to train".to_owned());
    }
    let mut names = BTreeSet::new();
    for Variable { name, .. } in variables {
        if name.is_empty() || name == GLOBAL_STEP || name == "__metadata__" {
            return Err(format!("a variable cannot have the name {name:?}: choose another name"));
        }
        if !names.insert(name.as_str()) {
            return Err(format!("two variables have the name {name}: choose different names"));
        }
    }
    // A checkpoint stores the buffers of the variable V as V/Momentum, for example.
    let holds = |name: &&str| name.rsplit_once('/').is_some_and(|(above, _)| names.contains(above));
    match names.iter().find(|name| holds(name)) {
        None => Ok(()),
        Some(name) => Err(format!(
            "the name of the variable {name} begins with the whole name of another one, and may \
             collide with the name of its buffer: choose another name"
        )),
    }
}

impl fmt::Debug for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Workload");
        debug.field("name", &self.name).field("flags", &self.flags).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Batch, Gradient, Parameters};

    /// A model that has variables, but is never trained.
    struct Named(Vec<&'static str>);

    impl Model for Named {
        fn variables(&self) -> Vec<Variable> {
            let variable = |name: &&str| Variable {
                name: (*name).to_owned(),
                shape: vec![2],
                regularized: false,
            };
            self.0.iter().map(variable).collect()
        }

        fn gradient(&mut self, _: Batch<'_>, _: Parameters<'_>, _: Gradient<'_>) -> f32 {
            unreachable!("no test trains this model")
        }

        fn logits(&mut self, _: Batch<'_>, _: Parameters<'_>, _: &mut Vec<f32>) {
            unreachable!("no test evaluates this model")
        }
    }

    fn named(names: &'static [&'static str]) -> Workload {
        Workload::new("named", move |_, _| Ok(Named(names.to_vec())))
    }

    fn plan(workload: &Workload, run: &RunConfig) -> Result<Plan, String> {
        let plan = workload.plan_on(run, Dataset::embedded(), SimdLevel::detect());
        plan.map_err(|error| error.to_string())
    }

    #[test]
    fn variables_that_a_checkpoint_cannot_store_are_refused() {
        let why = |names| plan(&named(names), &RunConfig::default()).expect_err("bad names");
        insta::assert_snapshot!(why(&[]), @"the model has no variables, so there is nothing to train");
        insta::assert_snapshot!(why(&["a", "a"]), @"two variables have the name a: choose different names");
        insta::assert_snapshot!(why(&["a", "global_step"]), @r#"a variable cannot have the name "global_step": choose another name"#);
        insta::assert_snapshot!(why(&["a", "a/Momentum"]), @"the name of the variable a/Momentum begins with the whole name of another one, and may collide with the name of its buffer: choose another name");
    }

    #[test]
    fn flags_become_settings_in_their_canonical_form() {
        let workload = named(&["a"]).flag("width", &24_usize, "").flag("rate", &0.5_f32, "");
        let given = |pairs: &[(&str, &str)]| {
            let owned = |(key, text): &(&str, &str)| ((*key).to_owned(), (*text).to_owned());
            workload.settings(&pairs.iter().map(owned).collect())
        };
        let own = given(&[("rate", " 1e-1")]).expect("a good value");
        let plan =
            plan(&workload, &RunConfig { own, ..RunConfig::default() }).expect("good settings");
        let texts: Vec<_> = plan.settings.iter().collect();
        assert_eq!(
            texts[texts.len() - 3..],
            [("model", "named"), ("rate", "0.1"), ("width", "24")]
        );
        let read_back = RunConfig::from_settings(&plan.settings).expect("they are settings");
        assert_eq!(workload.configure(&read_back).expect("of this workload"), read_back);

        let unknown = given(&[("height", "1")]).unwrap_err();
        assert_eq!(unknown, "height is unknown; the model has width, rate");
        let wrong = given(&[("width", "-1")]).unwrap_err();
        assert_eq!(wrong, r#"width is "-1": invalid digit found in string"#);
    }

    #[test]
    fn settings_of_another_workload_are_refused_with_both_names() {
        let recorded = |workload: &Workload| {
            let plan = plan(workload, &RunConfig::default()).expect("a good workload");
            RunConfig::from_settings(&plan.settings).expect("they are settings")
        };
        let wide = named(&["a"]).flag("width", &24_usize, "");
        let narrow = named(&["a"]);
        let (of_wide, of_narrow) = (recorded(&wide), recorded(&narrow));
        let error = |workload: &Workload, run| plan(workload, run).expect_err("other settings");
        insta::assert_snapshot!(error(&Workload::built_in(), &of_wide), @"the settings are of the model named, but this program trains a built-in model: use the program that wrote them");
        insta::assert_snapshot!(error(&narrow, &of_wide), @"the settings do not fit this version of named: width is unknown; the model has no flags");
        insta::assert_snapshot!(error(&wide, &of_narrow), @"the settings do not fit this version of named: width is missing, or not in its canonical form");
    }
}
