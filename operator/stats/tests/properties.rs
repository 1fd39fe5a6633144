//! What holds for all numbers, and no vector says.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use stats::{
    Allocation, Alpha, Arm, ArmUsers, BetaPrior, Bounded, Cells, Discordance, Estimate, Events,
    Factor, Histogram, Interval, Kappa, Moments, NormalMixture, Null, Proportion, RateRatio, SLOTS,
    Scale, Share, Tally, Tuning, beta_binomial, binomial_cs, difference_of_means,
    difference_of_proportions, e_bh, equivalence, event_split, holm, sample_ratio,
};

fn close(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-9 * one.abs().max(other.abs()).max(1e-3)
}

fn alpha() -> impl Strategy<Value = Alpha> {
    (-40.0_f64..-0.2).prop_map(|ln| Alpha::new(ln.exp()).unwrap())
}

/// Two levels, the smaller first.
fn alphas() -> impl Strategy<Value = (Alpha, Alpha)> {
    (alpha(), 0.01_f64..1.0).prop_map(|(alpha, part)| (alpha.part(part).unwrap_or(alpha), alpha))
}

fn mixture() -> impl Strategy<Value = NormalMixture> {
    (-5.0_f64..5.0, -8.0_f64..3.0, -8.0_f64..3.0).prop_map(|(effect, ln_error, ln_tau)| {
        let estimate = Estimate::new(effect, ln_error.exp()).unwrap();
        NormalMixture::new(estimate, Scale::new(ln_tau.exp()).unwrap()).unwrap()
    })
}

fn tally() -> impl Strategy<Value = Tally> {
    let count = || prop_oneof![0_u64..20, 0_u64..1_000_000];
    (count(), count()).prop_map(|(successes, failures)| Tally {
        successes,
        failures,
    })
}

fn arm() -> impl Strategy<Value = Arm> {
    (2_u64..1_000_000, -5.0_f64..5.0, 0.001_f64..50.0)
        .prop_map(|(units, mean, variance)| Arm::new(units, mean, variance).unwrap())
}

fn within(inner: Interval, outer: Interval) -> bool {
    let slack = 1e-9 * (outer.high - outer.low).max(1e-3);
    outer.low <= inner.low + slack && inner.high <= outer.high + slack
}

