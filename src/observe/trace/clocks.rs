//! Aligns the clocks of several machines as far as messages allow.
//!
//! A message is received after it was sent. If the wall clocks of two incarnations contradict this
//! order, the clock of the second incarnation is moved to the middle of the range that the messages
//! between the incarnations allow. All other clocks are trusted.

use std::collections::{BTreeMap, VecDeque};

use super::messages::Delivery;
use super::run::Run;

/// The latest accepted time, in nanoseconds since 1970 (year 2043). Because of this limit,
/// differences between differences of times cannot overflow.
const LATEST: i64 = i64::MAX / 4;

/// Returns the correction of each incarnation's wall clock, in nanoseconds.
pub(super) fn corrections(run: &Run, deliveries: &[Delivery]) -> Vec<i64> {
    // Minimum delay of messages from the first to the second incarnation, measured with both
    // clocks. The delay is negative if the clocks differ enough.
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
        // In each group of incarnations that are connected by messages, the first incarnation keeps
        // its clock. The other clocks are corrected with these messages.
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

/// Returns the correction of a second incarnation, given the correction `base` of the first
/// incarnation. `there` is the minimum delay of messages from the first incarnation to the second,
/// and `back` is the minimum delay in the other direction.
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

/// Returns the time of an event by the wall clock of its incarnation, in nanoseconds since 1970.
pub(super) fn time(run: &Run, life: usize, event: usize) -> i64 {
    let life = &run.lives[life];
    let at = life.header.origin.saturating_add(life.events[event].at);
    i64::try_from(at.as_nanos()).unwrap_or(i64::MAX).min(LATEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_trusted_unless_a_message_arrives_before_it_was_sent() {
        assert_eq!(correction(0, Some(5), Some(3)), 0);
        // The second clock is 100 behind, so messages to the second incarnation seem to be received
        // before they were sent.
        assert_eq!(correction(0, Some(-95), Some(105)), 100);
        assert_eq!(correction(0, Some(-95), None), 95);
        assert_eq!(correction(0, None, Some(-95)), -95);
        // The first clock has a correction of 100. With this correction, all messages agree with
        // the second clock, so the second clock is not corrected.
        assert_eq!(correction(100, Some(105), Some(-95)), 0);
    }
}
