//! Makes a ledger's lines out of what a ps takes and does. No files, no clock.
//!
//! It believes what it sees happen, and asks the node nothing: the version and the worker of a
//! gradient are those of the message that brought it, not those that the update is called by.

use std::collections::BTreeMap;

use super::line::{
    Checksum, ChiefCame, FORMAT, GradientDropped, Header, Line, Loss, Push, StateHash,
    StateRestored, UpdateMade, UsedSlot, Why,
};
use unisono_core::floats::Floats;
use unisono_core::ids::{Cut, Generation, Incarnation, LinkId, Slot, Step, TaskId};
use unisono_core::protocol::{
    ClusterConfig, Done, Effect, Hello, Input, Job, Message, NetworkEvent, Report, ShardState,
    Verdict,
};

/// Watches one life of a ps.
#[derive(Debug)]
pub struct Recorder {
    incarnation: Incarnation,
    /// Who is at the other end of each link.
    callers: BTreeMap<LinkId, Hello>,
    input: Taken,
    /// The gradients that the shard holds, by the slot that they were pushed as. Only a bug lets it
    /// hold two of one.
    held: BTreeMap<Slot, Vec<Held>>,
    /// The update that is being computed.
    begun: Option<UpdateMade>,
    generation: Option<Generation>,
    chief: Option<Incarnation>,
}

/// A gradient, with what its worker said of it.
#[derive(Clone, Debug)]
struct Held {
    push: Push,
    cut: Cut,
    gradient: Floats,
}

/// What a report calls a gradient that was not used.
type Named = (Step, Slot, TaskId);

/// What is to be remembered of an input until it is seen what became of it.
#[derive(Debug)]
enum Taken {
    Pushed { link: LinkId, slot: Slot, held: Held },
    Restore { link: LinkId, cut: Cut, state: ShardState },
    Updated { state: ShardState },
    Other,
}

impl Recorder {
    /// For a life of ps number `index`, with its first line.
    #[must_use]
    pub fn new(index: u32, incarnation: Incarnation, config: &ClusterConfig) -> (Self, Line) {
        let header = Header {
            format: FORMAT,
            ps: index,
            incarnation,
            n_ps: config.n_ps,
            replicas_to_aggregate: config.sync.replicas_to_aggregate,
            total_num_replicas: config.sync.total_num_replicas,
            training_steps: config.training_steps,
            settings: config.settings.clone(),
        };
        let recorder = Self {
            incarnation,
            callers: BTreeMap::new(),
            input: Taken::Other,
            held: BTreeMap::new(),
            begun: None,
            generation: None,
            chief: None,
        };
        (recorder, Line::Header(header))
    }

    /// The ps is about to take an input.
    pub fn before(&mut self, input: &Input) {
        self.input = match input {
            Input::Network(NetworkEvent::Received { link, message }) => {
                self.on_received(*link, message)
            }
            Input::Network(NetworkEvent::Closed { link, .. }) => {
                self.callers.remove(link);
                Taken::Other
            }
            Input::Computed(Done::Update { state, .. }) => Taken::Updated { state: state.clone() },
            _ => Taken::Other,
        };
    }

    fn on_received(&mut self, link: LinkId, message: &Message) -> Taken {
        match message {
            Message::Hello(hello) => {
                self.callers.insert(link, hello.clone());
                Taken::Other
            }
            Message::Push { cut: Cut { generation, step }, slot, loss, gradient, .. } => {
                let Some(caller) = self.callers.get(&link) else { return Taken::Other };
                let push = Push {
                    worker: caller.from.index,
                    incarnation: caller.incarnation,
                    slot: None,
                    generation: None,
                    version: *step,
                    loss: Loss(*loss),
                };
                let cut = Cut { generation: *generation, step: *step };
                let held = Held { push, cut, gradient: gradient.clone() };
                Taken::Pushed { link, slot: *slot, held }
            }
            Message::Restore { cut, state } => {
                let cut = *cut;
                Taken::Restore { link, cut, state: state.clone() }
            }
            _ => Taken::Other,
        }
    }

