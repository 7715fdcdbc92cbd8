//! The bugs, by name: what each does wrong, and what has to happen for it to show.
//!
//! The code of each is where the decision is that it spoils: look for its variant.

/// Declares the enum of bugs and what can be said of each of them, from one line for each.
macro_rules! catalogue {
    ($($bug:ident, $name:literal, rule $rule:literal, $does:literal, needs $needs:literal;)+) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Bug {
            $(#[doc = $does] $bug,)+
        }

        impl Bug {
            /// Every bug, in the order of the catalogue.
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
    // What an update is made of.
    SumInArrivalOrder, "sum-in-arrival-order", rule 3,
        "an update is given its gradients in the order in which they came",
        needs "two slots an update or more; three for the bits to differ";
    RPlusOneAccepted, "r-plus-one-accepted", rule 1,
        "ps 0 waits for one slot more than R, and all shards use it",
        needs "R < N";
    UpdateShortOfR, "update-short-of-r", rule 1,
        "an update is made when all but one of its gradients have come",
        needs "two slots an update or more";
    DuplicateCounted, "duplicate-counted", rule 4,
        "a second copy of a gradient is taken for that of a slot which is missing",
        needs "R > 1; a link lost between a push and the update";
    StaleApplied, "stale-applied", rule 5,
        "a gradient of an older step is taken for one of the present step",
        needs "R < N and a straggler; or a link lost before the answer to a push";
    SlotOfAnotherStep, "slot-of-another-step", rule 1,
        "a worker computes odd slots from the next step's batch",
        needs "two slots a step or more";
    BatchOfWorker, "batch-of-worker", rule 1,
        "a worker computes the batch of its own number for every slot",
        needs "R > N";
    ShardsDisagree, "shards-disagree", rule 2,
        "every shard uses the first R slots that it holds itself",
        needs "R < N, two ps, pushes of two workers that cross";

    // Recovery.
    LiveVersionWithoutOptimizer, "live-version-without-optimizer", rule 7,
        "the version that the chief's worker holds is taken for the whole state",
        needs "momentum, Adam or moving averages; a ps that loses its shard";

    // Versions.
    HalfUpdateReadable, "half-update-readable", rule 6,
        "while an update is computed, who asks gets the next version's number and old parameters",
        needs "a pull or a second copy of a push during an update: a lost link or a restart";
    MixedVersionsComputed, "mixed-versions-computed", rule 6,
        "a worker takes ps 0's version for that of all shards of which it has any",
        needs "two ps, of which another answers later than ps 0";
    MendedFromNewerVersion, "mended-from-newer-version", rule 6,
        "the parameters kept for the version before are those after the update",
        needs "R >= N, two ps, a worker that dies between its pushes";
    PreviousVersionNotKept, "previous-version-not-kept", rule 0,
        "a shard has forgotten the version before when a worker asks for it",
        needs "R >= N, two ps, a worker that dies between its pushes";
    NoMending, "no-mending", rule 0,
        "a worker that finds the shards at two versions asks only for the newer one",
        needs "R >= N, two ps, a worker that dies between its pushes";

    // Tokens, and what was said on a link that is gone.
    TokenLostWithWorker, "token-lost-with-worker", rule 0,
        "ps 0 issues a slot's token once, and not again to the worker's next life",
        needs "a worker crash or a lost link after the version went out and before its push";
    PushNotRepeated, "push-not-repeated", rule 0,
        "on a new link a worker neither pushes nor asks again",
        needs "a link lost before the answer to a push";
    WindowIgnored, "window-ignored", rule 11,
        "a worker computes and pushes on, however much is not acknowledged",
        needs "five slots a worker; for the link to be cut off, nine";
    RetryWithoutIdentity, "retry-without-identity", rule 4,
        "what is pushed again on a new link is labelled with the step where the ps stands",
        needs "a link lost, and an update made before the worker calls again";
    ReceivedNotRepeated, "received-not-repeated", rule 0,
        "on a new link to ps 0 a ps does not say again which slots it holds",
        needs "R < N, two ps, a link between them lost with the message";
    ChoiceNotRepeated, "choice-not-repeated", rule 0,
        "ps 0 does not repeat a choice to a ps that has not heard it",
        needs "R < N, two ps, a link between them lost with the choice";
    CaptureNotRepeated, "capture-not-repeated", rule 0,
        "the chief does not ask for a state again when the link to its ps was lost",
        needs "a link between chief and ps lost during a save";

    // What is not used.
    StaleNotTold, "stale-not-told", rule 5,
        "a stale gradient is dropped without an answer",
        needs "R < N and a straggler; or a link lost before the answer to a push";
    SurplusNotCounted, "surplus-not-counted", rule 5,
        "a gradient beside the first R is dropped without being counted",
        needs "R < N";
    SurplusWorkerForgotten, "surplus-worker-forgotten", rule 5,
        "a worker whose gradient comes too late for the update is not sent the next version",
        needs "R < N, a push that comes while the update is computed";

    // Generations, lives and links.
    OldGenerationAccepted, "old-generation-accepted", rule 8,
        "a gradient of an older generation is accepted if its step is the present one",
        needs "a ps crash, and a push on its way during the restore; for other bits R < N";
    OldIncarnationAccepted, "old-incarnation-accepted", rule 8,
        "an older life of a task is let in, and replaces the newer",
        needs "a greeting of an older life that comes after that of the newer";
    IncarnationNotRaised, "incarnation-not-raised", rule 0,
        "a task that is refused as older ends, and its next process is refused again",
        needs "a clock that was set back, and a crash";
    OlderWelcomeNotRefused, "older-welcome-not-refused", rule 0,
        "a worker closes the link with an older life of a ps without a word",
        needs "the clock of a ps that was set back, and a crash of that ps";
    OldLinkKept, "old-link-kept", rule 8,
        "a peer's older link stays in use when it calls again, and takes the newer with it",
        needs "a half-open link: the peer calls again before the loss is noticed here";
    UpdateOutlivesRollback, "update-outlives-rollback", rule 8,
        "an update that was begun before a rollback is put in place after it",
        needs "a ps crash, and a restore while another ps computes an update";
    RollbackKeepsGradients, "rollback-keeps-gradients", rule 8,
        "the gradients that a shard holds survive a rollback, as if of the new generation",
        needs "R > 1, two ps, a crash of one while the other holds a gradient";
    OpeningContinued, "opening-continued", rule 8,
        "a ps that dies while the state is restored gets it in the same generation again",
        needs "two ps, two crashes of one, and updates before the chief hears of the first restore";
    DifferingGenerationsAdopted, "differing-generations-adopted", rule 0,
        "a new chief takes up shards that have any state, though of two generations",
        needs "two ps, a ps crash, and a chief crash while it restores";
    LiveStateRolledBack, "live-state-rolled-back", rule 0,
        "a new chief restores a checkpoint though every shard is alive",
        needs "a chief crash after an update since the newest checkpoint";
    LostShardIgnored, "lost-shard-ignored", rule 0,
        "a chief does not mind that a ps has come back without its shard",
        needs "a ps crash";

    // Checkpoints and losses.
    CheckpointRenamedBeforeSync, "checkpoint-renamed-before-sync", rule 7,
        "a file gets its name before its content is durable",
        needs "a power failure between rename and sync";
    CheckpointNeverSynced, "checkpoint-never-synced", rule 7,
        "a file gets its name, and nobody makes its content durable",
        needs "a power failure after a checkpoint";
    DirectoryNotSynced, "directory-not-synced", rule 7,
        "nobody makes the name of a new file durable",
        needs "a power failure after a checkpoint";
    LossesNotSynced, "losses-not-synced", rule 7,
        "a checkpoint is published before the losses behind it are durable",
        needs "a power failure after a checkpoint";
    FailedSyncForgotten, "failed-sync-forgotten", rule 7,
        "losses whose sync has failed are synced again, which reports success, and not written again",
        needs "a disk that fails while the losses are synced, a checkpoint after it, and a power failure";
    LossesBehindCheckpoint, "losses-behind-checkpoint", rule 7,
        "a checkpoint is written before the updates below it are recorded",
        needs "R < N, an adoption, or a link of the chief lost in a save: a miss";
    LossesForgottenWhenSent, "losses-forgotten-when-sent", rule 7,
        "ps 0 forgets an update when it has sent it to the chief",
        needs "a chief crash, or a lost link, with a version on its way to the chief";
    LossesNotRewound, "losses-not-rewound", rule 0,
        "the rows of updates that are made again stay in the losses file",
        needs "a rollback to a checkpoint below what was recorded";
    CheckpointOfMixedSteps, "checkpoint-of-mixed-steps", rule 7,
        "what was captured before a miss is joined with what is captured after it",
        needs "two ps, one past the version and one not: R < N, an adoption, or a link lost in a save";
    CaptureAtOnce, "capture-at-once", rule 7,
        "a ps answers a capture with the state it has, and the version that was asked for",
        needs "R < N, an adoption, or a link lost in a save: a shard that is not where it is asked for";
    CaptureOutlivesRollback, "capture-outlives-rollback", rule 0,
        "a save that was under way at a rollback goes on waiting for the old generation",
        needs "a ps crash during a save";
    WritesWhileRestoring, "writes-while-restoring", rule 7,
        "a state captured before a shard was lost is written while the others are rolled back",
        needs "two ps, a crash of one during a save, and the other's state on its way";
    OptimizerStateNotRestored, "optimizer-state-not-restored", rule 0,
        "what the optimizer keeps beside the parameters is zero after a restore",
        needs "an optimizer with state; a ps crash after a checkpoint";
    RefusedCheckpointBelieved, "refused-checkpoint-believed", rule 10,
        "a checkpoint that the disk refused counts as saved",
        needs "the disk refuses the final checkpoint";
    StoppedBeforeSaved, "stopped-before-saved", rule 0,
        "a chief that is asked to stop says that it has saved, and has not",
        needs "a stop of the chief between two checkpoints";

    // Waiting, and the end.
    WaitWithoutTelling, "wait-without-telling", rule 9,
        "nobody says that it waits",
        needs "a wait longer than report_after";
    SilenceUnnoticed, "silence-unnoticed", rule 9,
        "a peer that is not heard of is never taken for lost",
        needs "a silent partition or a half-open link";
    OneStepTooMany, "one-step-too-many", rule 10,
        "one update more than training_steps is made",
        needs "nothing; a gradient in less time than the final checkpoint for the update itself";
    FinishedBeforeDurable, "finished-before-durable", rule 10,
        "everyone is told of the end when the final checkpoint is begun",
        needs "nothing; for a loss, a crash before the checkpoint is durable";
    FinishedNotRepeated, "finished-not-repeated", rule 10,
        "a ps whose link was lost at the end is not told that all is done",
        needs "a link between chief and ps lost at the end";
    LateWorkerNotTold, "late-worker-not-told", rule 10,
        "a worker that calls when all is done is not told",
        needs "a worker that was away when the others were told";
}

struct Entry {
    name: &'static str,
    rule: u8,
    description: &'static str,
    needs: &'static str,
}

impl Bug {
    /// Its name, in kebab case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.entry().name
    }

    /// The number of the rule of `docs/protocol.md` that it breaks; 0 if it breaks none, but the
    /// run hangs, or its result differs.
    #[must_use]
    pub const fn rule(self) -> u8 {
        self.entry().rule
    }

    /// What the code does wrong, for a person.
    #[must_use]
    pub const fn description(self) -> &'static str {
        self.entry().description
    }

    /// What has to be so, or to happen, before it can show.
    #[must_use]
    pub const fn needs(self) -> &'static str {
        self.entry().needs
    }

    /// The bug of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|bug| bug.name() == name)
    }
}
