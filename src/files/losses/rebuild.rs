//! Whether a losses file has all rows before a checkpoint, and how it would have them again.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;

use super::rows;
use super::survey::Survey;
use crate::disk::{Disk, DiskError, Publication};
use crate::losses::error::{LOSSES_FILE, LossesError};
use unisono_core::ids::Step;
use unisono_core::protocol::UpdateRecord;

/// Finds the losses of a range of updates elsewhere, as in the ledgers, or says why they are not
/// there. What it finds may be less than what it was asked for, and more.
pub type FindLosses = dyn Fn(Range<Step>) -> Result<Vec<UpdateRecord>, String> + Send;

/// How complete the losses of a logdir are.
#[derive(Debug)]
pub struct LossesState {
    /// Every update below has all of its rows, in the file or in `rebuilt`.
    pub complete_below: Step,
    /// A file with rows that were found elsewhere.
    pub rebuilt: Option<Rebuilt>,
    /// Why rows were not found elsewhere, if they were looked for.
    pub why_missing: Option<String>,
}

/// A losses file that was put together again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// The steps that got their rows back: the first one and the last one.
    pub from: Step,
    /// See `from`.
    pub to: Step,
    text: String,
}

impl LossesState {
    /// Looks at the losses before a checkpoint of step `needed`; if there are not all, `find` is
    /// asked for the rest. Nothing is changed.
    ///
    /// # Errors
    /// If the file cannot be read, or is none of ours.
    pub fn look(
        disk: &dyn Disk,
        logdir: &Path,
        needed: Step,
        n_losses: usize,
        find: &FindLosses,
    ) -> Result<Self, LossesError> {
        let bytes = read(disk, &logdir.join(LOSSES_FILE))?;
        let bytes = bytes.unwrap_or_else(|| rows::HEADER.as_bytes().to_vec());
        let complete_below = Survey::of(&bytes, n_losses).complete_below;
        if complete_below >= needed {
            return Ok(Self { complete_below, rebuilt: None, why_missing: None });
        }
        let found = match find(complete_below..needed) {
            Ok(found) => found,
            Err(why) => return Ok(Self { complete_below, rebuilt: None, why_missing: Some(why) }),
        };
        let (text, to) = merge(&bytes, complete_below, found);
        let rebuilt = (to > complete_below).then(|| Rebuilt {
            from: complete_below,
            to: Step(to.0 - 1),
            text,
        });
        let why_missing = (to < needed).then(|| format!("the ledgers lack update {to}"));
        Ok(Self { complete_below: to, rebuilt, why_missing })
    }
}

impl Rebuilt {
    /// Puts the file in its place, at once and durably.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn publish(&self, disk: &dyn Disk, dir: &Path) -> Result<(), DiskError> {
        let bytes = self.text.as_bytes();
        Publication { dir, name: LOSSES_FILE, writer: "rebuilt", bytes }.publish(disk).map(|_| ())
    }
}

/// The file with the header; `None` if there is none, or one whose making a crash interrupted.
pub(super) fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>, LossesError> {
    let bytes = match disk.read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        bytes => bytes.map_err(DiskError::at("read", path))?,
    };
    if bytes.starts_with(rows::HEADER.as_bytes()) {
        return Ok(Some(bytes));
    }
    if rows::HEADER.as_bytes().starts_with(&bytes) {
        return Ok(None);
    }
    Err(LossesError::Foreign { path: path.to_owned() })
}

/// The rows of a file, and between them those of updates that the file lacks from `from` on; and
/// the first step that is in neither.
fn merge(bytes: &[u8], from: Step, found: Vec<UpdateRecord>) -> (String, Step) {
    let mut updates: BTreeMap<Step, String> = BTreeMap::new();
    for line in rows::lines(bytes).skip(1).filter(|line| line.is_whole) {
        let text = &bytes[line.range];
        if let Some((step, ..)) = rows::decode(text) {
            let of_step = updates.entry(step).or_default();
            of_step.push_str(&String::from_utf8_lossy(text));
            of_step.push('\n');
        }
    }
    for update in found.into_iter().filter(|update| update.step >= from) {
        // An update that the file has in part was torn.
        updates.insert(update.step, rows::encode(&update));
    }
    let in_order = (0..).map(Step).zip(updates.keys()).find(|(step, key)| step != *key);
    let next = in_order.map_or(Step(updates.len() as u64), |(step, _)| step);
    let text = std::iter::once(rows::HEADER).chain(updates.values().map(String::as_str)).collect();
    (text, next)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::disk::test_disk::{Bug, TestDisk};
    use unisono_core::ids::{Generation, Slot};

    const LOGDIR: &str = "/logdir";

    fn update(step: u64) -> UpdateRecord {
        let losses = vec![(Slot(0), 0.5), (Slot(1), step as f32)];
        UpdateRecord { generation: Generation::default(), step: Step(step), losses }
    }

    fn rows_of(steps: impl IntoIterator<Item = u64>) -> String {
        steps.into_iter().map(|step| format!("{step},0,0.5\n{step},1,{step}\n")).collect()
    }

    /// What becomes of a file with these rows, before a checkpoint of step 6, if the updates of
    /// these steps are found elsewhere.
    fn rebuilt(rows: &str, found: &[u64]) -> (u64, String) {
        let disk = TestDisk::new(Bug::None, None);
        let path = PathBuf::from(LOGDIR).join(LOSSES_FILE);
        disk.write(&path, format!("step,slot,loss\n{rows}").as_bytes()).unwrap();
        let updates: Vec<_> = found.iter().copied().map(update).collect();
        let find = move |_: Range<Step>| Ok(updates.clone());
        let state = LossesState::look(&disk, Path::new(LOGDIR), Step(6), 2, &find).unwrap();
        if let Some(rebuilt) = &state.rebuilt {
            rebuilt.publish(&disk, Path::new(LOGDIR)).unwrap();
        }
        let text = String::from_utf8(disk.read(&path).unwrap()).unwrap();
        (state.complete_below.0, text.strip_prefix("step,slot,loss\n").unwrap().to_owned())
    }

    #[test]
    fn rows_that_are_missing_at_the_start_the_end_or_between_come_back() {
        for rows in ["", "0,0,0.5\n", &rows_of(0..3), &rows_of(3..6), &rows_of([0, 1, 4])] {
            assert_eq!(rebuilt(rows, &[0, 1, 2, 3, 4, 5]), (6, rows_of(0..6)), "{rows}");
        }
        let later = rows_of([0, 4, 5, 6, 7]);
        assert_eq!(rebuilt(&later, &[1, 2, 3, 4, 5]), (8, rows_of(0..8)), "later rows stay");
    }

    #[test]
    fn what_is_not_found_stays_missing() {
        assert_eq!(rebuilt(&rows_of(0..2), &[4, 5]), (2, rows_of(0..2)));
        assert_eq!(rebuilt(&rows_of(0..2), &[2, 3]), (4, rows_of(0..4)));
        assert_eq!(rebuilt(&rows_of(0..6), &[]), (6, rows_of(0..6)), "nothing is missing");
    }
}
