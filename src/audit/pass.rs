//! Checks one ledger alone: follows its lines in order, and checks the rules that concern a single
//! shard.

use std::collections::BTreeMap;

use super::shard::{Made, Restored, Rollback, ShardHistory};
use super::violation::{any_of, full, listed};
use super::{FilePlace, Rule, Violation};
use crate::found::Audit;
use unisono_core::ids::{Cut, Generation, Incarnation, Slot, Step};
use unisono_core::protocol::Verdict;
use unisono_core::slots::{Age, WrongSlots, wrong_slots};
use unisono_observe::ledger::line::{ChiefCame, GradientDropped, StateRestored, UpdateMade};
use unisono_observe::ledger::{DropReason, Header, Line, StateHash};

/// Checks the ledger of a shard, and adds the lines of the ledger to the shard's history, which
/// must be empty.
pub(super) fn go<'a>(shard: ShardHistory<'a>, audit: &mut Audit<'a>) -> ShardHistory<'a> {
    let ledger = shard.ledger;
    let mut pass = Pass { shard, life: None, line: 0, audit };
    for (number, line) in (1..).zip(&ledger.lines) {
        pass.line = number;
        pass.take(line);
    }
    if let Some(line) = ledger.torn {
        let path = ledger.path.display();
        pass.audit.notes.push(format!("{path}:{line} is incomplete and was left out"));
    }
    pass.shard
}

/// State of the ps's incarnation that wrote the current line of the ledger.
#[derive(Debug)]
struct IncarnationState<'a> {
    header: &'a Header,
    /// Index in `Audit::arithmetics` of the settings and the training data.
    arithmetic: usize,
    generation: Option<Generation>,
    /// Version of the shard and its hash.
    at: Option<(Step, StateHash)>,
    chief: Option<Incarnation>,
    /// Newest incarnation of each worker whose gradients were used.
    workers: BTreeMap<u32, Incarnation>,
    /// Surplus gradients, which the next update must not use. Maps the slot and the worker of a
    /// gradient to the number of the line that reports the gradient.
    surplus: BTreeMap<(Slot, u32), usize>,
}

impl IncarnationState<'_> {
    fn cut(&self) -> Option<Cut> {
        let (step, _) = self.at?;
        Some(Cut { generation: self.generation?, step })
    }
}

struct Pass<'a, 'b> {
    shard: ShardHistory<'a>,
    life: Option<IncarnationState<'a>>,
    /// Number of the current line.
    line: usize,
    audit: &'b mut Audit<'a>,
}

