//! One self-contained HTML page that shows a run: losses, timeline, critical path, updates.
//!
//! | module | content |
//! |---|---|
//! | [`document`], [`columns`] | the content of the page |
//! | `sources` | creates a document from the files of a logdir |
//! | [`settings`], `rates`, `failure` | parts of a document: settings, speed, the cause of a failure |
//! | `page` | creates HTML from a document |
//!
//! `crate::trace` computes all times.

pub mod columns;
pub mod document;
mod failure;
mod page;
mod rates;
pub mod settings;
mod sources;

/// Default name of the page in a logdir.
pub const REPORT_FILE: &str = "report.html";

pub use columns::Fact;
pub use document::Document;
pub use failure::Failure;
pub use page::page;
pub use sources::{ReportError, of_history, of_logdir};

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::trace::{
        Details, Entry, Event, EventKind, History, LifeHeader, NamedEvent, Run, TracedLife,
        perfetto,
    };
    use unisono_core::ids::{Incarnation, LinkId, Slot, Step, TaskId};

    const TASKS: [TaskId; 3] = [TaskId::ps(0), TaskId::worker(0), TaskId::worker(7)];

    fn entries() -> impl Strategy<Value = Entry> {
        let of = |n: u32| proptest::option::of(0..n);
        let kinds = proptest::sample::select(EventKind::ALL);
        (kinds, of(4), of(3), of(3), of(3), of(3)).prop_map(
            |(kind, step, slot, link, peer, incarnation)| Entry {
                what: NamedEvent {
                    kind,
                    step: step.map(|step| Step(step.into())),
                    slot: slot.map(Slot),
                },
                details: Details {
                    link: link.map(|link| LinkId(link.into())),
                    peer: peer.map(|peer| TASKS[peer as usize]),
                    incarnation: incarnation.map(|it| Incarnation(it.into())),
                    slots: slot.map(Slot).into_iter().collect(),
                    bytes: step.map(u64::from),
                    ..Details::default()
                },
            },
        )
    }

    fn lives() -> impl Strategy<Value = TracedLife> {
        let event = (0..1000_u64, entries(), proptest::collection::vec(entries(), 0..4));
        let events = proptest::collection::vec(event, 0..30);
        let origins = prop_oneof![0..500_u64, Just(u64::MAX)];
        (0..3_usize, 0..3_u64, origins, events).prop_map(
            |(task, incarnation, origin, mut events)| {
                events.sort_by_key(|(at, ..)| *at);
                let event = |(at, input, does)| Event { at: Duration::from_nanos(at), input, does };
                TracedLife {
                    header: LifeHeader {
                        format: 1,
                        task: TASKS[task],
                        incarnation: Incarnation(incarnation),
                        origin: Duration::from_nanos(origin),
                        n_ps: 1,
                        replicas_to_aggregate: 1,
                        total_num_replicas: 1,
                        training_steps: Step(3),
                    },
                    events: events.into_iter().map(event).collect(),
                    cut: None,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn any_trace_has_a_report_without_empty_segments(mut lives in proptest::collection::vec(lives(), 0..6)) {
            lives.sort_by_key(|life| (life.header.task, life.header.incarnation));
            let history = History::of(Run { lives });
            let document = of_history(Document::named("any".to_owned(), false), &history);
            for lane in &document.lanes {
                prop_assert!(lane.length.iter().all(|length| *length > 0));
            }
            prop_assert!(page(&document).len() > 1000);
            let is_whole = perfetto::text(&history).ends_with("]}\n");
            prop_assert!(is_whole);
        }
    }
}
