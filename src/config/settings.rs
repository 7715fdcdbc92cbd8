//! The settings of a run as texts. Tasks compare these texts when they connect. Checkpoints and
//! ledgers record these texts.
//!
//! [`each_setting`] declares every setting once. The same declaration writes the setting's text and
//! reads it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use clap::ValueEnum;

use super::layers::LayerList;
use super::values::{
    BatchSize, ClusterTasks, DecayRate, Fraction, Hidden, Named, NotNegative, OpenFraction,
    OptimizerName, OutOfRange, Part, Positive, Replicas, Seed, Steps, name_of,
};
use super::{OwnSettings, RunConfig};
use unisono_core::network::{Loss, Network, Sizes};
use unisono_core::protocol::Settings;
use unisono_core::train_config::{Optimizer, Portion};

/// The key of the name of a model that is not built in.
const MODEL: &str = "model";

/// The reason why settings do not describe a run of this version of the program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The settings have an unknown key, or a key that does not fit the other settings, such as a
    /// parameter of another optimizer.
    #[error("the settings do not fit this version of Unisono: {0} is unknown")]
    Unknown(String),
    /// A required setting is missing.
    #[error("the settings do not fit this version of Unisono: {0} is missing")]
    Missing(&'static str),
    /// A key occurs twice.
    #[error("the settings contradict each other: {0} appears twice")]
    Repeated(String),
    /// The text of a setting is out of range or not in its canonical form. The fields are the key,
    /// the text, and the rule that the text breaks.
    #[error("the settings do not fit this version of Unisono: {0} is {1:?}, but {2}")]
    Wrong(&'static str, String, String),
}

impl RunConfig {
    /// Returns the text of every setting that influences the computed numbers, in a fixed order.
    /// Two tasks may train together if these texts are equal. Paths of files and addresses of tasks
    /// are not included.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let mut pass = Pass { unread: None, written: Settings::default() };
        // `each_setting` takes `&mut`, because it can also read settings, so it gets a copy.
        each_setting(&mut self.clone(), &mut pass).expect("only reading fails");
        pass.written
    }

    /// Returns the configuration of a run with these settings. Everything else, such as the paths
    /// of files, has its default.
    ///
    /// # Errors
    /// Returns an error if a setting is missing, unknown, repeated or out of range.
    pub fn from_settings(settings: &Settings) -> Result<Self, SettingsError> {
        let mut unread = BTreeMap::new();
        for (key, text) in settings.iter() {
            if unread.insert(key, text).is_some() {
                return Err(SettingsError::Repeated(key.to_owned()));
            }
        }
        let mut run = Self::default();
        let mut pass = Pass { unread: Some(unread), written: Settings::default() };
        each_setting(&mut run, &mut pass)?;
        match pass.unread.into_iter().flatten().next() {
            Some((key, _)) => Err(SettingsError::Unknown(key.to_owned())),
            None => Ok(run),
        }
    }
}

