//! Fuzz target for a losses file, which may be torn, damaged or written by another program.

use std::path::Path;
use std::sync::Arc;

use super::{LossLog, read_from, rows};
use crate::disk::Disk as _;
use crate::disk::test_disk::{Bug, TestDisk};
use crate::losses::error::{LOSSES_FILE, LossesError};
use unisono_core::ids::{Cut, Generation, Slot, Step};
use unisono_core::protocol::UpdateRecord;

/// Opens a losses file and continues it, as a chief does. Also reads it as an audit does.
pub fn losses(bytes: &[u8]) -> bool {
    let disk = TestDisk::new(Bug::None, None);
    let path = Path::new(LOSSES_FILE);
    disk.write(path, bytes).expect("there is space");
    let whole = read_from(&disk, path);
    let (mut log, damage) = match LossLog::open(Arc::new(Arc::clone(&disk)), path, 2) {
        Ok(opened) => opened,
        Err(error) => {
            let _ = error.to_string();
            assert!(matches!(whole, Err(LossesError::Foreign { .. })), "it is of another program");
            assert_eq!(disk.read(path).expect("it is there"), bytes, "and is left alone");
            return false;
        }
    };
    assert_eq!(disk.read(path).expect("it is there"), bytes, "an open changes nothing");
    log.flush().expect("there is space");
    let kept = disk.read(path).expect("it is there");
    let rows = read_from(&disk, path).expect("what is kept is whole");
    if let Ok(whole) = &whole {
        assert!(damage.is_none() && kept == bytes && same(whole, &rows), "a good file is kept");
    } else {
        assert!(rows::HEADER.as_bytes().starts_with(bytes) || bytes.starts_with(&kept));
    }
    if let Some((step, slot, loss)) = rows.last().copied() {
        // A recomputed update replaces the rows of its step and later.
        let generation = Generation::default();
        log.append(&UpdateRecord { cut: Cut { generation, step }, losses: vec![(slot, loss)] })
            .expect("there is space");
        let again = read_from(&disk, path).expect("it is whole");
        let n_before = rows.iter().position(|row| row.0 >= step).expect("the last one");
        assert!(same(&again[..n_before], &rows[..n_before]));
        assert!(same(&again[n_before..], &[(step, slot, loss)]));
    }
    whole.is_ok()
}

/// Compares rows bit by bit, but all NaNs count as equal.
fn same(one: &[(Step, Slot, f32)], other: &[(Step, Slot, f32)]) -> bool {
    let exact = |&(step, slot, loss): &(Step, Slot, f32)| {
        (step, slot, if loss.is_nan() { f32::NAN } else { loss }.to_bits())
    };
    one.iter().map(exact).eq(other.iter().map(exact))
}

#[cfg(test)]
use crate::corpus::Seed;

#[cfg(test)]
pub(crate) fn losses_seeds() -> Vec<Seed> {
    let three = "step,slot,loss\n0,0,2.30258512\n0,2,0.5\n1,0,1e-07\n1,1,nan\n2,0,inf\n2,1,-0\n";
    vec![
        Seed::new("three", three),
        Seed::new("none", "step,slot,loss\n"),
        Seed::new("refused-torn", &three[..three.len() - 3]),
        Seed::new("refused-damaged", three.replace("1,1,nan", "1;1,nan")),
        Seed::new("refused-no-step", "step,slot,loss\n9223372036854775808,0,2.3\n"),
        Seed::new("refused-foreign", "epoch,loss\n0,2.3\n"),
        Seed::new("refused-torn-header", "step,slot"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Corpus;

    #[test]
    fn losses_target_survives_the_corpus() {
        Corpus::of("losses", losses_seeds()).survives(losses);
    }
}
