//! Every decision of the operator, as total functions over plain data.
//!
//! Owns what is made, when a revision takes over, and what the status says. It must not know of a
//! client, a runtime, a clock or a random source: what was seen and the time are arguments.
//! Invariant: [`plan::plan`] is idempotent at a fixed time, so that the operator may be killed
//! between any two of its actions.
//!
//! The way of the data: [`observed`] (what is there) → [`resolve`] (what the spec means) →
//! [`rollout`] (who serves) → [`resources`] (which objects that takes) and [`status`] (what is
//! said) → [`plan`].

pub mod commands;
pub mod compare;
pub mod identity;
pub mod observed;
pub mod plan;
pub mod resolve;
pub mod resources;
pub mod rollout;
pub mod status;
pub mod validate;

use crds::conditions::StalledReason;

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
}

impl Failure {
    /// A failure that no pod reported.
    pub fn new(reason: StalledReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            pod: None,
            exit_code: None,
        }
    }
}
