//! Replays small runs that were computed in one loop and recorded as their ps would have done.

use super::*;
use unisono_core::ids::{Cut, Generation, Incarnation};
use unisono_core::protocol::Settings;
use unisono_core::train_config::{Optimizer, Placement, Sync};
use unisono_observe::ledger::line::{StateRestored, UpdateMade};
use unisono_observe::ledger::{Checksum, Ledger, Line, Push, UsedSlot};

/// R = 2 of N = 3, on two ps.
fn config() -> RunConfig {
    let mut config = RunConfig::default();
    config.train.hidden = vec![3];
    config.train.batch_size = 5;
    config.train.training_steps = 8;
    config.train.optimizer = Optimizer::Momentum { momentum: 0.5, nesterov: false };
    config.sync = Sync { replicas_to_aggregate: 2, total_num_replicas: 3 };
    config.n_ps = 2;
    config
}

/// A run and the lines that its ps have written so far.
struct Story {
    data: Arc<Dataset>,
    config: RunConfig,
    reference: Reference,
    life: u64,
    lines: BTreeMap<u32, Vec<Line>>,
}

impl Story {
    fn new(config: RunConfig) -> Self {
        let data = Arc::new(Dataset::embedded());
        let plan = Plan::new(&config, Arc::clone(&data), SimdLevel::detect()).expect("it does");
        let initial = plan.initial(None).expect("they are drawn");
        let reference = Reference::new(&plan, initial);
        let mut story = Self { data, config, reference, life: 0, lines: BTreeMap::new() };
        story.begin();
        story
    }

    /// Restarts all tasks with this configuration.
    fn go_on_with(&mut self, config: RunConfig) {
        let checkpoint = self.checkpoint();
        let plan = Plan::new(&config, Arc::clone(&self.data), SimdLevel::detect());
        let snapshot = snapshot_of(&config, &checkpoint).expect("it is of the same model");
        self.reference = Reference::new(&plan.expect("the data do"), snapshot);
        self.config = config;
        self.begin();
    }

    fn checkpoint(&self) -> Checkpoint {
        let snapshot = Arc::new(self.reference.snapshot().clone());
        let plan = Plan::new(&self.config, Arc::clone(&self.data), SimdLevel::detect());
        let files = plan.expect("it did before").files_from(Path::new("x"), Arc::clone(&snapshot));
        (files.to_checkpoint)(&snapshot)
    }

    fn begin(&mut self) {
        self.life += 1;
        let snapshot = self.reference.snapshot().clone();
        for (ps, state) in (0..).zip(&snapshot.shards) {
            let header = Header {
                format: 1,
                ps,
                incarnation: Incarnation(self.life),
                n_ps: self.config.n_ps,
                replicas_to_aggregate: self.config.sync.replicas_to_aggregate,
                total_num_replicas: self.config.sync.total_num_replicas,
                training_steps: Step(self.config.train.training_steps),
                settings: self.config.settings(),
            };
            let restored = StateRestored {
                incarnation: Incarnation(self.life),
                generation: self.generation(),
                step: snapshot.cut.step,
                chief: None,
                data: Some(self.data.digest().to_owned()),
                after: StateHash::of(state),
            };
            let lines = self.lines.entry(ps).or_default();
            lines.extend([Line::Header(header), Line::Restored(restored)]);
        }
    }

    fn generation(&self) -> Generation {
        Generation { opener: Incarnation(self.life), number: self.life }
    }

    /// Trains to this version, with slots that differ from step to step.
    fn train_to(&mut self, step: u64) {
        while self.reference.step() < Step(step) {
            let before: Vec<_> = self.hashes();
            let left_out = Slot(self.reference.step().0 as u32 % 3);
            let slots = (0..3).map(Slot).filter(|slot| *slot != left_out);
            let update = self.reference.update(slots).expect("losses are finite");
            let cut = Cut { generation: self.generation(), step: update.cut.step };
            for ((ps, after), before) in (0..).zip(self.hashes()).zip(before) {
                let line = Line::Update(made(cut, &update, before, after));
                self.lines.get_mut(&ps).expect("it has begun").push(line);
            }
        }
    }

    fn hashes(&self) -> Vec<StateHash> {
        self.reference.snapshot().shards.iter().map(StateHash::of).collect()
    }

    fn ledgers(self) -> Vec<Ledger> {
        self.lines.into_iter().map(|(ps, lines)| Ledger::of_lines(ps, lines)).collect()
    }
}

fn made(cut: Cut, update: &UpdateRecord, before: StateHash, after: StateHash) -> UpdateMade {
    let used = |&(slot, loss): &(Slot, f32)| UsedSlot {
        slot,
        push: Some(Push {
            worker: slot.0,
            incarnation: Incarnation(1),
            slot: None,
            generation: None,
            version: cut.step,
            loss: Loss(loss),
        }),
        checksum: Checksum(0),
    };
    UpdateMade {
        incarnation: cut.generation.opener,
        generation: cut.generation,
        step: cut.step,
        slots: update.losses.iter().map(used).collect(),
        before,
        after,
    }
}

