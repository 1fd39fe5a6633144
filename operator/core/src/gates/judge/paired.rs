//! Gates on both scores of shadowed requests: whether the new revision does as the old one did.
//!
//! Invariant: they say that two revisions are alike, never that one is better.

use crds::v1alpha1::reward_model::status::Verdict;
use stats::eligibility::{self, Collecting, Shape};
use stats::{Cells, Estimate, NormalMixture, Null, Scale, equivalence};

use super::super::figures::{percent, plain};
use super::super::gate::Gate;
use super::super::measurement::Pairs;
use super::{Judgement, collecting, normal, range, whole};

/// The mean of new score less old score, over cells of users (stats.md 1.1 (c) and (e), guards 1.6).
pub(super) fn shift(gate: &Gate, within: f64, pairs: &Pairs) -> Judgement {
    let seen = whole(pairs.differences.x);
    if seen < gate.min_samples {
        return collecting("pairs", seen, gate.min_samples);
    }
    let told = |why: String| Judgement::new(Verdict::Inconclusive, why).on(seen);
    let arm = match pairs.differences.ratio() {
        Ok(arm) => arm,
        Err(why) => return told(format!("nothing can be said yet: {why}")),
    };
    let (Ok(estimate), Some(margin)) = (
        Estimate::new(arm.mean(), arm.variance_of_mean().sqrt()),
        Scale::new(within),
    ) else {
        return Judgement::new(Verdict::Error, "the scores are out of range").on(seen);
    };
    let guard = eligibility::pairs(seen, seen, Shape::Skewed, estimate);
    if let Err(why) = guard
        && why != Collecting::DegenerateMetric
    {
        return told(normal::told(why)).estimated(arm.mean());
    }
    if arm.units() < normal::CELLS {
        return collecting(normal::NEEDED, arm.units(), normal::CELLS)
            .on(seen)
            .estimated(arm.mean());
    }
    let moved = format!("the mean score moves by {}", plain(arm.mean()));
    let limit = format!("of at most {} either way", plain(within));
    let (Ok(mixture), Ok(alike)) = (
        NormalMixture::new(estimate, margin),
        equivalence(estimate, margin, margin),
    ) else {
        // Every pair differs by the same: nothing about it is unknown.
        let verdict = if arm.mean().abs() <= within {
            covered(pairs, Verdict::Pass)
        } else {
            Verdict::Fail
        };
        return Judgement::new(verdict, format!("{moved} in every pair, {limit}"))
            .on(seen)
            .estimated(arm.mean())
            .between(arm.mean(), arm.mean());
    };
    let beyond = [
        mixture.log_e(Null::above(margin)).greater,
        mixture.log_e(Null::below(margin)).less,
    ];
    // Either side may raise the alarm.
    let half = gate.alpha.part(0.5).unwrap_or(gate.alpha);
    let verdict = if beyond.iter().any(|ln_e| half.rejects(*ln_e)) {
        Verdict::Fail
    } else if alike.holds(gate.alpha) {
        covered(pairs, Verdict::Pass)
    } else {
        Verdict::Inconclusive
    };
    let (lower, upper) = (mixture.lower(half), mixture.upper(half));
    let message = format!("{moved} ({}), {limit}", range(lower, upper));
    Judgement::new(verdict, message + uncovered(pairs))
        .on(seen)
        .estimated(arm.mean())
        .between(lower, upper)
}

/// Kendall's tau of both revisions, over pairs of requests that do not overlap (stats.md 1.2). Those of one
/// user are alike, so its error is that of cells of users.
pub(super) fn agreement(gate: &Gate, within: f64, pairs: &Pairs) -> Judgement {
    let seen = pairs.concordant.saturating_add(pairs.discordant);
    let tau = |share: f64| 2.0 * share - 1.0;
    let alike = Proportion {
        what: "pairs of requests",
        had: pairs.concordant,
        seen,
        // Each comparison is in the cells of both its requests.
        sides: 2,
        cells: pairs.orders,
    };
    let (low, high) = match alike.bounds(gate) {
        Ok(bounds) => bounds,
        Err(early) => return early,
    };
    let (estimate, low, high) = (tau(alike.share()), tau(low), tau(high));
    let verdict = if high < within {
        Verdict::Fail
    } else if low >= within {
        covered(pairs, Verdict::Pass)
    } else {
        Verdict::Inconclusive
    };
    let message = format!(
        "how far both revisions put requests in one order: tau {} ({}), at least {} is asked for",
        plain(estimate),
        range(low, high),
        plain(within)
    );
    Judgement::new(verdict, message + uncovered(pairs))
        .on(seen)
        .estimated(estimate)
        .between(low, high)
}

