//! What a state is held against: everything that the machine looks at, as plain data.

use std::time::Duration;

use crate::Failure;
use crate::capacity::{Limits, Pods};
use crate::reading::health::Health;
use crate::state::{Step, Target};

/// What a state is held against.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one fact that was seen, and they come in any combination"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signals {
    /// What the spec asks for.
    pub target: Target,
    /// Nothing new may start, and nothing in flight go on.
    pub held: bool,
    /// The old pods go before the new ones come.
    pub recreates: bool,
    /// The steps that the spec has: those of the next rollout.
    pub steps: Vec<Step>,
    /// Whether a human has to agree before the canary gets all.
    pub requires_approval: bool,
    /// How many pods there may be.
    pub limits: Limits,
    /// How the stable revision is doing.
    pub stable: Side,
    /// How the canary is doing.
    pub canary: Side,
    /// Whether the canary has a Deployment.
    pub canary_is_made: bool,
    /// How the previous revision is doing.
    pub previous: Side,
    /// What the routers say.
    pub routers: Routers,
    /// How long a rollout may make no progress.
    pub patience: Duration,
    /// How long the previous revision is kept warm.
    pub warm_for: Duration,
}

/// How a revision is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// Whether all pods that it is to have serve.
    pub health: Health,
    /// Its pods.
    pub pods: Pods,
    /// Whether pods of it, those on their way out included, hold what they asked for.
    pub holds_room: bool,
}

impl Side {
    /// A revision of which there is nothing.
    pub const ABSENT: Self = Self {
        health: Health::Absent,
        pods: Pods {
            wanted: 0,
            made: 0,
            ready: 0,
            over_quota: false,
        },
        holds_room: false,
    };

    /// Whether a pod of it is ready.
    pub const fn serves(&self) -> bool {
        self.pods.ready > 0
    }
}

/// What the routers say of the rollout in flight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routers {
    /// All that are there act upon the weight that was decided last.
    pub acknowledged: bool,
    /// None that is there sends the canary anything, nor will by the table that they were given.
    pub released: bool,
    /// One of them has cut the canary off, or all together see reason to.
    pub cut_off: Option<Failure>,
}