/// Passes every setting to `pass`, in a fixed order. A setting consists of its key, its value, a
/// function that turns a text into the value, and a function that turns the value into its text.
fn each_setting(run: &mut RunConfig, pass: &mut Pass<'_>) -> Result<(), SettingsError> {
    let train = &mut run.train;
    pass.setting("batch_size", &mut train.batch_size, BatchSize::get, whole)?;
    pass.setting("learning_rate", &mut train.learning_rate, Positive::get, decimal)?;
    pass.setting("learning_rate_decay", &mut train.learning_rate_decay, DecayRate::get, decimal)?;
    pass.setting("decay_steps", &mut train.decay_steps, Positive::get, decimal)?;
    let rate = &mut train.regularization_rate;
    pass.setting("regularization_rate", rate, NotNegative::get, decimal)?;
    pass.setting("training_steps", &mut train.training_steps, Steps::get, whole)?;
    if pass.has("layers", train.network.is_some()) {
        let network = train.network.get_or_insert_with(Network::lenet5);
        // A network has no hidden layers but those that it lists.
        train.hidden = Vec::new();
        pass.setting("layers", network, as_network, Network::layers_text)?;
        if pass.has("input", network.input.is_some()) {
            let input = network.input.get_or_insert_with(|| "1".parse().expect("a shape"));
            pass.setting("input", input, |input: Sizes| input, ToString::to_string)?;
        }
    } else {
        pass.setting("hidden", &mut train.hidden, Hidden::into_sizes, |it| sizes(it))?;
    }
    if pass.has("loss", train.loss != Loss::default()) {
        pass.setting("loss", &mut train.loss, |Name(Named(loss))| loss, |it| name_of(&Named(*it)))?;
    }
    pass.setting("seed", &mut train.seed, Seed::get, whole)?;
    pass.setting("order", &mut train.order, |Name(Named(order))| order, |it| name_of(&Named(*it)))?;
    let average = &mut train.moving_average_decay;
    if pass.has("moving_average_decay", average.is_some()) {
        let average = average.get_or_insert_default();
        pass.setting("moving_average_decay", average, OpenFraction::get, decimal)?;
    }
    let optimizer = &mut train.optimizer;
    let named = |Name(name): Name<OptimizerName>| name.with_defaults();
    pass.setting("optimizer", optimizer, named, |it| name_of(&OptimizerName::of(it)))?;
    // The parameters follow the name, because the name decides which parameters exist.
    match optimizer {
        Optimizer::Sgd => {}
        Optimizer::Momentum { momentum, nesterov } => {
            pass.setting("momentum", momentum, Fraction::get, decimal)?;
            pass.setting("nesterov", nesterov, |is: bool| is, whole)?;
        }
        Optimizer::Adam { beta1, beta2, epsilon } => {
            pass.setting("beta1", beta1, Fraction::get, decimal)?;
            pass.setting("beta2", beta2, Fraction::get, decimal)?;
            pass.setting("epsilon", epsilon, Positive::get, decimal)?;
        }
    }
    let sync = &mut run.sync;
    pass.setting("replicas_to_aggregate", &mut sync.replicas_to_aggregate, Replicas::get, whole)?;
    pass.setting("workers", &mut sync.total_num_replicas, ClusterTasks::get, whole)?;
    pass.setting("ps", &mut run.n_ps, ClusterTasks::get, whole)?;
    let placement = &mut run.placement;
    pass.setting("placement", placement, |Name(Named(it))| it, |it| name_of(&Named(*it)))?;
    pass.setting("validation_size", &mut run.validation_size, |Split(size)| size, split)?;
    if pass.has("test_size", run.test_size.is_some()) {
        let size = run.test_size.get_or_insert(Portion::Count(0));
        pass.setting("test_size", size, Part::get, portion)?;
    }
    if pass.has("label_column", run.label_column.is_some()) {
        let column = run.label_column.get_or_insert_default();
        pass.setting("label_column", column, |name: String| name, String::clone)?;
    }
    pass.own(&mut run.own);
    Ok(())
}

/// One pass over all settings. If `unread` is `Some`, the pass reads the value of each setting from
/// its text in `unread`. The pass always adds the text of each value to `written`.
struct Pass<'a> {
    unread: Option<BTreeMap<&'a str, &'a str>>,
    written: Settings,
}