    /// The ps has taken it, and wants this done: the lines that come of it, in order. They are to
    /// be written before any of the effects is carried out.
    pub fn after(&mut self, effects: &[Effect]) -> Vec<Line> {
        let taken = std::mem::replace(&mut self.input, Taken::Other);
        let mut lines = Vec::new();
        match &taken {
            Taken::Restore { link, cut, state } => {
                lines.extend(self.on_restore(*link, *cut, state, effects));
            }
            Taken::Updated { state } => lines.extend(self.on_updated(state, effects)),
            // It is held until it is seen to be dropped.
            Taken::Pushed { link, slot, held } if !is_closed(*link, effects) => {
                self.held.entry(*slot).or_default().push(held.clone());
            }
            Taken::Pushed { .. } | Taken::Other => {}
        }
        for effect in effects {
            match effect {
                Effect::Report(Report::Dropped { step, slot, worker, verdict }) => {
                    let named = (*step, *slot, *worker);
                    lines.extend(self.on_dropped(named, *verdict, effects));
                }
                Effect::Compute(Job::Update { cut, state, gradients }) => {
                    let cut = *cut;
                    self.begun = Some(self.begin(cut, state, gradients));
                    let held = std::mem::take(&mut self.held);
                    lines.extend(self.uncounted(&held, gradients));
                }
                Effect::Send { link, message: Message::Welcome { state, .. } } => {
                    lines.extend(self.on_welcome(*link, *state));
                }
                Effect::Close { link } => {
                    self.callers.remove(link);
                }
                _ => {}
            }
        }
        lines
    }

    /// A state was taken in if that is confirmed, and was new if the generation is.
    fn on_restore(
        &mut self,
        from: LinkId,
        cut: Cut,
        state: &ShardState,
        effects: &[Effect],
    ) -> Option<Line> {
        let confirms = |effect: &Effect| {
            matches!(effect, Effect::Send { link, message: Message::Restored { generation } }
                if *link == from && *generation == cut.generation)
        };
        if self.generation == Some(cut.generation) || !effects.iter().any(confirms) {
            return None;
        }
        self.generation = Some(cut.generation);
        self.held.clear();
        self.begun = None;
        let chief = self.callers.get(&from);
        Some(Line::Restored(StateRestored {
            incarnation: self.incarnation,
            generation: cut.generation,
            step: cut.step,
            chief: chief.map(|hello| hello.incarnation),
            data: chief.and_then(|hello| hello.data.clone()),
            after: StateHash::of(state),
        }))
    }

    /// Rule 5: what is not used is counted, and its worker told.
    fn on_dropped(
        &mut self,
        named: Named,
        verdict: Option<Verdict>,
        effects: &[Effect],
    ) -> Option<Line> {
        let (step, slot, worker) = named;
        let of_slot = self.held.get_mut(&slot)?;
        let is_it = |held: &Held| (held.cut.step, held.push.worker) == (step, worker.index);
        // A copy comes after the first.
        let held = of_slot.remove(of_slot.iter().rposition(is_it)?);
        let tells = |effect: &Effect| match effect {
            Effect::Send { message: Message::PushReply { verdict: told, .. }, .. } => {
                Some(*told) == verdict
            }
            _ => false,
        };
        let why = match verdict {
            Some(Verdict::Duplicate) => Why::Duplicate,
            Some(Verdict::Stale) => Why::Stale,
            Some(Verdict::Fenced) => Why::Fenced,
            None => Why::Surplus,
        };
        Some(self.dropped(slot, &held, why, effects.iter().any(tells)))
    }

    /// What the shard held, and neither used nor counted.
    fn uncounted(&self, held: &BTreeMap<Slot, Vec<Held>>, used: &[(Slot, Floats)]) -> Vec<Line> {
        let mut lines = Vec::new();
        for (slot, held) in held.iter().flat_map(|(slot, all)| all.iter().map(|held| (*slot, held)))
        {
            let is_it = |(_, gradient): &(Slot, Floats)| gradient.same_buffer(&held.gradient);
            // Nearly always it is in its place; with a thousand slots it matters not to look at all.
            let place = used.binary_search_by_key(&slot, |(slot, _)| *slot);
            if !place.is_ok_and(|place| is_it(&used[place])) && !used.iter().any(is_it) {
                lines.push(self.dropped(slot, held, Why::Uncounted, false));
            }
        }
        lines
    }

    fn dropped(&self, slot: Slot, held: &Held, why: Why, told: bool) -> Line {
        let Cut { generation, step } = held.cut;
        let (incarnation, worker) = (self.incarnation, held.push.worker);
        let dropped = GradientDropped { incarnation, generation, step, slot, worker, why, told };
        Line::Dropped(dropped)
    }

