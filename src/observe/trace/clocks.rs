//! Lays the clocks of several machines side by side, as far as messages tell.
//!
//! A message comes after it was sent. Where the wall clocks of two lives say otherwise, the later
//! one is moved into the middle of what their messages allow; where they do not, they are believed.

use std::collections::{BTreeMap, VecDeque};

use super::messages::Delivery;
use super::run::Run;

/// No clock is believed beyond, so that differences of differences are numbers: 2043.
const LATEST: i64 = i64::MAX / 4;

/// What is to be added to the wall clock of each life, in nanoseconds.
pub(super) fn corrections(run: &Run, deliveries: &[Delivery]) -> Vec<i64> {
    // By how much messages from the first life to the second came later than they were sent, at
    // least: less than nothing, if their clocks differ.
    let mut least: BTreeMap<(usize, usize), i64> = BTreeMap::new();
    for Delivery { sent, received, .. } in deliveries {
        let took = time(run, received.life, received.event) - time(run, sent.life, sent.event);
        let least = least.entry((sent.life, received.life)).or_insert(took);
        *least = took.min(*least);
    }
    let mut corrections: Vec<Option<i64>> = vec![None; run.lives.len()];
    for first in 0..run.lives.len() {
        if corrections[first].is_some() {
            continue;
        }
        corrections[first] = Some(0);
        let mut reached = VecDeque::from([first]);
        while let Some(known) = reached.pop_front() {
            let base = corrections[known].expect("it was reached");
            for (life, found) in corrections.iter_mut().enumerate() {
                let (there, back) = (least.get(&(known, life)), least.get(&(life, known)));
                if found.is_none() && (there.is_some() || back.is_some()) {
                    *found = Some(correction(base, there.copied(), back.copied()));
                    reached.push_back(life);
                }
            }
        }
    }
    corrections.into_iter().map(|correction| correction.expect("each was reached")).collect()
}

/// That of a life of which messages came so much later than they were sent by a life that has the
/// correction `base`, and the other way.
fn correction(base: i64, there: Option<i64>, back: Option<i64>) -> i64 {
    let (lowest, highest) = (there.map(|took| base - took), back.map(|took| base + took));
    let fits =
        lowest.is_none_or(|lowest| lowest <= 0) && highest.is_none_or(|highest| highest >= 0);
    match (lowest, highest) {
        _ if fits => 0,
        (Some(lowest), Some(highest)) => lowest.midpoint(highest),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => base,
    }
}

/// By the wall clock of a life, in nanoseconds since 1970.
pub(super) fn time(run: &Run, life: usize, event: usize) -> i64 {
    let life = &run.lives[life];
    let at = life.header.origin.saturating_add(life.events[event].at);
    i64::try_from(at.as_nanos()).unwrap_or(i64::MAX).min(LATEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_believed_until_a_message_comes_before_it_was_sent() {
        assert_eq!(correction(0, Some(5), Some(3)), 0);
        // The one is 100 behind: what comes there seems to come before it was sent.
        assert_eq!(correction(0, Some(-95), Some(105)), 100);
        assert_eq!(correction(0, Some(-95), None), 95);
        assert_eq!(correction(0, None, Some(-95)), -95);
        // Beside one that was moved, one that was right stays where it is, if it can.
        assert_eq!(correction(100, Some(105), Some(-95)), 0);
    }
}
