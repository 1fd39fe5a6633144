//! How many pods the two sides of a move have, and how much traffic goes with them.
//!
//! Owns the arithmetic of a shift from one revision to another. It must not know why traffic moves,
//! of Kubernetes, or of time. Invariants: a share of the traffic never comes before the pods that
//! carry it; by our hand fewer than `min_available` pods never serve; the revision that is left
//! keeps a pod while any router may send it something; together both have at most `replicas + surge`
//! pods that hold a place.

mod share;

pub use share::Percent;

/// What the spec allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Pods that carry all traffic.
    pub replicas: i32,
    /// Pods beyond them.
    pub surge: i32,
    /// Pods that serve at any time.
    pub min_available: i32,
    /// Pods of the revision before the stable one that are kept.
    pub warm: i32,
}

/// The pods of one revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    /// How many it is to have.
    pub wanted: i32,
    /// How many are there, with a place or waiting for one.
    pub made: i32,
    /// How many are ready.
    pub ready: i32,
    /// A quota lets no more of them be made.
    pub over_quota: bool,
}

/// Traffic that moves from one revision to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Where it goes.
    pub incoming: Pods,
    /// Where it comes from.
    pub outgoing: Pods,
    /// The share that is to arrive.
    pub goal: Percent,
    /// The share that the routers were told.
    pub commanded: Percent,
    /// The least share that a live router may still be using.
    pub applied: Percent,
    /// Whether the outgoing revision is to have no pod in the end: else it keeps what it may, so that going
    /// back is fast.
    pub leaves: bool,
}

/// The next step of a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shift {
    /// Pods of the revision that traffic goes to.
    pub incoming: i32,
    /// Pods of the one that it comes from.
    pub outgoing: i32,
    /// The share that the routers are to be told.
    pub weight: Percent,
}

impl Limits {
    /// Pods that hold a place at once.
    pub const fn room(&self) -> i32 {
        self.replicas.saturating_add(self.surge)
    }

    /// Pods that `share` of the traffic needs: never none for some of it.
    pub fn need(&self, share: Percent) -> i32 {
        let pods = i64::from(self.replicas) * i64::from(share.get());
        i32::try_from(pods.unsigned_abs().div_ceil(100)).unwrap_or(i32::MAX)
    }

    /// The most pods of the incoming revision while the outgoing one has to keep one.
    pub(crate) const fn most(&self) -> i32 {
        let beside_one = self.room() - 1;
        if beside_one < self.replicas {
            beside_one
        } else {
            self.replicas
        }
    }

    /// Whether a new revision may start at all without taking a pod that has to serve: with no
    /// surge it borrows the place of one.
    pub const fn lets_one_in(&self) -> bool {
        self.replicas == 0
            || (self.most() >= 1 && (self.surge > 0 || self.min_available < self.replicas))
    }

    /// The share that `ready` pods of the incoming revision carry. Where nothing is free they carry
    /// all of it without the last pod, whose place the outgoing revision still has.
    fn carried(&self, ready: i32) -> Percent {
        if ready >= self.most() {
            return Percent::ALL;
        }
        Percent::of(ready, self.replicas)
    }

    /// Pods of the revision before the stable one.
    pub fn warm_pods(&self) -> i32 {
        self.warm.min(self.surge).max(0)
    }
}

/// The next step of `moving` within `limits`; `None` where no legal one leads on.
pub fn shift(limits: &Limits, moving: &Move) -> Option<Shift> {
    let Move {
        incoming,
        outgoing,
        goal,
        ..
    } = moving;
    if limits.replicas <= 0 {
        return Some(Shift {
            incoming: 0,
            outgoing: 0,
            weight: *goal,
        });
    }
    let has_left = moving.leaves && moving.applied == Percent::ALL;
    if !has_left && incoming.ready == 0 && !limits.lets_one_in() {
        return None;
    }
    let most = if has_left {
        limits.replicas
    } else {
        limits.most()
    };
    let arriving = limits.need(*goal).clamp(1, most.max(1));
    let left = outgoing_size(limits, moving, arriving);
    let into = arriving
        .min(limits.room() - left)
        .max(incoming.ready.min(arriving));
    // Its pods stand in line before the others give up their place, so that nobody who comes later
    // takes it. Where a quota keeps them out of the line, the place has to come first.
    let in_line = incoming.made >= into || incoming.over_quota;
    Some(Shift {
        incoming: into,
        outgoing: if left < outgoing.wanted && !in_line {
            outgoing.wanted
        } else {
            left
        },
        weight: weight(limits, moving),
    })
}

fn weight(limits: &Limits, moving: &Move) -> Percent {
    let alone = moving.outgoing.ready == 0 && moving.incoming.ready > 0;
    let may = if alone {
        moving.goal
    } else {
        limits.carried(moving.incoming.ready).min(moving.goal)
    };
    may.max(moving.commanded)
}

/// Pods that the outgoing revision keeps while `arriving` are on their way.
fn outgoing_size(limits: &Limits, moving: &Move, arriving: i32) -> i32 {
    let (incoming, outgoing) = (&moving.incoming, &moving.outgoing);
    let serving = (limits.min_available - incoming.ready).min(outgoing.wanted);
    if moving.leaves && moving.applied == Percent::ALL {
        return serving.max(0);
    }
    let end = (limits.room() - arriving).clamp(1, limits.replicas);
    // One more pod at a time may take the place of one that its traffic still needs.
    let next = if incoming.ready < arriving {
        incoming.ready + 1
    } else {
        incoming.ready
    };
    let carries = limits.need(moving.applied.rest());
    let kept = end.max(carries.min(limits.room() - next));
    kept.max(serving)
}

#[cfg(test)]
mod tests;
