//! The difference of two ratios of sums over hash cells, stratum by stratum.
//!
//! Owns how strata are put together and how large the error of the whole is. A stratum is the time in
//! which the new revision had one share of the traffic. Within it both revisions met the same hours, so
//! that neither a share that grows nor an incident that hits both makes one look worse (stats.md 3: an
//! A/A with a trend and a share from 5 % to 50 % is called different in 100 % of runs where it is taken
//! together). Invariant: a stratum in which one of both had nothing has no part.

use stats::{Arm, Cells, Estimate, Factor, Undefined, difference_of_means};

use super::super::measurement::{Stratum, Sums};

/// What is compared of an arm's sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `R = sum y / sum x`.
    Ratio,
    /// Its root: y sums squares, and a standard deviation is meant.
    Root,
}

impl Shape {
    /// The arm of an arm's sums; of a root with the error that the delta method gives it, `v/(4R)`.
    pub(super) fn arm(self, cells: Cells) -> Result<Arm, Undefined> {
        let arm = cells.ratio()?;
        match self {
            Self::Root if arm.mean() > 0.0 => {
                let variance = arm.variance() / (4.0 * arm.mean());
                Arm::new(arm.units(), arm.mean().sqrt(), variance)
            }
            Self::Ratio | Self::Root => Ok(arm),
        }
    }

    /// By how much it moves with R.
    fn slope(self, ratio: f64) -> f64 {
        match self {
            Self::Ratio => 1.0,
            Self::Root if ratio > 0.0 => 0.5 / ratio.sqrt(),
            Self::Root => 0.0,
        }
    }
}

/// All strata of one arm together.
pub(super) fn total<'s>(strata: impl Iterator<Item = &'s Sums>) -> Sums {
    let mut all = Sums::default();
    for sums in strata {
        all.resize(all.len().max(sums.len()), (0, 0.0));
        for (into, (x, y)) in all.iter_mut().zip(sums) {
            *into = (into.0.saturating_add(*x), into.1 + y);
        }
    }
    all
}

/// The strata in which both revisions had requests of several groups of users.
pub(super) fn comparable(strata: &[Stratum]) -> Vec<&Stratum> {
    let several = |sums: &Sums| sums.iter().filter(|(x, _)| *x > 0).count() >= 2;
    let both = |stratum: &&Stratum| several(&stratum.stable) && several(&stratum.canary);
    strata.iter().filter(both).collect()
}

/// The new revision less the stable one: the mean of the strata's differences, weighted by
/// `h = xA xB / (xA + xB)`. Its variance is the larger of two: that of strata which have no user in
/// common (1.1, the larger of Welch's and the pooled one), and that of the cells' influence on the whole,
/// which knows that a user is there in several strata, and in both arms where the share grew past them.
pub(super) fn difference(shape: Shape, strata: &[&Stratum]) -> Result<Estimate, Undefined> {
    let (mut weights, mut effect, mut apart) = (0.0, 0.0, 0.0);
    let mut influence: Vec<Option<f64>> = Vec::new();
    for stratum in strata {
        let part = part(shape, stratum)?;
        let h = part.a.x * part.b.x / (part.a.x + part.b.x);
        weights += h;
        effect += h * part.estimate.effect();
        apart += h * h * part.estimate.error() * part.estimate.error();
        add(&mut influence, shape, h, &part.b, &stratum.canary);
        add(&mut influence, shape, -h, &part.a, &stratum.stable);
    }
    if weights <= 0.0 {
        return Err(Undefined::TooFewUnits);
    }
    let effect = effect / weights;
    // What lies below its own rounding has no error, whatever the rounding of the influence.
    if apart <= 0.0 {
        return Estimate::new(effect, 0.0);
    }
    let active: Vec<f64> = influence.into_iter().flatten().collect();
    #[expect(clippy::cast_precision_loss, reason = "1,024 cells at most")]
    let cells = active.len() as f64;
    let together = active.iter().map(|z| z * z).sum::<f64>() * cells / (cells - 1.0).max(1.0);
    if apart.is_nan() || together.is_nan() {
        return Err(Undefined::OutOfRange);
    }
    Estimate::new(effect, apart.max(together).sqrt() / weights)
}

/// What one stratum says.
struct Part {
    a: Cells,
    b: Cells,
    estimate: Estimate,
}

fn part(shape: Shape, stratum: &Stratum) -> Result<Part, Undefined> {
    let cells = |sums: &Sums| Cells::of(sums.iter().copied());
    let (a, b) = (cells(&stratum.stable), cells(&stratum.canary));
    let estimate = difference_of_means(shape.arm(a)?, shape.arm(b)?, Factor::PLAIN)?;
    Ok(Part { a, b, estimate })
}