    fn begin(&self, cut: Cut, state: &ShardState, gradients: &[(Slot, Floats)]) -> UpdateMade {
        let used = |(slot, gradient): &(Slot, Floats)| {
            let is_it = |held: &&Held| held.gradient.same_buffer(gradient);
            let of_slot = |slot: &Slot| self.held.get(slot).into_iter().flatten().find(is_it);
            let named = of_slot(slot).map(|held| (*slot, held));
            // Only a bug lets a gradient count as that of another slot.
            let held =
                named.or_else(|| self.held.keys().find_map(|slot| Some((*slot, of_slot(slot)?))));
            let push = held.map(|(pushed_as, held)| Push {
                slot: Some(pushed_as).filter(|pushed_as| pushed_as != slot),
                generation: Some(held.cut.generation)
                    .filter(|generation| *generation != cut.generation),
                ..held.push.clone()
            });
            UsedSlot { slot: *slot, push, checksum: Checksum(gradient.checksum()) }
        };
        let before = StateHash::of(state);
        UpdateMade {
            incarnation: self.incarnation,
            generation: cut.generation,
            step: cut.step,
            slots: gradients.iter().map(used).collect(),
            before,
            after: before,
        }
    }

    fn on_updated(&mut self, state: &ShardState, effects: &[Effect]) -> Option<Line> {
        let made = effects.iter().find_map(|effect| match effect {
            Effect::Report(Report::Updated { cut, .. }) => Some(*cut),
            _ => None,
        })?;
        let begun = self.begun.take_if(|begun| begun.cut() == made)?;
        Some(Line::Update(UpdateMade { after: StateHash::of(state), ..begun }))
    }

    fn on_welcome(&mut self, link: LinkId, finds: Option<Cut>) -> Option<Line> {
        let caller = self.callers.get(&link).filter(|caller| caller.from == TaskId::CHIEF)?;
        let chief = caller.incarnation;
        if self.chief == Some(chief) {
            return None;
        }
        self.chief = Some(chief);
        Some(Line::Chief(ChiefCame { incarnation: self.incarnation, chief, finds }))
    }
}

/// Whether a session ends: its worker said what no honest one would.
fn is_closed(link: LinkId, effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Close { link: other } if *other == link))
}

#[cfg(test)]
mod tests {
    use super::*;
    use unisono_core::protocol::{Limits, PROTOCOL_VERSION, Recorded, Settings};
    use unisono_core::train_config::Sync;

    const GENERATION: Generation = Generation { opener: Incarnation(7), number: 1 };

    fn cut(step: u64) -> Cut {
        Cut { generation: GENERATION, step: Step(step) }
    }

    fn recorder() -> Recorder {
        let config = ClusterConfig {
            n_ps: 1,
            sync: Sync { replicas_to_aggregate: 2, total_num_replicas: 3 },
            training_steps: Step(9),
            settings: Settings::default(),
            data: None,
            limits: Limits::default(),
        };
        let (mut recorder, _) = Recorder::new(0, Incarnation(100), &config);
        for worker in 0..3 {
            let hello = Hello {
                version: PROTOCOL_VERSION,
                from: TaskId::worker(worker),
                incarnation: Incarnation(50 + u64::from(worker)),
                to: TaskId::ps(0),
                settings: Settings::default(),
                data: Some("d0".to_owned()),
            };
            told(&mut recorder, link(worker), Message::Hello(hello), &[]);
        }
        recorder
    }

    fn link(worker: u32) -> LinkId {
        LinkId(u64::from(worker))
    }

    /// What the recorder writes when a ps hears this and does that.
    fn told(
        recorder: &mut Recorder,
        link: LinkId,
        message: Message,
        effects: &[Effect],
    ) -> Vec<String> {
        recorder.before(&Input::Network(NetworkEvent::Received { link, message }));
        texts(recorder.after(effects))
    }

    fn texts(lines: Vec<Line>) -> Vec<String> {
        lines.iter().map(Line::to_text).collect()
    }

    /// The gradient of a worker's first slot.
    fn push(worker: u32, step: u64, gradient: &Floats) -> Message {
        Message::Push {
            cut: Cut { generation: GENERATION, step: Step(step) },
            slot: Slot(worker),
            loss: 0.5,
            recorded: Recorded::default(),
            gradient: gradient.clone(),
        }
    }

