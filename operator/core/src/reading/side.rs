//! What is known of one revision, and of the routers, in the form that decisions are made of.

use super::health::Health;
use crate::Failure;
use crate::capacity::Pods;

/// How a revision is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// Whether all pods that it is to have serve.
    pub health: Health,
    /// Its pods.
    pub pods: Pods,
    /// Whether pods of it, those on their way out included, hold what they asked for.
    pub holds_room: bool,
    /// Whether routers can ask it: an operator of before the routers made pods that know no route of theirs.
    pub knows_routers: bool,
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
        knows_routers: true,
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
