//! The difference of two proportions of users.
//!
//! Owns what is known of a user once: had it, or had it not. Invariant: no more had it than there are,
//! and the error is never 0, so that arms in which nobody had it can be compared.

use crate::estimate::{Estimate, Factor, Undefined};
use crate::means::larger_error;
use crate::special::count;

/// Users of one arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proportion {
    users: u64,
    had: u64,
}

impl Proportion {
    /// `None` where more had it than there are.
    pub fn new(users: u64, had: u64) -> Option<Self> {
        (had <= users).then_some(Self { users, had })
    }

    /// All users of the arm.
    pub const fn users(self) -> u64 {
        self.users
    }

    /// Those that had it.
    pub const fn had(self) -> u64 {
        self.had
    }
}

/// `p_B - r p_A` (stats.md 1.1 (a), `combine_binary` of the reference). Its variance is the larger of
/// that of Agresti and Caffo (one success and one failure more in each arm) and of the score's.
/// `TooFewUnits` where an arm has nobody.
pub fn difference_of_proportions(
    a: Proportion,
    b: Proportion,
    factor: Factor,
) -> Result<Estimate, Undefined> {
    if a.users == 0 || b.users == 0 {
        return Err(Undefined::TooFewUnits);
    }
    let r = factor.get();
    let (n_a, x_a, n_b, x_b) = (count(a.users), count(a.had), count(b.users), count(b.had));
    let spread = |p: f64| p * (1.0 - p);
    let more = |x: f64, n: f64| spread((x + 1.0) / (n + 2.0)) / (n + 2.0);
    let agresti_caffo = more(x_b, n_b) + r * r * more(x_a, n_a);
    let p0 = (x_a + x_b + 1.0) / (n_a + r * n_b + 2.0);
    let q0 = (r * p0).min(1.0);
    let score = spread(q0) / n_b + r * r * spread(p0) / n_a;
    larger_error(x_b / n_b - r * (x_a / n_a), agresti_caffo, score)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_had_it_than_there_are() {
        assert_eq!(Proportion::new(3, 4), None);
        let all = Proportion::new(3, 3).unwrap();
        assert_eq!((all.users(), all.had()), (3, 3));
    }

    #[test]
    fn a_small_arm_without_events_does_not_make_the_error_small() {
        // The score gives both arms the rate of both, and the small one's own would be 0.
        let (large, small) = (
            Proportion::new(9500, 950).unwrap(),
            Proportion::new(500, 0).unwrap(),
        );
        let estimate = difference_of_proportions(large, small, Factor::PLAIN).unwrap();
        assert!(estimate.error() > 0.012, "{}", estimate.error());
    }

    #[test]
    fn arms_without_an_event_are_compared_and_arms_without_users_are_not() {
        let (none, empty) = (
            Proportion::new(200, 0).unwrap(),
            Proportion::new(0, 0).unwrap(),
        );
        let quiet = difference_of_proportions(none, none, Factor::PLAIN).unwrap();
        assert!(quiet.effect() == 0.0 && quiet.error() > 0.0);
        for (a, b) in [(none, empty), (empty, none)] {
            let got = difference_of_proportions(a, b, Factor::PLAIN);
            assert_eq!(got, Err(Undefined::TooFewUnits));
        }
    }
}