    fn dropped(worker: u32, step: u64, verdict: Option<Verdict>) -> Effect {
        let (step, slot, worker) = (Step(step), Slot(worker), TaskId::worker(worker));
        Effect::Report(Report::Dropped { step, slot, worker, verdict })
    }

    fn reply(worker: u32, step: u64, verdict: Verdict) -> Effect {
        let (generation, step, slot) = (GENERATION, Step(step), Slot(worker));
        let message = Message::PushReply { cut: Cut { generation, step }, slot, verdict };
        Effect::Send { link: link(worker), message }
    }

    fn state(value: f32) -> ShardState {
        ShardState { parameters: vec![value].into(), ..ShardState::default() }
    }

    fn compute(step: u64, gradients: &[(u32, &Floats)]) -> Effect {
        let Cut { generation, step } = cut(step);
        let gradients = gradients.iter().map(|(slot, of)| (Slot(*slot), (*of).clone())).collect();
        Effect::Compute(Job::Update { cut: Cut { generation, step }, state: state(1.0), gradients })
    }

    /// The lines of an update that is made.
    fn updated(recorder: &mut Recorder, step: u64) -> Vec<String> {
        let Cut { generation, step } = cut(step);
        recorder.before(&Input::Computed(Done::Update {
            cut: Cut { generation, step },
            state: state(2.0),
        }));
        let report = Report::Updated { cut: Cut { generation, step }, slots: Vec::new() };
        texts(recorder.after(&[Effect::Report(report)]))
    }

    fn gradients() -> [Floats; 3] {
        [0.1, 0.2, 0.3].map(|value| vec![value].into())
    }

