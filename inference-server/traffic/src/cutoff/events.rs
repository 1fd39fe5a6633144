//! The first events of users: an error, or a slow request.
//!
//! Owns who had one, in which arm and at which weight, in bounded memory. Invariants: each user counts
//! once, also where several routers saw them; sets are joined in any order. A set that is full takes
//! nobody more: a test that stops looking stays valid.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Arm;
use super::run::Hash;
use crate::Weight;

/// Users that one router keeps: a canary that harms is found long before.
const KEPT: usize = 512;

/// Who had an event first, by the hash of the user's key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<EventsDocument>", into = "Vec<EventsDocument>")]
pub struct FirstEvents(BTreeMap<u64, (Weight, Arm)>);

impl FirstEvents {
    /// A user had one, while the canary had this weight.
    pub(super) fn had(&mut self, user: u64, weight: Weight, arm: Arm) {
        if self.0.len() < KEPT {
            self.0.entry(user).or_insert((weight, arm));
        }
    }

    /// Both together. Where they differ about a user, it does not matter who is believed, as long as it
    /// is the same in any order.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        for (user, event) in other.0 {
            let kept = self.0.entry(user).or_insert(event);
            *kept = event.min(*kept);
        }
        self
    }

    /// How many users of each arm had one, by the canary's weight.
    pub(super) fn by_weight(&self) -> BTreeMap<Weight, (u64, u64)> {
        let mut counts: BTreeMap<Weight, (u64, u64)> = BTreeMap::new();
        for (weight, arm) in self.0.values() {
            let (stable, canary) = counts.entry(*weight).or_default();
            match arm {
                Arm::Stable => *stable += 1,
                Arm::Canary => *canary += 1,
            }
        }
        counts
    }
}

/// The users that had their first event at one weight of the canary.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "FirstEvents"))]
#[serde(rename_all = "camelCase")]
pub(super) struct EventsDocument {
    /// The canary's share of its and stable's traffic, in hundredths of a percent.
    canary_weight: Weight,
    /// Hashes of stable's users.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    stable: Vec<Hash>,
    /// Hashes of the canary's users.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    canary: Vec<Hash>,
}

impl From<Vec<EventsDocument>> for FirstEvents {
    fn from(documents: Vec<EventsDocument>) -> Self {
        let mut events = Self::default();
        for document in documents {
            let of = |users: Vec<Hash>, arm| users.into_iter().map(move |user| (user.0, arm));
            let users = of(document.stable, Arm::Stable).chain(of(document.canary, Arm::Canary));
            let events_of = users.map(|(user, arm)| (user, (document.canary_weight, arm)));
            events = events.merge(Self(events_of.collect()));
        }
        events
    }
}

impl From<FirstEvents> for Vec<EventsDocument> {
    fn from(events: FirstEvents) -> Self {
        let mut documents: BTreeMap<Weight, EventsDocument> = BTreeMap::new();
        for (user, (weight, arm)) in events.0 {
            let document = documents.entry(weight).or_insert_with(|| EventsDocument {
                canary_weight: weight,
                stable: Vec::new(),
                canary: Vec::new(),
            });
            match arm {
                Arm::Stable => document.stable.push(Hash(user)),
                Arm::Canary => document.canary.push(Hash(user)),
            }
        }
        documents.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_who_tries_again_and_again_counts_once() {
        let mut events = FirstEvents::default();
        let weight = Weight::new(1_000).unwrap();
        for _ in 0..100 {
            events.had(7, weight, Arm::Canary);
            events.had(7, Weight::ALL, Arm::Stable);
        }
        assert_eq!(events.by_weight(), BTreeMap::from([(weight, (0, 1))]));
    }

    #[test]
    fn a_set_that_is_full_takes_nobody_more() {
        let mut events = FirstEvents::default();
        for user in 0..10_000 {
            events.had(user, Weight::ALL, Arm::Stable);
        }
        assert_eq!(events.0.len(), KEPT);
    }
}