impl<'a> Pass<'a, '_> {
    fn take(&mut self, line: &'a Line) {
        if let Line::Header(header) = line {
            return self.on_header(header);
        }
        // The reader rejects files that do not begin with a header, so `self.life` is never `None`
        // here.
        let Some(mut life) = self.life.take() else { return };
        if line.incarnation() != life.header.incarnation {
            let step = life.at.map_or(Step(0), |(step, _)| step);
            let wanted = format!(
                "lines of ps {}'s incarnation {}",
                self.shard.ps(),
                life.header.incarnation
            );
            let found = format!("a line of incarnation {}", line.incarnation());
            self.violate(Rule::Fencing, step, wanted, found);
        }
        match line {
            Line::Header(_) => {}
            Line::Chief(chief) => self.on_chief(&mut life, chief),
            Line::Restored(restored) => self.on_restored(&mut life, restored),
            Line::Update(update) => self.on_update(&mut life, update),
            Line::Dropped(dropped) => self.on_dropped(&mut life, dropped),
        }
        // `life` was taken out of `self` so that the handlers can borrow `self` mutably. Now `life`
        // is put back.
        self.life = Some(life);
    }

    fn on_header(&mut self, header: &'a Header) {
        if let Some(before) = self.shard.header() {
            if let Some(difference) = before.difference(header) {
                self.note_change(difference.key, difference.ours, difference.theirs);
            }
            // This is a note and not a violation, because the audit relies on the order of the
            // lines, and not on ascending incarnations.
            if header.incarnation <= before.incarnation {
                let place = self.place();
                self.audit.notes.push(format!(
                    "{place}: incarnation {} follows incarnation {}: a clock was set back",
                    header.incarnation, before.incarnation
                ));
            }
        }
        self.shard.header = Some((header, self.line));
        self.shard.n_lives += 1;
        self.life = Some(IncarnationState {
            header,
            arithmetic: self.audit.number_of(header, None),
            generation: None,
            at: None,
            chief: None,
            workers: BTreeMap::new(),
            surplus: BTreeMap::new(),
        });
    }

    fn on_chief(&mut self, life: &mut IncarnationState<'a>, came: &ChiefCame) {
        if let Some(before) = life.chief.filter(|before| *before >= came.chief) {
            let step = life.at.map_or(Step(0), |(step, _)| step);
            let wanted = format!("an incarnation of the chief after {before}");
            self.violate(Rule::Fencing, step, wanted, format!("incarnation {}", came.chief));
        }
        life.chief = Some(came.chief);
    }

    fn on_restored(&mut self, life: &mut IncarnationState<'a>, restored: &'a StateRestored) {
        let StateRestored { generation, step, after, .. } = restored;
        let (generation, step, after) = (*generation, *step, *after);
        if let Some(before) = life.generation.filter(|before| *before >= generation) {
            let wanted = format!("a generation after {}", full(before));
            self.violate(Rule::Fencing, step, wanted, full(generation));
        }
        let from = self.shard.end();
        if let Some(from) = from.filter(|from| *from > step) {
            self.shard.rollbacks.push(Rollback { generation, from, to: step });
        }
        self.go_back(life.header, step, after);
        if life.generation.is_none() {
            self.on_data(life, restored.data.as_deref());
        }
        life.generation = Some(generation);
        life.at = Some((step, after));
        // Surplus gradients of the previous generation cannot be used any more.
        life.surplus.clear();
        let header = life.header;
        self.shard.restored.push(Restored { line: restored, header, number: self.line });
    }

    /// Records the digest of the training data, once for each incarnation of a ps. All states that
    /// the incarnation receives have the same digest.
    fn on_data(&mut self, life: &mut IncarnationState<'a>, data: Option<&'a str>) {
        life.arithmetic = self.audit.number_of(life.header, data);
        let before = self.shard.restored.last().and_then(|last| last.line.data.as_deref());
        if let (Some(was), Some(is)) = (before, data)
            && was != is
        {
            self.note_change("the digest of the training data", was, is);
        }
    }

    fn note_change(&mut self, what: &str, was: &str, is: &str) {
        let place = self.place();
        self.audit.notes.push(format!("{place}: from here on {what} is {is}; it was {was}"));
    }

    /// Sets the history back to a restored version. The shard must have made this version before
    /// (rule 7).
    fn go_back(&mut self, header: &Header, step: Step, hash: StateHash) {
        if self.shard.hash_of(step) == Some(hash) {
            return self.shard.forget_from(step);
        }
        // With another number of ps or another placement, this shard has other elements, so its
        // earlier hashes say nothing about this state.
        let known = self.shard.hashes_of(step);
        let is_this = |index: &Option<usize>| {
            index.is_none_or(|index| has_layout_of(self.shard.made[index].header, header))
        };
        let known: Vec<_> = known.into_iter().filter(|(_, index)| is_this(index)).collect();
        // The state may belong to a history that was rolled back later. This happens if a chief was
        // replaced while it wrote a checkpoint, and the checkpoint was completed.
        let other_history = known.iter().rev().find(|(other, _)| *other == hash);
        if let Some((_, Some(index))) = other_history {
            return self.shard.go_back_to(*index);
        }
        let mut lives = self.shard.restored.iter().map(|restored| restored.header);
        let is_same_shard = lives.all(|life| has_layout_of(life, header));
        if known.is_empty() {
            if let Some(end) = self.shard.end().filter(|end| *end < step) {
                let (place, last) = (self.place(), step.0 - 1);
                let note = format!("{place}: updates {end} to {last} are not in the ledger");
                self.audit.notes.push(note);
            }
        } else if other_history.is_none() && is_same_shard {
            let wanted = format!("version {step} restored with hash {}", any_of(&known));
            self.violate(Rule::CheckpointsAreCuts, step, wanted, format!("hash {hash}"));
        }
        self.shard.forget_from(step);
    }

    fn on_update(&mut self, life: &mut IncarnationState<'a>, update: &'a UpdateMade) {
        let before = update.step.0.checked_sub(1);
        let before = before.and_then(|step| self.shard.stands.get(&Step(step)).copied());
        let made = Made {
            update,
            header: life.header,
            arithmetic: life.arithmetic,
            line: self.line,
            before,
            ledger: self.shard.ledger,
        };
        self.check_place(life, &made);
        check_slots(&made, &mut self.audit.violations);
        check_pushes(life, &made, &mut self.audit.violations);
        check_surplus(life, &made, &mut self.audit.violations);
        self.audit.seen.n_updates += 1;
        self.audit.seen.n_slots += update.slots.len() as u64;
        // Later lines are compared with the update as recorded, even if the update is wrong, so
        // that one error is reported once.
        life.generation = Some(update.generation);
        life.at = Some((made.version(), update.after));
        self.shard.forget_from(update.step);
        self.shard.stands.insert(update.step, self.shard.made.len());
        self.shard.made.push(made);
    }

    /// Checks that an unused gradient was counted and answered (rule 5), and that the recorded
    /// reason is right (rules 2, 4 and 8).
    fn on_dropped(&mut self, life: &mut IncarnationState<'a>, dropped: &GradientDropped) {
        let GradientDropped { generation, step, slot, worker, why, told, .. } = *dropped;
        self.audit.seen.n_dropped += 1;
        let gradient = format!("slot {slot} of step {step} from worker {worker}");
        if why == DropReason::Uncounted {
            let found = format!("{gradient}, neither used nor counted");
            return self.violate(Rule::StaleIsTold, step, "every gradient used or counted", found);
        }
        if why != DropReason::Surplus && !told {
            let wanted = format!("a reply to worker {worker} that its slot {slot} is {why}");
            return self.violate(Rule::StaleIsTold, step, wanted, "no reply");
        }
        let sync = life.header.sync();
        if why == DropReason::Surplus && sync.is_determined() {
            let (r, n) = (sync.replicas_to_aggregate, sync.total_num_replicas);
            let wanted = format!("all slots used, with R = {r} and N = {n}");
            let found = format!("{gradient}, dropped as {why}");
            return self.violate(Rule::WhichR, step, wanted, found);
        }
        let stands = life.cut();
        let version = || stands.map_or_else(|| "none".to_owned(), |cut| cut.step.to_string());
        let current = || format!("a gradient of the shard's version, {}", version());
        let (rule, verdict, wanted) = match why {
            DropReason::Stale => {
                let wanted = format!("a gradient older than the shard's version, {}", version());
                (Rule::StaleIsTold, Some(Verdict::Stale), wanted)
            }
            DropReason::Fenced => {
                let here = stands.map_or_else(|| "none".to_owned(), |cut| full(cut.generation));
                let wanted = format!("a gradient of a generation other than the shard's, {here}");
                (Rule::Fencing, Some(Verdict::Fenced), wanted)
            }
            DropReason::Duplicate => (Rule::Idempotent, Some(Verdict::Duplicate), current()),
            DropReason::Surplus | DropReason::Uncounted => {
                life.surplus.insert((slot, worker), self.line);
                (Rule::WhichR, None, current())
            }
        };
        if Age::of(Cut { generation, step }, stands) != Age::when_dropped(verdict) {
            self.violate(rule, step, wanted, format!("{gradient}, dropped as {why}"));
        }
    }

    /// Checks that an update was made from the current version, in the open generation.
    fn check_place(&mut self, life: &IncarnationState<'_>, made: &Made<'_>) {
        let update = made.update;
        if life.generation != Some(update.generation) {
            let open = life.generation.map_or_else(|| "none".to_owned(), full);
            let wanted = format!("an update of the open generation: {open}");
            self.audit.violations.push(made.violation(
                Rule::Fencing,
                wanted,
                full(update.generation),
            ));
        }
        if update.step >= made.header.training_steps {
            let wanted = format!("at most {} updates", made.header.training_steps);
            let found = format!("update {}, of version {}", made.version(), update.step);
            self.audit.violations.push(made.violation(Rule::CleanEnd, wanted, found));
        }
        let Some((version, hash)) = life.at else { return };
        let wanted = format!("the update of version {version}");
        let found = format!("the update of version {}", update.step);
        if update.step < version {
            // An update that was made twice would use its gradients twice, so this is a violation
            // of rule 4.
            self.audit.violations.push(made.violation(Rule::Idempotent, wanted, found));
        } else if update.step > version {
            let missing = format!("{found}: the updates before it are missing");
            let violation = made.violation(Rule::ExactlyR, wanted, missing);
            // The violation gets the step of the first missing update, so that this violation comes
            // before its consequences.
            self.audit.violations.push(Violation { step: version, ..violation });
        } else if update.before != hash {
            let wanted = format!("an update of version {version} with hash {hash}");
            let found = format!("an update of a state with hash {}", update.before);
            self.audit.violations.push(made.violation(Rule::ExactlyR, wanted, found));
        }
    }

    fn place(&self) -> FilePlace {
        FilePlace::line(&self.shard.ledger.path, self.line)
    }

    fn violate(
        &mut self,
        rule: Rule,
        step: Step,
        wanted: impl Into<String>,
        found: impl Into<String>,
    ) {
        let (place, wanted, found) = (self.place(), wanted.into(), found.into());
        self.audit.violations.push(Violation { rule, step, place, wanted, found });
    }
}

