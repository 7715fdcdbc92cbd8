//! Computes a few short runs, and compares their results with those of a second implementation in
//! another language. A difference shows that this machine or this program computes wrong bits.

use std::collections::BTreeSet;

use clap::Parser;

use super::finding::Finding;
use unisono_config::RunConfig;
use unisono_config::keys::{HostKeys, RunKeys, SizeKeys};
use unisono_learn::data::Dataset;
use unisono_learn::model::SimdLevel;
use unisono_learn::training::Plan;
use unisono_learn::training::reference::Reference;

/// The results of the second implementation. `fixtures/golden/README.md` names the script that
/// computed them.
const GOLDEN: &str = include_str!("../../../fixtures/golden/independent.txt");

/// Checks the results of the short runs when they use the given SIMD level.
pub(super) fn check(level: SimdLevel) -> Finding {
    let cases: Vec<_> = GOLDEN.split("# ").skip(1).collect();
    match cases.iter().try_for_each(|case| check_case(case, level)) {
        Ok(()) => Finding::ok(
            "bits",
            format!(
                "{} short runs agree bit for bit with a second implementation ({level})",
                cases.len()
            ),
        ),
        Err(why) => Finding::fail(
            "bits",
            why,
            "this CPU or this program computes wrong numbers: do not train on this machine; try \
             UNISONO_SIMD=portable, and test the memory of the machine",
        ),
    }
}

/// The flags of a golden run.
#[derive(Parser)]
#[command(no_binary_name = true)]
struct RunFlags {
    #[command(flatten)]
    run: RunKeys,
    #[command(flatten)]
    size: SizeKeys,
}

fn check_case(case: &str, level: SimdLevel) -> Result<(), String> {
    let (head, body) = case.split_once('\n').expect("a case has lines");
    let (name, flags) = head.split_once(": ").expect("a name, and flags");
    let wanted: BTreeSet<_> = body.lines().collect();
    for line in lines(flags, level) {
        if !wanted.contains(&*line) {
            return Err(format!("in the run `{name}`, {line} is wrong"));
        }
    }
    Ok(())
}

/// Computes the lines of a run: losses as `step,slot,loss`, and the final variables as
/// `name,length,CRC-32`.
fn lines(flags: &str, level: SimdLevel) -> Vec<String> {
    let flags: Vec<String> = serde_json::from_str(flags).expect("flags are a JSON list");
    let RunFlags { run, size } = RunFlags::try_parse_from(flags).expect("golden flags are good");
    let run = RunConfig::resolve(run, size.resolve(&HostKeys::default()));
    let run = run.expect("golden flags do not contradict each other");
    let data = Dataset::open(None, run.validation_size);
    let data = data.expect("the built-in digits fit the golden runs");
    let plan = Plan::new(&run, data, level).expect("their batches, too");
    let initial = plan.initial(None).expect("no file is read");
    let mut reference = Reference::new(&plan, initial);
    let mut lines = Vec::new();
    while reference.step().0 < run.train.training_steps {
        let update = match reference.update(reference.default_slots()) {
            Ok(update) => update,
            Err(failure) => return vec![failure.to_string()],
        };
        let row = |(slot, loss): &(_, f32)| {
            format!("{},{slot},{}", update.cut.step, unisono_files::losses::format_loss(*loss))
        };
        lines.extend(update.losses.iter().map(row));
    }
    let shards: Vec<_> =
        reference.snapshot().shards.iter().map(|shard| shard.parameters.clone()).collect();
    for (variable, values) in plan.layout.variables().iter().zip(plan.layout.gather(&shards)) {
        let mut crc = flate2::Crc::new();
        values.iter().for_each(|value| crc.update(&value.to_le_bytes()));
        lines.push(format!("{},{},{:08x}", variable.name, values.len(), crc.sum()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_of_this_cpu_has_the_right_bits() {
        for level in SimdLevel::available() {
            let found = check(level);
            let what =
                format!("5 short runs agree bit for bit with a second implementation ({level})");
            assert_eq!(found, Finding::ok("bits", what));
        }
    }

    #[test]
    fn wrong_bit_is_reported_with_its_run_and_step() {
        let case = GOLDEN.split("# ").nth(1).expect("there are cases");
        let loss = case.lines().nth(1).expect("it has losses");
        let other = case.replace(loss, "0,0,2.5");
        let told = check_case(&other, SimdLevel::detect()).expect_err("the loss is another");
        assert_eq!(told, format!("in the run `sgd`, {loss} is wrong"));
        let crc = case.lines().last().expect("it has variables");
        let other = case.replace(crc, "");
        let told = check_case(&other, SimdLevel::detect()).expect_err("the variable is another");
        assert!(told.contains(crc), "{told}");
    }
}
