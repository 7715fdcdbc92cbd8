//! `unisono-sim merge`: combines the results of all shards of one `hunt`, which several machines
//! have played.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::ensure;
use clap::Args;
use unisono_terminal::UsageError;

use super::context::CommandContext;
use super::hunt_result::HuntResult;
use super::shard::Shard;
use crate::cli::common::CommonArgs;

#[derive(Args, Debug)]
pub(super) struct MergeArgs {
    /// Results of all shards of one hunt, each written with --out or --json
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Also write the result of the whole hunt to this file
    #[arg(long, value_name = "FILE.json")]
    out: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

impl MergeArgs {
    pub(super) fn common(&self) -> CommonArgs {
        CommonArgs { json: self.json, ..CommonArgs::default() }
    }
}

/// Combines the results of all shards, and prints the combined result.
pub(super) fn merge(args: &MergeArgs, context: &CommandContext) -> anyhow::Result<u8> {
    let shards = read_all(&args.files).map_err(UsageError)?;
    let (first, n_shards) = (&shards[0], shards.len());
    let mut notes = vec![format!("merging {}: {n_shards} shards", first.path)];
    notes.extend(shards.iter().filter_map(note_if_incomplete));
    let mut shards = shards.into_iter();
    let mut whole = shards.next().expect("read_all returns at least one shard");
    shards.for_each(|shard| whole.add(shard));
    whole.shard = Shard::WHOLE;
    notes.iter().for_each(|note| context.print_text(note));
    whole.conclude(context, args.out.as_deref())
}

/// Reads the results of all shards, and returns the results in the order of the shards.
fn read_all(files: &[PathBuf]) -> anyhow::Result<Vec<HuntResult>> {
    let mut shards: BTreeMap<u64, (PathBuf, HuntResult)> = BTreeMap::new();
    for file in files {
        let result = HuntResult::read(file)?;
        if let Some((first, known)) = shards.values().next() {
            let (first, file) = (first.display(), file.display());
            if let Some(what) = difference(known, &result) {
                anyhow::bail!(
                    "{first} and {file} are results of different hunts: {what}; pass the results \
                     of one hunt"
                );
            }
        }
        if let Some((known, _)) = shards.get(&result.shard.index) {
            let (shard, known, file) = (result.shard, known.display(), file.display());
            anyhow::bail!("{known} and {file} both have shard {shard}: pass each shard once");
        }
        shards.insert(result.shard.index, (file.clone(), result));
    }
    let of = shards.values().next().map_or(0, |(_, result)| result.shard.of);
    let is_missing = |index: &u64| !shards.contains_key(index);
    let missing: Vec<_> =
        (0..of).filter(is_missing).map(|index| Shard { index, of }.to_string()).collect();
    ensure!(
        missing.is_empty(),
        "these of the {of} shards are missing: {}; run them, and pass their results, too",
        missing.join(", ")
    );
    Ok(shards.into_values().map(|(_, result)| result).collect())
}

/// Returns a description of the first field which shows that two results are not of the same
/// `hunt`. Returns `None` if the results can be merged.
fn difference(one: &HuntResult, other: &HuntResult) -> Option<String> {
    let last = |result: &HuntResult| result.last_seed.map_or(-1, i128::from);
    let (a, b) = (one, other);
    let differ = |what: &str, one: &dyn ToString, other: &dyn ToString| {
        let (one, other) = (one.to_string(), other.to_string());
        (one != other).then(|| format!("{what} {one} and {other}"))
    };
    let bug = |bug: &Option<String>| bug.clone().unwrap_or_else(|| "none".to_owned());
    differ("the schemas are", &a.schema, &b.schema)
        .or_else(|| differ("the scenarios are", &a.scenario, &b.scenario))
        .or_else(|| differ("the first seeds are", &a.first_seed, &b.first_seed))
        .or_else(|| differ("the last seeds are", &last(one), &last(other)))
        .or_else(|| differ("the numbers of shards are", &one.shard.of, &other.shard.of))
        .or_else(|| differ("the builds are", &a.build, &b.build))
        .or_else(|| differ("the bugs planted are", &bug(&a.bug), &bug(&b.bug)))
        .or_else(|| {
            let differ = a.scenario_text != b.scenario_text;
            differ.then(|| format!("the files of the scenario {} differ", a.scenario))
        })
}

/// Returns a note for the user if a shard ended before its last seed. The counts of such a shard
/// are correct, but cover fewer seeds.
fn note_if_incomplete(result: &HuntResult) -> Option<String> {
    let HuntResult { shard, seeds, .. } = result;
    let n_seeds = result.n_seeds().filter(|n_seeds| n_seeds > seeds)?;
    Some(format!("shard {shard} ended early, after {seeds} of its {n_seeds} seeds"))
}