fn inputs(logdir: &Path) -> Inputs {
    let level = SimdLevel::detect();
    Inputs {
        workload: Workload::built_in(),
        logdir: logdir.to_owned(),
        data_dir: None,
        init_from: None,
        level,
    }
}

/// Returns the counts of a replay of these versions. With R = 2 there are as many losses as hashes.
fn replay_of(versions: std::ops::Range<u64>, n_hashes: u64) -> Replayed {
    let (from, to) = (Step(versions.start), Step(versions.end));
    Replayed { from, to, n_hashes, n_losses: n_hashes, n_checkpoints: 0 }
}

fn replayed_in(ledgers: &[Ledger], logdir: &Path) -> Result<Replayed, String> {
    let audit = Audit::of(ledgers);
    replay(&audit, &inputs(logdir), |_| {}).map_err(|error| error.to_string())
}

fn replayed(ledgers: &[Ledger]) -> Result<Replayed, String> {
    replayed_in(ledgers, Path::new("/nowhere"))
}

fn update_of(ledger: &mut Ledger, step: u64) -> &mut UpdateMade {
    let updates = ledger.lines.iter_mut().filter_map(|line| match line {
        Line::Update(update) => Some(update),
        _ => None,
    });
    updates.into_iter().find(|update| update.step == Step(step)).expect("it was made")
}

#[test]
fn replay_reproduces_a_run_from_its_slots() {
    let mut story = Story::new(config());
    story.train_to(8);
    let expected = replay_of(0..8, 8 * 2 * 2);
    assert_eq!(replayed(&story.ledgers()), Ok(expected));
}

#[test]
fn replay_follows_a_restart_with_another_cluster() {
    let mut story = Story::new(config());
    story.train_to(3);
    story.go_on_with(RunConfig { n_ps: 3, placement: Placement::Even, ..config() });
    story.train_to(5);
    let mut longer = RunConfig { n_ps: 1, ..config() };
    longer.train.training_steps = 20;
    story.go_on_with(longer);
    story.train_to(9);
    let n_hashes = 2 * (3 * 2 + 2 * 3 + 4);
    let expected = replay_of(0..9, n_hashes);
    assert_eq!(replayed(&story.ledgers()), Ok(expected));
}

#[test]
fn run_with_a_clock_set_back_is_replayed_completely() {
    let mut story = Story::new(config());
    // The first incarnations are larger than the second ones.
    story.life = 9;
    story.go_on_with(config());
    story.train_to(5);
    story.life = 3;
    story.go_on_with(config());
    story.train_to(8);
    let expected = replay_of(0..8, 8 * 2 * 2);
    assert_eq!(replayed(&story.ledgers()), Ok(expected));
}

#[test]
fn ledgers_that_begin_late_are_replayed_from_a_checkpoint() {
    let mut story = Story::new(config());
    story.train_to(3);
    story.lines.clear();
    story.begin();
    story.train_to(5);
    let logdir = tempfile::tempdir().unwrap();
    let at = checkpoint::file::file_name(Step(5));
    let later = checkpoint::file::encode(&story.checkpoint());
    story.train_to(8);
    let ledgers = story.ledgers();
    let told = replayed_in(&ledgers, logdir.path()).unwrap_err();
    let lacks =
        "the ledgers begin with version 3, but there is no checkpoint of version 3 to 7 in ";
    assert!(told.starts_with(lacks), "{told}");
    std::fs::write(logdir.path().join(at), later).unwrap();
    let expected = replay_of(5..8, 12);
    assert_eq!(replayed_in(&ledgers, logdir.path()), Ok(expected));
}

#[test]
fn every_element_of_a_checkpoint_of_this_history_is_compared() {
    let mut story = Story::new(config());
    story.train_to(4);
    let mut checkpoint = story.checkpoint();
    story.train_to(6);
    let ledgers = story.ledgers();
    let logdir = tempfile::tempdir().unwrap();
    let path = logdir.path().join(checkpoint::file::file_name(Step(4)));
    let with = |checkpoint: &Checkpoint| {
        std::fs::write(&path, checkpoint::file::encode(checkpoint)).unwrap();
        replayed_in(&ledgers, logdir.path())
    };
    assert_eq!(with(&checkpoint), Ok(Replayed { n_checkpoints: 1, ..replay_of(0..6, 24) }));
    flip(&mut checkpoint, "layer1/biases", CRC32C);
    let told = with(&checkpoint).unwrap_err();
    let is_named = "the checkpoint of version 4 differs from the recomputed one, ";
    assert!(told.starts_with(is_named), "{told}");
    assert!(told.contains(" in element 0 of layer1/biases"), "{told}");
    // By its hash, the checkpoint is of another history.
    flip(&mut checkpoint, "layer1/biases", 1);
    assert_eq!(with(&checkpoint), Ok(replay_of(0..6, 24)));
}

/// The CRC32C polynomial, coefficient of x³² first, in the order of the message's bits. Adding it
/// to a message does not change the CRC32C.
const CRC32C: u64 = 0x1_05ec_76f1;

