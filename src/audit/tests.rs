//! Audits the ledgers of a run of two shards with R = 2 of N = 3 and one rollback, then the same
//! ledgers with one change at a time.

use std::path::Path;
use unisono_core::ids::Cut;
use unisono_observe::ledger::Ledger;

use proptest::prelude::*;

use super::*;
use unisono_core::ids::{Generation, Incarnation, Slot, Step};
use unisono_core::protocol::{Settings, ShardState, Snapshot};
use unisono_observe::ledger::line::{ChiefCame, GradientDropped, StateRestored, UpdateMade};
use unisono_observe::ledger::{
    Checksum, DropReason, Header, Line, Loss, Push, StateHash, UsedSlot, file,
};

/// Lines of each ps.
pub(super) type Lines = [Vec<Line>; 2];

const N_PS: u32 = 2;
const CHIEF: Incarnation = Incarnation(7);

/// An event in the story of a ps, one for each line: `Made(k, slots)` is update k with these slots.
#[derive(Clone, Copy)]
enum Event {
    Starts,
    ChiefCame,
    Restored(u64, u64),
    Made(u64, [u32; 2]),
    Dropped(u64, u64, u32, DropReason),
}

const STORY: [Event; 14] = {
    use Event::*;
    [
        Starts,
        ChiefCame,
        Restored(1, 0),
        Made(0, [0, 1]),
        Dropped(1, 1, 2, DropReason::Surplus),
        Made(1, [0, 1]),
        Made(2, [1, 2]),
        Dropped(1, 2, 0, DropReason::Stale),
        Made(3, [0, 2]),
        Restored(2, 2),
        Dropped(1, 3, 1, DropReason::Fenced),
        Made(2, [1, 2]),
        Made(3, [0, 1]),
        Dropped(2, 4, 0, DropReason::Duplicate),
    ]
};

fn lines_of(ps: u32) -> Vec<Line> {
    let life = Incarnation(100 + u64::from(ps));
    let mut generation = Generation::default();
    let mut at = state(ps, &[]);
    let mut history: Vec<[u32; 2]> = Vec::new();
    let line = |event: &Event| match *event {
        Event::Starts => Line::Header(Header {
            format: 1,
            ps,
            incarnation: life,
            n_ps: N_PS,
            replicas_to_aggregate: 2,
            total_num_replicas: 3,
            training_steps: Step(4),
            settings: Settings::default().with("seed", 1).with("training_steps", 4),
        }),
        Event::ChiefCame => Line::Chief(ChiefCame { incarnation: life, chief: CHIEF, finds: None }),
        Event::Restored(number, step) => {
            generation = Generation { opener: CHIEF, number };
            history.truncate(step as usize);
            at = state(ps, &history);
            Line::Restored(StateRestored {
                incarnation: life,
                generation,
                step: Step(step),
                chief: Some(CHIEF),
                data: Some("d0".to_owned()),
                after: at,
            })
        }
        Event::Made(step, slots) => {
            let before = at;
            history.push(slots);
            at = state(ps, &history);
            Line::Update(UpdateMade {
                incarnation: life,
                generation,
                step: Step(step),
                slots: slots.map(|slot| used(ps, step, slot)).to_vec(),
                before,
                after: at,
            })
        }
        Event::Dropped(number, step, slot, why) => Line::Dropped(GradientDropped {
            incarnation: life,
            generation: Generation { opener: CHIEF, number },
            step: Step(step),
            slot: Slot(slot),
            worker: slot,
            why,
            told: why != DropReason::Surplus,
        }),
    };
    STORY.iter().map(line).collect()
}

/// Returns a hash that is a function of the history.
fn state(ps: u32, history: &[[u32; 2]]) -> StateHash {
    let digit = |slots: &[u32; 2]| slots[0] * 4 + slots[1];
    StateHash(history.iter().fold(ps + 1, |hash, slots| hash * 16 + digit(slots)))
}

fn used(ps: u32, step: u64, slot: u32) -> UsedSlot {
    let (version, loss) = (Step(step), Loss(step as f32 + slot as f32 / 4.0));
    let incarnation = Incarnation(50 + u64::from(slot));
    let push = Push { worker: slot, incarnation, slot: None, generation: None, version, loss };
    let checksum = Checksum(1000 * ps + 10 * step as u32 + slot);
    UsedSlot { slot: Slot(slot), push: Some(push), checksum }
}

pub(super) fn story() -> Lines {
    [lines_of(0), lines_of(1)]
}

fn ledgers(lines: Lines) -> Vec<Ledger> {
    (0..).zip(lines).map(|(ps, lines)| Ledger::of_lines(ps, lines)).collect()
}

