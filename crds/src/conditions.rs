//! Condition types and reasons: closed sets that dashboards, Argo CD and `kubectl wait` rely on.
//!
//! Owns the words. It must not know when a condition holds. Invariant: every reason that a status
//! may carry is a variant here, so that a misspelt reason does not compile.

use std::fmt;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every value, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as it stands in a condition.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),+ }
            }

            /// The value that this word names, if it is one of ours.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == word)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Condition types of a `RewardModel`.
    ConditionType {
        /// Always present: this generation's revision is stable and all its replicas are ready.
        Ready,
        /// Some revision serves at least `minAvailable`.
        Available,
        /// Present only when True: work is in flight.
        Reconciling,
        /// Present only when True: a human is needed.
        Stalled,
        /// Present only when True: waiting on purpose.
        Paused,
        /// The model's files match their digest and can be scored with.
        ModelVerified,
        /// Every ready router has acknowledged the table.
        RoutersInSync,
        /// The canary answers as it should.
        CanaryHealthy,
    }
}

words! {
    /// Reasons of `Ready`.
    ReadyReason {
        /// The revision of this generation is stable and all its replicas are ready.
        RolloutComplete,
        /// An experiment promoted a revision that the spec does not name yet.
        PromotedAheadOfSpec,
        /// A rollout is in flight.
        Progressing,
        /// The stable revision is right, some of its replicas are not ready.
        ReplicasNotReady,
        /// The new revision was taken back.
        RolledBack,
        /// A human is needed; `Stalled` says why.
        Stalled,
        /// `spec.suspend` holds a new revision back.
        Suspended,
    }
}

words! {
    /// Reasons of `Available`.
    AvailableReason {
        /// At least `minAvailable` replicas serve.
        MinimumReplicas,
        /// Fewer replicas serve.
        NoReadyReplicas,
        /// Zero replicas are wanted.
        ScaledToZero,
    }
}

words! {
    /// Reasons of `Reconciling`.
    ReconcilingReason {
        /// The verify Job reads the model.
        Resolving,
        /// The new revision's pods start.
        LoadingModel,
        /// Live traffic is shadowed to the new revision.
        Shadowing,
        /// Traffic moves.
        ShiftingTraffic,
        /// Traffic moves back.
        RollingBack,
        /// Pods wait for a node or a GPU.
        WaitingForCapacity,
    }
}

words! {
    /// Reasons of `Stalled`.
    StalledReason {
        /// The spec asks for what cannot be.
        InvalidSpec,
        /// An object of the needed name belongs to somebody else.
        NameConflict,
        /// The model's source does not answer.
        SourceUnreachable,
        /// The claim, or the path in it, is not there.
        VolumeUnavailable,
        /// The files are not the pinned ones.
        DigestMismatch,
        /// The files are of a kind that is not served.
        UnsupportedFormat,
        /// A file of the model is missing or broken.
        ModelInvalid,
        /// The server could not start with the model.
        LoadFailed,
        /// The server computes on GPUs, and its node has no driver for them.
        DriverMissing,
        /// A quota or a policy refuses the pods.
        QuotaExceeded,
        /// No legal order of moves fits the capacity.
        InsufficientCapacity,
        /// A gate said no.
        GateFailed,
        /// The canary harmed and was cut off.
        CutOff,
        /// No progress within `progressDeadline`.
        DeadlineExceeded,
        /// A human stopped the rollout.
        AbortedByUser,
        /// The operator may not do what is needed; the message names the permission.
        Forbidden,
        /// The status was written by another version, in words that this one does not know.
        UnknownState,
    }
}

words! {
    /// Reasons of `Paused`.
    PausedReason {
        /// A pause step.
        PauseStep,
        /// `requireApproval`.
        AwaitingApproval,
        /// A gate had too little data.
        InconclusiveGate,
        /// A gate's source does not answer.
        MetricsUnavailable,
        /// The canary's pods were lost to the cluster, not to the model.
        CanaryUnavailable,
        /// An experiment runs on this endpoint.
        ExperimentRunning,
        /// `suspend`, or the command `pause`.
        UserRequested,
    }
}

words! {
    /// Condition types of an `ABExperiment`.
    ExperimentConditionType {
        /// Always present: the split is in force, or over.
        Ready,
        /// A verdict is there.
        Complete,
        /// What follows from it is live.
        Applied,
        /// Present only when True: work is in flight.
        Reconciling,
        /// Present only when True: waiting on purpose.
        Paused,
        /// Present only when True: a human is needed.
        Stalled,
        /// Users fall to variants as their weights say.
        SampleRatioOK,
        /// No guardrail shows harm.
        GuardrailsOK,
        /// Every goal has enough users.
        SufficientData,
    }
}

words! {
    /// Reasons of `Ready` of an experiment.
    ExperimentReadyReason {
        /// Users are dealt and counted.
        Running,
        /// A verdict is there.
        Concluded,
        /// A variant cannot serve.
        VariantsNotReady,
        /// `spec.suspend`.
        Suspended,
        /// `schedule.startAt` lies ahead.
        NotStarted,
        /// A human is needed; `Stalled` says why.
        Stalled,
    }
}

words! {
    /// Reasons of `Stalled` of an experiment.
    ExperimentStalledReason {
        /// A variant's RewardModel is not there, or cannot be compared.
        InvalidVariant,
        /// Another experiment has the endpoint.
        EndpointConflict,
        /// The spec asks for what cannot be.
        InvalidSpec,
        /// The endpoint has given up the revision that won.
        PromotionFailed,
        /// The status was written by another version, in words that this one does not know.
        UnknownState,
    }
}

words! {
    /// Reasons of `Complete`.
    CompleteReason {
        /// A variant is better.
        Won,
        /// Every variant harms.
        Lost,
        /// The data do not say.
        Inconclusive,
        /// Users did not fall to variants as they should.
        Invalid,
        /// A human stopped it.
        Aborted,
    }
}

words! {
    /// Reasons of `Applied`.
    AppliedReason {
        /// The endpoint serves the variant.
        Promoted,
        /// Everybody is control's again, because variants harm.
        RolledBack,
        /// Everybody is control's again.
        KeptControl,
        /// Nothing follows but the report.
        Reported,
    }
}

/// Reason of `Reconciling` of an experiment.
pub const WARMING_VARIANTS: &str = "WarmingVariants";
/// Reason of an informative condition that is True.
pub const AS_EXPECTED: &str = "AsExpected";
/// Reason of an informative condition that is Unknown.
pub const NOT_YET_KNOWN: &str = "NotYetKnown";
