//! Prints the result of an audit.

use std::fmt;

use super::Rule;
use super::found::is_on_all_shards;
use crate::found::{Audit, Verdict};
use crate::shard::ShardHistory;
use unisono_core::ids::Step;
use unisono_observe::counted::{counted, thousands};

/// The printed form of an audit.
#[derive(Debug)]
pub struct AuditReport<'b, 'a>(pub &'b Audit<'a>);

impl fmt::Display for AuditReport<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let audit = self.0;
        for shard in &audit.shards {
            writeln!(f, "{}", described(shard))?;
        }
        for rollback in audit
            .shards
            .iter()
            .flat_map(|shard| shard.rollbacks.iter().map(move |rollback| (shard.ps(), rollback)))
        {
            let (ps, rollback) = rollback;
            let (generation, from, to) = (rollback.generation.number, rollback.from, rollback.to);
            writeln!(
                f,
                "  ps {ps} rolled back from version {from} to {to} in generation {generation}"
            )?;
        }
        writeln!(f)?;
        for rule in Rule::ALL {
            let number = rule.number().map_or_else(String::new, |number| number.to_string());
            writeln!(f, "{number:>4}  {:<22}{}", rule.name(), self.of(rule))?;
        }
        writeln!(f)?;
        for note in audit.notes() {
            writeln!(f, "note: {note}")?;
        }
        // Show one violation only: the later ones are often consequences of the first.
        if let Some(violation) = audit.first_violation() {
            let others = match audit.violations().len() - 1 {
                0 => String::new(),
                1 => " One more violation follows.".to_owned(),
                n => format!(" {} more violations follow.", thousands(n as u64)),
            };
            return write!(f, "BROKEN: {violation}.{others}");
        }
        let summary = self.summary();
        match audit.verdict() {
            Verdict::Clean => write!(f, "Clean: {summary}."),
            _ => write!(f, "INCOMPLETE: no violation in the ledgers that were read: {summary}."),
        }
    }
}

impl AuditReport<'_, '_> {
    fn of(&self, rule: Rule) -> String {
        let seen = self.0.seen();
        let n_broken = self.0.violations().iter().filter(|broken| broken.rule == rule).count();
        if n_broken > 0 {
            return format!("BROKEN, {}", times(n_broken as u64));
        }
        let looked_at = match rule {
            Rule::ExactlyR => format!(
                "{} of {}, {} compared with another shard",
                counted(seen.n_updates, "update"),
                counted(seen.n_slots, "gradient"),
                thousands(seen.n_compared)
            ),
            Rule::WholeVersionsOnly => {
                format!(
                    "{} compared with the losses of another shard",
                    counted(seen.n_compared, "update")
                )
            }
            Rule::CheckpointsAreCuts => format!(
                "{}, {}",
                counted(seen.n_checkpoints, "checkpoint"),
                counted(seen.n_losses, "row of losses.csv")
            ),
            Rule::SameBits => format!(
                "{} and {} were recomputed",
                counted(seen.n_repeated, "update"),
                counted(seen.n_gradients_repeated, "gradient")
            ),
            Rule::StaleIsTold => format!("{} not used", counted(seen.n_dropped, "gradient")),
            Rule::NobodyWaitsUnseen => String::new(),
            _ => counted(seen.n_updates, "update"),
        };
        match rule.unseen() {
            Some(unseen) if looked_at.is_empty() => format!("not visible in files: {unseen}"),
            Some(unseen) => format!("{looked_at}; not visible in files: {unseen}"),
            None => looked_at,
        }
    }

    /// Returns one line about the checked updates.
    fn summary(&self) -> String {
        let standing = self.0.standing();
        if standing.is_empty() {
            return "no update was made".to_owned();
        }
        let n_whole = standing.values().filter(|made| is_on_all_shards(made)).count();
        let n_updates = standing.len();
        let of_all = if n_whole == n_updates {
            "on every shard".to_owned()
        } else {
            format!("{} of them seen on every shard", thousands(n_whole as u64))
        };
        let first = standing.keys().next().copied().unwrap_or_default();
        let last = standing.keys().next_back().map_or(first, |step| step.next());
        let updates = counted(n_updates as u64, "update");
        format!("versions {first} to {last}, {updates}, {of_all}")
    }
}

fn described(shard: &ShardHistory<'_>) -> String {
    let path = shard.ledger().path.display();
    let Some(header) = shard.header() else { return format!("{path}: empty") };
    let end = shard.end().map_or_else(|| "no state".to_owned(), |end| format!("version {end}"));
    let first = shard.standing().next().map_or(Step(0), |made| made.update.step);
    format!(
        "{path}: ps {} of {}, R = {} of N = {}, {}, {} opened, {}; at {end}, starting from {first}",
        shard.ps(),
        header.n_ps,
        header.replicas_to_aggregate,
        header.total_num_replicas,
        counted(shard.n_lives as u64, "incarnation"),
        counted(shard.restored.len() as u64, "generation"),
        counted(shard.made.len() as u64, "update"),
    )
}

fn times(n: u64) -> String {
    if n == 1 { "once".to_owned() } else { format!("{} times", thousands(n)) }
}
