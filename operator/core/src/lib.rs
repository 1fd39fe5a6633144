//! Every decision of the operator, as total functions over plain data.
//!
//! Owns what is made, when a revision takes over, and what the status says. It must not know of a
//! client, a runtime, a clock or a random source: what was seen and the time are arguments.
//! Invariant: [`plan::plan`] is idempotent at a fixed time, so that the operator may be killed
//! between any two of its actions.
//!
//! The way of the data: [`observed`] (what the shell has seen) → [`reading`] (what it means) →
//! [`rollout`] (what is decided) → [`children`] (which objects that takes) and [`status`]
//! (what is said), both from reading and decision → [`plan`]. Below them lie [`identity`], [`spec`],
//! [`state`], [`gates`] (what a revision has to show), [`golden`] (what of it a set of labelled pairs shows),
//! [`records`] (what is written to be read again), [`capacity`] (how many pods, how much traffic) and
//! [`objects`] (builders). Beside it stand [`promotion`] (the model of an experiment's winner in the place of
//! the spec's) and [`lease`] (which of several operators acts).

pub mod capacity;
pub mod children;
pub mod compare;
pub mod evidence;
pub mod experiment;
pub mod gates;
pub mod golden;
pub mod identity;
pub mod lease;
pub mod objects;
pub mod observed;
pub mod plan;
pub mod promotion;
pub mod reading;
pub mod records;
pub mod rollout;
pub mod spec;
pub mod state;
pub mod status;

use std::fmt;

use crds::conditions::StalledReason;
use traffic::cutoff::Cause;

/// Why something cannot go on, in the words of the condition `Stalled`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The reason.
    pub reason: StalledReason,
    /// What happened and what to do, for the user.
    pub message: String,
    /// The pod that said it, if one did.
    pub pod: Option<String>,
    /// How its container ended.
    pub exit_code: Option<i32>,
    /// What the routers cut it off for, where they did.
    pub cut_off: Option<Cause>,
}

/// `<reason>: <message>`, as history and records keep it.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}

impl Failure {
    /// A failure as it was kept in words; one without a known reason is a failed load.
    pub fn from_words(words: &str) -> Self {
        let (word, message) = words.split_once(": ").unwrap_or(("", words));
        let reason = StalledReason::parse(word).unwrap_or(StalledReason::LoadFailed);
        Self::new(reason, message)
    }

    /// A failure that no pod reported.
    pub fn new(reason: StalledReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            pod: None,
            exit_code: None,
            cut_off: None,
        }
    }
}
