//! Error levels, and when evidence reaches them.
//!
//! Owns `alpha`, the p-value of an e-value, and evidence that was seen before and after something was
//! lost. Invariant: an [`Alpha`] lies strictly between 0 and 1, so that its threshold is finite and above 0.

use libm::{exp, log};

/// The probability of a false alarm that a test may have.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Alpha(f64);

impl Alpha {
    /// `None` unless it lies strictly between 0 and 1.
    pub fn new(alpha: f64) -> Option<Self> {
        (alpha > 0.0 && alpha < 1.0).then_some(Self(alpha))
    }

    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }

    /// `ln(1/alpha)`: evidence that reaches it rejects.
    pub fn threshold(self) -> f64 {
        -log(self.0)
    }

    /// Whether evidence (a natural logarithm) rejects at this level. No NaN rejects.
    pub fn rejects(self, ln_e: f64) -> bool {
        ln_e >= self.threshold()
    }

    /// A part of it, between 0 and 1. `None` where nothing is left.
    pub fn part(self, part: f64) -> Option<Self> {
        Self::new(self.0 * part)
    }
}

/// The p-value that stays valid at every look: `min(1, 1/E)`. 1 where there is no evidence.
pub fn p_value(ln_e: f64) -> f64 {
    exp(-ln_e.max(0.0)).min(1.0)
}

/// Evidence, and the most that there ever was (natural logarithms). A test for harm looks at the most,
/// one for benefit at what there is now: both are valid, and this is the safe asymmetry (stats.md 2.2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latched {
    /// Now.
    pub current: f64,
    /// The most so far.
    pub most: f64,
}

impl Latched {
    /// Before anything was seen: evidence starts at E = 1.
    pub const START: Self = Self {
        current: 0.0,
        most: 0.0,
    };

    /// After another look. A NaN changes nothing.
    #[must_use]
    pub fn look(self, ln_e: f64) -> Self {
        if ln_e.is_nan() {
            return self;
        }
        Self {
            current: ln_e,
            most: self.most.max(ln_e),
        }
    }
}

/// Evidence from before data were lost, together with that of an e-process which began anew after it: a
/// stopped e-value times a fresh one is an e-value (stats.md 0; also of the epochs of a sample-ratio
/// test). What was impossible stays so.
pub fn carried(before: f64, since: f64) -> f64 {
    let impossible = before == f64::NEG_INFINITY || since == f64::NEG_INFINITY;
    if impossible {
        f64::NEG_INFINITY
    } else {
        before + since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alpha_is_no_nan_and_lies_between_0_and_1() {
        for bad in [f64::NAN, 0.0, 1.0, -0.1, f64::INFINITY] {
            assert_eq!(Alpha::new(bad), None);
        }
        assert!(Alpha::new(1e-200).unwrap().threshold() > 460.0);
        assert_eq!(Alpha::new(1e-300).unwrap().part(1e-300), None);
    }

    #[test]
    fn no_nan_rejects() {
        let alpha = Alpha::new(0.05).unwrap();
        assert!(alpha.rejects(3.0) && !alpha.rejects(2.99) && !alpha.rejects(f64::NAN));
        assert!(alpha.rejects(f64::INFINITY) && !alpha.rejects(f64::NEG_INFINITY));
    }

    #[test]
    fn a_p_value_is_at_most_one() {
        for ln_e in [f64::NEG_INFINITY, -3.0, 0.0, f64::NAN] {
            assert!((p_value(ln_e) - 1.0).abs() < f64::EPSILON, "{ln_e}");
        }
        assert!(p_value(f64::INFINITY).abs() < f64::EPSILON);
    }

    #[test]
    fn harm_that_was_seen_is_not_forgotten() {
        let seen = Latched::START.look(4.0).look(f64::NAN).look(1.0);
        assert_eq!(
            (seen.current.to_bits(), seen.most.to_bits()),
            (1.0_f64.to_bits(), 4.0_f64.to_bits())
        );
    }

    #[test]
    fn carried_evidence_is_never_nan() {
        assert!((carried(1.0, 2.0) - 3.0).abs() < f64::EPSILON);
        let none = carried(f64::INFINITY, f64::NEG_INFINITY);
        assert!(none.is_infinite() && none < 0.0);
    }
}