/// Returns the losses file of the run.
fn losses() -> Vec<LossRow> {
    let slots = [[0, 1], [0, 1], [1, 2], [0, 1]];
    let row = |(step, slot)| (Step(step), Slot(slot), step as f32 + slot as f32 / 4.0);
    (0..).zip(slots).flat_map(|(step, slots)| slots.map(|slot| row((step, slot)))).collect()
}

fn update(line: &mut Line) -> &mut UpdateMade {
    let Line::Update(update) = line else { panic!("{line:?} is no update") };
    update
}

fn push(line: &mut Line, at: usize) -> &mut Push {
    update(line).slots[at].push.as_mut().expect("it has one")
}

fn restored(line: &mut Line) -> &mut StateRestored {
    let Line::Restored(restored) = line else { panic!("{line:?} restores nothing") };
    restored
}

fn dropped(line: &mut Line) -> &mut GradientDropped {
    let Line::Dropped(dropped) = line else { panic!("{line:?} drops nothing") };
    dropped
}

fn header(line: &mut Line) -> &mut Header {
    let Line::Header(header) = line else { panic!("{line:?} is no header") };
    header
}

/// Returns the first violation after `spoil` changed the ledgers.
fn found(name: &str, rule: Rule, spoil: impl FnOnce(&mut Lines)) -> String {
    let mut lines = story();
    spoil(&mut lines);
    let ledgers = ledgers(lines);
    let audit = Audit::of(&ledgers);
    let violation = audit.first_violation().unwrap_or_else(|| panic!("{name}: nothing is found"));
    assert_eq!(violation.rule, rule, "{name}: {violation}");
    assert_eq!(audit.verdict(), Verdict::Broken, "{name}");
    format!("{name}: {violation}\n")
}