impl Pass<'_> {
    fn setting<K: FromStr<Err: Display>, V>(
        &mut self,
        key: &'static str,
        value: &mut V,
        get: impl FnOnce(K) -> V,
        text: impl Fn(&V) -> String,
    ) -> Result<(), SettingsError> {
        if let Some(unread) = &mut self.unread {
            let given = unread.remove(key).ok_or(SettingsError::Missing(key))?;
            let wrong = |why| SettingsError::Wrong(key, given.to_owned(), why);
            *value = get(given.parse().map_err(|error: K::Err| wrong(error.to_string()))?);
            // Tasks compare texts, so each value must have exactly one text.
            if given != text(value) {
                return Err(wrong(format!("must be written {:?}", text(value))));
            }
        }
        self.written = std::mem::take(&mut self.written).with(key, text(value));
        Ok(())
    }

    /// Passes the settings of a workload that is not built in. They come last: when settings are
    /// read, all unread ones belong to the workload, which checks them.
    fn own(&mut self, own: &mut OwnSettings) {
        if let Some(unread) = &mut self.unread
            && let Some(model) = unread.remove(MODEL)
        {
            own.model = Some(model.to_owned());
            let owned = |(key, text): (&str, &str)| (key.to_owned(), text.to_owned());
            own.values = std::mem::take(unread).into_iter().map(owned).collect();
        }
        let texts = own.values.iter().map(|(key, text)| (key.as_str(), text));
        for (key, text) in own.model.iter().map(|model| (MODEL, model)).chain(texts) {
            self.written = std::mem::take(&mut self.written).with(key, text);
        }
    }

    /// Returns whether an optional setting is present.
    fn has(&self, key: &str, is_written: bool) -> bool {
        self.unread.as_ref().map_or(is_written, |unread| unread.contains_key(key))
    }
}

/// A value that is read by its name.
struct Name<E>(E);

impl<E: ValueEnum> FromStr for Name<E> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = E::value_variants();
        let names = || all.iter().map(name_of).collect::<Vec<_>>().join(", ");
        let named = all.iter().find(|named| name_of(*named) == text);
        named.cloned().map(Self).ok_or_else(|| format!("must be one of {}", names()))
    }
}

/// The number of training images for validation; `None` for the default of the data set.
struct Split(Option<Portion>);

impl Split {
    const OF_THE_DATA: &str = "default";
}

impl FromStr for Split {
    type Err = OutOfRange;

    fn from_str(text: &str) -> Result<Self, OutOfRange> {
        let size = (text != Self::OF_THE_DATA).then(|| text.parse().map(Part::get));
        size.transpose().map(Self)
    }
}

fn split(size: &Option<Portion>) -> String {
    size.as_ref().map_or_else(|| Split::OF_THE_DATA.to_owned(), portion)
}

fn portion(part: &Portion) -> String {
    match part {
        Portion::Count(count) => count.to_string(),
        Portion::Share(share) => decimal(share),
    }
}

fn as_network(layers: LayerList) -> Network {
    Network { input: None, layers: layers.into_layers() }
}

fn whole<V: ToString>(value: &V) -> String {
    value.to_string()
}

/// Returns the decimal text with the fewest digits that is parsed as the same number.
fn decimal(number: &f64) -> String {
    let is_short = *number == 0.0 || (1e-5..1e16).contains(number);
    if is_short { number.to_string() } else { format!("{number:e}") }
}

