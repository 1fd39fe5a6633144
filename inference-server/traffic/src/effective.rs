//! The weights as they are acted upon: the table's, less what cannot or must not be served.
//!
//! Owns the one function from a table, what is usable and what is cut off to shares. It must not know
//! why an endpoint is not ready. Invariants: shares sum to 10,000 or nobody is served; a revision
//! without a usable endpoint gets nothing while another one has some; raising the canary's weight moves
//! no key back to stable.
//!
//! What is lost by one goes whole to the first that can take it: stable, else the canary (the fix must
//! get in), else the previous revision. A canary that was cut off comes last, and only where its answers
//! were late and not wrong: none is better than a wrong score. A canary that must not serve in any case
//! (its golden set was not run yet) is not in the table at all.

use crate::assignment::Slot;
use crate::cutoff::Cause;
use crate::table::{Role, Row, Table};
use crate::{Revision, WHOLE, Weight};

/// The shares of the three roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    canary: Weight,
    previous: Weight,
}

/// Who serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effective {
    /// Nobody can: 503.
    Nobody,
    /// These.
    Shares(Shares),
}

impl Shares {
    /// The share of a role.
    pub fn of(self, role: Role) -> Weight {
        match role {
            Role::Canary => self.canary,
            Role::Previous => self.previous,
            Role::Stable => {
                let others = self.canary.with(self.previous).get();
                Weight::new(WHOLE - others).unwrap_or_default()
            }
        }
    }

    /// Who owns a slot. The canary owns those from 0 on, so that a higher weight takes slots and gives
    /// none back; the previous revision those from the other end.
    pub fn owner(self, slot: Slot) -> Role {
        if slot.get() < self.canary.get() {
            Role::Canary
        } else if slot.get() >= WHOLE - self.previous.get() {
            Role::Previous
        } else {
            Role::Stable
        }
    }

    /// What of the traffic of stable and canary together the canary has; `None` where it is all or
    /// nothing, so that the two cannot be compared.
    pub fn comparable(self) -> Option<Weight> {
        let both = self.canary.get() > 0 && self.of(Role::Stable).get() > 0;
        both.then_some(self.canary)
    }
}

/// The shares of `table`, where `usable` says whether a revision has an endpoint that takes requests and
/// `cut` whether its canary is cut off here. One that the operator has confirmed counts in any case.
pub fn effective(
    table: &Table,
    usable: impl Fn(&Revision) -> bool,
    cut: Option<Cause>,
) -> Effective {
    let confirmed = table
        .confirmed()
        .map(|confirmed| Cause::parse(&confirmed.cause));
    let barred = cut.is_some() || confirmed.is_some();
    let late = cut.is_none_or(Cause::is_only_late)
        && confirmed.is_none_or(|cause| cause.is_some_and(Cause::is_only_late));
    let serves = |role| {
        table
            .row(role)
            .is_some_and(|row: &Row| usable(&row.revision))
    };
    let stands = |role| serves(role) && !(role == Role::Canary && barred);
    let order = [Role::Stable, Role::Canary, Role::Previous];
    let Some(heir) = order.into_iter().find(|role| stands(*role)) else {
        return if serves(Role::Canary) && late {
            Effective::Shares(Shares {
                canary: Weight::ALL,
                previous: Weight::NONE,
            })
        } else {
            Effective::Nobody
        };
    };
    let wish = |role| table.row(role).map_or(0, |row| row.weight.get());
    let kept = |role| if stands(role) { wish(role) } else { 0 };
    let lost = WHOLE - Role::ALL.into_iter().map(kept).sum::<u16>();
    let share = |role| {
        let inherited = if role == heir { lost } else { 0 };
        Weight::new(kept(role) + inherited).unwrap_or_default()
    };
    Effective::Shares(Shares {
        canary: share(Role::Canary),
        previous: share(Role::Previous),
    })
}

/// How a revision can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// An endpoint of it takes new requests.
    Ready,
    /// Endpoints of it answer still, on their way out.
    Leaving,
    /// Nobody answers.
    Absent,
}