/// Returns whether two ledger headers assign the same elements of the variables to a ps.
pub(super) fn has_layout_of(one: &Header, other: &Header) -> bool {
    let layout = |header: &Header| {
        let keys = header.settings.iter().filter(|(key, _)| ["ps", "placement"].contains(key));
        keys.map(|(_, value)| value.to_owned()).collect::<Vec<_>>()
    };
    std::ptr::eq(one, other) || layout(one) == layout(other)
}

/// Checks that an update used R distinct slots of the step in ascending order (rules 1, 2 and 3).
fn check_slots(made: &Made<'_>, violations: &mut Vec<Violation>) {
    let sync = made.header.sync();
    let slots: Vec<Slot> = made.update.slot_numbers().collect();
    let (rule, wanted, found) = match wrong_slots(sync, &slots) {
        None => return,
        Some(WrongSlots::NotR) => {
            let wanted = format!("the gradients of {} slots", sync.replicas_to_aggregate);
            (Rule::ExactlyR, wanted, format!("{}: {}", slots.len(), listed(&slots)))
        }
        Some(WrongSlots::Twice) => (Rule::ExactlyR, "distinct slots".to_owned(), listed(&slots)),
        Some(WrongSlots::OfNoStep) => {
            (Rule::WhichR, format!("slots below {}", sync.slots_per_step()), listed(&slots))
        }
        Some(WrongSlots::NotAscending) => {
            let mut ascending = slots.clone();
            ascending.sort_unstable();
            (Rule::FixedOrder, format!("slots {}", listed(&ascending)), listed(&slots))
        }
    };
    violations.push(made.violation(rule, wanted, found));
}

