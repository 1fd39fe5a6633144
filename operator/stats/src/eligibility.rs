//! From when on a metric may be judged.
//!
//! Owns the guards of the methods that hold asymptotically (stats.md 1.6). They were set from simulated
//! distributions, and are where those methods' false alarms stay below their level. Exact methods need
//! none. Invariant: what does not vary in either arm is never eligible, however much was seen.

use crate::beta_binomial::Share;
use crate::estimate::Estimate;
use crate::proportions::Proportion;
use crate::special::count;

/// Users, and active cells, of each arm.
const USERS: u64 = 200;
/// Events, and users without, that both rates together would give the smaller arm.
const EVENTS: f64 = 10.0;
/// Pairs whose differences are clipped or roughly symmetric.
const SYMMETRIC_PAIRS: u64 = 500;
/// Pairs of any other kind.
const SKEWED_PAIRS: u64 = 1000;
/// Differences that are not 0, and exceedances.
const SOME: u64 = 20;
/// The part of requests whose shadow must have answered.
const COVERAGE: f64 = 0.95;

/// Why a metric is still collecting. Each says what there is and what is needed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Collecting {
    /// An arm has too few users.
    Users {
        /// Of the smaller arm.
        seen: u64,
        /// What each arm needs.
        needed: u64,
    },
    /// Control has too few requests, or an arm has since the threshold was frozen.
    Requests {
        /// Of control, or of the smaller arm.
        seen: u64,
        /// What is needed.
        needed: u64,
    },
    /// An arm has too few active cells.
    Cells {
        /// Of the smaller arm.
        seen: u64,
        /// What each arm needs.
        needed: u64,
    },
    /// Too few users had the event, or too few had it not.
    Events {
        /// Expected of the smaller arm.
        seen: f64,
        /// What it needs.
        needed: f64,
    },
    /// Too few pairs.
    Pairs {
        /// All.
        seen: u64,
        /// What is needed.
        needed: u64,
    },
    /// Too few pairs on which the arms differ.
    Differences {
        /// Not 0.
        seen: u64,
        /// What is needed.
        needed: u64,
    },
    /// Too few requests above the frozen threshold.
    Exceedances {
        /// Of both arms.
        seen: u64,
        /// What is needed.
        needed: u64,
    },
    /// Nothing varies: a constant is not judged.
    DegenerateMetric,
    /// Too many requests have no shadow answer.
    ShadowCoverage,
}

/// What was seen of an arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Distinct users.
    pub users: u64,
    /// Cells with a request.
    pub cells: u64,
}

/// Whether differences of pairs are clipped or roughly symmetric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// They are.
    Symmetric,
    /// They are not, or nobody knows.
    Skewed,
}

/// Of means and ratios.
pub fn means(a: Seen, b: Seen, estimate: Estimate) -> Result<(), Collecting> {
    let (users, cells) = (a.users.min(b.users), a.cells.min(b.cells));
    at_least(users, USERS, |seen, needed| Collecting::Users {
        seen,
        needed,
    })?;
    at_least(cells, USERS, |seen, needed| Collecting::Cells {
        seen,
        needed,
    })?;
    varies(estimate)
}

/// Of proportions, beside what means need.
pub fn events(a: Proportion, b: Proportion) -> Result<(), Collecting> {
    let fewest = count(a.users().min(b.users()));
    let (had, users) = (
        count(a.had()) + count(b.had()),
        count(a.users()) + count(b.users()),
    );
    let rate = if users > 0.0 { had / users } else { 0.0 };
    let seen = rate.min(1.0 - rate) * fewest;
    let enough = seen >= EVENTS;
    enough.then_some(()).ok_or(Collecting::Events {
        seen,
        needed: EVENTS,
    })
}

/// Of differences within pairs, `differ` of which are not 0.
pub fn pairs(pairs: u64, differ: u64, shape: Shape, estimate: Estimate) -> Result<(), Collecting> {
    let needed = match shape {
        Shape::Symmetric => SYMMETRIC_PAIRS,
        Shape::Skewed => SKEWED_PAIRS,
    };
    at_least(pairs, needed, |seen, needed| Collecting::Pairs {
        seen,
        needed,
    })?;
    at_least(differ, SOME, |seen, needed| Collecting::Differences {
        seen,
        needed,
    })?;
    varies(estimate)
}

/// Whether control's threshold can be frozen: `n >= 50 / (1 - p)` requests of it.
pub fn freeze(control: u64, p: Share) -> Result<(), Collecting> {
    let needed = libm::ceil(50.0 / (1.0 - p.get()) - 1e-6);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is above 0, and the cast stops at the largest count"
    )]
    let needed = needed as u64;
    at_least(control, needed, |seen, needed| Collecting::Requests {
        seen,
        needed,
    })
}

