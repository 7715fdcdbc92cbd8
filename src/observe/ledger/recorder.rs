//! Turns the inputs and effects of a ps into the lines of a ledger. The recorder uses no file and
//! no clock.
//!
//! The recorder observes events and never reads the state of the node. The version and the worker
//! of a gradient come from the push message, even if the state of the node contradicts the message.

use std::collections::BTreeMap;

use super::line::{
    Checksum, ChiefCame, DropReason, FORMAT, GradientDropped, Header, Line, Loss, Push, StateHash,
    StateRestored, UpdateMade, UsedSlot,
};
use unisono_core::floats::Floats;
use unisono_core::host::{Peer, Turn};
use unisono_core::ids::{
    Cut, Generation, Incarnation, Job as TaskKind, LinkId, Slot, Step, TaskId,
};
use unisono_core::protocol::{
    ClusterConfig, Done, Effect, Input, Job, Message, NetworkEvent, Report, ShardState, Verdict,
};

/// Records one incarnation of a ps.
#[derive(Debug, Default)]
pub struct Recorder {
    incarnation: Incarnation,
    /// Gradients that the shard holds, by the slot in their push message. A slot has several
    /// gradients only if the node has a bug.
    held: BTreeMap<Slot, Vec<Held>>,
    /// The update that is being computed.
    begun: Option<UpdateMade>,
    generation: Option<Generation>,
    chief: Option<Incarnation>,
}

/// A gradient and its push message.
#[derive(Clone, Debug)]
struct Held {
    push: Push,
    cut: Cut,
    gradient: Floats,
}

/// Step, slot and worker of a dropped gradient, as the node reported them.
type DroppedGradient = (Step, Slot, TaskId);

impl Recorder {
    /// Creates a recorder for an incarnation of the ps with the number `index`. Also returns the
    /// header of the ledger.
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
        let recorder = Self { incarnation, ..Self::default() };
        (recorder, Line::Header(header))
    }

    /// Returns the lines for one handled input with its effects, in order. The caller must write
    /// the lines before it carries out any of the effects.
    pub fn turn(&mut self, turn: &Turn<'_>) -> Vec<Line> {
        let effects = turn.effects;
        let mut lines = Vec::new();
        match turn.input {
            Input::Network(NetworkEvent::Received { link, message }) => {
                lines.extend(self.on_received(turn, *link, message));
            }
            Input::Computed(Done::Update { state, .. }) => {
                lines.extend(self.on_updated(state, effects));
            }
            _ => {}
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
                    // The update must use every held gradient that the ps has not reported as
                    // dropped. `uncounted` returns a line for each gradient that the update does
                    // not use.
                    let held = std::mem::take(&mut self.held);
                    lines.extend(self.uncounted(&held, gradients));
                }
                Effect::Send { link, message: Message::Welcome { state, .. } } => {
                    lines.extend(self.on_welcome(turn.peer(*link), *state));
                }
                _ => {}
            }
        }
        lines
    }

    fn on_received(&mut self, turn: &Turn<'_>, link: LinkId, message: &Message) -> Option<Line> {
        match message {
            Message::Push { cut, slot, loss, gradient, .. } if !is_closed(link, turn.effects) => {
                let peer = turn.peer(link).filter(|peer| peer.task.job == TaskKind::Worker)?;
                let push = Push {
                    worker: peer.task.index,
                    incarnation: peer.incarnation?,
                    slot: None,
                    generation: None,
                    version: cut.step,
                    loss: Loss(*loss),
                };
                let held = Held { push, cut: *cut, gradient: gradient.clone() };
                // Every gradient is held at first. If the ps dropped this gradient, a
                // `Report::Dropped` among the effects removes it.
                self.held.entry(*slot).or_default().push(held);
                None
            }
            Message::Restore { cut, state } => self.on_restore(turn, link, *cut, state),
            _ => None,
        }
    }

    /// Returns a line if the ps confirmed the state that the chief sent, and the state belongs to a
    /// new generation.
    fn on_restore(
        &mut self,
        turn: &Turn<'_>,
        from: LinkId,
        cut: Cut,
        state: &ShardState,
    ) -> Option<Line> {
        let confirms = |effect: &Effect| {
            matches!(effect, Effect::Send { link, message: Message::Restored { generation } }
                if *link == from && *generation == cut.generation)
        };
        if self.generation == Some(cut.generation) || !turn.effects.iter().any(confirms) {
            return None;
        }
        self.generation = Some(cut.generation);
        // Gradients of the old generation are void, so they are removed.
        self.held.clear();
        self.begun = None;
        let chief = turn.peer(from);
        Some(Line::Restored(StateRestored {
            incarnation: self.incarnation,
            generation: cut.generation,
            step: cut.step,
            chief: chief.and_then(|peer| peer.incarnation),
            data: chief.and_then(|peer| peer.data.clone()),
            after: StateHash::of(state),
        }))
    }

    /// Returns the line for a gradient that the node reported as dropped, as rule 5 requires.
    /// Returns `None` if the recorder holds no such gradient.
    fn on_dropped(
        &mut self,
        named: DroppedGradient,
        verdict: Option<Verdict>,
        effects: &[Effect],
    ) -> Option<Line> {
        let (step, slot, worker) = named;
        let of_slot = self.held.get_mut(&slot)?;
        let is_it = |held: &Held| (held.cut.step, held.push.worker) == (step, worker.index);
        // The search starts from the back, because a duplicate arrives after the gradient that the
        // ps keeps.
        let held = of_slot.remove(of_slot.iter().rposition(is_it)?);
        let tells = |effect: &Effect| match effect {
            Effect::Send { message: Message::PushReply { verdict: told, .. }, .. } => {
                Some(*told) == verdict
            }
            _ => false,
        };
        let why = match verdict {
            Some(Verdict::Duplicate) => DropReason::Duplicate,
            Some(Verdict::Stale) => DropReason::Stale,
            Some(Verdict::Fenced) => DropReason::Fenced,
            None => DropReason::Surplus,
        };
        Some(self.dropped(slot, &held, why, effects.iter().any(tells)))
    }

    /// Returns a line for each held gradient that is neither used nor reported as dropped.
    fn uncounted(&self, held: &BTreeMap<Slot, Vec<Held>>, used: &[(Slot, Floats)]) -> Vec<Line> {
        let mut lines = Vec::new();
        for (slot, held) in held.iter().flat_map(|(slot, all)| all.iter().map(|held| (*slot, held)))
        {
            let is_it = |(_, gradient): &(Slot, Floats)| gradient.same_buffer(&held.gradient);
            // The gradient's own slot is checked first, because the gradient is nearly always
            // there. A scan of a thousand slots for each gradient would be slow.
            let place = used.binary_search_by_key(&slot, |(slot, _)| *slot);
            if !place.is_ok_and(|place| is_it(&used[place])) && !used.iter().any(is_it) {
                lines.push(self.dropped(slot, held, DropReason::Uncounted, false));
            }
        }
        lines
    }

    fn dropped(&self, slot: Slot, held: &Held, why: DropReason, told: bool) -> Line {
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
            // The other slots are searched, too: a gradient can be in a wrong slot only because of
            // a bug, and the ledger must reveal this bug.
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

    fn on_welcome(&mut self, caller: Option<&Peer>, finds: Option<Cut>) -> Option<Line> {
        let chief = caller.filter(|caller| caller.task == TaskId::CHIEF)?.incarnation?;
        if self.chief == Some(chief) {
            return None;
        }
        self.chief = Some(chief);
        Some(Line::Chief(ChiefCame { incarnation: self.incarnation, chief, finds }))
    }
}

