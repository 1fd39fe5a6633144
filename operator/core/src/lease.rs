//! Who of several operators acts: one step of the election, over what was seen of its Lease.
//!
//! Owns the decision alone; reading, writing and the clock are the shell's. Invariants: nobody takes a
//! lease that its holder may still believe in, as long as both clocks run at one speed; the times that
//! stand in the record are never compared with a clock, only whether the record has changed since we
//! looked. Two that act at once for a moment do no harm: each write carries the version that it was
//! decided on, and the API server takes one of them.

use std::time::Duration;

/// How long a lease holds after it was renewed last.
pub const HOLDS: Duration = Duration::from_secs(15);
/// A holder that could not renew for so long stops acting; the rest up to [`HOLDS`] is for what it has
/// begun.
pub const GIVES_UP: Duration = Duration::from_secs(10);
/// How often it is renewed, and looked at.
pub const LOOKS: Duration = Duration::from_secs(2);

/// What a Lease says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Who has it; nobody where it was given back.
    pub holder: Option<String>,
    /// For how long it holds after a change.
    pub holds: Option<Duration>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write our name.
    Take,
    /// Write it again.
    Renew,
    /// Look again after this time.
    Wait(Duration),
}

/// The next step of `me`. The record was the same for `unchanged`, by our own clock.
pub fn step(me: &str, record: Option<&Record>, unchanged: Duration) -> Step {
    let Some(holder) = record.and_then(|record| record.holder.as_deref()) else {
        return Step::Take;
    };
    if holder == me {
        return Step::Renew;
    }
    let holds = record.and_then(|record| record.holds).unwrap_or(HOLDS);
    let left = holds.saturating_sub(unchanged);
    if holder.is_empty() || left.is_zero() {
        Step::Take
    } else {
        Step::Wait(left.min(LOOKS))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn held(by: &str) -> Record {
        Record {
            holder: Some(by.to_owned()),
            holds: Some(Duration::from_secs(15)),
        }
    }

    #[test]
    fn what_nobody_has_is_taken_and_what_is_ours_renewed() {
        assert_eq!(step("a", None, Duration::ZERO), Step::Take);
        assert_eq!(
            step("a", Some(&Record::default()), Duration::ZERO),
            Step::Take
        );
        assert_eq!(step("a", Some(&held("")), Duration::ZERO), Step::Take);
        assert_eq!(
            step("a", Some(&held("a")), Duration::from_mins(9)),
            Step::Renew
        );
    }

    #[test]
    fn a_holder_is_trusted_until_its_record_has_stood_still_for_its_time() {
        let wait = |seconds| step("a", Some(&held("b")), Duration::from_secs(seconds));
        assert_eq!(wait(0), Step::Wait(LOOKS));
        assert_eq!(wait(14), Step::Wait(Duration::from_secs(1)));
        assert_eq!(wait(15), Step::Take);
    }

    proptest! {
        /// A holder stops acting before anybody else may take over.
        #[test]
        fn nobody_takes_what_its_holder_may_still_act_upon(seconds in 0..100_u64) {
            let unchanged = Duration::from_secs(seconds);
            if step("a", Some(&held("b")), unchanged) == Step::Take {
                prop_assert!(unchanged > GIVES_UP);
            }
        }
    }
}