/// Of proportions above a frozen threshold, with what came after the freeze.
pub fn exceedances(a: Proportion, b: Proportion) -> Result<(), Collecting> {
    let fewest = a.users().min(b.users());
    at_least(fewest, USERS, |seen, needed| Collecting::Requests {
        seen,
        needed,
    })?;
    let above = a.had().saturating_add(b.had());
    at_least(above, SOME, |seen, needed| Collecting::Exceedances {
        seen,
        needed,
    })
}

/// Whether enough requests have a shadow answer for a promotion. Without requests there is nothing to
/// cover.
pub fn coverage(requests: u64, answered: u64) -> Result<(), Collecting> {
    let enough = requests == 0 || count(answered) >= COVERAGE * count(requests);
    enough.then_some(()).ok_or(Collecting::ShadowCoverage)
}

fn at_least(
    seen: u64,
    needed: u64,
    collecting: fn(u64, u64) -> Collecting,
) -> Result<(), Collecting> {
    if seen >= needed {
        Ok(())
    } else {
        Err(collecting(seen, needed))
    }
}

fn varies(estimate: Estimate) -> Result<(), Collecting> {
    estimate
        .spread()
        .map(|_| ())
        .map_err(|_| Collecting::DegenerateMetric)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(error: f64) -> Estimate {
        Estimate::new(0.0, error).unwrap()
    }

    #[test]
    fn means_need_users_and_cells_in_both_arms() {
        let seen = |users, cells| Seen { users, cells };
        let (enough, one) = (seen(200, 200), known(1.0));
        assert_eq!(means(enough, enough, one), Ok(()));
        let users = Collecting::Users {
            seen: 199,
            needed: 200,
        };
        assert_eq!(means(seen(199, 200), enough, one), Err(users));
        let cells = Collecting::Cells {
            seen: 7,
            needed: 200,
        };
        assert_eq!(means(enough, seen(200, 7), one), Err(cells));
        assert_eq!(
            means(enough, enough, known(0.0)),
            Err(Collecting::DegenerateMetric)
        );
    }

    #[test]
    fn proportions_need_events_and_users_without() {
        let of = |users, had| Proportion::new(users, had).unwrap();
        assert_eq!(events(of(1000, 10), of(1000, 10)), Ok(()));
        for (a, b) in [
            (of(1000, 9), of(1000, 10)),
            (of(1000, 991), of(1000, 990)),
            (of(0, 0), of(0, 0)),
        ] {
            assert!(
                matches!(events(a, b), Err(Collecting::Events { .. })),
                "{a:?} {b:?}"
            );
        }
    }

    #[test]
    fn skewed_pairs_need_twice_as_many() {
        let one = known(1.0);
        assert_eq!(pairs(500, 20, Shape::Symmetric, one), Ok(()));
        let few = Collecting::Pairs {
            seen: 500,
            needed: 1000,
        };
        assert_eq!(pairs(500, 20, Shape::Skewed, one), Err(few));
        let same = Collecting::Differences {
            seen: 19,
            needed: 20,
        };
        assert_eq!(pairs(1000, 19, Shape::Skewed, one), Err(same));
        let constant = pairs(1000, 20, Shape::Skewed, known(0.0));
        assert_eq!(constant, Err(Collecting::DegenerateMetric));
    }

    #[test]
    fn a_threshold_is_frozen_after_a_thousand_requests_at_p95() {
        let p95 = Share::new(0.95).unwrap();
        assert_eq!(freeze(1000, p95), Ok(()));
        assert_eq!(
            freeze(999, p95),
            Err(Collecting::Requests {
                seen: 999,
                needed: 1000
            })
        );
        let of = |users, had| Proportion::new(users, had).unwrap();
        assert_eq!(exceedances(of(200, 10), of(200, 10)), Ok(()));
        let few = Collecting::Exceedances {
            seen: 19,
            needed: 20,
        };
        assert_eq!(exceedances(of(200, 10), of(200, 9)), Err(few));
        let short = Collecting::Requests {
            seen: 199,
            needed: 200,
        };
        assert_eq!(exceedances(of(200, 10), of(199, 10)), Err(short));
    }

    #[test]
    fn a_shadow_that_misses_more_than_one_in_twenty_promotes_nothing() {
        assert_eq!((coverage(0, 0), coverage(100, 95)), (Ok(()), Ok(())));
        assert_eq!(coverage(100, 94), Err(Collecting::ShadowCoverage));
    }
}
