//! Scans a losses file: finds the updates that have all their rows, and the first damaged line.

use super::rows;
use unisono_core::ids::Step;

/// Result of scanning a file that begins with the header. The default value is the result for a
/// missing file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    /// Length in bytes of the header and of the rows before the first line that is not a whole row.
    pub(super) len: u64,
    /// The step after the largest step of all rows; 0 if there are no rows.
    pub(super) next: Step,
    /// Every update below this step has all its rows.
    pub(super) complete_below: Step,
    /// Number of the first line that has a line end but is not a row.
    pub(super) damaged_line: Option<usize>,
}

impl Survey {
    /// Scans a file that begins with the header. Each update of the present run has `n_losses`
    /// rows.
    pub(super) fn of(bytes: &[u8], n_losses: usize) -> Self {
        let mut survey = Self { len: rows::HEADER.len() as u64, ..Self::default() };
        // From step 0 to this step, the file has rows of every step, in order.
        let mut last_in_order: Option<Step> = None;
        let (mut n_rows, mut n_rows_before) = (0, None);
        for line in rows::lines(bytes).skip(1) {
            let Some((step, ..)) =
                rows::decode(&bytes[line.range.clone()]).filter(|_| line.is_whole)
            else {
                // A last line without a line end is not damage, because a crash can tear it.
                survey.damaged_line = line.is_whole.then_some(line.number);
                break;
            };
            survey.len = line.range.end as u64 + 1;
            survey.next = survey.next.max(step.next());
            if last_in_order == Some(step) {
                n_rows += 1;
            } else if step == last_in_order.map_or(Step(0), Step::next) {
                // All rows of an update are written at once. So a row of the next update proves
                // that this update has all its rows.
                survey.complete_below = step;
                n_rows_before = last_in_order.map(|_| n_rows);
                (last_in_order, n_rows) = (Some(step), 1);
            }
        }
        // The last update may be of a run with other settings. It then has as many rows as the
        // update before it.
        let wanted = n_rows_before.map_or(n_losses, |before| n_losses.min(before));
        if let Some(last) = last_in_order.filter(|_| n_rows >= wanted) {
            survey.complete_below = last.next();
        }
        survey
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete_below(rows: &str) -> u64 {
        Survey::of(format!("step,slot,loss\n{rows}").as_bytes(), 2).complete_below.0
    }

    #[test]
    fn update_counts_as_complete_only_if_no_row_is_missing_up_to_its_end() {
        for (rows, expected) in [
            ("", 0),
            ("0,0,1\n", 0),
            ("0,0,1\n0,1,1\n", 1),
            ("0,0,1\n0,1,1\n1,0,1\n", 1),
            ("0,0,1\n0,1,1\n1,0,1\n1,1,1\n", 2),
            ("0,0,1\n0,1,1\n1,0,1\n1,1", 1),
            ("0,0,1\n0,1,1\n2,0,1\n2,1,1\n", 1),
            ("1,0,1\n1,1,1\n", 0),
            ("0,0,1\n0,1,1\n1;0,1\n1,1,1\n", 1),
            // In these files, a run with other settings wrote updates with one row or three rows.
            ("0,0,1\n1,0,1\n", 2),
            ("0,0,1\n0,1,1\n0,2,1\n1,0,1\n1,1,1\n", 2),
            ("0,0,1\n0,1,1\n0,2,1\n1,0,1\n", 1),
        ] {
            assert_eq!(complete_below(rows), expected, "{rows}");
        }
    }
}
