//! Gates on the golden set: the same pairs for every revision, so that a requirement holds or does not.

use crds::v1alpha1::reward_model::status::Verdict;
use stats::{BetaPrior, Tally, binomial_cs};

use super::super::figures::{percent, plain};
use super::super::gate::{Gate, GoldenRule};
use super::super::measurement::Golden;
use super::{Judgement, collecting, share};

/// Where nothing can be compared, so that a comparison is neither kept nor broken.
const ALONE: &str =
    "what compares with the stable revision is passed over: there is none beside it";

pub(super) fn judge(gate: &Gate, rule: &GoldenRule, golden: &Golden) -> Judgement {
    if golden.pairs < gate.min_samples.max(1) {
        return too_small(gate, golden.pairs);
    }
    let accuracy = share(golden.right, golden.pairs);
    let requirements = [
        rule.min_accuracy.map(|least| {
            let said = format!(
                "accuracy {} of at least {}",
                percent(accuracy),
                percent(least)
            );
            (accuracy >= least, said)
        }),
        drop(rule, golden, accuracy),
        correlation(rule, golden),
        shift(rule, golden),
    ];
    let (kept, broken): (Vec<_>, Vec<_>) = requirements
        .into_iter()
        .flatten()
        .partition(|(holds, _)| *holds);
    let (verdict, told) = if broken.is_empty() {
        (Verdict::Pass, kept)
    } else {
        (Verdict::Fail, broken)
    };
    let mut told: Vec<String> = told.into_iter().map(|(_, said)| said).collect();
    if compares(rule) && golden.against_stable.is_none() {
        told.push(ALONE.to_owned());
    }
    let message = told.join("; ");
    let tally = Tally {
        successes: golden.right.min(golden.pairs),
        failures: golden.pairs.saturating_sub(golden.right),
    };
    let shown = binomial_cs(tally, BetaPrior::JEFFREYS, gate.alpha);
    Judgement::new(verdict, message)
        .on(golden.pairs)
        .estimated(accuracy)
        .between(shown.low, shown.high)
}

const fn compares(rule: &GoldenRule) -> bool {
    rule.max_accuracy_drop.is_some()
        || rule.min_rank_correlation.is_some()
        || rule.max_score_shift.is_some()
}

/// The set has no more pairs than it has: waiting would not help.
fn too_small(gate: &Gate, pairs: u64) -> Judgement {
    let mut judgement = collecting("pairs", pairs, gate.min_samples.max(1));
    judgement.verdict = Verdict::Error;
    judgement.message = format!(
        "the golden set has {pairs} pairs, fewer than {}: add pairs to it, or lower minSamples",
        gate.min_samples.max(1)
    );
    judgement
}

/// A requirement, and whether it holds. Each is passed over where there is no stable revision.
type Requirement = Option<(bool, String)>;

fn drop(rule: &GoldenRule, golden: &Golden, accuracy: f64) -> Requirement {
    let (most, stable) = (rule.max_accuracy_drop?, golden.against_stable?);
    let before = share(stable.right, golden.pairs);
    let lost = before - accuracy;
    // Counts are whole: what is a rounding of the division is no loss.
    let holds = lost <= most + 1e-12;
    let said = format!(
        "accuracy {} after {} of the stable revision, a loss of {}, of at most {}",
        percent(accuracy),
        percent(before),
        percent(lost.max(0.0)),
        percent(most)
    );
    Some((holds, said))
}

fn correlation(rule: &GoldenRule, golden: &Golden) -> Requirement {
    let (least, stable) = (rule.min_rank_correlation?, golden.against_stable?);
    let Some(seen) = stable.rank_correlation.filter(|seen| seen.is_finite()) else {
        let said = "no rank correlation: the scores of one revision are all alike".to_owned();
        return Some((false, said));
    };
    let said = format!(
        "rank correlation {} with the stable revision, of at least {}",
        plain(seen),
        plain(least)
    );
    Some((seen >= least, said))
}

fn shift(rule: &GoldenRule, golden: &Golden) -> Requirement {
    let (most, stable) = (rule.max_score_shift?, golden.against_stable?);
    let Some(seen) = stable.score_shift.filter(|seen| seen.is_finite()) else {
        return Some((false, "the mean score is no number".to_owned()));
    };
    let said = format!(
        "mean score moved by {}, of at most {} either way",
        plain(seen),
        plain(most)
    );
    Some((seen.abs() <= most, said))
}