/// XORs the first 64 bits of a tensor with `bits`.
fn flip(checkpoint: &mut Checkpoint, name: &str, bits: u64) {
    let tensor = checkpoint.tensors.get_mut(name).unwrap();
    let mut values = tensor.values().to_vec();
    values[0] = f32::from_bits(values[0].to_bits() ^ bits as u32);
    values[1] = f32::from_bits(values[1].to_bits() ^ (bits >> 32) as u32);
    *tensor = checkpoint::Tensor::new(tensor.shape().to_vec(), values.into());
}

/// These ledgers violate no rule: only recomputing shows the difference.
#[test]
fn consistent_ledgers_of_another_run_are_reported_with_the_step() {
    let wrong = |spoil: &dyn Fn(&mut [Ledger])| {
        let mut story = Story::new(config());
        story.train_to(6);
        let mut ledgers = story.ledgers();
        spoil(&mut ledgers);
        assert_eq!(Audit::of(&ledgers).first_violation(), None);
        replayed(&ledgers).unwrap_err() + "\n"
    };
    let all = [
        wrong(&|ledgers| {
            update_of(&mut ledgers[1], 3).after = StateHash(1);
            update_of(&mut ledgers[1], 4).before = StateHash(1);
        }),
        wrong(&|ledgers| {
            for ledger in ledgers {
                let push = update_of(ledger, 2).slots[1].push.as_mut();
                push.expect("it has one").loss = Loss(0.5);
            }
        }),
        wrong(&|ledgers| {
            for ledger in ledgers {
                // The update used slots 0 and 2.
                update_of(ledger, 1).slots[1].slot = Slot(1);
            }
        }),
        wrong(&|ledgers| {
            let Line::Restored(restored) = &mut ledgers[0].lines[1] else { panic!("it is") };
            restored.after = StateHash(1);
            update_of(&mut ledgers[0], 0).before = StateHash(1);
        }),
    ];
    insta::assert_snapshot!(all.concat(), @"
    update 3 of ps 1 makes a version that differs from the run's, ledger-ps1.jsonl:6: wanted 00000001, computed 43a1ab12
    the loss of slot 1 at step 2 differs from the run's, ledger-ps0.jsonl:5: wanted 0.5, computed 2.30397248
    the loss of slot 1 at step 1 differs from the run's, ledger-ps0.jsonl:4: wanted 2.3087852, computed 2.30167055
    version 0 of ps 0 differs from the run's, ledger-ps0.jsonl:3: wanted 00000001, computed 8ec67a5d; if the run started from given initial values, pass them with --init-from
    ");
}

#[test]
fn error_names_what_a_replay_lacks() {
    let wrong = |spoil: &dyn Fn(&mut [Ledger])| {
        let mut story = Story::new(config());
        story.train_to(4);
        let mut ledgers = story.ledgers();
        spoil(&mut ledgers);
        replayed(&ledgers).unwrap_err() + "\n"
    };
    let header = |ledger: &mut Ledger, change: &dyn Fn(&mut Header)| {
        let Line::Header(header) = &mut ledger.lines[0] else { panic!("it is the first") };
        change(header);
    };
    let settings = |ledgers: &mut [Ledger], key: &str, value: &str| {
        for ledger in ledgers {
            header(ledger, &|header| {
                let other = |(k, v)| (k, if k == key { value } else { v });
                let all = header.settings.iter().map(other);
                header.settings =
                    all.fold(Settings::default(), |all, (key, value)| all.with(key, value));
            });
        }
    };
    let all = [
        replayed(&[]).unwrap_err() + "\n",
        wrong(&|ledgers| ledgers.iter_mut().for_each(|ledger| ledger.lines.truncate(2))),
        wrong(&|ledgers| {
            for ledger in ledgers {
                let Line::Restored(restored) = &mut ledger.lines[1] else { panic!("it is") };
                restored.data = Some("d1".to_owned());
            }
        }),
        wrong(&|ledgers| settings(ledgers, "batch_size", "9000000")),
        wrong(&|ledgers| settings(ledgers, "seed", "x")),
        wrong(&|ledgers| settings(ledgers, "ps", "5")),
        wrong(&|ledgers| update_of(&mut ledgers[0], 2).slots.reverse()),
    ];
    insta::assert_snapshot!(all.concat(), @r#"
    the ledgers have no update: there is nothing to replay
    the ledgers have no update: there is nothing to replay
    the run trained on data with digest d1, but the given data have digest 3a5874144a835a5cc5c934a5d12206b668034cbce416b7a387b1a349fc8d72aa: pass the run's --data-dir
    a batch size of 9000000 does not fit the 8000 training examples of the embedded MNIST subset; choose one from 1 to 8000
    ledger-ps0.jsonl:3: the settings do not fit this version of Unisono: seed is "x", but must be a whole number from 0 to 18446744073709551615
    ledger-ps0.jsonl:3: the header's cluster size differs from that in its settings
    rule 3, fixed order, is broken at step 2, ledger-ps0.jsonl:5: wanted slots 0, 1; found 1, 0
    "#);
}
