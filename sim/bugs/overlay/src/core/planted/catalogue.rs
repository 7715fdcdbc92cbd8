//! The bugs by name: what each bug does wrong, and which conditions it needs to have an effect.
//!
//! To find the code of a bug, search `planted.rs` and the patches in `sim/bugs/patches` for the
//! name of the bug's variant.

/// Declares the enum `Bug` and the data of its variants, from one entry for each bug.
macro_rules! catalogue {
    ($($bug:ident, $name:literal, rule $rule:literal, $does:literal, needs $needs:literal;)+) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Bug {
            $(#[doc = $does] $bug,)+
        }

        impl Bug {
            /// All bugs, in the order of the catalogue.
            pub const ALL: &'static [Self] = &[$(Self::$bug,)+];

            const fn entry(self) -> Entry {
                match self {
                    $(Self::$bug => Entry {
                        name: $name, rule: $rule, description: $does, needs: $needs
                    },)+
                }
            }
        }
    };
}

catalogue! {
    // Updates.
    SumInArrivalOrder, "sum-in-arrival-order", rule 3,
        "an update sums its gradients in the order in which they arrived",
        needs "at least two slots per update; at least three for different bits";
    RPlusOneAccepted, "r-plus-one-accepted", rule 1,
        "ps 0 waits for one slot more than R, and all shards use it",
        needs "R < N";
    UpdateShortOfR, "update-short-of-r", rule 1,
        "an update is computed when one of its gradients is still missing",
        needs "at least two slots per update";
    DuplicateCounted, "duplicate-counted", rule 4,
        "a second copy of a gradient is used for a slot whose gradient is missing",
        needs "R > 1; a link that is lost between a push and the update";
    StaleApplied, "stale-applied", rule 5,
        "a gradient of an older step is used for the present step",
        needs "R < N and a straggler; or a link that is lost before the answer to a push";
    SlotOfAnotherStep, "slot-of-another-step", rule 1,
        "a worker computes odd slots from the next step's batch",
        needs "at least two slots per step";
    BatchOfWorker, "batch-of-worker", rule 1,
        "a worker computes for every slot the batch whose slot is the worker's index",
        needs "R > N";
    ShardsDisagree, "shards-disagree", rule 2,
        "every shard uses the first R slots that it holds itself",
        needs "R < N, two ps, and two workers whose pushes reach the ps in different orders";

    // Recovery.
    LiveVersionWithoutOptimizer, "live-version-without-optimizer", rule 7,
        "the chief restores only the parameters of its version, without the state of the optimizer",
        needs "momentum, Adam or moving averages; a ps that loses its shard";

    // Versions.
    HalfUpdateReadable, "half-update-readable", rule 6,
        "a pull during an update gets the number of the next version with the old parameters",
        needs "a pull or a repeated push during an update, after a lost link or a restart";
    MixedVersionsComputed, "mixed-versions-computed", rule 6,
        "a worker takes the version of ps 0 for the version of every shard that it has received",
        needs "two ps, and ps 0 answers before the other ps";
    MendedFromNewerVersion, "mended-from-newer-version", rule 6,
        "the parameters that are kept for the previous version are already updated",
        needs "R >= N, two ps, a worker that crashes between its pushes";
    PreviousVersionNotKept, "previous-version-not-kept", rule 0,
        "a shard does not keep the previous version, for which a worker asks",
        needs "R >= N, two ps, a worker that crashes between its pushes";
    NoMending, "no-mending", rule 0,
        "a worker that finds the shards at two versions asks only for the newer one",
        needs "R >= N, two ps, a worker that crashes between its pushes";

    // Tokens and lost messages.
    TokenLostWithWorker, "token-lost-with-worker", rule 0,
        "ps 0 issues the token of a slot only once, even if the worker restarts",
        needs "a worker crash or a lost link between ps 0's version and the worker's push";
    PushNotRepeated, "push-not-repeated", rule 0,
        "a worker does not repeat its pushes and pulls on a new link",
        needs "a link that is lost before the answer to a push";
    WindowIgnored, "window-ignored", rule 11,
        "a worker does not limit the number of its pushes without an answer",
        needs "five slots per worker; nine for the link to be disconnected";
    RetryWithoutIdentity, "retry-without-identity", rule 4,
        "a push that is repeated on a new link has the present step of the ps, not its own",
        needs "a lost link, and an update before the worker connects again";
    ReceivedNotRepeated, "received-not-repeated", rule 0,
        "a ps does not report again on a new link to ps 0 which slots it holds",
        needs "R < N, two ps, a link between them that is lost with the report";
    ChoiceNotRepeated, "choice-not-repeated", rule 0,
        "ps 0 does not repeat a choice to a ps that has not received it",
        needs "R < N, two ps, a link between them that is lost with the choice";
    CaptureNotRepeated, "capture-not-repeated", rule 0,
        "the chief does not repeat its request for a state after a lost link",
        needs "a link between chief and ps that is lost during a save";

    // Unused gradients.
    StaleNotTold, "stale-not-told", rule 5,
        "a stale gradient is dropped without an answer",
        needs "R < N and a straggler; or a link that is lost before the answer to a push";
    SurplusNotCounted, "surplus-not-counted", rule 5,
        "a gradient that is not among the first R is dropped and not counted",
        needs "R < N";
    SurplusWorkerForgotten, "surplus-worker-forgotten", rule 5,
        "a worker whose gradient comes too late for the update is not sent the next version",
        needs "R < N, a push that arrives while the update is computed";

    // Generations, incarnations and links.
    OldGenerationAccepted, "old-generation-accepted", rule 8,
        "a gradient of an older generation is accepted if it has the present step",
        needs "a ps crash, and a push in transit during the restore; R < N for different bits";
    OldIncarnationAccepted, "old-incarnation-accepted", rule 8,
        "an older incarnation of a task is accepted, and replaces the newer incarnation",
        needs "the greeting of an older incarnation arrives after the greeting of a newer one";
    IncarnationNotRaised, "incarnation-not-raised", rule 0,
        "a task that is refused as older keeps its incarnation, so each restart is refused, too",
        needs "a clock that was set back, and a crash";
    OlderWelcomeNotRefused, "older-welcome-not-refused", rule 0,
        "a worker that calls an older incarnation of a ps closes the link without a refusal",
        needs "the clock of a ps that was set back, and a crash of that ps";
    OldLinkKept, "old-link-kept", rule 8,
        "a peer's old link stays in use when the peer calls again; its loss closes the new link",
        needs "a half-open link: the peer calls again before this task notices the loss";
    UpdateOutlivesRollback, "update-outlives-rollback", rule 8,
        "an update that was begun before a rollback is applied after the rollback",
        needs "a ps crash, and a restore while another ps computes an update";
    RollbackKeepsGradients, "rollback-keeps-gradients", rule 8,
        "the gradients that a shard holds survive a rollback, and count for the new generation",
        needs "R > 1, two ps, a crash of one while the other holds a gradient";
    OpeningContinued, "opening-continued", rule 8,
        "a ps that crashes during a restore gets the state again in the same generation",
        needs "two ps, two crashes of one ps, updates before the chief learns of the first restore";
    DifferingGenerationsAdopted, "differing-generations-adopted", rule 0,
        "a new chief adopts the shards even if their states are of two generations",
        needs "two ps, a ps crash, and a chief crash while it restores";
    LiveStateRolledBack, "live-state-rolled-back", rule 0,
        "a new chief restores a checkpoint though every shard is alive",
        needs "a chief crash when there are updates after the newest checkpoint";
    LostShardIgnored, "lost-shard-ignored", rule 0,
        "a chief does not restore a ps that has restarted without its shard",
        needs "a ps crash";

    // Checkpoints and losses.
    CheckpointRenamedBeforeSync, "checkpoint-renamed-before-sync", rule 7,
        "a file is renamed to its final name before its content is durable",
        needs "a power failure between rename and sync";
    CheckpointNeverSynced, "checkpoint-never-synced", rule 7,
        "a file is renamed to its final name, and its content is never made durable",
        needs "a power failure after a checkpoint";
    DirectoryNotSynced, "directory-not-synced", rule 7,
        "the name of a new file is never made durable",
        needs "a power failure after a checkpoint";
    LossesNotSynced, "losses-not-synced", rule 7,
        "a checkpoint is published before the losses up to its step are durable",
        needs "a power failure after a checkpoint";
    FailedSyncForgotten, "failed-sync-forgotten", rule 7,
        "losses are not rewritten after a failed sync; a second sync falsely reports success",
        needs "a disk that fails in a sync of losses, a later checkpoint, and a power failure";
    LossesBehindCheckpoint, "losses-behind-checkpoint", rule 7,
        "a checkpoint is written before the losses of all its updates are recorded",
        needs "a chief that misses losses: R < N, an adoption, or a link lost during a save";
    LossesForgottenWhenSent, "losses-forgotten-when-sent", rule 7,
        "ps 0 forgets the losses of an update as soon as it has sent them to the chief",
        needs "a chief crash, or a lost link, while a version is in transit to the chief";
    LossesNotRewound, "losses-not-rewound", rule 0,
        "the losses file keeps the old rows of updates that are recomputed after a rollback",
        needs "a rollback to a checkpoint that is older than the last recorded loss";
    CheckpointOfMixedSteps, "checkpoint-of-mixed-steps", rule 7,
        "a checkpoint joins states of two steps, if one ps no longer had the requested step",
        needs "two ps, one past the requested version: R < N, adoption, or a link lost in a save";
    CaptureAtOnce, "capture-at-once", rule 7,
        "a ps answers a capture with its present state, under the requested version",
        needs "a shard past the requested version: R < N, adoption, or a link lost in a save";
    CaptureOutlivesRollback, "capture-outlives-rollback", rule 0,
        "after a rollback, a save still waits for states of the old generation",
        needs "a ps crash during a save";
    WritesWhileRestoring, "writes-while-restoring", rule 7,
        "a state that was captured before a shard was lost is written during the rollback",
        needs "two ps; one crashes during a save, while the state of the other is in transit";
    OptimizerStateNotRestored, "optimizer-state-not-restored", rule 0,
        "the state of the optimizer is zero after a restore",
        needs "an optimizer with state; a ps crash after a checkpoint";
    RefusedCheckpointBelieved, "refused-checkpoint-believed", rule 10,
        "a checkpoint that the disk refused counts as saved",
        needs "a disk that refuses the final checkpoint";
    StoppedBeforeSaved, "stopped-before-saved", rule 0,
        "a chief that is asked to stop reports a save before the checkpoint is written",
        needs "a stop of the chief between two checkpoints";

    // Waits and the end of the run.
    WaitWithoutTelling, "wait-without-telling", rule 9,
        "no task reports that it waits",
        needs "a wait that is longer than report_after";
    SilenceUnnoticed, "silence-unnoticed", rule 9,
        "a silent peer is never taken for lost",
        needs "a silent partition or a half-open link";
    OneStepTooMany, "one-step-too-many", rule 10,
        "ps 0 makes one update more than training_steps",
        needs "nothing; for the extra update, a gradient before the final checkpoint is durable";
    FinishedBeforeDurable, "finished-before-durable", rule 10,
        "tasks learn that the run has finished before the final checkpoint is durable",
        needs "nothing; for lost updates, a crash before the checkpoint is durable";
    FinishedNotRepeated, "finished-not-repeated", rule 10,
        "the chief does not repeat that the run has finished to a ps whose link was lost",
        needs "a link between chief and ps that is lost at the end of the run";
    LateWorkerNotTold, "late-worker-not-told", rule 10,
        "a worker that calls after the end of the run is not told that the run has finished",
        needs "a worker that was disconnected when the other workers were told";
}

struct Entry {
    name: &'static str,
    rule: u8,
    description: &'static str,
    needs: &'static str,
}

impl Bug {
    /// Returns the name of the bug in kebab case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.entry().name
    }

    /// Returns the number of the rule of `docs/protocol.md` that the bug breaks. The number is 0 if
    /// the bug breaks no rule: the run then hangs, or its result differs.
    #[must_use]
    pub const fn rule(self) -> u8 {
        self.entry().rule
    }

    /// Returns a description of what the code does wrong, for the user.
    #[must_use]
    pub const fn description(self) -> &'static str {
        self.entry().description
    }

    /// Returns the conditions that a run must meet for the bug to have an effect.
    #[must_use]
    pub const fn needs(self) -> &'static str {
        self.entry().needs
    }

    /// Returns the bug with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|bug| bug.name() == name)
    }
}
