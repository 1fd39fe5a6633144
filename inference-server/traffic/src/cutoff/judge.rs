//! Whether counts are a reason to cut the canary off.
//!
//! Owns the verdict, for the counts of one router and for their sum. Invariants: stable is never judged;
//! without one request of the canary there is no verdict.

use stats::{Events, Kappa, RateRatio, Share, event_split, ln_at_least};

use super::counters::{Counters, Tally};
use super::events::FirstEvents;
use super::run::DISTINCT_INPUTS;
use super::{Cause, Finding};
use crate::table::CutOff;
use crate::{WHOLE, Weight};

/// The part of alpha that each of the two tests over users has.
const OF_USERS: f64 = 1.0 / 4.0;
/// The part of alpha that each of the four tests of the window has.
const OF_THE_WINDOW: f64 = 1.0 / 8.0;

/// The reason to cut the canary off, if there is one. See [`super`] for what each is worth.
pub fn judge(counters: &Counters, rules: &CutOff) -> Option<Finding> {
    facts(counters, rules)
        .or_else(|| of_the_window(counters, rules))
        .or_else(|| of_users(&counters.errors, rules, Cause::MoreErrors))
        .or_else(|| of_users(&counters.slow, rules, Cause::MoreSlow))
}

/// What is wrong whatever its probability.
fn facts(counters: &Counters, rules: &CutOff) -> Option<Finding> {
    let canary = counters.window.canary;
    if canary.non_finite >= rules.non_finite {
        return Some(Finding {
            cause: Cause::NonFinite,
            count: canary.non_finite,
            of: canary.non_finite,
        });
    }
    let constant = |run: &super::Run| run.length() >= DISTINCT_INPUTS;
    let runs = &counters.runs;
    let found = rules.constant_scores && constant(&runs.canary) && !constant(&runs.stable);
    let inputs = u64::try_from(runs.canary.length()).unwrap_or(u64::MAX);
    found.then_some(Finding {
        cause: Cause::Constant,
        count: inputs,
        of: inputs,
    })
}

/// What of a tally is looked at.
type Count = fn(&Tally) -> u64;

fn of_the_window(counters: &Counters, rules: &CutOff) -> Option<Finding> {
    let tests: [(Cause, Count, Count); 4] = [
        (Cause::Errors, |tally| tally.errors, |stable| stable.errors),
        // Stable is refused what is more than it can take, and that may be the canary's.
        (Cause::Refused, Tally::failed, |stable| stable.errors),
        (
            Cause::Unreachable,
            |tally| tally.unreachable,
            |stable| stable.unreachable,
        ),
        (Cause::Slow, |tally| tally.slow, |stable| stable.slow),
    ];
    let [window, total] = [counters.window, counters.total];
    tests.into_iter().find_map(|(cause, bad, shared)| {
        let (count, of) = (bad(&window.canary), window.canary.requests);
        let past = |bad, of| is_past(bad, of, rules);
        let found = past(count, of)
            && !past(shared(&window.stable), window.stable.requests)
            && is_unexplained(
                count,
                of,
                (bad(&total.stable), total.stable.requests),
                bad(&total.canary),
                rules,
            );
        found.then_some(Finding { cause, count, of })
    })
}

/// Whether the mark of the table is reached.
fn is_past(bad: u64, requests: u64, rules: &CutOff) -> bool {
    requests >= rules.min_requests && float(bad) >= rules.error_rate.get() * float(requests)
}

/// Whether so many bad ones are more than stable's rate explains, at the look of this number.
fn is_unexplained(
    bad: u64,
    requests: u64,
    (stable_bad, stable_requests): (u64, u64),
    look: u64,
    rules: &CutOff,
) -> bool {
    let rate = (float(stable_bad) + 1.0) / (float(stable_requests) + 2.0);
    let (Some(rate), Some(alpha)) = (Share::new(rate), rules.alpha()) else {
        return false;
    };
    let look = float(look.max(1));
    let level = (alpha.get() * OF_THE_WINDOW).ln() - (look * (look + 1.0)).ln();
    ln_at_least(bad.saturating_sub(1), requests.saturating_sub(1), rate) <= level
}

/// Whether more of the users with an event are the canary's than its share of the traffic explains.
fn of_users(events: &FirstEvents, rules: &CutOff, cause: Cause) -> Option<Finding> {
    let alpha = rules.alpha()?;
    let (mut evidence, mut count, mut of) = (0.0, 0, 0);
    for (weight, (stable, canary)) in events.by_weight() {
        evidence += too_many(weight, stable, canary).unwrap_or(0.0);
        count += canary;
        of += stable + canary;
    }
    let found = evidence >= -(alpha.get() * OF_USERS).ln();
    found.then_some(Finding { cause, count, of })
}

/// ln of the e-value that the canary has too many, at one weight.
fn too_many(weight: Weight, stable: u64, canary: u64) -> Option<f64> {
    let arm = |users, weight: u16| Events {
        users,
        weight: f64::from(weight),
    };
    let (a, b) = (arm(stable, WHOLE - weight.get()), arm(canary, weight.get()));
    let split = event_split(a, b, RateRatio::SAME, Kappa::DEFAULT)?;
    Some(split.evidence.greater)
}

/// Exact below 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts stay far below 2^53, up to which every one is exact"
)]
const fn float(count: u64) -> f64 {
    count as f64
}