/// Returns whether the effects close `link`. The node closes the link of a worker that violates the
/// protocol.
fn is_closed(link: LinkId, effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Close { link: other } if *other == link))
}

#[cfg(test)]
mod tests {
    use super::*;
    use unisono_core::Moment;
    use unisono_core::protocol::{Hello, Limits, PROTOCOL_VERSION, Recorded, Settings};
    use unisono_core::testing::ScriptedTurns;
    use unisono_core::train_config::Sync;

    const GENERATION: Generation = Generation { opener: Incarnation(7), number: 1 };

    fn cut(step: u64) -> Cut {
        Cut { generation: GENERATION, step: Step(step) }
    }

    struct Script {
        recorder: Recorder,
        turns: ScriptedTurns,
    }

    impl Script {
        fn turn(&mut self, input: &Input, effects: &[Effect]) -> Vec<String> {
            let Self { recorder, turns } = self;
            let lines = turns.turn(Moment::default(), input, effects, |turn| recorder.turn(turn));
            lines.iter().map(Line::to_text).collect()
        }
    }

    fn recorder() -> Script {
        let config = ClusterConfig {
            n_ps: 1,
            sync: Sync { replicas_to_aggregate: 2, total_num_replicas: 3 },
            training_steps: Step(9),
            settings: Settings::default(),
            data: None,
            limits: Limits::default(),
        };
        let (recorder, _) = Recorder::new(0, Incarnation(100), &config);
        let mut recorder = Script { recorder, turns: ScriptedTurns::default() };
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

    /// Returns the lines that the recorder writes when `link` receives `message` and the node
    /// answers with `effects`.
    fn told(
        recorder: &mut Script,
        link: LinkId,
        message: Message,
        effects: &[Effect],
    ) -> Vec<String> {
        recorder.turn(&Input::Network(NetworkEvent::Received { link, message }), effects)
    }

    /// Returns a push message of a worker. The slot has the number of the worker.
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

    /// Completes an update and returns its lines.
    fn updated(recorder: &mut Script, step: u64) -> Vec<String> {
        let Cut { generation, step } = cut(step);
        let cut = Cut { generation, step };
        let report = Report::Updated { cut, slots: Vec::new() };
        let updated = Input::Computed(Done::Update { cut, state: state(2.0) });
        recorder.turn(&updated, &[Effect::Report(report)])
    }

    fn gradients() -> [Floats; 3] {
        [0.1, 0.2, 0.3].map(|value| vec![value].into())
    }

    #[test]
    fn completed_update_is_one_line_with_the_push_of_every_slot() {
        let (mut recorder, [zero, one, _]) = (recorder(), gradients());
        assert!(told(&mut recorder, link(1), push(1, 4, &one), &[]).is_empty());
        let starts = compute(4, &[(0, &zero), (1, &one)]);
        assert!(told(&mut recorder, link(0), push(0, 4, &zero), &[starts]).is_empty());
        insta::assert_snapshot!(updated(&mut recorder, 4).join("\n"), @r#"{"update":{"incarnation":100,"generation":{"opener":7,"number":1},"step":4,"slots":[{"slot":0,"push":{"worker":0,"incarnation":50,"version":4,"loss":"0.5"},"checksum":"530ed30c"},{"slot":1,"push":{"worker":1,"incarnation":51,"version":4,"loss":"0.5"},"checksum":"bb9dda01"}],"before":"69bbd40d","after":"bb79d824"}}"#);
        assert!(updated(&mut recorder, 4).is_empty(), "each update is made once");
    }

    #[test]
    fn unused_gradient_is_a_line_with_reason_and_whether_the_worker_was_answered() {
        let (mut recorder, [zero, one, two]) = (recorder(), gradients());
        let stale = Some(Verdict::Stale);
        let mut lines = Vec::new();
        let answered = [reply(0, 3, Verdict::Stale), dropped(0, 3, stale)];
        lines.extend(told(&mut recorder, link(0), push(0, 3, &zero), &answered));
        lines.extend(told(&mut recorder, link(0), push(0, 3, &zero), &[dropped(0, 3, stale)]));
        // The reply has a verdict other than the reported one, so it does not answer the gradient.
        let wrong = [reply(0, 3, Verdict::Fenced), dropped(0, 3, stale)];
        lines.extend(told(&mut recorder, link(0), push(0, 3, &zero), &wrong));
        // These two gradients are held until the update, which uses the gradient of slot 2 and
        // drops the gradient of slot 1.
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
    fn held_gradient_that_is_neither_used_nor_reported_is_a_line() {
        let (mut recorder, [zero, one, two]) = (recorder(), gradients());
        told(&mut recorder, link(1), push(1, 4, &one), &[]);
        told(&mut recorder, link(2), push(2, 4, &two), &[]);
        let starts = compute(4, &[(0, &zero), (2, &two)]);
        let lines = told(&mut recorder, link(0), push(0, 4, &zero), &[starts]);
        insta::assert_snapshot!(lines.join("\n"), @r#"{"dropped":{"incarnation":100,"generation":{"opener":7,"number":1},"step":4,"slot":1,"worker":1,"why":"uncounted","told":false}}"#);
    }

    #[test]
    fn ledger_shows_a_gradient_counted_in_a_wrong_slot_or_version() {
        let (mut recorder, [zero, one, two]) = (recorder(), gradients());
        told(&mut recorder, link(0), push(0, 3, &zero), &[]);
        told(&mut recorder, link(1), push(1, 4, &one), &[]);
        // Slot 0 gets a gradient of the previous version, slot 2 a second gradient of slot 1, and
        // slot 3 a gradient that no worker pushed.
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
    fn restored_state_is_a_line_if_confirmed_and_of_a_new_generation() {
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
    fn ledger_has_one_line_for_each_incarnation_of_the_chief() {
        let mut recorder = recorder();
        let let_in = |link| {
            let (incarnation, state) = (Incarnation(100), Some(cut(5)));
            Effect::Send { link, message: Message::Welcome { incarnation, state } }
        };
        let lines = recorder.turn(&Input::Wake, &[let_in(link(0)), let_in(link(1))]);
        insta::assert_snapshot!(lines.join("\n"), @r#"{"chief":{"incarnation":100,"chief":50,"finds":{"generation":{"opener":7,"number":1},"step":5}}}"#);
        assert!(recorder.turn(&Input::Wake, &[let_in(link(0))]).is_empty());
    }

    #[test]
    fn gradients_of_a_closed_link_are_forgotten() {
        let (mut recorder, [zero, one, _]) = (recorder(), gradients());
        told(&mut recorder, link(1), push(1, 4, &one), &[Effect::Close { link: link(1) }]);
        let starts = compute(4, &[(0, &zero)]);
        let lines = told(&mut recorder, link(0), push(0, 4, &zero), &[starts]);
        assert!(lines.is_empty(), "{lines:?}");
    }
}
