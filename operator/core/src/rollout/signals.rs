//! What a state is held against: everything that the machine looks at, as plain data.

use std::time::Duration;

use super::Watched;
use crate::Failure;
use crate::capacity::Limits;
use crate::reading::health::Health;
use crate::reading::{Routers, Side};
use crate::spec::NoRoom;
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
    /// As many others load a model as may, or an experiment compares models here.
    pub waits_its_turn: bool,
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
    /// What the routers say.
    pub routers: Routers,
    /// What happens where no node has room, and after how long.
    pub no_room: NoRoom,
    /// How long a rollout may make no progress.
    pub patience: Duration,
    /// How long the previous revision is kept warm.
    pub warm_for: Duration,
    /// The gates, each after the last look at it.
    pub gates: Vec<Watched>,
    /// Pairs of scores of shadowed requests.
    pub pairs: u64,
    /// Until a gate is looked at again.
    pub next_look: Option<Duration>,
}

impl Signals {
    /// What speaks against the canary: its own failure, what the routers found, or a gate.
    pub fn harm(&self) -> Option<Failure> {
        let own = match &self.canary.health {
            Health::Failed(failure) => Some(failure),
            Health::Absent
            | Health::Starting { .. }
            | Health::Unschedulable { .. }
            | Health::Refused { .. }
            | Health::Ready => None,
        };
        own.or(self.routers.cut_off.as_ref())
            .cloned()
            .or_else(|| self.failed_gate())
    }
}