/// Each cell's influence on its arm's part: `slope h (y - R x) / sum x`.
fn add(influence: &mut Vec<Option<f64>>, shape: Shape, h: f64, arm: &Cells, sums: &Sums) {
    let ratio = arm.y / arm.x;
    let factor = h * shape.slope(ratio) / arm.x;
    influence.resize(influence.len().max(sums.len()), None);
    for (z, (x, y)) in influence.iter_mut().zip(sums) {
        if *x > 0 {
            #[expect(clippy::cast_precision_loss, reason = "counts lie below 2^53")]
            let x = *x as f64;
            *z = Some(z.unwrap_or(0.0) + factor * (y - ratio * x));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many requests in each of 400 cells, of which every `nth` has one event.
    fn sums(requests: u64, nth: usize) -> Sums {
        let event = |cell: usize| f64::from(u8::from(cell.is_multiple_of(nth)));
        (0..400).map(|cell| (requests, event(cell))).collect()
    }

    fn stratum(stable: Sums, canary: Sums) -> Stratum {
        Stratum {
            stable,
            canary,
            ..Stratum::default()
        }
    }

    fn difference(shape: Shape, strata: &[Stratum]) -> Result<Estimate, Undefined> {
        super::difference(shape, &comparable(strata))
    }

    #[test]
    fn one_stratum_is_the_plain_difference_with_at_least_its_error() {
        let one = stratum(sums(2, 20), sums(1, 10));
        let plain = difference_of_means(
            Cells::of(one.stable.clone()).ratio().unwrap(),
            Cells::of(one.canary.clone()).ratio().unwrap(),
            Factor::PLAIN,
        )
        .unwrap();
        let whole = difference(Shape::Ratio, &[one]).unwrap();
        assert!((whole.effect() - plain.effect()).abs() < 1e-12);
        assert!(whole.error() >= plain.error() * (1.0 - 1e-12));
    }

    #[test]
    fn an_incident_that_hits_both_while_the_share_is_larger_is_no_difference() {
        // 1 % before, with a tenth of the traffic; 10 % after, with half of it.
        let before = stratum(sums(9, 10), sums(1, 100));
        let after = stratum(sums(5, 2), sums(5, 2));
        let strata = [before, after];
        let apart = difference(Shape::Ratio, &strata).unwrap();
        assert!(apart.effect().abs() < apart.error(), "{apart:?}");
        let together = stratum(
            total(strata.iter().map(|stratum| &stratum.stable)),
            total(strata.iter().map(|stratum| &stratum.canary)),
        );
        let together = difference(Shape::Ratio, &[together]).unwrap();
        assert!(together.effect() > 3.0 * together.error(), "{together:?}");
    }

    #[test]
    fn users_that_are_in_every_stratum_are_no_new_ones() {
        // Their errors fall into other cells than those of the stable revision's users.
        let mut canary = sums(2, 10);
        canary.rotate_right(5);
        let one = stratum(sums(2, 20), canary);
        let alone = difference(Shape::Ratio, std::slice::from_ref(&one)).unwrap();
        let again = difference(Shape::Ratio, &[one.clone(), one]).unwrap();
        assert!(
            (again.error() / alone.error() - 1.0).abs() < 0.05,
            "{again:?} {alone:?}"
        );
    }

    #[test]
    fn where_one_revision_had_nothing_nothing_is_compared() {
        let alone = stratum(Sums::new(), sums(5, 2));
        let none = difference(Shape::Ratio, std::slice::from_ref(&alone));
        assert_eq!(none, Err(Undefined::TooFewUnits));
        let both = stratum(sums(2, 20), sums(1, 10));
        let with = difference(Shape::Ratio, &[both.clone(), alone]);
        assert_eq!(with, difference(Shape::Ratio, &[both]));
    }

    #[test]
    fn what_does_not_vary_has_no_error() {
        let constant: Sums = (1..400)
            .map(|x| (x, 0.3 * f64::from(u32::try_from(x).unwrap())))
            .collect();
        let same = stratum(constant.clone(), constant);
        for shape in [Shape::Ratio, Shape::Root] {
            let difference = difference(shape, std::slice::from_ref(&same)).unwrap();
            assert!(difference.spread().is_err(), "{difference:?}");
        }
        let broken = stratum(sums(2, 20), vec![(1, f64::NAN); 300]);
        assert_eq!(
            difference(Shape::Ratio, &[broken]),
            Err(Undefined::OutOfRange)
        );
    }
}
