//! Whether two arms are as good as the same.
//!
//! Owns the two one-sided tests: the effect is above `-D`, and it is below `D`. Both have to pass, each
//! at the whole level (an intersection-union test).

use crate::estimate::{Estimate, Null, Scale, Undefined};
use crate::level::Alpha;
use crate::normal_mixture::NormalMixture;

/// Evidence that the effect is no further from 0 than a margin (natural logarithms).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Equivalence {
    /// Against: it is `-D` or less.
    pub not_lower: f64,
    /// Against: it is `D` or more.
    pub not_higher: f64,
}

impl Equivalence {
    /// Whether both reach the level.
    pub fn holds(self, alpha: Alpha) -> bool {
        alpha.rejects(self.not_lower) && alpha.rejects(self.not_higher)
    }
}

/// Evidence of equivalence within `margin`, in the units of the metric (stats.md 1.1). `NoVariance` where
/// nothing varies.
pub fn equivalence(
    estimate: Estimate,
    tau: Scale,
    margin: Scale,
) -> Result<Equivalence, Undefined> {
    let mixture = NormalMixture::new(estimate, tau)?;
    Ok(Equivalence {
        not_lower: mixture.log_e(Null::below(margin)).greater,
        not_higher: mixture.log_e(Null::above(margin)).less,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_precise_zero_is_equivalent_and_a_shift_or_a_guess_is_not() {
        let alpha = Alpha::new(0.025).unwrap();
        let scale = |size| Scale::new(size).unwrap();
        let holds = |effect, error| {
            let estimate = Estimate::new(effect, error).unwrap();
            equivalence(estimate, scale(0.1), scale(0.1))
                .unwrap()
                .holds(alpha)
        };
        assert!(holds(0.0, 0.01));
        assert!(!holds(0.0, 0.1) && !holds(0.15, 0.01) && !holds(-0.15, 0.01));
        let constant = Estimate::new(0.0, 0.0).unwrap();
        assert!(equivalence(constant, scale(0.1), scale(0.1)).is_err());
    }
}