    #[test]
    fn an_update_is_a_line_once_it_is_made_and_says_who_pushed_what() {
        let (mut recorder, [zero, one, _]) = (recorder(), gradients());
        assert!(told(&mut recorder, link(1), push(1, 4, &one), &[]).is_empty());
        let starts = compute(4, &[(0, &zero), (1, &one)]);
        assert!(told(&mut recorder, link(0), push(0, 4, &zero), &[starts]).is_empty());
        insta::assert_snapshot!(updated(&mut recorder, 4).join("\n"), @r#"{"update":{"incarnation":100,"generation":{"opener":7,"number":1},"step":4,"slots":[{"slot":0,"push":{"worker":0,"incarnation":50,"version":4,"loss":"0.5"},"checksum":"530ed30c"},{"slot":1,"push":{"worker":1,"incarnation":51,"version":4,"loss":"0.5"},"checksum":"bb9dda01"}],"before":"69bbd40d","after":"bb79d824"}}"#);
        assert!(updated(&mut recorder, 4).is_empty(), "it is made once");
    }

    #[test]
    fn what_is_not_used_is_a_line_that_says_why_and_whether_its_worker_was_told() {
        let (mut recorder, [zero, one, two]) = (recorder(), gradients());
        let stale = Some(Verdict::Stale);
        let mut lines = Vec::new();
        let answered = [reply(0, 3, Verdict::Stale), dropped(0, 3, stale)];
        lines.extend(told(&mut recorder, link(0), push(0, 3, &zero), &answered));
        lines.extend(told(&mut recorder, link(0), push(0, 3, &zero), &[dropped(0, 3, stale)]));
        // With another answer it is not told either.
        let wrong = [reply(0, 3, Verdict::Fenced), dropped(0, 3, stale)];
        lines.extend(told(&mut recorder, link(0), push(0, 3, &zero), &wrong));
        // What was held, until others were chosen.
        lines.extend(told(&mut recorder, link(1), push(1, 4, &one), &[]));
        lines.extend(told(&mut recorder, link(2), push(2, 4, &two), &[]));
        let chosen = [dropped(1, 4, None), compute(4, &[(0, &zero), (2, &two)])];
        lines.extend(told(&mut recorder, link(0), push(0, 4, &zero), &chosen));
        insta::assert_snapshot!(lines.join("\n"), @r#"
        {"dropped":{"incarnation":100,"generation":{"opener":7,"number":1},"step":3,"slot":0,"worker":0,"why":"stale","told":true}}
        {"dropped":{"incarnation":100,"generation":{"opener":7,"number":1},"step":3,"slot":0,"worker":0,"why":"stale","told":false}}
        {"dropped":{"incarnation":100,"generation":{"opener":7,"number":1},"step":3,"slot":0,"worker":0,"why":"stale","told":false}}
        {"dropped":{"incarnation":100,"generation":{"opener":7,"number":1},"step":4,"slot":1,"worker":1,"why":"surplus","told":false}}
        "#);
    }

    #[test]
    fn what_is_held_and_then_neither_used_nor_counted_is_a_line_too() {
        let (mut recorder, [zero, one, two]) = (recorder(), gradients());
        told(&mut recorder, link(1), push(1, 4, &one), &[]);
        told(&mut recorder, link(2), push(2, 4, &two), &[]);
        let starts = compute(4, &[(0, &zero), (2, &two)]);
        let lines = told(&mut recorder, link(0), push(0, 4, &zero), &[starts]);
        insta::assert_snapshot!(lines.join("\n"), @r#"{"dropped":{"incarnation":100,"generation":{"opener":7,"number":1},"step":4,"slot":1,"worker":1,"why":"uncounted","told":false}}"#);
    }

    #[test]
    fn a_gradient_that_counts_as_what_it_is_not_is_told() {
        let (mut recorder, [zero, one, two]) = (recorder(), gradients());
        told(&mut recorder, link(0), push(0, 3, &zero), &[]);
        told(&mut recorder, link(1), push(1, 4, &one), &[]);
        // Slot 0 is of the version before, slot 2 is a second slot 1, slot 3 was never pushed.
        told(&mut recorder, link(1), push(1, 4, &two), &[]);
        let used = [(0, &zero), (1, &one), (2, &two), (3, &vec![0.4].into())];
        told(
            &mut recorder,
            link(1),
            push(1, 4, &two.to_vec().into()),
            &[dropped(1, 4, Some(Verdict::Duplicate)), compute(4, &used)],
        );
        insta::assert_snapshot!(updated(&mut recorder, 4).join("\n"), @r#"{"update":{"incarnation":100,"generation":{"opener":7,"number":1},"step":4,"slots":[{"slot":0,"push":{"worker":0,"incarnation":50,"version":3,"loss":"0.5"},"checksum":"530ed30c"},{"slot":1,"push":{"worker":1,"incarnation":51,"version":4,"loss":"0.5"},"checksum":"bb9dda01"},{"slot":2,"push":{"worker":1,"incarnation":51,"slot":1,"version":4,"loss":"0.5"},"checksum":"0a3e73f1"},{"slot":3,"push":null,"checksum":"405e20f8"}],"before":"69bbd40d","after":"bb79d824"}}"#);
    }

    #[test]
    fn a_state_is_a_line_if_it_was_taken_in_and_begins_a_generation() {
        let mut recorder = recorder();
        let restore = |step| {
            let Cut { generation, step } = cut(step);
            Message::Restore { cut: Cut { generation, step }, state: state(1.0) }
        };
        let taken =
            Effect::Send { link: link(0), message: Message::Restored { generation: GENERATION } };
        assert!(told(&mut recorder, link(0), restore(3), &[]).is_empty());
        let lines = told(&mut recorder, link(0), restore(3), std::slice::from_ref(&taken));
        insta::assert_snapshot!(lines.join("\n"), @r#"{"restored":{"incarnation":100,"generation":{"opener":7,"number":1},"step":3,"chief":50,"data":"d0","after":"69bbd40d"}}"#);
        assert!(told(&mut recorder, link(0), restore(3), &[taken]).is_empty());
    }

    #[test]
    fn each_life_of_the_chief_is_a_line_when_it_is_let_in() {
        let mut recorder = recorder();
        let let_in = |link| {
            let (incarnation, state) = (Incarnation(100), Some(cut(5)));
            Effect::Send { link, message: Message::Welcome { incarnation, state } }
        };
        let lines = texts(recorder.after(&[let_in(link(0)), let_in(link(1))]));
        insta::assert_snapshot!(lines.join("\n"), @r#"{"chief":{"incarnation":100,"chief":50,"finds":{"generation":{"opener":7,"number":1},"step":5}}}"#);
        assert!(recorder.after(&[let_in(link(0))]).is_empty());
    }

    #[test]
    fn what_a_closed_link_brought_is_forgotten() {
        let (mut recorder, [zero, one, _]) = (recorder(), gradients());
        told(&mut recorder, link(1), push(1, 4, &one), &[Effect::Close { link: link(1) }]);
        let starts = compute(4, &[(0, &zero)]);
        let lines = told(&mut recorder, link(0), push(0, 4, &zero), &[starts]);
        assert!(lines.is_empty(), "{lines:?}");
    }
}