#[test]
fn run_with_a_rollback_is_clean() {
    let ledgers = ledgers(story());
    let mut audit = Audit::of(&ledgers);
    audit.check_losses(Path::new("losses.csv"), &losses(), Some(Step(4)));
    assert_eq!(audit.verdict(), Verdict::Clean, "{:?}", audit.violations());
    insta::assert_snapshot!(AuditReport(&audit), @"
    ledger-ps0.jsonl: ps 0 of 2, R = 2 of N = 3, 1 incarnation, 2 generations opened, 6 updates; at version 4, starting from 0
    ledger-ps1.jsonl: ps 1 of 2, R = 2 of N = 3, 1 incarnation, 2 generations opened, 6 updates; at version 4, starting from 0
      ps 0 rolled back from version 4 to 2 in generation 2
      ps 1 rolled back from version 4 to 2 in generation 2

       1  exactly R             12 updates of 24 gradients, 6 compared with another shard
       2  which R               12 updates; not visible in files: with R < N, whether these slots arrived first
       3  fixed order           12 updates
       4  idempotent            12 updates
       5  stale is told         8 gradients not used; not visible in files: whether the current version followed
       6  whole versions only   6 updates compared with the losses of another shard; not visible in files: gradients that workers computed and no shard used
       7  checkpoints are cuts  0 checkpoints, 8 rows of losses.csv
       8  fencing               12 updates
       9  nobody waits unseen   not visible in files: which tasks waited
      10  clean end             12 updates; not visible in files: how the processes ended
          same bits             2 updates and 6 gradients were recomputed

    Clean: versions 0 to 4, 4 updates, on every shard.
    ");
}

#[test]
fn violations_of_rule_1_exactly_r_are_found() {
    let rule = Rule::ExactlyR;
    let all = [
        found("one too few", rule, |run| update(&mut run[0][5]).slots.truncate(1)),
        found("one twice", rule, |run| {
            let slots = &mut update(&mut run[0][5]).slots;
            slots[1] = slots[0].clone();
        }),
        found("of the version before", rule, |run| push(&mut run[1][5], 1).version = Step(0)),
        found("not pushed", rule, |run| update(&mut run[0][6]).slots[0].push = None),
        found("other slots on ps 1", rule, |run| {
            let slots = &mut update(&mut run[1][6]).slots;
            *slots = vec![used(1, 2, 0), used(1, 2, 1)];
        }),
        found("a line is lost", rule, |run| drop(run[0].drain(5..6))),
        found("of another state", rule, |run| update(&mut run[0][6]).before = StateHash(1)),
        found("made another state", rule, |run| update(&mut run[0][3]).after = StateHash(1)),
    ];
    insta::assert_snapshot!(all.concat(), @"
    one too few: rule 1, exactly R, is broken at step 1, ledger-ps0.jsonl:6: wanted the gradients of 2 slots; found 1: 0
    one twice: rule 1, exactly R, is broken at step 1, ledger-ps0.jsonl:6: wanted distinct slots; found 0, 0
    of the version before: rule 1, exactly R, is broken at step 1, ledger-ps1.jsonl:6: wanted slot 1 computed from version 1; found from version 0
    not pushed: rule 1, exactly R, is broken at step 2, ledger-ps0.jsonl:7: wanted a push that brought slot 1; found none
    other slots on ps 1: rule 1, exactly R, is broken at step 2, ledger-ps1.jsonl:7: wanted slots 1, 2, as on ps 0; found 0, 1
    a line is lost: rule 1, exactly R, is broken at step 1, ledger-ps0.jsonl:6: wanted the update of version 1; found the update of version 2: the updates before it are missing
    of another state: rule 1, exactly R, is broken at step 2, ledger-ps0.jsonl:7: wanted an update of version 2 with hash 00000111; found an update of a state with hash 00000001
    made another state: rule 1, exactly R, is broken at step 1, ledger-ps0.jsonl:6: wanted an update of version 1 with hash 00000001; found an update of a state with hash 00000011
    ");
}

#[test]
fn violations_of_rule_2_which_r_are_found() {
    let rule = Rule::WhichR;
    let all = [
        found("a slot that no step has", rule, |run| {
            for (ps, lines) in (0..).zip(run) {
                update(&mut lines[6]).slots[1] = used(ps, 2, 3);
            }
        }),
        found("surplus where all are used", rule, |run| {
            for lines in run {
                header(&mut lines[0]).total_num_replicas = 2;
                for line in [6, 8, 11] {
                    update(&mut lines[line]).slots.iter_mut().for_each(|used| {
                        used.slot = Slot(used.slot.0.min(1));
                    });
                }
            }
        }),
        found("surplus of a version that is no more", rule, |run| {
            dropped(&mut run[1][4]).step = Step(0);
        }),
    ];
    insta::assert_snapshot!(all.concat(), @"
    a slot that no step has: rule 2, which R, is broken at step 2, ledger-ps0.jsonl:7: wanted slots below 3; found 1, 3
    surplus where all are used: rule 2, which R, is broken at step 1, ledger-ps0.jsonl:5: wanted all slots used, with R = 2 and N = 2; found slot 2 of step 1 from worker 2, dropped as surplus
    surplus of a version that is no more: rule 2, which R, is broken at step 0, ledger-ps1.jsonl:5: wanted a gradient of the shard's version, 1; found slot 2 of step 0 from worker 2, dropped as surplus
    ");
}

#[test]
fn violations_of_rule_3_fixed_order_are_found() {
    let one = found("as they came", Rule::FixedOrder, |run| update(&mut run[1][6]).slots.reverse());
    insta::assert_snapshot!(one, @"as they came: rule 3, fixed order, is broken at step 2, ledger-ps1.jsonl:7: wanted slots 1, 2; found 2, 1");
}

#[test]
fn violations_of_rule_4_idempotent_are_found() {
    let rule = Rule::Idempotent;
    let all = [
        found("an update twice", rule, |run| {
            let again = run[0][5].clone();
            run[0].insert(6, again);
        }),
        found("a copy counts as another", rule, |run| push(&mut run[0][5], 1).slot = Some(Slot(0))),
        found("no duplicate", rule, |run| dropped(&mut run[1][13]).step = Step(3)),
    ];
    insta::assert_snapshot!(all.concat(), @"
    an update twice: rule 4, idempotent, is broken at step 1, ledger-ps0.jsonl:7: wanted the update of version 2; found the update of version 1
    a copy counts as another: rule 4, idempotent, is broken at step 1, ledger-ps0.jsonl:6: wanted a gradient that was pushed as slot 1; found a gradient that was pushed as slot 0
    no duplicate: rule 4, idempotent, is broken at step 3, ledger-ps1.jsonl:14: wanted a gradient of the shard's version, 4; found slot 0 of step 3 from worker 0, dropped as a duplicate
    ");
}

#[test]
fn violations_of_rule_5_stale_is_told_are_found() {
    let rule = Rule::StaleIsTold;
    let all = [
        found("not told", rule, |run| dropped(&mut run[0][7]).told = false),
        found("not counted", rule, |run| dropped(&mut run[1][7]).why = DropReason::Uncounted),
        found("not stale", rule, |run| dropped(&mut run[0][7]).step = Step(3)),
        found("dropped and used", rule, |run| {
            let line = dropped(&mut run[0][4]);
            (line.slot, line.worker) = (Slot(1), 1);
        }),
    ];
    insta::assert_snapshot!(all.concat(), @"
    not told: rule 5, stale is told, is broken at step 2, ledger-ps0.jsonl:8: wanted a reply to worker 0 that its slot 0 is stale; found no reply
    not counted: rule 5, stale is told, is broken at step 2, ledger-ps1.jsonl:8: wanted every gradient used or counted; found slot 0 of step 2 from worker 0, neither used nor counted
    not stale: rule 5, stale is told, is broken at step 3, ledger-ps0.jsonl:8: wanted a gradient older than the shard's version, 3; found slot 0 of step 3 from worker 0, dropped as stale
    dropped and used: rule 5, stale is told, is broken at step 1, ledger-ps0.jsonl:6: wanted only slots that were not counted as dropped; found slot 1, which line 5 counts as dropped
    ");
}

#[test]
fn violations_of_rule_6_whole_versions_only_are_found() {
    let one = found("one slot, two losses", Rule::WholeVersionsOnly, |run| {
        push(&mut run[1][6], 1).loss = Loss(0.5);
    });
    insta::assert_snapshot!(one, @"one slot, two losses: rule 6, whole versions only, is broken at step 2, ledger-ps1.jsonl:7: wanted slot 2 with loss 2.5, as on ps 0; found 0.5");
}

#[test]
fn violations_of_rule_7_checkpoints_are_cuts_are_found() {
    let rule = Rule::CheckpointsAreCuts;
    let all = [
        found("what was never made", rule, |run| restored(&mut run[0][9]).after = StateHash(1)),
        found("other data", rule, |run| restored(&mut run[1][2]).data = Some("d1".to_owned())),
        found("not one version", rule, |run| {
            restored(&mut run[1][9]).step = Step(1);
            restored(&mut run[1][9]).after = state(1, &[[0, 1]]);
            run[1].truncate(10);
        }),
    ];
    insta::assert_snapshot!(all.concat(), @"
    what was never made: rule 7, checkpoints are cuts, is broken at step 2, ledger-ps0.jsonl:10: wanted version 2 restored with hash 00000111; found hash 00000001
    other data: rule 7, checkpoints are cuts, is broken at step 0, ledger-ps1.jsonl:3: wanted training data d0, as on ps 0; found d1
    not one version: rule 7, checkpoints are cuts, is broken at step 1, ledger-ps1.jsonl:10: wanted version 2 in generation 2 (opened by the chief's incarnation 7), as on ps 0; found version 1
    ");
}

#[test]
fn violations_of_rule_7_in_losses_and_checkpoints_are_found() {
    let all = ledgers(story());
    let path = Path::new("losses.csv");
    let first = |rows: &[LossRow]| {
        let mut audit = Audit::of(&all);
        audit.check_losses(path, rows, Some(Step(4)));
        audit.first_violation().expect("it is found").to_string() + "\n"
    };
    let mut other_loss = losses();
    other_loss[3].2 = 9.0;
    let mut other_slot = losses();
    other_slot[3].1 = Slot(2);
    let mut hole = losses();
    hole.drain(2..4);
    let mut short = losses();
    short.truncate(6);
    // No update made this state.
    let shards = vec![ShardState { parameters: vec![1.0].into(), ..ShardState::default() }];
    let snapshot =
        Snapshot { cut: Cut { generation: Generation::default(), step: Step(2) }, shards };
    let mut audit = Audit::of(&all);
    audit.check_snapshot(Path::new("model.ckpt-2"), &snapshot);
    let checkpoint = audit.first_violation().expect("it is found").to_string();
    let found =
        [other_loss, other_slot, hole, short].map(|rows| first(&rows)).concat() + &checkpoint;
    insta::assert_snapshot!(found, @"
    rule 7, checkpoints are cuts, is broken at step 1, losses.csv:4: wanted slots 0, 1 with losses 1, 1.25, as in ledger-ps0.jsonl:6; found slots 0, 1 with losses 1, 9
    rule 7, checkpoints are cuts, is broken at step 1, losses.csv:4: wanted slots 0, 1 with losses 1, 1.25, as in ledger-ps0.jsonl:6; found slots 0, 2 with losses 1, 1.25
    rule 7, checkpoints are cuts, is broken at step 1, losses.csv:4: wanted the losses of update 1, because there is a later checkpoint; found none
    rule 7, checkpoints are cuts, is broken at step 3, losses.csv: wanted the losses of update 3, because there is a later checkpoint; found none
    rule 7, checkpoints are cuts, is broken at step 2, model.ckpt-2: wanted version 2 of ps 0, 00000111; found 69bbd40d
    ");
}

#[test]
fn old_losses_may_stay_after_a_rollback_until_recomputed() {
    let all = ledgers(story());
    let mut rows = losses();
    // Slots 0 and 2, as in the first attempt of update 3.
    rows[7] = (Step(3), Slot(2), 3.5);
    let mut audit = Audit::of(&all);
    audit.check_losses(Path::new("losses.csv"), &rows, Some(Step(2)));
    assert_eq!(audit.first_violation(), None);
}

#[test]
fn violations_of_rule_8_fencing_are_found() {
    let rule = Rule::Fencing;
    let other = Generation { opener: Incarnation(3), number: 9 };
    let all = [
        found("an update of a fenced generation", rule, |run| {
            update(&mut run[0][11]).generation = Generation { opener: CHIEF, number: 1 };
        }),
        found("an older generation is opened", rule, |run| {
            restored(&mut run[1][9]).generation = other
        }),
        found("an older life of the chief", rule, |run| {
            let mut chief = run[0][1].clone();
            if let Line::Chief(came) = &mut chief {
                came.chief = Incarnation(6);
            }
            run[0].insert(7, chief);
        }),
        found("a line of another life", rule, |run| {
            update(&mut run[0][5]).incarnation = Incarnation(99)
        }),
        found("a gradient of a fenced generation", rule, |run| {
            push(&mut run[1][11], 0).generation = Some(other);
        }),
        found("a gradient of a fenced life", rule, |run| {
            push(&mut run[0][6], 0).incarnation = Incarnation(49);
        }),
        found("fenced, though of this generation", rule, |run| {
            dropped(&mut run[0][10]).generation.number = 2;
        }),
        found("shards of two generations", rule, |run| {
            // Ps 1 continues without the rollback.
            for line in &mut run[1][11..13] {
                update(line).generation.number = 3;
            }
            restored(&mut run[1][9]).generation.number = 3;
            dropped(&mut run[1][13]).generation.number = 3;
            restored(&mut run[0][9]).step = Step(2);
            let opened = run[1][9].clone();
            let Line::Restored(opened) = opened else { unreachable!() };
            let mine = StateRestored {
                incarnation: Incarnation(100),
                step: Step(4),
                after: state(0, &[[0, 1], [0, 1], [1, 2], [0, 1]]),
                ..opened
            };
            run[0].push(Line::Restored(mine));
        }),
    ];
    insta::assert_snapshot!(all.concat(), @"
    an update of a fenced generation: rule 8, fencing, is broken at step 2, ledger-ps0.jsonl:12: wanted an update of the open generation: 2 (opened by the chief's incarnation 7); found 1 (opened by the chief's incarnation 7)
    an older generation is opened: rule 8, fencing, is broken at step 2, ledger-ps1.jsonl:10: wanted a generation after 1 (opened by the chief's incarnation 7); found 9 (opened by the chief's incarnation 3)
    an older life of the chief: rule 8, fencing, is broken at step 3, ledger-ps0.jsonl:8: wanted an incarnation of the chief after 7; found incarnation 6
    a line of another life: rule 8, fencing, is broken at step 1, ledger-ps0.jsonl:6: wanted lines of ps 0's incarnation 100; found a line of incarnation 99
    a gradient of a fenced generation: rule 8, fencing, is broken at step 2, ledger-ps1.jsonl:12: wanted slot 1 of generation 2 (opened by the chief's incarnation 7); found 9 (opened by the chief's incarnation 3)
    a gradient of a fenced life: rule 8, fencing, is broken at step 2, ledger-ps0.jsonl:7: wanted slot 1 of worker 1's incarnation 51 or later; found 49
    fenced, though of this generation: rule 8, fencing, is broken at step 3, ledger-ps0.jsonl:11: wanted a gradient of a generation other than the shard's, 2 (opened by the chief's incarnation 7); found slot 1 of step 3 from worker 1, dropped as fenced
    shards of two generations: rule 8, fencing, is broken at step 2, ledger-ps1.jsonl:12: wanted generation 2 (opened by the chief's incarnation 7), as on ps 0; found 3 (opened by the chief's incarnation 7)
    ");
}

#[test]
fn violation_of_rule_10_by_one_update_too_many_is_found() {
    let one = found("one more", Rule::CleanEnd, |run| {
        for lines in run {
            header(&mut lines[0]).training_steps = Step(3);
        }
    });
    insta::assert_snapshot!(one, @"one more: rule 10, clean end, is broken at step 3, ledger-ps0.jsonl:9: wanted at most 3 updates; found update 4, of version 3");
}

#[test]
fn recomputed_update_with_different_bits_is_found() {
    let rule = Rule::SameBits;
    let all = [
        found("another version", rule, |run| {
            let other = StateHash(1);
            update(&mut run[0][11]).after = other;
            update(&mut run[0][12]).before = other;
        }),
        found("another gradient", rule, |run| {
            update(&mut run[1][11]).slots[0].checksum = Checksum(1)
        }),
        found("another gradient, in another life", rule, |run| {
            *run = of_two_lives();
            update(&mut run[1][12]).slots[0].checksum = Checksum(1)
        }),
        // All states of one incarnation of a ps have the same data digest.
        found("another gradient, and other data in one life", rule, |run| {
            for of_ps in &mut *run {
                restored(&mut of_ps[9]).data = Some("d1".to_owned());
            }
            update(&mut run[1][11]).slots[0].checksum = Checksum(1)
        }),
    ];
    insta::assert_snapshot!(all.concat(), @"
    another version: the promise, same bits, is broken at step 2, ledger-ps0.jsonl:12: wanted 00001116, as in ledger-ps0.jsonl:7; found 00000001 of the same gradients
    another gradient: the promise, same bits, is broken at step 2, ledger-ps1.jsonl:12: wanted slot 1 with gradient 000003fd and loss 2.25, as in ledger-ps1.jsonl:7; found slot 1 with gradient 00000001 and loss 2.25
    another gradient, in another life: the promise, same bits, is broken at step 2, ledger-ps1.jsonl:13: wanted slot 1 with gradient 000003fd and loss 2.25, as in ledger-ps1.jsonl:7; found slot 1 with gradient 00000001 and loss 2.25
    another gradient, and other data in one life: the promise, same bits, is broken at step 2, ledger-ps1.jsonl:12: wanted slot 1 with gradient 000003fd and loss 2.25, as in ledger-ps1.jsonl:7; found slot 1 with gradient 00000001 and loss 2.25
    ");
}

/// Returns ledgers in which each ps restarts before its second state is restored.
fn of_two_lives() -> Lines {
    story().map(|mut lines| {
        let (first, second) = (lines[0].incarnation(), Incarnation(500));
        lines.insert(9, lines[0].clone());
        let text = |line: &Line| {
            let key = "\"incarnation\":";
            line.to_text().replacen(&format!("{key}{first}"), &format!("{key}{second}"), 1)
        };
        for line in &mut lines[9..] {
            *line = serde_json::from_str(&text(line)).expect("a line of a ledger");
        }
        lines
    })
}

/// Gradients on other data come from other examples.
#[test]
fn recomputed_update_on_other_data_may_differ() {
    let mut lines = of_two_lives();
    for of_ps in &mut lines {
        restored(&mut of_ps[10]).data = Some("d1".to_owned());
    }
    update(&mut lines[1][12]).slots[0].checksum = Checksum(1);
    let ledgers = ledgers(lines);
    let audit = Audit::of(&ledgers);
    assert_eq!(audit.verdict(), Verdict::Clean, "{:?}", audit.violations());
    let note = |ps| {
        format!(
            "ledger-ps{ps}.jsonl:11: from here on the digest of the training data is d1; it was d0"
        )
    };
    assert_eq!(audit.notes(), [note(0), note(1)]);
}

#[test]
fn ledgers_of_two_configurations_are_reported() {
    let rule = Rule::SameBits;
    let seed = || Settings::default().with("seed", 2).with("training_steps", 4);
    let all = [
        found("another seed", rule, |run| header(&mut run[1][0]).settings = seed()),
        // Updates of another run have no common key with those of the first one, so nothing is
        // compared.
        found("another run", rule, |run| {
            header(&mut run[1][0]).settings = seed();
            for line in &mut run[1] {
                match line {
                    Line::Restored(restored) => restored.generation.opener = Incarnation(900),
                    Line::Update(update) => update.generation.opener = Incarnation(900),
                    Line::Dropped(dropped) => dropped.generation.opener = Incarnation(900),
                    Line::Header(_) | Line::Chief(_) => {}
                }
            }
        }),
    ];
    insta::assert_snapshot!(all.concat(), @"
    another seed: the promise, same bits, is broken at step 0, ledger-ps1.jsonl:4: wanted seed 1, as on ps 0; found 2
    another run: the promise, same bits, is broken at step 0, ledger-ps1.jsonl:1: wanted seed 1, as on ps 0; found 2
    ");
}

#[test]
fn run_with_missing_ledgers_or_updates_is_incomplete() {
    let [first, second] = story();
    let mut hole = second.clone();
    hole.truncate(6);
    let told = |ledgers: Vec<Ledger>| {
        let audit = Audit::of(&ledgers);
        assert_eq!(audit.verdict(), Verdict::Incomplete);
        let report = AuditReport(&audit).to_string();
        let from = report.find("note").unwrap_or_else(|| report.find("INCOMPLETE").expect("it is"));
        report[from..].to_owned() + "\n"
    };
    let all = [
        told(vec![Ledger::of_lines(0, first.clone())]),
        told(vec![Ledger::of_lines(1, second)]),
        told(vec![Ledger::of_lines(0, first.clone()), Ledger::of_lines(1, hole)]),
        told(vec![Ledger::of_lines(0, first[..3].to_vec())]),
        told(vec![Ledger::of_lines(0, Vec::new())]),
        told(Vec::new()),
    ];
    insta::assert_snapshot!(all.concat(), @"
    note: there is no ledger of ps 1: collect the ledgers of all ps in one folder
    INCOMPLETE: no violation in the ledgers that were read: versions 0 to 4, 4 updates, 0 of them seen on every shard.
    note: there is no ledger of ps 0: collect the ledgers of all ps in one folder
    INCOMPLETE: no violation in the ledgers that were read: versions 0 to 4, 4 updates, 0 of them seen on every shard.
    note: ledger-ps1.jsonl ends with version 2: updates 2 to 3 are only in other ledgers. A ps stops its ledger with a warning when its disk is full
    INCOMPLETE: no violation in the ledgers that were read: versions 0 to 4, 4 updates, 2 of them seen on every shard.
    note: there is no ledger of ps 1: collect the ledgers of all ps in one folder
    INCOMPLETE: no violation in the ledgers that were read: no update was made.
    INCOMPLETE: no violation in the ledgers that were read: no update was made.
    INCOMPLETE: no violation in the ledgers that were read: no update was made.
    ");
}

#[test]
fn crash_may_leave_shards_one_update_apart_and_a_torn_line() {
    let [first, second] = story().map(|lines| lines[..9].to_vec());
    let text = |lines: &[Line]| lines.iter().map(|line| line.to_text() + "\n").collect::<String>();
    let torn = text(&second);
    let torn = &torn[..torn.len() - 30];
    let torn = file::parse(Path::new("ledger-ps1.jsonl"), 1, torn.as_bytes()).expect("it is sound");
    assert_eq!(torn.torn, Some(9));
    let ledgers = [Ledger::of_lines(0, first), torn];
    let audit = Audit::of(&ledgers);
    assert_eq!(audit.verdict(), Verdict::Clean, "{}", AuditReport(&audit));
    assert_eq!(audit.notes(), ["ledger-ps1.jsonl:9 is incomplete and was left out"]);
}

/// Ends the ledger of ps 1 before the second generation. Checks that the updates of that generation
/// are still found, in the ledger of ps 0 alone.
fn assert_updates_of_ps_0_alone_stand([first, mut second]: Lines) {
    second.truncate(9);
    let ledgers = ledgers([first, second]);
    let audit = Audit::of(&ledgers);
    assert_eq!(audit.first_violation(), None);
    let standing = audit.standing();
    assert_eq!(standing.values().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1, 1]);
}

#[test]
fn shard_that_missed_the_newest_generation_does_not_contradict_it() {
    // Ps 1 was killed before the rollback.
    assert_updates_of_ps_0_alone_stand(story());
}

/// Returns ledgers in which all tasks restarted before the second generation, after their clocks
/// were set back. All incarnations of the second part are smaller than those of the first.
fn of_two_lives_after_a_clock_was_set_back() -> Lines {
    of_two_lives().map(|mut lines| {
        for line in &mut lines[9..] {
            let text = line.to_text();
            let text = text.replace("\"incarnation\":500", "\"incarnation\":50");
            let text = text.replace("\"chief\":7", "\"chief\":3");
            let text = text.replace("\"opener\":7,\"number\":2", "\"opener\":3,\"number\":2");
            *line = serde_json::from_str(&text).expect("a line of a ledger");
        }
        lines
    })
}

#[test]
fn generations_are_ordered_by_ledger_lines_even_if_a_clock_was_set_back() {
    let ledgers = ledgers(of_two_lives_after_a_clock_was_set_back());
    let mut audit = Audit::of(&ledgers);
    audit.check_losses(Path::new("losses.csv"), &losses(), Some(Step(4)));
    assert_eq!(audit.verdict(), Verdict::Clean, "{}", AuditReport(&audit));
    // Updates 2 and 3 were recomputed after the rollback.
    let stands: Vec<_> = audit.standing().values().flatten().map(|made| made.line).collect();
    assert_eq!(stands, [4, 4, 6, 6, 13, 13, 14, 14]);
    let note = |ps: u32| {
        let before = 100 + ps;
        format!(
            "ledger-ps{ps}.jsonl:10: incarnation 50 follows incarnation {before}: a clock was set \
             back"
        )
    };
    assert_eq!(audit.notes(), [note(0), note(1)]);
}

#[test]
fn newest_generation_is_found_in_the_ledger_of_another_shard() {
    // Ps 1 was killed before the restart.
    assert_updates_of_ps_0_alone_stand(of_two_lives_after_a_clock_was_set_back());
}

#[test]
fn older_chief_within_one_incarnation_of_a_ps_is_a_violation() {
    let chief = found("an older chief, after a clock was set back", Rule::Fencing, |run| {
        *run = of_two_lives_after_a_clock_was_set_back();
        let came =
            |chief| Line::Chief(ChiefCame { incarnation: Incarnation(50), chief, finds: None });
        run[0].splice(10..10, [came(Incarnation(3)), came(Incarnation(2))]);
    });
    insta::assert_snapshot!(chief, @"an older chief, after a clock was set back: rule 8, fencing, is broken at step 0, ledger-ps0.jsonl:12: wanted an incarnation of the chief after 3; found incarnation 2");
}

/// Parses arbitrary bytes, and audits and prints the ledgers if they are valid.
fn try_all(texts: [&[u8]; 2]) {
    let read = |(ps, text)| file::parse(Path::new("L"), ps, text);
    let ledgers: Vec<_> = (0..).zip(texts).map(read).filter_map(Result::ok).collect();
    let mut audit = Audit::of(&ledgers);
    audit.check_losses(Path::new("losses.csv"), &losses(), Some(Step(4)));
    assert!(!AuditReport(&audit).to_string().is_empty());
    assert_eq!(audit.verdict() == Verdict::Broken, audit.first_violation().is_some());
}

/// A change to the lines of a ledger.
#[derive(Clone, Debug)]
enum Edit {
    Remove(usize),
    Repeat(usize, usize),
    Swap(usize, usize),
    /// Replaces the n-th number of a line.
    Number(usize, usize, u64),
    Byte(usize, usize, u8),
}

fn edit() -> impl Strategy<Value = Edit> {
    let line = 0..20_usize;
    let number = prop_oneof![0..6_u64, Just(u64::MAX), Just(u64::MAX - 1), Just(1 << 32)];
    prop_oneof![
        line.clone().prop_map(Edit::Remove),
        (line.clone(), line.clone()).prop_map(|(from, to)| Edit::Repeat(from, to)),
        (line.clone(), line.clone()).prop_map(|(one, other)| Edit::Swap(one, other)),
        (line.clone(), 0..30_usize, number).prop_map(|(at, nth, n)| Edit::Number(at, nth, n)),
        (line, 0..400_usize, any::<u8>()).prop_map(|(at, byte, by)| Edit::Byte(at, byte, by)),
    ]
}

fn apply(edit: Edit, lines: &mut Vec<Vec<u8>>) {
    let n = lines.len();
    if n == 0 {
        return;
    }
    match edit {
        Edit::Remove(at) => drop(lines.remove(at % n)),
        Edit::Repeat(from, to) => lines.insert(to % n, lines[from % n].clone()),
        Edit::Swap(one, other) => lines.swap(one % n, other % n),
        Edit::Byte(at, byte, by) => {
            let line = &mut lines[at % n];
            let place = byte % line.len().max(1);
            line.splice(place..(place + 1).min(line.len()), [by]);
        }
        Edit::Number(at, nth, number) => {
            let text = String::from_utf8_lossy(&lines[at % n]).into_owned();
            let starts: Vec<usize> = text
                .match_indices(':')
                .map(|(colon, _)| colon + 1)
                .filter(|start| text[*start..].starts_with(|c: char| c.is_ascii_digit()))
                .collect();
            if let Some(start) = starts.get(nth % starts.len().max(1)) {
                let rest = text[*start..].trim_start_matches(|c: char| c.is_ascii_digit());
                lines[at % n] = format!("{}{number}{rest}", &text[..*start]).into_bytes();
            }
        }
    }
}

proptest! {
    #[test]
    fn parsing_arbitrary_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        try_all([&bytes, &bytes]);
    }

    #[test]
    fn auditing_mutated_ledgers_never_panics(
        edits in proptest::collection::vec((0..2_usize, edit()), 0..6)
    ) {
        let bytes = |lines: Vec<Line>| -> Vec<Vec<u8>> {
            lines.iter().map(|line| line.to_text().into_bytes()).collect()
        };
        let mut texts = story().map(bytes);
        for (ps, edit) in edits {
            apply(edit, &mut texts[ps]);
        }
        let [first, second] = texts.map(|lines| [lines.join(&b'\n'), b"\n".to_vec()].concat());
        try_all([&first, &second]);
    }
}
