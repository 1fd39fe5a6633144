//! Conditions, merged with those that are there.
//!
//! Invariant: a transition time moves only when the status of its condition does.

use crds::conditions::ConditionType;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// A condition that is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) kind: ConditionType,
    pub(super) status: Truth,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// The status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    True,
    False,
    Unknown,
}

impl Truth {
    const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }

    pub(super) const fn of(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

/// The conditions that `claims` make of those that are there. What is not claimed is gone.
pub(super) fn of(
    before: &[Condition],
    claims: &[Claim],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    claims
        .iter()
        .map(|claim| {
            let old = super::condition(before, claim.kind);
            let unchanged = old.filter(|old| old.status == claim.status.as_str());
            Condition {
                type_: claim.kind.to_string(),
                status: claim.status.as_str().to_owned(),
                reason: claim.reason.to_owned(),
                message: claim.message.clone(),
                observed_generation: generation,
                last_transition_time: unchanged
                    .map_or(Time(now), |old| old.last_transition_time.clone()),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn claim(status: Truth, message: &str) -> Claim {
        Claim {
            kind: ConditionType::Ready,
            status,
            reason: "Progressing",
            message: message.into(),
        }
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let first = of(&[], &[claim(Truth::False, "a")], Some(1), at(1));
        let reworded = of(&first, &[claim(Truth::False, "b")], Some(2), at(2));
        assert_eq!(reworded[0].last_transition_time.0, at(1));
        assert_eq!(reworded[0].message, "b");
        let turned = of(&reworded, &[claim(Truth::True, "b")], Some(2), at(3));
        assert_eq!(turned[0].last_transition_time.0, at(3));
    }

    #[test]
    fn what_is_not_claimed_is_gone() {
        let first = of(&[], &[claim(Truth::False, "a")], Some(1), at(1));
        assert!(of(&first, &[], Some(1), at(2)).is_empty());
    }
}