/// The shares, where it is known how each revision can be asked: what leaves serves only where no revision
/// that may serve has an endpoint that takes new requests. See [`effective`].
pub fn effective_of(
    table: &Table,
    presence: impl Fn(&Revision) -> Presence,
    cut: Option<Cause>,
) -> Effective {
    let barred = cut.is_some() || table.confirmed().is_some();
    let is_ready = |revision: &Revision| presence(revision) == Presence::Ready;
    let takes = |role: &Role| {
        let row = table.row(*role);
        let stands = !(*role == Role::Canary && barred);
        stands && row.is_some_and(|row| is_ready(&row.revision))
    };
    let others_take = Role::ALL.iter().any(takes);
    let usable = |revision: &Revision| match presence(revision) {
        Presence::Ready => true,
        Presence::Leaving => !others_take,
        Presence::Absent => false,
    };
    effective(table, usable, cut)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn table(weights: [u16; 3], confirmed: Option<&str>) -> Table {
        let row = |role: &str, name: &str, weight: u16| json!({"revision": name, "role": role, "weight": weight, "service": "s"});
        let document = json!({
            "schemaVersion": 1, "generation": 1, "salt": "s",
            "model": {"namespace": "n", "name": "m", "uid": "u"},
            "revisions": [row("Stable", "s", weights[0]), row("Canary", "c", weights[1]), row("Previous", "p", weights[2])],
            "cutOff": {"confirmed": confirmed.map(|cause| json!({"revision": "c", "cause": cause}))}
        });
        Table::parse(document.to_string().as_bytes()).unwrap()
    }

    /// The shares of stable, canary and previous.
    fn shares(table: &Table, ready: &str, cut: Option<Cause>) -> Option<[u16; 3]> {
        match effective(table, |revision| ready.contains(revision.as_str()), cut) {
            Effective::Nobody => None,
            Effective::Shares(shares) => Some(Role::ALL.map(|role| shares.of(role).get())),
        }
    }

    #[test]
    fn what_one_cannot_serve_another_does() {
        let cases = [
            ([7_500, 2_500, 0], "scp", None, Some([7_500, 2_500, 0])),
            // The canary has no ready pod.
            ([7_500, 2_500, 0], "sp", None, Some([10_000, 0, 0])),
            // Stable has none, and the fix must get in.
            ([7_500, 2_500, 0], "cp", None, Some([0, 10_000, 0])),
            ([10_000, 0, 0], "cp", None, Some([0, 10_000, 0])),
            // The previous one, only where nobody else is.
            ([7_500, 2_500, 0], "p", None, Some([0, 0, 10_000])),
            ([7_500, 2_500, 0], "", None, None),
            // What the table gives the previous one it has.
            ([4_000, 0, 6_000], "scp", None, Some([4_000, 0, 6_000])),
            ([4_000, 0, 6_000], "s", None, Some([10_000, 0, 0])),
            // Cut off.
            (
                [7_500, 2_500, 0],
                "scp",
                Some(Cause::Errors),
                Some([10_000, 0, 0]),
            ),
            (
                [0, 10_000, 0],
                "cp",
                Some(Cause::Errors),
                Some([0, 0, 10_000]),
            ),
            ([0, 10_000, 0], "c", Some(Cause::Slow), Some([0, 10_000, 0])),
            ([0, 10_000, 0], "c", Some(Cause::NonFinite), None),
            ([0, 10_000, 0], "c", Some(Cause::Constant), None),
        ];
        for (weights, ready, cut, expected) in cases {
            let table = table(weights, None);
            assert_eq!(
                shares(&table, ready, cut),
                expected,
                "{weights:?} {ready} {cut:?}"
            );
        }
    }

    #[test]
    fn what_leaves_serves_only_where_nobody_takes_new_requests() {
        let of = |ready: &str, leaving: &str, cut| {
            let presence = |revision: &Revision| match revision.as_str() {
                name if ready.contains(name) => Presence::Ready,
                name if leaving.contains(name) => Presence::Leaving,
                _ => Presence::Absent,
            };
            match effective_of(&table([7_500, 2_500, 0], None), presence, cut) {
                Effective::Nobody => None,
                Effective::Shares(shares) => Some(Role::ALL.map(|role| shares.of(role).get())),
            }
        };
        assert_eq!(of("sc", "p", None), Some([7_500, 2_500, 0]));
        assert_eq!(of("c", "s", None), Some([0, 10_000, 0]));
        assert_eq!(of("s", "c", None), Some([10_000, 0, 0]));
        assert_eq!(of("", "sc", None), Some([7_500, 2_500, 0]));
        assert_eq!(of("p", "sc", None), Some([0, 0, 10_000]));
        // Stable on its way out is better than a canary that was cut off.
        for cause in [Cause::Errors, Cause::Slow] {
            assert_eq!(of("c", "s", Some(cause)), Some([10_000, 0, 0]));
        }
        assert_eq!(of("", "", None), None);
    }

    #[test]
    fn a_cut_off_that_was_confirmed_holds_in_every_router_whatever_its_word() {
        for cause in ["Errors", "Slow", "SomethingOfANewerOperator"] {
            let table = table([5_000, 5_000, 0], Some(cause));
            assert_eq!(shares(&table, "sc", None), Some([10_000, 0, 0]), "{cause}");
        }
        let late = table([0, 10_000, 0], Some("Slow"));
        assert_eq!(shares(&late, "c", None), Some([0, 10_000, 0]));
        let wrong = table([0, 10_000, 0], Some("Constant"));
        assert_eq!(shares(&wrong, "c", None), None);
    }

    fn weights() -> impl Strategy<Value = [u16; 3]> {
        (0_u16..=WHOLE, 0_u16..=WHOLE).prop_map(|(a, b)| {
            let (low, high) = (a.min(b), a.max(b));
            [low, high - low, WHOLE - high]
        })
    }

    fn cause() -> impl Strategy<Value = Option<Cause>> {
        proptest::option::of(proptest::sample::select(Cause::ALL.to_vec()))
    }

    proptest! {
        #[test]
        fn weights_sum_to_the_whole_and_nobody_serves_who_is_not_ready(
            weights in weights(), ready in "s?c?p?", cut in cause(),
        ) {
            let shares = shares(&table(weights, None), &ready, cut);
            if let Some(shares) = shares {
                prop_assert_eq!(shares.iter().sum::<u16>(), WHOLE);
                for (share, name) in shares.into_iter().zip(["s", "c", "p"]) {
                    prop_assert!(share == 0 || ready.contains(name), "{shares:?} {ready}");
                }
                let alone = ready == "c";
                prop_assert!(cut.is_none() || shares[1] == 0 || alone);
            } else {
                prop_assert!(ready.is_empty() || (ready == "c" && cut.is_some()));
            }
        }

        #[test]
        fn raising_the_canary_moves_nobody_back(
            low in 0_u16..=WHOLE, more in 0_u16..=WHOLE, slot in 0_u16..WHOLE,
        ) {
            let high = low + more.min(WHOLE - low);
            let slot = Slot::new(slot).unwrap();
            let owner = |canary: u16| {
                let canary = Weight::new(canary).unwrap();
                Shares { canary, previous: Weight::NONE }.owner(slot)
            };
            prop_assert!(owner(low) != Role::Canary || owner(high) == Role::Canary);
        }

        #[test]
        fn each_role_owns_as_many_slots_as_its_share(weights in weights()) {
            let Effective::Shares(shares) = effective(&table(weights, None), |_| true, None) else {
                return Err(TestCaseError::fail("somebody serves"));
            };
            let mut owned = [0_u16; 3];
            for slot in 0..WHOLE {
                owned[shares.owner(Slot::new(slot).unwrap()) as usize] += 1;
            }
            prop_assert_eq!(owned, weights);
        }
    }
}
