//! Checks that a losses file has all rows before a checkpoint, and takes missing rows from another
//! source.

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

/// A function that finds the losses of a range of updates in another source, such as the ledgers.
///
/// If the source has none of these losses, the function returns the reason. Otherwise the result
/// may lack some updates of the range, and may contain updates outside the range.
pub type FindLosses = dyn Fn(Range<Step>) -> Result<Vec<UpdateRecord>, String> + Send;

/// The result of checking whether the losses of a logdir are complete.
#[derive(Debug)]
pub struct LossesState {
    /// Every update below this step has all its rows, in the file or in `rebuilt`.
    pub complete_below: Step,
    /// The losses file with rows that were added from another source; `None` if no row was added.
    pub rebuilt: Option<Rebuilt>,
    /// The reason why rows before the checkpoint are still missing; `None` if no row is missing.
    pub why_missing: Option<String>,
}

/// A losses file to which missing rows were added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// First step whose rows were added.
    pub from: Step,
    /// Last step whose rows were added.
    pub to: Step,
    text: String,
}

impl LossesState {
    /// Checks whether all losses before a checkpoint of step `needed` are available. Calls `find`
    /// for losses that are missing from the losses file. Changes no file.
    ///
    /// # Errors
    /// If `losses.csv` cannot be read, or is not a losses file.
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
    /// Replaces the losses file, atomically and durably.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn publish(&self, disk: &dyn Disk, dir: &Path) -> Result<(), DiskError> {
        let bytes = self.text.as_bytes();
        Publication { dir, name: LOSSES_FILE, writer: "rebuilt", bytes }.publish(disk).map(|_| ())
    }
}

/// Returns the bytes of a losses file; `None` if the file does not exist, or if a crash interrupted
/// its creation.
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

/// Adds the updates in `found`, which come from another source, to the rows of a losses file.
/// Ignores the updates before step `from`. Returns the new text, and the first step that is still
/// missing.
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
    for update in found.into_iter().filter(|update| update.cut.step >= from) {
        // An update in `found` replaces the file's rows of the same step, because a crash may have
        // torn these rows.
        updates.insert(update.cut.step, rows::encode(&update));
    }
    // Find the first gap in the steps, counted from 0.
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
    use unisono_core::ids::Cut;
    use unisono_core::ids::{Generation, Slot};

    const LOGDIR: &str = "/logdir";

    fn update(step: u64) -> UpdateRecord {
        let losses = vec![(Slot(0), 0.5), (Slot(1), step as f32)];
        UpdateRecord { cut: Cut { generation: Generation::default(), step: Step(step) }, losses }
    }

    fn rows_of(steps: impl IntoIterator<Item = u64>) -> String {
        steps.into_iter().map(|step| format!("{step},0,0.5\n{step},1,{step}\n")).collect()
    }

    /// Rebuilds a losses file that has these rows, for a checkpoint of step 6. The other source has
    /// the updates of the steps `found`. Returns the step below which all losses are available, and
    /// the rows of the rebuilt file.
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
    fn rows_missing_at_the_start_the_end_or_in_between_are_restored() {
        for rows in ["", "0,0,0.5\n", &rows_of(0..3), &rows_of(3..6), &rows_of([0, 1, 4])] {
            assert_eq!(rebuilt(rows, &[0, 1, 2, 3, 4, 5]), (6, rows_of(0..6)), "{rows}");
        }
        let later = rows_of([0, 4, 5, 6, 7]);
        assert_eq!(rebuilt(&later, &[1, 2, 3, 4, 5]), (8, rows_of(0..8)), "later rows stay");
    }

    #[test]
    fn rows_that_are_not_found_stay_missing() {
        assert_eq!(rebuilt(&rows_of(0..2), &[4, 5]), (2, rows_of(0..2)));
        assert_eq!(rebuilt(&rows_of(0..2), &[2, 3]), (4, rows_of(0..4)));
        assert_eq!(rebuilt(&rows_of(0..6), &[]), (6, rows_of(0..6)), "nothing is missing");
    }
}