/// Checks that each gradient was computed from the version that the update changes (rule 1), and
/// that no worker has an older incarnation than in an earlier update (rule 8).
fn check_pushes(life: &mut IncarnationState<'_>, made: &Made<'_>, violations: &mut Vec<Violation>) {
    let update = made.update;
    for used in &update.slots {
        let slot = used.slot;
        let Some(push) = &used.push else {
            let wanted = format!("a push that brought slot {slot}");
            violations.push(made.violation(Rule::ExactlyR, wanted, "none"));
            continue;
        };
        if let Some(pushed_as) = push.slot {
            // An update may use a gradient only once, and only for the gradient's own slot.
            let wanted = format!("a gradient that was pushed as slot {slot}");
            let found = format!("a gradient that was pushed as slot {pushed_as}");
            violations.push(made.violation(Rule::Idempotent, wanted, found));
        }
        if let Some(generation) = push.generation {
            let wanted = format!("slot {slot} of generation {}", full(update.generation));
            violations.push(made.violation(Rule::Fencing, wanted, full(generation)));
        } else if push.version != update.step {
            let wanted = format!("slot {slot} computed from version {}", update.step);
            let found = format!("from version {}", push.version);
            violations.push(made.violation(Rule::ExactlyR, wanted, found));
        }
        let worker = push.worker;
        if let Some(newer) = life.workers.get(&worker).filter(|known| **known > push.incarnation) {
            let wanted = format!("slot {slot} of worker {worker}'s incarnation {newer} or later");
            violations.push(made.violation(Rule::Fencing, wanted, push.incarnation.to_string()));
        }
    }
    // The incarnations are updated only after the loop, because one update may use gradients of an
    // older incarnation beside those of a newer one.
    for push in update.slots.iter().filter_map(|used| used.push.as_ref()) {
        let newest = life.workers.entry(push.worker).or_default();
        *newest = push.incarnation.max(*newest);
    }
}

/// Checks that no gradient was used after it was reported as surplus (rule 5).
fn check_surplus(
    life: &mut IncarnationState<'_>,
    made: &Made<'_>,
    violations: &mut Vec<Violation>,
) {
    let surplus = std::mem::take(&mut life.surplus);
    for used in &made.update.slots {
        let Some(push) = &used.push else { continue };
        if let Some(line) = surplus.get(&(used.slot, push.worker)) {
            let wanted = "only slots that were not counted as dropped";
            let found = format!("slot {}, which line {line} counts as dropped", used.slot);
            violations.push(made.violation(Rule::StaleIsTold, wanted, found));
        }
    }
}
