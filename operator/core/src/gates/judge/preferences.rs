//! Gates on labelled pairs: whether the new revision prefers what people prefer.
//!
//! Owns which of the exact tests decides. A tie is wrong for both; a pair counts once.

use crds::v1alpha1::reward_model::status::Verdict;
use stats::{Alpha, BetaPrior, Bounded, Discordance, Moments, Tally, Tuning, binomial_cs};

use super::super::figures::percent;
use super::super::gate::{Gate, PreferencesRule};
use super::super::measurement::Labelled;
use super::{Judgement, collecting, share};

/// The sum of squares at which the bounded sequence is tightest: some hundred pairs on which the
/// revisions differ.
const TIGHTEST: f64 = 200.0;

pub(super) fn judge(gate: &Gate, rule: &PreferencesRule, labelled: Labelled) -> Judgement {
    let pairs = labelled.pairs();
    if pairs < gate.min_samples {
        return collecting("labelled pairs", pairs, gate.min_samples);
    }
    match rule {
        PreferencesRule::MinAccuracy(least) => accuracy(gate.alpha, *least, labelled),
        PreferencesRule::Compare { margin } => compare(gate.alpha, *margin, labelled),
    }
}

/// The accuracy, by its exact sequence (stats.md 1.2).
fn accuracy(alpha: Alpha, least: f64, labelled: Labelled) -> Judgement {
    let right = labelled.both_right.saturating_add(labelled.canary_alone);
    let tally = Tally {
        successes: right,
        failures: labelled.pairs().saturating_sub(right),
    };
    let known = binomial_cs(tally, BetaPrior::JEFFREYS, alpha);
    let estimate = share(right, labelled.pairs());
    let (verdict, word) = if known.high < least {
        (Verdict::Fail, "below")
    } else if estimate >= least {
        (Verdict::Pass, "within")
    } else {
        (Verdict::Inconclusive, "not surely below")
    };
    let message = format!(
        "accuracy {} ({} to {}) on labelled pairs: {word} the least of {}",
        percent(estimate),
        percent(known.low),
        percent(known.high),
        percent(least)
    );
    Judgement::new(verdict, message)
        .on(labelled.pairs())
        .estimated(estimate)
        .between(known.low, known.high)
}

/// Against the stable revision: without a margin by the sequential `McNemar` test (stats.md 1.2), with one
/// by the exact sequence for differences of -1, 0 and 1 (1.3).
fn compare(alpha: Alpha, margin: f64, labelled: Labelled) -> Judgement {
    let pairs = labelled.pairs();
    let counts = Discordance::new(pairs, labelled.canary_alone, labelled.stable_alone);
    let sums = counts.and_then(Discordance::differences);
    let (Some(counts), Some(sums), Some(tuning)) = (counts, sums, Tuning::at(TIGHTEST, alpha))
    else {
        return Judgement::new(
            Verdict::Error,
            "the counts of labelled pairs are out of range",
        );
    };
    let estimate = sums.mean().unwrap_or(0.0);
    let evidence = |worse: bool, margin: f64| {
        let values = if worse { turned(sums) } else { Some(sums) };
        let bounded = values.and_then(|values| Bounded::new(values, -1.0, tuning));
        bounded.map_or(f64::NEG_INFINITY, |bounded| bounded.log_e(margin))
    };
    let harm = if margin > 0.0 {
        evidence(true, margin)
    } else {
        counts.log_e().map_or(f64::NEG_INFINITY, |log_e| log_e.less)
    };
    let verdict = if alpha.rejects(harm) {
        Verdict::Fail
    } else if margin <= 0.0 || alpha.rejects(evidence(false, -margin)) {
        Verdict::Pass
    } else {
        Verdict::Inconclusive
    };
    let lower = Bounded::new(sums, -1.0, tuning).map_or(-1.0, |bounded| bounded.lower(alpha));
    let upper = turned(sums)
        .and_then(|sums| Bounded::new(sums, -1.0, tuning))
        .map_or(1.0, |bounded| -bounded.lower(alpha));
    let message = format!(
        "accuracy {} against {} of the stable revision on {pairs} labelled pairs, of which {} and {} one alone is right: {}",
        percent(share(
            labelled.both_right.saturating_add(labelled.canary_alone),
            pairs
        )),
        percent(share(
            labelled.both_right.saturating_add(labelled.stable_alone),
            pairs
        )),
        labelled.canary_alone,
        labelled.stable_alone,
        match verdict {
            Verdict::Fail => format!("worse by more than {}", percent(margin)),
            Verdict::Pass if margin <= 0.0 => "no harm is seen".to_owned(),
            Verdict::Pass => format!("no worse by {}", percent(margin)),
            Verdict::Inconclusive | Verdict::NoData | Verdict::Error =>
                format!("not yet known whether it is worse by {}", percent(margin)),
        }
    );
    Judgement::new(verdict, message)
        .on(pairs)
        .estimated(estimate)
        .between(lower, upper)
}

/// Stable less new.
fn turned(sums: Moments) -> Option<Moments> {
    Moments::new(sums.n(), -sums.sum(), sums.squares())
}