fn sizes(sizes: &[usize]) -> String {
    sizes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use unisono_core::train_config::{Order, Placement, Sync};

    fn adam() -> RunConfig {
        let mut run = RunConfig::default();
        run.train.hidden = vec![300, 100];
        run.train.optimizer = Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
        run.sync = Sync { replicas_to_aggregate: 3, total_num_replicas: 3 };
        run
    }

    #[test]
    fn settings_are_canonical_text_of_all_that_affects_a_number() {
        let settings = adam().settings();
        let text: Vec<_> = settings.iter().map(|(key, text)| format!("{key} = {text}")).collect();
        insta::assert_snapshot!(text.join("\n"), @"
        batch_size = 100
        learning_rate = 0.01
        learning_rate_decay = 0.99
        decay_steps = 600
        regularization_rate = 0.0001
        training_steps = 10000
        hidden = 300,100
        seed = 1
        order = shuffled
        optimizer = adam
        beta1 = 0.9
        beta2 = 0.999
        epsilon = 1e-8
        replicas_to_aggregate = 3
        workers = 3
        ps = 2
        placement = even
        validation_size = default
        ");
    }

    #[test]
    fn settings_do_not_contain_files_or_intervals() {
        let mut run = RunConfig { logdir: "a".into(), ..RunConfig::default() };
        run.data_dir = Some("b".into());
        run.limits.save_interval = std::time::Duration::from_secs(1);
        assert_eq!(run.settings(), RunConfig::default().settings());
    }

    #[test]
    fn settings_are_read_back_as_the_run_that_wrote_them() {
        let mut run = RunConfig::default();
        assert_eq!(RunConfig::from_settings(&run.settings()), Ok(run.clone()));
        assert_eq!(RunConfig::from_settings(&adam().settings()), Ok(adam()));
        run.train.hidden = Vec::new();
        run.train.learning_rate = 1e-30;
        run.train.seed = u64::MAX;
        run.train.optimizer = Optimizer::Momentum { momentum: 0.3, nesterov: true };
        run.train.moving_average_decay = Some(0.99);
        run.train.order = Order::Partitioned;
        run.placement = Placement::RoundRobin;
        run.n_ps = 500;
        run.sync = Sync { replicas_to_aggregate: 3, total_num_replicas: 7 };
        run.validation_size = Some(70.into());
        assert_eq!(RunConfig::from_settings(&run.settings()), Ok(run.clone()));
        run.train.loss = Loss::MeanSquaredError;
        run.train.network = Some(Network::lenet5());
        assert_eq!(RunConfig::from_settings(&run.settings()), Ok(run.clone()));
        run.train.network = Some(Network { input: "14x56x1".parse().ok(), ..Network::lenet5() });
        assert_eq!(RunConfig::from_settings(&run.settings()), Ok(run));
    }

    #[test]
    fn invalid_settings_are_refused_with_the_key() {
        let all = RunConfig::default().settings();
        let other = |key: &str, text: &str| {
            let set = |settings: Settings, (known, value): (&str, &str)| {
                settings.with(known, if known == key { text } else { value })
            };
            all.iter().fold(Settings::default(), set)
        };
        let errors = [
            all.clone().with("news", 1),
            all.clone().with("logdir", "x"),
            all.clone().with("momentum", 0.5),
            all.clone().with("seed", 2),
            other("ps", "many"),
            other("ps", "65537"),
            other("seed", "x"),
            other("learning_rate", "0"),
            other("learning_rate", "0.010"),
            other("hidden", "500, 0"),
            other("order", "random"),
            other("optimizer", "momentum"),
            other("validation_size", "-1"),
            all.without(&["seed"]),
            Settings::default(),
        ]
        .map(|settings| RunConfig::from_settings(&settings).unwrap_err().to_string())
        .join("\n");
        insta::assert_snapshot!(errors, @r#"
        the settings do not fit this version of Unisono: news is unknown
        the settings do not fit this version of Unisono: logdir is unknown
        the settings do not fit this version of Unisono: momentum is unknown
        the settings contradict each other: seed appears twice
        the settings do not fit this version of Unisono: ps is "many", but must be a whole number from 1 to 65536
        the settings do not fit this version of Unisono: ps is "65537", but must be a whole number from 1 to 65536
        the settings do not fit this version of Unisono: seed is "x", but must be a whole number from 0 to 18446744073709551615
        the settings do not fit this version of Unisono: learning_rate is "0", but must be a number above 0
        the settings do not fit this version of Unisono: learning_rate is "0.010", but must be written "0.01"
        the settings do not fit this version of Unisono: hidden is "500, 0", but must be sizes from 1 to 65536, at most 16 of them, such as 500 or 300,100
        the settings do not fit this version of Unisono: order is "random", but must be one of shuffled, partitioned, sequential
        the settings do not fit this version of Unisono: momentum is missing
        the settings do not fit this version of Unisono: validation_size is "-1", but must be a whole number of examples, or a share above 0 and below 1
        the settings do not fit this version of Unisono: seed is missing
        the settings do not fit this version of Unisono: batch_size is missing
        "#);
    }
}
