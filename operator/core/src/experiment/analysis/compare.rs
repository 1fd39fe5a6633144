//! The difference of two arms over hash cells, epoch by epoch.
//!
//! Owns how epochs are put together, and the least error of a rate. Each epoch compares its own arms, so that
//! an arm which got more traffic in good times does not look good for it (stats.md 3 and 5). Users are in the
//! same cell in every epoch, so the error of the whole is at least that of the cells' influence on it.
//! Invariant: an epoch in which an arm had nothing has no part.

use stats::{Arm, Cells, Estimate, Factor, Undefined, difference_of_means};

use super::super::totals::Sums;

/// One epoch: control's cells and the variant's.
pub(super) type Stratum<'a> = (&'a Sums, &'a Sums);

/// The arm of cells. A rate has at least the error that one has where requests are independent: few events
/// vary less among themselves than they would in the next sample, and none do not vary at all.
pub(super) fn arm(sums: &Sums, rate: Option<f64>) -> Result<Arm, Undefined> {
    let cells = Cells::of(sums.iter().copied());
    let arm = cells.ratio()?;
    let Some(rate) = rate else {
        return Ok(arm);
    };
    let floor = rate * (1.0 - rate) / cells.x.max(1.0) * number(arm.units());
    Arm::new(arm.units(), arm.mean(), arm.variance().max(floor))
}

/// The rate of both arms together, with one event and one request without it more.
pub(super) fn pooled_rate(strata: &[Stratum<'_>]) -> f64 {
    let sums = strata.iter().flat_map(|(a, b)| [a, b]);
    let (mut x, mut y) = (2.0, 1.0);
    for (of, sum) in sums.flat_map(|sums| sums.iter()) {
        x += number(*of);
        y += sum;
    }
    (y / x).clamp(0.0, 1.0)
}

/// All epochs of one arm together.
pub(super) fn together<'a>(sums: impl Iterator<Item = &'a Sums>) -> Sums {
    let mut all = Sums::default();
    for sums in sums {
        all.resize(all.len().max(sums.len()), (0, 0.0));
        for (into, (x, y)) in all.iter_mut().zip(sums) {
            *into = (into.0.saturating_add(*x), into.1 + y);
        }
    }
    all
}

/// `B - r A`, with `rate` as in [`arm`].
pub(super) fn difference(
    strata: &[Stratum<'_>],
    rate: Option<f64>,
    factor: Factor,
) -> Result<Estimate, Undefined> {
    let several = |sums: &Sums| sums.iter().filter(|(x, _)| *x > 0).count() >= 2;
    let strata: Vec<&Stratum<'_>> = strata
        .iter()
        .filter(|(a, b)| several(a) && several(b))
        .collect();
    if let [(a, b)] = strata.as_slice() {
        return difference_of_means(arm(a, rate)?, arm(b, rate)?, factor);
    }
    let (mut weights, mut effect, mut apart) = (0.0, 0.0, 0.0);
    let mut influence: Vec<f64> = Vec::new();
    for (a, b) in strata {
        let estimate = difference_of_means(arm(a, rate)?, arm(b, rate)?, factor)?;
        let (of_a, of_b) = (Cells::of(a.iter().copied()), Cells::of(b.iter().copied()));
        let h = of_a.x * of_b.x / (of_a.x + of_b.x);
        weights += h;
        effect += h * estimate.effect();
        apart += h * h * estimate.error() * estimate.error();
        add(&mut influence, h, &of_b, b);
        add(&mut influence, -h * factor.get(), &of_a, a);
    }
    if weights <= 0.0 {
        return Err(Undefined::TooFewUnits);
    }
    let together: f64 = influence.iter().map(|z| z * z).sum();
    if apart.is_nan() || together.is_nan() {
        return Err(Undefined::OutOfRange);
    }
    // What lies below its own rounding has no error, whatever the rounding of the influence.
    let variance = if apart <= 0.0 {
        0.0
    } else {
        apart.max(together)
    };
    Estimate::new(effect / weights, variance.sqrt() / weights)
}

/// Each cell's influence on its arm's part: `h (y - R x) / sum x`.
fn add(influence: &mut Vec<f64>, h: f64, arm: &Cells, sums: &Sums) {
    let ratio = arm.y / arm.x;
    influence.resize(influence.len().max(sums.len()), 0.0);
    for (z, (x, y)) in influence.iter_mut().zip(sums) {
        if *x > 0 {
            *z += h / arm.x * (y - ratio * number(*x));
        }
    }
}

/// A count as the statistics take it.
#[expect(clippy::cast_precision_loss, reason = "no count reaches 2^53")]
pub(super) const fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many requests in each of 400 cells, of which every `nth` has one event.
    fn sums(requests: u64, nth: usize) -> Sums {
        let event = |cell: usize| f64::from(u8::from(cell.is_multiple_of(nth)));
        (0..400).map(|cell| (requests, event(cell))).collect()
    }

    fn rate(strata: &[Stratum<'_>]) -> Estimate {
        difference(strata, Some(pooled_rate(strata)), Factor::PLAIN).unwrap()
    }

    #[test]
    fn an_arm_that_got_more_traffic_in_bad_times_is_not_worse_for_it() {
        // growthbook#6730: 1 % before, with a tenth of the traffic; 50 % after, with half of it.
        let before = (sums(90, 10), sums(10, 100));
        let after = (sums(50, 1), sums(50, 1));
        let strata = [(&before.0, &before.1), (&after.0, &after.1)];
        let apart = rate(&strata);
        assert!(apart.effect().abs() < apart.error(), "{apart:?}");
        let a = together([&before.0, &after.0].into_iter());
        let b = together([&before.1, &after.1].into_iter());
        let mixed = rate(&[(&a, &b)]);
        assert!(mixed.effect() > 3.0 * mixed.error(), "{mixed:?}");
    }

    #[test]
    fn users_of_two_epochs_are_no_new_ones() {
        let mut b = sums(2, 10);
        b.rotate_right(5);
        let one = (sums(2, 20), b);
        let alone = rate(&[(&one.0, &one.1)]);
        let twice = rate(&[(&one.0, &one.1), (&one.0, &one.1)]);
        // Of independent ones it would be 0.71 times as large.
        assert!(twice.error() > 0.9 * alone.error());
    }

    #[test]
    fn no_event_at_all_can_be_compared_and_a_constant_score_cannot() {
        let none = sums(50, 1000);
        let none: Sums = none.into_iter().map(|(x, _)| (x, 0.0)).collect();
        assert!(rate(&[(&none, &none)]).spread().is_ok());
        let constant: Sums = (1..400).map(|x| (x, 0.3 * number(x))).collect();
        let same = difference(&[(&constant, &constant)], None, Factor::PLAIN).unwrap();
        assert!(same.spread().is_err());
    }

    #[test]
    fn an_epoch_in_which_an_arm_had_nothing_has_no_part() {
        let both = (sums(2, 20), sums(1, 10));
        let nobody = Sums::new();
        let with = rate(&[(&both.0, &both.1), (&both.0, &nobody)]);
        assert_eq!(
            with.effect().to_bits(),
            rate(&[(&both.0, &both.1)]).effect().to_bits()
        );
        let none = difference(&[(&nobody, &both.1)], None, Factor::PLAIN);
        assert_eq!(none, Err(Undefined::TooFewUnits));
    }
}