proptest! {
    #[test]
    fn a_smaller_alpha_gives_a_wider_interval((small, large) in alphas(), mixture in mixture()) {
        prop_assert!(within(mixture.interval(large), mixture.interval(small)));
        prop_assert!(mixture.lower(small) <= mixture.lower(large) + 1e-9);
        prop_assert!(mixture.upper(small) >= mixture.upper(large) - 1e-9);
    }

    #[test]
    fn a_smaller_alpha_gives_wider_bounds_of_counts(
        (small, large) in alphas(), tally in tally(), sum in 0_u32..100,
    ) {
        let prior = BetaPrior::JEFFREYS;
        prop_assert!(within(binomial_cs(tally, prior, large), binomial_cs(tally, prior, small)));
        let values = Moments::new(200, f64::from(sum), 120.0).unwrap();
        let bounded = Bounded::new(values, -1.0, Tuning::new(50.0).unwrap()).unwrap();
        prop_assert!(bounded.lower(small) <= bounded.lower(large) + 1e-9);
    }

    #[test]
    fn intervals_hold_the_estimate(alpha in alpha(), effect in -5.0_f64..5.0, error in 0.001_f64..9.0, tally in tally()) {
        let estimate = Estimate::new(effect, error).unwrap();
        let mixture = NormalMixture::new(estimate, Scale::new(0.3).unwrap()).unwrap();
        prop_assert!(mixture.interval(alpha).contains(effect));
        prop_assert!(mixture.lower(alpha) <= effect && effect <= mixture.upper(alpha));
        let interval = binomial_cs(tally, BetaPrior::JEFFREYS, alpha);
        let all = tally.successes + tally.failures;
        if all > 0 {
            #[expect(clippy::cast_precision_loss, reason = "small counts")]
            let seen = tally.successes as f64 / all as f64;
            prop_assert!(interval.low <= seen + 1e-12 && seen <= interval.high + 1e-12, "{interval:?}");
        }
        prop_assert!(interval.low >= 0.0 && interval.high <= 1.0);
    }

    #[test]
    fn what_is_outside_an_interval_is_rejected_and_nothing_else(
        alpha in alpha(), mixture in mixture(), null in -9.0_f64..9.0,
    ) {
        let evidence = mixture.log_e(Null::new(null).unwrap());
        let near = |ln_e: f64| (ln_e - alpha.threshold()).abs() < 1e-6 * alpha.threshold();
        if !near(evidence.two_sided) {
            let outside = !mixture.interval(alpha).contains(null);
            prop_assert_eq!(outside, alpha.rejects(evidence.two_sided));
        }
        // At levels where evidence of nothing would reject, a one-sided bound stops at the estimate.
        if !near(evidence.greater) && mixture.multiplier(alpha) > 1e-6 {
            prop_assert_eq!(null < mixture.lower(alpha), alpha.rejects(evidence.greater));
        }
    }

    #[test]
    fn at_its_ends_an_interval_of_counts_has_evidence_just_enough(alpha in alpha(), tally in tally()) {
        let interval = binomial_cs(tally, BetaPrior::JEFFREYS, alpha);
        for end in [interval.low, interval.high] {
            if let Some(share) = Share::new(end).filter(|share| share.get() > 1e-9 && share.get() < 1.0 - 1e-9) {
                let evidence = beta_binomial(tally, share, BetaPrior::JEFFREYS).two_sided;
                prop_assert!((evidence - alpha.threshold()).abs() < 1e-4 * alpha.threshold(), "{evidence}");
            }
        }
    }

    #[test]
    fn swapping_the_arms_turns_the_effect(a in arm(), b in arm()) {
        let one = difference_of_means(a, b, Factor::PLAIN).unwrap();
        let other = difference_of_means(b, a, Factor::PLAIN).unwrap();
        prop_assert!(close(one.effect(), -other.effect()) && close(one.error(), other.error()));
        let tau = Scale::new(0.2).unwrap();
        let log_e = |estimate| NormalMixture::new(estimate, tau).unwrap().log_e(Null::ZERO);
        prop_assert!(close(log_e(one).greater, log_e(other).less));
        prop_assert!(close(log_e(one).two_sided, log_e(other).two_sided));
        let (there, back) = (equivalence(one, tau, tau).unwrap(), equivalence(other, tau, tau).unwrap());
        prop_assert!(close(there.not_lower, back.not_higher));
    }

    #[test]
    fn swapping_the_arms_swaps_the_evidence_of_counts(
        x_a in 0_u64..5000, x_b in 0_u64..5000, more in 0_u64..5000, w_a in 0.05_f64..1.0, w_b in 0.05_f64..1.0,
    ) {
        let proportion = |had: u64| Proportion::new(had + more, had).unwrap();
        if more > 0 {
            let one = difference_of_proportions(proportion(x_a), proportion(x_b), Factor::PLAIN).unwrap();
            let other = difference_of_proportions(proportion(x_b), proportion(x_a), Factor::PLAIN).unwrap();
            prop_assert!(close(one.effect(), -other.effect()) && close(one.error(), other.error()));
        }
        let events = |users, weight| Events { users, weight };
        let split = |a, b| event_split(a, b, RateRatio::SAME, Kappa::DEFAULT).unwrap().evidence;
        let one = split(events(x_a, w_a), events(x_b, w_b));
        let other = split(events(x_b, w_b), events(x_a, w_a));
        prop_assert!(close(one.greater, other.less) && close(one.two_sided, other.two_sided));
        let arm = |users, weight| ArmUsers { users, weight };
        let ratio = |one, other| sample_ratio(&[one, other]).unwrap();
        let (there, back) = (ratio(arm(x_a, w_a), arm(x_b, w_b)), ratio(arm(x_b, w_b), arm(x_a, w_a)));
        prop_assert!(close(there, back), "{there} {back}");
    }

    #[test]
    fn evidence_begins_at_one(theta in 0.001_f64..0.999, a in 0.1_f64..50.0, b in 0.1_f64..50.0, w in 0.01_f64..9.0) {
        let nothing = Tally::default();
        let prior = BetaPrior::new(a, b).unwrap();
        let counts = beta_binomial(nothing, Share::new(theta).unwrap(), prior);
        let none = |weight| Events { users: 0, weight };
        let split = event_split(none(1.0), none(w), RateRatio::SAME, Kappa::DEFAULT).unwrap().evidence;
        let pairs = Discordance::new(0, 0, 0).unwrap().log_e().unwrap();
        let arm = |weight| ArmUsers { users: 0, weight };
        let ratio = sample_ratio(&[arm(1.0), arm(w)]).unwrap();
        let bounded = Bounded::new(Moments::default(), -1.0, Tuning::new(a).unwrap()).unwrap().log_e(theta);
        for evidence in [counts, split, pairs] {
            prop_assert!(evidence.two_sided.abs() + evidence.greater.abs() + evidence.less.abs() < 1e-12);
        }
        prop_assert!(ratio.abs() < 1e-12 && bounded.abs() < 1e-12);
    }

    #[test]
    fn more_of_the_same_is_more_evidence(effect in 0.05_f64..2.0, error in 0.001_f64..0.02) {
        let log_e = |error| {
            let estimate = Estimate::new(effect, error).unwrap();
            NormalMixture::new(estimate, Scale::new(effect).unwrap()).unwrap().log_e(Null::ZERO)
        };
        prop_assert!(log_e(error).greater > log_e(error * 1.1).greater);
        prop_assert!(log_e(error).less < 0.0);
    }

    #[test]
    fn moments_put_together_are_those_of_one_pass(
        values in prop::collection::vec(-100.0_f64..100.0, 0..60), cut in 0_usize..60, other in 0_usize..60,
    ) {
        let (low, high) = (cut.min(other).min(values.len()), cut.max(other).min(values.len()));
        let of = |part: &[f64]| Moments::of(part.iter().copied()).unwrap();
        let (rest, last) = values.split_at(high);
        let (first, middle) = rest.split_at(low);
        let (a, b, c) = (of(first), of(middle), of(last));
        let left = a.merge(b).unwrap().merge(c).unwrap();
        let right = a.merge(b.merge(c).unwrap()).unwrap();
        for merged in [left, right] {
            prop_assert_eq!(merged.n(), of(&values).n());
            prop_assert!((merged.sum() - of(&values).sum()).abs() < 1e-9);
            prop_assert!(close(merged.squares(), of(&values).squares()));
        }
        prop_assert_eq!(a.merge(b), b.merge(a));
        prop_assert!(of(&values).variance().is_none_or(|variance| variance >= 0.0));
    }

    #[test]
    fn no_sums_yield_nan(
        n in 0_u64..5, sums in prop::collection::vec(prop_oneof![Just(0.0), Just(1e150), -1e3_f64..1e3, prop::num::f64::ANY], 5),
    ) {
        let [x, y, xx, xy, yy] = sums.try_into().unwrap();
        let cells = Cells { units: n, x, y, xx, xy, yy };
        if let Ok(arm) = cells.ratio() {
            prop_assert!(arm.mean().is_finite() && arm.variance() >= 0.0);
        }
        let cross = stats::Cross { pairs: n, a: x, b: y, aa: xx, bb: yy, ab: xy };
        if let Ok(scores) = cross.scores() {
            prop_assert!(scores.estimate.error() >= 0.0);
            prop_assert!(scores.pearson.is_none_or(|r| (-1.0..=1.0).contains(&r)), "{scores:?}");
        }
        if let Some(moments) = Moments::new(n, x, xx) {
            prop_assert!(moments.variance().is_none_or(|variance| variance >= 0.0));
            if let Some(bounded) = Bounded::new(moments, -1.0, Tuning::new(10.0).unwrap()) {
                prop_assert!(!bounded.log_e(y).is_nan());
                prop_assert!(bounded.lower(Alpha::new(0.05).unwrap()) >= -1.0);
            }
        }
    }

    #[test]
    fn the_ends_of_a_quantile_are_in_order(
        cells in prop::collection::vec(0_u64..3000, 9), p in 0.02_f64..0.98, alpha in alpha(),
    ) {
        let edges = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        let histogram = Histogram::new(&edges, &cells).unwrap();
        let quantile = histogram.quantile(Share::new(p).unwrap(), alpha, Kappa::new(500.0).unwrap());
        if let Some(quantile) = quantile {
            prop_assert!(quantile.lower.is_none_or(|lower| lower <= quantile.estimate), "{quantile:?}");
            prop_assert!(quantile.upper.is_none_or(|upper| quantile.estimate <= upper), "{quantile:?}");
        }
    }

    #[test]
    fn more_coverage_moves_nobody_to_another_arm(
        first in 0_u16..=SLOTS, low in 0_u16..=SLOTS, high in 0_u16..=SLOTS,
    ) {
        let weights = [first, SLOTS - first];
        let few = Allocation::initial(&weights, low.min(high)).unwrap();
        let many = Allocation::initial(&weights, low.max(high)).unwrap();
        for slot in 0..SLOTS {
            prop_assert!(few.owner(slot).is_none() || few.owner(slot) == many.owner(slot), "{slot}");
        }
    }

    #[test]
    fn new_weights_move_as_few_as_can_be(
        before in prop::array::uniform3(0_u16..3333), after in prop::array::uniform3(0_u16..3333),
        coverage in 0_u16..=SLOTS,
    ) {
        let old = Allocation::initial(&before, coverage).unwrap();
        let new = old.reallocate(&after).unwrap();
        let slots = |allocation: &Allocation, variant| {
            (0..SLOTS).filter(|slot| allocation.owner(*slot) == Some(variant)).count()
        };
        let mut kept = 0;
        for (variant, wanted) in after.iter().enumerate() {
            prop_assert_eq!(slots(&new, variant), usize::from(*wanted));
            kept += slots(&old, variant).min(usize::from(*wanted));
        }
        let stayed = (0..SLOTS).filter(|slot| old.owner(*slot).is_some() && old.owner(*slot) == new.owner(*slot));
        prop_assert_eq!(stayed.count(), kept);
        prop_assert!(Allocation::new(new.ranges().to_vec()).is_some());
    }

    #[test]
    fn corrections_never_reject_more_than_each_alone(
        p_values in prop::collection::vec(0.0_f64..=1.0, 0..12), ln_es in prop::collection::vec(-5.0_f64..12.0, 0..12),
    ) {
        let adjusted = holm(&p_values).unwrap();
        for (adjusted, p) in adjusted.iter().zip(&p_values) {
            prop_assert!(adjusted >= p && *adjusted <= 1.0);
        }
        let alpha = Alpha::new(0.05).unwrap();
        for index in e_bh(&ln_es, alpha).unwrap() {
            prop_assert!(alpha.rejects(*ln_es.get(index).unwrap()));
        }
    }
}

#[test]
fn an_allocation_that_overlaps_or_wants_too_much_is_refused() {
    let range = |from, to, variant| stats::Range { from, to, variant };
    for bad in [
        vec![range(0, 10, 0), range(9, 12, 1)],
        vec![range(5, 5, 0)],
        vec![range(0, SLOTS + 1, 0)],
    ] {
        assert_eq!(Allocation::new(bad), None);
    }
    assert_eq!(Allocation::initial(&[5000, 5001], 1), None);
    assert_eq!(Allocation::initial(&[u16::MAX, u16::MAX], 1), None);
    assert_eq!(Allocation::initial(&[5000, 5000], SLOTS + 1), None);
    let whole = Allocation::initial(&[5000, 5000], SLOTS).unwrap();
    assert_eq!(whole.reallocate(&[5000, 5001]), None);
    assert_eq!(whole.reallocate(&[u16::MAX, u16::MAX]), None);
    assert_eq!(whole.reallocate(&[5000]), None);
    assert_eq!(whole.owner(SLOTS), None);
}