/// The share of requests whose best candidate is another one, over cells of users.
pub(super) fn flips(gate: &Gate, within: f64, pairs: &Pairs) -> Judgement {
    let flips = Proportion {
        what: "requests with several candidates",
        had: pairs.flipped,
        seen: pairs.compared,
        sides: 1,
        cells: pairs.flips,
    };
    let (low, high) = match flips.bounds(gate) {
        Ok(bounds) => bounds,
        Err(early) => return early,
    };
    let estimate = flips.share();
    let verdict = if low > within {
        Verdict::Fail
    } else if high <= within {
        covered(pairs, Verdict::Pass)
    } else {
        Verdict::Inconclusive
    };
    let message = format!(
        "the best candidate is another one in {} of the requests ({} to {}), of at most {}",
        percent(estimate),
        percent(low),
        percent(high),
        percent(within)
    );
    Judgement::new(verdict, message + uncovered(pairs))
        .on(flips.seen)
        .estimated(estimate)
        .between(low, high)
}

/// A share of what users' requests have, where those of one user are alike.
struct Proportion {
    what: &'static str,
    had: u64,
    seen: u64,
    /// In how many cells each of them is.
    sides: u8,
    cells: Cells,
}

/// The prior's standard deviation over a share (stats.md 1.1: the smallest effect that matters): a twentieth.
const SMALLEST_SHARE: f64 = 0.05;

impl Proportion {
    fn share(&self) -> f64 {
        super::share(self.had, self.seen)
    }

    /// What the share lies between, at the level of the gate; or what is said before that is known.
    fn bounds(&self, gate: &Gate) -> Result<(f64, f64), Judgement> {
        if self.seen < gate.min_samples {
            return Err(collecting(self.what, self.seen, gate.min_samples));
        }
        let told = |why: String| Judgement::new(Verdict::Inconclusive, why).on(self.seen);
        let arm = self.cells.ratio();
        let arm = arm.map_err(|why| told(format!("nothing can be said yet: {why}")))?;
        if arm.units() < normal::CELLS {
            return Err(collecting("groups of users", arm.units(), normal::CELLS).on(self.seen));
        }
        let error = self.error(arm.variance_of_mean());
        let (Ok(estimate), Some(smallest)) = (
            Estimate::new(self.share(), error),
            Scale::new(SMALLEST_SHARE),
        ) else {
            return Err(
                Judgement::new(Verdict::Error, "the counts are out of range").on(self.seen),
            );
        };
        eligibility::pairs(self.seen, self.seen, Shape::Symmetric, estimate)
            .map_err(|why| told(normal::told(why)))?;
        let mixture = NormalMixture::new(estimate, smallest)
            .map_err(|why| told(format!("nothing can be said yet: {why}")))?;
        // Each side is asked about alone: one gate has one bound.
        Ok((
            mixture.lower(gate.alpha).max(0.0),
            mixture.upper(gate.alpha).min(1.0),
        ))
    }

    /// The standard error. Of what is in the cells of two users, the sum over cells has each that shares a user
    /// with another once, and each itself twice (Cameron, Gelbach and Miller 2011): one of the two is taken off.
    /// At least that of requests that are independent, with one more of each kind (Agresti and Coull 1998), so
    /// that nothing is certain because nothing was seen.
    fn error(&self, of_cells: f64) -> f64 {
        let (had, seen) = (count(self.had), count(self.seen));
        let share = (had + 1.0) / (seen + 2.0);
        let alone = share * (1.0 - share) / (seen + 2.0);
        let sides = f64::from(self.sides);
        let clustered = sides * sides * of_cells - (sides - 1.0) * alone;
        clustered.max(alone).sqrt()
    }
}

#[expect(clippy::cast_precision_loss, reason = "no count reaches 2^53")]
const fn count(of: u64) -> f64 {
    of as f64
}

/// Requests that the shadow does not answer may be those that matter: without them nothing passes.
fn covered(pairs: &Pairs, verdict: Verdict) -> Verdict {
    match eligibility::coverage(pairs.eligible, pairs.answered) {
        Ok(()) => verdict,
        Err(_) => Verdict::Inconclusive,
    }
}

fn uncovered(pairs: &Pairs) -> &'static str {
    match eligibility::coverage(pairs.eligible, pairs.answered) {
        Ok(()) => "",
        Err(_) => {
            "; fewer than 95 % of the shadowed requests were answered, so that it does not pass"
        }
    }
}
